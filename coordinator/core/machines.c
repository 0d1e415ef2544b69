#include <stdlib.h>

#include "coordinator/core/internal.h"

/* The first 8 characters as a number, so that comparing IDs seldom has to look at more. */
static uint64_t id_prefix(const char *id)
{
	uint64_t prefix = 0;

	for (int i = 0; i < 8; i++) {
		prefix = prefix << 8 | (unsigned char)*id;
		id += *id != '\0';
	}
	return prefix;
}

int machine_compare(const struct machine *a, const struct machine *b)
{
	if (a->id_prefix != b->id_prefix)
		return a->id_prefix < b->id_prefix ? -1 : 1;
	return strcmp(a->id, b->id);
}

RB_GENERATE(machine_tree, machine, by_id, machine_compare)

struct machine *machine_find(const struct core *core, const char *id)
{
	struct machine *machine = RB_ROOT(&core->machines);

	while (machine != NULL) {
		int order = strcmp(id, machine->id);

		if (order == 0)
			return machine;
		machine = order < 0 ? RB_LEFT(machine, by_id) : RB_RIGHT(machine, by_id);
	}
	return NULL;
}

struct machine *machine_next(const struct core *core, const char *after)
{
	struct machine *machine = RB_ROOT(&core->machines), *next = NULL;

	while (machine != NULL) {
		if (strcmp(machine->id, after) > 0) {
			next = machine;
			machine = RB_LEFT(machine, by_id);
		} else {
			machine = RB_RIGHT(machine, by_id);
		}
	}
	return next;
}

/* ---- What a machine says of itself ------------------------------------------------------- */

static int metadata_compare(const void *a, const void *b)
{
	return strcmp((*(Pb__Metadata *const *)a)->key, (*(Pb__Metadata *const *)b)->key);
}

/* Sorts by key; of a key that is there twice the first one counts. */
static void metadata_normalize(Pb__MachineInfo *info)
{
	size_t n = 0;

	for (size_t i = 0; i < info->n_metadata; i++) {
		bool again = false;

		for (size_t k = 0; k < n && !again; k++)
			again = strcmp(info->metadata[k]->key, info->metadata[i]->key) == 0;
		if (again)
			core_message_free(&info->metadata[i]->base);
		else
			info->metadata[n++] = info->metadata[i];
	}
	info->n_metadata = n;
	if (n > 0)
		qsort(info->metadata, n, sizeof(Pb__Metadata *), metadata_compare);
}

const char *machine_metadata(const struct machine *machine, const char *key)
{
	const Pb__MachineInfo *info = machine->info.message;
	size_t low = 0, high = info->n_metadata;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(key, info->metadata[middle]->key);

		if (order == 0)
			return info->metadata[middle]->value;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static enum fl_code info_nodes(struct core *core, struct machine_info *info, struct fl_error *err)
{
	const Pb__MachineInfo *message = info->message;

	info->nodes = fl_new_array(message->n_metadata + 1, sizeof(*info->nodes));
	if (info->nodes == NULL)
		return FL_FAIL_NO_MEMORY(err);
	info->n_nodes = message->n_metadata + 1;
	info->nodes[0].pool = &core->all;
	for (size_t i = 0; i < message->n_metadata; i++) {
		struct pool *pool =
			pool_ref(core, message->metadata[i]->key, message->metadata[i]->value);

		if (pool == NULL)
			return FL_FAIL_NO_MEMORY(err);
		info->nodes[i + 1].pool = pool;
	}
	return FL_OK;
}

enum fl_code machine_info_read(struct core *core, const Pb__MachineInfo *message,
	const char *peer_address, struct machine_info *ret_info, struct fl_error *err)
{
	struct machine_info info = {0};
	enum fl_code code;

	info.message = (Pb__MachineInfo *)message_copy(&message->base);
	if (info.message == NULL)
		return FL_FAIL_NO_MEMORY(err);
	metadata_normalize(info.message);
	if (*info.message->address == '\0' && peer_address != NULL &&
		!message_text(&info.message->address, peer_address))
		code = FL_FAIL_NO_MEMORY(err);
	else
		code = info_nodes(core, &info, err);
	if (code != FL_OK) {
		machine_info_fini(core, &info);
		return code;
	}
	*ret_info = info;
	return FL_OK;
}

void machine_info_fini(struct core *core, struct machine_info *info)
{
	for (size_t i = 0; i < info->n_nodes; i++)
		pool_unref(core, info->nodes[i].pool);
	free(info->nodes);
	if (info->message != NULL)
		core_message_free(&info->message->base);
	*info = (struct machine_info){0};
}

static bool capacity_equal(const Pb__Capacity *a, const Pb__Capacity *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a->cpus == b->cpus && a->memory_bytes == b->memory_bytes;
}

bool machine_capacity_set(struct machine *machine, const Pb__Capacity *capacity)
{
	Pb__Capacity **ours = &machine->info.message->capacity;
	bool up = machine_is_up(machine), changed = !capacity_equal(*ours, capacity);

	if (*ours == NULL)
		*ours = malloc(sizeof(**ours));
	if (*ours == NULL)
		return false;
	if (up && changed)
		machine_pools_leave(machine);
	pb__capacity__init(*ours);
	(*ours)->cpus = capacity->cpus;
	(*ours)->memory_bytes = capacity->memory_bytes;
	(*ours)->memory_available_bytes = capacity->memory_available_bytes;
	(*ours)->load_1min_x100 = capacity->load_1min_x100;
	machine_free_refresh(machine);
	if (up && changed)
		machine_pools_enter(machine);
	return changed;
}

/* Of capacity only that which units can claim: the rest changes all the time. */
bool machine_info_equal(const struct machine_info *a, const struct machine_info *b)
{
	const Pb__MachineInfo *x = a->message, *y = b->message;

	if (strcmp(x->boot_id, y->boot_id) != 0 || strcmp(x->hostname, y->hostname) != 0 ||
		strcmp(x->address, y->address) != 0 ||
		strcmp(x->agent_version, y->agent_version) != 0 || x->n_metadata != y->n_metadata ||
		x->n_capabilities != y->n_capabilities || !capacity_equal(x->capacity, y->capacity))
		return false;
	for (size_t i = 0; i < x->n_metadata; i++)
		if (strcmp(x->metadata[i]->key, y->metadata[i]->key) != 0 ||
			strcmp(x->metadata[i]->value, y->metadata[i]->value) != 0)
			return false;
	for (size_t i = 0; i < x->n_capabilities; i++)
		if (strcmp(x->capabilities[i], y->capabilities[i]) != 0)
			return false;
	return true;
}

static void count_placements(struct machine *machine, int by)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (!placement->removed)
			spread_count(placement->unit, machine, by);
}

