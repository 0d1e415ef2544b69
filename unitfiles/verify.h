/* All that must hold before a fleet takes a unit file. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "unitfiles/file.h"
#include "unitfiles/report.h"
#include "unitfiles/rules.h"

/*
 * Checks the name, the syntax, that there is anything in it, the rules, and what systemd would
 * refuse to load the unit for (a service that starts nothing, a timer without a time, ...). @path
 * is for messages: "path:line: what; what to do". The same is asked by the coordinator at submit
 * and by `flotactl verify`.
 */
enum fl_code unit_verify(const void *text, size_t len, const char *path, const char *name,
	enum unit_flags flags, struct unit_report *report, struct fl_error *err) FL_MUST_CHECK;

/* The same, and hands over what it read on the way. Either output is nullable. */
enum fl_code unit_verify_read(const void *text, size_t len, const char *path, const char *name,
	enum unit_flags flags, struct unit_report *report, struct unit_file **ret_file,
	struct unit_rules *ret_rules, struct fl_error *err) FL_MUST_CHECK;
