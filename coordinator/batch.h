/*
 * Everything that a turn of the loop decided becomes durable together, in one transaction; while
 * it does, the next one gathers. Replies and pushes that tell of it leave afterwards: nobody
 * hears of what a crash could undo.
 *
 *	turn of the loop     core_step, core_step, ...    replies wait in `gathering`
 *	batch_flush          writes -> store_commit       `gathering` becomes `committing`
 *	durable              replies leave, held requests are woken
 *
 * A commit that fails is tried again, the same one, with growing pauses, for as long as it takes:
 * memory is ahead of the store meanwhile, so new changes are refused and what memory holds is not
 * shown. Heartbeats go on.
 */
#pragma once

#include "coordinator/exchange.h"

enum fl_code batch_new(struct batch **ret_batch, struct coordinator *coordinator,
	struct fl_error *err) FL_MUST_CHECK;
/* Not while a commit is under way. */
void batch_free(struct batch *batch);

/* Before the loop sleeps: begins the commit of what was gathered, unless one is under way. */
void batch_flush(struct batch *batch);

/* Whether all that the core knows is durable, and up to which revision it is. */
bool batch_is_durable(const struct batch *batch);
uint64_t batch_durable_revision(const struct batch *batch);

/* Whether nothing is under way and nothing waits. */
bool batch_is_idle(const struct batch *batch);

/* FL_E_STORE while the store cannot be written, with what is wrong with it. */
enum fl_code batch_check_store(const struct batch *batch, struct fl_error *err) FL_MUST_CHECK;

/* The exchange's packed reply leaves when all is durable that the core has decided so far. */
void batch_send_when_durable(struct batch *batch, struct exchange *exchange);

/* The exchange, which has just been held, is woken too when the commit that is under way, or else
 * the next one, has ended: it may be about what this one waits for. */
void batch_wake_when_durable(struct batch *batch, struct exchange *exchange);
