/* Which coordinator to talk to, and as whom. */
#pragma once

#include "base/error.h"
#include "cli/verbs.h"

/* Where root on the coordinator's machine finds it. */
#define ENDPOINT_LOCAL_SOCKET "/run/flota/coordinator/socket"

struct endpoint {
	char *url; /* tls+tcp://HOST:PORT or ipc:///PATH */
	char *ca, *certificate, *key; /* NULL where the URL needs none */
};

void endpoint_fini(struct endpoint *endpoint);
#define ENDPOINT_CLEANUP FL_CLEANUP(endpoint_fini)

/*
 * The first of: --endpoint; --context; FLOTACTL_ENDPOINT; FLOTACTL_CONTEXT; FLEETCTL_ENDPOINT; the
 * current context of the configuration; for root the local socket, when it is there. An endpoint
 * that is named together with a context uses the context's certificates. *ret_endpoint is always
 * to be given to endpoint_fini(). FL_E_USAGE says how to configure one.
 */
enum fl_code endpoint_find(const struct cli_options *options, struct endpoint *ret_endpoint,
	struct fl_error *err) FL_MUST_CHECK;
