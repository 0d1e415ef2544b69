/*
 * Certificates and the OpenSSL engine that nng's TLS transport runs on: TLS 1.3 only, both sides
 * show a certificate, session tickets off.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "transport/identity.h"

/* Paths of PEM files. The key file must not be readable by others. */
struct tls_files {
	const char *ca;
	const char *certificate;
	const char *key;
};

struct tls_credentials; /* loaded and checked, immutable, counted */

/* Behind the certificate its file may hold those of CAs, which are shown with it: for peers that know
 * an older CA only. Loads and checks that the key is the certificate's, that the CA signed it, that it names an
 * identity (a URI of identity.h in its subject alternative names) and may be used for it: key usage
 * digitalSignature, extended key usage serverAuth for a coordinator and clientAuth for others. Its
 * dates are checked at each handshake. Errors name the file and what to do. */
enum fl_code tls_credentials_load(const struct tls_files *files,
	struct tls_credentials **ret_credentials, struct fl_error *err) FL_MUST_CHECK;

#define TLS_PIN_BYTES IDENTITY_PIN_BYTES

/* Of a machine that has no certificate yet: it shows none, and takes for the coordinator whose
 * certificate the CA with this key signed, before a byte is sent. The pin is SHA-256 of that key
 * (SubjectPublicKeyInfo). Such credentials have no identity (IDENTITY_NONE). */
enum fl_code tls_credentials_pinned(const uint8_t pin[TLS_PIN_BYTES],
	struct tls_credentials **ret_credentials, struct fl_error *err) FL_MUST_CHECK;

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials);
void tls_credentials_unref(struct tls_credentials *credentials);
FL_DEFINE_CLEANUP(struct tls_credentials *, tls_credentials_unref)

/* Who they say we are. */
const struct identity *tls_credentials_identity(const struct tls_credentials *credentials);

/* OpenSSL's SSL_CTX, for the engine; borrowed. Its sessions verify their peer once tls_verify_install()
 * was called on them. */
struct ssl_ctx_st *tls_credentials_context(const struct tls_credentials *credentials);
