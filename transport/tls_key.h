/*
 * A machine's own key: made where it is used, and never sent. What leaves is a request (PKCS#10,
 * RFC 2986) that shows that we hold it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "transport/tls.h"

/* ECDSA P-256, as PEM that root alone can read, on disk when this returns. */
enum fl_code tls_key_make(const char *path, struct fl_error *err) FL_MUST_CHECK;

/* A request for a certificate for the key at @path; it asks for nothing else. *ret_der is the
 * caller's. */
enum fl_code tls_key_request(
	const char *path, uint8_t **ret_der, size_t *ret_len, struct fl_error *err) FL_MUST_CHECK;

/* Whether the certificate at @certificate_path is for the key at @key_path; false where one of them
 * cannot be read, too. */
bool tls_key_fits(const char *key_path, const char *certificate_path);

/* SHA-256 of the key of the first certificate in the file, as tls_credentials_pinned() wants it. */
enum fl_code tls_file_pin(
	const char *path, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err) FL_MUST_CHECK;

/* When the certificate at @path begins and ends, in seconds since 1970. */
enum fl_code tls_certificate_times(
	const char *path, int64_t *ret_begin, int64_t *ret_end, struct fl_error *err) FL_MUST_CHECK;
