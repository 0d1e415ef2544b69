/*
 * Machines that are up, in the order in which a placement tries them: the least loaded first, then
 * by ID. One pool holds all of them, and one each those with one pair of metadata; those of a key
 * that no unit's rules have asked for are only counted.
 *
 * A pool is a tree whose every node knows the most memory, and the most CPU, that is free on one of
 * the machines at and below it. So pool_first() and pool_next() pass over machines that are full
 * without looking at each.
 */
#include <stdlib.h>

#include "coordinator/core/internal.h"

int load_compare(const struct load_node *a, const struct load_node *b)
{
	if (a->n_units != b->n_units)
		return a->n_units < b->n_units ? -1 : 1;
	if (a->id_prefix != b->id_prefix)
		return a->id_prefix < b->id_prefix ? -1 : 1;
	return machine_compare(a->machine, b->machine);
}

static void most_take(struct room *most, const struct room *room)
{
	if (most->memory_bytes < room->memory_bytes)
		most->memory_bytes = room->memory_bytes;
	if (most->cpu_milli < room->cpu_milli)
		most->cpu_milli = room->cpu_milli;
}

/* From what its children know. false: it knew. */
static bool most_refresh(struct load_node *node)
{
	struct room most = node->free;

	if (RB_LEFT(node, link) != NULL)
		most_take(&most, &RB_LEFT(node, link)->most);
	if (RB_RIGHT(node, link) != NULL)
		most_take(&most, &RB_RIGHT(node, link)->most);
	if (most.memory_bytes == node->most.memory_bytes && most.cpu_milli == node->most.cpu_milli)
		return false;
	node->most = most;
	return true;
}

/* What the tree asks for where it gives a node other children: at a rotation, at a removal. */
#undef RB_AUGMENT
#define RB_AUGMENT(node) (void)most_refresh(node)
RB_GENERATE(load_tree, load_node, link, load_compare)
#undef RB_AUGMENT
#define RB_AUGMENT(node) (void)(node)

static void tree_enter(struct load_node *node)
{
	struct pool *pool = node->pool;

	node->n_units = node->machine->n_units;
	node->id_prefix = node->machine->id_prefix;
	node->free = node->most = node->machine->free;
	RB_INSERT(load_tree, &pool->up, node);
	if (pool->first == NULL || load_compare(node, pool->first) < 0)
		pool->first = node;
	for (struct load_node *above = RB_PARENT(node, link); above != NULL;
		above = RB_PARENT(above, link))
		most_take(&above->most, &node->free);
}

static void tree_leave(struct load_node *node)
{
	struct load_node *above = node;

	if (node->pool->first == node)
		node->pool->first = RB_NEXT(load_tree, &node->pool->up, node);
	/* First nothing is free on it, for all above. Then it can go from anywhere. */
	node->free = (struct room){0};
	while (above != NULL && most_refresh(above))
		above = RB_PARENT(above, link);
	RB_REMOVE(load_tree, &node->pool->up, node);
}

/* The pool of all has no axis. */
static bool is_walked(const struct pool *pool)
{
	return pool->axis == NULL || pool->axis->walked;
}

static void enter(struct machine *machine)
{
	for (size_t i = 0; i < machine->info.n_nodes; i++)
		if (is_walked(machine->info.nodes[i].pool))
			tree_enter(&machine->info.nodes[i]);
}

static void leave(struct machine *machine)
{
	for (size_t i = 0; i < machine->info.n_nodes; i++)
		if (is_walked(machine->info.nodes[i].pool))
			tree_leave(&machine->info.nodes[i]);
}

void machine_pools_enter(struct machine *machine)
{
	machine->core->machines_version++;
	for (size_t i = 0; i < machine->info.n_nodes; i++)
		machine->info.nodes[i].pool->n_up++;
	enter(machine);
}

void machine_pools_leave(struct machine *machine)
{
	machine->core->machines_version++;
	for (size_t i = 0; i < machine->info.n_nodes; i++)
		machine->info.nodes[i].pool->n_up--;
	leave(machine);
}

