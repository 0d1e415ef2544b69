/*
 * The agent: joins the assignment on disk, the reconciler, the drivers, the connection and the
 * calls. What it is told it does at once and writes to disk beside it; the coordinator hears of a
 * revision only when it is on disk, since it then forgets what was removed before.
 */
#pragma once

#include <uv.h>

#include "agent/config.h"
#include "base/error.h"

struct agent;

struct agent_handlers {
	/* Another release is to take its place: it is to be closed, then launch_again(). */
	void (*restart)(void *userdata);
};

/* Takes up where the last agent of this machine left off. Errors are the machine's or the
 * configuration's; a coordinator that does not answer is none. */
enum fl_code agent_open(struct agent **ret_agent, uv_loop_t *loop, const struct config *config,
	const struct agent_handlers *handlers, void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Leaves every unit as it is; @closed comes from the loop. */
void agent_close(struct agent *agent, void (*closed)(void *userdata), void *userdata);

/* The operator's word that the agent may follow another coordinator, which forgets every unit of
 * this machine that the other one does not know; it is heeded within half a minute. */
enum fl_code agent_adopt(const struct config *config, struct fl_error *err) FL_MUST_CHECK;
