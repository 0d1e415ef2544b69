#include "agent/config.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/option.h"

#define AT(field) offsetof(struct config, field)

static const struct fl_option options[] = {
	{.name = "coordinator",
		.type = FL_OPTION_LIST,
		.value_name = "URL",
		.doc = "Where the coordinator is: tls+tcp://HOST:7440. Given several times, the next "
		       "one is tried when one cannot be reached; an empty value forgets those before.",
		.offset = AT(coordinators)},
	{.name = "ca-certificate",
		.type = FL_OPTION_STRING,
		.initial = "/etc/flota/tls/ca.crt",
		.value_name = "FILE",
		.doc = "The certificate of the fleet's CA.",
		.offset = AT(ca_certificate)},
	{.name = "certificate",
		.type = FL_OPTION_STRING,
		.initial = "/etc/flota/tls/machine.crt",
		.value_name = "FILE",
		.doc = "This machine's certificate; it names the machine's ID.",
		.offset = AT(certificate)},
	{.name = "key",
		.type = FL_OPTION_STRING,
		.initial = "/etc/flota/tls/machine.key",
		.value_name = "FILE",
		.doc = "The certificate's private key, readable by root only.",
		.offset = AT(key)},
	{.name = "metadata",
		.type = FL_OPTION_LIST,
		.value_name = "KEY=VALUE",
		.doc = "What the machine says of itself, for MachineMetadata= of units; several pairs "
		       "are separated by commas or spaces, or given several times.",
		.offset = AT(metadata)},
	{.name = "address",
		.type = FL_OPTION_STRING,
		.value_name = "ADDRESS",
		.doc = "The machine's address as people should see it. Default: the one the "
		       "coordinator sees.",
		.offset = AT(address)},
	{.name = "state-directory",
		.type = FL_OPTION_STRING,
		.initial = "/var/lib/flota/agent",
		.value_name = "DIR",
		.doc = "Where the assignment is kept.",
		.offset = AT(state_directory)},
	{.name = "runtime-directory",
		.type = FL_OPTION_STRING,
		.initial = "/run/flota/agent",
		.value_name = "DIR",
		.doc = "Where what was done since boot is kept: in memory, and it has to outlive the "
		       "agent.",
		.offset = AT(runtime_directory)},
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
	.program = "flota-agent",
	.section = "Agent",
	.options = options,
	.n_options = FL_COUNT(options),
};

/* The file that --config names; without, the usual one, which may be missing. */
static enum fl_code read_file(struct config *config, const char *path, struct fl_error *err)
{
	enum fl_code code;

	if (path != NULL)
		return fl_options_read_file(&table, path, config, err);
	code = fl_options_read_file(&table, CONFIG_FILE, config, err);
	return code == FL_E_NOT_FOUND ? FL_OK : code;
}

/* Only which file to read; words are left where they are, in a copy of argv. */
static enum fl_code find_file(int argc, char **argv, char **ret_path, struct fl_error *err)
{
	FL_CLEANUP(config_fini) struct config first = {.file = NULL};
	FL_CLEANUP(fl_freep) char **copy = fl_new_array((size_t)argc + 1, sizeof(*copy));
	int ignored;

	if (copy == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (int i = 0; i < argc; i++)
		copy[i] = argv[i];
	FL_TRY(fl_options_init(&table, &first, err));
	FL_TRY(fl_options_parse_args(&table, argc, copy, false, &first, &ignored, err));
	if (first.help || first.version)
		return FL_OK;
	*ret_path = FL_TAKE(first.file);
	return FL_OK;
}

enum fl_code config_read(
	int argc, char **argv, struct config *config, int *ret_first, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = NULL;

	FL_TRY(find_file(argc, argv, &path, err));
	FL_TRY(fl_options_init(&table, config, err));
	FL_TRY(read_file(config, path, err));
	return fl_options_parse_args(&table, argc, argv, false, config, ret_first, err);
}

void config_fini(struct config *config)
{
	fl_options_fini(&table, config);
}

void config_dump(const struct config *config, FILE *out)
{
	fl_options_dump(&table, config, out);
}

void config_help(FILE *out)
{
	fl_options_help(&table, out);
}

void config_man(FILE *out)
{
	fl_options_man(&table, true, out);
}
