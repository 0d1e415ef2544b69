/*
 * The patterns of Conflicts= and Replaces=: those of Go's path.Match, which fleet used. * any run
 * of characters but "/", ? one of them, [a-z] [^a-z] a class, \c the character c itself. There is
 * no {a,b}.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Whether the whole of @name matches. A malformed pattern matches nothing. Never allocates; the
 * time is at most the product of both lengths. */
bool unit_glob_match(const char *pattern, const char *name);

/* FL_E_SYNTAX says what is malformed. */
enum fl_code unit_glob_check(const char *pattern, struct fl_error *err) FL_MUST_CHECK;

/* No character of it is special: it matches the equal name and no other. */
bool unit_glob_is_literal(const char *pattern);
