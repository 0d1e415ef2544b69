/* What people ask about the fleet's CA: what it is, another one in its place, the old one's end. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/authority.h"
#include "coordinator/services.h"

#define WAITING_MAX 100U

static uint64_t wall_ms(void)
{
	return fl_clock_real_us() / 1000;
}

static enum fl_code fill(struct exchange *exchange, Pb__CaReply *reply, struct fl_strv *operators,
	uint8_t pin[TLS_PIN_BYTES], struct fl_error *err)
{
	struct coordinator *coordinator = exchange->coordinator;
	const struct ca *ca = coordinator->ca;
	int64_t end;

	if (ca == NULL)
		return FL_FAIL(err, FL_E_STATE, "the CA's key is not on this coordinator");
	FL_TRY(ca_pin(ca, pin, err));
	FL_TRY(ca_end(ca, &end, err));
	reply->key_pin = (ProtobufCBinaryData){.data = pin, .len = TLS_PIN_BYTES};
	reply->ends_in_ms = (uint64_t)end * 1000 > wall_ms() ? (uint64_t)end * 1000 - wall_ms() : 0;
	reply->changing = ca_is_changing(ca);
	reply->certificates = (char *)ca_accepted(ca);
	FL_TRY(core_ca_look(coordinator->core, ca_id(ca), wall_ms(), fl_clock_boot_ms(),
		WAITING_MAX, reply, err));
	FL_TRY(authority_old_operators(coordinator->authority, operators, err));
	reply->operators = operators->items;
	reply->n_operators = operators->n;
	reply->asker = reply->changing && exchange_identity(exchange)->is_of_other_ca;
	return FL_OK;
}

static enum fl_code check_drop(
	const Pb__CaReply *now, const Pb__CaRequest *request, struct fl_error *err)
{
	if (request->force ||
		(now->machines_waiting == 0 && now->tokens == 0 && now->n_operators == 0))
		return FL_OK;
	return FL_FAIL(err, FL_E_STATE,
		"the old CA is needed: %u machines, %u tokens and %zu operators have nothing of the "
		"new one yet (flotactl ca show); --force drops it all the same",
		now->machines_waiting, now->tokens, now->n_operators);
}

static enum fl_code tell(struct exchange *exchange, bool dropped, struct fl_error *err)
{
	char who[2 * IDENTITY_PART_MAX];
	struct core_answer answer;
	const struct core_event event = {.kind = CORE_CA,
		.ca = {.ca_id = ca_id(exchange->coordinator->ca), .by = who, .dropped = dropped}};

	identity_describe(exchange_identity(exchange), who, sizeof(who));
	return coordinator_step(exchange->coordinator, &event, &answer, err);
}

static enum fl_code change(struct exchange *exchange, const Pb__CaReply *now, struct fl_error *err)
{
	const Pb__CaRequest *request = exchange->message->ca_request;
	struct authority *authority = exchange->coordinator->authority;

	if (request->verb == PB__CA_REQUEST__VERB__SUCCEED && !now->changing) {
		FL_TRY(authority_succeed(authority, err));
		return tell(exchange, false, err);
	}
	if (request->verb == PB__CA_REQUEST__VERB__DROP && now->changing) {
		FL_TRY(check_drop(now, request, err));
		FL_TRY(authority_drop(authority, err));
		return tell(exchange, true, err);
	}
	return FL_OK;
}

/* Of a reply whose texts are borrowed. */
static void reply_fini(Pb__CaReply *reply)
{
	for (size_t i = 0; i < reply->n_waiting; i++)
		core_message_free(&reply->waiting[i]->base);
	free(reply->waiting);
	*reply = (Pb__CaReply)PB__CA_REPLY__INIT;
}

void service_ca(struct exchange *exchange)
{
	FL_CLEANUP_STRV struct fl_strv before = {0};
	FL_CLEANUP_STRV struct fl_strv operators = {0};
	Pb__CaReply body = PB__CA_REPLY__INIT;
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	uint8_t pin[TLS_PIN_BYTES];
	struct fl_error err = {0};
	enum fl_code code = fill(exchange, &body, &before, pin, &err);

	if (code == FL_OK && exchange->message->ca_request->verb != PB__CA_REQUEST__VERB__SHOW) {
		code = change(exchange, &body, &err);
		reply_fini(&body);
		if (code == FL_OK)
			code = fill(exchange, &body, &operators, pin, &err);
	}
	if (code == FL_OK) {
		reply.body_case = PB__ENVELOPE__BODY_CA_REPLY;
		reply.ca_reply = &body;
		exchange_reply_durable(exchange, &reply);
	} else {
		exchange_fail(exchange, &err);
	}
	reply_fini(&body);
}
