/*
 * Placements, and what speaks against one. One function says whether a unit may be on a machine and,
 * when asked, why not: the scheduler (choose.c) and `flotactl why` cannot disagree.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "unitfiles/glob.h"

int placement_compare(const struct placement *a, const struct placement *b)
{
	return strcmp(a->unit->name, b->unit->name);
}

RB_GENERATE(placement_tree, placement, by_name, placement_compare)

/* ---- Placements -------------------------------------------------------------------------- */

/* The first whose name is not less than @name. */
static struct placement *placement_from(const struct machine *machine, const char *name)
{
	struct placement *placement = RB_ROOT(&machine->placements), *from = NULL;

	while (placement != NULL) {
		if (strcmp(placement->unit->name, name) >= 0) {
			from = placement;
			placement = RB_LEFT(placement, by_name);
		} else {
			placement = RB_RIGHT(placement, by_name);
		}
	}
	return from;
}

struct placement *placement_find(const struct machine *machine, const char *name)
{
	struct placement *placement = placement_from(machine, name);

	return placement != NULL && strcmp(placement->unit->name, name) == 0 ? placement : NULL;
}

void placement_index(struct placement *placement)
{
	const struct unit_rules *rules = &placement->unit->body.rules;

	if (placement->removed)
		return;
	machine_load_change(placement->machine, &rules->claims, 1);
	spread_count(placement->unit, placement->machine, 1);
	if (rules->conflicts.n > 0)
		fl_list_append(&placement->machine->conflictors, &placement->conflictor);
	if (rules->replaces.n > 0)
		fl_list_append(&placement->machine->replacers, &placement->replacer);
}

void placement_unindex(struct placement *placement)
{
	if (placement->removed)
		return;
	machine_load_change(placement->machine, &placement->unit->body.rules.claims, -1);
	spread_count(placement->unit, placement->machine, -1);
	fl_list_remove(&placement->conflictor);
	fl_list_remove(&placement->replacer);
}

void placement_touch(struct core *core, struct placement *placement)
{
	struct machine *machine = placement->machine;

	placement->revision = core_next_revision(core);
	fl_list_remove(&placement->change);
	fl_list_append(&machine->changes, &placement->change);
	mark_machine_changed(core, machine);
}

static void state_forget(struct placement_state *state)
{
	free(state->error);
	*state = (struct placement_state){0};
}

static void tombstone_take_away(struct placement *placement)
{
	if (!fl_list_linked(&placement->tombstone))
		return;
	fl_list_remove(&placement->tombstone);
	placement->machine->n_tombstones--;
}

bool placement_make(struct core *core, struct unit *unit, struct machine *machine, uint64_t epoch)
{
	struct placement *placement = placement_find(machine, unit->name);
	bool was_held = placement != NULL && placement_is_held(placement);

	if (placement != NULL) {
		fl_assert(placement->removed);
		if (was_held)
			held_forget(core, unit);
		tombstone_take_away(placement);
		placement->removed = false;
		state_forget(&placement->state);
	} else {
		placement = FL_NEW(struct placement);
		if (placement == NULL)
			return false;
		placement->unit = unit;
		placement->machine = machine;
		fl_list_append(&unit->placements, &placement->of_unit);
		RB_INSERT(placement_tree, &machine->placements, placement);
	}
	placement->epoch = epoch;
	placement->made_ms = core->now_ms;
	placement->left_lost = false;
	placement->is_old = !core->loaded;
	placement->told = (struct event_limit){0};
	if (!unit->body.rules.global)
		unit->placed = placement;
	exclusive_placed(core, unit, was_held);
	placement_index(placement);
	placement_touch(core, placement);
	mark_unit_changed(core, unit);
	unit_wake_followers(core, unit);
	return true;
}

void placement_entomb(struct core *core, struct placement *placement)
{
	struct machine *machine = placement->machine;

	placement->gone = false;
	placement_touch(core, placement);
	fl_list_append(&machine->tombstones, &placement->tombstone);
	machine->n_tombstones++;
	if (machine->n_tombstones > CORE_TOMBSTONES_MAX && !fl_list_linked(&machine->overflow))
		fl_list_append(&core->overflows, &machine->overflow);
}

