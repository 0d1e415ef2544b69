/* flotactl with a real coordinator that has no machines: what is asked for, stored and shown. What
 * machines do is the lab's. */
#include "cli/test_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/memory.h"

#define HELLO \
	"# Says hello\r\n[Unit]\nDescription=Hello\n\n[Service]\nExecStart=/bin/sleep \\\n  1000\n"

#define NOWHERE "there is no machine in the fleet yet"

static pid_t coordinator;

static int set_up(void **state)
{
	program_set_up(state);
	coordinator = program_start_coordinator();
	program_write("hello.service", HELLO);
	program_write("t@.service", "[Service]\nExecStart=/bin/sleep %i\n");
	return 0;
}

static int tear_down(void **state)
{
	program_stop_coordinator(coordinator);
	return program_tear_down(state);
}

static void test_empty(void **state)
{
	(void)state;
	program_expect("list-units", 0, "UNIT\tMACHINE\tACTIVE\tSUB\n");
	program_expect("list-unit-files --no-legend", 0, "");
	program_expect("list-machines", 0, "MACHINE\tIP\tMETADATA\n");
	program_expect("list-machines --output=json", 0, "[]\n");
	program_expect_part("version", 0, "of the fleet test; you are root");
}

static void test_submit(void **state)
{
	(void)state;
	program_expect(
		"submit hello t@", 0, "Unit hello.service inactive\nUnit t@.service inactive\n");
	/* Byte for byte, and once is enough. */
	program_expect("cat hello", 0, HELLO);
	program_expect("submit hello.service", 0, "Unit hello.service inactive\n");
	program_expect("list-unit-files --fields=unit,dstate,state,target,desc", 0,
		"UNIT\t\tDSTATE\t\tSTATE\t\tTARGET\tDESC\n"
		"hello.service\tinactive\tinactive\t-\tHello\n"
		"t@.service\tinactive\tinactive\t-\t-\n");
	program_expect("cat nosuch", 1, "flotactl: Unit nosuch.service does not exist" SEE_UNITS);
}

static void test_replace(void **state)
{
	(void)state;
	program_expect("submit hello", 0, "Unit hello.service inactive\n");
	program_write("hello.service", "[Service]\nExecStart=/bin/sleep 2\n");
	program_expect("submit hello", 0,
		"WARNING: Unit hello.service in registry differs from local unit file "
		"hello.service. Add --replace to override.\nUnit hello.service inactive\n");
	program_expect("cat hello", 0, HELLO);
	program_expect("submit --replace hello", 0, "Unit hello.service inactive\n");
	program_expect("cat hello", 0, "[Service]\nExecStart=/bin/sleep 2\n");
	program_expect("load --no-block hello", 0, "Triggered unit hello.service load\n");
}

/* An instance: from the template in the registry, then from the one beside the path. */
static void test_instances(void **state)
{
	(void)state;
	program_expect("start --no-block t@1", 0, "Triggered unit t@1.service start\n");
	program_expect("submit t@", 0, "Unit t@.service inactive\n");
	program_expect_part("start --no-block /nowhere/t@2", 0, "Triggered unit t@2.service start");
	program_expect("cat t@2", 0, "[Service]\nExecStart=/bin/sleep %i\n");
	program_expect("start t@", 1,
		"flotactl: t@.service is a template and runs nowhere itself; name an instance of "
		"it, such as t@1.service\n");
	program_expect("start x@1", 1,
		"flotactl: unable to find Unit(x@1.service), nor its template Unit(x@.service), in "
		"Registry or on filesystem\n");
}

static void test_nowhere(void **state)
{
	(void)state;
	program_expect("start hello", 8,
		"flotactl: no machine can take hello.service now: " NOWHERE
		"; see \"flotactl why hello.service\"\n");
	program_expect("why hello", 0, NOWHERE "\n");
	program_expect_part("start hello --output=json", 8, "\"outcome\": \"unschedulable\"");
	program_expect("status hello", 3,
		"hello.service is on no machine; it is to be launched: " NOWHERE "\n");
	program_expect("journal hello", 1,
		"flotactl: hello.service is on no machine; it is to be launched: " NOWHERE "\n");
	/* It does not run, and so it is stopped. */
	program_expect("stop hello", 0,
		"Unit hello.service loaded\nSuccessfully stopped units [hello.service].\n");
	program_expect("unload hello", 0,
		"Unit hello.service inactive\nSuccessfully unloaded units [hello.service].\n");
	program_expect(
		"stop hello", 1, "flotactl: Unable to stop unit hello.service in state inactive\n");
}

static void test_unknown(void **state)
{
	(void)state;
	program_expect("submit hello", 0, "Unit hello.service inactive\n");
	/* One that is not there does not save the others. */
	program_expect("destroy nosuch hello", 1,
		"flotactl: Unit nosuch.service does not exist" SEE_UNITS
		"Destroyed hello.service\n");
	program_expect("list-unit-files --no-legend", 0, "");
	program_expect(
		"status nosuch", 1, "flotactl: Unit nosuch.service does not exist" SEE_UNITS);
	program_expect(
		"journal nosuch", 1, "flotactl: Unit nosuch.service does not exist" SEE_UNITS);
	program_expect_part("why nosuch", 1, "nosuch.service");
}

/* More than a request and a page hold. */
static void test_many(void **state)
{
	FL_CLEANUP_BUF struct fl_buf args = FL_BUF_INIT;
	FL_CLEANUP(fl_freep) char *said = NULL, *listed = NULL;
	const unsigned n = 5100; /* for each, its template is asked for too */
	size_t lines = 0;

	(void)state;
	fl_buf_text(&args, "submit");
	for (unsigned i = 0; i < n; i++)
		fl_buf_printf(&args, " t@%04u", i);
	assert_true(fl_buf_ok(&args));
	assert_int_equal(program_run(fl_buf_str(&args), &said), 0);
	assert_int_equal(program_run("list-unit-files --no-legend --fields=unit", &listed), 0);
	for (char *rest = listed, *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
		char name[32];

		(void)snprintf(name, sizeof(name), "t@%04zu.service", lines++);
		assert_string_equal(line, name);
	}
	assert_int_equal(lines, n);
}

int main(void)
{
#define IN_FLEET(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		IN_FLEET(test_empty),
		IN_FLEET(test_submit),
		IN_FLEET(test_replace),
		IN_FLEET(test_instances),
		IN_FLEET(test_nowhere),
		IN_FLEET(test_unknown),
		IN_FLEET(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
