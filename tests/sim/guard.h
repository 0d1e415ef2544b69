/*
 * The invariants. What one looks at is the core's state, the store and what agents are told; what
 * it knows from before it wrote down itself. Each function is called at the moment that its name
 * says, and fails the run (cmocka) where something does not hold. A new feature adds its invariant
 * here.
 */
#pragma once

#include "tests/sim/coordinator.h"
#include "tests/sim/host.h"

struct sim;

struct guard_machine {
	bool known, heard; /* since the coordinator started */
	uint64_t last_heard_ms;
	bool written_off; /* lost, and a verdict was given */
	bool had_units_to_move; /* before the step under way */
};

struct guard {
	struct world *world;
	struct fl_map *units; /* of struct guard_unit, every name that ever was */
	struct guard_machine machines[SIM_MACHINES_MAX];
	uint64_t revision_max; /* given out */
	uint64_t steps_revision; /* the core's when it was last checked */
	struct fl_map *heard[SIM_MACHINES_MAX]; /* of uint64_t: epochs, since the agent started */
	uint64_t heard_session[SIM_MACHINES_MAX];
	unsigned n_returns; /* of files that failed */
	/* What happened, so that a run can be told from an idle one. */
	unsigned n_moves, n_loss_moves, n_holds, n_waits, n_tombstones_max, n_exclusive;
};

void guard_open(struct guard *guard, struct world *world);
void guard_close(struct guard *guard);

void guard_before_step(struct guard *guard, const struct coordinator *coordinator);
void guard_after_step(struct guard *guard, const struct coordinator *coordinator,
	const struct core_event *event, enum fl_code code);
/* A started coordinator has what the store had, and gives out no revision again. */
void guard_loaded(struct guard *guard, const struct coordinator *coordinator);
/* Whoever says that there is nothing to write has nothing that is not written. */
void guard_nothing_to_write(struct guard *guard, const struct coordinator *coordinator);
/* What a change was answered with is what it asked for. */
void guard_change_result(struct guard *guard, const struct coordinator *coordinator,
	const Pb__Change *change, const Pb__ChangeResult *result);
/* A reply leaves: what it says is in the store. */
void guard_change_reply(
	struct guard *guard, const struct coordinator *coordinator, const Pb__ChangeReply *reply);
/* The same for what an agent is told; and epochs only grow. */
void guard_assignment(struct guard *guard, const struct coordinator *coordinator,
	const char *machine_id, const Pb__SyncReply *reply);

/* An exclusive unit runs there, or no longer: it never does on two machines. */
void guard_unit_runs(
	struct guard *guard, const struct host *host, const char *name, bool runs_exclusively);

void guard_agent_hears(struct guard *guard, const struct host *host, const Pb__SyncReply *reply);
void guard_agent_acts(struct guard *guard, const struct host *host, const struct agent_unit *unit);

/* Files are on their way, which takes as long as units have to be healthy. */
bool guard_is_rolling(const struct sim *sim);
/* Without faults: whether all is as it should be, or else in @why what is not yet. */
bool guard_settled(struct guard *guard, const struct sim *sim, char *why, size_t size);