void machine_info_set(struct core *core, struct machine *machine, struct machine_info *info)
{
	bool up = machine_is_up(machine);

	if (up)
		machine_pools_leave(machine);
	count_placements(machine, -1);
	machine_info_fini(core, &machine->info);
	machine->info = *info;
	*info = (struct machine_info){0};
	for (size_t i = 0; i < machine->info.n_nodes; i++)
		machine->info.nodes[i].machine = machine;
	machine_free_refresh(machine);
	count_placements(machine, 1);
	if (up)
		machine_pools_enter(machine);
}

/* ---- Coming and going -------------------------------------------------------------------- */

enum fl_code machine_add(struct core *core, const char *id, struct machine_info *info,
	struct machine **ret_machine, struct fl_error *err)
{
	struct machine *machine = FL_NEW(struct machine);

	if (machine != NULL)
		machine->id = fl_strdup(id);
	if (machine == NULL || machine->id == NULL ||
		!axis_domain_add(&core->each_machine, NULL, &machine->domain)) {
		if (machine != NULL)
			free(machine->id);
		free(machine);
		return FL_FAIL_NO_MEMORY(err);
	}
	machine->core = core;
	machine->id_prefix = id_prefix(id);
	machine->write.kind = MARK_MACHINE;
	machine->deltas_from = core->revision;
	machine->last_heard_ms = core->now_ms;
	fl_fsm_init(&machine->fsm, &machine_fsm_def, machine->id);
	fl_fsm_init(&machine->scheduling, &scheduling_fsm_def, machine->id);
	machine->drain_deadline_ms = UINT64_MAX;
	RB_INIT(&machine->placements);
	fl_list_init(&machine->conflictors);
	fl_list_init(&machine->replacers);
	fl_list_init(&machine->changes);
	fl_list_init(&machine->tombstones);
	machine_info_set(core, machine, info);
	RB_INSERT(machine_tree, &core->machines, machine);
	core->n_machines++;
	*ret_machine = machine;
	return FL_OK;
}

void machine_free(struct core *core, struct machine *machine)
{
	if (machine_is_up(machine))
		machine_pools_leave(machine);
	RB_REMOVE(machine_tree, &core->machines, machine);
	core->n_machines--;
	axis_domain_remove(&core->each_machine, machine->domain);
	fl_list_remove(&machine->lease);
	fl_list_remove(&machine->suspect);
	fl_list_remove(&machine->overflow);
	fl_list_remove(&machine->helped);
	fl_list_remove(&machine->globals);
	fl_list_remove(&machine->write.link);
	fl_list_remove(&machine->changed);
	machine_scheduling_fini(machine);
	machine_info_fini(core, &machine->info);
	free(machine->id);
	free(machine);
}

void machines_free(struct core *core)
{
	struct machine *machine, *following;

	RB_FOREACH_SAFE (machine, machine_tree, &core->machines, following)
		machine_free(core, machine);
}
