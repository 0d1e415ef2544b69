/* flotactl itself, as a shell would call it: exit codes, and what goes where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"

static char folder[64];

/* Runs "flotactl @args" in the folder; *ret_out is what both streams said, in order. */
static int run(const char *args, char **ret_out)
{
	const char *bin = getenv("FLOTA_BIN");
	FL_CLEANUP(fl_freep) char *line = NULL;
	char buffer[1 << 16];
	FILE *pipe;
	size_t n;
	int status;

	assert_non_null(bin);
	line = fl_printf(
		"cd %s && XDG_CONFIG_HOME=%s %s/flotactl %s 2>&1", folder, folder, bin, args);
	assert_non_null(line);
	pipe = popen(line, "r"); /* NOLINT: a shell is what the test wants */
	assert_non_null(pipe);
	n = fread(buffer, 1, sizeof(buffer), pipe);
	status = pclose(pipe);
	assert_true(WIFEXITED(status));
	*ret_out = fl_memdup0(buffer, n);
	assert_non_null(*ret_out);
	return WEXITSTATUS(status);
}

static void expect(const char *args, int exit_code, const char *output)
{
	FL_CLEANUP(fl_freep) char *said = NULL;
	int code = run(args, &said);

	if (code != exit_code || strcmp(said, output) != 0)
		fail_msg("%s: exit %d, not %d, and said:\n%s", args, code, exit_code, said);
}

static void expect_part(const char *args, int exit_code, const char *part)
{
	FL_CLEANUP(fl_freep) char *said = NULL;
	int code = run(args, &said);

	if (code != exit_code || strstr(said, part) == NULL)
		fail_msg("%s: exit %d, not %d, and said:\n%s", args, code, exit_code, said);
}

static void write_file(const char *name, const char *text)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, name);

	assert_non_null(path);
	assert_int_equal(fl_file_write(path, text, strlen(text), 0600, false, NULL), FL_OK);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/flotactl-XXXXXX");
	assert_non_null(mkdtemp(folder));
	unsetenv("FLOTACTL_ENDPOINT");
	unsetenv("FLOTACTL_CONTEXT");
	unsetenv("FLEETCTL_ENDPOINT");
	return 0;
}

static int tear_down(void **state)
{
	FL_CLEANUP(fl_freep) char *line = fl_printf("rm -r %s", folder);

	(void)state;
	return system(line); /* NOLINT: our own folder */
}

static void test_help(void **state)
{
	(void)state;
	expect_part("", 0, "Verbs");
	expect_part("help", 0, "list-unit-files");
	expect_part("--help", 0, "FLOTACTL_ENDPOINT");
	expect_part("help start", 0, "flotactl start [OPTIONS] UNIT...");
	expect_part("start --help", 0, "--block-attempts=N");
	expect_part("man", 0, ".TH FLOTACTL 1");
	expect("--version", 0, "flotactl version " FLOTA_VERSION "\n");
}

static void test_usage(void **state)
{
	(void)state;
	expect("bogus", 1, "flotactl: unknown command \"bogus\"; \"flotactl help\" lists them\n");
	expect("help nothing", 1,
		"flotactl: unknown command \"nothing\"; \"flotactl help\" lists them\n");
	expect("stop", 1,
		"flotactl: nothing is given to stop; it is used as: flotactl stop UNIT...\n");
	expect("--bogus", 1, "flotactl: there is no option --bogus; see --help\n");
	expect("--endpoint=http://x list-units", 1,
		"flotactl: the endpoint \"http://x\" is neither tls+tcp://HOST:PORT nor "
		"ipc:///PATH\n");
}

static void test_verify(void **state)
{
	(void)state;
	write_file("good.service", "[Service]\nExecStart=/bin/true\n");
	write_file("bad.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nBogus=1\nWorse=2\n");
	expect("verify good.service", 0, "");
	expect_part("verify good.service bad.service", 1, "bad.service:4: ");
	expect_part("verify good.service bad.service", 1, "\nbad.service:5: ");
	expect_part("verify --lenient bad.service", 0, "bad.service:4: ");
	expect_part("verify missing.service", 1, "missing.service: No such file or directory");
	expect_part("verify --output=json bad.service", 1, "\"valid\": false");
	expect("verify --output=xml bad.service", 1,
		"flotactl: --output: \"xml\" is neither text nor json\n");
}

static void test_unreachable(void **state)
{
	FL_CLEANUP(fl_freep) char *line = NULL;

	(void)state;
	line = fl_printf("--endpoint=ipc://%s/none.sock list-units", folder);
	expect_part(line, 5, "flotactl: cannot reach the coordinator at ipc:///");
	/* A version is known without a fleet. */
	free(line);
	line = fl_printf("--endpoint=ipc://%s/none.sock version", folder);
	expect_part(line, 0, "flotactl version " FLOTA_VERSION "\ncoordinator: cannot reach");
}

static void test_config(void **state)
{
	(void)state;
	expect("config", 0, "CURRENT\tCONTEXT\tENDPOINT\n");
	expect("config set lab Endpoint=tls+tcp://h:1 Key=k", 0, "");
	expect("config set lab Colour=red", 1,
		"flotactl: unknown key Colour=; a context has Endpoint=, CACertificate=, "
		"Certificate= and Key=\n");
	expect("config set prod Endpoint=ipc:///p.sock", 0, "");
	expect("config", 0,
		"CURRENT\tCONTEXT\tENDPOINT\n*\tlab\ttls+tcp://h:1\n \tprod\tipc:///p.sock\n");
	expect("config use prod", 0, "");
	expect("config list", 0,
		"CURRENT\tCONTEXT\tENDPOINT\n \tlab\ttls+tcp://h:1\n*\tprod\tipc:///p.sock\n");
	expect_part("config use other", 1, "there is no context \"other\"");
	expect_part("list-units", 5, "ipc:///p.sock");
	expect_part("--context lab list-units", 1, "tls+tcp://h:1 needs certificates");
	expect_part("config -o json", 0, "\"endpoint\": \"ipc:///p.sock\"");
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(test_help),
		IN_FOLDER(test_usage),
		IN_FOLDER(test_verify),
		IN_FOLDER(test_unreachable),
		IN_FOLDER(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
