/*
 * The coordinator's decisions, all of them and nothing else: desired state, machines, leases,
 * placement, epochs. Pure: no clock, no randomness, no I/O, no loop. The same events at the same
 * times have the same effects, so a simulation can drive it through years in seconds.
 *
 * How a daemon uses it, one batch of requests at a time:
 *
 *	core_step(core, &event, now_ms, &effects, &answer, err);    for each event of the batch
 *	revision = core_revision(core);
 *	while (core_pop_write(...)) put into one transaction;       what must become durable
 *	commit; only then: send the answers, wake those who wait for core_pop_machine() and
 *	core_pop_unit(), and pass @revision as `durable` to core_assignment().
 *
 * Memory is one image of the store plus what machines report. When the store cannot be written the
 * image is ahead of it: start again from the store (agents and units do not mind).
 *
 * Revisions: one counter for the whole fleet. Every change of a unit and every change of one
 * machine's assignment takes the next number, so a page of an assignment may end anywhere. It never
 * goes back, over restarts too: the store holds a number that is ahead of every one given out
 * (MetaRecord.revision), and core_loaded() begins above it. A placement's epoch is the revision at
 * which it was made.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/flota.pb-c.h"

/* A machine must be heard of at least this many times in each lease. */
#define CORE_HEARTBEATS_PER_LEASE 3

#define CORE_LEASE_MS_DEFAULT 10000U

/* A machine that has been silent for so long looks lost to those that decide whether anything may
 * move: a little longer than a heartbeat takes that is late. */
#define CORE_LOOKS_LOST_MS(lease_ms) ((lease_ms)*2 / 5)

struct core;

struct core_config {
	uint32_t lease_ms; /* 0 = CORE_LEASE_MS_DEFAULT */
	/* How much of a machine's memory and CPUs units may claim, in thousandths; 0 = all. */
	uint32_t memory_overcommit_permille, cpu_overcommit_permille;
	/* From the steps' clock to the wall clock, for deadlines that outlive a restart. */
	uint64_t wall_offset_ms;
	const char *store_id; /* of a new fleet: used where the store has no "meta" record */
	const char *fleet; /* the same */
};

/* Copies what it needs of @config. */
enum fl_code core_new(struct core **ret_core, const struct core_config *config,
	struct fl_error *err) FL_MUST_CHECK;
void core_free(struct core *core);
FL_DEFINE_CLEANUP(struct core *, core_free)

/* ---- What happened ----------------------------------------------------------------------- */

/* One Change of a ChangeRequest. What is wrong with it is in answer.result, not in core_step()'s
 * return value. */
struct core_change {
	const Pb__Change *change; /* borrowed for the call */
	const char *tenant; /* who will own a unit that this makes */
	const char *by; /* who asks, for people; nullable */
	uint64_t received_us; /* when the request arrived, boot clock: for reaction_us */
	size_t max_refusals; /* in the answer; the rest is counted in a last one without ID */
};

/*
 * A SyncRequest has arrived (not: is still held). Its machine is up, its revision is acknowledged,
 * and with info its record is made or changed. FL_E_NOT_FOUND: an unknown machine without info; the
 * agent must send it.
 */
struct core_sync {
	const char *machine_id;
	uint64_t session;
	const char *store_id;
	uint64_t revision;
	const Pb__MachineInfo *info; /* nullable */
	const Pb__UpgradeResult *upgrade; /* nullable */
	const char *peer_address; /* nullable; where info names no address */
	const uint8_t *key_pin; /* of the key it has shown; nullable */
};

/* A ReportRequest. FL_E_NOT_FOUND: an unknown machine. States of placements that are not this
 * machine's, or of another epoch, are ignored. */
struct core_report {
	const Pb__ReportRequest *report;
	uint64_t received_us; /* boot clock */
};

#define CORE_HASH_BYTES           32U /* SHA-256 */
#define CORE_TOKEN_TTL_MS_DEFAULT (15U * 60U * 1000U)
#define CORE_TOKEN_TTL_MS_MAX     (UINT64_C(30) * 24 * 3600 * 1000)

/* CREATE or REVOKE of a TokensRequest. The secret is made, and shown, elsewhere. FL_E_INVALID,
 * FL_E_LIMIT, FL_E_NOT_FOUND. */
