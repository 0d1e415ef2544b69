#include "base/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/man.h"
#include "base/memory.h"

static struct fl_program_options *options_of(const struct fl_program *program, void *config)
{
	return (struct fl_program_options *)(void *)((char *)config + program->offset);
}

/* Parsing moves words about, and the command line is parsed twice. */
static char **argv_copy(int argc, char **argv)
{
	char **copy = fl_new_array((size_t)argc + 1, sizeof(*copy));

	if (copy != NULL)
		memcpy(copy, argv, (size_t)argc * sizeof(*copy));
	return copy;
}

static enum fl_code read_file(
	const struct fl_program *program, const char *path, void *config, struct fl_error *err)
{
	enum fl_code code;

	if (path != NULL)
		return fl_options_read_file(&program->table, path, config, err);
	code = fl_options_read_file(&program->table, program->default_file, config, err);
	return code == FL_E_NOT_FOUND ? FL_OK : code;
}

static enum fl_code read_all(const struct fl_program *program, int argc, char **argv,
	bool stop_at_word, void *config, int *ret_first, struct fl_error *err)
{
	struct fl_program_options *options = options_of(program, config);
	FL_CLEANUP(fl_freep) char **copy = argv_copy(argc, argv);
	FL_CLEANUP(fl_freep) char *path = NULL;
	bool with_file;

	if (copy == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_options_parse_args(
		&program->table, argc, copy, stop_at_word, config, ret_first, err));
	path = FL_TAKE(options->file);
	with_file = !options->help && !options->version;

	fl_options_fini(&program->table, config);
	memset(config, 0, program->size);
	FL_TRY(fl_options_init(&program->table, config, err));
	if (with_file)
		FL_TRY(read_file(program, path, config, err));
	FL_TRY(fl_options_parse_args(
		&program->table, argc, argv, stop_at_word, config, ret_first, err));
	if (!fl_log_level_from_name(options->log_level, &options->level))
		return FL_FAIL(err, FL_E_INVALID,
			"LogLevel=%s: use error, warning, notice, info or debug",
			options->log_level);
	return FL_OK;
}

enum fl_code fl_program_read(const struct fl_program *program, int argc, char **argv,
	bool stop_at_word, void *config, int *ret_first, struct fl_error *err)
{
	enum fl_code code;
	int first = argc;

	memset(config, 0, program->size);
	code = read_all(program, argc, argv, stop_at_word, config, &first, err);
	if (code == FL_OK)
		*ret_first = first;
	else
		fl_options_fini(&program->table, config);
	return code;
}

bool fl_program_answer(
	const struct fl_program *program, const void *config, void (*print_help)(void))
{
	const struct fl_program_options *options =
		(const void *)((const char *)config + program->offset);

	if (options->help)
		print_help();
	else if (options->version)
		printf("%s %s\n", program->table.program, FLOTA_VERSION);
	else if (options->dump_config)
		fl_options_dump(&program->table, config, stdout);
	else
		return false;
	return true;
}

void fl_program_man_file(const struct fl_program *program, FILE *out)
{
	const char *name = program->table.program;
	char text[256];

	(void)snprintf(text, sizeof(text), "%s.conf", name);
	fl_man_begin(text, 5, "the configuration of a part of flota", out);
	fl_man_section("SYNOPSIS", out);
	fl_man_text(program->default_file, out);
	fl_man_section("DESCRIPTION", out);
	(void)snprintf(text, sizeof(text),
		"Read by %s(8) when it starts, from this file or from the one that --config names. "
		"Without the file all is as said here.",
		name);
	fl_man_text(text, out);
	fl_man_text(
		"The syntax is that of systemd.syntax(7), with one section. A key that is not "
		"listed here is an error, told with its line. Every key is an option of the "
		"program too, which goes before the file: LogLevel= is --log-level=. Times are "
		"written as 500ms, 10s, 2min, 1h or 1d, a bare number is seconds; sizes as 512K, "
		"2M or 1G; yes and no also as true, on and 1, false, off and 0.",
		out);
	(void)snprintf(text, sizeof(text), "\"%s --dump-config\" prints what is in force.", name);
	fl_man_text(text, out);
	(void)snprintf(text, sizeof(text), "[%s]", program->table.section);
	fl_man_section(text, out);
	fl_options_man(&program->table, true, out);
	(void)snprintf(text, sizeof(text), "%s(8) flotactl(1) systemd.syntax(7)", name);
	fl_man_see_also(text, out);
}

enum fl_code fl_program_man_page(
	const struct fl_program *program, const char *page, bool *ret_is_file, struct fl_error *err)
{
	const char *name = program->table.program;
	size_t len = strlen(name);

	if (page != NULL && (strncmp(page, name, len) != 0 ||
				    (page[len] != '\0' && strcmp(page + len, ".conf") != 0)))
		return FL_FAIL(err, FL_E_USAGE, "there is no page \"%s\"; there are %s and %s.conf",
			page, name, name);
	*ret_is_file = page != NULL && page[len] != '\0';
	return FL_OK;
}
