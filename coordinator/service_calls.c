/*
 * Calls: status and journal, between a person and a host.
 *
 *	flotactl                        coordinator                          agent
 *	CallRequest(unit)       ->      ORDERED: an order for the machine
 *	                        <-      CallReply(id)
 *	                                its held sync is answered       ->   SyncReply(calls)
 *	CallRequest(id)         ->      held
 *	                                held                            <-   CallOutputRequest(data)
 *	                        <-      CallReply(data)
 *	                                CallOutputReply                 ->   may send more
 *	...                             until `ended`: DONE
 *
 * At most one piece of output is here for a call, and the agent gets its answer only when that was
 * taken: so a slow reader slows the host's journalctl, and nothing grows here.
 *
 * What may go wrong: the asker goes, or stops asking (CANCELED: the agent is told with its sync,
 * or with its next output); the agent goes, is restarted or does not come for the order (the asker
 * gets an error); a sync's reply is lost, and the order with it (it goes out again, and agents know
 * by its ID that they have it); a connection breaks, and a request is sent again on the next one
 * (each side's last request is known by its ID: an asker's gets the same piece again, an agent's
 * that was taken is not given to the asker twice).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsm.h"
#include "base/log.h"
#include "base/map.h"
#include "base/random.h"
#include "coordinator/agents.h"
#include "coordinator/calls.h"
#include "coordinator/services.h"

#define TICK_MS   1000U
#define IDLE_MS   60000U /* nobody asks */
#define RESEND_MS 2000U /* until the agent shows that it has the order */
#define SENDS_MAX 4U
#define ORDER_MS  30000U /* the agent does not come for its order */
#define DONE_MS   10000U /* for an asker whose last reply was lost */
#define OUTPUT_MS (2U * IDLE_MS)
#define LINES_MAX 100000U

#define CALL_STATES(X) \
	X(CALL, ORDERED, FL_TO(CALL, RUNNING) | FL_TO(CALL, CANCELED) | FL_TO(CALL, DONE)) \
	X(CALL, RUNNING, FL_TO(CALL, CANCELED) | FL_TO(CALL, DONE)) \
	X(CALL, CANCELED, 0) \
	X(CALL, DONE, 0)
FL_FSM_DEFINE(call, CALL_STATES)

struct call {
	struct coordinator *coordinator;
	uint64_t id;
	char key[24]; /* the ID, for the map and the log */
	struct fl_fsm fsm;
	struct deadline tick;
	uint64_t since_ms; /* of the state */

	struct agent *agent; /* NULL when CALL_DONE */
	struct fl_list of_agent; /* agent_calls() */
	struct account *account; /* of who asks; nobody else may */
	bool charged;

	Pb__CallOrder order;
	uint64_t
		order_sync; /* request ID of the sync that took it, or the cancellation; 0 = none */
	uint64_t order_ms; /* and when */
	unsigned order_sends;

	struct exchange *asker; /* held; NULL = none */
	uint64_t asked_ms; /* when it last began or ended to be held */
	uint64_t answered_id; /* request ID of the last one that was given something */
	Pb__CallReply answer; /* what it was given: data is owned */

	struct fl_list outputs; /* held, with a piece that nobody has taken: one, or the same again
				   over another connection */
	uint64_t taken_id; /* request ID of the last one that was taken */

	struct fl_error error; /* why it is DONE, if not by its own end */
};

struct calls {
	struct fl_map *by_id;
};

enum fl_code calls_new(struct calls **ret_calls, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct calls *calls = FL_NEW(struct calls);

	if (calls == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&calls->by_id, err));
	*ret_calls = FL_TAKE(calls);
	return FL_OK;
}

static void make_key(uint64_t id, char key[24])
{
	(void)snprintf(key, 24, "%016" PRIx64, id);
}

static struct call *find(const struct coordinator *coordinator, uint64_t id)
{
	char key[24];

	make_key(id, key);
	return fl_map_get(coordinator->calls->by_id, key);
}

static void move(struct call *call, enum call_state state, const char *why)
{
	fl_fsm_move(&call->fsm, state, why);
	call->since_ms = fl_clock_boot_ms();
	call->order_sync = 0;
	call->order_sends = 0;
}

/* ---- Replies -- */

/* The piece that nobody has taken; NULL: none. */
static struct exchange *output_of(const struct call *call)
{
	if (fl_list_empty(&call->outputs))
		return NULL;
	return FL_LIST_ENTRY(call->outputs.next, struct exchange, held);
}

