/* Machines that operators take out and put back, and the units that leave them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

#define VERB(verb) PB__MACHINE_CHANGE_REQUEST__VERB__##verb

static enum fl_code change(struct fleet *fleet, Pb__MachineChangeRequest__Verb verb,
	const char *machine, uint64_t deadline_ms, uint32_t parallel, struct fl_error *err)
{
	struct core_event event = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {.verb = verb,
			.machine_id = machine,
			.by = "ana",
			.reason = "disk change",
			.deadline_ms = deadline_ms,
			.parallel = parallel}};

	return fleet_try(fleet, &event, err);
}

static void cordon(struct fleet *fleet, const char *machine)
{
	assert_int_equal(change(fleet, VERB(CORDON), machine, 0, 0, NULL), FL_OK);
}

static void uncordon(struct fleet *fleet, const char *machine)
{
	assert_int_equal(change(fleet, VERB(UNCORDON), machine, 0, 0, NULL), FL_OK);
}

static void drain(struct fleet *fleet, const char *machine, uint64_t deadline_ms, uint32_t parallel)
{
	assert_int_equal(change(fleet, VERB(DRAIN), machine, deadline_ms, parallel, NULL), FL_OK);
}

static Pb__Machine__Scheduling scheduling(struct fleet *fleet, const char *id, uint32_t *left)
{
	Pb__Machine *machine;
	Pb__Machine__Scheduling is;

	assert_int_equal(core_machine_get(fleet->core, id, fleet->now_ms, &machine, NULL), FL_OK);
	is = machine->scheduling;
	if (left != NULL)
		*left = machine->drain_units;
	core_message_free(&machine->base);
	return is;
}

#define assert_machine(fleet, id, state, n) \
	do { \
		uint32_t left_; \
\
		assert_int_equal(scheduling(fleet, id, &left_), PB__MACHINE__SCHEDULING__##state); \
		assert_int_equal(left_, n); \
	} while (0)

/* How many units have their only placement on the machine. */
static unsigned count_on(struct fleet *fleet, const char *machine)
{
	unsigned n = 0;

	for (const char *name = ""; (name = core_unit_next(fleet->core, name)) != NULL;)
		n += strcmp(fleet_where(fleet, name), machine) == 0;
	return n;
}

/* Every unit of a machine is reported as running. */
static void all_run(struct fleet *fleet, const char *machine)
{
	char name[256] = "";
	const char *next;

	while ((next = core_unit_next(fleet->core, name)) != NULL) {
		snprintf(name, sizeof(name), "%s", next);
		if (strcmp(fleet_where(fleet, name), machine) == 0)
			fleet_state(fleet, machine, name, "active");
	}
}

static void start_many(struct fleet *fleet, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "u%02u.service", i);
		assert_true(fleet_start(fleet, name, ""));
	}
}

/* ---- cordon ------------------------------------------------------------------------------ */

static void nothing_comes_to_a_cordoned_machine(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	cordon(fleet, "m1");
	assert_machine(fleet, "m1", CORDONED, 0);
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_start(fleet, "b.service", ""));
	assert_where(fleet, "b.service", "");
	assert_string_equal(
		fleet_refusal(fleet, "b.service", "m1"), "cordoned by ana: disk change");
	assert_string_equal(fleet_unit(fleet, "b.service")->waiting,
		"none of 1 machines can take it: 1 × cordoned by ana: disk change");
	/* Followers and those who name the machine are no exception. */
	assert_true(fleet_start(fleet, "c.service", "MachineOf=a.service"));
	assert_true(fleet_start(fleet, "d.service", "MachineID=m1"));
	assert_where(fleet, "c.service", "");
	assert_where(fleet, "d.service", "");
	fleet_restart(fleet);
	fleet_join(fleet, "m1", "");
	assert_where(fleet, "a.service", "m1");
	assert_where(fleet, "b.service", "");
	fleet_check(fleet->core);
	uncordon(fleet, "m1");
	assert_machine(fleet, "m1", OPEN, 0);
	assert_int_equal(count_on(fleet, "m1"), 4);
	fleet_check(fleet->core);
}

