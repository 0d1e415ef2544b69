/*
 * What is left to do on a machine when the files of its first-boot document are there, as sh(1)
 * does it: the network, the time, the FreeIPA domain, the agent, the units. The same lines are in a
 * shell script and in the file that a cloud-config has run.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "ignition/content.h"

/* With @alone nobody else sets the host name, the user and the clock: that is done here too. */
enum fl_code steps_write(const struct content *content, const char *agent_url, bool alone,
	struct fl_buf *out, struct fl_error *err) FL_MUST_CHECK;
