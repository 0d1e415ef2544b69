/* What an agent is told, and what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"
#include "proto/wire.h"

/* ---- Assignments ------------------------------------------------------------------------- */

static const Pb__Assignment *agent_unit(const struct agent *agent, const char *name)
{
	return fl_map_get(agent->units, name);
}

static void changes_reach_the_agent_one_by_one(void **state)
{
	struct fleet *fleet = *state;
	struct agent agent;

	agent_open(&agent, "m1");
	agent_sync(&agent, fleet);
	assert_int_equal(agent.resets, 1);
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_load(fleet, "b.service", ""));
	assert_true(fl_strv_has(&fleet->machines, "m1"));
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 2);
	assert_int_equal(agent_unit(&agent, "a.service")->desired, PB__DESIRED_STATE__LAUNCHED);
	assert_int_equal(agent_unit(&agent, "b.service")->desired, PB__DESIRED_STATE__LOADED);
	assert_int_equal(agent_unit(&agent, "a.service")->content.len, strlen(unit_text(NULL)));
	assert_string_equal(agent_unit(&agent, "a.service")->tenant, "default");
	assert_int_equal(agent_unit(&agent, "a.service")->epoch, fleet_epoch(fleet, "a.service"));
	assert_true(fleet_load(fleet, "a.service", NULL));
	assert_true(fleet_unload(fleet, "b.service"));
	agent_sync(&agent, fleet);
	assert_int_equal(agent_unit(&agent, "a.service")->desired, PB__DESIRED_STATE__LOADED);
	assert_null(agent_unit(&agent, "b.service"));
	/* Away and back before the agent asks: one new assignment, no removal. */
	assert_true(fleet_unload(fleet, "a.service"));
	assert_true(fleet_start(fleet, "a.service", NULL));
	agent_sync(&agent, fleet);
	assert_int_equal(agent_unit(&agent, "a.service")->epoch, fleet_epoch(fleet, "a.service"));
	assert_true(fleet_destroy(fleet, "a.service"));
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 0);
	assert_int_equal(agent.resets, 1);
	agent_close(&agent);
}

/* A removal is told until the agent's disk has it. */
static void a_removal_is_told_again_until_it_is_acknowledged(void **state)
{
	struct fleet *fleet = *state;
	Pb__SyncReply *reply;
	uint64_t before, revision;

	assert_true(fleet_start(fleet, "a.service", ""));
	before = core_revision(fleet->core);
	fleet_ack(fleet, "m1", before);
	assert_true(fleet_destroy(fleet, "a.service"));
	revision = core_revision(fleet->core);
	for (int i = 0; i < 2; i++) {
		fleet_ack(fleet, "m1", before);
		assert_int_equal(
			core_assignment(fleet->core, "m1", "store", before, revision, &reply, NULL),
			FL_OK);
		assert_int_equal(reply->n_removed, 1);
		assert_string_equal(reply->removed[0], "a.service");
		assert_false(reply->reset);
		core_message_free(&reply->base);
	}
	fleet_ack(fleet, "m1", revision);
	/* It is forgotten now; who asks from before that has missed it. */
	assert_int_equal(
		core_assignment(fleet->core, "m1", "store", before, revision, &reply, NULL), FL_OK);
	assert_true(reply->reset);
	core_message_free(&reply->base);
}

static void what_is_not_durable_is_not_told(void **state)
{
	struct fleet *fleet = *state;
	Pb__SyncReply *reply;
	uint64_t durable;

	assert_true(fleet_start(fleet, "a.service", ""));
	durable = core_revision(fleet->core);
	assert_true(fleet_start(fleet, "b.service", ""));
	assert_int_equal(
		core_assignment(fleet->core, "m1", "store", durable, durable, &reply, NULL), FL_OK);
	assert_null(reply);
	assert_int_equal(core_assignment(fleet->core, "m1", "", 0, durable, &reply, NULL), FL_OK);
	assert_null(reply); /* a whole without b would make the agent drop it */
	assert_int_equal(core_assignment(fleet->core, "m1", "store", durable,
				 core_revision(fleet->core), &reply, NULL),
		FL_OK);
	assert_int_equal(reply->n_assignments, 1);
	assert_string_equal(reply->assignments[0]->name, "b.service");
	core_message_free(&reply->base);
	assert_int_equal(
		core_assignment(fleet->core, "m9", "store", 0, 0, &reply, NULL), FL_E_NOT_FOUND);
}

