/*
 * Many deadlines, one timer: a heap. What waits embeds a `struct deadline`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

struct deadlines;

struct deadline {
	/* Called by deadlines_expire() when it is out of the heap again; it may be set anew. */
	void (*expired)(struct deadline *deadline, uint64_t now_ms);
	uint64_t at_ms;
	size_t index; /* in the heap, from 1; 0 = not in it */
};

enum fl_code deadlines_new(struct deadlines **ret_deadlines, struct fl_error *err) FL_MUST_CHECK;
/* None may be set any more. */
void deadlines_free(struct deadlines *deadlines);

/* Sets it, or moves it where it is set. Moving cannot fail; setting gives FL_E_NO_MEMORY. */
enum fl_code deadlines_set(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_ms,
	struct fl_error *err) FL_MUST_CHECK;

/* Harmless where it is not set. */
void deadlines_clear(struct deadlines *deadlines, struct deadline *deadline);

/* The earliest; UINT64_MAX = none. */
uint64_t deadlines_next(const struct deadlines *deadlines);

/* Calls all that are due at @now_ms, the earliest first. One that is set again in its call is to
 * be later than @now_ms. */
void deadlines_expire(struct deadlines *deadlines, uint64_t now_ms);
