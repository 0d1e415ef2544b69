/*
 * For the implementations of store.h alone: what a store and a batch look like from inside.
 */
#pragma once

#include "base/list.h"
#include "coordinator/store/store.h"

struct store_ops {
	void (*commit)(struct store *store, struct store_batch *batch);
	enum fl_code (*list)(
		struct store *store, store_visit visit, void *userdata, struct fl_error *err);
	/* Finishes what is under way, then posts the store's @stopped node. */
	void (*close)(struct store *store);
	/* That node has reached the loop: closes the mailbox, frees the store and calls its
	 * @closed. */
	void (*stopped)(struct store *store);
};

/* The first member of a backend's own structure. */
struct store {
	const struct store_ops *ops;
	unsigned committing; /* batches under way */
	struct fl_list stopped;
	void (*closed)(void *userdata); /* nullable */
	void *closed_userdata;
};

enum store_op_kind { STORE_PUT, STORE_DELETE, STORE_EXPECT };

struct store_op {
	struct fl_list node;
	enum store_op_kind kind;
	uint64_t revision; /* of STORE_EXPECT */
	size_t len;
	char *value; /* behind the key, in the same allocation */
	char key[];
};

/* Does a STORE_EXPECT hold, where its key was last changed in @revision? */
enum fl_code store_op_check(
	const struct store_op *op, uint64_t revision, struct fl_error *err) FL_MUST_CHECK;

/* While it is committed it belongs to the backend, which fills in the result and posts @node. */
struct store_batch {
	struct fl_list ops;
	struct fl_list node;
	bool committing;
	store_committed done;
	void *userdata;
	enum fl_code code;
	uint64_t revision;
	struct fl_error err;
};

/* The drain of a backend's mailbox: tells who waits for a batch. @userdata is the store. */
void store_batches_done(struct fl_list *batches, void *userdata);
