/*
 * Makes this host match its assignment: one state machine per unit, each on its own, over the
 * drivers. It knows nothing of the coordinator, of disks or of the network; agent.c joins them.
 *
 * All on the loop thread. Handlers are called from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "agent/assignment.h"
#include "agent/driver.h"
#include "agent/lease.h"
#include "base/buf.h"
#include "base/error.h"
#include "proto/flota.pb-c.h"

struct reconcile;

/* All may be called inside the functions below: they only take note. */
struct reconcile_handlers {
	/* There is something to report: see reconcile_report(). */
	void (*reportable)(void *userdata);
	/* What was done for a unit has changed: see reconcile_done(). */
	void (*done)(void *userdata);
	/* Whether the lease for exclusive units is alive at this moment. */
	bool (*leased)(void *userdata);
	/* The list of exclusive units has changed: see reconcile_list_exclusive(). */
	void (*exclusive)(void *userdata);
};

enum fl_code reconcile_new(struct reconcile **ret_reconcile, uv_loop_t *loop,
	const struct reconcile_handlers *handlers, void *userdata,
	struct fl_error *err) FL_MUST_CHECK;

/* The units are left as they are, their drivers' handles are closed; the drivers themselves are
 * the caller's to close afterwards. @closed comes from the loop. */
void reconcile_close(struct reconcile *reconcile, void (*closed)(void *userdata), void *userdata);

/* What drivers are opened with, and the reconcile itself as their userdata. */
extern const struct driver_handlers reconcile_driver_handlers;

#define RECONCILE_DRIVERS_MAX 8

/* Before any unit is assigned. The first driver that takes a name has it. */
void reconcile_add_driver(struct reconcile *reconcile, struct driver *driver);

/* A marker of reconcile_done(), before the unit is assigned. */
enum fl_code reconcile_restore_done(
	struct reconcile *reconcile, const Pb__AgentDone *done, struct fl_error *err) FL_MUST_CHECK;

/* A unit, new or changed. One of an older epoch than is known is refused: FL_E_STATE. */
enum fl_code reconcile_assign(struct reconcile *reconcile, const Pb__Assignment *message,
	struct fl_error *err) FL_MUST_CHECK;

/* It is no longer this machine's: stopped, removed and forgotten. @revision is of the assignment
 * that says so. That nothing of it is left is reported of every name, of one that never came here
 * too: the coordinator may wait for that word before it places the unit elsewhere. */
void reconcile_remove(struct reconcile *reconcile, const char *name, uint64_t revision);

/* Another coordinator's assignments follow: its epochs and revisions are not those known so far. */
void reconcile_forget_epochs(struct reconcile *reconcile);

/* A whole assignment: what is not assigned between the two is removed at the end, orphans too. */
void reconcile_reset_begin(struct reconcile *reconcile);
void reconcile_reset_end(struct reconcile *reconcile, uint64_t revision);

/* Takes up what the drivers own and nobody has assigned; once, behind the assignment from disk. If
 * that is whole they are units whose removal a crash interrupted: @remove. If it was lost they are
 * left as they are until the coordinator has sent a whole one. */
void reconcile_take_orphans(struct reconcile *reconcile, bool remove, uint64_t revision);

/* Whether the unit is assigned to this machine, and the one of that name on the host is it. */
bool reconcile_owns(const struct reconcile *reconcile, const char *name);
size_t reconcile_count(const struct reconcile *reconcile);

/* The assigned units and the markers, for the disk. Members of the lists are borrowed until the
 * next turn of the loop; free(3) the lists themselves. */
enum fl_code reconcile_assignments(const struct reconcile *reconcile, Pb__Assignment **ret_list,
	size_t *ret_n, struct fl_error *err) FL_MUST_CHECK;
enum fl_code reconcile_done(const struct reconcile *reconcile, Pb__AgentDone **ret_list,
	size_t *ret_n, struct fl_error *err) FL_MUST_CHECK;

/* States that have changed since they were last taken here, at most @max; *ret_more: there are
 * more. Texts are borrowed until the next turn of the loop. */
size_t reconcile_report(
	struct reconcile *reconcile, Pb__UnitState *states, size_t max, bool *ret_more);
/* All states count as changed. */
void reconcile_report_all(struct reconcile *reconcile);

/* ---- Exclusive units (exclusive.h) ---- */

/* Whether they may run. None may before the first call. */
void reconcile_set_lease(struct reconcile *reconcile, enum lease_state lease);

/* Those that may be on this host, for the fence; when it is written, reconcile_listed(). None is
 * started before. */
void reconcile_list_exclusive(const struct reconcile *reconcile, struct fl_buf *list);
void reconcile_listed(struct reconcile *reconcile);
/* One of the list that the agent's last life left, before units are assigned. */
enum fl_code reconcile_restore_exclusive(struct reconcile *reconcile, const char *name,
	uint32_t stop_ms, struct fl_error *err) FL_MUST_CHECK;

/* The host may yet start one by an order of an earlier lease. */
bool reconcile_start_pending(const struct reconcile *reconcile);

/* The lease ended so long ago: kills those that should have stopped. Whether any still runs. */
bool reconcile_kill_late(struct reconcile *reconcile, uint64_t ended_ms_ago);
