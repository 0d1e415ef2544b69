/*
 * flota-coordinator's verbs. Each gets its words, argv[0] being its own name, and the program's
 * configuration; what it prints goes to stdout, what went wrong to @err.
 */
#pragma once

#include <stdio.h>

#include "base/error.h"
#include "coordinator/config.h"

struct command {
	const char *name;
	const char *arguments; /* as --help shows them */
	const char *doc;
	enum fl_code (*run)(
		const struct config *config, int argc, char **argv, struct fl_error *err);
	void (*help)(FILE *out); /* its options; nullable */
};

enum fl_code command_run(
	const struct config *config, int argc, char **argv, struct fl_error *err) FL_MUST_CHECK;

/* cmd_init.c: makes a fleet. */
enum fl_code command_init(
	const struct config *config, int argc, char **argv, struct fl_error *err) FL_MUST_CHECK;
void command_init_help(FILE *out);

/* cmd_issue.c: makes a certificate. */
enum fl_code command_issue(
	const struct config *config, int argc, char **argv, struct fl_error *err) FL_MUST_CHECK;
void command_issue_help(FILE *out);

/* The life of a certificate for which nothing else was asked. DESIGN.md wants a day, renewed from
 * half of it on; until agents renew theirs, a day would only lock them out. */
#define COMMAND_CERTIFICATE_DAYS 365

/* Goes on as the user that @directory belongs to, if it is there and we are root: what a verb puts
 * beside a coordinator's files has to be readable by that coordinator, which is not root. For good:
 * a verb calls it before its first write, and the program ends with the verb. */
enum fl_code command_become_owner(const char *directory, struct fl_error *err) FL_MUST_CHECK;

/* Writes DIRECTORY/NAME.crt and NAME.key (mode 0600), durably, the key first. With FL_E_EXISTS
 * where one of them is there and not @force. */
struct ca_pair;
enum fl_code command_write_pair(const char *directory, const char *name, const struct ca_pair *pair,
	bool force, struct fl_error *err) FL_MUST_CHECK;
