/*
 * Who may become a machine of the fleet, and by which key it is known from then on.
 *
 *	token    what an operator made: lets so many machines in, for so long
 *	member   a machine that came in: the pin of its key, its certificate, its labels
 *
 * The certificate is signed before the core is asked, and thrown away when the core says no: so the
 * token's use, the member and its certificate are one decision and one transaction. Whoever asks
 * again with the same key hears the same, should the reply have been lost.
 *
 * A member's certificate is renewed for a new key each time, and its generation grows. Two machines
 * that go on from one disk's copy both ask with the same generation: the first one is heard, the
 * other one is a clone, and people are told.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/members.h"
#include "proto/wire.h"

static int token_compare(const struct token *a, const struct token *b)
{
	return strcmp(a->record->id, b->record->id);
}

RB_PROTOTYPE(token_tree, token, link, token_compare)
RB_GENERATE(token_tree, token, link, token_compare)

/* ---- Records ----------------------------------------------------------------------------- */

static struct token *token_find(const struct core *core, const char *id)
{
	Pb__TokenRecord record = {.id = (char *)id};
	struct token key = {.record = &record};

	return RB_FIND(token_tree, (struct token_tree *)&core->tokens, &key);
}

static void token_free(struct core *core, struct token *token)
{
	RB_REMOVE(token_tree, &core->tokens, token);
	fl_list_remove(&token->write.link);
	core_message_free(&token->record->base);
	free(token);
}

static void mark_write(struct core *core, struct mark *mark)
{
	if (!fl_list_linked(&mark->link))
		fl_list_append(&core->effects->writes, &mark->link);
}

/* Copies @record into a token that has not been there. */
static struct token *token_add(struct core *core, const Pb__TokenRecord *record)
{
	struct token *token = FL_NEW(struct token);

	if (token != NULL)
		token->record = (Pb__TokenRecord *)message_copy(&record->base);
	if (token == NULL || token->record == NULL) {
		free(token);
		return NULL;
	}
	token->write.kind = MARK_TOKEN;
	RB_INSERT(token_tree, &core->tokens, token);
	return token;
}

void join_fini(struct core *core)
{
	struct token *token, *following;

	RB_FOREACH_SAFE (token, token_tree, &core->tokens, following)
		token_free(core, token);
}

enum fl_code join_load_token(struct core *core, const Pb__TokenRecord *record, struct fl_error *err)
{
	if (*record->id == '\0' || record->secret_hash.len != CORE_HASH_BYTES ||
		token_find(core, record->id) != NULL)
		return FL_FAIL(err, FL_E_INVALID, "token ID \"%s\"", record->id);
	return token_add(core, record) != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

enum fl_code join_pack(struct mark *mark, struct core_write *write, struct fl_error *err)
{
	const struct token *token = FL_CONTAINER(mark, struct token, write);
	const struct member *member = FL_CONTAINER(mark, struct member, write);

