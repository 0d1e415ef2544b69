/* Events as those who follow them see them: the real program, spoken to over TLS. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "coordinator/test_peers.h"

struct follow {
	uint64_t since;
	uint32_t last, limit, wait_ms;
	const char *name; /* nullable */
};

static struct asked *ask_events(struct peer *peer, const struct follow *follow)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__EventsRequest request = PB__EVENTS_REQUEST__INIT;
	char *names[] = {(char *)follow->name};

	request.since = follow->since;
	request.last = follow->last;
	request.limit = follow->limit;
	request.names = names;
	request.n_names = follow->name != NULL;
	envelope.deadline_ms = follow->wait_ms;
	envelope.body_case = PB__ENVELOPE__BODY_EVENTS_REQUEST;
	envelope.events_request = &request;
	return peer_ask(peer, &envelope);
}

static Pb__Envelope *wait_events(struct asked *asked)
{
	Pb__Envelope *reply = asked_wait(asked);
	struct fl_error err = {0};

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_EVENTS_REPLY);
	return reply;
}

static Pb__Envelope *get_events(struct peer *peer, const struct follow *follow)
{
	return wait_events(ask_events(peer, follow));
}

/* Where events are now. */
static uint64_t get_index(struct peer *peer)
{
	Pb__Envelope *reply = get_events(peer, &(struct follow){0});
	uint64_t index = reply->events_reply->index;

	assert_int_equal(reply->events_reply->n_events, 0);
	wire_free(reply);
	return index;
}

#define assert_event(event, expected_kind, expected_unit, expected_text) \
	do { \
		assert_string_equal((event)->kind, expected_kind); \
		assert_string_equal((event)->unit, expected_unit); \
		assert_string_equal((event)->text, expected_text); \
	} while (0)

static void test_a_follower_hears_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t index = get_index(f->ana), before_us = fl_clock_real_us();
	struct asked *any = ask_events(f->ana, &(struct follow){.since = index});
	struct asked *other =
		ask_events(f->ana, &(struct follow){.since = index, .name = "other*.service"});
	Pb__Envelope *reply;

	assert_false(asked_is_done(any));
	wire_free(do_change(f->ana, &(struct change){.verb = PB__CHANGE__VERB__SUBMIT,
					    .name = "a.service",
					    .content = UNIT_TEXT}));
	reply = wait_events(any);
	assert_int_equal(reply->events_reply->n_events, 1);
	assert_event(
		reply->events_reply->events[0], "unit.submitted", "a.service", "by operator ana");
	assert_true(reply->events_reply->events[0]->index > index);
	assert_true(reply->events_reply->index >= reply->events_reply->events[0]->index);
	assert_true(reply->events_reply->events[0]->time_us + 1000 >= before_us);
	assert_true(reply->events_reply->events[0]->time_us <= fl_clock_real_us() + 1000);
	wire_free(reply);

	assert_false(asked_is_done(other));
	wire_free(do_change(f->ana, &(struct change){.verb = PB__CHANGE__VERB__SUBMIT,
					    .name = "other-1.service",
					    .content = UNIT_TEXT}));
	reply = wait_events(other);
	assert_int_equal(reply->events_reply->n_events, 1);
	assert_event(reply->events_reply->events[0], "unit.submitted", "other-1.service",
		"by operator ana");
	wire_free(reply);
}

static void test_a_unit_comes_to_life(void **state)
{
	static const char *const kinds[] = {
		"machine.joined", "unit.submitted", "unit.desired", "unit.placed", "unit.active"};
	struct fixture *f = *state;
	uint64_t index = get_index(f->ana);
	Pb__UnitState unit = PB__UNIT_STATE__INIT;
	struct known known;
	Pb__Envelope *reply;

	join(f->m1, "m1", 1, &known);
	(void)launch(f->ana, "a.service");
	reply = get_units(f->ana, "a.service", 0);
	unit.name = (char *)"a.service";
	unit.epoch = reply->units_reply->units[0]->placements[0]->epoch;
	unit.load = (char *)"loaded";
	unit.active = (char *)"active";
	unit.sub = (char *)"running";
	report(f->m1, "m1", &unit);
	report(f->m1, "m1", &unit); /* no news */
	wire_free(reply);

	reply = get_events(f->ana, &(struct follow){.since = index});
	assert_int_equal(reply->events_reply->n_events, FL_COUNT(kinds));
	for (size_t i = 0; i < FL_COUNT(kinds); i++) {
		const Pb__Event *event = reply->events_reply->events[i];

		assert_string_equal(event->kind, kinds[i]);
		assert_true(event->index > index);
		index = event->index;
	}
	assert_string_equal(reply->events_reply->events[4]->machine_id, "m1");
	wire_free(reply);
	/* By the beginning of a machine's ID. */
	reply = get_events(f->ana, &(struct follow){.last = 10, .name = "m"});
	assert_int_equal(reply->events_reply->n_events, 3);
	wire_free(reply);
}

