/*
 * One step of a unit, from the order to its outcome:
 *
 *                      ┌─ INSTALL, the name is new ─▶ CHECKING ──┐ not in systemd's memory
 *   IDLE ─▶ QUEUED ────┼─ INSTALL, REMOVE, failed ──▶ CLEARING ──┼───────────────▶ ENDED ─▶ IDLE
 *                      ├─ INSTALL, the file changed ▶ LOADING ◀──┘                   ▲
 *                      │                                │ still the old one in force │
 *                      │                                └──▶ RELOADING ──────────────┤
 *                      └─ START, STOP, RESTART ─────▶ ORDERING ─▶ JOB ─▶ (REFRESHING)┘
 *
 * The happy path of a new unit: CHECKING asks whether systemd knows the name (it does not), the
 * file is written, and START orders a job whose end JobRemoved tells. No reload: systemd finds new
 * files by itself. A changed file is loaded anew when the unit was stopped and let go of by
 * systemd; LOADING asks, and only for a unit that stays in memory one reload is made for all that
 * wait for it within RELOAD_GATHER_MS.
 *
 * It fails when the name is the host's own (CHECKING), when systemd refuses the order (ORDERING),
 * when the job fails (JOB), and at any point when the connection breaks (steps_lost()).
 *
 * Deadlines: calls have their own (CALL_MS, RELOAD_MS). A job may take as long as its unit's
 * TimeoutStartSec= allows; every JOB_CHECK_MS systemd is asked whether it still has it, since
 * JobRemoved can be lost.
 *
 * At most STEPS_MAX are under way, or PID 1 falls off a bus (500 jobs at once did it). A step that
 * takes longer than STEP_YOUNG_MS no longer counts: slow starts must not hold up the others.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/systemd/explain.h"
#include "agent/systemd/private.h"
#include "base/clock.h"
#include "base/log.h"

#define STEPS_MAX        64U
#define STEP_YOUNG_MS    3000U
#define CHECK_EVERY_MS   1000U
#define JOB_CHECK_MS     10000U
#define RELOAD_GATHER_MS 20U

FL_FSM_DEFINE(step, STEP_STATES)

static void steps_pump(struct systemd *systemd);
static void on_ender(uv_idle_t *ender);
static void on_reload_timer(uv_timer_t *timer);

static bool is_failed(const struct systemd_unit *unit)
{
	return strcmp(unit->state.active, "failed") == 0;
}

/* ---- How a step ends ---------------------------------------------------------------------- */

static void slot_release(struct systemd_unit *unit)
{
	if (!unit->slow)
		unit->systemd->n_young--;
	unit->slow = true;
}

/* @result and @text may be NULL. */
static void end(struct systemd_unit *unit, enum fl_code code, const char *result, const char *text)
{
	struct systemd *systemd = unit->systemd;

	(void)snprintf(unit->outcome.result, sizeof(unit->outcome.result), "%s",
		result != NULL ? result : "");
	unit->outcome.code = code;
	/* Without memory the text is missing, and the code still says what happened. */
	unit->outcome.text = text != NULL && text[0] != '\0' ? fl_strdup(text) : NULL;
	unit->outcome.job_us = unit->ordered_us != 0 ? fl_clock_boot_us() - unit->ordered_us : 0;
	unit->call = NULL;
	fl_fsm_move(&unit->fsm, STEP_ENDED, fl_code_text(code));
	slot_release(unit);
	fl_list_remove(&unit->link);
	fl_list_append(&systemd->ended, &unit->link);
	(void)uv_idle_start(&systemd->ender, on_ender);
}

static void end_error(struct systemd_unit *unit, const struct fl_error *err)
{
	end(unit, err->code, NULL, fl_error_text(err));
}

static void deliver(struct systemd *systemd)
{
	struct fl_list *node;

	while ((node = fl_list_pop(&systemd->ended)) != NULL) {
		struct systemd_unit *unit = FL_LIST_ENTRY(node, struct systemd_unit, link);
		FL_CLEANUP(fl_freep) char *text = FL_TAKE(unit->outcome.text);
		char result[sizeof(unit->outcome.result)];
		struct driver_outcome outcome = {.verb = unit->verb,
			.code = unit->outcome.code,
			.result = result,
			.text = text != NULL ? text : "",
			.job_us = unit->outcome.job_us};

		memcpy(result, unit->outcome.result, sizeof(result));
		fl_fsm_move(&unit->fsm, STEP_IDLE, "told");
		/* No signal told of it (a new file, a start that its Condition...= refused). */
		if (unit->verb != DRIVER_REMOVE && outcome.code == FL_OK &&
			unit->state.load[0] == '\0')
			(void)!fl_strv_add(&systemd->unloaded, unit->name, NULL);
		systemd->handlers->step_done(&outcome, unit->userdata);
	}
	for (size_t i = 0; i < systemd->unloaded.n; i++) {
		struct systemd_unit *unit = fl_map_get(systemd->units, systemd->unloaded.items[i]);

		if (unit != NULL && unit->fsm.state == STEP_IDLE)
			systemd_unit_query(unit);
	}
	fl_strv_fini(&systemd->unloaded);
}

