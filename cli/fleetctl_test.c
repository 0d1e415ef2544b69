/* The program under fleetctl's name, with a real coordinator that has no machines: the words and
 * exit codes that scripts of fleet's time know. Each test is a row of fleet's own behaviour. */
#include "cli/test_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"

#define HELLO "[Service]\nExecStart=/bin/sleep 1000\n"

static pid_t coordinator;

static int set_up(void **state)
{
	program_set_up(state);
	coordinator = program_start_coordinator();
	program_call_it("fleetctl");
	program_write("hello.service", HELLO);
	program_write("t@.service", "[Service]\nExecStart=/bin/sleep %i\n");
	return 0;
}

static int tear_down(void **state)
{
	program_call_it("flotactl");
	program_stop_coordinator(coordinator);
	return program_tear_down(state);
}

static void test_without_arguments(void **state)
{
	static const char *const verbs[] = {"start", "stop", "load", "submit", "unload", "destroy"};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(verbs); i++)
		program_expect(verbs[i], 0, "No units given\n");
	program_expect("status", 0, "");
	program_expect("cat", 1, "One unit file must be provided\n");
	program_expect("journal", 1, "One unit file must be provided.\n");
	program_expect("ssh", 1, "Unable to proceed: one machine or unit must be provided\n");
}

static void test_unknown_units(void **state)
{
	(void)state;
	program_expect("start nosuch", 1,
		"Error creating units: unable to find Unit(nosuch.service) in Registry or on "
		"filesystem\n");
	program_expect("submit foo@1", 1,
		"Error creating units: failed getting Unit(foo@1.service) from template: unable to "
		"find template Unit(foo@.service) in Registry or on filesystem\n");
	program_expect("stop nosuch", 0, "Units not found in registry\n");
	program_expect("unload nosuch", 0, "Units not found in registry\n");
	program_expect("destroy nosuch", 0, "Units not found in registry\n");
	program_expect("cat nosuch", 1, "Unit nosuch.service not found\n");
	program_expect("status nosuch", 1, "Unit nosuch.service does not exist.\n");
	program_expect("journal nosuch", 1, "Unit nosuch.service does not exist.\n");
	program_expect(
		"ssh nosuch", 1, "Unable to proceed: could not find matching unit or machine\n");
	/* Those that there are. */
	program_expect("submit hello", 0, "Unit hello.service inactive\n");
	program_expect("destroy nosuch hello", 0, "Destroyed hello.service\n");
}

static void test_wrong_usage_ends_with_0(void **state)
{
	(void)state;
	program_expect("bogus", 0,
		"cannot execute cmdFleet: unknown command \"bogus\" for \"fleetctl\"\n");
	program_expect("list-un", 0,
		"cannot execute cmdFleet: unknown command \"list-un\" for \"fleetctl\"\n\n"
		"Did you mean this?\n\tlist-units\n\tlist-unit-files\n\n");
	program_expect_part("list-units --bogus", 0, "cannot execute cmdFleet: ");
	program_expect("list-units --fields=foo", 1, "Invalid key in output format: \"foo\"\n");
	program_expect("list-m --fields=machine,foo", 1, "Invalid key in output format: \"foo\"\n");
	program_expect("cat a b", 1, "One unit file must be provided\n");
	program_expect("journal a b", 1, "One unit file must be provided.\n");
	program_expect_part("help start", 0, "fleetctl start [OPTIONS] UNIT...\n");
}

/* Beginnings that meant one verb there do so still, whatever verbs have come. */
static void test_beginnings(void **state)
{
	(void)state;
	program_expect("re nosuch", 0, "Units not found in registry\n");
	program_expect("un nosuch", 0, "Units not found in registry\n");
	program_expect("d nosuch", 0, "Units not found in registry\n");
	program_expect("c nosuch", 1, "Unit nosuch.service not found\n");
	program_expect_part("reb --help", 0, "fleetctl rebalance ");
	program_call_it("flotactl");
	program_expect_part("re nosuch", 1, "Did you mean restart, rebalance, release?\n");
}

static void test_endpoints(void **state)
{
	(void)state;
	program_expect("--endpoint=nothing list-units", 1,
		"Unable to initialize client: URL scheme undefined\n");
	program_expect_part("--endpoint=unix:///nowhere.sock list-units", 1,
		"Error retrieving list of units from repository: cannot reach the coordinator");
	program_expect_part("--endpoint=unix:///nowhere.sock list-machines", 1,
		"Error retrieving list of active machines: cannot reach the coordinator");
}