	if (mark->kind == MARK_MEMBER) {
		snprintf(write->key, sizeof(write->key), "%s%s", CORE_KEY_MEMBER,
			member->record->id);
		return wire_pack_record(&member->record->base, &write->data, &write->len, err);
	}
	snprintf(write->key, sizeof(write->key), "%s%s", CORE_KEY_TOKEN, token->record->id);
	if (token->gone)
		return FL_OK;
	return wire_pack_record(&token->record->base, &write->data, &write->len, err);
}

void join_packed(struct core *core, struct mark *mark)
{
	struct token *token = FL_CONTAINER(mark, struct token, write);

	if (mark->kind == MARK_TOKEN && token->gone)
		token_free(core, token);
}

/* ---- Tokens ------------------------------------------------------------------------------ */

static bool token_is_over(const struct token *token, uint64_t wall_ms)
{
	return token->gone || token->record->uses_left == 0 || token->record->expires_ms <= wall_ms;
}

static void token_end(struct core *core, struct token *token)
{
	token->gone = true;
	mark_write(core, &token->write);
}

void join_end_tokens_of(struct core *core, const char *machine_id)
{
	struct token *token;

	RB_FOREACH (token, token_tree, &core->tokens)
		if (!token->gone && strcmp(token->record->machine_id, machine_id) == 0)
			token_end(core, token);
}

/* Those that let nobody in any more are kept for a day, so that who comes late hears why. */
#define KEEP_OVER_MS (24U * 3600U * 1000U)

static size_t forget_old_tokens(struct core *core, uint64_t wall_ms)
{
	struct token *token;
	size_t n = 0;

	RB_FOREACH (token, token_tree, &core->tokens) {
		if (!token->gone && token->record->expires_ms + KEEP_OVER_MS <= wall_ms)
			token_end(core, token);
		n += !token->gone;
	}
	return n;
}

uint32_t join_tokens_of_other_ca(
	const struct core *core, const char *ca_id, uint64_t wall_ms, uint64_t *ret_end_ms)
{
	struct token *token;
	uint32_t n = 0;

	*ret_end_ms = 0;
	RB_FOREACH (token, token_tree, (struct token_tree *)&core->tokens) {
		if (token_is_over(token, wall_ms) || strcmp(token->record->ca_id, ca_id) == 0)
			continue;
		n++;
		if (token->record->expires_ms > *ret_end_ms)
			*ret_end_ms = token->record->expires_ms;
	}
	return n;
}

void join_do_ca(struct core *core, const struct core_ca *ca)
{
	const char *event = ca->dropped ? "fleet.ca_dropped" : "fleet.ca_changed";
	struct token *token;
	unsigned n = 0;

	if (ca->dropped)
		RB_FOREACH (token, token_tree, &core->tokens)
			if (!token->gone && strcmp(token->record->ca_id, ca->ca_id) != 0) {
				token_end(core, token);
				n++;
			}
	if (ca->by == NULL && n == 0)
		return;
	core_note(core, FL_NOTICE, event, "ca=%s by=%s tokens=%u", ca->ca_id,
		ca->by != NULL ? ca->by : "a restart", n);
	event_addf(core, event, NULL, NULL, "%s by %s", ca->ca_id,
		ca->by != NULL ? ca->by : "a restart");
}

static enum fl_code check_labels(Pb__Metadata *const *labels, size_t n, struct fl_error *err)
{
	for (size_t i = 0; i < n; i++) {
		if (*labels[i]->key == '\0' || *labels[i]->value == '\0' ||
			strpbrk(labels[i]->key, "= \t") != NULL)
			return FL_FAIL(err, FL_E_INVALID, "metadata \"%s=%s\" is not key=value",
				labels[i]->key, labels[i]->value);
		for (size_t k = 0; k < i; k++)
			if (strcmp(labels[i]->key, labels[k]->key) == 0)
				return FL_FAIL(err, FL_E_INVALID, "metadata \"%s\" is given twice",
					labels[i]->key);
	}
	return FL_OK;
}

static enum fl_code create(struct core *core, const struct core_tokens *event, struct fl_error *err)
{
	const Pb__TokensRequest *request = event->request;
	Pb__TokenRecord record = PB__TOKEN_RECORD__INIT;
	uint64_t ttl_ms = request->ttl_ms != 0 ? request->ttl_ms : CORE_TOKEN_TTL_MS_DEFAULT;
	struct token *token;

	if (ttl_ms > CORE_TOKEN_TTL_MS_MAX)
		return FL_FAIL(err, FL_E_INVALID, "a token lives for at most 30 days");
	FL_TRY(check_labels(request->metadata, request->n_metadata, err));
	if (forget_old_tokens(core, event->wall_ms) >= LIMIT_TOKENS)
		return FL_FAIL(err, FL_E_LIMIT,
			"there are %u tokens; revoke some that are not needed", LIMIT_TOKENS);
	record.id = (char *)event->new_id;
	record.secret_hash.data = (uint8_t *)event->secret_hash;
	record.secret_hash.len = CORE_HASH_BYTES;
	record.expires_ms = event->wall_ms + ttl_ms;
	record.uses_left = request->uses != 0 ? request->uses : 1;
	record.name = request->name;
	record.machine_id = request->machine_id;
	record.labels = request->metadata;
	record.n_labels = request->n_metadata;
	record.created_by = (char *)event->by;
	if (event->ca_id != NULL)
		record.ca_id = (char *)event->ca_id;
	if (token_find(core, event->new_id) != NULL)
		return FL_FAIL(err, FL_E_EXISTS, "token %s exists", event->new_id);
	token = token_add(core, &record);
	if (token == NULL)
		return FL_FAIL_NO_MEMORY(err);
	mark_write(core, &token->write);
	core_note(core, FL_INFO, "token.created", "token=%s by=%s uses=%u ttl_ms=%" PRIu64,
		event->new_id, event->by, record.uses_left, ttl_ms);
	event_addf(core, "token.created", NULL, NULL, "%s by %s", event->new_id, event->by);
	return FL_OK;
}

static enum fl_code revoke(struct core *core, const struct core_tokens *event, struct fl_error *err)
{
	struct token *token = token_find(core, event->request->id);

