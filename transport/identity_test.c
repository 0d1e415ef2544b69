#include "transport/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static void good_identities(void **state)
{
	static const struct {
		const char *uri;
		struct identity identity;
		const char *described;
	} cases[] = {
		{"flota://lab/coordinator", {.kind = IDENTITY_COORDINATOR, .fleet = "lab"},
			"coordinator of lab"},
		{"flota://lab/machine/3f2a",
			{.kind = IDENTITY_MACHINE, .fleet = "lab", .name = "3f2a"}, "machine 3f2a"},
		{"flota://a.b-c_9/operator/Ana.B",
			{.kind = IDENTITY_OPERATOR, .fleet = "a.b-c_9", .name = "Ana.B"},
			"operator Ana.B"},
		{"flota://lab/tenant/acme/user/eva",
			{.kind = IDENTITY_USER, .fleet = "lab", .name = "eva", .tenant = "acme"},
			"user eva of tenant acme"},
		{"flota://lab/machine/coordinator",
			{.kind = IDENTITY_MACHINE, .fleet = "lab", .name = "coordinator"},
			"machine coordinator"},
		{"flota://.../operator/.a",
			{.kind = IDENTITY_OPERATOR, .fleet = "...", .name = ".a"}, "operator .a"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct identity identity;
		char text[IDENTITY_URI_MAX];

		assert_int_equal(identity_parse(cases[i].uri, &identity, NULL), FL_OK);
		assert_int_equal(identity.kind, cases[i].identity.kind);
		assert_string_equal(identity.fleet, cases[i].identity.fleet);
		assert_string_equal(identity.name, cases[i].identity.name);
		assert_string_equal(identity.tenant, cases[i].identity.tenant);
		identity_format(&identity, text);
		assert_string_equal(text, cases[i].uri);
		identity_describe(&identity, text, sizeof(text));
		assert_string_equal(text, cases[i].described);
	}
}

static void bad_identities(void **state)
{
	static const struct {
		const char *uri, *text;
	} cases[] = {
		{"", "begins with"},
		{"flota:/lab/coordinator", "begins with"},
		{"FLOTA://lab/coordinator", "begins with"},
		{" flota://lab/coordinator", "begins with"},
		{"https://lab/coordinator", "begins with"},
		{"flota://", "fleet is empty"},
		{"flota:///coordinator", "fleet is empty"},
		{"flota://lab", "is a coordinator"},
		{"flota://lab/", "is a coordinator"},
		{"flota://lab/coordinator/", "is a coordinator"},
		{"flota://lab/coordinators", "is a coordinator"},
		{"flota://lab/local", "is a coordinator"},
		{"flota://lab/machine", "is a coordinator"},
		{"flota://lab/machine/", "machine ID is empty"},
		{"flota://lab/machine/a/b", "nothing behind"},
		{"flota://lab/machine/a/", "nothing behind"},
		{"flota://lab/machine/..", "\"..\""},
		{"flota://../machine/a", "\"..\""},
		{"flota://lab/machine/a b", "made of"},
		{"flota://lab/machine/a%2fb", "made of"},
		{"flota://lab/machine/\xc3\xa1", "made of"},
		{"flota://lab/operator/", "operator is empty"},
		{"flota://lab/operator/ana\n", "made of"},
		{"flota://user@lab/operator/ana", "made of"},
		{"flota://lab:1/operator/ana", "made of"},
		{"flota://lab/operator/ana?x=1", "made of"},
		{"flota://lab/tenant/acme", "names a user"},
		{"flota://lab/tenant/acme/user", "names a user"},
		{"flota://lab/tenant/acme/user/", "user is empty"},
		{"flota://lab/tenant//user/eva", "tenant is empty"},
		{"flota://lab/tenant/acme/operator/eva", "names a user"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		struct identity identity = {.kind = IDENTITY_LOCAL, .name = "untouched"};
		struct fl_error err;

		if (identity_parse(cases[i].uri, &identity, &err) != FL_E_INVALID ||
			strstr(err.text, cases[i].text) == NULL)
			fail_msg("%s: \"%s\"", cases[i].uri, err.text);
		assert_int_equal(identity.kind, IDENTITY_LOCAL);
		assert_string_equal(identity.name, "untouched");
	}
}

static void longest_part(void **state)
{
	char uri[512], part[IDENTITY_PART_MAX + 1];
	struct identity identity;

	(void)state;
	memset(part, 'x', sizeof(part) - 1);
	part[IDENTITY_PART_MAX - 1] = '\0';
	snprintf(uri, sizeof(uri), "flota://%s/tenant/%s/user/%s", part, part, part);
	assert_int_equal(identity_parse(uri, &identity, NULL), FL_OK);
	assert_string_equal(identity.name, part);
	identity_format(&identity, uri);
	assert_int_equal(identity_parse(uri, &identity, NULL), FL_OK);

	part[IDENTITY_PART_MAX - 1] = 'x';
	part[IDENTITY_PART_MAX] = '\0';
	snprintf(uri, sizeof(uri), "flota://lab/machine/%s", part);
	assert_int_equal(identity_parse(uri, &identity, NULL), FL_E_INVALID);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(good_identities),
	cmocka_unit_test(bad_identities),
	cmocka_unit_test(longest_part),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
