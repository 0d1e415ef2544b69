#include "cli/wait.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cli/state.h"

/* The verdict, with what there is to say of it. */
#define SAY(verdict, text, ...) ((void)snprintf((text), WAIT_TEXT_MAX, __VA_ARGS__), (verdict))

static enum wait_verdict done(char *text)
{
	text[0] = '\0';
	return WAIT_DONE;
}

static bool is(const char *text, const char *word)
{
	return strcmp(text, word) == 0;
}

/* A job's result that is no failure; the words are those of JobRemoved,
 * org.freedesktop.systemd1(5). Empty: no job was needed. */
static bool job_went_well(const Pb__UnitState *state)
{
	return state->result[0] == '\0' || is(state->result, "done") ||
	       is(state->result, "skipped");
}

static enum wait_verdict failed(const Pb__UnitState *state, const char *where, char *text)
{
	if (state->error[0] != '\0')
		return SAY(WAIT_FAILED, text, "failed on %s: %s", where, state->error);
	if (!is(state->load, "loaded"))
		return SAY(WAIT_FAILED, text, "failed on %s: systemd there says: load state %s",
			where, state->load);
	return SAY(WAIT_FAILED, text, "failed on %s: it is %s (%s)%s%s", where, state->active,
		state->sub, job_went_well(state) ? "" : ", its job ended as: ",
		job_went_well(state) ? "" : state->result);
}

/* The machine has carried out the start: did it go well? */
static enum wait_verdict judge_started(const Pb__UnitState *state, const char *where, char *text)
{
	if (state->error[0] != '\0')
		return failed(state, where, text);
	if (is(state->active, "active") || is(state->active, "reloading") ||
		is(state->active, "refreshing"))
		return done(text);
	if (is(state->active, "inactive") && is(state->load, "loaded") && job_went_well(state))
		return done(text);
	if (is(state->active, "activating") && is(state->sub, "auto-restart"))
		return SAY(WAIT_FAILED, text,
			"ended on %s right after its start; systemd there starts it again and again",
			where);
	if (is(state->active, "activating") || is(state->active, "deactivating"))
		return SAY(WAIT_GO_ON, text, "%s (%s) on %s", state->active, state->sub, where);
	return failed(state, where, text);
}

/* How it ended (killed, failed) does not matter to somebody who wanted it to end. */
static enum wait_verdict judge_not_running(
	const Pb__UnitState *state, bool must_load, const char *where, char *text)
{
	if (must_load && !is(state->load, "loaded"))
		return failed(state, where, text);
	if (is(state->active, "inactive") || is(state->active, "failed"))
		return done(text);
	if (state->error[0] != '\0' || !job_went_well(state))
		return failed(state, where, text);
	return SAY(WAIT_GO_ON, text, "%s (%s) on %s", state->active, state->sub, where);
}

static enum wait_verdict judge_placement(
	enum wait_goal goal, uint64_t change_revision, const Pb__Placement *placement, char *text)
{
	const Pb__UnitState *state = placement_state(placement);
	char where[MACHINE_TEXT_MAX];

	machine_text(placement->machine_id, placement->address, false, where);
	if (placement->lost)
		return SAY(WAIT_GO_ON, text, "%s is lost; it hears of this when it is back", where);
	if (state == NULL)
		return SAY(WAIT_GO_ON, text, "waits for %s to take it up", where);
	if (state->done_revision < change_revision) {
		if (state->error[0] != '\0')
			return SAY(WAIT_GO_ON, text, "on %s: %s", where, state->error);
		return SAY(WAIT_GO_ON, text, "%s (%s) on %s", state->active, state->sub, where);
	}
	switch (goal) {
	case WAIT_FOR_ACTIVE:
		return judge_started(state, where, text);
	case WAIT_FOR_LOADED:
		return judge_not_running(state, true, where, text);
	case WAIT_FOR_STOPPED:
		return judge_not_running(state, false, where, text);
	case WAIT_FOR_UNPLACED:
	case WAIT_FOR_GONE:
		return SAY(WAIT_GO_ON, text, "waits for %s to let go of it", where);
	case WAIT_FOR_NOTHING:
		break;
	}
	return done(text);
}

/* Whether the goal is still what is desired: somebody else may have changed it meanwhile. */
static bool is_desired(enum wait_goal goal, Pb__DesiredState desired)
{
	switch (goal) {
	case WAIT_FOR_ACTIVE:
		return desired == PB__DESIRED_STATE__LAUNCHED;
	case WAIT_FOR_LOADED:
	case WAIT_FOR_STOPPED:
		return desired == PB__DESIRED_STATE__LOADED;
	case WAIT_FOR_UNPLACED:
		return desired == PB__DESIRED_STATE__INACTIVE;
	case WAIT_FOR_GONE:
	case WAIT_FOR_NOTHING:
		break;
	}
	return true;
}

