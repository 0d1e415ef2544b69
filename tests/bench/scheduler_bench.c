/*
 * What a placement costs in memory: `scheduler_bench [MACHINES] [UNITS]` (10,000 and 100,000 by
 * default).
 *
 * Each unit has been submitted; measured is the step that sets it to launched: the change, the
 * choice of a machine, the placement, its effects and the answer. Beside it the floor: a binary heap
 * of machines by load that gives each unit the least loaded one, and does nothing else. Then the
 * same with rules, a heartbeat, and what is written for each placement.
 *
 * `scheduler_bench MACHINES UNITS WORD` measures only what has the word in its name.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/core/core.h"

struct bench {
	struct core *core;
	struct core_effects effects;
	uint64_t now_ms;
	unsigned n_machines, n_units;
	const char *only; /* a part of the names of what to measure, or NULL */
};

/* The program's own time: neighbours do not count. */
static uint64_t processor_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void must(enum fl_code code, const struct fl_error *err)
{
	if (code == FL_OK)
		return;
	fprintf(stderr, "scheduler_bench: %s\n", fl_error_text(err));
	exit(1);
}

static void step(struct bench *bench, const struct core_event *event)
{
	struct core_answer answer;
	struct fl_error err = {0};

	must(core_step(bench->core, event, bench->now_ms, &bench->effects, &answer, &err), &err);
	if (answer.result == NULL)
		return;
	if (answer.result->error != NULL) {
		fprintf(stderr, "scheduler_bench: %s\n", answer.result->error->text);
		exit(1);
	}
	core_message_free(&answer.result->base);
}

static void change(struct bench *bench, Pb__Change__Verb verb, const char *name,
	const char *content, Pb__DesiredState desired)
{
	Pb__Change message = PB__CHANGE__INIT;

	message.verb = verb;
	message.name = (char *)name;
	message.content.data = (uint8_t *)content;
	message.content.len = content != NULL ? strlen(content) : 0;
	message.desired = desired;
	step(bench, &(struct core_event){.kind = CORE_CHANGE,
			    .change = {.change = &message, .tenant = "default"}});
}

static void machine_id(char id[33], unsigned i)
{
	snprintf(id, 33, "%08x%024x", i * 2654435761U, i);
}

/* A fleet as a hoster's: a role of 4, a zone of 10, a rack of 50; every other machine is small, and
 * soon full where units claim memory. */
static void join(struct bench *bench, unsigned i)
{
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	Pb__Metadata pairs[3], *pointers[3];
	const char *const keys[3] = {"role", "zone", "rack"};
	const unsigned counts[3] = {4, 10, 50};
	Pb__Capacity capacity = PB__CAPACITY__INIT;
	char values[3][16], id[33];

	machine_id(id, i);
	for (int k = 0; k < 3; k++) {
		snprintf(values[k], sizeof(values[k]), "%u", i % counts[k]);
		pb__metadata__init(&pairs[k]);
		pairs[k].key = (char *)keys[k];
		pairs[k].value = values[k];
		pointers[k] = &pairs[k];
	}
	info.n_metadata = 3;
	info.metadata = pointers;
	capacity.cpus = 64;
	capacity.memory_bytes = (i % 2 == 0 ? UINT64_C(256) : UINT64_C(2)) << 30;
	info.capacity = &capacity;
	step(bench, &(struct core_event){.kind = CORE_SYNC,
			    .sync = {.machine_id = id,
				    .session = 1,
				    .store_id = "",
				    .info = &info,
				    .peer_address = "10.0.0.1"}});
}

static void begin(struct bench *bench)
{
	struct core_config config = {.store_id = "bench", .fleet = "bench"};
	struct fl_error err = {0};

	bench->now_ms = 1;
	must(core_new(&bench->core, &config, &err), &err);
	core_effects_init(&bench->effects);
	must(core_loaded(bench->core, bench->now_ms, &bench->effects, &err), &err);
	for (unsigned i = 0; i < bench->n_machines; i++)
		join(bench, i);
}

static void end(struct bench *bench)
{
	core_effects_fini(&bench->effects);
	core_free(bench->core);
}

enum rules {
	RULES_NONE,
	RULES_CONFLICTS,
	RULES_ONE_KEY,
	RULES_TWO_KEYS,
	RULES_SPREAD_KEY,
	RULES_SPREAD_MACHINE,
	RULES_SPREAD_AND_METADATA,
	RULES_PREFER,
	RULES_CLAIMS,
	RULES_ALL,
};