static void big_assignments_come_in_pages(void **state)
{
	static char big[300000];
	struct fleet *fleet = *state;
	struct agent agent;
	char name[32];

	strcpy(big, unit_text(NULL));
	for (size_t len = strlen(big); len + 100 < sizeof(big); len += 100) {
		memset(big + len, 'x', 99);
		big[len] = '#';
		big[len + 99] = '\n';
	}
	agent_open(&agent, "m1");
	for (int i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "u%d.service", i);
		assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, name, big,
			PB__DESIRED_STATE__LAUNCHED, false));
	}
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 9);
	assert_true(agent.pages >= 3);
	assert_int_equal(agent.resets, 1);
	/* The agent's disk went back in time: it gets all of it again, in pages too. */
	assert_true(fleet_destroy(fleet, "u0.service"));
	agent_sync(&agent, fleet);
	agent.revision = 1;
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 8);
	assert_int_equal(agent.resets, 2);
	agent_close(&agent);
}

static void many_small_assignments_come_in_pages(void **state)
{
	struct fleet *fleet = *state;
	struct agent agent;
	char name[32];

	agent_open(&agent, "m1");
	for (unsigned i = 0; i < 2 * LIMIT_ASSIGNMENTS + 1; i++) {
		snprintf(name, sizeof(name), "u%u.service", i);
		assert_true(fleet_load(fleet, name, ""));
	}
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 2 * LIMIT_ASSIGNMENTS + 1);
	assert_true(agent.pages >= 3);
	assert_int_equal(agent.resets, 1);
	agent_close(&agent);
}

static void a_new_coordinator_or_store_resets_the_agent(void **state)
{
	struct fleet *fleet = *state;
	struct agent agent;
	uint64_t epoch;

	agent_open(&agent, "m1");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "b.service", ""));
	agent_sync(&agent, fleet);
	epoch = agent_unit(&agent, "a.service")->epoch;
	assert_true(fleet_destroy(fleet, "b.service"));
	fleet_restart(fleet);
	agent_sync(&agent, fleet);
	assert_int_equal(agent.resets, 2);
	assert_int_equal(fl_map_count(agent.units), 1);
	assert_int_equal(agent_unit(&agent, "a.service")->epoch, epoch);
	/* A revision from the future, and one of another store. */
	agent.revision += UINT64_C(1) << 40;
	agent_sync(&agent, fleet);
	assert_int_equal(agent.resets, 3);
	strcpy(agent.store_id, "other");
	agent_sync(&agent, fleet);
	assert_int_equal(agent.resets, 4);
	assert_int_equal(fl_map_count(agent.units), 1);
	agent_close(&agent);
}

/* An agent that does not ask for long costs a bounded number of tombstones. */
static void too_many_removals_become_a_reset(void **state)
{
	struct fleet *fleet = *state;
	struct agent agent;
	char name[32];

	agent_open(&agent, "m1");
	assert_true(fleet_start(fleet, "kept.service", ""));
	agent_sync(&agent, fleet);
	for (int i = 0; i < 1200; i++) {
		snprintf(name, sizeof(name), "u%d.service", i);
		assert_true(fleet_start(fleet, name, ""));
		assert_true(fleet_destroy(fleet, name));
	}
	assert_int_equal(core_unit_count(fleet->core), 1);
	agent_sync(&agent, fleet);
	assert_int_equal(agent.resets, 2);
	assert_int_equal(fl_map_count(agent.units), 1);
	agent_close(&agent);
}

/* ---- Reports ----------------------------------------------------------------------------- */

static Pb__UnitState unit_state(const char *name, uint64_t epoch, const char *active)
{
	Pb__UnitState unit_state = PB__UNIT_STATE__INIT;

	unit_state.name = (char *)name;
	unit_state.epoch = epoch;
	unit_state.load = (char *)"loaded";
	unit_state.active = (char *)active;
	unit_state.sub = (char *)"running";
	return unit_state;
}

static bool report_page(
	struct fleet *fleet, uint64_t session, uint32_t page, bool more, Pb__UnitState *first)
{
	Pb__ReportRequest request = PB__REPORT_REQUEST__INIT;
	Pb__UnitState *states[] = {first};

	request.machine_id = (char *)"m1";
	request.session = session;
	request.all = true;
	request.page = page;
	request.more = more;
	request.n_states = 1;
	request.states = states;
	return fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT,
					 .report = {.report = &request, .received_us = 4000}})
		.want_all;
}

