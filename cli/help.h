/* Help, the manual page and this program's version, all from the table of verbs. */
#pragma once

#include <stdio.h>

#include "cli/verbs.h"

void help_print(FILE *out);
void help_print_verb(const struct verb *verb, FILE *out);

/* "flotactl version 0.1.0", as fleetctl wrote it. */
void help_print_version(FILE *out);

enum fl_code verb_help(struct command *command, struct fl_error *err);
enum fl_code verb_man(struct command *command, struct fl_error *err);
