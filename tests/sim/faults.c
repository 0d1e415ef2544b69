/*
 * What goes wrong, one thing after the other, each with its end in sight; several at a time are the
 * rule. In the end faults_heal() takes away what is left.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "tests/sim/sim.h"

static struct host *some_host(struct sim *sim)
{
	return &sim->hosts[world_pick(&sim->world, sim->n_hosts)];
}

/* ---- The coordinator --------------------------------------------------------------------- */

static void start_coordinator(void *owner, void *data)
{
	struct sim *sim = owner;

	(void)data;
	if (sim->coordinator.core == NULL)
		coordinator_start(&sim->coordinator, world_chance(&sim->world, 20));
}

static void coordinator_dies(struct sim *sim)
{
	if (sim->coordinator.core == NULL)
		return;
	coordinator_kill(&sim->coordinator);
	world_after(&sim->world, &sim->faults,
		world_chance(&sim->world, 80) ? world_between(&sim->world, 10, 1000)
					      : world_between(&sim->world, 1000, 40000),
		start_coordinator, sim, NULL);
}

static void sleeps(struct world *world, struct process *process, const char *who, uint32_t max_ms)
{
	uint32_t ms = world_between(world, 100, max_ms);

	process->asleep_until_ms = world->now_ms + ms;
	world_trace(world, "%s: sleeps %u ms", who, ms);
}

static void store_recovers(void *owner, void *data)
{
	struct sim *sim = owner;

	(void)data;
	sim->coordinator.store.bad = false;
	sim->coordinator.store.delay_max_ms = 10;
}

static void store_suffers(struct sim *sim)
{
	sim->coordinator.store.bad = world_chance(&sim->world, 60);
	sim->coordinator.store.delay_max_ms = world_between(&sim->world, 10, 3000);
	world_after(&sim->world, &sim->faults, world_between(&sim->world, 100, 15000),
		store_recovers, sim, NULL);
}

/* ---- Hosts ------------------------------------------------------------------------------- */

static void boot(void *owner, void *data)
{
	(void)data;
	host_boot(owner);
}

static void host_goes_down(struct sim *sim)
{
	struct host *host = some_host(sim);

	if (!host->on)
		return;
	host_die(host);
	/* Else it stays away until somebody repairs it. */
	if (world_chance(&sim->world, 80))
		world_after(&sim->world, &sim->faults, world_between(&sim->world, 3000, 40000),
			boot, host, NULL);
}

static void start_agent(void *owner, void *data)
{
	struct host *host = owner;

	(void)data;
	if (host->on && !host->agent_runs)
		agent_start(host);
}

static void agent_dies(struct sim *sim)
{
	struct host *host = some_host(sim);

	if (!host->agent_runs)
		return;
	agent_kill(host);
	if (world_chance(&sim->world, 10))
		host_damage_disk(host);
	world_after(&sim->world, &sim->faults,
		world_chance(&sim->world, 80) ? world_between(&sim->world, 10, 500)
					      : world_between(&sim->world, 500, 30000),
		start_agent, host, NULL);
}

static void disk_recovers(void *owner, void *data)
{
	struct host *host = owner;

	(void)data;
	host->disk_bad = false;
	host->disk_delay_max_ms = 20;
}

static void disk_suffers(struct sim *sim)
{
	struct host *host = some_host(sim);

	host->disk_bad = world_chance(&sim->world, 50);
	host->disk_delay_max_ms = 4000;
	world_after(&sim->world, &sim->faults, world_between(&sim->world, 100, 20000),
		disk_recovers, host, NULL);
}

/* ---- The network ------------------------------------------------------------------------- */

static void mend(void *owner, void *data)
{
	struct link *link = owner;

	(void)data;
	link->cut[UPWARDS] = link->cut[DOWNWARDS] = false;
	link->latency_max_ms = 5;
}

/* One way or both; the connection may be found broken afterwards, or go on. */
static void cut(struct sim *sim, struct link *link, uint32_t ms)
{
	struct world *world = &sim->world;
	static const char *const ways[] = {"both ways", "upwards", "downwards"};
	uint32_t way = world_chance(world, 60) ? 0 : 1 + world_pick(world, 2);

	world_trace(world, "%s: cut %s for %u ms", link->name, ways[way], ms);
	link->cut[UPWARDS] |= way != 2;
	link->cut[DOWNWARDS] |= way != 1;
	if (world_chance(world, 50))
		link_break(link, "cut");
	world_after(&sim->world, &sim->faults, ms, mend, link, NULL);
}

