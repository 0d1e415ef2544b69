#include "coordinator/tokens.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"

#define REMEMBER_MS   (5U * 60U * 1000U)
#define REPLIES_MAX   4096U
#define BYTES_MAX     (32U << 20)
#define KEY_MAX_BYTES (IDENTITY_URI_MAX + 24)

struct remembered {
	uint64_t until_ms;
	uint8_t *data;
	size_t len;
	char key[KEY_MAX_BYTES];
};

struct tokens {
	struct fl_map *by_key; /* the oldest first: a map keeps the order of insertion */
	size_t bytes;
};

enum fl_code tokens_new(struct tokens **ret_tokens, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct tokens *tokens = FL_NEW(struct tokens);

	if (tokens == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&tokens->by_key, err));
	*ret_tokens = FL_TAKE(tokens);
	return FL_OK;
}

static struct remembered *oldest(const struct tokens *tokens)
{
	const struct fl_map_entry *entry = fl_map_first(tokens->by_key);

	return entry != NULL ? fl_map_value(entry) : NULL;
}

static void forget(struct tokens *tokens, struct remembered *remembered)
{
	(void)fl_map_remove(tokens->by_key, remembered->key);
	tokens->bytes -= remembered->len;
	free(remembered->data);
	free(remembered);
}

static void forget_old(struct tokens *tokens, uint64_t now_ms)
{
	struct remembered *first;

	while ((first = oldest(tokens)) != NULL && first->until_ms <= now_ms)
		forget(tokens, first);
}

void tokens_free(struct tokens *tokens)
{
	if (tokens == NULL)
		return;
	forget_old(tokens, UINT64_MAX);
	fl_map_free(tokens->by_key);
	free(tokens);
}

/* A token is its peer's own: another's reply is never found by guessing its number. */
static void make_key(const struct identity *identity, uint64_t token, char key[KEY_MAX_BYTES])
{
	char who[IDENTITY_URI_MAX] = "local";

	if (identity->kind != IDENTITY_LOCAL)
		identity_format(identity, who);
	(void)snprintf(key, KEY_MAX_BYTES, "%s %016" PRIx64, who, token);
}

Pb__Envelope *tokens_find(struct tokens *tokens, const struct identity *identity, uint64_t token)
{
	Pb__Envelope *reply = NULL;
	struct remembered *remembered;
	char key[KEY_MAX_BYTES];

	if (token == 0)
		return NULL;
	forget_old(tokens, fl_clock_boot_ms());
	make_key(identity, token, key);
	remembered = fl_map_get(tokens->by_key, key);
	if (remembered == NULL ||
		wire_unpack(remembered->data, remembered->len, &reply, NULL, NULL) != FL_OK)
		return NULL;
	return reply;
}

void tokens_remember(
	struct tokens *tokens, const struct identity *identity, uint64_t token, Pb__Envelope *reply)
{
	struct remembered *remembered;

	if (token == 0)
		return;
	remembered = FL_NEW(struct remembered);
	if (remembered == NULL)
		return;
	make_key(identity, token, remembered->key);
	remembered->until_ms = fl_clock_boot_ms() + REMEMBER_MS;
	reply->request_id = 1; /* any; whoever asks again has its own */
	if (fl_map_get(tokens->by_key, remembered->key) != NULL ||
		wire_pack(reply, &remembered->data, &remembered->len, NULL) != FL_OK) {
		free(remembered);
		return;
	}
	if (fl_map_put(tokens->by_key, remembered->key, remembered, NULL) != FL_OK) {
		free(remembered->data);
		free(remembered);
		return;
	}
	tokens->bytes += remembered->len;
	while (tokens->bytes > BYTES_MAX || fl_map_count(tokens->by_key) > REPLIES_MAX)
		forget(tokens, oldest(tokens));
}