static void test_states(void **state)
{
	(void)state;
	program_expect(
		"submit hello t@", 0, "Unit hello.service inactive\nUnit t@.service inactive\n");
	program_expect("stop hello", 1, "Unable to stop unit hello.service in state inactive\n");
	program_expect("start t@", 1,
		"Error starting units: googleapi: Error 400: cannot activate template "
		"\"t@.service\"\n");
	program_expect("load t@", 1,
		"Error loading units: googleapi: Error 400: cannot activate template "
		"\"t@.service\"\n");
	program_expect("start --no-block hello", 0, "Triggered unit hello.service start\n");
	/* It waits for a machine, having said so. */
	program_expect("start --block-attempts=1 hello", 1,
		"no machine can take hello.service now: there is no machine in the fleet yet\n"
		"hello.service: not yet after 2.0 s, and goes on: there is no machine in the fleet "
		"yet\n");
	program_expect("list-units", 0, "UNIT\tMACHINE\tACTIVE\tSUB\n");
	program_expect("list-unit-files --fields=unit,dstate,state,target", 0,
		"UNIT\t\tDSTATE\t\tSTATE\t\tTARGET\n"
		"hello.service\tlaunched\tinactive\t-\n"
		"t@.service\tinactive\tinactive\t-\n");
}

static void test_replace(void **state)
{
	(void)state;
	program_expect("start --no-block hello", 0, "Triggered unit hello.service start\n");
	program_expect("submit --replace hello", 0,
		"Found same Unit(hello.service) in Registry, nothing to do\n"
		"Unit hello.service launched\n");
	program_write("hello.service", "[Service]\nExecStart=/bin/sleep 2\n");
	program_expect("submit hello", 0,
		"WARNING: Unit hello.service in registry differs from local unit file "
		"hello.service. Add --replace to override.\nUnit hello.service launched\n");
	program_expect("submit --replace hello", 0,
		"Warning: can not replace Unit(hello.service) in state 'launched', use the "
		"appropriate command\nUnit hello.service launched\n");
	program_expect("cat hello", 0, HELLO);
	program_expect(
		"start --replace --no-block hello", 0, "Triggered unit hello.service start\n");
	program_expect("cat hello", 0, "[Service]\nExecStart=/bin/sleep 2\n");
}

static void test_files(void **state)
{
	(void)state;
	program_write("bad.service", "[Service\nExecStart=/bin/true\n");
	program_write("both.service", "[Service]\nExecStart=/bin/true\n"
				      "[X-Fleet]\nGlobal=true\nMachineOf=a.service\n");
	program_write("old.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nFoo=1\n");
	program_expect_part("submit bad", 1,
		"Error creating units: failed getting Unit(bad.service) from file: ");
	program_expect_part("submit both", 1, "Error creating units: ");
	program_expect_part("submit old", 0, "Unit old.service inactive\n");
}

/* fleet's flags, and the same in the environment; those without a meaning say nothing. */
static void test_flags(void **state)
{
	static const char *const accepted[] = {"--driver=API", "--driver etcd",
		"--etcd-key-prefix=/_coreos.com/fleet/", "--ssh-username=core", "--ssh-timeout=10",
		"--request-timeout=3", "--request-timeout=3.5", "--known-hosts-file=/dev/null",
		"--strict-host-key-checking=false", "--debug", "--debug=false",
		"--experimental-api", "--etcd-cafile=x", "--etcd-certfile=x", "--etcd-keyfile=x"};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(accepted); i++) {
		FL_CLEANUP(fl_freep)
		char *before = fl_printf("%s list-units --no-legend", accepted[i]);

		assert_non_null(before);
		program_expect(before, 0, "");
	}
	program_expect("submit --sign hello --debug", 0, "Unit hello.service inactive\n");
	program_expect("list-unit-files --l --no-legend --fields=unit", 0, "hello.service\n");
	program_expect("--version", 0, "fleetctl version 1.0.0 (flota " FLOTA_VERSION ")\n");
	program_expect("version", 0, "fleetctl version 1.0.0 (flota " FLOTA_VERSION ")\n");
	assert_int_equal(setenv("FLEETCTL_DRIVER", "API", 1), 0);
	assert_int_equal(setenv("FLEETCTL_SSH_TIMEOUT", "soon", 1), 0);
	program_expect_part("list-units", 0,
		"cannot execute cmdFleet: in the environment: --ssh-timeout: \"soon\"");
	unsetenv("FLEETCTL_SSH_TIMEOUT");
	program_expect("list-units --no-legend", 0, "");
	unsetenv("FLEETCTL_DRIVER");
	/* The same by its own name, but for the words and the exit codes. */
	program_call_it("flotactl");
	for (size_t i = 0; i < FL_COUNT(accepted); i++) {
		FL_CLEANUP(fl_freep)
		char *before = fl_printf("%s list-units --no-legend", accepted[i]);

		assert_non_null(before);
		program_expect(before, 0, "");
	}
	program_expect("submit --sign hello --debug", 0, "Unit hello.service inactive\n");
	program_expect("stop", 1,
		"flotactl: nothing is given to stop; it is used as: flotactl stop UNIT...\n");
}

