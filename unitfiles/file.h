/*
 * A unit file: systemd's syntax (systemd.syntax(7)), kept byte for byte.
 *
 * What systemd takes with a warning and then leaves out (a line without "=", an option above the
 * first section, invalid UTF-8) is an error here: nobody reads the warning on a distant host.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/memory.h"
#include "unitfiles/report.h"

/* Limits. A line counts with its continuation lines; its limit is that of one argument of a
 * program (MAX_ARG_STRLEN). */
#define UNIT_FILE_MAX          (1U << 20)
#define UNIT_FILE_LINE_MAX     (128U << 10)
#define UNIT_FILE_ENTRIES_MAX  16384
#define UNIT_FILE_SECTIONS_MAX 256

#define UNIT_FILE_HASH_SIZE 41 /* 40 hex digits and the end */

struct unit_file;

/* One assignment. The texts belong to the file. */
struct unit_entry {
	const char *section;
	const char *key;
	const char *value; /* trimmed; a "\" at a line's end and that end are one space */
	unsigned line; /* where it begins, from 1 */
};

/*
 * Parses @len bytes at @text, of which it keeps a copy; @path is for messages only. FL_E_SYNTAX
 * with "path:line: what; what to do", FL_E_TOO_BIG, FL_E_NO_MEMORY.
 */
enum fl_code unit_file_parse(const void *text, size_t len, const char *path,
	struct unit_report *report, struct unit_file **ret_file,
	struct fl_error *err) FL_MUST_CHECK;
void unit_file_free(struct unit_file *file);
FL_DEFINE_CLEANUP(struct unit_file *, unit_file_free)

/* The bytes that were parsed, the same ones, followed by a 0 byte that is not counted. */
const char *unit_file_text(const struct unit_file *file, size_t *ret_len);

/* What messages call it. */
const char *unit_file_path(const struct unit_file *file);

/* The assignments, in the order of the file. */
size_t unit_file_count(const struct unit_file *file);
const struct unit_entry *unit_file_entry(const struct unit_file *file, size_t i);

/* Its first or last assignment in all sections of that name; NULL: there is none. That the last
 * one wins, or that an empty value forgets those before it, is the key's own matter. */
const struct unit_entry *unit_file_first(
	const struct unit_file *file, const char *section, const char *key);
const struct unit_entry *unit_file_last(
	const struct unit_file *file, const char *section, const char *key);

/* The last assignment's value, or @otherwise. */
const char *unit_file_value(
	const struct unit_file *file, const char *section, const char *key, const char *otherwise);

/* Whether the file has this section, be it empty. */
bool unit_file_has_section(const struct unit_file *file, const char *section);

/* The names of its sections, each once, in the order of their first header, with its line. */
size_t unit_file_section_count(const struct unit_file *file);
const char *unit_file_section(const struct unit_file *file, size_t i, unsigned *ret_line);

/*
 * SHA-1, in hex, over the assignments in fleet's canonical form. For each section that has
 * any, in the order of first appearance, with an empty line between two:
 *
 *     [Section]
 *     Key=value        all its assignments, from every header of that name, in their order
 *
 * The value is as written, trimmed at both ends; continuation lines keep their "\" and newline,
 * comments among them do not. So comments, blank lines, spaces around "=" and the kind of line end
 * do not count, and a file has the same hash as in fleet's listings. It tells versions of a file
 * apart; it protects nothing. FL_E_INTERNAL where libcrypto refuses SHA-1.
 */
enum fl_code unit_file_hash(const struct unit_file *file, char ret_hex[UNIT_FILE_HASH_SIZE],
	struct fl_error *err) FL_MUST_CHECK;
/* The same without what @section says of @keys: as if those lines were not there. */
enum fl_code unit_file_hash_without(const struct unit_file *file, const char *section,
	const char *const *keys, size_t n_keys, char ret_hex[UNIT_FILE_HASH_SIZE],
	struct fl_error *err) FL_MUST_CHECK;
