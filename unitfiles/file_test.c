#include "unitfiles/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/buf.h"

static struct unit_file *parse(const char *text)
{
	struct unit_file *file = NULL;
	struct fl_error err = {0};

	if (unit_file_parse(text, strlen(text), "f", NULL, &file, &err) != FL_OK)
		fail_msg("%s\n%s", text, err.text);
	return file;
}

/* As systemd.syntax(7) has it, and where that is silent as systemd 252 does it. */
static void test_values(void **state)
{
	static const struct {
		const char *text, *key, *value;
		unsigned line;
	} rows[] = {
		{"[S]\nK=v", "K", "v", 2},
		{"[S]\nK=v\n", "K", "v", 2},
		{"[S]\r\nK=v\r\n", "K", "v", 2},
		{"[S]\nK=v\r", "K", "v", 2},
		{"\xef\xbb\xbf[S]\nK=v\n", "K", "v", 2},
		{"  [S]  \n\tK \t= v w \t\n", "K", "v w", 2},
		{"[S]\nK=\n", "K", "", 2},
		{"[S]\nK=a=b\n", "K", "a=b", 2},
		{"[S]\nK=a # b ; c\n", "K", "a # b ; c", 2},
		{"[S]\nK=\"a b\" 'c'\n", "K", "\"a b\" 'c'", 2},
		{"# c\n; c\n\n [S]\n\n  # c\nK=v\n", "K", "v", 7},
		{"[S]\n#K=no\nK=v\n", "K", "v", 3},
		{"[S]\n# no continuation \\\nK=v\n", "K", "v", 3},
		{"[S]\nK=a\\\nb\n", "K", "a b", 2},
		{"[S]\nK=a \\\n  b\n", "K", "a    b", 2},
		{"[S]\r\nK=a\\\r\nb\r\n", "K", "a b", 2},
		{"[S]\nK=a\\\n# comment\n ; \\\nb\n", "K", "a b", 2},
		{"[S]\nK=a\\\n\nL=b\n", "K", "a", 2},
		{"[S]\nK=a\\\n", "K", "a", 2},
		{"[S]\nK=a\\", "K", "a", 2},
		{"[S]\nK=a\\\n# the end", "K", "a", 2},
		{"[S]\nK=\\\n\\\nb\n", "K", "b", 2},
		{"[S]\nK\\\n=v\n", "K", "v", 2},
		{"[S]\nK=a\\\\\nL=b\n", "K", "a\\\\", 2},
		{"[S]\nK=a\\\\\\\nb\n", "K", "a\\\\ b", 2},
		{"[S]\nK=a\\nb\n", "K", "a\\nb", 2},
		{"[S]\nK=a\\ \n", "K", "a\\", 2},
		{"[S]\nK=ma\303\261ana \360\237\230\200\n", "K", "ma\303\261ana \360\237\230\200",
			2},
		{"[S\\\n]\nK=v\n", "K", NULL, 0},
		{"[S]\nk=v\n", "K", NULL, 0},
		{"[T]\nK=v\n[S]\n", "K", NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_file *file = NULL;
		const struct unit_entry *entry;

		if (unit_file_parse(rows[i].text, strlen(rows[i].text), "f", NULL, &file, NULL) !=
			FL_OK) {
			assert_null(rows[i].value);
			continue;
		}
		entry = unit_file_first(file, "S", rows[i].key);
		if (rows[i].value == NULL) {
			assert_null(entry);
		} else {
			assert_non_null(entry);
			assert_string_equal(entry->section, "S");
			assert_string_equal(entry->value, rows[i].value);
			assert_int_equal(entry->line, rows[i].line);
		}
		unit_file_free(file);
	}
}

static void test_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"K=v\n", "f:1: the assignment is in no section"},
		{"[S]\n\nnonsense\n", "f:3: the line has no \"=\""},
		{"[S]\n=v\n", "f:2: there is no key"},
		{"[S\n", "f:1: a section's header does not end in \"]\""},
		{"[S] # comment\n", "f:1: a section's header does not end in \"]\""},
		{"#\n[]\n", "f:2: a section has no name"},
		{"[a]b]\n", "f:1: a section's name has one of"},
		{"[a\"b]\n", "f:1: a section's name has one of"},
		{"[S]\nK=\xff\n", "f:2: byte 0xff is not UTF-8"},
		{"# \xe9\n[S]\nK=v\n", "f:1: byte 0xe9 is not UTF-8"},
		{"[S]\nK=\xc0\xaf\n", "f:2: byte 0xc0 is not UTF-8"},
		{"[S]\nK=\xe0\x80\xaf\n", "f:2: byte 0xe0 is not UTF-8"},
		{"[S]\nK=\xed\xa0\x80\n", "f:2: byte 0xed is not UTF-8"},
		{"[S]\nK=\xf4\x90\x80\x80\n", "f:2: byte 0xf4 is not UTF-8"},
		{"[S]\nK=\xc3", "f:2: byte 0xc3 is not UTF-8"},
		{"[S]\nK=a\x1b[2Jb\n", "f:2: there is a control character (0x1b)"},
		{"[S]\nK=a\x7f\n", "f:2: there is a control character (0x7f)"},
		{"[S]\nK=a\xc2\x9b\n", "f:2: there is a control character (0x9b)"},
		{"[S]\rK=a\n", "f:1: there is a control character (0x0d)"},
		{"[S]\nK=a \\ \nb c\n", "f:3: the line is not an assignment, and does not"},
		{"[S]\nK=a\\\nb\nc\n", "f:4: the line has no \"=\""},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_file *file = NULL;
		struct fl_error err = {0};

		if (unit_file_parse(rows[i].text, strlen(rows[i].text), "f", NULL, &file, &err) !=
			FL_E_SYNTAX)
			fail_msg("accepted: %s", rows[i].text);
		if (strncmp(err.text, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("%s\n%s", rows[i].text, err.text);
		assert_null(file);
	}
}

