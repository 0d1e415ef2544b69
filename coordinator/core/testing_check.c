/*
 * What must always hold of a core, recounted the slow way from its units and machines alone, without
 * the functions that decided it.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"
#include "unitfiles/glob.h"

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
	if (coming && !fleet_has_room(machine, unit))
		return false;
	if (!metadata_met(rules, machine))
		return false;
	if (rules->exclusive && !exclusive_possible(machine))
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
		if (coming && unit->replaced && !there->body.rules.global &&
			any_matches(&rules->replaces, there->name) &&
			!any_matches(&there->body.rules.replaces, unit->name))
			return false;
	}
	return true;
}

static void check_placed(const struct core *core, const struct unit *unit)
{
	const struct machine *machine = unit->placed->machine;

	assert_true(live(unit->placed) && unit->placed->unit == unit);
	assert_int_equal(unit->placed->epoch, unit->epoch);
	assert_null(unit->queue);
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

	if (unit->queue != &core->waiting)
		fail_msg("%s is not placed, and does not wait", unit->name);
	if ((unit->refused_for & 1U << REFUSAL_MEMORY) != 0)
		return;
	why_waiting(core, unit, core->now_ms, &why);
	assert_true(why.len > 0);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		if (machine_is_up(machine) && !machine_is_closed(machine) &&
			(unit->held == NULL ||
				(unit->held->machine == machine && unit->move.from != machine)) &&
			may_be_on(core, unit, machine, true))
			fail_msg("%s waits although %s can take it", unit->name, machine->id);
}

static void check_held(const struct core *core, const struct unit *unit)
{
	assert_int_equal(fl_list_linked(&unit->held_link),
		unit->held != NULL && unit->held_until_ms != UINT64_MAX);
	assert_int_equal(unit->due_ms != 0,
		unit->held != NULL && unit->held_until_ms == UINT64_MAX && unit->stop_ms != 0 &&
			unit->held->machine->fsm.state == MACHINE_LOST);
	assert_true(unit->due_ms == 0 || unit->due_ms > core->now_ms);
	if (unit->held == NULL)
		return;
	/* One that never ends by itself is an exclusive unit's. */
	assert_true(unit->held_until_ms != UINT64_MAX || unit->gone || unit->body.rules.exclusive);
	assert_true(unit->held->removed && unit->held->unit == unit && unit->placed == NULL);
	assert_true(unit->held_until_ms > core->now_ms);
}

static void check_units(const struct core *core)
{
	size_t n = 0, n_waiting = 0, n_conflict_waiting = 0;
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		size_t placements = unit_placement_count(unit);
		const struct placement *placement;
		bool global = unit->body.rules.global;
		const unsigned units =
			1U << REFUSAL_CONFLICT | 1U << REFUSAL_RESOURCES | 1U << REFUSAL_REPLACED;

		n += !unit->gone;
		assert_false(unit->gone && fl_list_empty(&unit->placements) &&
			     !fl_list_linked(&unit->reap));
		assert_false(fl_list_linked(&unit->recheck));
		assert_true(global || placements == (unit->placed != NULL));
		check_held(core, unit);
		if (!unit_is_active(unit)) {
			assert_int_equal(placements, 0);
			assert_null(unit->queue);
			continue;
		}
		assert_true(core->revision >= unit->revision);
		FL_LIST_FOREACH (placement, &unit->placements, of_unit)
			assert_true(placement->removed || placement->epoch == unit->epoch);
		if (global)
			assert_null(unit->queue);
		else if (unit->placed != NULL)
			check_placed(core, unit);
		else
			check_waiting(core, unit);
		n_waiting += unit->queue != NULL;
		n_conflict_waiting += (unit->refused_for & units) != 0;
	}
	assert_int_equal(n, core->n_units);
	assert_int_equal(n_conflict_waiting, core->n_conflict_waiting);
	assert_true(RB_EMPTY(&core->fresh));
	RB_FOREACH (unit, wait_tree, (struct wait_tree *)&core->waiting)
		n_waiting--;
	assert_int_equal(n_waiting, 0);
}

