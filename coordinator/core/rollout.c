/*
 * A changed file on its way to all places of a unit: the replicas of a template, the machines of a
 * global unit, or the one place of a unit that has MinHealthySec= or MaxUnavailable=.
 *
 *	            every place that can be reached is healthy with it
 *	ROLLING ─────────────────────────────────────────────────────▶ DONE
 *	   │ ▲ another file                                             │
 *	   │ └──────────────────────────────┬───────────────────────────┘
 *	   │ one that was healthy is not    │
 *	   └─────────────▶ RETURNING ───────┴──────▶ RETURNED
 *	                    every place has the last good file again
 *
 * A place is taken when at most MaxUnavailable= of them are not healthy, it among them; it is then
 * on trial until it has been healthy for MinHealthySec=. Healthy is a launched unit that is active,
 * or has ended well, with the file carried out. A place that was not healthy before costs nothing,
 * so it is taken at once, and proves nothing against the file when it fails again. A lost machine,
 * and a unit that no machine takes, hold nothing up: what they have is replaced when they are back,
 * also after DONE.
 *
 * Where a file is, the places themselves say: a replica has a body of its own, a placement of a
 * global unit an old_file while the unit's own body is not yet its. The store keeps that, the good
 * file and who is on trial; what was watched begins anew with a coordinator.
 *
 * Deadlines: a place on trial is given up after TimeoutStartSec=, or 10 minutes, and MinHealthySec=;
 * one that is neither healthy nor failed and has another file is taken after 10 minutes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/rollout.h"

#define MIN_HEALTHY_MS  5000U
#define PATIENCE_MS     (10U * 60 * 1000)
#define MEMORY_RETRY_MS 1000U

/* ---- Places ------------------------------------------------------------------------------ */

static bool next_of_global(struct unit *owner, struct place *place)
{
	struct fl_list *link =
		place->placement != NULL ? place->placement->of_unit.next : owner->placements.next;

	for (; link != &owner->placements; link = link->next) {
		place->placement = FL_LIST_ENTRY(link, struct placement, of_unit);
		place->unit = owner;
		place->rolled = &place->placement->rolled;
		if (!place->placement->removed)
			return true;
	}
	return false;
}

bool rollout_next_place(struct unit *owner, struct place *place)
{
	struct unit *unit = owner;

	if (owner->body.rules.global)
		return next_of_global(owner, place);
	if (owner->is_template) {
		const struct fl_list *link =
			place->unit != NULL ? place->unit->replica.next : owner->replicas.next;

		if (link == &owner->replicas)
			return false;
		unit = FL_LIST_ENTRY(link, struct unit, replica);
	} else if (place->unit != NULL) {
		return false;
	}
	*place = (struct place){.unit = unit, .placement = unit->placed, .rolled = &unit->rolled};
	return true;
}

bool rollout_place_is_old(const struct unit *owner, const struct place *place)
{
	if (owner->body.rules.global)
		return place->placement != NULL && place->placement->old != NULL;
	return owner->is_template && strcmp(place->unit->body.hash, owner->body.replica_hash) != 0;
}

bool rollout_is_old(const struct unit *unit, const struct placement *placement)
{
	struct place place = {
		.unit = (struct unit *)unit, .placement = (struct placement *)placement};

	if (placement->old != NULL)
		return true;
	return unit->replica_of != NULL && unit->replica_of->rollout != NULL &&
	       rollout_place_is_old(unit->replica_of, &place);
}

const char *rollout_place_name(const struct place *place)
{
	return place->unit->body.rules.global ? place->placement->machine->id : place->unit->name;
}

/* ---- Health ------------------------------------------------------------------------------ */

enum standing {
	STANDING_STOPPED, /* it is not to run */
	STANDING_AWAY, /* its machine is lost, or none takes it */
	STANDING_UNCLEAR, /* on its way, or not known */
	STANDING_GOOD,
	STANDING_FAILED,
};

static bool is(const char *text, const char *word)
{
	return strcmp(text, word) == 0;
}

