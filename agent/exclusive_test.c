/* Exclusive units of a reconciler, over a driver of the test's own and a lease in a folder of its
 * own, which is what the fence would see. Leases are short and end by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/exclusive.h"
#include "agent/fake_driver.h"
#include "base/clock.h"

#define LONG_MS 3600000U

struct test {
	char folder[64];
	uv_loop_t loop;
	struct fake fake;
	struct reconcile *reconcile;
	struct exclusive *exclusive;
	struct lease *lease; /* the fence's side */
	bool list_changed;
	bool closed;
};

static void on_nothing(void *userdata)
{
	(void)userdata;
}

static void on_list(void *userdata)
{
	((struct test *)userdata)->list_changed = true;
}

static bool on_leased(void *userdata)
{
	return exclusive_is_leased(((struct test *)userdata)->exclusive);
}

static const struct reconcile_handlers handlers = {
	.reportable = on_nothing, .done = on_nothing, .exclusive = on_list, .leased = on_leased};

static void begin_agent(struct test *t)
{
	assert_int_equal(reconcile_new(&t->reconcile, &t->loop, &handlers, t, NULL), FL_OK);
	assert_int_equal(
		exclusive_open(&t->exclusive, &t->loop, t->folder, t->reconcile, NULL), FL_OK);
	reconcile_add_driver(t->reconcile, &t->fake.base);
	t->fake.handlers = &reconcile_driver_handlers;
	t->fake.userdata = t->reconcile;
}

static void on_closed(void *userdata)
{
	((struct test *)userdata)->closed = true;
}

static void end_agent(struct test *t)
{
	t->closed = false;
	exclusive_close(t->exclusive, on_closed, t);
	while (!t->closed)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
	t->closed = false;
	reconcile_close(t->reconcile, on_closed, t);
	while (!t->closed)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
}

static int setup(void **state)
{
	struct test *t = FL_NEW(struct test);

	(void)snprintf(t->folder, sizeof(t->folder), "/tmp/flota-exclusive-test-XXXXXX");
	assert_non_null(mkdtemp(t->folder));
	assert_int_equal(uv_loop_init(&t->loop), 0);
	t->fake.base.ops = &fake_ops;
	t->fake.ready = true;
	assert_int_equal(fl_map_new(&t->fake.units, NULL), FL_OK);
	assert_int_equal(fl_map_new(&t->fake.files, NULL), FL_OK);
	assert_int_equal(lease_open(&t->lease, t->folder, NULL), FL_OK);
	lease_fence_seen(t->lease);
	begin_agent(t);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;
	FL_CLEANUP(fl_freep) char *command = fl_printf("rm -r %s", t->folder);

	end_agent(t);
	FL_MAP_FOREACH (entry, following, t->fake.files) {
		struct fake_file *file = fl_map_value(entry);

		free(file->content);
		free(file);
	}
	fl_map_free(t->fake.files);
	fl_map_free(t->fake.units);
	fl_buf_fini(&t->fake.log);
	lease_free(t->lease);
	(void)uv_run(&t->loop, UV_RUN_NOWAIT);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	free(t);
	return system(command);
}

/* ---- What happens ------------------------------------------------------------------------- */

static bool step_ends(struct test *t, const char *name, enum fl_code code)
{
	struct fake_unit *unit = fl_map_get(t->fake.units, name);
	struct driver_outcome outcome = {.code = code, .result = "done", .text = ""};

	if (unit == NULL || !unit->stepping)
		return false;
	unit->stepping = false;
	outcome.verb = unit->verb;
	if (code == FL_OK)
		fake_carry_out(unit);
	t->fake.handlers->step_done(&outcome, unit->userdata);
	return true;
}

static void finish(struct test *t, const char *name)
{
	while (step_ends(t, name, FL_OK))
		continue;
}

static void expect_steps(struct test *t, const char *steps)
{
	assert_string_equal(fl_buf_str(&t->fake.log), steps);
	fl_buf_clear(&t->fake.log);
}

