/*
 * Random events on a small fleet; after each of them everything that must always hold is recounted
 * the slow way, from the units and machines alone. The seed is printed: FLOTA_SEED replays it,
 * FLOTA_STEPS makes it longer.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"
#include "unitfiles/glob.h"

#define N_MACHINES 20
#define N_UNITS    200

struct model {
	struct fleet fleet;
	uint64_t random;
	bool alive[N_MACHINES], known[N_MACHINES];
	char ids[N_MACHINES][16];
	struct agent agents[N_MACHINES];
	uint64_t epochs[N_UNITS]; /* the greatest seen of each name */
	unsigned n_done, n_refused, n_placed, n_waiting, n_moved, n_restarts;
};

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"). */
static uint32_t pick(struct model *model, uint32_t below)
{
	model->random ^= model->random >> 12;
	model->random ^= model->random << 25;
	model->random ^= model->random >> 27;
	return (uint32_t)((model->random * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % below;
}

static void unit_name(char name[32], unsigned i)
{
	snprintf(name, 32, i % 5 == 0 ? "p@%03u.service" : "u%03u.service", i);
}

/* ---- What must always hold --------------------------------------------------------------- */

static bool live(const struct placement *placement)
{
	return placement != NULL && !placement->removed;
}

static bool any_matches(const struct fl_strv *globs, const char *name)
{
	for (size_t i = 0; i < globs->n; i++)
		if (unit_glob_match(globs->items[i], name))
			return true;
	return false;
}

static bool in_conflict(const struct unit *a, const struct unit *b)
{
	return a != b && (any_matches(&a->body.rules.conflicts, b->name) ||
				 any_matches(&b->body.rules.conflicts, a->name));
}

static bool metadata_met(const struct unit_rules *rules, const struct machine *machine)
{
	for (size_t i = 0; i < rules->n_metadata; i++) {
		const char *value = machine_metadata(machine, rules->metadata[i].key);

		if (value == NULL || !fl_strv_has(&rules->metadata[i].values, value))
			return false;
	}
	return true;
}

/* Whether a unit that is not global may be where it is, or go there. */
static bool may_be_on(const struct core *core, const struct unit *unit,
	const struct machine *machine, bool coming)
{
	const struct unit_rules *rules = &unit->body.rules;
	struct placement *other;

	if (rules->machine_id != NULL && strcmp(rules->machine_id, machine->id) != 0)
		return false;
	if (!metadata_met(rules, machine))
		return false;
	for (size_t i = 0; i < rules->machine_of.n; i++) {
		const struct unit *leader = unit_find(core, rules->machine_of.items[i]);

		if (leader == NULL || !live(placement_find(machine, leader->name)))
			return false;
	}
	RB_FOREACH (other, placement_tree, (struct placement_tree *)&machine->placements) {
		const struct unit *there = other->unit;

		if (!live(other) || there == unit)
			continue;
		if (in_conflict(unit, there))
			return false;
		if (coming && any_matches(&there->body.rules.replaces, unit->name) &&
			!any_matches(&rules->replaces, there->name))
			return false;
	}
	return true;
}

static void check_placed(const struct core *core, const struct unit *unit)
{
	const struct machine *machine = unit->placed->machine;

	assert_true(live(unit->placed) && unit->placed->unit == unit);
	assert_int_equal(unit->placed->epoch, unit->epoch);
	assert_false(fl_list_linked(&unit->waiting));
	if (machine_is_up(machine) && !may_be_on(core, unit, machine, false)) {
		FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;

		place_check_stay(unit, machine, &why);
		fail_msg("%s may not be on %s: %s", unit->name, machine->id, fl_buf_str(&why));
	}
}

static void check_waiting(const struct core *core, const struct unit *unit)
{
	FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;
	struct machine *machine;

	if (!fl_list_linked(&unit->waiting))
		fail_msg("%s is not placed, and does not wait", unit->name);
	why_waiting(core, unit, core->now_ms, &why);
	assert_true(why.len > 0);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		if (machine_is_up(machine) && may_be_on(core, unit, machine, true))
			fail_msg("%s waits although %s can take it", unit->name, machine->id);
}

static void check_units(struct model *model)
{
	const struct core *core = model->fleet.core;
	size_t n = 0, n_waiting = 0, n_conflict_waiting = 0;
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		size_t placements = unit_placement_count(unit);
		const struct placement *placement;
		bool global = unit->body.rules.global;
		const unsigned units = 1U << REFUSAL_CONFLICT | 1U << REFUSAL_REPLACED;

		n += !unit->gone;
		assert_false(unit->gone && fl_list_empty(&unit->placements) &&
			     !fl_list_linked(&unit->reap));
		assert_false(fl_list_linked(&unit->recheck));
		assert_true(global || placements == (unit->placed != NULL));
		if (!unit_is_active(unit)) {
			assert_int_equal(placements, 0);
			assert_false(fl_list_linked(&unit->waiting));
			continue;
		}
		assert_true(core->revision >= unit->revision);
		FL_LIST_FOREACH (placement, &unit->placements, of_unit)
			assert_true(placement->removed || placement->epoch == unit->epoch);
		if (global)
			assert_false(fl_list_linked(&unit->waiting));
		else if (unit->placed != NULL)
			check_placed(core, unit);
		else
			check_waiting(core, unit);
		n_waiting += fl_list_linked(&unit->waiting);
		n_conflict_waiting += (unit->refused_for & units) != 0;
	}
	assert_int_equal(n, core->n_units);
	assert_int_equal(n_conflict_waiting, core->n_conflict_waiting);
	assert_true(fl_list_empty(&core->fresh));
	FL_LIST_FOREACH (unit, &core->waiting, waiting)
		n_waiting--;
	assert_int_equal(n_waiting, 0);
	model->n_waiting += !fl_list_empty(&core->waiting);
}

/* The global units of a machine, decided anew: in name order, each against those before it. */
static void check_globals(const struct core *core, const struct machine *machine)
{
	const struct unit *here[N_UNITS];
	size_t n = 0;
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		bool wanted = unit_is_active(unit) && unit->body.rules.global &&
			      metadata_met(&unit->body.rules, machine);

		for (size_t i = 0; i < n && wanted; i++)
			wanted = !in_conflict(unit, here[i]);
		if (unit->body.rules.global)
			assert_int_equal(live(placement_find(machine, unit->name)), wanted);
		if (wanted)
			here[n++] = unit;
	}
}