static void on_ender(uv_idle_t *ender)
{
	struct systemd *systemd = FL_CONTAINER(ender, struct systemd, ender);

	(void)uv_idle_stop(ender);
	deliver(systemd);
	steps_pump(systemd);
}

/* The order was carried out; @result is systemd's word for how. */
static void end_job(struct systemd_unit *unit, const char *result)
{
	struct properties properties;
	char text[512];

	systemd_unit_properties(unit, &properties);
	explain_job(result, &properties, text, sizeof(text));
	if (strcmp(result, "done") == 0 && unit->verb != DRIVER_STOP && !unit->condition &&
		!driver_state_is_running(&unit->state))
		(void)snprintf(text, sizeof(text),
			"not started: a Condition...= of its file is not met on this machine");
	end(unit, FL_OK, result, text);
}

/* ---- INSTALL and REMOVE ------------------------------------------------------------------- */

static void on_reloaded(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd *systemd = userdata;
	struct systemd_unit *unit, *following;

	(void)reply;
	systemd->reload_called = false;
	FL_LIST_FOREACH_SAFE (unit, &systemd->active, link, following) {
		/* Those that came to RELOADING meanwhile have no begin yet: `checked_ms` is 0. */
		if (unit->fsm.state != STEP_RELOADING || unit->checked_ms == 0)
			continue;
		if (code == FL_OK)
			end(unit, FL_OK, NULL, NULL);
		else
			end_error(unit, err);
	}
	FL_LIST_FOREACH (unit, &systemd->active, link)
		if (unit->fsm.state == STEP_RELOADING) {
			(void)uv_timer_start(
				&systemd->reload, on_reload_timer, RELOAD_GATHER_MS, 0);
			return;
		}
}

static void on_reload_timer(uv_timer_t *timer)
{
	struct systemd *systemd = FL_CONTAINER(timer, struct systemd, reload);
	struct fl_error err = {.code = FL_OK};
	struct systemd_unit *unit;
	unsigned n = 0;

	FL_LIST_FOREACH (unit, &systemd->active, link)
		if (unit->fsm.state == STEP_RELOADING) {
			unit->checked_ms = fl_clock_boot_ms();
			n++;
		}
	if (n == 0)
		return;
	fl_log(FL_INFO, "systemd.reload", "units=%u", n);
	systemd->reload_called = true;
	if (bus_call(systemd->bus, BUS_MANAGER_PATH, BUS_MANAGER, "Reload", RELOAD_MS, on_reloaded,
		    systemd, NULL, &err, "") != FL_OK)
		on_reloaded(err.code, NULL, &err, systemd);
}

static void want_reload(struct systemd_unit *unit)
{
	struct systemd *systemd = unit->systemd;

	fl_fsm_move(&unit->fsm, STEP_RELOADING, "systemd holds the old file");
	unit->checked_ms = 0;
	if (!systemd->reload_called && !uv_is_active((uv_handle_t *)&systemd->reload))
		(void)uv_timer_start(&systemd->reload, on_reload_timer, RELOAD_GATHER_MS, 0);
}

/* What a unit's properties are; false: they could not be had, and the step has ended with why. */
static bool take_properties(struct systemd_unit *unit, enum fl_code code, sd_bus_message *reply,
	const struct fl_error *err, struct properties *ret_properties)
{
	struct fl_error read_err = {.code = FL_OK};

	unit->call = NULL;
	if (code == FL_OK && properties_read(reply, ret_properties, &read_err) == FL_OK)
		return true;
	end_error(unit, code != FL_OK ? err : &read_err);
	return false;
}

static void on_loaded(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;
	struct properties properties;

	if (!take_properties(unit, code, reply, err, &properties))
		return;
	systemd_unit_apply(unit, &properties);
	if (properties_have(&properties, PROPERTY_NEED_RELOAD) && properties.need_reload)
		want_reload(unit);
	else
		end(unit, FL_OK, NULL, NULL);
}

