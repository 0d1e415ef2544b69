#include "transport/tls_key.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "transport/tls_verify.h"

#define PEM_MAX (64U << 10)

FL_DEFINE_CLEANUP(BIO *, BIO_free_all)
FL_DEFINE_CLEANUP(X509 *, X509_free)
FL_DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
FL_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

static enum fl_code fail(struct fl_error *err, const char *path)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return FL_FAIL(err, FL_E_INVALID, "%s: OpenSSL says: %s", path,
		reason != NULL ? reason : "nothing");
}

enum fl_code tls_key_make(const char *path, struct fl_error *err)
{
	FL_CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	/* Its memory is wiped when it is freed. */
	FL_CLEANUP(BIO_free_allp) BIO *bio = BIO_new(BIO_s_secmem());
	char *data;
	long len;

	if (key == NULL || bio == NULL ||
		PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return fail(err, path);
	len = BIO_get_mem_data(bio, &data);
	return fl_file_write(path, data, (size_t)len, 0600, true, err);
}

static enum fl_code load_key(const char *path, EVP_PKEY **ret_key, struct fl_error *err)
{
	FL_CLEANUP(BIO_free_allp) BIO *bio = NULL;
	char *data;
	size_t len;

	FL_TRY(fl_file_read(path, PEM_MAX, &data, &len, err));
	bio = BIO_new_mem_buf(data, (int)len);
	*ret_key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	fl_free_secret(data, len);
	return *ret_key != NULL ? FL_OK : fail(err, path);
}

static enum fl_code load_certificate(const char *path, X509 **ret_certificate, struct fl_error *err)
{
	FL_CLEANUP(BIO_free_allp) BIO *bio = NULL;
	FL_CLEANUP(fl_freep) char *data = NULL;
	size_t len;

	FL_TRY(fl_file_read(path, PEM_MAX, &data, &len, err));
	bio = BIO_new_mem_buf(data, (int)len);
	*ret_certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	return *ret_certificate != NULL ? FL_OK : fail(err, path);
}

enum fl_code tls_key_request(
	const char *path, uint8_t **ret_der, size_t *ret_len, struct fl_error *err)
{
	FL_CLEANUP(X509_REQ_freep) X509_REQ *request = X509_REQ_new();
	FL_CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	unsigned char *der = NULL;
	int len;

	FL_TRY(load_key(path, &key, err));
	if (request == NULL || X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
		X509_REQ_set_pubkey(request, key) != 1 ||
		X509_REQ_sign(request, key, EVP_sha256()) == 0)
		return fail(err, path);
	len = i2d_X509_REQ(request, &der);
	if (len <= 0)
		return fail(err, path);
	*ret_der = fl_memdup0(der, (size_t)len);
	OPENSSL_free(der);
	if (*ret_der == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_len = (size_t)len;
	return FL_OK;
}

bool tls_key_fits(const char *key_path, const char *certificate_path)
{
	FL_CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;

	return load_key(key_path, &key, NULL) == FL_OK &&
	       load_certificate(certificate_path, &certificate, NULL) == FL_OK &&
	       EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;
}

enum fl_code tls_file_pin(const char *path, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;

	FL_TRY(load_certificate(path, &certificate, err));
	return tls_certificate_pin(certificate, ret_pin, err);
}

enum fl_code tls_certificate_times(
	const char *path, int64_t *ret_begin, int64_t *ret_end, struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;
	struct tm begin, end;

	FL_TRY(load_certificate(path, &certificate, err));
	if (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &begin) != 1 ||
		ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
		return fail(err, path);
	*ret_begin = (int64_t)timegm(&begin);
	*ret_end = (int64_t)timegm(&end);
	return FL_OK;
}
