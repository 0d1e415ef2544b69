/*
 * What flota-coordinator is told: /etc/flota/coordinator.conf, then the command line. One table
 * (config.c) makes both, --help, --dump-config and the manual page.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/program.h"
#include "base/strv.h"

#define CONFIG_FILE "/etc/flota/coordinator.conf"

struct config {
	struct fl_strv listen;
	struct fl_strv doors;
	char *https; /* as it was given */
	char *https_address; /* NULL: all */
	uint16_t https_port;
	bool has_https;
	struct fl_strv release_keys;
	uint64_t certificate_life_ms;
	char *data_directory;
	uint64_t lease_ms;
	uint64_t memory_overcommit_permille, cpu_overcommit_permille;
	struct fl_program_options program;
};

extern const struct fl_program config_program;

/* Reads both; what is left of argv begins at *ret_first. Errors name the file and line, or the
 * option. */
enum fl_code config_load(struct config *config, int argc, char **argv, int *ret_first,
	struct fl_error *err) FL_MUST_CHECK;
void config_fini(struct config *config);