/* Reading a unit's properties makes systemd load it, if it had let go of it. */
static void ask_properties(struct systemd_unit *unit, bus_reply reply)
{
	struct fl_error err = {.code = FL_OK};

	if (bus_call(unit->systemd->bus, unit->path, BUS_PROPERTIES, "GetAll", CALL_MS, reply, unit,
		    &unit->call, &err, "s", BUS_UNIT) != FL_OK)
		end_error(unit, &err);
}

static bool write_files(struct systemd_unit *unit)
{
	struct fl_error err = {.code = FL_OK};

	if (files_write(unit->systemd->files, unit->name, &unit->definition, &err) == FL_OK)
		return true;
	end_error(unit, &err);
	return false;
}

static void install_changed(struct systemd_unit *unit, const char *why)
{
	if (!write_files(unit))
		return;
	fl_fsm_move(&unit->fsm, STEP_LOADING, why);
	ask_properties(unit, on_loaded);
}

/* systemd knows the name, and no file of the host has it. */
static void on_known(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;
	struct fl_error own_err = {.code = FL_OK};
	struct properties properties;
	char *own_path;

	if (!take_properties(unit, code, reply, err, &properties))
		return;
	/* Another unit names it, or it was ours and systemd has not let go of it yet. */
	own_path = fl_printf("%s/%s", FILES_UNIT_DIRECTORY, unit->name);
	if (strcmp(properties.load, "not-found") == 0 ||
		(own_path != NULL && strcmp(properties.fragment, own_path) == 0)) {
		install_changed(unit, "known by name only");
	} else {
		fl_error_set(&own_err, FL_E_EXISTS, "the host has a unit of this name%s%s",
			properties.fragment[0] != '\0' ? ": " : ", made by systemd itself",
			properties.fragment);
		end_error(unit, &own_err);
	}
	free(own_path);
}

static void on_checked(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;

	(void)reply;
	unit->call = NULL;
	if (code == FL_OK)
		ask_properties(unit, on_known);
	else if (code != FL_E_NOT_FOUND)
		end_error(unit, err);
	else if (write_files(unit))
		end(unit, FL_OK, NULL, NULL);
}

static void check_name(struct systemd_unit *unit)
{
	struct fl_error err = {.code = FL_OK};

	fl_fsm_move(&unit->fsm, STEP_CHECKING, "the name is new");
	if (files_check_host(unit->systemd->files, unit->name, &err) != FL_OK ||
		bus_call(unit->systemd->bus, BUS_MANAGER_PATH, BUS_MANAGER, "GetUnit", CALL_MS,
			on_checked, unit, &unit->call, &err, "s", unit->name) != FL_OK)
		end_error(unit, &err);
}

static void on_cleared(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;

	(void)reply;
	unit->call = NULL;
	/* A unit that systemd has let go of meanwhile has nothing to clear: no error. */
	if (code != FL_OK && code != FL_E_NOT_FOUND && code != FL_E_FAILED)
		end_error(unit, err);
	else if (unit->verb == DRIVER_INSTALL)
		install_changed(unit, "cleared");
	else
		end(unit, FL_OK, NULL, NULL);
}

/* A failed unit stays in systemd's memory until it is told to forget the failure. */
static void clear_failure(struct systemd_unit *unit)
{
	struct fl_error err = {.code = FL_OK};

	fl_fsm_move(&unit->fsm, STEP_CLEARING, "it is failed");
	if (bus_call(unit->systemd->bus, BUS_MANAGER_PATH, BUS_MANAGER, "ResetFailedUnit", CALL_MS,
		    on_cleared, unit, &unit->call, &err, "s", unit->name) != FL_OK)
		end_error(unit, &err);
}

static void begin_install(struct systemd_unit *unit)
{
	if (!files_owns(unit->systemd->files, unit->name))
		check_name(unit);
	else if (is_failed(unit))
		clear_failure(unit);
	else
		install_changed(unit, "the file changed");
}

static void begin_remove(struct systemd_unit *unit)
{
	struct fl_error err = {.code = FL_OK};
	bool was_ours = files_owns(unit->systemd->files, unit->name);

	if (files_remove(unit->systemd->files, unit->name, &err) != FL_OK)
		end_error(unit, &err);
	else if (was_ours && is_failed(unit))
		clear_failure(unit);
	else
		end(unit, FL_OK, NULL, NULL);
}

/* ---- START, STOP and RESTART -------------------------------------------------------------- */

static void order(struct systemd_unit *unit);

