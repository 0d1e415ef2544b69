#include "unitfiles/file.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define NONE   SIZE_MAX
#define BLANKS " \t"

#define HASH_BYTES ((size_t)(UNIT_FILE_HASH_SIZE - 1) / 2)

struct item {
	struct unit_entry entry;
	size_t next; /* of the same section's, or NONE */
	size_t raw; /* where its lines begin and end in the text; only if they are several */
	size_t raw_end;
};

struct section {
	const char *name;
	unsigned line;
	size_t first, last; /* items, or NONE */
};

struct unit_file {
	char *text;
	size_t len;
	char *path;
	/* The names, keys and values, terminated. No longer than the text: what ends them there,
	 * "=", "]" or the line's end, leaves room for the 0 byte here. */
	char *strings;
	struct item *items;
	size_t n_items, items_capacity;
	struct section *sections;
	size_t n_sections, sections_capacity;
};

/* What is being read. */
struct parser {
	struct unit_file *file;
	struct unit_reporter reporter;
	const char *at, *end;
	unsigned line; /* of @at */
	size_t used; /* of file->strings */
	size_t section; /* current, or NONE */
	bool in_bad_section; /* its header was reported: its assignments need not be */
	unsigned blank_behind_backslash; /* the last line that looks continued and is not */
};

/* One line with those that continue it, trimmed, in file->strings. */
struct logical_line {
	char *text;
	size_t len;
	unsigned line;
	size_t raw, raw_end;
	bool folded;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The length of the UTF-8 sequence (RFC 3629) at @at, or 0. C1 controls are taken for invalid:
 * terminals obey them. */
static size_t utf8_length(const unsigned char *at, const unsigned char *end)
{
	size_t n = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
	uint32_t c;

	if (*at < 0xc2 || *at > 0xf4 || (size_t)(end - at) < n)
		return 0;
	c = *at & (0xffU >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	if ((n == 2 && c < 0xa0) || (n == 3 && c < 0x800) || (n == 4 && c < 0x10000) ||
		(c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	return n;
}

/* Reports the first byte of the line that has no place in a text. */
static void check_bytes(struct parser *p, const char *line, size_t len)
{
	const unsigned char *at = (const unsigned char *)line, *end = at + len;

	while (at < end) {
		size_t n = 1;

		if (*at >= 0x80)
			n = utf8_length(at, end);
		else if ((*at < ' ' && *at != '\t') || *at == 0x7f)
			break;
		if (n == 0)
			break;
		at += n;
	}
	if (at == end)
		return;
	if (*at == 0)
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, p->line,
			"there is a 0 byte; this is not a text file");
	else if (*at < 0x80 || (*at == 0xc2 && end - at > 1 && at[1] >= 0x80 && at[1] < 0xa0))
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, p->line,
			"there is a control character (0x%02x); remove it",
			*at < 0x80 ? *at : at[1]);
	else
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, p->line,
			"byte 0x%02x is not UTF-8; save the file as UTF-8", *at);
}

/* The next line as it stands in the file, without its end. */
static bool next_line(struct parser *p, const char **ret_line, size_t *ret_len)
{
	const char *newline;
	size_t len;

	if (p->at == p->end)
		return false;
	newline = memchr(p->at, '\n', (size_t)(p->end - p->at));
	len = (size_t)((newline != NULL ? newline : p->end) - p->at);
	*ret_line = p->at;
	p->at = newline != NULL ? newline + 1 : p->end;
	p->line++;
	if (len > 0 && (*ret_line)[len - 1] == '\r')
		len--;
	check_bytes(p, *ret_line, len);
	*ret_len = len;
	return true;
}

/* Whether an odd number of backslashes ends the line. */
static bool ends_in_backslash(const char *line, size_t len)
{
	size_t n = 0;

	while (n < len && line[len - 1 - n] == '\\')
		n++;
	return n % 2 == 1;
}

/* Behind the backslash a blank may not stand: systemd takes it for an escaped blank, which is
 * hardly what was meant. */
static bool is_continued(struct parser *p, const char *line, size_t len)
{
	size_t trimmed = len;

	while (trimmed > 0 && is_blank(line[trimmed - 1]))
		trimmed--;
	if (!ends_in_backslash(line, trimmed))
		return false;
	if (trimmed < len)
		p->blank_behind_backslash = p->line;
	return trimmed == len;
}

static char first_char(const char *line, size_t len)
{
	while (len > 0 && is_blank(*line)) {
		line++;
		len--;
	}
	if (len == 0)
		return '\0';
	return *line;
}

/* The next line that says something. False at the end of the file. */
static bool next_logical_line(struct parser *p, struct logical_line *ret)
{
	char *out = p->file->strings + p->used;
	size_t n = 0, len, lines = 0;
	bool continued = false;
	const char *line;

	do {
		const char *start = p->at;
		char first;

		if (!next_line(p, &line, &len))
			break;
		first = first_char(line, len);
		if (first == '#' || first == ';')
			continue;
		if (first == '\0' && lines == 0)
			continue;
		if (lines++ == 0) {
			ret->line = p->line;
			ret->raw = (size_t)(start - p->file->text);
		}
		continued = is_continued(p, line, len);
		memcpy(out + n, line, len);
		n += len;
		if (continued)
			out[n - 1] = ' ';
	} while (lines == 0 || continued);

	while (n > 0 && is_blank(out[n - 1]))
		n--;
	while (n > 0 && is_blank(*out)) {
		out++;
		n--;
	}
	out[n] = '\0';
	ret->text = out;
	ret->len = n;
	ret->raw_end = (size_t)(p->at - p->file->text);
	ret->folded = lines > 1;
	return lines > 0;
}

static enum fl_code grow(void **array, size_t *capacity, size_t n, size_t size)
{
	size_t bigger = *capacity > 0 ? 2 * *capacity : 16;
	void *grown;

