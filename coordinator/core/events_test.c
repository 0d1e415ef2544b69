/* What happened: kept in order, within bounds, and what is lost is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"
#include "proto/wire.h"

#define EVENTS_MAX 10000U

static Pb__EventsReply *ask(struct fleet *fleet, uint64_t since, uint32_t last)
{
	Pb__EventsRequest request = PB__EVENTS_REQUEST__INIT;
	Pb__EventsReply *reply;

	request.since = since;
	request.last = last;
	assert_int_equal(core_events(fleet->core, &request, &reply, NULL), FL_OK);
	return reply;
}

static void done(Pb__EventsReply *reply)
{
	core_message_free(&reply->base);
}

static uint64_t newest(struct fleet *fleet)
{
	Pb__EventsReply *reply = ask(fleet, 0, 0);
	uint64_t index = reply->index;

	assert_int_equal(reply->n_events, 0);
	done(reply);
	return index;
}

/* "KIND UNIT MACHINE: TEXT\n" of each behind *index, which becomes the newest. */
static const char *told(struct fleet *fleet, uint64_t *index)
{
	static char text[4096];
	Pb__EventsReply *reply = ask(fleet, *index, 0);
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < reply->n_events; i++) {
		const Pb__Event *event = reply->events[i];

		assert_true(event->index > *index && event->index <= reply->index);
		*index = event->index;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %s %s: %s\n",
			event->kind, event->unit, event->machine_id, event->text);
	}
	assert_false(reply->lost);
	*index = reply->index;
	done(reply);
	return text;
}

static void what_people_do_is_told(void **state)
{
	struct fleet *fleet = *state;
	uint64_t index = newest(fleet);

	assert_true(fleet_start(fleet, "a.service", ""));
	assert_string_equal(told(fleet, &index), "unit.submitted a.service : \n"
						 "unit.desired a.service : launched\n"
						 "unit.placed a.service m1: \n");
	assert_true(fleet_replace(fleet, "a.service", "Conflicts=b*"));
	assert_string_equal(told(fleet, &index), "unit.changed a.service : \n");
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__RESTART, "a.service", NULL, 0, false));
	assert_string_equal(told(fleet, &index), "unit.restart a.service : \n");
	assert_false(fleet_change(fleet, PB__CHANGE__VERB__RESTART, "no.service", NULL, 0, false));
	assert_string_equal(told(fleet, &index), "");
	assert_true(fleet_load(fleet, "a.service", NULL));
	assert_true(fleet_load(fleet, "a.service", NULL)); /* as it was */
	assert_string_equal(told(fleet, &index), "unit.desired a.service : loaded\n");
	assert_true(fleet_unload(fleet, "a.service"));
	assert_true(fleet_destroy(fleet, "a.service"));
	assert_string_equal(told(fleet, &index), "unit.desired a.service : inactive\n"
						 "unit.destroyed a.service : \n");
}

static void a_wait_for_a_machine_is_told_once(void **state)
{
	struct fleet *fleet = *state;
	uint64_t index = newest(fleet);

	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=1"));
	assert_string_equal(told(fleet, &index),
		"unit.submitted a.service : \nunit.desired a.service : launched\n"
		"unit.waiting a.service : no machine can take it now\n");
	fleet_join(fleet, "m2", "");
	assert_string_equal(told(fleet, &index), "machine.joined  m2: m2, 10.0.0.1\n");
	fleet_join(fleet, "m2", "k=1");
	assert_string_equal(told(fleet, &index), "machine.changed  m2: m2, 10.0.0.1, flota-agent \n"
						 "unit.placed a.service m2: \n");
	fleet_join(fleet, "m2", "");
	assert_string_equal(told(fleet, &index),
		"machine.changed  m2: m2, 10.0.0.1, flota-agent \n"
		"unit.displaced a.service m2: metadata k=1 wanted, the machine has no k\n"
		"unit.waiting a.service : no machine can take it now\n");
}

/* A machine's systemd says that it has changed since. */
static void report(struct fleet *fleet, const char *unit, const char *active, const char *sub,
	const char *error)
{
	static uint64_t since_us = 1;
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	Pb__UnitState state = PB__UNIT_STATE__INIT, *states[] = {&state};

	state.name = (char *)unit;
	state.active = (char *)active;
	state.sub = (char *)sub;
	state.error = (char *)error;
	state.since_us = since_us++;
	state.epoch = fleet_epoch(fleet, unit);
	report.machine_id = (char *)"m1";
	report.session = fleet->session;
	report.n_states = 1;
	report.states = states;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
}

