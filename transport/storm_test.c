/*
 * Loss on a large scale: a coordinator that is restarted, killed while it is busy, or stopped, with
 * many agents that have calls parked there. All of them come back, and none is lost.
 *
 * The coordinator that is killed is this program, started again with "serve".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "transport/test_support.h"

#define LONG_MS  50000
#define N_AGENTS 50

static struct test_ca *ca;
static struct tls_files coordinator_files;
static struct tls_credentials *coordinator;
static struct tls_credentials *machines[N_AGENTS];

static int setup_all(void **state)
{
	(void)state;
	ca = test_ca_new();
	coordinator_files =
		test_ca_issue(ca, &(struct test_certificate){.uri = "flota://lab/coordinator"});
	assert_int_equal(tls_credentials_load(&coordinator_files, &coordinator, NULL), FL_OK);
	for (unsigned i = 0; i < N_AGENTS; i++) {
		char uri[64];

		snprintf(uri, sizeof(uri), "flota://lab/machine/m%u", i);
		machines[i] = test_credentials(ca, uri);
	}
	return 0;
}

static int teardown_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N_AGENTS; i++)
		tls_credentials_unref(machines[i]);
	tls_credentials_unref(coordinator);
	test_ca_free(ca);
	test_cleanup();
	return 0;
}

static void all_come_back_after_a_restart(void **state)
{
	static struct test_client clients[N_AGENTS];
	static struct test_call calls[N_AGENTS];
	struct test_server server;
	unsigned n_done = 0;
	uv_loop_t loop;
	char url[256];

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, coordinator, NULL);
	snprintf(url, sizeof(url), "%s", server.url);
	for (unsigned i = 0; i < N_AGENTS; i++) {
		test_client_open(&clients[i], &loop, url, machines[i], true);
		calls[i].n_done = &n_done;
		test_call(&clients[i], &calls[i], "hold", LONG_MS);
	}
	for (unsigned round = 0; round < 3; round++) {
		test_run_until_count(&loop, &server.n_held, N_AGENTS);
		test_server_close(&server);
		assert_int_equal(server.n_gone, N_AGENTS);
		test_server_open(&server, &loop, coordinator, url);
	}
	test_run_until_count(&loop, &server.n_held, N_AGENTS);
	assert_int_equal(n_done, 0);
	test_server_release(&server);
	test_run_until_count(&loop, &n_done, N_AGENTS);
	for (unsigned i = 0; i < N_AGENTS; i++) {
		assert_int_equal(calls[i].code, FL_OK);
		test_client_close(&clients[i], &loop);
	}
	test_server_close(&server);
	test_loop_close(&loop);
}

/* ---- This program again, to be killed -------------------------------------------------------- */

struct process {
	pid_t pid;
	char url[256]; /* "": a free port, which the process then says */
};

static const char free_port[] = "tls+tcp://127.0.0.1:0";

/* Starts `storm_test ROLE URL CA CERTIFICATE KEY` and waits until it has written a line. */
static void process_start(struct process *process, const char *role, const struct tls_files *files)
{
	const char *const argv[] = {"storm_test", role,
		process->url[0] != '\0' ? process->url : free_port, files->ca, files->certificate,
		files->key, NULL};
	posix_spawn_file_actions_t actions;
	char line[16];
	int out[2];
	FILE *file;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	assert_int_equal(posix_spawn(&process->pid, "/proc/self/exe", &actions, NULL,
				 (char *const *)(uintptr_t)argv, environ),
		0);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	file = fdopen(out[0], "r");
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	if (process->url[0] == '\0')
		snprintf(process->url, sizeof(process->url), "tls+tcp://127.0.0.1:%d", atoi(line));
}

static void process_kill(const struct process *process)
{
	int status;

	assert_int_equal(kill(process->pid, SIGKILL), 0);
	assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
}

static int serve(uv_loop_t *loop, const char *url, struct tls_credentials *credentials)
{
	struct test_server server;

	test_server_open(&server, loop, credentials, url);
	printf("%u\n", transport_server_port(server.server, 0));
	fflush(stdout);
	return uv_run(loop, UV_RUN_DEFAULT);
}

/* An agent that always has one call parked and six under way. */
struct agent {
	struct test_client client;
	struct test_call parked;
	unsigned n_busy;
	unsigned n_answers; /* since it was set to 0 */
	unsigned *n_ready; /* counts agents that had ten answers */
	bool stopping;
};

static void ask_again(struct agent *agent);

static void on_answer(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct agent *agent = userdata;

	(void)data;
	agent->n_busy--;
	if (agent->stopping)
		return;
	if (code != FL_OK)
		fail_msg("%s", err->text);
	assert_int_equal(len, 2000);
	if (++agent->n_answers == 10)
		(*agent->n_ready)++;
	ask_again(agent);
}

static void ask_again(struct agent *agent)
{
	agent->n_busy++;
	assert_int_equal(transport_client_call(agent->client.client, (const uint8_t *)"z2000", 5,
				 LONG_MS, on_answer, agent, NULL, NULL),
		FL_OK);
}