static void reply_output(struct exchange *exchange, bool stop)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__CallOutputReply body = PB__CALL_OUTPUT_REPLY__INIT;

	body.stop = stop;
	reply.body_case = PB__ENVELOPE__BODY_CALL_OUTPUT_REPLY;
	reply.call_output_reply = &body;
	exchange_reply(exchange, &reply);
}

static void reply_outputs(struct call *call, bool stop)
{
	struct fl_list *node;

	while ((node = fl_list_pop(&call->outputs)) != NULL)
		reply_output(FL_LIST_ENTRY(node, struct exchange, held), stop);
}

static void reply_call(struct exchange *exchange, const Pb__CallReply *answer)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	reply.body_case = PB__ENVELOPE__BODY_CALL_REPLY;
	reply.call_reply = (Pb__CallReply *)answer;
	exchange_reply(exchange, &reply);
}

/* "Nothing yet." */
static void reply_nothing(struct exchange *exchange, const struct call *call)
{
	Pb__CallReply answer = PB__CALL_REPLY__INIT;

	answer.call_id = call->id;
	reply_call(exchange, &answer);
}

static struct exchange *take_asker(struct call *call)
{
	call->asked_ms = fl_clock_boot_ms();
	return FL_TAKE(call->asker);
}

/* ---- The end of a call -- */

/* It no longer counts for the agent nor for who asks. */
static void settle_up(struct call *call)
{
	fl_list_remove(&call->of_agent);
	call->agent = NULL;
	if (call->charged)
		account_release_call(call->account);
	call->charged = false;
}

static void call_free(struct call *call)
{
	struct exchange *asker;

	if (call == NULL)
		return;
	settle_up(call);
	reply_outputs(call, true);
	asker = FL_TAKE(call->asker);
	if (asker != NULL)
		exchange_failf(asker, FL_E_CANCELED, "the call has ended");
	(void)fl_map_remove(call->coordinator->calls->by_id, call->key);
	deadlines_clear(call->coordinator->deadlines, &call->tick);
	account_put(call->account);
	free(call->order.unit);
	free(call->order.output);
	free(call->answer.data.data);
	free(call);
}

void calls_end_all(struct calls *calls)
{
	FL_MAP_FOREACH (entry, following, calls->by_id) {
		struct call *call = fl_map_value(entry);
		struct exchange *asker = take_asker(call);

		if (asker != NULL)
			exchange_failf(asker, FL_E_UNAVAILABLE, "the coordinator is stopping");
		call_free(call);
	}
}

void calls_free(struct calls *calls)
{
	if (calls == NULL)
		return;
	calls_end_all(calls);
	fl_map_free(calls->by_id);
	free(calls);
}

/* Nobody wants it any more. */
static void call_cancel(struct call *call, const char *why)
{
	struct agent *agent = call->agent;

	if (call->fsm.state == CALL_DONE || output_of(call) != NULL ||
		(call->fsm.state == CALL_ORDERED && call->order_sends == 0)) {
		/* The agent hears it with its output's answer, or has never heard of it. */
		call_free(call);
		return;
	}
	if (call->fsm.state == CALL_CANCELED)
		return;
	move(call, CALL_CANCELED, why);
	agent_push_calls(agent);
}

/* The agent's side is gone: whoever asks is told, now or when asking again. */
static void call_fail(struct call *call, enum fl_code code, const char *what)
{
	struct exchange *asker;

	(void)FL_FAIL(&call->error, code, "machine %s %s", agent_machine_id(call->agent), what);
	if (call->fsm.state == CALL_CANCELED) {
		call_free(call);
		return;
	}
	settle_up(call);
	move(call, CALL_DONE, what);
	asker = take_asker(call);
	if (asker != NULL) {
		exchange_fail(asker, &call->error);
		call_free(call);
	}
}

static enum fl_code set_tick(struct call *call, struct fl_error *err)
{
	return deadlines_set(
		call->coordinator->deadlines, &call->tick, fl_clock_boot_ms() + TICK_MS, err);
}

/* An order, or its cancellation, that may have been lost goes out again, a few times. False: it has
 * been sent often enough, and must have arrived. */