static struct link *some_link(struct sim *sim)
{
	uint32_t i = world_pick(&sim->world, sim->n_hosts + sim->n_people);

	return i < sim->n_hosts ? &sim->hosts[i].link : &sim->people[i - sim->n_hosts].link;
}

/* A switch fails: many at once, for about the same time. */
static void many_are_cut(struct sim *sim)
{
	uint32_t percent = world_between(&sim->world, 20, 100);
	uint32_t ms = world_between(&sim->world, 1000, 40000);

	world_trace(&sim->world, "about %u %% of the hosts are cut off", percent);
	for (unsigned i = 0; i < sim->n_hosts; i++)
		if (world_chance(&sim->world, percent))
			cut(sim, &sim->hosts[i].link, ms + world_pick(&sim->world, 2000));
}

static void many_lose_power(struct sim *sim)
{
	uint32_t percent = world_between(&sim->world, 20, 100);

	for (unsigned i = 0; i < sim->n_hosts; i++)
		if (sim->hosts[i].on && world_chance(&sim->world, percent)) {
			host_die(&sim->hosts[i]);
			world_after(&sim->world, &sim->faults,
				world_between(&sim->world, 3000, 60000), boot, &sim->hosts[i],
				NULL);
		}
}

static void slow_link(struct sim *sim)
{
	struct link *link = some_link(sim);

	link->latency_max_ms = world_between(&sim->world, 5, 4000);
	world_after(&sim->world, &sim->faults, world_between(&sim->world, 100, 20000), mend, link,
		NULL);
}

/* ---- One after the other ----------------------------------------------------------------- */

static void happens(struct sim *sim)
{
	struct world *world = &sim->world;
	uint32_t what = world_pick(world, 100);

	sim->n_faults++;
	if (what < 8)
		coordinator_dies(sim);
	else if (what < 11)
		sleeps(world, &sim->coordinator.server.process, "coordinator", 20000);
	else if (what < 15)
		store_suffers(sim);
	else if (what < 27)
		agent_dies(sim);
	else if (what < 33)
		sleeps(world, &some_host(sim)->process, "an agent", 30000);
	else if (what < 40)
		host_goes_down(sim);
	else if (what < 45)
		disk_suffers(sim);
	else if (what < 60)
		cut(sim, some_link(sim), world_between(world, 200, 40000));
	else if (what < 70)
		link_break(some_link(sim), "by chance");
	else if (what < 75)
		slow_link(sim);
	else if (what < 78)
		many_are_cut(sim);
	else if (what < 79)
		many_lose_power(sim);
	else
		host_unit_exits(some_host(sim));
}

static void next(void *owner, void *data)
{
	struct sim *sim = owner;

	(void)data;
	if (!sim->world.chaos)
		return;
	happens(sim);
	world_after(
		&sim->world, &sim->faults, world_between(&sim->world, 10, 3000), next, sim, NULL);
}

void faults_begin(struct sim *sim)
{
	sim->world.chaos = true;
	world_after(&sim->world, &sim->faults, 2000, next, sim, NULL);
}

void faults_heal(struct sim *sim)
{
	struct world *world = &sim->world;

	world->chaos = false;
	sim->faults.life++; /* their ends do not come, all of them end now */
	world_trace(world, "no more faults");
	sim->coordinator.server.process.asleep_until_ms = 0;
	store_recovers(sim, NULL);
	start_coordinator(sim, NULL);
	for (unsigned i = 0; i < sim->n_people; i++)
		mend(&sim->people[i].link, NULL);
	for (unsigned i = 0; i < sim->n_hosts; i++) {
		struct host *host = &sim->hosts[i];

		mend(&host->link, NULL);
		disk_recovers(host, NULL);
		host->process.asleep_until_ms = 0;
		if (!host->on && world_chance(world, 70))
			host_boot(host);
		start_agent(host, NULL);
	}
}