static void agent_open(struct agent *agent, uv_loop_t *loop, const char *url,
	struct tls_credentials *credentials, unsigned *n_ready)
{
	*agent = (struct agent){.n_ready = n_ready};
	test_client_open(&agent->client, loop, url, credentials, true);
	test_call(&agent->client, &agent->parked, "hold", LONG_MS);
	for (unsigned i = 0; i < 6; i++)
		ask_again(agent);
}

static struct agent agents[N_AGENTS];

static int storm(uv_loop_t *loop, const char *url, struct tls_credentials *credentials)
{
	unsigned n_ready = 0;

	for (unsigned i = 0; i < N_AGENTS; i++)
		agent_open(&agents[i], loop, url, credentials, &n_ready);
	printf("\n");
	fflush(stdout);
	return uv_run(loop, UV_RUN_DEFAULT);
}

static int child_main(char **argv)
{
	const struct tls_files files = {.ca = argv[3], .certificate = argv[4], .key = argv[5]};
	struct tls_credentials *credentials;
	uv_loop_t loop;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (uv_loop_init(&loop) != 0 || tls_credentials_load(&files, &credentials, NULL) != FL_OK)
		return 1;
	return strcmp(argv[1], "serve") == 0 ? serve(&loop, argv[2], credentials)
					     : storm(&loop, argv[2], credentials);
}

static void all_come_back_after_kills(void **state)
{
	struct process process = {.url = ""};
	unsigned n_ready = 0;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	process_start(&process, "serve", &coordinator_files);
	for (unsigned i = 0; i < N_AGENTS; i++)
		agent_open(&agents[i], &loop, process.url, machines[i], &n_ready);
	for (unsigned round = 0; round < 5; round++) {
		test_run_until_count(&loop, &n_ready, N_AGENTS);
		process_kill(&process);
		process_start(&process, "serve", &coordinator_files);
		n_ready = 0;
		for (unsigned i = 0; i < N_AGENTS; i++)
			agents[i].n_answers = 0;
	}
	test_run_until_count(&loop, &n_ready, N_AGENTS);
	for (unsigned i = 0; i < N_AGENTS; i++) {
		assert_false(agents[i].parked.done);
		assert_true(agents[i].client.n_down >= 5);
		agents[i].stopping = true;
	}
	for (unsigned i = 0; i < N_AGENTS; i++) {
		test_client_close(&agents[i].client, &loop);
		assert_int_equal(agents[i].n_busy, 0);
		assert_int_equal(agents[i].parked.code, FL_E_CANCELED);
	}
	process_kill(&process);
	test_loop_close(&loop);
}

/* The other side of it: agents that are killed while they are answered leave nothing behind. */
static void nothing_is_left_of_killed_agents(void **state)
{
	struct tls_files files =
		test_ca_issue(ca, &(struct test_certificate){.uri = "flota://lab/machine/m0"});
	struct transport_server_stats stats;
	struct test_server server;
	struct test_client client;
	struct test_call call;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, coordinator, NULL);
	for (unsigned round = 1; round <= 3; round++) {
		struct process process = {.url = ""};

		snprintf(process.url, sizeof(process.url), "%s", server.url);
		process_start(&process, "storm", &files);
		test_run_until_count(&loop, &server.n_held, N_AGENTS);
		process_kill(&process);
		test_run_until_count(&loop, &server.n_gone, N_AGENTS * round);
		assert_int_equal(server.n_held, 0);
	}
	test_client_open(&client, &loop, server.url, machines[0], true);
	assert_int_equal(test_ask(&client, &loop, &call, "echo", LONG_MS), FL_OK);
	transport_server_stats(server.server, &stats);
	assert_int_equal(stats.connections, 1);
	assert_int_equal(stats.requests_held, 0);
	test_client_close(&client, &loop);
	test_server_close(&server);
	test_loop_close(&loop);
}

/* A host that stops answering and keeps its connections, as one without power does. */
static void silent_coordinator_is_left_and_found_again(void **state)
{
	struct process process = {.url = ""};
	struct test_call parked = {.done = false}, call;
	struct test_client client;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	process_start(&process, "serve", &coordinator_files);
	test_client_open(&client, &loop, process.url, machines[0], true);
	test_call(&client, &parked, "hold", LONG_MS);
	assert_int_equal(test_ask(&client, &loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(kill(process.pid, SIGSTOP), 0);
	assert_int_equal(test_ask(&client, &loop, &call, "echo", 100), FL_E_TIMEOUT);
	test_run_until_count(&loop, &client.n_down, 1);
	assert_int_equal(test_ask(&client, &loop, &call, "echo", 100), FL_E_UNAVAILABLE);
	assert_int_equal(kill(process.pid, SIGCONT), 0);
	assert_int_equal(test_ask(&client, &loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(client.n_up, 2);
	assert_false(parked.done);
	test_client_close(&client, &loop);
	process_kill(&process);
	test_loop_close(&loop);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(all_come_back_after_a_restart),
	cmocka_unit_test(all_come_back_after_kills),
	cmocka_unit_test(nothing_is_left_of_killed_agents),
	cmocka_unit_test(silent_coordinator_is_left_and_found_again),
};

int main(int argc, char **argv)
{
	fl_log_set_level(FL_WARNING);
	if (argc == 6)
		return child_main(argv);
	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
