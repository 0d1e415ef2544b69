/*
 * Which units should move so that machines hold about as many units each: from the fullest to the
 * emptiest, one by one, until two machines differ by one unit or nothing that may move fits. It is
 * a plan, about the fleet as it is now: each move is checked again when it begins (core_do_move()).
 *
 * Left where they are: units that are bound to their machine (MachineID=, OnMachineLoss=wait, global
 * ones), exclusive ones, leaders and followers (MachineOf=), and what would be worse off for its
 * Spread=, PreferMetadata= or PreferConflicts=.
 */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"
#include "unitfiles/glob.h"

/* Units and machines looked at together: some tens of milliseconds. */
#define CHECKS_MAX 200000U

/* A machine as it would be after the moves so far. */
struct seat {
	const struct machine *machine;
	size_t n_units;
	struct room taken; /* by those that come */
	struct placement *next; /* to be looked at */
};

struct planned {
	const struct unit *unit;
	const struct seat *from, *to;
	size_t n_from, n_to; /* units there before */
};

struct rebalance {
	const struct core *core;
	struct seat *seats;
	struct seat **order; /* emptiest first */
	size_t n_seats, n_done; /* at the end of @order: nothing of theirs can move */
	struct planned *moves;
	size_t n_moves, max_moves;
	size_t n_checks;
};

static void rebalance_fini(struct rebalance *r)
{
	free(r->seats);
	free(r->order);
	free(r->moves);
}

/* ---- What may move where ----------------------------------------------------------------- */

static bool may_move(const struct core *core, const struct placement *placement)
{
	const struct unit *unit = placement->unit;
	const struct unit_rules *rules = &unit->body.rules;

	return !placement->removed && !rules->global && !rules->exclusive &&
	       rules->machine_id == NULL && rules->on_machine_loss == UNIT_LOSS_MOVE &&
	       rules->machine_of.n == 0 && !unit_has_followers(core, unit) &&
	       !move_is_under_way(unit);
}

static bool matches(const struct fl_strv *globs, const char *name)
{
	for (size_t i = 0; i < globs->n; i++)
		if (unit_glob_match(globs->items[i], name))
			return true;
	return false;
}

/* Of two units that have never met. */
static bool get_along(const struct unit *a, const struct unit *b)
{
	const struct unit_rules *x = &a->body.rules, *y = &b->body.rules;

	return !matches(&x->conflicts, b->name) && !matches(&y->conflicts, a->name) &&
	       !matches(&x->replaces, b->name) && !matches(&y->replaces, a->name) &&
	       (a->body.spread == NULL || a->body.spread != b->body.spread);
}

static bool is_worse_off(
	const struct unit *unit, const struct machine *from, const struct machine *to)
{
	const struct spread *spread = unit->body.spread;

	if (spread != NULL && spread_siblings(spread, to) >= spread_siblings(spread, from))
		return true;
	if (place_unmet_preferences(unit, to) > place_unmet_preferences(unit, from))
		return true;
	return place_avoided(unit, to) != NULL && place_avoided(unit, from) == NULL;
}

static bool fits(struct rebalance *r, const struct unit *unit, const struct seat *from,
	const struct seat *to)
{
	struct room needed = claims_on(&unit->body.rules.claims, to->machine);

	r->n_checks++;
	needed.memory_bytes += to->taken.memory_bytes;
	needed.cpu_milli += to->taken.cpu_milli;
	if (!room_holds(&to->machine->free, &needed) ||
		place_check(unit, to->machine, r->core->now_ms, NULL) != REFUSAL_NONE ||
		is_worse_off(unit, from->machine, to->machine))
		return false;
	for (size_t i = 0; i < r->n_moves; i++)
		if (r->moves[i].to == to && !get_along(unit, r->moves[i].unit))
			return false;
	return true;
}

/* ---- The plan ---------------------------------------------------------------------------- */

/* Moves @order[at] past all that have as many units, to the end of them or to the beginning, so that
 * one more or less leaves the order right. Returns where it is now. */
static size_t to_edge(struct rebalance *r, size_t at, bool last)
{
	size_t n_units = r->order[at]->n_units, edge = at;
	struct seat *seat = r->order[at];

	if (last)
		while (edge + 1 < r->n_seats - r->n_done && r->order[edge + 1]->n_units == n_units)
			edge++;
	else
		while (edge > 0 && r->order[edge - 1]->n_units == n_units)
			edge--;
	r->order[at] = r->order[edge];
	r->order[edge] = seat;
	return edge;
}

static void plan_move(struct rebalance *r, const struct unit *unit, size_t from, size_t to)
{
	struct seat *source = r->order[from], *target = r->order[to];
	struct room claims = claims_on(&unit->body.rules.claims, target->machine);

	r->moves[r->n_moves++] = (struct planned){.unit = unit,
		.from = source,
		.to = target,
		.n_from = source->n_units,
		.n_to = target->n_units};
	(void)to_edge(r, to, true);
	target->n_units++;
	target->taken.memory_bytes += claims.memory_bytes;
	target->taken.cpu_milli += claims.cpu_milli;
	(void)to_edge(r, from, false);
	source->n_units--;
}