static bool order_again(struct call *call, uint64_t now_ms)
{
	if (call->order_sync == 0 || now_ms - call->order_ms < RESEND_MS)
		return true;
	if (call->order_sends >= SENDS_MAX)
		return false;
	call->order_sync = 0;
	agent_push_calls(call->agent);
	return true;
}

static void check(struct call *call, uint64_t now_ms)
{
	uint64_t in_state_ms = now_ms - call->since_ms;
	bool idle = call->asker == NULL && now_ms - call->asked_ms >= IDLE_MS;

	switch ((enum call_state)call->fsm.state) {
	case CALL_DONE:
		if (in_state_ms >= (call->error.code != FL_OK ? IDLE_MS : DONE_MS))
			call_free(call);
		return;
	case CALL_CANCELED:
		if (in_state_ms >= IDLE_MS || !order_again(call, now_ms))
			call_free(call);
		return;
	case CALL_ORDERED:
	case CALL_RUNNING:
		if (!agent_is_heard(call->agent))
			call_fail(call, FL_E_UNAVAILABLE, "is not heard of any more");
		else if (call->fsm.state == CALL_ORDERED && call->order_sends == 0 &&
			 in_state_ms >= ORDER_MS)
			call_fail(call, FL_E_TIMEOUT, "does not come for its orders");
		else if (idle)
			call_cancel(call, "nobody asks");
		else if (call->fsm.state == CALL_ORDERED && !order_again(call, now_ms))
			move(call, CALL_RUNNING, "its order went out often enough");
		return;
	}
}

static void on_tick(struct deadline *deadline, uint64_t now_ms)
{
	struct call *call = FL_CONTAINER(deadline, struct call, tick);
	struct fl_error err = {0};

	if (set_tick(call, &err) != FL_OK) {
		/* Without its tick it could live for ever. */
		call_free(call);
		return;
	}
	check(call, now_ms);
}

/* ---- Output reaches the asker -- */

static enum fl_code keep_answer(
	struct call *call, const Pb__CallOutputRequest *output, struct fl_error *err)
{
	void *data = fl_memdup0(output->data.data, output->data.len);

	if (data == NULL)
		return FL_FAIL_NO_MEMORY(err);
	free(call->answer.data.data);
	call->answer.call_id = call->id;
	call->answer.data.data = data;
	call->answer.data.len = output->data.len;
	call->answer.ended = output->ended;
	call->answer.exit_code = output->exit_code;
	return FL_OK;
}

static void deliver(struct call *call)
{
	const struct exchange *output = output_of(call);
	const Pb__CallOutputRequest *piece;
	struct exchange *asker;
	struct fl_error err = {0};

	if (call->asker == NULL || output == NULL)
		return;
	piece = output->message->call_output_request;
	asker = take_asker(call);
	if (keep_answer(call, piece, &err) != FL_OK) {
		exchange_fail(asker, &err);
		return;
	}
	call->answered_id = asker->message->request_id;
	call->taken_id = output->message->request_id;
	if (piece->error[0] != '\0') {
		(void)FL_FAIL(&call->error, FL_E_FAILED, "%s", piece->error);
		exchange_fail(asker, &call->error);
	} else {
		reply_call(asker, &call->answer);
	}
	reply_outputs(call, false);
	if (call->answer.ended || call->error.code != FL_OK) {
		settle_up(call);
		move(call, CALL_DONE, "ended");
	}
}

/* ---- The asker -- */

static void asker_gone(struct exchange *exchange)
{
	struct call *call = exchange->owner;

	call->asker = NULL;
	call_cancel(call, "the asker is gone");
}

static void asker_expired(struct exchange *exchange)
{
	struct call *call = exchange->owner;

	(void)take_asker(call);
	reply_nothing(exchange, call);
}

static const struct exchange_holder asker_holder = {
	.gone = asker_gone,
	.expired = asker_expired,
};

static enum fl_code check_begin(
	struct exchange *exchange, struct agent **ret_agent, struct fl_error *err)
{
	const struct coordinator *coordinator = exchange->coordinator;
	const Pb__CallRequest *request = exchange->message->call_request;
	const char *machine_id;
	const struct call *call;
	struct agent *agent;
	unsigned n = 0;

