/* Memory and CPUs: what units claim, what machines have, and what happens at the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

#define M (UINT64_C(1) << 20)
#define G (UINT64_C(1) << 30)

static const Pb__Machine *look(struct fleet *fleet, const char *id)
{
	static Pb__Machine *machine;

	if (machine != NULL)
		core_message_free(&machine->base);
	machine = NULL;
	if (fleet != NULL)
		assert_int_equal(
			core_machine_get(fleet->core, id, fleet->now_ms, &machine, NULL), FL_OK);
	return machine;
}

static int teardown(void **state)
{
	look(NULL, NULL);
	return fleet_teardown(state);
}

static void a_unit_goes_where_there_is_room(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	fleet_capacity(fleet, "m1", 2, 4 * G);
	fleet_capacity(fleet, "m2", 8, 16 * G);
	assert_true(fleet_start(fleet, "small.service", "[X-Flota]\nMemory=3G"));
	assert_where(fleet, "small.service", "m1");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_where(fleet, "a.service", "m2");
	/* m1 is first by load and ID, and has 1G left. */
	assert_true(fleet_start(fleet, "b.service", "[X-Flota]\nMemory=2G"));
	assert_where(fleet, "b.service", "m2");
	assert_string_equal(fleet_refusal(fleet, "a.service", "m1"), ""); /* it claims nothing */
	assert_true(fleet_start(fleet, "c.service", "[X-Flota]\nMemory=1G\nCPUs=2"));
	assert_where(fleet, "c.service", "m1");
	assert_true(fleet_start(fleet, "d.service", "[X-Flota]\nCPUs=0.5"));
	assert_where(fleet, "d.service", "m2");
}

static void what_systemd_limits_is_claimed(void **state)
{
	struct fleet *fleet = *state;

	fleet_capacity(fleet, "m1", 4, 10 * G);
	assert_true(fleet_start(fleet, "a.service", "\n[Service]\nMemoryMax=2G\nCPUQuota=150%\n"));
	assert_true(fleet_start(fleet, "b.service", "\n[Service]\nMemoryMax=20%\n"));
	assert_true(fleet_start(fleet, "c.service", "\n[Service]\nMemoryMax=infinity\n"));
	assert_int_equal(look(fleet, "m1")->claimed->memory_bytes, 4 * G);
	assert_int_equal(look(fleet, "m1")->claimed->cpu_milli, 1500);
	assert_int_equal(look(fleet, "m1")->offered->memory_bytes, 10 * G);
	assert_int_equal(look(fleet, "m1")->offered->cpu_milli, 4000);
	/* [X-Flota] counts before them. */
	assert_true(fleet_start(
		fleet, "d.service", "\n[Service]\nMemoryMax=2G\n[X-Flota]\nMemory=6G\n"));
	assert_where(fleet, "d.service", "m1");
	assert_int_equal(look(fleet, "m1")->claimed->memory_bytes, 10 * G);
	assert_true(fleet_destroy(fleet, "b.service"));
	assert_int_equal(look(fleet, "m1")->claimed->memory_bytes, 8 * G);
}

static void a_refusal_says_what_is_wanted_and_what_is_free(void **state)
{
	static const struct {
		const char *rules, *text;
	} cases[] = {
		{"Memory=2G", "needs 2.0G memory, 1.5G of 8.0G free"},
		{"Memory=1600M", "needs 1.6G memory, 1.5G of 8.0G free"},
		{"Memory=1537M", "needs 1.6G memory, 1.5G of 8.0G free"},
		{"Memory=100T", "needs 100T memory, 1.5G of 8.0G free"},
		{"CPUs=3", "needs 3 CPUs, 1.75 of 2 free"},
		{"Memory=20G\nCPUs=2.5",
			"needs 20G memory, 1.5G of 8.0G free; needs 2.5 CPUs, 1.75 of 2 free"},
	};
	struct fleet *fleet = *state;
	char rules[100];

	fleet_capacity(fleet, "m1", 2, 8 * G);
	assert_true(fleet_start(fleet, "there.service", "[X-Flota]\nMemory=6656M\nCPUs=0.25"));
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		snprintf(rules, sizeof(rules), "[X-Flota]\n%s", cases[i].rules);
		assert_true(fleet_start(fleet, "a.service", rules));
		assert_where(fleet, "a.service", "");
		assert_int_equal(fleet->result->n_refusals, 1);
		assert_string_equal(fleet->result->refusals[0]->reason, cases[i].text);
		assert_string_equal(fleet_refusal(fleet, "a.service", "m1"), cases[i].text);
		assert_true(fleet_destroy(fleet, "a.service"));
	}
}