/* A file that goes from place to place: where it is known how that ended, *ret_verdict says so. */
static bool judge_rollout(const Pb__Rollout *rollout, enum wait_verdict *ret_verdict, char *text)
{
	switch (rollout->state) {
	case PB__ROLLOUT__STATE__ROLLING:
		*ret_verdict = SAY(WAIT_GO_ON, text, "%u of %u are healthy with the new file%s%s",
			rollout->done, rollout->total, rollout->text[0] != '\0' ? "; " : "",
			rollout->text);
		return true;
	case PB__ROLLOUT__STATE__RETURNING:
		*ret_verdict = SAY(WAIT_GO_ON, text,
			"returns to the last good file, %u of %u have it again: %s", rollout->done,
			rollout->total, rollout->text);
		return true;
	case PB__ROLLOUT__STATE__RETURNED:
		*ret_verdict = SAY(WAIT_FAILED, text,
			"returned to the last good file, because with the new one: %s",
			rollout->text);
		return true;
	case PB__ROLLOUT__STATE__DONE:
		if (rollout->failed > 0)
			*ret_verdict = SAY(WAIT_FAILED, text, "%s", rollout->text);
		else
			*ret_verdict = done(text);
		return true;
	case PB__ROLLOUT__STATE__STATE_UNSPECIFIED:
	case _PB__ROLLOUT__STATE_IS_INT_SIZE:
		break;
	}
	return false;
}

static enum wait_verdict judge_unplaced(const Pb__Unit *unit, char *text)
{
	if (unit->held_by[0] != '\0')
		return SAY(WAIT_GO_ON, text, "%s", unit->waiting);
	if (unit->waiting[0] != '\0')
		return SAY(WAIT_NOWHERE, text, "%s", unit->waiting);
	/* A global unit without a machine that matches is as it should be. */
	if (unit->global)
		return done(text);
	return SAY(WAIT_GO_ON, text, "waits for a machine");
}

static enum wait_verdict judge_placements(
	enum wait_goal goal, uint64_t change_revision, const Pb__Unit *unit, char *text)
{
	enum wait_verdict worst = WAIT_DONE;

	for (size_t i = 0; i < unit->n_placements; i++) {
		char one[WAIT_TEXT_MAX];
		enum wait_verdict verdict;

		/* One dead machine must not keep people waiting who have asked all of them. */
		if (unit->global && unit->placements[i]->lost)
			continue;
		verdict = judge_placement(goal, change_revision, unit->placements[i], one);
		if (verdict == WAIT_GO_ON)
			return SAY(WAIT_GO_ON, text, "%s", one);
		if (verdict == WAIT_FAILED && worst == WAIT_DONE) {
			worst = WAIT_FAILED;
			(void)snprintf(text, WAIT_TEXT_MAX, "%s", one);
		}
	}
	return worst;
}

enum wait_verdict wait_judge(
	enum wait_goal goal, uint64_t change_revision, const Pb__Unit *unit, char *text)
{
	enum wait_verdict rolls;

	text[0] = '\0';
	if (goal == WAIT_FOR_NOTHING)
		return WAIT_DONE;
	if (unit == NULL && (goal == WAIT_FOR_GONE || goal == WAIT_FOR_UNPLACED))
		return WAIT_DONE;
	if (unit == NULL)
		return SAY(WAIT_FAILED, text, "was destroyed meanwhile");
	if (!is_desired(goal, unit->desired) && unit->change_revision > change_revision)
		return SAY(WAIT_FAILED, text, "was changed meanwhile: it is to be %s now",
			desired_name(unit->desired));
	if (goal == WAIT_FOR_ACTIVE && unit->rollout != NULL &&
		unit->rollout->revision >= change_revision &&
		judge_rollout(unit->rollout, &rolls, text))
		return rolls;
	/* What it is to be its replicas show. */
	if (unit->replicas > 0 && goal != WAIT_FOR_GONE)
		return WAIT_DONE;
	if (goal == WAIT_FOR_GONE && unit->n_placements == 0)
		return SAY(WAIT_GO_ON, text, "is being forgotten");
	/* What is on no machine does not run. */
	if ((goal == WAIT_FOR_UNPLACED || goal == WAIT_FOR_STOPPED) && unit->n_placements == 0)
		return WAIT_DONE;
	if (unit->n_placements == 0)
		return judge_unplaced(unit, text);
	return judge_placements(goal, change_revision, unit, text);
}