static void what_machines_report_is_told(void **state)
{
	struct fleet *fleet = *state;
	uint64_t index;

	assert_true(fleet_start(fleet, "a.service", ""));
	index = newest(fleet);
	fleet_state(fleet, "m1", "a.service", "inactive"); /* it never ran */
	report(fleet, "a.service", "activating", "start-pre", "");
	assert_string_equal(told(fleet, &index), "");
	report(fleet, "a.service", "active", "running", "");
	assert_string_equal(told(fleet, &index), "unit.active a.service m1: running\n");
	report(fleet, "a.service", "active", "running", ""); /* it was restarted */
	report(fleet, "a.service", "activating", "auto-restart", "");
	report(fleet, "a.service", "deactivating", "stop", "");
	report(fleet, "a.service", "failed", "failed", "it ended with 3");
	report(fleet, "a.service", "inactive", "dead", "");
	report(fleet, "a.service", "activating", "start", "no such user");
	assert_string_equal(told(fleet, &index),
		"unit.active a.service m1: running\n"
		"unit.restarting a.service m1: auto-restart\n"
		"unit.failed a.service m1: failed: it ended with 3\n"
		"unit.inactive a.service m1: dead\n"
		"unit.error a.service m1: start: no such user\n");
}

/* One that ends again and again does not push all else out. */
static void a_restless_unit_is_told_of_now_and_then(void **state)
{
	struct fleet *fleet = *state;
	uint64_t index;

	assert_true(fleet_start(fleet, "a.service", ""));
	fleet_state(fleet, "m1", "a.service", "inactive");
	index = newest(fleet);
	for (int i = 0; i < 50; i++) {
		report(fleet, "a.service", "active", "", "");
		report(fleet, "a.service", "inactive", "", "");
	}
	report(fleet, "a.service", "failed", "", "");
	assert_string_equal(told(fleet, &index),
		"unit.active a.service m1: \nunit.inactive a.service m1: \n"
		"unit.active a.service m1: \nunit.inactive a.service m1: \n"
		"unit.active a.service m1: \nunit.inactive a.service m1: \n"
		"unit.active a.service m1: \nunit.inactive a.service m1: \n"
		"unit.active a.service m1: \nunit.inactive a.service m1: ; what else "
		"it does in this minute is not told\nunit.failed a.service m1: \n");
	fleet_pass(fleet, 60000, "m1");
	report(fleet, "a.service", "active", "", "");
	assert_string_equal(told(fleet, &index), "unit.active a.service m1: \n");
}

static void a_lost_machine_is_told(void **state)
{
	struct fleet *fleet = *state;
	uint64_t index;

	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	index = newest(fleet);
	fleet_pass(fleet, 10000, "m2");
	assert_string_equal(told(fleet, &index),
		"machine.lost  m1: not heard of for 10 s, 1 units\n"
		"unit.displaced a.service m1: its machine is lost\nunit.placed a.service m2: \n");
	fleet_pass(fleet, 5000, "m2");
	fleet_beat(fleet, "m1");
	assert_string_equal(told(fleet, &index), "machine.up  m1: after 15 s\n");
	fleet_pass(fleet, 20000, "");
	assert_string_equal(told(fleet, &index),
		"machine.lost  m2: not heard of for 10 s, 1 units\n"
		"fleet.hold  : 2 of 2 machines look lost: nothing is moved\n"
		"machine.lost  m1: not heard of for 10 s, 0 units\n");
	fleet_beat(fleet, "m1");
	fleet_beat(fleet, "m2");
	assert_string_equal(told(fleet, &index),
		"machine.up  m1: after 20 s\nmachine.up  m2: after 21 s\n"
		"fleet.hold_over  : units may move again\n");
}

/* What was before is not known; that every agent tells its states again is no news, but a failure
 * is. */