/* The global units of a machine, decided anew: in name order, each against those before it. */
static void check_globals(const struct core *core, const struct machine *machine)
{
	const struct unit *here[1000];
	size_t n = 0;
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		bool wanted = unit_is_active(unit) && unit->body.rules.global &&
			      metadata_met(&unit->body.rules, machine) &&
			      (machine->scheduling.state == SCHEDULING_OPEN ||
				      unit->epoch < machine->closed_revision);

		for (size_t i = 0; i < n && wanted; i++)
			wanted = !in_conflict(unit, here[i]);
		if (unit->body.rules.global)
			assert_int_equal(live(placement_find(machine, unit->name)), wanted);
		if (wanted && n < FL_COUNT(here))
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
	assert_ptr_equal(pool->first, RB_MIN(load_tree, (struct load_tree *)&pool->up));
	assert_int_equal(n, pool->axis == NULL || pool->axis->walked ? pool->n_up : 0);
	n = pool->n_up;
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
		n_tombstones += fl_list_linked(&placement->tombstone);
		/* One that its agent knows of is here for the agent's word only. */
		assert_true(!placement->removed || fl_list_linked(&placement->tombstone) ||
			    placement->unit->held == placement);
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
	assert_int_equal(
		fl_list_linked(&machine->drain), machine->scheduling.state == SCHEDULING_DRAINING);
	if (core->memory_retry_ms == 0)
		check_globals(core, machine);
}

static void check_moves(const struct core *core)
{
	struct machine *machine;
	struct unit *unit;
	uint32_t n = 0;

	FL_LIST_FOREACH (unit, &core->moves, move.link) {
		assert_true(move_is_under_way(unit) && unit_is_active(unit));
		assert_true(unit->placed == NULL || unit->placed->machine != unit->move.from);
		n++;
	}
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
		if (machine->scheduling.state == SCHEDULING_DRAINING)
			assert_true(machine->n_leaving <= 100);
		n -= machine->n_leaving;
	}
	assert_int_equal(n, 0);
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

/* A template's replicas are those that its file wants, in order, with files of its own: the one that
 * it has, or while a rollout is under way an older one. */
static void check_replicas(const struct core *core)
{
	struct unit *template, *unit;

	RB_FOREACH (template, unit_tree, (struct unit_tree *)&core->units) {
		char name[UNIT_NAME_MAX + 1];
		uint32_t n = 0;

		assert_true(template->replica_of == NULL || !template->is_template);
		FL_LIST_FOREACH (unit, &template->replicas, replica) {
			assert_int_equal(unit_name_replica(template->name, ++n, name, NULL), FL_OK);
			assert_string_equal(unit->name, name);
			assert_true(unit->replica_of == template && !unit->gone);
			if (template->rollout == NULL)
				assert_string_equal(unit->body.hash, template->body.replica_hash);
		}
		if (core_next_deadline(core) > core->now_ms + 1000)
			assert_int_equal(n, replicas_wanted(template));
	}
}

void fleet_check(const struct core *core)
{
	struct machine *machine;
	struct pool *pool;

	check_units(core);
	check_replicas(core);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		check_machine(core, machine);
	check_pool(&core->all, core);
	RB_FOREACH (pool, pool_tree, (struct pool_tree *)&core->pools)
		check_pool(pool, core);
	check_leases(core);
	fleet_check_places(core);
	check_moves(core);
}

