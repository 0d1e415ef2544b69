#include "coordinator/store/memory.h"

#include <stdlib.h>

#include "base/mailbox.h"
#include "base/map.h"
#include "base/strv.h"
#include "coordinator/store/backend.h"

struct record {
	uint64_t revision;
	size_t len;
	void *value;
};

struct memory_store {
	struct store store;
	struct fl_mailbox *mailbox;
	struct fl_map *records;
	uint64_t revision;
	unsigned failures;
};

static void record_free(struct record *record)
{
	if (record == NULL)
		return;
	free(record->value);
	free(record);
}

static enum fl_code put(
	struct memory_store *memory, const struct store_op *op, struct fl_error *err)
{
	struct record *record = fl_map_get(memory->records, op->key);
	void *value = fl_memdup0(op->value, op->len);

	if (value == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (record == NULL) {
		record = FL_NEW(struct record);
		if (record == NULL || fl_map_put(memory->records, op->key, record, NULL) != FL_OK) {
			free(record);
			free(value);
			return FL_FAIL_NO_MEMORY(err);
		}
	}
	free(record->value);
	record->value = value;
	record->len = op->len;
	record->revision = memory->revision + 1;
	return FL_OK;
}

static enum fl_code check_expectations(
	struct memory_store *memory, struct store_batch *batch, struct fl_error *err)
{
	const struct store_op *op;

	FL_LIST_FOREACH (op, &batch->ops, node) {
		const struct record *record;

		if (op->kind != STORE_EXPECT)
			continue;
		record = fl_map_get(memory->records, op->key);
		FL_TRY(store_op_check(op, record != NULL ? record->revision : 0, err));
	}
	return FL_OK;
}

static enum fl_code apply(
	struct memory_store *memory, struct store_batch *batch, struct fl_error *err)
{
	const struct store_op *op;

	if (memory->failures > 0) {
		memory->failures--;
		return FL_FAIL(err, FL_E_STORE, "the test says that the disk is full");
	}
	FL_TRY(check_expectations(memory, batch, err));
	FL_LIST_FOREACH (op, &batch->ops, node) {
		switch (op->kind) {
		case STORE_PUT:
			FL_TRY(put(memory, op, err));
			break;
		case STORE_DELETE:
			record_free(fl_map_remove(memory->records, op->key));
			break;
		case STORE_EXPECT:
			break;
		}
	}
	batch->revision = ++memory->revision;
	return FL_OK;
}

static void memory_commit(struct store *store, struct store_batch *batch)
{
	struct memory_store *memory = FL_CONTAINER(store, struct memory_store, store);

	batch->code = apply(memory, batch, &batch->err);
	fl_mailbox_post(memory->mailbox, &batch->node);
}

static enum fl_code memory_list(
	struct store *store, store_visit visit, void *userdata, struct fl_error *err)
{
	struct memory_store *memory = FL_CONTAINER(store, struct memory_store, store);
	FL_CLEANUP_STRV struct fl_strv keys = {0};

	FL_MAP_FOREACH (entry, following, memory->records)
		FL_TRY(fl_strv_add(&keys, fl_map_key(entry), err));
	fl_strv_sort(&keys);
	for (size_t i = 0; i < keys.n; i++) {
		const struct record *record = fl_map_get(memory->records, keys.items[i]);

		FL_TRY(visit(keys.items[i], record->value, record->len, record->revision, userdata,
			err));
	}
	return FL_OK;
}

static void memory_close(struct store *store)
{
	struct memory_store *memory = FL_CONTAINER(store, struct memory_store, store);

	fl_mailbox_post(memory->mailbox, &store->stopped);
}

static void on_mailbox_closed(void *userdata)
{
	struct memory_store *memory = FL_CONTAINER(userdata, struct memory_store, store);
	void (*closed)(void *) = memory->store.closed;
	void *closed_userdata = memory->store.closed_userdata;

	FL_MAP_FOREACH (entry, following, memory->records)
		record_free(fl_map_value(entry));
	fl_map_free(memory->records);
	free(memory);
	if (closed != NULL)
		closed(closed_userdata);
}

static void memory_stopped(struct store *store)
{
	struct memory_store *memory = FL_CONTAINER(store, struct memory_store, store);

	fl_mailbox_close(memory->mailbox, on_mailbox_closed);
}

static const struct store_ops memory_ops = {
	.commit = memory_commit,
	.list = memory_list,
	.close = memory_close,
	.stopped = memory_stopped,
};

void store_memory_fail(struct store *store, unsigned n)
{
	fl_assert(store->ops == &memory_ops);
	FL_CONTAINER(store, struct memory_store, store)->failures = n;
}

enum fl_code store_open_memory(struct store **ret_store, uv_loop_t *loop, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct memory_store *memory = FL_NEW(struct memory_store);
	FL_CLEANUP(fl_map_freep) struct fl_map *records = NULL;

	if (memory == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&records, err));
	memory->store.ops = &memory_ops;
	FL_TRY(fl_mailbox_open(&memory->mailbox, loop, store_batches_done, &memory->store, err));
	memory->records = FL_TAKE(records);
	*ret_store = &FL_TAKE(memory)->store;
	return FL_OK;
}
