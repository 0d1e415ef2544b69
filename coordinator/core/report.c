/*
 * What agents say of their units. It is not stored: after a restart of the coordinator every agent
 * is asked for all of it (want_all).
 */
#include <stdlib.h>

#include "coordinator/core/internal.h"

/* Cuts what is longer than systemd's words are. */
static bool word_set(char *word, size_t size, const char *text)
{
	size_t len = strnlen(text, size - 1);

	if (strncmp(word, text, len) == 0 && word[len] == '\0')
		return false;
	memcpy(word, text, len);
	word[len] = '\0';
	return true;
}

#define WORD_SET(word, text) word_set((word), sizeof(word), (text))

static bool error_set(char **error, const char *text)
{
	if (strcmp(*error != NULL ? *error : "", text) == 0)
		return false;
	free(*error);
	/* Without memory for it the text is lost, and comes again with the next report. */
	*error = *text != '\0' ? fl_strdup(text) : NULL;
	return true;
}

static bool number_set(uint64_t *number, uint64_t value)
{
	bool changed = *number != value;

	*number = value;
	return changed;
}

/* States that units pass through on their way are no news, but for a service that has ended and that
 * systemd starts again; nor is that a unit which never ran is inactive. */
static const char *event_kind(const struct placement_state *state, bool has_moved)
{
	if (has_moved && strcmp(state->sub, "auto-restart") == 0)
		return "unit.restarting";
	if (has_moved && strcmp(state->active, "active") == 0)
		return "unit.active";
	if (has_moved && strcmp(state->active, "failed") == 0)
		return "unit.failed";
	if (has_moved && strcmp(state->active, "inactive") == 0 && state->since_us > 0)
		return "unit.inactive";
	return state->error != NULL ? "unit.error" : NULL;
}

static void tell_state(struct core *core, struct placement *placement, bool has_moved)
{
	const struct placement_state *state = &placement->state;
	const char *error = state->error != NULL ? state->error : "";
	const char *kind = event_kind(state, has_moved);
	uint32_t n;

	/* That an old placement is as it was is known. */
	if (kind == NULL || (placement->is_old && strcmp(state->active, "failed") != 0))
		return;
	n = event_limit_take(core, &placement->told);
	if (n <= EVENTS_PER_MINUTE || strcmp(state->active, "failed") == 0)
		event_addf(core, kind, placement->unit, placement->machine, "%s%s%s%s", state->sub,
			*error != '\0' ? ": " : "", error,
			n == EVENTS_PER_MINUTE ? "; what else it does in this minute is not told"
					       : "");
}

/* The removal was carried out: nothing of the unit is left there. */
static bool is_gone(const struct placement *placement, const Pb__UnitState *state)
{
	return state->done_revision >= placement->revision &&
	       state->desired == PB__DESIRED_STATE__INACTIVE &&
	       strcmp(state->load, "not-found") == 0 && strcmp(state->active, "inactive") == 0;
}

static void take_removed(struct core *core, struct placement *placement, const Pb__UnitState *state,
	uint64_t saved_revision)
{
	placement->state.all_round = placement->machine->all_round;
	if (!is_gone(placement, state))
		return;
	placement_tell_doubled(core, placement);
	held_gone(core, placement, saved_revision);
}

static void parked_is_gone(struct core *core, struct placement *placement)
{
	if (!placement->gone) {
		placement->gone = true;
		event_add(core, "unit.left", placement->unit, placement->machine, "parked");
		mark_unit_changed(core, placement->unit);
	}
}

/* An agent that does not know of it any more has no epoch of it either. */
static void take_parked(struct core *core, struct placement *placement, const Pb__UnitState *state)
{
	if (is_gone(placement, state))
		parked_is_gone(core, placement);
}

