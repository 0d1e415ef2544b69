/*
 * What the transport costs: `transport_bench [CONNECTIONS]`.
 *
 * Round trips one after the other over ipc:// and tls+tcp:// with their median, and many at once;
 * then CONNECTIONS agents (1,000 by default), each with one parked call, in a process of their own:
 * how long they take to connect, what the server's memory grows by for each, and how long a reply to
 * all takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "transport/test_support.h"

#define ROUNDS  5000U
#define AT_ONCE 64U
#define LONG_MS 100000

static struct test_ca *ca;
static struct tls_credentials *coordinator, *machine;

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

struct pipeline {
	struct test_client client;
	unsigned n_done;
};

static void ask(struct pipeline *pipeline);

static void on_answer(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct pipeline *pipeline = userdata;

	(void)data;
	(void)len;
	(void)err;
	assert_int_equal(code, FL_OK);
	pipeline->n_done++;
	if (pipeline->n_done + AT_ONCE <= 4 * ROUNDS)
		ask(pipeline);
}

static void ask(struct pipeline *pipeline)
{
	static const uint8_t request[200] = "echo";

	assert_int_equal(transport_client_call(pipeline->client.client, request, sizeof(request),
				 LONG_MS, on_answer, pipeline, NULL, NULL),
		FL_OK);
}

static void round_trips(const char *name, const char *url, struct tls_credentials *credentials)
{
	static uint64_t spent_us[ROUNDS];
	struct pipeline pipeline = {.n_done = 0};
	struct test_server server;
	struct test_call call;
	uv_loop_t loop;
	uint64_t begin_us;

	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open_limited(&server, &loop, coordinator, url, AT_ONCE, 1U << 20);
	test_client_open(&pipeline.client, &loop, server.url, credentials, false);
	test_ask(&pipeline.client, &loop, &call, "echo", LONG_MS);
	for (unsigned i = 0; i < ROUNDS; i++) {
		begin_us = fl_clock_boot_us();
		test_ask(&pipeline.client, &loop, &call, "echo", LONG_MS);
		assert_int_equal(call.code, FL_OK);
		spent_us[i] = fl_clock_boot_us() - begin_us;
	}
	qsort(spent_us, ROUNDS, sizeof(spent_us[0]), compare);
	begin_us = fl_clock_boot_us();
	for (unsigned i = 0; i < AT_ONCE; i++)
		ask(&pipeline);
	test_run_until_count(&loop, &pipeline.n_done, 4 * ROUNDS);
	printf("%s: round trip p50 %llu us, p99 %llu us; %u at once: %.0f/s\n", name,
		(unsigned long long)spent_us[ROUNDS / 2],
		(unsigned long long)spent_us[ROUNDS * 99 / 100], AT_ONCE,
		4e6 * ROUNDS / (double)(fl_clock_boot_us() - begin_us));
	test_client_close(&pipeline.client, &loop);
	test_server_close(&server);
	test_loop_close(&loop);
}

/* VmRSS of this process. */
static unsigned long resident_kb(void)
{
	unsigned long kb = 0;
	char line[128];
	FILE *file = fopen("/proc/self/status", "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmRSS: %lu", &kb) == 1)
			break;
	fclose(file);
	return kb;
}

struct crowd {
	uv_loop_t loop;
	unsigned n_held, n_wanted;
	struct transport_request **held;
	struct transport_server *server;
	bool closed;
};

static void on_closed(void *userdata)
{
	bool *closed = userdata;

	*closed = true;
}

static void on_request(struct transport_request *request, void *userdata)
{
	struct crowd *crowd = userdata;

	assert_true(crowd->n_held < crowd->n_wanted);
	crowd->held[crowd->n_held++] = request;
}

static void on_request_gone(struct transport_request *request, void *userdata)
{
	(void)request;
	(void)userdata;
}

