/* Requests, replies, accounts, loss and closing: a server and its clients on one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "transport/test_support.h"

#define LONG_MS 50000

struct fixture {
	uv_loop_t loop;
	struct test_server server;
	struct test_client client;
};

static char ipc_url[256];

static int setup_all(void **state)
{
	snprintf(ipc_url, sizeof(ipc_url), "ipc://%s/socket", test_folder());
	return test_setup(state);
}

static void open_pair(struct fixture *f, const char *url)
{
	assert_int_equal(uv_loop_init(&f->loop), 0);
	test_server_open(&f->server, &f->loop, test_coordinator, url);
	test_client_open(&f->client, &f->loop, f->server.url, test_operator, true);
}

static void close_pair(struct fixture *f)
{
	test_client_close(&f->client, &f->loop);
	test_server_close(&f->server);
	test_loop_close(&f->loop);
}

static void request_and_reply(void **state)
{
	struct fixture f;
	struct test_call call;
	char address[64];

	(void)state;
	open_pair(&f, NULL);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_string_equal(call.data, "echo");
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "who", LONG_MS), FL_OK);
	assert_string_equal(call.data, "flota://lab/operator/ana");
	assert_true(transport_client_connected(f.client.client));
	transport_client_local_address(f.client.client, address, sizeof(address));
	assert_string_equal(address, "127.0.0.1");
	close_pair(&f);
}

static void request_and_reply_on_the_local_socket(void **state)
{
	struct fixture f;
	struct test_call call;
	struct stat st;

	(void)state;
	open_pair(&f, ipc_url);
	assert_int_equal(stat(ipc_url + strlen("ipc://"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "who", LONG_MS), FL_OK);
	assert_string_equal(call.data, "local");
	close_pair(&f);
}

static void ipc_address(struct sockaddr_un *ret)
{
	const char *path = ipc_url + strlen("ipc://");

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	assert_true(strlen(path) < sizeof(ret->sun_path));
	memcpy(ret->sun_path, path, strlen(path));
}

static void user_that_is_not_root_is_refused(void **state)
{
	struct sockaddr_un address;
	static const uint8_t sp_req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
	struct transport_server_stats stats;
	struct fixture f;
	struct test_call call;
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip();
	open_pair(&f, ipc_url);
	ipc_address(&address);
	/* The mode alone would stop it. */
	assert_int_equal(chmod(address.sun_path, 0666), 0);
	assert_int_equal(chmod(test_folder(), 0755), 0);
	child = fork();
	if (child == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		uint8_t data[64];

		/* Only system calls here: the process has other threads. */
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(1);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
			_exit(2);
		if (write(fd, sp_req, sizeof(sp_req)) != sizeof(sp_req))
			_exit(3);
		while (read(fd, data, sizeof(data)) > 0)
			;
		_exit(42);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "who", LONG_MS), FL_OK);
	transport_server_stats(f.server.server, &stats);
	assert_int_equal(stats.refused_total, 1);
	assert_int_equal(stats.connections, 1);
	close_pair(&f);
}

/* A daemon that is not root listens in a folder of its own, and nowhere else. */
static void listener_that_is_not_root(void **state)
{
	static const uid_t other = 65534;
	struct test_client client;
	struct test_call call;
	struct fixture f;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(uv_loop_init(&f.loop), 0);
	/* Who listens is told by the effective user at listen(2). System calls: of this thread. */
	assert_int_equal(syscall(SYS_setresuid, -1, other, -1), 0);
	(void)syscall(SYS_setfsuid, 0);
	test_server_open(&f.server, &f.loop, test_coordinator, ipc_url);
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);

	test_client_open(&client, &f.loop, ipc_url, NULL, false);
	assert_int_equal(test_ask(&client, &f.loop, &call, "who", LONG_MS), FL_E_UNAVAILABLE);
	assert_non_null(strstr(call.err.text, "user 65534 listens there"));
	test_client_close(&client, &f.loop);

	assert_int_equal(chown(test_folder(), other, (gid_t)-1), 0);
	test_client_open(&client, &f.loop, ipc_url, NULL, false);
	assert_int_equal(test_ask(&client, &f.loop, &call, "who", LONG_MS), FL_OK);
	assert_string_equal(call.data, "local");
	test_client_close(&client, &f.loop);
	assert_int_equal(chown(test_folder(), 0, (gid_t)-1), 0);
	test_server_close(&f.server);
	test_loop_close(&f.loop);
}

