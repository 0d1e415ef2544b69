/*
 * Exclusive units: never on two machines, whatever breaks. The agent's part is agent/exclusive.h.
 *
 * A lease is given with the answer to a report, and only to an agent that acts on an assignment in
 * which all that was taken from the machine is missing: an agent that starts with an old assignment
 * from its disk gets none before it has heard. It is counted there from when the report was sent,
 * here from when it came, which is later.
 *
 * A unit that leaves a machine is held (held.c), in the store too, until
 *
 *	- the machine has said that nothing of it is left there, or
 *	- the machine is lost, and this long has passed since its last word:
 *	  its lease, the unit's time to stop (the agent kills what takes longer), EXCLUSIVE_SAFETY_MS.
 *	  After a coordinator's start that counts from the start: who knows what was given before.
 *
 * unit->stop_ms is that time to stop, the longest of the files that the unit has had since it came
 * to its machine. It is 0 while the machine may run the unit without a lease, because the file that
 * its agent is known to have is not exclusive; such a one is waited for without end.
 */
#include <inttypes.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"

static int due_compare(const struct unit *a, const struct unit *b)
{
	if (a->due_ms != b->due_ms)
		return a->due_ms < b->due_ms ? -1 : 1;
	return strcmp(a->name, b->name);
}

RB_PROTOTYPE(due_tree, unit, due, due_compare)
RB_GENERATE(due_tree, unit, due, due_compare)

/* ---- Leases ------------------------------------------------------------------------------ */

bool exclusive_possible(const struct machine *machine)
{
	const Pb__MachineInfo *info = machine->info.message;

	for (size_t i = 0; i < info->n_capabilities; i++)
		if (strcmp(info->capabilities[i], CAPABILITY_EXCLUSIVE) == 0)
			return true;
	return false;
}

uint32_t exclusive_lease_ms(
	const struct core *core, const struct machine *machine, const Pb__ReportRequest *report)
{
	if (assignment_needs_reset(core, machine, report->store_id, report->acts_on) ||
		report->acts_on < machine->taken_revision)
		return 0;
	return core->lease_ms;
}

/* ---- What may still run ------------------------------------------------------------------ */

/* When the held unit has certainly ended, if nothing more is heard of its machine. */
static uint64_t end_ms(const struct core *core, const struct unit *unit)
{
	uint64_t lease_end_ms = unit->held->machine->last_heard_ms + core->lease_ms;

	if (lease_end_ms < core->old_leases_end_ms)
		lease_end_ms = core->old_leases_end_ms;
	return lease_end_ms + unit->stop_ms + EXCLUSIVE_SAFETY_MS;
}

/* As long as its machine is heard of, its word is waited for. */
static void expect_end(struct core *core, struct unit *unit)
{
	if (unit->due_ms != 0 || unit->stop_ms == 0 || unit->held_until_ms != UINT64_MAX ||
		unit->held->machine->fsm.state != MACHINE_LOST)
		return;
	unit->due_ms = end_ms(core, unit);
	RB_INSERT(due_tree, &core->due, unit);
}

static void expect_no_end(struct core *core, struct unit *unit)
{
	if (unit->due_ms == 0)
		return;
	RB_REMOVE(due_tree, &core->due, unit);
	unit->due_ms = 0;
}

void exclusive_held(struct core *core, struct unit *unit)
{
	if (unit->held_until_ms != UINT64_MAX)
		return;
	unit->held->left_lost = false; /* it does not run on without a lease */
	/* No lease any more for an agent that does not know of it. */
	unit->held->machine->taken_revision = unit->held->revision;
	expect_end(core, unit);
}

void exclusive_released(struct core *core, struct unit *unit)
{
	expect_no_end(core, unit);
}

void exclusive_machine_lost(struct core *core, struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (placement_is_held(placement))
			expect_end(core, placement->unit);
}

void exclusive_machine_back(struct core *core, struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (placement_is_held(placement))
			expect_no_end(core, placement->unit);
}

bool exclusive_check(struct core *core)
{
	struct unit *unit;
	bool any = false;

	while ((unit = RB_MIN(due_tree, &core->due)) != NULL && core->now_ms >= unit->due_ms) {
		held_release(core, unit->held, "its lease and its time to stop are over");
		any = true;
	}
	return any;
}

uint64_t exclusive_next_deadline(const struct core *core)
{
	const struct unit *unit = RB_MIN(due_tree, (struct due_tree *)&core->due);

	return unit != NULL ? unit->due_ms : UINT64_MAX;
}

/* ---- What a machine is known to have ----------------------------------------------------- */

static void set_stop_ms(struct core *core, struct unit *unit, uint32_t stop_ms)
{
	if (unit->stop_ms == stop_ms)
		return;
	unit->stop_ms = stop_ms;
	mark_unit_write(core, unit);
}

void exclusive_placed(struct core *core, struct unit *unit, bool was_held_there)
{
	uint32_t stop_ms = unit->body.rules.stop_ms;

	if (!core->loaded)
		return;
	/* Where it was held the one before may not have ended yet. */
	if (!was_held_there || stop_ms == 0 || (unit->stop_ms != 0 && unit->stop_ms < stop_ms))
		set_stop_ms(core, unit, stop_ms);
}

void exclusive_file_changed(struct core *core, struct unit *unit, bool was_exclusive)
{
	uint32_t stop_ms = unit->body.rules.stop_ms;

	if (stop_ms == 0) {
		set_stop_ms(core, unit, 0);
		if (unit->held != NULL && unit->held_until_ms == UINT64_MAX)
			held_ends(core, unit, "it is no longer exclusive");
	} else if (!was_exclusive) {
		set_stop_ms(core, unit, 0);
		held_endless(core, unit);
	} else if (unit->stop_ms != 0 && unit->stop_ms < stop_ms) {
		set_stop_ms(core, unit, stop_ms);
	}
}

void exclusive_carried_out(struct core *core, struct placement *placement)
{
	if (placement->state.done_revision >= placement->revision)
		set_stop_ms(core, placement->unit, placement->unit->body.rules.stop_ms);
}

/* ---- For people -------------------------------------------------------------------------- */

void exclusive_why(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text)
{
	uint64_t end = end_ms(core, unit);

	if (!unit->body.rules.exclusive)
		return;
	if (unit->stop_ms == 0)
		fl_buf_text(text, "; it ran there without a lease, before it was exclusive");
	else
		fl_buf_printf(text, ", at most %" PRIu64 " s unless that is heard of",
			end > now_ms ? (end - now_ms + 999) / 1000 : 0);
}