/* Templates, such that each has instances on a fifth of the machines. */
static unsigned n_templates(const struct bench *bench)
{
	return 5 * bench->n_units / bench->n_machines + 1;
}

static void rules_of(
	const struct bench *bench, enum rules rules, unsigned i, char *text, size_t size)
{
	switch (rules) {
	case RULES_NONE:
		text[0] = '\0';
		return;
	case RULES_CONFLICTS:
		snprintf(text, size, "[X-Fleet]\nConflicts=web%03u@*\n", i % n_templates(bench));
		return;
	case RULES_SPREAD_KEY:
		snprintf(text, size, "[X-Flota]\nSpread=rack\n");
		return;
	case RULES_SPREAD_MACHINE:
		snprintf(text, size, "[X-Flota]\nSpread=machine\n");
		return;
	case RULES_SPREAD_AND_METADATA:
		snprintf(text, size, "[X-Fleet]\nMachineMetadata=role=%u\n[X-Flota]\nSpread=rack\n",
			i % n_templates(bench) % 4);
		return;
	case RULES_PREFER:
		snprintf(text, size, "[X-Flota]\nPreferMetadata=role=%u\n", i % 4);
		return;
	case RULES_CLAIMS:
		snprintf(text, size, "[X-Flota]\nMemory=512M\nCPUs=0.1\n");
		return;
	case RULES_ALL:
		snprintf(text, size,
			"[X-Fleet]\nMachineMetadata=role=%u\n[X-Flota]\nSpread=rack\n"
			"PreferMetadata=zone=%u\nMemory=512M\nCPUs=0.1\n",
			i % n_templates(bench) % 2 * 2, i % 10);
		return;
	case RULES_ONE_KEY:
		snprintf(text, size, "[X-Fleet]\nMachineMetadata=role=%u\n", i % 4);
		return;
	case RULES_TWO_KEYS:
		snprintf(text, size,
			"[X-Fleet]\nMachineMetadata=role=%u\nMachineMetadata=zone=%u\n"
			"MachineMetadata=zone=%u\n",
			i % 4, i % 10, (i + 1) % 10);
		return;
	}
}

/* 400 bytes, as a small service's file has. */
static void content_of(
	const struct bench *bench, enum rules rules, unsigned i, char *text, size_t size)
{
	char x_fleet[256];

	rules_of(bench, rules, i, x_fleet, sizeof(x_fleet));
	snprintf(text, size,
		"[Unit]\nDescription=A tenant's service, number %u\nAfter=network-online.target\n"
		"[Service]\nExecStartPre=-/usr/bin/podman rm -f web\n"
		"ExecStart=/usr/bin/podman run --rm --name web --net host "
		"registry.example.org/tenant/web:1.25\n"
		"ExecStop=/usr/bin/podman stop web\nRestart=always\nRestartSec=5\n%s",
		i, x_fleet);
}

static void take_writes(struct bench *bench, uint64_t *ret_n, uint64_t *ret_bytes)
{
	struct core_write write;
	struct fl_error err = {0};
	bool any;

	for (*ret_n = *ret_bytes = 0;; *ret_n += 1, *ret_bytes += write.len) {
		must(core_pop_write(bench->core, &bench->effects, &write, &any, &err), &err);
		if (!any)
			return;
		free(write.data);
	}
}

static void measure(struct bench *bench, const char *what, enum rules rules)
{
	char(*names)[48] = calloc(bench->n_units, sizeof(*names)), content[1024];
	uint64_t begin_us, step_us, n, bytes, placed = 0;

	if (bench->only != NULL && strstr(what, bench->only) == NULL) {
		free(names);
		return;
	}
	begin(bench);
	if (names == NULL)
		exit(1);
	for (unsigned i = 0; i < bench->n_units; i++) {
		snprintf(names[i], sizeof(names[i]), "web%03u@%06u.service", i % n_templates(bench),
			i);
		content_of(bench, rules, i, content, sizeof(content));
		change(bench, PB__CHANGE__VERB__SUBMIT, names[i], content, 0);
	}
	core_effects_fini(&bench->effects);
	core_effects_init(&bench->effects);
	begin_us = processor_us();
	for (unsigned i = 0; i < bench->n_units; i++)
		change(bench, PB__CHANGE__VERB__SET, names[i], NULL, PB__DESIRED_STATE__LAUNCHED);
	step_us = processor_us() - begin_us;
	begin_us = processor_us();
	take_writes(bench, &n, &bytes);
	for (unsigned i = 0; i < bench->n_units; i++) {
		const char *machine;

		placed += core_placement_find(bench->core, names[i], "", &machine, NULL) == FL_OK;
	}
	printf("%-34s %12.0f %10.2f %9" PRIu64 " %10" PRIu64 "\n", what,
		bench->n_units * 1e6 / (double)step_us, (double)step_us / (double)bench->n_units,
		placed, bytes / (n > 0 ? n : 1));
	free(names);
	end(bench);
}

