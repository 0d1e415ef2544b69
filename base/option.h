/*
 * Option tables. One table gives a program its configuration file, its command line, its --help,
 * its --dump-config and its manual page; a key that is not in the table is an error with file:line.
 *
 * An option "listen-port" is `--listen-port=` on the command line and `ListenPort=` in the file,
 * whose syntax is systemd.syntax(7)'s, with one section.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/strv.h"

enum fl_option_type {
	FL_OPTION_STRING, /* char *, owned */
	FL_OPTION_LIST, /* struct fl_strv; each use adds words, an empty value clears */
	FL_OPTION_BOOL, /* bool: yes/no, true/false, on/off, 1/0 */
	FL_OPTION_UINT, /* uint64_t */
	FL_OPTION_DURATION, /* uint64_t milliseconds: "500ms" "1.5s" "2min" "1h" "1d"; bare = s */
	FL_OPTION_SIZE, /* uint64_t bytes: "512K" "2M" "1G" (powers of 1024) */
	FL_OPTION_FACTOR, /* uint64_t thousandths: "1.5" */
};

enum fl_option_flags {
	FL_OPTION_ARG_ONLY = 1U << 0, /* not in the configuration file */
	FL_OPTION_FILE_ONLY = 1U << 1, /* not on the command line */
	FL_OPTION_WHOLE = 1U << 2, /* a list's value is one item, blanks and all */
};

struct fl_option {
	const char *name;
	char short_name; /* 0 for none */
	enum fl_option_type type;
	unsigned flags;
	uint64_t min, max; /* of numbers, durations (ms) and sizes; max 0 = no bound */
	const char *initial; /* as it would be written; NULL = empty, which a list always is */
	const char *value_name; /* "PATH", for --help */
	const char *doc;
	size_t offset; /* of the field, in the program's own configuration structure */
};

struct fl_option_table {
	const char *program;
	const char *section; /* of the configuration file */
	const struct fl_option *options;
	size_t n_options;
};

/* Sets every field of @config (zeroed) to its initial value. */
enum fl_code fl_options_init(
	const struct fl_option_table *table, void *config, struct fl_error *err) FL_MUST_CHECK;
void fl_options_fini(const struct fl_option_table *table, void *config);

/* FL_E_NOT_FOUND where there is no such file; else errors say path:line. */
enum fl_code fl_options_read_file(const struct fl_option_table *table, const char *path,
	void *config, struct fl_error *err) FL_MUST_CHECK;

/* Sets one option by its command-line name. */
enum fl_code fl_options_set(const struct fl_option_table *table, const char *name,
	const char *value, void *config, struct fl_error *err) FL_MUST_CHECK;

/*
 * Takes `--name=value`, `--name value` and `-x value` out of argv (argv[0] is skipped), up to "--"
 * and, with @stop_at_word, up to the first word that is no option. What is left is moved to the
 * front: *ret_first is the index of the first remaining word. A bool needs no value, and
 * `--no-name` unsets it.
 */
enum fl_code fl_options_parse_args(const struct fl_option_table *table, int argc, char **argv,
	bool stop_at_word, void *config, int *ret_first, struct fl_error *err) FL_MUST_CHECK;

/* What is in force, as a configuration file. */
void fl_options_dump(const struct fl_option_table *table, const void *config, FILE *out);

/* Words in lines of at most 78 columns; the first begins at @column, the others at @indent. */
void fl_print_wrapped(const char *text, unsigned column, unsigned indent, FILE *out);

/* The options, a line or more each, for --help. */
void fl_options_help(const struct fl_option_table *table, FILE *out);

/* The same as man(7) paragraphs; @as_file names them as the configuration file does. */
void fl_options_man(const struct fl_option_table *table, bool as_file, FILE *out);

/* The values' own syntax. */
enum fl_code fl_parse_bool(const char *text, bool *ret_value, struct fl_error *err) FL_MUST_CHECK;
enum fl_code fl_parse_uint(
	const char *text, uint64_t *ret_value, struct fl_error *err) FL_MUST_CHECK;
enum fl_code fl_parse_duration_ms(
	const char *text, uint64_t *ret_ms, struct fl_error *err) FL_MUST_CHECK;
enum fl_code fl_parse_size(
	const char *text, uint64_t *ret_bytes, struct fl_error *err) FL_MUST_CHECK;
enum fl_code fl_parse_factor(
	const char *text, uint64_t *ret_thousandths, struct fl_error *err) FL_MUST_CHECK;