struct core_tokens {
	const Pb__TokensRequest *request; /* borrowed for the call */
	const char *new_id; /* of CREATE: random */
	const uint8_t *secret_hash; /* of CREATE */
	const char *ca_id; /* of CREATE: of the CA whose key it names; nullable */
	const char *by; /* who asks */
	uint64_t wall_ms; /* since 1970 */
};

/*
 * A JoinRequest or RenewRequest whose key request is good, with the certificate that it gets if it
 * may have one (answer.certificate; not always this one). FL_E_DENIED says why not.
 */
struct core_join {
	const char *machine_id;
	const char *hostname, *address;
	const char *token_id; /* "" = it has none, its key is known */
	const uint8_t *secret_hash; /* of the token's secret */
	const uint8_t *key_pin; /* of the key it asks for */
	const char *certificate; /* PEM */
	bool renews; /* the machine has shown a certificate that is good still */
	uint32_t generation; /* of that */
	const uint8_t *shown_pin; /* of its key; nullable */
	const char *ca_id; /* of the CA that signed @certificate; nullable */
	uint64_t wall_ms;
};

#define CORE_UPGRADE_WIDTH_MAX 100U

/* BEGIN or STOP of an UpgradeRequest. FL_E_STATE (another one is under way), FL_E_NOT_FOUND, FL_E_INVALID. */
struct core_upgrade {
	const Pb__UpgradeRequest *request; /* borrowed for the call */
	const char *version; /* of BEGIN */
	uint64_t order; /* of BEGIN: random */
	const char *by;
};

/* A stranger's request to join was no such thing: people are told. */
struct core_refused {
	const char *address;
	const char *why;
};

/* Another CA has taken the old one's place; or the old one is dropped, and with it the tokens that
 * name its key. */
struct core_ca {
	const char *ca_id; /* of the new one */
	const char *by; /* NULL: that it was dropped is made sure of once more */
	bool dropped;
};

#define CORE_DRAIN_DEADLINE_MS_MAX (UINT64_C(365) * 24 * 3600 * 1000)

/* One machine of a MachineChangeRequest. FL_E_NOT_FOUND, FL_E_INVALID, FL_E_STATE. */
struct core_machine_change {
	Pb__MachineChangeRequest__Verb verb;
	const char *machine_id; /* or the beginning of it that no other has */
	const char *by, *reason;
	uint64_t deadline_ms; /* of DRAIN, from now; 0 = none */
	uint32_t parallel; /* of DRAIN; 0 = the default */
	bool force; /* of REMOVE */
	const uint8_t *key_pin; /* of ADOPT; NULL: the key that it is known by */
};

/* One move of a RebalanceRequest. FL_E_NOT_FOUND, FL_E_STATE, FL_E_INVALID: it is not begun. */
struct core_move {
	const char *unit;
	const char *from, *to; /* machine IDs */
};

enum core_event_kind {
	CORE_CHANGE,
	CORE_MACHINE_CHANGE,
	CORE_MOVE,
	CORE_SYNC,
	CORE_REPORT,
	CORE_TOKENS,
	CORE_JOIN,
	CORE_CA,
	CORE_REFUSED,
	CORE_UPGRADE,
	CORE_TICK, /* the time of core_next_deadline() has come; harmless at any other */
};

struct core_event {
	enum core_event_kind kind;
	union {
		struct core_change change;
		struct core_machine_change machine_change;
		struct core_move move;
		struct core_sync sync;
		struct core_report report;
		struct core_tokens tokens;
		struct core_join join;
		struct core_ca ca;
		struct core_refused refused;
		struct core_upgrade upgrade;
	};
};

struct core_answer {
	Pb__ChangeResult *result; /* CHANGE: the caller's, core_message_free(&result->base) */
	bool want_all; /* REPORT: ReportReply.want_all */
	uint32_t exclusive_ms; /* REPORT: ReportReply.exclusive_ms */
	Pb__CertificateReply *certificate; /* JOIN: the caller's; without `ca` and `renew_in_ms` */
};

/* Frees what a function of this header gave out; NULL is nothing. */
void core_message_free(ProtobufCMessage *message);

/* ---- What is to be done about it --------------------------------------------------------- */

/* Gathers over many steps until it is emptied with core_pop_*(). Nothing in it is allocated but
 * notes: it cannot overflow, a thing that changes twice is in it once. One per core; a core must
 * outlive it. */
