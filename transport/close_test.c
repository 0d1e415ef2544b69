/* Canceling and closing in every state, and from every callback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "transport/test_support.h"

#define LONG_MS 50000

/* A port that accepts connections and never says a word; with @backlog -1: that refuses them. */
static int dead_port(char *url, size_t size, int backlog)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(url, size, "tls+tcp://127.0.0.1:%u", ntohs(address.sin_port));
	return fd;
}

static void close_at_once(void **state)
{
	struct test_server server;
	struct test_client client;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, test_coordinator, NULL);
	for (int i = 0; i < 50; i++) {
		test_client_open(&client, &loop, server.url, test_operator, true);
		test_client_close(&client, &loop);
	}
	test_server_close(&server);
	for (int i = 0; i < 10; i++) {
		test_server_open(&server, &loop, test_coordinator, NULL);
		test_server_close(&server);
	}
	test_loop_close(&loop);
}

static void run_for(uv_loop_t *loop, unsigned us)
{
	uint64_t end_ns = uv_hrtime() + 1000U * (uint64_t)us;

	while (uv_hrtime() < end_ns)
		(void)uv_run(loop, UV_RUN_NOWAIT);
}

/* Sooner and later: somewhere in the handshake, connected, or waiting for the reply. */
static void close_while_connecting(void **state)
{
	struct test_server server;
	struct test_client client;
	struct test_call call = {.done = false};
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, test_coordinator, NULL);
	for (int i = 0; i < 30; i++) {
		test_client_open(&client, &loop, server.url, test_operator, true);
		test_call(&client, &call, "hold", LONG_MS);
		run_for(&loop, 100U * (unsigned)i);
		if (call.done)
			fail_msg("%s", call.err.text);
		test_client_close(&client, &loop);
		assert_true(call.done);
		assert_int_equal(call.code, FL_E_CANCELED);
	}
	test_server_close(&server);
	test_loop_close(&loop);
}

static void close_without_a_connection(void **state)
{
	static const int backlogs[] = {16, -1};
	struct test_client client;
	struct test_call call = {.done = false};
	uv_loop_t loop;
	char url[64];

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	for (size_t i = 0; i < FL_COUNT(backlogs); i++) {
		int fd = dead_port(url, sizeof(url), backlogs[i]);

		test_client_open(&client, &loop, url, test_operator, true);
		test_call(&client, &call, "echo", LONG_MS);
		if (backlogs[i] < 0)
			test_run_until_count(&loop, &client.n_down, 3);
		assert_false(call.done);
		test_client_close(&client, &loop);
		assert_int_equal(call.code, FL_E_CANCELED);
		close(fd);
	}
	/* One that has given up. */
	{
		int fd = dead_port(url, sizeof(url), -1);

		test_client_open(&client, &loop, url, test_operator, false);
		test_run_until_count(&loop, &client.n_down, 1);
		test_call(&client, &call, "echo", LONG_MS);
		test_client_close(&client, &loop);
		assert_true(call.done);
		close(fd);
	}
	test_loop_close(&loop);
}

static void cancel_without_a_connection(void **state)
{
	struct test_client client;
	struct test_call calls[3] = {{.done = false}};
	uv_loop_t loop;
	char url[64];
	int fd;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	fd = dead_port(url, sizeof(url), 16);
	test_client_open(&client, &loop, url, test_operator, true);
	for (size_t i = 0; i < FL_COUNT(calls); i++)
		test_call(&client, &calls[i], "echo", LONG_MS);
	transport_call_cancel(calls[1].call);
	transport_call_cancel(calls[1].call);
	assert_false(calls[1].done);
	test_run_until(&loop, &calls[1].done);
	assert_int_equal(calls[1].code, FL_E_CANCELED);
	assert_false(calls[0].done);
	assert_false(calls[2].done);
	test_client_close(&client, &loop);
	close(fd);
	test_loop_close(&loop);
}

/* A cancel may meet the call before it is sent, while it waits, or when its reply is already in the
 * loop's mailbox: canceled each time, and done once. */