/* The results of a job that are no failure: JobRemoved, org.freedesktop.systemd1(5). */
static bool job_went_well(const struct placement_state *state)
{
	return *state->result == '\0' || is(state->result, "done") || is(state->result, "skipped");
}

static enum standing standing_of_state(const struct placement_state *state)
{
	if (is(state->active, "failed") || is(state->load, "bad-setting") ||
		is(state->load, "error") || is(state->load, "masked"))
		return STANDING_FAILED;
	if (is(state->active, "inactive") && !job_went_well(state))
		return STANDING_FAILED;
	if (state->error != NULL)
		return STANDING_UNCLEAR; /* its agent tries again */
	if (is(state->active, "active") || is(state->active, "reloading") ||
		is(state->active, "refreshing") ||
		(is(state->active, "inactive") && is(state->load, "loaded")))
		return STANDING_GOOD;
	return STANDING_UNCLEAR;
}

static enum standing standing_of(const struct place *place)
{
	const struct placement *placement = place->placement;

	if (place->unit->desired != PB__DESIRED_STATE__LAUNCHED)
		return STANDING_STOPPED;
	if (placement == NULL)
		return place->unit->held != NULL ||
				       (place->unit->refused_for & 1U << REFUSAL_MEMORY) != 0
			       ? STANDING_UNCLEAR
			       : STANDING_AWAY;
	if (placement_is_parked(placement))
		return STANDING_AWAY;
	switch ((enum machine_state)placement->machine->fsm.state) {
	case MACHINE_LOST:
		return STANDING_AWAY;
	case MACHINE_UNKNOWN:
		return STANDING_UNCLEAR;
	case MACHINE_UP:
		break;
	}
	if (!placement->state.known || placement->state.done_revision < placement->revision)
		return STANDING_UNCLEAR;
	return standing_of_state(&placement->state);
}

static uint64_t min_healthy_ms(const struct rollout *rollout)
{
	const struct unit_rules *rules = &rollout->unit->body.rules;

	return rules->has_min_healthy ? rules->min_healthy_ms : MIN_HEALTHY_MS;
}

static void due_at(const struct core *core, struct rollout *rollout, uint64_t ms)
{
	if (ms > core->now_ms && ms < rollout->due_ms)
		rollout->due_ms = ms;
}

static const char *assigned_hash(const struct place *place)
{
	const struct placement *placement = place->placement;

	return placement->old != NULL ? placement->old->hash : place->unit->body.hash;
}

/* When a place that has the file is given up. The time to start counts from when the file is on the
 * host: what ran there before may take long to stop. */
static void watch_deadline(struct core *core, struct rollout *rollout, const struct place *place)
{
	const struct placement *placement = place->placement;
	struct rolled *rolled = place->rolled;
	uint64_t timeout_ms = rollout->unit->body.start_timeout_ms;

	if (rolled->until_ms == 0)
		rolled->until_ms = core->now_ms + PATIENCE_MS + min_healthy_ms(rollout);
	if (!rolled->in_place && timeout_ms > 0 && placement != NULL && placement->state.known &&
		is(placement->state.hash, assigned_hash(place))) {
		rolled->in_place = true;
		rolled->until_ms = core->now_ms + timeout_ms + min_healthy_ms(rollout);
	}
	due_at(core, rollout, rolled->until_ms);
}

/* Of a place that has the file: for how long has it been healthy? */
static void watch(struct core *core, struct rollout *rollout, const struct place *place,
	enum standing standing)
{
	struct rolled *rolled = place->rolled;
	const struct placement_state *state;

