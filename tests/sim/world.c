#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "coordinator/core/testing.h"

#define ASLEEP_LOOK_MS 250U

struct event {
	uint64_t at_ms;
	uint64_t number; /* of two at the same time the older one comes first */
	struct process *process;
	uint64_t life;
	world_action action;
	void *owner;
	void *data;
};

void world_init(struct world *world, uint64_t seed, bool print)
{
	*world = (struct world){
		.now_ms = 1000000, .seed = seed, .print = print, .hash = 0xcbf29ce484222325};
	/* Neighbouring seeds are to have nothing in common, and none may be 0. */
	world->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	for (int i = 0; i < 4; i++)
		(void)fleet_pick(&world->random, 2);
}

static void event_free(struct event *event)
{
	free(event->data);
	free(event);
}

void world_fini(struct world *world)
{
	for (size_t i = 0; i < world->n_queue; i++)
		event_free(world->queue[i]);
	free(world->queue);
}

uint32_t world_pick(struct world *world, uint32_t below)
{
	return fleet_pick(&world->random, below);
}

uint32_t world_between(struct world *world, uint32_t low, uint32_t high)
{
	return low + world_pick(world, high - low + 1);
}

bool world_chance(struct world *world, uint32_t percent)
{
	return world_pick(world, 100) < percent;
}

/* ---- The queue --------------------------------------------------------------------------- */

static bool comes_before(const struct event *a, const struct event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->number < b->number;
}

static void queue_put(struct world *world, struct event *event)
{
	size_t i = world->n_queue++;

	if (world->n_queue > world->queue_capacity) {
		world->queue_capacity = 2 * world->n_queue;
		world->queue =
			reallocarray(world->queue, world->queue_capacity, sizeof(struct event *));
		fl_assert(world->queue != NULL);
	}
	for (; i > 0 && comes_before(event, world->queue[(i - 1) / 2]); i = (i - 1) / 2)
		world->queue[i] = world->queue[(i - 1) / 2];
	world->queue[i] = event;
}

static struct event *queue_take(struct world *world)
{
	struct event *first = world->queue[0], *last = world->queue[--world->n_queue];
	size_t i = 0, child;

	for (; (child = 2 * i + 1) < world->n_queue; i = child) {
		if (child + 1 < world->n_queue &&
			comes_before(world->queue[child + 1], world->queue[child]))
			child++;
		if (comes_before(last, world->queue[child]))
			break;
		world->queue[i] = world->queue[child];
	}
	world->queue[i] = last;
	return first;
}

void world_after(struct world *world, struct process *process, uint64_t ms, world_action action,
	void *owner, void *data)
{
	struct event *event = FL_NEW(struct event);

	fl_assert(event != NULL);
	*event = (struct event){.at_ms = world->now_ms + ms,
		.number = world->n_events++,
		.process = process,
		.action = action,
		.owner = owner,
		.data = data};
	if (process != NULL) {
		event->life = process->life;
		event->at_ms = world->now_ms + ms * 1000 / process->clock_permille;
	}
	queue_put(world, event);
}

void world_step(struct world *world)
{
	struct event *event = queue_take(world);
	const struct process *process = event->process;

	fl_assert(event->at_ms >= world->now_ms);
	world->now_ms = event->at_ms;
	if (process != NULL && process->life != event->life) {
		event_free(event);
		return;
	}
	if (process != NULL && process->asleep_until_ms > world->now_ms) {
		/* It may be woken before. */
		event->at_ms = process->asleep_until_ms < world->now_ms + ASLEEP_LOOK_MS
				       ? process->asleep_until_ms
				       : world->now_ms + ASLEEP_LOOK_MS;
		queue_put(world, event);
		return;
	}
	world->steps++;
	event->action(event->owner, event->data);
	event_free(event);
}

/* ---- The trace --------------------------------------------------------------------------- */

void world_trace(struct world *world, const char *format, ...)
{
	char *line = world->kept[world->n_lines++ % WORLD_TRACE_KEPT];
	size_t len;
	va_list ap;

	snprintf(line, sizeof(world->kept[0]), "%" PRIu64 ".%03u ", world->now_ms / 1000,
		(unsigned)(world->now_ms % 1000));
	len = strlen(line);
	va_start(ap, format);
	vsnprintf(line + len, sizeof(world->kept[0]) - len, format, ap);
	va_end(ap);
	/* FNV-1a */
	for (const char *c = line; *c != '\0'; c++)
		world->hash = (world->hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	if (world->print)
		printf("%s\n", line);
}

void world_print_kept(const struct world *world)
{
	fprintf(stderr, "the end of the trace:\n");
	for (size_t i = 0; i < WORLD_TRACE_KEPT; i++) {
		const char *line = world->kept[(world->n_lines + i) % WORLD_TRACE_KEPT];

		if (*line != '\0')
			fprintf(stderr, "  %s\n", line);
	}
}
