/* Exclusive units: leases, and what has to be so before one is elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"

#define STOP_MS 3000U
#define FILE_(stop, more) \
	"[Service]\nExecStart=/bin/true\nTimeoutStopSec=" stop "\n[X-Flota]\nExclusive=yes\n" more
#define EXCLUSIVE FILE_("3s", "")
#define ORDINARY  "[Service]\nExecStart=/bin/true\n"

/* From a machine's last word to its units' start elsewhere. */
#define UNTIL_MS (FLEET_LEASE_MS + STOP_MS + EXCLUSIVE_SAFETY_MS)

static bool start(struct fleet *fleet, const char *text)
{
	return fleet_change(
		fleet, PB__CHANGE__VERB__SET, "a.service", text, PB__DESIRED_STATE__LAUNCHED, true);
}

/* a.service runs on m1; m2 could have it. m3 makes m1 the lesser part of the fleet. */
static void begin(struct fleet *fleet)
{
	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_true(start(fleet, EXCLUSIVE));
	assert_where(fleet, "a.service", "m1");
	fleet_forget(fleet);
}

static void expect_why(struct fleet *fleet, const char *text)
{
	const char *waiting = fleet_unit(fleet, "a.service")->waiting;

	if (strstr(waiting, text) == NULL)
		fail_msg("%s", waiting);
}

/* ---- Moves ------------------------------------------------------------------------------- */

static void a_lost_machine_has_time_to_stop_it(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	fleet_pass(fleet, UNTIL_MS - 1, "m2 m3");
	assert_where(fleet, "a.service", "");
	expect_why(fleet, "machine m1, which has not let go of it yet, at most 1 s");
	fleet_check(fleet->core);
	fleet_pass(fleet, 1, "m2 m3");
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_where(fleet, "a.service", "m2");
	fleet_check(fleet->core);
}

static void one_that_is_heard_of_has_to_say_so(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	fleet_pass(fleet, FLEET_LEASE_MS + 1000, "m2 m3");
	assert_where(fleet, "a.service", "");
	fleet_beat(fleet, "m1");
	fleet_pass(fleet, 10 * UNTIL_MS, "m1 m2 m3");
	assert_where(fleet, "a.service", "m1"); /* it comes back to it */
	/* Now it is m1 that is to let go of it. */
	assert_true(start(fleet, FILE_("3s", "[X-Fleet]\nMachineMetadata=k=2\n")));
	fleet_pass(fleet, 10 * UNTIL_MS, "m1 m2 m3");
	assert_where(fleet, "a.service", "");
	fleet_join(fleet, "m4", "k=2");
	assert_where(fleet, "a.service", "");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m4");
}

static void stopped_and_started_or_destroyed_and_made_again(void **state)
{
	struct fleet *fleet = *state;
	static const char elsewhere[] = FILE_("3s", "[X-Fleet]\nMachineMetadata=k=2\n");

	begin(fleet);
	assert_true(fleet_unload(fleet, "a.service"));
	fleet_join(fleet, "m4", "k=2");
	assert_true(start(fleet, elsewhere));
	assert_where(fleet, "a.service", "");
	assert_true(fleet_destroy(fleet, "a.service"));
	fleet_check(fleet->core);
	assert_true(start(fleet, elsewhere));
	assert_where(fleet, "a.service", "");
	fleet_check(fleet->core);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m4");
}

static void one_that_leaves_a_machine_lost_for_long_is_held_for_no_time(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	fleet_join(fleet, "m3", "k=2");
	assert_true(
		start(fleet, FILE_("3s", "OnMachineLoss=wait\n[X-Fleet]\nMachineMetadata=k=1\n")));
	fleet_pass(fleet, 10 * UNTIL_MS, "m2 m3");
	assert_where(fleet, "a.service", "m1");
	assert_true(start(fleet, FILE_("3s", "[X-Fleet]\nMachineMetadata=k=2\n")));
	assert_where(fleet, "a.service", "m2");
	fleet_check(fleet->core);
}