	if (n < *capacity)
		return FL_OK;
	grown = reallocarray(*array, bigger, size);
	if (grown == NULL)
		return FL_E_NO_MEMORY;
	*array = grown;
	*capacity = bigger;
	return FL_OK;
}

static size_t find_section(const struct unit_file *file, const char *name)
{
	for (size_t i = 0; i < file->n_sections; i++)
		if (strcmp(file->sections[i].name, name) == 0)
			return i;
	return NONE;
}

static enum fl_code parse_header(struct parser *p, struct logical_line *line)
{
	struct unit_file *file = p->file;
	char *name = line->text + 1;

	p->section = NONE;
	p->in_bad_section = true;
	if (line->text[line->len - 1] != ']') {
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, line->line,
			"a section's header does not end in \"]\"; nothing may follow it on its line");
		return FL_OK;
	}
	line->text[line->len - 1] = '\0';
	if (*name == '\0' || strpbrk(name, "[]\"'\\") != NULL) {
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, line->line,
			*name == '\0' ? "a section has no name; write one between [ and ]"
				      : "a section's name has one of []\"'\\ in it; remove it");
		return FL_OK;
	}
	p->in_bad_section = false;
	p->section = find_section(file, name);
	if (p->section != NONE)
		return FL_OK;
	if (file->n_sections == UNIT_FILE_SECTIONS_MAX) {
		unit_reporter_error(&p->reporter, FL_E_TOO_BIG, line->line,
			"there are more than %d sections", UNIT_FILE_SECTIONS_MAX);
		return FL_E_TOO_BIG;
	}
	FL_TRY(grow((void **)&file->sections, &file->sections_capacity, file->n_sections,
		sizeof(*file->sections)));
	p->section = file->n_sections++;
	file->sections[p->section] =
		(struct section){.name = name, .line = line->line, .first = NONE, .last = NONE};
	p->used = (size_t)(line->text + line->len - file->strings);
	return FL_OK;
}

static enum fl_code parse_assignment(struct parser *p, struct logical_line *line)
{
	struct unit_file *file = p->file;
	char *equals = memchr(line->text, '=', line->len);
	char *value, *key_end = equals;
	struct section *section;

	if (equals == NULL && p->blank_behind_backslash + 1 == line->line &&
		p->blank_behind_backslash > 0) {
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, line->line,
			"the line is not an assignment, and does not continue the one above, where "
			"a blank stands behind the \"\\\"; remove that blank");
		return FL_OK;
	}
	if (equals == NULL || equals == line->text) {
		unit_reporter_error(&p->reporter, FL_E_SYNTAX, line->line,
			equals == NULL ? "the line has no \"=\"; write Key=value, or # before a "
					 "comment"
				       : "there is no key before the \"=\"");
		return FL_OK;
	}
	if (p->section == NONE) {
		if (!p->in_bad_section)
			unit_reporter_error(&p->reporter, FL_E_SYNTAX, line->line,
				"the assignment is in no section; write a header such as [Service] "
				"above it");
		return FL_OK;
	}
	if (file->n_items == UNIT_FILE_ENTRIES_MAX) {
		unit_reporter_error(&p->reporter, FL_E_TOO_BIG, line->line,
			"there are more than %d assignments", UNIT_FILE_ENTRIES_MAX);
		return FL_E_TOO_BIG;
	}
	FL_TRY(grow(
		(void **)&file->items, &file->items_capacity, file->n_items, sizeof(*file->items)));
	while (is_blank(key_end[-1]))
		key_end--;
	*key_end = '\0';
	value = equals + 1 + strspn(equals + 1, BLANKS);

	section = &file->sections[p->section];
	if (section->first == NONE)
		section->first = file->n_items;
	else
		file->items[section->last].next = file->n_items;
	section->last = file->n_items;
	file->items[file->n_items++] = (struct item){
		.entry = {.section = section->name,
			.key = line->text,
			.value = value,
			.line = line->line},
		.next = NONE,
		.raw = line->folded ? line->raw : 0,
		.raw_end = line->folded ? line->raw_end : 0,
	};
	p->used = (size_t)(line->text + line->len + 1 - file->strings);
	return FL_OK;
}

