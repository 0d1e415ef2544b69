/*
 * One unit of the reconciler: what is assigned, what was done, and the step under way. Between
 * unit.c, which is the state machine, and reconcile.c, which holds them all.
 */
#pragma once

#include "agent/assignment.h"
#include "agent/driver.h"
#include "agent/lease.h"
#include "base/fsm.h"
#include "base/list.h"

struct unit;

/* What a unit tells of itself; @userdata is the owner's. */
struct unit_events {
	/* There is something new in unit_write_report(). */
	void (*reportable)(struct unit *unit, void *userdata);
	/* unit->done has changed. */
	void (*done)(struct unit *unit, void *userdata);
	/* It waits until unit->backoff_until_ms for unit_tick(). */
	void (*backoff)(struct unit *unit, void *userdata);
	/* Whether the lease is alive at this moment, by the clock. */
	bool (*leased)(void *userdata);
	/* unit->exclusive or its stop_ms has changed; it is not started before unit_set_listed(). */
	void (*exclusive)(struct unit *unit, void *userdata);
	/* A step has ended while unit->closing. */
	void (*idle)(struct unit *unit, void *userdata);
};

struct unit {
	const struct unit_events *events;
	void *userdata;
	char *name;
	struct fl_fsm fsm;
	struct driver_unit *handle; /* NULL: no driver takes it, or the name is not one */

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

	bool exclusive; /* also while it is being removed */
	uint32_t stop_ms;
	enum lease_state lease;
	bool listed; /* where the fence looks */
	bool deferred; /* it is to be started, and may not */

	bool closing; /* no step is begun any more */
	bool reportable;
	struct fl_list
		report; /* in the owner's list of those to report, or of those reported and gone */
};

/* Takes a driver's handle for @name; where none of @drivers takes it the unit says so. */
enum fl_code unit_new(struct unit **ret_unit, const char *name, struct driver *const *drivers,
	size_t n_drivers, const struct unit_events *events, void *userdata,
	struct fl_error *err) FL_MUST_CHECK;
/* No step is under way. */
void unit_free(struct unit *unit);

/* Puts @assignment (taken over) in place of the old one, and sets to work. */
void unit_assign(struct unit *unit, struct assignment *assignment);
/* It is no longer this machine's: stopped and removed. */
void unit_unassign(struct unit *unit, uint64_t revision);
/* Something may have to be done: the assignment or the driver changed, or a time is over. */
void unit_tick(struct unit *unit);

/* Of exclusive units. Without a lease they stop; a new one begins them anew, as a boot does. */
void unit_set_lease(struct unit *unit, enum lease_state lease);
void unit_set_listed(struct unit *unit);
/* It was exclusive before the agent's last end. Before it is assigned. */
void unit_restore_exclusive(struct unit *unit, uint32_t stop_ms);
/* The host may yet carry out a start of it that was ordered under an earlier lease. */
bool unit_start_pending(const struct unit *unit);
/* The lease ended so long ago: kills what should have stopped by now. Whether it still runs. */
bool unit_kill_late(struct unit *unit, uint64_t ended_ms_ago);

bool unit_in_step(const struct unit *unit);
bool unit_is_gone(const struct unit *unit);
/* When it wants to be ticked (CLOCK_BOOTTIME, ms); 0 = it waits for nothing. */
uint64_t unit_backoff_until_ms(const struct unit *unit);
void unit_changed(struct unit *unit);

/* Texts are borrowed until the unit next changes. */
void unit_write_report(const struct unit *unit, Pb__UnitState *ret_report);

/* For struct driver_handlers; @userdata is the unit. */
void unit_on_state(void *userdata);
void unit_on_step_done(const struct driver_outcome *outcome, void *userdata);