static void socket_file_of_a_dead_daemon_is_replaced(void **state)
{
	struct sockaddr_un address;
	const char *const urls[] = {ipc_url, NULL};
	const struct transport_server_config config = {
		.urls = urls, .message_max = 1, .peer_requests_max = 1, .peer_bytes_max = 1};
	const struct transport_server_handlers handlers = {.request = NULL};
	struct transport_server *second;
	struct test_call call;
	struct fl_error err;
	struct fixture f;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	ipc_address(&address);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(access(address.sun_path, F_OK), 0);
	open_pair(&f, ipc_url);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	/* That of a living one is not. */
	assert_int_equal(
		transport_server_open(&second, &f.loop, &config, &handlers, NULL, &err), FL_E_IO);
	assert_non_null(strstr(err.text, "the address is in use"));
	assert_non_null(strstr(err.text, ipc_url));
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	close_pair(&f);
}

static void held_replies_are_given_out_of_order(void **state)
{
	struct test_call calls[5] = {{.done = false}}, echo;
	struct transport_server_stats stats;
	struct fixture f;

	(void)state;
	open_pair(&f, NULL);
	for (unsigned i = 0; i < 5; i++) {
		char text[] = "h0";

		text[1] = (char)('0' + i);
		test_call(&f.client, &calls[i], text, LONG_MS);
		test_run_until_count(&f.loop, &f.server.n_held, i + 1);
	}
	transport_server_stats(f.server.server, &stats);
	assert_int_equal(stats.requests_held, 5);
	/* What comes later is answered beside them. */
	assert_int_equal(test_ask(&f.client, &f.loop, &echo, "echo", LONG_MS), FL_OK);
	for (unsigned i = 0; i < 5; i++)
		assert_false(calls[i].done);
	test_server_release(&f.server); /* the last one first */
	for (unsigned i = 0; i < 5; i++) {
		test_run_until(&f.loop, &calls[i].done);
		assert_int_equal(calls[i].code, FL_OK);
		assert_int_equal(calls[i].data[1], '0' + (int)i);
	}
	transport_server_stats(f.server.server, &stats);
	assert_int_equal(stats.requests_held, 0);
	assert_int_equal(stats.requests_total, 6);
	close_pair(&f);
}

#define N_PEERS 40

static void each_request_knows_its_peer(void **state)
{
	static struct test_client clients[N_PEERS];
	static struct test_call calls[N_PEERS][8];
	struct tls_credentials *credentials[N_PEERS];
	char uri[N_PEERS][64];
	struct test_server server;
	unsigned n_done = 0;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, test_coordinator, NULL);
	for (unsigned i = 0; i < N_PEERS; i++) {
		snprintf(uri[i], sizeof(uri[i]),
			i % 2 == 0 ? "flota://lab/machine/m%u" : "flota://lab/tenant/t/user/u%u",
			i);
		credentials[i] = test_credentials(test_ca, uri[i]);
		test_client_open(&clients[i], &loop, server.url, credentials[i], true);
		for (unsigned j = 0; j < 8; j++) {
			calls[i][j].n_done = &n_done;
			test_call(&clients[i], &calls[i][j], "who", LONG_MS);
		}
	}
	test_run_until_count(&loop, &n_done, 8 * N_PEERS);
	for (unsigned i = 0; i < N_PEERS; i++)
		for (unsigned j = 0; j < 8; j++) {
			assert_int_equal(calls[i][j].code, FL_OK);
			assert_string_equal(calls[i][j].data, uri[i]);
		}
	for (unsigned i = 0; i < N_PEERS; i++) {
		test_client_close(&clients[i], &loop);
		tls_credentials_unref(credentials[i]);
	}
	test_server_close(&server);
	test_loop_close(&loop);
}

