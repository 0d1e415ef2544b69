/*
 * What follows from a change. An event marks what it touched; settle() then decides, in this order,
 * until no mark is left:
 *
 *	1. which global unit runs on which machine;
 *	2. placed units whose rules may not be met any more: they leave their machine, and their
 *	   followers are marked (MachineOf=);
 *	3. units that are to be placed now, those of the highest priority first;
 *	4. waiting units that something may have helped: a machine that came or changed, a unit that
 *	   left one. Only those machines are asked again: all others would still refuse;
 *	5. rollouts of whose units something changed.
 *
 * It ends: a unit leaves a machine because it was marked once, because its leader left (a circle of
 * leaders cannot be placed again), or because another replaced it, which happens to it at most
 * once in a step. Nor does it go on from step to step: who was replaced replaces nobody until a
 * person asks for something of it, else units that replace one another in a circle would move for
 * ever.
 */
#include <inttypes.h>

#include "coordinator/core/internal.h"

#define MEMORY_RETRY_MS 1000U

#define REFUSED_BY_UNITS (1U << REFUSAL_CONFLICT | 1U << REFUSAL_RESOURCES | 1U << REFUSAL_REPLACED)

/* ---- Marks ------------------------------------------------------------------------------- */

int unit_wait_compare(const struct unit *a, const struct unit *b)
{
	if (a->waits_priority != b->waits_priority)
		return a->waits_priority > b->waits_priority ? -1 : 1;
	return a->waits_since < b->waits_since ? -1 : a->waits_since > b->waits_since;
}

RB_GENERATE(wait_tree, unit, waits, unit_wait_compare)

/* @unit is in neither. Who waits already keeps its turn. */
static void enter_queue(struct core *core, struct wait_tree *queue, struct unit *unit)
{
	if (unit->waits_since == 0)
		unit->waits_since = ++core->n_waits;
	unit->waits_priority = unit->body.rules.priority;
	unit->queue = queue;
	RB_INSERT(wait_tree, queue, unit);
}

static void leave_queue(struct core *core, struct unit *unit)
{
	if ((unit->refused_for & REFUSED_BY_UNITS) != 0)
		core->n_conflict_waiting--;
	unit->refused_for = 0;
	if (unit->queue != NULL)
		RB_REMOVE(wait_tree, unit->queue, unit);
	unit->queue = NULL;
}

static void end_wait(struct core *core, struct unit *unit)
{
	leave_queue(core, unit);
	unit->waits_since = 0;
}

static void add_refusals(struct core *core, struct unit *unit, unsigned refused_for)
{
	bool before = (unit->refused_for & REFUSED_BY_UNITS) != 0;

	unit->refused_for |= refused_for;
	if (!before && (refused_for & REFUSED_BY_UNITS) != 0)
		core->n_conflict_waiting++;
}

void settle_activate(struct core *core, struct unit *unit)
{
	if (unit->body.rules.global) {
		bool is_new = RB_INSERT(global_tree, &core->globals, unit) == NULL;

		/* One epoch for all its placements, from when it became active. */
		if (unit->epoch == 0 || (is_new && core->loaded)) {
			unit->epoch = core_next_revision(core);
			mark_unit_write(core, unit);
		}
		settle_globals(core, NULL);
		return;
	}
	leave_queue(core, unit);
	enter_queue(core, &core->fresh, unit);
}

void settle_deactivate(struct core *core, struct unit *unit)
{
	end_wait(core, unit);
	unit->waiting_told = false;
	fl_list_remove(&unit->recheck);
	if (RB_FIND(global_tree, &core->globals, unit) == unit) {
		RB_REMOVE(global_tree, &core->globals, unit);
		settle_globals(core, NULL); /* others may have conflicted with it */
	}
}

static void displaced(
	struct core *core, const struct unit *unit, const struct machine *machine, const char *why)
{
	core_note(core, FL_INFO, "unit.displaced", "unit=%s machine=%s why=%s", unit->name,
		machine->id, why);
	event_add(core, "unit.displaced", unit, machine, why);
}

