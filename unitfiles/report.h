/*
 * What is wrong with a file, all of it. A function that reads unit files takes a nullable report
 * and goes on behind a problem where it can; its `struct fl_error` gets the first one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

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

/*
 * Where a reader says what it finds: the first error into @err, all into @report, "path:line: "
 * before each. Line 0 means the whole file.
 */
struct unit_reporter {
	struct unit_report *report; /* nullable */
	struct fl_error *err; /* nullable */
	const char *path;
	bool lenient; /* complaints are warnings */
	enum fl_code code; /* of the first error; FL_OK while there is none */
};

void unit_reporter_error(struct unit_reporter *reporter, enum fl_code code, unsigned line,
	const char *format, ...) __attribute__((format(printf, 4, 5)));
void unit_reporter_warning(struct unit_reporter *reporter, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Of what fleet took silently: an error with FL_E_INVALID, or a warning for old files. */
void unit_reporter_complain(struct unit_reporter *reporter, unsigned line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Nobody wants to hear more: no report and an error, or a full report, or memory is out. */
bool unit_reporter_done(const struct unit_reporter *reporter);

/* The one of @n @names that @word is most likely a misspelling of, or NULL. */
const char *unit_suggest(const char *word, const char *const *names, size_t n);