static void big_messages(void **state)
{
	struct fixture f;
	struct test_call call;
	char *text = fl_new_array(1, TEST_MESSAGE_MAX + 2);

	(void)state;
	assert_non_null(text);
	memset(text, 'e', TEST_MESSAGE_MAX);
	open_pair(&f, NULL);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, text, LONG_MS), FL_OK);
	assert_int_equal(call.len, TEST_MESSAGE_MAX);
	text[TEST_MESSAGE_MAX] = 'e';
	assert_int_equal(transport_client_call(f.client.client, (const uint8_t *)text,
				 TEST_MESSAGE_MAX + 1, LONG_MS, NULL, NULL, NULL, NULL),
		FL_E_TOO_BIG);
	close_pair(&f);
	free(text);
}

/* Sends more than the server takes: nng's own client, whose limits are not ours. */
static void oversized_message_closes_its_connection(void **state)
{
	struct fixture f;
	struct test_call call;
	nng_socket socket;
	nng_msg *message;

	(void)state;
	open_pair(&f, ipc_url);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(nng_req0_open(&socket), 0);
	assert_int_equal(nng_dial(socket, ipc_url, NULL, 0), 0);
	assert_int_equal(nng_msg_alloc(&message, TEST_MESSAGE_MAX + 1), 0);
	assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, 0), 0);
	assert_int_equal(nng_sendmsg(socket, message, 0), 0);
	/* Without resending, nng says so when its connection goes. */
	assert_int_equal(nng_recvmsg(socket, &message, 0), NNG_ECONNRESET);
	nng_close(socket);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(f.client.n_down, 0);
	assert_int_equal(f.server.n_requests, 2);
	close_pair(&f);
}

static void connection_over_its_account_is_closed(void **state)
{
	struct test_call calls[5] = {{.done = false}}, other = {.done = false}, call;
	struct transport_server_stats stats;
	struct test_client patient, greedy;
	struct test_server server;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open_limited(&server, &loop, test_coordinator, NULL, 4, TEST_MESSAGE_MAX);
	test_client_open(&patient, &loop, server.url, test_operator, true);
	test_client_open(&greedy, &loop, server.url, test_operator, true);
	test_call(&patient, &other, "hold", LONG_MS);
	test_run_until_count(&loop, &server.n_held, 1);
	for (unsigned i = 0; i < 5; i++)
		test_call(&greedy, &calls[i], "hold", LONG_MS);
	test_run_until_count(&loop, &greedy.n_down, 1);
	/* Either side may hear of it first. */
	test_run_until_count(&loop, &server.n_gone, 4);
	transport_server_stats(server.server, &stats);
	assert_true(stats.dropped_total >= 1);
	assert_int_equal(patient.n_down, 0);
	/* One less, and all are held. */
	transport_call_cancel(calls[4].call);
	test_run_until(&loop, &calls[4].done);
	assert_int_equal(calls[4].code, FL_E_CANCELED);
	test_run_until_count(&loop, &server.n_held, 5);
	test_server_release(&server);
	for (unsigned i = 0; i < 4; i++) {
		test_run_until(&loop, &calls[i].done);
		assert_int_equal(calls[i].code, FL_OK);
	}
	assert_int_equal(test_ask(&patient, &loop, &call, "echo", LONG_MS), FL_OK);
	test_client_close(&patient, &loop);
	test_client_close(&greedy, &loop);
	test_server_close(&server);
	test_loop_close(&loop);
}

