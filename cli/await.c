#include "cli/await.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "cli/state.h"
#include "cli/term.h"

/* How long the coordinator may hold a question. An answer that says nothing new is followed by one
 * that asks for all, so that nothing is missed when a coordinator came back with older revisions. */
#define HOLD_MS 20000U

/* Whoever waits longer sees for what. */
#define PROGRESS_AFTER_MS 1000U

struct await {
	struct connection *connection;
	struct change *changes;
	size_t n, n_pending;
	struct fl_map *by_name;
	char **names; /* of those pending; scratch */
	uint64_t since;
	uint64_t began_ms, timeout_ms;
	void (*done)(struct change *change, void *userdata);
	void *userdata;
};

void change_fini(struct change *change)
{
	free(change->text);
	if (change->unit != NULL)
		pb__unit__free_unpacked(change->unit, NULL);
	change->text = NULL;
	change->unit = NULL;
}

static bool rolls(const Pb__Rollout *rollout)
{
	return rollout->state == PB__ROLLOUT__STATE__ROLLING ||
	       rollout->state == PB__ROLLOUT__STATE__RETURNING;
}

/* Whether both tell of one way, of the new file or of the good one. */
static bool goes_on(const Pb__Rollout *before, const Pb__Rollout *now)
{
	bool was_return = before->state == PB__ROLLOUT__STATE__RETURNING;
	bool is_return = now->state == PB__ROLLOUT__STATE__RETURNING ||
			 now->state == PB__ROLLOUT__STATE__RETURNED;

	return before->revision == now->revision && was_return == is_return;
}

void change_take_unit(struct change *change, Pb__Unit *unit)
{
	Pb__Unit *before = change->unit;
	bool is_first = before == NULL;

	/* How an earlier one ended says nothing of this change. */
	if (is_first && unit->rollout != NULL && !rolls(unit->rollout))
		change->old_rollout = unit->rollout->revision;
	if (unit->rollout != NULL && unit->rollout->revision <= change->old_rollout)
		pb__rollout__free_unpacked(FL_TAKE(unit->rollout), NULL);
	if (change->tell_healthy != NULL && !is_first && unit->rollout != NULL &&
		before->rollout != NULL && goes_on(before->rollout, unit->rollout) &&
		unit->rollout->done > before->rollout->done)
		change->tell_healthy(unit);
	if (before != NULL)
		pb__unit__free_unpacked(before, NULL);
	change->unit = unit;
}

static enum fl_code set_text(struct change *change, const char *text, struct fl_error *err)
{
	char *copy = fl_strdup(text);

	if (copy == NULL)
		return FL_FAIL_NO_MEMORY(err);
	free(change->text);
	change->text = copy;
	return FL_OK;
}

/* Somebody else's change: the newest is the one that counts. */
static enum wait_verdict judge_watched(const struct change *change, char *text)
{
	const Pb__Unit *unit = change->unit;

	if (unit != NULL && change->goal == WAIT_FOR_GONE) {
		(void)snprintf(text, WAIT_TEXT_MAX, "it is still there");
		return WAIT_GO_ON;
	}
	if (unit == NULL && change->goal == WAIT_FOR_STOPPED) {
		text[0] = '\0';
		return WAIT_DONE;
	}
	if (unit != NULL && change->goal == WAIT_FOR_ACTIVE &&
		unit->desired != PB__DESIRED_STATE__LAUNCHED) {
		(void)snprintf(text, WAIT_TEXT_MAX, "is to be %s, so that it does not run",
			desired_name(unit->desired));
		return WAIT_FAILED;
	}
	return wait_judge(change->goal, unit != NULL ? unit->change_revision : 0, unit, text);
}

enum fl_code change_judge(struct change *change, struct fl_error *err)
{
	char text[WAIT_TEXT_MAX];

	switch (change->is_watched
			? judge_watched(change, text)
			: wait_judge(change->goal, change->change_revision, change->unit, text)) {
	case WAIT_GO_ON:
		break;
	case WAIT_DONE:
		change->outcome = CHANGE_DONE;
		break;
	case WAIT_FAILED:
		change->outcome = CHANGE_FAILED;
		change->code = FL_E_FAILED;
		break;
	case WAIT_NOWHERE:
		if (change->is_patient)
			break;
		change->outcome = CHANGE_UNSCHEDULABLE;
		change->code = FL_E_UNSCHEDULABLE;
		break;
	}
	return set_text(change, text, err);
}

static enum fl_code judge(struct await *await, struct change *change, struct fl_error *err)
{
	FL_TRY(change_judge(change, err));
	if (change->outcome == CHANGE_PENDING)
		return FL_OK;
	await->n_pending--;
	await->done(change, await->userdata);
	return FL_OK;
}

static size_t pending_names(struct await *await)
{
	size_t n = 0;

	for (size_t i = 0; i < await->n && n < LIMIT_NAMES; i++)
		if (await->changes[i].outcome == CHANGE_PENDING)
			await->names[n++] = (char *)await->changes[i].name;
	return n;
}

static enum fl_code take_reply(struct await *await, Pb__UnitsReply *units, struct fl_error *err)
{
	for (size_t i = 0; i < units->n_units; i++) {
		struct change *change = fl_map_get(await->by_name, units->units[i]->name);

		if (change == NULL || change->outcome != CHANGE_PENDING)
			continue;
		change_take_unit(change, FL_TAKE(units->units[i]));
		if (change->change_revision == 0)
			change->change_revision = change->unit->change_revision;
		FL_TRY(judge(await, change, err));
	}
	for (size_t i = 0; i < units->n_gone; i++) {
		struct change *change = fl_map_get(await->by_name, units->gone[i]);

		if (change == NULL || change->outcome != CHANGE_PENDING)
			continue;
		if (change->unit != NULL)
			pb__unit__free_unpacked(FL_TAKE(change->unit), NULL);
		FL_TRY(judge(await, change, err));
	}
	return FL_OK;
}

