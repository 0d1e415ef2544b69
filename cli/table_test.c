#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *print(size_t n_columns, const char *const *cells, bool colours)
{
	FL_CLEANUP(table_freep) struct table *table = NULL;
	char *text = NULL;
	size_t size;
	FILE *out;

	assert_int_equal(table_new(n_columns, &table, NULL), FL_OK);
	for (; *cells != NULL; cells++)
		assert_int_equal(
			table_add(table, *cells,
				strcmp(*cells, "failed") == 0 ? TERM_RED : TERM_PLAIN, NULL),
			FL_OK);
	out = open_memstream(&text, &size);
	table_print(table, colours, out);
	fclose(out);
	return text;
}

static void expect(size_t n_columns, const char *const *cells, const char *expected)
{
	FL_CLEANUP(fl_freep) char *text = print(n_columns, cells, false);

	assert_string_equal(text, expected);
}

/* What Go's tabwriter makes of the same cells with (0, 8, 1, '\t'). */
static void test_tabs(void **state)
{
	(void)state;
	expect(2, (const char *const[]){"A", "B", NULL}, "A\tB\n");
	/* 7 characters and the padding fill 8; 8 need a second tab's width. */
	expect(2, (const char *const[]){"1234567", "x", "1", "y", NULL}, "1234567\tx\n1\ty\n");
	expect(2, (const char *const[]){"12345678", "x", "1", "y", NULL}, "12345678\tx\n1\t\ty\n");
	expect(4,
		(const char *const[]){"UNIT", "MACHINE", "ACTIVE", "SUB", "hello.service",
			"2d0c6ea8.../10.77.0.11", "active", "running", NULL},
		"UNIT\t\tMACHINE\t\t\tACTIVE\tSUB\n"
		"hello.service\t2d0c6ea8.../10.77.0.11\tactive\trunning\n");
	expect(3, (const char *const[]){NULL}, "");
}

static void test_cells(void **state)
{
	(void)state;
	expect(3, (const char *const[]){"", "x", "", NULL}, "-\tx\t-\n");
	expect(2, (const char *const[]){"a\tb\nc\033", "x", NULL}, "a b c \tx\n");
	/* Width is in characters: seven of them, two bytes each, leave room for the padding. */
	expect(2, (const char *const[]){"ñññññññ", "x", NULL}, "ñññññññ\tx\n");
}

static void test_colours(void **state)
{
	static const char *const cells[] = {"a", "failed", "c", "d", NULL};
	FL_CLEANUP(fl_freep) char *plain = print(2, cells, false);
	FL_CLEANUP(fl_freep) char *coloured = print(2, cells, true);

	(void)state;
	assert_string_equal(plain, "a\tfailed\nc\td\n");
	assert_string_equal(coloured, "a\t\033[31mfailed\033[0m\nc\td\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tabs),
		cmocka_unit_test(test_cells),
		cmocka_unit_test(test_colours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
