/*
 * What the daemons' command lines have in common: where the configuration comes from, in which
 * order, and --help, --version and --dump-config.
 *
 * A setting's initial value is overridden by the file, and that by the command line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "base/option.h"

/* A member of the program's own configuration structure. */
struct fl_program_options {
	char *log_level;
	enum fl_level level; /* log_level, understood */

	/* Of the command line alone. */
	char *file;
	bool dump_config, help, version;
};

/* The rows of the option table that fill such a member; @default_file is a literal. */
/* clang-format off */
#define FL_PROGRAM_OPTIONS(structure, member, default_file) \
	{.name = "log-level", \
		.type = FL_OPTION_STRING, \
		.initial = "info", \
		.value_name = "LEVEL", \
		.doc = "error, warning, notice, info or debug.", \
		.offset = offsetof(structure, member.log_level)}, \
	{.name = "config", \
		.short_name = 'c', \
		.type = FL_OPTION_STRING, \
		.flags = FL_OPTION_ARG_ONLY, \
		.value_name = "FILE", \
		.doc = "Read FILE instead of " default_file ".", \
		.offset = offsetof(structure, member.file)}, \
	{.name = "dump-config", \
		.type = FL_OPTION_BOOL, \
		.flags = FL_OPTION_ARG_ONLY, \
		.doc = "Print the configuration that is in force, and end.", \
		.offset = offsetof(structure, member.dump_config)}, \
	{.name = "help", \
		.short_name = 'h', \
		.type = FL_OPTION_BOOL, \
		.flags = FL_OPTION_ARG_ONLY, \
		.doc = "Print this, and end.", \
		.offset = offsetof(structure, member.help)}, \
	{.name = "version", \
		.type = FL_OPTION_BOOL, \
		.flags = FL_OPTION_ARG_ONLY, \
		.doc = "Print the version, and end.", \
		.offset = offsetof(structure, member.version)}
/* clang-format on */

struct fl_program {
	struct fl_option_table table;
	const char *default_file; /* read without --config; it may be missing */
	size_t size; /* of the configuration structure */
	size_t offset; /* of its struct fl_program_options */
};

/*
 * Fills @config, whatever it held. A file that --config names has to be there; with --help or
 * --version none is read. @stop_at_word and *ret_first are fl_options_parse_args()'s. On failure
 * @config owns nothing.
 */
enum fl_code fl_program_read(const struct fl_program *program, int argc, char **argv,
	bool stop_at_word, void *config, int *ret_first, struct fl_error *err) FL_MUST_CHECK;

/* The manual page of the configuration file: PROGRAM.conf(5). */
void fl_program_man_file(const struct fl_program *program, FILE *out);

/* Which page "PROGRAM man [@page]" means: the file's, or (NULL, too) the program's own. FL_E_USAGE. */
enum fl_code fl_program_man_page(const struct fl_program *program, const char *page,
	bool *ret_is_file, struct fl_error *err) FL_MUST_CHECK;

/* Prints what --help (@print_help does it), --version or --dump-config asked for; false where none
 * of them was given. */
bool fl_program_answer(
	const struct fl_program *program, const void *config, void (*print_help)(void));
