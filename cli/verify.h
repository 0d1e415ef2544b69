/* verify: unit files checked without a fleet. */
#pragma once

#include "cli/verbs.h"
#include "unitfiles/report.h"

/*
 * Reads the unit file at @path and checks it as the unit @name. All problems go to @report, also
 * that the file cannot be read; the first one to @err. *ret_text (nullable) is allocated, and set
 * only on FL_OK.
 */
enum fl_code verify_file(const char *path, const char *name, bool lenient,
	struct unit_report *report, char **ret_text, size_t *ret_len,
	struct fl_error *err) FL_MUST_CHECK;

/* All of it, on standard error. */
void verify_tell(const struct unit_report *report);

enum fl_code verb_verify(struct command *command, struct fl_error *err);