static void check_pool(const struct pool *pool, const struct core *core)
{
	const struct load_node *before = NULL;
	struct machine *machine;
	struct load_node *node;
	size_t n = 0;

	RB_FOREACH (node, load_tree, (struct load_tree *)&pool->up) {
		assert_true(before == NULL || load_compare(before, node) < 0);
		assert_true(machine_is_up(node->machine) && node->pool == pool);
		before = node;
		n++;
	}
	assert_int_equal(n, pool->n_up);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
		const char *value = pool->key != NULL ? machine_metadata(machine, pool->key) : NULL;

		if (machine_is_up(machine) &&
			(pool->key == NULL || (value != NULL && strcmp(value, pool->value) == 0)))
			n--;
	}
	assert_int_equal(n, 0);
}

static void check_machine(const struct core *core, const struct machine *machine)
{
	size_t n_units = 0, n_tombstones = 0, n_changes = 0, n_conflictors = 0;
	struct placement *placement;
	uint64_t revision = 0;

	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		n_units += !placement->removed;
		n_tombstones += placement->removed;
		n_conflictors += live(placement) && placement->unit->body.rules.conflicts.n > 0;
		assert_ptr_equal(placement->machine, machine);
	}
	assert_int_equal(n_units, machine->n_units);
	assert_int_equal(n_tombstones, machine->n_tombstones);
	FL_LIST_FOREACH (placement, &machine->changes, change) {
		assert_true(placement->revision > revision);
		revision = placement->revision;
		n_changes++;
	}
	assert_int_equal(n_changes, n_units + n_tombstones);
	FL_LIST_FOREACH (placement, &machine->tombstones, tombstone) {
		assert_true(placement->removed);
		n_tombstones--;
	}
	assert_int_equal(n_tombstones, 0);
	FL_LIST_FOREACH (placement, &machine->conflictors, conflictor)
		n_conflictors--;
	assert_int_equal(n_conflictors, 0);
	assert_int_equal(machine->fsm.state == MACHINE_LOST, !fl_list_linked(&machine->lease));
	check_globals(core, machine);
}

static void check_leases(const struct core *core)
{
	const struct machine *machine;
	uint64_t before = 0;
	size_t n = 0;

	FL_LIST_FOREACH (machine, &core->leases, lease) {
		assert_true(machine->last_heard_ms >= before);
		assert_true(machine->last_heard_ms + core->lease_ms > core->now_ms);
		before = machine->last_heard_ms;
		n++;
	}
	assert_int_equal(n, core->n_leases);
	assert_true(core_next_deadline(core) > core->now_ms);
}

