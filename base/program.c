#include "base/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
