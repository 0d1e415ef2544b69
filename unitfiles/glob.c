#include "unitfiles/glob.h"

#include <string.h>

/*
 * Names of units are ASCII, so bytes are compared: a class that lists other characters is made of
 * bytes that no name has.
 */

/* A character of a class, which may be escaped. NULL where there is none: a "-" or "]" that is not
 * escaped, or the end. */
static const char *class_char(const char *at, unsigned char *ret_char)
{
	if (*at == '\\')
		at++;
	else if (*at == '-' || *at == ']')
		return NULL;
	if (*at == '\0')
		return NULL;
	*ret_char = (unsigned char)*at;
	return at + 1;
}

/* Reads the class behind its "[". Returns what is behind its "]", or NULL where it is malformed. */
static const char *class_match(const char *at, unsigned char c, bool *ret_match)
{
	bool negated = *at == '^', match = false, any = false;

	if (negated)
		at++;
	while (*at != ']' || !any) {
		unsigned char low, high;

		at = class_char(at, &low);
		if (at == NULL)
			return NULL;
		high = low;
		if (*at == '-') {
			at = class_char(at + 1, &high);
			if (at == NULL)
				return NULL;
		}
		match |= low <= c && c <= high;
		any = true;
	}
	*ret_match = match != negated;
	return at + 1;
}

/* Matches one item that is not a "*" with @c, or any item where @c is 0. Returns what is behind the
 * item, or NULL where it is malformed; whether @c matches is another matter. */
static const char *item_match(const char *at, unsigned char c, bool *ret_match)
{
	switch (*at) {
	case '[':
		return class_match(at + 1, c, ret_match);
	case '?':
		*ret_match = c != '/';
		return at + 1;
	case '\\':
		if (*++at == '\0')
			return NULL;
		break;
	}
	*ret_match = (unsigned char)*at == c;
	return at + 1;
}

bool unit_glob_match(const char *pattern, const char *name)
{
	const char *star = NULL, *retry = NULL;

	/* All of the pattern is read before it has matched, so a malformed one never does. */
	while (*name != '\0') {
		const char *behind = NULL;
		bool match = false;

		if (*pattern == '*') {
			star = ++pattern;
			retry = name;
			continue;
		}
		if (*pattern != '\0')
			behind = item_match(pattern, (unsigned char)*name, &match);
		if (match) {
			pattern = behind;
			name++;
			continue;
		}
		/* The last star takes one character more; those before it need not: what they
		 * took already is the shortest that fits. */
		if (star == NULL || *retry == '/')
			return false;
		pattern = star;
		name = ++retry;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

enum fl_code unit_glob_check(const char *pattern, struct fl_error *err)
{
	if (*pattern == '\0')
		return FL_FAIL(err, FL_E_SYNTAX, "a pattern is empty");
	for (const char *at = pattern; *at != '\0';) {
		bool match;
		const char *behind = *at == '*' ? at + 1 : item_match(at, 0, &match);

		if (behind == NULL && *at == '[')
			return FL_FAIL(err, FL_E_SYNTAX,
				"pattern \"%s\": the class at position %zu is not complete; write "
				"it as [abc], [a-c] or [^a-c], and \\[ for the character itself",
				pattern, (size_t)(at - pattern) + 1);
		if (behind == NULL)
			return FL_FAIL(err, FL_E_SYNTAX,
				"pattern \"%s\" ends in a single \\; write \\\\ for the character "
				"itself",
				pattern);
		at = behind;
	}
	return FL_OK;
}

bool unit_glob_is_literal(const char *pattern)
{
	return strpbrk(pattern, "*?[\\") == NULL;
}
