/* All units of this host, under their names; each is a state machine of unit.c. */
#include "agent/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/unit.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"

#define BACKOFF_LOOK_MS 500U

struct reconcile {
	uv_loop_t *loop;
	uv_timer_t backoff; /* while units are in BACKOFF */
	const struct reconcile_handlers *handlers;
	void *userdata;
	struct driver *drivers[RECONCILE_DRIVERS_MAX];
	size_t n_drivers;
	struct fl_map *units; /* of struct unit */
	struct fl_map *restored; /* of struct assignment_done, of units not assigned yet */
	struct fl_map *was_exclusive; /* of uint32_t, stop_ms; the same */
	enum lease_state lease;
	struct fl_list reports;
	struct fl_list told; /* gone, and reported: freed at the next report */
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static void on_backoff(uv_timer_t *timer);
static void close_when_idle(struct reconcile *reconcile);

/* ---- What units and drivers tell ---------------------------------------------------------- */

static void on_unit_reportable(struct unit *unit, void *userdata)
{
	struct reconcile *reconcile = userdata;

	fl_list_remove(&unit->report);
	fl_list_append(&reconcile->reports, &unit->report);
	reconcile->handlers->reportable(reconcile->userdata);
}

static void on_unit_done(struct unit *unit, void *userdata)
{
	struct reconcile *reconcile = userdata;

	(void)unit;
	reconcile->handlers->done(reconcile->userdata);
}

static void on_unit_backoff(struct unit *unit, void *userdata)
{
	struct reconcile *reconcile = userdata;

	(void)unit;
	if (!uv_is_active((uv_handle_t *)&reconcile->backoff))
		(void)uv_timer_start(
			&reconcile->backoff, on_backoff, BACKOFF_LOOK_MS, BACKOFF_LOOK_MS);
}

static void on_unit_exclusive(struct unit *unit, void *userdata)
{
	struct reconcile *reconcile = userdata;

	(void)unit;
	reconcile->handlers->exclusive(reconcile->userdata);
}

static bool on_unit_leased(void *userdata)
{
	const struct reconcile *reconcile = userdata;

	return reconcile->handlers->leased(reconcile->userdata);
}

static void on_unit_idle(struct unit *unit, void *userdata)
{
	(void)unit;
	close_when_idle(userdata);
}

static const struct unit_events unit_events = {
	.reportable = on_unit_reportable,
	.done = on_unit_done,
	.backoff = on_unit_backoff,
	.exclusive = on_unit_exclusive,
	.leased = on_unit_leased,
	.idle = on_unit_idle,
};

static void on_backoff(uv_timer_t *timer)
{
	struct reconcile *reconcile = FL_CONTAINER(timer, struct reconcile, backoff);
	uint64_t now = fl_clock_boot_ms();
	bool any = false;

	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);
		uint64_t until = unit_backoff_until_ms(unit);

		if (until == 0)
			continue;
		if (now < until)
			any = true;
		else
			unit_tick(unit);
	}
	if (!any)
		(void)uv_timer_stop(timer);
}

static void on_ready(bool ready, void *userdata)
{
	struct reconcile *reconcile = userdata;

	if (!ready)
		return;
	FL_MAP_FOREACH (entry, following, reconcile->units)
		unit_tick(fl_map_value(entry));
}

const struct driver_handlers reconcile_driver_handlers = {
	.ready = on_ready,
	.state = unit_on_state,
	.step_done = unit_on_step_done,
};

/* ---- Reports ------------------------------------------------------------------------------ */

/* Out of the map, too. */
static void forget(struct reconcile *reconcile, struct unit *unit)
{
	(void)fl_map_remove(reconcile->units, unit->name);
	unit_free(unit);
}

size_t reconcile_report(
	struct reconcile *reconcile, Pb__UnitState *states, size_t max, bool *ret_more)
{
	struct fl_list *node;
	size_t n = 0;

	while ((node = fl_list_pop(&reconcile->told)) != NULL) {
		struct unit *unit = FL_LIST_ENTRY(node, struct unit, report);

		if (unit_is_gone(unit)) /* it may have come again since */
			forget(reconcile, unit);
	}
	while (n < max && !fl_list_empty(&reconcile->reports)) {
		struct unit *unit =
			FL_LIST_ENTRY(fl_list_pop(&reconcile->reports), struct unit, report);

		unit->reportable = false;
		unit_write_report(unit, &states[n++]);
		if (unit_is_gone(unit))
			fl_list_append(&reconcile->told, &unit->report);
	}
	*ret_more = !fl_list_empty(&reconcile->reports);
	return n;
}

void reconcile_report_all(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units)
		unit_changed(fl_map_value(entry));
}

/* ---- What is assigned --------------------------------------------------------------------- */

static struct unit *unit_find(const struct reconcile *reconcile, const char *name)
{
	return fl_map_get(reconcile->units, name);
}

/* A unit in the map, with what was done for it before the agent's last end. */
static enum fl_code add(
	struct reconcile *reconcile, const char *name, struct unit **ret_unit, struct fl_error *err)
{
	struct assignment_done *restored;
	uint32_t *stop_ms;
	struct unit *unit;
	enum fl_code code;

