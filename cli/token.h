/* token: lets machines join the fleet. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_token(struct command *command, struct fl_error *err);
