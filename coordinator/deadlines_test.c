#include "coordinator/deadlines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define N 1000

struct item {
	struct deadline deadline;
	unsigned expired;
};

static struct deadlines *deadlines;
static struct item items[N];
static uint64_t last_ms;

static void on_expired(struct deadline *deadline, uint64_t now_ms)
{
	struct item *item = FL_CONTAINER(deadline, struct item, deadline);

	assert_int_equal(deadline->index, 0);
	assert_true(deadline->at_ms <= now_ms);
	assert_true(deadline->at_ms >= last_ms); /* the earliest first */
	last_ms = deadline->at_ms;
	item->expired++;
}

static int setup(void **state)
{
	(void)state;
	last_ms = 0;
	for (size_t i = 0; i < N; i++)
		items[i] = (struct item){.deadline = {.expired = on_expired}};
	return deadlines_new(&deadlines, NULL) == FL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++)
		deadlines_clear(deadlines, &items[i].deadline);
	deadlines_free(deadlines);
	return 0;
}

static void set(size_t i, uint64_t at_ms)
{
	assert_int_equal(deadlines_set(deadlines, &items[i].deadline, at_ms, NULL), FL_OK);
}

static uint64_t earliest(void)
{
	uint64_t ms = UINT64_MAX;

	for (size_t i = 0; i < N; i++)
		if (items[i].deadline.index != 0 && items[i].deadline.at_ms < ms)
			ms = items[i].deadline.at_ms;
	return ms;
}

static void test_in_order(void **state)
{
	unsigned long seed = 1;

	(void)state;
	assert_true(deadlines_next(deadlines) == UINT64_MAX);
	for (unsigned round = 0; round < 20000; round++) {
		size_t i;

		seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		i = (seed >> 33) % N;
		if (round % 3 == 2)
			deadlines_clear(deadlines, &items[i].deadline);
		else
			set(i, (seed >> 13) % 5000); /* new, or moved either way */
		if (round % 100 == 0)
			assert_int_equal(deadlines_next(deadlines), earliest());
	}
	for (uint64_t now_ms = 0; now_ms <= 5000; now_ms += 100) {
		deadlines_expire(deadlines, now_ms);
		assert_true(deadlines_next(deadlines) > now_ms);
		assert_true(deadlines_next(deadlines) == earliest());
	}
	assert_true(deadlines_next(deadlines) == UINT64_MAX);
}

/* Expired, it clears its neighbour, which is due too, and sets itself anew. */
static void on_expired_meddle(struct deadline *deadline, uint64_t now_ms)
{
	deadlines_clear(deadlines, &items[1].deadline);
	assert_int_equal(deadlines_set(deadlines, deadline, now_ms + 10, NULL), FL_OK);
	items[0].expired++;
}

static void test_changed_while_expiring(void **state)
{
	(void)state;
	items[0].deadline.expired = on_expired_meddle;
	set(0, 5);
	set(1, 6);
	deadlines_expire(deadlines, 7);
	assert_int_equal(items[0].expired, 1);
	assert_int_equal(items[1].expired, 0);
	assert_int_equal(deadlines_next(deadlines), 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_while_expiring, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
