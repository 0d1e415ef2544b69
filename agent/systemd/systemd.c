/*
 * What systemd says: the connection, and the state of each open unit.
 *
 * After every connect the driver asks for the version, the folders in which systemd looks for
 * units, and the states of all open units in one call (ListUnitsByNames); with the answers it is
 * ready. From then on signals keep the states: PropertiesChanged, UnitRemoved, and JobRemoved for
 * steps.c.
 */
#include "agent/systemd/systemd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/systemd/explain.h"
#include "agent/systemd/private.h"
#include "base/log.h"
#include "unitfiles/name.h"

#define LIST_NAMES 500 /* in one ListUnitsByNames */

static const struct {
	enum unit_kind kind;
	const char *interface;
} kinds[] = {
	{UNIT_SERVICE, "org.freedesktop.systemd1.Service"},
	{UNIT_SOCKET, "org.freedesktop.systemd1.Socket"},
	{UNIT_TIMER, "org.freedesktop.systemd1.Timer"},
	{UNIT_PATH, "org.freedesktop.systemd1.Path"},
	{UNIT_TARGET, "org.freedesktop.systemd1.Target"},
	{UNIT_MOUNT, "org.freedesktop.systemd1.Mount"},
	{UNIT_AUTOMOUNT, "org.freedesktop.systemd1.Automount"},
	{UNIT_SWAP, "org.freedesktop.systemd1.Swap"},
	{UNIT_SLICE, "org.freedesktop.systemd1.Slice"},
};

/* The interface of the unit's kind; NULL where it is none of systemd's. */
static const char *kind_interface(const char *name)
{
	enum unit_kind kind = unit_name_kind(name);

	for (size_t i = 0; i < FL_COUNT(kinds); i++)
		if (kinds[i].kind == kind)
			return kinds[i].interface;
	return NULL;
}

static void ask_states(struct systemd *systemd);

/* ---- States ------------------------------------------------------------------------------- */

void systemd_unit_properties(const struct systemd_unit *unit, struct properties *ret_properties)
{
	struct properties properties = {
		.exec_code = unit->exec_code, .exec_status = unit->exec_status};

	memcpy(properties.load, unit->state.load, sizeof(properties.load));
	memcpy(properties.active, unit->state.active, sizeof(properties.active));
	memcpy(properties.result, unit->result, sizeof(properties.result));
	*ret_properties = properties;
}

static bool is_unloadable(const char *load)
{
	return strcmp(load, "bad-setting") == 0 || strcmp(load, "error") == 0;
}

void systemd_unit_apply(struct systemd_unit *unit, const struct properties *properties)
{
	struct driver_state before = unit->state, *state = &unit->state;
	struct properties all;

	if (properties_have(properties, PROPERTY_LOAD))
		memcpy(state->load, properties->load, sizeof(state->load));
	if (properties_have(properties, PROPERTY_ACTIVE)) {
		memcpy(state->active, properties->active, sizeof(state->active));
		unit->fresh = true;
	}
	if (properties_have(properties, PROPERTY_SUB))
		memcpy(state->sub, properties->sub, sizeof(state->sub));
	if (properties_have(properties, PROPERTY_CONDITION))
		unit->condition = properties->condition;
	if (properties_have(properties, PROPERTY_MAIN_PID))
		state->main_pid = properties->main_pid;
	if (properties_have(properties, PROPERTY_RESULT))
		memcpy(unit->result, properties->result, sizeof(unit->result));
	if (properties_have(properties, PROPERTY_EXEC_CODE))
		unit->exec_code = properties->exec_code;
	if (properties_have(properties, PROPERTY_EXEC_STATUS))
		unit->exec_status = properties->exec_status;
	if (properties->since_us > state->since_us)
		state->since_us = properties->since_us;

	/* LoadState is never signaled; but what was started has been loaded. */
	if (strcmp(state->active, "inactive") != 0)
		(void)snprintf(state->load, sizeof(state->load), "loaded");

	/* A unit that cannot be loaded is let go of at once: why is told only with its LoadState. */
	if (!is_unloadable(state->load) || properties_have(properties, PROPERTY_LOAD)) {
		systemd_unit_properties(unit, &all);
		memcpy(all.load_error, properties->load_error, sizeof(all.load_error));
		explain_state(&all, state->failure, sizeof(state->failure));
	}
	if (!driver_state_equal(&before, state))
		unit->systemd->handlers->state(unit->userdata);
}