static void agents(const char *url, unsigned n)
{
	struct test_client *clients = fl_new_array(n, sizeof(*clients));
	struct test_call *calls = fl_new_array(n, sizeof(*calls));
	uv_loop_t loop;

	assert_non_null(clients);
	assert_non_null(calls);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	assert_int_equal(uv_loop_init(&loop), 0);
	for (unsigned i = 0; i < n; i++) {
		test_client_open(&clients[i], &loop, url, machine, true);
		test_call(&clients[i], &calls[i], "hold", LONG_MS);
	}
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	_exit(0);
}

/* nng starts its threads at the first use, so the agents are forked before that. */
static pid_t fork_agents(unsigned n, int *ret_url_fd)
{
	char url[64] = "";
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(fds[1]);
		if (read(fds[0], url, sizeof(url) - 1) > 0)
			agents(url, n);
		_exit(1);
	}
	close(fds[0]);
	*ret_url_fd = fds[1];
	return child;
}

static void crowd_of_agents(unsigned n, pid_t child, int url_fd)
{
	const char *const urls[] = {"tls+tcp://127.0.0.1:0", NULL};
	const struct transport_server_config config = {.urls = urls,
		.credentials = coordinator,
		.message_max = 65536,
		.peer_requests_max = 16,
		.peer_bytes_max = 65536};
	const struct transport_server_handlers handlers = {
		.request = on_request, .request_gone = on_request_gone};
	struct crowd crowd = {.n_wanted = 2 * n};
	unsigned long before_kb, after_kb;
	uint64_t begin_us;
	char url[64];
	int status;

	crowd.held = fl_new_array(crowd.n_wanted, sizeof(struct transport_request *));
	assert_non_null(crowd.held);
	assert_int_equal(uv_loop_init(&crowd.loop), 0);
	assert_int_equal(
		transport_server_open(&crowd.server, &crowd.loop, &config, &handlers, &crowd, NULL),
		FL_OK);
	snprintf(
		url, sizeof(url), "tls+tcp://127.0.0.1:%u", transport_server_port(crowd.server, 0));
	malloc_trim(0);
	before_kb = resident_kb();
	begin_us = fl_clock_boot_us();
	assert_true(write(url_fd, url, strlen(url)) > 0);
	close(url_fd);
	test_run_until_count(&crowd.loop, &crowd.n_held, n);
	after_kb = resident_kb();
	printf("%u agents: connected in %.2f s (both sides on this machine), ", n,
		(double)(fl_clock_boot_us() - begin_us) / 1e6);
	malloc_trim(0);
	printf("%.1f kB each, %.1f after malloc_trim(3)\n", (double)(after_kb - before_kb) / n,
		(double)(resident_kb() - before_kb) / n);
	begin_us = fl_clock_boot_us();
	for (unsigned i = 0; i < n; i++)
		transport_request_reply(crowd.held[i], (const uint8_t *)"new", 3);
	printf("replies to all queued in %.1f ms\n", (double)(fl_clock_boot_us() - begin_us) / 1e3);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	transport_server_close(crowd.server, on_closed, &crowd.closed);
	test_run_until(&crowd.loop, &crowd.closed);
	test_loop_close(&crowd.loop);
	free(crowd.held);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	struct rlimit files = {.rlim_cur = 65536, .rlim_max = 65536};
	char ipc_url[256];
	int url_fd;
	pid_t child;

	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)mallopt(M_ARENA_MAX, 2);
	fl_log_set_level(FL_WARNING);
	ca = test_ca_new();
	coordinator = test_credentials(ca, "flota://bench/coordinator");
	machine = test_credentials(ca, "flota://bench/machine/m");
	child = fork_agents(n, &url_fd);
	crowd_of_agents(n, child, url_fd);
	snprintf(ipc_url, sizeof(ipc_url), "ipc://%s/socket", test_folder());
	round_trips("ipc", ipc_url, NULL);
	round_trips("tls", NULL, machine);
	tls_credentials_unref(coordinator);
	tls_credentials_unref(machine);
	test_ca_free(ca);
	test_cleanup();
	return 0;
}