void placement_tell_doubled(struct core *core, struct placement *placement)
{
	const struct placement *other = placement->unit->placed;
	uint64_t since_ms;

	if (!placement->left_lost)
		return;
	placement->left_lost = false;
	if (other == NULL || placement_is_held(placement))
		return;
	/* If it booted anew it had it not before. */
	since_ms = other->made_ms > placement->machine->booted_ms ? other->made_ms
								  : placement->machine->booted_ms;
	core_note(core, FL_NOTICE, "unit.doubled", "unit=%s machine=%s ms=%" PRIu64,
		placement->unit->name, placement->machine->id, core->now_ms - since_ms);
	event_addf(core, "unit.doubled", placement->unit, placement->machine,
		"it ran there too, for at most %" PRIu64 " s",
		(core->now_ms - since_ms + 999) / 1000);
}

void placement_bury(struct placement *placement)
{
	placement_tell_doubled(placement->machine->core, placement);
	tombstone_take_away(placement);
	fl_list_remove(&placement->change);
	if (!placement_is_held(placement))
		placement_free(placement);
}

void placement_remove(struct core *core, struct placement *placement)
{
	struct machine *machine = placement->machine;
	struct unit *unit = placement->unit;

	placement_unindex(placement);
	placement->removed = true;
	placement->left_lost = machine->fsm.state == MACHINE_LOST;
	if (placement->old != NULL || placement->rolled.on_trial)
		mark_unit_write(core, unit);
	old_file_unref(FL_TAKE(placement->old));
	placement->rolled = (struct rolled){0};
	state_forget(&placement->state);
	placement_entomb(core, placement);
	drain_look_soon(machine);
	if (unit->placed == placement)
		unit->placed = NULL;
	mark_unit_changed(core, unit);
	settle_help(core, machine, false);
	unit_wake_followers(core, unit);
}

void placement_free(struct placement *placement)
{
	struct unit *unit = placement->unit;
	struct machine *machine = placement->machine;

	placement_unindex(placement);
	tombstone_take_away(placement);
	fl_list_remove(&placement->change);
	fl_list_remove(&placement->of_unit);
	RB_REMOVE(placement_tree, &machine->placements, placement);
	old_file_unref(placement->old);
	state_forget(&placement->state);
	free(placement);
	if (unit->gone && fl_list_empty(&unit->placements) && !fl_list_linked(&unit->reap))
		fl_list_append(&machine->core->reap, &unit->reap);
}

/* ---- What speaks against it -------------------------------------------------------------- */

/* Whether @other counts when @unit asks for conflicts. Among global units the one that is first by
 * name wins, and a global one wins over all others: where globals run must follow from what is
 * stored, and their placements are not. */
static bool conflict_counts(const struct unit *unit, const struct placement *other)
{
	if (other->removed || other->unit == unit)
		return false;
	if (!unit->body.rules.global)
		return true;
	return other->unit->body.rules.global && strcmp(other->unit->name, unit->name) < 0;
}

/* The first unit there that @glob names and that counts. Looks only at names that begin as the glob
 * does. */
static const struct unit *conflict_named(
	const struct unit *unit, const struct machine *machine, const char *glob)
{
	size_t len = strcspn(glob, "*?[\\");
	char prefix[UNIT_RULES_VALUE_MAX + 1];
	struct placement *other;

	if (len >= sizeof(prefix))
		len = sizeof(prefix) - 1;
	memcpy(prefix, glob, len);
	prefix[len] = '\0';
	other = placement_from(machine, prefix);
	for (; other != NULL && strncmp(other->unit->name, prefix, len) == 0;
		other = RB_NEXT(placement_tree, &machine->placements, other))
		if (conflict_counts(unit, other) && unit_glob_match(glob, other->unit->name))
			return other->unit;
	return NULL;
}

static const char *matching_glob(const struct fl_strv *globs, const char *name)
{
	for (size_t i = 0; i < globs->n; i++)
		if (unit_glob_match(globs->items[i], name))
			return globs->items[i];
	return NULL;
}