static void check_epochs(struct model *model)
{
	char name[32];

	for (unsigned i = 0; i < N_UNITS; i++) {
		const struct unit *unit;

		unit_name(name, i);
		unit = unit_find(model->fleet.core, name);
		if (unit == NULL || unit_placement_count(unit) == 0)
			continue;
		assert_true(unit->epoch >= model->epochs[i]);
		model->n_moved += model->epochs[i] != 0 && unit->epoch > model->epochs[i];
		model->epochs[i] = unit->epoch;
		model->n_placed++;
	}
}

static void check(struct model *model)
{
	const struct core *core = model->fleet.core;
	struct machine *machine;
	struct pool *pool;

	check_units(model);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		check_machine(core, machine);
	check_pool(&core->all, core);
	RB_FOREACH (pool, pool_tree, (struct pool_tree *)&core->pools)
		check_pool(pool, core);
	check_leases(core);
	check_epochs(model);
}

/* ---- What happens ------------------------------------------------------------------------ */

static void machine_metadata_text(struct model *model, char *text, size_t size)
{
	snprintf(text, size, "role=%u disk=%u", pick(model, 3), pick(model, 2));
}

/* Lines of [X-Fleet] and [X-Flota]: mostly few rules, so that most units find a place. */
static void random_rules(struct model *model, char *text, size_t size)
{
	size_t len = (size_t)snprintf(
		text, size, "[Service]\nExecStart=/bin/r%u\n[X-Fleet]\n", pick(model, 3));
	uint32_t kinds = pick(model, 256);
	char name[32];

#define ADD(...) len += (size_t)snprintf(text + len, size - len, __VA_ARGS__)
	if (kinds % 3 == 0)
		ADD("MachineMetadata=role=%u\n", pick(model, 3));
	if (kinds % 9 == 0)
		ADD("MachineMetadata=role=%u disk=%u\nMachineMetadata=disk=%u\n", pick(model, 3),
			pick(model, 2), pick(model, 2));
	if (kinds % 16 == 1)
		ADD("MachineID=%s\n", model->ids[pick(model, N_MACHINES)]);
	if (kinds % 4 == 2) {
		unit_name(name, pick(model, N_UNITS));
		ADD("Conflicts=%s u%u*\n", name, pick(model, 20));
	}
	if (kinds % 8 == 3) {
		unit_name(name, pick(model, N_UNITS));
		ADD("MachineOf=%s\n", name);
	}
	if (kinds % 8 == 5)
		ADD("Replaces=?%02u*\n", pick(model, 20));
	if (kinds % 16 == 7)
		ADD("Conflicts=*%u.service\n", pick(model, 10));
	if (pick(model, 30) == 0)
		ADD("Global=true\n");
	if (pick(model, 8) == 0)
		ADD("[X-Flota]\nOnMachineLoss=wait\n");
#undef ADD
}

static void random_change(struct model *model)
{
	char name[32], content[1024];
	uint32_t what = pick(model, 100);
	struct fleet *fleet = &model->fleet;
	bool done;

	unit_name(name, pick(model, N_UNITS));
	random_rules(model, content, sizeof(content));
	if (what < 55)
		done = fleet_change(fleet, PB__CHANGE__VERB__SET, name, content,
			PB__DESIRED_STATE__LOADED + pick(model, 2), pick(model, 2) == 0);
	else if (what < 60)
		done = fleet_submit(fleet, name, content);
	else if (what < 75)
		done = fleet_unload(fleet, name);
	else if (what < 85)
		done = fleet_start(fleet, name, NULL);
	else if (what < 90)
		done = fleet_change(fleet, PB__CHANGE__VERB__RESTART, name, NULL, 0, false);
	else
		done = fleet_destroy(fleet, name);
	model->n_done += done;
	model->n_refused += !done;
}

static void random_join(struct model *model)
{
	uint32_t i = pick(model, N_MACHINES);
	char metadata[64];

	machine_metadata_text(model, metadata, sizeof(metadata));
	fleet_join(&model->fleet, model->ids[i], metadata);
	/* This was the beginning of an agent that has nothing on its disk. */
	agent_close(&model->agents[i]);
	agent_open(&model->agents[i], model->ids[i]);
	model->known[i] = model->alive[i] = true;
}

static void random_time(struct model *model)
{
	char beating[512] = "";
	size_t len = 0;

	for (uint32_t i = 0; i < N_MACHINES; i++) {
		if (pick(model, 40) == 0)
			model->alive[i] = !model->alive[i];
		if (model->alive[i] && model->known[i])
			len += (size_t)snprintf(
				beating + len, sizeof(beating) - len, "%s ", model->ids[i]);
	}
	/* Once in a while the network is away. */
	if (pick(model, 20) == 0)
		beating[0] = '\0';
	fleet_pass(&model->fleet, pick(model, 8000), beating);
}