static void bytes_are_counted_too(void **state)
{
	char *text = fl_new_array(1, TEST_MESSAGE_MAX / 2 + 2);
	struct test_call calls[2] = {{.done = false}};
	struct test_server server;
	struct test_client client;
	uv_loop_t loop;

	(void)state;
	assert_non_null(text);
	memset(text, 'h', TEST_MESSAGE_MAX / 2 + 1);
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open_limited(&server, &loop, test_coordinator, NULL, 4, TEST_MESSAGE_MAX);
	test_client_open(&client, &loop, server.url, test_operator, true);
	test_call(&client, &calls[0], text, LONG_MS);
	test_run_until_count(&loop, &server.n_held, 1);
	test_call(&client, &calls[1], text, LONG_MS);
	test_run_until_count(&loop, &client.n_down, 1);
	/* Answered ones do not count. */
	transport_call_cancel(calls[0].call);
	transport_call_cancel(calls[1].call);
	test_run_until(&loop, &calls[0].done);
	test_run_until(&loop, &calls[1].done);
	test_run_until_count(&loop, &client.n_up, 2);
	text[0] = 'e';
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(test_ask(&client, &loop, &calls[0], text, LONG_MS), FL_OK);
	test_client_close(&client, &loop);
	test_server_close(&server);
	test_loop_close(&loop);
	free(text);
}

static void peer_that_breaks_the_protocol_is_dropped(void **state)
{
	struct fixture f;
	struct test_call held = {.done = false}, call = {.done = false};
	struct transport_server_stats stats;

	(void)state;
	open_pair(&f, NULL);
	test_call(&f.client, &held, "hold", LONG_MS);
	test_run_until_count(&f.loop, &f.server.n_held, 1);
	test_call(&f.client, &call, "drop", LONG_MS);
	test_run_until_count(&f.loop, &f.client.n_down, 1);
	test_run_until_count(&f.loop, &f.server.n_gone, 1);
	transport_call_cancel(call.call);
	test_run_until(&f.loop, &call.done);
	/* Its other request comes again on the next connection. */
	test_run_until_count(&f.loop, &f.server.n_held, 1);
	test_server_release(&f.server);
	test_run_until(&f.loop, &held.done);
	assert_int_equal(held.code, FL_OK);
	transport_server_stats(f.server.server, &stats);
	assert_true(stats.dropped_total >= 1);
	close_pair(&f);
}

static void reason_of_a_failed_connection(void **state)
{
	struct test_client client;
	struct test_call call;
	struct fixture f;
	char url[256];

	(void)state;
	assert_int_equal(uv_loop_init(&f.loop), 0);
	/* Nobody listens there any more. */
	test_server_open(&f.server, &f.loop, test_coordinator, NULL);
	snprintf(url, sizeof(url), "%s", f.server.url);
	test_server_close(&f.server);
	test_client_open(&client, &f.loop, url, test_operator, false);
	assert_int_equal(test_ask(&client, &f.loop, &call, "echo", LONG_MS), FL_E_UNAVAILABLE);
	assert_non_null(strstr(call.err.text, "connection refused"));
	assert_non_null(strstr(call.err.text, url));
	test_client_close(&client, &f.loop);

	test_client_open(&client, &f.loop, "ipc:///nonexistent/socket", NULL, false);
	assert_int_equal(test_ask(&client, &f.loop, &call, "echo", LONG_MS), FL_E_UNAVAILABLE);
	assert_non_null(strstr(call.err.text, "nobody listens there"));
	test_client_close(&client, &f.loop);

	/* One that reconnects says it when the call's time is over. */
	test_client_open(&client, &f.loop, url, test_operator, true);
	assert_int_equal(test_ask(&client, &f.loop, &call, "echo", 200), FL_E_UNAVAILABLE);
	assert_non_null(strstr(call.err.text, "connection refused"));
	assert_true(client.n_down > 1);
	test_client_close(&client, &f.loop);
	test_loop_close(&f.loop);
}