static void who_waits_for_room_gets_it(void **state)
{
	struct fleet *fleet = *state;

	fleet_capacity(fleet, "m1", 4, 4 * G);
	assert_true(fleet_start(fleet, "a.service", "[X-Flota]\nMemory=3G"));
	assert_true(fleet_start(fleet, "b.service", "[X-Flota]\nMemory=2G"));
	assert_where(fleet, "b.service", "");
	/* A stopped unit keeps what it claims, an unloaded one does not. */
	assert_true(fleet_change(
		fleet, PB__CHANGE__VERB__SET, "a.service", NULL, PB__DESIRED_STATE__LOADED, false));
	assert_where(fleet, "b.service", "");
	assert_true(fleet_unload(fleet, "a.service"));
	assert_where(fleet, "b.service", "m1");
	/* A file that claims less makes room too. */
	assert_true(fleet_start(fleet, "a.service", NULL));
	assert_where(fleet, "a.service", "");
	assert_true(fleet_replace(fleet, "b.service", "[X-Flota]\nMemory=1G"));
	assert_where(fleet, "b.service", "m1");
	assert_where(fleet, "a.service", "m1");
	/* So does memory that is put in. */
	assert_true(fleet_start(fleet, "c.service", "[X-Flota]\nMemory=1G"));
	assert_where(fleet, "c.service", "");
	fleet_capacity(fleet, "m1", 4, 8 * G);
	assert_where(fleet, "c.service", "m1");
}

static void only_its_own_file_moves_a_unit(void **state)
{
	struct fleet *fleet = *state;

	fleet_capacity(fleet, "m1", 4, 4 * G);
	assert_true(fleet_start(fleet, "a.service", "[X-Flota]\nMemory=3G"));
	assert_true(fleet_start(fleet, "b.service", "[X-Flota]\nMemory=1G"));
	/* The machine has less than before. */
	fleet_capacity(fleet, "m1", 4, 2 * G);
	assert_where(fleet, "a.service", "m1");
	assert_where(fleet, "b.service", "m1");
	/* A file that claims less, or as much, stays; so does its neighbour. */
	assert_true(fleet_replace(fleet, "a.service", "[X-Flota]\nMemory=2G"));
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_replace(fleet, "a.service", "Conflicts=x\n[X-Flota]\nMemory=2G"));
	assert_where(fleet, "a.service", "m1");
	/* One that claims more goes where there is room. */
	fleet_join(fleet, "m2", "");
	fleet_capacity(fleet, "m2", 4, 8 * G);
	assert_true(fleet_replace(fleet, "a.service", "[X-Flota]\nMemory=2049M"));
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "b.service", "m1");
	/* And stays where it fits. */
	assert_true(fleet_replace(fleet, "a.service", "[X-Flota]\nMemory=8G"));
	assert_where(fleet, "a.service", "m2");
}

static void globals_count_and_are_not_refused(void **state)
{
	struct fleet *fleet = *state;

	fleet_capacity(fleet, "m1", 4, 4 * G);
	assert_true(fleet_start(fleet, "g.service", "Global=true\n[X-Flota]\nMemory=3G"));
	assert_true(fleet_start(fleet, "h.service", "Global=true\n[X-Flota]\nMemory=3G"));
	assert_where(fleet, "g.service", "m1");
	assert_where(fleet, "h.service", "m1");
	assert_int_equal(look(fleet, "m1")->claimed->memory_bytes, 6 * G);
	assert_true(fleet_start(fleet, "a.service", "[X-Flota]\nMemory=1"));
	assert_string_equal(
		fleet_refusal(fleet, "a.service", "m1"), "needs 1B memory, 0B of 4.0G free");
	assert_true(fleet_unload(fleet, "h.service"));
	assert_where(fleet, "a.service", "m1");
}

static void a_machine_that_has_not_told_has_no_limit(void **state)
{
	struct fleet *fleet = *state;

	assert_true(fleet_start(fleet, "a.service", "[X-Flota]\nMemory=8T\nCPUs=1000"));
	assert_where(fleet, "a.service", "m1");
	assert_int_equal(look(fleet, "m1")->offered->memory_bytes, 0);
	assert_int_equal(look(fleet, "m1")->claimed->memory_bytes, 8192 * G);
}