static void cancel_races_with_the_reply(void **state)
{
	struct test_server server;
	struct test_client client;
	struct test_call call = {.done = false};
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, test_coordinator, NULL);
	test_client_open(&client, &loop, server.url, test_operator, true);
	test_run_until_count(&loop, &client.n_up, 1);
	for (int i = 0; i < 300; i++) {
		test_call(&client, &call, "echo", LONG_MS);
		run_for(&loop, 10U * (unsigned)(i % 40));
		if (call.done)
			continue;
		transport_call_cancel(call.call);
		assert_false(call.done);
		test_run_until(&loop, &call.done);
		assert_int_equal(call.code, FL_E_CANCELED);
	}
	assert_int_equal(test_ask(&client, &loop, &call, "echo", LONG_MS), FL_OK);
	assert_int_equal(client.n_down, 0);
	test_client_close(&client, &loop);
	test_server_close(&server);
	test_loop_close(&loop);
}

static void too_many_calls(void **state)
{
	static struct test_call calls[256];
	unsigned n_done = 0;
	struct test_client client;
	struct fl_error err;
	uv_loop_t loop;
	char url[64];
	int fd;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	fd = dead_port(url, sizeof(url), 16);
	test_client_open(&client, &loop, url, test_operator, true);
	for (size_t i = 0; i < FL_COUNT(calls); i++) {
		calls[i].n_done = &n_done;
		test_call(&client, &calls[i], "echo", LONG_MS);
	}
	assert_int_equal(transport_client_call(client.client, (const uint8_t *)"e", 1, LONG_MS,
				 NULL, NULL, NULL, &err),
		FL_E_LIMIT);
	assert_non_null(strstr(err.text, "256"));
	test_client_close(&client, &loop);
	assert_int_equal(n_done, FL_COUNT(calls));
	close(fd);
	test_loop_close(&loop);
}

/* ---- From callbacks ------------------------------------------------------------------------- */

struct closing {
	struct transport_client *client;
	struct transport_server *server;
	struct transport_request *held;
	bool on_connection, on_done, on_request, on_gone;
	bool client_closing, server_closing, client_closed, server_closed;
	unsigned n_done, n_gone;
};

static void set_flag(void *userdata)
{
	bool *flag = userdata;

	*flag = true;
}

static void close_client(struct closing *test)
{
	if (test->client_closing)
		return;
	test->client_closing = true;
	transport_client_close(test->client, set_flag, &test->client_closed);
}

static void close_server(struct closing *test)
{
	if (test->server_closing)
		return;
	test->server_closing = true;
	transport_server_close(test->server, set_flag, &test->server_closed);
}

static void closing_connection(bool up, const struct fl_error *err, void *userdata)
{
	struct closing *test = userdata;

	(void)up;
	(void)err;
	if (test->on_connection)
		close_client(test);
}

static void closing_done(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct closing *test = userdata;

	(void)code;
	(void)data;
	(void)len;
	(void)err;
	test->n_done++;
	if (test->on_done)
		close_client(test);
}

static void closing_request(struct transport_request *request, void *userdata)
{
	struct closing *test = userdata;
	size_t len;
	const uint8_t *data = transport_request_data(request, &len);

	transport_request_set_userdata(request, test);
	if (data[0] == 'h' && test->held == NULL) {
		test->held = request;
		if (test->on_request)
			close_server(test);
		return;
	}
	if (test->on_request)
		close_server(test);
	transport_request_reply(request, data, len);
}

static void closing_gone(struct transport_request *request, void *userdata)
{
	struct closing *test = userdata;

	assert_ptr_equal(transport_request_userdata(request), test);
	assert_ptr_equal(request, test->held);
	test->held = NULL;
	test->n_gone++;
	if (test->on_gone)
		close_server(test);
}

