/*
 * Exclusive units run on one machine at a time. What makes that so on this side:
 *
 *	- the lease is counted from when the request that brought it was sent, on the clock that
 *	  also counts time asleep, so it ends here before it does on the coordinator;
 *	- without it exclusive units are stopped, and killed after their stop_ms;
 *	- none is started before the coordinator has given a lease to this session of the agent,
 *	  which it does when it sees that the agent knows what was taken from it: the assignment on
 *	  disk may be an old one;
 *	- and none by an order that was given under a lease that has ended: such orders are taken
 *	  back before a new lease is taken;
 *	- the fence (fence.h) does the same where the agent cannot. While there is none no lease is
 *	  taken.
 *
 *	           granted                      granted
 *	  NONE ──────────────▶ OURS ◀──────────────────────── KEPT ◀── an agent that starts while the
 *	   ▲ ▲                   │ │        no fence           ▲ │     lease of the one before lives
 *	   │ └──── it ended ─────┘ └───────────────────────────┘ │
 *	   └────────────────────── it ended ─────────────────────┘
 *
 * All on the loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/reconcile.h"
#include "base/error.h"

struct exclusive;

/* Tells @reconcile, which has no units yet, what the agent's last life left. */
enum fl_code exclusive_open(struct exclusive **ret_exclusive, uv_loop_t *loop,
	const char *runtime_directory, struct reconcile *reconcile,
	struct fl_error *err) FL_MUST_CHECK;
/* @closed comes from the loop. The lease and the units are left as they are. */
void exclusive_close(struct exclusive *exclusive, void (*closed)(void *userdata), void *userdata);

/* The coordinator has given a lease until then (CLOCK_BOOTTIME, ms). */
void exclusive_granted(struct exclusive *exclusive, uint64_t until_ms);

/* Whether the fence runs: only then may the coordinator place exclusive units here. */
bool exclusive_is_fenced(const struct exclusive *exclusive);

/* Whether it lives at this moment. */
bool exclusive_is_leased(const struct exclusive *exclusive);

/* Writes reconcile's list for the fence. */
enum fl_code exclusive_write_list(struct exclusive *exclusive, struct fl_error *err) FL_MUST_CHECK;