static void global_units_stay_on_a_cordoned_machine_and_new_ones_do_not_come(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "old.service", "Global=true"));
	cordon(fleet, "m1");
	assert_true(fleet_start(fleet, "new.service", "Global=true"));
	assert_where(fleet, "old.service", "m1 m2");
	assert_where(fleet, "new.service", "m2");
	assert_string_equal(
		fleet_refusal(fleet, "new.service", "m1"), "cordoned by ana: disk change");
	fleet_restart(fleet);
	assert_where(fleet, "old.service", "m1 m2");
	assert_where(fleet, "new.service", "m2");
	fleet_join(fleet, "m1", "");
	fleet_check(fleet->core);
	uncordon(fleet, "m1");
	assert_where(fleet, "new.service", "m1 m2");
}

static void a_machine_is_named_by_the_beginning_of_its_id(void **state)
{
	struct fleet *fleet = *state;
	struct fl_error err;

	fleet_join(fleet, "abc1", "");
	fleet_join(fleet, "abd2", "");
	assert_int_equal(change(fleet, VERB(CORDON), "ab", 0, 0, &err), FL_E_INVALID);
	assert_string_equal(err.text, "\"ab\" could be machine abc1 or abd2; write more of it");
	assert_int_equal(change(fleet, VERB(CORDON), "x", 0, 0, &err), FL_E_NOT_FOUND);
	assert_string_equal(err.text, "there is no machine \"x\"");
	assert_int_equal(change(fleet, VERB(CORDON), "", 0, 0, &err), FL_E_NOT_FOUND);
	cordon(fleet, "abd");
	assert_machine(fleet, "abd2", CORDONED, 0);
	assert_machine(fleet, "abc1", OPEN, 0);
	assert_int_equal(change(fleet, VERB(VERB_UNSPECIFIED), "abd", 0, 0, &err), FL_E_INVALID);
	assert_int_equal(change(fleet, VERB(DRAIN), "abd", UINT64_MAX, 0, &err), FL_E_INVALID);
}

/* ---- drain ------------------------------------------------------------------------------- */

static void a_drain_moves_some_units_at_a_time(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 5);
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 0, 2);
	assert_machine(fleet, "m1", DRAINING, 5);
	/* Two are stopped first; they come to m2 when m1 has let go of them. */
	assert_int_equal(count_on(fleet, "m1"), 3);
	assert_int_equal(count_on(fleet, "m2"), 0);
	fleet_let_go(fleet, "m1");
	assert_int_equal(count_on(fleet, "m2"), 2);
	assert_int_equal(count_on(fleet, "m1"), 3);
	/* The next ones when those run. */
	all_run(fleet, "m2");
	assert_int_equal(count_on(fleet, "m1"), 1);
	fleet_let_go(fleet, "m1");
	all_run(fleet, "m2");
	fleet_let_go(fleet, "m1");
	fleet_check(fleet->core);
	assert_machine(fleet, "m1", DRAINING, 0);
	all_run(fleet, "m2");
	assert_machine(fleet, "m1", DRAINED, 0);
	assert_int_equal(count_on(fleet, "m2"), 5);
	assert_true(fleet_start(fleet, "new.service", ""));
	assert_where(fleet, "new.service", "m2");
	fleet_check(fleet->core);
	/* Nothing moves back by itself. */
	uncordon(fleet, "m1");
	assert_int_equal(count_on(fleet, "m1"), 0);
}

static void a_unit_that_has_just_come_may_have_to_leave_again(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 1);
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 0, 0);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "u00.service", "m2");
	uncordon(fleet, "m1");
	drain(fleet, "m2", 0, 0);
	assert_where(fleet, "u00.service", "");
	fleet_check(fleet->core);
	fleet_let_go(fleet, "m2");
	assert_where(fleet, "u00.service", "m1");
	all_run(fleet, "m1");
	assert_machine(fleet, "m2", DRAINED, 0);
	fleet_check(fleet->core);
}

