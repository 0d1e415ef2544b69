/*
 * A store that forgets: for tests of what stands in front of a store.
 */
#pragma once

#include "coordinator/store/store.h"

enum fl_code store_open_memory(
	struct store **ret_store, uv_loop_t *loop, struct fl_error *err) FL_MUST_CHECK;

/* The next @n commits fail with FL_E_STORE, as on a full disk. */
void store_memory_fail(struct store *store, unsigned n);
