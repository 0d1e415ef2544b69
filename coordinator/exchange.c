#include "coordinator/exchange.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "coordinator/batch.h"
#include "coordinator/routes.h"

/* How long a request waits at most: as its peer says, within these. */
#define HOLD_MIN_MS     100U
#define HOLD_DEFAULT_MS 60000U
#define HOLD_MAX_MS     600000U

/* ---- Accounts -- */

struct account {
	struct accounts *accounts;
	unsigned refs;
	unsigned held;
	unsigned calls;
	size_t bytes;
	char key[];
};

struct accounts {
	struct fl_map *by_key;
};

enum fl_code accounts_new(struct accounts **ret_accounts, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct accounts *accounts = FL_NEW(struct accounts);

	if (accounts == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&accounts->by_key, err));
	*ret_accounts = FL_TAKE(accounts);
	return FL_OK;
}

void accounts_free(struct accounts *accounts)
{
	if (accounts == NULL)
		return;
	fl_assert(fl_map_count(accounts->by_key) == 0);
	fl_map_free(accounts->by_key);
	free(accounts);
}

enum fl_code account_get(struct accounts *accounts, const struct identity *identity,
	struct account **ret_account, struct fl_error *err)
{
	char key[IDENTITY_URI_MAX] = "local";
	struct account *account;

	if (identity->kind != IDENTITY_LOCAL)
		identity_format(identity, key);
	account = fl_map_get(accounts->by_key, key);
	if (account == NULL) {
		size_t size = strlen(key) + 1;

		account = fl_new_array(1, sizeof(*account) + size);
		if (account == NULL)
			return FL_FAIL_NO_MEMORY(err);
		memcpy(account->key, key, size);
		account->accounts = accounts;
		if (fl_map_put(accounts->by_key, key, account, err) != FL_OK) {
			free(account);
			return FL_FAIL_NO_MEMORY(err);
		}
	}
	account->refs++;
	*ret_account = account;
	return FL_OK;
}

void account_put(struct account *account)
{
	if (account == NULL || --account->refs > 0)
		return;
	fl_assert(account->held == 0 && account->calls == 0 && account->bytes == 0);
	(void)fl_map_remove(account->accounts->by_key, account->key);
	free(account);
}

enum fl_code account_charge_call(struct account *account, struct fl_error *err)
{
	if (account->calls >= ACCOUNT_CALLS_MAX)
		return FL_FAIL(err, FL_E_LIMIT, "you have %u calls under way; end one first",
			account->calls);
	account->calls++;
	return FL_OK;
}

void account_release_call(struct account *account)
{
	fl_assert(account->calls > 0);
	account->calls--;
}

static enum fl_code charge_held(struct exchange *exchange, struct fl_error *err)
{
	struct account *account;
	size_t bytes;

	(void)transport_request_data(exchange->request, &bytes);
	FL_TRY(account_get(
		exchange->coordinator->accounts, exchange_identity(exchange), &account, err));
	if (account->held >= ACCOUNT_HELD_MAX || account->bytes + bytes > ACCOUNT_BYTES_MAX) {
		account_put(account);
		return FL_FAIL(err, FL_E_LIMIT, "you have too many requests waiting here");
	}
	account->held++;
	account->bytes += bytes;
	exchange->account = account;
	exchange->charged_bytes = bytes;
	return FL_OK;
}

static void release_held(struct exchange *exchange)
{
	struct account *account = FL_TAKE(exchange->account);

	if (account == NULL)
		return;
	account->held--;
	account->bytes -= exchange->charged_bytes;
	exchange->charged_bytes = 0;
	account_put(account);
}

/* ---- A request's life -- */

static void exchange_free(struct exchange *exchange)
{
	if (exchange == NULL)
		return;
	fl_list_remove(&exchange->held);
	fl_list_remove(&exchange->wake);
	deadlines_clear(exchange->coordinator->deadlines, &exchange->deadline);
	release_held(exchange);
	wire_free(exchange->message);
	free(exchange->reply);
	free(exchange);
}

const struct identity *exchange_identity(const struct exchange *exchange)
{
	return transport_request_identity(exchange->request);
}

void exchange_send(struct exchange *exchange)
{
	transport_request_reply(exchange->request, exchange->reply, exchange->reply_len);
	exchange_free(exchange);
}

/* Packs it; where that cannot be, packs why. False: not even that. */
static bool pack_reply(struct exchange *exchange, Pb__Envelope *reply)
{
	struct fl_error err = {0};
	Pb__Error error = PB__ERROR__INIT;
	Pb__Envelope refusal = PB__ENVELOPE__INIT;

	fl_assert(exchange->reply == NULL);
	reply->request_id = exchange->message->request_id;
	if (wire_pack(reply, &exchange->reply, &exchange->reply_len, &err) == FL_OK)
		return true;
	fl_log(FL_ERROR, "reply.unpackable", "error=%s", err.text);
	error.code = fl_code_to_wire(err.code);
	error.text = err.text;
	refusal.error = &error;
	refusal.request_id = reply->request_id;
	return wire_pack(&refusal, &exchange->reply, &exchange->reply_len, NULL) == FL_OK;
}