/* systemd has let go of it, or never knew it. */
static void apply_unknown(struct systemd_unit *unit)
{
	struct properties properties = {
		.present = 1U << PROPERTY_ACTIVE | 1U << PROPERTY_SUB | 1U << PROPERTY_MAIN_PID,
		.active = "inactive",
		.sub = "dead"};

	systemd_unit_apply(unit, &properties);
}

static struct systemd_unit *unit_find(struct systemd *systemd, const char *name)
{
	return fl_map_get(systemd->units, name);
}

static struct systemd_unit *unit_of_path(struct systemd *systemd, const char *path)
{
	FL_CLEANUP(fl_freep) char *name = NULL;

	if (path == NULL || libsystemd.bus_path_decode(path, BUS_UNIT_PATH, &name) <= 0)
		return NULL;
	return unit_find(systemd, name);
}

static void query_done(struct systemd_unit *unit)
{
	unit->query = NULL;
	steps_refreshed(unit);
}

static void on_kind_properties(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;
	struct properties properties;

	(void)err;
	if (code == FL_OK && properties_read(reply, &properties, NULL) == FL_OK)
		systemd_unit_apply(unit, &properties);
	query_done(unit);
}

static void on_unit_properties(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd_unit *unit = userdata;
	struct properties properties;

	(void)err;
	unit->query = NULL;
	if (code == FL_OK && properties_read(reply, &properties, NULL) == FL_OK)
		systemd_unit_apply(unit, &properties);
	/* The kind's own properties say why it failed, and its main process. */
	if (code == FL_OK && strcmp(unit->state.active, "inactive") != 0 &&
		bus_call(unit->systemd->bus, unit->path, BUS_PROPERTIES, "GetAll", CALL_MS,
			on_kind_properties, unit, &unit->query, NULL, "s",
			kind_interface(unit->name)) == FL_OK)
		return;
	query_done(unit);
}

void systemd_unit_query(struct systemd_unit *unit)
{
	if (unit->query != NULL)
		return;
	/* Where the bus is lost steps_lost() ends what waits for this. */
	(void)!bus_call(unit->systemd->bus, unit->path, BUS_PROPERTIES, "GetAll", CALL_MS,
		on_unit_properties, unit, &unit->query, NULL, "s", BUS_UNIT);
}

/* ---- Signals ------------------------------------------------------------------------------ */

static void on_properties_changed(struct systemd *systemd, sd_bus_message *message)
{
	struct systemd_unit *unit = unit_of_path(systemd, libsystemd.bus_message_get_path(message));
	struct properties properties;
	const char *interface, *own;

	if (unit == NULL || libsystemd.bus_message_read(message, "s", &interface) < 0)
		return;
	own = kind_interface(unit->name);
	if (strcmp(interface, BUS_UNIT) != 0 && strcmp(interface, own) != 0)
		return;
	if (properties_read(message, &properties, NULL) == FL_OK)
		systemd_unit_apply(unit, &properties);
}

/* systemd forgets all units and reads them anew, which looks as if each of them were gone. */
static void on_reloading(struct systemd *systemd, bool reloading)
{
	systemd->reloading = reloading;
	if (!reloading)
		ask_states(systemd);
}

