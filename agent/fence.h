/*
 * `flota-agent fence`: a process of its own that ends exclusive units when the machine's lease has
 * ended and the agent did not end them: it was killed, hangs, or was stopped. It knows of the agent
 * what lease.h says, and talks to systemd only when a lease has ended.
 */
#pragma once

#include "base/error.h"

/* Runs until SIGTERM or SIGINT; when the agent has become another release (agent/launch.h), it begins
 * anew with @argv, as that one. */
enum fl_code fence_run(
	const char *runtime_directory, char **argv, struct fl_error *err) FL_MUST_CHECK;
