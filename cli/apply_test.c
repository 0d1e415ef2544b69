/* apply, edit, wait with a real coordinator that has no machines: plans, what is stored, and what
 * is refused. What machines make of it is the lab's. */
#include "cli/test_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/memory.h"

#define ONE "[Service]\nExecStart=/bin/sleep 1\n"
#define TWO "[Service]\nExecStart=/bin/sleep 2\n"

static pid_t coordinator;

static int set_up(void **state)
{
	FL_CLEANUP(fl_freep) char *folder = NULL;

	program_set_up(state);
	coordinator = program_start_coordinator();
	folder = fl_printf("%s/d", program_folder);
	assert_non_null(folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	program_write("d/a.service", ONE);
	program_write("d/t@.service", "[Service]\nExecStart=/bin/sleep %i\n");
	program_write("d/README", "Not a unit.\n");
	program_write("d/.hidden.service", "Nor this.\n");
	return 0;
}

static int tear_down(void **state)
{
	program_stop_coordinator(coordinator);
	return program_tear_down(state);
}

#define STORED "list-unit-files --no-legend --fields=unit,dstate"

static void test_new(void **state)
{
	(void)state;
	program_expect("apply --dry-run d", 2,
		"new      a.service, to be started\nnew      t@.service\n"
		"2 new, 0 changed, 0 gone\n");
	program_expect("apply --dry-run --no-start d/a.service", 2,
		"new      a.service\n1 new, 0 changed, 0 gone\n");
	program_expect(STORED, 0, "");
}

static void test_nothing_is_done_unasked(void **state)
{
	FL_CLEANUP(fl_freep) char *said = NULL;

	(void)state;
	assert_int_equal(program_run("apply d </dev/null", &said), 1);
	assert_non_null(strstr(said, "add --yes"));
	program_expect(STORED, 0, "");
}

static void test_apply(void **state)
{
	(void)state;
	program_expect("apply --yes --no-block d", 0,
		"new      a.service, to be started\nnew      t@.service\n"
		"2 new, 0 changed, 0 gone\n"
		"Triggered unit a.service start\nUnit t@.service inactive\n");
	program_expect(STORED, 0, "a.service\tlaunched\nt@.service\tinactive\n");
	/* Once is enough. */
	program_expect("apply --yes d", 0, "0 new, 0 changed, 0 gone\n");
	program_expect("apply --dry-run d", 0, "0 new, 0 changed, 0 gone\n");

	program_write("d/a.service", TWO);
	program_expect("apply --dry-run d", 2,
		"changed  a.service, to be restarted\n--- a.service\n+++ d/a.service\n@@ -1,2 +1,2 @@\n [Service]\n"
		"-ExecStart=/bin/sleep 1\n+ExecStart=/bin/sleep 2\n0 new, 1 changed, 0 gone\n");
	program_expect("cat a", 0, ONE);
	program_expect_part("apply -y --no-block d", 0, "Triggered unit a.service start\n");
	program_expect("cat a", 0, TWO);
	/* What is not to run does not because of this. */
	program_expect_part("unload a", 0, "Unit a.service inactive\n");
	program_write("d/a.service", ONE "# a comment\n");
	program_expect_part("apply --yes d", 0, "Unit a.service inactive\n");
	program_expect("cat a", 0, ONE "# a comment\n");
	program_expect(STORED, 0, "a.service\tinactive\nt@.service\tinactive\n");
}

/* What there is and is in no file; but an instance is there because of its template. */
static void test_prune(void **state)
{
	(void)state;
	program_write("other.service", ONE);
	program_write("u@.service", ONE);
	program_expect_part("submit other u@ u@1", 0, "u@1.service");
	program_expect_part("apply --yes --no-start d", 0, "2 new");
	program_expect_part("submit t@1", 0, "t@1.service");
	program_expect("apply --dry-run d", 0, "0 new, 0 changed, 0 gone\n");
	program_expect("apply --dry-run --prune d", 2,
		"gone     other.service, to be destroyed\ngone     u@.service, to be destroyed\n"
		"gone     u@1.service, to be destroyed\n"
		"0 new, 0 changed, 3 gone\n");
	program_expect_part("apply --yes --prune d", 0, "Destroyed other.service\n");
	program_expect("list-unit-files --no-legend --fields=unit", 0,
		"a.service\nt@.service\nt@1.service\n");
}

static void test_bad_files_stop_all(void **state)
{
	(void)state;
	program_write("d/b.service", "[Service\n");
	program_write("d/c.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nBogus=1\n");
	program_expect_part("apply --yes d", 1, "d/b.service:1: ");
	program_expect_part("apply --yes d", 1, "d/c.service:4: ");
	program_expect_part(
		"apply --yes d", 1, "flotactl: 2 of 4 files cannot be used; nothing was changed\n");
	program_expect(STORED, 0, "");
	program_expect("apply --yes d/a.service ./d/a.service", 1,
		"flotactl: d/a.service and ./d/a.service are both a.service\n");
	program_expect("apply nowhere", 1, "flotactl: nowhere: No such file or directory\n");
	program_expect(
		"apply --dry-run nowhere", 1, "flotactl: nowhere: No such file or directory\n");
}

static void test_nothing_prunes_nothing(void **state)
{
	(void)state;
	program_expect_part("apply --yes --no-start d", 0, "2 new");
	program_expect("apply --yes --prune .", 1,
		"flotactl: there is no unit file in ., and --prune would destroy every unit of the "
		"fleet; \"flotactl destroy\" does, by their names\n");
	program_expect("apply --yes .", 0, "0 new, 0 changed, 0 gone\n");
	program_expect(STORED, 0, "a.service\tinactive\nt@.service\tinactive\n");
}

/* Nothing to do, something to do, and trouble of whatever kind: 0, 2, 1. */
static void test_dry_run_in_trouble(void **state)
{
	(void)state;
	program_expect_part("--endpoint=ipc:///nowhere.sock apply --dry-run d", 1,
		"flotactl: cannot reach the coordinator");
	program_expect_part("--endpoint=ipc:///nowhere.sock apply --yes d", 5,
		"flotactl: cannot reach the coordinator");
}

static void test_json(void **state)
{
	(void)state;
	program_expect_part("apply d -o json", 1, "add --yes, or --dry-run");
	program_expect_part("apply --dry-run d -o json", 2, "\"plan\": \"new\"");
	program_expect_part("apply --yes --no-start d -o json", 0, "\"outcome\": \"done\"");
	program_expect("apply --dry-run d -o json", 0, "[]\n");
	program_write("d/a.service", TWO);
	program_expect_part("apply --dry-run d -o json", 2, "+ExecStart=/bin/sleep 2\\n");
}

static void test_edit(void **state)
{
	(void)state;
	unsetenv("VISUAL");
	program_expect_part("submit d/a", 0, "a.service");
	assert_int_equal(setenv("EDITOR", "sed -i s/1/2/", 1), 0);
	program_expect("edit a", 0, "Unit a.service inactive\n");
	program_expect("cat a", 0, TWO);
	program_expect("edit a", 0, "Unit a.service unchanged\n");
	/* $VISUAL goes first. */
	assert_int_equal(setenv("VISUAL", "sed -i s/2/3/", 1), 0);
	program_expect("edit a", 0, "Unit a.service inactive\n");
	program_expect("cat a", 0, "[Service]\nExecStart=/bin/sleep 3\n");
	assert_int_equal(setenv("VISUAL", "false", 1), 0);
	program_expect("edit a", 1, "flotactl: the editor failed; nothing was changed\n");
	program_expect("edit nosuch", 1, "flotactl: Unit nosuch.service does not exist" SEE_UNITS);
	unsetenv("VISUAL");
	unsetenv("EDITOR");
}

/* The file that the last words of @said name, with its folder. */
static void remove_draft(char *said)
{
	char *path = strstr(said, "your text is in ");

	assert_non_null(path);
	path = strchr(path, '/');
	*strchr(path, '\n') = '\0';
	assert_int_equal(remove(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(remove(path), 0);
}

/* The person's work is not lost. */
static void test_edit_that_cannot_be_stored(void **state)
{
	FL_CLEANUP(fl_freep) char *said = NULL, *meanwhile = NULL;

	(void)state;
	program_expect_part("submit d/a", 0, "a.service");
	assert_int_equal(setenv("VISUAL", "sed -i s/Service/Bogus/", 1), 0);
	assert_int_equal(program_run("edit a </dev/null", &said), 1);
	assert_non_null(strstr(said, "nothing was changed; your text is in /tmp/flota-edit-"));
	remove_draft(said);
	program_expect("cat a", 0, ONE);

	/* Somebody else was faster. */
	program_write("a.service", TWO);
	meanwhile = fl_printf(
		"%s/flotactl submit --replace a >/dev/null; sed -i s/1/3/", getenv("FLOTA_BIN"));
	assert_non_null(meanwhile);
	assert_int_equal(setenv("VISUAL", meanwhile, 1), 0);
	free(said);
	assert_int_equal(program_run("edit a", &said), 1);
	assert_non_null(strstr(said,
		"flotactl: somebody else has changed a.service meanwhile; your text is in "
		"/tmp/flota-edit-"));
	remove_draft(said);
	program_expect("cat a", 0, TWO);
	unsetenv("VISUAL");
}

static void test_wait(void **state)
{
	FL_CLEANUP(fl_freep) char *both = NULL;

	(void)state;
	program_expect("wait nosuch", 1, "flotactl: Unit nosuch.service does not exist" SEE_UNITS);
	program_expect("wait --for=gone nosuch", 0, "Destroyed nosuch.service\n");
	program_expect("wait --for=rain a", 1,
		"flotactl: --for: \"rain\" is none of active, stopped and gone\n");
	program_expect_part("submit d/a", 0, "a.service");
	program_expect("wait a", 1,
		"flotactl: a.service is to be inactive, so that it does not run; see \"flotactl "
		"status a.service\" and \"flotactl journal a.service\"\n");
	program_expect("wait --for=stopped a", 0, "Unit a.service inactive\n");
	program_expect("wait --for=gone --timeout=100ms a", 7,
		"flotactl: a.service: not yet after 0.1 s, and goes on: it is still there\n");
	program_expect_part("start --no-block a", 0, "Triggered");
	program_expect_part("wait --timeout=100ms a", 7, "not yet after 0.1 s");
	/* Somebody else's doing ends it. */
	both = fl_printf(
		"wait --for=gone a & %s/flotactl destroy a >/dev/null; wait", getenv("FLOTA_BIN"));
	assert_non_null(both);
	program_expect(both, 0, "Destroyed a.service\n");
}

int main(void)
{
#define IN_FLEET(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		IN_FLEET(test_new),
		IN_FLEET(test_nothing_is_done_unasked),
		IN_FLEET(test_apply),
		IN_FLEET(test_prune),
		IN_FLEET(test_bad_files_stop_all),
		IN_FLEET(test_nothing_prunes_nothing),
		IN_FLEET(test_dry_run_in_trouble),
		IN_FLEET(test_json),
		IN_FLEET(test_edit),
		IN_FLEET(test_edit_that_cannot_be_stored),
		IN_FLEET(test_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
