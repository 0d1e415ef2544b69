/* The line of progress: on a terminal, for whoever waits longer than a second, and for nobody else. */
#include "cli/test_program.h"

#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"

#define COLUMNS 40
#define ERASE   "\r\033[K"

static pid_t coordinator;

static int set_up(void **state)
{
	program_set_up(state);
	coordinator = program_start_coordinator();
	program_write("hello.service", "[Service]\nExecStart=/bin/sleep 1000\n");
	program_write("web.service", "[Service]\nExecStart=/bin/sleep 1000\n");
	/* There is no machine: who waits for them waits. */
	program_expect_part("start --no-block hello web", 0, "Triggered unit web.service start");
	return 0;
}

static int tear_down(void **state)
{
	program_stop_coordinator(coordinator);
	return program_tear_down(state);
}

/* What flotactl says on a terminal; it must end with @exit_code. */
static void on_terminal(char *const *argv, int exit_code, char *ret_said, size_t size)
{
	const struct winsize window = {.ws_row = 24, .ws_col = COLUMNS};
	FL_CLEANUP(fl_freep) char *program = fl_printf("%s/flotactl", getenv("FLOTA_BIN"));
	size_t len = 0;
	int fd, status;
	pid_t pid = forkpty(&fd, NULL, NULL, &window);
	ssize_t n;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)execv(program, argv);
		_exit(127);
	}
	/* EIO is a terminal's end. */
	while (len + 1 < size && (n = read(fd, ret_said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	ret_said[len] = '\0';
	(void)close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != exit_code)
		fail_msg("exit %d and said:\n%s", WEXITSTATUS(status), ret_said);
}

static void test_one_line_that_changes(void **state)
{
	char *argv[] = {(char *)"flotactl", (char *)"wait", (char *)"hello", (char *)"web",
		(char *)"--timeout=2500ms", NULL};
	char said[4096];
	const char *at;

	(void)state;
	on_terminal(argv, 7, said, sizeof(said));
	assert_non_null(strstr(said, ERASE "1 s: 0 of 2 done, hello.service: "));
	assert_non_null(strstr(said, ERASE "2 s: 0 of 2 done, hello.service: "));
	/* Never wider than the terminal, and gone before anything else is said. */
	for (at = strstr(said, ERASE); at != NULL; at = strstr(at, ERASE)) {
		at += strlen(ERASE);
		assert_true(strcspn(at, "\r") < COLUMNS || strncmp(at, "flotactl: ", 10) == 0);
	}
	at = strstr(said, "flotactl: ");
	assert_non_null(at);
	assert_true(at - said >= (long)strlen(ERASE));
	assert_memory_equal(at - strlen(ERASE), ERASE, strlen(ERASE));
}

static void test_none_for_programs(void **state)
{
	char *argv[] = {(char *)"flotactl", (char *)"wait", (char *)"hello",
		(char *)"--timeout=1500ms", (char *)"--output=json", NULL};
	char said[8192];

	(void)state;
	on_terminal(argv, 7, said, sizeof(said));
	assert_null(strstr(said, ERASE));
	assert_non_null(strstr(said, "\"outcome\": \"timeout\""));
}

static void test_none_without_a_terminal(void **state)
{
	FL_CLEANUP(fl_freep) char *said = NULL;

	(void)state;
	assert_int_equal(program_run("wait hello --timeout=1500ms", &said), 7);
	assert_null(strstr(said, ERASE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_one_line_that_changes),
		TEST(test_none_for_programs),
		TEST(test_none_without_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