static void test_zero_byte(void **state)
{
	struct unit_file *file = NULL;
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(unit_file_parse("[S]\nK=a\0b\n", 11, "f", NULL, &file, &err), FL_E_SYNTAX);
	assert_non_null(strstr(err.text, "f:2: there is a 0 byte"));
}

/* All problems, in their order; the first one alone in the error. */
static void test_report(void **state)
{
	static const char text[] = "x=1\n[S]\nfoo\n[bad\nK=v\nL=w\n[S]\n=v\n";
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	struct unit_file *file = NULL;
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(
		unit_file_parse(text, strlen(text), "f", &report, &file, &err), FL_E_SYNTAX);
	assert_int_equal(report.errors.n, 4);
	assert_string_equal(report.errors.items[0], err.text);
	assert_non_null(strstr(report.errors.items[0], "f:1: "));
	assert_non_null(strstr(report.errors.items[1], "f:3: "));
	assert_non_null(strstr(report.errors.items[2], "f:4: "));
	assert_non_null(strstr(report.errors.items[3], "f:8: "));
}

static void test_report_is_cut(void **state)
{
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;
	struct unit_file *file = NULL;

	(void)state;
	for (size_t i = 0; i < 1000; i++)
		fl_buf_text(&buf, "x\n");
	assert_int_equal(
		unit_file_parse(buf.data, buf.len, "f", &report, &file, NULL), FL_E_SYNTAX);
	assert_int_equal(report.errors.n, UNIT_REPORT_MAX);
	assert_string_equal(report.errors.items[UNIT_REPORT_MAX - 1], "more problems are left out");
}

static void expect_limit(struct fl_buf *buf, enum fl_code code, const char *text)
{
	struct unit_file *file = NULL;
	struct fl_error err = {0};

	assert_true(fl_buf_ok(buf));
	assert_int_equal(unit_file_parse(buf->data, buf->len, "f", NULL, &file, &err), code);
	if (code != FL_OK)
		assert_non_null(strstr(err.text, text));
	unit_file_free(file);
	fl_buf_clear(buf);
}

