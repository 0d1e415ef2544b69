/* The coordinator as its peers see it: the real program, spoken to over TLS and the local socket. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/test_peers.h"

/* ---- From a change to an active unit -- */

static void test_submit_to_active(void **state)
{
	struct fixture *f = *state;
	struct known known;
	struct asked *sync, *watch;
	Pb__Envelope *reply;
	Pb__UnitState unit = PB__UNIT_STATE__INIT;
	const Pb__Assignment *assignment;
	const Pb__Placement *placement;
	uint64_t revision;

	join(f->m1, "m1", 1, &known);
	sync = next_sync(f->m1, "m1", 1, &known);
	revision = launch(f->ana, "a.service");
	watch = ask_units(f->ana, "a.service", revision, 0);

	reply = wait_sync(sync);
	assert_false(reply->sync_reply->reset);
	assert_int_equal(reply->sync_reply->n_assignments, 1);
	assert_true(reply->sync_reply->revision > known.revision);
	assert_int_equal(reply->sync_reply->lease_ms, FLEET_LEASE_MS);
	assignment = reply->sync_reply->assignments[0];
	assert_string_equal(assignment->name, "a.service");
	assert_int_equal(assignment->content.len, strlen(UNIT_TEXT));
	assert_memory_equal(assignment->content.data, UNIT_TEXT, strlen(UNIT_TEXT));
	assert_int_equal(assignment->desired, PB__DESIRED_STATE__LAUNCHED);
	assert_false(asked_is_done(watch));

	unit.name = (char *)"a.service";
	unit.epoch = assignment->epoch;
	unit.hash = assignment->hash;
	unit.done_revision = assignment->revision;
	unit.load = (char *)"loaded";
	unit.active = (char *)"active";
	unit.sub = (char *)"running";
	unit.desired = PB__DESIRED_STATE__LAUNCHED;
	report(f->m1, "m1", &unit);
	wire_free(reply);

	reply = asked_wait(watch);
	assert_int_equal(reply->units_reply->n_units, 1);
	assert_int_equal(reply->units_reply->units[0]->n_placements, 1);
	placement = reply->units_reply->units[0]->placements[0];
	assert_string_equal(placement->machine_id, "m1");
	assert_string_equal(placement->state->active, "active");
	assert_true(placement->state->reaction_us > 0);
	wire_free(reply);
}

static void test_unit_gone(void **state)
{
	struct fixture *f = *state;
	uint64_t revision = launch(f->ana, "a.service");
	struct asked *watch = ask_units(f->ana, "a.service", revision, 0);
	struct asked *any = ask_units(f->ana, NULL, revision, 0);
	Pb__Envelope *reply;

	wire_free(do_change(
		f->ana, &(struct change){.verb = PB__CHANGE__VERB__DESTROY, .name = "a.service"}));
	reply = asked_wait(watch);
	assert_int_equal(reply->units_reply->n_units, 0);
	assert_int_equal(reply->units_reply->n_gone, 1);
	assert_string_equal(reply->units_reply->gone[0], "a.service");
	wire_free(reply);
	reply = asked_wait(any); /* of all units: something changed, ask again */
	assert_int_equal(reply->units_reply->n_units, 0);
	assert_true(reply->units_reply->revision > revision);
	wire_free(reply);
}

/* Whoever begins to wait while changes go to disk looks again when they are there; and others are on
 * their way then. */
static void test_a_wait_begins_among_changes(void **state)
{
	struct fixture *f = *state;
	const struct change of_other = {.verb = PB__CHANGE__VERB__RESTART, .name = "b.service"};
	const struct change restart = {.verb = PB__CHANGE__VERB__RESTART, .name = "a.service"};
	uint64_t revision = launch(f->ana, "a.service");
	struct asked *changes[30], *watches[FL_COUNT(changes)];
	Pb__Envelope *reply;

	(void)launch(f->ana, "b.service");
	for (size_t i = 0; i < FL_COUNT(changes); i++) {
		changes[i] = ask_change(f->ana, &of_other);
		watches[i] = ask_units(f->ana, "a.service", revision, 0);
	}
	for (size_t i = 0; i < FL_COUNT(changes); i++)
		wire_free(asked_wait(changes[i]));
	for (size_t i = 0; i < FL_COUNT(watches); i++)
		assert_false(asked_is_done(watches[i]));
	wire_free(do_change(f->ana, &restart));
	for (size_t i = 0; i < FL_COUNT(watches); i++) {
		reply = asked_wait(watches[i]);
		assert_int_equal(reply->units_reply->n_units, 1);
		assert_true(reply->units_reply->revision > revision);
		wire_free(reply);
	}
}

