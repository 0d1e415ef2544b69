/* cat, why, version: one question each. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_cat(struct command *command, struct fl_error *err);
enum fl_code verb_why(struct command *command, struct fl_error *err);
enum fl_code verb_version(struct command *command, struct fl_error *err);
