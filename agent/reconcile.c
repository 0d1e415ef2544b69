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
 * Deadlines: a driver ends every step (driver.h); BACKOFF has its timer; WAITING, SETTLED and GONE
 * wait for nothing but what is told.
 */
#include "agent/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsm.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

#define BACKOFF_MIN_MS  1000U
#define BACKOFF_MAX_MS  60000U
#define BACKOFF_LOOK_MS 500U

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

struct unit {
	struct reconcile *reconcile;
	char *name;
	struct fl_fsm fsm;
	struct driver_unit *handle; /* NULL: no driver takes it, or refused_name */

	struct assignment assignment;
	struct assignment retired; /* replaced while the driver still reads it */
	bool assigned; /* else it is being removed */
	bool held; /* an orphan, left alone until the whole assignment is known */
	uint64_t revision; /* of the assignment that is worked on */
	bool stop_wanted; /* LOADED: to be stopped, if it runs */
	bool in_place; /* the driver has this content */
	bool may_start; /* nobody waited for the end of a start: the host may go on with it */
	bool seen; /* in the reset under way */
	char host_hash[48]; /* of the content that the driver has */

	struct assignment_done done;
	struct assignment_done working_on; /* what `done` is when the start under way has ended */

	char *error; /* why the last step went wrong; NULL */
	char result[24];
	uint64_t job_us;
	uint64_t done_revision;
	uint64_t backoff_until_ms;
	uint32_t backoff_ms;

	bool reportable;
	struct fl_list report; /* in reconcile->reports while reportable; in ->told: to be freed */
};

struct reconcile {
	uv_loop_t *loop;
	uv_timer_t backoff; /* while units are in BACKOFF */
	const struct reconcile_handlers *handlers;
	void *userdata;
	struct driver *drivers[RECONCILE_DRIVERS_MAX];
	size_t n_drivers;
	struct fl_map *units; /* of struct unit */
	struct fl_map *restored; /* of struct assignment_done, of units not assigned yet */
	struct fl_list reports;
	struct fl_list told; /* gone, and reported: freed at the next report */
	bool closing;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static void tick(struct unit *unit);
static void on_backoff(uv_timer_t *timer);
static void close_when_idle(struct reconcile *reconcile);

/* ---- Reports ------------------------------------------------------------------------------ */

static void changed(struct unit *unit)
{
	struct reconcile *reconcile = unit->reconcile;

	if (unit->reportable || unit->held)
		return;
	unit->reportable = true;
	fl_list_remove(&unit->report);
	fl_list_append(&reconcile->reports, &unit->report);
	reconcile->handlers->reportable(reconcile->userdata);
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

static void write_report(const struct unit *unit, Pb__UnitState *report)
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

static void unit_free(struct unit *unit)
{
	fl_list_remove(&unit->report);
	(void)fl_map_remove(unit->reconcile->units, unit->name);
	driver_unit_close(unit->handle);
	assignment_fini(&unit->assignment);
	assignment_fini(&unit->retired);
	free(unit->error);
	free(unit->name);
	free(unit);
}

size_t reconcile_report(
	struct reconcile *reconcile, Pb__UnitState *states, size_t max, bool *ret_more)
{
	struct fl_list *node;
	size_t n = 0;

	while ((node = fl_list_pop(&reconcile->told)) != NULL)
		unit_free(FL_LIST_ENTRY(node, struct unit, report));
	while (n < max && !fl_list_empty(&reconcile->reports)) {
		struct unit *unit =
			FL_LIST_ENTRY(fl_list_pop(&reconcile->reports), struct unit, report);

		unit->reportable = false;
		write_report(unit, &states[n++]);
		if (unit->fsm.state == UNIT_GONE)
			fl_list_append(&reconcile->told, &unit->report);
	}
	*ret_more = !fl_list_empty(&reconcile->reports);
	return n;
}

void reconcile_report_all(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units)
		changed(fl_map_value(entry));
}

/* ---- What is missing ---------------------------------------------------------------------- */

enum plan {
	PLAN_INSTALL = DRIVER_INSTALL,
	PLAN_START = DRIVER_START,
	PLAN_STOP = DRIVER_STOP,
	PLAN_RESTART = DRIVER_RESTART,
	PLAN_REMOVE = DRIVER_REMOVE,
	PLAN_NOTHING,
	PLAN_FORGET,
};

static const enum unit_state step_states[] = {
	[DRIVER_INSTALL] = UNIT_INSTALLING,
	[DRIVER_START] = UNIT_STARTING,
	[DRIVER_STOP] = UNIT_STOPPING,
	[DRIVER_RESTART] = UNIT_RESTARTING,
	[DRIVER_REMOVE] = UNIT_REMOVING,
};

static enum plan plan_launched(const struct unit *unit)
{
	const struct assignment *a = &unit->assignment;
	const struct assignment_done *done = &unit->done;
	bool restart = a->restart_generation > done->restart_generation;

