#include "coordinator/ca.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/file.h"
#include "base/random.h"
#include "transport/tls_verify.h"

#define PEM_MAX_BYTES (64U << 10)
#define SERIAL_BYTES  16
#define DAY_S         INT64_C(86400)

/* A new machine's clock may be behind; a certificate from its future would lock it out. */
#define BACKDATED_S INT64_C(3600)

#define CA_LIFE_S (3653 * DAY_S)

struct ca {
	X509 *certificate;
	EVP_PKEY *key;
	char *pem; /* of the certificate */
	char *accepted; /* the same, and the one before; NULL: there is none */
	char id[CA_ID_SIZE];
	char fleet[CA_FLEET_MAX + 1];
};

FL_DEFINE_CLEANUP(X509 *, X509_free)
FL_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
FL_DEFINE_CLEANUP(BIO *, BIO_vfree)
FL_DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free)
FL_DEFINE_CLEANUP(GENERAL_NAME *, GENERAL_NAME_free)

/* What OpenSSL's last call failed of. */
static enum fl_code fail(struct fl_error *err, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	ERR_clear_error();
	return FL_FAIL(err, FL_E_INTERNAL, "%s: OpenSSL says: %s", what,
		reason != NULL ? reason : "nothing");
}

void ca_pair_fini(struct ca_pair *pair)
{
	free(pair->certificate);
	if (pair->key != NULL)
		fl_free_secret(pair->key, strlen(pair->key));
	*pair = (struct ca_pair){0};
}

static void pair_move(struct ca_pair *to, struct ca_pair *from)
{
	*to = *from;
	*from = (struct ca_pair){0};
}

void ca_free(struct ca *ca)
{
	if (ca == NULL)
		return;
	X509_free(ca->certificate);
	EVP_PKEY_free(ca->key);
	free(ca->pem);
	free(ca->accepted);
	free(ca);
}

const char *ca_fleet(const struct ca *ca)
{
	return ca->fleet;
}

const char *ca_certificate(const struct ca *ca)
{
	return ca->pem;
}

const char *ca_accepted(const struct ca *ca)
{
	return ca->accepted != NULL ? ca->accepted : ca->pem;
}

bool ca_is_changing(const struct ca *ca)
{
	return ca->accepted != NULL;
}

const char *ca_id(const struct ca *ca)
{
	return ca->id;
}

static enum fl_code set_id(struct ca *ca, struct fl_error *err)
{
	uint8_t pin[TLS_PIN_BYTES];

	FL_TRY(ca_pin(ca, pin, err));
	for (size_t i = 0; 2 * i + 2 < sizeof(ca->id); i++)
		(void)snprintf(ca->id + 2 * i, 3, "%02x", pin[i]);
	return FL_OK;
}

/* ---- PEM -- */

static enum fl_code take_text(BIO *bio, char **ret_text, struct fl_error *err)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	char *text = len > 0 ? fl_memdup0(data, (size_t)len) : NULL;

	if (text == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_text = text;
	return FL_OK;
}

static enum fl_code certificate_to_pem(X509 *certificate, char **ret_pem, struct fl_error *err)
{
	FL_CLEANUP(BIO_vfreep) BIO *bio = BIO_new(BIO_s_mem());

	if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1)
		return fail(err, "certificate");
	return take_text(bio, ret_pem, err);
}

static enum fl_code key_to_pem(EVP_PKEY *key, char **ret_pem, struct fl_error *err)
{
	/* Its memory is wiped when it is freed. */
	FL_CLEANUP(BIO_vfreep) BIO *bio = BIO_new(BIO_s_secmem());

	if (bio == NULL || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return fail(err, "key");
	return take_text(bio, ret_pem, err);
}

/* ---- Certificates -- */

/* X509_NAME keeps at most 64 bytes of a CN; identities are told by the URI, this is for people. */
static bool set_subject(X509 *certificate, const char *fleet, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(certificate);
	char common_name[64 + 1];

	(void)snprintf(common_name, sizeof(common_name), "%s", name);
	return X509_NAME_add_entry_by_txt(
		       subject, "O", MBSTRING_UTF8, (const unsigned char *)fleet, -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
		       (const unsigned char *)common_name, -1, -1, 0) == 1;
}

/* 128 random bits, positive and not 0 (RFC 5280, 4.1.2.2). */
static bool set_serial(X509 *certificate)
{
	unsigned char bytes[SERIAL_BYTES];
	BIGNUM *number;
	bool ok;

	fl_random(bytes, sizeof(bytes));
	bytes[SERIAL_BYTES - 1] |= 1;
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = number != NULL &&
	     BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return ok;
}

static bool set_times(X509 *certificate, int64_t not_before, int64_t not_after)
{
	return ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)not_before) != NULL &&
	       ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)not_after) != NULL;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool ok;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return ok;
}

