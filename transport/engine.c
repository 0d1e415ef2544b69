#include "transport/engine.h"

#include <nng/supplemental/tls/engine.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "transport/bridge.h"

#define ENGINE_NAME "flota-openssl"

/* What a refused peer may still send before its connection is cut. */
#define LINGER_BYTES_MAX (64U << 10)

struct tls_endpoint {
	atomic_uint refs; /* of its owner and of nng's config */
	enum tls_role role;
	struct revoked *revoked; /* nullable */
	nng_tls_config *config;
	atomic_uint_fast64_t refused;
	pthread_mutex_t lock;
	struct tls_credentials *credentials; /* of the next session; guarded by lock */
	char trouble[256]; /* guarded by lock */
};

struct nng_tls_engine_config {
	struct tls_endpoint *endpoint; /* NULL: nng's own default, which accepts nobody */
};

/*
 * One session. Its thread is whichever holds nng's lock of the connection.
 *
 * Happy path: handshake() until done, then recv() and send(). nng may call send() first, and fini()
 * on a zeroed connection. A server that refuses its peer does not hang up at once: the alert would be
 * lost when unread bytes of the peer make the kernel answer with a reset. It lingers, dropping what
 * comes, until the peer has hung up, has sent too much, or nng's negotiation time is over.
 */
struct nng_tls_engine_conn {
	void *stream; /* nng's end: the argument of nng_tls_engine_send() and _recv() */
	SSL *ssl; /* NULL before init() */
	struct tls_credentials *credentials; /* the endpoint's when it began */
	struct tls_endpoint
		*endpoint; /* borrowed: nng holds the config while there is a connection */
	struct tls_check check;
	int error; /* sticky: what every later call returns */
	bool done; /* the handshake ended well */
	bool shut; /* our close_notify is sent */
	bool lingering;
	size_t lingered_bytes;
};

/* Where verified() leaves the identity for tls_pipe_identity(), which calls it, through nng, on the
 * same thread. NULL outside. */
static _Thread_local struct identity *wanted_identity;

/* Which endpoint the next nng_tls_config of this thread is for. NULL outside tls_endpoint_new(). */
static _Thread_local struct tls_endpoint *adopting;

static BIO_METHOD *bio_method;

static void endpoint_unref(struct tls_endpoint *endpoint)
{
	if (endpoint == NULL ||
		atomic_fetch_sub_explicit(&endpoint->refs, 1, memory_order_acq_rel) > 1)
		return;
	tls_credentials_unref(endpoint->credentials);
	revoked_unref(endpoint->revoked);
	pthread_mutex_destroy(&endpoint->lock);
	free(endpoint);
}

/* ---- The BIO: OpenSSL's way to nng's buffers ------------------------------------------------ */

static int bio_write(BIO *bio, const char *data, int len)
{
	struct nng_tls_engine_conn *conn = BIO_get_data(bio);
	size_t n = (size_t)len;
	int rv;

	BIO_clear_retry_flags(bio);
	rv = nng_tls_engine_send(conn->stream, (const uint8_t *)data, &n);
	if (rv == 0)
		return (int)n;
	if (rv == NNG_EAGAIN)
		BIO_set_retry_write(bio);
	return -1;
}

static int bio_read(BIO *bio, char *data, int len)
{
	struct nng_tls_engine_conn *conn = BIO_get_data(bio);
	size_t n = (size_t)len;
	int rv;

	BIO_clear_retry_flags(bio);
	rv = nng_tls_engine_recv(conn->stream, (uint8_t *)data, &n);
	if (rv == 0)
		return (int)n;
	if (rv == NNG_EAGAIN)
		BIO_set_retry_read(bio);
	return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static bool bio_method_make(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, ENGINE_NAME);
	return bio_method != NULL && BIO_meth_set_write(bio_method, bio_write) == 1 &&
	       BIO_meth_set_read(bio_method, bio_read) == 1 &&
	       BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1 &&
	       BIO_meth_set_create(bio_method, bio_create) == 1;
}

/* ---- What went wrong ------------------------------------------------------------------------ */

