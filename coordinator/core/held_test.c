/* Units that leave a machine which may still run them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

/* a.service runs on m1, and has to leave it for m2. */
static void begin_move(struct fleet *fleet)
{
	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=1"));
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=2"));
	assert_where(fleet, "a.service", "");
}

/* What m1's agent says of a.service, with @saved on its disk. */
static void report(
	struct fleet *fleet, const char *load, const char *active, uint64_t done, uint64_t saved)
{
	Pb__ReportRequest message = PB__REPORT_REQUEST__INIT;
	Pb__UnitState state = PB__UNIT_STATE__INIT, *states[] = {&state};

	state.name = (char *)"a.service";
	state.load = (char *)load;
	state.active = (char *)active;
	state.desired = PB__DESIRED_STATE__INACTIVE;
	state.done_revision = done;
	message.machine_id = (char *)"m1";
	message.session = fleet->session;
	message.revision = saved;
	message.all = true;
	message.n_states = 1;
	message.states = states;
	fleet_step(
		fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &message}});
}

static void a_unit_is_elsewhere_only_when_its_machine_has_let_go(void **state)
{
	struct fleet *fleet = *state;
	uint64_t revision;

	begin_move(fleet);
	revision = core_revision(fleet->core);
	assert_string_equal(fleet_refusal(fleet, "a.service", "m2"),
		"machine m1, which it has left, has not let go of it yet");
	/* It still runs; it is stopped, and its file is there; the agent has not heard of it. */
	report(fleet, "loaded", "deactivating", revision, revision);
	assert_where(fleet, "a.service", "");
	report(fleet, "loaded", "inactive", revision, revision);
	assert_where(fleet, "a.service", "");
	report(fleet, "not-found", "inactive", 1, revision);
	assert_where(fleet, "a.service", "");
	report(fleet, "not-found", "inactive", revision, revision);
	assert_where(fleet, "a.service", "m2");
	fleet_check(fleet->core);
}

/* An agent that dies before the removal is on its disk would start the unit again. */
static void the_removal_must_be_on_the_agents_disk(void **state)
{
	struct fleet *fleet = *state;
	uint64_t before, revision;

	begin_move(fleet);
	revision = core_revision(fleet->core);
	before = 1;
	report(fleet, "not-found", "inactive", revision, before);
	assert_where(fleet, "a.service", "");
	fleet_beat(fleet, "m1");
	assert_where(fleet, "a.service", "");
	fleet_ack(fleet, "m1", revision);
	assert_where(fleet, "a.service", "m2");
}

/* The one before it had let go, but its disk did not know: this one has started the unit again. */
static void an_agent_that_starts_again_has_let_go_of_nothing(void **state)
{
	struct fleet *fleet = *state;
	uint64_t revision;

	begin_move(fleet);
	revision = core_revision(fleet->core);
	report(fleet, "not-found", "inactive", revision, 1);
	fleet->session++;
	fleet_ack(fleet, "m1", revision);
	assert_where(fleet, "a.service", "");
	report(fleet, "loaded", "active", 1, revision);
	assert_where(fleet, "a.service", "");
	report(fleet, "not-found", "inactive", revision, revision);
	assert_where(fleet, "a.service", "m2");
}

static void what_a_whole_report_leaves_out_is_not_there(void **state)
{
	struct fleet *fleet = *state;
	Pb__ReportRequest message = PB__REPORT_REQUEST__INIT;

	begin_move(fleet);
	fleet_ack(fleet, "m1", core_revision(fleet->core));
	message.machine_id = (char *)"m1";
	message.session = fleet->session;
	message.all = true;
	message.revision = 1; /* from before the removal */
	fleet_step(
		fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &message}});
	assert_where(fleet, "a.service", "");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");
}

static void it_may_come_back_to_the_machine_that_holds_it(void **state)
{
	struct fleet *fleet = *state;
	uint64_t epoch;

	begin_move(fleet);
	epoch = core_revision(fleet->core);
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=1"));
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_epoch(fleet, "a.service") > epoch);
	fleet_let_go(fleet, "m1"); /* of what it had before */
	assert_where(fleet, "a.service", "m1");
	fleet_check(fleet->core);
}