static void after_a_restart_what_was_is_lost(void **state)
{
	struct fleet *fleet = *state;
	uint64_t before, index;
	Pb__EventsReply *reply;

	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "b.service", ""));
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	before = newest(fleet);
	fleet_restart(fleet);
	reply = ask(fleet, before, 0);
	assert_true(reply->lost);
	assert_int_equal(reply->n_events, 1);
	assert_string_equal(reply->events[0]->kind, "coordinator.started");
	assert_string_equal(reply->events[0]->text, "3 units, 1 machines");
	assert_true(reply->events[0]->index > before);
	index = reply->index;
	done(reply);
	fleet_beat(fleet, "m1");
	fleet_state(fleet, "m1", "a.service", "active"); /* all of a new session */
	assert_string_equal(told(fleet, &index), "");
	report(fleet, "b.service", "failed", "", "");
	report(fleet, "a.service", "inactive", "", "");
	assert_string_equal(told(fleet, &index), "unit.failed b.service m1: \n"
						 "unit.inactive a.service m1: \n");
}

/* Whoever comes back later than 10,000 events is told that some are gone, and gets the rest; whoever
 * comes back in time misses none. */
static void old_ones_are_forgotten(void **state)
{
	struct fleet *fleet = *state;
	uint64_t begin = newest(fleet), in_time, index;
	Pb__EventsReply *reply;
	size_t n = 0;

	assert_true(fleet_submit(fleet, "a.service", unit_text("")));
	in_time = newest(fleet);
	for (unsigned i = 0; i < EVENTS_MAX; i++)
		assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "a.service", NULL,
			i % 2 == 0 ? PB__DESIRED_STATE__LOADED : PB__DESIRED_STATE__LAUNCHED,
			false));
	reply = ask(fleet, begin, 0);
	assert_true(reply->lost);
	assert_int_equal(reply->n_events, LIMIT_EVENTS);
	done(reply);
	/* The first of the EVENTS_MAX came with "unit.placed" and pushed one out. */
	reply = ask(fleet, in_time, 0);
	assert_true(reply->lost);
	index = reply->events[0]->index;
	done(reply);
	for (;;) {
		reply = ask(fleet, index, 0);
		assert_false(reply->lost);
		if (reply->n_events == 0)
			break;
		for (size_t i = 0; i < reply->n_events; i++, n++) {
			assert_true(reply->events[i]->index > index);
			index = reply->events[i]->index;
			assert_string_equal(
				reply->events[i]->text, n % 2 == 0 ? "launched" : "loaded");
		}
		done(reply);
	}
	done(reply);
	assert_int_equal(n, EVENTS_MAX - 1);
}

static void many_bytes_are_forgotten_sooner(void **state)
{
	static char name[UINT8_MAX];
	struct fleet *fleet = *state;
	Pb__EventsReply *reply;
	uint64_t index;
	size_t n = 0;

	memset(name, 'x', sizeof(name));
	strcpy(name + sizeof(name) - sizeof(".service"), ".service");
	assert_true(fleet_submit(fleet, name, unit_text("")));
	index = newest(fleet);
	for (unsigned i = 0; i < EVENTS_MAX; i++)
		assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, name, NULL,
			i % 2 == 0 ? PB__DESIRED_STATE__LOADED : PB__DESIRED_STATE__LAUNCHED,
			false));
	reply = ask(fleet, 0, UINT32_MAX);
	index = reply->index;
	for (n = reply->n_events; reply->n_events > 0; n += reply->n_events) {
		done(reply);
		reply = ask(fleet, index, 0);
		index = reply->index;
	}
	done(reply);
	assert_in_range(n, 5000, EVENTS_MAX);
}

static void a_long_text_is_cut_between_characters(void **state)
{
	char error[2000];
	struct fleet *fleet = *state;
	uint64_t index;
	const char *text;

	assert_true(fleet_start(fleet, "a.service", ""));
	fleet_state(fleet, "m1", "a.service", "inactive");
	index = newest(fleet);
	for (size_t i = 0; i + 3 < sizeof(error); i += 2)
		memcpy(error + i, "ä", 3);
	report(fleet, "a.service", "activating", "start-pre", error);
	text = told(fleet, &index);
	assert_non_null(strstr(text, "unit.error a.service m1: start-pre: ää"));
	assert_true(strlen(text) < 600);
	assert_string_equal(text + strlen(text) - 3, "ä\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fleet_setup_with_m1, fleet_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_people_do_is_told),
		TEST(a_wait_for_a_machine_is_told_once),
		TEST(what_machines_report_is_told),
		TEST(a_restless_unit_is_told_of_now_and_then),
		TEST(a_lost_machine_is_told),
		TEST(after_a_restart_what_was_is_lost),
		TEST(old_ones_are_forgotten),
		TEST(many_bytes_are_forgotten_sooner),
		TEST(a_long_text_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
