/*
 * Where a unit may run: what its file's [X-Fleet] and [X-Flota] say. docs/UNIT-FILES.md explains
 * the keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
 * but for lists, and an empty value is the default again. */
#define UNIT_FLOTA_KEYS(X) \
	X(UNIT_ON_MACHINE_LOSS, "OnMachineLoss", "move or wait", "move", "0.1", \
		"when its machine is lost the unit goes to another one at once, or waits for it") \
	X(UNIT_EXCLUSIVE, "Exclusive", "yes or no", "no", "0.1", \
		"never on two machines: it stops when its machine loses contact, and only then " \
		"starts elsewhere") \
	X(UNIT_MEMORY, "Memory", "size", "MemoryMax=", "0.1", \
		"goes only where the machine has this much that no other unit claims") \
	X(UNIT_CPUS, "CPUs", "number", "CPUQuota=", "0.1", "the same of CPUs; 0.5 is half of one") \
	X(UNIT_PRIORITY, "Priority", "-1000 to 1000", "0", "0.1", \
		"of units that wait for a place those with the highest get one first") \
	X(UNIT_SPREAD, "Spread", "key or machine", "none", "0.1", \
		"instances of a template go where the fewest of them are: by the machines' value " \
		"of this metadata, or by machine") \
	X(UNIT_PREFER_METADATA, "PreferMetadata", "list of key=value", "none", "0.1", \
		"rather machines with these than others") \
	X(UNIT_PREFER_CONFLICTS, "PreferConflicts", "list of globs", "none", "0.1", \
		"rather machines without a unit whose name matches than others") \
	X(UNIT_REPLICAS, "Replicas", "1 to 1000", "none", "0.1", \
		"starting the template starts this many instances, 1 to N") \
	X(UNIT_MAX_UNAVAILABLE, "MaxUnavailable", "number or percentage", "1", "0.1", \
		"a changed file reaches this many replicas, or machines of a global unit, at a " \
		"time") \
	X(UNIT_MIN_HEALTHY_SEC, "MinHealthySec", "time", "5s", "0.1", \
		"and the next when those have been active for so long; if one fails all return " \
		"to the last good file")

enum unit_flota_key {
#define X(constant, name, type, otherwise, since, doc) constant,
	UNIT_FLOTA_KEYS(X)
#undef X
};

/* Of an exclusive unit whose machine's lease has ended: how long it may take to stop before it is
 * killed. TimeoutStopSec= where the file has it, but never more than this. */
#define UNIT_STOP_MS_DEFAULT 10000U
#define UNIT_STOP_MS_MAX     90000U

#define UNIT_CPUS_MAX           100000U
#define UNIT_REPLICAS_MAX       1000U
#define UNIT_PRIORITY_MAX       1000U
#define UNIT_MIN_HEALTHY_MS_MAX (24U * 3600 * 1000)

/* Spread=: not by metadata, each machine by itself. */
#define UNIT_SPREAD_MACHINE "machine"

/* What a unit claims of its machine. */
struct unit_claims {
	uint64_t memory_bytes;
	uint32_t memory_permyriad; /* and this much of all that the machine has: MemoryMax=20% */
	uint32_t cpu_milli; /* thousandths of a CPU */
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
	bool exclusive;
	uint32_t stop_ms; /* of an exclusive unit, see UNIT_STOP_MS_MAX; else 0 */
	struct unit_claims claims;
	int priority;
	char *spread; /* a key of metadata, UNIT_SPREAD_MACHINE, or NULL */
	struct unit_metadata_rule *prefer_metadata; /* as metadata */
	size_t n_prefer_metadata;
	struct fl_strv prefer_conflicts; /* globs */
	uint32_t replicas; /* of a template, in its instances' files too; 0: none */
	uint32_t max_unavailable, max_unavailable_percent; /* one of them, or neither: 0 */
	uint64_t min_healthy_ms;
	bool has_min_healthy; /* else min_healthy_ms is 0 */
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