static void test_waits_end(void **state)
{
	struct fixture *f = *state;
	uint64_t revision = launch(f->ana, "a.service");
	struct asked *watch = ask_units(f->ana, "a.service", revision, 200);
	struct asked *sync;
	Pb__Envelope *reply = asked_wait(watch);
	struct known known;

	assert_int_equal(reply->units_reply->n_units, 0);
	assert_int_equal(reply->units_reply->n_gone, 0);
	assert_true(reply->units_reply->revision >= revision);
	wire_free(reply);

	join(f->m2, "m2", 2, &known);
	sync = ask_sync(f->m2, &(struct sync){.machine_id = "m2",
				       .store_id = known.store_id,
				       .session = 2,
				       .revision = known.revision,
				       .wait_ms = 200});
	reply = wait_sync(sync);
	assert_int_equal(reply->sync_reply->n_assignments, 0);
	assert_int_equal(reply->sync_reply->revision, known.revision);
	assert_string_equal(reply->sync_reply->store_id, known.store_id);
	wire_free(reply);
}

static void test_newer_sync_answers_older(void **state)
{
	struct fixture *f = *state;
	struct asked *first, *second;
	struct known known;
	Pb__Envelope *reply;

	join(f->m1, "m1", 1, &known);
	first = next_sync(f->m1, "m1", 1, &known);
	second = next_sync(f->m1, "m1", 1, &known);
	reply = wait_sync(first);
	assert_int_equal(reply->sync_reply->revision, known.revision);
	wire_free(reply);
	assert_false(asked_is_done(second));
	asked_cancel(second);
}

/* ---- kill -9 -- */

static void test_kill_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct known known;
	struct asked *sync;
	Pb__Envelope *reply;
	char name[32];
	uint64_t epoch;

	join(f->m1, "m1", 1, &known);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "u%02d.service", i);
		(void)launch(f->ana, name);
	}
	assert_true(WIFSIGNALED(fleet_kill(f->fleet, SIGKILL)));
	fleet_start(f->fleet);

	reply = get_units(f->ana, NULL, 0);
	assert_int_equal(reply->units_reply->n_units, 20);
	for (int i = 0; i < 20; i++) {
		const Pb__Unit *unit = reply->units_reply->units[i];

		(void)snprintf(name, sizeof(name), "u%02d.service", i);
		assert_string_equal(unit->name, name);
		assert_int_equal(unit->desired, PB__DESIRED_STATE__LAUNCHED);
		assert_int_equal(unit->content.len, strlen(UNIT_TEXT));
		assert_int_equal(unit->n_placements, 1);
		assert_string_equal(unit->placements[0]->machine_id, "m1");
	}
	epoch = reply->units_reply->units[0]->placements[0]->epoch;
	wire_free(reply);

	/* The agent comes back and gets what it missed, at the same epochs. */
	sync = next_sync(f->m1, "m1", 1, &known);
	reply = wait_sync(sync);
	assert_string_equal(reply->sync_reply->store_id, known.store_id);
	assert_int_equal(reply->sync_reply->n_assignments, 20);
	for (int i = 0; i < 20; i++)
		if (strcmp(reply->sync_reply->assignments[i]->name, "u00.service") == 0)
			assert_int_equal(reply->sync_reply->assignments[i]->epoch, epoch);
	wire_free(reply);
}

/* ---- A request that comes twice -- */

