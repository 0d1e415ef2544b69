/* flotactl itself, as a shell would call it: exit codes, and what goes where. */
#include "cli/test_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"

static void test_help(void **state)
{
	(void)state;
	program_expect_part("", 0, "Verbs");
	program_expect_part("help", 0, "list-unit-files");
	program_expect_part("--help", 0, "FLOTACTL_ENDPOINT");
	program_expect_part("help start", 0, "flotactl start [OPTIONS] UNIT...");
	program_expect_part("start --help", 0, "--block-attempts=N");
	program_expect_part("help exit-codes", 0, "  8  No machine can take a unit now.\n");
	program_expect_part("help environment", 0, "  NO_COLOR, TERM\n");
	program_expect_part("man", 0, ".TH FLOTACTL 1");
	program_expect("--version", 0, "flotactl version " FLOTA_VERSION "\n");
}

static void test_usage(void **state)
{
	(void)state;
	program_expect(
		"bogus", 1, "flotactl: unknown command \"bogus\"; \"flotactl help\" lists them\n");
	program_expect("help nothing", 1,
		"flotactl: unknown command \"nothing\"; \"flotactl help\" lists them\n");
	program_expect("stop", 1,
		"flotactl: nothing is given to stop; it is used as: flotactl stop UNIT...\n");
	program_expect("--bogus", 1, "flotactl: there is no option --bogus; see --help\n");
	program_expect("--endpoint=http://x list-units", 1,
		"flotactl: the endpoint \"http://x\" is neither tls+tcp://HOST:PORT nor "
		"ipc:///PATH\n");
}

static void test_verify(void **state)
{
	(void)state;
	program_write("good.service", "[Service]\nExecStart=/bin/true\n");
	program_write(
		"bad.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nBogus=1\nWorse=2\n");
	program_expect("verify good.service", 0, "");
	program_expect_part("verify good.service bad.service", 1, "bad.service:4: ");
	program_expect_part("verify good.service bad.service", 1, "\nbad.service:5: ");
	program_expect_part("verify --lenient bad.service", 0, "bad.service:4: ");
	program_expect_part(
		"verify missing.service", 1, "missing.service: No such file or directory");
	program_expect_part("verify --output=json bad.service", 1, "\"valid\": false");
	program_expect("verify --output=xml bad.service", 1,
		"flotactl: --output: \"xml\" is neither text nor json\n");
}

static void test_unreachable(void **state)
{
	FL_CLEANUP(fl_freep) char *line = NULL;

	(void)state;
	line = fl_printf("--endpoint=ipc://%s/none.sock list-units", program_folder);
	program_expect_part(line, 5, "flotactl: cannot reach the coordinator at ipc:///");
	/* A version is known without a fleet. */
	free(line);
	line = fl_printf("--endpoint=ipc://%s/none.sock version", program_folder);
	program_expect_part(
		line, 0, "flotactl version " FLOTA_VERSION "\ncoordinator: cannot reach");
}

static void test_config(void **state)
{
	(void)state;
	program_expect("config", 0, "CURRENT\tCONTEXT\tENDPOINT\n");
	program_expect("config set lab Endpoint=tls+tcp://h:1 Key=k", 0, "");
	program_expect("config set lab Colour=red", 1,
		"flotactl: unknown key Colour=; a context has Endpoint=, CACertificate=, "
		"Certificate= and Key=\n");
	program_expect("config set prod Endpoint=ipc:///p.sock", 0, "");
	program_expect("config", 0,
		"CURRENT\tCONTEXT\tENDPOINT\n*\tlab\ttls+tcp://h:1\n \tprod\tipc:///p.sock\n");
	program_expect("config use prod", 0, "");
	program_expect("config list", 0,
		"CURRENT\tCONTEXT\tENDPOINT\n \tlab\ttls+tcp://h:1\n*\tprod\tipc:///p.sock\n");
	program_expect_part("config use other", 1, "there is no context \"other\"");
	program_expect_part("list-units", 5, "ipc:///p.sock");
	program_expect_part("--context lab list-units", 1, "tls+tcp://h:1 needs certificates");
	program_expect_part("config -o json", 0, "\"endpoint\": \"ipc:///p.sock\"");
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_set_up, program_tear_down)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(test_help),
		IN_FOLDER(test_usage),
		IN_FOLDER(test_verify),
		IN_FOLDER(test_unreachable),
		IN_FOLDER(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