/* Out of memory for the smallest of replies: the peer sees its connection end, and comes again. */
static void give_up(struct exchange *exchange)
{
	transport_request_drop_peer(exchange->request, "out of memory");
	exchange_free(exchange);
}

void exchange_reply(struct exchange *exchange, Pb__Envelope *reply)
{
	exchange->holder = NULL;
	if (pack_reply(exchange, reply))
		exchange_send(exchange);
	else
		give_up(exchange);
}

void exchange_reply_durable(struct exchange *exchange, Pb__Envelope *reply)
{
	exchange->holder = NULL;
	if (!pack_reply(exchange, reply))
		give_up(exchange);
	else if (batch_is_durable(exchange->coordinator->batch))
		exchange_send(exchange);
	else
		batch_send_when_durable(exchange->coordinator->batch, exchange);
}

void exchange_fail(struct exchange *exchange, const struct fl_error *err)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__Error error = PB__ERROR__INIT;

	free(FL_TAKE(exchange->reply)); /* one that was to leave later and will not */
	error.code = fl_code_to_wire(err->code);
	error.text = (char *)fl_error_text(err);
	reply.error = &error;
	exchange_reply(exchange, &reply);
}

void exchange_failf(struct exchange *exchange, enum fl_code code, const char *format, ...)
{
	struct fl_error err = {0};
	va_list ap;

	va_start(ap, format);
	(void)fl_error_setv(&err, code, format, ap);
	va_end(ap);
	exchange_fail(exchange, &err);
}

static void on_expired(struct deadline *deadline, uint64_t now_ms)
{
	struct exchange *exchange = FL_CONTAINER(deadline, struct exchange, deadline);

	(void)now_ms;
	fl_log_set_request(exchange->message->request_id);
	exchange->holder->expired(exchange);
	fl_log_set_request(0);
}

static uint64_t hold_ms(const struct exchange *exchange)
{
	uint32_t wanted = exchange->message->deadline_ms;

	if (wanted == 0)
		return HOLD_DEFAULT_MS;
	if (wanted < HOLD_MIN_MS)
		return HOLD_MIN_MS;
	return wanted < HOLD_MAX_MS ? wanted : HOLD_MAX_MS;
}

bool exchange_hold(struct exchange *exchange, const struct exchange_holder *holder, void *owner)
{
	struct coordinator *coordinator = exchange->coordinator;
	struct fl_error err = {0};

	if (exchange->account == NULL && charge_held(exchange, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return false;
	}
	/* Held again (a watch that was woken for nothing), it keeps its deadline. */
	if (exchange->deadline.index == 0 &&
		deadlines_set(coordinator->deadlines, &exchange->deadline,
			fl_clock_boot_ms() + hold_ms(exchange), &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return false;
	}
	fl_list_remove(&exchange->wake); /* the holder before may have waited for something */
	exchange->holder = holder;
	exchange->owner = owner;
	return true;
}

/* A message that cannot be read has no reply but this, where at least its number could be. */
static void refuse_unread(
	struct transport_request *request, uint64_t request_id, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__Error error = PB__ERROR__INIT;
	size_t len;

	error.code = fl_code_to_wire(err->code);
	error.text = err->text;
	reply.error = &error;
	reply.request_id = request_id;
	if (request_id == 0 || wire_pack(&reply, &data, &len, NULL) != FL_OK)
		transport_request_drop_peer(request, err->text);
	else
		transport_request_reply(request, data, len);
}

void exchange_begin(struct coordinator *coordinator, struct transport_request *request)
{
	struct exchange *exchange = FL_NEW(struct exchange);
	struct fl_error err = {0};
	uint64_t request_id = 0;
	const uint8_t *data;
	size_t len;

	if (exchange == NULL) {
		transport_request_drop_peer(request, "out of memory");
		return;
	}
	exchange->coordinator = coordinator;
	exchange->request = request;
	exchange->deadline.expired = on_expired;
	data = transport_request_data(request, &len);
	if (wire_unpack(data, len, &exchange->message, &request_id, &err) != FL_OK) {
		exchange_free(exchange);
		refuse_unread(request, request_id, &err);
		return;
	}
	transport_request_set_userdata(request, exchange);
	fl_log_set_request(request_id);
	routes_dispatch(exchange);
	fl_log_set_request(0);
}

void exchange_gone(struct transport_request *request)
{
	struct exchange *exchange = transport_request_userdata(request);

	/* The transport tells of held requests alone, and those have a holder. */
	fl_assert(exchange != NULL && exchange->holder != NULL);
	exchange->holder->gone(exchange);
	exchange_free(exchange);
}
