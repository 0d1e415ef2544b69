/* The reconciler against a driver of the test's own, which carries out a step when it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fake_driver.h"
#include "agent/reconcile.h"

/* ---- The fixture -------------------------------------------------------------------------- */

struct test {
	uv_loop_t loop;
	struct fake fake;
	struct reconcile *reconcile;
	Pb__AgentDone *done; /* as it was written before an agent's end */
	size_t n_done;
	bool closed;
};

static void on_nothing(void *userdata)
{
	(void)userdata;
}

static const struct reconcile_handlers handlers = {
	.reportable = on_nothing, .done = on_nothing, .exclusive = on_nothing};

static void begin_agent(struct test *t)
{
	assert_int_equal(reconcile_new(&t->reconcile, &t->loop, &handlers, t, NULL), FL_OK);
	reconcile_add_driver(t->reconcile, &t->fake.base);
	t->fake.handlers = &reconcile_driver_handlers;
	t->fake.userdata = t->reconcile;
}

static int setup(void **state)
{
	struct test *t = FL_NEW(struct test);

	assert_int_equal(uv_loop_init(&t->loop), 0);
	t->fake.base.ops = &fake_ops;
	t->fake.ready = true;
	assert_int_equal(fl_map_new(&t->fake.units, NULL), FL_OK);
	assert_int_equal(fl_map_new(&t->fake.files, NULL), FL_OK);
	begin_agent(t);
	*state = t;
	return 0;
}

static void on_closed(void *userdata)
{
	((struct test *)userdata)->closed = true;
}

static void finish_all_canceled(struct test *t)
{
	FL_MAP_FOREACH (entry, following, t->fake.units) {
		struct fake_unit *unit = fl_map_value(entry);
		struct driver_outcome outcome = {
			.verb = unit->verb, .code = FL_E_CANCELED, .result = "", .text = ""};

		if (!unit->stepping)
			continue;
		unit->stepping = false;
		t->fake.handlers->step_done(&outcome, unit->userdata);
	}
}

static void end_agent(struct test *t)
{
	t->closed = false;
	reconcile_close(t->reconcile, on_closed, t);
	finish_all_canceled(t);
	while (!t->closed)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
	assert_int_equal(fl_map_count(t->fake.units), 0);
}

static int teardown(void **state)
{
	struct test *t = *state;

	end_agent(t);
	FL_MAP_FOREACH (entry, following, t->fake.files) {
		struct fake_file *file = fl_map_value(entry);

		free(file->content);
		free(file);
	}
	fl_map_free(t->fake.files);
	fl_map_free(t->fake.units);
	fl_buf_fini(&t->fake.log);
	(void)uv_run(&t->loop, UV_RUN_NOWAIT);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	free(t);
	return 0;
}

static struct fake_unit *unit_of(struct test *t, const char *name)
{
	struct fake_unit *unit = fl_map_get(t->fake.units, name);

	assert_non_null(unit);
	return unit;
}

/* Ends the step of @name, if one is under way. */
static bool finish_with(
	struct test *t, const char *name, enum fl_code code, const char *result, const char *text)
{
	struct fake_unit *unit = fl_map_get(t->fake.units, name);
	struct driver_outcome outcome = {.code = code, .result = result, .text = text};

	if (unit == NULL || !unit->stepping)
		return false;
	unit->stepping = false;
	outcome.verb = unit->verb;
	if (code == FL_OK && strcmp(result, "done") == 0)
		fake_carry_out(unit);
	outcome.job_us = 1234;
	t->fake.handlers->step_done(&outcome, unit->userdata);
	return true;
}

/* Ends steps of @name as they come until none is left. */
static void finish(struct test *t, const char *name)
{
	while (finish_with(t, name, FL_OK, "done", ""))
		continue;
}

static void expect_steps(struct test *t, const char *steps)
{
	assert_string_equal(fl_buf_str(&t->fake.log), steps);
	fl_buf_clear(&t->fake.log);
}

static void state_is(struct test *t, const char *name, const char *active)
{
	struct fake_unit *unit = unit_of(t, name);

	fake_set_active(unit, active);
	t->fake.handlers->state(unit->userdata);
}

/* An assignment; fields beyond these are changed by the caller. */
static Pb__Assignment assignment(const char *name, const char *content, Pb__DesiredState desired)
{
	Pb__Assignment a = PB__ASSIGNMENT__INIT;

	a.name = (char *)name;
	a.content.data = (uint8_t *)content;
	a.content.len = strlen(content);
	a.hash = (char *)content; /* as good as any, where contents differ */
	a.tenant = (char *)"default";
	a.desired = desired;
	a.epoch = 1;
	a.revision = 1;
	return a;
}

