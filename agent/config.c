#include "agent/config.h"

#include <stddef.h>

#include "base/memory.h"
#include "release/release.h"

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
	{.name = "token-file",
		.type = FL_OPTION_STRING,
		.initial = "/etc/flota/token",
		.value_name = "FILE",
		.doc = "A join token (flotactl token create). A machine without a certificate joins "
		       "with it; the file is removed then.",
		.offset = AT(token_file)},
	{.name = "door",
		.type = FL_OPTION_LIST,
		.value_name = "URL",
		.doc = "Where it joins: tls+tcp://HOST:PORT. Default: beside each coordinator, one "
		       "port higher.",
		.offset = AT(doors)},
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
	{.name = "release-keys",
		.type = FL_OPTION_LIST,
		.value_name = "DIR",
		.doc = "Where NAME.pub are, the keys by which agents' releases are signed: it becomes "
		       "no other (flotactl upgrade). May be given several times. "
		       "Default: " RELEASE_KEYS_ETC " " RELEASE_KEYS_LIB ".",
		.offset = AT(release_keys)},
	{.name = "upgrade-deadline",
		.type = FL_OPTION_DURATION,
		.min = 1000,
		.max = 3600 * 1000,
		.initial = "1min",
		.value_name = "DURATION",
		.doc = "How long another release of this agent may take to be in session; after two "
		       "starts that took longer, or failed, the one before is back.",
		.offset = AT(upgrade_deadline_ms)},
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
	FL_PROGRAM_OPTIONS(struct config, program, CONFIG_FILE),
};

const struct fl_program config_program = {
	.table = {.program = "flota-agent",
		.section = "Agent",
		.options = options,
		.n_options = FL_COUNT(options)},
	.default_file = CONFIG_FILE,
	.size = sizeof(struct config),
	.offset = AT(program),
};

void config_fini(struct config *config)
{
	fl_options_fini(&config_program.table, config);
}