static void assign(struct test *t, const char *name, bool exclusive)
{
	Pb__Assignment a = PB__ASSIGNMENT__INIT;

	a.name = (char *)name;
	a.content.data = (uint8_t *)"v1";
	a.content.len = 2;
	a.hash = (char *)"v1";
	a.tenant = (char *)"default";
	a.desired = PB__DESIRED_STATE__LAUNCHED;
	a.epoch = a.revision = 1;
	a.exclusive = exclusive;
	a.stop_ms = exclusive ? 40 : 0;
	assert_int_equal(reconcile_assign(t->reconcile, &a, NULL), FL_OK);
	finish(t, name);
}

static void write_list(struct test *t)
{
	t->list_changed = false;
	assert_int_equal(exclusive_write_list(t->exclusive, NULL), FL_OK);
}

static void grant(struct test *t, uint32_t ms)
{
	exclusive_granted(t->exclusive, fl_clock_boot_ms() + ms);
}

/* Time passes until the agent has begun a step, or the like. */
static void run_until_steps(struct test *t)
{
	while (t->fake.log.len == 0)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
}

static bool is_shown(const struct test *t)
{
	FL_CLEANUP(fl_freep) char *path = lease_condition_path(t->folder);

	return access(path, F_OK) == 0;
}

static void run_exclusive(struct test *t, const char *name)
{
	grant(t, LONG_MS);
	assign(t, name, true);
	write_list(t);
	finish(t, name);
	fl_buf_clear(&t->fake.log);
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void test_nothing_starts_without_a_lease(void **state)
{
	struct test *t = *state;
	Pb__UnitState report;
	bool more;

	assign(t, "a.service", true);
	expect_steps(t, "install a.service; ");
	assert_true(t->list_changed);
	write_list(t);
	expect_steps(t, "");
	assert_int_equal(reconcile_report(t->reconcile, &report, 1, &more), 1);
	assert_non_null(strstr(report.error, "no lease"));
	assert_int_equal(report.done_revision, 0);
	assert_false(is_shown(t));
	grant(t, LONG_MS);
	assert_true(is_shown(t));
	expect_steps(t, "start a.service; ");
	finish(t, "a.service");
	grant(t, LONG_MS);
	expect_steps(t, "");
	assign(t, "b.service", false); /* others do not care */
	expect_steps(t, "install b.service; start b.service; ");
}

static void test_nothing_starts_before_the_fence_knows_of_it(void **state)
{
	struct test *t = *state;

	grant(t, LONG_MS);
	assign(t, "a.service", true);
	expect_steps(t, "install a.service; ");
	write_list(t);
	expect_steps(t, "start a.service; ");
	finish(t, "a.service");
}

static void test_no_lease_without_a_fence(void **state)
{
	struct test *t = *state;
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/lease", t->folder);

	end_agent(t);
	lease_free(FL_TAKE(t->lease));
	assert_int_equal(unlink(path), 0); /* as after a boot */
	begin_agent(t);
	assert_int_equal(lease_open(&t->lease, t->folder, NULL), FL_OK);
	assert_false(exclusive_is_fenced(t->exclusive));
	grant(t, LONG_MS);
	assert_int_equal(lease_until_ms(t->lease), 0);
	assign(t, "a.service", true);
	write_list(t);
	expect_steps(t, "install a.service; ");
	lease_fence_seen(t->lease);
	assert_true(exclusive_is_fenced(t->exclusive));
	grant(t, LONG_MS);
	expect_steps(t, "start a.service; ");
	finish(t, "a.service");
}

static void test_it_stops_when_the_lease_ends_and_begins_anew(void **state)
{
	struct test *t = *state;

	assign(t, "a.service", true);
	write_list(t);
	grant(t, 30);
	finish(t, "a.service");
	expect_steps(t, "install a.service; start a.service; ");
	run_until_steps(t);
	expect_steps(t, "stop a.service; ");
	assert_false(lease_is_alive(t->lease));
	assert_false(is_shown(t));
	finish(t, "a.service");
	expect_steps(t, "");
	grant(t, LONG_MS);
	expect_steps(t, "start a.service; ");
	finish(t, "a.service");
}

static void test_a_lease_that_came_late_is_none(void **state)
{
	struct test *t = *state;

	assign(t, "a.service", true);
	write_list(t);
	fl_buf_clear(&t->fake.log);
	exclusive_granted(t->exclusive, fl_clock_boot_ms() - 1);
	expect_steps(t, "");
	assert_false(lease_is_alive(t->lease));
}

static void test_late_ones_are_killed(void **state)
{
	struct test *t = *state;

	assign(t, "a.service", true);
	write_list(t);
	grant(t, 30);
	finish(t, "a.service");
	fl_buf_clear(&t->fake.log);
	run_until_steps(t);
	expect_steps(t, "stop a.service; ");
	run_until_steps(t);
	assert_true(fl_clock_boot_ms() >= lease_until_ms(t->lease) + 40);
	expect_steps(t, "kill a.service; ");
	run_until_steps(t); /* and again, until it is gone */
	expect_steps(t, "kill a.service; ");
	finish(t, "a.service");
}

static void test_a_start_under_way_when_the_lease_ends(void **state)
{
	struct test *t = *state;

	assign(t, "a.service", true);
	write_list(t);
	fl_buf_clear(&t->fake.log);
	grant(t, 30);
	expect_steps(t, "start a.service; ");
	run_until_steps(t);
	expect_steps(t, "cancel a.service; ");
	assert_true(step_ends(t, "a.service", FL_E_CANCELED));
	expect_steps(t, "stop a.service; "); /* the host may go on with the start */
	grant(t, LONG_MS);
	assert_false(lease_is_alive(t->lease)); /* not before that is over */
	finish(t, "a.service");
	grant(t, LONG_MS);
	expect_steps(t, "start a.service; ");
	finish(t, "a.service");
}

/* The agent's disk may have an old assignment: who runs may run on, and no more than that. */
static void test_an_agent_that_starts_keeps_what_runs(void **state)
{
	struct test *t = *state;

	run_exclusive(t, "a.service");
	run_exclusive(t, "b.service");
	end_agent(t);
	fake_put_file(&t->fake, "b.service", "v1", false);
	begin_agent(t);
	assign(t, "a.service", true);
	assign(t, "b.service", true);
	write_list(t);
	expect_steps(t, "");
	grant(t, LONG_MS);
	expect_steps(t, "start a.service; start b.service; "); /* nobody kept what was done */
	finish(t, "a.service");
	finish(t, "b.service");
}

/* Its unit was never assigned to this life of the agent, and is still the lease's. */
static void test_an_orphan_stops_with_the_lease(void **state)
{
	struct test *t = *state;

	assign(t, "a.service", true);
	write_list(t);
	grant(t, 300);
	finish(t, "a.service");
	end_agent(t);
	begin_agent(t);
	reconcile_take_orphans(t->reconcile, false, 0);
	fl_buf_clear(&t->fake.log);
	run_until_steps(t);
	expect_steps(t, "kill a.service; ");
	assert_true(fl_clock_boot_ms() >= lease_until_ms(t->lease) + 40);
}

static void count(const char *name, uint32_t stop_ms, void *userdata)
{
	assert_string_equal(name, "a.service");
	assert_int_equal(stop_ms, 40);
	++*(unsigned *)userdata;
}

static void test_the_list_has_it_until_it_is_gone(void **state)
{
	struct test *t = *state;
	unsigned n = 0;

	run_exclusive(t, "a.service");
	assign(t, "b.service", false);
	reconcile_remove(t->reconcile, "a.service", 2);
	write_list(t);
	assert_int_equal(lease_list_read(t->lease, count, &n, NULL), FL_OK);
	assert_int_equal(n, 1);
	finish(t, "a.service");
	assert_true(t->list_changed);
	write_list(t);
	assert_int_equal(lease_list_read(t->lease, count, &n, NULL), FL_OK);
	assert_int_equal(n, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_starts_without_a_lease),
		TEST(nothing_starts_before_the_fence_knows_of_it),
		TEST(no_lease_without_a_fence),
		TEST(it_stops_when_the_lease_ends_and_begins_anew),
		TEST(a_lease_that_came_late_is_none),
		TEST(late_ones_are_killed),
		TEST(a_start_under_way_when_the_lease_ends),
		TEST(an_agent_that_starts_keeps_what_runs),
		TEST(an_orphan_stops_with_the_lease),
		TEST(the_list_has_it_until_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
