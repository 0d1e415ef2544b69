/*
 * What stands between reconcile.c and that which really runs units: one driver per kind of thing
 * (systemd's units now; containers, virtual machines and K3s nodes later). reconcile.c decides
 * which step a unit needs next; a driver carries out one step of a unit at a time and tells what
 * the host says of it.
 *
 * Everything is on the loop thread. Handlers are called from the loop, never inside a call of the
 * driver. Every step ends: a driver that waits for something asks after it by itself and has a
 * deadline for every answer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strv.h"

struct driver;
struct driver_unit;

/* X(constant, what it does) */
#define DRIVER_VERBS(X) \
	X(DRIVER_INSTALL, "install") /* put the definition in force; the unit stays as it is */ \
	X(DRIVER_START, "start") /* started, even if it failed before */ \
	X(DRIVER_STOP, "stop") \
	X(DRIVER_RESTART, "restart") /* stopped if it runs, then started */ \
	X(DRIVER_REMOVE, "remove") /* of a stopped unit: nothing of it is left on the host */

enum driver_verb {
#define X(verb, text) verb,
	DRIVER_VERBS(X)
#undef X
};

const char *driver_verb_text(enum driver_verb verb);

struct driver_definition {
	const void *content;
	size_t len;
	const char *tenant;
	bool exclusive; /* the host itself is not to start it without a lease (lease.h) */
};

/* What the host says of a unit, in systemd's words (org.freedesktop.systemd1(5)). */
struct driver_state {
	/* `load` is "" while it is not known; it is soon after INSTALL, START or a restart. */
	char load[24], active[24], sub[40];
	uint32_t main_pid;
	uint64_t since_us; /* wall clock of the last change of active; 0 = never */
	char failure[200]; /* why it is failed or cannot be loaded, for a person; "" = it is not */
};

/* Neither inactive nor failed: there is something to stop. */
bool driver_state_is_running(const struct driver_state *state);

bool driver_state_equal(const struct driver_state *a, const struct driver_state *b);

/* How a step ended. */
struct driver_outcome {
	enum driver_verb verb;
	/*
	 * FL_OK also where the host carried the step out and it ended badly: `result` says so.
	 * Otherwise the step could not be carried out: FL_E_UNAVAILABLE the driver lost its
	 * host, FL_E_CANCELED driver_unit_cancel(), FL_E_EXISTS the name is the host's own, FL_E_*.
	 */
	enum fl_code code;
	const char *result; /* of START, STOP, RESTART: "done", "failed", "timeout", ... */
	const char *text; /* what went wrong, for a person; "" = nothing did */
	uint64_t job_us; /* from the order given to the host to its end */
};

struct driver_handlers {
	/* The driver can carry out steps and knows every open unit's state, or no longer. Steps
	 * under way have ended with FL_E_UNAVAILABLE before a false. */
	void (*ready)(bool ready, void *userdata);
	/* driver_unit_state() has changed. */
	void (*state)(void *unit_userdata);
	void (*step_done)(const struct driver_outcome *outcome, void *unit_userdata);
};

struct driver_ops {
	const char *name;
	bool (*takes)(const struct driver *driver, const char *unit_name);
	bool (*ready)(const struct driver *driver);
	enum fl_code (*capabilities)(
		const struct driver *driver, struct fl_strv *capabilities, struct fl_error *err);
	enum fl_code (*owned)(
		const struct driver *driver, struct fl_strv *names, struct fl_error *err);
	enum fl_code (*unit_open)(struct driver *driver, const char *name, void *userdata,
		struct driver_unit **ret_unit, struct fl_error *err);
	void (*unit_close)(struct driver_unit *unit);
	bool (*unit_owned)(const struct driver_unit *unit);
	bool (*unit_has)(
		const struct driver_unit *unit, const struct driver_definition *definition);
	const struct driver_state *(*unit_state)(const struct driver_unit *unit);
	void (*unit_step)(struct driver_unit *unit, enum driver_verb verb,
		const struct driver_definition *definition);
	void (*unit_cancel)(struct driver_unit *unit);
	void (*unit_kill)(struct driver_unit *unit);
	void (*close)(struct driver *driver, void (*closed)(void *userdata), void *userdata);
};

/* The first member of every driver and of every driver's unit. */
struct driver {
	const struct driver_ops *ops;
};

struct driver_unit {
	struct driver *driver;
};

/* Whether units of this name (its suffix) are this driver's. */
static inline bool driver_takes(const struct driver *driver, const char *unit_name)
{
	return driver->ops->takes(driver, unit_name);
}

static inline bool driver_ready(const struct driver *driver)
{
	return driver->ops->ready(driver);
}

/* Adds what this machine can do by this driver, for people: "systemd 252". */
static inline enum fl_code driver_capabilities(
	const struct driver *driver, struct fl_strv *capabilities, struct fl_error *err)
{
	return driver->ops->capabilities(driver, capabilities, err);
}

/* Adds the names of the units that the driver put on this host and has not removed, an agent's
 * restart or crash ago too. */
static inline enum fl_code driver_owned(
	const struct driver *driver, struct fl_strv *names, struct fl_error *err)
{
	return driver->ops->owned(driver, names, err);
}

/* Takes up a unit: its state is watched. Names are open once. */
static inline enum fl_code driver_unit_open(struct driver *driver, const char *name, void *userdata,
	struct driver_unit **ret_unit, struct fl_error *err)
{
	return driver->ops->unit_open(driver, name, userdata, ret_unit, err);
}

/* No step is under way. The unit itself is left as it is. */
static inline void driver_unit_close(struct driver_unit *unit)
{
	if (unit != NULL)
		unit->driver->ops->unit_close(unit);
}

/* Whether the driver put it on this host: only then may it be stopped. */
static inline bool driver_unit_owned(const struct driver_unit *unit)
{
	return unit->driver->ops->unit_owned(unit);
}

/* Whether the driver put exactly this definition on the host. */
static inline bool driver_unit_has(
	const struct driver_unit *unit, const struct driver_definition *definition)
{
	return unit->driver->ops->unit_has(unit, definition);
}

/* Never NULL; borrowed until the next turn of the loop. */
static inline const struct driver_state *driver_unit_state(const struct driver_unit *unit)
{
	return unit->driver->ops->unit_state(unit);
}

/* Begins a step; none is under way. @definition is of INSTALL and must live until step_done. */
static inline void driver_unit_step(
	struct driver_unit *unit, enum driver_verb verb, const struct driver_definition *definition)
{
	unit->driver->ops->unit_step(unit, verb, definition);
}

/* Nobody waits for the step under way any more: it ends soon, with FL_E_CANCELED unless it has
 * ended already. What the host was told to do it goes on doing. */
static inline void driver_unit_cancel(struct driver_unit *unit)
{
	unit->driver->ops->unit_cancel(unit);
}

/* Whatever still runs of it dies now; beside a step. Nothing tells whether it worked but the state. */
static inline void driver_unit_kill(struct driver_unit *unit)
{
	unit->driver->ops->unit_kill(unit);
}

/* All units are closed. @closed comes from the loop. */
static inline void driver_close(
	struct driver *driver, void (*closed)(void *userdata), void *userdata)
{
	driver->ops->close(driver, closed, userdata);
}
