/* First-boot documents: what a bare machine is given to become a member of the fleet. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/strv.h"
#include "ignition/machine.h"

/* X(constant, name, what it is) */
#define DOCUMENT_KINDS(X) \
	X(DOCUMENT_IGNITION, "ignition", "Ignition 3.3.0, for Flatcar") \
	X(DOCUMENT_CLOUD_CONFIG, "cloud-config", "cloud-init's, for Rocky 9 and Debian") \
	X(DOCUMENT_SCRIPT, "script", "for sh(1), where there is neither") \
	X(DOCUMENT_BUTANE, "butane", "Butane's (flatcar 1.0.0), from which it makes Ignition's")

enum document_kind {
#define X(constant, name, doc) constant,
	DOCUMENT_KINDS(X)
#undef X
};

/* FL_E_USAGE names those that there are. */
enum fl_code document_kind_find(
	const char *name, enum document_kind *ret_kind, struct fl_error *err) FL_MUST_CHECK;

/*
 * Writes the document of @machine, which has passed machine_check() and machine_read_sources().
 * @token (NULL: none) is a join token as text. *ret_secrets names what of it is secret. Errors as
 * content_new()'s. The caller wipes @out.
 */
enum fl_code document_write(enum document_kind kind, const struct machine *machine,
	const char *token, struct fl_buf *out, struct fl_strv *ret_secrets,
	struct fl_error *err) FL_MUST_CHECK;
