/* What the indexes of a placement must be, recounted the slow way: claims, pools, spreads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"

/* ---- Claims ------------------------------------------------------------------------------ */

static uint64_t claimed_memory(const struct unit_claims *claims, const struct machine *machine)
{
	const Pb__Capacity *capacity = machine->info.message->capacity;
	double all = capacity != NULL ? (double)capacity->memory_bytes : 0;

	return claims->memory_bytes + (uint64_t)(all * claims->memory_permyriad / 10000);
}

static void recount(const struct machine *machine, uint64_t *memory_bytes, uint64_t *cpu_milli)
{
	struct placement *placement;

	*memory_bytes = *cpu_milli = 0;
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		const struct unit_claims *claims = &placement->unit->body.rules.claims;

		if (placement->removed)
			continue;
		*memory_bytes += claimed_memory(claims, machine);
		*cpu_milli += claims->cpu_milli;
	}
}

bool fleet_has_room(const struct machine *machine, const struct unit *unit)
{
	const struct unit_claims *claims = &unit->body.rules.claims;
	const Pb__Capacity *capacity = machine->info.message->capacity;
	uint64_t memory_bytes, cpu_milli, memory = claimed_memory(claims, machine);

	recount(machine, &memory_bytes, &cpu_milli);
	if (capacity == NULL)
		return true;
	/* A byte is lost where shares of memory are added. */
	if (capacity->memory_bytes > 0 && memory > 0 &&
		memory_bytes + memory + 1 > capacity->memory_bytes + machine->n_units)
		return false;
	return capacity->cpus == 0 || claims->cpu_milli == 0 ||
	       cpu_milli + claims->cpu_milli <= 1000U * capacity->cpus;
}

static void check_claims(const struct machine *machine)
{
	const Pb__Capacity *capacity = machine->info.message->capacity;
	uint64_t memory_bytes, cpu_milli, offered;
	struct room claimed = machine_claimed(machine);

	recount(machine, &memory_bytes, &cpu_milli);
	assert_in_range(claimed.memory_bytes, memory_bytes, memory_bytes + machine->n_units);
	assert_int_equal(claimed.cpu_milli, cpu_milli);
	if (capacity == NULL || capacity->memory_bytes == 0) {
		assert_int_equal(machine->free.memory_bytes, ROOM_UNLIMITED);
		return;
	}
	offered = capacity->memory_bytes * machine->core->memory_overcommit_permille / 1000;
	assert_int_equal(machine->free.memory_bytes,
		offered > claimed.memory_bytes ? offered - claimed.memory_bytes : 0);
	offered = (uint64_t)capacity->cpus * machine->core->cpu_overcommit_permille;
	assert_int_equal(machine->free.cpu_milli, offered > cpu_milli ? offered - cpu_milli : 0);
}

/* ---- Pools ------------------------------------------------------------------------------- */

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static struct room check_most(const struct load_node *node)
{
	struct room most = {0}, below;

	if (node == NULL)
		return most;
	assert_memory_equal(&node->free, &node->machine->free, sizeof(node->free));
	most = node->free;
	for (int i = 0; i < 2; i++) {
		below = check_most(i == 0 ? RB_LEFT(node, link) : RB_RIGHT(node, link));
		most.memory_bytes = greater(most.memory_bytes, below.memory_bytes);
		most.cpu_milli = greater(most.cpu_milli, below.cpu_milli);
	}
	assert_memory_equal(&node->most, &most, sizeof(most));
	return most;
}

/* ---- Spreads ----------------------------------------------------------------------------- */

static bool is_in(const struct axis *axis, size_t number, const struct machine *machine)
{
	const char *value;

	if (axis->key == NULL)
		return machine->domain == number;
	value = machine_metadata(machine, axis->key);
	return axis->pools[number] != NULL && value != NULL &&
	       strcmp(value, axis->pools[number]->value) == 0;
}

static void check_spread(const struct spread *spread)
{
	size_t n_least = 0;

	assert_true(spread->room >= spread->axis->n_domains);
	for (size_t i = 0; i < spread->axis->n_domains; i++) {
		const struct domain *domain = &spread->domains[i];
		const struct placement *placement;
		const struct unit *unit;
		size_t n = 0;

		FL_LIST_FOREACH (unit, &spread->family->instances, sibling)
			FL_LIST_FOREACH (placement, &unit->placements, of_unit)
				n += !placement->removed &&
				     is_in(spread->axis, i, placement->machine);
		assert_int_equal(domain->siblings, n);
		n_least += domain->possible && domain->siblings == spread->least;
		if (spread->n_least > 0 && domain->possible)
			assert_true(domain->siblings >= spread->least);
	}
	if (spread->n_least > 0)
		assert_int_equal(n_least, spread->n_least);
}

void fleet_check_places(const struct core *core)
{
	struct machine *machine;
	struct pool *pool;
	struct unit *unit;

	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		check_claims(machine);
	(void)check_most(RB_ROOT(&core->all.up));
	RB_FOREACH (pool, pool_tree, (struct pool_tree *)&core->pools)
		(void)check_most(RB_ROOT(&pool->up));
	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		const struct spread *spread;

		assert_int_equal(unit->family != NULL, unit_name_is_instance(unit->name));
		if (unit->family == NULL || unit->family->instances.next != &unit->sibling)
			continue;
		FL_LIST_FOREACH (spread, &unit->family->spreads, of_family)
			check_spread(spread);
	}
}
