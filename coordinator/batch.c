#include "coordinator/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "coordinator/agents.h"
#include "coordinator/followers.h"
#include "coordinator/watches.h"

#define RETRY_MIN_MS 250U
#define RETRY_MAX_MS 10000U

struct batch {
	struct coordinator *coordinator;

	struct fl_list gathering; /* exchanges whose replies tell of what is not yet committed */

	bool committing; /* a commit is under way, or waits for its next try */
	struct store_batch *writes; /* of it, or what could be made of the next one */
	struct core_write write; /* popped, but not yet in @writes for want of memory */
	bool has_write;
	uint64_t revision; /* the core's, when it began */
	struct fl_list replies; /* exchanges that leave when it has ended */
	struct fl_list wake; /* exchanges that are woken then */

	uint64_t durable_revision;
	struct deadline retry;
	uint32_t retry_ms; /* 0 = the last commit went well */
	struct fl_error why; /* it did not */
};

static void on_retry(struct deadline *deadline, uint64_t now_ms);

enum fl_code batch_new(
	struct batch **ret_batch, struct coordinator *coordinator, struct fl_error *err)
{
	struct batch *batch = FL_NEW(struct batch);

	if (batch == NULL)
		return FL_FAIL_NO_MEMORY(err);
	batch->coordinator = coordinator;
	fl_list_init(&batch->gathering);
	fl_list_init(&batch->replies);
	fl_list_init(&batch->wake);
	batch->retry.expired = on_retry;
	if (deadlines_set(coordinator->deadlines, &batch->retry, UINT64_MAX, err) != FL_OK) {
		free(batch);
		return FL_FAIL_NO_MEMORY(err);
	}
	*ret_batch = batch;
	return FL_OK;
}

void batch_free(struct batch *batch)
{
	if (batch == NULL)
		return;
	fl_assert(fl_list_empty(&batch->gathering) && fl_list_empty(&batch->replies));
	deadlines_clear(batch->coordinator->deadlines, &batch->retry);
	store_batch_free(batch->writes);
	free(batch->write.data);
	free(batch);
}

static bool nothing_to_write(const struct batch *batch)
{
	const struct core_effects *effects = &batch->coordinator->effects;

	return fl_list_empty(&effects->writes) && !effects->write_meta && batch->writes == NULL &&
	       !batch->has_write;
}

bool batch_is_durable(const struct batch *batch)
{
	return !batch->committing && nothing_to_write(batch);
}

uint64_t batch_durable_revision(const struct batch *batch)
{
	return batch_is_durable(batch) ? core_revision(batch->coordinator->core)
				       : batch->durable_revision;
}

bool batch_is_idle(const struct batch *batch)
{
	return batch_is_durable(batch) && fl_list_empty(&batch->gathering);
}

enum fl_code batch_check_store(const struct batch *batch, struct fl_error *err)
{
	if (batch->retry_ms == 0)
		return FL_OK;
	return FL_FAIL(err, FL_E_STORE, "the coordinator cannot write its store: %s",
		fl_error_text(&batch->why));
}

/* ---- Replies that wait -- */

static void reply_gone(struct exchange *exchange)
{
	/* It leaves its list when it is freed; what it asked for happens all the same. */
	(void)exchange;
}

static void reply_not_durable(struct exchange *exchange)
{
	struct batch *batch = exchange->coordinator->batch;

	exchange_failf(exchange, FL_E_STORE,
		"accepted, but not yet on disk, and may be lost until it is: %s",
		batch->retry_ms != 0 ? fl_error_text(&batch->why) : "the disk is slow");
}

static const struct exchange_holder reply_holder = {
	.gone = reply_gone,
	.expired = reply_not_durable,
};

void batch_send_when_durable(struct batch *batch, struct exchange *exchange)
{
	if (exchange_hold(exchange, &reply_holder, batch))
		fl_list_append(&batch->gathering, &exchange->held);
}

void batch_wake_when_durable(struct batch *batch, struct exchange *exchange)
{
	if (!batch_is_durable(batch) && !fl_list_linked(&exchange->wake))
		fl_list_append(&batch->wake, &exchange->wake);
}

/* ---- Committing -- */

static void on_committed(
	enum fl_code code, uint64_t revision, const struct fl_error *err, void *userdata);

static void set_retry(struct batch *batch, uint64_t at_ms)
{
	enum fl_code code =
		deadlines_set(batch->coordinator->deadlines, &batch->retry, at_ms, NULL);

	fl_assert(code == FL_OK);
}

static void try_again_later(struct batch *batch, const struct fl_error *err)
{
	batch->why = *err;
	batch->retry_ms = batch->retry_ms == 0 ? RETRY_MIN_MS : 2 * batch->retry_ms;
	if (batch->retry_ms > RETRY_MAX_MS)
		batch->retry_ms = RETRY_MAX_MS;
	fl_log(FL_ERROR, "store.write_failed", "retry_ms=%u error=%s", batch->retry_ms,
		fl_error_text(err));
	set_retry(batch, fl_clock_boot_ms() + batch->retry_ms);
}