struct core_effects {
	struct fl_list writes;
	struct fl_list machines;
	struct fl_list units;
	struct fl_list notes;
	uint32_t n_notes;
	uint32_t n_notes_lost; /* above CORE_NOTES_MAX, or for want of memory */
	bool write_meta;
	bool events; /* there are new ones: wake who follows them */
};

#define CORE_NOTES_MAX 1000U

void core_effects_init(struct core_effects *effects);
/* Forgets what was not popped. */
void core_effects_fini(struct core_effects *effects);

/* A record of the store. */
struct core_write {
	char key[300];
	uint8_t *data; /* the caller's, free(3); NULL = delete the key */
	size_t len;
};

/* *ret_any is false when there is none left. FL_E_NO_MEMORY leaves it there for another try. */
enum fl_code core_pop_write(struct core *core, struct core_effects *effects,
	struct core_write *ret_write, bool *ret_any, struct fl_error *err) FL_MUST_CHECK;

/* A machine whose assignment changed (wake its held sync), a unit of which anything changed (wake
 * who watches it), or NULL. Borrowed until the next core_step(). */
const char *core_pop_machine(struct core_effects *effects);
const char *core_pop_unit(struct core_effects *effects);

/* Something for the log: an event's name and "key=value ..." as base/log.h wants them. */
struct core_note {
	struct fl_list link;
	enum fl_level level;
	const char *event; /* static */
	char text[];
};

/* The oldest, the caller's (free(3)), or NULL. */
struct core_note *core_pop_note(struct core_effects *effects);

/* ---- Beginning --------------------------------------------------------------------------- */

/* Every record of the store, in any order; keys that are not the core's are left out. FL_E_STORE
 * names the record that cannot be read. */
enum fl_code core_load(struct core *core, const char *key, const void *data, size_t len,
	struct fl_error *err) FL_MUST_CHECK;

/* All has been loaded: every machine is UNKNOWN for a lease from @now_ms, its placements stand. The
 * writes in @effects must be durable before the first answer. */
enum fl_code core_loaded(struct core *core, uint64_t now_ms, struct core_effects *effects,
	struct fl_error *err) FL_MUST_CHECK;

/*
 * The only thing that changes a core. @now_ms never goes back. An error leaves the core as it was
 * (FL_E_NO_MEMORY; FL_E_NOT_FOUND as said above), but for a unit that stays unplaced for want of
 * memory: the next tick tries it again. @ret_answer is set on success.
 */
enum fl_code core_step(struct core *core, const struct core_event *event, uint64_t now_ms,
	struct core_effects *effects, struct core_answer *ret_answer,
	struct fl_error *err) FL_MUST_CHECK;

/* When a CORE_TICK is due; UINT64_MAX = not before something else happens. O(1) but for the
 * drains and moves under way. */
uint64_t core_next_deadline(const struct core *core);

/* ---- Looking: nothing below changes anything --------------------------------------------- */

uint64_t core_revision(const struct core *core);
const char *core_store_id(const struct core *core);
const char *core_fleet(const struct core *core);
uint32_t core_lease_ms(const struct core *core);
size_t core_unit_count(const struct core *core);
size_t core_machine_count(const struct core *core);

/* The first name, or ID, greater than @after ("" = the first of all); NULL: none. Borrowed until
 * the next core_step(). */
const char *core_unit_next(const struct core *core, const char *after);
const char *core_machine_next(const struct core *core, const char *after);

/* The revision at which anything of the unit last changed; 0: there is no such unit. O(log n), for
 * a watch's "since". */
uint64_t core_unit_revision(const struct core *core, const char *name);

/* As messages of the wire; the caller's (core_message_free). FL_E_NOT_FOUND. */
enum fl_code core_unit_get(const struct core *core, const char *name, bool with_content,
	uint64_t now_ms, Pb__Unit **ret_unit, struct fl_error *err) FL_MUST_CHECK;
enum fl_code core_machine_get(const struct core *core, const char *id, uint64_t now_ms,
	Pb__Machine **ret_machine, struct fl_error *err) FL_MUST_CHECK;

