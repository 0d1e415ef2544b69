/* Rollouts in the store, in messages, and in words. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/rollout.h"

/* ---- As messages ------------------------------------------------------------------------- */

static size_t count_places(struct unit *unit)
{
	size_t n = 0;

	for (struct place place = {0}; rollout_next_place(unit, &place);)
		n++;
	return n;
}

static enum fl_code record_trial(
	struct unit *unit, Pb__UnitRecord *record, size_t n_places, struct fl_error *err)
{
	record->trial = fl_new_array(n_places, sizeof(*record->trial));
	if (record->trial == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (struct place place = {0}; rollout_next_place(unit, &place);)
		if (place.rolled->on_trial)
			record->trial[record->n_trial++] = (char *)rollout_place_name(&place);
	return FL_OK;
}

/* The entry of the file that @old is; a new one, with room for @n_places, where there is none. */
static Pb__OldFile *record_old_file(
	Pb__UnitRecord *record, const struct old_file *old, size_t n_places)
{
	Pb__OldFile *file;

	for (size_t i = 0; i < record->n_old_files; i++)
		if (strcmp(record->old_files[i]->hash, old->hash) == 0)
			return record->old_files[i];
	file = malloc(sizeof(*file));
	if (file == NULL)
		return NULL;
	pb__old_file__init(file);
	file->machine_ids = fl_new_array(n_places, sizeof(char *));
	if (file->machine_ids == NULL) {
		free(file);
		return NULL;
	}
	file->hash = (char *)old->hash;
	file->content.data = (uint8_t *)old->content;
	file->content.len = old->len;
	record->old_files[record->n_old_files++] = file;
	return file;
}

static enum fl_code record_old_files(
	struct unit *unit, Pb__UnitRecord *record, size_t n_places, struct fl_error *err)
{
	record->old_files = fl_new_array(n_places, sizeof(*record->old_files));
	if (record->old_files == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (struct place place = {0}; rollout_next_place(unit, &place);) {
		Pb__OldFile *file;

		if (place.placement == NULL || place.placement->old == NULL)
			continue;
		file = record_old_file(record, place.placement->old, n_places);
		if (file == NULL)
			return FL_FAIL_NO_MEMORY(err);
		file->machine_ids[file->n_machine_ids++] = place.placement->machine->id;
	}
	return FL_OK;
}

static void fill_message(const struct rollout *rollout, Pb__Rollout *message)
{
	pb__rollout__init(message);
	message->state = rollout->state;
	message->done = rollout->done;
	message->total = rollout->total;
	message->failed = rollout->failed;
	message->revision = rollout->revision;
	message->text = (char *)rollout->text;
	message->last = (char *)rollout->last;
}

enum fl_code rollout_record(const struct unit *unit, Pb__UnitRecord *record, struct fl_error *err)
{
	const struct rollout *rollout = unit->rollout;
	size_t n_places;

