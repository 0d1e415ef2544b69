/* Changes to several units: asked for in one request where they fit, waited for, and told. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/await.h"
#include "cli/connection.h"
#include "cli/verbs.h"
#include "proto/flota.pb-c.h"

/* What is done to a unit. */
struct change_kind {
	const char *name; /* the verb's, as it is told */
	Pb__Change__Verb verb;
	Pb__DesiredState desired; /* of SET */
	enum wait_goal goal;
	bool takes_files; /* sends unit files that the registry has not */
	bool needs_placed; /* refuses a unit that is not to be on a machine */
	const char *done; /* "Successfully ... units [...]." on standard error, as fleet did */
};

extern const struct change_kind change_submit, change_load, change_start, change_stop,
	change_restart, change_unload, change_destroy;

/* What stores another file for the unit and leaves it in its desired state: what runs is
 * restarted, but not for comments. */
enum fl_code change_that_replaces(const Pb__Unit *stored, const char *text, size_t len,
	const struct change_kind **ret_kind, struct fl_error *err) FL_MUST_CHECK;

/* One unit. What points elsewhere is borrowed, and outlives the batch. */
struct item {
	const struct change_kind *kind;
	const Pb__Unit *stored; /* what the registry had of it; NULL: nothing */
	Pb__Change proto;
	struct change change;
	json_t *refusals; /* owned; nullable */
	char *own_name; /* of a replica, which nobody named */
	bool unsent; /* settled without asking the coordinator */
};

struct batch {
	struct command *command; /* gets the exit code */
	struct connection *connection; /* borrowed */
	struct item *items; /* n of them */
	size_t n;
	struct change *changes; /* the items' changes, side by side while they are waited for */
	uint64_t revision; /* of the fleet, with the first changes made; 0: nothing was sent */
	bool json; /* say nothing, print all of it at the end */
};

/* @n items, all zero. */
enum fl_code batch_init(struct batch *batch, struct command *command, struct connection *connection,
	size_t n, bool json, struct fl_error *err) FL_MUST_CHECK;
void batch_fini(struct batch *batch);
#define BATCH_CLEANUP FL_CLEANUP(batch_fini)

/* Says what is to be done to the unit of that name. The options of the command say the rest. */
void batch_set(struct batch *batch, size_t i, const struct change_kind *kind, const char *name,
	const Pb__Unit *stored);

/* Settles an item without its machine; the caller tells the person. */
void item_settle(
	struct item *item, enum change_outcome outcome, enum fl_code code, const char *text);

/* Does it all. The command's exit code is that of the first unit that did not come to be as it was
 * asked for. */
enum fl_code batch_run(struct batch *batch, struct fl_error *err) FL_MUST_CHECK;
