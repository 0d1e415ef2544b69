/*
 * Members: the machines that are known by their key, and those whose certificates count no more.
 *
 *	 a token, or the first renewal               revoke              remove
 *	──────────────────────────────▶ ADMITTED ─────────────▶ REVOKED ────────▶ REMOVED
 *	                                  ▲ │  ▲                   │                │ ▲
 *	                                  │ │  └─────── adopt ─────┘                │ │
 *	                                  │ └───────────────── remove ──────────────┼─┘
 *	                                  └───────────────── a token ───────────────┘
 *
 * Of a REMOVED one this record stays: a certificate of it may be good for long. A machine whose
 * certificate was made by hand has none before its first renewal, unless it is put out.
 *
 * A member is heard with the certificates of two keys, its own and the one before: an agent that
 * renews goes over from one to the other. Who has an older one, from the copy of a disk or from a
 * backup, is not.
 */
#include "coordinator/core/members.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/wire.h"

#define REFUSED_KEYS_MAX 256U

static int member_compare(const struct member *a, const struct member *b)
{
	return strcmp(a->record->id, b->record->id);
}

RB_PROTOTYPE(member_tree, member, link, member_compare)
RB_GENERATE(member_tree, member, link, member_compare)

struct member *member_find(const struct core *core, const char *id)
{
	Pb__MemberRecord record = {.id = (char *)id};
	struct member key = {.record = &record};

	return RB_FIND(member_tree, (struct member_tree *)&core->members, &key);
}

/* ---- Records ----------------------------------------------------------------------------- */

/* Copies @record into a member that has not been there. */
static struct member *member_add(struct core *core, const Pb__MemberRecord *record)
{
	struct member *member = FL_NEW(struct member);

	if (member != NULL)
		member->record = (Pb__MemberRecord *)message_copy(&record->base);
	if (member == NULL || member->record == NULL) {
		free(member);
		return NULL;
	}
	member->write.kind = MARK_MEMBER;
	RB_INSERT(member_tree, &core->members, member);
	return member;
}

static void mark_member_write(struct core *core, struct member *member)
{
	if (!fl_list_linked(&member->write.link))
		fl_list_append(&core->effects->writes, &member->write.link);
}

struct member *member_put(struct core *core, struct member *member, const Pb__MemberRecord *record)
{
	ProtobufCMessage *copy;

	if (member == NULL) {
		member = member_add(core, record);
		if (member == NULL)
			return NULL;
	} else {
		copy = message_copy(&record->base);
		if (copy == NULL)
			return NULL;
		core_message_free(&member->record->base);
		member->record = (Pb__MemberRecord *)copy;
	}
	mark_member_write(core, member);
	return member;
}

static bool is_pin(const ProtobufCBinaryData *pin)
{
	return pin->len == 0 || pin->len == CORE_HASH_BYTES;
}

enum fl_code member_load(struct core *core, const Pb__MemberRecord *record, struct fl_error *err)
{
	if (*record->id == '\0' || !is_pin(&record->key_pin) || !is_pin(&record->previous_pin) ||
		member_find(core, record->id) != NULL)
		return FL_FAIL(err, FL_E_INVALID, "member ID \"%s\"", record->id);
	return member_add(core, record) != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

void members_loaded(struct core *core)
{
	struct member *member;

	RB_FOREACH (member, member_tree, &core->members) {
		struct machine *machine = machine_find(core, member->record->id);

		if (machine == NULL || !member_is_out(member))
			continue;
		machine->is_revoked = true;
		machine_cut_off(core, machine);
	}
}

/* ---- Keys -------------------------------------------------------------------------------- */

static bool equals(const ProtobufCBinaryData *known, const uint8_t *pin)
{
	return known->len == CORE_HASH_BYTES && memcmp(known->data, pin, CORE_HASH_BYTES) == 0;
}

bool member_has_key(const struct member *member, const uint8_t *pin)
{
	return equals(&member->record->key_pin, pin);
}

bool member_had_key(const struct member *member, const uint8_t *pin)
{
	return equals(&member->record->previous_pin, pin);
}

bool member_is_out(const struct member *member)
{
	return member->record->standing != PB__MEMBER_RECORD__STANDING__ADMITTED;
}

enum fl_code member_refuse(const struct member *member, struct fl_error *err)
{
	const Pb__MemberRecord *record = member->record;
	bool removed = record->standing == PB__MEMBER_RECORD__STANDING__REMOVED;

