/*
 * What the core holds: machines, units, placements, and how they are linked; internal.h has what is
 * done with them. Nothing outside coordinator/core includes it.
 */
#pragma once

#include <bsd/sys/tree.h>
#include <string.h>

#include "base/buf.h"
#include "base/fsm.h"
#include "coordinator/core/core.h"
#include "unitfiles/name.h"
#include "unitfiles/rules.h"

/* Tombstones that a machine's assignment keeps for an agent that does not come for them; one more,
 * and it gets its whole assignment again. */
#define CORE_TOMBSTONES_MAX 1000U

/* ---- Marks: how a thing gets into struct core_effects ------------------------------------ */

enum mark_kind {
	MARK_UNIT,
	MARK_MACHINE,
	MARK_TOKEN,
	MARK_MEMBER,
	MARK_DELETED, /* a machine's record that is to go */
};

/* A record that is to be written. */
struct mark {
	struct fl_list link;
	enum mark_kind kind;
};

/* ---- Machines ---------------------------------------------------------------------------- */

/* Memory and CPUs, claimed or free. */
struct room {
	uint64_t memory_bytes;
	uint64_t cpu_milli;
};

/* Of a machine that has not told what it has. */
#define ROOM_UNLIMITED UINT64_MAX

static inline bool room_holds(const struct room *room, const struct room *needed)
{
	return needed->memory_bytes <= room->memory_bytes && needed->cpu_milli <= room->cpu_milli;
}

/* A machine's place in a tree by (number of units, ID): least loaded first. */
struct load_node {
	RB_ENTRY(load_node) link;
	uint32_t n_units; /* the machine's, as are the ID's beginning and what is free */
	uint64_t id_prefix;
	struct machine *machine;
	struct pool *pool;
	struct room free;
	struct room most; /* of each, on one of the machines at and below this node */
};
RB_HEAD(load_tree, load_node);

/* The machines that are up and have key=value; for the core's own pool of all, no key. */
struct pool {
	RB_ENTRY(pool) link;
	char *key, *value;
	struct axis *axis;
	size_t domain; /* its number there */
	struct load_tree up; /* empty until axis->walked */
	struct load_node *first; /* of @up */
	size_t n_up;
	size_t n_refs;
};
RB_HEAD(pool_tree, pool);

/* ---- Spreads (spread.c) ------------------------------------------------------------------ */

/* How the machines part into domains: by their value of one key of metadata, or each by itself. */
struct axis {
	RB_ENTRY(axis) link;
	char *key; /* NULL: each machine by itself */
	struct pool **pools; /* by number; NULL where that is free, and of single machines */
	size_t n_domains; /* numbers given out are below; of these n_free are free again */
	size_t n_free;
	size_t room; /* each spread has room for so many */
	struct fl_list spreads;
	bool walked; /* some unit's rules ask for the key: the pools are kept in order */
	size_t n_refs; /* pools and spreads */
};
RB_HEAD(axis_tree, axis);

struct domain {
	uint32_t siblings : 31; /* instances of the template that are placed there */
	bool possible : 1; /* some machine of it is up and fulfils the unit's MachineMetadata= */
};

/* The instances of a template, whether that exists or not. */
struct family {
	RB_ENTRY(family) link;
	char *template_name;
	struct fl_list instances;
	struct fl_list spreads;
	size_t n_refs; /* instances and spreads */
};
RB_HEAD(family_tree, family);

/* A family along one axis. */
struct spread {
	struct family *family;
	struct axis *axis;
	struct fl_list of_family, of_axis;
	struct domain *domains;
	size_t room; /* of them; not less than the axis's */
	uint64_t machines_version, metadata_id; /* for which domain.possible holds */
	uint32_t least; /* siblings in a possible domain */
	size_t n_least; /* domains with so many; 0: to be found again */
	size_t n_refs; /* unit files */
};

/* What a machine says of itself, in one piece, so that new takes the place of old or nothing
 * changes. */
struct machine_info {
	Pb__MachineInfo *message; /* metadata sorted, each key once; address always set */
	struct load_node *nodes; /* [0] in the pool of all, then one for each metadata pair */
	size_t n_nodes;
};

RB_HEAD(placement_tree, placement);
RB_HEAD(due_tree, unit); /* by due_ms, then name */

#define MACHINE_STATES(X) \
	X(MACHINE, UNKNOWN, FL_TO(MACHINE, UP) | FL_TO(MACHINE, LOST)) \
	X(MACHINE, UP, FL_TO(MACHINE, LOST)) \
	X(MACHINE, LOST, FL_TO(MACHINE, UP))

FL_FSM_DEFINE(machine, MACHINE_STATES)

