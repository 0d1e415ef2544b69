/*
 * The driver of systemd's own units, over PID 1's D-Bus interface (org.freedesktop.systemd1(5)).
 * docs/ARCHITECTURE.md says why files start without a reload.
 */
#pragma once

#include <uv.h>

#include "agent/driver.h"
#include "base/error.h"

struct systemd_config {
	const char *unit_directory; /* FILES_UNIT_DIRECTORY but in tests */
	const char *runtime_directory; /* the agent's own, on a tmpfs */
};

/* FL_E_UNAVAILABLE where this machine has no libsystemd or was not booted with systemd: it cannot
 * run these units, and all else works. */
enum fl_code systemd_driver_open(struct driver **ret_driver, uv_loop_t *loop,
	const struct systemd_config *config, const struct driver_handlers *handlers, void *userdata,
	struct fl_error *err) FL_MUST_CHECK;