	return FL_FAIL(err, FL_E_DENIED,
		"machine %s was %s by %s%s%s; to let it in again: \"%s%s\"", record->id,
		removed ? "removed" : "revoked", record->ended_by,
		*record->ended_reason != '\0' ? ": " : "", record->ended_reason,
		removed ? "flotactl token create" : "flotactl machine adopt ",
		removed ? "" : record->id);
}

enum fl_code core_member_check(const struct core *core, const char *machine_id,
	const uint8_t *key_pin, struct fl_error *err)
{
	const struct member *member = member_find(core, machine_id);

	if (member == NULL)
		return FL_OK;
	if (member_is_out(member))
		return member_refuse(member, err);
	if (key_pin == NULL || member->record->previous_pin.len == 0 ||
		member_has_key(member, key_pin) || member_had_key(member, key_pin))
		return FL_OK;
	return FL_FAIL(err, FL_E_DENIED,
		"machine %s is known by another key since: this disk is a copy, or was restored; let "
		"it in anew with \"flotactl token create --machine=%s\"",
		machine_id, machine_id);
}

void member_confirm(struct core *core, const char *id, const uint8_t *pin)
{
	struct member *member = member_find(core, id);

	if (member == NULL || pin == NULL || member->record->confirmed ||
		!member_has_key(member, pin))
		return;
	member->record->confirmed = true;
	mark_member_write(core, member);
}

void member_admitted(struct core *core, const char *id)
{
	struct machine *machine = machine_find(core, id);

	if (machine != NULL)
		machine->is_revoked = false;
}

const char *core_revoked_next(const struct core *core, const char *after)
{
	Pb__MemberRecord record = {.id = (char *)after};
	struct member key = {.record = &record};
	struct member *member = RB_NFIND(member_tree, (struct member_tree *)&core->members, &key);

	while (member != NULL && (strcmp(member->record->id, after) == 0 || !member_is_out(member)))
		member = RB_NEXT(member_tree, &core->members, member);
	return member != NULL ? member->record->id : NULL;
}

/* ---- Keys that were refused -------------------------------------------------------------- */

/* Of a member that somebody asked for with another key. Who reads it takes it for no more than a
 * question to the operator, so the newest counts, and the oldest goes when there are too many. */
struct refused_key {
	struct fl_list link; /* of core->refused_keys */
	uint64_t at_ms;
	uint8_t pin[CORE_HASH_BYTES];
	char machine_id[33];
	char address[64];
	char hostname[72];
};

static struct refused_key *refused_find(const struct core *core, const char *machine_id)
{
	struct refused_key *refused;