	if (done->desired == PB__DESIRED_STATE__LAUNCHED && done->epoch == a->epoch &&
		done->start_generation >= a->start_generation && strcmp(done->hash, a->hash) == 0)
		return restart ? PLAN_RESTART : PLAN_NOTHING;
	return restart && is_running(unit) ? PLAN_RESTART : PLAN_START;
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
		.tenant = unit->assignment.tenant};
}

static void set_done(struct unit *unit, const struct assignment_done *done)
{
	if (memcmp(&unit->done, done, sizeof(*done)) == 0)
		return;
	unit->done = *done;
	unit->reconcile->handlers->done(unit->reconcile->userdata);
}

/* What was asked for up to this revision has been done, or has gone wrong in a way that is told. */
static void carried_out(struct unit *unit)
{
	unit->done_revision = unit->revision;
	changed(unit);
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

	if (unit->reconcile->closing)
		return;
	if (!can_decide(unit)) {
		fl_fsm_move(&unit->fsm, UNIT_WAITING, "no driver is ready");
		if (unit->handle == NULL)
			carried_out(unit); /* its error says that it never will be */
		return;
	}
	next = unit->handle != NULL ? plan(unit) : PLAN_FORGET;
	if (next == PLAN_NOTHING) {
		settle(unit);
	} else if (next == PLAN_FORGET) {
		fl_fsm_move(&unit->fsm, UNIT_GONE, "nothing of it is left");
		carried_out(unit);
	} else {
		begin(unit, next);
	}
}

static void back_off(struct unit *unit)
{
	struct reconcile *reconcile = unit->reconcile;

	unit->backoff_ms = unit->backoff_ms == 0 ? BACKOFF_MIN_MS : 2 * unit->backoff_ms;
	if (unit->backoff_ms > BACKOFF_MAX_MS)
		unit->backoff_ms = BACKOFF_MAX_MS;
	unit->backoff_until_ms = fl_clock_boot_ms() + unit->backoff_ms;
	fl_fsm_move(&unit->fsm, UNIT_BACKOFF, "the step could not be carried out");
	if (!uv_is_active((uv_handle_t *)&reconcile->backoff))
		(void)uv_timer_start(
			&reconcile->backoff, on_backoff, BACKOFF_LOOK_MS, BACKOFF_LOOK_MS);
}

/* Whether the start under way is no longer wanted. Other steps are short, or must come to their
 * end before anything else can be done. */
static bool superseded(const struct unit *unit)
{
	const struct assignment *a = &unit->assignment;

	if (unit->fsm.state != UNIT_STARTING && unit->fsm.state != UNIT_RESTARTING)
		return false;
	return !unit->assigned || a->desired != PB__DESIRED_STATE__LAUNCHED ||
	       strcmp(a->hash, unit->working_on.hash) != 0 ||
	       a->restart_generation > unit->working_on.restart_generation;
}

/* Something may have to be done: the assignment or the driver changed, or a step has ended. */
static void tick(struct unit *unit)
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