/* The ID of the machine that is meant. FL_E_NOT_FOUND, FL_E_INVALID (several). */
enum fl_code core_machine_find(const struct core *core, const char *id, const char **ret_id,
	struct fl_error *err) FL_MUST_CHECK;

/* A plan of at most @max_moves moves (0 = LIMIT_MOVES) that leave the machines about equally full. */
enum fl_code core_rebalance(const struct core *core, size_t max_moves,
	Pb__RebalanceReply **ret_reply, struct fl_error *err) FL_MUST_CHECK;

/* Why the unit is where it is, or nowhere: every machine with what speaks against it. The same
 * checks as the placement's own. FL_E_NOT_FOUND. */
enum fl_code core_why(const struct core *core, const char *name, uint64_t now_ms,
	size_t max_machines, Pb__WhyReply **ret_reply, struct fl_error *err) FL_MUST_CHECK;

/* The events that are asked for, oldest first, as many as a reply may hold; none where nothing new
 * has happened. The newest 10,000 are known, since this core began. time_us is of the core's clock.
 * FL_E_SYNTAX for a name that is no pattern. */
enum fl_code core_events(const struct core *core, const Pb__EventsRequest *request,
	Pb__EventsReply **ret_reply, struct fl_error *err) FL_MUST_CHECK;

/* Where a call about the unit (status, journal) goes: the machine ID of its placement, or of the
 * one on @machine_id (its beginning is enough, "" = the only one). Borrowed until the next
 * core_step(). FL_E_NOT_FOUND, FL_E_STATE (not placed), FL_E_INVALID (several: name one). */
enum fl_code core_placement_find(const struct core *core, const char *name, const char *machine_id,
	const char **ret_machine_id, struct fl_error *err) FL_MUST_CHECK;

/*
 * What changed for a machine since the revision that its agent has on disk: the SyncReply, without
 * calls, at most a page. Only what is at or before @durable is in it. *ret_reply is NULL when there
 * is nothing to say (hold the request). @store_id is whose revision @since is; another one, or a
 * @since too old or from the future, begins a whole assignment (reset). FL_E_NOT_FOUND.
 */
enum fl_code core_assignment(const struct core *core, const char *machine_id, const char *store_id,
	uint64_t since, uint64_t durable, Pb__SyncReply **ret_reply,
	struct fl_error *err) FL_MUST_CHECK;

/* Whether a machine is heard that has shown a certificate for this key: one that was not revoked or
 * removed, and is not known by another key since (@key_pin is NULL: whatever its key). FL_E_DENIED. */
enum fl_code core_member_check(const struct core *core, const char *machine_id,
	const uint8_t *key_pin, struct fl_error *err) FL_MUST_CHECK;

/* The first ID greater than @after of those whose certificates do not count, or NULL. */
const char *core_revoked_next(const struct core *core, const char *after);

/* The last upgrade of agents, with all its machines; NULL: there was none. The caller's. */
enum fl_code core_upgrade_get(
	const struct core *core, Pb__Upgrade **ret_upgrade, struct fl_error *err) FL_MUST_CHECK;

/* Whether the machine is to be told to upgrade its agent; @ret_order borrows until the next
 * core_step(). */
bool core_upgrade_order(
	const struct core *core, const char *machine_id, Pb__UpgradeOrder *ret_order);

/* Whether the machine is not known to have a certificate of this CA. */
bool core_ca_waits(const struct core *core, const char *machine_id, const char *ca_id);

/* Who has a certificate or a token of another CA than this one: fills in what of the reply is about
 * machines, at most @max of them one by one, and tokens. */
enum fl_code core_ca_look(const struct core *core, const char *ca_id, uint64_t wall_ms,
	uint64_t now_ms, size_t max, Pb__CaReply *reply, struct fl_error *err) FL_MUST_CHECK;

/* The tokens that still let somebody in, by ID, or the one with @id (nullable); the caller's. */
enum fl_code core_tokens_list(const struct core *core, const char *id, uint64_t wall_ms,
	Pb__TokensReply **ret_reply, struct fl_error *err) FL_MUST_CHECK;

/* Records' keys begin with these; "meta" has no more. */
#define CORE_KEY_META    "meta"
#define CORE_KEY_UNIT    "unit/"
#define CORE_KEY_MACHINE "machine/"
#define CORE_KEY_MEMBER  "member/"
#define CORE_KEY_TOKEN   "token/"