	FL_LIST_FOREACH (refused, &core->refused_keys, link)
		if (strcmp(refused->machine_id, machine_id) == 0)
			return refused;
	return NULL;
}

static void refused_forget(struct core *core, struct refused_key *refused)
{
	if (refused == NULL)
		return;
	fl_list_remove(&refused->link);
	core->n_refused_keys--;
	free(refused);
}

void member_note_refused(struct core *core, const struct core_join *join)
{
	const struct member *member = member_find(core, join->machine_id);
	struct refused_key *refused;

	if (member == NULL || member->record->standing == PB__MEMBER_RECORD__STANDING__REMOVED ||
		member_has_key(member, join->key_pin))
		return;
	refused_forget(core, refused_find(core, join->machine_id));
	if (core->n_refused_keys >= REFUSED_KEYS_MAX)
		refused_forget(
			core, FL_LIST_ENTRY(core->refused_keys.next, struct refused_key, link));
	refused = FL_NEW(struct refused_key);
	if (refused == NULL)
		return;
	refused->at_ms = core->now_ms;
	memcpy(refused->pin, join->key_pin, sizeof(refused->pin));
	snprintf(refused->machine_id, sizeof(refused->machine_id), "%s", join->machine_id);
	snprintf(refused->address, sizeof(refused->address), "%s", join->address);
	snprintf(refused->hostname, sizeof(refused->hostname), "%s", join->hostname);
	fl_list_append(&core->refused_keys, &refused->link);
	core->n_refused_keys++;
}

void members_fini(struct core *core)
{
	struct member *member, *following;
	struct fl_list *link;

	RB_FOREACH_SAFE (member, member_tree, &core->members, following) {
		RB_REMOVE(member_tree, &core->members, member);
		fl_list_remove(&member->write.link);
		core_message_free(&member->record->base);
		free(member);
	}
	while ((link = fl_list_pop(&core->refused_keys)) != NULL)
		free(FL_LIST_ENTRY(link, struct refused_key, link));
}

/* ---- What operators ask for -------------------------------------------------------------- */

static enum fl_code end(struct core *core, struct member *member, const char *id,
	const struct core_machine_change *change, Pb__MemberRecord__Standing standing,
	struct fl_error *err)
{
	Pb__MemberRecord record = PB__MEMBER_RECORD__INIT;

	/* It may be adopted, so all of it stays; of one that is removed nothing does. */
	if (member != NULL && standing == PB__MEMBER_RECORD__STANDING__REVOKED)
		record = *member->record;
	record.id = (char *)id;
	record.standing = standing;
	record.ended_by = (char *)change->by;
	record.ended_reason = (char *)change->reason;
	if (member_put(core, member, &record) == NULL)
		return FL_FAIL_NO_MEMORY(err);
	join_end_tokens_of(core, id);
	return FL_OK;
}

static void tell(struct core *core, const char *event, const char *id, struct machine *machine,
	const struct core_machine_change *change)
{
	const char *colon = *change->reason != '\0' ? ": " : "";

	core_note(
		core, FL_NOTICE, event, "machine=%s by=%s why=%s", id, change->by, change->reason);
	event_addf(core, event, NULL, machine, "%s%.8s by %s%s%s",
		machine == NULL ? "machine " : "", machine == NULL ? id : "", change->by, colon,
		change->reason);
}

static enum fl_code revoke(struct core *core, const char *id, struct machine *machine,
	const struct core_machine_change *change, struct fl_error *err)
{
	struct member *member = member_find(core, id);

	if (member != NULL && member_is_out(member))
		return FL_OK;
	FL_TRY(end(core, member, id, change, PB__MEMBER_RECORD__STANDING__REVOKED, err));
	tell(core, "machine.revoked", id, machine, change);
	if (machine != NULL) {
		machine->is_revoked = true;
		machine_cut_off(core, machine);
	}
	return FL_OK;
}

/* Whether its agent may have it run. */
static bool may_run_there(const struct placement *placement)
{
	if (placement->removed)
		return placement_is_held(placement);
	return !placement_is_parked(placement) || !placement->gone;
}

/* What would be lost, or run twice, without a word. */
static enum fl_code check_removal(const struct machine *machine, struct fl_error *err)
{
	struct placement *placement;

	if (machine_is_up(machine) && machine->n_units > 0 &&
		machine->scheduling.state != SCHEDULING_DRAINED)
		return FL_FAIL(err, FL_E_STATE,
			"machine %s is up and runs %u units: \"flotactl drain %.8s\" first, or "
			"--force",
			machine->id, machine->n_units, machine->id);
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		const struct unit *unit = placement->unit;

		if (unit->body.rules.exclusive && may_run_there(placement))
			return FL_FAIL(err, FL_E_STATE,
				"unit %s is exclusive, and may still run on machine %s: \"flotactl "
				"why %s\" says for how long; --force if that machine is off for good",
				unit->name, machine->id, unit->name);
		if (!placement->removed && unit->body.rules.on_machine_loss == UNIT_LOSS_WAIT)
			return FL_FAIL(err, FL_E_STATE,
				"the data of unit %s are on machine %s (OnMachineLoss=wait): --force "
				"if it is to begin elsewhere without them",
				unit->name, machine->id);
	}
	return FL_OK;
}

