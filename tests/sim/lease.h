/*
 * A host's lease for exclusive units, with the rules of agent/exclusive.c and agent/fence.c. The
 * agent's part happens when the agent runs and is awake, the fence's in any case. Both are late by
 * chance, as processes are.
 *
 * The host's clock is its own: it began at any time, and goes wrong by up to 1/10000.
 */
#pragma once

#include "tests/sim/host.h"

uint64_t host_clock_ms(const struct host *host);
void lease_boot(struct host *host);
/* The agent starts: what runs may run on as long as the lease of the one before lives. */
void lease_agent_start(struct host *host);
/* The answer to a report has come. */
void lease_granted(struct host *host, uint64_t until_ms);

/* Every change of whether a unit runs goes by here. */
void host_unit_run(struct host *host, const char *name, struct host_unit *unit, bool running);
