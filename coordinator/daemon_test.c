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

#include "base/random.h"
#include "coordinator/test_fleet.h"

#define UNIT_TEXT "[Service]\nExecStart=/bin/sleep inf\n"

struct fixture {
	struct fleet *fleet;
	struct peer *ana, *m1, *m2;
	uint64_t sessions[2];
};

static int setup(void **state)
{
	struct fixture *f = FL_NEW(struct fixture);

	f->fleet = fleet_new();
	fleet_start(f->fleet);
	f->ana = peer_new(f->fleet, "ana", "operator");
	f->m1 = peer_new(f->fleet, "m1", "machine");
	f->m2 = peer_new(f->fleet, "m2", "machine");
	f->sessions[0] = 1;
	f->sessions[1] = 2;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	peer_free(f->ana);
	peer_free(f->m1);
	peer_free(f->m2);
	fleet_free(f->fleet);
	free(f);
	return 0;
}

/* ---- Requests -- */

struct change {
	Pb__Change__Verb verb;
	const char *name, *content;
	Pb__DesiredState desired;
	uint64_t token;
	uint32_t deadline_ms;
};

static struct asked *ask_change(struct peer *peer, const struct change *change)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ChangeRequest request = PB__CHANGE_REQUEST__INIT;
	Pb__Change one = PB__CHANGE__INIT;

	one.verb = change->verb;
	one.name = (char *)change->name;
	if (change->content != NULL) {
		one.content.data = (uint8_t *)change->content;
		one.content.len = strlen(change->content);
	}
	one.desired = change->desired;
	request.token = change->token;
	request.n_changes = 1;
	request.changes = (Pb__Change *[]){&one};
	envelope.deadline_ms = change->deadline_ms;
	envelope.body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
	envelope.change_request = &request;
	return peer_ask(peer, &envelope);
}

/* The reply of a change that must go well. */
static Pb__Envelope *do_change(struct peer *peer, const struct change *change)
{
	Pb__Envelope *reply = asked_wait(ask_change(peer, change));
	struct fl_error err = {0};

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_CHANGE_REPLY);
	assert_int_equal(reply->change_reply->n_results, 1);
	if (reply->change_reply->results[0]->error != NULL)
		fail_msg("%s", reply->change_reply->results[0]->error->text);
	return reply;
}

static uint64_t launch(struct peer *peer, const char *name)
{
	Pb__Envelope *reply = do_change(peer, &(struct change){.verb = PB__CHANGE__VERB__SET,
						      .name = name,
						      .content = UNIT_TEXT,
						      .desired = PB__DESIRED_STATE__LAUNCHED});
	uint64_t revision = reply->change_reply->revision;

	wire_free(reply);
	return revision;
}

static struct asked *ask_units(
	struct peer *peer, const char *name, uint64_t since, uint32_t wait_ms)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__UnitsRequest request = PB__UNITS_REQUEST__INIT;
	char *names[] = {(char *)name};

	request.n_names = name != NULL;
	request.names = names;
	request.since = since;
	request.with_content = true;
	envelope.deadline_ms = wait_ms;
	envelope.body_case = PB__ENVELOPE__BODY_UNITS_REQUEST;
	envelope.units_request = &request;
	return peer_ask(peer, &envelope);
}

static Pb__Envelope *get_units(struct peer *peer, const char *name, uint64_t since)
{
	Pb__Envelope *reply = asked_wait(ask_units(peer, name, since, 0));

	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_UNITS_REPLY);
	return reply;
}

struct sync {
	const char *machine_id, *store_id;
	uint64_t session, revision;
	bool info;
	uint32_t wait_ms;
	uint64_t request_id;
};

static struct asked *ask_sync(struct peer *peer, const struct sync *sync)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__SyncRequest request = PB__SYNC_REQUEST__INIT;
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;

	info.boot_id = (char *)"b";
	info.hostname = (char *)sync->machine_id;
	info.agent_version = (char *)"0.1.0";
	request.machine_id = (char *)sync->machine_id;
	request.session = sync->session;
	if (sync->store_id != NULL)
		request.store_id = (char *)sync->store_id;
	request.revision = sync->revision;
	if (sync->info)
		request.info = &info;
	envelope.deadline_ms = sync->wait_ms;
	envelope.request_id = sync->request_id;
	envelope.body_case = PB__ENVELOPE__BODY_SYNC_REQUEST;
	envelope.sync_request = &request;
	return peer_ask(peer, &envelope);
}

static Pb__Envelope *wait_sync(struct asked *asked)
{
	Pb__Envelope *reply = asked_wait(asked);
	struct fl_error err = {0};

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_SYNC_REPLY);
	return reply;
}

static void make_report(Pb__Envelope *envelope, Pb__ReportRequest *request, const char *machine_id,
	Pb__UnitState **state)
{
	pb__envelope__init(envelope);
	pb__report_request__init(request);
	request->machine_id = (char *)machine_id;
	request->session = 1;
	request->all = true;
	request->states = state;
	request->n_states = *state != NULL;
	envelope->body_case = PB__ENVELOPE__BODY_REPORT_REQUEST;
	envelope->report_request = request;
}

static void report(struct peer *peer, const char *machine_id, Pb__UnitState *state)
{
	Pb__ReportRequest request;
	Pb__Envelope envelope, *reply;

	make_report(&envelope, &request, machine_id, &state);
	reply = peer_call(peer, &envelope);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_REPORT_REPLY);
	assert_int_equal(reply->report_reply->lease_ms, 20000);
	wire_free(reply);
}

/* What an agent does first: its whole assignment, which is empty. */
struct known {
	char store_id[LIMIT_NAME + 1];
	uint64_t revision;
};

static void join(struct peer *peer, const char *machine_id, uint64_t session, struct known *known)
{
	Pb__Envelope *reply = wait_sync(ask_sync(
		peer, &(struct sync){.machine_id = machine_id, .session = session, .info = true}));

	assert_true(reply->sync_reply->reset);
	(void)snprintf(known->store_id, sizeof(known->store_id), "%s", reply->sync_reply->store_id);
	known->revision = reply->sync_reply->revision;
	wire_free(reply);
}

/* Its next sync: what has changed since. */
static struct asked *next_sync(
	struct peer *peer, const char *machine_id, uint64_t session, const struct known *known)
{
	return ask_sync(peer, &(struct sync){.machine_id = machine_id,
				      .store_id = known->store_id,
				      .session = session,
				      .revision = known->revision});
}

static uint64_t get_revision(struct peer *peer)
{
	Pb__Envelope *reply = get_units(peer, NULL, 0);
	uint64_t revision = reply->units_reply->revision;

	wire_free(reply);
	return revision;
}

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
	assert_int_equal(reply->sync_reply->lease_ms, 20000);
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
		.deadline_ms = 500};
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_submit_to_active),
		TEST(test_unit_gone),
		TEST(test_waits_end),
		TEST(test_newer_sync_answers_older),
		TEST(test_kill_loses_nothing),
		TEST(test_token),
		TEST(test_authorisation),
		TEST(test_hello),
		TEST(test_nonsense),
		TEST(test_unknown_machine_is_asked_for_info),
		TEST(test_disk_full),
		TEST(test_stops_with_requests_held),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
