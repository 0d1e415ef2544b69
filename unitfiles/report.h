/*
 * What is wrong with a file, all of it. A function that reads unit files takes a nullable report
 * and goes on behind a problem where it can; its `struct fl_error` gets the first one.
 */
#pragma once

#include "base/error.h"
#include "base/strv.h"

/* Behind this many the rest is left out: it is not a unit file then. */
#define UNIT_REPORT_MAX 50

struct unit_report {
	struct fl_strv errors; /* "file:line: what is wrong; what to do" */
	struct fl_strv warnings; /* the same, of what is accepted all the same */
};

void unit_report_fini(struct unit_report *report);
#define UNIT_CLEANUP_REPORT FL_CLEANUP(unit_report_fini)
