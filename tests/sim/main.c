/*
 * sim: runs seeds. Each is run twice where --twice says so, and must leave the same trace. The first
 * one that fails ends it, with the seed and how to replay it.
 */
#include <getopt.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "tests/sim/sim.h"

static struct {
	uint64_t first, count, steps;
	unsigned seconds; /* stop before the next seed after so long; 0 = no limit */
	bool trace, twice;
} options = {.first = 1, .count = 1, .steps = 5000};

static struct sim sim;
static uint64_t seed; /* under way */
static uint64_t n_seeds;

/* NOLINTBEGIN(bugprone-signal-handler): abort() is what raises it, not something between two
 * instructions of stdio. */
static void say_seed(void)
{
	fflush(stdout);
	fprintf(stderr,
		"seed %" PRIu64 " failed; to replay it: sim --seed %" PRIu64 " --steps %" PRIu64
		" --trace\n",
		seed, seed, options.steps);
	if (!options.trace)
		world_print_kept(&sim.world);
}

static void on_abort(int number)
{
	say_seed();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}
/* NOLINTEND(bugprone-signal-handler) */

static uint64_t run_one(bool print)
{
	uint64_t hash;

	sim_run(&sim, seed, options.steps, print);
	hash = sim.world.hash;
	return hash;
}

static void tell(uint64_t hash)
{
	unsigned n_done = 0, n_refused = 0;

	for (unsigned i = 0; i < sim.n_people; i++) {
		n_done += sim.people[i].n_done;
		n_refused += sim.people[i].n_refused;
	}
	printf("seed %" PRIu64 ": %u hosts, %" PRIu64 " events, %" PRIu64
	       " s, %u faults, %u starts of the coordinator (%u with a commit under way), "
	       "%u changes done, %u refused, %u moves (%u off lost machines), %u held steps, "
	       "%u starts of exclusive units, "
	       "settled %u times within %" PRIu64 " s, trace %016" PRIx64 "\n",
		seed, sim.n_hosts, sim.world.steps, (sim.world.now_ms - 1000000) / 1000,
		sim.n_faults, sim.coordinator.n_starts, sim.coordinator.n_lost_batches, n_done,
		n_refused, sim.guard.n_moves, sim.guard.n_loss_moves, sim.guard.n_holds,
		sim.guard.n_exclusive, sim.n_settled, sim.settle_ms_max / 1000, hash);
}

static void run_seeds(void **state)
{
	time_t begin = time(NULL);

	(void)state;
	for (uint64_t i = 0; i < options.count; i++) {
		uint64_t hash;

		if (options.seconds > 0 && time(NULL) - begin >= (time_t)options.seconds)
			break;
		seed = options.first + i;
		hash = run_one(options.trace);
		tell(hash);
		sim_close(&sim);
		if (options.twice) {
			if (run_one(false) != hash)
				fail_msg("the same seed left another trace");
			sim_close(&sim);
		}
		n_seeds++;
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seed S] [--count N] [--seconds T] [--steps K] [--trace] "
			"[--twice]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
		{"count", required_argument, NULL, 'c'}, {"seconds", required_argument, NULL, 't'},
		{"steps", required_argument, NULL, 'k'}, {"trace", no_argument, NULL, 'p'},
		{"twice", no_argument, NULL, 'w'}, {NULL, 0, NULL, 0}};
	const struct CMUnitTest tests[] = {cmocka_unit_test(run_seeds)};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;

		if (option == 's')
			options.first = number;
		else if (option == 'c')
			options.count = number;
		else if (option == 't')
			options.seconds = (unsigned)number;
		else if (option == 'k')
			options.steps = number;
		else if (option == 'p')
			options.trace = true;
		else if (option == 'w')
			options.twice = true;
		else
			return usage();
	}
	if (optind < argc)
		return usage();
	(void)signal(SIGABRT, on_abort);
	if (cmocka_run_group_tests(tests, NULL, NULL) != 0) {
		say_seed();
		_exit(1); /* what the run still had is of no interest */
	}
	printf("%" PRIu64 " seeds\n", n_seeds);
	return 0;
}