static void test_token(void **state)
{
	struct fixture *f = *state;
	struct change change = {.verb = PB__CHANGE__VERB__RESTART, .name = "a.service", .token = 7};
	Pb__Envelope *first, *again, *other;
	struct known known;

	join(f->m1, "m1", 1, &known);
	(void)launch(f->ana, "a.service");
	first = do_change(f->ana, &change);
	again = do_change(f->ana, &change);
	assert_int_equal(again->change_reply->revision, first->change_reply->revision);
	assert_int_equal(again->change_reply->results[0]->unit->change_revision,
		first->change_reply->results[0]->unit->change_revision);
	change.token = 8;
	other = do_change(f->ana, &change);
	assert_true(other->change_reply->revision > first->change_reply->revision);
	wire_free(first);
	wire_free(again);
	wire_free(other);
}

/* ---- Who may what -- */

static void test_authorisation(void **state)
{
	struct fixture *f = *state;
	static const Pb__Envelope__BodyCase of_people[] = {PB__ENVELOPE__BODY_CHANGE_REQUEST,
		PB__ENVELOPE__BODY_UNITS_REQUEST, PB__ENVELOPE__BODY_MACHINES_REQUEST,
		PB__ENVELOPE__BODY_WHY_REQUEST, PB__ENVELOPE__BODY_CALL_REQUEST};
	static const Pb__Envelope__BodyCase of_machines[] = {PB__ENVELOPE__BODY_SYNC_REQUEST,
		PB__ENVELOPE__BODY_REPORT_REQUEST, PB__ENVELOPE__BODY_CALL_OUTPUT_REQUEST};
	Pb__ChangeRequest change = PB__CHANGE_REQUEST__INIT;
	Pb__UnitsRequest units = PB__UNITS_REQUEST__INIT;
	Pb__MachinesRequest machines = PB__MACHINES_REQUEST__INIT;
	Pb__WhyRequest why = PB__WHY_REQUEST__INIT;
	Pb__CallRequest call = PB__CALL_REQUEST__INIT;
	Pb__SyncRequest sync = PB__SYNC_REQUEST__INIT;
	Pb__ReportRequest report_request = PB__REPORT_REQUEST__INIT;
	Pb__CallOutputRequest output = PB__CALL_OUTPUT_REQUEST__INIT;
	void *const bodies[] = {&change, &units, &machines, &why, &call};
	void *const machine_bodies[] = {&sync, &report_request, &output};
	struct peer *local = peer_new_local(f->fleet);
	struct known known;
	FL_CLEANUP(fl_freep) char *log = NULL;

	join(f->m1, "m1", 1, &known);
	sync.machine_id = report_request.machine_id = output.machine_id = (char *)"m1";
	for (size_t i = 0; i < FL_COUNT(of_people); i++) {
		Pb__Envelope envelope = PB__ENVELOPE__INIT;

		envelope.body_case = of_people[i];
		memcpy(&envelope.hello_request, &bodies[i], sizeof(void *));
		peer_call_fails(f->m1, &envelope, FL_E_DENIED, "an operator's certificate");
	}
	for (size_t i = 0; i < FL_COUNT(of_machines); i++) {
		Pb__Envelope envelope = PB__ENVELOPE__INIT;

		envelope.body_case = of_machines[i];
		memcpy(&envelope.hello_request, &machine_bodies[i], sizeof(void *));
		peer_call_fails(f->ana, &envelope, FL_E_DENIED, "the machine's own certificate");
		if (geteuid() == 0)
			peer_call_fails(
				local, &envelope, FL_E_DENIED, "root on the coordinator's machine");
		/* Another machine's voice. */
		peer_call_fails(f->m2, &envelope, FL_E_DENIED, "for machine m1");
	}
	log = fleet_log(f->fleet);
	assert_non_null(strstr(log, "request.denied"));
	peer_free(local);
}

static Pb__Envelope *hello(struct peer *peer)
{
	Pb__HelloRequest request = PB__HELLO_REQUEST__INIT;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__Envelope *reply;

	envelope.body_case = PB__ENVELOPE__BODY_HELLO_REQUEST;
	envelope.hello_request = &request;
	reply = peer_call(peer, &envelope);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_HELLO_REPLY);
	return reply;
}

