/* Which agent runs: each start is a process of its own, and releases are scripts that say who they
 * are. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/launch.h"
#include "base/file.h"
#include "base/memory.h"

#define EXIT_INSTALLED 77

struct stage {
	char directory[64];
	struct config config;
};

static int setup(void **state)
{
	struct stage *stage = FL_NEW(struct stage);

	(void)snprintf(stage->directory, sizeof(stage->directory), "/tmp/launch_test.XXXXXX");
	assert_non_null(mkdtemp(stage->directory));
	stage->config.state_directory = stage->directory;
	stage->config.upgrade_deadline_ms = 1000;
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;
	FL_CLEANUP(fl_freep) char *remove = fl_printf("rm -r %s", stage->directory);

	assert_int_equal(system(remove), 0); /* NOLINT(cert-env33-c): a path of our own */
	free(stage);
	return 0;
}

/* A release that ends with this line of shell. */
static void add_release(const struct stage *stage, const char *version, const char *line)
{
	FL_CLEANUP(fl_freep) char *path = launch_path(&stage->config, version);
	FL_CLEANUP(fl_freep) char *folder = fl_strdup(path);
	FL_CLEANUP(fl_freep) char *text = fl_printf("#!/bin/sh\n%s\n", line);

	*strrchr(folder, '/') = '\0';
	assert_int_equal(fl_mkdir_all(folder, 0700, NULL), FL_OK);
	assert_int_equal(fl_file_write(path, text, strlen(text), 0700, false, NULL), FL_OK);
}

static bool has_release(const struct stage *stage, const char *version)
{
	FL_CLEANUP(fl_freep) char *path = launch_path(&stage->config, version);

	return access(path, F_OK) == 0;
}

static void record(
	const struct stage *stage, const char *installed, const char *current, const char *trial)
{
	Pb__AgentReleaseRecord one = PB__AGENT_RELEASE_RECORD__INIT;
	Pb__UpgradeResult result = PB__UPGRADE_RESULT__INIT;

	one.installed = (char *)installed;
	one.current = (char *)current;
	one.trial = (char *)trial;
	one.result = &result;
	result.order = 7;
	assert_int_equal(launch_write(&stage->config, &one, NULL), FL_OK);
}

/* What a start ends with: an exit code, or 1000 and the number of a signal. */
static int start(const struct stage *stage, bool is_fence)
{
	char *argv[] = {(char *)"flota-agent", NULL};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		launch(&stage->config, is_fence, argv);
		_exit(launch_is_trial() ? EXIT_INSTALLED + 1 : EXIT_INSTALLED);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void test_installed(void **state)
{
	const struct stage *stage = *state;

	assert_int_equal(start(stage, false), EXIT_INSTALLED);
	add_release(stage, "9.0", "exit 9");
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
	assert_false(has_release(stage, "9.0")); /* nobody knows of it */
}

static void test_current(void **state)
{
	const struct stage *stage = *state;

	add_release(stage, "9.0", "exit 9");
	record(stage, FLOTA_VERSION, "9.0", "");
	assert_int_equal(start(stage, false), 9);
	assert_int_equal(start(stage, true), 9);
	/* It cannot be run: an agent has to. */
	add_release(stage, "9.0", "exit 9");
	record(stage, FLOTA_VERSION, "9.1", "");
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
}

static void test_trial(void **state)
{
	const struct stage *stage = *state;
	Pb__AgentReleaseRecord *after;

	add_release(stage, "9.0", "exit 9");
	add_release(stage, "9.1", "exit \"1$FLOTA_AGENT_ON_TRIAL\"");
	record(stage, FLOTA_VERSION, "9.0", "9.1");
	assert_int_equal(start(stage, true), 9); /* the fence tries nothing */
	assert_int_equal(start(stage, false), 11);
	assert_int_equal(start(stage, false), 11);
	assert_int_equal(start(stage, false), 9); /* it had its two starts */
	assert_int_equal(start(stage, false), 9);
	assert_false(has_release(stage, "9.1"));
	assert_int_equal(launch_read(&stage->config, &after, NULL), FL_OK);
	assert_string_equal(after->current, "9.0");
	assert_string_equal(after->trial, "");
	assert_int_equal(after->result->state, PB__UPGRADE_RESULT__STATE__ROLLED_BACK);
	assert_int_equal(after->result->order, 7);
	assert_non_null(strstr(after->result->text, "9.1 was started 2 times"));
	launch_record_free(after);
}

static void test_trial_that_cannot_be_run(void **state)
{
	const struct stage *stage = *state;

	record(stage, FLOTA_VERSION, "", "9.1");
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
}

static void test_trial_that_hangs(void **state)
{
	const struct stage *stage = *state;

	add_release(stage, "9.1", "exec sleep 1000");
	record(stage, FLOTA_VERSION, "", "9.1");
	assert_int_equal(start(stage, false), 1000 + SIGALRM);
	assert_int_equal(start(stage, false), 1000 + SIGALRM);
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
}

static void test_another_one_is_installed(void **state)
{
	const struct stage *stage = *state;

	add_release(stage, "9.0", "exit 9");
	record(stage, "0.0.1", "9.0", "");
	assert_int_equal(start(stage, true), EXIT_INSTALLED);
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
	assert_false(has_release(stage, "9.0"));
}

static void test_damaged_record(void **state)
{
	const struct stage *stage = *state;
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/release.pb", stage->directory);

	add_release(stage, "9.0", "exit 9");
	record(stage, FLOTA_VERSION, "9.0", "");
	assert_int_equal(fl_file_write(path, "xx", 2, 0600, false, NULL), FL_OK);
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
}

/* What a release finds of the agent that became it. */
static void test_launched(void **state)
{
	const struct stage *stage = *state;

	record(stage, "0.0.1", "9.0", "");
	assert_int_equal(setenv("FLOTA_INSTALLED_AGENT", "0.0.1 /bin/true", 1), 0);
	assert_int_equal(setenv("FLOTA_AGENT_ON_TRIAL", "1", 1), 0);
	assert_int_equal(start(stage, false), EXIT_INSTALLED + 1);
	assert_int_equal(unsetenv("FLOTA_AGENT_ON_TRIAL"), 0);
	assert_int_equal(start(stage, false), EXIT_INSTALLED);
	assert_int_equal(unsetenv("FLOTA_INSTALLED_AGENT"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_installed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_current, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trial, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trial_that_cannot_be_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trial_that_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_one_is_installed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_record, setup, teardown),
		cmocka_unit_test_setup_teardown(test_launched, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