	FL_TRY(unit_new(&unit, name, reconcile->drivers, reconcile->n_drivers, &unit_events,
		reconcile, err));
	code = fl_map_put(reconcile->units, name, unit, err);
	if (code != FL_OK) {
		unit_free(unit);
		return code;
	}
	restored = fl_map_remove(reconcile->restored, name);
	if (restored != NULL) {
		unit->done = *restored;
		(void)snprintf(unit->host_hash, sizeof(unit->host_hash), "%s", restored->hash);
		free(restored);
	}
	unit_set_lease(unit, reconcile->lease);
	stop_ms = fl_map_remove(reconcile->was_exclusive, name);
	if (stop_ms != NULL)
		unit_restore_exclusive(unit, *stop_ms);
	free(stop_ms);
	*ret_unit = unit;
	return FL_OK;
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
		code = add(reconcile, assignment.name, &unit, err);
		if (code != FL_OK) {
			assignment_fini(&assignment);
			return code;
		}
	}
	unit_assign(unit, &assignment);
	return FL_OK;
}

void reconcile_remove(struct reconcile *reconcile, const char *name, uint64_t revision)
{
	struct unit *unit = unit_find(reconcile, name);
	struct fl_error err = {.code = FL_OK};

	if (unit == NULL && add(reconcile, name, &unit, &err) != FL_OK)
		fl_log(FL_ERROR, "unit.remove", "unit=%s error=%s", name, fl_error_text(&err));
	else
		unit_unassign(unit, revision);
}

void reconcile_forget_epochs(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);

		unit->assignment.epoch = 0;
		unit->assignment.revision = 0;
	}
}

void reconcile_reset_begin(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units)
		((struct unit *)fl_map_value(entry))->seen = false;
}

static void free_all(struct fl_map *map)
{
	FL_MAP_FOREACH (entry, following, map)
		free(fl_map_remove(map, fl_map_key(entry)));
}

void reconcile_reset_end(struct reconcile *reconcile, uint64_t revision)
{
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);

		if ((unit->assigned && !unit->seen) || unit->held)
			unit_unassign(unit, revision);
	}
	free_all(reconcile->restored);
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
		if (add(reconcile, names.items[i], &unit, &err) != FL_OK) {
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

/* ---- Exclusive units ---------------------------------------------------------------------- */

void reconcile_set_lease(struct reconcile *reconcile, enum lease_state lease)
{
	reconcile->lease = lease;
	FL_MAP_FOREACH (entry, following, reconcile->units)
		unit_set_lease(fl_map_value(entry), lease);
}

void reconcile_list_exclusive(const struct reconcile *reconcile, struct fl_buf *list)
{
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		const struct unit *unit = fl_map_value(entry);

		if (unit->exclusive)
			lease_list_add(list, unit->name, unit->stop_ms);
	}
}

void reconcile_listed(struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units)
		unit_set_listed(fl_map_value(entry));
}

enum fl_code reconcile_restore_exclusive(
	struct reconcile *reconcile, const char *name, uint32_t stop_ms, struct fl_error *err)
{
	uint32_t *value = FL_NEW(uint32_t);
	enum fl_code code;

	if (value == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*value = stop_ms;
	free(fl_map_remove(reconcile->was_exclusive, name));
	code = fl_map_put(reconcile->was_exclusive, name, value, err);
	if (code != FL_OK)
		free(value);
	return code;
}

bool reconcile_start_pending(const struct reconcile *reconcile)
{
	FL_MAP_FOREACH (entry, following, reconcile->units)
		if (unit_start_pending(fl_map_value(entry)))
			return true;
	return false;
}

bool reconcile_kill_late(struct reconcile *reconcile, uint64_t ended_ms_ago)
{
	bool any = false;

	FL_MAP_FOREACH (entry, following, reconcile->units)
		any |= unit_kill_late(fl_map_value(entry), ended_ms_ago);
	return any;
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
	if (code == FL_OK)
		code = fl_map_new(&reconcile->was_exclusive, err);
	if (code != FL_OK) {
		fl_map_free(reconcile->restored);
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

	free_all(reconcile->restored);
	free_all(reconcile->was_exclusive);
	fl_map_free(reconcile->restored);
	fl_map_free(reconcile->was_exclusive);
	fl_map_free(reconcile->units);
	free(reconcile);
	closed(userdata);
}

/* Drivers' handles may be closed when no step is under way. */
static void close_when_idle(struct reconcile *reconcile)
{
	if (uv_is_closing((uv_handle_t *)&reconcile->backoff))
		return;
	FL_MAP_FOREACH (entry, following, reconcile->units)
		if (unit_in_step(fl_map_value(entry)))
			return;
	uv_close((uv_handle_t *)&reconcile->backoff, on_closed);
	FL_MAP_FOREACH (each, next, reconcile->units)
		forget(reconcile, fl_map_value(each));
}

void reconcile_close(struct reconcile *reconcile, void (*closed)(void *userdata), void *userdata)
{
	reconcile->closed = closed;
	reconcile->closed_userdata = userdata;
	FL_MAP_FOREACH (entry, following, reconcile->units) {
		struct unit *unit = fl_map_value(entry);

		unit->closing = true;
		if (unit_in_step(unit))
			driver_unit_cancel(unit->handle);
	}
	close_when_idle(reconcile);
}