static void on_signal(sd_bus_message *message, void *userdata)
{
	struct systemd *systemd = userdata;
	const char *name, *path, *result;
	struct systemd_unit *unit;
	int reloading;
	uint32_t job;

	if (libsystemd.bus_message_is_signal(message, BUS_PROPERTIES, "PropertiesChanged") > 0) {
		on_properties_changed(systemd, message);
	} else if (libsystemd.bus_message_is_signal(message, BUS_MANAGER, "JobRemoved") > 0) {
		if (libsystemd.bus_message_read(message, "uoss", &job, &path, &name, &result) >=
				0 &&
			(unit = unit_find(systemd, name)) != NULL)
			steps_job_removed(unit, job, result);
	} else if (libsystemd.bus_message_is_signal(message, BUS_MANAGER, "Reloading") > 0) {
		if (libsystemd.bus_message_read(message, "b", &reloading) >= 0)
			on_reloading(systemd, reloading != 0);
	} else if (libsystemd.bus_message_is_signal(message, BUS_MANAGER, "UnitRemoved") > 0) {
		if (!systemd->reloading &&
			libsystemd.bus_message_read(message, "so", &name, &path) >= 0 &&
			(unit = unit_find(systemd, name)) != NULL)
			apply_unknown(unit);
	}
}

/* ---- Connecting --------------------------------------------------------------------------- */

static void answered(struct systemd *systemd, enum fl_code code, const struct fl_error *err)
{
	if (code != FL_OK && code != FL_E_UNAVAILABLE)
		fl_log(FL_WARNING, "systemd.ask", "error=%s", fl_error_text(err));
	if (--systemd->asked > 0 || code == FL_E_UNAVAILABLE || systemd->ready)
		return;
	systemd->ready = true;
	systemd->handlers->ready(true, systemd->userdata);
}

static void on_version(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd *systemd = userdata;
	const char *version;

	if (code == FL_OK && libsystemd.bus_message_read(reply, "v", "s", &version) >= 0)
		/* "252.39-1~deb12u1": the first number is what matters to a person. */
		(void)snprintf(systemd->version, sizeof(systemd->version), "systemd %.*s",
			(int)strspn(version, "0123456789"), version);
	answered(systemd, code, err);
}

static void on_unit_path(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd *systemd = userdata;
	FL_CLEANUP_STRV struct fl_strv path = {0};
	const char *folder;

	if (code == FL_OK && libsystemd.bus_message_enter_container(reply, 'v', "as") >= 0 &&
		libsystemd.bus_message_enter_container(reply, 'a', "s") >= 0) {
		while (libsystemd.bus_message_read(reply, "s", &folder) > 0)
			if (fl_strv_add(&path, folder, NULL) != FL_OK)
				break;
		(void)!files_set_search_path(systemd->files, &path, NULL);
	}
	answered(systemd, code, err);
}

static void on_listed(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct systemd *systemd = userdata;
	const char *name, *description, *load, *active, *sub, *following, *path, *type, *job_path;
	uint32_t job;

	if (code == FL_OK &&
		libsystemd.bus_message_enter_container(reply, 'a', "(ssssssouso)") >= 0)
		while (libsystemd.bus_message_read(reply, "(ssssssouso)", &name, &description,
			       &load, &active, &sub, &following, &path, &job, &type,
			       &job_path) > 0) {
			struct systemd_unit *unit = unit_find(systemd, name);
			struct properties properties = {.present = 1U << PROPERTY_LOAD |
								   1U << PROPERTY_ACTIVE |
								   1U << PROPERTY_SUB};

			if (unit == NULL)
				continue;
			(void)snprintf(properties.load, sizeof(properties.load), "%s", load);
			(void)snprintf(properties.active, sizeof(properties.active), "%s", active);
			(void)snprintf(properties.sub, sizeof(properties.sub), "%s", sub);
			systemd_unit_apply(unit, &properties);
			if (strcmp(active, "inactive") != 0)
				systemd_unit_query(unit); /* process, times, causes: they follow */
		}
	answered(systemd, code, err);
}

static void ask(struct systemd *systemd, const char *property, bus_reply reply)
{
	struct fl_error err = {.code = FL_OK};

	systemd->asked++;
	if (bus_call(systemd->bus, BUS_MANAGER_PATH, BUS_PROPERTIES, "Get", CALL_MS, reply, systemd,
		    NULL, &err, "ss", BUS_MANAGER, property) != FL_OK)
		fl_log(FL_WARNING, "systemd.ask", "error=%s", fl_error_text(&err));
}