static void say(struct fl_buf *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct fl_buf *why, const char *format, ...)
{
	char text[1024];
	va_list ap;

	if (why == NULL)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	fl_buf_text(why, text);
}

static bool check_conflicts(
	const struct unit *unit, const struct machine *machine, struct fl_buf *why)
{
	const struct fl_strv *globs = &unit->body.rules.conflicts;
	const struct placement *other;

	for (size_t i = 0; i < globs->n; i++) {
		const struct unit *there = conflict_named(unit, machine, globs->items[i]);

		if (there == NULL)
			continue;
		say(why, "conflicts with unit %s, which is there (Conflicts=%s)", there->name,
			globs->items[i]);
		return false;
	}
	FL_LIST_FOREACH (other, &machine->conflictors, conflictor) {
		const char *glob;

		if (!conflict_counts(unit, other))
			continue;
		glob = matching_glob(&other->unit->body.rules.conflicts, unit->name);
		if (glob == NULL)
			continue;
		say(why, "unit %s, which is there, conflicts with it (Conflicts=%s)",
			other->unit->name, glob);
		return false;
	}
	return true;
}

const struct unit *place_avoided(const struct unit *unit, const struct machine *machine)
{
	const struct fl_strv *globs = &unit->body.rules.prefer_conflicts;
	const struct unit *there = NULL;

	for (size_t i = 0; i < globs->n && there == NULL; i++)
		there = conflict_named(unit, machine, globs->items[i]);
	return there;
}

/* Whether @unit replaces @old: it says so, and the other does not say the same of it (fleet ignores
 * mutual Replaces=). *ret_glob is what names it. */
static bool replaces(const struct unit *unit, const struct unit *old, const char **ret_glob)
{
	if (unit == old || unit->body.rules.replaces.n == 0)
		return false;
	*ret_glob = matching_glob(&unit->body.rules.replaces, old->name);
	return *ret_glob != NULL && matching_glob(&old->body.rules.replaces, unit->name) == NULL;
}

bool place_replaces(const struct unit *unit, const struct unit *old)
{
	const char *glob;

	return replaces(unit, old, &glob);
}

static bool check_replaced(
	const struct unit *unit, const struct machine *machine, struct fl_buf *why)
{
	struct placement *other;
	const char *glob;

	if (unit->replaced && unit->body.rules.replaces.n > 0) {
		RB_FOREACH (other, placement_tree, (struct placement_tree *)&machine->placements) {
			if (other->removed || other->unit->body.rules.global ||
				!replaces(unit, other->unit, &glob))
				continue;
			say(why,
				"it would replace unit %s (Replaces=%s), and was replaced itself: "
				"it does so when it is started anew",
				other->unit->name, glob);
			return false;
		}
	}
	FL_LIST_FOREACH (other, &machine->replacers, replacer) {
		if (!replaces(other->unit, unit, &glob))
			continue;
		say(why, "unit %s, which is there, replaces it (Replaces=%s)", other->unit->name,
			glob);
		return false;
	}
	return true;
}

static const char *get_metadata(void *userdata, const char *key)
{
	return machine_metadata(userdata, key);
}

static bool check_metadata(
	const struct unit *unit, const struct machine *machine, struct fl_buf *why)
{
	const struct unit_metadata_rule *unmet = unit_rules_unmet_metadata(
		&unit->body.rules, get_metadata, (struct machine *)machine);
	const char *value;

	if (unmet == NULL)
		return true;
	if (why == NULL)
		return false;
	say(why, "metadata ");
	for (size_t i = 0; i < unmet->values.n; i++)
		say(why, "%s%s=%s", i > 0 ? " or " : "", unmet->key, unmet->values.items[i]);
	value = machine_metadata(machine, unmet->key);
	if (value != NULL)
		say(why, " wanted, the machine has %s=%s", unmet->key, value);
	else
		say(why, " wanted, the machine has no %s", unmet->key);
	return false;
}

bool place_metadata_met(const struct unit *unit, const struct machine *machine)
{
	return check_metadata(unit, machine, NULL);
}