static void a_unit_that_fails_elsewhere_does_not_stop_the_drain(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 2);
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 0, 1);
	fleet_let_go(fleet, "m1");
	assert_int_equal(count_on(fleet, "m2"), 1);
	fleet_state(fleet, "m2", "u00.service", "failed");
	fleet_let_go(fleet, "m1");
	assert_int_equal(count_on(fleet, "m2"), 2);
	/* Nor does one that never says how it is. */
	fleet_pass(fleet, 90000, "m1 m2");
	assert_machine(fleet, "m1", DRAINED, 0);
	fleet_check(fleet->core);
}

static void followers_go_along(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "b.service", ""));
	assert_true(fleet_start(fleet, "a.service", "MachineOf=b.service"));
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 0, 1);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "b.service", "m2");
	assert_where(fleet, "a.service", "m2");
	all_run(fleet, "m2");
	assert_machine(fleet, "m1", DRAINED, 0);
}

static void a_unit_that_fits_nowhere_stays_until_the_deadline(void **state)
{
	struct fleet *fleet = *state;
	const Pb__Unit *unit;

	fleet_join(fleet, "m1", "disk=ssd");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=disk=ssd"));
	drain(fleet, "m1", 30000, 0);
	fleet_pass(fleet, 20000, "m1 m2");
	assert_where(fleet, "a.service", "m1");
	assert_machine(fleet, "m1", DRAINING, 1);
	unit = fleet_unit(fleet, "a.service");
	assert_string_equal(unit->placements[0]->leaving,
		"none of 2 machines can take it: 1 × being drained by ana: disk change, "
		"1 × metadata disk=ssd wanted, the machine has no disk");
	fleet_pass(fleet, 9999, "m1 m2");
	assert_where(fleet, "a.service", "m1");
	fleet_pass(fleet, 1, "m1 m2");
	assert_where(fleet, "a.service", "");
	assert_machine(fleet, "m1", DRAINED, 1);
	fleet_let_go(fleet, "m1");
	assert_machine(fleet, "m1", DRAINED, 0);
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting,
		"none of 2 machines can take it: 1 × drained by ana: disk change, "
		"1 × metadata disk=ssd wanted, the machine has no disk");
	/* It starts as soon as one can take it. */
	fleet_join(fleet, "m3", "disk=ssd");
	assert_where(fleet, "a.service", "m3");
	fleet_check(fleet->core);
}

static void a_machine_that_comes_helps_a_drain(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	drain(fleet, "m1", 0, 0);
	assert_where(fleet, "a.service", "m1");
	fleet_pass(fleet, 60000, "m1");
	assert_where(fleet, "a.service", "m1");
	fleet_join(fleet, "m2", "");
	fleet_pass(fleet, 6000, "m1 m2");
	assert_where(fleet, "a.service", "");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");
}