/* One held and one answered call; closes where @test says, then the rest. */
static void close_from_callback(struct closing *test, bool reconnect)
{
	const char *const urls[] = {"tls+tcp://127.0.0.1:0", NULL};
	const struct transport_server_config server_config = {.urls = urls,
		.credentials = test_coordinator,
		.message_max = 1024,
		.peer_requests_max = 16,
		.peer_bytes_max = 16384};
	const struct transport_server_handlers server_handlers = {
		.request = closing_request, .request_gone = closing_gone};
	const struct transport_client_handlers client_handlers = {.connection = closing_connection};
	struct transport_client_config client_config = {.credentials = test_operator,
		.message_max = 1024,
		.reconnect_min_ms = reconnect ? 10 : 0,
		.reconnect_max_ms = reconnect ? 100 : 0};
	char url[64];
	uv_loop_t loop;

	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(transport_server_open(&test->server, &loop, &server_config,
				 &server_handlers, test, NULL),
		FL_OK);
	snprintf(
		url, sizeof(url), "tls+tcp://127.0.0.1:%u", transport_server_port(test->server, 0));
	client_config.url = url;
	assert_int_equal(transport_client_open(&test->client, &loop, &client_config,
				 &client_handlers, test, NULL),
		FL_OK);
	assert_int_equal(transport_client_call(test->client, (const uint8_t *)"hold", 4, LONG_MS,
				 closing_done, test, NULL, NULL),
		FL_OK);
	assert_int_equal(transport_client_call(test->client, (const uint8_t *)"echo", 4, LONG_MS,
				 closing_done, test, NULL, NULL),
		FL_OK);
	if (test->on_connection || test->on_done)
		test_run_until(&loop, &test->client_closed);
	if (test->on_gone) {
		while (test->held == NULL && !test->server_closing)
			(void)uv_run(&loop, UV_RUN_ONCE);
		close_client(test);
	}
	/* A client that closes when it is connected may not have sent a request yet. */
	if ((test->on_request && !test->on_connection) || test->on_gone)
		test_run_until(&loop, &test->server_closed);
	close_client(test);
	close_server(test);
	test_run_until(&loop, &test->client_closed);
	test_run_until(&loop, &test->server_closed);
	assert_int_equal(test->n_done, 2);
	assert_null(test->held);
	test_loop_close(&loop);
}

static void close_from_callbacks(void **state)
{
	static const struct closing cases[] = {
		{.on_connection = true},
		{.on_done = true},
		{.on_request = true},
		{.on_gone = true},
		{.on_connection = true, .on_request = true},
		{.on_done = true, .on_gone = true, .on_request = true},
	};

	(void)state;
	for (size_t i = 0; i < 3 * FL_COUNT(cases); i++) {
		struct closing test = cases[i % FL_COUNT(cases)];

		/* Without reconnecting, a closed server ends the calls. */
		close_from_callback(&test, i % 2 == 0);
	}
}

static void server_closes_with_held_requests(void **state)
{
	static struct test_client clients[20];
	static struct test_call calls[20];
	struct test_server server;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, test_coordinator, NULL);
	for (size_t i = 0; i < FL_COUNT(clients); i++) {
		test_client_open(&clients[i], &loop, server.url, test_operator, false);
		test_call(&clients[i], &calls[i], "hold", LONG_MS);
	}
	test_run_until_count(&loop, &server.n_held, FL_COUNT(clients));
	test_server_close(&server);
	assert_int_equal(server.n_gone, FL_COUNT(clients));
	/* They connect once, so that was all. */
	for (size_t i = 0; i < FL_COUNT(clients); i++) {
		test_run_until(&loop, &calls[i].done);
		assert_int_equal(calls[i].code, FL_E_UNAVAILABLE);
		assert_non_null(strstr(calls[i].err.text, "the peer closed the connection"));
		test_client_close(&clients[i], &loop);
	}
	test_loop_close(&loop);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(close_at_once),
	cmocka_unit_test(close_while_connecting),
	cmocka_unit_test(close_without_a_connection),
	cmocka_unit_test(cancel_without_a_connection),
	cmocka_unit_test(cancel_races_with_the_reply),
	cmocka_unit_test(too_many_calls),
	cmocka_unit_test(close_from_callbacks),
	cmocka_unit_test(server_closes_with_held_requests),
};

int main(void)
{
	return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