/* What a CA's certificate and a leaf have in common; unsigned yet. */
static enum fl_code begin(const char *fleet, const char *name, EVP_PKEY *key,
	X509 **ret_certificate, struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = X509_new();

	if (certificate == NULL || X509_set_version(certificate, X509_VERSION_3) != 1 ||
		!set_serial(certificate) || !set_subject(certificate, fleet, name) ||
		X509_set_pubkey(certificate, key) != 1)
		return fail(err, "certificate");
	*ret_certificate = FL_TAKE(certificate);
	return FL_OK;
}

static enum fl_code check_fleet(const char *fleet, struct fl_error *err)
{
	char uri[IDENTITY_URI_MAX];
	struct identity identity;

	if (strlen(fleet) > CA_FLEET_MAX)
		return FL_FAIL(
			err, FL_E_INVALID, "a fleet's name has at most %d bytes", CA_FLEET_MAX);
	(void)snprintf(uri, sizeof(uri), "flota://%s/coordinator", fleet);
	if (identity_parse(uri, &identity, NULL) != FL_OK || strcmp(identity.fleet, fleet) != 0)
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is no name for a fleet: use letters, digits, \".\", \"_\", \"-\"",
			fleet);
	return FL_OK;
}

static enum fl_code cut_to_ca(const struct ca *ca, int64_t *not_after, struct fl_error *err)
{
	struct tm end = {0};
	int64_t ca_end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(ca->certificate), &end) != 1)
		return fail(err, "the CA's certificate");
	ca_end = (int64_t)timegm(&end);
	if (*not_after > ca_end)
		*not_after = ca_end;
	return FL_OK;
}

