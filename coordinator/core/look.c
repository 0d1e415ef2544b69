/* Units and machines as people and other programs see them: messages of the wire. */
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/members.h"
#include "proto/wire.h"

void core_message_free(ProtobufCMessage *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

bool message_text(char **field, const char *text)
{
	static const char cut[] = "...";
	size_t len = strnlen(text, LIMIT_TEXT + 1);
	char *copy;

	if (len == 0)
		return true;
	if (len <= LIMIT_TEXT) {
		copy = fl_memdup0(text, len);
	} else {
		len = LIMIT_TEXT - strlen(cut);
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--; /* not within a character of UTF-8 */
		copy = fl_memdup0(text, LIMIT_TEXT);
		if (copy != NULL)
			memcpy(copy + len, cut, sizeof(cut));
	}
	if (copy == NULL)
		return false;
	*field = copy;
	return true;
}

ProtobufCMessage *message_copy(const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = malloc(size + 1);
	ProtobufCMessage *copy;

	if (packed == NULL)
		return NULL;
	protobuf_c_message_pack(message, packed);
	copy = protobuf_c_message_unpack(message->descriptor, NULL, size, packed);
	free(packed);
	return copy;
}

size_t unit_placement_count(const struct unit *unit)
{
	const struct placement *placement;
	size_t n = 0;

	FL_LIST_FOREACH (placement, &unit->placements, of_unit)
		n += !placement->removed;
	return n;
}

/* ---- Placements -------------------------------------------------------------------------- */

static enum fl_code state_message(
	const struct placement *placement, Pb__UnitState **ret_state, struct fl_error *err)
{
	const struct placement_state *state = &placement->state;
	Pb__UnitState *message = malloc(sizeof(*message));

	if (message == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__unit_state__init(message);
	message->epoch = placement->epoch;
	message->desired = state->desired;
	message->done_revision = state->done_revision;
	message->main_pid = state->main_pid;
	message->job_us = state->job_us;
	message->since_us = state->since_us;
	message->reaction_us = state->reaction_us;
	*ret_state = message;
	if (!message_text(&message->name, placement->unit->name) ||
		!message_text(&message->load, state->load) ||
		!message_text(&message->active, state->active) ||
		!message_text(&message->sub, state->sub) ||
		!message_text(&message->hash, state->hash) ||
		!message_text(&message->result, state->result) ||
		!message_text(&message->error, state->error != NULL ? state->error : ""))
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

/* On failure *ret_message is what is there so far: its owner frees it. */
static enum fl_code placement_message(const struct core *core, const struct placement *placement,
	uint64_t now_ms, Pb__Placement **ret_message, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf leaving = FL_BUF_INIT;
	Pb__Placement *message = malloc(sizeof(*message));

	if (message == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__placement__init(message);
	*ret_message = message;
	message->epoch = placement->epoch;
	message->old_file = rollout_is_old(placement->unit, placement);
	message->lost = placement->machine->fsm.state == MACHINE_LOST;
	placement_leaving_text(core, placement, now_ms, &leaving);
	if (!fl_buf_ok(&leaving) || !message_text(&message->leaving, fl_buf_str(&leaving)) ||
		!message_text(&message->machine_id, placement->machine->id) ||
		!message_text(&message->address, placement->machine->info.message->address))
		return FL_FAIL_NO_MEMORY(err);
	return placement->state.known ? state_message(placement, &message->state, err) : FL_OK;
}

static int by_machine(const void *a, const void *b)
{
	return strcmp(
		(*(Pb__Placement *const *)a)->machine_id, (*(Pb__Placement *const *)b)->machine_id);
}

static enum fl_code fill_placements(const struct core *core, const struct unit *unit,
	uint64_t now_ms, Pb__Unit *message, struct fl_error *err)
{
	size_t n = unit_placement_count(unit);
	const struct placement *placement;

	if (n == 0)
		return FL_OK;
	message->placements = fl_new_array(n, sizeof(Pb__Placement *));
	if (message->placements == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		Pb__Placement *one = NULL;
		enum fl_code code;

		if (placement->removed)
			continue;
		code = placement_message(core, placement, now_ms, &one, err);
		if (one != NULL)
			message->placements[message->n_placements++] = one;
		FL_TRY(code);
	}
	qsort(message->placements, n, sizeof(Pb__Placement *), by_machine);
	return FL_OK;
}

/* ---- Units ------------------------------------------------------------------------------- */

static enum fl_code fill_unit(const struct core *core, const struct unit *unit, bool with_content,
	uint64_t now_ms, Pb__Unit *message, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf waiting = FL_BUF_INIT;

	message->desired = unit->desired;
	message->global = unit->body.rules.global;
	message->revision = unit->revision;
	message->change_revision = unit->change_revision;
	message->replicas = unit->is_template ? unit->body.rules.replicas : 0;
	if (with_content) {
		message->content.data = fl_memdup0(unit->body.content, unit->body.content_len);
		if (message->content.data == NULL)
			return FL_FAIL_NO_MEMORY(err);
		message->content.len = unit->body.content_len;
	}
	why_waiting(core, unit, now_ms, &waiting);
	if (!fl_buf_ok(&waiting) || !message_text(&message->name, unit->name) ||
		!message_text(&message->hash, unit->body.hash) ||
		!message_text(&message->description, unit->body.description) ||
		!message_text(&message->waiting, fl_buf_str(&waiting)) ||
		!message_text(&message->held_by, unit->held != NULL ? unit->held->machine->id : ""))
		return FL_FAIL_NO_MEMORY(err);
	message->exclusive = unit->body.rules.exclusive;
	if (unit->replica_of != NULL && !message_text(&message->replica_of, unit->replica_of->name))
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(rollout_message(unit, &message->rollout, err));
	return fill_placements(core, unit, now_ms, message, err);
}

enum fl_code unit_message(const struct core *core, const struct unit *unit, bool with_content,
	uint64_t now_ms, Pb__Unit **ret_unit, struct fl_error *err)
{
	Pb__Unit *message = malloc(sizeof(*message));
	enum fl_code code;

	if (message == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__unit__init(message);
	code = fill_unit(core, unit, with_content, now_ms, message, err);
	if (code != FL_OK) {
		core_message_free(&message->base);
		return code;
	}
	*ret_unit = message;
	return FL_OK;
}

enum fl_code core_unit_get(const struct core *core, const char *name, bool with_content,
	uint64_t now_ms, Pb__Unit **ret_unit, struct fl_error *err)
{
	const struct unit *unit = unit_find(core, name);

	if (unit == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "Unit %s not found", name);
	return unit_message(core, unit, with_content, now_ms, ret_unit, err);
}

const char *core_unit_next(const struct core *core, const char *after)
{
	const struct unit *unit = unit_next(core, after);

	return unit != NULL ? unit->name : NULL;
}

uint64_t core_unit_revision(const struct core *core, const char *name)
{
	const struct unit *unit = unit_find(core, name);

	return unit != NULL ? unit->revision : 0;
}

enum fl_code core_placement_find(const struct core *core, const char *name, const char *machine_id,
	const char **ret_machine_id, struct fl_error *err)
{
	const struct unit *unit = unit_find(core, name);
	const struct placement *placement, *found = NULL;
	size_t n = 0;

	if (unit == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "Unit %s does not exist.", name);
	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		if (placement->removed ||
			strncmp(placement->machine->id, machine_id, strlen(machine_id)) != 0)
			continue;
		found = placement;
		n++;
	}
	if (n == 1) {
		*ret_machine_id = found->machine->id;
		return FL_OK;
	}
	if (n > 1)
		return FL_FAIL(err, FL_E_INVALID,
			"Unit %s is on %zu machines that this could mean; name one of them", name,
			n);
	if (*machine_id != '\0')
		return FL_FAIL(err, FL_E_STATE, "Unit %s is not on a machine %s", name, machine_id);
	return FL_FAIL(err, FL_E_STATE, "Unit %s is not on any machine; ask why: flotactl why %s",
		name, name);
}

/* ---- Machines ---------------------------------------------------------------------------- */

static Pb__Machine__State state_of(const struct machine *machine)
{
	switch ((enum machine_state)machine->fsm.state) {
	case MACHINE_UNKNOWN:
		return PB__MACHINE__STATE__UNKNOWN;
	case MACHINE_UP:
		return PB__MACHINE__STATE__UP;
	case MACHINE_LOST:
		return PB__MACHINE__STATE__LOST;
	}
	return PB__MACHINE__STATE__STATE_UNSPECIFIED;
}

static void fill_claims(Pb__Claims *claims, struct room room)
{
	if (room.memory_bytes != ROOM_UNLIMITED)
		claims->memory_bytes = room.memory_bytes;
	if (room.cpu_milli != ROOM_UNLIMITED)
		claims->cpu_milli = room.cpu_milli;
}

enum fl_code core_machine_get(const struct core *core, const char *id, uint64_t now_ms,
	Pb__Machine **ret_machine, struct fl_error *err)
{
	const struct machine *machine = machine_find(core, id);
	Pb__Machine view = PB__MACHINE__INIT; /* borrows all of it from the machine */
	Pb__Claims claimed = PB__CLAIMS__INIT, offered = PB__CLAIMS__INIT;
	Pb__RefusedKey refused = PB__REFUSED_KEY__INIT;
	ProtobufCMessage *copy;
	const Pb__MachineInfo *info;

	if (machine == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "machine %s is not known here", id);
	info = machine->info.message;
	view.id = machine->id;
	view.address = info->address;
	view.hostname = info->hostname;
	view.n_metadata = info->n_metadata;
	view.metadata = info->metadata;
	view.state = state_of(machine);
	view.scheduling = (Pb__Machine__Scheduling)machine->scheduling.state;
	if (machine_is_closed(machine)) {
		view.closed_by = machine->closed_by;
		view.closed_reason = machine->closed_reason;
	}
	if (machine->scheduling.state == SCHEDULING_DRAINING &&
		machine->drain_deadline_ms != UINT64_MAX)
		view.drain_left_ms = machine->drain_deadline_ms > now_ms
					     ? machine->drain_deadline_ms - now_ms
					     : 1;
	view.drain_units = drain_units_left(machine);
	view.units = machine->n_units;
	view.capacity = info->capacity;
	fill_claims(&claimed, machine_claimed(machine));
	fill_claims(&offered, machine_offered(machine));
	view.claimed = &claimed;
	view.offered = &offered;
	view.agent_version = info->agent_version;
	view.last_heard_ms = now_ms - machine->last_heard_ms;
	view.n_capabilities = info->n_capabilities;
	view.capabilities = info->capabilities;
	member_view(core, id, now_ms, &view, &refused);
	copy = message_copy(&view.base);
	if (copy == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_machine = (Pb__Machine *)copy;
	return FL_OK;
}

const char *core_machine_next(const struct core *core, const char *after)
{
	const struct machine *machine = machine_next(core, after);

	return machine != NULL ? machine->id : NULL;
}
