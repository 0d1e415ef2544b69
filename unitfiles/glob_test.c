#include "unitfiles/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

static void test_match(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool match;
	} rows[] = {
		{"web.service", "web.service", true},
		{"web.service", "web.servic", false},
		{"web.servic", "web.service", false},
		{"*", "", true},
		{"*", "web@1.service", true},
		{"*", "a/b", false},
		{"a/*", "a/b", true},
		{"*/*b", "x/y/b", false},
		{"web@*.service", "web@1.service", true},
		{"web@*.service", "web@.service", true},
		{"web@*.service", "web.service", false},
		{"*a*b*c*", "xxaxxbxxcxx", true},
		{"*a*b*c*", "xxaxxcxxbxx", false},
		{"*ab", "aab", true},
		{"**b", "aab", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?c", "a/c", false},
		{"[abc]x", "bx", true},
		{"[abc]x", "dx", false},
		{"[a-c]x", "bx", true},
		{"[^a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"web@[12].service", "web@2.service", true},
		{"[a\\-c]", "-", true},
		{"[a\\-c]", "b", false},
		{"[\\]]", "]", true},
		{"[!a]", "!", true},
		{"[c-a]", "b", false},
		{"a\\*b", "a*b", true},
		{"a\\*b", "axb", false},
		{"a\\\\x2db", "a\\x2db", true},
		{"{a,b}", "a", false},
		{"{a,b}", "{a,b}", true},
		{"*[0-9]?", "abc1x", true},
		{"*?", "", false},
		{"", "", true},
		{"", "a", false},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++)
		if (unit_glob_match(rows[i].pattern, rows[i].name) != rows[i].match)
			fail_msg("%s and %s", rows[i].pattern, rows[i].name);
}

static void test_malformed(void **state)
{
	static const struct {
		const char *pattern, *text;
	} rows[] = {
		{"", "is empty"},
		{"a[", "position 2"},
		{"a[]", "position 2"},
		{"a[]b]", "position 2"},
		{"a[b", "position 2"},
		{"a[^", "position 2"},
		{"a[^]", "position 2"},
		{"[-a]", "position 1"},
		{"[a-]", "position 1"},
		{"[a-b-c]", "position 1"},
		{"[\\", "position 1"},
		{"*x[", "position 3"},
		{"a\\", "single \\"},
	};
	/* Whatever is before or behind the malformed part. */
	static const char *const names[] = {"", "a", "a[", "[", "b", "xx", "a]", "ab"};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct fl_error err;

		assert_int_equal(unit_glob_check(rows[i].pattern, &err), FL_E_SYNTAX);
		if (strstr(err.text, rows[i].text) == NULL)
			fail_msg("%s: \"%s\"", rows[i].pattern, err.text);
		for (size_t j = 0; j < FL_COUNT(names) && *rows[i].pattern != '\0'; j++)
			assert_false(unit_glob_match(rows[i].pattern, names[j]));
	}
	assert_int_equal(unit_glob_check("web@*[^a-z\\]]?.service", NULL), FL_OK);
}

static void test_literal(void **state)
{
	(void)state;
	assert_true(unit_glob_is_literal("web@1.service"));
	assert_false(unit_glob_is_literal("web@*.service"));
	assert_false(unit_glob_is_literal("web?"));
	assert_false(unit_glob_is_literal("web[1]"));
	assert_false(unit_glob_is_literal("web\\x2d"));
}

/* Would take longer than the universe is old if every star were tried at every place. */
static void test_hostile(void **state)
{
	char pattern[256], name[256];

	(void)state;
	for (size_t i = 0; i < 254; i++)
		pattern[i] = i % 2 == 0 ? '*' : 'a';
	pattern[254] = 'b';
	pattern[255] = '\0';
	memset(name, 'a', 255);
	name[255] = '\0';
	assert_false(unit_glob_match(pattern, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_literal),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
