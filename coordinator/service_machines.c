/* What operators ask about machines: take them out, put them back, even out their load. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/batch.h"
#include "coordinator/gate.h"
#include "coordinator/services.h"
#include "coordinator/tokens.h"

/* As it is shown to others: "cordoned by ana". */
static const char *who(const struct exchange *exchange)
{
	const struct identity *identity = exchange_identity(exchange);

	return identity->kind == IDENTITY_OPERATOR ? identity->name : "root";
}

/* A request that was answered before gets the same answer; one that the store would not keep, none.
 * true: it has been answered. */
static bool answer_early(struct exchange *exchange, uint64_t token)
{
	struct coordinator *coordinator = exchange->coordinator;
	FL_CLEANUP(wire_freep)
	Pb__Envelope *before = tokens_find(coordinator->tokens, exchange_identity(exchange), token);
	struct fl_error err = {0};

	if (before != NULL)
		exchange_reply_durable(exchange, before);
	else if (batch_check_store(coordinator->batch, &err) != FL_OK)
		exchange_fail(exchange, &err);
	else
		return false;
	return true;
}

/* ---- cordon, uncordon, drain; revoke, remove, adopt -- */

static bool set_error(Pb__MachineChangeResult *result, const struct fl_error *why)
{
	Pb__Error *error = malloc(sizeof(*error));

	if (error == NULL)
		return false;
	pb__error__init(error);
	result->error = error;
	error->code = fl_code_to_wire(why->code);
	error->text = fl_strdup(fl_error_text(why));
	return error->text != NULL;
}

static bool change_one(struct exchange *exchange, const char *id, Pb__MachineChangeResult *result)
{
	const Pb__MachineChangeRequest *request = exchange->message->machine_change_request;
	struct coordinator *coordinator = exchange->coordinator;
	struct core_event event = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {.verb = request->verb,
			.machine_id = id,
			.by = who(exchange),
			.reason = request->reason,
			.deadline_ms = request->deadline_ms,
			.parallel = request->parallel,
			.force = request->force,
			.key_pin = request->key_pin.len == CORE_HASH_BYTES ? request->key_pin.data
									   : NULL}};
	struct core_answer answer;
	struct fl_error why = {0};
	char whole[LIMIT_NAME + 1];
	enum fl_code code;

	/* Of one that is forgotten nobody could say any more who it was. */
	if (core_machine_find(coordinator->core, id, &id, NULL) == FL_OK) {
		(void)snprintf(whole, sizeof(whole), "%s", id);
		id = whole;
	}
	code = coordinator_step(coordinator, &event, &answer, &why);
	if (code == FL_OK && request->verb >= PB__MACHINE_CHANGE_REQUEST__VERB__REVOKE)
		gate_update(coordinator, id);
	if (code == FL_OK && core_machine_find(coordinator->core, id, &id, NULL) == FL_OK)
		code = core_machine_get(
			coordinator->core, id, fl_clock_boot_ms(), &result->machine, &why);
	return code == FL_OK || set_error(result, &why);
}

static void results_free(Pb__MachineChangeReply *reply)
{
	for (size_t i = 0; i < reply->n_results; i++)
		core_message_free(&reply->results[i]->base);
	free(reply->results);
}

static bool change_all(struct exchange *exchange, Pb__MachineChangeReply *reply)
{
	const Pb__MachineChangeRequest *request = exchange->message->machine_change_request;

	reply->results = fl_new_array(request->n_machines + 1, sizeof(*reply->results));
	if (reply->results == NULL)
		return false;
	for (size_t i = 0; i < request->n_machines; i++) {
		Pb__MachineChangeResult *result = malloc(sizeof(*result));

		if (result == NULL)
			return false;
		pb__machine_change_result__init(result);
		reply->results[reply->n_results++] = result;
		if (!change_one(exchange, request->machines[i], result))
			return false;
	}
	return true;
}

void service_machine_change(struct exchange *exchange)
{
	const Pb__MachineChangeRequest *request = exchange->message->machine_change_request;
	Pb__MachineChangeReply body = PB__MACHINE_CHANGE_REPLY__INIT;
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	if (answer_early(exchange, request->token))
		return;
	fl_log(FL_INFO, "machines.change", "by=%s verb=%d machines=%zu", who(exchange),
		(int)request->verb, request->n_machines);
	if (!change_all(exchange, &body)) {
		results_free(&body);
		exchange_failf(exchange, FL_E_NO_MEMORY, "the coordinator is out of memory");
		return;
	}
	body.revision = core_revision(exchange->coordinator->core);
	reply.body_case = PB__ENVELOPE__BODY_MACHINE_CHANGE_REPLY;
	reply.machine_change_reply = &body;
	tokens_remember(
		exchange->coordinator->tokens, exchange_identity(exchange), request->token, &reply);
	exchange_reply_durable(exchange, &reply);
	results_free(&body);
}

/* ---- rebalance -- */

static void plan(struct exchange *exchange)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__RebalanceReply *body = NULL;
	struct fl_error err = {0};

	if (core_rebalance(exchange->coordinator->core,
		    exchange->message->rebalance_request->max_moves, &body, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	reply.body_case = PB__ENVELOPE__BODY_REBALANCE_REPLY;
	reply.rebalance_reply = body;
	exchange_reply_durable(exchange, &reply);
	core_message_free(&body->base);
}

/* Begins those moves that make sense still; they come back with their errors. */
static void move_all(struct exchange *exchange)
{
	struct coordinator *coordinator = exchange->coordinator;
	Pb__RebalanceRequest *request = exchange->message->rebalance_request;
	Pb__RebalanceReply body = PB__REBALANCE_REPLY__INIT;
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	fl_log(FL_INFO, "units.move", "by=%s moves=%zu", who(exchange), request->n_moves);
	for (size_t i = 0; i < request->n_moves; i++) {
		Pb__Move *move = request->moves[i];
		struct core_event event = {.kind = CORE_MOVE,
			.move = {.unit = move->unit, .from = move->from, .to = move->to}};
		struct core_answer answer;
		struct fl_error why = {0};
		char *error;

		if (coordinator_step(coordinator, &event, &answer, &why) == FL_OK)
			continue;
		error = fl_strdup(fl_error_text(&why));
		if (error == NULL) {
			exchange_failf(
				exchange, FL_E_NO_MEMORY, "the coordinator is out of memory");
			return;
		}
		if (*move->error != '\0')
			free(move->error);
		move->error = error;
	}
	body.revision = core_revision(coordinator->core);
	body.moves = request->moves;
	body.n_moves = request->n_moves;
	reply.body_case = PB__ENVELOPE__BODY_REBALANCE_REPLY;
	reply.rebalance_reply = &body;
	tokens_remember(coordinator->tokens, exchange_identity(exchange), request->token, &reply);
	exchange_reply_durable(exchange, &reply);
}

void service_rebalance(struct exchange *exchange)
{
	if (exchange->message->rebalance_request->n_moves == 0)
		plan(exchange);
	else if (!answer_early(exchange, exchange->message->rebalance_request->token))
		move_all(exchange);
}