/* The reason of OpenSSL's last error, for a person. */
static void describe_failure(const struct nng_tls_engine_conn *conn, char *text, size_t size)
{
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_REASON(error);
	const char *words;

	if (conn->check.why[0] != '\0') {
		snprintf(text, size, "the peer is refused: %.*s", (int)size - 32, conn->check.why);
		return;
	}
	if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
		/* A received alert: its number over an offset (ssl.h). */
		if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
			tls_alert_text(reason - SSL_AD_REASON_OFFSET, text, size);
			return;
		}
		if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
			snprintf(text, size, "the peer is refused: it showed no certificate");
			return;
		}
		if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) {
			snprintf(text, size, "the peer does not speak TLS");
			return;
		}
		if (reason == SSL_R_UNSUPPORTED_PROTOCOL) {
			snprintf(text, size, "the peer does not speak TLS 1.3");
			return;
		}
	}
	words = ERR_reason_error_string(error);
	snprintf(text, size, "TLS failed: %s", words != NULL ? words : "the connection broke");
}

static void note_trouble(struct nng_tls_engine_conn *conn)
{
	struct tls_endpoint *endpoint = conn->endpoint;
	char text[sizeof(endpoint->trouble)], address[64];

	describe_failure(conn, text, sizeof(text));
	pthread_mutex_lock(&endpoint->lock);
	memcpy(endpoint->trouble, text, sizeof(text));
	pthread_mutex_unlock(&endpoint->lock);
	if (endpoint->role == TLS_CLIENT || conn->done)
		return;
	atomic_fetch_add_explicit(&endpoint->refused, 1, memory_order_relaxed);
	bridge_stream_address(conn->stream, address, sizeof(address));
	fl_log(FL_NOTICE, "tls.refused", "address=%s why=%s", address, text);
}

/* The result of an SSL call that returned @r <= 0. Never NNG_ECLOSED or NNG_ECANCELED, by which nng
 * would take the dialer or listener for closed. */
