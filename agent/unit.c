/*
 * One unit, from assigned to forgotten. Every arrow out of DECIDING is what plan() says is missing:
 *
 *                      ┌──────────▶ INSTALLING ──┐
 *                      ├──────────▶ STARTING ────┤ the step ended
 *   WAITING ─▶ DECIDING┼──────────▶ STOPPING ────┼──────▶ DECIDING
 *      ▲  ready   ▲  │ ├──────────▶ RESTARTING ──┤
 *      │          │  │ └──────────▶ REMOVING ────┘
 *      │          │  ├─ nothing is missing ─▶ SETTLED ──┐
 *      │          │  └─ forgotten ──────────▶ GONE      │ a new assignment
 *      │          └─────────────────────────────────────┤
 *      │                                     BACKOFF ───┘ or its time is over
 *      └── no driver is ready                   ▲
 *                                               └── a step could not be carried out
 *
 * The happy path of a launched unit: INSTALLING, STARTING, SETTLED; of a changed one: STOPPING,
 * INSTALLING, STARTING; of a removed one: STOPPING, REMOVING, GONE (kept until it is reported).
 *
 * A unit is started once for each epoch, content and start_generation (struct assignment_done).
 * One that exits or fails by itself is not started again: that is Restart='s matter. One that is
 * LOADED is stopped when it comes to be so, and when the coordinator says it again; but a service
 * that a timer or socket of the host starts in between is left to run.
 *
 * It fails when the driver cannot carry a step out (BACKOFF, told with the unit's state, tried
 * again after 1 s to 60 s) or loses its host (WAITING for it). Never does one unit's trouble
 * concern another.
 *
 * An exclusive unit runs under its machine's lease: without one it is stopped, and is not started
 * (it is SETTLED and deferred). When the lease is back it begins anew, as after a boot.
 *
 * Deadlines: a driver ends every step (driver.h); BACKOFF has its timer; WAITING, SETTLED and GONE
 * wait for nothing but what is told.
 */
#include "agent/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define BACKOFF_MIN_MS 1000U
#define BACKOFF_MAX_MS 60000U

#define UNIT_STEPS \
	(FL_TO(UNIT, INSTALLING) | FL_TO(UNIT, STARTING) | FL_TO(UNIT, STOPPING) | \
		FL_TO(UNIT, RESTARTING) | FL_TO(UNIT, REMOVING))
#define UNIT_STATES(X) \
	X(UNIT, WAITING, FL_TO(UNIT, DECIDING)) \
	X(UNIT, DECIDING, \
		UNIT_STEPS | FL_TO(UNIT, WAITING) | FL_TO(UNIT, SETTLED) | FL_TO(UNIT, GONE)) \
	X(UNIT, INSTALLING, FL_TO(UNIT, DECIDING) | FL_TO(UNIT, BACKOFF)) \
	X(UNIT, STARTING, FL_TO(UNIT, DECIDING) | FL_TO(UNIT, BACKOFF)) \
	X(UNIT, STOPPING, FL_TO(UNIT, DECIDING) | FL_TO(UNIT, BACKOFF)) \
	X(UNIT, RESTARTING, FL_TO(UNIT, DECIDING) | FL_TO(UNIT, BACKOFF)) \
	X(UNIT, REMOVING, FL_TO(UNIT, DECIDING) | FL_TO(UNIT, BACKOFF)) \
	X(UNIT, BACKOFF, FL_TO(UNIT, DECIDING)) \
	X(UNIT, SETTLED, FL_TO(UNIT, DECIDING)) \
	X(UNIT, GONE, FL_TO(UNIT, DECIDING))
FL_FSM_DEFINE(unit, UNIT_STATES)

static void decide(struct unit *unit);

/* ---- Reports ------------------------------------------------------------------------------ */

void unit_changed(struct unit *unit)
{
	if (unit->reportable || unit->held)
		return;
	unit->reportable = true;
	unit->events->reportable(unit, unit->userdata);
}

static void set_error(struct unit *unit, const char *text)
{
	free(unit->error);
	unit->error = text != NULL && text[0] != '\0' ? fl_strdup(text) : NULL;
}

static const struct driver_state *state_of(const struct unit *unit)
{
	static const struct driver_state none = {.active = "inactive", .sub = "dead"};

	return unit->handle != NULL ? driver_unit_state(unit->handle) : &none;
}

static bool is_running(const struct unit *unit)
{
	return unit->may_start || driver_state_is_running(state_of(unit));
}

