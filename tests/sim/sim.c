#include "tests/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/*
 * The longest chain: a connection (5 s), a commit that is tried again (10 s), a lease of those that
 * stay away (10 s) and the verdict on them, a step that backs off (8 s). It is well below the 60 s
 * after which an agent asks again by itself: nothing may depend on that.
 */
#define SETTLE_MS 40000U
#define QUIET_MS  15000U
/* What may follow when nothing else is left to do: a drain asks again who takes a unit (2 s), a unit
 * is stopped, and its agent forgets it after the next heartbeat but one. */
#define AGAIN_MS 15000U
/* The longest rollout: the machines of a global unit, there and back again, for 800 ms each and the
 * time of their stop and start. */
#define ROLL_MS 180000U

static void sim_open(struct sim *sim, uint64_t seed, bool print)
{
	struct world *world = &sim->world;

	*sim = (struct sim){.n_hosts = 0};
	sim->faults.clock_permille = 1000;
	world_init(world, seed, print);
	guard_open(&sim->guard, world);
	coordinator_open(&sim->coordinator, world, &sim->guard);
	sim->n_hosts = world_between(world, 1, world_chance(world, 70) ? 8 : SIM_MACHINES_MAX);
	sim->n_people = world_between(world, 1, PEOPLE_MAX);
	sim->n_units = world_between(world, 5, world_chance(world, 70) ? 40 : 150);
	world_trace(
		world, "%u hosts, %u people, %u units", sim->n_hosts, sim->n_people, sim->n_units);
	for (unsigned i = 0; i < sim->n_hosts; i++)
		host_open(&sim->hosts[i], world, &sim->coordinator.server, &sim->guard, i);
	for (unsigned i = 0; i < sim->n_people; i++)
		person_open(&sim->people[i], sim, i);
	coordinator_start(&sim->coordinator, true);
	for (unsigned i = 0; i < sim->n_hosts; i++)
		host_boot(&sim->hosts[i]);
}

void sim_close(struct sim *sim)
{
	/* Links first: what is under way in the queue names their connections. */
	for (unsigned i = 0; i < sim->n_people; i++)
		person_close(&sim->people[i]);
	for (unsigned i = 0; i < sim->n_hosts; i++)
		host_close(&sim->hosts[i]);
	coordinator_close(&sim->coordinator);
	guard_close(&sim->guard);
	world_fini(&sim->world);
}

static void run_until(struct sim *sim, uint64_t until_ms)
{
	while (sim->world.now_ms < until_ms)
		world_step(&sim->world);
}

static void settle(struct sim *sim)
{
	struct world *world = &sim->world;
	uint64_t began_ms = world->now_ms, settled_ms = 0;
	uint64_t until_ms = began_ms + SETTLE_MS;
	char why[256] = "";

	faults_heal(sim);
	/* Nothing may undo it, so it has to be so for a while. */
	while (settled_ms == 0 || world->now_ms < settled_ms + QUIET_MS) {
		run_until(sim, world->now_ms + 250);
		if (guard_settled(&sim->guard, sim, why, sizeof(why))) {
			settled_ms = settled_ms == 0 ? world->now_ms : settled_ms;
			until_ms = world->now_ms + AGAIN_MS;
		} else {
			settled_ms = 0;
		}
		if (guard_is_rolling(sim) && world->now_ms < began_ms + ROLL_MS)
			until_ms = world->now_ms + AGAIN_MS > until_ms ? world->now_ms + AGAIN_MS
								       : until_ms;
		if (settled_ms == 0 && world->now_ms > until_ms)
			fail_msg("not settled %u s after the last fault: %s",
				(unsigned)(world->now_ms - began_ms) / 1000, why);
	}
	if (settled_ms - began_ms > sim->settle_ms_max)
		sim->settle_ms_max = settled_ms - began_ms;
	world_trace(world, "settled");
	sim->n_settled++;
}

void sim_run(struct sim *sim, uint64_t seed, uint64_t steps, bool print)
{
	sim_open(sim, seed, print);
	do {
		faults_begin(sim);
		run_until(sim, sim->world.now_ms + world_between(&sim->world, 10000, 180000));
		settle(sim);
	} while (sim->world.steps < steps);
}
