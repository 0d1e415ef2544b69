/*
 * The choice of a machine for a unit. Of those that nothing speaks against (place_check()) it is the
 * one, in this order,
 *
 *	1. in whose domain the fewest other instances of its template are (Spread=); machines that
 *	   are in none, for they have no value of the key, come last;
 *	2. without a unit that PreferConflicts= names;
 *	3. that fulfils the most keys of PreferMetadata=;
 *	4. with the fewest units, and of these the one whose ID is the least (fleet's rule).
 *
 * What is walked is the smallest set that the rules leave: one machine for MachineID= and MachineOf=,
 * the pools of one key of metadata for MachineMetadata=, else the pool of all; in the order of 4, so
 * that without 1 to 3 the first is the one. For 1 the domains with the fewest instances are walked
 * (spread.c), for 3 the preferred pools before all others. When 2 and 3 cannot be had at once the
 * walk ends after LOOK_MAX machines that could take the unit, with the best of them.
 */
#include "coordinator/core/internal.h"

#define LOOK_MAX  100U
#define SKIPS_MAX 100U

struct search {
	struct core *core;
	const struct unit *unit;
	struct room needed;
	unsigned refused_for;
	/* Only machines in whose domain so many instances are are walked; NULL: all. */
	const struct spread *spread;
	uint32_t siblings;
	size_t n_skips; /* of others, at most, in one walk */
	uint32_t good_unmet; /* this makes a machine good enough to end a walk */

	const struct machine *best;
	uint32_t unmet;
	bool avoided;
	size_t n_looked;
};

/* ---- One machine after the other --------------------------------------------------------- */

static bool accepts(struct search *search, const struct machine *machine)
{
	/* Without a text to write the time does not matter. */
	enum refusal refusal = place_check(search->unit, machine, 0, NULL);

	search->refused_for |= 1U << refusal;
	return refusal == REFUSAL_NONE;
}

static bool less_loaded(const struct machine *a, const struct machine *b)
{
	return load_compare(&a->info.nodes[0], &b->info.nodes[0]) < 0;
}

/* Whether the best is as good as this search hopes for, but for its load. */
static bool is_good(const struct search *search)
{
	return search->best != NULL && !search->avoided && search->unmet <= search->good_unmet;
}

/* Whether neither this machine nor one that is more loaded could be better than the best. */
static bool is_found(const struct search *search, const struct machine *machine)
{
	return search->best != NULL && is_good(search) && !less_loaded(machine, search->best);
}

static void consider(struct search *search, const struct machine *machine)
{
	const struct unit *unit = search->unit;
	bool avoided, better;
	uint32_t unmet;

	if (!accepts(search, machine))
		return;
	avoided = place_avoided(unit, machine) != NULL;
	unmet = place_unmet_preferences(unit, machine);
	if (search->best == NULL)
		better = true;
	else if (avoided != search->avoided)
		better = !avoided;
	else if (unmet != search->unmet)
		better = unmet < search->unmet;
	else
		better = less_loaded(machine, search->best);
	search->n_looked++;
	if (!better)
		return;
	search->best = machine;
	search->avoided = avoided;
	search->unmet = unmet;
}

/* Some pools at once, the least loaded machine first. No machine is in two of them. */
static void walk(struct search *search, struct pool *const *pools, size_t n_pools)
{
	struct load_node *at[UNIT_RULES_VALUES_MAX];
	size_t n_skips = search->n_skips;

	for (size_t i = 0; i < n_pools; i++)
		at[i] = pool_first(pools[i], &search->needed);
	for (;;) {
		size_t least = n_pools;

		for (size_t i = 0; i < n_pools; i++)
			if (at[i] != NULL &&
				(least == n_pools || load_compare(at[i], at[least]) < 0))
				least = i;
		if (least == n_pools || search->n_looked > LOOK_MAX)
			return;
		if (is_found(search, at[least]->machine))
			return;
		if (search->spread != NULL &&
			spread_siblings(search->spread, at[least]->machine) != search->siblings) {
			if (n_skips-- == 0)
				return;
		} else {
			consider(search, at[least]->machine);
			if (search->best == at[least]->machine && is_good(search))
				return;
		}
		at[least] = pool_next(at[least], &search->needed);
	}
}

/* ---- Which machines ---------------------------------------------------------------------- */

/* Where the only machine that can be is known beforehand. */
static bool choose_by_leader(
	const struct core *core, const struct unit *unit, const struct machine **ret_machine)
{
	const struct fl_strv *names = &unit->body.rules.machine_of;

	for (size_t i = 0; i < names->n; i++) {
		const struct unit *leader = unit_find(core, names->items[i]);

		if (leader != NULL && leader->body.rules.global)
			continue;
		*ret_machine =
			leader != NULL && leader->placed != NULL ? leader->placed->machine : NULL;
		return true;
	}
	return false;
}