void unit_write_report(const struct unit *unit, Pb__UnitState *report)
{
	const struct driver_state *state = state_of(unit);
	bool gone = unit->fsm.state == UNIT_GONE;

	pb__unit_state__init(report);
	report->name = unit->name;
	report->epoch = unit->assignment.epoch;
	report->load = (char *)(gone ? "not-found" : state->load);
	report->active = (char *)(gone ? "inactive" : state->active);
	report->sub = (char *)(gone ? "dead" : state->sub);
	report->desired = unit->assigned ? unit->assignment.desired : PB__DESIRED_STATE__INACTIVE;
	report->hash = (char *)(gone ? "" : unit->host_hash);
	report->done_revision = unit->done_revision;
	report->result = (char *)unit->result;
	report->error = unit->error != NULL ? unit->error : (char *)state->failure;
	report->main_pid = gone ? 0 : state->main_pid;
	report->job_us = unit->job_us;
	report->since_us = state->since_us;
}

/* ---- What is missing ---------------------------------------------------------------------- */

enum plan {
	PLAN_INSTALL = DRIVER_INSTALL,
	PLAN_START = DRIVER_START,
	PLAN_STOP = DRIVER_STOP,
	PLAN_RESTART = DRIVER_RESTART,
	PLAN_REMOVE = DRIVER_REMOVE,
	PLAN_NOTHING,
	PLAN_DEFER, /* it is to be started, and has no lease */
	PLAN_FORGET,
};

static const enum unit_state step_states[] = {
	[DRIVER_INSTALL] = UNIT_INSTALLING,
	[DRIVER_START] = UNIT_STARTING,
	[DRIVER_STOP] = UNIT_STOPPING,
	[DRIVER_RESTART] = UNIT_RESTARTING,
	[DRIVER_REMOVE] = UNIT_REMOVING,
};

/* Whether it may run, if it does; and whether it may be started. */
static bool may_run(const struct unit *unit)
{
	return !unit->exclusive || unit->lease != LEASE_NONE;
}

static bool may_begin(const struct unit *unit)
{
	return !unit->exclusive ||
	       (unit->lease == LEASE_OURS && unit->listed && unit->events->leased(unit->userdata));
}

static enum plan plan_start(const struct unit *unit)
{
	const struct assignment *a = &unit->assignment;
	const struct assignment_done *done = &unit->done;
	bool restart = a->restart_generation > done->restart_generation;

	if (done->desired == PB__DESIRED_STATE__LAUNCHED && done->epoch == a->epoch &&
		done->start_generation >= a->start_generation && strcmp(done->hash, a->hash) == 0)
		return restart ? PLAN_RESTART : PLAN_NOTHING;
	return restart && is_running(unit) ? PLAN_RESTART : PLAN_START;
}

static enum plan plan_launched(const struct unit *unit)
{
	enum plan next = plan_start(unit);

	return next == PLAN_NOTHING || may_begin(unit) ? next : PLAN_DEFER;
}

/* The next step that brings the host nearer to the assignment. */
static enum plan plan(const struct unit *unit)
{
	bool owned = driver_unit_owned(unit->handle), running = is_running(unit);

	if (!unit->assigned) {
		if (!owned)
			return PLAN_FORGET; /* it never came here, or the name is the host's own */
		return running ? PLAN_STOP : PLAN_REMOVE;
	}
	if (owned && running && !may_run(unit))
		return PLAN_STOP;
	if (!unit->in_place) {
		/* A file that differs in comments only changes under the running unit. */
		bool other = strcmp(unit->done.hash, unit->assignment.hash) != 0;

		return owned && running && other ? PLAN_STOP : PLAN_INSTALL;
	}
	if (unit->assignment.desired == PB__DESIRED_STATE__LAUNCHED)
		return plan_launched(unit);
	return unit->stop_wanted && running ? PLAN_STOP : PLAN_NOTHING;
}

/* ---- The machine -------------------------------------------------------------------------- */

static struct driver_definition definition_of(const struct unit *unit)
{
	return (struct driver_definition){.content = unit->assignment.content,
		.len = unit->assignment.len,
		.tenant = unit->assignment.tenant,
		.exclusive = unit->assignment.exclusive};
}

static void set_done(struct unit *unit, const struct assignment_done *done)
{
	if (assignment_done_equal(&unit->done, done))
		return;
	unit->done = *done;
	unit->events->done(unit, unit->userdata);
}

/* What was asked for up to this revision has been done, or has gone wrong in a way that is told. */
static void carried_out(struct unit *unit)
{
	unit->done_revision = unit->revision;
	unit_changed(unit);
}