/* ---- The floor --------------------------------------------------------------------------- */

struct leaf {
	unsigned load, id;
};

static bool less(const struct leaf *a, const struct leaf *b)
{
	return a->load != b->load ? a->load < b->load : a->id < b->id;
}

static void floor_of(const struct bench *bench)
{
	struct leaf *heap = calloc(bench->n_machines, sizeof(*heap));
	uint64_t begin_us, us;

	if (heap == NULL)
		exit(1);
	for (unsigned i = 0; i < bench->n_machines; i++)
		heap[i].id = i;
	begin_us = processor_us();
	for (unsigned i = 0; i < bench->n_units; i++) {
		unsigned at = 0;

		heap[0].load++;
		for (;;) {
			unsigned child = 2 * at + 1;
			struct leaf swap;

			if (child + 1 < bench->n_machines && less(&heap[child + 1], &heap[child]))
				child++;
			if (child >= bench->n_machines || !less(&heap[child], &heap[at]))
				break;
			swap = heap[at];
			heap[at] = heap[child];
			heap[child] = swap;
			at = child;
		}
	}
	us = processor_us() - begin_us;
	printf("%-34s %12.0f %10.2f\n", "floor: a heap of loads",
		bench->n_units * 1e6 / (double)(us > 0 ? us : 1),
		(double)us / (double)bench->n_units);
	free(heap);
}

static void heartbeats(struct bench *bench)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	uint64_t begin_us, us;
	char id[33];

	begin(bench);
	report.machine_id = id;
	report.session = 1;
	begin_us = processor_us();
	for (unsigned i = 0; i < bench->n_units; i++) {
		machine_id(id, i % bench->n_machines);
		bench->now_ms += i % 16 == 0;
		step(bench,
			&(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
	}
	us = processor_us() - begin_us;
	printf("%-34s %12.0f %10.2f\n", "heartbeats", bench->n_units * 1e6 / (double)us,
		(double)us / (double)bench->n_units);
	end(bench);
}

int main(int argc, char **argv)
{
	struct bench bench = {.n_machines = 10000, .n_units = 100000};

	if (argc > 1)
		bench.n_machines = (unsigned)strtoul(argv[1], NULL, 10);
	if (argc > 2)
		bench.n_units = (unsigned)strtoul(argv[2], NULL, 10);
	if (bench.n_machines == 0 || bench.n_units == 0) {
		fprintf(stderr, "usage: scheduler_bench [MACHINES [UNITS [WORD]]]\n");
		return 1;
	}
	bench.only = argc > 3 ? argv[3] : NULL;
	printf("%u machines, %u units\n%-34s %12s %10s %9s %10s\n", bench.n_machines, bench.n_units,
		"", "per second", "µs each", "placed", "B written");
	floor_of(&bench);
	measure(&bench, "placements", RULES_NONE);
	measure(&bench, "apart by Conflicts=", RULES_CONFLICTS);
	measure(&bench, "one key of metadata", RULES_ONE_KEY);
	measure(&bench, "two keys, one with two values", RULES_TWO_KEYS);
	measure(&bench, "Spread= over a key of 50 values", RULES_SPREAD_KEY);
	measure(&bench, "the same and a key of metadata", RULES_SPREAD_AND_METADATA);
	measure(&bench, "Spread=machine", RULES_SPREAD_MACHINE);
	measure(&bench, "PreferMetadata=", RULES_PREFER);
	measure(&bench, "claims, half of the machines full", RULES_CLAIMS);
	measure(&bench, "Spread=, metadata and claims", RULES_ALL);
	if (bench.only == NULL)
		heartbeats(&bench);
	return 0;
}