void pools_walk(struct core *core, struct axis *axis)
{
	struct machine *machine;

	if (axis->walked)
		return;
	axis->walked = true;
	RB_FOREACH (machine, machine_tree, &core->machines)
		for (size_t i = 1; machine_is_up(machine) && i < machine->info.n_nodes; i++)
			if (machine->info.nodes[i].pool->axis == axis)
				tree_enter(&machine->info.nodes[i]);
}

void machine_load_change(struct machine *machine, const struct unit_claims *claims, int by)
{
	bool up = machine_is_up(machine);

	if (up)
		leave(machine);
	machine->n_units = by > 0 ? machine->n_units + 1 : machine->n_units - 1;
	machine_claims_add(machine, claims, by);
	if (up)
		enter(machine);
}

/* ---- Walking ----------------------------------------------------------------------------- */

static struct load_node *first_below(struct load_node *node, const struct room *needed)
{
	while (node != NULL && room_holds(&node->most, needed)) {
		/* What is most of each need not be on one machine: there may be none all the same. */
		struct load_node *found = first_below(RB_LEFT(node, link), needed);

		if (found != NULL)
			return found;
		if (room_holds(&node->free, needed))
			return node;
		node = RB_RIGHT(node, link);
	}
	return NULL;
}

struct load_node *pool_first(const struct pool *pool, const struct room *needed)
{
	if (pool->first == NULL || room_holds(&pool->first->free, needed))
		return pool->first;
	return first_below(RB_ROOT(&pool->up), needed);
}

struct load_node *pool_next(struct load_node *node, const struct room *needed)
{
	struct load_node *found = first_below(RB_RIGHT(node, link), needed);

	while (found == NULL) {
		struct load_node *above = RB_PARENT(node, link);

		if (above == NULL)
			return NULL;
		if (RB_LEFT(above, link) == node)
			found = room_holds(&above->free, needed)
					? above
					: first_below(RB_RIGHT(above, link), needed);
		node = above;
	}
	return found;
}

/* ---- By metadata ------------------------------------------------------------------------- */

static int pair_compare(const struct pool *pool, const char *key, const char *value)
{
	int order = strcmp(key, pool->key);

	return order != 0 ? order : strcmp(value, pool->value);
}

static int pool_compare(const struct pool *a, const struct pool *b)
{
	return pair_compare(b, a->key, a->value);
}

RB_GENERATE(pool_tree, pool, link, pool_compare)

struct pool *pool_find(const struct core *core, const char *key, const char *value)
{
	struct pool *pool = RB_ROOT(&core->pools);

	while (pool != NULL) {
		int order = pair_compare(pool, key, value);

		if (order == 0)
			return pool;
		pool = order < 0 ? RB_LEFT(pool, link) : RB_RIGHT(pool, link);
	}
	return NULL;
}

static void pool_free(struct pool *pool)
{
	free(pool->key);
	free(pool->value);
	free(pool);
}

struct pool *pool_ref(struct core *core, const char *key, const char *value)
{
	struct pool *pool = pool_find(core, key, value);

	if (pool == NULL) {
		pool = FL_NEW(struct pool);
		if (pool == NULL)
			return NULL;
		pool->key = fl_strdup(key);
		pool->value = fl_strdup(value);
		pool->axis = axis_ref(core, key);
		if (pool->key == NULL || pool->value == NULL || pool->axis == NULL ||
			!axis_domain_add(pool->axis, pool, &pool->domain)) {
			axis_unref(core, pool->axis);
			pool_free(pool);
			return NULL;
		}
		RB_INIT(&pool->up);
		RB_INSERT(pool_tree, &core->pools, pool);
	}
	pool->n_refs++;
	return pool;
}

void pool_unref(struct core *core, struct pool *pool)
{
	if (pool == NULL || pool == &core->all || --pool->n_refs > 0)
		return;
	RB_REMOVE(pool_tree, &core->pools, pool);
	axis_domain_remove(pool->axis, pool->domain);
	axis_unref(core, pool->axis);
	pool_free(pool);
}
