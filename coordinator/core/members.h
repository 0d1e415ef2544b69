/*
 * Tokens and members: who may become a machine of the fleet, who is one, who no longer is. join.c
 * lets in, members.c knows and puts out. Nothing outside coordinator/core includes it.
 */
#pragma once

#include "coordinator/core/internal.h"

struct token {
	RB_ENTRY(token) link;
	Pb__TokenRecord *record;
	bool gone; /* in the tree until its record is deleted */
	struct mark write;
};

struct member {
	RB_ENTRY(member) link;
	Pb__MemberRecord *record;
	struct mark write;
};

/* ---- join.c ------------------------------------------------------------------------------ */

enum fl_code join_load_token(
	struct core *core, const Pb__TokenRecord *record, struct fl_error *err) FL_MUST_CHECK;
void join_fini(struct core *core);
enum fl_code core_do_tokens(
	struct core *core, const struct core_tokens *event, struct fl_error *err) FL_MUST_CHECK;
enum fl_code core_do_join(struct core *core, const struct core_join *join,
	struct core_answer *ret_answer, struct fl_error *err) FL_MUST_CHECK;
void join_do_ca(struct core *core, const struct core_ca *ca);
void join_do_refused(struct core *core, const struct core_refused *refused);
/* How many let somebody in and name another CA than this one, and when the last one ends. */
uint32_t join_tokens_of_other_ca(
	const struct core *core, const char *ca_id, uint64_t wall_ms, uint64_t *ret_end_ms);
/* What was made for this very machine lets it in no longer. */
void join_end_tokens_of(struct core *core, const char *machine_id);

/* The record of a MARK_TOKEN or MARK_MEMBER; and that it is written. */
enum fl_code join_pack(
	struct mark *mark, struct core_write *write, struct fl_error *err) FL_MUST_CHECK;
void join_packed(struct core *core, struct mark *mark);

/* ---- members.c --------------------------------------------------------------------------- */

struct member *member_find(const struct core *core, const char *id);
/* Changes a member's record, or makes it (@member is NULL), and marks it; nothing has happened where
 * this fails: NULL, no memory. */
struct member *member_put(struct core *core, struct member *member, const Pb__MemberRecord *record);
enum fl_code member_load(
	struct core *core, const Pb__MemberRecord *record, struct fl_error *err) FL_MUST_CHECK;
/* All has been loaded: those that were revoked are not waited for. */
void members_loaded(struct core *core);
void members_fini(struct core *core);

/* Whether the key is the one that it is known by; the one before, while that still counts. */
bool member_has_key(const struct member *member, const uint8_t *pin);
bool member_had_key(const struct member *member, const uint8_t *pin);
bool member_is_out(const struct member *member);
/* FL_E_DENIED, with what to do. */
enum fl_code member_refuse(const struct member *member, struct fl_error *err) FL_MUST_CHECK;

/* It is a member, whatever it was before. */
void member_admitted(struct core *core, const char *id);

/* It has shown that key: the one before does not bring it back any more. @pin is nullable. */
void member_confirm(struct core *core, const char *id, const uint8_t *pin);

/* Somebody who is not let in has shown this key in a machine's name: for who adopts it. */
void member_note_refused(struct core *core, const struct core_join *join);

/* REVOKE, REMOVE and ADOPT of a MachineChangeRequest. FL_E_STATE, FL_E_NOT_FOUND. */
enum fl_code member_change(struct core *core, const struct core_machine_change *change,
	struct fl_error *err) FL_MUST_CHECK;

/* What people see of it; borrowed. */
void member_view(const struct core *core, const char *id, uint64_t now_ms, Pb__Machine *view,
	Pb__RefusedKey *refused);

/* What the machine's token said that it is; borrowed, none for one that did not join by itself. */
size_t member_labels(const struct core *core, const char *machine_id, Pb__Metadata ***ret_labels);
