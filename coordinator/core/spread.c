/*
 * Spread=: how many instances of a template are in each domain, so that the next one goes where the
 * fewest are.
 *
 * An axis parts the machines into domains: by their value of one key of metadata, or each machine by
 * itself. A domain has a number; a spread, which is a template's along one axis, has a count for
 * each number. The counts follow every placement, and nothing has to be allocated for that: room
 * for a new domain is made when a machine brings it (axis_domain_add()), for a new spread when a
 * unit file asks for it (spread_ref()).
 *
 * Which domains a unit can be in at all follows from its MachineMetadata= and from who is up. It is
 * remembered until one of them changes.
 */
#include <stdlib.h>

#include "coordinator/core/internal.h"

/* ---- Axes -------------------------------------------------------------------------------- */

static int axis_compare(const struct axis *a, const struct axis *b)
{
	return strcmp(a->key, b->key);
}

RB_PROTOTYPE(axis_tree, axis, link, axis_compare)
RB_GENERATE(axis_tree, axis, link, axis_compare)

void axis_init(struct axis *axis)
{
	fl_list_init(&axis->spreads);
}

void axis_fini(struct axis *axis)
{
	free(axis->pools);
	free(axis->key);
}

struct axis *axis_ref(struct core *core, const char *key)
{
	struct axis *axis = RB_ROOT(&core->axes);

	while (axis != NULL) {
		int order = strcmp(key, axis->key);

		if (order == 0)
			break;
		axis = order < 0 ? RB_LEFT(axis, link) : RB_RIGHT(axis, link);
	}
	if (axis == NULL) {
		axis = FL_NEW(struct axis);
		if (axis == NULL)
			return NULL;
		axis_init(axis);
		axis->key = fl_strdup(key);
		if (axis->key == NULL) {
			free(axis);
			return NULL;
		}
		RB_INSERT(axis_tree, &core->axes, axis);
	}
	axis->n_refs++;
	return axis;
}

void axis_unref(struct core *core, struct axis *axis)
{
	if (axis == NULL || axis == &core->each_machine || --axis->n_refs > 0)
		return;
	RB_REMOVE(axis_tree, &core->axes, axis);
	axis_fini(axis);
	free(axis);
}

static bool spread_make_room(struct spread *spread, size_t room)
{
	struct domain *domains;

	if (spread->room >= room)
		return true;
	domains = reallocarray(spread->domains, room, sizeof(*domains));
	if (domains == NULL)
		return false;
	memset(domains + spread->room, 0, (room - spread->room) * sizeof(*domains));
	spread->domains = domains;
	spread->room = room;
	return true;
}

static bool axis_make_room(struct axis *axis)
{
	size_t room = 2 * axis->room + 16;
	struct spread *spread;
	struct pool **pools;

	FL_LIST_FOREACH (spread, &axis->spreads, of_axis)
		if (!spread_make_room(spread, room))
			return false;
	pools = reallocarray(axis->pools, room, sizeof(struct pool *));
	if (pools == NULL)
		return false;
	axis->pools = pools;
	axis->room = room;
	return true;
}

bool axis_domain_add(struct axis *axis, struct pool *pool, size_t *ret_number)
{
	size_t number = 0;

	/* One that is free again, before a new one. */
	while (axis->n_free > 0 && axis->pools[number] != NULL)
		number++;
	if (axis->n_free > 0) {
		axis->n_free--;
	} else {
		if (axis->n_domains == axis->room && !axis_make_room(axis))
			return false;
		number = axis->n_domains++;
	}
	axis->pools[number] = pool;
	*ret_number = number;
	return true;
}

void axis_domain_remove(struct axis *axis, size_t number)
{
	axis->pools[number] = NULL;
	axis->n_free++;
}

/* false: in none, for the machine has no value of the key. */
static bool domain_of(const struct axis *axis, const struct machine *machine, size_t *ret_number)
{
	if (axis->key == NULL) {
		*ret_number = machine->domain;
		return true;
	}
	for (size_t i = 1; i < machine->info.n_nodes; i++) {
		const struct pool *pool = machine->info.nodes[i].pool;

		if (pool->axis != axis)
			continue;
		*ret_number = pool->domain;
		return true;
	}
	return false;
}

/* ---- Families ---------------------------------------------------------------------------- */

static int family_compare(const struct family *a, const struct family *b)
{
	return strcmp(a->template_name, b->template_name);
}

RB_PROTOTYPE(family_tree, family, link, family_compare)
RB_GENERATE(family_tree, family, link, family_compare)

/* Of the instance @name. NULL: no memory. */
static struct family *family_ref(struct core *core, const char *name)
{
	struct family *family = RB_ROOT(&core->families);
	char template_name[UNIT_NAME_MAX + 1];

	if (unit_name_template_of(name, template_name, NULL) != FL_OK)
		return NULL;
	while (family != NULL) {
		int order = strcmp(template_name, family->template_name);

		if (order == 0)
			break;
		family = order < 0 ? RB_LEFT(family, link) : RB_RIGHT(family, link);
	}
	if (family == NULL) {
		family = FL_NEW(struct family);
		if (family == NULL)
			return NULL;
		family->template_name = fl_strdup(template_name);
		if (family->template_name == NULL) {
			free(family);
			return NULL;
		}
		fl_list_init(&family->instances);
		fl_list_init(&family->spreads);
		RB_INSERT(family_tree, &core->families, family);
	}
	family->n_refs++;
	return family;
}

static void family_unref(struct core *core, struct family *family)
{
	if (family == NULL || --family->n_refs > 0)
		return;
	RB_REMOVE(family_tree, &core->families, family);
	free(family->template_name);
	free(family);
}