/* Whether units come to it: operate.c. */
#define SCHEDULING_STATES(X) \
	X(SCHEDULING, OPEN, FL_TO(SCHEDULING, CORDONED) | FL_TO(SCHEDULING, DRAINING)) \
	X(SCHEDULING, CORDONED, FL_TO(SCHEDULING, OPEN) | FL_TO(SCHEDULING, DRAINING)) \
	X(SCHEDULING, DRAINING, FL_TO(SCHEDULING, OPEN) | FL_TO(SCHEDULING, DRAINED)) \
	X(SCHEDULING, DRAINED, FL_TO(SCHEDULING, OPEN))

FL_FSM_DEFINE(scheduling, SCHEDULING_STATES)

struct machine {
	RB_ENTRY(machine) by_id;
	struct core *core;
	char *id;
	size_t domain; /* its number on core->each_machine */
	uint64_t id_prefix; /* orders machines as their IDs do */
	struct machine_info info;
	struct fl_fsm fsm; /* MACHINE_STATES */

	uint64_t last_heard_ms;
	uint64_t
		booted_ms; /* when it was first heard of with its boot ID; 0: before this core began */
	bool heard; /* since this core began */
	bool is_revoked; /* members.c */
	struct fl_list lease; /* of core->leases, by last_heard_ms; not while LOST */
	struct fl_list suspect; /* of core->suspects: lost, and its units not yet moved */

	struct placement_tree placements; /* by name, tombstones among them */
	uint32_t n_units; /* placements without tombstones */
	struct {
		uint64_t memory_bytes, memory_permyriad, cpu_milli;
	} claims; /* the sum of theirs */
	struct room free; /* of what it offers; 0 where more is claimed */
	struct fl_list conflictors; /* placements whose unit has Conflicts= */
	struct fl_list replacers; /* placements whose unit has Replaces= */

	struct fl_list changes; /* all placements, by revision */
	struct fl_list tombstones; /* the removed ones, by revision */
	uint32_t n_tombstones;
	struct fl_list overflow; /* of core->overflows */
	uint64_t deltas_from; /* changes after this revision are all there */
	uint64_t taken_revision; /* when the last exclusive unit was taken from it */

	uint64_t session; /* of its agent */
	uint64_t states_session; /* whose unit states are known here */
	bool in_all; /* a report with `all` has begun and not ended */
	uint64_t report_number; /* the last one of the session that was heeded */
	uint64_t
		all_revision; /* the assignment that its agent had on disk at the beginning of it */
	uint32_t all_round;

	struct fl_fsm scheduling; /* SCHEDULING_STATES */
	char *closed_by, *closed_reason; /* set while it is not OPEN */
	uint64_t closed_revision; /* global units that became active after it do not come */
	uint64_t drain_deadline_ms; /* UINT64_MAX = none */
	uint64_t drain_wall_ms; /* the same by the wall clock, for the store; 0 = none */
	uint32_t drain_parallel;
	uint32_t n_leaving; /* moves away from it that are under way */
	uint64_t look_ms; /* when a drain looks again at what it can do */
	struct fl_list drain; /* of core->drains: it is DRAINING */

	struct fl_list helped; /* of core->helped */
	struct fl_list globals; /* of core->globals_of */
	struct mark write;
	struct fl_list changed; /* of effects->machines */
};
RB_HEAD(machine_tree, machine);

/* ---- Units ------------------------------------------------------------------------------- */

/* A name that MachineOf= mentions, whether there is such a unit or not. */
struct leader {
	RB_ENTRY(leader) link;
	char *name;
	struct fl_list follows;
	size_t n_refs;
};
RB_HEAD(leader_tree, leader);

struct follow {
	struct fl_list link; /* of leader->follows, while the unit has this file */
	struct leader *leader;
	struct unit *unit;
};

/* Of a unit that was asked to move: moves.c. */
struct move {
	struct fl_list link; /* of core->moves, while it is under way */
	struct machine *from;
	struct machine *to; /* if that takes it; NULL: where it fits best */
	uint64_t until_ms;
};

/* A unit file and what was read from it, in one piece. */
struct unit_body {
	void *content;
	size_t content_len;
	char hash[UNIT_FILE_HASH_SIZE]; /* of a replica's: replica_hash */
	char replica_hash[UNIT_FILE_HASH_SIZE]; /* without what is the template's own matter */
	uint64_t start_timeout_ms; /* TimeoutStartSec=; 0: not said, or without end */
	char *description;
	struct unit_rules rules;
	struct follow *follows; /* as many as rules.machine_of */
	struct spread *spread; /* of Spread=, or NULL */
	uint64_t metadata_id; /* equal where MachineMetadata= is */
	bool lenient;
};

/* A file that a machine has of a global unit, while another one is on its way there. Its placements
 * share it. */
struct old_file {
	size_t n_refs;
	char hash[UNIT_FILE_HASH_SIZE];
	size_t len;
	char content[];
};

