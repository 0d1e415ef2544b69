#include "transport/tls_verify.h"

#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum fl_code tls_certificate_identity(
	X509 *certificate, struct identity *ret_identity, struct fl_error *err)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	enum fl_code code = FL_OK;
	struct identity identity = {.kind = IDENTITY_NONE};
	int found = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const char *uri;

		if (name->type != GEN_URI)
			continue;
		if (found++ > 0) {
			code = FL_FAIL(
				err, FL_E_INVALID, "the certificate names more than one identity");
			break;
		}
		uri = (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
		/* A 0 byte inside would hide what follows it. */
		if (strlen(uri) != (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier))
			code = FL_FAIL(
				err, FL_E_INVALID, "the certificate's identity has a 0 byte");
		else
			code = identity_parse(uri, &identity, err);
	}
	GENERAL_NAMES_free(names);
	if (found == 0)
		return FL_FAIL(err, FL_E_INVALID, "the certificate names no identity");
	if (code == FL_OK)
		*ret_identity = identity;
	return code;
}

enum fl_code tls_certificate_usage(X509 *certificate, enum tls_role role, struct fl_error *err)
{
	uint32_t flags = X509_get_extension_flags(certificate);
	uint32_t wanted = role == TLS_CLIENT ? XKU_SSL_CLIENT : XKU_SSL_SERVER;

	if ((flags & EXFLAG_INVALID) != 0)
		return FL_FAIL(err, FL_E_INVALID, "the certificate's extensions are malformed");
	if ((flags & EXFLAG_CA) != 0)
		return FL_FAIL(err, FL_E_INVALID, "the certificate is a CA's");
	if ((flags & EXFLAG_KUSAGE) == 0 ||
		(X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE) == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"the certificate is not for signing (key usage digitalSignature)");
	if ((flags & EXFLAG_XKUSAGE) == 0 ||
		(X509_get_extended_key_usage(certificate) & wanted) == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"the certificate is not for a %s (extended key usage %s)",
			role == TLS_CLIENT ? "client" : "server",
			role == TLS_CLIENT ? "clientAuth" : "serverAuth");
	return FL_OK;
}

static void format_time(const ASN1_TIME *when, char *text, size_t size)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(when, &tm) != 1 || strftime(text, size, "%F %T UTC", &tm) == 0)
		snprintf(text, size, "an unknown date");
}

void tls_verify_error_text(int error, X509 *certificate, char *text, size_t size)
{
	char when[64];

	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		if (certificate == NULL)
			break;
		format_time(X509_get0_notAfter(certificate), when, sizeof(when));
		snprintf(text, size, "the certificate has expired (on %s)", when);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		if (certificate == NULL)
			break;
		format_time(X509_get0_notBefore(certificate), when, sizeof(when));
		snprintf(text, size, "the certificate is not valid before %s (is the clock right?)",
			when);
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
		snprintf(text, size, "the certificate is signed by another CA");
		return;
	default:
		break;
	}
	snprintf(text, size, "the certificate is not accepted: %s",
		X509_verify_cert_error_string(error));
}

void tls_alert_text(int alert, char *text, size_t size)
{
	switch (alert) {
	case SSL_AD_CERTIFICATE_REQUIRED:
		snprintf(text, size, "the peer wants a certificate and got none");
		return;
	case SSL_AD_CERTIFICATE_EXPIRED:
		snprintf(text, size, "the peer refused our certificate: it has expired");
		return;
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_DECRYPT_ERROR:
		snprintf(
			text, size, "the peer refused our certificate: it is signed by another CA");
		return;
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
		snprintf(text, size,
			"the peer refused our certificate: it is of another fleet or kind, not for "
			"this use, or not valid yet (is the clock right?)");
		return;
	case SSL_AD_CERTIFICATE_REVOKED:
		snprintf(text, size, "the peer refused our certificate: it is revoked");
		return;
	case SSL_AD_PROTOCOL_VERSION:
		snprintf(text, size, "the peer does not speak TLS 1.3");
		return;
	default:
		snprintf(text, size, "the peer ended the TLS session (alert %d, %s)", alert,
			SSL_alert_desc_string_long(alert));
	}
}

/* Whether who @certificate names may be at the other end. */
static enum fl_code check_peer(struct tls_check *check, X509 *certificate, struct fl_error *err)
{
	char uri[IDENTITY_URI_MAX];

	FL_TRY(tls_certificate_usage(
		certificate, check->role == TLS_CLIENT ? TLS_SERVER : TLS_CLIENT, err));
	FL_TRY(tls_certificate_identity(certificate, &check->peer, err));
	identity_format(&check->peer, uri);
	/* Who joins learns its fleet here, and has the pin for it. */
	if (check->own->kind != IDENTITY_NONE && strcmp(check->peer.fleet, check->own->fleet) != 0)
		return FL_FAIL(err, FL_E_DENIED, "%s is of another fleet", uri);
	if (check->role == TLS_CLIENT && check->peer.kind != IDENTITY_COORDINATOR)
		return FL_FAIL(err, FL_E_DENIED, "%s is not the fleet's coordinator", uri);
	if (check->role == TLS_SERVER && check->peer.kind == IDENTITY_COORDINATOR)
		return FL_FAIL(err, FL_E_DENIED, "%s is no client", uri);
	return FL_OK;
}

