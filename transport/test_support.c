#include "transport/test_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "transport/tls_verify.h"

static char folder[128];
static unsigned n_files;
static char *kept[4096]; /* paths, until test_cleanup() */
static unsigned n_kept;

const char *test_folder(void)
{
	if (folder[0] == '\0') {
		snprintf(folder, sizeof(folder), "/tmp/flota-transport-XXXXXX");
		assert_non_null(mkdtemp(folder));
	}
	return folder;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void test_cleanup(void)
{
	if (folder[0] != '\0')
		(void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	folder[0] = '\0';
	while (n_kept > 0)
		free(kept[--n_kept]);
}

static char *keep(char *path)
{
	assert_true(n_kept < FL_COUNT(kept));
	return kept[n_kept++] = path;
}

/* ---- Certificates --------------------------------------------------------------------------- */

struct test_ca {
	EVP_PKEY *key;
	X509 *certificate;
	char *path;
};

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static X509 *certificate_new(EVP_PKEY *key, X509 *issuer, const char *name, long from_s, long to_s)
{
	static long serial = 1;
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_get_subject_name(certificate);

	assert_int_equal(X509_set_version(certificate, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(certificate), from_s);
	X509_gmtime_adj(X509_getm_notAfter(certificate), to_s);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(
		certificate, X509_get_subject_name(issuer != NULL ? issuer : certificate));
	assert_int_equal(X509_set_pubkey(certificate, key), 1);
	return certificate;
}

static char *new_path(const char *suffix)
{
	char *path = fl_printf("%s/%u.%s", test_folder(), n_files++, suffix);

	assert_non_null(path);
	return path;
}

static char *write_certificate(X509 *certificate)
{
	char *path = new_path("pem");
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(PEM_write_X509(file, certificate), 1);
	fclose(file);
	return path;
}

static char *write_key(EVP_PKEY *key)
{
	char *path = new_path("key");
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(file);
	return path;
}

struct test_ca *test_ca_new(void)
{
	struct test_ca *ca = FL_NEW(struct test_ca);

	assert_non_null(ca);
	ca->key = EVP_EC_gen("P-256");
	/* All have one name, as a fleet that was made anew has: the signature tells them apart. */
	ca->certificate = certificate_new(ca->key, NULL, "flota CA", -86400, 86400);
	extend(ca->certificate, ca->certificate, NID_basic_constraints, "critical,CA:TRUE");
	extend(ca->certificate, ca->certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
	assert_true(X509_sign(ca->certificate, ca->key, EVP_sha256()) > 0);
	ca->path = write_certificate(ca->certificate);
	return ca;
}

void test_ca_pin(const struct test_ca *ca, uint8_t ret_pin[TLS_PIN_BYTES])
{
	assert_int_equal(tls_certificate_pin(ca->certificate, ret_pin, NULL), FL_OK);
}

void test_ca_free(struct test_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->certificate);
	free(ca->path);
	free(ca);
}

static const char *purpose_of(const struct test_certificate *certificate)
{
	size_t n = certificate->uri != NULL ? strlen(certificate->uri) : 0;

	if (certificate->purpose != NULL)
		return certificate->purpose;
	return n > 12 && strcmp(certificate->uri + n - 12, "/coordinator") == 0 ? "serverAuth"
										: "clientAuth";
}

struct tls_files test_ca_issue(struct test_ca *ca, const struct test_certificate *wanted)
{
	bool dated = wanted->valid_from_s != 0 || wanted->valid_to_s != 0;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = certificate_new(key, ca->certificate, "leaf",
		dated ? wanted->valid_from_s : -3600, dated ? wanted->valid_to_s : 3600);
	struct tls_files files = {.ca = ca->path};
	char names[1024];

	extend(certificate, ca->certificate, NID_basic_constraints,
		wanted->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	extend(certificate, ca->certificate, NID_key_usage,
		wanted->key_usage != NULL ? wanted->key_usage : "critical,digitalSignature");
	if (purpose_of(wanted)[0] != '\0')
		extend(certificate, ca->certificate, NID_ext_key_usage, purpose_of(wanted));
	if (wanted->uri != NULL) {
		snprintf(names, sizeof(names), "URI:%s%s%s", wanted->uri,
			wanted->second_uri != NULL ? ",URI:" : "",
			wanted->second_uri != NULL ? wanted->second_uri : "");
		extend(certificate, ca->certificate, NID_subject_alt_name, names);
	}
	assert_true(X509_sign(certificate, ca->key, EVP_sha256()) > 0);
	files.certificate = keep(write_certificate(certificate));
	files.key = keep(write_key(key));
	X509_free(certificate);
	EVP_PKEY_free(key);
	return files;
}

struct tls_credentials *test_credentials_of(
	struct test_ca *ca, const struct test_certificate *certificate)
{
	struct tls_files files = test_ca_issue(ca, certificate);
	struct tls_credentials *credentials;
	struct fl_error err = {.code = FL_OK};

	if (tls_credentials_load(&files, &credentials, &err) != FL_OK)
		fail_msg("%s", err.text);
	return credentials;
}

struct tls_credentials *test_credentials(struct test_ca *ca, const char *uri)
{
	return test_credentials_of(ca, &(struct test_certificate){.uri = uri});
}

struct test_ca *test_ca;
struct tls_credentials *test_coordinator, *test_operator;

int test_setup(void **state)
{
	(void)state;
	test_ca = test_ca_new();
	test_coordinator = test_credentials(test_ca, "flota://lab/coordinator");
	test_operator = test_credentials(test_ca, "flota://lab/operator/ana");
	return 0;
}

int test_teardown(void **state)
{
	(void)state;
	tls_credentials_unref(test_coordinator);
	tls_credentials_unref(test_operator);
	test_ca_free(test_ca);
	test_cleanup();
	return 0;
}

/* ---- The loop ------------------------------------------------------------------------------- */

static void on_net(uv_timer_t *timer)
{
	bool *hung = timer->data;

	*hung = true;
}

struct net {
	uv_timer_t timer;
	bool hung, closed;
};

static void on_net_closed(uv_handle_t *handle)
{
	((struct net *)handle->data)->closed = true;
}

static bool reached(const bool *done, const unsigned *count, unsigned wanted)
{
	return done != NULL ? *done : *count >= wanted;
}

static void run_until(uv_loop_t *loop, const bool *done, const unsigned *count, unsigned wanted)
{
	struct net net = {.hung = false};

	assert_int_equal(uv_timer_init(loop, &net.timer), 0);
	net.timer.data = &net.hung;
	assert_int_equal(uv_timer_start(&net.timer, on_net, 60000, 0), 0);
	while (!reached(done, count, wanted) && !net.hung)
		(void)uv_run(loop, UV_RUN_ONCE);
	net.timer.data = &net;
	uv_close((uv_handle_t *)&net.timer, on_net_closed);
	while (!net.closed)
		(void)uv_run(loop, UV_RUN_NOWAIT);
	if (!reached(done, count, wanted))
		fail_msg("it did not happen (count %u, wanted %u)", count != NULL ? *count : 0,
			wanted);
}

void test_run_until(uv_loop_t *loop, const bool *done)
{
	run_until(loop, done, NULL, 0);
}

void test_run_until_count(uv_loop_t *loop, const unsigned *count, unsigned wanted)
{
	run_until(loop, NULL, count, wanted);
}

void test_loop_close(uv_loop_t *loop)
{
	(void)uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
}

/* ---- A server ------------------------------------------------------------------------------- */

static void on_request(struct transport_request *request, void *userdata)
{
	struct test_server *test = userdata;
	size_t len;
	const uint8_t *data = transport_request_data(request, &len);
	char text[IDENTITY_URI_MAX];

	test->n_requests++;
	assert_true(len > 0);
	switch (data[0]) {
	case 'e':
		transport_request_reply(request, data, len);
		return;
	case 'w':
		identity_format(transport_request_identity(request), text);
		transport_request_reply(request, (const uint8_t *)text, strlen(text));
		return;
	case 'h':
		assert_true(test->n_held < FL_COUNT(test->held));
		test->held[test->n_held++] = request;
		return;
	case 'z': {
		size_t n;
		uint8_t *zeros;

		snprintf(text, sizeof(text), "%.*s", (int)len - 1, (const char *)data + 1);
		n = (size_t)atoi(text);
		zeros = fl_new_array(1, n);
		assert_non_null(zeros);
		transport_request_reply(request, zeros, n);
		free(zeros);
		return;
	}
	default:
		transport_request_drop_peer(request, "test");
	}
}

static void on_request_gone(struct transport_request *request, void *userdata)
{
	struct test_server *test = userdata;

	for (unsigned i = 0; i < test->n_held; i++) {
		if (test->held[i] != request)
			continue;
		test->held[i] = test->held[--test->n_held];
		test->n_gone++;
		return;
	}
	fail_msg("a request is gone that was not held");
}

static void open_server(struct test_server *test, uv_loop_t *loop,
	const struct transport_server_config *config, const char *url)
{
	const struct transport_server_handlers handlers = {
		.request = on_request,
		.request_gone = on_request_gone,
	};
	struct fl_error err;

	*test = (struct test_server){.loop = loop};
	if (transport_server_open(&test->server, loop, config, &handlers, test, &err) != FL_OK)
		fail_msg("%s", err.text);
	if (url == NULL)
		snprintf(test->url, sizeof(test->url), "tls+tcp://127.0.0.1:%u",
			transport_server_port(test->server, 0));
	else
		snprintf(test->url, sizeof(test->url), "%s", url);
}

void test_server_open_limited(struct test_server *test, uv_loop_t *loop,
	struct tls_credentials *credentials, const char *url, unsigned requests_max,
	size_t bytes_max)
{
	const char *const urls[] = {url != NULL ? url : "tls+tcp://127.0.0.1:0", NULL};
	const struct transport_server_config config = {
		.urls = urls,
		.credentials = credentials,
		.message_max = TEST_MESSAGE_MAX,
		.peer_requests_max = requests_max,
		.peer_bytes_max = bytes_max,
	};

	open_server(test, loop, &config, url);
}

void test_server_open_door(
	struct test_server *test, uv_loop_t *loop, struct tls_credentials *credentials)
{
	const char *const urls[] = {NULL}, *const doors[] = {"tls+tcp://127.0.0.1:0", NULL};
	const struct transport_server_config config = {
		.urls = urls,
		.doors = doors,
		.credentials = credentials,
		.message_max = TEST_MESSAGE_MAX,
		.peer_requests_max = 16,
		.peer_bytes_max = TEST_MESSAGE_MAX,
	};

	open_server(test, loop, &config, NULL);
}

void test_server_open(struct test_server *test, uv_loop_t *loop,
	struct tls_credentials *credentials, const char *url)
{
	test_server_open_limited(test, loop, credentials, url, 32, 4U << 20);
}

void test_server_release(struct test_server *test)
{
	while (test->n_held > 0) {
		struct transport_request *request = test->held[--test->n_held];
		size_t len;
		const uint8_t *data = transport_request_data(request, &len);

		transport_request_reply(request, data, len);
	}
}

static void on_closed(void *userdata)
{
	bool *closed = userdata;

	*closed = true;
}

void test_server_close(struct test_server *test)
{
	transport_server_close(test->server, on_closed, &test->closed);
	assert_false(test->closed);
	test_run_until(test->loop, &test->closed);
	assert_int_equal(test->n_held, 0);
}

/* ---- A client ------------------------------------------------------------------------------- */

static void on_connection(bool up, const struct fl_error *err, void *userdata)
{
	struct test_client *test = userdata;

	assert_int_equal(up, transport_client_connected(test->client));
	test->up = up;
	if (up) {
		test->n_up++;
		assert_null(err);
		return;
	}
	test->n_down++;
	assert_non_null(err);
	test->err = *err;
}

void test_client_open(struct test_client *test, uv_loop_t *loop, const char *url,
	struct tls_credentials *credentials, bool reconnect)
{
	const struct transport_client_config config = {
		.url = url,
		.credentials = credentials,
		.message_max = TEST_MESSAGE_MAX,
		.reconnect_min_ms = reconnect ? 10 : 0,
		.reconnect_max_ms = reconnect ? 100 : 0,
	};
	const struct transport_client_handlers handlers = {.connection = on_connection};
	struct fl_error err;

	*test = (struct test_client){.client = NULL};
	if (transport_client_open(&test->client, loop, &config, &handlers, test, &err) != FL_OK)
		fail_msg("%s", err.text);
}

void test_client_close(struct test_client *test, uv_loop_t *loop)
{
	transport_client_close(test->client, on_closed, &test->closed);
	assert_false(test->closed);
	test_run_until(loop, &test->closed);
}

static void on_call_done(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct test_call *call = userdata;

	assert_false(call->done);
	call->done = true;
	call->code = code;
	call->len = len;
	if (code == FL_OK) {
		assert_null(err);
		memcpy(call->data, data, len < sizeof(call->data) ? len : sizeof(call->data) - 1);
	} else {
		assert_non_null(err);
		assert_int_equal(err->code, code);
		call->err = *err;
	}
	if (call->n_done != NULL)
		(*call->n_done)++;
}

void test_call(
	struct test_client *client, struct test_call *call, const char *text, uint32_t timeout_ms)
{
	struct fl_error err;

	*call = (struct test_call){.n_done = call->n_done};
	if (transport_client_call(client->client, (const uint8_t *)text, strlen(text), timeout_ms,
		    on_call_done, call, &call->call, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_false(call->done);
}

enum fl_code test_ask(struct test_client *client, uv_loop_t *loop, struct test_call *call,
	const char *text, uint32_t timeout_ms)
{
	call->n_done = NULL;
	test_call(client, call, text, timeout_ms);
	test_run_until(loop, &call->done);
	return call->code;
}
