#include "coordinator/attempts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW_MS UINT64_C(5000000)

static int setup(void **state)
{
	return attempts_new((struct attempts **)state, NULL) == FL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	attempts_free(*state);
	return 0;
}

static void ten_failures_then_one_a_second(void **state)
{
	struct attempts *attempts = *state;

	for (unsigned i = 0; i < ATTEMPTS_BURST; i++) {
		assert_true(attempts_allowed(attempts, "10.0.0.1", NOW_MS));
		attempts_failed(attempts, "10.0.0.1", NOW_MS);
	}
	assert_false(attempts_allowed(attempts, "10.0.0.1", NOW_MS));
	assert_false(attempts_allowed(attempts, "10.0.0.1", NOW_MS + ATTEMPTS_INTERVAL_MS - 1));
	assert_true(attempts_allowed(attempts, "10.0.0.1", NOW_MS + ATTEMPTS_INTERVAL_MS));
	attempts_failed(attempts, "10.0.0.1", NOW_MS + ATTEMPTS_INTERVAL_MS);
	assert_false(attempts_allowed(attempts, "10.0.0.1", NOW_MS + ATTEMPTS_INTERVAL_MS));
	/* Forgotten in time. */
	assert_true(attempts_allowed(attempts, "10.0.0.1", NOW_MS + 60000));
}

/* Few share a slot with somebody who fails all the time. */
static void others_are_not_kept_out(void **state)
{
	struct attempts *attempts = *state;
	unsigned kept_out = 0;
	char address[32];

	for (unsigned i = 0; i < 1000; i++)
		attempts_failed(attempts, "10.0.0.1", NOW_MS);
	for (unsigned i = 0; i < 4096; i++) {
		snprintf(address, sizeof(address), "10.1.%u.%u", i / 256, i % 256);
		kept_out += !attempts_allowed(attempts, address, NOW_MS);
	}
	assert_in_range(kept_out, 0, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ten_failures_then_one_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(others_are_not_kept_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
