/* rebalance: units that move so that machines are about equally full. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_rebalance(struct command *command, struct fl_error *err);
