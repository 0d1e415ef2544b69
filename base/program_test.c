#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/program.h"

#define DEFAULT_FILE "default.conf"
#define OTHER_FILE   "other.conf"

struct config {
	uint64_t size;
	struct fl_strv names;
	struct fl_program_options program;
};

static const struct fl_option options[] = {
	{.name = "size", .type = FL_OPTION_UINT, .offset = offsetof(struct config, size)},
	{.name = "names", .type = FL_OPTION_LIST, .offset = offsetof(struct config, names)},
	FL_PROGRAM_OPTIONS(struct config, program, DEFAULT_FILE),
};

static const struct fl_program program = {
	.table = {.program = "test",
		.section = "Test",
		.options = options,
		.n_options = FL_COUNT(options)},
	.default_file = DEFAULT_FILE,
	.size = sizeof(struct config),
	.offset = offsetof(struct config, program),
};

static char folder[] = "/tmp/flota-program-XXXXXX";

/* In a folder of its own: the default file is looked for in the working directory. */
static int setup_all(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL && chdir(folder) == 0 ? 0 : -1;
}

static int teardown_all(void **state)
{
	(void)state;
	return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static int remove_files(void **state)
{
	(void)state;
	(void)unlink(DEFAULT_FILE);
	(void)unlink(OTHER_FILE);
	return 0;
}

static void write_text(const char *path, const char *text)
{
	assert_int_equal(fl_file_write(path, text, strlen(text), 0600, false, NULL), FL_OK);
}

/* @words are separated by blanks; *config has been used before. */
static enum fl_code read_config(
	const char *words, bool stop_at_word, struct config *config, int *ret_first)
{
	FL_CLEANUP_STRV struct fl_strv argv = {.n = 0};

	memset(config, 0xff, sizeof(*config));
	assert_int_equal(fl_strv_add(&argv, "test", NULL), FL_OK);
	assert_int_equal(fl_strv_split(&argv, words, " ", NULL), FL_OK);
	return fl_program_read(
		&program, (int)argv.n, argv.items, stop_at_word, config, ret_first, NULL);
}

static void the_command_line_is_above_the_file(void **state)
{
	struct config config;
	int first = 0;

	(void)state;
	assert_int_equal(read_config("", false, &config, &first), FL_OK);
	assert_int_equal(first, 1);
	assert_int_equal(config.size, 0);
	assert_int_equal(config.program.level, FL_INFO);
	fl_options_fini(&program.table, &config);

	write_text(DEFAULT_FILE, "[Test]\nSize=1\nNames=a\nLogLevel=debug\n");
	write_text(OTHER_FILE, "[Test]\nSize=2\n");
	assert_int_equal(read_config("go --names=b --size=3 on", false, &config, &first), FL_OK);
	assert_int_equal(first, 3);
	assert_int_equal(config.size, 3);
	assert_int_equal(config.names.n, 2);
	assert_int_equal(config.program.level, FL_DEBUG);
	fl_options_fini(&program.table, &config);

	assert_int_equal(
		read_config("--config=" OTHER_FILE " go --size=3", true, &config, &first), FL_OK);
	assert_int_equal(first, 2);
	assert_int_equal(config.size, 2);
	assert_int_equal(config.names.n, 0);
	fl_options_fini(&program.table, &config);
}

static void a_named_file_has_to_be_there(void **state)
{
	struct config config;
	int first = 7;

	(void)state;
	assert_int_equal(
		read_config("--config=" OTHER_FILE, false, &config, &first), FL_E_NOT_FOUND);
	assert_int_equal(read_config("--log-level=loud", false, &config, &first), FL_E_INVALID);
	assert_int_equal(first, 7);
}

static unsigned n_helps;

static void count_help(void)
{
	n_helps++;
}

static void help_is_to_be_had_with_a_bad_file(void **state)
{
	struct config config;
	int first;

	(void)state;
	write_text(DEFAULT_FILE, "nonsense\n");
	assert_int_equal(read_config("", false, &config, &first), FL_E_SYNTAX);
	assert_int_equal(read_config("go --help", false, &config, &first), FL_OK);
	assert_true(fl_program_answer(&program, &config, count_help));
	assert_int_equal(n_helps, 1);
	fl_options_fini(&program.table, &config);

	assert_int_equal(read_config("--help --no-help --version", false, &config, &first), FL_OK);
	assert_true(fl_program_answer(&program, &config, count_help));
	assert_int_equal(n_helps, 1);
	fl_options_fini(&program.table, &config);
}

static void what_is_not_asked_is_not_answered(void **state)
{
	struct config config;
	int first;

	(void)state;
	assert_int_equal(read_config("go", false, &config, &first), FL_OK);
	assert_false(fl_program_answer(&program, &config, count_help));
	fl_options_fini(&program.table, &config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, remove_files)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_command_line_is_above_the_file),
		TEST(a_named_file_has_to_be_there),
		TEST(help_is_to_be_had_with_a_bad_file),
		TEST(what_is_not_asked_is_not_answered),
	};

	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