static void a_restart_does_not_overfill(void **state)
{
	struct fleet *fleet = *state;

	fleet_capacity(fleet, "m1", 4, 4 * G);
	assert_true(fleet_start(fleet, "a.service", "[X-Flota]\nMemory=3G"));
	assert_true(fleet_start(fleet, "b.service", "[X-Flota]\nMemory=2G"));
	fleet_restart(fleet);
	/* A heartbeat without capacity: the store knows it. */
	fleet_beat(fleet, "m1");
	assert_where(fleet, "a.service", "m1");
	assert_where(fleet, "b.service", "");
	assert_int_equal(look(fleet, "m1")->claimed->memory_bytes, 3 * G);
}

static void load_that_changes_is_not_written(void **state)
{
	struct fleet *fleet = *state;
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	Pb__Capacity capacity = PB__CAPACITY__INIT;

	fleet_capacity(fleet, "m1", 4, 4 * G);
	fleet_forget(fleet);
	capacity.cpus = 4;
	capacity.memory_bytes = 4 * G;
	report.machine_id = (char *)"m1";
	report.session = fleet->session;
	report.capacity = &capacity;
	for (unsigned i = 0; i < 10; i++) {
		capacity.memory_available_bytes = i * M;
		capacity.load_1min_x100 = i;
		fleet_step(fleet,
			&(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
	}
	assert_int_equal(fleet->n_writes, 0);
	assert_int_equal(look(fleet, "m1")->capacity->memory_available_bytes, 9 * M);
	capacity.cpus = 5;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
	assert_int_equal(fleet->n_writes, 1);
}

static void as_much_more_as_the_operator_says(void **state)
{
	struct fleet *fleet = *state;

	fleet->memory_overcommit_permille = 1500;
	fleet->cpu_overcommit_permille = 500;
	fleet_restart(fleet);
	fleet_join(fleet, "m1", "");
	fleet_capacity(fleet, "m1", 4, 4 * G);
	assert_true(fleet_start(fleet, "a.service", "[X-Flota]\nMemory=6G\nCPUs=2"));
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_start(fleet, "b.service", "[X-Flota]\nMemory=1M\nCPUs=0.001"));
	assert_string_equal(fleet_refusal(fleet, "b.service", "m1"),
		"needs 1.0M memory, 0B of 6.0G free; needs 0.001 CPUs, 0 of 2 free");
}

/* Full machines are passed over, whatever their load. */
static void the_only_one_with_room_is_found(void **state)
{
	struct fleet *fleet = *state;
	char id[16], name[32];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "m%03u", i);
		fleet_join(fleet, id, i % 2 == 0 ? "half=a" : "half=b");
		fleet_capacity(fleet, id, i == 150 ? 64 : 1, i == 151 ? 64 * G : G);
	}
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "fill%u.service", i);
		assert_true(fleet_start(fleet, name, ""));
	}
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "big%u.service", i);
		assert_true(fleet_start(fleet, name, "[X-Flota]\nMemory=2G"));
		assert_where(fleet, name, "m151");
		snprintf(name, sizeof(name), "fast%u.service", i);
		assert_true(fleet_start(fleet, name, "MachineMetadata=half=a\n[X-Flota]\nCPUs=2"));
		assert_where(fleet, name, "m150");
	}
	/* Each has enough of one, none of both. */
	assert_true(fleet_start(fleet, "both.service", "[X-Flota]\nMemory=2G\nCPUs=2"));
	assert_where(fleet, "both.service", "");
	fleet_check(fleet->core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_unit_goes_where_there_is_room, fleet_setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_systemd_limits_is_claimed, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_says_what_is_wanted_and_what_is_free,
			fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			who_waits_for_room_gets_it, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			only_its_own_file_moves_a_unit, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			globals_count_and_are_not_refused, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			a_machine_that_has_not_told_has_no_limit, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			a_restart_does_not_overfill, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			load_that_changes_is_not_written, fleet_setup_with_m1, teardown),
		cmocka_unit_test_setup_teardown(
			as_much_more_as_the_operator_says, fleet_setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_only_one_with_room_is_found, fleet_setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