/* By itself, or by @issuer, which is of the same name. */
static enum fl_code sign_ca(const char *fleet, EVP_PKEY *key, const struct ca *issuer,
	X509 **ret_certificate, struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;
	int64_t now = (int64_t)time(NULL), not_after = now + CA_LIFE_S;

	if (issuer != NULL)
		FL_TRY(cut_to_ca(issuer, &not_after, err));
	FL_TRY(begin(fleet, "flota CA", key, &certificate, err));
	if (!set_times(certificate, now - BACKDATED_S, not_after) ||
		X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
		!add_extension(certificate, certificate, NID_basic_constraints,
			"critical,CA:TRUE,pathlen:0") ||
		!add_extension(
			certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
		!add_extension(certificate, certificate, NID_subject_key_identifier, "hash") ||
		!add_extension(certificate, issuer != NULL ? issuer->certificate : certificate,
			NID_authority_key_identifier, "keyid:always") ||
		X509_sign(certificate, issuer != NULL ? issuer->key : key, EVP_sha256()) == 0)
		return fail(err, "CA certificate");
	*ret_certificate = FL_TAKE(certificate);
	return FL_OK;
}

enum fl_code ca_create(
	const char *fleet, struct ca **ret_ca, struct ca_pair *ret_pair, struct fl_error *err)
{
	FL_CLEANUP(ca_freep) struct ca *ca = FL_NEW(struct ca);
	FL_CLEANUP(ca_pair_fini) struct ca_pair pair = {0};

	if (ca == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(check_fleet(fleet, err));
	(void)snprintf(ca->fleet, sizeof(ca->fleet), "%s", fleet);
	ca->key = EVP_EC_gen("P-256");
	if (ca->key == NULL)
		return fail(err, "key");
	FL_TRY(sign_ca(fleet, ca->key, NULL, &ca->certificate, err));
	FL_TRY(certificate_to_pem(ca->certificate, &ca->pem, err));
	FL_TRY(set_id(ca, err));
	FL_TRY(certificate_to_pem(ca->certificate, &pair.certificate, err));
	FL_TRY(key_to_pem(ca->key, &pair.key, err));
	*ret_ca = FL_TAKE(ca);
	pair_move(ret_pair, &pair);
	return FL_OK;
}

/* ---- Loading -- */

static enum fl_code load_certificate(struct ca *ca, const char *path, struct fl_error *err)
{
	FL_CLEANUP(BIO_vfreep) BIO *bio = NULL;
	FL_CLEANUP(X509_freep) X509 *previous = NULL;
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;
	int n;

	FL_TRY(fl_file_read(path, PEM_MAX_BYTES, &text, &len, err));
	bio = BIO_new_mem_buf(text, (int)len);
	if (bio == NULL)
		return FL_FAIL_NO_MEMORY(err);
	ca->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (ca->certificate == NULL)
		return fail(err, path);
	FL_TRY(certificate_to_pem(ca->certificate, &ca->pem, err));
	FL_TRY(set_id(ca, err));
	previous = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ERR_clear_error();
	if (previous != NULL)
		ca->accepted = FL_TAKE(text);
	n = X509_NAME_get_text_by_NID(X509_get_subject_name(ca->certificate), NID_organizationName,
		ca->fleet, sizeof(ca->fleet));
	if (X509_check_ca(ca->certificate) != 1 || n <= 0 || check_fleet(ca->fleet, NULL) != FL_OK)
		return FL_FAIL(
			err, FL_E_INVALID, "%s is not the certificate of a fleet's CA", path);
	return FL_OK;
}

static enum fl_code load_key(struct ca *ca, const char *path, struct fl_error *err)
{
	FL_CLEANUP(BIO_vfreep) BIO *bio = NULL;
	char *pem = NULL;
	struct stat st;
	size_t len;

	if (stat(path, &st) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return FL_FAIL(err, FL_E_DENIED,
			"%s can be read by others, who could sign for the fleet: chmod 600 it",
			path);
	FL_TRY(fl_file_read(path, PEM_MAX_BYTES, &pem, &len, err));
	bio = BIO_new_mem_buf(pem, (int)len);
	if (bio != NULL)
		ca->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	fl_free_secret(pem, len);
	if (ca->key == NULL)
		return fail(err, path);
	if (X509_check_private_key(ca->certificate, ca->key) != 1) {
		ERR_clear_error();
		return FL_FAIL(
			err, FL_E_INVALID, "%s is not the key of the CA's certificate", path);
	}
	return FL_OK;
}

/* A crash came between the CA's certificate and its key. */
static enum fl_code mend_key(struct ca *ca, const char *path, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *next = fl_printf("%s.next", path);

	if (next == NULL)
		return FL_FAIL_NO_MEMORY(err);
	EVP_PKEY_free(FL_TAKE(ca->key));
	if (load_key(ca, next, NULL) != FL_OK)
		return err->code; /* as it was */
	if (rename(next, path) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	return FL_OK;
}

enum fl_code ca_load(const char *directory, struct ca **ret_ca, struct fl_error *err)
{
	FL_CLEANUP(ca_freep) struct ca *ca = FL_NEW(struct ca);
	FL_CLEANUP(fl_freep) char *certificate = fl_printf("%s/ca.crt", directory);
	FL_CLEANUP(fl_freep) char *key = fl_printf("%s/ca.key", directory);
	enum fl_code code;

	if (ca == NULL || certificate == NULL || key == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(load_certificate(ca, certificate, err));
	code = load_key(ca, key, err);
	if (code == FL_E_INVALID)
		code = mend_key(ca, key, err);
	FL_TRY(code);
	*ret_ca = FL_TAKE(ca);
	return FL_OK;
}

/* ---- Leaves -- */

static bool is_ip_address(const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

/* @text never reaches OpenSSL's configuration syntax, in which "," and ":" have a meaning. */
static bool add_name(GENERAL_NAMES *names, int type, const char *text)
{
	FL_CLEANUP(GENERAL_NAME_freep)
	GENERAL_NAME *name = a2i_GENERAL_NAME(NULL, NULL, NULL, type, text, 0);

	if (name == NULL || sk_GENERAL_NAME_push(names, name) == 0)
		return false;
	(void)FL_TAKE(name);
	return true;
}

static enum fl_code add_alternative_names(X509 *certificate, const struct identity *identity,
	const struct fl_strv *addresses, struct fl_error *err)
{
	FL_CLEANUP(GENERAL_NAMES_freep) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	char uri[IDENTITY_URI_MAX];

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	identity_format(identity, uri);
	if (!add_name(names, GEN_URI, uri))
		return fail(err, uri);
	for (size_t i = 0; addresses != NULL && i < addresses->n; i++) {
		const char *address = addresses->items[i];

		if (!add_name(names, is_ip_address(address) ? GEN_IPADD : GEN_DNS, address))
			return fail(err, address);
	}
	if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1)
		return fail(err, "alternative names");
	return FL_OK;
}

static enum fl_code sign_leaf(const struct ca *ca, const struct identity *identity,
	const struct fl_strv *addresses, int64_t not_after, EVP_PKEY *key, X509 **ret_certificate,
	struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;
	int64_t not_before = (int64_t)time(NULL) - BACKDATED_S;
	const char *purpose = identity->kind == IDENTITY_COORDINATOR ? "serverAuth" : "clientAuth";
	char name[2 * IDENTITY_PART_MAX];

	FL_TRY(cut_to_ca(ca, &not_after, err));
	if (not_before >= not_after)
		not_before = not_after - DAY_S;
	identity_describe(identity, name, sizeof(name));
	FL_TRY(begin(ca->fleet, name, key, &certificate, err));
	FL_TRY(add_alternative_names(certificate, identity, addresses, err));
	if (!set_times(certificate, not_before, not_after) ||
		X509_set_issuer_name(certificate, X509_get_subject_name(ca->certificate)) != 1 ||
		!add_extension(
			certificate, ca->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
		!add_extension(
			certificate, ca->certificate, NID_key_usage, "critical,digitalSignature") ||
		!add_extension(certificate, ca->certificate, NID_ext_key_usage, purpose) ||
		!add_extension(certificate, ca->certificate, NID_subject_key_identifier, "hash") ||
		!add_extension(certificate, ca->certificate, NID_authority_key_identifier,
			"keyid:always") ||
		X509_sign(certificate, ca->key, EVP_sha256()) == 0)
		return fail(err, "certificate");
	*ret_certificate = FL_TAKE(certificate);
	return FL_OK;
}

enum fl_code ca_issue(const struct ca *ca, const struct identity *identity,
	const struct fl_strv *addresses, int64_t not_after, struct ca_pair *ret_pair,
	struct fl_error *err)
{
	FL_CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;
	FL_CLEANUP(ca_pair_fini) struct ca_pair pair = {0};

	fl_assert(strcmp(identity->fleet, ca->fleet) == 0);
	if (key == NULL)
		return fail(err, "key");
	FL_TRY(sign_leaf(ca, identity, addresses, not_after, key, &certificate, err));
	FL_TRY(certificate_to_pem(certificate, &pair.certificate, err));
	FL_TRY(key_to_pem(key, &pair.key, err));
	pair_move(ret_pair, &pair);
	return FL_OK;
}

/* ---- Keys that are made elsewhere -- */

struct ca_request {
	EVP_PKEY *key;
};

FL_DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)

enum fl_code ca_pin(const struct ca *ca, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err)
{
	return tls_certificate_pin(ca->certificate, ret_pin, err);
}

static enum fl_code check_request_key(EVP_PKEY *key, struct fl_error *err)
{
	char curve[32] = "";

	if (EVP_PKEY_is_a(key, "EC") != 1 ||
		EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) != 1 ||
		strcmp(curve, "prime256v1") != 0) {
		ERR_clear_error();
		return FL_FAIL(err, FL_E_INVALID, "the key is not ECDSA P-256");
	}
	return FL_OK;
}

enum fl_code ca_request_read(
	const void *der, size_t len, struct ca_request **ret_request, struct fl_error *err)
{
	const unsigned char *at = der;
	FL_CLEANUP(X509_REQ_freep) X509_REQ *wanted = NULL;
	FL_CLEANUP(ca_request_freep) struct ca_request *request = FL_NEW(struct ca_request);

	ERR_clear_error();
	if (request == NULL)
		return FL_FAIL_NO_MEMORY(err);
	wanted = d2i_X509_REQ(NULL, &at, (long)len);
	if (wanted == NULL || at != (const unsigned char *)der + len ||
		(request->key = X509_REQ_get_pubkey(wanted)) == NULL) {
		ERR_clear_error();
		return FL_FAIL(err, FL_E_INVALID, "the key request is not PKCS#10");
	}
	FL_TRY(check_request_key(request->key, err));
	if (X509_REQ_verify(wanted, request->key) != 1) {
		ERR_clear_error();
		return FL_FAIL(err, FL_E_INVALID, "the key request is not signed by its own key");
	}
	*ret_request = FL_TAKE(request);
	return FL_OK;
}

void ca_request_free(struct ca_request *request)
{
	if (request == NULL)
		return;
	EVP_PKEY_free(request->key);
	free(request);
}

enum fl_code ca_request_pin(
	const struct ca_request *request, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err)
{
	return tls_key_pin(request->key, ret_pin, err);
}

enum fl_code ca_sign(const struct ca *ca, const struct identity *identity,
	const struct ca_request *request, int64_t not_after, char **ret_pem, struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;

	fl_assert(strcmp(identity->fleet, ca->fleet) == 0);
	FL_TRY(sign_leaf(ca, identity, NULL, not_after, request->key, &certificate, err));
	return certificate_to_pem(certificate, ret_pem, err);
}

/* ---- From one CA to the next -- */

enum fl_code ca_end(const struct ca *ca, int64_t *ret_end, struct fl_error *err)
{
	int64_t end = INT64_MAX;

	FL_TRY(cut_to_ca(ca, &end, err));
	*ret_end = end;
	return FL_OK;
}

enum fl_code ca_cross_sign(
	const struct ca *ca, const struct ca *previous, char **ret_pem, struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = NULL;

	fl_assert(strcmp(ca->fleet, previous->fleet) == 0);
	FL_TRY(sign_ca(ca->fleet, ca->key, previous, &certificate, err));
	return certificate_to_pem(certificate, ret_pem, err);
}

static X509 *read_first(const char *path, struct fl_error *err)
{
	FL_CLEANUP(BIO_vfreep) BIO *bio = NULL;
	FL_CLEANUP(fl_freep) char *text = NULL;
	X509 *certificate;
	size_t len;

	if (fl_file_read(path, PEM_MAX_BYTES, &text, &len, err) != FL_OK)
		return NULL;
	bio = BIO_new_mem_buf(text, (int)len);
	certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	if (certificate == NULL)
		(void)fail(err, path);
	return certificate;
}

bool ca_has_signed(const struct ca *ca, const char *path)
{
	FL_CLEANUP(X509_freep) X509 *certificate = read_first(path, NULL);
	bool has = certificate != NULL && X509_verify(certificate, ca->key) == 1;

	ERR_clear_error();
	return has;
}

static enum fl_code add_address(
	const GENERAL_NAME *name, struct fl_strv *addresses, struct fl_error *err)
{
	const ASN1_OCTET_STRING *ip = name->d.iPAddress;
	char text[INET6_ADDRSTRLEN];

	if (name->type == GEN_DNS)
		return fl_strv_add(
			addresses, (const char *)ASN1_STRING_get0_data(name->d.dNSName), err);
	if (name->type != GEN_IPADD ||
		inet_ntop(ASN1_STRING_length(ip) == 4 ? AF_INET : AF_INET6,
			ASN1_STRING_get0_data(ip), text, sizeof(text)) == NULL)
		return FL_OK;
	return fl_strv_add(addresses, text, err);
}

enum fl_code ca_read_addresses(
	const char *path, struct fl_strv *ret_addresses, struct fl_error *err)
{
	FL_CLEANUP(X509_freep) X509 *certificate = read_first(path, err);
	FL_CLEANUP(GENERAL_NAMES_freep) GENERAL_NAMES *names = NULL;

	if (certificate == NULL)
		return err->code;
	names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		FL_TRY(add_address(sk_GENERAL_NAME_value(names, i), ret_addresses, err));
	return FL_OK;
}
