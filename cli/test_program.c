#include "cli/test_program.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"

#define SAID_MAX (1U << 20)

char program_folder[64];
const char *program_name = "flotactl";

static const char *bin(void)
{
	const char *folder = getenv("FLOTA_BIN");

	assert_non_null(folder);
	return folder;
}

int program_set_up(void **state)
{
	(void)state;
	strcpy(program_folder, "/tmp/flotactl-XXXXXX");
	assert_non_null(mkdtemp(program_folder));
	assert_int_equal(setenv("XDG_CONFIG_HOME", program_folder, 1), 0);
	unsetenv("FLOTACTL_ENDPOINT");
	unsetenv("FLOTACTL_CONTEXT");
	unsetenv("FLEETCTL_ENDPOINT");
	return 0;
}

/* A line of shell, in the folder. */
static int shell(const char *line, char **ret_said)
{
	FL_CLEANUP(fl_freep) char *whole = fl_printf("cd %s && %s", program_folder, line);
	FL_CLEANUP(fl_freep) char *said = malloc(SAID_MAX);
	FILE *pipe;
	size_t n;
	int status;

	assert_non_null(whole);
	assert_non_null(said);
	pipe = popen(whole, "r"); /* NOLINT: a shell is what these tests want */
	assert_non_null(pipe);
	n = fread(said, 1, SAID_MAX, pipe);
	status = pclose(pipe);
	assert_true(WIFEXITED(status));
	if (ret_said != NULL) {
		*ret_said = fl_memdup0(said, n);
		assert_non_null(*ret_said);
	}
	return WEXITSTATUS(status);
}

int program_tear_down(void **state)
{
	FL_CLEANUP(fl_freep) char *line = fl_printf("rm -r %s", program_folder);

	(void)state;
	return shell(line, NULL);
}

void program_call_it(const char *name)
{
	FL_CLEANUP(fl_freep) char *line = fl_printf("ln -sf %s/flotactl %s", bin(), name);

	assert_int_equal(shell(line, NULL), 0);
	program_name = name;
}

void program_write(const char *name, const char *text)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", program_folder, name);

	assert_non_null(path);
	assert_int_equal(fl_file_write(path, text, strlen(text), 0600, false, NULL), FL_OK);
}

int program_run(const char *args, char **ret_said)
{
	FL_CLEANUP(fl_freep)
	char *line = fl_printf("%s/%s %s 2>&1",
		strcmp(program_name, "flotactl") == 0 ? bin() : program_folder, program_name, args);

	assert_non_null(line);
	return shell(line, ret_said);
}

void program_expect(const char *args, int exit_code, const char *output)
{
	FL_CLEANUP(fl_freep) char *said = NULL;
	int code = program_run(args, &said);

	if (code != exit_code || strcmp(said, output) != 0)
		fail_msg("%s: exit %d, not %d, and said:\n%s", args, code, exit_code, said);
}

void program_expect_part(const char *args, int exit_code, const char *part)
{
	FL_CLEANUP(fl_freep) char *said = NULL;
	int code = program_run(args, &said);

	if (code != exit_code || strstr(said, part) == NULL)
		fail_msg("%s: exit %d, not %d, and said:\n%s", args, code, exit_code, said);
}

/* Where the coordinator says that it is ready: sd_notify(3)'s socket. */
static int listen_for_ready(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", program_folder);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
	return fd;
}

static void wait_until_ready(int fd)
{
	char text[256];

	do {
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		assert_true(n > 0);
		text[n] = '\0';
	} while (strstr(text, "READY=1") == NULL);
	(void)close(fd);
	unsetenv("NOTIFY_SOCKET");
}

static pid_t run_coordinator(void)
{
	FL_CLEANUP(fl_freep) char *program = fl_printf("%s/flota-coordinator", bin());
	FL_CLEANUP(fl_freep) char *config = fl_printf("%s/c.conf", program_folder);
	int fd = listen_for_ready();
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		assert_non_null(freopen("/dev/null", "w", stderr));
		(void)execl(program, "flota-coordinator", "--config", config, (char *)NULL);
		_exit(127);
	}
	wait_until_ready(fd);
	return pid;
}

pid_t program_start_coordinator(void)
{
	FL_CLEANUP(fl_freep)
	char *init = fl_printf("%s/flota-coordinator init --fleet=test --data=%s/data "
			       "--address=127.0.0.1",
		bin(), program_folder);
	FL_CLEANUP(fl_freep)
	char *config = fl_printf("[Coordinator]\n"
				 "DataDirectory=%s/data\n"
				 "Listen=\n"
				 "Listen=ipc://%s/c.sock\n",
		program_folder, program_folder);
	FL_CLEANUP(fl_freep) char *endpoint = fl_printf("ipc://%s/c.sock", program_folder);

	assert_int_equal(shell(init, NULL), 0);
	program_write("c.conf", config);
	assert_int_equal(setenv("FLOTACTL_ENDPOINT", endpoint, 1), 0);
	return run_coordinator();
}

pid_t program_restart_coordinator(pid_t pid, int number)
{
	FL_CLEANUP(fl_freep) char *notify = fl_printf("%s/notify", program_folder);
	int status;

	assert_int_equal(kill(pid, number), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(unlink(notify), 0);
	return run_coordinator();
}

void program_stop_coordinator(pid_t pid)
{
	int status;

	unsetenv("FLOTACTL_ENDPOINT");
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
