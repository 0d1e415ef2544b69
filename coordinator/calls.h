/*
 * Calls: a person's question to a host (status, journal) and its output. See service_calls.c.
 */
#pragma once

#include "coordinator/exchange.h"

struct agent;

enum fl_code calls_new(struct calls **ret_calls, struct fl_error *err) FL_MUST_CHECK;

/* The coordinator stops: whoever waits for one is told. */
void calls_end_all(struct calls *calls);
void calls_free(struct calls *calls);

/* ---- For service_agents.c -- */

/* Whether the sync @request_id is to be answered because there are orders. */
bool calls_wait_for(struct agent *agent, uint64_t request_id);

/* Puts them into @reply, a message of malloc(3). What finds no memory waits for the next. */
void calls_take_orders(struct agent *agent, uint64_t request_id, Pb__SyncReply *reply);

/* The agent has begun anew: what it worked on is gone. */
void calls_agent_restarted(struct agent *agent);
