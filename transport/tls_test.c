/* Loading credentials, and who is refused in the handshake: by our client and by OpenSSL's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "transport/test_support.h"

#define LONG_MS 50000

static struct test_ca *other_ca;
static uv_loop_t loop;
static struct test_server server;

static int setup_all(void **state)
{
	other_ca = test_ca_new();
	return test_setup(state);
}

static int teardown_all(void **state)
{
	test_ca_free(other_ca);
	return test_teardown(state);
}

static int setup_server(void **state)
{
	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	test_server_open(&server, &loop, test_coordinator, NULL);
	return 0;
}

static int teardown_server(void **state)
{
	(void)state;
	test_server_close(&server);
	test_loop_close(&loop);
	return 0;
}

/* ---- Loading -------------------------------------------------------------------------------- */

static void assert_load_fails(const struct tls_files *files, enum fl_code code, const char *text)
{
	struct tls_credentials *credentials = NULL;
	struct fl_error err = {.code = FL_OK};

	if (tls_credentials_load(files, &credentials, &err) != code ||
		strstr(err.text, text) == NULL)
		fail_msg("wanted \"%s\", got \"%s\"", text, err.text);
	assert_null(credentials);
}

static void credentials_say_who_we_are(void **state)
{
	struct tls_credentials *again = tls_credentials_ref(test_operator);

	(void)state;
	assert_int_equal(tls_credentials_identity(again)->kind, IDENTITY_OPERATOR);
	assert_string_equal(tls_credentials_identity(again)->name, "ana");
	assert_string_equal(tls_credentials_identity(again)->fleet, "lab");
	tls_credentials_unref(again);
	tls_credentials_unref(NULL);
}

static void credentials_that_are_refused(void **state)
{
	static const struct {
		struct test_certificate certificate;
		const char *text;
	} cases[] = {
		{{.uri = NULL, .purpose = "clientAuth"}, "names no identity"},
		{{.uri = "https://lab"}, "begins with flota://"},
		{{.uri = "flota://lab/operator/ana", .second_uri = "flota://lab/operator/eva"},
			"more than one identity"},
		{{.uri = "flota://lab/operator/ana", .purpose = "serverAuth"}, "clientAuth"},
		{{.uri = "flota://lab/operator/ana", .purpose = ""}, "clientAuth"},
		{{.uri = "flota://lab/coordinator", .purpose = "clientAuth"}, "serverAuth"},
		{{.uri = "flota://lab/operator/ana", .key_usage = "critical,keyAgreement"},
			"digitalSignature"},
		{{.uri = "flota://lab/operator/ana", .is_ca = true}, "is a CA's"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct tls_files files = test_ca_issue(test_ca, &cases[i].certificate);

		assert_load_fails(&files, FL_E_INVALID, cases[i].text);
		assert_load_fails(&files, FL_E_INVALID, files.certificate);
	}
}

static void files_that_are_refused(void **state)
{
	const struct test_certificate wanted = {.uri = "flota://lab/operator/ana"};
	struct tls_files good = test_ca_issue(test_ca, &wanted), files;
	struct tls_files foreign = test_ca_issue(other_ca, &wanted);
	char garbage[256];

	(void)state;
	snprintf(garbage, sizeof(garbage), "%s/garbage", test_folder());
	assert_int_equal(
		fl_file_write(garbage, "-----BEGIN\nnonsense", 18, 0600, false, NULL), FL_OK);

	files = good, files.ca = foreign.ca;
	assert_load_fails(&files, FL_E_INVALID, "signed by another CA");
	files = good, files.key = foreign.key;
	assert_load_fails(&files, FL_E_INVALID, "is not the certificate's");
	files = good, files.ca = "/nonexistent";
	assert_load_fails(&files, FL_E_NOT_FOUND, "the CA's certificate: /nonexistent");
	files = good, files.certificate = "/nonexistent";
	assert_load_fails(&files, FL_E_NOT_FOUND, "/nonexistent");
	files = good, files.key = "/nonexistent";
	assert_load_fails(&files, FL_E_NOT_FOUND, "/nonexistent");
	files = good, files.ca = garbage;
	assert_load_fails(&files, FL_E_INVALID, "holds no CA's certificate");
	files = good, files.certificate = garbage;
	assert_load_fails(&files, FL_E_INVALID, "holds no certificate");
	files = good, files.key = garbage;
	assert_load_fails(&files, FL_E_INVALID, "holds no private key");
	assert_int_equal(chmod(good.key, 0640), 0);
	assert_load_fails(&good, FL_E_DENIED, "can be read by others (mode 0640)");
}

/* ---- Our client ----------------------------------------------------------------------------- */

/* A client with these credentials cannot reach @url, and says why. */
static void assert_refused(const char *url, struct tls_credentials *credentials, const char *text)
{
	struct test_client client;
	struct test_call call;

	test_client_open(&client, &loop, url, credentials, false);
	test_ask(&client, &loop, &call, "who", LONG_MS);
	if (call.code != FL_E_UNAVAILABLE || strstr(call.err.text, text) == NULL ||
		strstr(call.err.text, url) == NULL)
		fail_msg("wanted \"%s\", got %s", text, call.err.text);
	/* Later calls hear the same, at once. */
	test_ask(&client, &loop, &call, "who", LONG_MS);
	assert_int_equal(call.code, FL_E_UNAVAILABLE);
	assert_non_null(strstr(call.err.text, text));
	assert_int_equal(client.n_up, 0);
	assert_int_equal(client.n_down, 1);
	test_client_close(&client, &loop);
}

static void clients_that_are_refused(void **state)
{
	static const struct {
		struct test_certificate certificate;
		const char *text;
	} cases[] = {
		{{.uri = "flota://other/operator/ana"}, "the peer is refused"},
		{{.uri = "flota://lab/coordinator"}, "refused our certificate"},
		{{.uri = "flota://lab/operator/ana", .valid_from_s = -7200, .valid_to_s = -3600},
			"it has expired"},
		{{.uri = "flota://lab/operator/ana", .valid_from_s = 3600, .valid_to_s = 7200},
			"not valid yet"},
	};
	struct transport_server_stats stats;
	struct tls_credentials *credentials;
	struct test_client client;
	struct test_call call;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		credentials = test_credentials_of(test_ca, &cases[i].certificate);
		assert_refused(server.url, credentials, cases[i].text);
		tls_credentials_unref(credentials);
	}
	/* It trusts another CA than the server's, so it is the client that refuses. */
	credentials = test_credentials(other_ca, "flota://lab/operator/ana");
	assert_refused(server.url, credentials, "signed by another CA");
	tls_credentials_unref(credentials);

	assert_int_equal(server.n_requests, 0);
	transport_server_stats(server.server, &stats);
	assert_int_equal(stats.refused_total, FL_COUNT(cases) + 1);
	assert_int_equal(stats.connections, 0);
	/* And a good one is served. */
	test_client_open(&client, &loop, server.url, test_operator, false);
	assert_int_equal(test_ask(&client, &loop, &call, "who", LONG_MS), FL_OK);
	test_client_close(&client, &loop);
}