static void bound_units_stop_last_and_start_again_there(void **state)
{
	struct fleet *fleet = *state;
	struct agent agent;
	uint64_t epoch;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "global.service", "Global=true"));
	assert_true(fleet_start(fleet, "pinned.service", "MachineID=m1"));
	assert_true(fleet_start(fleet, "beside.service", "MachineOf=pinned.service"));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "data.service",
		"[Service]\nExecStart=/bin/true\n[X-Flota]\nOnMachineLoss=wait\n",
		PB__DESIRED_STATE__LAUNCHED, false));
	assert_true(fleet_start(fleet, "free.service", ""));
	epoch = fleet_epoch(fleet, "pinned.service");
	fleet_join(fleet, "m2", "");
	agent_open(&agent, "m1");
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 5);
	drain(fleet, "m1", 60000, 0);
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 4);
	assert_string_equal(fleet_unit(fleet, "pinned.service")->placements[0]->leaving,
		"stays until all others have left, then stops: MachineID= names this machine");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "free.service", "m2");
	assert_machine(fleet, "m1", DRAINING, 4);
	all_run(fleet, "m2");
	/* Now they are told to stop, and are placed there still. */
	assert_machine(fleet, "m1", DRAINED, 4);
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 0);
	fleet_let_go(fleet, "m1");
	assert_machine(fleet, "m1", DRAINED, 0);
	assert_where(fleet, "data.service", "m1");
	assert_string_equal(fleet_unit(fleet, "data.service")->waiting,
		"stopped, for its machine is drained by ana: disk change; it waits for it: "
		"its data are here (OnMachineLoss=wait)");
	assert_where(fleet, "global.service", "m1 m2");
	fleet_check(fleet->core);
	fleet_check_assignment(fleet->core, "m1", agent.units);
	/* A restart changes nothing of that. */
	fleet_restart(fleet);
	fleet_join(fleet, "m1", "");
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 0);
	uncordon(fleet, "m1");
	agent_sync(&agent, fleet);
	assert_int_equal(fl_map_count(agent.units), 4);
	assert_int_equal(fleet_epoch(fleet, "pinned.service"), epoch);
	fleet_check(fleet->core);
	agent_close(&agent);
}

static void a_restart_of_the_coordinator_goes_on_with_a_drain(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 3);
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 100000, 1);
	assert_int_equal(count_on(fleet, "m1"), 2);
	fleet_restart(fleet);
	/* Until it is heard of nothing is done there. */
	assert_machine(fleet, "m1", DRAINING, 3);
	assert_int_equal(count_on(fleet, "m1"), 2);
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m1", "");
	fleet_let_go(fleet, "m1");
	for (int i = 0; i < 3; i++) {
		all_run(fleet, "m2");
		fleet_let_go(fleet, "m1");
	}
	all_run(fleet, "m2");
	assert_int_equal(count_on(fleet, "m2"), 3);
	assert_machine(fleet, "m1", DRAINED, 0);
	fleet_check(fleet->core);
}

static void the_deadline_survives_a_restart(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	drain(fleet, "m1", 30000, 0);
	fleet_pass(fleet, 10000, "m1");
	fleet_restart(fleet);
	fleet_join(fleet, "m1", "");
	fleet_pass(fleet, 19999, "m1");
	assert_where(fleet, "a.service", "m1");
	fleet_pass(fleet, 1, "m1");
	assert_where(fleet, "a.service", "");
}

static void a_machine_lost_in_the_middle_of_its_drain(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 3);
	assert_true(fleet_start(fleet, "pinned.service", "MachineID=m1"));
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	drain(fleet, "m1", 60000, 1);
	/* One is stopping there, two run; then nothing is heard of it. */
	fleet_pass(fleet, 10000, "m2 m3");
	assert_int_equal(count_on(fleet, "m2") + count_on(fleet, "m3"), 3);
	assert_where(fleet, "pinned.service", "m1");
	assert_machine(fleet, "m1", DRAINING, 1);
	fleet_pass(fleet, 100000, "m2 m3");
	fleet_check(fleet->core);
	/* Back: what is bound to it stops now. */
	fleet_beat(fleet, "m1");
	fleet_let_go(fleet, "m1");
	assert_machine(fleet, "m1", DRAINED, 0);
	assert_where(fleet, "pinned.service", "m1");
}

static void uncordon_ends_a_drain(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 3);
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 30000, 1);
	uncordon(fleet, "m1");
	fleet_pass(fleet, 60000, "m1 m2");
	assert_machine(fleet, "m1", OPEN, 0);
	assert_int_equal(count_on(fleet, "m1"), 2);
	fleet_let_go(fleet, "m1");
	assert_int_equal(count_on(fleet, "m2"), 1);
	fleet_check(fleet->core);
	/* To drain again is to look on, with another deadline and width. */
	drain(fleet, "m1", 0, 1);
	drain(fleet, "m1", 5000, 3);
	assert_int_equal(count_on(fleet, "m1"), 0);
	cordon(fleet, "m1");
	assert_int_equal(scheduling(fleet, "m1", NULL), PB__MACHINE__SCHEDULING__DRAINING);
	fleet_check(fleet->core);
}