/* Whoever asks to the end knows exactly what is placed there. */
static void random_agent(struct model *model)
{
	uint32_t i = pick(model, N_MACHINES);
	struct agent *agent = &model->agents[i];
	const struct machine *machine;
	struct placement *placement;
	size_t n = 0;

	if (!model->known[i])
		return;
	agent_sync(agent, &model->fleet);
	machine = machine_find(model->fleet.core, model->ids[i]);
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		const Pb__Assignment *has = fl_map_get(agent->units, placement->unit->name);

		assert_false(placement->removed);
		assert_non_null(has);
		assert_int_equal(has->epoch, placement->epoch);
		assert_int_equal(has->desired, placement->unit->desired);
		assert_string_equal(has->hash, placement->unit->body.hash);
		assert_int_equal(has->start_generation, placement->unit->start_generation);
		n++;
	}
	assert_int_equal(fl_map_count(agent->units), n);
}

/* All that has to survive. */
static void snapshot(const struct core *core, struct fl_buf *text)
{
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		struct machine *machine;

		if (unit->gone)
			continue;
		fl_buf_printf(text, "%s %d %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 ":",
			unit->name, (int)unit->desired, unit->body.hash, unit->epoch,
			unit->change_revision, unit->start_generation, unit->restart_generation);
		RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
			const struct placement *placement = placement_find(machine, unit->name);

			if (live(placement))
				fl_buf_printf(text, " %s/%" PRIu64, machine->id, placement->epoch);
		}
		fl_buf_text(text, "\n");
	}
	assert_true(fl_buf_ok(text));
}

/* Shows only the first line that differs. */
static void assert_same_lines(const char *before, const char *after)
{
	while (*before != '\0' || *after != '\0') {
		int m = (int)strcspn(before, "\n"), n = (int)strcspn(after, "\n");

		if (m != n || strncmp(before, after, (size_t)m) != 0)
			fail_msg("before \"%.*s\" after \"%.*s\"", m, before, n, after);
		before += m + (before[m] != '\0');
		after += n + (after[n] != '\0');
	}
}

static void crash(struct model *model)
{
	FL_CLEANUP_BUF struct fl_buf before = FL_BUF_INIT, after = FL_BUF_INIT;
	uint64_t revision = core_revision(model->fleet.core);

	snapshot(model->fleet.core, &before);
	fleet_restart(&model->fleet);
	snapshot(model->fleet.core, &after);
	assert_same_lines(fl_buf_str(&before), fl_buf_str(&after));
	assert_true(core_revision(model->fleet.core) > revision);
	model->n_restarts++;
}

static void random_event(struct model *model)
{
	uint32_t what = pick(model, 100);

	if (what < 60)
		random_change(model);
	else if (what < 65)
		random_join(model);
	else if (what < 80)
		random_time(model);
	else if (what < 98)
		random_agent(model);
	else
		crash(model);
}

static void run(uint64_t seed, unsigned steps)
{
	struct model model = {.random = seed};

	print_message("FLOTA_SEED=%" PRIu64 " FLOTA_STEPS=%u\n", seed, steps);
	fleet_open(&model.fleet);
	for (unsigned i = 0; i < N_MACHINES; i++) {
		snprintf(model.ids[i], sizeof(model.ids[i]), "machine%02u", i);
		agent_open(&model.agents[i], model.ids[i]);
	}
	for (unsigned i = 0; i < steps; i++) {
		random_event(&model);
		fleet_forget(&model.fleet);
		check(&model);
	}
	print_message("%u changes done, %u refused; %u moves, %u steps with units waiting, "
		      "%u restarts\n",
		model.n_done, model.n_refused, model.n_moved, model.n_waiting, model.n_restarts);
	/* Or the run has shown nothing. */
	assert_true(model.n_done > steps / 10 && model.n_placed > steps && model.n_moved > 0 &&
		    model.n_waiting > 0 && model.n_restarts > 0);
	for (unsigned i = 0; i < N_MACHINES; i++)
		agent_close(&model.agents[i]);
	fleet_close(&model.fleet);
}

static uint64_t number(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void known_seeds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(seed, 1500);
}

static void a_new_seed(void **state)
{
	(void)state;
	run(number("FLOTA_SEED", fl_random_id()), (unsigned)number("FLOTA_STEPS", 1500));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_seeds),
		cmocka_unit_test(a_new_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
