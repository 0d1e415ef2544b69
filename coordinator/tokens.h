/*
 * Replies of changes, remembered for a few minutes by their peer and token: a client that lost its
 * connection sends its request again, and is told what came of the first one.
 *
 * Not kept over a restart of the coordinator: a change that came just before it and whose reply was
 * lost is then done again, which for all but RESTART changes nothing.
 */
#pragma once

#include "coordinator/exchange.h"

enum fl_code tokens_new(struct tokens **ret_tokens, struct fl_error *err) FL_MUST_CHECK;
void tokens_free(struct tokens *tokens);

/* The reply that was given, to be freed with wire_free(); NULL: there was none. */
Pb__Envelope *tokens_find(struct tokens *tokens, const struct identity *identity, uint64_t token);

/* Remembers the reply's body. Where memory or its bound is short it forgets the oldest. */
void tokens_remember(struct tokens *tokens, const struct identity *identity, uint64_t token,
	Pb__Envelope *reply);
