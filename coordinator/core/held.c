/*
 * Units that have left a machine which may still run them. Between two machines that are up a unit
 * is stopped on the old one first; it is held until that one has let go of it, and then placed.
 *
 *	settle_displace() ─▶ held_begin()     the placement is a tombstone, the unit waits
 *	                         │            its agent stops it, removes it, and says so
 *	core_do_report() ────▶ held_release() ─▶ settle_activate(): it is placed elsewhere
 *
 * A machine has let go of a unit when it has reported that nothing of it is left there, or left it
 * out of a whole report (`all`), and the removal is on its agent's disk: else an agent that dies
 * would find it assigned there, and start it again.
 *
 * Until then the unit can come back to this machine, where the agent puts the one behind the other.
 * It survives a restart of the coordinator (UnitRecord.held_machine_id): the agent is told again.
 *
 * Holding ends without that word after HELD_LIMIT_MS, while the machine is up; when the machine is
 * lost and its units move (leases.c). An exclusive unit's end is its lease's matter alone.
 */
#include <inttypes.h>

#include "coordinator/core/internal.h"

static void hold(struct core *core, struct placement *placement, uint64_t until_ms)
{
	struct unit *unit = placement->unit;

	fl_assert(unit->held == NULL);
	unit->held = placement;
	unit->held_until_ms = until_ms;
	if (until_ms != UINT64_MAX)
		fl_list_append(&core->held, &unit->held_link);
	exclusive_held(core, unit);
	mark_unit_write(core, unit);
}

void held_begin(struct core *core, struct placement *placement, uint64_t until_ms)
{
	placement_remove(core, placement);
	hold(core, placement, until_ms);
}

void held_resume(struct core *core, struct machine *machine)
{
	struct placement *placement;

	FL_LIST_FOREACH (placement, &machine->tombstones, tombstone) {
		const struct unit *unit = placement->unit;

		if (unit_is_active(unit) && !unit->body.rules.global && unit->placed == NULL &&
			unit->held == NULL)
			hold(core, placement, core->now_ms + HELD_LIMIT_MS);
	}
}

void held_endless(struct core *core, struct unit *unit)
{
	if (unit->held == NULL)
		return;
	fl_list_remove(&unit->held_link);
	unit->held_until_ms = UINT64_MAX;
	exclusive_held(core, unit);
}

void held_ends(struct core *core, struct unit *unit, const char *why)
{
	if (unit->held->machine->fsm.state == MACHINE_LOST) {
		held_release(core, unit->held, why);
		return;
	}
	exclusive_released(core, unit);
	unit->held_until_ms = core->now_ms + HELD_LIMIT_MS;
	fl_list_append(&core->held, &unit->held_link);
}

void held_forget(struct core *core, struct unit *unit)
{
	fl_list_remove(&unit->held_link);
	exclusive_released(core, unit);
	unit->held = NULL;
	mark_unit_write(core, unit);
}

void held_release(struct core *core, struct placement *placement, const char *why)
{
	struct unit *unit = placement->unit;

	if (!placement_is_held(placement))
		return;
	held_forget(core, unit);
	drain_look_soon(placement->machine);
	event_add(core, "unit.left", unit, placement->machine, why);
	core_note(core, FL_INFO, "unit.let_go", "unit=%s machine=%s epoch=%" PRIu64 " why=%s",
		unit->name, placement->machine->id, placement->epoch, why);
	if (unit_is_active(unit) && !unit->body.rules.global && unit->placed == NULL)
		settle_activate(core, unit);
	if (!fl_list_linked(&placement->tombstone))
		placement_free(placement);
}

void held_gone(struct core *core, struct placement *placement, uint64_t saved_revision)
{
	placement->gone = true;
	held_acknowledged(core, placement, saved_revision);
}

void held_acknowledged(struct core *core, struct placement *placement, uint64_t saved_revision)
{
	if (placement->gone && saved_revision >= placement->revision)
		held_release(core, placement, "nothing of it is left there");
}

bool held_restore(struct core *core, struct unit *unit, struct machine *machine, uint64_t epoch)
{
	struct placement *placement;

	if (!placement_make(core, unit, machine, epoch))
		return false;
	placement = placement_find(machine, unit->name);
	held_begin(core, placement,
		unit->body.rules.exclusive || unit->gone ? UINT64_MAX
							 : core->now_ms + HELD_LIMIT_MS);
	return true;
}

void held_check(struct core *core)
{
	while (!fl_list_empty(&core->held)) {
		struct unit *unit = FL_LIST_ENTRY(core->held.next, struct unit, held_link);

		if (core->now_ms < unit->held_until_ms)
			break;
		if (machine_is_up(unit->held->machine)) {
			held_release(core, unit->held, "it took too long");
			continue;
		}
		/* The machine's lease decides. */
		fl_list_remove(&unit->held_link);
		unit->held_until_ms = core->now_ms + HELD_LIMIT_MS;
		fl_list_append(&core->held, &unit->held_link);
	}
}

uint64_t held_next_deadline(const struct core *core)
{
	if (fl_list_empty(&core->held))
		return UINT64_MAX;
	return FL_LIST_ENTRY(core->held.next, struct unit, held_link)->held_until_ms;
}