static bool report(struct fleet *fleet, uint64_t session, bool all, Pb__UnitState *first,
	Pb__UnitState *second)
{
	Pb__ReportRequest request = PB__REPORT_REQUEST__INIT;
	Pb__UnitState *states[] = {first, second};

	request.machine_id = (char *)"m1";
	request.session = session;
	request.all = all;
	request.n_states = (first != NULL) + (size_t)(second != NULL);
	request.states = states;
	return fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT,
					 .report = {.report = &request, .received_us = 4000}})
		.want_all;
}

static const Pb__UnitState *seen(struct fleet *fleet, const char *name)
{
	return fleet_unit(fleet, name)->placements[0]->state;
}

static void a_new_session_is_asked_for_everything(void **state)
{
	struct fleet *fleet = *state;
	Pb__UnitState a, b;

	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "b.service", ""));
	a = unit_state("a.service", fleet_epoch(fleet, "a.service"), "active");
	b = unit_state("b.service", fleet_epoch(fleet, "b.service"), "active");
	assert_true(report(fleet, 7, false, &a, NULL));
	assert_null(seen(fleet, "a.service"));
	assert_false(report_page(fleet, 7, 0, true, &a));
	assert_false(report_page(fleet, 7, 1, false, &b));
	assert_string_equal(seen(fleet, "a.service")->active, "active");
	assert_string_equal(seen(fleet, "b.service")->active, "active");
	assert_false(report(fleet, 7, false, NULL, NULL));
	/* The agent began again: what it does not mention any more is not known. */
	assert_true(report(fleet, 8, false, NULL, NULL));
	assert_string_equal(seen(fleet, "b.service")->active, "active");
	assert_false(report(fleet, 8, true, &a, NULL));
	assert_string_equal(seen(fleet, "a.service")->active, "active");
	assert_null(seen(fleet, "b.service"));
	fleet_restart(fleet);
	assert_true(report(fleet, 8, false, NULL, NULL));
}

/* Whose answer was lost: the transport says it again on the next connection. */
static void a_page_may_come_twice(void **state)
{
	struct fleet *fleet = *state;
	Pb__UnitState a, b;

	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "b.service", ""));
	a = unit_state("a.service", fleet_epoch(fleet, "a.service"), "active");
	b = unit_state("b.service", fleet_epoch(fleet, "b.service"), "active");
	for (int i = 0; i < 2; i++)
		assert_false(report_page(fleet, 7, 0, true, &a));
	for (int i = 0; i < 2; i++)
		assert_false(report_page(fleet, 7, 1, false, &b));
	assert_string_equal(seen(fleet, "a.service")->active, "active");
	assert_string_equal(seen(fleet, "b.service")->active, "active");
	/* It was to be told in pages, and is told anew. */
	assert_false(report_page(fleet, 7, 0, true, &a));
	assert_false(report_page(fleet, 7, 0, false, &b));
	assert_null(seen(fleet, "a.service"));
	assert_string_equal(seen(fleet, "b.service")->active, "active");
	/* Another life of the coordinator has to hear the first page. */
	fleet_restart(fleet);
	assert_true(report_page(fleet, 7, 1, false, &b));
}

static void numbered_report(
	struct fleet *fleet, uint64_t session, uint64_t number, Pb__UnitState *first)
{
	Pb__ReportRequest request = PB__REPORT_REQUEST__INIT;

	request.machine_id = (char *)"m1";
	request.session = session;
	request.number = number;
	request.all = number == 1;
	request.n_states = 1;
	request.states = &first;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT,
				  .report = {.report = &request, .received_us = 4000}});
}

static void a_report_that_comes_late_is_not_heeded(void **state)
{
	struct fleet *fleet = *state;
	Pb__UnitState before, after;

	assert_true(fleet_start(fleet, "a.service", ""));
	before = unit_state("a.service", fleet_epoch(fleet, "a.service"), "activating");
	after = unit_state("a.service", fleet_epoch(fleet, "a.service"), "active");
	numbered_report(fleet, 7, 1, &before);
	numbered_report(fleet, 7, 2, &after);
	numbered_report(fleet, 7, 1, &before);
	assert_string_equal(seen(fleet, "a.service")->active, "active");
	/* Another life of the agent counts anew. */
	numbered_report(fleet, 8, 1, &before);
	assert_string_equal(seen(fleet, "a.service")->active, "activating");
}

