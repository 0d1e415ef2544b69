/* Machines that come, go silent, and come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

static Pb__Machine__State machine_state(struct fleet *fleet, const char *id)
{
	Pb__Machine *machine;
	Pb__Machine__State machine_is;

	assert_int_equal(core_machine_get(fleet->core, id, fleet->now_ms, &machine, NULL), FL_OK);
	machine_is = machine->state;
	core_message_free(&machine->base);
	return machine_is;
}

static void a_lost_machines_units_move_when_its_lease_ends(void **state)
{
	struct fleet *fleet = *state;
	uint64_t epoch, lost_ms;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "pinned.service", "MachineID=m1"));
	assert_true(fleet_start(fleet, "global.service", "Global=true"));
	assert_true(fleet_start(fleet, "follower.service", "MachineOf=a.service"));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "data.service",
		"[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=k=1\n"
		"[X-Flota]\nOnMachineLoss=wait\n",
		PB__DESIRED_STATE__LAUNCHED, false));
	fleet_join(fleet, "m1", "k=1");
	assert_where(fleet, "data.service", "m1");
	epoch = fleet_epoch(fleet, "a.service");
	fleet_pass(fleet, 9999, "m2");
	assert_where(fleet, "a.service", "m1");
	assert_int_equal(machine_state(fleet, "m1"), PB__MACHINE__STATE__UP);
	fleet_forget(fleet);
	lost_ms = core_next_deadline(fleet->core);
	assert_int_equal(lost_ms, fleet->now_ms + 1);
	fleet_pass(fleet, 1, "m2");
	assert_int_equal(machine_state(fleet, "m1"), PB__MACHINE__STATE__LOST);
	assert_where(fleet, "a.service", "m2");
	assert_true(fleet_epoch(fleet, "a.service") > epoch);
	assert_where(fleet, "follower.service", "m2");
	assert_where(fleet, "pinned.service", "m1");
	assert_where(fleet, "data.service", "m1");
	assert_where(fleet, "global.service", "m1 m2");
	assert_non_null(strstr(fl_buf_str(&fleet->notes), "machine.lost machine=m1"));
	assert_non_null(strstr(fl_buf_str(&fleet->notes),
		"unit.displaced unit=a.service machine=m1 why=its machine is lost"));
	assert_true(fl_strv_has(&fleet->units, "pinned.service"));
	fleet_pass(fleet, 5000, "m2");
	assert_string_equal(fleet_unit(fleet, "pinned.service")->waiting,
		"its machine m1 is lost, not heard of for 15 s: it waits for it (MachineID=m1)");
	assert_string_equal(fleet_unit(fleet, "data.service")->waiting,
		"its machine m1 is lost, not heard of for 15 s: it waits for it "
		"(OnMachineLoss=wait)");
	assert_string_equal(fleet_refusal(fleet, "a.service", "m1"), "lost: not heard of for 15 s");
	/* Back: nothing moves to it, what waited is there. */
	fleet_beat(fleet, "m1");
	assert_int_equal(machine_state(fleet, "m1"), PB__MACHINE__STATE__UP);
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "pinned.service", "m1");
	assert_string_equal(fleet_unit(fleet, "pinned.service")->waiting, "");
}

static void a_follower_with_data_waits_and_rejoins_its_leader(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "f.service",
		"[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineOf=a.service\n"
		"[X-Flota]\nOnMachineLoss=wait\n",
		PB__DESIRED_STATE__LAUNCHED, false));
	fleet_pass(fleet, 10000, "m2");
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "f.service", "m1");
	fleet_beat(fleet, "m1");
	assert_where(fleet, "f.service", "");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "f.service", "m2");
}

/* "Waits until the machine is back or somebody decides": this is how one decides. */
static void a_unit_that_may_go_after_all_leaves_its_lost_machine(void **state)
{
	struct fleet *fleet = *state;
	const char *waits = "[Service]\nExecStart=/bin/true\n[X-Flota]\nOnMachineLoss=wait\n";

	fleet_join(fleet, "m1", "");
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "a.service", waits,
		PB__DESIRED_STATE__LAUNCHED, false));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "b.service", waits,
		PB__DESIRED_STATE__LAUNCHED, false));
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	fleet_pass(fleet, 10000, "m2 m3");
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_replace(fleet, "a.service", ""));
	assert_where(fleet, "a.service", "m2");
	/* But not while most machines look lost. */
	fleet_restart(fleet);
	fleet_pass(fleet, 10000, "");
	assert_true(fleet_replace(fleet, "b.service", ""));
	assert_where(fleet, "b.service", "m1");
	fleet_pass(fleet, 2000, "m2 m3");
	fleet_beat(fleet, "m2");
	fleet_beat(fleet, "m3");
	fleet_pass(fleet, 2000, "m2 m3");
	assert_where(fleet, "b.service", "m3");
}