static void choose_by_id(struct search *search)
{
	const struct unit_rules *rules = &search->unit->body.rules;
	const struct core *core = search->core;
	struct machine *machine = machine_find(core, rules->machine_id);

	if (machine != NULL) {
		consider(search, machine);
		return;
	}
	/* Its first 8 characters: those behind them in the tree begin with them. */
	for (machine = machine_next(core, rules->machine_id);
		machine != NULL && unit_rules_match_machine_id(rules, machine->id);
		machine = RB_NEXT(machine_tree, &core->machines, machine))
		consider(search, machine);
}

/* The pools of a rule about metadata: at most UNIT_RULES_VALUES_MAX. */
static size_t pools_of(
	struct core *core, const struct unit_metadata_rule *rule, struct pool **pools)
{
	size_t n = 0;

	for (size_t i = 0; i < rule->values.n && n < UNIT_RULES_VALUES_MAX; i++) {
		pools[n] = pool_find(core, rule->key, rule->values.items[i]);
		n += pools[n] != NULL;
	}
	if (n > 0)
		pools_walk(core, pools[0]->axis);
	return n;
}

/* The pools of that key of MachineMetadata= which leaves the fewest machines, or that of all. */
static size_t candidates_of(struct core *core, const struct unit *unit, struct pool **pools)
{
	const struct unit_rules *rules = &unit->body.rules;
	const struct unit_metadata_rule *best = NULL;
	size_t best_n = 0;

	for (size_t i = 0; i < rules->n_metadata; i++) {
		size_t n_pools = pools_of(core, &rules->metadata[i], pools), n = 0;

		for (size_t k = 0; k < n_pools; k++)
			n += pools[k]->n_up;
		if (best == NULL || n < best_n) {
			best = &rules->metadata[i];
			best_n = n;
		}
	}
	if (best != NULL)
		return pools_of(core, best, pools);
	pools[0] = &core->all;
	return 1;
}

static void walk_domains(struct search *search, const struct spread *spread, uint32_t siblings)
{
	struct axis *axis = spread->axis;

	pools_walk(search->core, axis);
	for (size_t i = 0; i < axis->n_domains; i++)
		if (spread->domains[i].possible && spread->domains[i].siblings == siblings)
			walk(search, &axis->pools[i], 1);
}

/*
 * Domains with the fewest instances first. Their machines are found in the pool of each, or, where
 * MachineMetadata= would refuse many of those, among the candidates; these may all be in other
 * domains, so that is not tried for long. Single machines have no pools.
 */
static void choose_in_domains(struct search *search, const struct spread *spread,
	struct pool *const *candidates, size_t n_candidates)
{
	bool have_pools = spread->axis->key != NULL;
	bool have_metadata = search->unit->body.rules.n_metadata > 0;
	uint32_t siblings = spread->least;

	while (siblings < UINT32_MAX) {
		search->spread = spread;
		search->siblings = siblings;
		search->n_skips = have_pools ? SKIPS_MAX : SIZE_MAX;
		if (!have_pools || have_metadata)
			walk(search, candidates, n_candidates);
		search->spread = NULL;
		if (have_pools && search->best == NULL)
			walk_domains(search, spread, siblings);
		if (search->best != NULL)
			return;
		siblings = spread_next_level(spread, siblings);
	}
}

/* Those that fulfil a key of PreferMetadata=; all others fulfil none. */
static void choose_preferred(struct search *search)
{
	const struct unit_rules *rules = &search->unit->body.rules;
	struct pool *pools[UNIT_RULES_VALUES_MAX];

	for (size_t i = 0; i < rules->n_prefer_metadata && !is_good(search); i++)
		walk(search, pools, pools_of(search->core, &rules->prefer_metadata[i], pools));
	search->good_unmet = (uint32_t)rules->n_prefer_metadata;
}

static void choose_in_pools(struct search *search)
{
	struct core *core = search->core;
	const struct unit *unit = search->unit;
	struct spread *spread = unit->body.spread;
	struct pool *candidates[UNIT_RULES_VALUES_MAX];
	size_t n = candidates_of(core, unit, candidates);

	if (spread != NULL && spread_look(core, spread, unit, candidates, n)) {
		choose_in_domains(search, spread, candidates, n);
		if (search->best != NULL)
			return;
	} else {
		choose_preferred(search);
	}
	if (search->best == NULL || search->avoided)
		walk(search, candidates, n);
}

struct machine *place_choose(struct core *core, const struct unit *unit, unsigned *ret_refused_for)
{
	const struct unit_rules *rules = &unit->body.rules;
	struct search search = {
		.core = core, .unit = unit, .needed = claims_anywhere(&rules->claims)};
	const struct machine *machine = NULL;

	if (rules->machine_id != NULL) {
		choose_by_id(&search);
	} else if (rules->machine_of.n > 0 && choose_by_leader(core, unit, &machine)) {
		if (machine != NULL)
			consider(&search, machine);
	} else {
		choose_in_pools(&search);
		/* Machines that were passed over for what they have free. */
		if (search.best == NULL &&
			(search.needed.memory_bytes > 0 || search.needed.cpu_milli > 0))
			search.refused_for |= 1U << REFUSAL_RESOURCES;
	}
	*ret_refused_for = search.refused_for;
	return (struct machine *)search.best;
}