static void states_of_others_are_ignored(void **state)
{
	struct fleet *fleet = *state;
	Pb__UnitState old, stranger;
	uint64_t epoch;

	assert_true(fleet_start(fleet, "a.service", ""));
	epoch = fleet_epoch(fleet, "a.service");
	assert_true(fleet_unload(fleet, "a.service"));
	assert_true(fleet_start(fleet, "a.service", NULL));
	old = unit_state("a.service", epoch, "failed");
	stranger = unit_state("stranger.service", epoch, "active");
	assert_false(report(fleet, 7, true, &old, &stranger));
	assert_null(seen(fleet, "a.service"));
	old.epoch = fleet_epoch(fleet, "a.service");
	assert_false(report(fleet, 7, false, &old, NULL));
	assert_string_equal(seen(fleet, "a.service")->active, "failed");
}

static void a_state_is_kept_whole_and_wakes_who_watches(void **state)
{
	struct fleet *fleet = *state;
	Pb__UnitState a;
	uint64_t revision;

	assert_true(fleet_start(fleet, "a.service", ""));
	a = unit_state("a.service", fleet_epoch(fleet, "a.service"), "activating");
	a.hash = (char *)"0123456789012345678901234567890123456789";
	a.result = (char *)"timeout";
	a.error = (char *)"it did not start in time";
	a.main_pid = 42;
	a.job_us = 17;
	a.since_us = 18;
	a.desired = PB__DESIRED_STATE__LAUNCHED;
	fleet_forget(fleet);
	assert_false(report(fleet, 7, true, &a, NULL));
	assert_true(fl_strv_has(&fleet->units, "a.service"));
	assert_int_equal(fleet->n_writes, 0);
	assert_string_equal(seen(fleet, "a.service")->hash, a.hash);
	assert_string_equal(seen(fleet, "a.service")->result, "timeout");
	assert_string_equal(seen(fleet, "a.service")->error, "it did not start in time");
	assert_string_equal(seen(fleet, "a.service")->sub, "running");
	assert_int_equal(seen(fleet, "a.service")->main_pid, 42);
	assert_int_equal(seen(fleet, "a.service")->job_us, 17);
	assert_int_equal(seen(fleet, "a.service")->since_us, 18);
	assert_int_equal(seen(fleet, "a.service")->desired, PB__DESIRED_STATE__LAUNCHED);
	/* Not done yet, so no reaction; then the request of 1000 µs is carried out at 4000. */
	assert_int_equal(seen(fleet, "a.service")->reaction_us, 0);
	revision = core_unit_revision(fleet->core, "a.service");
	a.done_revision = fleet_unit(fleet, "a.service")->change_revision;
	assert_false(report(fleet, 7, false, &a, NULL));
	assert_int_equal(seen(fleet, "a.service")->reaction_us, 3000);
	assert_true(core_unit_revision(fleet->core, "a.service") > revision);
	/* The same again changes nothing. */
	revision = core_unit_revision(fleet->core, "a.service");
	fleet_forget(fleet);
	assert_false(report(fleet, 7, false, &a, NULL));
	assert_int_equal(core_unit_revision(fleet->core, "a.service"), revision);
	assert_int_equal(fleet->units.n, 0);
	a.sub = (char *)"a word that is longer than any of systemd's, and is cut";
	a.error = (char *)"";
	assert_false(report(fleet, 7, false, &a, NULL));
	assert_int_equal(strlen(seen(fleet, "a.service")->sub), 31);
	assert_string_equal(seen(fleet, "a.service")->error, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fleet_setup_with_m1, fleet_teardown)

/* Its question may have come while a commit was under way, so that it could not be answered yet. */
static void a_machine_without_units_is_woken_for_its_whole_assignment(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_forget(fleet);
	fleet_ack(fleet, "m1", core_revision(fleet->core));
	assert_false(fl_strv_has(&fleet->machines, "m1"));
	fleet_ack(fleet, "m1", 0);
	assert_true(fl_strv_has(&fleet->machines, "m1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_reach_the_agent_one_by_one),
		TEST(a_removal_is_told_again_until_it_is_acknowledged),
		TEST(what_is_not_durable_is_not_told),
		TEST(big_assignments_come_in_pages),
		TEST(many_small_assignments_come_in_pages),
		TEST(a_new_coordinator_or_store_resets_the_agent),
		TEST(too_many_removals_become_a_reset),
		TEST(a_machine_without_units_is_woken_for_its_whole_assignment),
		TEST(a_new_session_is_asked_for_everything),
		TEST(a_page_may_come_twice),
		TEST(a_report_that_comes_late_is_not_heeded),
		TEST(states_of_others_are_ignored),
		TEST(a_state_is_kept_whole_and_wakes_who_watches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