/* By which key, and which CA, the peer is who it is. */
static enum fl_code note_key(
	SSL *ssl, struct tls_check *check, X509 *certificate, struct fl_error *err)
{
	const ASN1_OCTET_STRING *ours = X509_get0_authority_key_id(SSL_get_certificate(ssl));
	const ASN1_OCTET_STRING *its = X509_get0_authority_key_id(certificate);

	check->peer.is_of_other_ca =
		ours != NULL && its != NULL && ASN1_OCTET_STRING_cmp(ours, its) != 0;
	return tls_certificate_pin(certificate, check->peer.key_pin, err);
}

static int check_not_revoked(struct tls_check *check, X509_STORE_CTX *store)
{
	if (check->revoked == NULL || check->peer.kind != IDENTITY_MACHINE ||
		!revoked_has(check->revoked, check->peer.name))
		return 1;
	snprintf(check->why, sizeof(check->why), "machine %s was revoked", check->peer.name);
	X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED); /* its alert says so */
	return 0;
}

/* SSL_CTX_set_verify(3): called from the root down to the peer's own certificate, each time one has
 * passed OpenSSL's checks (@ok) or failed one. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_check *check = SSL_get_app_data(ssl);
	X509 *certificate = X509_STORE_CTX_get_current_cert(store);
	struct fl_error err;

	if (!ok) {
		tls_verify_error_text(X509_STORE_CTX_get_error(store), certificate, check->why,
			sizeof(check->why));
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(store) > 0)
		return 1;
	if (check_peer(check, certificate, &err) == FL_OK) {
		if (check->role == TLS_CLIENT)
			return 1;
		if (note_key(ssl, check, certificate, &err) == FL_OK)
			return check_not_revoked(check, store);
	}
	snprintf(check->why, sizeof(check->why), "%.*s", (int)sizeof(check->why) - 1, err.text);
	X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
	return 0;
}

/* The certificate of @chain that is a CA's with that key; borrowed. */
static X509 *find_pinned(STACK_OF(X509) * chain, const uint8_t *pin)
{
	uint8_t has[TLS_PIN_BYTES];

	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *certificate = sk_X509_value(chain, i);

		if (X509_check_ca(certificate) == 1 &&
			tls_certificate_pin(certificate, has, NULL) == FL_OK &&
			memcmp(has, pin, TLS_PIN_BYTES) == 0)
			return certificate;
	}
	return NULL;
}

/* OpenSSL's own verification, as if @ca were all that we trust. */
static int verify_with(X509_STORE_CTX *outer, SSL *ssl, X509 *ca)
{
	X509_STORE *trusted = X509_STORE_new();
	X509_STORE_CTX *inner = X509_STORE_CTX_new();
	int ok = 0;

	if (trusted != NULL && inner != NULL && X509_STORE_add_cert(trusted, ca) == 1 &&
		X509_STORE_CTX_init(inner, trusted, X509_STORE_CTX_get0_cert(outer),
			X509_STORE_CTX_get0_untrusted(outer)) == 1 &&
		X509_STORE_CTX_set_ex_data(inner, SSL_get_ex_data_X509_STORE_CTX_idx(), ssl) == 1) {
		/* The pin may be that of a CA which another one has signed for the while of a
		 * change from one to the other. */
		X509_STORE_CTX_set_flags(inner, X509_V_FLAG_PARTIAL_CHAIN);
		X509_STORE_CTX_set_verify_cb(inner, on_verify);
		ok = X509_verify_cert(inner) == 1;
		X509_STORE_CTX_set_error(outer, X509_STORE_CTX_get_error(inner));
	} else {
		X509_STORE_CTX_set_error(outer, X509_V_ERR_OUT_OF_MEM);
	}
	X509_STORE_CTX_free(inner);
	X509_STORE_free(trusted);
	return ok;
}

int tls_verify_pinned(X509_STORE_CTX *store, void *pin)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_check *check = SSL_get_app_data(ssl);
	X509 *ca = find_pinned(X509_STORE_CTX_get0_untrusted(store), pin);

	if (ca != NULL)
		return verify_with(store, ssl, ca);
	snprintf(check->why, sizeof(check->why),
		"its CA is not the one that the token names: another fleet's coordinator, or "
		"somebody in between");
	X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
	return 0;
}

static enum fl_code pin_of(
	uint8_t *der, int len, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err)
{
	bool ok = len > 0 && EVP_Digest(der, (size_t)len, ret_pin, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return ok ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

enum fl_code tls_key_pin(const EVP_PKEY *key, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err)
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	return pin_of(der, len, ret_pin, err);
}

enum fl_code tls_certificate_pin(
	X509 *certificate, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err)
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

	return pin_of(der, len, ret_pin, err);
}

void tls_verify_install(SSL *ssl, struct tls_check *check)
{
	SSL_set_app_data(ssl, check);
	if (check->role == TLS_DOOR) {
		SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
		check->peer = (struct identity){.kind = IDENTITY_JOINER};
		memcpy(check->peer.fleet, check->own->fleet, sizeof(check->peer.fleet));
		return;
	}
	SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
}