	if (standing == STANDING_STOPPED || standing == STANDING_AWAY)
		rolled->until_ms = 0;
	else if (standing == STANDING_UNCLEAR || !rolled->proven)
		watch_deadline(core, rollout, place);
	if (standing != STANDING_GOOD) {
		rolled->good_since_ms = 0;
		return;
	}
	if (rolled->proven) {
		rolled->until_ms = 0;
		return;
	}
	state = &place->placement->state;
	if (rolled->good_since_ms == 0 || rolled->since_us != state->since_us ||
		rolled->main_pid != state->main_pid)
		rolled->good_since_ms = core->now_ms;
	rolled->since_us = state->since_us;
	rolled->main_pid = state->main_pid;
	if (core->now_ms < rolled->good_since_ms + min_healthy_ms(rollout)) {
		due_at(core, rollout, rolled->good_since_ms + min_healthy_ms(rollout));
		return;
	}
	rolled->proven = true;
	rolled->until_ms = 0;
	if (!rolled->on_trial)
		return;
	rolled->on_trial = false;
	mark_unit_write(core, rollout->unit);
	snprintf(rollout->last, sizeof(rollout->last), "%s", rollout_place_name(place));
	event_add(core, "rollout.healthy", place->unit, place->placement->machine, "");
}

/* ---- Counting ---------------------------------------------------------------------------- */

struct tally {
	uint32_t total;
	uint32_t done; /* healthy with the file, or not to run */
	uint32_t failed; /* given up */
	uint32_t down; /* not healthy, and to be so again */
	uint32_t open; /* to be waited for */
	uint32_t lagging; /* with another file, on lost machines */
	struct place waited_for, culprit; /* the first of each; unit NULL: none */
	char why[512]; /* what the culprit did */
};

static void wait_for(struct tally *tally, const struct place *place, bool is_down)
{
	tally->open++;
	tally->down += is_down;
	if (tally->waited_for.unit == NULL)
		tally->waited_for = *place;
}

static void say_state(const struct place *place, char *text, size_t size)
{
	const struct placement *placement = place->placement;
	const struct placement_state *state = &placement->state;
	bool job = !job_went_well(state);

	snprintf(text, size, "%s on machine %.8s (%s): %s%s%s%s", place->unit->name,
		placement->machine->id, placement->machine->info.message->address,
		state->error != NULL ? state->error
		: state->known       ? state->active
				     : "its machine has not reported it yet",
		state->error == NULL && job ? ", its job ended as: " : "",
		state->error == NULL && job ? state->result : "",
		state->error == NULL && !is(state->load, "loaded") && *state->load != '\0'
			? ", it is not loaded"
			: "");
}

/* A place that had been healthy and is not with this file: where it is ROLLING that ends it, else
 * the place is given up. */
static void blame(
	struct core *core, struct rollout *rollout, const struct place *place, struct tally *tally)
{
	char text[sizeof(tally->why) - 32];

	if (rollout->state != PB__ROLLOUT__STATE__ROLLING) {
		tally->failed++;
		if (place->rolled->on_trial)
			mark_unit_write(core, rollout->unit);
		place->rolled->on_trial = place->rolled->proven = false;
		return;
	}
	if (tally->culprit.unit != NULL)
		return;
	tally->culprit = *place;
	if (place->placement == NULL) {
		snprintf(tally->why, sizeof(tally->why), "no machine can take %s with it",
			place->unit->name);
		return;
	}
	say_state(place, text, sizeof(text));
	snprintf(tally->why, sizeof(tally->why), "%s%s",
		standing_of(place) == STANDING_FAILED ? "" : "not healthy in time: ", text);
}

static void count_old(struct core *core, struct rollout *rollout, const struct place *place,
	enum standing standing, struct tally *tally)
{
	const struct placement *placement = place->placement;

	/* Of one that is not to run, too, a lost machine may have the old file. */
	if (placement != NULL &&
		(standing == STANDING_AWAY || placement->machine->fsm.state == MACHINE_LOST)) {
		tally->lagging++;
		return;
	}
	/* One that is healthy on trial with a file that nobody wants any more is taken like one
	 * that never was on trial: were it down, nothing would end that. */
	wait_for(tally, place,
		standing == STANDING_UNCLEAR ||
			(place->rolled->on_trial && standing != STANDING_GOOD));
	if (standing == STANDING_UNCLEAR && core->now_ms < rollout->since_ms + PATIENCE_MS)
		due_at(core, rollout, rollout->since_ms + PATIENCE_MS);
}