#define LOADED   PB__DESIRED_STATE__LOADED
#define LAUNCHED PB__DESIRED_STATE__LAUNCHED

static void assign(struct test *t, Pb__Assignment *a)
{
	struct fl_error err;

	assert_int_equal(reconcile_assign(t->reconcile, a, &err), FL_OK);
}

/* The newest report of @name, of those that are due; false when there is none. */
static bool report_of(struct test *t, const char *name, Pb__UnitState *ret_state)
{
	Pb__UnitState states[16];
	bool more, found = false;
	size_t n = reconcile_report(t->reconcile, states, FL_COUNT(states), &more);

	assert_false(more);
	for (size_t i = 0; i < n; i++)
		if (strcmp(states[i].name, name) == 0) {
			*ret_state = states[i];
			found = true;
		}
	return found;
}

static void run_launched(struct test *t, const char *name, const char *content)
{
	Pb__Assignment a = assignment(name, content, LAUNCHED);
	Pb__UnitState report;

	assign(t, &a);
	finish(t, name);
	assert_true(report_of(t, name, &report));
	fl_buf_clear(&t->fake.log);
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void test_new_unit_is_installed_and_started(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__UnitState report;

	a.revision = 7;
	assign(t, &a);
	expect_steps(t, "install a.service; ");
	assert_false(report_of(t, "a.service", &report));
	assert_true(finish_with(t, "a.service", FL_OK, "done", ""));
	expect_steps(t, "start a.service; ");
	assert_true(finish_with(t, "a.service", FL_OK, "done", ""));
	expect_steps(t, "");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.active, "active");
	assert_string_equal(report.result, "done");
	assert_string_equal(report.error, "");
	assert_string_equal(report.hash, "v1");
	assert_int_equal(report.done_revision, 7);
	assert_int_equal(report.job_us, 1234);
	assert_int_equal(report.desired, LAUNCHED);
	assert_true(reconcile_owns(t->reconcile, "a.service"));

	assign(t, &a);
	expect_steps(t, "");
}

static void test_changed_file(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v2", LAUNCHED);

	run_launched(t, "a.service", "v1");
	a.revision = 2;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "stop a.service; install a.service; start a.service; ");

	/* Only comments differ: the hash is the same, and the unit runs on. */
	a = assignment("a.service", "v2 # why", LAUNCHED);
	a.hash = (char *)"v2";
	a.revision = 3;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "install a.service; ");
}

static void test_loaded(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LOADED);
	Pb__UnitState report;

	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "install a.service; ");
	assert_true(report_of(t, "a.service", &report));
	assert_int_equal(report.done_revision, 1);

	/* A timer of the host starts it: that is its business. */
	state_is(t, "a.service", "active");
	assign(t, &a);
	expect_steps(t, "");

	/* Somebody says stop. */
	a.revision = 2;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "stop a.service; ");

	a.revision = 3;
	a.desired = LAUNCHED;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "start a.service; ");
	a.revision = 4;
	a.desired = LOADED;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "stop a.service; ");
	a.revision = 5;
	a.desired = LAUNCHED;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "start a.service; ");
}

static void test_loaded_waits_until_it_is_known_to_load(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LOADED);
	Pb__UnitState report;

	assign(t, &a);
	unit_of(t, "a.service")->state.load[0] = '\0';
	finish(t, "a.service");
	assert_true(!report_of(t, "a.service", &report) || report.done_revision == 0);
	state_is(t, "a.service", "inactive");
	assert_true(report_of(t, "a.service", &report));
	assert_int_equal(report.done_revision, 1);
}

static void test_exit_is_not_the_agents_matter(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__UnitState report;

	run_launched(t, "a.service", "v1");
	state_is(t, "a.service", "failed");
	expect_steps(t, "");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.active, "failed");

	a.start_generation = 1;
	a.revision = 2;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "start a.service; ");

	a.restart_generation = 1;
	a.revision = 3;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "restart a.service; ");
	assign(t, &a);
	expect_steps(t, "");
}

static void test_epochs(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	struct fl_error err;

	a.epoch = 5;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "install a.service; start a.service; ");
	a.epoch = 4;
	a.content.data = (uint8_t *)"v0";
	assert_int_equal(reconcile_assign(t->reconcile, &a, &err), FL_E_STATE);
	assert_non_null(strstr(err.text, "epoch 4"));
	expect_steps(t, "");
	a = assignment("a.service", "v1", LAUNCHED);
	a.epoch = 6;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "start a.service; ");
}

