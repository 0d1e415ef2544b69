/*
 * How machines become the fleet's: what they ask at the door, what members ask for their next
 * certificate, and what people ask about tokens. Who is let in is the core's to decide
 * (core/join.c); the keys and certificates are made here, because the core makes nothing up.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "coordinator/attempts.h"
#include "coordinator/ca.h"
#include "coordinator/gate.h"
#include "coordinator/services.h"
#include "proto/token.h"

/* Of half a certificate's life: so that machines that joined together do not renew together. */
#define JITTER_PERCENT 20U

static uint64_t wall_ms(void)
{
	return fl_clock_real_us() / 1000;
}

static enum fl_code sha256(
	const void *data, size_t len, uint8_t ret_hash[CORE_HASH_BYTES], struct fl_error *err)
{
	return EVP_Digest(data, len, ret_hash, NULL, EVP_sha256(), NULL) == 1
		       ? FL_OK
		       : FL_FAIL_NO_MEMORY(err);
}

/* machine-id(5): 32 hexadecimal characters, lower case. */
static enum fl_code check_machine_id(const char *id, struct fl_error *err)
{
	if (strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32)
		return FL_OK;
	return FL_FAIL(err, FL_E_INVALID,
		"\"%s\" is no machine ID: that is 32 hexadecimal digits (machine-id(5))", id);
}

/* ---- Tokens -- */

static void reply_tokens(struct exchange *exchange, Pb__TokensReply *body)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	reply.body_case = PB__ENVELOPE__BODY_TOKENS_REPLY;
	reply.tokens_reply = body;
	exchange_reply_durable(exchange, &reply);
}

static enum fl_code make_token(const struct coordinator *coordinator, struct token *token,
	uint8_t ret_hash[CORE_HASH_BYTES], struct fl_error *err)
{
	uint8_t id[TOKEN_ID_BYTES];

	if (coordinator->ca == NULL)
		return FL_FAIL(err, FL_E_STATE,
			"machines cannot join: the CA's key is not on this coordinator; see "
			"\"flota-coordinator issue\"");
	fl_random(id, sizeof(id));
	token_id_format(id, token->id);
	fl_random(token->secret, sizeof(token->secret));
	FL_TRY(ca_pin(coordinator->ca, token->pin, err));
	return sha256(token->secret, sizeof(token->secret), ret_hash, err);
}

static enum fl_code step_tokens(
	struct exchange *exchange, const char *id, const uint8_t *hash, struct fl_error *err)
{
	char who[2 * IDENTITY_PART_MAX];
	struct core_answer answer;
	const struct core_event event = {.kind = CORE_TOKENS,
		.tokens = {.request = exchange->message->tokens_request,
			.new_id = id,
			.secret_hash = hash,
			.ca_id = exchange->coordinator->ca != NULL
					 ? ca_id(exchange->coordinator->ca)
					 : NULL,
			.by = who,
			.wall_ms = wall_ms()}};

	identity_describe(exchange_identity(exchange), who, sizeof(who));
	return coordinator_step(exchange->coordinator, &event, &answer, err);
}

static enum fl_code create_token(struct exchange *exchange, char text[TOKEN_TEXT_SIZE],
	Pb__TokensReply **ret_reply, struct fl_error *err)
{
	const struct coordinator *coordinator = exchange->coordinator;
	uint8_t hash[CORE_HASH_BYTES];
	struct token token;
	enum fl_code code = make_token(coordinator, &token, hash, err);
	const char *machine_id = exchange->message->tokens_request->machine_id;

	if (code == FL_OK && *machine_id != '\0')
		code = check_machine_id(machine_id, err);
	if (code == FL_OK)
		code = step_tokens(exchange, token.id, hash, err);
	if (code == FL_OK)
		code = core_tokens_list(coordinator->core, token.id, wall_ms(), ret_reply, err);
	if (code == FL_OK)
		token_format(&token, text);
	explicit_bzero(&token, sizeof(token));
	return code;
}

void service_tokens(struct exchange *exchange)
{
	const Pb__TokensRequest *request = exchange->message->tokens_request;
	Pb__TokensReply nothing = PB__TOKENS_REPLY__INIT, *list = NULL;
	char text[TOKEN_TEXT_SIZE] = "";
	struct fl_error err = {0};
	enum fl_code code;

	if (request->verb == PB__TOKENS_REQUEST__VERB__CREATE)
		code = create_token(exchange, text, &list, &err);
	else if (request->verb == PB__TOKENS_REQUEST__VERB__LIST)
		code = core_tokens_list(exchange->coordinator->core, NULL, wall_ms(), &list, &err);
	else
		code = step_tokens(exchange, "", NULL, &err);
	if (code != FL_OK) {
		exchange_fail(exchange, &err);
	} else if (list != NULL) {
		char *none = list->text;

		list->text = text;
		reply_tokens(exchange, list);
		list->text = none;
	} else {
		reply_tokens(exchange, &nothing);
	}
	if (list != NULL)
		core_message_free(&list->base);
	explicit_bzero(text, sizeof(text));
}

/* ---- Certificates -- */

struct wanted {
	const char *machine_id;
	const ProtobufCBinaryData *key_request;
	struct core_join join; /* what the core is to be told beside the two */
};