void fleet_check_assignment(
	const struct core *core, const char *machine_id, const struct fl_map *units)
{
	const struct machine *machine = machine_find(core, machine_id);
	struct placement *placement;
	size_t n = 0;

	assert_non_null(machine);
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements) {
		const Pb__Assignment *has = fl_map_get(units, placement->unit->name);

		if (placement_is_parked(placement)) {
			assert_null(has);
			continue;
		}
		if (placement->removed && placement->unit->held == placement)
			continue;
		assert_false(placement->removed);
		if (has == NULL)
			fail_msg("%s does not know of %s", machine_id, placement->unit->name);
		assert_int_equal(has->epoch, placement->epoch);
		assert_int_equal(has->desired, placement->unit->desired);
		assert_string_equal(has->hash,
			placement->old != NULL ? placement->old->hash : placement->unit->body.hash);
		assert_int_equal(has->start_generation, placement->unit->start_generation);
		assert_int_equal(has->restart_generation, placement->unit->restart_generation);
		n++;
	}
	assert_int_equal(fl_map_count(units), n);
}

static void snapshot_machine(const struct machine *machine, struct fl_buf *text)
{
	const Pb__MachineInfo *info = machine->info.message;

	fl_buf_printf(text, "machine %s %s %s", machine->id, info->boot_id,
		fl_fsm_state_name(&machine->scheduling));
	if (machine_is_closed(machine))
		fl_buf_printf(text, " by %s %s %" PRIu64 " %" PRIu64 " %u", machine->closed_by,
			machine->closed_reason, machine->closed_revision, machine->drain_wall_ms,
			machine->drain_parallel);
	for (size_t i = 0; i < info->n_metadata; i++)
		fl_buf_printf(text, " %s=%s", info->metadata[i]->key, info->metadata[i]->value);
	fl_buf_text(text, "\n");
}

static void snapshot_rollout(const struct unit *unit, struct fl_buf *text)
{
	Pb__UnitRecord record = PB__UNIT_RECORD__INIT;

	assert_int_equal(rollout_record(unit, &record, NULL), FL_OK);
	if (unit->replica_of != NULL)
		fl_buf_printf(text, " replica of %s", record.replica_of);
	if (record.rollout != NULL)
		fl_buf_printf(text, " rollout %d of %" PRIu64 " good %.*s",
			(int)record.rollout->state, record.rollout->revision,
			(int)record.good_content.len, (const char *)record.good_content.data);
	for (size_t i = 0; i < record.n_trial; i++)
		fl_buf_printf(text, " trial %s", record.trial[i]);
	for (size_t i = 0; i < record.n_old_files; i++)
		for (size_t k = 0; k < record.old_files[i]->n_machine_ids; k++)
			fl_buf_printf(text, " old %s %s", record.old_files[i]->hash,
				record.old_files[i]->machine_ids[k]);
	rollout_record_fini(&record);
}

void fleet_snapshot(const struct core *core, struct fl_buf *text)
{
	struct machine *machine;
	struct unit *unit;

	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		snapshot_machine(machine, text);
	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units) {
		if (unit->gone && unit->held == NULL)
			continue;
		if (unit->gone) {
			fl_buf_printf(text, "%s destroyed, stop=%u, held by %s/%" PRIu64 "\n",
				unit->name, unit->stop_ms, unit->held->machine->id,
				unit->held->epoch);
			continue;
		}
		fl_buf_printf(text, "%s %d %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 ":",
			unit->name, (int)unit->desired, unit->body.hash, unit->epoch,
			unit->change_revision, unit->start_generation, unit->restart_generation);
		RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
			const struct placement *placement = placement_find(machine, unit->name);

			if (live(placement))
				fl_buf_printf(text, " %s/%" PRIu64, machine->id, placement->epoch);
		}
		snapshot_rollout(unit, text);
		if (unit->held != NULL)
			fl_buf_printf(text, " held by %s/%" PRIu64, unit->held->machine->id,
				unit->held->epoch);
		if (unit->placed != NULL || unit->held != NULL)
			fl_buf_printf(text, " stop=%u", unit->stop_ms);
		fl_buf_text(text, "\n");
	}
	assert_true(fl_buf_ok(text));
}
