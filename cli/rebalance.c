/*
 * The coordinator plans; here the plan is shown, and carried out some moves at a time: each is asked
 * for when one before it is over, so that whoever interrupts leaves nothing half done but those.
 */
#include "cli/rebalance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/table.h"
#include "cli/term.h"

#define EXIT_CHANGES     2
#define EXIT_INTERRUPTED 130

#define PARALLEL 4U
#define HOLD_MS  5000U

/* A machine lets go of a unit within 90 s, or is not asked; then it starts. */
#define MOVE_MAX_MS 300000U

/* ---- The plan -- */

static enum fl_code ask_plan(struct command *command, struct connection *connection,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__RebalanceRequest body = PB__REBALANCE_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	body.max_moves = (uint32_t)command->options->max_moves;
	request.body_case = PB__ENVELOPE__BODY_REBALANCE_REQUEST;
	request.rebalance_request = &body;
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_REBALANCE_REPLY, 0, ret_reply, err);
}

static enum fl_code show_plan(const Pb__RebalanceReply *plan, struct fl_error *err)
{
	static const char *const headings[] = {"UNIT", "FROM", "TO", "WHY"};
	FL_CLEANUP(table_freep) struct table *table = NULL;
	char name[MACHINE_TEXT_MAX];

	FL_TRY(table_new(FL_COUNT(headings), &table, err));
	for (size_t i = 0; i < FL_COUNT(headings); i++)
		FL_TRY(table_add(table, headings[i], TERM_BOLD, err));
	for (size_t i = 0; i < plan->n_moves; i++) {
		const Pb__Move *move = plan->moves[i];

		FL_TRY(table_add(table, move->unit, TERM_PLAIN, err));
		machine_text(move->from, move->from_address, false, name);
		FL_TRY(table_add(table, name, TERM_PLAIN, err));
		machine_text(move->to, move->to_address, false, name);
		FL_TRY(table_add(table, name, TERM_PLAIN, err));
		FL_TRY(table_add(table, move->reason, TERM_PLAIN, err));
	}
	table_print(table, term_has_colours(stdout), stdout);
	return FL_OK;
}

static json_t *json_of_move(const Pb__Move *move)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:o}", "unit", move->unit, "from", move->from, "to",
		move->to, "reason", json_of_text(move->reason), "error", json_of_text(move->error));
}

static enum fl_code print_json(const Pb__RebalanceReply *plan, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < plan->n_moves; i++)
		FL_TRY(json_add(array, json_of_move(plan->moves[i]), err));
	return json_print(array, err);
}

/* ---- Moving -- */

enum step { STEP_PLANNED, STEP_MOVING, STEP_OVER };

struct moving {
	Pb__Move *move; /* the plan's; its error says why it did not end there */
	enum step step;
	uint64_t began_ms;
};

struct rebalance {
	struct command *command;
	struct connection *connection;
	Pb__RebalanceReply *plan;
	struct moving *all;
	size_t n_begun, n_moving, n_over, n_failed;
	bool json;
};

static void over(struct rebalance *r, struct moving *moving, const char *error)
{
	const Pb__Move *move = moving->move;
	char name[MACHINE_TEXT_MAX];

	r->n_moving -= moving->step == STEP_MOVING;
	moving->step = STEP_OVER;
	r->n_over++;
	r->n_failed += error != NULL;
	term_progress(NULL);
	if (error != NULL) {
		term_warning("Unit %s: %s", move->unit, error);
		return;
	}
	machine_text(move->to, move->to_address, false, name);
	if (!r->json)
		printf("Unit %s moved to %s\n", move->unit, name);
	(void)fflush(stdout);
}

/* Asks for the next moves, as many as may be under way. */
static enum fl_code begin_next(struct rebalance *r, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__RebalanceRequest body = PB__REBALANCE_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	Pb__Move *moves[PARALLEL];
	struct moving *first = &r->all[r->n_begun];

	while (r->n_moving + body.n_moves < PARALLEL &&
		r->n_begun + body.n_moves < r->plan->n_moves) {
		moves[body.n_moves] = first[body.n_moves].move;
		body.n_moves++;
	}
	if (body.n_moves == 0)
		return FL_OK;
	body.moves = moves;
	body.token = fl_random_id();
	request.body_case = PB__ENVELOPE__BODY_REBALANCE_REQUEST;
	request.rebalance_request = &body;
	FL_TRY(connection_ask(
		r->connection, &request, PB__ENVELOPE__BODY_REBALANCE_REPLY, 0, &reply, err));
	for (size_t i = 0; i < body.n_moves; i++) {
		const char *error = i < reply->rebalance_reply->n_moves
					    ? reply->rebalance_reply->moves[i]->error
					    : "";

		if (*error != '\0') {
			over(r, &first[i], error);
			continue;
		}
		first[i].step = STEP_MOVING;
		first[i].began_ms = fl_clock_boot_ms();
		r->n_moving++;
	}
	r->n_begun += body.n_moves;
	return FL_OK;
}

