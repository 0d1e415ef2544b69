/*
 * What flota-coordinator is told: /etc/flota/coordinator.conf, then the command line. One table
 * (config.c) makes both, --help, --dump-config and the manual page.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "base/strv.h"

#define CONFIG_FILE "/etc/flota/coordinator.conf"

struct config {
	struct fl_strv listen;
	char *data_directory;
	uint64_t lease_ms;
	char *log_level;
	enum fl_level level; /* log_level, understood */

	/* Of the command line alone. */
	char *file;
	bool dump_config, help, version;
};

/* Reads both; what is left of argv begins at *ret_first. Errors name the file and line, or the
 * option. */
enum fl_code config_load(struct config *config, int argc, char **argv, int *ret_first,
	struct fl_error *err) FL_MUST_CHECK;
void config_fini(struct config *config);

/* What is in force, as a configuration file. */
void config_dump(const struct config *config, FILE *out);

/* The options for --help, and as man(7) paragraphs. */
void config_help(FILE *out);
void config_man(bool as_file, FILE *out);