static void test_removal(void **state)
{
	struct test *t = *state;
	Pb__UnitState report;

	run_launched(t, "a.service", "v1");
	reconcile_remove(t->reconcile, "a.service", 9);
	reconcile_remove(t->reconcile, "nobody.service", 9);
	assert_false(reconcile_owns(t->reconcile, "a.service"));
	finish(t, "a.service");
	expect_steps(t, "stop a.service; remove a.service; ");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.load, "not-found");
	assert_string_equal(report.active, "inactive");
	assert_int_equal(report.desired, PB__DESIRED_STATE__INACTIVE);
	assert_int_equal(report.done_revision, 9);
	/* Reported and forgotten; the name may come again. */
	assert_false(report_of(t, "a.service", &report));
	assert_int_equal(fl_map_count(t->fake.units), 0);
	run_launched(t, "a.service", "v1");
}

static void test_it_comes_back_while_it_goes(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);

	run_launched(t, "a.service", "v1");
	reconcile_remove(t->reconcile, "a.service", 2);
	a.revision = 3;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "stop a.service; start a.service; ");
}

static void test_it_comes_back_when_it_is_gone_and_told(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__UnitState report;

	run_launched(t, "a.service", "v1");
	reconcile_remove(t->reconcile, "a.service", 2);
	finish(t, "a.service");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.load, "not-found");
	fl_buf_clear(&t->fake.log);
	a.revision = a.epoch = 3;
	assign(t, &a);
	/* A report of others, while it is installed. */
	(void)report_of(t, "b.service", &report);
	assert_int_equal(fl_map_count(t->fake.units), 1);
	finish(t, "a.service");
	expect_steps(t, "install a.service; start a.service; ");
	assert_true(report_of(t, "a.service", &report));
	assert_int_equal(report.done_revision, 3);
	assert_string_equal(report.active, "active");
}

static void test_removed_while_it_starts(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);

	assign(t, &a);
	assert_true(finish_with(t, "a.service", FL_OK, "done", ""));
	fake_set_active(unit_of(t, "a.service"), "activating");
	reconcile_remove(t->reconcile, "a.service", 2);
	expect_steps(t, "install a.service; start a.service; cancel a.service; ");
	assert_true(finish_with(t, "a.service", FL_E_CANCELED, "", ""));
	finish(t, "a.service");
	expect_steps(t, "stop a.service; remove a.service; ");
}

/* The host has not said a word of it yet, and starts it in a moment. */
static void test_removed_before_its_start_is_seen(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);

	assign(t, &a);
	assert_true(finish_with(t, "a.service", FL_OK, "done", ""));
	reconcile_remove(t->reconcile, "a.service", 2);
	assert_true(finish_with(t, "a.service", FL_E_CANCELED, "", ""));
	finish(t, "a.service");
	expect_steps(t, "install a.service; start a.service; cancel a.service; "
			"stop a.service; remove a.service; ");
}

static void test_changed_while_it_is_installed(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);

	assign(t, &a);
	a = assignment("a.service", "v2", LAUNCHED);
	a.revision = 2;
	assign(t, &a);
	/* The driver reads the content that it was given, now replaced. */
	finish(t, "a.service");
	expect_steps(t, "install a.service; install a.service; start a.service; ");
	assert_string_equal(
		((struct fake_file *)fl_map_get(t->fake.files, "a.service"))->content, "v2");
}

static void test_failure_of_one_is_not_the_others(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__Assignment b = assignment("b.service", "v1", LAUNCHED);
	Pb__UnitState report;

	assign(t, &a);
	assign(t, &b);
	assert_true(finish_with(t, "a.service", FL_OK, "done", ""));
	assert_true(finish_with(t, "a.service", FL_OK, "failed", "exit status 203/EXEC"));
	expect_steps(t, "install a.service; install b.service; start a.service; ");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.result, "failed");
	assert_string_equal(report.error, "exit status 203/EXEC");
	assert_int_equal(report.done_revision, 1);
	finish(t, "b.service");
	expect_steps(t, "start b.service; ");
	/* Not tried again, and when it runs after all nothing is wrong. */
	state_is(t, "a.service", "active");
	expect_steps(t, "");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.error, "");
}