/* One question: what changed since; with its pages. */
static enum fl_code ask(struct await *await, uint32_t hold_ms, struct fl_error *err)
{
	Pb__UnitsRequest body = PB__UNITS_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	FL_CLEANUP(fl_freep) char *after = NULL;
	uint64_t revision = 0;
	bool more = true, news = false;

	body.names = await->names;
	body.n_names = pending_names(await);
	body.since = await->since;
	request.body_case = PB__ENVELOPE__BODY_UNITS_REQUEST;
	request.units_request = &body;
	while (more) {
		FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
		Pb__UnitsReply *units;

		FL_TRY(connection_ask(await->connection, &request, PB__ENVELOPE__BODY_UNITS_REPLY,
			body.since > 0 ? hold_ms : 0, &reply, err));
		units = reply->units_reply;
		/* A change between two pages is news again: the oldest page's revision counts. */
		if (revision == 0)
			revision = units->revision;
		news = news || units->n_units > 0 || units->n_gone > 0;
		more = units->more && units->n_units > 0;
		if (more) {
			free(after);
			after = fl_strdup(units->units[units->n_units - 1]->name);
			if (after == NULL)
				return FL_FAIL_NO_MEMORY(err);
			body.after = after;
		}
		FL_TRY(take_reply(await, units, err));
	}
	await->since = news || body.since == 0 ? revision : 0;
	return FL_OK;
}

static void show_progress(void *userdata)
{
	const struct await *await = userdata;
	const struct change *first = NULL;
	char text[WAIT_TEXT_MAX + 512], done[64] = "";

	for (size_t i = 0; i < await->n && first == NULL; i++)
		if (await->changes[i].outcome == CHANGE_PENDING)
			first = &await->changes[i];
	if (first == NULL)
		return;
	if (await->n > 1)
		(void)snprintf(done, sizeof(done), "%zu of %zu done, ", await->n - await->n_pending,
			await->n);
	(void)snprintf(text, sizeof(text), "%" PRIu64 " s: %s%s: %s",
		(fl_clock_boot_ms() - await->began_ms) / 1000, done, first->name,
		first->text != NULL ? first->text : "waits");
	term_progress(text);
}

static enum fl_code time_out(struct await *await, struct fl_error *err)
{
	for (size_t i = 0; i < await->n; i++) {
		struct change *change = &await->changes[i];
		char text[WAIT_TEXT_MAX + 128];

		if (change->outcome != CHANGE_PENDING)
			continue;
		(void)snprintf(text, sizeof(text), "not yet after %.1f s, and goes on: %s",
			(double)await->timeout_ms / 1000, change->text != NULL ? change->text : "");
		FL_TRY(set_text(change, text, err));
		change->outcome = CHANGE_TIMED_OUT;
		change->code = FL_E_TIMEOUT;
		await->done(change, await->userdata);
	}
	await->n_pending = 0;
	return FL_OK;
}

static enum fl_code run(struct await *await, struct fl_error *err)
{
	while (await->n_pending > 0) {
		uint64_t waited_ms = fl_clock_boot_ms() - await->began_ms;
		uint32_t hold_ms = HOLD_MS;

		if (await->timeout_ms > 0 && waited_ms >= await->timeout_ms)
			return time_out(await, err);
		if (await->timeout_ms > 0 && await->timeout_ms - waited_ms < hold_ms)
			hold_ms = (uint32_t)(await->timeout_ms - waited_ms);
		FL_TRY(ask(await, hold_ms, err));
		/* A line that was there when units were told is there again at once. */
		if (waited_ms >= PROGRESS_AFTER_MS)
			show_progress(await);
	}
	return FL_OK;
}

enum fl_code await_changes(struct connection *connection, struct change *changes, size_t n,
	uint64_t since, uint64_t timeout_ms, void (*done)(struct change *change, void *userdata),
	void *userdata, struct fl_error *err)
{
	FL_CLEANUP(fl_map_freep) struct fl_map *by_name = NULL;
	FL_CLEANUP(fl_freep) char **names = fl_new_array(n, sizeof(*names));
	struct await await = {
		.connection = connection,
		.changes = changes,
		.n = n,
		.names = names,
		.since = since,
		.began_ms = fl_clock_boot_ms(),
		.timeout_ms = timeout_ms,
		.done = done,
		.userdata = userdata,
	};
	enum fl_code code;

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&by_name, err));
	await.by_name = by_name;
	for (size_t i = 0; i < n; i++) {
		if (changes[i].outcome != CHANGE_PENDING)
			continue;
		await.n_pending++;
		/* Nothing is known of it yet: what it is, or that it is gone, is no news to wait
		 * for. */
		if (changes[i].unit == NULL)
			await.since = 0;
		FL_TRY(fl_map_put(by_name, changes[i].name, &changes[i], err));
	}
	if (await.n_pending == 0)
		return FL_OK;
	connection_set_tick(connection, show_progress, &await);
	code = run(&await, err);
	connection_set_tick(connection, NULL, NULL);
	term_progress(NULL);
	return code;
}
