/* Between the files of this driver: systemd.c holds the connection and what is known of units,
 * steps.c carries out their steps. */
#pragma once

#include <uv.h>

#include "agent/driver.h"
#include "agent/systemd/bus.h"
#include "agent/systemd/files.h"
#include "agent/systemd/properties.h"
#include "base/fsm.h"
#include "base/list.h"
#include "base/map.h"

#define CALL_MS   60000U /* PID 1 answers nothing while it reloads: seconds with 2,000 units */
#define RELOAD_MS 180000U

/* Where a unit's step stands; the diagram is in steps.c. */
#define STEP_STATES(X) \
	X(STEP, IDLE, FL_TO(STEP, QUEUED)) \
	X(STEP, QUEUED, \
		FL_TO(STEP, CHECKING) | FL_TO(STEP, CLEARING) | FL_TO(STEP, LOADING) | \
			FL_TO(STEP, ORDERING) | FL_TO(STEP, ENDED)) \
	X(STEP, CHECKING, FL_TO(STEP, LOADING) | FL_TO(STEP, ENDED)) \
	X(STEP, CLEARING, FL_TO(STEP, LOADING) | FL_TO(STEP, ENDED)) \
	X(STEP, LOADING, FL_TO(STEP, RELOADING) | FL_TO(STEP, ENDED)) \
	X(STEP, RELOADING, FL_TO(STEP, ENDED)) \
	X(STEP, ORDERING, FL_TO(STEP, JOB) | FL_TO(STEP, ORDERING) | FL_TO(STEP, ENDED)) \
	X(STEP, JOB, FL_TO(STEP, REFRESHING) | FL_TO(STEP, ENDED)) \
	X(STEP, REFRESHING, FL_TO(STEP, ENDED)) \
	X(STEP, ENDED, FL_TO(STEP, IDLE))

struct systemd_unit {
	struct driver_unit base;
	struct systemd *systemd;
	char *name;
	char *path; /* of its object */
	void *userdata;

	/* What systemd says of it. */
	struct driver_state state;
	char result[40]; /* of the service, socket, ...; with how its main process ended */
	int32_t exec_code, exec_status;
	bool condition; /* its conditions were met at the last start */
	bool fresh; /* `state` was told after the last order */
	struct bus_call *query; /* for `state`; NULL: none under way */

	/* The step under way. */
	struct fl_fsm fsm;
	struct fl_list link; /* in one of systemd's lists, by its state */
	enum driver_verb verb;
	struct driver_definition definition;
	struct bus_call *call; /* that it waits for, or NULL */
	uint32_t job; /* in JOB */
	bool slow; /* no longer counted in n_young */
	bool retried;
	uint64_t begun_ms, checked_ms, ordered_us;
	struct {
		enum fl_code code;
		char result[24];
		char *text; /* NULL = nothing */
		uint64_t job_us;
	} outcome;
};

struct systemd {
	struct driver base;
	uv_loop_t *loop;
	const struct driver_handlers *handlers;
	void *userdata;
	struct bus *bus;
	struct files *files;
	struct fl_map *units; /* by name */
	bool ready;
	bool reloading; /* systemd reads all units anew */
	unsigned asked; /* answers that are missing before it is ready */
	char version[64];

	/* steps.c */
	struct fl_list queued, active, ended; /* of struct systemd_unit, by link */
	unsigned n_young; /* of active, without the slow ones */
	uv_timer_t check; /* while there are active ones */
	uv_timer_t reload; /* runs from the first that needs one */
	bool reload_called;
	uv_idle_t ender; /* while there are ended ones */
	struct fl_strv unloaded; /* whose LoadState is not known, while outcomes are told */

	unsigned closing; /* handles whose close is under way */
	void (*closed)(void *userdata);
	void *closed_userdata;
};

/* systemd.c */
/* Takes over what @properties has of the unit's state, and tells whom it concerns. */
void systemd_unit_apply(struct systemd_unit *unit, const struct properties *properties);
/* Asks for the unit's state; steps_refreshed() follows. */
void systemd_unit_query(struct systemd_unit *unit);
/* For explain.h: the unit as it was last heard of. */
void systemd_unit_properties(const struct systemd_unit *unit, struct properties *ret_properties);

/* steps.c */
void steps_init(struct systemd *systemd);
void steps_fini(struct systemd *systemd, uv_close_cb closed);
void steps_unit_init(struct systemd_unit *unit);
void steps_begin(struct systemd_unit *unit, enum driver_verb verb,
	const struct driver_definition *definition);
void steps_cancel(struct systemd_unit *unit);
/* Beside any step. */
void steps_kill(struct systemd_unit *unit);
/* JobRemoved came. */
void steps_job_removed(struct systemd_unit *unit, uint32_t job, const char *result);
/* The answer to systemd_unit_query() came, or will not. */
void steps_refreshed(struct systemd_unit *unit);
/* The connection is gone: every step ends, and is told at once. */
void steps_lost(struct systemd *systemd);