	if (unit->replica_of != NULL)
		record->replica_of = unit->replica_of->name;
	if (rollout == NULL)
		return FL_OK;
	record->rollout = malloc(sizeof(*record->rollout));
	if (record->rollout == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fill_message(rollout, record->rollout);
	record->good_content.data = rollout->good.content;
	record->good_content.len = rollout->good.content_len;
	record->good_lenient = rollout->good.lenient;
	n_places = count_places(rollout->unit);
	if (n_places == 0)
		return FL_OK;
	FL_TRY(record_trial(rollout->unit, record, n_places, err));
	return record_old_files(rollout->unit, record, n_places, err);
}

void rollout_record_fini(Pb__UnitRecord *record)
{
	for (size_t i = 0; i < record->n_old_files; i++) {
		free(record->old_files[i]->machine_ids);
		free(record->old_files[i]);
	}
	free(record->old_files);
	free(record->trial);
	free(record->rollout);
}

enum fl_code rollout_message(
	const struct unit *unit, Pb__Rollout **ret_message, struct fl_error *err)
{
	Pb__Rollout view;

	*ret_message = NULL;
	if (unit->rollout == NULL)
		return FL_OK;
	fill_message(unit->rollout, &view);
	*ret_message = (Pb__Rollout *)message_copy(&view.base);
	return *ret_message != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* ---- From the store ---------------------------------------------------------------------- */

enum fl_code rollout_load(
	struct core *core, struct unit *unit, const Pb__UnitRecord *record, struct fl_error *err)
{
	const Pb__Rollout *message = record->rollout;
	struct rollout *rollout;

	if (message == NULL)
		return FL_OK;
	rollout = unit->rollout = FL_NEW(struct rollout);
	if (rollout == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*rollout = (struct rollout){.unit = unit,
		.state = message->state,
		.revision = message->revision,
		.done = message->done,
		.total = message->total,
		.failed = message->failed,
		.due_ms = UINT64_MAX};
	snprintf(rollout->text, sizeof(rollout->text), "%s", message->text);
	snprintf(rollout->last, sizeof(rollout->last), "%s", message->last);
	rollout->stored = (Pb__UnitRecord *)message_copy(&record->base);
	if (rollout->stored == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (message->state != PB__ROLLOUT__STATE__ROLLING)
		return FL_OK;
	return unit_body_load(
		core, unit->name, &record->good_content, record->good_lenient, &rollout->good, err);
}

static enum fl_code restore_old_file(
	struct unit *unit, const Pb__OldFile *file, struct fl_error *err)
{
	struct unit_body body = {.content = file->content.data, .content_len = file->content.len};
	struct old_file *old;
	struct placement *placement;

	snprintf(body.hash, sizeof(body.hash), "%s", file->hash);
	old = old_file_new(&body);
	if (old == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		if (placement->removed || placement->old != NULL)
			continue;
		for (size_t i = 0; i < file->n_machine_ids && placement->old == NULL; i++)
			if (strcmp(file->machine_ids[i], placement->machine->id) == 0) {
				placement->old = old;
				old->n_refs++;
			}
	}
	old_file_unref(old);
	return FL_OK;
}

static void unit_record_freep(Pb__UnitRecord **record)
{
	core_message_free(&(*record)->base);
}

static enum fl_code restore(struct core *core, struct rollout *rollout, struct fl_error *err)
{
	FL_CLEANUP(unit_record_freep) Pb__UnitRecord *record = FL_TAKE(rollout->stored);
	bool is_mixed = false;

	for (size_t i = 0; i < record->n_old_files; i++)
		FL_TRY(restore_old_file(rollout->unit, record->old_files[i], err));
	for (struct place place = {0}; rollout_next_place(rollout->unit, &place);) {
		is_mixed |= rollout_place_is_old(rollout->unit, &place);
		for (size_t i = 0; i < record->n_trial; i++)
			place.rolled->on_trial |=
				strcmp(record->trial[i], rollout_place_name(&place)) == 0;
	}
	rollout->since_ms = core->now_ms;
	if (!is_mixed && !rollout_is_under_way(rollout))
		return FL_OK;
	fl_list_append(&core->rollouts, &rollout->link);
	/* What the store has stands until the first step. */
	rollout->due_ms = core->now_ms + 1;
	return FL_OK;
}

enum fl_code rollouts_loaded(struct core *core, struct fl_error *err)
{
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, &core->units)
		if (unit->rollout != NULL && unit->rollout->stored != NULL)
			FL_TRY(restore(core, unit->rollout, err));
	return FL_OK;
}

/* ---- In words ---------------------------------------------------------------------------- */

void rollout_why(const struct unit *unit, struct fl_buf *text)
{
	const struct unit *owner = unit->replica_of != NULL ? unit->replica_of : unit;
	const struct rollout *rollout = owner->rollout;

	if (rollout == NULL)
		return;
	switch (rollout->state) {
	case PB__ROLLOUT__STATE__ROLLING:
		fl_buf_printf(text,
			"; a changed file of %s is on its way, %" PRIu32 " of %" PRIu32
			" are healthy with it: %s",
			owner->name, rollout->done, rollout->total, rollout->text);
		return;
	case PB__ROLLOUT__STATE__RETURNING:
	case PB__ROLLOUT__STATE__RETURNED:
		fl_buf_printf(text, "; %s %s to its last good file, because with the new one: %s",
			owner->name,
			rollout->state == PB__ROLLOUT__STATE__RETURNED ? "returned" : "returns",
			rollout->text);
		return;
	case PB__ROLLOUT__STATE__DONE:
		if (*rollout->text != '\0')
			fl_buf_printf(
				text, "; of the last change of %s: %s", owner->name, rollout->text);
		return;
	case PB__ROLLOUT__STATE__STATE_UNSPECIFIED:
	case _PB__ROLLOUT__STATE_IS_INT_SIZE:
		return;
	}
}