static void a_lost_unit_that_fits_nowhere_waits_for_any_machine(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=1"));
	fleet_pass(fleet, 12000, "m2");
	assert_where(fleet, "a.service", "");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting,
		"none of 2 machines can take it: 1 × lost: not heard of for 12 s, "
		"1 × metadata k=1 wanted, the machine has no k");
	fleet_beat(fleet, "m1");
	assert_where(fleet, "a.service", "m1");
}

static void join_many(struct fleet *fleet, int n, char *names, size_t size)
{
	size_t len = 0;

	for (int i = 0; i < n; i++) {
		char id[16];

		snprintf(id, sizeof(id), "m%02d", i);
		fleet_join(fleet, id, "");
		len += (size_t)snprintf(names + len, size - len, "%s ", id);
	}
}

/* How many of n may be lost at once before it looks like the coordinator's own fault. */
static void most_machines_silent_moves_nothing(void **state)
{
	static const struct {
		int n, lost;
		bool moves;
	} cases[] = {
		{1, 1, false},
		{2, 1, true},
		{2, 2, false},
		{3, 1, true},
		{3, 2, false},
		{10, 5, true},
		{10, 6, false},
		{20, 11, true},
		{20, 12, false},
		{20, 20, false},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct fleet fleet;
		char names[256], where[64];
		const char *alive;

		fleet_open(&fleet);
		join_many(&fleet, cases[i].n, names, sizeof(names));
		alive = names + 4 * cases[i].lost;
		assert_true(fleet_start(&fleet, "a.service", ""));
		assert_where(&fleet, "a.service", "m00");
		fleet_pass(&fleet, 10000, alive);
		snprintf(where, sizeof(where), "%s", fleet_where(&fleet, "a.service"));
		assert_int_equal(strcmp(where, "m00") != 0, cases[i].moves);
		if (!cases[i].moves) {
			snprintf(where, sizeof(where), "%d of %d machines look lost", cases[i].lost,
				cases[i].n);
			assert_non_null(strstr(fleet_unit(&fleet, "a.service")->waiting, where));
			assert_non_null(strstr(fl_buf_str(&fleet.notes), "fleet.hold"));
		}
		fleet_unit(&fleet, NULL);
		fleet_close(&fleet);
	}
}

/* All connections break at one moment; leases end one after the other, and not even the first
 * machine's units may move. */
static void a_broken_network_is_seen_at_the_first_lease(void **state)
{
	struct fleet *fleet = *state;
	char names[256];

	join_many(fleet, 10, names, sizeof(names));
	assert_true(fleet_start(fleet, "a.service", ""));
	for (int i = 0; i < 10; i++) {
		char id[16];

		fleet_pass(fleet, 300, "");
		snprintf(id, sizeof(id), "m%02d", i);
		fleet_beat(fleet, id);
	}
	fleet_pass(fleet, 60000, "");
	assert_where(fleet, "a.service", "m00");
	/* Most are back: then the others are lost indeed. */
	for (int i = 1; i < 10; i++) {
		char id[16];

		snprintf(id, sizeof(id), "m%02d", i);
		fleet_beat(fleet, id);
	}
	fleet_pass(fleet, 1001, "");
	assert_where(fleet, "a.service", "m01");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting, "");
}

/* Machines that die one at a time are each believed, down to the last. */
static void losses_already_dealt_with_do_not_count(void **state)
{
	struct fleet *fleet = *state;
	char names[256];

	join_many(fleet, 10, names, sizeof(names));
	assert_true(fleet_start(fleet, "a.service", ""));
	for (int i = 1; i < 10; i++) {
		char where[16];

		fleet_pass(fleet, 20000, names + 4 * i);
		snprintf(where, sizeof(where), "m%02d", i);
		assert_where(fleet, "a.service", where);
	}
}

