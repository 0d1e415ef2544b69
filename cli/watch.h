/* wait: until units are as somebody else makes them. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_wait(struct command *command, struct fl_error *err);