static void on_backoff(uv_timer_t *timer)
{
	struct reconcile *reconcile = FL_CONTAINER(timer, struct reconcile, backoff);
	uint64_t now = fl_clock_boot_ms();
	bool any = false;

	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);

		if (unit->fsm.state != UNIT_BACKOFF)
			continue;
		if (now < unit->backoff_until_ms)
			any = true;
		else
			tick(unit);
	}
	if (!any)
		(void)uv_timer_stop(timer);
}

/* ---- What drivers tell -------------------------------------------------------------------- */

static void on_ready(bool ready, void *userdata)
{
	struct reconcile *reconcile = userdata;

	if (!ready)
		return;
	FL_MAP_FOREACH (entry, following, reconcile->units)
		tick(fl_map_value(entry));
}

static void on_state(void *userdata)
{
	struct unit *unit = userdata;

	/* What went wrong with its start is over when it runs after all (Restart=, by hand). */
	if (unit->fsm.state == UNIT_SETTLED && unit->error != NULL && is_running(unit))
		set_error(unit, NULL);
	if (unit->fsm.state == UNIT_SETTLED && unit->done_revision != unit->revision)
		carried_out(unit);
	else
		changed(unit);
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

static void on_step_done(const struct driver_outcome *outcome, void *userdata)
{
	struct unit *unit = userdata;
	bool again = false;

	assignment_fini(&unit->retired);
	if (outcome->verb == DRIVER_START || outcome->verb == DRIVER_RESTART)
		unit->may_start = outcome->code != FL_OK;
	else if (outcome->verb == DRIVER_STOP && outcome->code == FL_OK)
		unit->may_start = false;
	if (unit->reconcile->closing || outcome->code == FL_E_CANCELED) {
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
	if (unit->reconcile->closing)
		close_when_idle(unit->reconcile);
}

const struct driver_handlers reconcile_driver_handlers = {
	.ready = on_ready,
	.state = on_state,
	.step_done = on_step_done,
};

/* ---- What is assigned --------------------------------------------------------------------- */

static struct unit *unit_find(const struct reconcile *reconcile, const char *name)
{
	return fl_map_get(reconcile->units, name);
}

static void find_driver(struct unit *unit)
{
	struct reconcile *reconcile = unit->reconcile;
	struct fl_error err = {.code = FL_OK};
	const char *suffix = strrchr(unit->name, '.');

	for (size_t i = 0; i < reconcile->n_drivers; i++) {
		if (!driver_takes(reconcile->drivers[i], unit->name))
			continue;
		if (driver_unit_open(
			    reconcile->drivers[i], unit->name, unit, &unit->handle, &err) != FL_OK)
			set_error(unit, fl_error_text(&err));
		return;
	}
	fl_error_set(&err, FL_E_UNAVAILABLE, "this machine cannot run %s units",
		suffix != NULL ? suffix : "such");
	set_error(unit, fl_error_text(&err));
}

static enum fl_code unit_new(
	struct reconcile *reconcile, const char *name, struct unit **ret_unit, struct fl_error *err)
{
	struct unit *unit = FL_NEW(struct unit);
	struct assignment_done *restored;

	if (unit == NULL)
		return FL_FAIL_NO_MEMORY(err);
	unit->reconcile = reconcile;
	unit->name = fl_strdup(name);
	if (unit->name == NULL || fl_map_put(reconcile->units, name, unit, err) != FL_OK) {
		free(unit->name);
		free(unit);
		return FL_FAIL_NO_MEMORY(err);
	}
	fl_fsm_init(&unit->fsm, &unit_fsm_def, unit->name);
	find_driver(unit);
	restored = fl_map_remove(reconcile->restored, name);
	if (restored != NULL) {
		unit->done = *restored;
		(void)snprintf(unit->host_hash, sizeof(unit->host_hash), "%s", restored->hash);
		free(restored);
	}
	*ret_unit = unit;
	return FL_OK;
}

/* Puts @assignment (taken over) in place of the old one. */
static void unit_reassign(struct unit *unit, struct assignment *assignment)
{
	struct assignment old = unit->assignment;
	bool was_assigned = unit->assigned;

	unit->assignment = *assignment;
	*assignment = (struct assignment){0};
	unit->assigned = unit->seen = true;
	unit->held = false;
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
}

enum fl_code reconcile_assign(
	struct reconcile *reconcile, const Pb__Assignment *message, struct fl_error *err)
{
	struct assignment assignment;
	struct unit *unit;
	enum fl_code code;

	FL_TRY(assignment_read(message, &assignment, err));
	unit = unit_find(reconcile, assignment.name);
	if (unit != NULL && assignment.epoch < unit->assignment.epoch) {
		unit->seen = true;
		code = FL_FAIL(err, FL_E_STATE,
			"%s: epoch %llu is older than %llu, which is known here", unit->name,
			(unsigned long long)assignment.epoch,
			(unsigned long long)unit->assignment.epoch);
		assignment_fini(&assignment);
		return code;
	}
	if (unit == NULL) {
		code = unit_new(reconcile, assignment.name, &unit, err);
		if (code != FL_OK) {
			assignment_fini(&assignment);
			return code;
		}
	}
	unit_reassign(unit, &assignment);
	tick(unit);
	return FL_OK;
}

static void unit_unassign(struct unit *unit, uint64_t revision)
{
	unit->assigned = unit->held = false;
	unit->revision = revision;
	unit->backoff_ms = 0;
	/* Should it come back before it is gone: it will have been stopped. */
	set_done(unit, &(struct assignment_done){.epoch = 0});
	tick(unit);
}

void reconcile_remove(struct reconcile *reconcile, const char *name, uint64_t revision)
{
	struct unit *unit = unit_find(reconcile, name);

	if (unit != NULL && unit->assigned)
		unit_unassign(unit, revision);
}

void reconcile_reset_begin(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units)
		((struct unit *)fl_map_value(entry))->seen = false;
}

static void restored_free(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->restored)
		free(fl_map_remove(reconcile->restored, fl_map_key(entry)));
}