static enum fl_code parse(struct parser *p)
{
	struct logical_line line = {0};

	while (!unit_reporter_done(&p->reporter) && next_logical_line(p, &line)) {
		if (line.len == 0)
			continue;
		if (line.len > UNIT_FILE_LINE_MAX) {
			unit_reporter_error(&p->reporter, FL_E_TOO_BIG, line.line,
				"the line has %zu bytes; the limit is %u", line.len,
				UNIT_FILE_LINE_MAX);
			continue;
		}
		FL_TRY(line.text[0] == '[' ? parse_header(p, &line) : parse_assignment(p, &line));
	}
	return p->reporter.code;
}

enum fl_code unit_file_parse(const void *text, size_t len, const char *path,
	struct unit_report *report, struct unit_file **ret_file, struct fl_error *err)
{
	static const char byte_order_mark[] = {'\xef', '\xbb', '\xbf'};
	FL_CLEANUP(unit_file_freep) struct unit_file *file = FL_NEW(struct unit_file);
	struct parser p = {
		.file = file,
		.reporter = {.report = report, .err = err, .path = path},
		.section = NONE,
	};

	if (len > UNIT_FILE_MAX) {
		unit_reporter_error(&p.reporter, FL_E_TOO_BIG, 0,
			"the file has %zu bytes; a unit file may have %u", len, UNIT_FILE_MAX);
		return p.reporter.code;
	}
	if (file == NULL)
		return FL_FAIL_NO_MEMORY(err);
	file->text = fl_memdup0(text, len);
	file->len = len;
	file->path = fl_strdup(path);
	file->strings = malloc(len + 1);
	if (file->text == NULL || file->path == NULL || file->strings == NULL)
		return FL_FAIL_NO_MEMORY(err);

	p.at = file->text;
	p.end = file->text + len;
	if (len >= sizeof(byte_order_mark) &&
		memcmp(p.at, byte_order_mark, sizeof(byte_order_mark)) == 0)
		p.at += sizeof(byte_order_mark);
	if (parse(&p) == FL_E_NO_MEMORY)
		return FL_FAIL_NO_MEMORY(err);
	if (p.reporter.code != FL_OK)
		return p.reporter.code;
	*ret_file = FL_TAKE(file);
	return FL_OK;
}

void unit_file_free(struct unit_file *file)
{
	if (file == NULL)
		return;
	free(file->text);
	free(file->path);
	free(file->strings);
	free(file->items);
	free(file->sections);
	free(file);
}

const char *unit_file_text(const struct unit_file *file, size_t *ret_len)
{
	if (ret_len != NULL)
		*ret_len = file->len;
	return file->text;
}

const char *unit_file_path(const struct unit_file *file)
{
	return file->path;
}

size_t unit_file_count(const struct unit_file *file)
{
	return file->n_items;
}

const struct unit_entry *unit_file_entry(const struct unit_file *file, size_t i)
{
	fl_assert(i < file->n_items);
	return &file->items[i].entry;
}

const struct unit_entry *unit_file_first(
	const struct unit_file *file, const char *section, const char *key)
{
	size_t i = find_section(file, section);

	if (i == NONE)
		return NULL;
	for (i = file->sections[i].first; i != NONE; i = file->items[i].next)
		if (strcmp(file->items[i].entry.key, key) == 0)
			return &file->items[i].entry;
	return NULL;
}

const struct unit_entry *unit_file_last(
	const struct unit_file *file, const char *section, const char *key)
{
	size_t i = find_section(file, section);
	const struct unit_entry *last = NULL;

	if (i == NONE)
		return NULL;
	for (i = file->sections[i].first; i != NONE; i = file->items[i].next)
		if (strcmp(file->items[i].entry.key, key) == 0)
			last = &file->items[i].entry;
	return last;
}

