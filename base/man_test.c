/* Manual pages: what is plain text stays what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/man.h"

static char *text;
static size_t text_len;

static FILE *page(void)
{
	FILE *out = open_memstream(&text, &text_len);

	assert_non_null(out);
	return out;
}

static void expect(FILE *out, const char *wanted)
{
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, wanted);
	free(text);
}

static void test_what_groff_would_take_for_its_own(void **state)
{
	FILE *out = page();

	(void)state;
	fl_man_text(".hidden -x\\n ~/a^b `c`\n'quoted'", out);
	expect(out, ".PP\n\\&.hidden \\-x\\en \\(ti/a\\(hab \\(gac\\(ga\n.PP\n\\&'quoted'\n");
}

static void test_items(void **state)
{
	FILE *out = page();

	(void)state;
	fl_man_item("--name=\"X Y\"", "What it does.", out);
	expect(out, ".TP\n.B \"\\-\\-name=\\(dqX Y\\(dq\"\nWhat it does.\n");
}

static void test_example(void **state)
{
	FILE *out = page();

	(void)state;
	fl_man_example("[A]\n\n.b=1", out);
	expect(out, ".PP\n.RS 4\n.EX\n[A]\n\n\\&.b=1\n.EE\n.RE\n");
}

static void test_begin_and_end(void **state)
{
	FILE *out = page();

	(void)state;
	fl_man_begin("flota-agent", 8, "runs units", out);
	fl_man_see_also("a-b(1) c(5)", out);
	expect(out, ".TH FLOTA\\-AGENT 8 \"\" \"flota " FLOTA_VERSION
		    "\" \"flota\"\n.ad l\n.SH \"NAME\"\nflota\\-agent \\- runs units\n"
		    ".SH \"SEE ALSO\"\n.BR a\\-b (1)\n.BR c (5)\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_groff_would_take_for_its_own),
		cmocka_unit_test(test_items),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_begin_and_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
