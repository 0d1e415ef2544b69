/* status and journal: a program's output on a machine, over flota's own connection. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_status(struct command *command, struct fl_error *err);
enum fl_code verb_journal(struct command *command, struct fl_error *err);
