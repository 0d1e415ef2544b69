/* machine: who is a member of the fleet, and who is not any more. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_machine(struct command *command, struct fl_error *err);