static int failure(struct nng_tls_engine_conn *conn, int r)
{
	switch (SSL_get_error(conn->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return NNG_EAGAIN; /* nng's buffers said so, and will call again */
	case SSL_ERROR_ZERO_RETURN:
		conn->error = NNG_ECONNSHUT; /* close_notify */
		return conn->error;
	case SSL_ERROR_SSL:
		note_trouble(conn);
		conn->error = conn->done ? NNG_ECONNRESET : NNG_EPEERAUTH;
		return conn->error;
	default:
		conn->error = NNG_ECONNRESET;
		return conn->error;
	}
}

static int linger(struct nng_tls_engine_conn *conn)
{
	uint8_t dropped[2048];

	for (;;) {
		size_t n = sizeof(dropped);
		int rv = nng_tls_engine_recv(conn->stream, dropped, &n);

		if (rv == NNG_EAGAIN)
			return NNG_EAGAIN;
		if (rv != 0)
			return conn->error;
		conn->lingered_bytes += n;
		if (conn->lingered_bytes > LINGER_BYTES_MAX)
			return conn->error;
	}
}

/* ---- What nng calls: connections ------------------------------------------------------------ */

static struct tls_credentials *endpoint_credentials(struct tls_endpoint *endpoint)
{
	struct tls_credentials *credentials;

	pthread_mutex_lock(&endpoint->lock);
	credentials = tls_credentials_ref(endpoint->credentials);
	pthread_mutex_unlock(&endpoint->lock);
	return credentials;
}

static int conn_init(
	struct nng_tls_engine_conn *conn, void *stream, struct nng_tls_engine_config *config)
{
	struct tls_endpoint *endpoint = config->endpoint;
	BIO *bio;

	if (endpoint == NULL)
		return NNG_EPEERAUTH;
	ERR_clear_error();
	conn->stream = stream;
	conn->endpoint = endpoint;
	conn->credentials = endpoint_credentials(endpoint);
	conn->check.own = tls_credentials_identity(conn->credentials);
	conn->check.role = endpoint->role;
	conn->check.revoked = endpoint->revoked;
	conn->ssl = SSL_new(tls_credentials_context(conn->credentials));
	bio = BIO_new(bio_method);
	if (conn->ssl == NULL || bio == NULL) {
		BIO_free(bio);
		SSL_free(FL_TAKE(conn->ssl));
		tls_credentials_unref(FL_TAKE(conn->credentials));
		return NNG_ENOMEM;
	}
	BIO_set_data(bio, conn);
	SSL_set_bio(conn->ssl, bio, bio);
	tls_verify_install(conn->ssl, &conn->check);
	if (endpoint->role == TLS_CLIENT)
		SSL_set_connect_state(conn->ssl);
	else
		SSL_set_accept_state(conn->ssl);
	return 0;
}

static void conn_fini(struct nng_tls_engine_conn *conn)
{
	SSL_free(FL_TAKE(conn->ssl));
	tls_credentials_unref(FL_TAKE(conn->credentials));
}

static int conn_handshake(struct nng_tls_engine_conn *conn)
{
	int r;

	if (conn->lingering)
		return linger(conn);
	if (conn->error != 0)
		return conn->error;
	if (conn->done)
		return 0;
	ERR_clear_error();
	r = SSL_do_handshake(conn->ssl);
	if (r == 1) {
		conn->done = true;
		return 0;
	}
	r = failure(conn, r);
	if (r == NNG_EPEERAUTH && conn->endpoint->role != TLS_CLIENT) {
		conn->lingering = true;
		return linger(conn);
	}
	return r;
}

static int conn_recv(struct nng_tls_engine_conn *conn, uint8_t *data, size_t *size)
{
	int rv = conn_handshake(conn), r;

	if (rv != 0)
		return rv;
	ERR_clear_error();
	r = SSL_read_ex(conn->ssl, data, *size, size);
	return r == 1 ? 0 : failure(conn, r);
}

static int conn_send(struct nng_tls_engine_conn *conn, const uint8_t *data, size_t *size)
{
	int rv = conn_handshake(conn), r;

	if (rv != 0)
		return rv;
	ERR_clear_error();
	r = SSL_write_ex(conn->ssl, data, *size, size);
	return r == 1 ? 0 : failure(conn, r);
}

static void conn_close(struct nng_tls_engine_conn *conn)
{
	if (conn->ssl == NULL || !conn->done || conn->error != 0 || conn->shut)
		return;
	ERR_clear_error();
	(void)SSL_shutdown(conn->ssl);
	conn->shut = true;
}

static bool conn_verified(struct nng_tls_engine_conn *conn)
{
	if (conn->done && wanted_identity != NULL)
		*wanted_identity = conn->check.peer;
	return conn->done;
}

/* ---- What nng calls: configurations. Ours are complete when they are made. -------------------- */

static int config_init(struct nng_tls_engine_config *config, nng_tls_mode mode)
{
	(void)mode;
	config->endpoint = adopting;
	if (adopting != NULL)
		atomic_fetch_add_explicit(&adopting->refs, 1, memory_order_relaxed);
	return 0;
}

static void config_fini(struct nng_tls_engine_config *config)
{
	endpoint_unref(FL_TAKE(config->endpoint));
}

/* The name in the URL says where the peer is, not who: its identity is checked instead. */
static int config_server(struct nng_tls_engine_config *config, const char *name)
{
	(void)config;
	(void)name;
	return 0;
}

static int config_auth(struct nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
	(void)config;
	(void)mode;
	return 0; /* always required, whatever nng asks for */
}

static int config_ca_chain(struct nng_tls_engine_config *config, const char *certs, const char *crl)
{
	(void)config;
	(void)certs;
	(void)crl;
	return NNG_ENOTSUP;
}

static int config_own_cert(struct nng_tls_engine_config *config, const char *certificate,
	const char *key, const char *password)
{
	(void)config;
	(void)certificate;
	(void)key;
	(void)password;
	return NNG_ENOTSUP;
}

static int config_version(
	struct nng_tls_engine_config *config, nng_tls_version min, nng_tls_version max)
{
	(void)config;
	(void)min;
	(void)max;
	return NNG_ENOTSUP;
}

static nng_tls_engine_conn_ops conn_ops = {
	.size = sizeof(struct nng_tls_engine_conn),
	.init = conn_init,
	.fini = conn_fini,
	.close = conn_close,
	.handshake = conn_handshake,
	.recv = conn_recv,
	.send = conn_send,
	.verified = conn_verified,
};

static nng_tls_engine_config_ops config_ops = {
	.size = sizeof(struct nng_tls_engine_config),
	.init = config_init,
	.fini = config_fini,
	.server = config_server,
	.auth = config_auth,
	.ca_chain = config_ca_chain,
	.own_cert = config_own_cert,
	.version = config_version,
};

static const nng_tls_engine engine = {
	.version = NNG_TLS_ENGINE_V1,
	.config_ops = &config_ops,
	.conn_ops = &conn_ops,
	.name = ENGINE_NAME,
	.description = "OpenSSL, TLS 1.3",
	.fips_mode = false,
};

/* ---- What the transport calls --------------------------------------------------------------- */

static int register_result;

static void register_engine(void)
{
	register_result = bio_method_make() ? nng_tls_engine_register(&engine) : NNG_ENOMEM;
}

static enum fl_code engine_start(struct fl_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_engine);
	if (register_result != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "TLS engine: %s", nng_strerror(register_result));
	/* An nng that initialises itself after this forgets the engine without a word. */
	if (strcmp(nng_tls_engine_name(), ENGINE_NAME) != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "TLS engine: nng uses \"%s\" instead of ours",
			nng_tls_engine_name());
	return FL_OK;
}

