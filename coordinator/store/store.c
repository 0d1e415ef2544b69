#include "coordinator/store/store.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/store/backend.h"

enum fl_code store_batch_new(struct store_batch **ret_batch, struct fl_error *err)
{
	struct store_batch *batch = FL_NEW(struct store_batch);

	if (batch == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fl_list_init(&batch->ops);
	*ret_batch = batch;
	return FL_OK;
}

void store_batch_free(struct store_batch *batch)
{
	struct fl_list *node;

	if (batch == NULL)
		return;
	fl_assert(!batch->committing);
	while ((node = fl_list_pop(&batch->ops)) != NULL)
		free(FL_LIST_ENTRY(node, struct store_op, node));
	free(batch);
}

static enum fl_code add(struct store_batch *batch, enum store_op_kind kind, const char *key,
	const void *value, size_t len, uint64_t revision, struct fl_error *err)
{
	size_t key_size = strlen(key) + 1;
	struct store_op *op;

	fl_assert(!batch->committing);
	if (len > SIZE_MAX - sizeof(*op) - key_size)
		return FL_FAIL_NO_MEMORY(err);
	op = fl_new_array(1, sizeof(*op) + key_size + len);
	if (op == NULL)
		return FL_FAIL_NO_MEMORY(err);
	op->kind = kind;
	op->revision = revision;
	op->len = len;
	op->value = op->key + key_size;
	memcpy(op->key, key, key_size);
	if (len > 0)
		memcpy(op->value, value, len);
	fl_list_append(&batch->ops, &op->node);
	return FL_OK;
}

enum fl_code store_batch_put(struct store_batch *batch, const char *key, const void *value,
	size_t len, struct fl_error *err)
{
	return add(batch, STORE_PUT, key, value, len, 0, err);
}

enum fl_code store_batch_delete(struct store_batch *batch, const char *key, struct fl_error *err)
{
	return add(batch, STORE_DELETE, key, NULL, 0, 0, err);
}

enum fl_code store_batch_expect(
	struct store_batch *batch, const char *key, uint64_t revision, struct fl_error *err)
{
	return add(batch, STORE_EXPECT, key, NULL, 0, revision, err);
}

bool store_batch_empty(const struct store_batch *batch)
{
	return fl_list_empty(&batch->ops);
}

void store_commit(
	struct store *store, struct store_batch *batch, store_committed done, void *userdata)
{
	fl_assert(!batch->committing);
	batch->committing = true;
	batch->done = done;
	batch->userdata = userdata;
	batch->code = FL_OK;
	batch->revision = 0;
	batch->err = (struct fl_error){0};
	store->committing++;
	store->ops->commit(store, batch);
}

enum fl_code store_op_check(const struct store_op *op, uint64_t revision, struct fl_error *err)
{
	if (revision != op->revision)
		return FL_FAIL(err, FL_E_STATE, "%s is at revision %llu, expected was %llu",
			op->key, (unsigned long long)revision, (unsigned long long)op->revision);
	return FL_OK;
}

void store_batches_done(struct fl_list *batches, void *userdata)
{
	struct store *store = userdata;
	struct fl_list *node;

	while ((node = fl_list_pop(batches)) != NULL) {
		struct store_batch *batch;
		struct fl_error err;

		if (node == &store->stopped) {
			store->ops->stopped(store);
			return;
		}
		batch = FL_LIST_ENTRY(node, struct store_batch, node);
		err = batch->err; /* the callee may free the batch */
		batch->committing = false;
		fl_assert(store->committing > 0);
		store->committing--;
		batch->done(batch->code, batch->revision, &err, batch->userdata);
	}
}

enum fl_code store_list(
	struct store *store, store_visit visit, void *userdata, struct fl_error *err)
{
	fl_assert(store->committing == 0);
	return store->ops->list(store, visit, userdata, err);
}

void store_close(struct store *store, void (*closed)(void *userdata), void *userdata)
{
	store->closed = closed;
	store->closed_userdata = userdata;
	store->ops->close(store);
}
