/* Certificates as others see them: OpenSSL verifies each, for its purpose. */
#include "coordinator/ca.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/file.h"
#include "transport/tls_verify.h"

static struct ca *ca;
static struct ca_pair ca_files;

static int setup(void **state)
{
	(void)state;
	return ca_create("lab.1", &ca, &ca_files, NULL) == FL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	ca_free(ca);
	ca_pair_fini(&ca_files);
	return 0;
}

static X509 *certificate_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(certificate);
	return certificate;
}

static EVP_PKEY *key_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(key);
	return key;
}

/* X509_V_OK, or what OpenSSL has against it. */
static int verify_by(const char *ca_pem, const char *between_pem, const char *pem, int purpose)
{
	X509 *root = certificate_of(ca_pem), *leaf = certificate_of(pem);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	STACK_OF(X509) *between = sk_X509_new_null();
	int result;

	if (between_pem != NULL)
		assert_true(sk_X509_push(between, certificate_of(between_pem)) > 0);
	assert_int_equal(X509_STORE_add_cert(store, root), 1);
	assert_int_equal(X509_STORE_CTX_init(context, store, leaf, between), 1);
	X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT);
	assert_int_equal(X509_STORE_CTX_set_purpose(context, purpose), 1);
	(void)X509_verify_cert(context);
	result = X509_STORE_CTX_get_error(context);
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	sk_X509_pop_free(between, X509_free);
	X509_free(root);
	X509_free(leaf);
	return result;
}

static int verify(const char *ca_pem, const char *pem, int purpose)
{
	return verify_by(ca_pem, NULL, pem, purpose);
}

static struct ca_pair issue(enum identity_kind kind, const char *name,
	const struct fl_strv *addresses, int64_t not_after)
{
	struct identity identity = {.kind = kind, .fleet = "lab.1"};
	struct ca_pair pair = {0};
	struct fl_error err = {0};

	(void)snprintf(identity.name, sizeof(identity.name), "%s", name);
	if (ca_issue(ca, &identity, addresses, not_after, &pair, &err) != FL_OK)
		fail_msg("%s", err.text);
	return pair;
}

static int64_t in_days(int days)
{
	return (int64_t)time(NULL) + (int64_t)days * 86400;
}

/* The URI among the alternative names, and that there is one. */
static void assert_uri(const char *pem, const char *uri)
{
	X509 *certificate = certificate_of(pem);
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	int n_uris = 0;

	assert_non_null(names);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *text = name->d.uniformResourceIdentifier;

		if (name->type != GEN_URI)
			continue;
		n_uris++;
		assert_int_equal(ASN1_STRING_length(text), strlen(uri));
		assert_memory_equal(ASN1_STRING_get0_data(text), uri, strlen(uri));
	}
	assert_int_equal(n_uris, 1);
	GENERAL_NAMES_free(names);
	X509_free(certificate);
}

static void test_purposes(void **state)
{
	static const struct {
		enum identity_kind kind;
		const char *name, *uri;
		int client, server;
	} rows[] = {
		{IDENTITY_MACHINE, "3f2a", "flota://lab.1/machine/3f2a", X509_V_OK,
			X509_V_ERR_INVALID_PURPOSE},
		{IDENTITY_OPERATOR, "ana", "flota://lab.1/operator/ana", X509_V_OK,
			X509_V_ERR_INVALID_PURPOSE},
		{IDENTITY_COORDINATOR, "", "flota://lab.1/coordinator", X509_V_ERR_INVALID_PURPOSE,
			X509_V_OK},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct ca_pair pair = issue(rows[i].kind, rows[i].name, NULL, in_days(1));
		X509 *certificate = certificate_of(pair.certificate);
		EVP_PKEY *key = key_of(pair.key);

		assert_int_equal(X509_check_private_key(certificate, key), 1);
		assert_int_equal(X509_check_ca(certificate), 0);
		assert_uri(pair.certificate, rows[i].uri);
		assert_int_equal(
			verify(ca_certificate(ca), pair.certificate, X509_PURPOSE_SSL_CLIENT),
			rows[i].client);
		assert_int_equal(
			verify(ca_certificate(ca), pair.certificate, X509_PURPOSE_SSL_SERVER),
			rows[i].server);
		EVP_PKEY_free(key);
		X509_free(certificate);
		ca_pair_fini(&pair);
	}
}