static void reply_certificate(struct exchange *exchange, Pb__CertificateReply *body)
{
	const struct coordinator *coordinator = exchange->coordinator;
	uint64_t half_ms = coordinator->config->certificate_life_ms / 2;
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	char *none = body->ca;

	body->ca = (char *)ca_accepted(coordinator->ca);
	body->renew_in_ms = half_ms - half_ms * fl_random_below(JITTER_PERCENT + 1) / 100;
	reply.body_case = PB__ENVELOPE__BODY_CERTIFICATE_REPLY;
	reply.certificate_reply = body;
	exchange_reply_durable(exchange, &reply);
	body->ca = none;
	core_message_free(&body->base);
}

static enum fl_code decide(const struct exchange *exchange, struct wanted *wanted,
	Pb__CertificateReply **ret_reply, struct fl_error *err)
{
	struct coordinator *coordinator = exchange->coordinator;
	FL_CLEANUP(ca_request_freep) struct ca_request *request = NULL;
	FL_CLEANUP(fl_freep) char *certificate = NULL;
	struct identity identity = {.kind = IDENTITY_MACHINE};
	struct core_event event = {.kind = CORE_JOIN, .join = wanted->join};
	uint64_t now_ms = wall_ms();
	uint8_t pin[TLS_PIN_BYTES];
	struct core_answer answer;

	if (coordinator->ca == NULL)
		return FL_FAIL(err, FL_E_STATE,
			"the CA's key is not on this coordinator, so it gives no certificates");
	FL_TRY(check_machine_id(wanted->machine_id, err));
	FL_TRY(ca_request_read(wanted->key_request->data, wanted->key_request->len, &request, err));
	FL_TRY(ca_request_pin(request, pin, err));
	(void)snprintf(identity.fleet, sizeof(identity.fleet), "%s", coordinator->fleet);
	(void)snprintf(identity.name, sizeof(identity.name), "%s", wanted->machine_id);
	FL_TRY(ca_sign(coordinator->ca, &identity, request,
		(int64_t)((now_ms + coordinator->config->certificate_life_ms) / 1000), &certificate,
		err));
	event.join.machine_id = wanted->machine_id;
	event.join.address = transport_request_address(exchange->request);
	event.join.key_pin = pin;
	event.join.certificate = certificate;
	event.join.ca_id = ca_id(coordinator->ca);
	event.join.wall_ms = now_ms;
	FL_TRY(coordinator_step(coordinator, &event, &answer, err));
	fl_fault_point(wanted->join.renews ? "renew.decided" : "join.decided");
	*ret_reply = answer.certificate;
	return FL_OK;
}

static enum fl_code join(
	const struct exchange *exchange, Pb__CertificateReply **ret_reply, struct fl_error *err)
{
	const Pb__JoinRequest *request = exchange->message->join_request;
	uint8_t hash[CORE_HASH_BYTES];
	struct wanted wanted = {.machine_id = request->machine_id,
		.key_request = &request->key_request,
		.join = {.hostname = request->hostname,
			.token_id = request->token_id,
			.secret_hash = hash}};

	FL_TRY(sha256(request->secret.data, request->secret.len, hash, err));
	return decide(exchange, &wanted, ret_reply, err);
}

static void tell_refused(struct coordinator *coordinator, const char *address, const char *why)
{
	const struct core_event event = {
		.kind = CORE_REFUSED, .refused = {.address = address, .why = why}};
	struct core_answer answer;
	struct fl_error err = {0};

	if (coordinator_step(coordinator, &event, &answer, &err) != FL_OK)
		fl_log(FL_ERROR, "join.not_told", "error=%s", fl_error_text(&err));
}

void service_join(struct exchange *exchange)
{
	struct coordinator *coordinator = exchange->coordinator;
	const char *address = transport_request_address(exchange->request);
	Pb__CertificateReply *reply = NULL;
	uint64_t now_ms = fl_clock_boot_ms();
	struct fl_error err = {0};
	enum fl_code code;

	if (!attempts_allowed(coordinator->attempts, address, now_ms)) {
		exchange_failf(exchange, FL_E_LIMIT,
			"too many attempts to join failed from %s; try again in a minute", address);
		return;
	}
	code = join(exchange, &reply, &err);
	if (code == FL_OK) {
		gate_update(coordinator, exchange->message->join_request->machine_id);
		reply_certificate(exchange, reply);
		return;
	}
	if (code == FL_E_DENIED || code == FL_E_INVALID)
		attempts_failed(coordinator->attempts, address, now_ms);
	/* What the core has refused it has told. */
	if (code == FL_E_INVALID)
		tell_refused(coordinator, address, fl_error_text(&err));
	fl_log(FL_NOTICE, "join.refused", "address=%s machine=%s why=%s", address,
		exchange->message->join_request->machine_id, fl_error_text(&err));
	exchange_fail(exchange, &err);
}

void service_renew(struct exchange *exchange)
{
	const Pb__RenewRequest *request = exchange->message->renew_request;
	struct wanted wanted = {.machine_id = request->machine_id,
		.key_request = &request->key_request,
		.join = {.hostname = "",
			.token_id = "",
			.shown_pin = exchange_identity(exchange)->key_pin,
			.renews = true,
			.generation = request->generation}};
	Pb__CertificateReply *reply = NULL;
	struct fl_error err = {0};

	if (decide(exchange, &wanted, &reply, &err) == FL_OK)
		reply_certificate(exchange, reply);
	else
		exchange_fail(exchange, &err);
}
