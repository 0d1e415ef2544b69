/*
 * The verbs of flotactl: one row each. The row makes the parser, the help and the manual page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/option.h"
#include "base/strv.h"
#include "ignition/machine_keys.h"

/* The values of all options. Which of them a verb takes, its row says; others keep their zero. */
struct cli_options {
	/* Of every verb; of those that use ssh(1), how it is called; what fleetctl had and has no
	 * meaning any more. */
	char *endpoint, *context;
	char *ca_file, *cert_file, *key_file;
	uint64_t request_timeout_ms;
	char *tunnel, *ssh_username, *known_hosts_file;
	uint64_t ssh_port, ssh_timeout_ms;
	char *ignored;
	bool help, version, strict_host_keys, is_ignored;

	/* Of listings and results. */
	char *fields, *output;
	bool full, no_legend;

	/* Of verbs that change units. */
	bool replace, lenient, no_block;
	bool yes, prune, dry_run, no_start; /* of apply */
	uint64_t block_attempts, timeout_ms;

	/* Of wait, status, journal, events and ssh. */
	char *wait_for, *machine, *unit, *since;
	uint64_t lines;
	bool follow, forward_agent;

	/* Of machine, and of release. */
	bool force;
	char *key;

	/* Of cordon, drain and rebalance. */
	char *reason;
	uint64_t deadline_ms, parallel, max_moves;

	/* Of token. */
	char *name, *metadata;
	uint64_t ttl_ms, uses;

	/* Of bootstrap. */
	struct fl_strv machine_keys[MACHINE_KEY_COUNT];
	char *out, *token, *token_file;
	bool no_token;

	/* Of release and upgrade. */
	bool allow_downgrade, stop;
	char *release, *arch;
	uint64_t max_unavailable;
};

/* One use of a verb. */
struct command {
	const struct verb *verb;
	const struct cli_options *options;
	char **args; /* what is left behind the options, n_args of it */
	size_t n_args;
	bool is_answered; /* nothing is left to run */
	int exit_code; /* what flotactl ends with when the handler returned FL_OK */
};

/* An error that is returned is printed by main() and decides the exit code. What concerns one of
 * several units the handler prints itself, and sets exit_code. */
typedef enum fl_code (*verb_handler)(struct command *command, struct fl_error *err);

struct verb {
	const char *name;
	const char *args; /* as the help writes them */
	size_t min_args, max_args; /* max_args SIZE_MAX: any number */
	const struct fl_option *options;
	size_t n_options;
	verb_handler run;
	const char *summary; /* one line, for the list of verbs */
	const char *help; /* what else there is to know; paragraphs divided by '\n' */
	bool options_first; /* what follows its first argument is not its own */
};

extern const struct verb verbs[];
extern const size_t n_verbs;

/* The options that every verb takes, before or after it. */
extern const struct fl_option global_options[];
extern const size_t n_global_options;

/* The verb of that name, or the only one that begins with it. FL_E_USAGE says what was perhaps
 * meant. */
enum fl_code verb_find(
	const char *name, const struct verb **ret_verb, struct fl_error *err) FL_MUST_CHECK;

/*
 * Reads a whole command line; argv is put in another order. What it yields is to be given to
 * command_fini(). Without a verb, ret_command->verb is NULL. FL_E_USAGE.
 */
enum fl_code command_parse(int argc, char **argv, struct cli_options *ret_options,
	struct command *ret_command, struct fl_error *err) FL_MUST_CHECK;
void command_fini(struct command *command, struct cli_options *options);

/* Whether --output asks for JSON. FL_E_USAGE for a format that does not exist. */
enum fl_code command_wants_json(
	const struct command *command, bool *ret_json, struct fl_error *err) FL_MUST_CHECK;
