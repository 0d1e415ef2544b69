/*
 * A fleet for the core's tests: a core, its store in memory, a clock that the test moves. Each
 * event goes all the way a daemon would take it: step, writes into the store, effects recorded.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "base/strv.h"
#include "coordinator/core/core.h"

#define FLEET_LEASE_MS 10000U

/* What cmocka's header does not say: a test that fails ends there. */
void _fail(const char *file, int line) __attribute__((noreturn));

struct fleet {
	struct core *core;
	struct core_effects effects;
	struct fl_map *store; /* key → struct core_write */
	uint64_t now_ms;
	uint64_t session;
	uint32_t memory_overcommit_permille, cpu_overcommit_permille; /* from the next restart on */
	Pb__ChangeResult *result; /* of the last change */
	struct fl_strv machines, units; /* woken since fleet_forget() */
	struct fl_buf notes; /* "event text\n" since fleet_forget() */
	size_t n_writes; /* the same */
};

void fleet_open(struct fleet *fleet);
void fleet_close(struct fleet *fleet);
/* For cmocka: *state is a fleet, without a machine or with one. */
int fleet_setup(void **state);
int fleet_setup_with_m1(void **state);
int fleet_teardown(void **state);
/* A crash: a new core from what the store has. Every agent begins a new session. */
void fleet_restart(struct fleet *fleet);
void fleet_forget(struct fleet *fleet);

/* One event, which must succeed. */
struct core_answer fleet_step(struct fleet *fleet, const struct core_event *event);
/* One that may fail. */
enum fl_code fleet_try(struct fleet *fleet, const struct core_event *event, struct fl_error *err);

/* An agent's first request. @metadata: "key=value key=value". */
void fleet_join(struct fleet *fleet, const char *machine, const char *metadata);
/* An agent asks again, with everything on its disk up to @revision. */
void fleet_ack(struct fleet *fleet, const char *machine, uint64_t revision);
void fleet_beat(struct fleet *fleet, const char *machine);
/* A machine says what it has. */
void fleet_capacity(struct fleet *fleet, const char *machine, uint32_t cpus, uint64_t memory_bytes);
/* Time passes; those named (separated by blanks) send their heartbeats, ticks come when due. */
void fleet_pass(struct fleet *fleet, uint64_t ms, const char *beating);

/* A number below @below, from a state that is not 0. */
uint32_t fleet_pick(uint64_t *random, uint32_t below);
/* A file of the unit @name with few or many rules, such that most of them find a place: about
 * metadata "role" (0 to 2) and "disk" (0 or 1), the machines @ids, units of fleet_unit_name(), and
 * shares of FLEET_CPUS and FLEET_MEMORY_BYTES. */
#define FLEET_CPUS         4U
#define FLEET_MEMORY_BYTES (UINT64_C(4) << 30)
void fleet_random_file(uint64_t *random, const char *name, const char *const *ids, uint32_t n_ids,
	uint32_t n_units, char *text, size_t size);
void fleet_unit_name(char name[32], unsigned i);

/* A unit file that runs, with lines of [X-Fleet] (nullable) behind it. Static memory. */
const char *unit_text(const char *x_fleet);

/* true: done. The result is in fleet->result. @content is nullable. */
bool fleet_change(struct fleet *fleet, Pb__Change__Verb verb, const char *name, const char *content,
	Pb__DesiredState desired, bool replace);
bool fleet_submit(struct fleet *fleet, const char *name, const char *content);
/* The next three with lines of [X-Fleet] for a new unit, NULL for one that is there. */
bool fleet_load(struct fleet *fleet, const char *name, const char *x_fleet);
bool fleet_start(struct fleet *fleet, const char *name, const char *x_fleet);
bool fleet_replace(struct fleet *fleet, const char *name, const char *x_fleet);
bool fleet_unload(struct fleet *fleet, const char *name);
bool fleet_destroy(struct fleet *fleet, const char *name);
/* What the last change was refused with, or "". */
const char *fleet_error(const struct fleet *fleet);

/* A machine says of a unit there: so it is, and all that was asked is done. */
void fleet_state(
	struct fleet *fleet, const char *machine, const char *unit, const char *active_state);

/* The first report of an agent's session, which has no units yet. */
void fleet_report_nothing(struct fleet *fleet, const char *machine);
/* And then what changes, as fleet_state(), unit by unit. */
void fleet_report_one(struct fleet *fleet, const char *machine, const char *unit,
	const char *active_state, uint32_t main_pid);
/* A machine says that it has nothing but what is assigned to it, of whose states it says nothing. */
void fleet_let_go(struct fleet *fleet, const char *machine);

/* The unit as people see it, until the next call. It must exist. */
const Pb__Unit *fleet_unit(struct fleet *fleet, const char *name);
/* The IDs of its machines, blanks between; "" = nowhere. */
const char *fleet_where(struct fleet *fleet, const char *name);
#define assert_where(fleet, unit, expected) assert_string_equal(fleet_where(fleet, unit), expected)
/* Its only placement's epoch. */
uint64_t fleet_epoch(struct fleet *fleet, const char *name);
/* What speaks against a unit on a machine; "" = nothing. */
const char *fleet_refusal(struct fleet *fleet, const char *name, const char *machine);

/* Asserts all that must hold after every step (testing_check.c). */
void fleet_check(const struct core *core);
/* A part of it: the indexes of placements (testing_places.c). */
void fleet_check_places(const struct core *core);
struct machine;
struct unit;
/* Whether @unit, which is not there, has room on the machine; nothing is overcommitted. */
bool fleet_has_room(const struct machine *machine, const struct unit *unit);
/* Asserts that @units (name → Pb__Assignment) is what the core wants on the machine. */
void fleet_check_assignment(
	const struct core *core, const char *machine_id, const struct fl_map *units);
/* All that has to survive a crash, a line for each unit and machine. */
void fleet_snapshot(const struct core *core, struct fl_buf *text);

/* An agent that keeps its assignment as a real one does. */
struct agent {
	const char *machine; /* borrowed */
	char store_id[32];
	uint64_t revision;
	bool resetting;
	struct fl_map *units; /* name → Pb__Assignment */
	struct fl_strv seen; /* in this reset */
	struct fl_strv removed; /* names that it was told to remove */
	unsigned pages, resets;
};

void agent_open(struct agent *agent, const char *machine);
void agent_close(struct agent *agent);
/* One request; false: it would be held. */
bool agent_ask(struct agent *agent, struct fleet *fleet);
/* Asks until it is. */
void agent_sync(struct agent *agent, struct fleet *fleet);
