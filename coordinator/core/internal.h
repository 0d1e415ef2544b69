/*
 * What the files of the core share. Nothing outside coordinator/core includes it.
 *
 *	core.c      the step: one event in, then settle() until nothing is left to decide
 *	effects.c   what a step leaves behind for the daemon; records of the store
 *	events.c    what happened, for people who follow it
 *	units.c     units, their files, who follows whom (MachineOf=)
 *	change.c    what people ask for: submit, set, restart, destroy
 *	replicas.c  the instances that a template with Replicas= makes
 *	rollout.c   a changed file on its way, and back; rollout_store.c: what is kept of it
 *	join.c      tokens, and who became a member of the fleet with one
 *	members.c   the members, and who is no longer one (members.h)
 *	upgrade.c   agents that are upgraded, from machine to machine
 *	machines.c  machines, their metadata
 *	pools.c     machines in the order in which a placement tries them
 *	claims.c    memory and CPUs: what units claim, what machines offer
 *	spread.c    how many instances of a template are where (Spread=)
 *	leases.c    who is heard of, who is lost, whether anything may move
 *	place.c     placements: made, taken back; what speaks against one
 *	choose.c    the choice of a machine
 *	held.c      units that have left a machine which may still run them
 *	exclusive.c leases for exclusive units, and when one may start elsewhere
 *	operate.c   machines that operators take out and put back
 *	moves.c     units on their way from one machine to another
 *	rebalance.c which ones should
 *	settle.c    what follows from a change: rechecks, retries, globals
 *	report.c    what agents say of their units
 *	assign.c    what an agent is told
 *	look.c      units and machines as messages
 *	why.c       reasons, for people
 */
#pragma once

#include "coordinator/core/model.h"

/* ---- effects.c --------------------------------------------------------------------------- */