void settle_unplace(struct core *core, struct unit *unit, const char *why)
{
	struct placement *placement, *following;

	FL_LIST_FOREACH_SAFE (placement, &unit->placements, of_unit, following) {
		if (placement->removed)
			continue;
		if (why != NULL)
			displaced(core, unit, placement->machine, why);
		if (unit->body.rules.exclusive)
			held_begin(core, placement, UINT64_MAX);
		else
			placement_remove(core, placement);
	}
	mark_unit_write(core, unit);
}

void settle_displace(struct core *core, struct unit *unit, const char *why)
{
	struct placement *placement = unit->placed;

	displaced(core, unit, placement->machine, why);
	if (unit->body.rules.exclusive)
		held_begin(core, placement, UINT64_MAX);
	else if (machine_is_up(placement->machine))
		held_begin(core, placement, core->now_ms + HELD_LIMIT_MS);
	else
		placement_remove(core, placement);
	mark_unit_write(core, unit);
	settle_activate(core, unit);
}

void settle_recheck(struct core *core, struct unit *unit)
{
	if (!fl_list_linked(&unit->recheck))
		fl_list_append(&core->rechecks, &unit->recheck);
}

void settle_recheck_machine(struct core *core, struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (!placement->removed && !placement->unit->body.rules.global)
			settle_recheck(core, placement->unit);
}

void settle_help(struct core *core, struct machine *machine, bool all)
{
	if (!machine_is_up(machine) || (!all && core->n_conflict_waiting == 0))
		return;
	if (!fl_list_linked(&machine->helped))
		fl_list_append(&core->helped, &machine->helped);
	core->help_all |= all;
}

void settle_globals(struct core *core, struct machine *machine)
{
	if (machine == NULL)
		core->globals_changed = true;
	else if (!fl_list_linked(&machine->globals))
		fl_list_append(&core->globals_of, &machine->globals);
}

void settle_retry(struct core *core)
{
	struct unit *unit, *following;

	if (core->memory_retry_ms == 0 || core->now_ms < core->memory_retry_ms)
		return;
	core->memory_retry_ms = 0;
	settle_globals(core, NULL);
	RB_FOREACH_SAFE (unit, wait_tree, &core->waiting, following)
		if ((unit->refused_for & 1U << REFUSAL_MEMORY) != 0)
			settle_activate(core, unit);
}

static void retry_later(struct core *core)
{
	core->memory_retry_ms = core->now_ms + MEMORY_RETRY_MS;
}

/* ---- Decisions --------------------------------------------------------------------------- */

/* In name order: whether one may be here depends only on those before it. While loading, the
 * placements that are stored stand until their machine is heard of. */
static void decide_globals_of(struct core *core, struct machine *machine)
{
	struct unit *unit;

	RB_FOREACH (unit, global_tree, &core->globals) {
		bool wanted = !machine_keeps_away(machine, unit) &&
			      place_check_stay(unit, machine, NULL) == REFUSAL_NONE;
		struct placement *placement = placement_find(machine, unit->name);
		bool there = placement != NULL && !placement->removed;

		if (there == wanted)
			continue;
		if (!wanted) {
			displaced(core, unit, machine, "its rules are not met there any more");
			placement_remove(core, placement);
		} else if (!placement_make(core, unit, machine, unit->epoch)) {
			retry_later(core);
		} else if (core->loaded) {
			event_add(core, "unit.placed", unit, machine, "");
			if (unit->body.rules.conflicts.n > 0 ||
				!fl_list_empty(&machine->conflictors))
				settle_recheck_machine(core, machine);
		}
	}
}

static void decide_globals(struct core *core)
{
	struct machine *machine;

	RB_FOREACH (machine, machine_tree, &core->machines)
		decide_globals_of(core, machine);
}