static void settle(struct unit *unit)
{
	struct assignment_done done;

	if (unit->assignment.desired == PB__DESIRED_STATE__LOADED) {
		unit->stop_wanted = false;
		assignment_done_from(&unit->assignment, &done);
		set_done(unit, &done);
	}
	unit->backoff_ms = 0;
	fl_fsm_move(&unit->fsm, UNIT_SETTLED, "nothing is missing");
	/* Of a file that nothing was done with yet the host says a moment later whether it can be
	 * loaded: on_state(). */
	if (state_of(unit)->load[0] != '\0')
		carried_out(unit);
}

static void begin(struct unit *unit, enum plan next)
{
	struct driver_definition definition = definition_of(unit);
	enum driver_verb verb = (enum driver_verb)next;

	if (unit->assigned)
		assignment_done_from(&unit->assignment, &unit->working_on);
	set_error(unit, NULL);
	fl_fsm_move(&unit->fsm, step_states[verb], driver_verb_text(verb));
	driver_unit_step(unit->handle, verb, verb == DRIVER_INSTALL ? &definition : NULL);
}

static void defer(struct unit *unit)
{
	unit->deferred = true;
	set_error(unit, "not started: this machine has no lease for exclusive units now");
	fl_fsm_move(&unit->fsm, UNIT_SETTLED, "it waits for a lease");
	unit_changed(unit);
}

static void set_exclusive(struct unit *unit, bool exclusive, uint32_t stop_ms)
{
	if (unit->exclusive == exclusive && unit->stop_ms == stop_ms)
		return;
	unit->exclusive = exclusive;
	unit->stop_ms = stop_ms;
	unit->listed = false;
	unit->events->exclusive(unit, unit->userdata);
}

/* Whether there is somebody to carry out steps; for what is to be forgotten nobody is needed. */
static bool can_decide(const struct unit *unit)
{
	if (unit->held)
		return false;
	return unit->handle != NULL ? driver_ready(unit->handle->driver) : !unit->assigned;
}

static void decide(struct unit *unit)
{
	enum plan next;

	if (unit->closing)
		return;
	unit->deferred = false;
	if (!can_decide(unit)) {
		fl_fsm_move(&unit->fsm, UNIT_WAITING, "no driver is ready");
		if (unit->handle == NULL)
			carried_out(unit); /* its error says that it never will be */
		return;
	}
	next = unit->handle != NULL ? plan(unit) : PLAN_FORGET;
	if (next == PLAN_NOTHING) {
		settle(unit);
	} else if (next == PLAN_DEFER) {
		defer(unit);
	} else if (next == PLAN_FORGET) {
		set_exclusive(unit, false, 0);
		fl_fsm_move(&unit->fsm, UNIT_GONE, "nothing of it is left");
		carried_out(unit);
	} else {
		begin(unit, next);
	}
}

static void back_off(struct unit *unit)
{
	unit->backoff_ms = unit->backoff_ms == 0 ? BACKOFF_MIN_MS : 2 * unit->backoff_ms;
	if (unit->backoff_ms > BACKOFF_MAX_MS)
		unit->backoff_ms = BACKOFF_MAX_MS;
	unit->backoff_until_ms = fl_clock_boot_ms() + unit->backoff_ms;
	fl_fsm_move(&unit->fsm, UNIT_BACKOFF, "the step could not be carried out");
	unit->events->backoff(unit, unit->userdata);
}

/* Whether the start under way is no longer wanted. Other steps are short, or must come to their
 * end before anything else can be done. */
static bool superseded(const struct unit *unit)
{
	const struct assignment *a = &unit->assignment;

	if (unit->fsm.state != UNIT_STARTING && unit->fsm.state != UNIT_RESTARTING)
		return false;
	return !unit->assigned || !may_run(unit) || a->desired != PB__DESIRED_STATE__LAUNCHED ||
	       strcmp(a->hash, unit->working_on.hash) != 0 ||
	       a->restart_generation > unit->working_on.restart_generation;
}

/* Something may have to be done: the assignment or the driver changed, or a step has ended. */
void unit_tick(struct unit *unit)
{
	switch ((enum unit_state)unit->fsm.state) {
	case UNIT_INSTALLING:
	case UNIT_STARTING:
	case UNIT_STOPPING:
	case UNIT_RESTARTING:
	case UNIT_REMOVING:
		if (superseded(unit))
			driver_unit_cancel(unit->handle);
		return;
	case UNIT_WAITING:
	case UNIT_BACKOFF:
	case UNIT_SETTLED:
	case UNIT_GONE:
		fl_fsm_move(&unit->fsm, UNIT_DECIDING, "changed");
		break;
	case UNIT_DECIDING:
		break;
	}
	decide(unit);
}

