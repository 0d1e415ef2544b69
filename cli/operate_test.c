/* cordon, uncordon, drain and rebalance with a real coordinator, and no machine. What they do to one
 * is shown on hosts: tests/lab/test_machines.py. */
#include "cli/test_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

static pid_t coordinator;

static int set_up(void **state)
{
	program_set_up(state);
	coordinator = program_start_coordinator();
	return 0;
}

static int tear_down(void **state)
{
	program_stop_coordinator(coordinator);
	return program_tear_down(state);
}

static void test_unknown_machines(void **state)
{
	(void)state;
	program_expect("cordon 3f2a", 1, "flotactl: there is no machine \"3f2a\"\n");
	program_expect("uncordon a b", 1,
		"flotactl: there is no machine \"a\"\nflotactl: there is no machine \"b\"\n");
	program_expect("drain 3f2a --deadline=10m", 1, "flotactl: there is no machine \"3f2a\"\n");
	program_expect(
		"drain 3f2a --output=json", 1, "flotactl: there is no machine \"3f2a\"\n[]\n");
}

static void test_mistakes(void **state)
{
	(void)state;
	program_expect_part("cordon", 1, "cordon");
	program_expect_part("drain 3f2a --parallel=0", 1, "parallel");
	program_expect_part("drain 3f2a --deadline=soon", 1, "deadline");
	program_expect_part("rebalance now", 1, "rebalance");
}

static void test_nothing_to_move(void **state)
{
	(void)state;
	program_expect("rebalance", 0, "Nothing to move: the machines are about equally full\n");
	program_expect("rebalance --dry-run --output=json", 0, "[]\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unknown_machines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mistakes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nothing_to_move, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
