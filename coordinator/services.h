/*
 * Who handles which request: each takes the exchange over. Bounds of the wire hold, the peer may
 * send it, and of a machine's requests the machine ID is its own.
 */
#pragma once

#include "coordinator/exchange.h"

/* service_units.c: people. */
void service_hello(struct exchange *exchange);
void service_change(struct exchange *exchange);
void service_units(struct exchange *exchange);
void service_machines(struct exchange *exchange);
void service_why(struct exchange *exchange);

/* service_machines.c: people. */
void service_machine_change(struct exchange *exchange);
void service_rebalance(struct exchange *exchange);

/* followers.c: people. */
void service_events(struct exchange *exchange);

/* service_agents.c: machines. */
void service_sync(struct exchange *exchange);
void service_report(struct exchange *exchange);

/* service_join.c: people; machines at the door; machines. */
void service_tokens(struct exchange *exchange);
void service_join(struct exchange *exchange);
void service_renew(struct exchange *exchange);

/* service_releases.c: people and machines. */
enum fl_code publisher_new(struct publisher **ret_publisher, const char *directory,
	struct fl_error *err) FL_MUST_CHECK;
void publisher_free(struct publisher *publisher);
void service_releases(struct exchange *exchange);
void service_fetch(struct exchange *exchange);
void service_upgrade(struct exchange *exchange);

/* service_ca.c: people. */
void service_ca(struct exchange *exchange);

/* service_calls.c: people and machines. */
void service_call(struct exchange *exchange);
void service_call_output(struct exchange *exchange);