/* What was placed there is to be placed elsewhere. */
static void clear_placements(struct core *core, struct machine *machine)
{
	static const char why[] = "its machine was removed";
	struct placement *placement, *following;

	RB_FOREACH_SAFE (placement, placement_tree, &machine->placements, following) {
		struct unit *unit = placement->unit;
		bool is_freed;

		if (!placement->removed && unit->body.rules.global) {
			placement_remove(core, placement);
		} else if (!placement->removed) {
			settle_unplace(core, unit, why);
			settle_activate(core, unit);
		}
		is_freed = placement_is_held(placement) && !fl_list_linked(&placement->tombstone);
		held_release(core, placement, why);
		if (!is_freed)
			placement_free(placement);
	}
}

static void end_moves(struct core *core, const struct machine *machine)
{
	struct unit *unit, *following;

	FL_LIST_FOREACH_SAFE (unit, &core->moves, move.link, following) {
		if (unit->move.to == machine)
			unit->move.to = NULL;
		if (unit->move.from == machine)
			move_end(unit);
	}
}

static enum fl_code remove_machine(struct core *core, const char *id, struct machine *machine,
	const struct core_machine_change *change, struct fl_error *err)
{
	struct member *member = member_find(core, id);

	if (machine != NULL && !change->force)
		FL_TRY(check_removal(machine, err));
	if (machine != NULL && !mark_machine_deleted(core, machine))
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(end(core, member, id, change, PB__MEMBER_RECORD__STANDING__REMOVED, err));
	refused_forget(core, refused_find(core, id));
	tell(core, "machine.removed", id, NULL, change);
	if (machine == NULL)
		return FL_OK;
	machine_cut_off(core, machine);
	clear_placements(core, machine);
	end_moves(core, machine);
	machine_free(core, machine);
	return FL_OK;
}

