/* Machines that join: without a certificate, with the pin of the CA's key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "transport/door.h"
#include "transport/test_support.h"

#define LONG_MS 50000

static struct test_ca *other_ca;
static struct tls_credentials *joiner, *stranger;
static uv_loop_t loop;

static struct tls_credentials *pinned(const struct test_ca *ca)
{
	struct tls_credentials *credentials;
	uint8_t pin[TLS_PIN_BYTES];
	struct fl_error err;

	test_ca_pin(ca, pin);
	if (tls_credentials_pinned(pin, &credentials, &err) != FL_OK)
		fail_msg("%s", err.text);
	return credentials;
}

static int setup_all(void **state)
{
	test_setup(state);
	other_ca = test_ca_new();
	joiner = pinned(test_ca);
	stranger = pinned(other_ca);
	return 0;
}

static int teardown_all(void **state)
{
	tls_credentials_unref(joiner);
	tls_credentials_unref(stranger);
	test_ca_free(other_ca);
	return test_teardown(state);
}

static int setup(void **state)
{
	(void)state;
	return uv_loop_init(&loop);
}

static int teardown(void **state)
{
	(void)state;
	test_loop_close(&loop);
	return 0;
}

static void assert_who(const char *url, struct tls_credentials *credentials, const char *who)
{
	struct test_client client;
	struct test_call call;

	test_client_open(&client, &loop, url, credentials, false);
	if (test_ask(&client, &loop, &call, "who", LONG_MS) != FL_OK)
		fail_msg("%s", call.err.text);
	assert_string_equal(call.data, who);
	test_client_close(&client, &loop);
}

/* And the server has heard no request. */
static void assert_refused(
	struct test_server *server, struct tls_credentials *credentials, const char *text)
{
	struct transport_server_stats stats;
	struct test_client client;
	struct test_call call;

	test_client_open(&client, &loop, server->url, credentials, false);
	test_ask(&client, &loop, &call, "who", LONG_MS);
	if (call.code != FL_E_UNAVAILABLE || strstr(call.err.text, text) == NULL)
		fail_msg("wanted \"%s\", got %s", text, call.err.text);
	test_client_close(&client, &loop);
	transport_server_stats(server->server, &stats);
	assert_int_equal(stats.requests_total, 0);
}

static void everybody_at_a_door_is_a_joiner(void **state)
{
	struct test_server door;

	(void)state;
	test_server_open_door(&door, &loop, test_coordinator);
	assert_who(door.url, joiner, "joiner 127.0.0.1");
	assert_who(door.url, test_operator, "joiner 127.0.0.1");
	test_server_close(&door);
}

static void other_ports_want_a_certificate(void **state)
{
	struct test_server server;

	(void)state;
	test_server_open(&server, &loop, test_coordinator, NULL);
	assert_refused(&server, joiner, "wants a certificate and got none");
	test_server_close(&server);
}

static void nothing_is_said_to_another_ca(void **state)
{
	struct test_server door;

	(void)state;
	test_server_open_door(&door, &loop, test_coordinator);
	assert_refused(&door, stranger, "its CA is not the one that the token names");
	test_server_close(&door);
}

/* Signed by the right CA, and all the same nobody to join. */
static void nothing_is_said_to_who_is_no_coordinator(void **state)
{
	static const struct {
		struct test_certificate certificate;
		const char *text;
	} cases[] = {
		{{.uri = "flota://lab/operator/eve", .purpose = "clientAuth,serverAuth"},
			"is not the fleet's coordinator"},
		{{.uri = "flota://lab/machine/m1"}, "is not for a server"},
		{{.uri = "flota://lab/coordinator", .valid_from_s = -7200, .valid_to_s = -3600},
			"has expired (on "},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct tls_credentials *credentials =
			test_credentials_of(test_ca, &cases[i].certificate);
		struct test_server impostor;

		test_server_open_door(&impostor, &loop, credentials);
		assert_refused(&impostor, joiner, cases[i].text);
		test_server_close(&impostor);
		tls_credentials_unref(credentials);
	}
}

static void a_door_is_beside(void **state)
{
	static const struct {
		const char *url, *door;
	} rows[] = {
		{"tls+tcp://10.0.0.1:7440", "tls+tcp://10.0.0.1:7441"},
		{"tls+tcp://[fd00::1]:7440", "tls+tcp://[fd00::1]:7441"},
		{"tls+tcp4://coordinator.example:1", "tls+tcp4://coordinator.example:2"},
		{"tls+tcp://127.0.0.1:0", "tls+tcp://127.0.0.1:0"},
		{"tls+tcp://127.0.0.1:65535", NULL},
		{"tls+tcp://127.0.0.1", NULL},
		{"ipc:///run/flota/coordinator.sock", NULL},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		char *door;

		assert_int_equal(door_beside(rows[i].url, &door, NULL), FL_OK);
		if (rows[i].door == NULL)
			assert_null(door);
		else
			assert_string_equal(door, rows[i].door);
		free(door);
	}
}

#define loop_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_door_is_beside),
		loop_test(everybody_at_a_door_is_a_joiner),
		loop_test(other_ports_want_a_certificate),
		loop_test(nothing_is_said_to_another_ca),
		loop_test(nothing_is_said_to_who_is_no_coordinator),
	};

	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