static void what_people_do_meanwhile_is_done(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 3);
	fleet_join(fleet, "m2", "");
	drain(fleet, "m1", 0, 1);
	assert_where(fleet, "u00.service", "");
	assert_true(fleet_unload(fleet, "u00.service"));
	/* Its place in the drain is free. */
	assert_where(fleet, "u01.service", "");
	assert_true(fleet_destroy(fleet, "u01.service"));
	assert_where(fleet, "u02.service", "");
	assert_true(fleet_start(fleet, "u00.service", NULL));
	fleet_check(fleet->core);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "u00.service", "m2");
	assert_where(fleet, "u02.service", "m2");
	fleet_check(fleet->core);
}

/* ---- Moves ------------------------------------------------------------------------------- */

static enum fl_code move(struct fleet *fleet, const char *unit, const char *from, const char *to,
	struct fl_error *err)
{
	struct core_event event = {
		.kind = CORE_MOVE, .move = {.unit = unit, .from = from, .to = to}};

	return fleet_try(fleet, &event, err);
}

static void a_unit_moves_to_the_machine_that_was_named(void **state)
{
	struct fleet *fleet = *state;
	struct fl_error err;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_int_equal(move(fleet, "x.service", "m1", "m3", &err), FL_E_NOT_FOUND);
	assert_int_equal(move(fleet, "a.service", "m1", "m9", &err), FL_E_NOT_FOUND);
	assert_int_equal(move(fleet, "a.service", "m2", "m3", &err), FL_E_STATE);
	assert_int_equal(move(fleet, "a.service", "m1", "m1", &err), FL_E_INVALID);
	assert_int_equal(move(fleet, "a.service", "m1", "m3", &err), FL_OK);
	assert_where(fleet, "a.service", "");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting,
		"it has left machine m1, which has not let go of it yet");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m3");
	assert_int_equal(move(fleet, "a.service", "m3", "m2", &err), FL_E_STATE);
	assert_string_equal(err.text, "unit a.service is moving already");
	all_run(fleet, "m3");
	cordon(fleet, "m2");
	assert_int_equal(move(fleet, "a.service", "m3", "m2", &err), FL_E_STATE);
	assert_string_equal(
		err.text, "machine m2 can not take unit a.service: cordoned by ana: disk change");
	/* Its machine may be gone when the unit could come. */
	assert_int_equal(move(fleet, "a.service", "m3", "m1", &err), FL_OK);
	cordon(fleet, "m1");
	fleet_let_go(fleet, "m3");
	assert_where(fleet, "a.service", "m3");
	fleet_check(fleet->core);
}

/* ---- Rebalancing ------------------------------------------------------------------------- */

static Pb__RebalanceReply *plan(struct fleet *fleet, size_t max_moves)
{
	Pb__RebalanceReply *reply;

	assert_int_equal(core_rebalance(fleet->core, max_moves, &reply, NULL), FL_OK);
	return reply;
}

static size_t plan_size(struct fleet *fleet, size_t max_moves)
{
	Pb__RebalanceReply *reply = plan(fleet, max_moves);
	size_t n = reply->n_moves;

	core_message_free(&reply->base);
	return n;
}