static void after_a_restart_nothing_moves_for_a_lease(void **state)
{
	struct fleet *fleet = *state;
	uint64_t epoch;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	epoch = fleet_epoch(fleet, "a.service");
	fleet_pass(fleet, 9000, "m2 m3");
	fleet_restart(fleet);
	assert_int_equal(machine_state(fleet, "m1"), PB__MACHINE__STATE__UNKNOWN);
	assert_where(fleet, "a.service", "m1");
	assert_int_equal(fleet_epoch(fleet, "a.service"), epoch);
	/* New units go to machines that were heard of. */
	assert_true(fleet_start(fleet, "new.service", ""));
	assert_where(fleet, "new.service", "");
	assert_string_equal(fleet_unit(fleet, "new.service")->waiting,
		"none of 3 machines can take it: "
		"3 × not heard of yet since the coordinator started");
	fleet_beat(fleet, "m3");
	assert_where(fleet, "new.service", "m3");
	assert_true(fleet_epoch(fleet, "new.service") > epoch);
	fleet_pass(fleet, 9999, "m2 m3");
	assert_where(fleet, "a.service", "m1");
	fleet_pass(fleet, 1, "m2 m3");
	assert_where(fleet, "a.service", "m2");
	assert_string_equal(fleet_refusal(fleet, "new.service", "m1"),
		"lost: not heard of since the coordinator started");
}

/* Machines that died long ago stay in the records; they are no sign of anything. */
static void old_records_do_not_hold_the_fleet(void **state)
{
	struct fleet *fleet = *state;
	char names[256];

	join_many(fleet, 20, names, sizeof(names));
	fleet_join(fleet, "x1", "");
	fleet_join(fleet, "x2", "");
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	fleet_restart(fleet);
	fleet_join(fleet, "x1", "");
	fleet_join(fleet, "x2", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_where(fleet, "a.service", "x1");
	fleet_pass(fleet, 20000, "x2 x1");
	fleet_pass(fleet, 10000, "x2");
	assert_where(fleet, "a.service", "x2");
}

static void unknown_machines_are_told_to_say_who_they_are(void **state)
{
	struct fleet *fleet = *state;
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	struct core_event sync = {.kind = CORE_SYNC, .sync = {.machine_id = "m1", .session = 1}};
	struct core_event beat = {.kind = CORE_REPORT, .report = {.report = &report}};
	struct core_answer answer;

	report.machine_id = (char *)"m1";
	assert_int_equal(
		core_step(fleet->core, &sync, fleet->now_ms, &fleet->effects, &answer, NULL),
		FL_E_NOT_FOUND);
	assert_int_equal(
		core_step(fleet->core, &beat, fleet->now_ms, &fleet->effects, &answer, NULL),
		FL_E_NOT_FOUND);
	assert_int_equal(core_machine_count(fleet->core), 0);
}

static void machines_come_in_order_and_keep_their_record(void **state)
{
	struct fleet *fleet = *state;
	Pb__Machine *machine;

	fleet_join(fleet, "m2", "b=2 a=1 b=3");
	fleet_join(fleet, "m1", "");
	fleet_forget(fleet);
	fleet_join(fleet, "m1", ""); /* the same again: nothing to write */
	assert_int_equal(fleet->n_writes, 0);
	fleet_restart(fleet);
	assert_string_equal(core_machine_next(fleet->core, ""), "m1");
	assert_string_equal(core_machine_next(fleet->core, "m1"), "m2");
	assert_null(core_machine_next(fleet->core, "m2"));
	fleet->now_ms += 1234;
	assert_int_equal(core_machine_get(fleet->core, "m2", fleet->now_ms, &machine, NULL), FL_OK);
	assert_string_equal(machine->address, "10.0.0.1");
	assert_string_equal(machine->hostname, "m2");
	assert_int_equal(machine->n_metadata, 2);
	assert_string_equal(machine->metadata[0]->key, "a");
	assert_string_equal(machine->metadata[1]->value, "2");
	assert_int_equal(machine->last_heard_ms, 1234);
	core_message_free(&machine->base);
	assert_int_equal(
		core_machine_get(fleet->core, "m3", fleet->now_ms, &machine, NULL), FL_E_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fleet_setup, fleet_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lost_machines_units_move_when_its_lease_ends),
		TEST(a_follower_with_data_waits_and_rejoins_its_leader),
		TEST(a_unit_that_may_go_after_all_leaves_its_lost_machine),
		TEST(a_lost_unit_that_fits_nowhere_waits_for_any_machine),
		TEST(most_machines_silent_moves_nothing),
		TEST(a_broken_network_is_seen_at_the_first_lease),
		TEST(losses_already_dealt_with_do_not_count),
		TEST(after_a_restart_nothing_moves_for_a_lease),
		TEST(old_records_do_not_hold_the_fleet),
		TEST(unknown_machines_are_told_to_say_who_they_are),
		TEST(machines_come_in_order_and_keep_their_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