static void servers_that_are_refused(void **state)
{
	static const struct {
		struct test_certificate certificate;
		const char *text;
	} cases[] = {
		{{.uri = "flota://lab/operator/eve", .purpose = "clientAuth,serverAuth"},
			"is not the fleet's coordinator"},
		{{.uri = "flota://lab/machine/m1"}, "not accepted"},
		{{.uri = "flota://other/coordinator"}, "of another fleet"},
		{{.uri = "flota://lab/coordinator", .valid_from_s = -7200, .valid_to_s = -3600},
			"has expired (on "},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct tls_credentials *credentials =
			test_credentials_of(test_ca, &cases[i].certificate);
		struct test_server impostor;

		test_server_open(&impostor, &loop, credentials, NULL);
		assert_refused(impostor.url, test_operator, cases[i].text);
		assert_int_equal(impostor.n_requests, 0);
		test_server_close(&impostor);
		tls_credentials_unref(credentials);
	}
}

/* ---- OpenSSL's client ----------------------------------------------------------------------- */

static int connect_tcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(transport_server_port(server.server, 0)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* The alert that the server answers with; 0 when it greets us in SP, -1 for anything else. */
static int raw_handshake(const struct tls_files *files, int version)
{
	static const uint8_t sp_req[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	int fd = connect_tcp(), result = -1;
	uint8_t greeting[8];
	SSL *ssl;

	assert_int_equal(SSL_CTX_set_max_proto_version(context, version), 1);
	if (files != NULL) {
		assert_int_equal(
			SSL_CTX_use_certificate_file(context, files->certificate, SSL_FILETYPE_PEM),
			1);
		assert_int_equal(
			SSL_CTX_use_PrivateKey_file(context, files->key, SSL_FILETYPE_PEM), 1);
	}
	ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	ERR_clear_error();
	/* In TLS 1.3 a client is done before the server has seen its certificate: what the server
	 * thinks of it comes with the first read. */
	if (SSL_connect(ssl) == 1 && SSL_write(ssl, sp_req, sizeof(sp_req)) == sizeof(sp_req) &&
		SSL_read(ssl, greeting, sizeof(greeting)) == sizeof(greeting))
		result = memcmp(greeting, "\0SP", 4) == 0 ? 0 : -1;
	else if (ERR_GET_REASON(ERR_peek_error()) > SSL_AD_REASON_OFFSET)
		result = ERR_GET_REASON(ERR_peek_error()) - SSL_AD_REASON_OFFSET;
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	return result;
}

static void openssl_client_is_refused_with_an_alert(void **state)
{
	static const struct {
		struct test_certificate certificate;
		bool other_ca;
		int alert;
	} cases[] = {
		{{.uri = "flota://lab/operator/ana"}, false, 0},
		{{.uri = "flota://lab/operator/ana"}, true, SSL_AD_UNKNOWN_CA},
		{{.uri = "flota://lab/operator/ana", .valid_from_s = -7200, .valid_to_s = -3600},
			false, SSL_AD_CERTIFICATE_EXPIRED},
		{{.uri = "flota://other/operator/ana"}, false, SSL_AD_BAD_CERTIFICATE},
		{{.uri = "flota://lab/coordinator", .purpose = "clientAuth"}, false,
			SSL_AD_BAD_CERTIFICATE},
		{{.uri = NULL, .purpose = "clientAuth"}, false, SSL_AD_BAD_CERTIFICATE},
		{{.uri = "flota://lab/operator/ana", .purpose = ""}, false, SSL_AD_BAD_CERTIFICATE},
		{{.uri = "flota://lab/operator/ana", .purpose = "serverAuth"}, false,
			SSL_AD_UNSUPPORTED_CERTIFICATE},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct tls_files files = test_ca_issue(
			cases[i].other_ca ? other_ca : test_ca, &cases[i].certificate);
		int alert = raw_handshake(&files, TLS1_3_VERSION);

		if (alert != cases[i].alert &&
			!(cases[i].other_ca && alert == SSL_AD_DECRYPT_ERROR))
			fail_msg("case %zu: alert %d", i, alert);
	}
	assert_int_equal(raw_handshake(NULL, TLS1_3_VERSION), SSL_AD_CERTIFICATE_REQUIRED);
	assert_int_equal(raw_handshake(NULL, TLS1_2_VERSION), SSL_AD_PROTOCOL_VERSION);
	assert_int_equal(server.n_requests, 0);
}

/* ---- Peers that do not even try ------------------------------------------------------------- */

static void assert_closed_by_peer(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char data[4096];
	ssize_t n;

	do {
		assert_int_equal(poll(&wait, 1, 60000), 1);
		n = read(fd, data, sizeof(data));
	} while (n > 0);
	close(fd);
}

/* The first bytes of a TLS 1.3 client's hello, made by OpenSSL. */
static size_t client_hello(uint8_t *data, size_t size)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *out = BIO_new(BIO_s_mem());
	int n;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	(void)SSL_connect(ssl);
	n = BIO_read(out, data, (int)size);
	assert_true(n > 0);
	SSL_free(ssl);
	SSL_CTX_free(context);
	return (size_t)n;
}

static void others_are_served_beside_peers_that_do_not_try(void **state)
{
	uint8_t hello[4096];
	size_t n = client_hello(hello, sizeof(hello));
	int silent = connect_tcp(), slow = connect_tcp(), half = connect_tcp();
	int garbage = connect_tcp(), zeros = connect_tcp();
	struct test_client client;
	struct test_call call;

	(void)state;
	assert_int_equal(write(slow, hello, 3), 3);
	assert_int_equal(write(half, hello, n), n);
	assert_int_equal(write(garbage, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	memset(hello, 0, sizeof(hello));
	assert_int_equal(write(zeros, hello, sizeof(hello)), sizeof(hello));

	test_client_open(&client, &loop, server.url, test_operator, false);
	for (int i = 0; i < 100; i++) {
		if (i % 10 == 0)
			assert_int_equal(write(slow, "x", 1), 1);
		assert_int_equal(test_ask(&client, &loop, &call, "echo", LONG_MS), FL_OK);
	}
	/* None of them stays: nng gives a peer 10 seconds to say who it is. */
	assert_closed_by_peer(garbage);
	assert_closed_by_peer(zeros);
	assert_closed_by_peer(silent);
	assert_closed_by_peer(slow);
	assert_closed_by_peer(half);
	assert_int_equal(test_ask(&client, &loop, &call, "echo", LONG_MS), FL_OK);
	test_client_close(&client, &loop);
}

#define server_test(function) \
	cmocka_unit_test_setup_teardown(function, setup_server, teardown_server)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(credentials_say_who_we_are),
	cmocka_unit_test(credentials_that_are_refused),
	cmocka_unit_test(files_that_are_refused),
	server_test(clients_that_are_refused),
	server_test(servers_that_are_refused),
	server_test(openssl_client_is_refused_with_an_alert),
	server_test(others_are_served_beside_peers_that_do_not_try),
};

int main(void)
{
	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
