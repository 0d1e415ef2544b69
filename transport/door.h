/* Where a coordinator is joined, when nobody says otherwise. */
#pragma once

#include "base/error.h"

/* The URL beside @url, one port higher; port 0, which the kernel chooses, stays 0. *ret_door is the
 * caller's, and NULL where @url is no tls+tcp:// one with a port. FL_E_NO_MEMORY. */
enum fl_code door_beside(const char *url, char **ret_door, struct fl_error *err) FL_MUST_CHECK;
