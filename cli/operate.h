/* cordon, uncordon, drain: machines that are taken out and put back. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_cordon(struct command *command, struct fl_error *err);
enum fl_code verb_uncordon(struct command *command, struct fl_error *err);
enum fl_code verb_drain(struct command *command, struct fl_error *err);