static void a_restart_forgets_no_machine_that_may_run_it(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	assert_true(fleet_destroy(fleet, "a.service"));
	fleet_restart(fleet);
	fleet_check(fleet->core);
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_true(start(fleet, EXCLUSIVE));
	assert_where(fleet, "a.service", "");
	fleet_pass(fleet, UNTIL_MS - 1, "m2 m3");
	assert_where(fleet, "a.service", "");
	fleet_pass(fleet, 1, "");
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_where(fleet, "a.service", "m2");
	/* Nothing is left of the hold. */
	assert_true(fleet_destroy(fleet, "a.service"));
	fleet_let_go(fleet, "m2");
	fleet_ack(fleet, "m2", core_revision(fleet->core));
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_int_equal(fl_map_count(fleet->store), 4); /* three machines, and "meta" */
}

static void a_shorter_lease_after_a_restart_does_not_shorten_old_ones(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	assert_true(fleet_unload(fleet, "a.service"));
	fleet_restart(fleet);
	fleet->core->lease_ms = FLEET_LEASE_MS / 10; /* as configured now */
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_true(start(fleet, EXCLUSIVE));
	for (int i = 0; i < 14; i++) {
		fleet_pass(fleet, 999, "");
		fleet_beat(fleet, "m2");
		fleet_beat(fleet, "m3");
		assert_where(fleet, "a.service", "");
	}
	fleet_pass(fleet, 999, "");
	fleet_beat(fleet, "m2");
	fleet_pass(fleet, 100, "");
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_where(fleet, "a.service", "m2");
}

/* A machine that is cut off may know of an older file only. */
static void the_longest_time_to_stop_counts(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	assert_true(start(fleet, FILE_("1s", "")));
	fleet_restart(fleet);
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	fleet_pass(fleet, UNTIL_MS - 1, "m2 m3");
	assert_where(fleet, "a.service", "");
	fleet_pass(fleet, 1, "");
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_where(fleet, "a.service", "m2");
	assert_true(start(fleet, FILE_("9s", "")));
	assert_true(start(fleet, FILE_("2s", "")));
	fleet_state(fleet, "m2", "a.service", "active"); /* now its agent has the last one */
	fleet_join(fleet, "m1", "");
	fleet_pass(fleet, UNTIL_MS - 1000, "m1 m3");
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_where(fleet, "a.service", "m1");
}

static void one_that_was_not_exclusive_is_waited_for(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	assert_true(start(fleet, ORDINARY));
	fleet_state(fleet, "m1", "a.service", "active");
	assert_true(start(fleet, EXCLUSIVE));
	fleet_pass(fleet, 10 * UNTIL_MS, "m2 m3");
	assert_where(fleet, "a.service", "");
	expect_why(fleet, "it ran there without a lease");
	/* Whoever gives up the promise can have it elsewhere. */
	assert_true(start(fleet, ORDINARY));
	assert_where(fleet, "a.service", "m2");
	assert_true(start(fleet, EXCLUSIVE));
	assert_where(fleet, "a.service", "m2");
	fleet_state(fleet, "m2", "a.service", "active");
	fleet_pass(fleet, UNTIL_MS, "m1 m3");
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	assert_where(fleet, "a.service", "m1");
}

static void one_that_is_no_longer_exclusive_stops_before_it_moves_all_the_same(void **state)
{
	struct fleet *fleet = *state;

	begin(fleet);
	assert_true(start(fleet, FILE_("3s", "[X-Fleet]\nMachineID=m2\n")));
	assert_where(fleet, "a.service", "");
	assert_true(start(fleet, ORDINARY "[X-Fleet]\nMachineID=m2\n"));
	assert_where(fleet, "a.service", "");
	fleet_check(fleet->core);
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");

	/* But nobody is waited for who may never come back. */
	fleet_pass(fleet, FLEET_LEASE_MS + 1000, "m1 m3");
	assert_where(fleet, "a.service", "m2");
	assert_true(start(fleet, FILE_("3s", "[X-Fleet]\nMachineID=m1\n")));
	assert_where(fleet, "a.service", "");
	assert_true(start(fleet, ORDINARY "[X-Fleet]\nMachineID=m1\n"));
	assert_where(fleet, "a.service", "m1");
	fleet_check(fleet->core);
}

static void a_machine_without_a_fence_is_refused(void **state)
{
	struct fleet *fleet = *state;
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;

	fleet_join(fleet, "m1", "");
	assert_true(start(fleet, EXCLUSIVE));
	assert_where(fleet, "a.service", "m1");
	fleet_step(
		fleet, &(struct core_event){.kind = CORE_SYNC,
			       .sync = {.machine_id = "m1", .store_id = "store", .info = &info}});
	assert_where(fleet, "a.service", "");
	assert_non_null(strstr(fleet_refusal(fleet, "a.service", "m1"), "flota-fence.service"));
	assert_true(start(fleet, ORDINARY));
	assert_where(fleet, "a.service", "m1");
}

