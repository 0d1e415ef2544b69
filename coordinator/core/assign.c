/*
 * What an agent is told. A machine's placements, tombstones among them, form one list by revision:
 * "what changed since R" is its end. A tombstone goes when the agent's disk has it; where too many
 * gather, or the agent's revision is not one of ours, it gets the whole instead (reset).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"

static void drop_tombstones(struct machine *machine, uint64_t upto)
{
	struct placement *placement, *following;

	FL_LIST_FOREACH_SAFE (placement, &machine->tombstones, tombstone, following) {
		if (placement->revision > upto)
			return;
		/* Who asks from before this revision would miss it. */
		machine->deltas_from = placement->revision;
		placement_bury(placement);
	}
}

void assignment_acknowledge(struct core *core, struct machine *machine, uint64_t revision)
{
	struct placement *placement;

	FL_LIST_FOREACH (placement, &machine->tombstones, tombstone) {
		if (placement->revision > revision)
			break;
		held_acknowledged(core, placement, revision);
	}
	drop_tombstones(machine, revision);
}

void assignment_forget_tombstones(struct core *core, struct machine *machine)
{
	drop_tombstones(machine, UINT64_MAX);
	mark_machine_changed(core, machine);
}

void assignment_begin_again(struct core *core, struct machine *machine)
{
	struct fl_list entries;
	struct placement *placement, *following;

	drop_tombstones(machine, UINT64_MAX);
	machine->deltas_from = core_next_revision(core);
	mark_machine_changed(core, machine); /* also when it has no units: that is to be told */
	fl_list_init(&entries);
	fl_list_splice(&entries, &machine->changes);
	FL_LIST_FOREACH_SAFE (placement, &entries, change, following)
		placement_touch(core, placement);
	/* What is held waits for the agent's word. */
	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (placement->removed)
			placement_entomb(core, placement);
}

bool assignment_needs_reset(const struct core *core, const struct machine *machine,
	const char *store_id, uint64_t since)
{
	return store_id == NULL || strcmp(store_id, core->store_id) != 0 ||
	       since < machine->deltas_from || since > core->revision;
}

static enum fl_code fill_assignment(
	const struct placement *placement, Pb__Assignment **ret_assignment, struct fl_error *err)
{
	const struct unit *unit = placement->unit;
	const struct old_file *old = placement->old;
	const void *content = old != NULL ? old->content : unit->body.content;
	size_t len = old != NULL ? old->len : unit->body.content_len;
	Pb__Assignment *assignment = malloc(sizeof(*assignment));

	if (assignment == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__assignment__init(assignment);
	assignment->content.data = fl_memdup0(content, len);
	if (assignment->content.data == NULL || !message_text(&assignment->name, unit->name) ||
		!message_text(&assignment->hash, old != NULL ? old->hash : unit->body.hash) ||
		!message_text(&assignment->tenant, unit->tenant)) {
		core_message_free(&assignment->base);
		return FL_FAIL_NO_MEMORY(err);
	}
	assignment->content.len = len;
	assignment->desired = unit->desired;
	assignment->epoch = placement->epoch;
	assignment->revision = placement->revision;
	assignment->start_generation = unit->start_generation;
	assignment->restart_generation = unit->restart_generation;
	assignment->exclusive = unit->body.rules.exclusive;
	assignment->stop_ms = unit->body.rules.stop_ms;
	*ret_assignment = assignment;
	return FL_OK;
}

/* The first change after @since: looked for from the end, where the new ones are. */
static const struct fl_list *first_after(const struct machine *machine, uint64_t since)
{
	const struct fl_list *link = machine->changes.prev;

	while (link != &machine->changes &&
		FL_LIST_ENTRY(link, struct placement, change)->revision > since)
		link = link->prev;
	return link->next;
}

/* Puts as much as a page holds into @reply, whose two lists have room for @max entries. */
static enum fl_code fill_page(const struct machine *machine, const struct fl_list *from,
	uint64_t durable, size_t max, Pb__SyncReply *reply, struct fl_error *err)
{
	size_t bytes = 0, n = 0;
	uint64_t last = 0;

	for (const struct fl_list *link = from; link != &machine->changes; link = link->next) {
		const struct placement *placement = FL_LIST_ENTRY(link, struct placement, change);

		if (placement->revision > durable)
			break;
		bool removed = placement->removed || placement_is_parked(placement);

		bytes += removed ? 300 : placement->unit->body.content_len + 600;
		if (n == max || (n > 0 && bytes > WIRE_PAGE_BYTES)) {
			reply->more = true;
			reply->revision = last;
			return FL_OK;
		}
		if (removed) {
			char *name = fl_strdup(placement->unit->name);

			if (name == NULL)
				return FL_FAIL_NO_MEMORY(err);
			reply->removed[reply->n_removed++] = name;
		} else {
			FL_TRY(fill_assignment(
				placement, &reply->assignments[reply->n_assignments], err));
			reply->n_assignments++;
		}
		last = placement->revision;
		n++;
	}
	reply->revision = durable;
	return FL_OK;
}

static enum fl_code fill_reply(const struct core *core, const struct machine *machine,
	uint64_t since, uint64_t durable, Pb__SyncReply *reply, struct fl_error *err)
{
	const struct fl_list *from = first_after(machine, since);
	size_t n = 0;

	for (const struct fl_list *link = from; link != &machine->changes && n < LIMIT_ASSIGNMENTS;
		link = link->next)
		n++;
	reply->assignments = fl_new_array(n + 1, sizeof(Pb__Assignment *));
	reply->removed = fl_new_array(n + 1, sizeof(char *));
	if (reply->assignments == NULL || reply->removed == NULL ||
		!message_text(&reply->store_id, core->store_id))
		return FL_FAIL_NO_MEMORY(err);
	reply->lease_ms = core->lease_ms;
	return fill_page(machine, from, durable, LIMIT_ASSIGNMENTS, reply, err);
}

enum fl_code core_assignment(const struct core *core, const char *machine_id, const char *store_id,
	uint64_t since, uint64_t durable, Pb__SyncReply **ret_reply, struct fl_error *err)
{
	const struct machine *machine = machine_find(core, machine_id);
	const struct fl_list *newest;
	Pb__SyncReply *reply;
	enum fl_code code;
	bool reset;

	if (machine == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "machine %s is not known here", machine_id);
	reset = assignment_needs_reset(core, machine, store_id, since);
	newest = machine->changes.prev;
	*ret_reply = NULL;
	if (newest != &machine->changes &&
		FL_LIST_ENTRY(newest, struct placement, change)->revision > durable && reset)
		return FL_OK; /* a whole with a hole would make the agent drop a unit */
	if (reset && machine->deltas_from > durable)
		return FL_OK;
	reply = malloc(sizeof(*reply));
	if (reply == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__sync_reply__init(reply);
	reply->reset = reset;
	code = fill_reply(core, machine, reset ? 0 : since, durable, reply, err);
	if (code != FL_OK || (!reset && reply->n_assignments == 0 && reply->n_removed == 0)) {
		core_message_free(&reply->base);
		return code;
	}
	*ret_reply = reply;
	return FL_OK;
}
