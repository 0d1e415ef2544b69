/* status and journal: between a person and a machine, both played here, through the real
 * coordinator. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "coordinator/test_peers.h"

/* A unit on m1, which holds a sync. */
struct stage {
	struct fixture *f;
	struct known known;
	struct asked *sync;
};

static void set_stage(struct stage *stage, struct fixture *f)
{
	Pb__Envelope *reply;

	stage->f = f;
	join(f->m1, "m1", 1, &stage->known);
	stage->sync = next_sync(f->m1, "m1", 1, &stage->known);
	(void)launch(f->ana, "a.service");
	reply = wait_sync(stage->sync);
	assert_int_equal(reply->sync_reply->n_assignments, 1);
	stage->known.revision = reply->sync_reply->revision;
	wire_free(reply);
	stage->sync = next_sync(f->m1, "m1", 1, &stage->known);
}

/* The orders that the machine gets next; it asks again at once. */
static Pb__Envelope *take_orders(struct stage *stage, size_t n)
{
	Pb__Envelope *reply = wait_sync(stage->sync);

	assert_int_equal(reply->sync_reply->n_assignments, 0);
	assert_int_equal(reply->sync_reply->n_calls, n);
	assert_int_equal(reply->sync_reply->revision, stage->known.revision);
	stage->sync = next_sync(stage->f->m1, "m1", 1, &stage->known);
	return reply;
}

static struct asked *ask_call_id(
	struct peer *peer, uint64_t call_id, bool end, uint32_t wait_ms, uint64_t request_id)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__CallRequest request = PB__CALL_REQUEST__INIT;

	request.call_id = call_id;
	request.end = end;
	envelope.deadline_ms = wait_ms;
	envelope.request_id = request_id;
	envelope.body_case = PB__ENVELOPE__BODY_CALL_REQUEST;
	envelope.call_request = &request;
	return peer_ask(peer, &envelope);
}

static struct asked *ask_call(struct peer *peer, uint64_t call_id)
{
	return ask_call_id(peer, call_id, false, 0, 0);
}

static uint64_t begin(struct peer *peer)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__CallRequest request = PB__CALL_REQUEST__INIT;
	Pb__Envelope *reply;
	struct fl_error err = {0};
	uint64_t call_id;

	request.unit = (char *)"a.service";
	request.kind = PB__CALL_REQUEST__KIND__JOURNAL;
	request.lines = 10;
	request.follow = true;
	request.output = (char *)"cat";
	envelope.body_case = PB__ENVELOPE__BODY_CALL_REQUEST;
	envelope.call_request = &request;
	reply = peer_call(peer, &envelope);
	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	call_id = reply->call_reply->call_id;
	assert_int_not_equal(call_id, 0);
	wire_free(reply);
	return call_id;
}

struct output {
	uint64_t call_id, request_id;
	const char *data, *error;
	bool ended;
	int exit_code;
};

static struct asked *ask_output(
	struct peer *peer, const char *machine_id, const struct output *given)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__CallOutputRequest request = PB__CALL_OUTPUT_REQUEST__INIT;

	request.machine_id = (char *)machine_id;
	request.call_id = given->call_id;
	if (given->data != NULL) {
		request.data.data = (uint8_t *)given->data;
		request.data.len = strlen(given->data);
	}
	if (given->error != NULL)
		request.error = (char *)given->error;
	request.ended = given->ended;
	request.exit_code = given->exit_code;
	envelope.request_id = given->request_id;
	envelope.body_case = PB__ENVELOPE__BODY_CALL_OUTPUT_REQUEST;
	envelope.call_output_request = &request;
	return peer_ask(peer, &envelope);
}

static bool output_is_stopped(struct asked *asked)
{
	Pb__Envelope *reply = asked_wait(asked);
	bool stop;

	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_CALL_OUTPUT_REPLY);
	stop = reply->call_output_reply->stop;
	wire_free(reply);
	return stop;
}

static void assert_answer(struct asked *asked, const char *data, bool ended, int exit_code)
{
	Pb__Envelope *reply = asked_wait(asked);
	struct fl_error err = {0};

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(reply->call_reply->data.len, strlen(data));
	assert_memory_equal(reply->call_reply->data.data, data, strlen(data));
	assert_int_equal(reply->call_reply->ended, ended);
	assert_int_equal(reply->call_reply->exit_code, exit_code);
	wire_free(reply);
}