/* The next revision. */
uint64_t core_next_revision(struct core *core);
void mark_unit_write(struct core *core, struct unit *unit);
void mark_machine_write(struct core *core, struct machine *machine);
/* The machine's record is to go. false: no memory. */
bool mark_machine_deleted(struct core *core, const struct machine *machine);
void deletions_fini(struct core *core);
/* Something that people see of the unit changed: it takes a new revision. */
void mark_unit_changed(struct core *core, struct unit *unit);
void mark_machine_changed(struct core *core, struct machine *machine);
void core_note(struct core *core, enum fl_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- events.c ---------------------------------------------------------------------------- */

void events_init(struct core *core);
/* The core has loaded: whatever was before is not known. */
void events_begin(struct core *core);
void events_fini(struct core *core);

/*
 * Something happened that a person would want to hear of: `flotactl events` shows it. @kind is
 * static, "unit.placed"; docs/EVENTS.md lists them all. @unit and @machine are nullable, @text is a
 * few words more, or "". Cannot fail: what finds no memory counts as lost.
 */
void event_add(struct core *core, const char *kind, const struct unit *unit,
	const struct machine *machine, const char *text);
void event_addf(struct core *core, const char *kind, const struct unit *unit,
	const struct machine *machine, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* What happens again and again must not push all else out of what is known: one more event of such
 * a thing; how many these are in its minute. Those above EVENTS_PER_MINUTE are not to be added. */
#define EVENTS_PER_MINUTE 10U
uint32_t event_limit_take(const struct core *core, struct event_limit *limit);

/* ---- units.c ----------------------------------------------------------------------------- */

struct unit *unit_find(const struct core *core, const char *name); /* gone ones are not found */
struct unit *unit_next(const struct core *core, const char *after);

/* Reads a unit file; nothing of the core's but leaders' reference counts changes. With @verify the
 * file must pass all that a new one has to. */
enum fl_code unit_body_read(struct core *core, const char *name, const void *content, size_t len,
	bool lenient, bool verify, struct unit_report *report, struct unit_body *ret_body,
	struct fl_error *err) FL_MUST_CHECK;
/* One of the store's, which was accepted when the rules were perhaps less strict. */
enum fl_code unit_body_load(struct core *core, const char *name, const ProtobufCBinaryData *content,
	bool lenient, struct unit_body *ret_body, struct fl_error *err) FL_MUST_CHECK;
void unit_body_fini(struct core *core, struct unit_body *body);
/* Gives @unit another file; @body gets the one that it had. Cannot fail. */
void unit_body_swap(struct core *core, struct unit *unit, struct unit_body *body);
/* The same; @body is emptied. */
void unit_body_set(struct core *core, struct unit *unit, struct unit_body *body);

/* A unit without a file yet, in the tree; revives one of that name which is gone. */
enum fl_code unit_add(struct core *core, const char *name, const char *tenant,
	struct unit **ret_unit, struct fl_error *err) FL_MUST_CHECK;
/* Takes it from the tree's sight; its placements have been removed before. */
void unit_forget(struct core *core, struct unit *unit);
void unit_reap(struct core *core);
void unit_free(struct core *core, struct unit *unit);
void units_free(struct core *core);

/* The units that name @unit in MachineOf=: those placed go to core->rechecks, those waiting to
 * core->fresh. */
void unit_wake_followers(struct core *core, const struct unit *unit);
bool unit_has_followers(const struct core *core, const struct unit *unit);

/* ---- held.c ------------------------------------------------------------------------------ */

#define HELD_LIMIT_MS 90000U

/* The unit leaves its machine, which may go on to run it: it is placed on no other until
 * held_release(). @until_ms is UINT64_MAX, or HELD_LIMIT_MS from now. */
void held_begin(struct core *core, struct placement *placement, uint64_t until_ms);
/* The machine is back: what left it while it was lost, and is nowhere else yet, may still run there. */
void held_resume(struct core *core, struct machine *machine);
/* Its machine has let go of it, or it is not waited for any longer: the unit may be anywhere. Nothing
 * happens where none is held. @placement may be freed. */
void held_release(struct core *core, struct placement *placement, const char *why);
/* A machine says that nothing is left of a unit that was removed, and what its agent's disk has. */
void held_gone(struct core *core, struct placement *placement, uint64_t saved_revision);
void held_acknowledged(struct core *core, struct placement *placement, uint64_t saved_revision);
/* It comes back to where it was held. */
void held_forget(struct core *core, struct unit *unit);
/* As the store has it. false: no memory. */
bool held_restore(struct core *core, struct unit *unit, struct machine *machine, uint64_t epoch);
/* Ends what has been held for long enough. */
void held_check(struct core *core);
uint64_t held_next_deadline(const struct core *core);

/* A hold that ended by itself no longer does. */
void held_endless(struct core *core, struct unit *unit);
/* One that did not does: at once where its machine is lost, else as any other. */
void held_ends(struct core *core, struct unit *unit, const char *why);

static inline bool placement_is_held(const struct placement *placement)
{
	return placement->unit->held == placement;
}

/* ---- operate.c --------------------------------------------------------------------------- */

enum fl_code core_do_machine(struct core *core, const struct core_machine_change *change,
	struct fl_error *err) FL_MUST_CHECK;
/* By its ID, or by the beginning of it that no other has. */
enum fl_code machine_named(const struct core *core, const char *id, struct machine **ret_machine,
	struct fl_error *err) FL_MUST_CHECK;
/* Whether the unit may not come to the machine for what an operator said of it. */
bool machine_keeps_away(const struct machine *machine, const struct unit *unit);
/* "cordoned by ana: disk change" */
void machine_closed_text(const struct machine *machine, struct fl_buf *text);
/* Why a placement on a machine that is being drained, or is drained, is still there; else nothing. */
void placement_leaving_text(const struct core *core, const struct placement *placement,
	uint64_t now_ms, struct fl_buf *text);
/* What is placed on the machine, or may still run there, and has to leave for its drain. */
uint32_t drain_units_left(const struct machine *machine);

/* Something has left the machine: its drain can go on. */
void drain_look_soon(struct machine *machine);
/* Goes on with all drains; true: there may be more to settle. */
bool drains_settle(struct core *core);
uint64_t drains_next_deadline(const struct core *core);

void machine_scheduling_pack(const struct machine *machine, Pb__MachineRecord *record);
enum fl_code machine_scheduling_load(struct core *core, struct machine *machine,
	const Pb__MachineRecord *record, struct fl_error *err) FL_MUST_CHECK;
void machine_scheduling_fini(struct machine *machine);

/* ---- moves.c ----------------------------------------------------------------------------- */

/* Takes a unit from its machine, which is up: to @to, or where it fits best (NULL). */
void move_begin(struct core *core, struct unit *unit, struct machine *to, const char *why);
/* Harmless where none is under way. */
void move_end(struct unit *unit);
/* Where it was to go, if that still takes it. */
struct machine *move_target(const struct unit *unit, uint64_t now_ms);
/* Ends the moves that are over; true: there may be more to settle. */
bool moves_settle(struct core *core);
uint64_t moves_next_deadline(const struct core *core);
enum fl_code core_do_move(
	struct core *core, const struct core_move *move, struct fl_error *err) FL_MUST_CHECK;

/* ---- exclusive.c ------------------------------------------------------------------------- */

/* Behind the lease and the unit's time to stop: for clocks that go wrong by up to 1/10000, for the
 * agent or its fence to be late, for the kill itself. */
#define EXCLUSIVE_SAFETY_MS 2000U

/* Whether its agent and fence keep exclusive units to their lease. */
bool exclusive_possible(const struct machine *machine);
/* What the answer to a report gives; 0: nothing, while the agent has to hear something first. */
uint32_t exclusive_lease_ms(
	const struct core *core, const struct machine *machine, const Pb__ReportRequest *report);

/* The unit's hold has begun, or is about to end. */
void exclusive_held(struct core *core, struct unit *unit);
void exclusive_released(struct core *core, struct unit *unit);
void exclusive_machine_lost(struct core *core, struct machine *machine);
void exclusive_machine_back(struct core *core, struct machine *machine);
/* Ends holds whose time is over. Whether there were any: settle() has to place their units. */
bool exclusive_check(struct core *core);
uint64_t exclusive_next_deadline(const struct core *core);

/* The unit comes to a machine; it has another file; its agent has carried out what it was told. */
void exclusive_placed(struct core *core, struct unit *unit, bool was_held_there);
void exclusive_file_changed(struct core *core, struct unit *unit, bool was_exclusive);
void exclusive_carried_out(struct core *core, struct placement *placement);

/* Behind what is said of a held unit: until when. */
void exclusive_why(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text);

/* ---- change.c, report.c ------------------------------------------------------------------ */

/* A unit without a file yet, for somebody who asks for it now. */
enum fl_code change_make_unit(struct core *core, const char *name, const char *tenant,
	struct unit **ret_unit, struct fl_error *err) FL_MUST_CHECK;
/* The unit has changed: a placement that has carried out a revision from here on has done it. */
void change_asked(struct core *core, struct unit *unit);
/* Gives a unit that is there another file, with all that follows; @body gets the one that it had. */
void change_file(struct core *core, struct unit *unit, struct unit_body *body);
void change_desired(struct core *core, struct unit *unit, Pb__DesiredState desired);
void change_destroy(struct core *core, struct unit *unit);

enum fl_code core_do_change(struct core *core, const struct core_change *change,
	struct core_answer *ret_answer, struct fl_error *err) FL_MUST_CHECK;
/* Its agent speaks, in this session. One that has just started may run again what the last one had
 * let go of without its disk knowing. */
void machine_in_session(struct machine *machine, uint64_t session);
enum fl_code core_do_report(struct core *core, const struct core_report *report,
	struct core_answer *ret_answer, struct fl_error *err) FL_MUST_CHECK;

/* ---- machines.c -------------------------------------------------------------------------- */

struct machine *machine_find(const struct core *core, const char *id);
struct machine *machine_next(const struct core *core, const char *after);
const char *machine_metadata(const struct machine *machine, const char *key); /* NULL: none */

enum fl_code machine_info_read(struct core *core, const Pb__MachineInfo *message,
	const char *peer_address, struct machine_info *ret_info,
	struct fl_error *err) FL_MUST_CHECK;
void machine_info_fini(struct core *core, struct machine_info *info);
bool machine_info_equal(const struct machine_info *a, const struct machine_info *b);
/* @info is emptied. Cannot fail. */
void machine_info_set(struct core *core, struct machine *machine, struct machine_info *info);

enum fl_code machine_add(struct core *core, const char *id, struct machine_info *info,
	struct machine **ret_machine, struct fl_error *err) FL_MUST_CHECK;
/* Nothing is placed there, or held. */
void machine_free(struct core *core, struct machine *machine);
void machines_free(struct core *core);

/* What it has, as its agent reports it; load and free memory change all the time. true: so did what
 * units can claim, and the store should know. For want of memory it stays as it was. */
bool machine_capacity_set(struct machine *machine, const Pb__Capacity *capacity);

/* ---- pools.c ----------------------------------------------------------------------------- */

/* Into and out of the pools, in which a placement looks. */
void machine_pools_enter(struct machine *machine);
void machine_pools_leave(struct machine *machine);
/* A unit with such claims more, or less. */
void machine_load_change(struct machine *machine, const struct unit_claims *claims, int by);

struct pool *pool_find(const struct core *core, const char *key, const char *value);
/* NULL: no memory. */
struct pool *pool_ref(struct core *core, const char *key, const char *value);
void pool_unref(struct core *core, struct pool *pool);
/* Before the pools of an axis are walked for the first time. */
void pools_walk(struct core *core, struct axis *axis);
/* The least loaded machine, and the next, on which so much is free. O(log n), as a rule. */
struct load_node *pool_first(const struct pool *pool, const struct room *needed);
struct load_node *pool_next(struct load_node *node, const struct room *needed);

/* ---- spread.c ---------------------------------------------------------------------------- */

void axis_init(struct axis *axis);
void axis_fini(struct axis *axis);
/* By metadata. NULL: no memory. */
struct axis *axis_ref(struct core *core, const char *key);
void axis_unref(struct core *core, struct axis *axis);
/* A domain more; @pool is NULL for a single machine. false: no memory. */
bool axis_domain_add(struct axis *axis, struct pool *pool, size_t *ret_number);
void axis_domain_remove(struct axis *axis, size_t number);

/* For a unit that is not an instance these do nothing. false: no memory. */
bool family_join(struct core *core, struct unit *unit);
void family_leave(struct core *core, struct unit *unit);

/* Of the instance @name with Spread=@key. NULL: no memory. */
struct spread *spread_ref(struct core *core, const char *name, const char *key);
void spread_unref(struct core *core, struct spread *spread);
/* A placement more, or less. */
void spread_count(const struct unit *unit, const struct machine *machine, int by);
/* In the machine's domain; UINT32_MAX: it is in none. */
uint32_t spread_siblings(const struct spread *spread, const struct machine *machine);
/* The next greater number of siblings that a domain has which is possible; UINT32_MAX: none. */
uint32_t spread_next_level(const struct spread *spread, uint32_t siblings);
/* Brings what is known of the domains up to date for @unit, which may go to machines in
 * @candidates, as far as its metadata go. false: to no domain at all. */
bool spread_look(const struct core *core, struct spread *spread, const struct unit *unit,
	struct pool *const *candidates, size_t n_candidates);

/* ---- claims.c ---------------------------------------------------------------------------- */

/* What such claims are on a machine; the least that they are on any. */
struct room claims_on(const struct unit_claims *claims, const struct machine *machine);
struct room claims_anywhere(const struct unit_claims *claims);
bool claims_grow(const struct unit_claims *before, const struct unit_claims *after);
/* Whether there is room for the unit, which @is_there or not; the answer in words to @why
 * (nullable). */
bool claims_fit(
	const struct unit *unit, const struct machine *machine, bool is_there, struct fl_buf *why);
/* By the placements there, all of them. */
struct room machine_claimed(const struct machine *machine);
struct room machine_offered(const struct machine *machine);
/* While the machine is in no pool. */
void machine_claims_add(struct machine *machine, const struct unit_claims *claims, int by);
void machine_free_refresh(struct machine *machine);

/* ---- leases.c ---------------------------------------------------------------------------- */

/* It was heard of, now: its lease begins again, it is up. O(1) when it was up. */
void machine_heard(struct core *core, struct machine *machine);
void leases_begin(struct core *core);
/* Its lease ends now, and whatever the others look like its units are moved as a lost one's. */
void machine_cut_off(struct core *core, struct machine *machine);
/* Ends leases whose time is over and decides about the suspects. */
void leases_check(struct core *core);
/* Whether a unit whose file changed may leave its machine now, which is lost and has had its verdict.
 * While nothing may move it comes to the next one. */
bool leases_let_go(struct core *core, const struct placement *placement);
uint64_t leases_next_deadline(const struct core *core);
enum fl_code core_do_sync(
	struct core *core, const struct core_sync *sync, struct fl_error *err) FL_MUST_CHECK;

/* ---- place.c ----------------------------------------------------------------------------- */

/* What speaks against a unit on a machine, in the order in which it is asked. */
enum refusal {
	REFUSAL_NONE,
	REFUSAL_STATE,
	REFUSAL_CLOSED, /* cordoned or drained */
	REFUSAL_HELD, /* it may still run on another machine */
	REFUSAL_EXCLUSIVE, /* its agent cannot keep it to a lease */
	REFUSAL_MACHINE_ID,
	REFUSAL_METADATA,
	REFUSAL_MACHINE_OF,
	REFUSAL_CONFLICT,
	REFUSAL_RESOURCES,
	REFUSAL_REPLACED,
	REFUSAL_MEMORY, /* of the coordinator, not the machine's */
};
#define REFUSAL_COUNT (REFUSAL_MEMORY + 1)

/* Asks all of it for a unit that is to come to the machine, or is there already; the answer in
 * words goes to @why (nullable). Global units are asked about metadata and other globals only. */
enum refusal place_check(const struct unit *unit, const struct machine *machine, uint64_t now_ms,
	struct fl_buf *why);
/* The same without the machine's state and without Replaces= of others, which count when a unit
 * comes, not while it is there. */
enum refusal place_check_stay(
	const struct unit *unit, const struct machine *machine, struct fl_buf *why);

/* A unit there that @unit would rather not be with (PreferConflicts=), or NULL. */
const struct unit *place_avoided(const struct unit *unit, const struct machine *machine);
/* How many keys of PreferMetadata= the machine does not fulfil. */
uint32_t place_unmet_preferences(const struct unit *unit, const struct machine *machine);
/* Whether it fulfils MachineMetadata=. */
bool place_metadata_met(const struct unit *unit, const struct machine *machine);

/* Whether @old has to leave a machine to which @unit comes (Replaces=). */
bool place_replaces(const struct unit *unit, const struct unit *old);

/* Tombstones too. */
struct placement *placement_find(const struct machine *machine, const char *name);
/* false: no memory. */
bool placement_make(struct core *core, struct unit *unit, struct machine *machine, uint64_t epoch);
/* Becomes a tombstone. */
void placement_remove(struct core *core, struct placement *placement);
/* The tombstone is to be told, or told again. */
void placement_entomb(struct core *core, struct placement *placement);
/* The agent lets go of what it may have run while the unit was elsewhere. */
void placement_tell_doubled(struct core *core, struct placement *placement);
/* The agent's disk has the removal; what is not held is freed. */
void placement_bury(struct placement *placement);
/* The agent is to be told of it (again): a new revision. */
void placement_touch(struct core *core, struct placement *placement);
void placement_free(struct placement *placement);
/* Its unit's file changed. */
void placement_index(struct placement *placement);
void placement_unindex(struct placement *placement);

/* ---- choose.c ---------------------------------------------------------------------------- */

/* The machine for a unit that is not global; NULL: none, and *ret_refused_for says what all of the
 * refusals were, as bits. */
struct machine *place_choose(struct core *core, const struct unit *unit, unsigned *ret_refused_for);

/* ---- settle.c ---------------------------------------------------------------------------- */

/* Marks what has to be decided; settle() decides until nothing is left. */
void settle(struct core *core);
/* An active unit that is nowhere (or a global one, which may be in some places). */
void settle_activate(struct core *core, struct unit *unit);
/* It has its placement, or is not to have one. */
void settle_deactivate(struct core *core, struct unit *unit);
/* Takes a unit from its machine, or a global one from all; it is not placed again unless
 * settle_activate() says so. @why is for the log; NULL: not worth a line. */
void settle_unplace(struct core *core, struct unit *unit, const char *why);
/* Takes a unit that is not global from its machine, to be placed elsewhere: when that machine has
 * let go of it, if it is up. */
void settle_displace(struct core *core, struct unit *unit, const char *why);
void settle_recheck(struct core *core, struct unit *unit);
void settle_recheck_machine(struct core *core, struct machine *machine);
/* Something that was in the way on @machine is gone: another unit, or with @all anything. */
void settle_help(struct core *core, struct machine *machine, bool all);
/* Which global runs where may have changed: on @machine, or with NULL on any. */
void settle_globals(struct core *core, struct machine *machine);
/* A tick: what failed for want of memory is tried again. */
void settle_retry(struct core *core);

/* ---- replicas.c -------------------------------------------------------------------------- */

/* How many the template wants now: none while it is inactive. */
uint32_t replicas_wanted(const struct unit *template);
/* Reads the template's file for the replica of that name. */
enum fl_code replica_body_read(struct core *core, const char *name, const struct unit_body *body,
	struct unit_body *ret_body, struct fl_error *err) FL_MUST_CHECK;
/* @unit has the highest number so far; a rollout of its own is over. */
void replica_link(struct core *core, struct unit *template, struct unit *unit);
void replica_unlink(struct unit *unit);
/* Destroys those above @n. */
void replicas_trim(struct core *core, struct unit *template, uint32_t n);
/* Makes those that are missing, with the template's file. FL_E_NO_MEMORY leaves the rest undone. */
enum fl_code replicas_fill(
	struct core *core, struct unit *template, struct fl_error *err) FL_MUST_CHECK;
/* All records have been read: who belongs to whom. */
void replicas_restore(struct core *core);

/* ---- rollout.c --------------------------------------------------------------------------- */

/* What a rollout needs of memory, beforehand. */
struct rollout_start {
	struct rollout *rollout;
	struct old_file *old;
};

/* Whether another file goes to the unit's places one after the other. */
bool rollout_is_due(const struct unit *unit, const struct unit_body *body);
enum fl_code rollout_prepare(const struct unit *unit, struct rollout_start *ret_start,
	struct fl_error *err) FL_MUST_CHECK;
void rollout_start_fini(struct rollout_start *start);
/* Gives the unit its new file, which rolls; @start and @body are emptied. */
void rollout_begin(
	struct core *core, struct unit *unit, struct rollout_start *start, struct unit_body *body);
/* The unit's file is everywhere, whatever was on its way. */
void rollout_drop(struct core *core, struct unit *unit);
/* Something of the unit changed, which may be a place of a rollout. */
void rollout_mark(struct core *core, struct unit *unit);
/* The next steps of one rollout of which something changed; false: there is none. */
bool rollouts_go_on(struct core *core);
/* A tick. */
void rollouts_check(struct core *core);
uint64_t rollouts_next_deadline(const struct core *core);
void old_file_unref(struct old_file *old);
/* Whether the file that rolls has not reached this place of the unit: @placement of a global one, or
 * a replica. */
bool rollout_is_old(const struct unit *unit, const struct placement *placement);

/* What is stored of it, and told: borrowed from the unit but for the lists, which
 * rollout_record_fini() frees. */
enum fl_code rollout_record(
	const struct unit *unit, Pb__UnitRecord *record, struct fl_error *err) FL_MUST_CHECK;
void rollout_record_fini(Pb__UnitRecord *record);
/* What there is to know of its last change of file, behind why it is where it is. */
void rollout_why(const struct unit *unit, struct fl_buf *text);
/* NULL: none. The caller's. */
enum fl_code rollout_message(
	const struct unit *unit, Pb__Rollout **ret_message, struct fl_error *err) FL_MUST_CHECK;
enum fl_code rollout_load(struct core *core, struct unit *unit, const Pb__UnitRecord *record,
	struct fl_error *err) FL_MUST_CHECK;
/* All is in its place. */
enum fl_code rollouts_loaded(struct core *core, struct fl_error *err) FL_MUST_CHECK;

/* ---- assign.c ---------------------------------------------------------------------------- */

/* The agent has everything up to @revision on its disk. */
void assignment_acknowledge(struct core *core, struct machine *machine, uint64_t revision);
/* Forgets every tombstone: the agent will be given its whole assignment. */
void assignment_forget_tombstones(struct core *core, struct machine *machine);
/* All of it is new to the agent: every entry gets a revision above deltas_from, so that the pages
 * that follow the first are plain changes. */
void assignment_begin_again(struct core *core, struct machine *machine);
bool assignment_needs_reset(const struct core *core, const struct machine *machine,
	const char *store_id, uint64_t since);

/* ---- upgrade.c --------------------------------------------------------------------------- */

enum fl_code core_do_upgrade(
	struct core *core, const struct core_upgrade *asked, struct fl_error *err) FL_MUST_CHECK;
/* What a machine says became of its order; NULL is nothing. */
void upgrade_heard(
	struct core *core, const struct machine *machine, const Pb__UpgradeResult *result);
void upgrade_check(struct core *core);
uint64_t upgrade_next_deadline(const struct core *core);
void upgrade_fini(struct core *core);

/* ---- look.c, why.c ----------------------------------------------------------------------- */

/* For protobuf-c, whose empty text is one that all share. What is longer than the wire allows is
 * cut, with "..." behind it. false: no memory. */
bool message_text(char **field, const char *text);
/* By way of the wire format, so of any message; NULL: no memory. */
ProtobufCMessage *message_copy(const ProtobufCMessage *message);
/* Its placements, without tombstones. */
size_t unit_placement_count(const struct unit *unit);
enum fl_code unit_message(const struct core *core, const struct unit *unit, bool with_content,
	uint64_t now_ms, Pb__Unit **ret_unit, struct fl_error *err) FL_MUST_CHECK;

/* How many machines refuse an active unit for each kind of reason. */
void why_nowhere(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text);
/* Why an active unit is not where it should be; nothing is written when it is. */
void why_waiting(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text);
/* Machine by machine, @max at most. @refused_only leaves out those that accept it. */
enum fl_code why_refusals(const struct core *core, const struct unit *unit, uint64_t now_ms,
	size_t max, bool refused_only, Pb__Refusal ***ret_refusals, size_t *ret_n,
	struct fl_error *err) FL_MUST_CHECK;
