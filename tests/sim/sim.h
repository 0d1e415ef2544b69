/* One simulated fleet. */
#pragma once

#include "tests/sim/coordinator.h"
#include "tests/sim/guard.h"
#include "tests/sim/host.h"
#include "tests/sim/people.h"

#define PEOPLE_MAX 4

struct sim {
	struct world world;
	struct guard guard;
	struct coordinator coordinator;
	struct host hosts[SIM_MACHINES_MAX];
	unsigned n_hosts;
	struct person people[PEOPLE_MAX];
	unsigned n_people;
	unsigned n_units;
	struct process faults;
	unsigned n_faults, n_settled;
	uint64_t settle_ms_max;
};

/* @steps: events, and then until all is settled. */
void sim_run(struct sim *sim, uint64_t seed, uint64_t steps, bool print);
void sim_close(struct sim *sim);

/* faults.c: until sim->world.chaos is false. */
void faults_begin(struct sim *sim);
/* Everything that was broken is whole again, but for hosts that nobody repairs for now. */
void faults_heal(struct sim *sim);
