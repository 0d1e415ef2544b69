/* bootstrap: first-boot documents, with which bare machines join the fleet. */
#pragma once

#include "cli/verbs.h"
#include "unitfiles/report.h"

#define BOOTSTRAP_OPTIONS ((size_t)MACHINE_KEY_COUNT + 6)
extern const struct fl_option bootstrap_options[BOOTSTRAP_OPTIONS];

enum fl_code verb_bootstrap(struct command *command, struct fl_error *err);

/* Whether the file is a machine's description, by its name. */
bool bootstrap_is_machine(const char *path);

/* Checks a machine's description and what it names. All problems go to @report. */
enum fl_code bootstrap_verify(
	const char *path, struct unit_report *report, struct fl_error *err) FL_MUST_CHECK;