static void ask_states(struct systemd *systemd)
{
	struct fl_map_entry *entry = fl_map_first(systemd->units);

	while (entry != NULL) {
		char *names[LIST_NAMES + 1];
		struct fl_error err = {.code = FL_OK};
		size_t n = 0;

		for (; entry != NULL && n < LIST_NAMES; entry = fl_map_next(entry))
			names[n++] = ((struct systemd_unit *)fl_map_value(entry))->name;
		names[n] = NULL;
		systemd->asked++;
		if (bus_call_strv(systemd->bus, BUS_MANAGER_PATH, BUS_MANAGER, "ListUnitsByNames",
			    CALL_MS, on_listed, systemd, names, &err) != FL_OK)
			fl_log(FL_WARNING, "systemd.ask", "error=%s", fl_error_text(&err));
	}
}

static void on_up(void *userdata)
{
	struct systemd *systemd = userdata;

	systemd->asked = 0;
	systemd->reloading = false;
	ask(systemd, "Version", on_version);
	ask(systemd, "UnitPath", on_unit_path);
	ask_states(systemd);
}

static void on_down(void *userdata)
{
	struct systemd *systemd = userdata;
	bool was_ready = systemd->ready;

	systemd->ready = false;
	steps_lost(systemd);
	if (was_ready)
		systemd->handlers->ready(false, systemd->userdata);
}

static const struct bus_handlers bus_handlers = {
	.up = on_up,
	.down = on_down,
	.signal = on_signal,
};

/* ---- The driver --------------------------------------------------------------------------- */

static bool systemd_takes(const struct driver *driver, const char *unit_name)
{
	(void)driver;
	return kind_interface(unit_name) != NULL;
}

static bool systemd_ready(const struct driver *driver)
{
	return ((const struct systemd *)driver)->ready;
}

static enum fl_code systemd_capabilities(
	const struct driver *driver, struct fl_strv *capabilities, struct fl_error *err)
{
	const struct systemd *systemd = (const struct systemd *)driver;

	return systemd->version[0] != '\0' ? fl_strv_add(capabilities, systemd->version, err)
					   : FL_OK;
}

static enum fl_code systemd_owned(
	const struct driver *driver, struct fl_strv *names, struct fl_error *err)
{
	return files_owned(((const struct systemd *)driver)->files, names, err);
}

static void unit_free(struct systemd_unit *unit)
{
	free(unit->name);
	free(unit->path);
	free(unit->outcome.text);
	free(unit);
}

static enum fl_code systemd_unit_open(struct driver *driver, const char *name, void *userdata,
	struct driver_unit **ret_unit, struct fl_error *err)
{
	struct systemd *systemd = (struct systemd *)driver;
	struct systemd_unit *unit;

	FL_TRY(unit_name_check(name, err)); /* it becomes a file's name */
	fl_assert(unit_find(systemd, name) == NULL);
	unit = FL_NEW(struct systemd_unit);
	if (unit == NULL)
		return FL_FAIL_NO_MEMORY(err);
	unit->base.driver = driver;
	unit->systemd = systemd;
	unit->userdata = userdata;
	unit->condition = true;
	(void)snprintf(unit->state.active, sizeof(unit->state.active), "inactive");
	(void)snprintf(unit->state.sub, sizeof(unit->state.sub), "dead");
	unit->name = fl_strdup(name);
	if (unit->name == NULL ||
		libsystemd.bus_path_encode(BUS_UNIT_PATH, name, &unit->path) < 0 ||
		fl_map_put(systemd->units, name, unit, err) != FL_OK) {
		unit_free(unit);
		return FL_FAIL_NO_MEMORY(err);
	}
	steps_unit_init(unit);
	if (bus_is_up(systemd->bus) && files_owns(systemd->files, name))
		systemd_unit_query(unit);
	*ret_unit = &unit->base;
	return FL_OK;
}