static void commit(struct batch *batch)
{
	batch->committing = true;
	store_commit(batch->coordinator->store, batch->writes, on_committed, batch);
}

static void on_retry(struct deadline *deadline, uint64_t now_ms)
{
	struct batch *batch = FL_CONTAINER(deadline, struct batch, retry);

	(void)now_ms;
	set_retry(batch, UINT64_MAX);
	if (batch->committing)
		commit(batch);
	/* Else it failed while it was put together, and the flush of this turn goes on there. */
}

static enum fl_code take_write(struct batch *batch, struct fl_error *err)
{
	const struct core_write *write = &batch->write;

	if (batch->writes == NULL)
		FL_TRY(store_batch_new(&batch->writes, err));
	if (write->data != NULL)
		FL_TRY(store_batch_put(batch->writes, write->key, write->data, write->len, err));
	else
		FL_TRY(store_batch_delete(batch->writes, write->key, err));
	free(FL_TAKE(batch->write.data));
	batch->has_write = false;
	return FL_OK;
}

/* All writes at once or none at all: half of a decision must not reach the disk. What is popped and
 * finds no memory waits in @write. */
static enum fl_code take_writes(struct batch *batch, struct fl_error *err)
{
	struct coordinator *coordinator = batch->coordinator;

	for (;;) {
		if (!batch->has_write)
			FL_TRY(core_pop_write(coordinator->core, &coordinator->effects,
				&batch->write, &batch->has_write, err));
		if (!batch->has_write)
			return FL_OK;
		FL_TRY(take_write(batch, err));
	}
}

static void log_notes(struct coordinator *coordinator)
{
	struct core_note *note;

	while ((note = core_pop_note(&coordinator->effects)) != NULL) {
		fl_log_text(note->level, note->event, note->text);
		free(note);
	}
	if (coordinator->effects.n_notes_lost > 0)
		fl_log(FL_WARNING, "log.lost", "lines=%u", coordinator->effects.n_notes_lost);
	coordinator->effects.n_notes_lost = 0;
}

static void collect_woken(struct batch *batch)
{
	struct coordinator *coordinator = batch->coordinator;
	const char *name;

	while ((name = core_pop_machine(&coordinator->effects)) != NULL)
		agents_collect(coordinator->agents, name, &batch->wake);
	while ((name = core_pop_unit(&coordinator->effects)) != NULL)
		watches_collect(coordinator->watches, name, &batch->wake);
	if (coordinator->effects.events)
		followers_collect(coordinator->followers, &batch->wake);
	coordinator->effects.events = false;
}

/* What was committed is durable: tells those who wait for it. */
static void finish(struct batch *batch)
{
	struct fl_list *node;
	struct fl_list woken;

	batch->committing = false;
	batch->durable_revision = batch->revision;
	store_batch_free(FL_TAKE(batch->writes));
	while ((node = fl_list_pop(&batch->replies)) != NULL)
		exchange_send(FL_LIST_ENTRY(node, struct exchange, held));
	/* One that goes on waiting, for what has gathered meanwhile, is woken by the next batch. */
	fl_list_init(&woken);
	fl_list_splice(&woken, &batch->wake);
	while ((node = fl_list_pop(&woken)) != NULL) {
		struct exchange *exchange = FL_LIST_ENTRY(node, struct exchange, wake);

		exchange->holder->wake(exchange);
	}
	coordinator_durable(batch->coordinator);
}

/* Who waits hears what is wrong, and not nothing until his patience ends. */
static void tell_waiting(struct batch *batch)
{
	struct fl_list *node;

	fl_list_splice(&batch->replies, &batch->gathering);
	while ((node = fl_list_pop(&batch->replies)) != NULL)
		reply_not_durable(FL_LIST_ENTRY(node, struct exchange, held));
}

static void on_committed(
	enum fl_code code, uint64_t revision, const struct fl_error *err, void *userdata)
{
	struct batch *batch = userdata;
	bool again = batch->retry_ms != 0;

	(void)revision;
	if (code != FL_OK) {
		try_again_later(batch, err);
		/* Once may be a hiccup. */
		if (again)
			tell_waiting(batch);
		return;
	}
	if (batch->retry_ms != 0)
		fl_log(FL_NOTICE, "store.write_recovered", "revision=%llu",
			(unsigned long long)batch->revision);
	batch->retry_ms = 0;
	fl_fault_point("batch.durable");
	finish(batch);
}

void batch_flush(struct batch *batch)
{
	struct coordinator *coordinator = batch->coordinator;
	struct fl_error err = {0};

	log_notes(coordinator);
	if (batch->committing || batch->retry.at_ms != UINT64_MAX)
		return;
	if (take_writes(batch, &err) != FL_OK) {
		try_again_later(batch, &err);
		return;
	}
	collect_woken(batch);
	batch->revision = core_revision(coordinator->core);
	fl_list_splice(&batch->replies, &batch->gathering);
	if (batch->writes != NULL) {
		commit(batch);
		return;
	}
	if (!fl_list_empty(&batch->replies) || !fl_list_empty(&batch->wake) ||
		batch->revision != batch->durable_revision)
		finish(batch);
}
