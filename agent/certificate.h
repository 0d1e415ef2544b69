/*
 * The file that holds this machine's certificate: PEM, and above it in a line what PEM does not
 * say, so that both change in one piece.
 */
#pragma once

#include <stdint.h>

#include "agent/config.h"
#include "base/error.h"
#include "proto/flota.pb-c.h"

struct certificate_facts {
	uint32_t generation; /* how often it was renewed; 0: it was made by hand */
	uint64_t renew_at_ms, end_ms; /* wall clock */
};

/* The CA's file first: the certificate's own says that all is there. Both on disk on return. */
enum fl_code certificate_write(const struct config *config, const Pb__CertificateReply *reply,
	struct fl_error *err) FL_MUST_CHECK;

/* One that was made by hand is to be renewed at half its life. */
enum fl_code certificate_read(
	const char *path, struct certificate_facts *ret_facts, struct fl_error *err) FL_MUST_CHECK;
