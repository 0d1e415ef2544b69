#include "transport/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "transport/tls_verify.h"

#define PEM_MAX (256U << 10)

struct tls_credentials {
	atomic_uint refs; /* sessions on nng's threads hold one too */
	SSL_CTX *context;
	struct identity identity;
	uint8_t pin[TLS_PIN_BYTES]; /* where the CA is known by its key alone */
};

FL_DEFINE_CLEANUP(BIO *, BIO_free_all)
FL_DEFINE_CLEANUP(X509 *, X509_free)
FL_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
FL_DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free)

/* What OpenSSL last complained of, which is then forgotten. */
static const char *openssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return reason != NULL ? reason : "unknown error";
}

static enum fl_code read_pem(const char *what, const char *path, BIO **ret_bio, char **ret_data,
	size_t *ret_len, struct fl_error *err)
{
	char *data;
	size_t len;
	BIO *bio;
	enum fl_code code = fl_file_read(path, PEM_MAX, &data, &len, err);

	if (code != FL_OK)
		return fl_error_prefix(err, code, "the %s", what);
	bio = BIO_new_mem_buf(data, (int)len);
	if (bio == NULL) {
		fl_free_secret(data, len);
		return FL_FAIL_NO_MEMORY(err);
	}
	*ret_bio = bio;
	*ret_data = data;
	*ret_len = len;
	return FL_OK;
}

/* Adds every certificate of the file to what the peers' are verified against. */
static enum fl_code load_ca(SSL_CTX *context, const char *path, struct fl_error *err)
{
	FL_CLEANUP(BIO_free_allp) BIO *bio = NULL;
	FL_CLEANUP(fl_freep) char *data = NULL;
	X509 *certificate;
	size_t len;
	int n = 0;

	FL_TRY(read_pem("CA's certificate", path, &bio, &data, &len, err));
	while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		int added = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);

		X509_free(certificate);
		if (added != 1)
			return FL_FAIL(err, FL_E_INVALID, "the CA's certificate %s: %s", path,
				openssl_reason());
		n++;
	}
	/* The last read ends with "no start line". */
	ERR_clear_error();
	if (n == 0)
		return FL_FAIL(err, FL_E_INVALID, "%s holds no CA's certificate (PEM)", path);
	return FL_OK;
}

/* What is behind the certificate. Without it OpenSSL shows the CA that we trust. */
static enum fl_code load_chain(SSL_CTX *context, BIO *bio, const char *path, struct fl_error *err)
{
	X509 *certificate;

	while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (SSL_CTX_add0_chain_cert(context, certificate) == 1)
			continue;
		X509_free(certificate);
		return FL_FAIL(err, FL_E_INVALID, "the certificates behind the first in %s: %s",
			path, openssl_reason());
	}
	ERR_clear_error();
	return FL_OK;
}

static enum fl_code load_certificate(
	SSL_CTX *context, const char *path, X509 **ret_certificate, struct fl_error *err)
{
	FL_CLEANUP(BIO_free_allp) BIO *bio = NULL;
	FL_CLEANUP(fl_freep) char *data = NULL;
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;
	size_t len;

	FL_TRY(read_pem("certificate", path, &bio, &data, &len, err));
	certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (certificate == NULL)
		return FL_FAIL(err, FL_E_INVALID, "%s holds no certificate (PEM): %s", path,
			openssl_reason());
	if (SSL_CTX_use_certificate(context, certificate) != 1)
		return FL_FAIL(err, FL_E_INVALID, "the certificate %s: %s", path, openssl_reason());
	FL_TRY(load_chain(context, bio, path, err));
	*ret_certificate = FL_TAKE(certificate);
	return FL_OK;
}

static enum fl_code check_key_mode(const char *path, struct fl_error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return FL_FAIL_ERRNO(err, errno, "the key %s", path);
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return FL_FAIL(err, FL_E_DENIED,
			"the key %s can be read by others (mode %04o): chmod 600 it, and have a new "
			"one made if they may have read it",
			path, (unsigned)st.st_mode & 07777U);
	return FL_OK;
}

static int no_password(char *text, int size, int writing, void *userdata)
{
	(void)text;
	(void)size;
	(void)writing;
	(void)userdata;
	return -1; /* a daemon has nobody to ask */
}

static enum fl_code load_key(SSL_CTX *context, const char *path, struct fl_error *err)
{
	FL_CLEANUP(BIO_free_allp) BIO *bio = NULL;
	FL_CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	char *data = NULL;
	size_t len = 0;