static void test_the_hosts_own_unit(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("ssh.service", "v1", LAUNCHED);
	Pb__UnitState report;

	assign(t, &a);
	state_is(t, "ssh.service", "active");
	assert_true(finish_with(t, "ssh.service", FL_E_EXISTS, "", "the host has one"));
	expect_steps(t, "install ssh.service; ");
	assert_true(report_of(t, "ssh.service", &report));
	assert_string_equal(report.error, "the host has one");
	assert_int_equal(report.done_revision, 1);
	assert_false(reconcile_owns(t->reconcile, "ssh.service"));
	/* The operator may have removed it meanwhile: it is tried again after a while. */
	while (fl_buf_str(&t->fake.log)[0] == '\0')
		(void)uv_run(&t->loop, UV_RUN_ONCE);
	expect_steps(t, "install ssh.service; ");
	assert_true(finish_with(t, "ssh.service", FL_E_EXISTS, "", "the host has one"));
	/* It was never ours to stop. */
	reconcile_remove(t->reconcile, "ssh.service", 2);
	expect_steps(t, "");
	assert_true(report_of(t, "ssh.service", &report));
	assert_string_equal(report.load, "not-found");
}

static void test_a_stop_that_does_not_stop(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LOADED);
	Pb__UnitState report;

	run_launched(t, "a.service", "v1");
	a.revision = 2;
	assign(t, &a);
	assert_true(finish_with(t, "a.service", FL_OK, "timeout", "it took too long"));
	expect_steps(t, "stop a.service; ");
	assert_true(report_of(t, "a.service", &report));
	assert_string_equal(report.error, "it took too long");
	assert_string_equal(report.active, "active");
}

static void test_the_driver_is_lost(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__UnitState report;

	assign(t, &a);
	assert_true(finish_with(t, "a.service", FL_OK, "done", ""));
	expect_steps(t, "install a.service; start a.service; ");
	t->fake.ready = false;
	assert_true(finish_with(t, "a.service", FL_E_UNAVAILABLE, "", "lost"));
	t->fake.handlers->ready(false, t->fake.userdata);
	expect_steps(t, "");
	assert_true(!report_of(t, "a.service", &report) || report.done_revision == 0);
	t->fake.ready = true;
	t->fake.handlers->ready(true, t->fake.userdata);
	finish(t, "a.service");
	expect_steps(t, "start a.service; ");
}

/* The agent ends, with its units and the markers in /run left behind, and another begins. */
static void restart_agent(struct test *t, bool with_done)
{
	FL_CLEANUP(fl_freep) Pb__AgentDone *done = NULL;
	struct assignment_done copies[8];
	char names[8][64];
	size_t n;

	assert_int_equal(reconcile_done(t->reconcile, &done, &n, NULL), FL_OK);
	assert_true(n <= FL_COUNT(copies));
	for (size_t i = 0; i < n; i++) {
		assignment_done_read(&done[i], &copies[i]);
		(void)snprintf(names[i], sizeof(names[i]), "%s", done[i].name);
	}
	end_agent(t);
	begin_agent(t);
	t->fake.ready = false;
	for (size_t i = 0; with_done && i < n; i++) {
		Pb__AgentDone message;

		assignment_done_write(&copies[i], &message);
		message.name = names[i];
		assert_int_equal(reconcile_restore_done(t->reconcile, &message, NULL), FL_OK);
	}
}

static void driver_comes(struct test *t)
{
	t->fake.ready = true;
	t->fake.handlers->ready(true, t->fake.userdata);
}

static void test_restart_of_the_agent(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__UnitState report;

	run_launched(t, "a.service", "v1");
	state_is(t, "a.service", "inactive"); /* a oneshot that has done its work */
	restart_agent(t, true);
	assign(t, &a);
	reconcile_take_orphans(t->reconcile, true, 1);
	driver_comes(t);
	expect_steps(t, "");
	assert_true(report_of(t, "a.service", &report));
	assert_int_equal(report.done_revision, 1);
	assert_string_equal(report.hash, "v1");
}

static void test_restart_of_the_machine(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);

	run_launched(t, "a.service", "v1");
	restart_agent(t, false);
	fake_put_file(&t->fake, "a.service", "", false);
	assign(t, &a);
	driver_comes(t);
	finish(t, "a.service");
	expect_steps(t, "install a.service; start a.service; ");
}

static void test_orphans(void **state)
{
	struct test *t = *state;

	/* Its removal was on disk when the agent was killed. */
	fake_put_file(&t->fake, "a.service", "v1", true);
	restart_agent(t, false);
	reconcile_take_orphans(t->reconcile, true, 1);
	driver_comes(t);
	finish(t, "a.service");
	expect_steps(t, "stop a.service; remove a.service; ");
}

