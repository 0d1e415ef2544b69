/* What must be true some time after the last fault. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"
#include "tests/sim/sim.h"

struct look {
	const struct sim *sim;
	char *why;
	size_t size;
};

#define NOT_YET(look, ...) (snprintf((look)->why, (look)->size, __VA_ARGS__), false)

/* A unit where the coordinator says that it is: the host and the coordinator agree about it. */
static bool placement_is_settled(
	struct look *look, const struct host *host, const struct placement *placement)
{
	const struct unit *unit = placement->unit;
	const struct agent_unit *agent = fl_map_get(host->agent_units, unit->name);
	const struct host_unit *there = fl_map_get(host->units, unit->name);
	const struct placement_state *state = &placement->state;
	const char *active;

	if (agent == NULL || !agent->assigned)
		return NOT_YET(look, "%s does not know of %s", host->id, unit->name);
	if (agent->assignment->epoch != placement->epoch ||
		agent->assignment->revision != placement->revision)
		return NOT_YET(look, "%s has another assignment of %s", host->id, unit->name);
	if (agent->step != STEP_NONE || agent->backoff || agent->held)
		return NOT_YET(look, "%s is at work on %s", host->id, unit->name);
	if (placement->old != NULL)
		return NOT_YET(look, "the file of %s has not reached %s", unit->name, host->id);
	if (there == NULL || strcmp(there->hash, unit->body.hash) != 0)
		return NOT_YET(look, "%s has another file of %s", host->id, unit->name);
	if (unit->desired == PB__DESIRED_STATE__LAUNCHED &&
		(agent->done.desired != PB__DESIRED_STATE__LAUNCHED ||
			agent->done.epoch != placement->epoch ||
			agent->done.start_generation < unit->start_generation ||
			agent->done.restart_generation < unit->restart_generation))
		return NOT_YET(look, "%s has not started %s", host->id, unit->name);
	if (unit->desired == PB__DESIRED_STATE__LOADED && there->running)
		return NOT_YET(look, "%s has not stopped %s", host->id, unit->name);
	active = there->running ? "active" : there->failed ? "failed" : "inactive";
	if (!state->known || state->done_revision < unit->change_revision ||
		strcmp(state->active, active) != 0 || strcmp(state->hash, there->hash) != 0)
		return NOT_YET(look, "the coordinator does not know how %s is on %s", unit->name,
			host->id);
	return true;
}

/* A unit that its drained machine holds for later. */
static bool parked_is_settled(
	struct look *look, const struct host *host, const struct placement *placement)
{
	const char *name = placement->unit->name;

	if (fl_map_get(host->units, name) != NULL)
		return NOT_YET(look, "%s, which is drained, has %s", host->id, name);
	if (!placement->gone)
		return NOT_YET(look, "the coordinator does not know that %s has let go of %s",
			host->id, name);
	return true;
}

/* What is left on a machine that is being drained has a reason: no other machine takes it. */
static bool drain_is_settled(struct look *look, const struct machine *machine)
{
	struct core *core = look->sim->coordinator.core;
	struct placement *placement;
	unsigned refused_for;

	if (machine->scheduling.state != SCHEDULING_DRAINING)
		return true;
	if (machine->drain_deadline_ms != UINT64_MAX)
		return NOT_YET(look, "the deadline of %s has not come", machine->id);
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;

		placement_leaving_text(core, placement, core->now_ms, &why);
		if (strncmp(fl_buf_str(&why), "none of", 7) == 0 &&
			place_choose(core, placement->unit, &refused_for) != NULL)
			return NOT_YET(
				look, "%s could leave %s", placement->unit->name, machine->id);
		if (strcmp(fl_buf_str(&why), "is about to leave") == 0)
			return NOT_YET(look, "%s is about to leave %s", placement->unit->name,
				machine->id);
	}
	return true;
}

static bool host_is_settled(struct look *look, const struct host *host)
{
	const struct coordinator *coordinator = &look->sim->coordinator;
	const struct machine *machine = machine_find(coordinator->core, host->id);
	struct placement *placement;
	size_t n = 0;

	if (machine == NULL || !machine_is_up(machine))
		return NOT_YET(look, "%s is not up", host->id);
	if (coordinator->held[machine_index(host->id)].from != host->link.connection ||
		host->sync != SYNC_ASKING)
		return NOT_YET(look, "no question of %s is held", host->id);
	if (!host->disk.whole || host->disk.revision != host->revision)
		return NOT_YET(look, "%s does not have its assignment on disk", host->id);
	if (machine->n_tombstones > 0)
		return NOT_YET(
			look, "%s has not let go of %u units", host->id, machine->n_tombstones);
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		if (placement->removed)
			return NOT_YET(
				look, "%s has not let go of %s", host->id, placement->unit->name);
		if (placement_is_parked(placement) ? !parked_is_settled(look, host, placement)
						   : !placement_is_settled(look, host, placement))
			return false;
		n += !placement_is_parked(placement);
	}
	if (!drain_is_settled(look, machine))
		return false;
	FL_MAP_FOREACH (entry, following, host->units)
		n -= 1;
	if (n != 0)
		return NOT_YET(look, "%s has units that are not its", host->id);
	FL_MAP_FOREACH (each, next, host->agent_units)
		if (!((const struct agent_unit *)fl_map_value(each))->assigned)
			return NOT_YET(look, "%s remembers %s", host->id, fl_map_key(each));
	return true;
}