static void on_ordered(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;
	const char *path, *number;

	unit->call = NULL;
	if (code == FL_OK) {
		if (libsystemd.bus_message_read(reply, "o", &path) >= 0 &&
			(number = strrchr(path, '/')) != NULL) {
			unit->job = (uint32_t)strtoul(number + 1, NULL, 10);
			unit->checked_ms = fl_clock_boot_ms();
			fl_fsm_move(&unit->fsm, STEP_JOB, "ordered");
		} else {
			end(unit, FL_E_PROTOCOL, NULL, "systemd's answer names no job");
		}
	} else if (code == FL_E_NOT_FOUND && unit->verb == DRIVER_STOP) {
		end(unit, FL_OK, "done", NULL);
	} else if (code == FL_E_NOT_FOUND && !unit->retried) {
		/* systemd looked at the folder before the file was in it. */
		unit->retried = true;
		files_touch(unit->systemd->files);
		order(unit);
	} else if (code == FL_E_FAILED || code == FL_E_NOT_FOUND) {
		/* A bad setting, a masked unit, ...: to try again would change nothing. */
		systemd_unit_query(unit);
		end(unit, FL_OK, "failed", fl_error_text(err));
	} else {
		end_error(unit, err);
	}
}

static void on_ignored(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	(void)code;
	(void)reply;
	(void)err;
	(void)userdata;
}

static void order(struct systemd_unit *unit)
{
	struct bus *bus = unit->systemd->bus;
	struct fl_error err = {.code = FL_OK};
	enum fl_code code = FL_OK;
	const char *method = "StopUnit";

	fl_fsm_move(&unit->fsm, STEP_ORDERING, driver_verb_text(unit->verb));
	if (unit->verb != DRIVER_STOP) {
		method = unit->verb == DRIVER_START ? "StartUnit" : "RestartUnit";
		/* Somebody asked for this start, so it is not held against StartLimitBurst=. */
		if (is_failed(unit))
			code = bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, "ResetFailedUnit",
				CALL_MS, on_ignored, NULL, NULL, &err, "s", unit->name);
	}
	unit->fresh = false;
	unit->ordered_us = fl_clock_boot_us();
	if (code == FL_OK)
		code = bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, method, CALL_MS, on_ordered,
			unit, &unit->call, &err, "ss", unit->name, "replace");
	if (code != FL_OK)
		end_error(unit, &err);
}

void steps_job_removed(struct systemd_unit *unit, uint32_t job, const char *result)
{
	if (unit->fsm.state != STEP_JOB || unit->job != job)
		return;
	if (unit->call != NULL)
		bus_call_cancel(FL_TAKE(unit->call));
	if (unit->fresh) {
		end_job(unit, result);
		return;
	}
	(void)snprintf(unit->outcome.result, sizeof(unit->outcome.result), "%s", result);
	fl_fsm_move(&unit->fsm, STEP_REFRESHING, "its state was not told");
	systemd_unit_query(unit);
}

void steps_refreshed(struct systemd_unit *unit)
{
	char result[sizeof(unit->outcome.result)];

	if (unit->fsm.state != STEP_REFRESHING)
		return;
	memcpy(result, unit->outcome.result, sizeof(result));
	if (result[0] == '\0')
		/* JobRemoved was lost: what became of the unit says how it ended. */
		(void)snprintf(result, sizeof(result), "%s",
			driver_state_is_running(&unit->state) != (unit->verb == DRIVER_STOP)
				? "done"
				: "failed");
	end_job(unit, result);
}

static void on_job_checked(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;

	(void)reply;
	(void)err;
	unit->call = NULL;
	if (code != FL_E_NOT_FOUND)
		return; /* it is still there; or the connection is lost, which is told otherwise */
	fl_log(FL_WARNING, "systemd.job_lost", "unit=%s job=%u", unit->name, unit->job);
	unit->outcome.result[0] = '\0';
	fl_fsm_move(&unit->fsm, STEP_REFRESHING, "its job is gone");
	systemd_unit_query(unit);
}

static void on_check(uv_timer_t *timer)
{
	struct systemd *systemd = FL_CONTAINER(timer, struct systemd, check);
	uint64_t now = fl_clock_boot_ms();
	struct systemd_unit *unit;

	FL_LIST_FOREACH (unit, &systemd->active, link) {
		if (!unit->slow && now - unit->begun_ms >= STEP_YOUNG_MS)
			slot_release(unit);
		if (unit->fsm.state != STEP_JOB || unit->call != NULL ||
			now - unit->checked_ms < JOB_CHECK_MS)
			continue;
		unit->checked_ms = now;
		(void)!bus_call(systemd->bus, BUS_MANAGER_PATH, BUS_MANAGER, "GetJob", CALL_MS,
			on_job_checked, unit, &unit->call, NULL, "u", unit->job);
	}
	if (fl_list_empty(&systemd->active))
		(void)uv_timer_stop(timer);
	steps_pump(systemd);
}