/* ssh(1) is played: it makes the socket as ssh -L does, and says what it was called with. */
#define FAKE_SSH \
	"#!/bin/sh\n" \
	"echo \"$@\" >>called\n" \
	"while [ $# -gt 0 ]; do\n" \
	"	case $1 in\n" \
	"	-L) ln -s \"${2#*:}\" \"${2%%:*}\" && echo ready && exec sleep 100 ;;\n" \
	"	esac\n" \
	"	shift\n" \
	"done\n" \
	"exit 255\n"

static void play_ssh(void)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s:%s", program_folder, getenv("PATH"));
	FL_CLEANUP(fl_freep) char *ssh = fl_printf("%s/ssh", program_folder);

	program_write("ssh", FAKE_SSH);
	assert_int_equal(chmod(ssh, 0700), 0);
	assert_int_equal(setenv("PATH", path, 1), 0);
}

static void test_tunnel(void **state)
{
	FL_CLEANUP(fl_freep) char *old_path = fl_strdup(getenv("PATH"));
	FL_CLEANUP(fl_freep) char *file = fl_printf("%s/called", program_folder);
	FL_CLEANUP(fl_freep)
	char *args = fl_printf("--endpoint=unix://%s/c.sock --tunnel=10.0.0.1:2222 "
			       "--ssh-timeout=3 --known-hosts-file= list-unit-files --no-legend "
			       "--fields=unit",
		program_folder);
	FL_CLEANUP(fl_freep) char *called = NULL;
	size_t len;
	char *socket;

	(void)state;
	program_expect("submit hello", 0, "Unit hello.service inactive\n");
	play_ssh();
	program_expect(args, 0, "hello.service\n");
	assert_int_equal(setenv("PATH", old_path, 1), 0);
	assert_int_equal(fl_file_read(file, 4096, &called, &len, NULL), FL_OK);
	assert_non_null(strstr(called, "-l core -o ConnectTimeout=3 -o StrictHostKeyChecking=ask"));
	assert_non_null(strstr(called, "/c.sock -p 2222 -- 10.0.0.1\n"));
	/* Nothing is left of it. */
	socket = strstr(called, "/tmp/flota-tunnel-");
	assert_non_null(socket);
	*strchr(socket, ':') = '\0';
	assert_int_not_equal(access(socket, F_OK), 0);
	*strrchr(socket, '/') = '\0';
	assert_int_not_equal(access(socket, F_OK), 0);
}

/* As one end of "ssh HOST fleetctl fd-forward SOCKET": an echo, until its end. */
static void test_fd_forward(void **state)
{
	FL_CLEANUP(fl_freep)
	char *args = fl_printf(
		"fd-forward %s/c.sock </dev/null | head -c 8 | od -An -tx1", program_folder);

	(void)state;
	/* nng's greeting: it was a local socket of the coordinator. */
	program_expect(args, 0, " 00 53 50 00 00 31 00 00\n");
	program_expect("fd-forward /nowhere.sock </dev/null", 1,
		"/nowhere.sock: No such file or directory\n");
}

int main(void)
{
#define IN_FLEET(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		IN_FLEET(test_without_arguments),
		IN_FLEET(test_unknown_units),
		IN_FLEET(test_wrong_usage_ends_with_0),
		IN_FLEET(test_beginnings),
		IN_FLEET(test_endpoints),
		IN_FLEET(test_states),
		IN_FLEET(test_replace),
		IN_FLEET(test_files),
		IN_FLEET(test_flags),
		IN_FLEET(test_tunnel),
		IN_FLEET(test_fd_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
