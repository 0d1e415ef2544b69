/*
 * Where a unit may run: what its file's [X-Fleet] and [X-Flota] say. docs/UNIT-FILES.md explains
 * the keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/strv.h"
#include "unitfiles/file.h"
#include "unitfiles/report.h"

/* Values of one key, in one file. Each costs the scheduler time. */
#define UNIT_RULES_VALUES_MAX 256

/* What flota does with the unit when its machine's lease has ended. */
enum unit_on_machine_loss {
	UNIT_LOSS_MOVE, /* places it on another machine at once */
	UNIT_LOSS_WAIT, /* leaves it there until the machine is back or somebody decides */
};

/*
 * Every key of [X-Fleet]: X(name, the key it is another name of, what it does).
 * The legacy names are those that fleet itself still read.
 */
#define UNIT_FLEET_KEYS(X) \
	X("MachineID", NULL, "this machine only, by its ID or the first 8 characters of it") \
	X("MachineOf", NULL, "the machine on which that unit is") \
	X("MachineMetadata", NULL, "machines whose metadata has this key=value") \
	X("Conflicts", NULL, "no machine with a unit whose name matches") \
	X("Replaces", NULL, "moves a unit whose name matches away from its machine") \
	X("Global", NULL, "every machine that the other rules allow") \
	X("X-ConditionMachineID", "MachineID", "legacy name") \
	X("X-ConditionMachineBootID", "MachineID", "legacy name") \
	X("X-ConditionMachineOf", "MachineOf", "legacy name") \
	X("X-ConditionMachineMetadata", "MachineMetadata", "legacy name") \
	X("X-Conflicts", "Conflicts", "legacy name")

/* Every key of [X-Flota]: X(name, type, default, since, what it does). The last one wins, an empty
 * value is the default again. */
#define UNIT_FLOTA_KEYS(X) \
	X("OnMachineLoss", "move or wait", "move", "0.1", \
		"where the unit goes when its machine is lost: to another one at once, or nowhere " \
		"until it is back")

struct unit_metadata_rule {
	char *key;
	struct fl_strv values; /* one of them */
};

struct unit_rules {
	char *machine_id; /* NULL = any */
	struct fl_strv machine_of; /* exact names: all of them */
	struct unit_metadata_rule
		*metadata; /* n_metadata of them, by key, each once: all of them */
	size_t n_metadata;
	struct fl_strv conflicts; /* globs */
	struct fl_strv replaces; /* globs */
	bool global;
	enum unit_on_machine_loss on_machine_loss;
};

enum unit_flags {
	/* For old files: what fleet took silently is a warning, and does what it did there. */
	UNIT_LENIENT = 1 << 0,
};

/*
 * Reads the rules of the unit @name (it has passed unit_name_check()) from @file. FL_E_INVALID
 * with file:line for an unknown key, a malformed value, or a combination that fleet rejects.
 */
enum fl_code unit_rules_read(const struct unit_file *file, const char *name, enum unit_flags flags,
	struct unit_report *report, struct unit_rules *ret_rules,
	struct fl_error *err) FL_MUST_CHECK;
void unit_rules_fini(struct unit_rules *rules);
#define UNIT_CLEANUP_RULES FL_CLEANUP(unit_rules_fini)

/* Equal to the whole ID or its first 8 characters; true where the rules name no machine. */
bool unit_rules_match_machine_id(const struct unit_rules *rules, const char *machine_id);

/* The first key of MachineMetadata= that a machine does not fulfil, NULL when it fulfils all.
 * @get gives the machine's value of a key, or NULL. Never allocates. */
const struct unit_metadata_rule *unit_rules_unmet_metadata(const struct unit_rules *rules,
	const char *(*get)(void *userdata, const char *key), void *userdata);

/* Whether one of the globs matches @name. */
bool unit_rules_conflict_with(const struct unit_rules *rules, const char *name);
bool unit_rules_replace(const struct unit_rules *rules, const char *name);