/* ---- Others ------------------------------------------------------------------------------ */

static void doubles_of_others_are_told_with_their_length(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	assert_true(start(fleet, ORDINARY));
	fleet_pass(fleet, FLEET_LEASE_MS + 30000, "m2 m3");
	assert_where(fleet, "a.service", "m2");
	fleet_forget(fleet);
	fleet_beat(fleet, "m1");
	assert_null(strstr(fl_buf_str(&fleet->notes), "unit.doubled"));
	fleet_pass(fleet, 500, "");
	fleet_ack(fleet, "m1", core_revision(fleet->core));
	assert_non_null(strstr(
		fl_buf_str(&fleet->notes), "unit.doubled unit=a.service machine=m1 ms=30500\n"));
	fleet_forget(fleet);
	fleet_ack(fleet, "m1", core_revision(fleet->core));
	assert_null(strstr(fl_buf_str(&fleet->notes), "unit.doubled"));
}

/* ---- Leases ------------------------------------------------------------------------------ */

static uint32_t lease_of(struct fleet *fleet, const char *store_id, uint64_t acts_on)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;

	report.machine_id = (char *)"m1";
	report.session = fleet->session;
	report.store_id = (char *)store_id;
	report.acts_on = acts_on;
	return fleet_step(
		fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}})
		.exclusive_ms;
}

static void no_lease_for_who_does_not_know_what_was_taken(void **state)
{
	struct fleet *fleet = *state;
	uint64_t before, after;

	begin(fleet);
	before = core_revision(fleet->core);
	assert_int_equal(lease_of(fleet, "store", before), FLEET_LEASE_MS);
	assert_int_equal(lease_of(fleet, "another", before), 0);
	assert_int_equal(lease_of(fleet, "", 0), 0);
	assert_int_equal(lease_of(fleet, "store", before + 1), 0); /* from the future */
	assert_true(fleet_start(fleet, "b.service", ""));
	assert_int_equal(lease_of(fleet, "store", before), FLEET_LEASE_MS);
	assert_true(fleet_unload(fleet, "b.service"));
	assert_int_equal(lease_of(fleet, "store", before), FLEET_LEASE_MS);
	assert_true(fleet_unload(fleet, "a.service"));
	after = core_revision(fleet->core);
	assert_int_equal(lease_of(fleet, "store", before), 0);
	assert_int_equal(lease_of(fleet, "store", after), FLEET_LEASE_MS);
	fleet_restart(fleet); /* nobody knows of what it was taken */
	assert_int_equal(lease_of(fleet, "store", after), 0);
	assert_int_equal(lease_of(fleet, "store", core_revision(fleet->core)), FLEET_LEASE_MS);
}

static void an_agent_is_told_what_is_exclusive(void **state)
{
	struct fleet *fleet = *state;
	Pb__SyncReply *reply = NULL;

	begin(fleet);
	assert_int_equal(
		core_assignment(fleet->core, "m1", "", 0, core_revision(fleet->core), &reply, NULL),
		FL_OK);
	assert_int_equal(reply->n_assignments, 1);
	assert_true(reply->assignments[0]->exclusive);
	assert_int_equal(reply->assignments[0]->stop_ms, STOP_MS);
	core_message_free(&reply->base);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fleet_setup, fleet_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lost_machine_has_time_to_stop_it),
		TEST(one_that_is_heard_of_has_to_say_so),
		TEST(stopped_and_started_or_destroyed_and_made_again),
		TEST(one_that_leaves_a_machine_lost_for_long_is_held_for_no_time),
		TEST(a_restart_forgets_no_machine_that_may_run_it),
		TEST(a_shorter_lease_after_a_restart_does_not_shorten_old_ones),
		TEST(the_longest_time_to_stop_counts),
		TEST(one_that_was_not_exclusive_is_waited_for),
		TEST(one_that_is_no_longer_exclusive_stops_before_it_moves_all_the_same),
		TEST(a_machine_without_a_fence_is_refused),
		TEST(doubles_of_others_are_told_with_their_length),
		TEST(no_lease_for_who_does_not_know_what_was_taken),
		TEST(an_agent_is_told_what_is_exclusive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
