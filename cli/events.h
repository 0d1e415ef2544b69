/* `flotactl events`: what happens in the fleet, shown or followed. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_events(struct command *command, struct fl_error *err) FL_MUST_CHECK;
