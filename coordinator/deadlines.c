#include "coordinator/deadlines.h"

#include <stdlib.h>

struct deadlines {
	struct deadline **heap; /* heap[1] is the earliest; the children of i are 2i and 2i + 1 */
	size_t n;
	size_t capacity;
};

enum fl_code deadlines_new(struct deadlines **ret_deadlines, struct fl_error *err)
{
	struct deadlines *deadlines = FL_NEW(struct deadlines);

	if (deadlines == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_deadlines = deadlines;
	return FL_OK;
}

void deadlines_free(struct deadlines *deadlines)
{
	if (deadlines == NULL)
		return;
	fl_assert(deadlines->n == 0);
	free(deadlines->heap);
	free(deadlines);
}

static void put_at(struct deadlines *deadlines, size_t i, struct deadline *deadline)
{
	deadlines->heap[i] = deadline;
	deadline->index = i;
}

/* Moves @deadline from the hole at @i up or down to where it belongs. */
static void settle(struct deadlines *deadlines, size_t i, struct deadline *deadline)
{
	while (i > 1 && deadlines->heap[i / 2]->at_ms > deadline->at_ms) {
		put_at(deadlines, i, deadlines->heap[i / 2]);
		i /= 2;
	}
	for (;;) {
		size_t child = 2 * i;

		if (child > deadlines->n)
			break;
		if (child < deadlines->n &&
			deadlines->heap[child + 1]->at_ms < deadlines->heap[child]->at_ms)
			child++;
		if (deadlines->heap[child]->at_ms >= deadline->at_ms)
			break;
		put_at(deadlines, i, deadlines->heap[child]);
		i = child;
	}
	put_at(deadlines, i, deadline);
}

static enum fl_code grow(struct deadlines *deadlines, struct fl_error *err)
{
	size_t capacity = deadlines->capacity > 0 ? 2 * deadlines->capacity : 64;
	struct deadline **heap;

	if (deadlines->n + 1 < deadlines->capacity)
		return FL_OK;
	heap = reallocarray(deadlines->heap, capacity, sizeof(struct deadline *));
	if (heap == NULL)
		return FL_FAIL_NO_MEMORY(err);
	deadlines->heap = heap;
	deadlines->capacity = capacity;
	return FL_OK;
}

enum fl_code deadlines_set(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_ms,
	struct fl_error *err)
{
	if (deadline->index == 0) {
		FL_TRY(grow(deadlines, err));
		deadline->index = ++deadlines->n;
	}
	deadline->at_ms = at_ms;
	settle(deadlines, deadline->index, deadline);
	return FL_OK;
}

void deadlines_clear(struct deadlines *deadlines, struct deadline *deadline)
{
	size_t hole = deadline->index;
	struct deadline *last;

	if (hole == 0)
		return;
	last = deadlines->heap[deadlines->n--];
	deadline->index = 0;
	if (last != deadline)
		settle(deadlines, hole, last);
}

uint64_t deadlines_next(const struct deadlines *deadlines)
{
	return deadlines->n > 0 ? deadlines->heap[1]->at_ms : UINT64_MAX;
}

void deadlines_expire(struct deadlines *deadlines, uint64_t now_ms)
{
	while (deadlines->n > 0 && deadlines->heap[1]->at_ms <= now_ms) {
		struct deadline *deadline = deadlines->heap[1];

		deadlines_clear(deadlines, deadline);
		deadline->expired(deadline, now_ms);
	}
}