	if (request->kind == PB__CALL_REQUEST__KIND__KIND_UNSPECIFIED)
		return FL_FAIL(err, FL_E_INVALID, "a call is for status or for the journal");
	FL_TRY(core_placement_find(
		coordinator->core, request->unit, request->machine_id, &machine_id, err));
	agent = agents_find(coordinator->agents, machine_id);
	if (agent == NULL || !agent_is_heard(agent))
		return FL_FAIL(err, FL_E_UNAVAILABLE, "%s is on machine %s, which is not heard of",
			request->unit, machine_id);
	FL_LIST_FOREACH (call, agent_calls(agent), of_agent)
		n += call->fsm.state != CALL_CANCELED;
	if (n >= LIMIT_CALLS)
		return FL_FAIL(err, FL_E_LIMIT, "machine %s has %u calls under way", machine_id, n);
	*ret_agent = agent;
	return FL_OK;
}

static enum fl_code call_fill(
	struct call *call, struct exchange *exchange, struct agent *agent, struct fl_error *err)
{
	const Pb__CallRequest *request = exchange->message->call_request;

	pb__call_order__init(&call->order);
	pb__call_reply__init(&call->answer);
	call->order.call_id = call->id;
	call->order.kind = request->kind;
	call->order.lines = request->lines < LINES_MAX ? request->lines : LINES_MAX;
	call->order.follow = request->follow;
	call->order.unit = fl_strdup(request->unit);
	call->order.output = fl_strdup(request->output);
	if (call->order.unit == NULL || call->order.output == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(account_get(
		exchange->coordinator->accounts, exchange_identity(exchange), &call->account, err));
	FL_TRY(account_charge_call(call->account, err));
	call->charged = true;
	FL_TRY(fl_map_put(exchange->coordinator->calls->by_id, call->key, call, err));
	FL_TRY(set_tick(call, err));
	call->agent = agent;
	fl_list_append(agent_calls(agent), &call->of_agent);
	return FL_OK;
}

static void begin(struct exchange *exchange)
{
	struct agent *agent = NULL;
	struct fl_error err = {0};
	struct call *call;

	if (check_begin(exchange, &agent, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	call = FL_NEW(struct call);
	if (call == NULL) {
		exchange_failf(exchange, FL_E_NO_MEMORY, "out of memory");
		return;
	}
	call->coordinator = exchange->coordinator;
	call->id = fl_random_id();
	make_key(call->id, call->key);
	fl_fsm_init(&call->fsm, &call_fsm_def, call->key);
	fl_list_init(&call->outputs);
	call->tick.expired = on_tick;
	call->since_ms = call->asked_ms = fl_clock_boot_ms();
	if (call_fill(call, exchange, agent, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		call_free(call);
		return;
	}
	fl_log(FL_DEBUG, "call.begin", "call=%s unit=%s machine=%s", call->key, call->order.unit,
		agent_machine_id(agent));
	reply_nothing(exchange, call);
	agent_push_calls(agent);
}

/* Only who began it may ask for its output; to others it does not exist. */
static struct call *find_own(struct exchange *exchange)
{
	struct call *call = find(exchange->coordinator, exchange->message->call_request->call_id);
	struct account *account = NULL;
	bool own;

	if (call == NULL || account_get(exchange->coordinator->accounts,
				    exchange_identity(exchange), &account, NULL) != FL_OK)
		return NULL;
	own = account == call->account;
	account_put(account);
	return own ? call : NULL;
}

/* What an asker gets of a call that is over: what it was told before, or should have been. */
static void answer_done(struct call *call, struct exchange *exchange)
{
	Pb__CallReply answer = PB__CALL_REPLY__INIT;

	if (call->error.code != FL_OK) {
		exchange_fail(exchange, &call->error);
		return;
	}
	answer.call_id = call->id;
	answer.ended = true;
	answer.exit_code = call->answer.exit_code;
	reply_call(exchange, &answer);
}

static void end(struct call *call, struct exchange *exchange)
{
	Pb__CallReply answer = PB__CALL_REPLY__INIT;

	answer.call_id = call->id;
	answer.ended = true;
	reply_call(exchange, &answer);
	call_cancel(call, "the asker ended it");
}

void service_call(struct exchange *exchange)
{
	struct exchange *older;
	struct call *call;

	if (exchange->message->call_request->call_id == 0) {
		begin(exchange);
		return;
	}
	call = find_own(exchange);
	if (call == NULL || call->fsm.state == CALL_CANCELED) {
		exchange_failf(exchange, FL_E_NOT_FOUND, "there is no such call, or no longer");
		return;
	}
	if (exchange->message->call_request->end) {
		end(call, exchange);
		return;
	}
	if (call->error.code == FL_OK && call->answered_id == exchange->message->request_id) {
		reply_call(exchange, &call->answer);
		return;
	}
	if (call->fsm.state == CALL_DONE) {
		answer_done(call, exchange);
		return;
	}
	older = take_asker(call);
	if (older != NULL)
		reply_nothing(older, call);
	if (!exchange_hold(exchange, &asker_holder, call))
		return;
	call->asker = exchange;
	deliver(call);
}

/* ---- The agent -- */

static void output_gone(struct exchange *exchange)
{
	/* It leaves its list when it is freed. If only the connection broke, the agent sends it
	 * again over the next one. */
	(void)exchange;
}

static void output_expired(struct exchange *exchange)
{
	call_free(exchange->owner); /* which answers it */
}

static const struct exchange_holder output_holder = {
	.gone = output_gone,
	.expired = output_expired,
};

void service_call_output(struct exchange *exchange)
{
	const Pb__CallOutputRequest *request = exchange->message->call_output_request;
	struct call *call = find(exchange->coordinator, request->call_id);
	uint64_t request_id = exchange->message->request_id;
	const struct exchange *before;

	if (call != NULL && call->taken_id == request_id) {
		reply_output(exchange, false);
		return;
	}
	if (call == NULL || call->agent == NULL ||
		strcmp(agent_machine_id(call->agent), request->machine_id) != 0) {
		reply_output(exchange, true);
		return;
	}
	if (call->fsm.state == CALL_CANCELED) {
		reply_output(exchange, true);
		call_free(call);
		return;
	}
	before = output_of(call);
	if (before != NULL && before->message->request_id != request_id) {
		exchange_failf(exchange, FL_E_LIMIT, "what came before has not been taken yet");
		return;
	}
	if (call->fsm.state == CALL_ORDERED)
		move(call, CALL_RUNNING, "output");
	/* The call's own idle time ends it, not the agent's patience: the piece would be lost. */
	exchange->message->deadline_ms = OUTPUT_MS;
	if (!exchange_hold(exchange, &output_holder, call))
		return;
	fl_list_append(&call->outputs, &exchange->held);
	deliver(call);
}

/* ---- Orders, on the agent's sync -- */

static bool waits_for(const struct call *call, uint64_t request_id)
{
	return (call->fsm.state == CALL_ORDERED || call->fsm.state == CALL_CANCELED) &&
	       (call->order_sync == 0 || call->order_sync == request_id);
}

bool calls_wait_for(struct agent *agent, uint64_t request_id)
{
	const struct call *call;

	FL_LIST_FOREACH (call, agent_calls(agent), of_agent)
		if (waits_for(call, request_id))
			return true;
	return false;
}

static Pb__CallOrder *copy_order(const struct call *call)
{
	Pb__CallOrder *order = malloc(sizeof(*order));

	if (order == NULL)
		return NULL;
	*order = call->order;
	order->cancel = call->fsm.state == CALL_CANCELED;
	order->unit = fl_strdup(call->order.unit);
	order->output = fl_strdup(call->order.output);
	if (order->unit != NULL && order->output != NULL)
		return order;
	free(order->unit);
	free(order->output);
	free(order);
	return NULL;
}

void calls_take_orders(struct agent *agent, uint64_t request_id, Pb__SyncReply *reply)
{
	struct call *call;

	if (!calls_wait_for(agent, request_id))
		return;
	reply->calls = fl_new_array(2 * LIMIT_CALLS, sizeof(*reply->calls));
	if (reply->calls == NULL)
		return;
	FL_LIST_FOREACH (call, agent_calls(agent), of_agent) {
		Pb__CallOrder *order;

		if (!waits_for(call, request_id) || reply->n_calls == 2 * LIMIT_CALLS)
			continue;
		order = copy_order(call);
		if (order == NULL)
			return;
		call->order_sync = request_id;
		call->order_ms = fl_clock_boot_ms();
		call->order_sends++;
		reply->calls[reply->n_calls++] = order;
	}
}

void calls_agent_restarted(struct agent *agent)
{
	struct call *call, *following;

	FL_LIST_FOREACH_SAFE (call, agent_calls(agent), of_agent, following)
		if (call->fsm.state != CALL_ORDERED || call->order_sends > 0)
			call_fail(call, FL_E_UNAVAILABLE, "has restarted its agent");
}