	FL_TRY(check_key_mode(path, err));
	FL_TRY(read_pem("key", path, &bio, &data, &len, err));
	key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	fl_free_secret(data, len);
	if (key == NULL)
		return FL_FAIL(err, FL_E_INVALID, "%s holds no private key (PEM, unencrypted): %s",
			path, openssl_reason());
	if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1)
		return FL_FAIL(err, FL_E_INVALID, "the key %s is not the certificate's: %s", path,
			openssl_reason());
	return FL_OK;
}

/* The CA signed it. Its dates are left to the handshakes: a machine that boots with a wrong clock
 * must not give up here for good. */
static enum fl_code check_signature(SSL_CTX *context, X509 *certificate, struct fl_error *err)
{
	FL_CLEANUP(X509_STORE_CTX_freep) X509_STORE_CTX *store = X509_STORE_CTX_new();
	char why[256];

	STACK_OF(X509) *chain = NULL;

	if (store == NULL || SSL_CTX_get0_chain_certs(context, &chain) != 1 ||
		X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(context), certificate, chain) !=
			1)
		return FL_FAIL_NO_MEMORY(err);
	X509_STORE_CTX_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
	if (X509_verify_cert(store) == 1)
		return FL_OK;
	tls_verify_error_text(X509_STORE_CTX_get_error(store), certificate, why, sizeof(why));
	ERR_clear_error();
	return FL_FAIL(err, FL_E_INVALID, "%s", why);
}

static enum fl_code check_certificate(
	SSL_CTX *context, X509 *certificate, struct identity *ret_identity, struct fl_error *err)
{
	FL_TRY(check_signature(context, certificate, err));
	FL_TRY(tls_certificate_identity(certificate, ret_identity, err));
	return tls_certificate_usage(certificate,
		ret_identity->kind == IDENTITY_COORDINATOR ? TLS_SERVER : TLS_CLIENT, err);
}

/* TLS 1.3, no resumption of any kind: each session is a whole handshake, so that a certificate that
 * was withdrawn ends with its session. */
static SSL_CTX *context_new(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());

	if (context == NULL)
		return NULL;
	if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_num_tickets(context, 0) != 1) {
		SSL_CTX_free(context);
		return NULL;
	}
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	/* A record may be larger than what nng takes at once, and a retry may come with another
	 * buffer. An idle connection keeps no buffers. */
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
	return context;
}

static enum fl_code credentials_new(struct tls_credentials **ret_credentials, struct fl_error *err)
{
	struct tls_credentials *credentials = FL_NEW(struct tls_credentials);

	ERR_clear_error();
	if (credentials == NULL)
		return FL_FAIL_NO_MEMORY(err);
	atomic_init(&credentials->refs, 1);
	credentials->context = context_new();
	if (credentials->context == NULL) {
		free(credentials);
		return FL_FAIL(err, FL_E_INTERNAL, "OpenSSL: %s", openssl_reason());
	}
	*ret_credentials = credentials;
	return FL_OK;
}

enum fl_code tls_credentials_load(const struct tls_files *files,
	struct tls_credentials **ret_credentials, struct fl_error *err)
{
	FL_CLEANUP(tls_credentials_unrefp) struct tls_credentials *credentials = NULL;
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;
	enum fl_code code;

	FL_TRY(credentials_new(&credentials, err));
	FL_TRY(load_ca(credentials->context, files->ca, err));
	FL_TRY(load_certificate(credentials->context, files->certificate, &certificate, err));
	code = check_certificate(credentials->context, certificate, &credentials->identity, err);
	if (code != FL_OK)
		return fl_error_prefix(err, code, "%s (with CA %s)", files->certificate, files->ca);
	FL_TRY(load_key(credentials->context, files->key, err));
	*ret_credentials = FL_TAKE(credentials);
	return FL_OK;
}

enum fl_code tls_credentials_pinned(const uint8_t pin[TLS_PIN_BYTES],
	struct tls_credentials **ret_credentials, struct fl_error *err)
{
	struct tls_credentials *credentials;

	FL_TRY(credentials_new(&credentials, err));
	memcpy(credentials->pin, pin, TLS_PIN_BYTES);
	SSL_CTX_set_cert_verify_callback(credentials->context, tls_verify_pinned, credentials->pin);
	*ret_credentials = credentials;
	return FL_OK;
}

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials)
{
	atomic_fetch_add_explicit(&credentials->refs, 1, memory_order_relaxed);
	return credentials;
}

void tls_credentials_unref(struct tls_credentials *credentials)
{
	if (credentials == NULL ||
		atomic_fetch_sub_explicit(&credentials->refs, 1, memory_order_acq_rel) > 1)
		return;
	SSL_CTX_free(credentials->context);
	free(credentials);
}

const struct identity *tls_credentials_identity(const struct tls_credentials *credentials)
{
	return &credentials->identity;
}

struct ssl_ctx_st *tls_credentials_context(const struct tls_credentials *credentials)
{
	return credentials->context;
}