enum fl_code tls_endpoint_new(struct tls_credentials *credentials, enum tls_role role,
	struct tls_endpoint **ret_endpoint, struct fl_error *err)
{
	struct tls_endpoint *endpoint;
	int rv;

	FL_TRY(engine_start(err));
	endpoint = FL_NEW(struct tls_endpoint);
	if (endpoint == NULL)
		return FL_FAIL_NO_MEMORY(err);
	atomic_init(&endpoint->refs, 1);
	pthread_mutex_init(&endpoint->lock, NULL);
	endpoint->credentials = tls_credentials_ref(credentials);
	endpoint->role = role;
	adopting = endpoint;
	rv = nng_tls_config_alloc(
		&endpoint->config, role == TLS_CLIENT ? NNG_TLS_MODE_CLIENT : NNG_TLS_MODE_SERVER);
	adopting = NULL;
	if (rv != 0) {
		endpoint_unref(endpoint);
		return FL_FAIL(err, FL_E_INTERNAL, "TLS configuration: %s", nng_strerror(rv));
	}
	*ret_endpoint = endpoint;
	return FL_OK;
}

void tls_endpoint_set_credentials(
	struct tls_endpoint *endpoint, struct tls_credentials *credentials)
{
	struct tls_credentials *before;

	pthread_mutex_lock(&endpoint->lock);
	before = endpoint->credentials;
	endpoint->credentials = tls_credentials_ref(credentials);
	pthread_mutex_unlock(&endpoint->lock);
	tls_credentials_unref(before);
}

void tls_endpoint_set_revoked(struct tls_endpoint *endpoint, struct revoked *revoked)
{
	fl_assert(endpoint->revoked == NULL);
	endpoint->revoked = revoked_ref(revoked);
}

void tls_endpoint_free(struct tls_endpoint *endpoint)
{
	if (endpoint == NULL)
		return;
	nng_tls_config_free(FL_TAKE(endpoint->config));
	endpoint_unref(endpoint);
}

nng_tls_config *tls_endpoint_config(const struct tls_endpoint *endpoint)
{
	return endpoint->config;
}

bool tls_endpoint_trouble(struct tls_endpoint *endpoint, char *text, size_t size)
{
	pthread_mutex_lock(&endpoint->lock);
	snprintf(text, size, "%s", endpoint->trouble);
	pthread_mutex_unlock(&endpoint->lock);
	return text[0] != '\0';
}

uint64_t tls_endpoint_refused(const struct tls_endpoint *endpoint)
{
	return atomic_load_explicit(&endpoint->refused, memory_order_relaxed);
}

bool tls_pipe_identity(nng_pipe pipe, struct identity *ret_identity)
{
	struct identity identity = {.kind = IDENTITY_NONE};
	bool verified = false;
	int rv;

	wanted_identity = &identity;
	rv = nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified);
	wanted_identity = NULL;
	if (rv != 0 || !verified || identity.kind == IDENTITY_NONE)
		return false;
	*ret_identity = identity;
	return true;
}
