/*
 * What the coordinator keeps: keys with values, each with the revision of its last change; changed
 * by batches that become durable together or not at all; listed once, at the start.
 *
 * The interface is small so that something else (an etcd cluster) can stand where SQLite stands
 * now. A batch may say what it expects, so that two writers on one store cannot both win.
 *
 * All functions are for the loop thread. A backend does its work elsewhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "base/memory.h"

struct store;
struct store_batch;

/* ---- Batches -- */

enum fl_code store_batch_new(struct store_batch **ret_batch, struct fl_error *err) FL_MUST_CHECK;

/* Not while it is being committed. */
void store_batch_free(struct store_batch *batch);
FL_DEFINE_CLEANUP(struct store_batch *, store_batch_free)

/* Changes are applied in the order in which they were added; both arguments are copied. Deleting
 * what is not there is no error. */
enum fl_code store_batch_put(struct store_batch *batch, const char *key, const void *value,
	size_t len, struct fl_error *err) FL_MUST_CHECK;
enum fl_code store_batch_delete(
	struct store_batch *batch, const char *key, struct fl_error *err) FL_MUST_CHECK;

/* The batch fails with FL_E_STATE unless @key, before the batch, was last changed in @revision;
 * 0 = is not there. */
enum fl_code store_batch_expect(struct store_batch *batch, const char *key, uint64_t revision,
	struct fl_error *err) FL_MUST_CHECK;

bool store_batch_empty(const struct store_batch *batch);

/* ---- The store -- */

/* FL_OK: durable, and @revision (of the whole store) is the one that the changes got. FL_E_STORE:
 * it could not be written, @err says why, nothing of it happened; the same batch may be committed
 * again. FL_E_STATE: what it expected did not hold. */
typedef void (*store_committed)(
	enum fl_code code, uint64_t revision, const struct fl_error *err, void *userdata);

/* Begins to commit @batch, which the caller keeps, unchanged, until @done comes from the loop.
 * Commits happen in the order of their calls. Neither blocks nor fails at once. */
void store_commit(
	struct store *store, struct store_batch *batch, store_committed done, void *userdata);

/* @key and @value are borrowed. Anything but FL_OK ends the listing with that. */
typedef enum fl_code (*store_visit)(const char *key, const void *value, size_t len,
	uint64_t revision, void *userdata, struct fl_error *err);

/* Every key, in the order of strcmp(3). It waits for the disk: for the start, while no commit is
 * under way. */
enum fl_code store_list(
	struct store *store, store_visit visit, void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Commits under way are finished first; then @closed (nullable) comes from the loop. */
void store_close(struct store *store, void (*closed)(void *userdata), void *userdata);