/* How a file does at one of the places that it rolls to. */
struct rolled {
	bool on_trial; /* it was healthy before, and has not been so again; kept in the store */
	bool proven; /* healthy for long enough */
	bool in_place; /* the file is on the host */
	bool displaced; /* it had to leave its machine for the file */
	uint64_t good_since_ms; /* 0: it is not healthy */
	uint64_t until_ms; /* when to give it up; 0: not counted */
	uint64_t since_us; /* of the start that is watched */
	uint32_t main_pid;
	uint64_t step; /* in which the file came here */
};

struct unit {
	RB_ENTRY(unit) by_name;
	RB_ENTRY(unit) global; /* of core->globals */
	char *name;
	char *tenant;
	struct unit_body body;
	struct family *family; /* of an instance */
	struct fl_list sibling; /* of family->instances */
	bool is_template;
	bool gone; /* destroyed: here until its last tombstone is acknowledged */

	Pb__DesiredState desired;
	uint64_t revision, change_revision;
	uint64_t start_generation, restart_generation;
	uint64_t epoch; /* of the placement, or of all of a global unit; 0: never */
	uint64_t change_received_us; /* 0: not known, or its reaction is measured */

	struct fl_list placements; /* tombstones too */
	struct placement *placed; /* of a unit that is not global */

	struct unit *replica_of; /* its template; NULL: people made it */
	struct fl_list replica; /* of replica_of->replicas */
	struct fl_list replicas; /* of a template, from 1 on, while it is loaded or launched */
	bool stored_replica; /* between core_load() and core_loaded() */
	struct rollout *rollout; /* of its last change that rolled; NULL: none did */
	struct rolled rolled; /* not of a global unit or a template */
	struct placement *held; /* a tombstone whose machine has not let go of it: held.c */
	uint64_t held_until_ms;
	uint32_t stop_ms; /* of an exclusive unit where it is or was: see exclusive.c */
	uint64_t due_ms; /* when its hold ends; 0: not in core->due */
	RB_ENTRY(unit) due;
	struct fl_list held_link; /* of core->held, unless held_until_ms is UINT64_MAX */
	struct move move;
	uint64_t try_ms; /* when a drain asks again who takes it */
	char *stored_machine_id, *stored_held_id; /* between core_load() and core_loaded() */
	uint64_t stored_held_epoch;

	RB_ENTRY(unit) waits; /* in core->fresh or core->waiting: active, and not placed */
	struct wait_tree *queue; /* which of them; NULL: neither */
	uint64_t waits_since; /* the order in which they came; 0: it does not wait */
	int waits_priority;
	unsigned refused_for; /* bits 1 << enum refusal, of all machines */
	bool waiting_told; /* that no machine takes it was an event */
	bool replaced; /* driven away, and nobody has asked for anything since: it replaces nobody */
	uint64_t replaced_in_step;
	struct fl_list recheck; /* of core->rechecks */
	bool recheck_claims; /* then too: its own file has made it claim more */

	struct fl_list reap; /* of core->reap, when gone */
	struct mark write;
	struct fl_list changed; /* of effects->units */
};
RB_HEAD(unit_tree, unit);
RB_HEAD(global_tree, unit);
RB_HEAD(wait_tree, unit);

/* See event_limit_take(). */
struct event_limit {
	uint64_t from_ms;
	uint32_t n;
};

/* What a machine reported. Texts are systemd's short words; a longer one is cut. */
struct placement_state {
	bool known;
	char load[16], active[16], sub[32], hash[UNIT_FILE_HASH_SIZE], result[32];
	char *error; /* nullable */
	Pb__DesiredState desired;
	uint32_t main_pid;
	uint64_t done_revision, job_us, since_us, reaction_us;
	uint32_t all_round;
};

struct placement {
	RB_ENTRY(placement) by_name; /* of machine->placements */
	struct unit *unit;
	struct machine *machine;
	struct fl_list of_unit;
	struct fl_list change; /* of machine->changes */
	struct fl_list tombstone; /* of machine->tombstones */
	struct fl_list conflictor, replacer;
	struct old_file *old; /* of a global unit: a rollout has not reached it */
	struct rolled rolled; /* of a global unit */
	uint64_t epoch;
	uint64_t revision; /* of its last change: the agent's cursor */
	uint64_t made_ms;
	bool removed; /* a tombstone: the agent must let go of it */
	bool left_lost; /* its machine was lost then, and may have run the unit all the time */
	bool gone; /* and nothing of it is left there; of a parked one too */
	bool is_old; /* from before this core began: its first state is no news */
	struct event_limit told; /* events of its state */
	struct placement_state state;
};

RB_HEAD(token_tree, token);
RB_HEAD(member_tree, member);

/* ---- The core ---------------------------------------------------------------------------- */