/* ---- What drivers tell -------------------------------------------------------------------- */

void unit_on_state(void *userdata)
{
	struct unit *unit = userdata;

	/* What went wrong with its start is over when it runs after all (Restart=, by hand). */
	if (unit->fsm.state == UNIT_SETTLED && unit->error != NULL && is_running(unit))
		set_error(unit, NULL);
	if (unit->fsm.state == UNIT_SETTLED && unit->done_revision != unit->revision &&
		!unit->deferred)
		carried_out(unit);
	else
		unit_changed(unit);
}

static void look_in_place(struct unit *unit)
{
	struct driver_definition definition = definition_of(unit);

	unit->in_place = unit->handle != NULL && driver_unit_has(unit->handle, &definition);
}

/* The host carried it out; how it ended is in unit->result. */
static void on_step_carried_out(struct unit *unit, const struct driver_outcome *outcome)
{
	struct assignment_done done;

	switch (outcome->verb) {
	case DRIVER_INSTALL:
		look_in_place(unit);
		(void)snprintf(
			unit->host_hash, sizeof(unit->host_hash), "%s", unit->working_on.hash);
		break;
	case DRIVER_START:
	case DRIVER_RESTART:
		unit->job_us = outcome->job_us;
		set_done(unit, &unit->working_on);
		break;
	case DRIVER_STOP:
		done = unit->done;
		if (done.desired == PB__DESIRED_STATE__LAUNCHED)
			done.desired = PB__DESIRED_STATE__LOADED;
		set_done(unit, &done);
		break;
	case DRIVER_REMOVE:
		break;
	}
}

static void log_outcome(const struct unit *unit, const struct driver_outcome *outcome)
{
	if (outcome->text[0] != '\0')
		fl_log(outcome->code == FL_OK ? FL_NOTICE : FL_WARNING, "unit.step",
			"unit=%s step=%s result=%s error=%s", unit->name,
			driver_verb_text(outcome->verb), outcome->result, outcome->text);
	else
		fl_log(FL_DEBUG, "unit.step", "unit=%s step=%s result=%s job_us=%llu", unit->name,
			driver_verb_text(outcome->verb), outcome->result,
			(unsigned long long)outcome->job_us);
}

void unit_on_step_done(const struct driver_outcome *outcome, void *userdata)
{
	struct unit *unit = userdata;
	bool again = false;

	assignment_fini(&unit->retired);
	if (outcome->verb == DRIVER_START || outcome->verb == DRIVER_RESTART)
		unit->may_start = outcome->code != FL_OK;
	else if (outcome->verb == DRIVER_STOP && outcome->code == FL_OK)
		unit->may_start = false;
	if (unit->closing || outcome->code == FL_E_CANCELED) {
		again = true;
	} else if (outcome->code == FL_E_UNAVAILABLE) {
		again = !driver_ready(unit->handle->driver); /* it says when it is */
	} else if (outcome->code == FL_OK) {
		set_error(unit, outcome->text);
		(void)snprintf(unit->result, sizeof(unit->result), "%s", outcome->result);
		on_step_carried_out(unit, outcome);
		log_outcome(unit, outcome);
		again = outcome->verb != DRIVER_STOP || !is_running(unit);
	} else {
		set_error(unit, outcome->text);
		log_outcome(unit, outcome);
	}
	if (again) {
		fl_fsm_move(&unit->fsm, UNIT_DECIDING, driver_verb_text(outcome->verb));
		decide(unit);
	} else {
		back_off(unit);
		if (outcome->code != FL_E_UNAVAILABLE)
			carried_out(unit);
	}
	if (unit->closing)
		unit->events->idle(unit, unit->userdata);
}

/* Whether it ended by itself before the lease did, or the fence ended it, nobody knows: with the next
 * lease it is started. */
static void begin_anew_without_lease(struct unit *unit)
{
	struct assignment_done done = unit->done;

	if (may_run(unit) || done.desired != PB__DESIRED_STATE__LAUNCHED)
		return;
	done.desired = PB__DESIRED_STATE__LOADED;
	set_done(unit, &done);
}

/* ---- What is assigned --------------------------------------------------------------------- */

static void find_driver(struct unit *unit, struct driver *const *drivers, size_t n)
{
	struct fl_error err = {.code = FL_OK};
	const char *suffix = strrchr(unit->name, '.');

	for (size_t i = 0; i < n; i++) {
		if (!driver_takes(drivers[i], unit->name))
			continue;
		if (driver_unit_open(drivers[i], unit->name, unit, &unit->handle, &err) != FL_OK)
			set_error(unit, fl_error_text(&err));
		return;
	}
	fl_error_set(&err, FL_E_UNAVAILABLE, "this machine cannot run %s units",
		suffix != NULL ? suffix : "such");
	set_error(unit, fl_error_text(&err));
}