const char *unit_file_value(
	const struct unit_file *file, const char *section, const char *key, const char *otherwise)
{
	const struct unit_entry *entry = unit_file_last(file, section, key);

	return entry != NULL ? entry->value : otherwise;
}

bool unit_file_has_section(const struct unit_file *file, const char *section)
{
	return find_section(file, section) != NONE;
}

size_t unit_file_section_count(const struct unit_file *file)
{
	return file->n_sections;
}

const char *unit_file_section(const struct unit_file *file, size_t i, unsigned *ret_line)
{
	fl_assert(i < file->n_sections);
	if (ret_line != NULL)
		*ret_line = file->sections[i].line;
	return file->sections[i].name;
}

/* A value of several lines as the canonical form has it. */
static void append_folded(struct fl_buf *buf, const struct unit_file *file, const struct item *item)
{
	const char *at = file->text + item->raw, *end = file->text + item->raw_end;
	size_t start = buf->len, folds = 0;
	bool in_key = true;

	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *line = at, *stop = newline != NULL ? newline : end;
		char first = first_char(line, (size_t)(stop - line));

		at = newline != NULL ? newline + 1 : end;
		if (first == '#' || first == ';')
			continue;
		if (stop > line && stop[-1] == '\r')
			stop--;
		if (ends_in_backslash(line, (size_t)(stop - line)))
			stop--;
		if (in_key) {
			line = memchr(line, '=', (size_t)(stop - line));
			if (line == NULL)
				continue;
			in_key = false;
			line++;
		}
		if (first_char(line, (size_t)(stop - line)) != '\0') {
			while (folds == 0 && is_blank(*line))
				line++;
			for (; folds > 0; folds--)
				fl_buf_text(buf, "\\\n");
			fl_buf_append(buf, line, (size_t)(stop - line));
		}
		folds++;
	}
	while (buf->len > start && is_blank(buf->data[buf->len - 1]))
		buf->len--;
}

/* What the hash leaves out. */
struct omission {
	const char *section;
	const char *const *keys;
	size_t n;
};

static bool omits(const struct omission *omission, const struct unit_entry *entry)
{
	for (size_t i = 0; i < omission->n; i++)
		if (strcmp(entry->section, omission->section) == 0 &&
			strcmp(entry->key, omission->keys[i]) == 0)
			return true;
	return false;
}

static void append_section(struct fl_buf *buf, const struct unit_file *file,
	const struct section *section, const struct omission *omission)
{
	bool any = false;

	for (size_t i = section->first; i != NONE; i = file->items[i].next) {
		const struct item *item = &file->items[i];

		if (omits(omission, &item->entry))
			continue;
		if (!any)
			fl_buf_printf(buf, "%s[%s]\n", buf->len > 0 ? "\n" : "", section->name);
		any = true;
		fl_buf_text(buf, item->entry.key);
		fl_buf_byte(buf, '=');
		if (item->raw_end > 0)
			append_folded(buf, file, item);
		else
			fl_buf_text(buf, item->entry.value);
		fl_buf_byte(buf, '\n');
	}
}

enum fl_code unit_file_hash_without(const struct unit_file *file, const char *section,
	const char *const *keys, size_t n_keys, char ret_hex[UNIT_FILE_HASH_SIZE],
	struct fl_error *err)
{
	static const char digits[] = "0123456789abcdef";
	const struct omission omission = {.section = section, .keys = keys, .n = n_keys};
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned n;

	for (size_t i = 0; i < file->n_sections; i++)
		append_section(&buf, file, &file->sections[i], &omission);
	if (!fl_buf_ok(&buf))
		return FL_FAIL_NO_MEMORY(err);
	if (EVP_Digest(fl_buf_str(&buf), buf.len, hash, &n, EVP_sha1(), NULL) != 1 ||
		n != HASH_BYTES)
		return FL_FAIL(err, FL_E_INTERNAL, "libcrypto does not compute SHA-1");
	for (size_t i = 0; i < HASH_BYTES; i++) {
		ret_hex[2 * i] = digits[hash[i] >> 4];
		ret_hex[2 * i + 1] = digits[hash[i] & 15];
	}
	ret_hex[2 * HASH_BYTES] = '\0';
	return FL_OK;
}

enum fl_code unit_file_hash(
	const struct unit_file *file, char ret_hex[UNIT_FILE_HASH_SIZE], struct fl_error *err)
{
	return unit_file_hash_without(file, NULL, NULL, 0, ret_hex, err);
}