static void test_addresses(void **state)
{
	FL_CLEANUP_STRV struct fl_strv addresses = {0};
	struct ca_pair pair;
	X509 *certificate;

	(void)state;
	assert_int_equal(
		fl_strv_split(&addresses, "c.example.org 10.77.0.1 fd00::1", " ", NULL), FL_OK);
	pair = issue(IDENTITY_COORDINATOR, "", &addresses, in_days(1));
	certificate = certificate_of(pair.certificate);
	assert_int_equal(X509_check_host(certificate, "c.example.org", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(certificate, "d.example.org", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(certificate, "10.77.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(certificate, "fd00::1", 0), 1);
	X509_free(certificate);
	ca_pair_fini(&pair);
}

static void test_times(void **state)
{
	struct ca_pair pair = issue(IDENTITY_MACHINE, "m", NULL, in_days(-100));
	X509 *certificate, *root;

	(void)state;
	assert_int_equal(verify(ca_certificate(ca), pair.certificate, X509_PURPOSE_SSL_CLIENT),
		X509_V_ERR_CERT_HAS_EXPIRED);
	ca_pair_fini(&pair);

	/* Good for a clock that is half an hour behind; and never for longer than its CA. */
	pair = issue(IDENTITY_MACHINE, "m", NULL, in_days(100000));
	certificate = certificate_of(pair.certificate);
	root = certificate_of(ca_certificate(ca));
	assert_int_equal(
		ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate), time(NULL) - 30 * 60), -1);
	assert_int_equal(
		ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(root)), 0);
	X509_free(certificate);
	X509_free(root);
	ca_pair_fini(&pair);
}

static void test_serials_differ(void **state)
{
	struct ca_pair first = issue(IDENTITY_MACHINE, "m", NULL, in_days(1));
	struct ca_pair second = issue(IDENTITY_MACHINE, "m", NULL, in_days(1));
	X509 *a = certificate_of(first.certificate), *b = certificate_of(second.certificate);

	(void)state;
	assert_int_not_equal(
		ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)), 0);
	X509_free(a);
	X509_free(b);
	ca_pair_fini(&first);
	ca_pair_fini(&second);
}

static void test_another_ca(void **state)
{
	struct ca_pair pair = issue(IDENTITY_MACHINE, "m", NULL, in_days(1));
	struct ca_pair other_files = {0};
	struct ca *other = NULL;

	(void)state;
	assert_int_equal(ca_create("lab.1", &other, &other_files, NULL), FL_OK);
	assert_int_not_equal(
		verify(ca_certificate(other), pair.certificate, X509_PURPOSE_SSL_CLIENT),
		X509_V_OK);
	ca_free(other);
	ca_pair_fini(&other_files);
	ca_pair_fini(&pair);
}

static void test_fleet_names(void **state)
{
	static const char *const bad[] = {"", "a b", "a/b", "ä",
		"12345678901234567890123456789012345678901234567890123456789012345"};
	struct ca_pair pair = {0};
	struct ca *made = NULL;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(bad); i++) {
		assert_int_equal(ca_create(bad[i], &made, &pair, NULL), FL_E_INVALID);
		assert_null(made);
	}
	assert_string_equal(ca_fleet(ca), "lab.1");
}

static void write_text(const char *folder, const char *name, const char *text, mode_t mode)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, name);

	assert_int_equal(fl_file_write(path, text, strlen(text), mode, false, NULL), FL_OK);
}

