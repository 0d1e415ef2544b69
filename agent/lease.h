/*
 * What the agent and its fence share about this machine's lease, the right to run exclusive units:
 * three files in the agent's runtime directory, which is memory and gone after a reboot.
 *
 *	lease       one page: until when, on the clock that also counts time asleep; written by the
 *	            agent. And when the fence was last seen, written by the fence.
 *	leased      is there while the lease lives. Exclusive units have it as a condition, so that
 *	            no timer, socket or person starts one without a lease: systemd refuses.
 *	exclusive   the units that the lease is for, a line "STOP_MS NAME" for each
 *
 * The agent extends the lease, and ends what needs it when it is over; so does the fence, which
 * needs nothing of the agent but these files.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/memory.h"

/* How often the fence shows that it lives, and when it is taken for dead. */
#define LEASE_FENCE_LOOK_MS 1000U
#define LEASE_FENCE_DEAD_MS 10000U

struct lease;

/* Whether exclusive units may run here: exclusive.h. */
enum lease_state {
	LEASE_NONE, /* they are stopped */
	LEASE_KEPT, /* those that run do so on, none is started */
	LEASE_OURS,
};

enum fl_code lease_open(struct lease **ret_lease, const char *runtime_directory,
	struct fl_error *err) FL_MUST_CHECK;
void lease_free(struct lease *lease);
FL_DEFINE_CLEANUP(struct lease *, lease_free)

/* Its end (CLOCK_BOOTTIME, ms); 0: there was none since boot. */
uint64_t lease_until_ms(const struct lease *lease);
bool lease_is_alive(const struct lease *lease);
/* It never gets shorter. */
void lease_extend(struct lease *lease, uint64_t until_ms);

/* Makes or removes "leased". */
void lease_show(const struct lease *lease, bool alive);

/* The fence is there. */
void lease_fence_seen(struct lease *lease);
bool lease_is_fenced(const struct lease *lease);

/* The list of exclusive units, written as a whole. */
void lease_list_add(struct fl_buf *list, const char *name, uint32_t stop_ms);
enum fl_code lease_list_write(
	const struct lease *lease, const struct fl_buf *list, struct fl_error *err) FL_MUST_CHECK;
/* Calls @each for every line; none where there is no list. */
enum fl_code lease_list_read(const struct lease *lease,
	void (*each)(const char *name, uint32_t stop_ms, void *userdata), void *userdata,
	struct fl_error *err) FL_MUST_CHECK;

/* The path of "leased" in @runtime_directory, for ConditionPathExists=; free(3) it. */
char *lease_condition_path(const char *runtime_directory);
