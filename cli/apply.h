/* apply, edit: unit files as they are to be, and the plan that leads there. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_apply(struct command *command, struct fl_error *err);
enum fl_code verb_edit(struct command *command, struct fl_error *err);
