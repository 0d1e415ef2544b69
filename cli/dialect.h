/*
 * The two names of the program. Called "fleetctl" it keeps what scripts of CoreOS fleet hold on
 * to: its flags, its words, its exit codes. All that differs is in the tables of cli/dialect.c;
 * other files ask them, and never what the name is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "cli/verbs.h"

/* What is said in other words. {1}, {2} are the arguments, in the order that dialect.c tells. */
enum dialect_text {
	TEXT_UNKNOWN_VERB,
	TEXT_UNKNOWN_VERB_MEANT,
	TEXT_ENDPOINT_WITHOUT_SCHEME,
	TEXT_ENDPOINT_SCHEME,
	TEXT_FIELD,
	TEXT_UNIT_NOWHERE,
	TEXT_UNIT_UNKNOWN,
	TEXT_UNIT_NOT_FOUND,
	TEXT_TEMPLATE_NOWHERE,
	TEXT_FILE,
	TEXT_TEMPLATE_STARTED,
	TEXT_REPLACE,
	TEXT_REFUSED,
	TEXT_FAILED,
	TEXT_NO_HOST,
	TEXT_NO_SUCH_HOST,
	N_DIALECT_TEXTS,
};

struct dialect {
	const char *program;
	const char *version; /* behind "version " */
	const char *error_prefix; /* before an error */
	const char *between_verbs; /* in the list of verbs that were perhaps meant */
	const struct fl_option *options; /* of every verb, besides global_options */
	size_t n_options;

	bool asks_host_keys; /* ssh's StrictHostKeyChecking is ask, whatever ssh_config(5) says */
	bool is_lenient; /* what fleet ignored in [X-Fleet] is a warning without --lenient too */
	bool is_patient; /* waits also for a unit that no machine can take now */
	bool forgives_unknown; /* stop, unload, ...: units that do not exist do not count */
	bool forgives_replace; /* a unit that may not be replaced now stays, with a warning */
	bool tells_same; /* --replace with the file that is there already is told */
	bool tells_closed; /* list-machines has a column more while a machine is cordoned */
	bool has_own_version; /* "version" asks no coordinator */
};

/* The one that is spoken; flotactl's until dialect_choose(). */
extern const struct dialect *dialect;

void dialect_choose(const char *argv0);

/* Options of fleetctl's that have no meaning any more. Both names take them: a script of fleet's
 * time need not be changed line by line. */
extern const struct fl_option dialect_ignored_options[];
extern const size_t dialect_n_ignored_options;

/* The text with its arguments, as an error of the code that belongs to it; which is never FL_OK, as
 * the macro lets the compiler see. */
enum fl_code dialect_fail(
	struct fl_error *err, enum dialect_text text, const char *const *args) FL_MUST_CHECK;
#define DIALECT_FAIL(err, text, ...) \
	(dialect_fail((err), (text), (const char *const[]){NULL, ##__VA_ARGS__}) ?: FL_E_INTERNAL)

/* What stands before an error that ends the verb (nullable: none yet), and what it ends with. */
const char *dialect_context(const struct verb *verb, enum fl_code code);
int dialect_exit_code(enum fl_code code);

/* Whether a verb is one that the dialect's people know, so that its beginning means it before those
 * that came later: "re" was fleetctl's restart. */
bool dialect_has_verb(const char *name);

/* Whether fleetctl had an own answer to the verb without arguments, or with more than it takes: told
 * then, with the exit code set. */
bool dialect_tells_wrong_args(struct command *command);
