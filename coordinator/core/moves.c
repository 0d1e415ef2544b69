/*
 * Units on their way from one machine to another, both up, because somebody asked for it: a drain,
 * a rebalance.
 *
 *	move_begin() ─▶ stops on `from` ─▶ held_release() ─▶ placed ─▶ runs there ─▶ over
 *	                   (held.c)                           (settle.c)  (report.c)
 *
 * It is over when the unit runs elsewhere or its start has failed there, when no machine takes it,
 * when nobody wants it any more, or START_LIMIT_MS after it was placed: then the next one goes. That
 * something is under way is not stored: after a restart of the coordinator a unit that was held is
 * held again, and goes where it fits best.
 */
#include "coordinator/core/internal.h"

#define START_LIMIT_MS 90000U

void move_begin(struct core *core, struct unit *unit, struct machine *to, const char *why)
{
	struct move *move = &unit->move;

	fl_assert(unit->placed != NULL);
	move_end(unit); /* it has come here, and does not run yet */
	*move = (struct move){.from = unit->placed->machine, .to = to, .until_ms = UINT64_MAX};
	fl_list_append(&core->moves, &move->link);
	move->from->n_leaving++;
	settle_displace(core, unit, why);
}

void move_end(struct unit *unit)
{
	struct move *move = &unit->move;

	if (!move_is_under_way(unit))
		return;
	fl_list_remove(&move->link);
	move->from->n_leaving--;
	drain_look_soon(move->from);
	*move = (struct move){0};
}

struct machine *move_target(const struct unit *unit, uint64_t now_ms)
{
	struct machine *to = unit->move.to;

	return to != NULL && place_check(unit, to, now_ms, NULL) == REFUSAL_NONE ? to : NULL;
}

static bool is_over(struct core *core, struct unit *unit)
{
	const struct placement *placement = unit->placed;

	if (!unit_is_active(unit) || unit->body.rules.global)
		return true;
	if (placement == NULL) {
		unit->move.until_ms = UINT64_MAX; /* its time begins where it goes next */
		return unit->held == NULL && !fl_list_linked(&unit->recheck);
	}
	if (placement->machine == unit->move.from)
		return true;
	if (unit->move.until_ms == UINT64_MAX)
		unit->move.until_ms = core->now_ms + START_LIMIT_MS;
	return core->now_ms >= unit->move.until_ms ||
	       (placement->state.known && placement->state.done_revision >= placement->revision);
}

bool moves_settle(struct core *core)
{
	struct unit *unit, *following;
	bool any = false;

	FL_LIST_FOREACH_SAFE (unit, &core->moves, move.link, following) {
		if (!is_over(core, unit))
			continue;
		move_end(unit);
		any = true;
	}
	return any;
}

uint64_t moves_next_deadline(const struct core *core)
{
	const struct unit *unit;
	uint64_t deadline = UINT64_MAX;

	FL_LIST_FOREACH (unit, &core->moves, move.link)
		if (unit->move.until_ms < deadline)
			deadline = unit->move.until_ms;
	return deadline;
}

enum fl_code core_do_move(struct core *core, const struct core_move *request, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;
	struct unit *unit = unit_find(core, request->unit);
	struct machine *to = machine_find(core, request->to);

	if (unit == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "Unit %s not found", request->unit);
	if (to == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "there is no machine \"%s\"", request->to);
	if (unit->placed == NULL || strcmp(unit->placed->machine->id, request->from) != 0)
		return FL_FAIL(err, FL_E_STATE, "unit %s is not on machine %.8s any more",
			unit->name, request->from);
	if (move_is_under_way(unit))
		return FL_FAIL(err, FL_E_STATE, "unit %s is moving already", unit->name);
	/* Its lease may have ended in this very step. */
	if (!machine_is_up(unit->placed->machine) ||
		core->now_ms - unit->placed->machine->last_heard_ms >= core->lease_ms)
		return FL_FAIL(err, FL_E_STATE, "machine %.8s is lost", request->from);
	if (unit->placed->machine == to)
		return FL_FAIL(err, FL_E_INVALID, "unit %s is there", unit->name);
	if (place_check(unit, to, core->now_ms, &why) != REFUSAL_NONE)
		return FL_FAIL(err, FL_E_STATE, "machine %.8s can not take unit %s: %s", to->id,
			unit->name, fl_buf_str(&why));
	move_begin(core, unit, to, "it is moved to another machine");
	return FL_OK;
}