static void a_hold_has_an_end(void **state)
{
	struct fleet *fleet = *state;

	begin_move(fleet);
	fleet_pass(fleet, 89999, "m1 m2");
	assert_where(fleet, "a.service", "");
	fleet_pass(fleet, 1, "m1 m2");
	assert_where(fleet, "a.service", "m2");
	assert_non_null(strstr(fl_buf_str(&fleet->notes), "unit.let_go unit=a.service machine=m1"));
}

static void it_moves_when_the_machine_that_holds_it_is_lost(void **state)
{
	struct fleet *fleet = *state;

	begin_move(fleet);
	fleet_pass(fleet, 9999, "m2");
	assert_where(fleet, "a.service", "");
	fleet_pass(fleet, 1, "m2");
	assert_where(fleet, "a.service", "m2");
	fleet_check(fleet->core);
}

/* It was taken from a lost machine and found no other; then that machine is back, and runs it. */
static void a_machine_that_comes_back_lets_go_first(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=1"));
	fleet_join(fleet, "m2", "k=2");
	fleet_join(fleet, "m3", "k=2");
	fleet_pass(fleet, 10000, "m2 m3");
	assert_where(fleet, "a.service", "");
	fleet_beat(fleet, "m1");
	assert_where(fleet, "a.service", "m1");
	/* The same, and meanwhile it may not be there any more. */
	fleet_pass(fleet, 10000, "m2 m3");
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=3"));
	fleet_beat(fleet, "m1");
	fleet_join(fleet, "m4", "k=3");
	assert_where(fleet, "a.service", "");
	fleet_check(fleet->core);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m4");
}

static void a_restart_of_the_coordinator_does_not_forget_it(void **state)
{
	struct fleet *fleet = *state;
	struct agent agent;

	begin_move(fleet);
	fleet_restart(fleet);
	assert_where(fleet, "a.service", "");
	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_where(fleet, "a.service", "");
	/* The agent is told again, and so it answers again. */
	agent_open(&agent, "m1");
	agent_sync(&agent, fleet);
	assert_true(fl_strv_has(&agent.removed, "a.service"));
	agent_close(&agent);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");
	fleet_restart(fleet);
	assert_where(fleet, "a.service", "m2");
}

static void what_is_stopped_or_destroyed_meanwhile_stays_so(void **state)
{
	struct fleet *fleet = *state;

	begin_move(fleet);
	assert_true(fleet_unload(fleet, "a.service"));
	assert_where(fleet, "a.service", "");
	assert_true(fleet_start(fleet, "a.service", NULL));
	assert_where(fleet, "a.service", "");
	assert_true(fleet_destroy(fleet, "a.service"));
	fleet_check(fleet->core);
	/* Another one of that name is kept away as well. */
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=2"));
	assert_where(fleet, "a.service", "");
	assert_true(fleet_destroy(fleet, "a.service"));
	fleet_let_go(fleet, "m1");
	fleet_ack(fleet, "m1", core_revision(fleet->core));
	fleet_beat(fleet, "m1");
	fleet_check(fleet->core);
	assert_int_equal(core_unit_count(fleet->core), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, fleet_setup, fleet_teardown)
	const struct CMUnitTest tests[] = {
		T(a_unit_is_elsewhere_only_when_its_machine_has_let_go),
		T(the_removal_must_be_on_the_agents_disk),
		T(an_agent_that_starts_again_has_let_go_of_nothing),
		T(what_a_whole_report_leaves_out_is_not_there),
		T(it_may_come_back_to_the_machine_that_holds_it),
		T(a_hold_has_an_end),
		T(it_moves_when_the_machine_that_holds_it_is_lost),
		T(a_machine_that_comes_back_lets_go_first),
		T(a_restart_of_the_coordinator_does_not_forget_it),
		T(what_is_stopped_or_destroyed_meanwhile_stays_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
