/* config: shows and changes the contexts. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_config(struct command *command, struct fl_error *err);
