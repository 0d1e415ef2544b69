/* Fixtures of the tests that speak to a real coordinator: an operator, two machines, and what they
 * say. */
#pragma once

#include "coordinator/test_fleet.h"

#define UNIT_TEXT "[Service]\nExecStart=/bin/sleep inf\n"

/* The lease of its coordinators. */
#define FLEET_LEASE_MS 20000

struct fixture {
	struct fleet *fleet;
	struct peer *ana, *m1, *m2;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

struct change {
	Pb__Change__Verb verb;
	const char *name, *content;
	Pb__DesiredState desired;
	uint64_t token;
	uint32_t deadline_ms;
};

struct asked *ask_change(struct peer *peer, const struct change *change);
/* The reply of a change that must go well. */
Pb__Envelope *do_change(struct peer *peer, const struct change *change);
/* Sets a unit of UNIT_TEXT to launched; the fleet's revision then. */
uint64_t launch(struct peer *peer, const char *name);

/* One unit, or all (NULL). */
struct asked *ask_units(struct peer *peer, const char *name, uint64_t since, uint32_t wait_ms);
Pb__Envelope *get_units(struct peer *peer, const char *name, uint64_t since);
uint64_t get_revision(struct peer *peer);

struct sync {
	const char *machine_id, *store_id;
	uint64_t session, revision;
	bool info;
	uint32_t wait_ms;
	uint64_t request_id;
};

struct asked *ask_sync(struct peer *peer, const struct sync *sync);
Pb__Envelope *wait_sync(struct asked *asked);

/* What an agent does first: its whole assignment, which is empty. */
struct known {
	char store_id[LIMIT_NAME + 1];
	uint64_t revision;
};

void join(struct peer *peer, const char *machine_id, uint64_t session, struct known *known);
/* Its next sync: what has changed since. */
struct asked *next_sync(
	struct peer *peer, const char *machine_id, uint64_t session, const struct known *known);

/* All of the machine's states, which are one or none (NULL). */
void report(struct peer *peer, const char *machine_id, Pb__UnitState *state);
