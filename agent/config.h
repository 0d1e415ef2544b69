/* The agent's configuration: /etc/flota/agent.conf, section [Agent], and the command line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/strv.h"

#define CONFIG_FILE "/etc/flota/agent.conf"

struct config {
	struct fl_strv coordinators;
	char *ca_certificate, *certificate, *key;
	struct fl_strv metadata;
	char *address;
	char *state_directory, *runtime_directory;
	char *log_level;
	char *file;
	bool dump_config, help, version;
};

/* Reads the file, then the command line over it; *ret_first is the first word that is no option. */
enum fl_code config_read(int argc, char **argv, struct config *config, int *ret_first,
	struct fl_error *err) FL_MUST_CHECK;
void config_fini(struct config *config);

void config_dump(const struct config *config, FILE *out);
void config_help(FILE *out);
void config_man(FILE *out);
