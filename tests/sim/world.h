/*
 * What the simulation runs in: a virtual clock, a queue of events, randomness from one seed, a
 * trace. Nothing here or above it asks the real clock or the real randomness, and nothing depends
 * on addresses, so a seed says all that will happen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_TRACE_KEPT 40

struct event;

/* A thing that can be killed, and can sleep; its events go with it. */
struct process {
	uint64_t life; /* one more at each kill: events of an earlier one never come */
	uint64_t asleep_until_ms; /* events wait */
	uint32_t clock_permille; /* how fast its clock goes; 1000 = as the world's */
};

struct world {
	uint64_t now_ms;
	uint64_t steps; /* events so far */
	uint64_t seed;
	uint64_t random;
	uint64_t hash; /* of the trace */
	bool print;
	bool chaos; /* faults happen */
	struct event **queue; /* a heap by (time, number) */
	size_t n_queue, queue_capacity;
	uint64_t n_events;
	uint64_t n_lines;
	char kept[WORLD_TRACE_KEPT][200]; /* the end of the trace */
};

void world_init(struct world *world, uint64_t seed, bool print);
void world_fini(struct world *world);

/* A number below @below; from @low to @high, both in; true in @percent of the cases. */
uint32_t world_pick(struct world *world, uint32_t below);
uint32_t world_between(struct world *world, uint32_t low, uint32_t high);
bool world_chance(struct world *world, uint32_t percent);

typedef void (*world_action)(void *owner, void *data);

/* Calls @action after so long on @process's clock, unless it was killed before (NULL: nobody can
 * be). @data is the world's from here on, which free(3)s it afterwards; NULL is nothing. */
void world_after(struct world *world, struct process *process, uint64_t ms, world_action action,
	void *owner, void *data);

/* The next event; there must be one. */
void world_step(struct world *world);

void world_trace(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The end of the trace, to stderr. */
void world_print_kept(const struct world *world);