/* The unit's state tells what came of it. */
void steps_kill(struct systemd_unit *unit)
{
	(void)!bus_call(unit->systemd->bus, BUS_MANAGER_PATH, BUS_MANAGER, "KillUnit", CALL_MS,
		on_ignored, NULL, NULL, NULL, "ssi", unit->name, "all", (uint32_t)SIGKILL);
}

/* ---- The line ----------------------------------------------------------------------------- */

static void begin(struct systemd_unit *unit)
{
	switch (unit->verb) {
	case DRIVER_INSTALL:
		begin_install(unit);
		break;
	case DRIVER_START:
	case DRIVER_STOP:
	case DRIVER_RESTART:
		order(unit);
		break;
	case DRIVER_REMOVE:
		begin_remove(unit);
		break;
	}
}

static void steps_pump(struct systemd *systemd)
{
	while (systemd->ready && systemd->n_young < STEPS_MAX && !fl_list_empty(&systemd->queued)) {
		struct systemd_unit *unit =
			FL_LIST_ENTRY(fl_list_pop(&systemd->queued), struct systemd_unit, link);

		fl_list_append(&systemd->active, &unit->link);
		systemd->n_young++;
		unit->slow = false;
		unit->begun_ms = fl_clock_boot_ms();
		if (!uv_is_active((uv_handle_t *)&systemd->check))
			(void)uv_timer_start(
				&systemd->check, on_check, CHECK_EVERY_MS, CHECK_EVERY_MS);
		begin(unit);
	}
}

void steps_begin(struct systemd_unit *unit, enum driver_verb verb,
	const struct driver_definition *definition)
{
	struct systemd *systemd = unit->systemd;

	fl_fsm_move(&unit->fsm, STEP_QUEUED, driver_verb_text(verb));
	unit->verb = verb;
	unit->definition =
		definition != NULL ? *definition : (struct driver_definition){.content = ""};
	unit->retried = false;
	unit->slow = true; /* not counted before it has begun */
	unit->ordered_us = 0;
	fl_list_append(&systemd->queued, &unit->link);
	if (systemd->ready)
		steps_pump(systemd);
	else
		end(unit, FL_E_UNAVAILABLE, NULL, "systemd on this machine does not answer");
}

/* What a step waits for is forgotten. */
static void detach(struct systemd_unit *unit)
{
	if (unit->call != NULL)
		bus_call_cancel(FL_TAKE(unit->call));
}

void steps_cancel(struct systemd_unit *unit)
{
	if (unit->fsm.state == STEP_IDLE || unit->fsm.state == STEP_ENDED)
		return;
	detach(unit);
	end(unit, FL_E_CANCELED, NULL, NULL);
}

void steps_lost(struct systemd *systemd)
{
	struct systemd_unit *unit, *following;

	(void)uv_timer_stop(&systemd->reload);
	systemd->reload_called = false;
	fl_list_splice(&systemd->active, &systemd->queued);
	FL_LIST_FOREACH_SAFE (unit, &systemd->active, link, following) {
		detach(unit);
		end(unit, FL_E_UNAVAILABLE, NULL, "the connection to systemd was lost");
	}
	deliver(systemd);
}

void steps_unit_init(struct systemd_unit *unit)
{
	fl_fsm_init(&unit->fsm, &step_fsm_def, unit->name);
	unit->slow = true;
}

void steps_init(struct systemd *systemd)
{
	fl_list_init(&systemd->queued);
	fl_list_init(&systemd->active);
	fl_list_init(&systemd->ended);
	(void)uv_timer_init(systemd->loop, &systemd->check);
	(void)uv_timer_init(systemd->loop, &systemd->reload);
	(void)uv_idle_init(systemd->loop, &systemd->ender);
	systemd->check.data = systemd->reload.data = systemd->ender.data = systemd;
}

void steps_fini(struct systemd *systemd, uv_close_cb closed)
{
	systemd->closing += 3;
	uv_close((uv_handle_t *)&systemd->check, closed);
	uv_close((uv_handle_t *)&systemd->reload, closed);
	uv_close((uv_handle_t *)&systemd->ender, closed);
}
