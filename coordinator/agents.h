/*
 * The machines that are heard of, and the sync that each of them holds: where pushes go.
 */
#pragma once

#include "coordinator/exchange.h"

struct agent;

enum fl_code agents_new(struct agents **ret_agents, struct fl_error *err) FL_MUST_CHECK;
/* After the calls' and every exchange's end. */
void agents_free(struct agents *agents);

/* The machine's assignment has changed: moves its held sync to @wake. */
void agents_collect(struct agents *agents, const char *machine_id, struct fl_list *wake);

/* NULL: has not been heard of. */
struct agent *agents_find(const struct agents *agents, const char *machine_id);

/* ---- For service_calls.c -- */

const char *agent_machine_id(const struct agent *agent);

/* Calls that are under way there, by a link of their own. */
struct fl_list *agent_calls(struct agent *agent);

/* Whether it has been heard of within a lease. */
bool agent_is_heard(const struct agent *agent);

/* There are orders for it: its held sync, if it holds one, is answered with them. */
void agent_push_calls(struct agent *agent);
