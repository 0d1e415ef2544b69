/*
 * What transport's tests and the bench share: throw-away CAs, a loop that is run until something has
 * happened, and a server and clients on it. Every function here asserts (cmocka) instead of returning
 * an error.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <uv.h>

#include "base/error.h"
#include "transport/client.h"
#include "transport/identity.h"
#include "transport/server.h"
#include "transport/tls.h"

/* ---- Certificates --------------------------------------------------------------------------- */

struct test_ca;

struct test_ca *test_ca_new(void);
void test_ca_free(struct test_ca *ca);
void test_ca_pin(const struct test_ca *ca, uint8_t ret_pin[TLS_PIN_BYTES]);

/* What to put into a certificate; zeroed fields are what a proper one has. */
struct test_certificate {
	const char *uri;
	const char *second_uri;
	const char *purpose; /* "serverAuth" ...; NULL: by the kind in @uri; "": none */
	const char *key_usage; /* NULL: digitalSignature */
	bool is_ca;
	long valid_from_s, valid_to_s; /* from now; both 0: an hour ago to in an hour */
};

/* Paths in a folder that test_cleanup() removes; valid until then. */
struct tls_files test_ca_issue(struct test_ca *ca, const struct test_certificate *certificate);

/* Issues for @uri and loads. */
struct tls_credentials *test_credentials(struct test_ca *ca, const char *uri);
struct tls_credentials *test_credentials_of(
	struct test_ca *ca, const struct test_certificate *certificate);

/* A group's setup and teardown: a CA, and whom it knows. */
extern struct test_ca *test_ca;
extern struct tls_credentials *test_coordinator, *test_operator;
int test_setup(void **state);
int test_teardown(void **state);

/* For teardown: removes the folder. */
void test_cleanup(void);
const char *test_folder(void);

/* ---- The loop ------------------------------------------------------------------------------- */

/* Runs the loop until *done. Fails after a minute, which is a safety net and no measure. */
void test_run_until(uv_loop_t *loop, const bool *done);
void test_run_until_count(uv_loop_t *loop, const unsigned *count, unsigned wanted);

/* Runs what is left and closes the loop; fails where a handle is still open. */
void test_loop_close(uv_loop_t *loop);

/* ---- A server ------------------------------------------------------------------------------- */

#define TEST_MESSAGE_MAX (1U << 20)

/*
 * Answers by the first byte of a request: 'e' the request itself, 'w' its peer's URI, 'h' holds it
 * until test_server_release(), 'd' drops the peer, 'z' as many bytes as the number behind it.
 */
struct test_server {
	uv_loop_t *loop;
	struct transport_server *server;
	struct transport_request *held[1024];
	unsigned n_held, n_gone, n_requests;
	bool closed;
	char url[256];
};

/* @url is NULL for TLS on a free port of 127.0.0.1; then test->url says which. */
void test_server_open(struct test_server *test, uv_loop_t *loop,
	struct tls_credentials *credentials, const char *url);
void test_server_open_limited(struct test_server *test, uv_loop_t *loop,
	struct tls_credentials *credentials, const char *url, unsigned requests_max,
	size_t bytes_max);
/* One that is only a door for machines that join. */
void test_server_open_door(
	struct test_server *test, uv_loop_t *loop, struct tls_credentials *credentials);
void test_server_release(struct test_server *test);
void test_server_close(struct test_server *test);

/* ---- A client ------------------------------------------------------------------------------- */

struct test_client {
	struct transport_client *client;
	bool up;
	unsigned n_up, n_down;
	struct fl_error err; /* of the last "down" */
	bool closed;
};

struct test_call {
	bool done;
	enum fl_code code;
	char data[256]; /* the reply's beginning, terminated */
	size_t len;
	struct fl_error err;
	unsigned *n_done; /* nullable: counts */
	struct transport_call *call;
};

/* Reconnects after 10 to 100 ms, or never. */
void test_client_open(struct test_client *test, uv_loop_t *loop, const char *url,
	struct tls_credentials *credentials, bool reconnect);
void test_client_close(struct test_client *test, uv_loop_t *loop);

void test_call(
	struct test_client *client, struct test_call *call, const char *text, uint32_t timeout_ms);

/* Calls and waits; returns the code. */
enum fl_code test_ask(struct test_client *client, uv_loop_t *loop, struct test_call *call,
	const char *text, uint32_t timeout_ms);
