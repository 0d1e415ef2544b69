/* The difference of two texts, as diff -u shows it. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

/* Lines of @old that go and of @new that come, with three lines around. Nothing where they are the
 * same. What a terminal would take for a command is printed as "?". */
enum fl_code diff_print(const char *old, const char *new, const char *old_name,
	const char *new_name, bool colours, FILE *out, struct fl_error *err) FL_MUST_CHECK;
