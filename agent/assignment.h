/* One unit as the coordinator gave it to this machine, and what the agent has done for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "proto/flota.pb-c.h"

struct assignment {
	char *name;
	uint8_t *content;
	size_t len;
	char *hash;
	char *tenant;
	Pb__DesiredState desired; /* LOADED or LAUNCHED */
	uint64_t epoch;
	uint64_t revision;
	uint64_t start_generation, restart_generation;
	bool exclusive; /* runs only under a lease, and then */
	uint32_t stop_ms; /* may take so long to stop behind its end */
};

/* A copy. FL_E_PROTOCOL where it names no valid unit or desired state. */
enum fl_code assignment_read(const Pb__Assignment *message, struct assignment *ret_assignment,
	struct fl_error *err) FL_MUST_CHECK;
void assignment_fini(struct assignment *assignment);

/* The other way; everything is borrowed from @assignment. */
void assignment_write(const struct assignment *assignment, Pb__Assignment *ret_message);

/* What was carried out last: a unit is started once for each of these. Kept in /run, so that an
 * agent that starts anew knows what it did, and a machine that was booted anew begins again. */
struct assignment_done {
	char hash[48];
	Pb__DesiredState desired;
	uint64_t epoch;
	uint64_t start_generation, restart_generation;
};

bool assignment_done_equal(const struct assignment_done *a, const struct assignment_done *b);
void assignment_done_from(const struct assignment *assignment, struct assignment_done *ret_done);
void assignment_done_read(const Pb__AgentDone *message, struct assignment_done *ret_done);

/* @done->hash is borrowed; the message's name is the caller's. */
void assignment_done_write(const struct assignment_done *done, Pb__AgentDone *ret_message);