struct core {
	uint32_t lease_ms;
	uint32_t stored_lease_ms; /* with which leases were given before this core began */
	uint32_t memory_overcommit_permille, cpu_overcommit_permille;
	char *store_id, *fleet;
	uint64_t revision;
	uint64_t reserved; /* what the "meta" record says: every revision given out is below */
	uint64_t stored_revision; /* while loading: the greatest one found */
	uint64_t now_ms;
	uint64_t step;
	bool loaded;
	struct core_effects *effects; /* of the step under way */

	struct unit_tree units;
	size_t n_units; /* without those that are gone */
	struct global_tree globals; /* active global units */
	struct leader_tree leaders;
	struct machine_tree machines;
	size_t n_machines;
	struct token_tree tokens;
	struct member_tree members;
	struct upgrade *upgrade; /* the last one, or NULL */
	struct pool_tree pools;
	struct pool all; /* every machine that is up */
	uint64_t machines_version; /* grows when one comes, goes, or has other metadata */
	struct axis_tree axes;
	struct axis each_machine;
	struct family_tree families;

	struct fl_list leases; /* machines heard of, longest ago first */
	size_t n_leases;
	struct fl_list suspects; /* lost ones whose units were not moved: see leases.c */
	uint64_t next_verdict_ms; /* when to look at the suspects again */
	size_t n_look_lost, n_in_question; /* what the last verdict saw */
	bool holding; /* and it was that nothing moves */

	/* By priority, and then by how long they wait. */
	struct wait_tree fresh; /* units to be placed now */
	struct wait_tree waiting; /* units that no machine took */
	uint64_t n_waits; /* ever begun */
	size_t n_conflict_waiting; /* those of core->waiting that a unit's going could help */
	uint64_t memory_retry_ms; /* a placement failed for want of memory; 0: none did */
	struct fl_list rechecks; /* placed units whose rules may not be met any more */
	struct fl_list helped; /* machines where something that was in the way is gone */
	bool help_all; /* anything, not only another unit */
	bool globals_changed; /* which global unit runs where, on every machine */
	struct fl_list globals_of; /* or on these */
	struct fl_list rollouts; /* those that are not at their end */
	struct fl_list rollouts_moved; /* of them, those of which something changed */
	struct fl_list held; /* units that are held for a time, the first to end first */
	struct due_tree due; /* exclusive units that are held by a lost machine */
	uint64_t old_leases_end_ms;
	struct fl_list moves; /* units whose move is under way, in order */
	struct fl_list drains; /* machines that are DRAINING */
	uint64_t wall_offset_ms; /* from now_ms to the wall clock */
	struct fl_list overflows; /* machines with too many tombstones */
	struct fl_list reap; /* destroyed units, to be freed when nobody holds them */

	struct fl_list events; /* the newest ones, oldest first */
	size_t n_events, events_bytes;
	uint64_t events_forgotten; /* events up to this index may be missing */
	struct event_limit refusals; /* events of machines that were not let in */
	struct fl_list refused_keys; /* what the newest of them showed: members.c */
	size_t n_refused_keys;
	struct fl_list deletions; /* of records, until they are written */
};

int unit_compare(const struct unit *a, const struct unit *b);
int unit_wait_compare(const struct unit *a, const struct unit *b);
int machine_compare(const struct machine *a, const struct machine *b);
int placement_compare(const struct placement *a, const struct placement *b);
int load_compare(const struct load_node *a, const struct load_node *b);
RB_PROTOTYPE(unit_tree, unit, by_name, unit_compare)
RB_PROTOTYPE(global_tree, unit, global, unit_compare)
RB_PROTOTYPE(wait_tree, unit, waits, unit_wait_compare)
RB_PROTOTYPE(machine_tree, machine, by_id, machine_compare)
RB_PROTOTYPE(placement_tree, placement, by_name, placement_compare)
RB_PROTOTYPE(load_tree, load_node, link, load_compare)
RB_PROTOTYPE(pool_tree, pool, link, pool_compare)

static inline bool machine_is_up(const struct machine *machine)
{
	return machine->fsm.state == MACHINE_UP;
}

static inline bool machine_is_closed(const struct machine *machine)
{
	return machine->scheduling.state != SCHEDULING_OPEN;
}

/* It is placed there, and the agent is told to remove it: the machine is DRAINED. */
static inline bool placement_is_parked(const struct placement *placement)
{
	return !placement->removed && placement->machine->scheduling.state == SCHEDULING_DRAINED;
}

static inline bool move_is_under_way(const struct unit *unit)
{
	return unit->move.from != NULL;
}

/* Whether it is to be on machines. A template never is: its replicas are. */
static inline bool unit_is_active(const struct unit *unit)
{
	return !unit->gone && !unit->is_template && unit->desired > PB__DESIRED_STATE__INACTIVE;
}
