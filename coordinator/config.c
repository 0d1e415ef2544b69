#include "coordinator/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/option.h"

/* A lease below a second would turn every hiccup of a network into a lost machine. */
#define LEASE_MIN_MS 1000

#define AT(field) offsetof(struct config, field)

static const struct fl_option options[] = {
	{.name = "listen",
		.type = FL_OPTION_LIST,
		.value_name = "URL",
		.doc = "Where agents and flotactl find the coordinator: tls+tcp://ADDRESS:PORT or "
		       "ipc:///PATH; may be given several times, an empty value forgets those "
		       "before. Default: tls+tcp://0.0.0.0:7440 ipc:///run/flota/coordinator.sock.",
		.offset = AT(listen)},
	{.name = "data-directory",
		.type = FL_OPTION_STRING,
		.initial = "/var/lib/flota/coordinator",
		.value_name = "DIR",
		.doc = "Where the fleet's state, its CA and the coordinator's certificate are kept.",
		.offset = AT(data_directory)},
	{.name = "lease",
		.type = FL_OPTION_DURATION,
		.min = LEASE_MIN_MS,
		.max = 24 * 3600 * 1000,
		.initial = "10s",
		.value_name = "DURATION",
		.doc = "How long after its last word a machine counts as lost, and its units are "
		       "started elsewhere. At least 1s.",
		.offset = AT(lease_ms)},
	{.name = "log-level",
		.type = FL_OPTION_STRING,
		.initial = "info",
		.value_name = "LEVEL",
		.doc = "error, warning, notice, info or debug.",
		.offset = AT(log_level)},
	{.name = "config",
		.short_name = 'c',
		.type = FL_OPTION_STRING,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "FILE",
		.doc = "Read FILE instead of " CONFIG_FILE ".",
		.offset = AT(file)},
	{.name = "dump-config",
		.type = FL_OPTION_BOOL,
		.flags = FL_OPTION_ARG_ONLY,
		.doc = "Print the configuration that is in force, and end.",
		.offset = AT(dump_config)},
	{.name = "help",
		.short_name = 'h',
		.type = FL_OPTION_BOOL,
		.flags = FL_OPTION_ARG_ONLY,
		.doc = "Print this, and end.",
		.offset = AT(help)},
	{.name = "version",
		.type = FL_OPTION_BOOL,
		.flags = FL_OPTION_ARG_ONLY,
		.doc = "Print the version, and end.",
		.offset = AT(version)},
};

static const struct fl_option_table table = {
	.program = "flota-coordinator",
	.section = "Coordinator",
	.options = options,
	.n_options = FL_COUNT(options),
};

void config_fini(struct config *config)
{
	fl_options_fini(&table, config);
}

/* The file that --config names; without, the usual one, which may be missing. */
static enum fl_code read_file(struct config *config, const char *path, struct fl_error *err)
{
	enum fl_code code;

	if (path != NULL)
		return fl_options_read_file(&table, path, config, err);
	code = fl_options_read_file(&table, CONFIG_FILE, config, err);
	return code == FL_E_NOT_FOUND ? FL_OK : code;
}

/* No default in the table: there it would be added to, and a coordinator that was told to listen
 * on one address would still listen on all. */
static enum fl_code complete_listen(struct config *config, struct fl_error *err)
{
	if (config->listen.n > 0)
		return FL_OK;
	FL_TRY(fl_strv_add(&config->listen, "tls+tcp://0.0.0.0:7440", err));
	return fl_strv_add(&config->listen, "ipc:///run/flota/coordinator.sock", err);
}

static enum fl_code load(
	struct config *config, int argc, char **argv, int *ret_first, struct fl_error *err)
{
	struct config arguments = {0};
	enum fl_code code;
	int first;

	/* Twice over the command line: once for --config, once to be above the file. */
	code = fl_options_parse_args(&table, argc, argv, true, &arguments, &first, err);
	if (code == FL_OK)
		code = fl_options_init(&table, config, err);
	if (code == FL_OK && !arguments.help && !arguments.version)
		code = read_file(config, arguments.file, err);
	config_fini(&arguments);
	FL_TRY(code);
	FL_TRY(fl_options_parse_args(&table, argc, argv, true, config, &first, err));
	FL_TRY(complete_listen(config, err));
	if (!fl_log_level_from_name(config->log_level, &config->level))
		return FL_FAIL(err, FL_E_INVALID,
			"LogLevel=%s: use error, warning, notice, info or debug",
			config->log_level);
	*ret_first = first;
	return FL_OK;
}

enum fl_code config_load(
	struct config *config, int argc, char **argv, int *ret_first, struct fl_error *err)
{
	enum fl_code code;

	*config = (struct config){0};
	code = load(config, argc, argv, ret_first, err);
	if (code != FL_OK)
		config_fini(config);
	return code;
}

void config_dump(const struct config *config, FILE *out)
{
	fl_options_dump(&table, config, out);
}

void config_help(FILE *out)
{
	fl_options_help(&table, out);
}

void config_man(bool as_file, FILE *out)
{
	fl_options_man(&table, as_file, out);
}