/* The next unit of a machine that some emptier one takes. */
static bool plan_from(struct rebalance *r, size_t from)
{
	struct seat *source = r->order[from];

	for (; source->next != NULL; source->next = RB_NEXT(placement_tree, NULL, source->next)) {
		if (!may_move(r->core, source->next))
			continue;
		for (size_t to = 0; to < from && r->n_checks < CHECKS_MAX &&
				    r->order[to]->n_units + 1 < source->n_units;
			to++) {
			const struct unit *unit = source->next->unit;

			if (!fits(r, unit, source, r->order[to]))
				continue;
			source->next = RB_NEXT(placement_tree, NULL, source->next);
			plan_move(r, unit, from, to);
			return true;
		}
	}
	return false;
}

static void plan_all(struct rebalance *r)
{
	while (r->n_seats - r->n_done > 1 && r->n_moves < r->max_moves &&
		r->n_checks < CHECKS_MAX) {
		size_t fullest = r->n_seats - r->n_done - 1;

		if (r->order[fullest]->n_units < r->order[0]->n_units + 2)
			return;
		r->n_done += !plan_from(r, fullest);
	}
}

static int by_units(const void *a, const void *b)
{
	const struct seat *x = *(struct seat *const *)a, *y = *(struct seat *const *)b;

	if (x->n_units != y->n_units)
		return x->n_units < y->n_units ? -1 : 1;
	return machine_compare(x->machine, y->machine);
}

static enum fl_code begin(struct rebalance *r, struct fl_error *err)
{
	struct machine *machine;

	r->seats = fl_new_array(r->core->n_machines + 1, sizeof(*r->seats));
	r->order = fl_new_array(r->core->n_machines + 1, sizeof(*r->order));
	r->moves = fl_new_array(r->max_moves + 1, sizeof(*r->moves));
	if (r->seats == NULL || r->order == NULL || r->moves == NULL)
		return FL_FAIL_NO_MEMORY(err);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&r->core->machines) {
		if (!machine_is_up(machine) || machine_is_closed(machine))
			continue;
		r->seats[r->n_seats] = (struct seat){.machine = machine,
			.n_units = machine->n_units,
			.next = RB_MIN(placement_tree, &machine->placements)};
		r->order[r->n_seats] = &r->seats[r->n_seats];
		r->n_seats++;
	}
	qsort(r->order, r->n_seats, sizeof(*r->order), by_units);
	return FL_OK;
}

/* ---- The answer -------------------------------------------------------------------------- */

static enum fl_code move_message(
	const struct planned *planned, Pb__Move **ret_move, struct fl_error *err)
{
	const struct machine *from = planned->from->machine, *to = planned->to->machine;
	Pb__Move *move = malloc(sizeof(*move));
	char reason[96];

	if (move == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__move__init(move);
	*ret_move = move;
	snprintf(reason, sizeof(reason), "%zu units there, %zu here", planned->n_from,
		planned->n_to);
	if (!message_text(&move->unit, planned->unit->name) ||
		!message_text(&move->from, from->id) || !message_text(&move->to, to->id) ||
		!message_text(&move->from_address, from->info.message->address) ||
		!message_text(&move->to_address, to->info.message->address) ||
		!message_text(&move->reason, reason))
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

static enum fl_code answer(
	const struct rebalance *r, Pb__RebalanceReply *reply, struct fl_error *err)
{
	reply->revision = r->core->revision;
	reply->moves = fl_new_array(r->n_moves + 1, sizeof(Pb__Move *));
	if (reply->moves == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < r->n_moves; i++) {
		Pb__Move *move = NULL;
		enum fl_code code = move_message(&r->moves[i], &move, err);

		if (move != NULL)
			reply->moves[reply->n_moves++] = move;
		FL_TRY(code);
	}
	return FL_OK;
}

enum fl_code core_rebalance(const struct core *core, size_t max_moves,
	Pb__RebalanceReply **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(rebalance_fini) struct rebalance r = {.core = core, .max_moves = max_moves};
	Pb__RebalanceReply *reply;
	enum fl_code code;

	if (r.max_moves == 0 || r.max_moves > LIMIT_MOVES)
		r.max_moves = LIMIT_MOVES;
	FL_TRY(begin(&r, err));
	plan_all(&r);
	reply = malloc(sizeof(*reply));
	if (reply == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__rebalance_reply__init(reply);
	code = answer(&r, reply, err);
	if (code != FL_OK) {
		core_message_free(&reply->base);
		return code;
	}
	*ret_reply = reply;
	return FL_OK;
}
