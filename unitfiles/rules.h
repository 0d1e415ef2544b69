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

/* Values of one key in one file, and the bytes of each: they cost the scheduler time. */
#define UNIT_RULES_VALUES_MAX 64
#define UNIT_RULES_VALUE_MAX  255

/* What flota does with the unit when its machine's lease has ended. */
enum unit_on_machine_loss {
	UNIT_LOSS_MOVE, /* places it on another machine at once */
	UNIT_LOSS_WAIT, /* leaves it there until the machine is back or somebody decides */
};

/* Every key of [X-Fleet]: X(constant, name, what it does). */
#define UNIT_FLEET_KEYS(X) \
	X(UNIT_MACHINE_ID, "MachineID", \
		"only the machine with this ID, or whose ID begins with these 8 characters") \
	X(UNIT_MACHINE_OF, "MachineOf", "only the machine where that unit is; exact name") \
	X(UNIT_MACHINE_METADATA, "MachineMetadata", \
		"only machines with this key=value; one key several times: any of its values") \
	X(UNIT_CONFLICTS, "Conflicts", "no machine with a unit whose name matches this glob") \
	X(UNIT_REPLACES, "Replaces", \
		"a unit whose name matches this glob leaves the machine that this one gets") \
	X(UNIT_GLOBAL, "Global", "every machine that MachineMetadata= and Conflicts= allow")

/* The names that they had in the first versions of fleet, which read them to its end. */
#define UNIT_FLEET_LEGACY_KEYS(X) \
	X(UNIT_MACHINE_ID, "X-ConditionMachineID") \
	X(UNIT_MACHINE_ID, "X-ConditionMachineBootID") \
	X(UNIT_MACHINE_OF, "X-ConditionMachineOf") \
	X(UNIT_MACHINE_METADATA, "X-ConditionMachineMetadata") \
	X(UNIT_CONFLICTS, "X-Conflicts")

enum unit_fleet_key {
#define X(constant, name, doc) constant,
	UNIT_FLEET_KEYS(X)
#undef X
};

/* Every key of [X-Flota]: X(constant, name, type, default, since, what it does). The last one wins,
 * an empty value is the default again. */
#define UNIT_FLOTA_KEYS(X) \
	X(UNIT_ON_MACHINE_LOSS, "OnMachineLoss", "move or wait", "move", "0.1", \
		"when its machine is lost the unit goes to another one at once, or waits for it")

enum unit_flota_key {
#define X(constant, name, type, otherwise, since, doc) constant,
	UNIT_FLOTA_KEYS(X)
#undef X
};

struct unit_metadata_rule {
	char *key;
	struct fl_strv values; /* any of them */
};

/* A value, read by the scheduler at each placement. */
struct unit_rules {
	/* NULL = any. */
	char *machine_id;
	/* Exact names, each once: the machine of all of them. */
	struct fl_strv machine_of;
	/* n_metadata of them, in the order of keys, each key once: all must be met. */
	struct unit_metadata_rule *metadata;
	size_t n_metadata;
	/* Globs. */
	struct fl_strv conflicts;
	struct fl_strv replaces;
	bool global;
	enum unit_on_machine_loss on_machine_loss;
};

enum unit_flags {
	/* For old files: what fleet took silently is a warning, and does what it did there. */
	UNIT_LENIENT = 1 << 0,
};

/*
 * Reads the rules of the unit @name (it has passed unit_name_check()) from @file; of a template, as
 * if it were its instance "1", so that what is made of %i can be checked. FL_E_INVALID
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
