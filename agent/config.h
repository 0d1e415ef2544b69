/* The agent's configuration: /etc/flota/agent.conf, section [Agent], and the command line. */
#pragma once

#include <stdint.h>

#include "base/program.h"
#include "base/strv.h"

#define CONFIG_FILE "/etc/flota/agent.conf"

struct config {
	struct fl_strv coordinators;
	char *ca_certificate, *certificate, *key;
	char *token_file;
	struct fl_strv doors;
	struct fl_strv metadata;
	char *address;
	struct fl_strv release_keys;
	uint64_t upgrade_deadline_ms;
	char *state_directory, *runtime_directory;
	struct fl_program_options program;
};

extern const struct fl_program config_program;

void config_fini(struct config *config);