static void count_new(struct core *core, struct rollout *rollout, const struct place *place,
	enum standing standing, struct tally *tally)
{
	struct rolled *rolled = place->rolled;
	bool had_been_good = rolled->on_trial || rolled->proven;
	bool in_time = core->now_ms < rolled->until_ms || rolled->until_ms == 0;

	/* Was it the file that took it from its machine? */
	rolled->displaced =
		place->placement == NULL && (rolled->displaced || rolled->step == core->step);
	switch (standing) {
	case STANDING_STOPPED:
		if (rolled->on_trial)
			mark_unit_write(core, rollout->unit);
		rolled->on_trial = false;
		tally->done++;
		return;
	case STANDING_AWAY:
		if (rolled->displaced && rolled->on_trial)
			blame(core, rollout, place, tally);
		return;
	case STANDING_GOOD:
		tally->done += rolled->proven;
		if (!rolled->proven)
			wait_for(tally, place, rolled->on_trial);
		return;
	case STANDING_UNCLEAR:
		if (in_time && rolled->proven)
			tally->down++;
		else if (in_time)
			wait_for(tally, place, rolled->on_trial);
		else if (had_been_good)
			blame(core, rollout, place, tally);
		else
			tally->failed++;
		return;
	case STANDING_FAILED:
		if (had_been_good)
			blame(core, rollout, place, tally);
		else
			tally->failed++;
		return;
	}
}

static void count(struct core *core, struct rollout *rollout, struct tally *tally)
{
	*tally = (struct tally){0};
	rollout->due_ms = UINT64_MAX;
	for (struct place place = {0}; rollout_next_place(rollout->unit, &place);) {
		enum standing standing = standing_of(&place);

		tally->total++;
		if (rollout_place_is_old(rollout->unit, &place)) {
			place.rolled->proven = false;
			count_old(core, rollout, &place, standing, tally);
		} else {
			watch(core, rollout, &place, standing);
			count_new(core, rollout, &place, standing, tally);
		}
	}
}

/* ---- Taking the next --------------------------------------------------------------------- */

static bool take(
	struct core *core, struct rollout *rollout, const struct place *place, bool on_trial)
{
	struct unit *owner = rollout->unit;
	struct unit_body body;

	if (owner->body.rules.global) {
		old_file_unref(FL_TAKE(place->placement->old));
		placement_touch(core, place->placement);
		mark_unit_changed(core, owner);
	} else {
		if (replica_body_read(core, place->unit->name, &owner->body, &body, NULL) != FL_OK)
			return false;
		change_asked(core, place->unit);
		change_file(core, place->unit, &body);
		unit_body_fini(core, &body);
	}
	*place->rolled = (struct rolled){.on_trial = on_trial, .step = core->step};
	mark_unit_write(core, owner);
	return true;
}

static uint32_t budget(const struct rollout *rollout, uint32_t total)
{
	const struct unit_rules *rules = &rollout->unit->body.rules;
	uint64_t n = rules->max_unavailable;

	if (rules->max_unavailable_percent > 0)
		n = (uint64_t)total * rules->max_unavailable_percent / 100;
	if (n == 0)
		return 1;
	return n > total ? total : (uint32_t)n;
}

/* As many healthy ones as may be down; false: some for want of memory not. */
static bool take_healthy(
	struct core *core, struct rollout *rollout, bool is_on_trial, uint32_t *left)
{
	bool taken = true;

	for (struct place place = {0}; *left > 0 && rollout_next_place(rollout->unit, &place);) {
		if (!rollout_place_is_old(rollout->unit, &place) ||
			standing_of(&place) != STANDING_GOOD ||
			place.rolled->on_trial != is_on_trial)
			continue;
		taken &= take(core, rollout, &place, true);
		*left -= 1;
	}
	return taken;
}

/* Those that are not healthy first: they cost nothing. Then those that are on trial: they are the
 * ones that may fail, so no others are made to. */