static void systemd_unit_close(struct driver_unit *base)
{
	struct systemd_unit *unit = (struct systemd_unit *)base;

	fl_assert(unit->fsm.state == 0);
	if (unit->query != NULL)
		bus_call_cancel(unit->query);
	(void)fl_map_remove(unit->systemd->units, unit->name);
	unit_free(unit);
}

static bool systemd_unit_owned(const struct driver_unit *base)
{
	const struct systemd_unit *unit = (const struct systemd_unit *)base;

	return files_owns(unit->systemd->files, unit->name);
}

static bool systemd_unit_has(
	const struct driver_unit *base, const struct driver_definition *definition)
{
	const struct systemd_unit *unit = (const struct systemd_unit *)base;

	return files_has(unit->systemd->files, unit->name, definition);
}

static const struct driver_state *systemd_unit_state(const struct driver_unit *base)
{
	return &((const struct systemd_unit *)base)->state;
}

static void systemd_unit_step(
	struct driver_unit *base, enum driver_verb verb, const struct driver_definition *definition)
{
	steps_begin((struct systemd_unit *)base, verb, definition);
}

static void systemd_unit_cancel(struct driver_unit *base)
{
	steps_cancel((struct systemd_unit *)base);
}

static void systemd_unit_kill(struct driver_unit *base)
{
	steps_kill((struct systemd_unit *)base);
}

static void systemd_free(struct systemd *systemd)
{
	if (systemd->units != NULL)
		fl_assert(fl_map_count(systemd->units) == 0);
	fl_map_free(systemd->units);
	files_free(systemd->files);
	free(systemd);
}

static void one_closed(struct systemd *systemd)
{
	if (--systemd->closing > 0)
		return;
	systemd->closed(systemd->closed_userdata);
	systemd_free(systemd);
}

static void on_bus_closed(void *userdata)
{
	one_closed(userdata);
}

static void on_handle_closed(uv_handle_t *handle)
{
	one_closed(handle->data);
}

static void systemd_close(struct driver *driver, void (*closed)(void *userdata), void *userdata)
{
	struct systemd *systemd = (struct systemd *)driver;

	systemd->closed = closed;
	systemd->closed_userdata = userdata;
	systemd->closing = 1;
	steps_fini(systemd, on_handle_closed);
	bus_close(systemd->bus, on_bus_closed, systemd);
}

static const struct driver_ops ops = {
	.name = "systemd",
	.takes = systemd_takes,
	.ready = systemd_ready,
	.capabilities = systemd_capabilities,
	.owned = systemd_owned,
	.unit_open = systemd_unit_open,
	.unit_close = systemd_unit_close,
	.unit_owned = systemd_unit_owned,
	.unit_has = systemd_unit_has,
	.unit_state = systemd_unit_state,
	.unit_step = systemd_unit_step,
	.unit_cancel = systemd_unit_cancel,
	.unit_kill = systemd_unit_kill,
	.close = systemd_close,
};

enum fl_code systemd_driver_open(struct driver **ret_driver, uv_loop_t *loop,
	const struct systemd_config *config, const struct driver_handlers *handlers, void *userdata,
	struct fl_error *err)
{
	struct systemd *systemd;
	enum fl_code code;

	if (access("/run/systemd/system", F_OK) != 0) /* sd_booted(3) */
		return FL_FAIL(err, FL_E_UNAVAILABLE, "this machine was not booted with systemd");
	FL_TRY(libsystemd_load(err));
	systemd = FL_NEW(struct systemd);
	if (systemd == NULL)
		return FL_FAIL_NO_MEMORY(err);
	systemd->base.ops = &ops;
	systemd->loop = loop;
	systemd->handlers = handlers;
	systemd->userdata = userdata;
	code = fl_map_new(&systemd->units, err);
	if (code == FL_OK)
		code = files_new(
			&systemd->files, config->unit_directory, config->runtime_directory, err);
	if (code == FL_OK)
		code = bus_open(&systemd->bus, loop, &bus_handlers, systemd, err);
	if (code != FL_OK) {
		systemd_free(systemd);
		return code;
	}
	steps_init(systemd);
	*ret_driver = &systemd->base;
	return FL_OK;
}
