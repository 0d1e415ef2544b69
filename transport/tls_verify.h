/*
 * Whom a TLS session accepts. The CA's signature and the validity are OpenSSL's to check; what the
 * certificate may be used for, and whom it names, is checked here, inside the handshake, so that a
 * refused peer gets a TLS alert and never a byte of ours.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/error.h"
#include "transport/identity.h"
#include "transport/revoked.h"
#include "transport/tls.h"

enum tls_role {
	TLS_CLIENT, /* we dial: the peer is to be our fleet's coordinator */
	TLS_SERVER, /* we listen: the peer is a machine, an operator or a user of our fleet */
	TLS_DOOR, /* we listen for machines that join, which have no certificate yet */
};

/* The state of one session's check; lives as long as its SSL. */
struct tls_check {
	const struct identity *own; /* of no fleet yet when we join one */
	enum tls_role role;
	struct revoked *revoked; /* machines that are not let in; nullable */
	struct identity peer; /* valid once the handshake has ended well */
	char why[256]; /* why the peer's certificate was refused; "" while it was not */
};

/* Makes @ssl demand a certificate that passes @check (borrowed); at a door, none. */
void tls_verify_install(SSL *ssl, struct tls_check *check);

/* SSL_CTX_set_cert_verify_callback(3) for who joins: accepts the peer's chain only if it ends in a CA
 * whose key @pin (TLS_PIN_BYTES) names, and then as tls_verify_install() does. */
int tls_verify_pinned(X509_STORE_CTX *store, void *pin);

/* SHA-256 of a key's SubjectPublicKeyInfo, or that of a certificate's key, as RFC 7469, section 2.4, pins it. */
enum fl_code tls_key_pin(
	const EVP_PKEY *key, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err) FL_MUST_CHECK;
enum fl_code tls_certificate_pin(
	X509 *certificate, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err) FL_MUST_CHECK;

/* The one identity that @certificate's subject alternative names hold. */
enum fl_code tls_certificate_identity(
	X509 *certificate, struct identity *ret_identity, struct fl_error *err) FL_MUST_CHECK;

/* Whether @certificate may be used in @role's place: "clientAuth" for who dials, "serverAuth" for
 * who listens, a key for signing, and not a CA's (RFC 5280, sections 4.2.1.3, 4.2.1.9 and
 * 4.2.1.12). FL_E_INVALID. */
enum fl_code tls_certificate_usage(
	X509 *certificate, enum tls_role role, struct fl_error *err) FL_MUST_CHECK;

/* An X509_V_ERR_* of @certificate (nullable), for a person: "signed by another CA", "expired on
 * ...". */
void tls_verify_error_text(int error, X509 *certificate, char *text, size_t size);

/* What the peer's alert (RFC 8446, section 6) tells of us. */
void tls_alert_text(int alert, char *text, size_t size);