static void test_hello(void **state)
{
	struct fixture *f = *state;
	struct peer *local = peer_new_local(f->fleet);
	Pb__Envelope *reply = hello(f->m1);

	assert_string_equal(reply->hello_reply->peer, "machine m1");
	assert_string_equal(reply->hello_reply->fleet, "test");
	wire_free(reply);
	if (geteuid() == 0) {
		reply = hello(local);
		assert_string_equal(reply->hello_reply->peer, "root on the coordinator's machine");
		wire_free(reply);
	}
	peer_free(local);
}

static void test_nonsense(void **state)
{
	struct fixture *f = *state;
	Pb__UnitsReply units = PB__UNITS_REPLY__INIT;
	Pb__WhyRequest why = PB__WHY_REQUEST__INIT;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;

	/* Nothing in it, or a reply. */
	peer_call_fails(f->ana, &envelope, FL_E_PROTOCOL, "no request");
	envelope.body_case = PB__ENVELOPE__BODY_UNITS_REPLY;
	envelope.units_reply = &units;
	peer_call_fails(f->ana, &envelope, FL_E_PROTOCOL, "no request");
	/* About what is not there. */
	envelope.body_case = PB__ENVELOPE__BODY_WHY_REQUEST;
	why.name = (char *)"nosuch.service";
	envelope.why_request = &why;
	peer_call_fails(f->ana, &envelope, FL_E_NOT_FOUND, "nosuch.service");
}

static void on_garbage_done(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	(void)data;
	(void)len;
	(void)err;
	assert_int_not_equal(code, FL_OK);
	*(bool *)userdata = true;
}

static void test_garbage(void **state)
{
	struct fixture *f = *state;
	struct peer *other = peer_new(f->fleet, "operators", "root");
	static uint8_t garbage[4096];
	bool done = false;

	/* Its connection ends, each time; others do not notice. */
	memset(garbage, 0xff, sizeof(garbage));
	assert_int_equal(transport_client_call(other->client, garbage, sizeof(garbage), 500,
				 on_garbage_done, &done, NULL, NULL),
		FL_OK);
	while (!done)
		(void)uv_run(&f->fleet->loop, UV_RUN_ONCE);
	peer_free(other);
	wire_free(hello(f->ana));
}

static void on_version_done(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct fl_error why = {0};
	Pb__Envelope *reply = NULL;

	(void)err;
	assert_int_equal(code, FL_OK);
	assert_int_equal(wire_unpack(data, len, &reply, NULL, &why), FL_OK);
	assert_int_equal(reply->request_id, 5);
	assert_int_equal(wire_reply_error(reply, &why), FL_E_VERSION);
	assert_non_null(strstr(why.text, "upgrade the older program"));
	wire_free(reply);
	*(bool *)userdata = true;
}

static void test_other_version(void **state)
{
	struct fixture *f = *state;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__HelloRequest request = PB__HELLO_REQUEST__INIT;
	uint8_t data[64];
	bool done = false;
	size_t len;

	envelope.version = PROTO_VERSION + 1;
	envelope.request_id = 5;
	envelope.body_case = PB__ENVELOPE__BODY_HELLO_REQUEST;
	envelope.hello_request = &request;
	assert_true(pb__envelope__get_packed_size(&envelope) <= sizeof(data));
	len = pb__envelope__pack(&envelope, data);
	assert_int_equal(transport_client_call(f->ana->client, data, len, 60000, on_version_done,
				 &done, NULL, NULL),
		FL_OK);
	while (!done)
		(void)uv_run(&f->fleet->loop, UV_RUN_ONCE);
}

static void test_unknown_machine_is_asked_for_info(void **state)
{
	struct fixture *f = *state;
	Pb__Envelope *reply =
		asked_wait(ask_sync(f->m1, &(struct sync){.machine_id = "m1", .session = 1}));
	struct fl_error err = {0};

	assert_int_equal(wire_reply_error(reply, &err), FL_E_NOT_FOUND);
	wire_free(reply);
}

