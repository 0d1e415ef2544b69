/* Verb upgrade: agents become another release, machine after machine. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_upgrade(struct command *command, struct fl_error *err);