	if (token == NULL || token->gone)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"there is no token %s; \"flotactl token list\" shows those there are",
			event->request->id);
	token_end(core, token);
	core_note(core, FL_INFO, "token.revoked", "token=%s by=%s", token->record->id, event->by);
	event_addf(core, "token.revoked", NULL, NULL, "%s by %s", token->record->id, event->by);
	return FL_OK;
}

enum fl_code core_do_tokens(
	struct core *core, const struct core_tokens *event, struct fl_error *err)
{
	switch (event->request->verb) {
	case PB__TOKENS_REQUEST__VERB__CREATE:
		return create(core, event, err);
	case PB__TOKENS_REQUEST__VERB__REVOKE:
		return revoke(core, event, err);
	case PB__TOKENS_REQUEST__VERB__LIST:
	case _PB__TOKENS_REQUEST__VERB_IS_INT_SIZE:
		break;
	}
	return FL_FAIL(err, FL_E_INVALID, "%d is nothing to be done with tokens",
		(int)event->request->verb);
}

static bool fill_token(Pb__Token *to, const Pb__TokenRecord *record, uint64_t wall_ms)
{
	pb__token__init(to);
	to->expires_in_ms = record->expires_ms - wall_ms;
	to->uses_left = record->uses_left;
	if (!message_text(&to->id, record->id) || !message_text(&to->name, record->name) ||
		!message_text(&to->machine_id, record->machine_id) ||
		!message_text(&to->created_by, record->created_by))
		return false;
	if (record->n_labels == 0)
		return true;
	to->metadata = fl_new_array(record->n_labels, sizeof(*to->metadata));
	for (size_t i = 0; to->metadata != NULL && i < record->n_labels; i++) {
		to->metadata[i] = (Pb__Metadata *)message_copy(&record->labels[i]->base);
		if (to->metadata[i] == NULL)
			return false;
		to->n_metadata++;
	}
	return to->metadata != NULL;
}

