/*
 * Files that others wrote: testdata/fleet, in the patterns of fleet's time, come back byte for byte
 * with a hash that their other spellings share; testdata/verify.txt, the table of what is broken.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "unitfiles/verify.h"

#define FLEET "testdata/fleet"

static void expect_hash(const struct unit_file *file, const char *expected)
{
	char hash[UNIT_FILE_HASH_SIZE];

	assert_int_equal(unit_file_hash(file, hash, NULL), FL_OK);
	assert_string_equal(hash, expected);
}

/* The same assignments with comments around them and other line ends. */
static void check_spelling(const struct unit_file *file, const char *hash)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *again = NULL;
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;
	const char *text = unit_file_text(file, NULL), *newline;

	for (; (newline = strchr(text, '\n')) != NULL; text = newline + 1) {
		size_t len = (size_t)(newline - text);

		if (len > 0 && text[len - 1] == '\r')
			len--;
		fl_buf_text(&buf, "# a comment\r\n");
		fl_buf_append(&buf, text, len);
		fl_buf_text(&buf, "\r\n");
	}
	fl_buf_printf(&buf, "; and one\n%s\n\n", text);
	assert_int_equal(
		unit_file_parse(fl_buf_str(&buf), buf.len, "again", NULL, &again, NULL), FL_OK);
	expect_hash(again, hash);
}

static void check_fleet_file(const char *name)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", FLEET, name), *text = NULL;
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL, *again = NULL;
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	char hash[UNIT_FILE_HASH_SIZE];
	struct fl_error err = {0};
	const char *printed;
	size_t len, n;

	assert_int_equal(fl_file_read(path, UNIT_FILE_MAX, &text, &len, NULL), FL_OK);
	if (unit_verify_read(text, len, path, name, 0, &report, &file, NULL, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(report.warnings.n, 0);
	printed = unit_file_text(file, &n);
	assert_int_equal(n, len);
	assert_memory_equal(printed, text, len);
	assert_int_equal(unit_file_hash(file, hash, NULL), FL_OK);
	assert_int_equal(unit_file_parse(printed, n, path, NULL, &again, NULL), FL_OK);
	expect_hash(again, hash);
	check_spelling(file, hash);
}

static void test_files_of_fleets_time(void **state)
{
	DIR *folder = opendir(FLEET);
	struct dirent *entry;
	size_t n = 0;

	(void)state;
	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		if (entry->d_name[0] != '.') {
			check_fleet_file(entry->d_name);
			n++;
		}
	closedir(folder);
	assert_true(n >= 19);
}

/* "VERDICT NAME: why", and what stands below it. */
static void check_row(const char *head, const char *text, size_t len)
{
	bool good = strncmp(head, "good ", 5) == 0 || strncmp(head, "lax ", 4) == 0;
	const char *start = strchr(head, ' ') + 1;
	FL_CLEANUP(fl_freep) char *name = fl_printf("%.*s", (int)strcspn(start, ":"), start);
	struct fl_error err = {0};
	bool taken = unit_verify(text, len, "f", name, 0, NULL, &err) == FL_OK;

	if (!good && strncmp(head, "broken ", 7) != 0 && strncmp(head, "strict ", 7) != 0)
		fail_msg("no verdict: %s", head);
	if (taken != good)
		fail_msg("%s\n%.*s%s", head, (int)len, text, err.text);
	if (!taken && strncmp(err.text, "f:", 2) != 0)
		fail_msg("%s\n%s", head, err.text);
}

static void test_table(void **state)
{
	static const char mark[] = "\n=== ";
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len, rows = 0;
	char *row, *next;

	(void)state;
	assert_int_equal(fl_file_read("testdata/verify.txt", 1U << 20, &text, &len, NULL), FL_OK);
	for (row = strstr(text, mark); row != NULL; row = next, rows++) {
		char *head = row + strlen(mark), *body = strchr(head, '\n');

		*body++ = '\0';
		next = strstr(body, mark);
		check_row(head, body, next != NULL ? (size_t)(next - body) : strlen(body));
	}
	assert_true(rows >= 85);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_of_fleets_time),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