static enum fl_code adopt(struct core *core, const char *id, struct machine *machine,
	const struct core_machine_change *change, struct fl_error *err)
{
	struct member *member = member_find(core, id);
	struct refused_key *refused = refused_find(core, id);
	Pb__MemberRecord record = PB__MEMBER_RECORD__INIT;

	if (member == NULL)
		return FL_FAIL(err, FL_E_STATE,
			"machine %s is a member already, and nobody was refused in its name", id);
	record = *member->record;
	if (change->key_pin != NULL && !member_has_key(member, change->key_pin)) {
		if (refused == NULL || memcmp(refused->pin, change->key_pin, CORE_HASH_BYTES) != 0)
			return FL_FAIL(err, FL_E_NOT_FOUND,
				"nobody has asked in the name of machine %s with that key", id);
		record.key_pin = record.previous_pin =
			(ProtobufCBinaryData){.data = refused->pin, .len = sizeof(refused->pin)};
		record.certificate = (char *)"";
		record.token_id = (char *)"";
		record.confirmed = false;
	} else if (!member_is_out(member)) {
		return FL_FAIL(err, FL_E_STATE,
			"machine %s is a member already, with the key that it is known by", id);
	}
	record.standing = PB__MEMBER_RECORD__STANDING__ADMITTED;
	record.ended_by = record.ended_reason = (char *)"";
	if (member_put(core, member, &record) == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (change->key_pin != NULL)
		refused_forget(core, refused);
	member_admitted(core, id);
	tell(core, "machine.adopted", id, machine, change);
	return FL_OK;
}

static bool is_unheard_member(const struct core *core, const char *id)
{
	const struct member *member = member_find(core, id);

	return member != NULL && machine_find(core, id) == NULL &&
	       member->record->standing != PB__MEMBER_RECORD__STANDING__REMOVED;
}

enum fl_code member_change(
	struct core *core, const struct core_machine_change *change, struct fl_error *err)
{
	struct machine *machine = NULL;
	char id[LIMIT_NAME + 1]; /* records, and machines, come and go meanwhile */

	/* One that has joined, and not been heard of since, has a whole ID only. */
	if (!is_unheard_member(core, change->machine_id))
		FL_TRY(machine_named(core, change->machine_id, &machine, err));
	snprintf(id, sizeof(id), "%s", machine != NULL ? machine->id : change->machine_id);
	if (change->verb == PB__MACHINE_CHANGE_REQUEST__VERB__REVOKE)
		return revoke(core, id, machine, change, err);
	if (change->verb == PB__MACHINE_CHANGE_REQUEST__VERB__REMOVE)
		return remove_machine(core, id, machine, change, err);
	return adopt(core, id, machine, change, err);
}

/* ---- What a member is -------------------------------------------------------------------- */

void member_view(const struct core *core, const char *id, uint64_t now_ms, Pb__Machine *view,
	Pb__RefusedKey *refused)
{
	const struct member *member = member_find(core, id);
	struct refused_key *key = refused_find(core, id);

	if (member == NULL)
		return;
	view->key_pin = member->record->key_pin;
	if (member_is_out(member)) {
		view->standing = PB__MACHINE__STANDING__REVOKED;
		view->revoked_by = member->record->ended_by;
		view->revoked_reason = member->record->ended_reason;
	}
	if (key == NULL)
		return;
	refused->key_pin = (ProtobufCBinaryData){.data = key->pin, .len = sizeof(key->pin)};
	refused->address = key->address;
	refused->hostname = key->hostname;
	refused->ago_ms = now_ms > key->at_ms ? now_ms - key->at_ms : 0;
	view->refused = refused;
}

bool core_ca_waits(const struct core *core, const char *machine_id, const char *ca_id)
{
	const struct member *member = member_find(core, machine_id);

	return member == NULL || strcmp(member->record->ca_id, ca_id) != 0;
}

static enum fl_code add_waiting(const struct core *core, const char *id, uint64_t now_ms,
	size_t max, Pb__CaReply *reply, struct fl_error *err)
{
	reply->machines_waiting++;
	if (reply->n_waiting >= max || machine_find(core, id) == NULL)
		return FL_OK;
	FL_TRY(core_machine_get(core, id, now_ms, &reply->waiting[reply->n_waiting], err));
	reply->n_waiting++;
	return FL_OK;
}

enum fl_code core_ca_look(const struct core *core, const char *ca_id, uint64_t wall_ms,
	uint64_t now_ms, size_t max, Pb__CaReply *reply, struct fl_error *err)
{
	struct machine *machine;
	struct member *member;
	uint64_t end_ms;

	reply->waiting = fl_new_array(max + 1, sizeof(*reply->waiting));
	if (reply->waiting == NULL)
		return FL_FAIL_NO_MEMORY(err);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
		if (machine->is_revoked)
			continue;
		reply->machines++;
		if (core_ca_waits(core, machine->id, ca_id))
			FL_TRY(add_waiting(core, machine->id, now_ms, max, reply, err));
	}
	/* And those that have joined, but were not heard of since. */
	RB_FOREACH (member, member_tree, (struct member_tree *)&core->members) {
		if (member_is_out(member) || machine_find(core, member->record->id) != NULL)
			continue;
		reply->machines++;
		if (core_ca_waits(core, member->record->id, ca_id))
			FL_TRY(add_waiting(core, member->record->id, now_ms, max, reply, err));
	}
	reply->tokens = join_tokens_of_other_ca(core, ca_id, wall_ms, &end_ms);
	reply->tokens_end_in_ms = end_ms > wall_ms ? end_ms - wall_ms : 0;
	return FL_OK;
}

size_t member_labels(const struct core *core, const char *machine_id, Pb__Metadata ***ret_labels)
{
	const struct member *member = member_find(core, machine_id);

	if (member == NULL)
		return 0;
	*ret_labels = member->record->labels;
	return member->record->n_labels;
}