static void test_waits_end_and_go_on(void **state)
{
	struct fixture *f = *state;
	uint64_t index = get_index(f->ana);
	Pb__Envelope *reply = get_events(f->ana, &(struct follow){.since = index, .wait_ms = 200});

	assert_int_equal(reply->events_reply->n_events, 0);
	assert_int_equal(reply->events_reply->index, index);
	assert_false(reply->events_reply->lost);
	wire_free(reply);
}

static void test_pages(void **state)
{
	struct fixture *f = *state;
	uint64_t index = get_index(f->ana);
	Pb__Envelope *reply;
	char name[32];

	for (int i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof(name), "u%d.service", i);
		wire_free(do_change(f->ana, &(struct change){.verb = PB__CHANGE__VERB__SUBMIT,
						    .name = name,
						    .content = UNIT_TEXT}));
	}
	for (int i = 0; i < 5; i++) {
		reply = get_events(f->ana, &(struct follow){.since = index, .limit = 1});
		assert_int_equal(reply->events_reply->n_events, 1);
		(void)snprintf(name, sizeof(name), "u%d.service", i);
		assert_string_equal(reply->events_reply->events[0]->unit, name);
		index = reply->events_reply->index;
		wire_free(reply);
	}
	reply = get_events(f->ana, &(struct follow){.last = 2});
	assert_int_equal(reply->events_reply->n_events, 2);
	assert_string_equal(reply->events_reply->events[0]->unit, "u3.service");
	assert_int_equal(reply->events_reply->index, index);
	wire_free(reply);
}

static void test_a_restart_is_told(void **state)
{
	struct fixture *f = *state;
	uint64_t index;
	struct asked *asked;
	Pb__Envelope *reply;

	(void)launch(f->ana, "a.service");
	index = get_index(f->ana);
	asked = ask_events(f->ana, &(struct follow){.since = index});
	assert_true(WIFSIGNALED(fleet_kill(f->fleet, SIGKILL)));
	fleet_start(f->fleet);
	/* The client sends what was under way again. */
	reply = wait_events(asked);
	assert_true(reply->events_reply->lost);
	assert_int_equal(reply->events_reply->n_events, 2);
	assert_event(
		reply->events_reply->events[0], "coordinator.started", "", "1 units, 0 machines");
	assert_event(reply->events_reply->events[1], "unit.waiting", "a.service",
		"no machine can take it now");
	assert_true(reply->events_reply->events[0]->index > index);
	index = reply->events_reply->index;
	wire_free(reply);
	/* Told once. */
	reply = get_events(f->ana, &(struct follow){.since = index, .wait_ms = 100});
	assert_false(reply->events_reply->lost);
	wire_free(reply);
	/* An index that never was: another store's. All that is known comes. */
	reply = get_events(f->ana, &(struct follow){.since = UINT64_MAX});
	assert_true(reply->events_reply->lost);
	assert_int_equal(reply->events_reply->n_events, 2);
	assert_int_equal(reply->events_reply->index, index);
	wire_free(reply);
}

#define MANY 1100U /* of which the core keeps 1000 lines for the log */

/* Has m1 get all of MANY units, which run only where k=1. */
static void launch_many(struct fixture *f)
{
	static const char text[] = UNIT_TEXT "[X-Fleet]\nMachineMetadata=k=1\n";
	static Pb__Change changes[MANY], *pointers[MANY];
	static char names[MANY][32];

	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "u%04u.service", i);
		pb__change__init(&changes[i]);
		changes[i].verb = PB__CHANGE__VERB__SET;
		changes[i].name = names[i];
		changes[i].desired = PB__DESIRED_STATE__LAUNCHED;
		changes[i].content.data = (uint8_t *)text;
		changes[i].content.len = sizeof(text) - 1;
		pointers[i] = &changes[i];
	}
	for (unsigned i = 0; i < MANY; i += MANY / 2) {
		Pb__Envelope envelope = PB__ENVELOPE__INIT;
		Pb__ChangeRequest request = PB__CHANGE_REQUEST__INIT;
		Pb__Envelope *reply;

		request.changes = pointers + i;
		request.n_changes = MANY / 2;
		envelope.body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
		envelope.change_request = &request;
		reply = peer_call(f->ana, &envelope);
		assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_CHANGE_REPLY);
		wire_free(reply);
	}
}

