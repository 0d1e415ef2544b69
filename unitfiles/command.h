/* Command lines: the values of ExecStart= and its kin (systemd.service(5), "COMMAND LINES"). */
#pragma once

#include "base/error.h"

/* FL_E_INVALID says for what systemd would not load the unit. Whether the host has the program is
 * not asked. */
enum fl_code unit_command_check(const char *value, struct fl_error *err) FL_MUST_CHECK;