static void assert_not_loaded(const char *folder, enum fl_code code, const char *text)
{
	struct ca *loaded = NULL;
	struct fl_error err = {0};

	assert_int_equal(ca_load(folder, &loaded, &err), code);
	if (strstr(err.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void test_load(void **state)
{
	char folder[] = "/tmp/flota-ca-test-XXXXXX";
	FL_CLEANUP(fl_freep) char *command = NULL;
	struct ca_pair pair, other_files = {0};
	struct ca *loaded = NULL, *other = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_not_loaded(folder, FL_E_NOT_FOUND, "ca.crt");
	write_text(folder, "ca.crt", ca_files.certificate, 0644);
	assert_not_loaded(folder, FL_E_NOT_FOUND, "ca.key");
	write_text(folder, "ca.key", ca_files.key, 0644);
	assert_not_loaded(folder, FL_E_DENIED, "can be read by others");
	write_text(folder, "ca.key", ca_files.key, 0600);
	assert_int_equal(ca_load(folder, &loaded, NULL), FL_OK);
	assert_string_equal(ca_fleet(loaded), "lab.1");
	assert_string_equal(ca_certificate(loaded), ca_files.certificate);
	ca_free(loaded);

	assert_int_equal(ca_create("lab.1", &other, &other_files, NULL), FL_OK);
	write_text(folder, "ca.key", other_files.key, 0600);
	assert_not_loaded(folder, FL_E_INVALID, "not the key of the CA's certificate");
	write_text(folder, "ca.key", "nonsense", 0600);
	assert_not_loaded(folder, FL_E_INTERNAL, "ca.key");
	pair = issue(IDENTITY_MACHINE, "m", NULL, in_days(1));
	write_text(folder, "ca.crt", pair.certificate, 0644);
	assert_not_loaded(folder, FL_E_INVALID, "not the certificate of a fleet's CA");
	write_text(folder, "ca.crt", "nonsense", 0644);
	assert_not_loaded(folder, FL_E_INTERNAL, "ca.crt");

	ca_free(other);
	ca_pair_fini(&other_files);
	ca_pair_fini(&pair);
	command = fl_printf("rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

/* ---- Keys that are made elsewhere -- */

/* A request that asks for all that it must not get. */
static size_t greedy_request(EVP_PKEY *key, EVP_PKEY *signer, unsigned char **ret_der)
{
	X509_REQ *wanted = X509_REQ_new();
	STACK_OF(X509_EXTENSION) *extensions = NULL;
	X509_EXTENSION *name = X509V3_EXT_conf_nid(
		NULL, NULL, NID_subject_alt_name, "URI:flota://lab.1/coordinator");
	X509_EXTENSION *ca_flag =
		X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
	int len;

	assert_non_null(X509v3_add_ext(&extensions, name, -1));
	assert_non_null(X509v3_add_ext(&extensions, ca_flag, -1));
	assert_int_equal(X509_REQ_add_extensions(wanted, extensions), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(wanted), "CN",
				 MBSTRING_UTF8, (const unsigned char *)"operator ana", -1, -1, 0),
		1);
	assert_int_equal(X509_REQ_set_pubkey(wanted, key), 1);
	assert_true(X509_REQ_sign(wanted, signer, EVP_sha256()) > 0);
	*ret_der = NULL;
	len = i2d_X509_REQ(wanted, ret_der);
	assert_true(len > 0);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	X509_EXTENSION_free(name);
	X509_EXTENSION_free(ca_flag);
	X509_REQ_free(wanted);
	return (size_t)len;
}

static void test_request_gets_what_it_is_given(void **state)
{
	struct identity identity = {.kind = IDENTITY_MACHINE, .fleet = "lab.1", .name = "m1"};
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct ca_request *request = NULL;
	uint8_t pin[TLS_PIN_BYTES], other_pin[TLS_PIN_BYTES];
	struct identity named;
	unsigned char *der;
	size_t len = greedy_request(key, key, &der);
	X509 *certificate;
	char *pem;

	(void)state;
	assert_int_equal(ca_request_read(der, len, &request, NULL), FL_OK);
	assert_int_equal(ca_sign(ca, &identity, request, in_days(1), &pem, NULL), FL_OK);
	assert_int_equal(verify(ca_files.certificate, pem, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
	certificate = certificate_of(pem);
	assert_int_equal(tls_certificate_identity(certificate, &named, NULL), FL_OK);
	assert_int_equal(named.kind, IDENTITY_MACHINE);
	assert_string_equal(named.name, "m1");
	assert_int_equal(X509_check_ca(certificate), 0);
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(certificate), key), 1);
	assert_int_equal(ca_request_pin(request, pin, NULL), FL_OK);
	assert_int_equal(tls_certificate_pin(certificate, other_pin, NULL), FL_OK);
	assert_memory_equal(pin, other_pin, sizeof(pin));
	assert_int_equal(ca_pin(ca, other_pin, NULL), FL_OK);
	assert_memory_not_equal(pin, other_pin, sizeof(pin));
	X509_free(certificate);
	free(pem);
	ca_request_free(request);
	OPENSSL_free(der);
	EVP_PKEY_free(key);
}

static void assert_request_refused(const void *der, size_t len, const char *text)
{
	struct ca_request *request = NULL;
	struct fl_error err;

	assert_int_equal(ca_request_read(der, len, &request, &err), FL_E_INVALID);
	if (strstr(err.text, text) == NULL)
		fail_msg("wanted \"%s\", got \"%s\"", text, err.text);
	assert_null(request);
}

static void test_requests_that_are_refused(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	EVP_PKEY *wide = EVP_EC_gen("P-384"), *rsa = EVP_RSA_gen(2048);
	unsigned char *der;
	size_t len;

	(void)state;
	len = greedy_request(key, other, &der);
	assert_request_refused(der, len, "not signed by its own key");
	OPENSSL_free(der);
	len = greedy_request(wide, wide, &der);
	assert_request_refused(der, len, "not ECDSA P-256");
	OPENSSL_free(der);
	len = greedy_request(rsa, rsa, &der);
	assert_request_refused(der, len, "not ECDSA P-256");
	OPENSSL_free(der);
	len = greedy_request(key, key, &der);
	assert_request_refused(der, len - 1, "not PKCS#10");
	assert_request_refused("", 0, "not PKCS#10");
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(wide);
	EVP_PKEY_free(rsa);
}

/* Who knows the old CA alone follows it to what the new one has signed; nobody follows anything to
 * what the old one has signed who knows the new one alone. */
static void test_one_ca_after_the_other(void **state)
{
	const struct identity identity = {.kind = IDENTITY_COORDINATOR, .fleet = "lab.1"};
	struct ca *next, *stranger;
	struct ca_pair files = {0}, other = {0}, leaf = {0};
	struct ca_pair old_leaf = issue(IDENTITY_COORDINATOR, "", NULL, in_days(1));
	char *cross, *forged;
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(ca_create("lab.1", &next, &files, &err), FL_OK);
	assert_int_equal(ca_create("lab.1", &stranger, &other, &err), FL_OK);
	assert_string_not_equal(ca_id(next), ca_id(ca));
	assert_int_equal(ca_cross_sign(next, ca, &cross, &err), FL_OK);
	assert_int_equal(ca_cross_sign(next, stranger, &forged, &err), FL_OK);
	assert_int_equal(ca_issue(next, &identity, NULL, in_days(1), &leaf, &err), FL_OK);
	assert_int_equal(
		verify(files.certificate, leaf.certificate, X509_PURPOSE_SSL_SERVER), X509_V_OK);
	assert_int_equal(
		verify_by(ca_certificate(ca), cross, leaf.certificate, X509_PURPOSE_SSL_SERVER),
		X509_V_OK);
	assert_int_not_equal(
		verify(ca_certificate(ca), leaf.certificate, X509_PURPOSE_SSL_SERVER), X509_V_OK);
	assert_int_not_equal(
		verify_by(ca_certificate(ca), forged, leaf.certificate, X509_PURPOSE_SSL_SERVER),
		X509_V_OK);
	assert_int_not_equal(
		verify_by(files.certificate, cross, old_leaf.certificate, X509_PURPOSE_SSL_SERVER),
		X509_V_OK);
	free(cross);
	free(forged);
	ca_pair_fini(&files);
	ca_pair_fini(&other);
	ca_pair_fini(&leaf);
	ca_pair_fini(&old_leaf);
	ca_free(next);
	ca_free(stranger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_purposes),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_serials_differ),
		cmocka_unit_test(test_another_ca),
		cmocka_unit_test(test_fleet_names),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_one_ca_after_the_other),
		cmocka_unit_test(test_request_gets_what_it_is_given),
		cmocka_unit_test(test_requests_that_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
