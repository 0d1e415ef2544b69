#include "coordinator/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/https.h"
#include "release/release.h"
#include "transport/door.h"

/* A lease below a second would turn every hiccup of a network into a lost machine. */
#define LEASE_MIN_MS 1000

#define LIFE_MIN_MS 2000

/* In thousandths. */
#define OVERCOMMIT_MIN 100
#define OVERCOMMIT_MAX 100000

#define AT(field) offsetof(struct config, field)

static const struct fl_option options[] = {
	{.name = "listen",
		.type = FL_OPTION_LIST,
		.value_name = "URL",
		.doc = "Where agents and flotactl find the coordinator: tls+tcp://ADDRESS:PORT or "
		       "ipc:///PATH; may be given several times, an empty value forgets those "
		       "before. Default: tls+tcp://0.0.0.0:7440 ipc:///run/flota/coordinator/socket.",
		.offset = AT(listen)},
	{.name = "door",
		.type = FL_OPTION_LIST,
		.value_name = "URL",
		.doc = "Where machines join that have no certificate yet: tls+tcp://ADDRESS:PORT; "
		       "nothing else is heard there. May be given several times. Default: the "
		       "first TLS address of --listen, one port higher; \"none\" keeps it shut.",
		.offset = AT(doors)},
	{.name = "https",
		.type = FL_OPTION_STRING,
		.value_name = "[ADDRESS:]PORT",
		.doc = "Where machines that have nothing of flota yet find its agent: "
		       "https://HOST:PORT/agents/VERSION/ARCH/flota-agent, and /healthz. Default: "
		       "the first --door, one port higher; \"none\" keeps it shut.",
		.offset = AT(https)},
	{.name = "release-keys",
		.type = FL_OPTION_LIST,
		.value_name = "DIR",
		.doc = "Where NAME.pub are, the keys of agents' releases: when there are any, only "
		       "what they have signed can be published. May be given several times. "
		       "Default: " RELEASE_KEYS_ETC " " RELEASE_KEYS_LIB ".",
		.offset = AT(release_keys)},
	{.name = "certificate-life",
		.type = FL_OPTION_DURATION,
		.min = LIFE_MIN_MS,
		.max = UINT64_C(366) * 24 * 3600 * 1000,
		.initial = "24h",
		.value_name = "DURATION",
		.doc = "How long the certificate of a machine that joined is good for; it is renewed "
		       "from half its life on. At least 2s.",
		.offset = AT(certificate_life_ms)},
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
	{.name = "memory-overcommit",
		.type = FL_OPTION_FACTOR,
		.min = OVERCOMMIT_MIN,
		.max = OVERCOMMIT_MAX,
		.initial = "1",
		.value_name = "FACTOR",
		.doc = "How much memory the units on a machine may claim together (MemoryMax=, "
		       "Memory=), in multiples of what it has: 1.5 is half as much again.",
		.offset = AT(memory_overcommit_permille)},
	{.name = "cpu-overcommit",
		.type = FL_OPTION_FACTOR,
		.min = OVERCOMMIT_MIN,
		.max = OVERCOMMIT_MAX,
		.initial = "1",
		.value_name = "FACTOR",
		.doc = "The same of CPUs (CPUQuota=, CPUs=).",
		.offset = AT(cpu_overcommit_permille)},
	FL_PROGRAM_OPTIONS(struct config, program, CONFIG_FILE),
};

const struct fl_program config_program = {
	.table = {.program = "flota-coordinator",
		.section = "Coordinator",
		.options = options,
		.n_options = FL_COUNT(options)},
	.default_file = CONFIG_FILE,
	.size = sizeof(struct config),
	.offset = AT(program),
};

void config_fini(struct config *config)
{
	free(FL_TAKE(config->https_address));
	fl_options_fini(&config_program.table, config);
}

static enum fl_code default_door(struct config *config, struct fl_error *err)
{
	for (size_t i = 0; i < config->listen.n; i++) {
		FL_CLEANUP(fl_freep) char *door = NULL;

		FL_TRY(door_beside(config->listen.items[i], &door, err));
		if (door != NULL)
			return fl_strv_add(&config->doors, door, err);
	}
	return FL_OK;
}

static enum fl_code complete_door(struct config *config, struct fl_error *err)
{
	if (config->doors.n == 0)
		return default_door(config, err);
	if (config->doors.n == 1 && strcmp(config->doors.items[0], "none") == 0)
		fl_strv_fini(&config->doors);
	return FL_OK;
}

/* Without a door nobody joins, and nobody needs an agent from here either. */
static enum fl_code complete_https(struct config *config, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *beside = NULL;
	const char *listen = config->https;

	if (listen != NULL && strcmp(listen, "none") == 0)
		return FL_OK;
	if (listen == NULL && config->doors.n > 0) {
		FL_TRY(door_beside(config->doors.items[0], &beside, err));
		listen = beside != NULL ? strstr(beside, "://") : NULL;
		listen = listen != NULL ? listen + strlen("://") : NULL;
	}
	if (listen == NULL)
		return FL_OK;
	config->has_https = true;
	return https_parse_listen(listen, &config->https_address, &config->https_port, err);
}

/* No default in the table: there it would be added to, and a coordinator that was told to listen
 * on one address would still listen on all. */
static enum fl_code complete_listen(struct config *config, struct fl_error *err)
{
	if (config->listen.n > 0)
		return FL_OK;
	FL_TRY(fl_strv_add(&config->listen, "tls+tcp://0.0.0.0:7440", err));
	return fl_strv_add(&config->listen, "ipc:///run/flota/coordinator/socket", err);
}

enum fl_code config_load(
	struct config *config, int argc, char **argv, int *ret_first, struct fl_error *err)
{
	enum fl_code code;

	FL_TRY(fl_program_read(&config_program, argc, argv, true, config, ret_first, err));
	code = complete_listen(config, err);
	if (code == FL_OK)
		code = complete_door(config, err);
	if (code == FL_OK)
		code = complete_https(config, err);
	if (code == FL_OK)
		code = release_key_folders(&config->release_keys, err);
	if (code != FL_OK)
		config_fini(config);
	return code;
}