static void test_limits(void **state)
{
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	(void)state;
	for (size_t over = 0; over < 2; over++) {
		fl_buf_text(&buf, "[S]\n");
		for (size_t i = 0; i < UNIT_FILE_ENTRIES_MAX + over; i++)
			fl_buf_text(&buf, "K=v\n");
		expect_limit(&buf, over ? FL_E_TOO_BIG : FL_OK, "f:16386: there are more than");

		for (size_t i = 0; i < UNIT_FILE_SECTIONS_MAX + over; i++)
			fl_buf_printf(&buf, "[S%zu]\n[S%zu]\n", i, i);
		expect_limit(&buf, over ? FL_E_TOO_BIG : FL_OK, "f:513: there are more than");

		fl_buf_text(&buf, "[S]\nK=v\\\n");
		while (buf.len < 4 + UNIT_FILE_LINE_MAX + over)
			fl_buf_byte(&buf, 'x');
		/* The "\" and its newline have become one space. */
		fl_buf_text(&buf, "x\n");
		expect_limit(&buf, over ? FL_E_TOO_BIG : FL_OK, "f:2: the line has 131073 bytes");

		while (buf.len < UNIT_FILE_MAX + over)
			fl_buf_text(&buf, buf.len % 64 == 63 ? "\n" : "#");
		expect_limit(&buf, over ? FL_E_TOO_BIG : FL_OK, "f: the file has 1048577 bytes");
	}
}

static void test_accessors(void **state)
{
	struct unit_file *file = parse("[A]\nK=1\nL=2\n[B]\n[A]\nK=3\n[C]\nK=4\n");
	unsigned line;

	(void)state;
	assert_string_equal(unit_file_path(file), "f");
	assert_int_equal(unit_file_count(file), 4);
	assert_string_equal(unit_file_entry(file, 2)->value, "3");
	assert_int_equal(unit_file_section_count(file), 3);
	assert_string_equal(unit_file_section(file, 1, &line), "B");
	assert_int_equal(line, 4);
	assert_true(unit_file_has_section(file, "B"));
	assert_false(unit_file_has_section(file, "D"));
	assert_string_equal(unit_file_first(file, "A", "K")->value, "1");
	assert_string_equal(unit_file_last(file, "A", "K")->value, "3");
	assert_string_equal(unit_file_value(file, "A", "L", "x"), "2");
	assert_string_equal(unit_file_value(file, "B", "K", "x"), "x");
	assert_string_equal(unit_file_value(file, "D", "K", "x"), "x");
	assert_null(unit_file_first(file, "B", "K"));
	assert_null(unit_file_last(file, "D", "K"));
	unit_file_free(file);
	unit_file_free(NULL);
}

static void test_text_is_kept(void **state)
{
	static const char *const texts[] = {
		"",
		"\n\n",
		"# nothing",
		"\xef\xbb\xbf# c\r\n[S]\r\nK = v \\\r\n\tw  \r\n\r\n",
		"[S]\nK=v",
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(texts); i++) {
		struct unit_file *file = parse(texts[i]);
		size_t len;

		assert_string_equal(unit_file_text(file, &len), texts[i]);
		assert_int_equal(len, strlen(texts[i]));
		assert_ptr_not_equal(unit_file_text(file, NULL), texts[i]);
		unit_file_free(file);
	}
}

