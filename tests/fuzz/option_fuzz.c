/*
 * Whatever a configuration file or a command line says: taken, and then --dump-config says it in a
 * way that reads the same; or refused with a message that names the place.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/option.h"
#include "tests/fuzz/foreign_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

#define ARGS_MAX 64

/* One of each type, with and without bounds. */
struct config {
	char *data_directory;
	struct fl_strv listen;
	bool lenient;
	uint64_t lines, workers, lease_ms, timeout_ms, memory_bytes, limit_bytes;
};

static const struct fl_option options[] = {
	{"data-directory", 'd', FL_OPTION_STRING, 0, 0, 0, "/var/lib/flota", "PATH", "a text",
		offsetof(struct config, data_directory)},
	{"listen", 'l', FL_OPTION_LIST, 0, 0, 0, NULL, "URL", "a list",
		offsetof(struct config, listen)},
	{"lenient", 'n', FL_OPTION_BOOL, 0, 0, 0, NULL, NULL, "a bool",
		offsetof(struct config, lenient)},
	{"lines", '\0', FL_OPTION_UINT, 0, 0, 0, "10", "N", "a number",
		offsetof(struct config, lines)},
	{"cpu-workers", 'w', FL_OPTION_UINT, 0, 1, 16, "2", "N", "a number with bounds",
		offsetof(struct config, workers)},
	{"lease", '\0', FL_OPTION_DURATION, 0, 1000, 600000, "10s", "TIME", "a time with bounds",
		offsetof(struct config, lease_ms)},
	{"timeout", '\0', FL_OPTION_DURATION, FL_OPTION_ARG_ONLY, 0, 0, NULL, "TIME", "a time",
		offsetof(struct config, timeout_ms)},
	{"memory", 'm', FL_OPTION_SIZE, 0, 0, 0, "1M", "SIZE", "a size",
		offsetof(struct config, memory_bytes)},
	{"tls-limit", '\0', FL_OPTION_SIZE, FL_OPTION_FILE_ONLY, 1, 4096, "1K", "SIZE",
		"a size with bounds", offsetof(struct config, limit_bytes)},
};

static const struct fl_option_table table = {
	.program = "fuzz", .section = "Fuzz", .options = options, .n_options = FL_COUNT(options)};

static void config_begin(struct config *config)
{
	*config = (struct config){0};
	CHECK(fl_options_init(&table, config, NULL) == FL_OK);
}

static char *dump(const struct config *config)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	CHECK(out != NULL);
	fl_options_dump(&table, config, out);
	CHECK(fclose(out) == 0 && strlen(text) == len);
	return text;
}

/* What a dump says is what it is read as. */
static char *dump_again(const char *text)
{
	char path[FOREIGN_PATH_SIZE], *again;
	struct config config;

	config_begin(&config);
	foreign_file(text, strlen(text), path);
	CHECK(fl_options_read_file(&table, path, &config, NULL) == FL_OK);
	again = dump(&config);
	fl_options_fini(&table, &config);
	return again;
}

static void check_file(const uint8_t *data, size_t size)
{
	FL_CLEANUP(fl_freep) char *text = NULL, *again = NULL;
	char path[FOREIGN_PATH_SIZE];
	struct fl_error err = {0};
	struct config config;
	enum fl_code code;

	config_begin(&config);
	foreign_file(data, size, path);
	code = fl_options_read_file(&table, path, &config, &err);
	text = dump(&config);
	fl_options_fini(&table, &config);
	if (code != FL_OK) {
		CHECK(code == err.code && strncmp(err.text, path, strlen(path)) == 0);
		return;
	}
	again = dump_again(text);
	CHECK(strcmp(text, again) == 0);
}

/* Each line of the input is an argument. */
static void check_args(const uint8_t *data, size_t size, bool stop_at_word)
{
	FL_CLEANUP(fl_freep) char *input = fl_memdup0(data, size), *text = NULL, *again = NULL;
	FL_CLEANUP(fl_freep) char *third = NULL;
	char name[] = "fuzz", *argv[ARGS_MAX + 2] = {name}, *rest = input;
	struct fl_error err = {0};
	struct config config;
	int argc = 1, first = 0;
	enum fl_code code;

	CHECK(input != NULL);
	for (char *arg; argc <= ARGS_MAX && (arg = strsep(&rest, "\n")) != NULL;)
		argv[argc++] = arg;
	config_begin(&config);
	code = fl_options_parse_args(&table, argc, argv, stop_at_word, &config, &first, &err);
	text = dump(&config);
	fl_options_fini(&table, &config);
	if (code != FL_OK) {
		CHECK(code == FL_E_USAGE && err.code == code && first == 0);
		return;
	}
	CHECK(first >= 1 && first <= argc && argv[0] == name);
	/* A file has no way to say blanks at an end of a text: those go on the way, once. */
	again = dump_again(text);
	third = dump_again(again);
	CHECK(strcmp(again, third) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_file(data, size);
	check_args(data, size, false);
	check_args(data, size, true);
	return 0;
}
