#include "unitfiles/specifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

static void test_expand(void **state)
{
	static const struct {
		const char *text, *name, *result;
	} rows[] = {
		{"plain", "web@1.service", "plain"},
		{"", "web@1.service", ""},
		{"%n", "web@1.service", "web@1.service"},
		{"%N", "web@1.service", "web@1"},
		{"%p", "web@1.service", "web"},
		{"%i", "web@1.service", "1"},
		{"%p@*.service", "web@1.service", "web@*.service"},
		{"%n%N%p%i", "a@b.timer", "a@b.timera@bab"},
		{"x%i", "web@.service", "x"},
		{"%i", "web.service", ""},
		{"%p", "web.service", "web"},
		{"%p and %p", "a@b@c.service", "a and a"},
		{"%i", "a@b@c.d.service", "b@c.d"},
		{"100%", "web.service", "100%"},
		{"%%", "web.service", "%%"},
		{"%H %m %%i", "web@7.service", "%H %m %7"},
		/* One after the other: what the first puts in, the last replaces again. */
		{"%%n", "i.service", ".service"},
		{"%%%p", "web.service", "%%web"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		FL_CLEANUP(fl_freep) char *text = NULL;

		assert_int_equal(
			unit_specifier_expand(rows[i].text, rows[i].name, &text, NULL), FL_OK);
		assert_string_equal(text, rows[i].result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_expand)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