static void test_hash(void **state)
{
	/* The second is the canonical form of the first. */
	static const char *const rows[][2] = {
		{"", ""},
		{"# c\n[S]\n", ""},
		{"[Service]\nExecStart=/bin/true\n", "[Service]\nExecStart=/bin/true\n"},
		{"[A]\nK=1\n[B]\nL=2\n[A]\nM=3\n", "[A]\nK=1\nM=3\n\n[B]\nL=2\n"},
		{"[B]\n\n[A]\r\n# c\r\n K = v  w \r\n[B]\nL=\n", "[B]\nL=\n\n[A]\nK=v  w\n"},
		{"[A]\n[B]\nL=2", "[B]\nL=2\n"},
		{"[A]\nK=a \\\n  b\nL=c\n", "[A]\nK=a \\\n  b\nL=c\n"},
		{"[A]\r\nK=a \\\r\n# c\r\n  b\t\r\n", "[A]\nK=a \\\n  b\n"},
		{"[A]\nK=\\\n  a\n", "[A]\nK=\\\n  a\n"},
		{"[A]\nK=a\\\n\n[B]\nL=b\n", "[A]\nK=a\n\n[B]\nL=b\n"},
		{"[A]\nK=a \\\n; c\n", "[A]\nK=a\n"},
		{"[A]\nK=a\\", "[A]\nK=a\n"},
		{"[A]\nK\\\n = a\n", "[A]\nK=a\n"},
		{"[A]\nK=a\\\nb=\\\\\n", "[A]\nK=a\\\nb=\\\\\n"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_file *file = parse(rows[i][0]);
		char hash[UNIT_FILE_HASH_SIZE], expected[UNIT_FILE_HASH_SIZE];
		unsigned char sha1[20];

		assert_int_equal(
			EVP_Digest(rows[i][1], strlen(rows[i][1]), sha1, NULL, EVP_sha1(), NULL),
			1);
		for (size_t j = 0; j < sizeof(sha1); j++)
			snprintf(expected + 2 * j, 3, "%02x", sha1[j]);
		assert_int_equal(unit_file_hash(file, hash, NULL), FL_OK);
		if (strcmp(hash, expected) != 0)
			fail_msg("%s\nis not hashed as\n%s", rows[i][0], rows[i][1]);
		unit_file_free(file);
	}
}

/* What means something else has another hash. */
static void test_hash_differs(void **state)
{
	static const char *const texts[] = {
		"[A]\nK=1\n",
		"[A]\nK=2\n",
		"[B]\nK=1\n",
		"[A]\nL=1\n",
		"[A]\nK=1\nK=1\n",
		"[A]\nK=1\n[B]\nK=1\n",
		"[A]\nK=1\\\nK=1\n",
	};
	char hashes[FL_COUNT(texts)][UNIT_FILE_HASH_SIZE];

	(void)state;
	for (size_t i = 0; i < FL_COUNT(texts); i++) {
		struct unit_file *file = parse(texts[i]);

		assert_int_equal(unit_file_hash(file, hashes[i], NULL), FL_OK);
		unit_file_free(file);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(hashes[i], hashes[j]);
	}
}

static void test_hash_without(void **state)
{
	static const char *const keys[] = {"K", "L"};
	static const struct {
		const char *text, *same_as;
	} rows[] = {
		{"[A]\nK=1\nM=2\n", "[A]\nM=2\n"},
		{"[A]\nM=2\n[A]\nL=1\\\n2\n", "[A]\nM=2\n"},
		{"[A]\nK=1\n[B]\nK=1\n", "[B]\nK=1\n"},
		{"[B]\nL=1\n", "[B]\nL=1\n"},
		{"[A]\nK=1\nL=2\n", ""},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_file *file = parse(rows[i].text), *other = parse(rows[i].same_as);
		char hash[UNIT_FILE_HASH_SIZE], expected[UNIT_FILE_HASH_SIZE];

		assert_int_equal(
			unit_file_hash_without(file, "A", keys, FL_COUNT(keys), hash, NULL), FL_OK);
		assert_int_equal(unit_file_hash(other, expected, NULL), FL_OK);
		assert_string_equal(hash, expected);
		unit_file_free(file);
		unit_file_free(other);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_zero_byte),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_report_is_cut),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_accessors),
		cmocka_unit_test(test_text_is_kept),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_hash_differs),
		cmocka_unit_test(test_hash_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
