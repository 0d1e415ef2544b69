/*
 * Who a peer is. What it may do follows from this alone (DESIGN.md, "Trust").
 *
 * An identity is a URI in the certificate's subject alternative names: flota://FLEET/machine/ID,
 * flota://FLEET/operator/NAME, flota://FLEET/tenant/T/user/NAME, flota://FLEET/coordinator.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum identity_kind {
	IDENTITY_NONE,
	IDENTITY_COORDINATOR,
	IDENTITY_MACHINE,
	IDENTITY_OPERATOR,
	IDENTITY_USER, /* a tenant's */
	IDENTITY_LOCAL, /* root on the coordinator's machine, by the local socket's credentials */
	IDENTITY_JOINER, /* a machine without a certificate, at the door for those; its address as name */
};

#define IDENTITY_PART_MAX  128U
#define IDENTITY_PIN_BYTES 32U

struct identity {
	enum identity_kind kind;
	char fleet[IDENTITY_PART_MAX];
	char name[IDENTITY_PART_MAX]; /* of the operator or user; the machine's ID */
	char tenant[IDENTITY_PART_MAX]; /* of a user */

	/* Of a client that showed a certificate: SHA-256 of its key (SubjectPublicKeyInfo), and
	 * whether another CA signed it than the one that signed ours. */
	uint8_t key_pin[IDENTITY_PIN_BYTES];
	bool is_of_other_ca;
};

/* Parts are 1 to 127 of [A-Za-z0-9._-], and not "." or "..". FL_E_INVALID says what is wrong with @uri. */
enum fl_code identity_parse(
	const char *uri, struct identity *ret_identity, struct fl_error *err) FL_MUST_CHECK;

#define IDENTITY_URI_MAX (4UL * IDENTITY_PART_MAX)

/* "flota://..." ("local" for root over the local socket) into @text of IDENTITY_URI_MAX bytes. */
void identity_format(const struct identity *identity, char *text);

/* "operator ana", "machine 3f2a...": for logs and people. */
void identity_describe(const struct identity *identity, char *text, size_t size);
