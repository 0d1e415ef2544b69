/*
 * Specifiers that flota itself replaces, in values of [X-Fleet] only; all else in a file is
 * systemd's. As fleet did it, one after the other: %n the full name, %N the name without its
 * suffix, %p what is before the first @, %i the instance ("" where there is none). Another % is
 * left as it is.
 */
#pragma once

#include "base/error.h"

/* X(letter, what it becomes) */
#define UNIT_SPECIFIERS(X) \
	X('n', "the full name of the unit") \
	X('N', "the name without its suffix") \
	X('p', "what is before the first @, or else the name without its suffix") \
	X('i', "the instance: what is between the first @ and the suffix")

/* *ret_text is allocated. @name has passed unit_name_check(). */
enum fl_code unit_specifier_expand(
	const char *text, const char *name, char **ret_text, struct fl_error *err) FL_MUST_CHECK;
