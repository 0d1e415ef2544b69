/* Requests, replies, accounts, loss and closing: a server and its clients on one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/memory.h"
#include "transport/test_support.h"

#define LONG_MS 50000

static struct test_ca *ca;
static struct tls_credentials *coordinator, *ana;

struct fixture {
	uv_loop_t loop;
	struct test_server server;
	struct test_client client;
};

static char ipc_url[256];

static int setup_all(void **state)
{
	(void)state;
	ca = test_ca_new();
	coordinator = test_credentials(ca, "flota://lab/coordinator");
	ana = test_credentials(ca, "flota://lab/operator/ana");
	snprintf(ipc_url, sizeof(ipc_url), "ipc://%s/socket", test_folder());
	return 0;
}

static int teardown_all(void **state)
{
	(void)state;
	tls_credentials_unref(coordinator);
	tls_credentials_unref(ana);
	test_ca_free(ca);
	test_cleanup();
	return 0;
}

static void open_pair(struct fixture *f, const char *url)
{
	assert_int_equal(uv_loop_init(&f->loop), 0);
	test_server_open(&f->server, &f->loop, coordinator, url);
	test_client_open(&f->client, &f->loop, f->server.url, ana, true);
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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(request_and_reply),
	cmocka_unit_test(request_and_reply_on_the_local_socket),
};

int main(void)
{
	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
