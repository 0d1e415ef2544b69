#include "cli/json.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/state.h"

#define NOT_MADE "out of memory, or a text that is not UTF-8 and so cannot be JSON"

void json_free(json_t *json)
{
	json_decref(json);
}

enum fl_code json_new_array(json_t **ret_array, struct fl_error *err)
{
	json_t *array = json_array();

	if (array == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_array = array;
	return FL_OK;
}

enum fl_code json_add(json_t *array, json_t *item, struct fl_error *err)
{
	if (item == NULL)
		return FL_FAIL(err, FL_E_INTERNAL, NOT_MADE);
	if (json_array_append_new(array, item) != 0)
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

enum fl_code json_print(const json_t *json, struct fl_error *err)
{
	if (json_dumpf(json, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF)
		return FL_FAIL(err, FL_E_IO, "standard output cannot be written");
	return FL_OK;
}

json_t *json_of_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	if (json != NULL)
		return json;
	copy = fl_strdup(text);
	for (char *at = copy; at != NULL && *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	json = copy != NULL ? json_string(copy) : NULL;
	free(copy);
	return json;
}

enum fl_code json_print_line(json_t *json, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *owned = json;

	if (owned == NULL)
		return FL_FAIL(err, FL_E_INTERNAL, NOT_MADE);
	if (json_dumpf(owned, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF)
		return FL_FAIL(err, FL_E_IO, "standard output cannot be written");
	return FL_OK;
}

json_t *json_of_strv(const struct fl_strv *strv)
{
	json_t *array = json_array();

	for (size_t i = 0; array != NULL && i < strv->n; i++)
		if (json_array_append_new(array, json_string(strv->items[i])) != 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *of_placement(const Pb__Placement *placement)
{
	const Pb__UnitState *state = placement_state(placement);

	if (state == NULL)
		return json_pack("{s:s, s:s, s:I, s:b, s:s, s:o, s:n}", "machine",
			placement->machine_id, "address", placement->address, "epoch",
			(json_int_t)placement->epoch, "lost", (int)placement->lost, "state",
			desired_name(placement_current(placement)), "leaving",
			json_of_text(placement->leaving), "systemd");
	return json_pack(
		"{s:s, s:s, s:I, s:b, s:s, s:o, s:{s:s, s:s, s:s, s:i, s:I}, s:s, s:s, s:s, s:I, "
		"s:I}",
		"machine", placement->machine_id, "address", placement->address, "epoch",
		(json_int_t)placement->epoch, "lost", (int)placement->lost, "state",
		desired_name(placement_current(placement)), "leaving",
		json_of_text(placement->leaving), "systemd", "load", state->load, "active",
		state->active, "sub", state->sub, "main_pid", (int)state->main_pid, "since_us",
		(json_int_t)state->since_us, "result", state->result, "error", state->error, "hash",
		state->hash, "job_us", (json_int_t)state->job_us, "reaction_us",
		(json_int_t)state->reaction_us);
}

static json_t *of_rollout(const Pb__Rollout *rollout)
{
	static const char *const states[] = {
		[PB__ROLLOUT__STATE__ROLLING] = "rolling",
		[PB__ROLLOUT__STATE__DONE] = "done",
		[PB__ROLLOUT__STATE__RETURNING] = "returning",
		[PB__ROLLOUT__STATE__RETURNED] = "returned",
	};

	if (rollout == NULL || rollout->state <= 0 || (size_t)rollout->state >= FL_COUNT(states))
		return json_null();
	return json_pack("{s:s, s:i, s:i, s:i, s:o}", "state", states[rollout->state], "healthy",
		(int)rollout->done, "failed", (int)rollout->failed, "total", (int)rollout->total,
		"text", json_of_text(rollout->text));
}

json_t *json_of_unit(const Pb__Unit *unit)
{
	json_t *placements = json_array();

	for (size_t i = 0; placements != NULL && i < unit->n_placements; i++)
		if (json_array_append_new(placements, of_placement(unit->placements[i])) != 0) {
			json_decref(placements);
			return NULL;
		}
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:s, s:o, s:i, s:s, s:o}", "unit",
		unit->name, "hash", unit->hash, "desired", desired_name(unit->desired), "state",
		desired_name(unit_current(unit)), "global", (int)unit->global, "description",
		unit->description, "waiting", unit->waiting, "placements", placements, "replicas",
		(int)unit->replicas, "replica_of", unit->replica_of, "rollout",
		of_rollout(unit->rollout));
}

json_t *json_of_refusals(Pb__Refusal *const *refusals, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; array != NULL && i < n; i++)
		if (json_array_append_new(
			    array, json_pack("{s:s, s:s, s:s}", "machine", refusals[i]->machine_id,
					   "address", refusals[i]->address, "reason",
					   refusals[i]->reason)) != 0) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *of_metadata(const Pb__Machine *machine)
{
	json_t *object = json_object();

	for (size_t i = 0; object != NULL && i < machine->n_metadata; i++)
		if (json_object_set_new(object, machine->metadata[i]->key,
			    json_string(machine->metadata[i]->value)) != 0) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static json_t *of_capacity(const Pb__Capacity *capacity)
{
	return json_pack("{s:i, s:I, s:I, s:f}", "cpus", (int)capacity->cpus, "memory_bytes",
		(json_int_t)capacity->memory_bytes, "memory_available_bytes",
		(json_int_t)capacity->memory_available_bytes, "load",
		(double)capacity->load_1min_x100 / 100);
}

static json_t *of_claims(const Pb__Claims *claims)
{
	if (claims == NULL)
		return json_null();
	return json_pack("{s:I, s:I}", "memory_bytes", (json_int_t)claims->memory_bytes,
		"cpu_milli", (json_int_t)claims->cpu_milli);
}

static json_t *of_pin(const ProtobufCBinaryData *pin)
{
	char text[PIN_TEXT_SIZE];

	pin_text(pin, text);
	return json_of_text(text);
}

static json_t *of_refused(const Pb__RefusedKey *refused)
{
	return json_pack("{s:o, s:s, s:o, s:I}", "key", of_pin(&refused->key_pin), "address",
		refused->address, "hostname", json_of_text(refused->hostname), "ago_ms",
		(json_int_t)refused->ago_ms);
}

json_t *json_of_machine(const Pb__Machine *machine)
{
	const struct fl_strv capabilities = {
		.items = machine->capabilities, .n = machine->n_capabilities};

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:s, s:I, s:o, s:o, "
			 "s:o, s:o, s:o, s:s, s:o, s:o, s:o}",
		"machine", machine->id, "address", machine->address, "hostname", machine->hostname,
		"state", machine_state_of(machine), "scheduling",
		scheduling_name(machine->scheduling), "closed_by", machine->closed_by,
		"closed_reason", json_of_text(machine->closed_reason), "drain_left_ms",
		(json_int_t)machine->drain_left_ms, "drain_units", (int)machine->drain_units,
		"units", (int)machine->units, "agent_version", machine->agent_version,
		"last_heard_ms", (json_int_t)machine->last_heard_ms, "metadata",
		of_metadata(machine), "capabilities", json_of_strv(&capabilities), "capacity",
		machine->capacity != NULL ? of_capacity(machine->capacity) : json_null(), "claimed",
		of_claims(machine->claimed), "offered", of_claims(machine->offered), "revoked_by",
		machine->revoked_by, "revoked_reason", json_of_text(machine->revoked_reason), "key",
		of_pin(&machine->key_pin), "refused",
		machine->refused != NULL ? of_refused(machine->refused) : json_null());
}
