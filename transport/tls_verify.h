/*
 * Whom a TLS session accepts. The CA's signature and the validity are OpenSSL's to check; what the
 * certificate may be used for, and whom it names, is checked here, inside the handshake, so that a
 * refused peer gets a TLS alert and never a byte of ours.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/error.h"
#include "transport/identity.h"

enum tls_role {
	TLS_CLIENT, /* we dial: the peer is to be our fleet's coordinator */
	TLS_SERVER, /* we listen: the peer is a machine, an operator or a user of our fleet */
};

/* The state of one session's check; lives as long as its SSL. */
struct tls_check {
	const struct identity *own;
	enum tls_role role;
	struct identity peer; /* valid once the handshake has ended well */
	char why[256]; /* why the peer's certificate was refused; "" while it was not */
};

/* Makes @ssl demand a certificate that passes @check (borrowed). */
void tls_verify_install(SSL *ssl, struct tls_check *check);

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