uint32_t place_unmet_preferences(const struct unit *unit, const struct machine *machine)
{
	const struct unit_rules *rules = &unit->body.rules;
	uint32_t n = 0;

	for (size_t i = 0; i < rules->n_prefer_metadata; i++) {
		const struct unit_metadata_rule *rule = &rules->prefer_metadata[i];
		const char *value = machine_metadata(machine, rule->key);

		n += value == NULL || !fl_strv_has(&rule->values, value);
	}
	return n;
}

static bool check_machine_of(const struct core *core, const struct unit *unit,
	const struct machine *machine, struct fl_buf *why)
{
	const struct fl_strv *names = &unit->body.rules.machine_of;

	for (size_t i = 0; i < names->n; i++) {
		const struct unit *leader = unit_find(core, names->items[i]);
		const struct placement *there = NULL;

		if (leader != NULL)
			there = placement_find(machine, leader->name);
		if (there != NULL && !there->removed)
			continue;
		if (leader == NULL)
			say(why, "wants to be with unit %s (MachineOf=), which does not exist",
				names->items[i]);
		else if (!unit_is_active(leader))
			say(why, "wants to be with unit %s (MachineOf=), which is inactive",
				leader->name);
		else if (leader->placed != NULL)
			say(why, "wants to be with unit %s (MachineOf=), which is on machine %.8s",
				leader->name, leader->placed->machine->id);
		else
			say(why, "wants to be with unit %s (MachineOf=), which is not there",
				leader->name);
		return false;
	}
	return true;
}

enum refusal place_check_stay(
	const struct unit *unit, const struct machine *machine, struct fl_buf *why)
{
	const struct unit_rules *rules = &unit->body.rules;

	if (!unit_rules_match_machine_id(rules, machine->id)) {
		say(why, "MachineID=%s wanted", rules->machine_id);
		return REFUSAL_MACHINE_ID;
	}
	if (!check_metadata(unit, machine, why))
		return REFUSAL_METADATA;
	if (!check_machine_of(machine->core, unit, machine, why))
		return REFUSAL_MACHINE_OF;
	if (!check_conflicts(unit, machine, why))
		return REFUSAL_CONFLICT;
	if (rules->exclusive && !exclusive_possible(machine)) {
		say(why, "its agent cannot keep the unit to a lease (Exclusive=): "
			 "flota-fence.service does not run there, or flota-agent is too old");
		return REFUSAL_EXCLUSIVE;
	}
	return REFUSAL_NONE;
}

enum refusal place_check(
	const struct unit *unit, const struct machine *machine, uint64_t now_ms, struct fl_buf *why)
{
	enum refusal refusal;

	if (!unit->body.rules.global && machine->is_revoked) {
		say(why, "revoked");
		return REFUSAL_STATE;
	}
	if (!unit->body.rules.global && machine->fsm.state == MACHINE_LOST && !machine->heard) {
		say(why, "lost: not heard of since the coordinator started");
		return REFUSAL_STATE;
	}
	if (!unit->body.rules.global && machine->fsm.state == MACHINE_LOST) {
		say(why, "lost: not heard of for %" PRIu64 " s",
			(now_ms - machine->last_heard_ms) / 1000);
		return REFUSAL_STATE;
	}
	if (!unit->body.rules.global && machine->fsm.state == MACHINE_UNKNOWN) {
		say(why, "not heard of yet since the coordinator started");
		return REFUSAL_STATE;
	}
	if (machine_keeps_away(machine, unit)) {
		if (why != NULL)
			machine_closed_text(machine, why);
		return REFUSAL_CLOSED;
	}
	/* It may come back, but not while it is to go away. */
	if (unit->held != NULL && (unit->held->machine != machine || unit->move.from == machine)) {
		say(why, "machine %.8s, which it has left, has not let go of it yet",
			unit->held->machine->id);
		return REFUSAL_HELD;
	}
	refusal = place_check_stay(unit, machine, why);
	if (refusal == REFUSAL_NONE && !unit->body.rules.global &&
		!claims_fit(unit, machine, false, why))
		refusal = REFUSAL_RESOURCES;
	if (refusal == REFUSAL_NONE && !unit->body.rules.global &&
		!check_replaced(unit, machine, why))
		refusal = REFUSAL_REPLACED;
	return refusal;
}
