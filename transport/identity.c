#include "transport/identity.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "flota://"

static bool is_part_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

/* Takes the part at *text, up to the next '/' or the end, into @ret of IDENTITY_PART_MAX bytes. */
static enum fl_code take_part(const char **text, const char *what, char *ret, struct fl_error *err)
{
	size_t n = 0;

	while (is_part_char((*text)[n]))
		n++;
	if ((*text)[n] != '/' && (*text)[n] != '\0')
		return FL_FAIL(err, FL_E_INVALID,
			"an identity's %s is made of letters, digits, '.', '_' and '-'", what);
	if (n == 0)
		return FL_FAIL(err, FL_E_INVALID, "an identity's %s is empty", what);
	if (n >= IDENTITY_PART_MAX)
		return FL_FAIL(err, FL_E_INVALID, "an identity's %s is longer than %u bytes", what,
			IDENTITY_PART_MAX - 1U);
	if ((*text)[0] == '.' && (n == 1 || (n == 2 && (*text)[1] == '.')))
		return FL_FAIL(err, FL_E_INVALID, "an identity's %s is \".\" or \"..\"", what);
	memcpy(ret, *text, n);
	ret[n] = '\0';
	*text += n;
	return FL_OK;
}

/* Moves *text behind @word if it begins with it. */
static bool take_word(const char **text, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*text, word, n) != 0)
		return false;
	*text += n;
	return true;
}

enum fl_code identity_parse(const char *uri, struct identity *ret_identity, struct fl_error *err)
{
	struct identity identity = {.kind = IDENTITY_NONE};
	const char *text = uri;

	if (!take_word(&text, SCHEME))
		return FL_FAIL(err, FL_E_INVALID, "an identity begins with " SCHEME);
	FL_TRY(take_part(&text, "fleet", identity.fleet, err));
	if (strcmp(text, "/coordinator") == 0) {
		identity.kind = IDENTITY_COORDINATOR;
		text = "";
	} else if (take_word(&text, "/machine/")) {
		identity.kind = IDENTITY_MACHINE;
		FL_TRY(take_part(&text, "machine ID", identity.name, err));
	} else if (take_word(&text, "/operator/")) {
		identity.kind = IDENTITY_OPERATOR;
		FL_TRY(take_part(&text, "operator", identity.name, err));
	} else if (take_word(&text, "/tenant/")) {
		identity.kind = IDENTITY_USER;
		FL_TRY(take_part(&text, "tenant", identity.tenant, err));
		if (!take_word(&text, "/user/"))
			return FL_FAIL(err, FL_E_INVALID, "a tenant's identity names a user");
		FL_TRY(take_part(&text, "user", identity.name, err));
	} else {
		return FL_FAIL(err, FL_E_INVALID,
			"an identity is a coordinator, a machine, an operator or a tenant's user");
	}
	if (*text != '\0')
		return FL_FAIL(err, FL_E_INVALID, "an identity has nothing behind its name");
	*ret_identity = identity;
	return FL_OK;
}

void identity_format(const struct identity *identity, char *text)
{
	const char *fleet = identity->fleet, *name = identity->name;

	switch (identity->kind) {
	case IDENTITY_NONE:
		text[0] = '\0';
		return;
	case IDENTITY_LOCAL:
		memcpy(text, "local", sizeof("local"));
		return;
	case IDENTITY_JOINER:
		snprintf(text, IDENTITY_URI_MAX, "joiner %s", name);
		return;
	case IDENTITY_COORDINATOR:
		snprintf(text, IDENTITY_URI_MAX, SCHEME "%s/coordinator", fleet);
		return;
	case IDENTITY_MACHINE:
		snprintf(text, IDENTITY_URI_MAX, SCHEME "%s/machine/%s", fleet, name);
		return;
	case IDENTITY_OPERATOR:
		snprintf(text, IDENTITY_URI_MAX, SCHEME "%s/operator/%s", fleet, name);
		return;
	case IDENTITY_USER:
		snprintf(text, IDENTITY_URI_MAX, SCHEME "%s/tenant/%s/user/%s", fleet,
			identity->tenant, name);
		return;
	}
}

void identity_describe(const struct identity *identity, char *text, size_t size)
{
	switch (identity->kind) {
	case IDENTITY_NONE:
		snprintf(text, size, "nobody");
		return;
	case IDENTITY_LOCAL:
		snprintf(text, size, "root on the coordinator's machine");
		return;
	case IDENTITY_JOINER:
		snprintf(text, size, "a machine that joins from %s", identity->name);
		return;
	case IDENTITY_COORDINATOR:
		snprintf(text, size, "coordinator of %s", identity->fleet);
		return;
	case IDENTITY_MACHINE:
		snprintf(text, size, "machine %s", identity->name);
		return;
	case IDENTITY_OPERATOR:
		snprintf(text, size, "operator %s", identity->name);
		return;
	case IDENTITY_USER:
		snprintf(text, size, "user %s of tenant %s", identity->name, identity->tenant);
		return;
	}
}
