/*
 * The fleet's own certificate authority (DESIGN.md, "Trust"): one key, on the coordinator's disk,
 * that signs who is who. Peers trust it and nothing else.
 *
 * Keys are ECDSA P-256: every TLS 1.3 peer has to have it (RFC 8446, 9.1), hosts in FIPS mode have
 * it where they lack Ed25519, and OpenSSL signs with it about as fast.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/strv.h"
#include "transport/identity.h"
#include "transport/tls.h"

/* A certificate's O= holds the fleet's name, and X.509 gives that 64 bytes (RFC 5280, A.1). */
#define CA_FLEET_MAX 64

struct ca;

/* A certificate and its key, as PEM. */
struct ca_pair {
	char *certificate;
	char *key;
};
void ca_pair_fini(struct ca_pair *pair);

/* Makes a fleet's CA, valid for ten years, and the PEM texts of it to be kept. FL_E_INVALID where
 * @fleet is no name for a fleet. */
enum fl_code ca_create(const char *fleet, struct ca **ret_ca, struct ca_pair *ret_pair,
	struct fl_error *err) FL_MUST_CHECK;

/* Loads ca.crt and ca.key of @directory. Behind its own certificate ca.crt may have that of the CA
 * before. Where it is ca.key.next that fits, for a crash came between, it becomes ca.key. Errors
 * name the file. */
enum fl_code ca_load(const char *directory, struct ca **ret_ca, struct fl_error *err) FL_MUST_CHECK;

void ca_free(struct ca *ca);
FL_DEFINE_CLEANUP(struct ca *, ca_free)

const char *ca_fleet(const struct ca *ca);

/* The CA's own certificate as PEM, borrowed; and the same with the one before it, while that is
 * accepted too. */
const char *ca_certificate(const struct ca *ca);
const char *ca_accepted(const struct ca *ca);
bool ca_is_changing(const struct ca *ca);

/* A short name for the CA: the beginning of its key's pin, in hexadecimal. */
#define CA_ID_SIZE 17
const char *ca_id(const struct ca *ca);

/* When its certificate ends, in seconds since 1970. */
enum fl_code ca_end(const struct ca *ca, int64_t *ret_end, struct fl_error *err) FL_MUST_CHECK;

/* @ca's key in a certificate that @previous has signed, as PEM: who knows the previous one alone
 * can follow it to a leaf that @ca has signed (RFC 4210, 4.4: "new with old"). Both are of one
 * name, so it does not count for pathlen (RFC 5280, 4.2.1.9). */
enum fl_code ca_cross_sign(const struct ca *ca, const struct ca *previous, char **ret_pem,
	struct fl_error *err) FL_MUST_CHECK;

/* Whether the CA has signed the certificate at @path. */
bool ca_has_signed(const struct ca *ca, const char *path);

/* The host names and addresses in the certificate at @path. */
enum fl_code ca_read_addresses(
	const char *path, struct fl_strv *ret_addresses, struct fl_error *err) FL_MUST_CHECK;

/*
 * Makes a key and a certificate for @identity, whose fleet is the CA's. @addresses (nullable) are
 * host names and IP addresses by which a coordinator is reached. @not_after is in seconds since
 * 1970, and cut to the CA's own end; one in the past makes a certificate that has expired.
 */
enum fl_code ca_issue(const struct ca *ca, const struct identity *identity,
	const struct fl_strv *addresses, int64_t not_after, struct ca_pair *ret_pair,
	struct fl_error *err) FL_MUST_CHECK;

/* SHA-256 of the CA's key: what a join token pins. */
enum fl_code ca_pin(
	const struct ca *ca, uint8_t ret_pin[TLS_PIN_BYTES], struct fl_error *err) FL_MUST_CHECK;

/* A public key whose owner has shown that it holds the private one. */
struct ca_request;

/*
 * Reads PKCS#10 (RFC 2986), DER. Its signature must be its key's own, and the key ECDSA P-256;
 * subject, attributes and wanted extensions are not even looked at. FL_E_INVALID.
 */
enum fl_code ca_request_read(const void *der, size_t len, struct ca_request **ret_request,
	struct fl_error *err) FL_MUST_CHECK;
void ca_request_free(struct ca_request *request);
FL_DEFINE_CLEANUP(struct ca_request *, ca_request_free)

/* SHA-256 of its key, as a certificate for it has. */
enum fl_code ca_request_pin(const struct ca_request *request, uint8_t ret_pin[TLS_PIN_BYTES],
	struct fl_error *err) FL_MUST_CHECK;

/* As ca_issue(), for a key that is made elsewhere. *ret_pem is the caller's. */
enum fl_code ca_sign(const struct ca *ca, const struct identity *identity,
	const struct ca_request *request, int64_t not_after, char **ret_pem,
	struct fl_error *err) FL_MUST_CHECK;