/* ---- A store that cannot be written -- */

static void limit_files_of(pid_t pid, rlim_t bytes)
{
	struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};

	assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

static void test_disk_full(void **state)
{
	struct fixture *f = *state;
	struct change change = {.verb = PB__CHANGE__VERB__SET,
		.name = "b.service",
		.content = UNIT_TEXT,
		.desired = PB__DESIRED_STATE__LAUNCHED,
		.deadline_ms = 600000}; /* it hears long before */
	struct fl_error err = {0};
	Pb__Envelope *reply;
	struct known known;
	struct asked *sync;

	join(f->m1, "m1", 1, &known);
	sync = next_sync(f->m1, "m1", 1, &known);
	limit_files_of(f->fleet->pid, 4096);

	/* It is not acknowledged, and the machine does not hear of it. */
	reply = asked_wait(ask_change(f->ana, &change));
	assert_int_equal(wire_reply_error(reply, &err), FL_E_STORE);
	assert_non_null(strstr(err.text, "not yet on disk"));
	wire_free(reply);
	/* What comes later is refused, and what may be lost is not shown. */
	change.name = "c.service";
	reply = asked_wait(ask_change(f->ana, &change));
	assert_int_equal(wire_reply_error(reply, &err), FL_E_STORE);
	assert_non_null(strstr(err.text, "cannot write its store"));
	wire_free(reply);
	reply = asked_wait(ask_units(f->ana, NULL, 0, 0));
	assert_int_equal(wire_reply_error(reply, &err), FL_E_STORE);
	wire_free(reply);
	report(f->m1, "m1", NULL); /* heartbeats go on */
	assert_false(asked_is_done(sync));

	limit_files_of(f->fleet->pid, RLIM_INFINITY);
	reply = wait_sync(sync);
	assert_int_equal(reply->sync_reply->n_assignments, 1);
	assert_string_equal(reply->sync_reply->assignments[0]->name, "b.service");
	wire_free(reply);
	(void)launch(f->ana, "c.service");
	reply = get_units(f->ana, NULL, 0);
	assert_int_equal(reply->units_reply->n_units, 2);
	wire_free(reply);
}

/* ---- Stopping -- */

static void test_stops_with_requests_held(void **state)
{
	struct fixture *f = *state;
	uint64_t revision = launch(f->ana, "a.service");
	struct asked *watch = ask_units(f->ana, "a.service", revision, 0);
	struct known known = {0};
	struct asked *sync;
	int status;

	join(f->m2, "m2", 1, &known);
	wire_free(asked_wait(watch)); /* it has been placed */
	watch = ask_units(f->ana, "a.service", UINT32_MAX, 0);
	wire_free(asked_wait(watch)); /* the future: answered at once */
	watch = ask_units(f->ana, "a.service", get_revision(f->ana), 0);
	sync = next_sync(f->m2, "m2", 1, &known);
	wire_free(hello(f->ana)); /* by now they are held */
	report(f->m2, "m2", NULL);
	status = fleet_kill(f->fleet, SIGTERM);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	asked_cancel(sync);
	asked_cancel(watch);
	fleet_start(f->fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_submit_to_active),
		FIXTURE_TEST(test_unit_gone),
		FIXTURE_TEST(test_a_wait_begins_among_changes),
		FIXTURE_TEST(test_waits_end),
		FIXTURE_TEST(test_newer_sync_answers_older),
		FIXTURE_TEST(test_kill_loses_nothing),
		FIXTURE_TEST(test_token),
		FIXTURE_TEST(test_authorisation),
		FIXTURE_TEST(test_hello),
		FIXTURE_TEST(test_nonsense),
		FIXTURE_TEST(test_garbage),
		FIXTURE_TEST(test_other_version),
		FIXTURE_TEST(test_unknown_machine_is_asked_for_info),
		FIXTURE_TEST(test_disk_full),
		FIXTURE_TEST(test_stops_with_requests_held),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