static void take_next(struct core *core, struct rollout *rollout, const struct tally *tally)
{
	bool is_late = core->now_ms >= rollout->since_ms + PATIENCE_MS;
	uint32_t left = budget(rollout, tally->total);
	bool short_of_memory = false;

	left = left > tally->down ? left - tally->down : 0;
	for (struct place place = {0}; rollout_next_place(rollout->unit, &place);) {
		enum standing standing = standing_of(&place);

		if (!rollout_place_is_old(rollout->unit, &place) || standing == STANDING_GOOD)
			continue;
		/* Another file might take it from a machine that may still run it. */
		if (place.placement != NULL && !machine_is_up(place.placement->machine))
			continue;
		if (standing != STANDING_UNCLEAR || place.rolled->on_trial || is_late)
			short_of_memory |= !take(core, rollout, &place, place.rolled->on_trial);
	}
	short_of_memory |= !take_healthy(core, rollout, true, &left);
	short_of_memory |= !take_healthy(core, rollout, false, &left);
	if (short_of_memory)
		due_at(core, rollout, core->now_ms + MEMORY_RETRY_MS);
}

/* ---- Files of global units --------------------------------------------------------------- */

struct old_file *old_file_new(const struct unit_body *body)
{
	struct old_file *old = malloc(sizeof(*old) + body->content_len);

	if (old == NULL)
		return NULL;
	old->n_refs = 1;
	memcpy(old->hash, body->hash, sizeof(old->hash));
	old->len = body->content_len;
	memcpy(old->content, body->content, old->len);
	return old;
}

void old_file_unref(struct old_file *old)
{
	if (old != NULL && --old->n_refs == 0)
		free(old);
}

/* Another file goes to all places. */
static void set_file(
	struct core *core, struct unit *unit, struct unit_body *body, struct old_file *old)
{
	struct placement *placement;

	/* Whoever has the one that the unit had keeps it for now. */
	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		if (old == NULL || placement->removed || placement->old != NULL)
			continue;
		placement->old = old;
		old->n_refs++;
	}
	if (unit->is_template)
		unit_body_swap(core, unit, body);
	else
		change_file(core, unit, body);
	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		if (placement->old == NULL || !is(placement->old->hash, unit->body.hash))
			continue;
		old_file_unref(FL_TAKE(placement->old));
		placement_touch(core, placement);
	}
	for (struct place place = {0}; rollout_next_place(unit, &place);)
		*place.rolled =
			(struct rolled){.on_trial = place.rolled->on_trial, .step = core->step};
}

/* ---- Returning --------------------------------------------------------------------------- */

/* false: no memory for it now. */
static bool return_to_good(struct core *core, struct rollout *rollout, const struct tally *tally)
{
	struct unit *unit = rollout->unit;
	struct old_file *old = NULL;

	if (unit->body.rules.global) {
		old = old_file_new(&unit->body);
		if (old == NULL)
			return false;
	}
	snprintf(rollout->text, sizeof(rollout->text), "%s", tally->why);
	core_note(core, FL_WARNING, "rollout.returning", "unit=%s revision=%" PRIu64 " why=%s",
		unit->name, rollout->revision, tally->why);
	event_add(core, "rollout.returning", unit, NULL, tally->why);
	rollout->state = PB__ROLLOUT__STATE__RETURNING;
	rollout->since_ms = core->now_ms;
	change_asked(core, unit);
	set_file(core, unit, &rollout->good, old);
	if (unit->is_template)
		replicas_trim(core, unit, replicas_wanted(unit));
	unit_body_fini(core, &rollout->good);
	old_file_unref(old);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
	return true;
}

/* ---- The next steps ---------------------------------------------------------------------- */

