/*
 * The store in a SQLite file: DIR/store.sqlite, in WAL mode with synchronous=FULL, so that what is
 * committed survives a power cut (sqlite.org/pragma.html#pragma_synchronous); one transaction per
 * batch, on a thread of its own.
 */
#pragma once

#include "coordinator/store/store.h"

/* Opens the store in @directory, which exists; makes it when it is not there. Only one process has
 * it open: another gets FL_E_STATE (flock(2) on DIR/lock). FL_E_STORE where the file is damaged,
 * of another program, or of a newer format. */
enum fl_code store_open_sqlite(struct store **ret_store, uv_loop_t *loop, const char *directory,
	struct fl_error *err) FL_MUST_CHECK;