static void decide_recheck(struct core *core, struct unit *unit)
{
	FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;
	const struct machine *machine;
	enum refusal refusal;

	if (unit->placed == NULL)
		return;
	machine = unit->placed->machine;
	/* Its data are there: it waits, and is asked again when the machine is back. */
	if (!machine_is_up(machine) && unit->body.rules.on_machine_loss == UNIT_LOSS_WAIT)
		return;
	refusal = place_check_stay(unit, machine, &why);
	if (refusal == REFUSAL_NONE && unit->recheck_claims &&
		!claims_fit(unit, machine, true, &why))
		refusal = REFUSAL_RESOURCES;
	unit->recheck_claims = false;
	if (refusal == REFUSAL_NONE) {
		if (!leases_let_go(core, unit->placed))
			return;
		fl_buf_text(&why, "its machine is lost");
	}
	settle_displace(core, unit, fl_buf_str(&why));
}

/* Those whom @unit, which has come to @machine, replaces go elsewhere. */
static void displace_replaced(struct core *core, struct unit *unit, struct machine *machine)
{
	struct placement *placement;

	if (unit->body.rules.replaces.n == 0)
		return;
	RB_FOREACH (placement, placement_tree, &machine->placements) {
		struct unit *old = placement->unit;

		if (placement->removed || old->body.rules.global ||
			old->replaced_in_step == core->step || !place_replaces(unit, old))
			continue;
		old->replaced_in_step = core->step;
		old->replaced = true;
		settle_displace(core, old, "replaced");
	}
}

static void decide_place(struct core *core, struct unit *unit)
{
	bool before = unit->epoch != 0;
	unsigned refused_for = 0;
	struct machine *machine = move_target(unit, core->now_ms);

	if (machine == NULL)
		machine = place_choose(core, unit, &refused_for);
	leave_queue(core, unit);
	if (machine != NULL) {
		uint64_t epoch = core_next_revision(core);

		if (placement_make(core, unit, machine, epoch)) {
			unit->epoch = epoch;
			unit->waits_since = 0;
			unit->recheck_claims = false;
			mark_unit_write(core, unit);
			if (before)
				core_note(core, FL_INFO, "unit.placed",
					"unit=%s machine=%s epoch=%" PRIu64, unit->name,
					machine->id, epoch);
			event_add(core, "unit.placed", unit, machine, "");
			unit->waiting_told = false;
			displace_replaced(core, unit, machine);
			return;
		}
		refused_for = 1U << REFUSAL_MEMORY;
		retry_later(core);
	}
	add_refusals(core, unit, refused_for);
	enter_queue(core, &core->waiting, unit);
	mark_unit_changed(core, unit);
	if (!unit->waiting_told)
		event_add(core, "unit.waiting", unit, NULL, "no machine can take it now");
	unit->waiting_told = true;
}

static void decide_helped(struct core *core)
{
	const struct machine *only = FL_LIST_ENTRY(core->helped.next, struct machine, helped);
	struct unit *unit, *following;

	if (only->helped.next != &core->helped)
		only = NULL; /* more than one */
	RB_FOREACH_SAFE (unit, wait_tree, &core->waiting, following) {
		enum refusal refusal = REFUSAL_NONE;

		if (!core->help_all && (unit->refused_for & REFUSED_BY_UNITS) == 0)
			continue;
		if (only != NULL)
			refusal = place_check(unit, only, core->now_ms, NULL);
		if (refusal == REFUSAL_NONE)
			settle_activate(core, unit);
		else
			add_refusals(core, unit, 1U << refusal);
	}
	while (fl_list_pop(&core->helped) != NULL)
		;
	core->help_all = false;
}

void settle(struct core *core)
{
	struct fl_list *link;

	for (;;) {
		if (core->globals_changed) {
			core->globals_changed = false;
			decide_globals(core);
		} else if ((link = fl_list_pop(&core->globals_of)) != NULL) {
			decide_globals_of(core, FL_LIST_ENTRY(link, struct machine, globals));
		} else if ((link = fl_list_pop(&core->rechecks)) != NULL) {
			decide_recheck(core, FL_LIST_ENTRY(link, struct unit, recheck));
		} else if (!RB_EMPTY(&core->fresh)) {
			decide_place(core, RB_MIN(wait_tree, &core->fresh));
		} else if (!fl_list_empty(&core->helped)) {
			decide_helped(core);
		} else if (core->loaded && (moves_settle(core) || drains_settle(core))) {
			continue;
		} else if (!rollouts_go_on(core)) {
			break;
		}
	}
}