static void test_orphans_when_the_assignment_was_lost(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	Pb__UnitState report;

	run_launched(t, "a.service", "v1");
	run_launched(t, "b.service", "v1");
	restart_agent(t, true);
	reconcile_take_orphans(t->reconcile, false, 0);
	driver_comes(t);
	state_is(t, "b.service", "active");
	expect_steps(t, "");
	assert_false(report_of(t, "b.service", &report));
	reconcile_reset_begin(t->reconcile);
	assign(t, &a);
	expect_steps(t, "");
	reconcile_reset_end(t->reconcile, 1);
	finish(t, "b.service");
	expect_steps(t, "stop b.service; remove b.service; ");
}

static void test_reset(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v1", LAUNCHED);
	size_t n;
	Pb__Assignment *list;

	run_launched(t, "a.service", "v1");
	run_launched(t, "b.service", "v1");
	reconcile_reset_begin(t->reconcile);
	assign(t, &a);
	reconcile_reset_end(t->reconcile, 4);
	finish(t, "b.service");
	expect_steps(t, "stop b.service; remove b.service; ");
	assert_int_equal(reconcile_assignments(t->reconcile, &list, &n, NULL), FL_OK);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].name, "a.service");
	free(list);
}

static void test_another_coordinator(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.service", "v2", LAUNCHED);

	a.epoch = a.revision = 50;
	assign(t, &a);
	finish(t, "a.service");
	expect_steps(t, "install a.service; start a.service; ");
	/* It counts from the beginning, and is obeyed all the same. */
	reconcile_forget_epochs(t->reconcile);
	reconcile_reset_begin(t->reconcile);
	a.epoch = a.revision = 1;
	a.desired = LOADED;
	assign(t, &a);
	reconcile_reset_end(t->reconcile, 1);
	finish(t, "a.service");
	expect_steps(t, "stop a.service; ");
}

static void test_no_driver_takes_it(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("a.timer", "v1", LAUNCHED);
	Pb__UnitState report;

	assign(t, &a);
	assert_true(report_of(t, "a.timer", &report));
	assert_string_equal(report.error, "this machine cannot run .timer units");
	assert_int_equal(report.done_revision, 1);
	reconcile_remove(t->reconcile, "a.timer", 2);
	assert_true(report_of(t, "a.timer", &report));
	assert_int_equal(report.desired, PB__DESIRED_STATE__INACTIVE);
}

static void test_malformed_assignments(void **state)
{
	struct test *t = *state;
	Pb__Assignment a = assignment("../../etc/passwd", "v1", LAUNCHED);
	struct fl_error err;

	assert_int_equal(reconcile_assign(t->reconcile, &a, &err), FL_E_PROTOCOL);
	a = assignment("a.service", "v1", PB__DESIRED_STATE__INACTIVE);
	assert_int_equal(reconcile_assign(t->reconcile, &a, &err), FL_E_PROTOCOL);
	expect_steps(t, "");
}

static void test_reports_come_in_pages(void **state)
{
	struct test *t = *state;
	Pb__UnitState states[2];
	bool more;

	run_launched(t, "a.service", "v1");
	run_launched(t, "b.service", "v1");
	run_launched(t, "c.service", "v1");
	reconcile_report_all(t->reconcile);
	assert_int_equal(reconcile_report(t->reconcile, states, 2, &more), 2);
	assert_true(more);
	assert_int_equal(reconcile_report(t->reconcile, states, 2, &more), 1);
	assert_false(more);
	assert_string_equal(states[0].name, "c.service");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_new_unit_is_installed_and_started),
		T(test_changed_file),
		T(test_loaded),
		T(test_loaded_waits_until_it_is_known_to_load),
		T(test_exit_is_not_the_agents_matter),
		T(test_epochs),
		T(test_removal),
		T(test_it_comes_back_while_it_goes),
		T(test_it_comes_back_when_it_is_gone_and_told),
		T(test_removed_while_it_starts),
		T(test_removed_before_its_start_is_seen),
		T(test_changed_while_it_is_installed),
		T(test_failure_of_one_is_not_the_others),
		T(test_the_hosts_own_unit),
		T(test_a_stop_that_does_not_stop),
		T(test_the_driver_is_lost),
		T(test_restart_of_the_agent),
		T(test_restart_of_the_machine),
		T(test_orphans),
		T(test_orphans_when_the_assignment_was_lost),
		T(test_reset),
		T(test_another_coordinator),
		T(test_no_driver_takes_it),
		T(test_malformed_assignments),
		T(test_reports_come_in_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
