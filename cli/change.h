/* The verbs that change units: submit, load, start, stop, restart, unload, destroy. */
#pragma once

#include "cli/verbs.h"

enum fl_code verb_submit(struct command *command, struct fl_error *err);
enum fl_code verb_load(struct command *command, struct fl_error *err);
enum fl_code verb_start(struct command *command, struct fl_error *err);
enum fl_code verb_stop(struct command *command, struct fl_error *err);
enum fl_code verb_restart(struct command *command, struct fl_error *err);
enum fl_code verb_unload(struct command *command, struct fl_error *err);
enum fl_code verb_destroy(struct command *command, struct fl_error *err);
