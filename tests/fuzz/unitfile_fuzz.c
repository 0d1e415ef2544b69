/*
 * Whatever bytes somebody submits as a unit file: parsed or refused with a message that names the
 * place; kept byte for byte; and a comment, a blank line or other line ends do not change the hash,
 * nor what is read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "unitfiles/name.h"
#include "unitfiles/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

static void check_same(const struct unit_file *a, const struct unit_file *b)
{
	char hash[UNIT_FILE_HASH_SIZE], same[UNIT_FILE_HASH_SIZE];

	CHECK(unit_file_hash(a, hash, NULL) == FL_OK && unit_file_hash(b, same, NULL) == FL_OK);
	CHECK(strcmp(hash, same) == 0);
	CHECK(unit_file_count(a) == unit_file_count(b));
	for (size_t i = 0; i < unit_file_count(a); i++) {
		const struct unit_entry *x = unit_file_entry(a, i), *y = unit_file_entry(b, i);

		CHECK(strcmp(x->section, y->section) == 0);
		CHECK(strcmp(x->key, y->key) == 0);
		CHECK(strcmp(x->value, y->value) == 0);
	}
}

/* The same file with other line ends and a comment before each line that does not continue a
 * comment-free one: comments may stand anywhere, systemd.syntax(7). */
static void check_decorated(const struct unit_file *file)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *decorated = NULL;
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;
	size_t len;
	const char *text = unit_file_text(file, &len), *end = text + len;
	bool mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;

	if (mark) {
		fl_buf_append(&buf, text, 3);
		text += 3;
	}
	for (const char *line = text; line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline != NULL ? newline : end;

		fl_buf_text(&buf, "  ; [decoration] \\\r\n");
		fl_buf_append(&buf, line, (size_t)(stop - line));
		if (stop > line && stop[-1] == '\r')
			buf.len--;
		fl_buf_text(&buf, "\r\n");
		line = newline != NULL ? newline + 1 : end;
	}
	CHECK(fl_buf_ok(&buf));
	if (buf.len > UNIT_FILE_MAX)
		return;
	CHECK(unit_file_parse(fl_buf_str(&buf), buf.len, "decorated", NULL, &decorated, NULL) ==
		FL_OK);
	check_same(file, decorated);
}

/* What was read, written in the plainest way, reads the same. */
static void check_plain(const struct unit_file *file)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *plain = NULL;
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	for (size_t i = 0; i < unit_file_count(file); i++) {
		const struct unit_entry *entry = unit_file_entry(file, i);
		size_t len = strlen(entry->value);

		/* One that ends in an odd number of backslashes has no plain way. */
		while (len > 0 && entry->value[len - 1] == '\\')
			len--;
		if ((strlen(entry->value) - len) % 2 == 1)
			return;
		fl_buf_printf(&buf, "[%s]\n%s = %s\n", entry->section, entry->key, entry->value);
	}
	CHECK(fl_buf_ok(&buf));
	if (buf.len > UNIT_FILE_MAX)
		return;
	CHECK(unit_file_parse(fl_buf_str(&buf), buf.len, "plain", NULL, &plain, NULL) == FL_OK);
	CHECK(unit_file_count(file) == unit_file_count(plain));
	for (size_t i = 0; i < unit_file_count(file); i++) {
		const struct unit_entry *x = unit_file_entry(file, i);
		const struct unit_entry *y = unit_file_entry(plain, i);

		CHECK(strcmp(x->section, y->section) == 0);
		CHECK(strcmp(x->key, y->key) == 0);
		CHECK(strcmp(x->value, y->value) == 0);
	}
}

static void check_verify(const uint8_t *data, size_t size, const char *name, enum unit_flags flags)
{
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	struct fl_error err = {0}, alone = {0};
	enum fl_code code = unit_verify(data, size, "f", name, flags, &report, &err);

	/* The first of all problems is the one that who does not ask for all hears. */
	CHECK(unit_verify(data, size, "f", name, flags, NULL, &alone) == code);
	CHECK((code == FL_OK) == (report.errors.n == 0));
	if (code != FL_OK) {
		CHECK(strcmp(err.text, report.errors.items[0]) == 0);
		CHECK(strcmp(err.text, alone.text) == 0);
		CHECK(strncmp(err.text, "f:", 2) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {
		"web.service", "web@.service", "web@%i.service", "web@1.timer", "a.mount", "x"};
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	struct fl_error err;
	size_t len;

	for (size_t i = 0; i < FL_COUNT(names); i++) {
		check_verify(data, size, names[i], 0);
		check_verify(data, size, names[i], UNIT_LENIENT);
	}
	if (unit_file_parse(data, size, "f", NULL, &file, &err) != FL_OK)
		return 0;
	CHECK(memcmp(unit_file_text(file, &len), data, size) == 0 && len == size);
	check_decorated(file);
	check_plain(file);
	return 0;
}