static void finish(struct core *core, struct rollout *rollout, const struct tally *tally)
{
	struct unit *unit = rollout->unit;
	bool is_return = rollout->state == PB__ROLLOUT__STATE__RETURNING;
	const char *kind = is_return ? "rollout.returned" : "rollout.done";

	rollout->state = is_return ? PB__ROLLOUT__STATE__RETURNED : PB__ROLLOUT__STATE__DONE;
	unit_body_fini(core, &rollout->good);
	for (struct place place = {0}; rollout_next_place(unit, &place);)
		place.rolled->on_trial = false;
	if (!is_return)
		rollout->text[0] = '\0';
	if (!is_return && tally->failed > 0)
		snprintf(rollout->text, sizeof(rollout->text),
			"%" PRIu32 " of %" PRIu32 " are not healthy with it, and were not before",
			tally->failed, tally->total);
	else if (!is_return && tally->lagging > 0)
		snprintf(rollout->text, sizeof(rollout->text),
			"%" PRIu32 " of %" PRIu32 " get it when their machines are back",
			tally->lagging, tally->total);
	core_note(core, FL_INFO, kind,
		"unit=%s revision=%" PRIu64 " healthy=%" PRIu32 " of=%" PRIu32, unit->name,
		rollout->revision, tally->done, tally->total);
	event_add(core, kind, unit, NULL, rollout->text);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
}

bool rollout_is_under_way(const struct rollout *rollout)
{
	return rollout->state == PB__ROLLOUT__STATE__ROLLING ||
	       rollout->state == PB__ROLLOUT__STATE__RETURNING;
}

/* What people see of it. */
static void tell(struct core *core, struct rollout *rollout, const struct tally *tally)
{
	char text[sizeof(rollout->text)] = "", state[512] = "";
	bool changed = rollout->done != tally->done || rollout->total != tally->total ||
		       rollout->failed != tally->failed;

	rollout->done = tally->done;
	rollout->total = tally->total;
	rollout->failed = tally->failed;
	if (rollout->state == PB__ROLLOUT__STATE__ROLLING) {
		if (tally->waited_for.placement != NULL)
			say_state(&tally->waited_for, state, sizeof(state));
		if (tally->waited_for.unit != NULL)
			snprintf(text, sizeof(text), "waits for %s",
				*state != '\0' ? state : tally->waited_for.unit->name);
		changed |= strcmp(text, rollout->text) != 0;
		memcpy(rollout->text, text, sizeof(text));
	}
	if (changed)
		mark_unit_changed(core, rollout->unit);
}

static void go_on(struct core *core, struct rollout *rollout)
{
	struct tally tally;

	if (replicas_fill(core, rollout->unit, NULL) != FL_OK) {
		rollout->due_ms = core->now_ms + MEMORY_RETRY_MS;
		return;
	}
	count(core, rollout, &tally);
	if (tally.culprit.unit != NULL) {
		/* It goes on when what follows from that has been settled. */
		if (!return_to_good(core, rollout, &tally))
			due_at(core, rollout, core->now_ms + MEMORY_RETRY_MS);
		return;
	}
	take_next(core, rollout, &tally);
	if (!rollout_is_under_way(rollout)) {
		if (tally.open == 0 && tally.lagging == 0)
			fl_list_remove(&rollout->link);
		return;
	}
	tell(core, rollout, &tally);
	if (tally.open > 0)
		return;
	/* Nearly all machines are silent: it is not they who are away. */
	if (core->holding && tally.done + tally.failed < tally.total)
		due_at(core, rollout, core->now_ms + core->lease_ms);
	else
		finish(core, rollout, &tally);
	if (!rollout_is_under_way(rollout) && tally.lagging == 0)
		fl_list_remove(&rollout->link);
}

bool rollouts_go_on(struct core *core)
{
	struct fl_list *link = fl_list_pop(&core->rollouts_moved);

	if (link == NULL)
		return false;
	go_on(core, FL_LIST_ENTRY(link, struct rollout, moved));
	return true;
}

void rollout_mark(struct core *core, struct unit *unit)
{
	struct rollout *rollout =
		unit->replica_of != NULL ? unit->replica_of->rollout : unit->rollout;

	if (rollout != NULL && fl_list_linked(&rollout->link) && !fl_list_linked(&rollout->moved))
		fl_list_append(&core->rollouts_moved, &rollout->moved);
}

