/* ca: the fleet's CA, and another one in its place. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_ca(struct command *command, struct fl_error *err);
