/* What diff(1) says of the same texts, and that patch(1)'s rules bring the one to the other. */
#include "cli/diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static char *diff_of(const char *old, const char *new)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(diff_print(old, new, "a", "b", false, out, NULL), FL_OK);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void expect(const char *old, const char *new, const char *wanted)
{
	FL_CLEANUP(fl_freep) char *text = diff_of(old, new);

	assert_string_equal(text, wanted);
}

static void test_diffs(void **state)
{
	(void)state;
	expect("a\nb\n", "a\nb\n", "");
	expect("", "a\n", "--- a\n+++ b\n@@ -0,0 +1 @@\n+a\n");
	expect("a\n", "", "--- a\n+++ b\n@@ -1 +0,0 @@\n-a\n");
	expect("a\nb\nc\n", "a\nx\nc\n", "--- a\n+++ b\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
	expect("a", "a\n", "--- a\n+++ b\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
	expect("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\nx\n",
		"--- a\n+++ b\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+x\n");
	/* Two changes with six lines between them are one hunk, with seven they are two. */
	expect("a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
		"--- a\n+++ b\n@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n");
	expect("a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
		"--- a\n+++ b\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n"
		"@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n");
	/* No sequence reaches the terminal. */
	expect("", "\033[2Jx\n", "--- a\n+++ b\n@@ -0,0 +1 @@\n+?[2Jx\n");
}

/* Applies the diff to @old by its rules. */
static void patch(const char *old, char *diff, struct fl_buf *out)
{
	char *rest = diff, *line;
	size_t at = 0;

	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		unsigned long begin, n;
		char *comma;

		if (strncmp(line, "---", 3) == 0 || strncmp(line, "+++", 3) == 0)
			continue;
		if (line[0] == '@') {
			begin = strtoul(line + 4, &comma, 10);
			n = *comma == ',' ? strtoul(comma + 1, NULL, 10) : 1;
			for (; at + (n > 0) < begin; at++) {
				size_t len = strcspn(old, "\n") + 1;

				fl_buf_append(out, old, len);
				old += len;
			}
			continue;
		}
		if (line[0] != '+') {
			size_t len = strcspn(old, "\n") + 1;

			assert_int_equal(strlen(line + 1) + 1, len);
			assert_memory_equal(line + 1, old, len - 1);
			old += len;
			at++;
		}
		if (line[0] != '-')
			fl_buf_printf(out, "%s\n", line + 1);
	}
	fl_buf_text(out, old);
}

static void make_text(unsigned *seed, unsigned n, struct fl_buf *out)
{
	for (unsigned i = 0; i < n; i++) {
		*seed = *seed * 1103515245U + 12345U;
		fl_buf_printf(out, "%u\n", (*seed >> 16) % 7);
	}
}

static void test_patches(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 500; seed++) {
		FL_CLEANUP_BUF struct fl_buf old = FL_BUF_INIT, new = FL_BUF_INIT,
					     patched = FL_BUF_INIT;
		FL_CLEANUP(fl_freep) char *diff = NULL;
		unsigned random = seed;

		make_text(&random, seed % 37, &old);
		make_text(&random, seed % 41, &new);
		diff = diff_of(fl_buf_str(&old), fl_buf_str(&new));
		patch(fl_buf_str(&old), diff, &patched);
		assert_string_equal(fl_buf_str(&patched), fl_buf_str(&new));
	}
}

/* Too large for the table: one change. */
static void test_large(void **state)
{
	FL_CLEANUP_BUF struct fl_buf old = FL_BUF_INIT, new = FL_BUF_INIT, patched = FL_BUF_INIT;
	FL_CLEANUP(fl_freep) char *diff = NULL;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		fl_buf_printf(&old, "old %u\n", i);
		fl_buf_printf(&new, "new %u\n", i);
	}
	diff = diff_of(fl_buf_str(&old), fl_buf_str(&new));
	assert_non_null(strstr(diff, "@@ -1,3000 +1,3000 @@\n"));
	patch(fl_buf_str(&old), diff, &patched);
	assert_string_equal(fl_buf_str(&patched), fl_buf_str(&new));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diffs),
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
