/* flotactl events with a real coordinator: shown, resumed, and followed through its end. */
#include "cli/test_program.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/memory.h"

static pid_t coordinator;

static int set_up(void **state)
{
	program_set_up(state);
	coordinator = program_start_coordinator();
	program_write("hello.service", "[Service]\nExecStart=/bin/sleep 1000\n");
	program_write("web.service", "[Service]\nExecStart=/bin/sleep 1000\n");
	return 0;
}

static int tear_down(void **state)
{
	program_stop_coordinator(coordinator);
	return program_tear_down(state);
}

/* ---- One that follows -- */

struct follower {
	pid_t pid;
	FILE *out;
	json_t *line;
};

static void follower_start(struct follower *follower, const char *since)
{
	FL_CLEANUP(fl_freep) char *program = fl_printf("%s/flotactl", getenv("FLOTA_BIN"));
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	*follower = (struct follower){.pid = fork()};
	assert_true(follower->pid >= 0);
	if (follower->pid == 0) {
		(void)dup2(fds[1], STDOUT_FILENO);
		(void)close(fds[0]);
		(void)execl(
			program, "flotactl", "events", "-f", "--output=json", since, (char *)NULL);
		_exit(127);
	}
	(void)close(fds[1]);
	follower->out = fdopen(fds[0], "r");
	assert_non_null(follower->out);
}

/* The next line, which must have these. It waits until there is one. */
static json_int_t follower_expect(struct follower *follower, const char *kind, const char *unit)
{
	char line[4096];

	assert_non_null(fgets(line, sizeof(line), follower->out));
	json_decref(follower->line);
	follower->line = json_loads(line, 0, NULL);
	assert_non_null(follower->line);
	if (strcmp(kind, "lost") == 0) {
		assert_true(json_is_true(json_object_get(follower->line, "lost")));
		return json_integer_value(json_object_get(follower->line, "since"));
	}
	assert_string_equal(json_string_value(json_object_get(follower->line, "kind")), kind);
	assert_string_equal(json_string_value(json_object_get(follower->line, "unit")), unit);
	return json_integer_value(json_object_get(follower->line, "index"));
}

/* Ctrl-C: nothing more is said. */
static void follower_end(struct follower *follower)
{
	int status;

	assert_int_equal(kill(follower->pid, SIGINT), 0);
	assert_int_equal(fgetc(follower->out), EOF);
	assert_int_equal(waitpid(follower->pid, &status, 0), follower->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 130);
	json_decref(follower->line);
	(void)fclose(follower->out);
}

/* ---- Tests -- */

static void test_newest(void **state)
{
	(void)state;
	program_expect_part("events", 0, " coordinator.started: 0 units, 0 machines\n");
	program_expect(
		"submit hello web", 0, "Unit hello.service inactive\nUnit web.service inactive\n");
	program_expect_part("events --lines=1", 0, " unit.submitted web.service: by root");
	program_expect_part("events hel*", 0, " unit.submitted hello.service: by root");
	program_expect_part("events --output=json hello", 0,
		"\"kind\":\"unit.submitted\",\"unit\":\"hello.service\",\"machine\":\"\"");
	program_expect("events nothing", 0, "");
	program_expect("events --lines=0", 0, "");
}

static void test_mistakes(void **state)
{
	(void)state;
	program_expect("events --since=yesterday", 1,
		"flotactl: --since: \"yesterday\" is no index; it is the number behind an event's "
		"time\n");
	program_expect_part("events 'web['", 1, "the class at position 4 is not complete");
	program_expect_part("events --output=xml", 1, "is neither text nor json");
}

/* Page by page nothing is left out, and without -f it ends. */
static void test_since(void **state)
{
	struct follower follower;
	FL_CLEANUP(fl_freep) char *said = NULL;
	FL_CLEANUP(fl_freep) char *args = NULL;
	json_int_t index;
	size_t lines = 0;

	(void)state;
	follower_start(&follower, "--since=0");
	index = follower_expect(&follower, "coordinator.started", "");
	follower_end(&follower);
	for (int i = 0; i < 3; i++) {
		program_expect_part("submit hello web", 0, "Unit");
		program_expect_part("destroy hello web", 0, "Destroyed");
	}
	args = fl_printf("events --since=%lld", (long long)index);
	assert_int_equal(program_run(args, &said), 0);
	for (const char *at = said; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_int_equal(lines, 12);
	program_expect_part("events --since=99999999999", 0,
		"WARNING: some events behind 99999999999 are lost");
}

static void test_follow_through_restarts(void **state)
{
	static const int ends[] = {SIGKILL, SIGTERM};
	struct follower follower;
	json_int_t index, before;

	(void)state;
	program_expect_part("submit hello", 0, "Unit");
	follower_start(&follower, "--lines=1");
	index = follower_expect(&follower, "unit.submitted", "hello.service");
	for (size_t i = 0; i < FL_COUNT(ends); i++) {
		program_expect_part("submit web", 0, "Unit");
		before = index;
		index = follower_expect(&follower, "unit.submitted", "web.service");
		assert_true(index > before);
		coordinator = program_restart_coordinator(coordinator, ends[i]);
		assert_true(follower_expect(&follower, "lost", "") >= index);
		index = follower_expect(&follower, "coordinator.started", "");
		program_expect_part("destroy web", 0, "Destroyed");
		before = index;
		index = follower_expect(&follower, "unit.destroyed", "web.service");
		assert_true(index > before);
	}
	follower_end(&follower);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_newest),
		TEST(test_mistakes),
		TEST(test_since),
		TEST(test_follow_through_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