static void assert_error(struct asked *asked, enum fl_code code, const char *text)
{
	Pb__Envelope *reply = asked_wait(asked);
	struct fl_error err = {0};

	assert_int_equal(wire_reply_error(reply, &err), code);
	if (strstr(err.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
	wire_free(reply);
}

static void test_to_the_end(void **state)
{
	struct stage stage;
	struct asked *asker, *output;
	const Pb__CallOrder *order;
	Pb__Envelope *reply;
	uint64_t call_id;

	set_stage(&stage, *state);
	call_id = begin(stage.f->ana);
	reply = take_orders(&stage, 1);
	order = reply->sync_reply->calls[0];
	assert_int_equal(order->call_id, call_id);
	assert_string_equal(order->unit, "a.service");
	assert_int_equal(order->kind, PB__CALL_REQUEST__KIND__JOURNAL);
	assert_int_equal(order->lines, 10);
	assert_true(order->follow);
	assert_string_equal(order->output, "cat");
	assert_false(order->cancel);
	wire_free(reply);

	/* The asker was first. */
	asker = ask_call(stage.f->ana, call_id);
	output = ask_output(stage.f->m1, "m1",
		&(struct output){.call_id = call_id, .request_id = 77, .data = "one\n"});
	assert_answer(asker, "one\n", false, 0);
	assert_false(output_is_stopped(output));
	/* The same piece again, its answer having been lost: taken, and not given twice. */
	assert_false(output_is_stopped(ask_output(stage.f->m1, "m1",
		&(struct output){.call_id = call_id, .request_id = 77, .data = "one\n"})));

	/* The machine was first: it waits until the piece is taken. */
	output = ask_output(stage.f->m1, "m1",
		&(struct output){
			.call_id = call_id, .data = "two\n", .ended = true, .exit_code = 3});
	report(stage.f->m1, "m1", NULL); /* it has arrived by now */
	assert_false(asked_is_done(output));
	assert_answer(ask_call_id(stage.f->ana, call_id, false, 0, 88), "two\n", true, 3);
	assert_false(output_is_stopped(output));
	/* An asker whose reply was lost gets the same again; one that asks on hears the end. */
	assert_answer(ask_call_id(stage.f->ana, call_id, false, 0, 88), "two\n", true, 3);
	assert_answer(ask_call(stage.f->ana, call_id), "", true, 3);
	assert_false(asked_is_done(stage.sync));
	asked_cancel(stage.sync);
}

static void test_asker_waits_and_is_told_nothing(void **state)
{
	struct stage stage;
	uint64_t call_id;

	set_stage(&stage, *state);
	call_id = begin(stage.f->ana);
	assert_answer(ask_call_id(stage.f->ana, call_id, false, 200, 0), "", false, 0);
	wire_free(take_orders(&stage, 1));
	asked_cancel(stage.sync);
}

static void test_asker_ends_it(void **state)
{
	struct stage stage;
	Pb__Envelope *reply;
	uint64_t call_id;

	set_stage(&stage, *state);
	call_id = begin(stage.f->ana);
	wire_free(take_orders(&stage, 1));
	assert_answer(ask_call_id(stage.f->ana, call_id, true, 0, 0), "", true, 0);
	reply = take_orders(&stage, 1);
	assert_true(reply->sync_reply->calls[0]->cancel);
	assert_int_equal(reply->sync_reply->calls[0]->call_id, call_id);
	wire_free(reply);
	/* Should the machine not have understood, its output tells it. */
	assert_true(output_is_stopped(
		ask_output(stage.f->m1, "m1", &(struct output){.call_id = call_id, .data = "x"})));
	assert_error(ask_call(stage.f->ana, call_id), FL_E_NOT_FOUND, "no such call");
	asked_cancel(stage.sync);
}

static void test_asker_goes(void **state)
{
	struct stage stage;
	struct peer *other;
	struct asked *asker, *output;
	Pb__Envelope *reply;
	uint64_t call_id;

	set_stage(&stage, *state);
	/* Its connection ends while it waits. */
	other = peer_new(stage.f->fleet, "ana", "operator");
	call_id = begin(other);
	wire_free(take_orders(&stage, 1));
	asker = ask_call(other, call_id);
	wire_free(get_units(other, NULL, 0)); /* it is held by now */
	asked_cancel(asker);
	peer_free(other);
	reply = take_orders(&stage, 1);
	assert_true(reply->sync_reply->calls[0]->cancel);
	wire_free(reply);

	/* The same while a piece waits: its answer says so. */
	other = peer_new(stage.f->fleet, "ana", "operator");
	call_id = begin(other);
	wire_free(take_orders(&stage, 1));
	output = ask_output(stage.f->m1, "m1", &(struct output){.call_id = call_id, .data = "x"});
	report(stage.f->m1, "m1", NULL);
	assert_answer(ask_call_id(other, call_id, true, 0, 0), "", true, 0);
	assert_true(output_is_stopped(output));
	peer_free(other);
	asked_cancel(stage.sync);
}

static void test_agent_fails_or_restarts(void **state)
{
	struct stage stage;
	struct asked *asker;
	uint64_t call_id;

	set_stage(&stage, *state);
	call_id = begin(stage.f->ana);
	wire_free(take_orders(&stage, 1));
	asker = ask_call(stage.f->ana, call_id);
	assert_false(output_is_stopped(ask_output(stage.f->m1, "m1",
		&(struct output){
			.call_id = call_id, .error = "no journalctl here", .ended = true})));
	assert_error(asker, FL_E_FAILED, "no journalctl here");

	call_id = begin(stage.f->ana);
	wire_free(take_orders(&stage, 1));
	asker = ask_call(stage.f->ana, call_id);
	asked_cancel(stage.sync);
	stage.sync = next_sync(stage.f->m1, "m1", 99, &stage.known); /* another session */
	assert_error(asker, FL_E_UNAVAILABLE, "has restarted its agent");
	asked_cancel(stage.sync);
}

static void test_order_goes_out_again(void **state)
{
	struct stage stage;
	struct asked *asker;
	struct sync again;
	Pb__Envelope *reply;
	uint64_t call_id;

	set_stage(&stage, *state);
	call_id = begin(stage.f->ana);
	again = (struct sync){.machine_id = "m1",
		.store_id = stage.known.store_id,
		.session = 1,
		.revision = stage.known.revision,
		.request_id = fl_random_id()};
	wire_free(take_orders(&stage, 1));
	asked_cancel(stage.sync);
	/* Nothing shows that it arrived, so it goes out again; and in reply to a request that is
	 * sent again, too. */
	stage.sync = ask_sync(stage.f->m1, &again);
	reply = wait_sync(stage.sync);
	assert_int_equal(reply->sync_reply->n_calls, 1);
	assert_int_equal(reply->sync_reply->calls[0]->call_id, call_id);
	wire_free(reply);
	reply = wait_sync(ask_sync(stage.f->m1, &again));
	assert_int_equal(reply->sync_reply->n_calls, 1);
	wire_free(reply);
	/* Output shows it. */
	asker = ask_call(stage.f->ana, call_id);
	assert_false(output_is_stopped(
		ask_output(stage.f->m1, "m1", &(struct output){.call_id = call_id, .data = "x"})));
	assert_answer(asker, "x", false, 0);
	stage.sync = ask_sync(stage.f->m1, &again);
	report(stage.f->m1, "m1", NULL);
	assert_false(asked_is_done(stage.sync));
	asked_cancel(stage.sync);
}

static void test_others_may_not(void **state)
{
	struct stage stage;
	struct peer *root;
	uint64_t call_id;

	set_stage(&stage, *state);
	root = peer_new(stage.f->fleet, "operators", "root");
	call_id = begin(stage.f->ana);
	wire_free(take_orders(&stage, 1));
	/* Another operator's call, and another machine's. */
	assert_error(ask_call(root, call_id), FL_E_NOT_FOUND, "no such call");
	assert_true(output_is_stopped(ask_output(
		stage.f->m2, "m2", &(struct output){.call_id = call_id, .data = "lies"})));
	assert_answer(ask_call_id(stage.f->ana, call_id, false, 100, 0), "", false, 0);
	peer_free(root);
	asked_cancel(stage.sync);
}

static void test_limits(void **state)
{
	struct stage stage;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__CallRequest request = PB__CALL_REQUEST__INIT;

	set_stage(&stage, *state);
	request.unit = (char *)"a.service";
	envelope.body_case = PB__ENVELOPE__BODY_CALL_REQUEST;
	envelope.call_request = &request;
	peer_call_fails(stage.f->ana, &envelope, FL_E_INVALID, "status");
	request.kind = PB__CALL_REQUEST__KIND__STATUS;
	request.unit = (char *)"nosuch.service";
	envelope.request_id = 0;
	peer_call_fails(stage.f->ana, &envelope, FL_E_NOT_FOUND, "nosuch.service");

	for (unsigned i = 0; i < LIMIT_CALLS; i++)
		(void)begin(stage.f->ana);
	request.unit = (char *)"a.service";
	envelope.request_id = 0;
	peer_call_fails(stage.f->ana, &envelope, FL_E_LIMIT, "machine m1 has 32 calls");
	asked_cancel(stage.sync);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_to_the_end),
		FIXTURE_TEST(test_asker_waits_and_is_told_nothing),
		FIXTURE_TEST(test_asker_ends_it),
		FIXTURE_TEST(test_asker_goes),
		FIXTURE_TEST(test_agent_fails_or_restarts),
		FIXTURE_TEST(test_order_goes_out_again),
		FIXTURE_TEST(test_others_may_not),
		FIXTURE_TEST(test_limits),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
