#include "tests/sim/lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/sim/guard.h"

#define FENCE_LATE_MS 50U /* it notices the end */
#define KILL_LATE_MS  500U /* systemd has killed it */
#define ASLEEP_LOOK   100U

static void check(struct host *host);

uint64_t host_clock_ms(const struct host *host)
{
	int64_t since = (int64_t)(host->world->now_ms - host->booted_ms);

	return host->clock_began_ms + (uint64_t)(since + since * host->clock_ppm / 1000000);
}

/* When the host's clock shows @at_ms, by the world's clock from now: not before. */
static uint64_t world_ms_until(const struct host *host, uint64_t at_ms)
{
	uint64_t now_ms = host_clock_ms(host);

	return at_ms > now_ms
		       ? (at_ms - now_ms) * 1000000U / (uint64_t)(1000000 + host->clock_ppm) + 1
		       : 0;
}

void host_unit_run(struct host *host, const char *name, struct host_unit *unit, bool running)
{
	unit->running = running;
	guard_unit_runs(host->guard, host, name, running && unit->exclusive);
}

/* ---- The fence --------------------------------------------------------------------------- */

struct death {
	char name[64];
	uint64_t start;
	uint32_t boots;
};

static void on_death(void *owner, void *data)
{
	struct host *host = owner;
	const struct death *death = data;
	struct host_unit *unit = fl_map_get(host->units, death->name);

	if (!host->on || host->boots != death->boots || unit == NULL || !unit->running ||
		unit->start != death->start)
		return;
	world_trace(host->world, "%s: %s is ended by its fence", host->id, death->name);
	host_unit_run(host, death->name, unit, false);
	host_unit_ended(host, death->name);
}

static void on_fence(void *owner, void *data)
{
	struct host *host = owner;

	if (!host->on || host->boots != *(const uint32_t *)data ||
		host_clock_ms(host) < host->lease_until_ms)
		return;
	host->leased = false;
	FL_MAP_FOREACH (entry, following, host->units) {
		const struct host_unit *unit = fl_map_value(entry);
		struct death *death;

		if (!unit->running || !unit->exclusive)
			continue;
		death = FL_NEW(struct death);
		fl_assert(death != NULL);
		*death = (struct death){.start = unit->start, .boots = host->boots};
		snprintf(death->name, sizeof(death->name), "%s", fl_map_key(entry));
		world_after(host->world, NULL,
			world_between(host->world, 1, unit->stop_ms + KILL_LATE_MS), on_death, host,
			death);
	}
}

/* ---- The agent --------------------------------------------------------------------------- */

static void lapse(struct host *host)
{
	world_trace(host->world, "%s: its lease has ended", host->id);
	host->lease = HOST_LEASE_NONE;
	host->leased = false;
	host_lease_changed(host);
}

static void on_end(void *owner, void *data)
{
	struct host *host = owner;

	if (!host->on || !host->agent_runs || host->process.life != *(const uint64_t *)data)
		return;
	if (host->process.asleep_until_ms > host->world->now_ms)
		world_after(host->world, NULL, ASLEEP_LOOK, on_end, host,
			fl_memdup0(data, sizeof(uint64_t)));
	else
		check(host);
}

static void check(struct host *host)
{
	if (host->lease != HOST_LEASE_NONE && host_clock_ms(host) >= host->lease_until_ms)
		lapse(host);
}

static void wake_at_end(struct host *host)
{
	uint64_t ms = world_ms_until(host, host->lease_until_ms);

	world_after(host->world, NULL, ms, on_end, host,
		fl_memdup0(&host->process.life, sizeof(uint64_t)));
}

/* By an order under the last lease; systemd may carry it out late. */
static bool start_pending(const struct host *host)
{
	FL_MAP_FOREACH (entry, following, host->agent_units) {
		const struct agent_unit *unit = fl_map_value(entry);

		if (unit->assignment != NULL && unit->assignment->exclusive &&
			(unit->step == STEP_START || unit->step == STEP_RESTART))
			return true;
	}
	return false;
}

void lease_granted(struct host *host, uint64_t until_ms)
{
	check(host);
	if (until_ms <= host_clock_ms(host) || !host->fenced ||
		(host->lease == HOST_LEASE_NONE && start_pending(host)))
		return;
	if (until_ms > host->lease_until_ms)
		host->lease_until_ms = until_ms;
	host->leased = true;
	wake_at_end(host);
	world_after(host->world, NULL,
		world_ms_until(host, host->lease_until_ms) + world_pick(host->world, FENCE_LATE_MS),
		on_fence, host, fl_memdup0(&host->boots, sizeof(host->boots)));
	if (host->lease == HOST_LEASE_OURS)
		return;
	host->lease = HOST_LEASE_OURS;
	host_lease_changed(host);
}

void lease_agent_start(struct host *host)
{
	bool alive = host_clock_ms(host) < host->lease_until_ms;

	host->lease = alive ? HOST_LEASE_KEPT : HOST_LEASE_NONE;
	if (alive)
		wake_at_end(host);
}

void lease_boot(struct host *host)
{
	host->booted_ms = host->world->now_ms;
	host->clock_began_ms = world_between(host->world, 1, 100000);
	host->clock_ppm = (int32_t)world_between(host->world, 0, 200) - 100;
	host->lease_until_ms = 0;
	host->leased = false;
	host->fenced = !world_chance(host->world, 5);
}