static void judge(struct rebalance *r, struct moving *moving, const Pb__Unit *unit)
{
	const Pb__Placement *placement = unit->n_placements == 1 ? unit->placements[0] : NULL;
	const Pb__UnitState *state = placement != NULL ? placement_state(placement) : NULL;
	char text[MACHINE_TEXT_MAX + 100];
	int len;

	if (unit->desired == PB__DESIRED_STATE__INACTIVE) {
		over(r, moving, "it was stopped meanwhile");
	} else if (placement == NULL) {
		if (fl_clock_boot_ms() > moving->began_ms + MOVE_MAX_MS)
			over(r, moving, unit->waiting);
	} else if (strcmp(placement->machine_id, moving->move->to) != 0) {
		len = snprintf(text, sizeof(text), "it did not fit there any more, and is on ");
		machine_text(placement->machine_id, placement->address, false, text + len);
		over(r, moving, text);
	} else if (state != NULL && strcmp(state->active, "failed") == 0) {
		over(r, moving, "it failed to start there");
	} else if (state != NULL && state->done_revision > 0) {
		over(r, moving, NULL);
	}
}

static enum fl_code look(struct rebalance *r, uint64_t *since, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__UnitsRequest body = PB__UNITS_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	char *names[PARALLEL];
	char text[100];

	for (size_t i = 0; i < r->n_begun; i++)
		if (r->all[i].step == STEP_MOVING)
			names[body.n_names++] = r->all[i].move->unit;
	(void)snprintf(text, sizeof(text), "moving: %zu of %zu units are there", r->n_over,
		r->plan->n_moves);
	term_progress(text);
	body.names = names;
	body.since = *since;
	request.body_case = PB__ENVELOPE__BODY_UNITS_REQUEST;
	request.units_request = &body;
	FL_TRY(connection_ask(r->connection, &request, PB__ENVELOPE__BODY_UNITS_REPLY,
		*since > 0 ? HOLD_MS : 0, &reply, err));
	/* An answer that says nothing new is followed by one about all of them. */
	*since = reply->units_reply->n_units > 0 ? reply->units_reply->revision : 0;
	for (size_t i = 0; i < r->n_begun; i++) {
		struct moving *moving = &r->all[i];

		for (size_t k = 0; k < reply->units_reply->n_units; k++)
			if (moving->step == STEP_MOVING &&
				strcmp(reply->units_reply->units[k]->name, moving->move->unit) == 0)
				judge(r, moving, reply->units_reply->units[k]);
		for (size_t k = 0; k < reply->units_reply->n_gone; k++)
			if (moving->step == STEP_MOVING &&
				strcmp(reply->units_reply->gone[k], moving->move->unit) == 0)
				over(r, moving, "it was destroyed meanwhile");
	}
	return FL_OK;
}

static enum fl_code carry_out(struct rebalance *r, struct fl_error *err)
{
	uint64_t since = 0;
	size_t n_over;

	FL_TRY(connection_catch_signals(r->connection, err));
	while (r->n_over < r->plan->n_moves) {
		FL_TRY(begin_next(r, err));
		n_over = r->n_over;
		if (r->n_moving > 0)
			FL_TRY(look(r, &since, err));
		if (r->n_over > n_over)
			since = 0;
	}
	return FL_OK;
}

static enum fl_code move_all(struct command *command, struct connection *connection,
	Pb__RebalanceReply *plan, bool json, struct fl_error *err)
{
	FL_CLEANUP(fl_freep)
	struct moving *all = fl_new_array(plan->n_moves, sizeof(struct moving));
	struct rebalance r = {.command = command,
		.connection = connection,
		.plan = plan,
		.all = all,
		.json = json};
	enum fl_code code;

	if (all == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < plan->n_moves; i++)
		all[i].move = plan->moves[i];
	code = carry_out(&r, err);
	term_progress(NULL);
	if (code == FL_E_CANCELED) {
		fprintf(stderr,
			"%zu of %zu units have moved; of those that had begun nothing is "
			"undone\n",
			r.n_over, plan->n_moves);
		command->exit_code = EXIT_INTERRUPTED;
		return FL_OK;
	}
	FL_TRY(code);
	if (r.n_failed > 0)
		command->exit_code = fl_code_exit(FL_E_FAILED);
	return FL_OK;
}

enum fl_code verb_rebalance(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__RebalanceReply *plan;
	char question[64];
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(ask_plan(command, connection, &reply, err));
	plan = reply->rebalance_reply;
	if (json)
		FL_TRY(print_json(plan, err));
	else if (plan->n_moves == 0)
		printf("Nothing to move: the machines are about equally full\n");
	else
		FL_TRY(show_plan(plan, err));
	if (plan->n_moves == 0)
		return FL_OK;
	if (command->options->dry_run) {
		command->exit_code = EXIT_CHANGES;
		return FL_OK;
	}
	(void)snprintf(question, sizeof(question), "Move %zu unit%s?", plan->n_moves,
		plan->n_moves > 1 ? "s" : "");
	if (!command->options->yes)
		FL_TRY(term_confirm(question, "nothing was moved", err));
	return move_all(command, connection, plan, json, err);
}