static void sync_with(struct peer *peer, const char *metadata_value)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__SyncRequest request = PB__SYNC_REQUEST__INIT;
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	Pb__Metadata pair = PB__METADATA__INIT, *pairs[] = {&pair};
	Pb__Envelope *reply;

	pair.key = (char *)"k";
	pair.value = (char *)metadata_value;
	info.metadata = pairs;
	info.n_metadata = 1;
	request.machine_id = (char *)"m1";
	request.session = 1;
	request.info = &info;
	envelope.body_case = PB__ENVELOPE__BODY_SYNC_REQUEST;
	envelope.sync_request = &request;
	reply = peer_call(peer, &envelope);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_SYNC_REPLY);
	wire_free(reply);
}

/* What the log has no room for is counted there; who follows hears of all of it. */
static void test_more_than_the_log_takes(void **state)
{
	struct fixture *f = *state;
	FL_CLEANUP(fl_freep) char *log = NULL;
	uint64_t index;
	unsigned n = 0;

	sync_with(f->m1, "1");
	launch_many(f);
	index = get_index(f->ana);
	sync_with(f->m1, "2");
	while (n < MANY) {
		Pb__Envelope *reply =
			get_events(f->ana, &(struct follow){.since = index, .name = "u*.service"});

		assert_false(reply->events_reply->lost);
		for (size_t i = 0; i < reply->events_reply->n_events; i++)
			n += strcmp(reply->events_reply->events[i]->kind, "unit.displaced") == 0;
		index = reply->events_reply->index;
		wire_free(reply);
	}
	assert_int_equal(n, MANY);
	log = fleet_log(f->fleet);
	assert_non_null(strstr(log, "log.lost lines="));
}

static void test_nonsense_is_refused(void **state)
{
	struct fixture *f = *state;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__EventsRequest request = PB__EVENTS_REQUEST__INIT;
	char *names[] = {(char *)"web["};

	envelope.body_case = PB__ENVELOPE__BODY_EVENTS_REQUEST;
	envelope.events_request = &request;
	request.names = names;
	request.n_names = 1;
	peer_call_fails(f->ana, &envelope, FL_E_SYNTAX, "the class at position 4 is not complete");
	names[0] = (char *)"";
	peer_call_fails(f->ana, &envelope, FL_E_SYNTAX, "a pattern is empty");
	peer_call_fails(f->m1, &envelope, FL_E_DENIED, "may not follow what happens");
}

/* Many names are looked at over many answers, so that none takes long. */
static void test_many_names(void **state)
{
	static char *names[LIMIT_NAMES];
	struct fixture *f = *state;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__EventsRequest request = PB__EVENTS_REQUEST__INIT;
	uint64_t index = get_index(f->ana), newest;
	char name[32];
	unsigned asked = 0;
	bool found = false;

	for (size_t i = 0; i < FL_COUNT(names); i++)
		names[i] = (char *)"nothing";
	names[FL_COUNT(names) - 1] = (char *)"u39.service";
	for (int i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof(name), "u%d.service", i);
		wire_free(do_change(f->ana, &(struct change){.verb = PB__CHANGE__VERB__SUBMIT,
						    .name = name,
						    .content = UNIT_TEXT}));
	}
	newest = get_index(f->ana);
	envelope.body_case = PB__ENVELOPE__BODY_EVENTS_REQUEST;
	envelope.events_request = &request;
	request.names = names;
	request.n_names = FL_COUNT(names);
	while (index < newest) {
		Pb__Envelope *reply;

		request.since = index;
		envelope.request_id = 0;
		reply = peer_call(f->ana, &envelope);
		assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_EVENTS_REPLY);
		assert_true(reply->events_reply->index > index);
		index = reply->events_reply->index;
		found |= reply->events_reply->n_events == 1;
		wire_free(reply);
		asked++;
	}
	assert_true(found);
	assert_int_equal(asked, 4);
}

static void test_stops_with_followers(void **state)
{
	struct fixture *f = *state;
	struct asked *asked = ask_events(f->ana, &(struct follow){.since = get_index(f->ana)});
	int status;

	(void)get_revision(f->ana); /* by now it is held */
	status = fleet_kill(f->fleet, SIGTERM);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	asked_cancel(asked);
	fleet_start(f->fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_a_follower_hears_at_once),
		FIXTURE_TEST(test_a_unit_comes_to_life),
		FIXTURE_TEST(test_waits_end_and_go_on),
		FIXTURE_TEST(test_pages),
		FIXTURE_TEST(test_a_restart_is_told),
		FIXTURE_TEST(test_more_than_the_log_takes),
		FIXTURE_TEST(test_nonsense_is_refused),
		FIXTURE_TEST(test_many_names),
		FIXTURE_TEST(test_stops_with_followers),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