static void a_plan_moves_units_from_the_fullest_to_the_emptiest(void **state)
{
	struct fleet *fleet = *state;
	Pb__RebalanceReply *reply;

	fleet_join(fleet, "m1", "");
	start_many(fleet, 9);
	assert_int_equal(plan_size(fleet, 0), 0);
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_int_equal(plan_size(fleet, 2), 2);
	reply = plan(fleet, 0);
	assert_int_equal(reply->n_moves, 6);
	assert_string_equal(reply->moves[0]->from, "m1");
	assert_string_equal(reply->moves[0]->to, "m2");
	assert_string_equal(reply->moves[0]->reason, "9 units there, 0 here");
	assert_string_equal(reply->moves[1]->to, "m3");
	for (size_t i = 0; i < reply->n_moves; i++)
		assert_int_equal(move(fleet, reply->moves[i]->unit, reply->moves[i]->from,
					 reply->moves[i]->to, NULL),
			FL_OK);
	core_message_free(&reply->base);
	fleet_let_go(fleet, "m1");
	assert_int_equal(count_on(fleet, "m1"), 3);
	assert_int_equal(count_on(fleet, "m2"), 3);
	assert_int_equal(count_on(fleet, "m3"), 3);
	assert_int_equal(plan_size(fleet, 0), 0);
	fleet_check(fleet->core);
}

static void a_plan_leaves_units_that_should_stay(void **state)
{
	struct fleet *fleet = *state;
	Pb__RebalanceReply *reply;

	fleet_join(fleet, "m1", "disk=ssd");
	assert_true(fleet_start(fleet, "global.service", "Global=true\nMachineMetadata=disk=ssd"));
	assert_true(fleet_start(fleet, "pinned.service", "MachineID=m1"));
	assert_true(fleet_start(fleet, "ssd.service", "MachineMetadata=disk=ssd"));
	assert_true(fleet_start(fleet, "leader.service", ""));
	assert_true(fleet_start(fleet, "follower.service", "MachineOf=leader.service"));
	for (int i = 0; i < 2; i++)
		assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET,
			i == 0 ? "data.service" : "only.service",
			i == 0 ? "[Service]\nExecStart=/bin/true\n[X-Flota]\nOnMachineLoss=wait\n"
			       : "[Service]\nExecStart=/bin/true\n[X-Flota]\n"
				 "PreferMetadata=disk=ssd\n",
			PB__DESIRED_STATE__LAUNCHED, false));
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_int_equal(plan_size(fleet, 0), 0);
	/* Two that may not be together do not go to the same machine; none to one that is closed. */
	assert_true(
		fleet_start(fleet, "x1.service", "Conflicts=x?.service\nMachineMetadata=disk=ssd"));
	cordon(fleet, "m3");
	assert_true(fleet_start(fleet, "y.service", ""));
	assert_where(fleet, "y.service", "m2");
	assert_true(fleet_replace(fleet, "x1.service", "Conflicts=x?.service"));
	assert_where(fleet, "x1.service", "m1");
	reply = plan(fleet, 0);
	assert_int_equal(reply->n_moves, 1);
	assert_string_equal(reply->moves[0]->unit, "x1.service");
	assert_string_equal(reply->moves[0]->to, "m2");
	core_message_free(&reply->base);
	fleet_check(fleet->core);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, fleet_setup, fleet_teardown)
	const struct CMUnitTest tests[] = {
		T(nothing_comes_to_a_cordoned_machine),
		T(global_units_stay_on_a_cordoned_machine_and_new_ones_do_not_come),
		T(a_machine_is_named_by_the_beginning_of_its_id),
		T(a_drain_moves_some_units_at_a_time),
		T(a_unit_that_has_just_come_may_have_to_leave_again),
		T(a_unit_that_fails_elsewhere_does_not_stop_the_drain),
		T(followers_go_along),
		T(a_unit_that_fits_nowhere_stays_until_the_deadline),
		T(a_machine_that_comes_helps_a_drain),
		T(bound_units_stop_last_and_start_again_there),
		T(a_restart_of_the_coordinator_goes_on_with_a_drain),
		T(the_deadline_survives_a_restart),
		T(a_machine_lost_in_the_middle_of_its_drain),
		T(uncordon_ends_a_drain),
		T(what_people_do_meanwhile_is_done),
		T(a_unit_moves_to_the_machine_that_was_named),
		T(a_plan_moves_units_from_the_fullest_to_the_emptiest),
		T(a_plan_leaves_units_that_should_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
