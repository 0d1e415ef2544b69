/* How ssh(1) is called. */
#pragma once

#include "base/error.h"
#include "base/strv.h"
#include "cli/verbs.h"

/* "ssh" and its options, as ours say. */
enum fl_code ssh_args(const struct cli_options *options, struct fl_strv *args,
	struct fl_error *err) FL_MUST_CHECK;
