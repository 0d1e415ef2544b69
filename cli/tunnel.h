/* --tunnel: the local socket of a coordinator's machine, brought here by ssh(1). */
#pragma once

#include "base/error.h"
#include "base/memory.h"
#include "cli/verbs.h"

struct tunnel;

/* Runs ssh(1), which may ask for a password, and returns when the socket is there. *ret_tunnel is
 * NULL where no tunnel is wanted. FL_E_UNAVAILABLE: what is wrong, ssh has said. */
enum fl_code tunnel_open(const struct cli_options *options, struct tunnel **ret_tunnel,
	struct fl_error *err) FL_MUST_CHECK;

/* "ipc:///PATH", the tunnel's. */
const char *tunnel_url(const struct tunnel *tunnel);

/* Ends ssh. */
void tunnel_close(struct tunnel *tunnel);
FL_DEFINE_CLEANUP(struct tunnel *, tunnel_close)