void reconcile_reset_end(struct reconcile *reconcile, uint64_t revision)
{
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);

		if ((unit->assigned && !unit->seen) || unit->held)
			unit_unassign(unit, revision);
	}
	restored_free(reconcile);
}

void reconcile_take_orphans(struct reconcile *reconcile, bool remove, uint64_t revision)
{
	FL_CLEANUP_STRV struct fl_strv names = {0};
	struct fl_error err = {.code = FL_OK};
	struct unit *unit;

	for (size_t i = 0; i < reconcile->n_drivers; i++)
		if (driver_owned(reconcile->drivers[i], &names, &err) != FL_OK)
			fl_log(FL_ERROR, "unit.orphans", "error=%s", fl_error_text(&err));
	for (size_t i = 0; i < names.n; i++) {
		if (unit_find(reconcile, names.items[i]) != NULL)
			continue;
		fl_log(FL_NOTICE, "unit.orphan", "unit=%s remove=%d", names.items[i], remove);
		if (unit_new(reconcile, names.items[i], &unit, &err) != FL_OK) {
			fl_log(FL_ERROR, "unit.orphan", "unit=%s error=%s", names.items[i],
				fl_error_text(&err));
			continue;
		}
		unit->held = true;
		if (remove)
			unit_unassign(unit, revision);
	}
}

bool reconcile_owns(const struct reconcile *reconcile, const char *name)
{
	const struct unit *unit = unit_find(reconcile, name);

	return unit != NULL && unit->assigned && unit->handle != NULL &&
	       driver_unit_owned(unit->handle);
}

size_t reconcile_count(const struct reconcile *reconcile)
{
	size_t n = 0;

	FL_MAP_FOREACH (entry, following, reconcile->units)
		n += ((const struct unit *)fl_map_value(entry))->assigned;
	return n;
}

/* ---- For the disk ------------------------------------------------------------------------- */

enum fl_code reconcile_restore_done(
	struct reconcile *reconcile, const Pb__AgentDone *message, struct fl_error *err)
{
	struct assignment_done *done = FL_NEW(struct assignment_done);
	struct assignment_done *before;
	enum fl_code code;