enum fl_code core_tokens_list(const struct core *core, const char *id, uint64_t wall_ms,
	Pb__TokensReply **ret_reply, struct fl_error *err)
{
	Pb__TokensReply *reply = malloc(sizeof(*reply));
	struct token *token;

	if (reply == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__tokens_reply__init(reply);
	reply->tokens = fl_new_array(LIMIT_TOKENS, sizeof(*reply->tokens));
	RB_FOREACH (token, token_tree, (struct token_tree *)&core->tokens) {
		Pb__Token *one;

		if (reply->tokens == NULL || reply->n_tokens == LIMIT_TOKENS)
			break;
		if (token_is_over(token, wall_ms) ||
			(id != NULL && strcmp(id, token->record->id) != 0))
			continue;
		one = malloc(sizeof(*one));
		if (one == NULL)
			break;
		reply->tokens[reply->n_tokens++] = one;
		if (!fill_token(one, token->record, wall_ms)) {
			core_message_free(&reply->base);
			return FL_FAIL_NO_MEMORY(err);
		}
	}
	if (reply->tokens == NULL || token != NULL) {
		core_message_free(&reply->base);
		return FL_FAIL_NO_MEMORY(err);
	}
	*ret_reply = reply;
	return FL_OK;
}

/* ---- Coming in --------------------------------------------------------------------------- */

/* What the token that it shows says of the machine. */
static enum fl_code check_token(const struct core_join *join, const struct token *token,
	const struct member *member, struct fl_error *err)
{
	const Pb__TokenRecord *record = token->record;

	if (record->expires_ms <= join->wall_ms)
		return FL_FAIL(err, FL_E_DENIED,
			"token %s has expired; \"flotactl token create\" makes another",
			record->id);
	if (record->uses_left == 0)
		return FL_FAIL(err, FL_E_DENIED,
			"token %s has been used; \"flotactl token create\" makes another",
			record->id);
	if (*record->name != '\0' && strcmp(record->name, join->hostname) != 0)
		return FL_FAIL(err, FL_E_DENIED, "token %s is for the machine called %s, not %s",
			record->id, record->name, join->hostname);
	if (*record->machine_id != '\0' && strcmp(record->machine_id, join->machine_id) != 0)
		return FL_FAIL(err, FL_E_DENIED, "token %s is for machine %s, not %s", record->id,
			record->machine_id, join->machine_id);
	if (*record->machine_id != '\0' || member == NULL ||
		member->record->standing == PB__MEMBER_RECORD__STANDING__REMOVED)
		return FL_OK;
	if (member_is_out(member))
		return member_refuse(member, err);
	return FL_FAIL(err, FL_E_DENIED,
		"machine %s is a member already, with another key; to let it in anew: \"flotactl "
		"token create --machine=%s\", or \"flotactl machine adopt\"",
		join->machine_id, join->machine_id);
}

/* The token that it holds, if it holds one: whose secret is wrong does not hear whether there is
 * such a token. */
static enum fl_code find_token(const struct core *core, const struct core_join *join,
	struct token **ret_token, struct fl_error *err)
{
	struct token *token = token_find(core, join->token_id);

	if (token == NULL || token->gone ||
		memcmp(token->record->secret_hash.data, join->secret_hash, CORE_HASH_BYTES) != 0)
		return FL_FAIL(err, FL_E_DENIED,
			"the token is not one of this fleet, or was revoked; \"flotactl token "
			"create\" makes another");
	*ret_token = token;
	return FL_OK;
}

static const char *ca_id(const struct core_join *join)
{
	return join->ca_id != NULL ? join->ca_id : "";
}

static enum fl_code admit_by_token(struct core *core, const struct core_join *join,
	struct member **member, struct fl_error *err)
{
	Pb__MemberRecord record = PB__MEMBER_RECORD__INIT;
	struct token *token;

	FL_TRY(find_token(core, join, &token, err));
	FL_TRY(check_token(join, token, *member, err));
	record.id = (char *)join->machine_id;
	record.key_pin.data = (uint8_t *)join->key_pin;
	record.key_pin.len = CORE_HASH_BYTES;
	record.previous_pin = record.key_pin;
	record.certificate = (char *)join->certificate;
	record.ca_id = (char *)ca_id(join);
	record.generation = 1;
	record.token_id = token->record->id;
	record.labels = token->record->labels;
	record.n_labels = token->record->n_labels;
	*member = member_put(core, *member, &record);
	if (*member == NULL)
		return FL_FAIL_NO_MEMORY(err);
	member_admitted(core, join->machine_id);
	token->record->uses_left--;
	mark_write(core, &token->write);
	core_note(core, FL_INFO, "machine.admitted", "machine=%s hostname=%s address=%s token=%s",
		join->machine_id, join->hostname, join->address, token->record->id);
	event_addf(core, "machine.admitted", NULL, NULL, "%.8s (%s) from %s with token %s",
		join->machine_id, join->hostname, join->address, token->record->id);
	return FL_OK;
}

/* Another certificate for a member: at its key, the one before, or a new one. */
static enum fl_code certify(struct core *core, const struct core_join *join, struct member **member,
	uint32_t generation, struct fl_error *err)
{
	const ProtobufCBinaryData pin = {.data = (uint8_t *)join->key_pin, .len = CORE_HASH_BYTES};
	Pb__MemberRecord record = PB__MEMBER_RECORD__INIT;

	if (*member != NULL)
		record = *(*member)->record;
	if (!join->renews)
		record.previous_pin = pin;
	else if (join->shown_pin != NULL)
		record.previous_pin = (ProtobufCBinaryData){
			.data = (uint8_t *)join->shown_pin, .len = CORE_HASH_BYTES};
	record.id = (char *)join->machine_id;
	record.key_pin = pin;
	record.confirmed = false;
	record.certificate = (char *)join->certificate;
	record.ca_id = (char *)ca_id(join);
	record.generation = generation;
	*member = member_put(core, *member, &record);
	return *member != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* Whether it comes with the key that it is known by; or with the one before, where the answer with
 * the new one's certificate has never reached it. */
static bool is_known(const struct core_join *join, const struct member *member)
{
	if (member == NULL || member_is_out(member))
		return false;
	return member_has_key(member, join->key_pin) ||
	       (!member->record->confirmed && member_had_key(member, join->key_pin));
}

/* Only who holds the key can use a certificate for it. */
static enum fl_code admit_by_key(struct core *core, const struct core_join *join,
	struct member **member, struct fl_error *err)
{
	const Pb__MemberRecord *record = (*member)->record;

	/* The reply was lost: it hears it again, even if the token has run out by now. */
	if (*join->token_id != '\0' && strcmp(record->token_id, join->token_id) == 0 &&
		record->generation == 1 && *record->certificate != '\0')
		return FL_OK;
	FL_TRY(certify(core, join, member, record->generation, err));
	core_note(core, FL_INFO, "machine.readmitted", "machine=%s address=%s", join->machine_id,
		join->address);
	return FL_OK;
}

static enum fl_code admit_nobody(
	const struct core_join *join, const struct member *member, struct fl_error *err)
{
	if (member != NULL && member_is_out(member))
		return member_refuse(member, err);
	return FL_FAIL(err, FL_E_DENIED,
		"machine %s is not a member with this key; \"flotactl token create\" makes a token "
		"to let it in",
		join->machine_id);
}

/* It holds what another machine has gone on from. */
static enum fl_code refuse_copy(struct core *core, const struct core_join *join,
	const struct member *member, struct fl_error *err)
{
	member_note_refused(core, join);
	core_note(core, FL_WARNING, "machine.cloned",
		"machine=%s address=%s generation=%u wanted=%u", join->machine_id, join->address,
		join->generation, member->record->generation);
	if (event_limit_take(core, &core->refusals) <= EVENTS_PER_MINUTE)
		event_addf(core, "machine.cloned", NULL, NULL,
			"%.8s: two machines go on from one disk's copy; the one at %s is refused",
			join->machine_id, join->address);
	return FL_FAIL(err, FL_E_DENIED,
		"machine %s has renewed its certificate elsewhere since: this disk is a copy, or "
		"was restored; let it in anew with \"flotactl token create --machine=%s\", or "
		"\"flotactl machine adopt\"",
		join->machine_id, join->machine_id);
}

/* Whether the certificate with which it asks is one of those that count. */
static bool may_go_on(const struct core_join *join, const struct member *member)
{
	return join->generation == member->record->generation &&
	       (join->shown_pin == NULL || member->record->previous_pin.len == 0 ||
		       member_has_key(member, join->shown_pin) ||
		       member_had_key(member, join->shown_pin));
}

/* Its identity is proven. One whose certificate was made by hand becomes a member with this. */
static enum fl_code renew(struct core *core, const struct core_join *join, struct member **member,
	struct fl_error *err)
{
	uint32_t generation = *member != NULL ? (*member)->record->generation : 0;

	if (*member != NULL && member_is_out(*member))
		return member_refuse(*member, err);
	if (*member != NULL && member_has_key(*member, join->key_pin)) {
		if (*(*member)->record->certificate != '\0')
			return FL_OK; /* the reply was lost */
		return certify(core, join, member, generation + 1, err); /* it was adopted */
	}
	if (*member != NULL && !may_go_on(join, *member))
		return refuse_copy(core, join, *member, err);
	return certify(core, join, member, generation + 1, err);
}

static Pb__CertificateReply *certificate_reply(
	const struct core *core, const Pb__MemberRecord *record)
{
	Pb__CertificateReply *reply = malloc(sizeof(*reply));

	if (reply == NULL)
		return NULL;
	pb__certificate_reply__init(reply);
	reply->generation = record->generation;
	if (!message_text(&reply->certificate, record->certificate) ||
		!message_text(&reply->fleet, core->fleet)) {
		core_message_free(&reply->base);
		return NULL;
	}
	return reply;
}

void join_do_refused(struct core *core, const struct core_refused *refused)
{
	core_note(core, FL_NOTICE, "machine.refused", "address=%s why=%s", refused->address,
		refused->why);
	/* Anybody can try. */
	if (event_limit_take(core, &core->refusals) <= EVENTS_PER_MINUTE)
		event_addf(core, "machine.refused", NULL, NULL, "from %s: %s", refused->address,
			refused->why);
}

enum fl_code core_do_join(struct core *core, const struct core_join *join,
	struct core_answer *answer, struct fl_error *err)
{
	struct member *member = member_find(core, join->machine_id);
	enum fl_code code;

	if (join->renews)
		code = renew(core, join, &member, err);
	else if (is_known(join, member))
		code = admit_by_key(core, join, &member, err);
	else if (*join->token_id != '\0')
		code = admit_by_token(core, join, &member, err);
	else if (member != NULL && !member_is_out(member) && member_had_key(member, join->key_pin))
		/* Its certificate has run out before it first asked. */
		return refuse_copy(core, join, member, err);
	else
		code = admit_nobody(join, member, err);
	if (code == FL_E_DENIED && !join->renews) {
		member_note_refused(core, join);
		core_note(core, FL_NOTICE, "machine.refused", "machine=%s address=%s why=%s",
			join->machine_id, join->address, fl_error_text(err));
		/* Anybody can try. */
		if (event_limit_take(core, &core->refusals) <= EVENTS_PER_MINUTE)
			event_addf(core, "machine.refused", NULL, NULL, "%.8s (%s) from %s: %s",
				join->machine_id, join->hostname, join->address,
				fl_error_text(err));
	}
	FL_TRY(code);
	answer->certificate = certificate_reply(core, member->record);
	return answer->certificate != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
