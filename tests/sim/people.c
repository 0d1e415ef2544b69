#include "tests/sim/people.h"

#include <stdio.h>
#include <string.h>

#include "coordinator/core/testing.h"
#include "tests/sim/sim.h"

#define CHANGES_MAX 4
#define PATIENCE_MS 30000U

static void act(void *owner, void *data);

static void on_answer(void *owner, const Pb__Envelope *answer)
{
	struct person *person = owner;

	if (answer == NULL)
		person->n_unanswered++;
	else if (answer->error != NULL)
		person->n_refused++;
	else if (answer->body_case != PB__ENVELOPE__BODY_CHANGE_REPLY)
		person->n_operated++;
	else
		for (size_t i = 0; i < answer->change_reply->n_results; i++)
			if (answer->change_reply->results[i]->error != NULL)
				person->n_refused++;
			else
				person->n_done++;
	world_after(person->link.world, &person->process,
		world_between(person->link.world, 50, 3000), act, person, NULL);
}

static void random_change(
	struct sim *sim, Pb__Change *change, char name[32], char *content, size_t size)
{
	struct world *world = &sim->world;
	const char *ids[SIM_MACHINES_MAX];
	uint32_t what = world_pick(world, 100);

	pb__change__init(change);
	fleet_unit_name(name, world_pick(world, sim->n_units));
	/* Templates with replicas, and now and then one of these. */
	if (world_chance(world, 15))
		snprintf(name, 32, "t%u@%s.service", world_pick(world, 3),
			world_chance(world, 10) ? "2" : "");
	change->name = name;
	for (unsigned i = 0; i < sim->n_hosts; i++)
		ids[i] = sim->hosts[i].id;
	fleet_random_file(&world->random, name, ids, sim->n_hosts, sim->n_units, content, size);
	if (what < 45 || what >= 95) {
		change->content.data = (uint8_t *)content;
		change->content.len = strlen(content);
		change->replace = world_chance(world, 50);
	}
	if (what < 45) {
		change->verb = PB__CHANGE__VERB__SET;
		change->desired = world_chance(world, 25) ? PB__DESIRED_STATE__LOADED
							  : PB__DESIRED_STATE__LAUNCHED;
	} else if (what < 75) {
		change->verb = PB__CHANGE__VERB__SET;
		change->desired = PB__DESIRED_STATE__INACTIVE + world_pick(world, 3);
	} else if (what < 85) {
		change->verb = PB__CHANGE__VERB__RESTART;
	} else if (what < 95) {
		change->verb = PB__CHANGE__VERB__DESTROY;
	} else {
		change->verb = PB__CHANGE__VERB__SUBMIT;
	}
}

/* A machine is taken out or put back. Drains have a deadline, most of them, and are wide: those that
 * go on when all is healed end soon. */
static void operate_machine(struct person *person)
{
	struct world *world = person->link.world;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__MachineChangeRequest request = PB__MACHINE_CHANGE_REQUEST__INIT;
	struct sim *sim = person->sim;
	char *id = sim->hosts[world_pick(world, sim->n_hosts)].id;

	request.verb = PB__MACHINE_CHANGE_REQUEST__VERB__CORDON + world_pick(world, 3);
	request.machines = &id;
	request.n_machines = 1;
	request.reason = (char *)"chance";
	request.deadline_ms = world_chance(world, 80) ? world_between(world, 500, 15000) : 0;
	request.parallel = world_between(world, 20, 100);
	world_trace(world, "%s: operates on %s, verb %d", person->link.name, id, (int)request.verb);
	envelope.body_case = PB__ENVELOPE__BODY_MACHINE_CHANGE_REQUEST;
	envelope.machine_change_request = &request;
	link_call(&person->link, &envelope, PATIENCE_MS, on_answer, person);
}

static void rebalance(struct person *person)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__RebalanceRequest request = PB__REBALANCE_REQUEST__INIT;

	request.max_moves = world_between(person->link.world, 1, 20);
	world_trace(person->link.world, "%s: rebalances", person->link.name);
	envelope.body_case = PB__ENVELOPE__BODY_REBALANCE_REQUEST;
	envelope.rebalance_request = &request;
	link_call(&person->link, &envelope, PATIENCE_MS, on_answer, person);
}

static void change_units(struct person *person);

static void act(void *owner, void *data)
{
	struct person *person = owner;
	struct world *world = person->link.world;
	uint32_t what;

	(void)data;
	if (!world->chaos) {
		world_after(world, &person->process, 500, act, person, NULL);
		return;
	}
	what = world_pick(world, 100);
	if (what < 10)
		operate_machine(person);
	else if (what < 12)
		rebalance(person);
	else
		change_units(person);
}

static void change_units(struct person *person)
{
	struct world *world = person->link.world;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ChangeRequest request = PB__CHANGE_REQUEST__INIT;
	Pb__Change changes[CHANGES_MAX], *pointers[CHANGES_MAX];
	char names[CHANGES_MAX][32], contents[CHANGES_MAX][1024];

	request.n_changes = 1 + (world_chance(world, 30) ? world_pick(world, CHANGES_MAX) : 0);
	for (size_t i = 0; i < request.n_changes; i++) {
		random_change(person->sim, &changes[i], names[i], contents[i], sizeof(contents[i]));
		pointers[i] = &changes[i];
		world_trace(world, "%s: %d %s desired=%d%s%s", person->link.name,
			(int)changes[i].verb, names[i], (int)changes[i].desired,
			changes[i].content.len > 0 ? " with a file" : "",
			changes[i].replace ? " replace" : "");
	}
	request.changes = pointers;
	request.token = world->n_events + 1;
	envelope.body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
	envelope.change_request = &request;
	link_call(&person->link, &envelope, PATIENCE_MS, on_answer, person);
}

void person_open(struct person *person, struct sim *sim, unsigned number)
{
	char name[16];

	*person = (struct person){.sim = sim, .process = {.clock_permille = 1000}};
	snprintf(name, sizeof(name), "person%u", number);
	link_open(&person->link, &sim->world, &sim->coordinator.server, &person->process, name);
	world_after(&sim->world, &person->process, 1000, act, person, NULL);
}

void person_close(struct person *person)
{
	link_close(&person->link);
}
