/*
 * The TLS engine that nng's tls+tcp:// transport runs on, made of OpenSSL.
 *
 * nng knows a dialer's or listener's TLS settings as a `nng_tls_config`; ours holds an endpoint:
 * credentials, a role, and what became of its handshakes. nng calls the engine with a connection's
 * lock held, on any of its threads.
 */
#pragma once

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "transport/identity.h"
#include "transport/tls.h"
#include "transport/tls_verify.h"

struct tls_endpoint;

/* Makes the engine nng's, once for the process, and refuses to go on with another. */
enum fl_code tls_endpoint_new(struct tls_credentials *credentials, enum tls_role role,
	struct tls_endpoint **ret_endpoint, struct fl_error *err) FL_MUST_CHECK;

/* For the sessions to come; a reference is taken. */
void tls_endpoint_set_credentials(
	struct tls_endpoint *endpoint, struct tls_credentials *credentials);

/* Before the first session; a reference is taken. */
void tls_endpoint_set_revoked(struct tls_endpoint *endpoint, struct revoked *revoked);

/* nng may go on using it for connections that are not closed yet. */
void tls_endpoint_free(struct tls_endpoint *endpoint);
FL_DEFINE_CLEANUP(struct tls_endpoint *, tls_endpoint_free)

/* For NNG_OPT_TLS_CONFIG; borrowed. */
nng_tls_config *tls_endpoint_config(const struct tls_endpoint *endpoint);

/* Why the endpoint's last failed session failed, for a person; false when none did. */
bool tls_endpoint_trouble(struct tls_endpoint *endpoint, char *text, size_t size);

/* How many handshakes it refused. */
uint64_t tls_endpoint_refused(const struct tls_endpoint *endpoint);

/* Who is at the other end of @pipe, whose handshake is done: for NNG_PIPE_EV_ADD_PRE. False when it
 * is no TLS pipe. */
bool tls_pipe_identity(nng_pipe pipe, struct identity *ret_identity);
