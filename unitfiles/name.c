#include "unitfiles/name.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *suffix;
	bool may_be_template;
	const char *refusal;
} kinds[] = {
#define X(constant, suffix, template, refusal) [constant] = {suffix, template, refusal},
	UNIT_KINDS(X)
#undef X
		[UNIT_KIND_UNKNOWN] = {"", false, NULL},
};

#define DIGITS     "0123456789"
#define LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARS DIGITS LETTERS ":-_.\\@"

enum unit_kind unit_name_kind(const char *name)
{
	const char *dot = strrchr(name, '.');
	enum unit_kind kind = 0;

	if (dot == NULL)
		return UNIT_KIND_UNKNOWN;
	while (kind < UNIT_KIND_UNKNOWN && strcmp(kinds[kind].suffix, dot + 1) != 0)
		kind++;
	return kind;
}

const char *unit_kind_suffix(enum unit_kind kind)
{
	fl_assert(kind <= UNIT_KIND_UNKNOWN);
	return kinds[kind].suffix;
}

/* A name that may hold anything, as it can be shown. */
struct shown {
	char text[64];
};

static struct shown show(const char *name)
{
	struct shown shown;
	int n = snprintf(shown.text, sizeof(shown.text), "%s", name);

	for (char *c = shown.text; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (n >= (int)sizeof(shown.text))
		memcpy(shown.text + sizeof(shown.text) - 4, "...", 4);
	return shown;
}

static enum fl_code fail_kind(const char *name, const char *dot, struct fl_error *err)
{
	char known[256] = "";
	size_t n = 0;

	for (enum unit_kind kind = 0; kind < UNIT_KIND_UNKNOWN; kind++)
		if (kinds[kind].refusal == NULL)
			n += (size_t)snprintf(
				known + n, sizeof(known) - n, " .%s", kinds[kind].suffix);
	if (dot == NULL || dot[1] == '\0')
		return FL_FAIL(err, FL_E_INVALID,
			"unit name \"%s\" has no suffix; it needs one of%s", show(name).text,
			known);
	return FL_FAIL(err, FL_E_INVALID,
		"unit name \"%s\" has the unknown suffix \"%s\"; use one of%s", show(name).text,
		show(dot).text, known);
}

enum fl_code unit_name_check(const char *name, struct fl_error *err)
{
	const char *dot = strrchr(name, '.');
	enum unit_kind kind = unit_name_kind(name);
	size_t len = strlen(name), valid = strspn(name, NAME_CHARS);

	if (len == 0)
		return FL_FAIL(err, FL_E_INVALID, "a unit name is empty");
	if (len > UNIT_NAME_MAX)
		return FL_FAIL(err, FL_E_INVALID,
			"unit name \"%s\" has %zu characters; at most %d are possible",
			show(name).text, len, UNIT_NAME_MAX);
	if (valid < len)
		return FL_FAIL(err, FL_E_INVALID,
			"unit name \"%s\" has an invalid character at position %zu; use letters, "
			"digits and :-_.\\@ (systemd-escape(1) helps)",
			show(name).text, valid + 1);
	if (kind == UNIT_KIND_UNKNOWN)
		return fail_kind(name, dot, err);
	if (dot == name)
		return FL_FAIL(err, FL_E_INVALID, "unit name \"%s\" is a suffix only", name);
	if (name[0] == '@')
		return FL_FAIL(err, FL_E_INVALID,
			"unit name \"%s\" begins with @; put the template's name before it", name);
	if (kinds[kind].refusal != NULL)
		return FL_FAIL(err, FL_E_INVALID, "unit %s: a fleet has no .%s units: %s", name,
			kinds[kind].suffix, kinds[kind].refusal);
	if (!kinds[kind].may_be_template && strchr(name, '@') != NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"unit name \"%s\" has an @; there are no templates of .%s units", name,
			kinds[kind].suffix);
	return FL_OK;
}

void unit_name_split(const char *name, struct unit_name_parts *ret_parts)
{
	const char *dot = strrchr(name, '.');
	const char *at;

	fl_assert(dot != NULL);
	at = memchr(name, '@', (size_t)(dot - name));
	*ret_parts = (struct unit_name_parts){
		.prefix = name,
		.prefix_len = (size_t)((at != NULL ? at : dot) - name),
		.instance = at != NULL ? at + 1 : NULL,
		.instance_len = at != NULL ? (size_t)(dot - at - 1) : 0,
		.stem = name,
		.stem_len = (size_t)(dot - name),
		.suffix = dot + 1,
	};
}

static bool split_checked(const char *name, struct unit_name_parts *ret_parts)
{
	if (unit_name_check(name, NULL) != FL_OK)
		return false;
	unit_name_split(name, ret_parts);
	return true;
}

bool unit_name_is_template(const char *name)
{
	struct unit_name_parts parts;

	return split_checked(name, &parts) && parts.instance != NULL && parts.instance_len == 0;
}

bool unit_name_is_instance(const char *name)
{
	struct unit_name_parts parts;

	return split_checked(name, &parts) && parts.instance_len > 0;
}

enum fl_code unit_name_template_of(
	const char *instance, char ret_template[UNIT_NAME_MAX + 1], struct fl_error *err)
{
	struct unit_name_parts parts;

	if (!split_checked(instance, &parts) || parts.instance_len == 0)
		return FL_FAIL(err, FL_E_INVALID, "%s is not the name of a template's instance",
			show(instance).text);
	snprintf(ret_template, UNIT_NAME_MAX + 1, "%.*s@.%s", (int)parts.prefix_len, parts.prefix,
		parts.suffix);
	return FL_OK;
}

enum fl_code unit_name_replica(const char *template_name, unsigned number,
	char ret_name[UNIT_NAME_MAX + 1], struct fl_error *err)
{
	struct unit_name_parts parts;
	int len;

	unit_name_split(template_name, &parts);
	len = snprintf(ret_name, UNIT_NAME_MAX + 1, "%.*s%u.%s", (int)parts.stem_len, parts.stem,
		number, parts.suffix);
	if (len > UNIT_NAME_MAX)
		return FL_FAIL(err, FL_E_TOO_BIG,
			"the name of replica %u of %s would have more than %d bytes", number,
			template_name, UNIT_NAME_MAX);
	return FL_OK;
}

enum fl_code unit_name_from_argument(
	const char *argument, char ret_name[UNIT_NAME_MAX + 1], struct fl_error *err)
{
	char name[UNIT_NAME_MAX + 1];
	const char *end = argument + strlen(argument), *start;
	int n;

	while (end > argument && end[-1] == '/')
		end--;
	start = end;
	while (start > argument && start[-1] != '/')
		start--;
	if (start == end)
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" names no unit", show(argument).text);
	n = snprintf(name, sizeof(name), "%.*s", (int)(end - start), start);
	if (n < (int)sizeof(name) && unit_name_kind(name) == UNIT_KIND_UNKNOWN)
		n = snprintf(name, sizeof(name), "%.*s.service", (int)(end - start), start);
	if (n >= (int)sizeof(name))
		return FL_FAIL(err, FL_E_INVALID,
			"unit name \"%s\" is too long; at most %d characters are possible",
			show(start).text, UNIT_NAME_MAX);
	FL_TRY(unit_name_check(name, err));
	memcpy(ret_name, name, sizeof(name));
	return FL_OK;
}
