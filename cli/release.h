/* Verb release: keys and signatures of the agent's releases, and which the coordinator has. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_release(struct command *command, struct fl_error *err);