static void take_placed(struct core *core, struct placement *placement, const Pb__UnitState *from,
	uint64_t received_us)
{
	struct placement_state *state = &placement->state;
	struct unit *unit = placement->unit;
	bool changed, has_moved, has_failed;

	state->all_round = placement->machine->all_round;
	changed = !state->known;
	state->known = true;
	changed |= WORD_SET(state->load, from->load);
	has_moved = WORD_SET(state->active, from->active);
	if (WORD_SET(state->sub, from->sub)) {
		has_moved |= strcmp(state->sub, "auto-restart") == 0;
		changed = true;
	}
	changed |= WORD_SET(state->hash, from->hash);
	changed |= WORD_SET(state->result, from->result);
	has_failed = error_set(&state->error, from->error);
	changed |= number_set(&state->done_revision, from->done_revision);
	changed |= number_set(&state->job_us, from->job_us);
	has_moved |= number_set(&state->since_us, from->since_us);
	changed |= has_moved || has_failed;
	changed |= state->desired != from->desired || state->main_pid != from->main_pid;
	state->desired = from->desired;
	state->main_pid = from->main_pid;
	exclusive_carried_out(core, placement);
	if (unit->change_received_us != 0 && state->done_revision >= unit->change_revision) {
		state->reaction_us = received_us - unit->change_received_us;
		unit->change_received_us = 0;
	}
	if (changed)
		mark_unit_changed(core, unit);
	if (has_moved || has_failed)
		tell_state(core, placement, has_moved);
	placement->is_old = false;
}

static void take_state(struct core *core, struct machine *machine, const Pb__UnitState *from,
	const struct core_report *event)
{
	struct placement *placement = placement_find(machine, from->name);

	if (placement != NULL && placement_is_parked(placement))
		take_parked(core, placement, from);
	if (placement != NULL && placement->removed)
		take_removed(core, placement, from, event->report->revision);
	else if (placement != NULL && placement->epoch == from->epoch)
		take_placed(core, placement, from, event->received_us);
}

/* What a complete report did not mention is not known any more; and it is not there, where the agent
 * knew of its removal when the report began. */
static void forget_unmentioned(struct core *core, struct machine *machine)
{
	struct placement *placement, *following;

	RB_FOREACH_SAFE (placement, placement_tree, &machine->placements, following) {
		struct placement_state *state = &placement->state;

		if (state->all_round == machine->all_round)
			continue;
		if (placement_is_parked(placement) && machine->all_revision >= placement->revision)
			parked_is_gone(core, placement);
		if (placement->removed) {
			if (machine->all_revision >= placement->revision)
				held_gone(core, placement, machine->all_revision);
			continue;
		}
		if (!state->known)
			continue;
		free(state->error);
		*state = (struct placement_state){0};
		mark_unit_changed(core, placement->unit);
	}
}

void machine_in_session(struct machine *machine, uint64_t session)
{
	struct placement *placement;

	if (machine->session == session)
		return;
	machine->session = session;
	machine->report_number = 0;
	machine->states_session = 0; /* and it is to report all that there is */
	RB_FOREACH (placement, placement_tree, &machine->placements)
		placement->gone = false;
}

enum fl_code core_do_report(struct core *core, const struct core_report *event,
	struct core_answer *ret_answer, struct fl_error *err)
{
	const Pb__ReportRequest *report = event->report;
	struct machine *machine = machine_find(core, report->machine_id);

	if (machine == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"machine %s is not known here; its agent has to ask for its assignment "
			"first",
			report->machine_id);
	machine_heard(core, machine);
	machine_in_session(machine, report->session);
	ret_answer->exclusive_ms = exclusive_lease_ms(core, machine, report);
	if (report->number != 0 && report->number <= machine->report_number)
		return FL_OK; /* what it says is known, or was so once */
	machine->report_number = report->number;
	if (report->capacity != NULL && machine_capacity_set(machine, report->capacity)) {
		mark_machine_write(core, machine);
		settle_help(core, machine, false);
	}
	if (report->all && report->page == 0) {
		machine->states_session = report->session;
		machine->in_all = true;
		machine->all_revision = report->revision;
		machine->all_round++;
	}
	if (machine->states_session != report->session) {
		/* Another start of the agent, of whose states only a part would be known. */
		ret_answer->want_all = true;
		return FL_OK;
	}
	for (size_t i = 0; i < report->n_states; i++)
		take_state(core, machine, report->states[i], event);
	/* A last page whose first ones another life of the agent sent is not the whole truth. */
	if (report->all && !report->more && machine->in_all) {
		forget_unmentioned(core, machine);
		machine->in_all = false;
	}
	return FL_OK;
}