static void addresses_that_cannot_be(void **state)
{
	static const struct {
		const char *url, *text;
	} cases[] = {
		{"tcp://127.0.0.1:1", "not a tls+tcp:// or ipc:// URL"},
		{"tls+tcp://127.0.0.1:http:1", "not valid"},
		{"tls+tcp://203.0.113.1:1", "cannot listen on tls+tcp://203.0.113.1:1"},
		{"ipc:///nonexistent/socket", "no such file"},
	};
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		/* The first is taken back when the second fails. */
		const char *const urls[] = {ipc_url, cases[i].url, NULL};
		const struct transport_server_config config = {.urls = urls,
			.credentials = test_coordinator,
			.message_max = 1,
			.peer_requests_max = 1,
			.peer_bytes_max = 1};
		const struct transport_server_handlers handlers = {.request = NULL};
		struct transport_server *server = NULL;
		struct fl_error err = {.code = FL_OK};

		assert_int_not_equal(
			transport_server_open(&server, &loop, &config, &handlers, NULL, &err),
			FL_OK);
		if (strstr(err.text, cases[i].text) == NULL)
			fail_msg("%s: %s", cases[i].url, err.text);
		assert_null(server);
		assert_int_not_equal(access(ipc_url + strlen("ipc://"), F_OK), 0);
	}
	test_loop_close(&loop);
}

static void call_that_is_not_answered_times_out(void **state)
{
	struct fixture f;
	struct test_call call;

	(void)state;
	open_pair(&f, NULL);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "hold", 30), FL_E_TIMEOUT);
	assert_non_null(strstr(call.err.text, "within 30 ms"));
	/* Nothing at all came meanwhile: the connection is taken for dead. */
	test_run_until_count(&f.loop, &f.client.n_up, 2);
	test_run_until_count(&f.loop, &f.server.n_gone, 1);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	close_pair(&f);
}

static void slow_answer_is_no_dead_connection(void **state)
{
	struct test_call held = {.done = false}, call;
	struct fixture f;

	(void)state;
	open_pair(&f, NULL);
	test_call(&f.client, &held, "hold", 500);
	test_run_until_count(&f.loop, &f.server.n_held, 1);
	while (!held.done)
		assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(held.code, FL_E_TIMEOUT);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(f.client.n_down, 0);
	/* Its answer comes too late and bothers nobody. */
	test_server_release(&f.server);
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "who", LONG_MS), FL_OK);
	assert_string_equal(call.data, "flota://lab/operator/ana");
	close_pair(&f);
}

/* Those that are connected are served on, and new ones when there are descriptors again. */
static void running_out_of_file_descriptors(void **state)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct rlimit limit, none;
	struct test_client late;
	struct test_call call;
	struct fixture f;
	int waiting, fd;

	(void)state;
	open_pair(&f, NULL);
	address.sin_port = htons(transport_server_port(f.server.server, 0));
	assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	fd = dup(waiting);
	close(fd);
	none = limit, none.rlim_cur = (rlim_t)fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(waiting, (struct sockaddr *)&address, sizeof(address)), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(test_ask(&f.client, &f.loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	test_client_open(&late, &f.loop, f.server.url, test_operator, false);
	assert_int_equal(test_ask(&late, &f.loop, &call, "echo", LONG_MS), FL_OK);
	test_client_close(&late, &f.loop);
	close(waiting);
	close_pair(&f);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(request_and_reply),
	cmocka_unit_test(request_and_reply_on_the_local_socket),
	cmocka_unit_test(user_that_is_not_root_is_refused),
	cmocka_unit_test(listener_that_is_not_root),
	cmocka_unit_test(socket_file_of_a_dead_daemon_is_replaced),
	cmocka_unit_test(held_replies_are_given_out_of_order),
	cmocka_unit_test(each_request_knows_its_peer),
	cmocka_unit_test(big_messages),
	cmocka_unit_test(oversized_message_closes_its_connection),
	cmocka_unit_test(connection_over_its_account_is_closed),
	cmocka_unit_test(bytes_are_counted_too),
	cmocka_unit_test(peer_that_breaks_the_protocol_is_dropped),
	cmocka_unit_test(reason_of_a_failed_connection),
	cmocka_unit_test(addresses_that_cannot_be),
	cmocka_unit_test(call_that_is_not_answered_times_out),
	cmocka_unit_test(slow_answer_is_no_dead_connection),
	cmocka_unit_test(running_out_of_file_descriptors),
};

int main(void)
{
	return cmocka_run_group_tests(tests, setup_all, test_teardown);
}
