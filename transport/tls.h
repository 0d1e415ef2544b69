/*
 * Certificates and the OpenSSL engine that nng's TLS transport runs on: TLS 1.3 only, both sides
 * show a certificate, session tickets off.
 */
#pragma once

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

/* Loads and checks that the key is the certificate's, that the CA signed it, and that it names an
 * identity. Errors name the file and what to do. */
enum fl_code tls_credentials_load(const struct tls_files *files,
	struct tls_credentials **ret_credentials, struct fl_error *err) FL_MUST_CHECK;
struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials);
void tls_credentials_unref(struct tls_credentials *credentials);
FL_DEFINE_CLEANUP(struct tls_credentials *, tls_credentials_unref)

/* Who they say we are. */
const struct identity *tls_credentials_identity(const struct tls_credentials *credentials);