enum fl_code unit_new(struct unit **ret_unit, const char *name, struct driver *const *drivers,
	size_t n_drivers, const struct unit_events *events, void *userdata, struct fl_error *err)
{
	struct unit *unit = FL_NEW(struct unit);

	if (unit == NULL)
		return FL_FAIL_NO_MEMORY(err);
	unit->name = fl_strdup(name);
	if (unit->name == NULL) {
		free(unit);
		return FL_FAIL_NO_MEMORY(err);
	}
	unit->events = events;
	unit->userdata = userdata;
	fl_fsm_init(&unit->fsm, &unit_fsm_def, unit->name);
	find_driver(unit, drivers, n_drivers);
	*ret_unit = unit;
	return FL_OK;
}

void unit_free(struct unit *unit)
{
	if (unit == NULL)
		return;
	fl_list_remove(&unit->report);
	driver_unit_close(unit->handle);
	assignment_fini(&unit->assignment);
	assignment_fini(&unit->retired);
	free(unit->error);
	free(unit->name);
	free(unit);
}

void unit_assign(struct unit *unit, struct assignment *assignment)
{
	struct assignment old = unit->assignment;
	bool was_assigned = unit->assigned;

	unit->assignment = *assignment;
	*assignment = (struct assignment){0};
	unit->assigned = unit->seen = true;
	unit->held = false;
	set_exclusive(unit, unit->assignment.exclusive, unit->assignment.stop_ms);
	begin_anew_without_lease(unit);
	unit->revision = unit->assignment.revision;
	unit->backoff_ms = 0;
	if (unit->assignment.desired == PB__DESIRED_STATE__LOADED)
		unit->stop_wanted =
			unit->stop_wanted ||
			(was_assigned ? unit->assignment.revision > old.revision
				      : unit->done.desired != PB__DESIRED_STATE__LOADED);
	else
		unit->stop_wanted = false;
	if (unit->fsm.state == UNIT_INSTALLING && unit->retired.name == NULL)
		unit->retired = old; /* the driver reads it until the step has ended */
	else
		assignment_fini(&old);
	look_in_place(unit);
	if (unit->in_place)
		(void)snprintf(
			unit->host_hash, sizeof(unit->host_hash), "%s", unit->assignment.hash);
	unit_tick(unit);
}

void unit_unassign(struct unit *unit, uint64_t revision)
{
	unit->assigned = unit->held = false;
	unit->revision = revision;
	unit->backoff_ms = 0;
	/* Should it come back before it is gone: it will have been stopped. */
	set_done(unit, &(struct assignment_done){.epoch = 0});
	unit_tick(unit);
}

/* ---- Exclusive units ---------------------------------------------------------------------- */

void unit_set_lease(struct unit *unit, enum lease_state lease)
{
	unit->lease = lease;
	if (!unit->exclusive)
		return;
	begin_anew_without_lease(unit);
	unit_tick(unit);
}

void unit_set_listed(struct unit *unit)
{
	if (!unit->exclusive || unit->listed)
		return;
	unit->listed = true;
	unit_tick(unit);
}

void unit_restore_exclusive(struct unit *unit, uint32_t stop_ms)
{
	unit->exclusive = unit->listed = true;
	unit->stop_ms = stop_ms;
	unit->may_start = true; /* the agent's last life may have ordered it */
}

bool unit_start_pending(const struct unit *unit)
{
	return unit->exclusive && (unit->may_start || unit->fsm.state == UNIT_STARTING ||
					  unit->fsm.state == UNIT_RESTARTING);
}

bool unit_kill_late(struct unit *unit, uint64_t ended_ms_ago)
{
	if (!unit->exclusive || unit->handle == NULL || !driver_unit_owned(unit->handle) ||
		!driver_state_is_running(state_of(unit)))
		return false;
	if (ended_ms_ago >= unit->stop_ms)
		driver_unit_kill(unit->handle);
	return true;
}

bool unit_is_gone(const struct unit *unit)
{
	return unit->fsm.state == UNIT_GONE;
}

uint64_t unit_backoff_until_ms(const struct unit *unit)
{
	return unit->fsm.state == UNIT_BACKOFF ? unit->backoff_until_ms : 0;
}

bool unit_in_step(const struct unit *unit)
{
	return (UNIT_STEPS >> unit->fsm.state & 1U) != 0;
}