void rollouts_check(struct core *core)
{
	struct rollout *rollout;

	FL_LIST_FOREACH (rollout, &core->rollouts, link)
		if (rollout->due_ms <= core->now_ms)
			rollout_mark(core, rollout->unit);
}

uint64_t rollouts_next_deadline(const struct core *core)
{
	uint64_t deadline = UINT64_MAX;
	const struct rollout *rollout;

	FL_LIST_FOREACH (rollout, &core->rollouts, link)
		if (rollout->due_ms < deadline)
			deadline = rollout->due_ms;
	return deadline;
}

/* ---- Beginning and end ------------------------------------------------------------------- */

bool rollout_is_due(const struct unit *unit, const struct unit_body *body)
{
	const struct unit_rules *rules = &body->rules;

	if (unit->desired != PB__DESIRED_STATE__LAUNCHED ||
		unit->body.rules.global != rules->global)
		return false;
	if (unit->is_template)
		return !fl_list_empty(&unit->replicas) &&
		       strcmp(unit->body.replica_hash, body->replica_hash) != 0;
	return rules->global || rules->has_min_healthy || rules->max_unavailable > 0 ||
	       rules->max_unavailable_percent > 0;
}

void rollout_start_fini(struct rollout_start *start)
{
	free(start->rollout);
	old_file_unref(start->old);
	*start = (struct rollout_start){0};
}

enum fl_code rollout_prepare(
	const struct unit *unit, struct rollout_start *ret_start, struct fl_error *err)
{
	struct rollout_start start = {0};

	if (unit->rollout == NULL) {
		start.rollout = FL_NEW(struct rollout);
		if (start.rollout == NULL)
			return FL_FAIL_NO_MEMORY(err);
	}
	if (unit->body.rules.global) {
		start.old = old_file_new(&unit->body);
		if (start.old == NULL) {
			rollout_start_fini(&start);
			return FL_FAIL_NO_MEMORY(err);
		}
	}
	*ret_start = start;
	return FL_OK;
}

/* A unit's only place has the file at once. */
static void begin_at_single(struct unit *unit)
{
	struct place place = {0};

	if (!unit->is_template && !unit->body.rules.global && rollout_next_place(unit, &place))
		unit->rolled.on_trial |= standing_of(&place) == STANDING_GOOD;
}

void rollout_begin(
	struct core *core, struct unit *unit, struct rollout_start *start, struct unit_body *body)
{
	struct rollout *rollout = unit->rollout != NULL ? unit->rollout : FL_TAKE(start->rollout);
	bool keeps_good = rollout->state == PB__ROLLOUT__STATE__ROLLING;

	unit->rollout = rollout;
	rollout->unit = unit;
	rollout->state = PB__ROLLOUT__STATE__ROLLING;
	rollout->revision = unit->change_revision;
	rollout->since_ms = core->now_ms;
	rollout->due_ms = UINT64_MAX;
	rollout->text[0] = '\0';
	if (!fl_list_linked(&rollout->link))
		fl_list_append(&core->rollouts, &rollout->link);
	begin_at_single(unit);
	set_file(core, unit, body, start->old);
	if (!keeps_good) {
		rollout->good = *body;
		*body = (struct unit_body){0};
	}
	unit_body_fini(core, body);
	rollout_start_fini(start);
	event_add(core, "rollout.begun", unit, NULL, "");
	rollout_mark(core, unit);
}

void rollout_drop(struct core *core, struct unit *unit)
{
	struct rollout *rollout = FL_TAKE(unit->rollout);
	struct placement *placement;

	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		old_file_unref(FL_TAKE(placement->old));
		placement->rolled = (struct rolled){0};
	}
	unit->rolled = (struct rolled){0};
	if (rollout == NULL)
		return;
	fl_list_remove(&rollout->link);
	fl_list_remove(&rollout->moved);
	unit_body_fini(core, &rollout->good);
	if (rollout->stored != NULL)
		core_message_free(&rollout->stored->base);
	free(rollout);
}