/* A machine that stays away holds what may not move, or all when most are away. */
static bool lost_is_settled(struct look *look, const struct machine *machine)
{
	struct placement *placement;

	if (machine->fsm.state != MACHINE_LOST)
		return NOT_YET(look, "%s is not lost", machine->id);
	if (look->sim->coordinator.core->holding)
		return true;
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		const struct unit_rules *rules = &placement->unit->body.rules;

		if (!placement->removed && !rules->global && rules->machine_id == NULL &&
			rules->machine_of.n == 0 && rules->on_machine_loss == UNIT_LOSS_MOVE)
			return NOT_YET(look, "%s is still on %s, which is lost",
				placement->unit->name, machine->id);
	}
	return true;
}

/* Its agent's disk: what it would start with after a reboot. */
static void check_disk(const struct sim *sim, const struct host *host)
{
	fleet_check_assignment(sim->coordinator.core, host->id, host->disk.assignments);
}

/* It became exclusive while a machine that stays away may run it: it waits for that machine. */
static bool waits_for_the_lost(const struct unit *unit)
{
	const struct unit *replica;

	if (unit->held != NULL && !machine_is_up(unit->held->machine))
		return true;
	FL_LIST_FOREACH (replica, &unit->replicas, replica)
		if (replica->held != NULL && !machine_is_up(replica->held->machine))
			return true;
	return false;
}

/* Every rollout has come to its end, and left one file behind. */
static bool rollouts_are_settled(struct look *look)
{
	const struct core *core = look->sim->coordinator.core;
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		const struct unit *replica;
		Pb__Rollout *rollout;
		bool ended;

		if (unit->gone || waits_for_the_lost(unit))
			continue;
		assert_int_equal(rollout_message(unit, &rollout, NULL), FL_OK);
		ended = rollout == NULL || rollout->state == PB__ROLLOUT__STATE__DONE ||
			rollout->state == PB__ROLLOUT__STATE__RETURNED;
		if (!ended && !core->holding)
			snprintf(look->why, look->size, "%s rolls, %u of %u are healthy: %s",
				unit->name, rollout->done, rollout->total, rollout->text);
		if (rollout != NULL)
			core_message_free(&rollout->base);
		if (!ended && !core->holding)
			return false;
		FL_LIST_FOREACH (replica, &unit->replicas, replica)
			if (strcmp(replica->body.hash, unit->body.replica_hash) != 0 &&
				(replica->placed == NULL ||
					(machine_is_up(replica->placed->machine) &&
						!placement_is_parked(replica->placed))))
				return NOT_YET(look, "%s has another file", replica->name);
	}
	return true;
}

bool guard_is_rolling(const struct sim *sim)
{
	const struct core *core = sim->coordinator.core;

	return core != NULL && !fl_list_empty(&core->rollouts);
}

bool guard_settled(struct guard *guard, const struct sim *sim, char *why, size_t size)
{
	const struct coordinator *coordinator = &sim->coordinator;
	struct look look = {.sim = sim, .why = why, .size = size};

	(void)guard;
	if (!coordinator->server.listening || coordinator->batch.committing ||
		!fl_list_empty(&coordinator->batch.gathering))
		return NOT_YET(&look, "the coordinator is at work");
	for (unsigned i = 0; i < sim->n_people; i++)
		if (!fl_list_empty(&sim->people[i].link.unanswered))
			return NOT_YET(&look, "%s waits for an answer", sim->people[i].link.name);
	for (unsigned i = 0; i < sim->n_hosts; i++) {
		const struct host *host = &sim->hosts[i];
		const struct machine *machine = machine_find(coordinator->core, host->id);

		if (host->on ? !host_is_settled(&look, host)
			     : machine != NULL && !lost_is_settled(&look, machine))
			return false;
	}
	if (!rollouts_are_settled(&look))
		return false;
	for (unsigned i = 0; i < sim->n_hosts; i++)
		if (sim->hosts[i].on)
			check_disk(sim, &sim->hosts[i]);
	fleet_check(coordinator->core);
	return true;
}