	if (done == NULL)
		return FL_FAIL_NO_MEMORY(err);
	assignment_done_read(message, done);
	before = fl_map_remove(reconcile->restored, message->name);
	free(before);
	code = fl_map_put(reconcile->restored, message->name, done, err);
	if (code != FL_OK)
		free(done);
	return code;
}

enum fl_code reconcile_assignments(const struct reconcile *reconcile, Pb__Assignment **ret_list,
	size_t *ret_n, struct fl_error *err)
{
	Pb__Assignment *list = fl_new_array(fl_map_count(reconcile->units) + 1, sizeof(*list));
	size_t n = 0;

	if (list == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		const struct unit *unit = fl_map_value(entry);

		if (unit->assigned)
			assignment_write(&unit->assignment, &list[n++]);
	}
	*ret_list = list;
	*ret_n = n;
	return FL_OK;
}

enum fl_code reconcile_done(const struct reconcile *reconcile, Pb__AgentDone **ret_list,
	size_t *ret_n, struct fl_error *err)
{
	Pb__AgentDone *list = fl_new_array(fl_map_count(reconcile->units) + 1, sizeof(*list));
	size_t n = 0;

	if (list == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		const struct unit *unit = fl_map_value(entry);

		if (!unit->assigned || unit->done.hash[0] == '\0')
			continue;
		assignment_done_write(&unit->done, &list[n]);
		list[n++].name = unit->name;
	}
	*ret_list = list;
	*ret_n = n;
	return FL_OK;
}

/* ---- Beginning and end -------------------------------------------------------------------- */

enum fl_code reconcile_new(struct reconcile **ret_reconcile, uv_loop_t *loop,
	const struct reconcile_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct reconcile *reconcile = FL_NEW(struct reconcile);
	enum fl_code code;

	if (reconcile == NULL)
		return FL_FAIL_NO_MEMORY(err);
	code = fl_map_new(&reconcile->units, err);
	if (code == FL_OK)
		code = fl_map_new(&reconcile->restored, err);
	if (code != FL_OK) {
		fl_map_free(reconcile->units);
		free(reconcile);
		return code;
	}
	reconcile->loop = loop;
	reconcile->handlers = handlers;
	reconcile->userdata = userdata;
	fl_list_init(&reconcile->reports);
	fl_list_init(&reconcile->told);
	(void)uv_timer_init(loop, &reconcile->backoff);
	*ret_reconcile = reconcile;
	return FL_OK;
}

void reconcile_add_driver(struct reconcile *reconcile, struct driver *driver)
{
	fl_assert(reconcile->n_drivers < RECONCILE_DRIVERS_MAX);
	reconcile->drivers[reconcile->n_drivers++] = driver;
}

static void on_closed(uv_handle_t *handle)
{
	struct reconcile *reconcile = FL_CONTAINER((uv_timer_t *)handle, struct reconcile, backoff);
	void (*closed)(void *userdata) = reconcile->closed;
	void *userdata = reconcile->closed_userdata;

	restored_free(reconcile);
	fl_map_free(reconcile->restored);
	fl_map_free(reconcile->units);
	free(reconcile);
	closed(userdata);
}

static bool in_step(const struct unit *unit)
{
	return (UNIT_STEPS >> unit->fsm.state & 1U) != 0;
}

/* Drivers' handles may be closed when no step is under way. */
static void close_when_idle(struct reconcile *reconcile)
{
	if (uv_is_closing((uv_handle_t *)&reconcile->backoff))
		return;
	FL_MAP_FOREACH (entry, following, reconcile->units)
		if (in_step(fl_map_value(entry)))
			return;
	uv_close((uv_handle_t *)&reconcile->backoff, on_closed);
	FL_MAP_FOREACH (each, next, reconcile->units)
		unit_free(fl_map_value(each));
}

void reconcile_close(struct reconcile *reconcile, void (*closed)(void *userdata), void *userdata)
{
	reconcile->closing = true;
	reconcile->closed = closed;
	reconcile->closed_userdata = userdata;
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);

		if (in_step(unit))
			driver_unit_cancel(unit->handle);
	}
	close_when_idle(reconcile);
}