bool family_join(struct core *core, struct unit *unit)
{
	if (!unit_name_is_instance(unit->name))
		return true;
	unit->family = family_ref(core, unit->name);
	if (unit->family == NULL)
		return false;
	fl_list_append(&unit->family->instances, &unit->sibling);
	return true;
}

void family_leave(struct core *core, struct unit *unit)
{
	fl_list_remove(&unit->sibling);
	family_unref(core, unit->family);
	unit->family = NULL;
}

/* ---- Spreads ----------------------------------------------------------------------------- */

static void count(struct spread *spread, const struct machine *machine, int by)
{
	struct domain *domain;
	size_t number;

	if (!domain_of(spread->axis, machine, &number))
		return;
	domain = &spread->domains[number];
	if (by > 0) {
		if (domain->possible && spread->n_least > 0 && domain->siblings == spread->least)
			spread->n_least--;
		domain->siblings++;
		return;
	}
	domain->siblings--;
	if (!domain->possible || spread->n_least == 0 || domain->siblings > spread->least)
		return;
	if (domain->siblings < spread->least) {
		spread->least = domain->siblings;
		spread->n_least = 0;
	}
	spread->n_least++;
}

void spread_count(const struct unit *unit, const struct machine *machine, int by)
{
	struct spread *spread;

	if (unit->family == NULL)
		return;
	FL_LIST_FOREACH (spread, &unit->family->spreads, of_family)
		count(spread, machine, by);
}

/* Those that are placed already. */
static void count_all(struct spread *spread)
{
	const struct placement *placement;
	const struct unit *unit;

	FL_LIST_FOREACH (unit, &spread->family->instances, sibling)
		FL_LIST_FOREACH (placement, &unit->placements, of_unit)
			if (!placement->removed)
				count(spread, placement->machine, 1);
}

struct spread *spread_ref(struct core *core, const char *name, const char *key)
{
	bool each = strcmp(key, UNIT_SPREAD_MACHINE) == 0;
	struct family *family = family_ref(core, name);
	struct spread *spread;

	if (family == NULL)
		return NULL;
	FL_LIST_FOREACH (spread, &family->spreads, of_family) {
		const char *other = spread->axis->key;

		if (each ? other != NULL : other == NULL || strcmp(other, key) != 0)
			continue;
		family_unref(core, family);
		spread->n_refs++;
		return spread;
	}
	spread = FL_NEW(struct spread);
	if (spread == NULL) {
		family_unref(core, family);
		return NULL;
	}
	spread->n_refs = 1;
	spread->family = family;
	spread->axis = each ? &core->each_machine : axis_ref(core, key);
	if (spread->axis == NULL || !spread_make_room(spread, spread->axis->room)) {
		spread_unref(core, spread);
		return NULL;
	}
	fl_list_append(&family->spreads, &spread->of_family);
	fl_list_append(&spread->axis->spreads, &spread->of_axis);
	count_all(spread);
	return spread;
}

void spread_unref(struct core *core, struct spread *spread)
{
	if (spread == NULL || --spread->n_refs > 0)
		return;
	fl_list_remove(&spread->of_family);
	fl_list_remove(&spread->of_axis);
	axis_unref(core, spread->axis);
	family_unref(core, spread->family);
	free(spread->domains);
	free(spread);
}

uint32_t spread_siblings(const struct spread *spread, const struct machine *machine)
{
	size_t number;

	return domain_of(spread->axis, machine, &number) ? spread->domains[number].siblings
							 : UINT32_MAX;
}

/* ---- Where the fewest are ---------------------------------------------------------------- */

static void find_possible(struct spread *spread, const struct unit *unit,
	struct pool *const *candidates, size_t n_candidates)
{
	for (size_t i = 0; i < spread->axis->n_domains; i++)
		spread->domains[i].possible = false;
	for (size_t i = 0; i < n_candidates; i++) {
		struct load_node *node;

		RB_FOREACH (node, load_tree, &candidates[i]->up) {
			size_t number;

			if (domain_of(spread->axis, node->machine, &number) &&
				!spread->domains[number].possible)
				spread->domains[number].possible =
					place_metadata_met(unit, node->machine);
		}
	}
}

static void find_least(struct spread *spread)
{
	spread->least = UINT32_MAX;
	spread->n_least = 0;
	for (size_t i = 0; i < spread->axis->n_domains; i++) {
		const struct domain *domain = &spread->domains[i];

		if (!domain->possible || domain->siblings > spread->least)
			continue;
		if (domain->siblings < spread->least)
			spread->n_least = 0;
		spread->least = domain->siblings;
		spread->n_least++;
	}
}

uint32_t spread_next_level(const struct spread *spread, uint32_t siblings)
{
	uint32_t next = UINT32_MAX;

	for (size_t i = 0; i < spread->axis->n_domains; i++) {
		const struct domain *domain = &spread->domains[i];

		if (domain->possible && domain->siblings > siblings && domain->siblings < next)
			next = domain->siblings;
	}
	return next;
}

bool spread_look(const struct core *core, struct spread *spread, const struct unit *unit,
	struct pool *const *candidates, size_t n_candidates)
{
	if (spread->machines_version != core->machines_version ||
		spread->metadata_id != unit->body.metadata_id) {
		find_possible(spread, unit, candidates, n_candidates);
		spread->machines_version = core->machines_version;
		spread->metadata_id = unit->body.metadata_id;
		spread->n_least = 0;
	}
	if (spread->n_least == 0)
		find_least(spread);
	return spread->n_least > 0;
}
