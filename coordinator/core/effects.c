#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/members.h"
#include "proto/wire.h"

/* How far the stored number is ahead when it is written. Half of it may be given out before it
 * must be written again: more than any batch can use. */
#define RESERVE (UINT64_C(1) << 20)

void core_effects_init(struct core_effects *effects)
{
	*effects = (struct core_effects){0};
	fl_list_init(&effects->writes);
	fl_list_init(&effects->machines);
	fl_list_init(&effects->units);
	fl_list_init(&effects->notes);
}

void core_effects_fini(struct core_effects *effects)
{
	struct core_note *note;

	while (fl_list_pop(&effects->writes) != NULL)
		;
	while (core_pop_machine(effects) != NULL)
		;
	while (core_pop_unit(effects) != NULL)
		;
	while ((note = core_pop_note(effects)) != NULL)
		free(note);
}

/* ---- Marking ----------------------------------------------------------------------------- */

uint64_t core_next_revision(struct core *core)
{
	core->revision++;
	if (core->revision + RESERVE / 2 > core->reserved) {
		core->reserved = core->revision + RESERVE;
		core->effects->write_meta = true;
	}
	return core->revision;
}

void mark_unit_write(struct core *core, struct unit *unit)
{
	if (!fl_list_linked(&unit->write.link))
		fl_list_append(&core->effects->writes, &unit->write.link);
}

void mark_machine_write(struct core *core, struct machine *machine)
{
	if (!fl_list_linked(&machine->write.link))
		fl_list_append(&core->effects->writes, &machine->write.link);
}

struct deletion {
	struct mark write;
	struct fl_list all; /* of core->deletions */
	char key[];
};

bool mark_machine_deleted(struct core *core, const struct machine *machine)
{
	size_t size = sizeof(CORE_KEY_MACHINE) + strlen(machine->id);
	struct deletion *deletion = malloc(sizeof(*deletion) + size);

	if (deletion == NULL)
		return false;
	*deletion = (struct deletion){.write.kind = MARK_DELETED};
	snprintf(deletion->key, size, "%s%s", CORE_KEY_MACHINE, machine->id);
	fl_list_append(&core->deletions, &deletion->all);
	fl_list_append(&core->effects->writes, &deletion->write.link);
	return true;
}

static void deletion_free(struct deletion *deletion)
{
	fl_list_remove(&deletion->write.link);
	fl_list_remove(&deletion->all);
	free(deletion);
}

void deletions_fini(struct core *core)
{
	struct fl_list *link;

	while ((link = fl_list_pop(&core->deletions)) != NULL)
		deletion_free(FL_LIST_ENTRY(link, struct deletion, all));
}

void mark_unit_changed(struct core *core, struct unit *unit)
{
	unit->revision = core_next_revision(core);
	rollout_mark(core, unit);
	if (!fl_list_linked(&unit->changed))
		fl_list_append(&core->effects->units, &unit->changed);
}

void mark_machine_changed(struct core *core, struct machine *machine)
{
	if (!fl_list_linked(&machine->changed))
		fl_list_append(&core->effects->machines, &machine->changed);
}

void core_note(struct core *core, enum fl_level level, const char *event, const char *format, ...)
{
	struct core_effects *effects = core->effects;
	struct core_note *note = NULL;
	va_list ap;
	int len;

	va_start(ap, format);
	len = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (len >= 0 && effects->n_notes < CORE_NOTES_MAX)
		note = malloc(sizeof(*note) + (size_t)len + 1);
	if (note == NULL) {
		effects->n_notes_lost++;
		return;
	}
	*note = (struct core_note){.level = level, .event = event};
	va_start(ap, format);
	vsnprintf(note->text, (size_t)len + 1, format, ap);
	va_end(ap);
	fl_list_append(&effects->notes, &note->link);
	effects->n_notes++;
}

/* ---- Taking ------------------------------------------------------------------------------ */

const char *core_pop_machine(struct core_effects *effects)
{
	struct fl_list *link = fl_list_pop(&effects->machines);

	return link != NULL ? FL_LIST_ENTRY(link, struct machine, changed)->id : NULL;
}

const char *core_pop_unit(struct core_effects *effects)
{
	struct fl_list *link = fl_list_pop(&effects->units);

	return link != NULL ? FL_LIST_ENTRY(link, struct unit, changed)->name : NULL;
}

struct core_note *core_pop_note(struct core_effects *effects)
{
	struct fl_list *link = fl_list_pop(&effects->notes);

	if (link == NULL)
		return NULL;
	effects->n_notes--;
	return FL_LIST_ENTRY(link, struct core_note, link);
}

static enum fl_code pack_unit(
	const struct unit *unit, struct core_write *write, struct fl_error *err)
{
	Pb__UnitRecord record = PB__UNIT_RECORD__INIT;
	bool placed = unit->placed != NULL;
	enum fl_code code;

	snprintf(write->key, sizeof(write->key), "%s%s", CORE_KEY_UNIT, unit->name);
	/* Of one that is destroyed nothing stays but who may still run it. */
	if (unit->gone && unit->held == NULL)
		return FL_OK;
	record.destroyed = unit->gone;
	record.stop_ms = unit->stop_ms;
	record.name = unit->name;
	record.content.data = unit->body.content;
	record.content.len = unit->body.content_len;
	record.tenant = unit->tenant;
	record.desired = unit->desired;
	record.change_revision = unit->change_revision;
	record.start_generation = unit->start_generation;
	record.restart_generation = unit->restart_generation;
	if (placed)
		record.machine_id = unit->placed->machine->id;
	record.epoch = unit->epoch;
	if (unit->held != NULL) {
		record.held_machine_id = unit->held->machine->id;
		record.held_epoch = unit->held->epoch;
	}
	record.lenient = unit->body.lenient;
	record.replaced = unit->replaced;
	code = rollout_record(unit, &record, err);
	if (code == FL_OK)
		code = wire_pack_record(&record.base, &write->data, &write->len, err);
	rollout_record_fini(&record);
	return code;
}

static enum fl_code pack_machine(
	const struct machine *machine, struct core_write *write, struct fl_error *err)
{
	Pb__MachineRecord record = PB__MACHINE_RECORD__INIT;

	snprintf(write->key, sizeof(write->key), "%s%s", CORE_KEY_MACHINE, machine->id);
	record.id = machine->id;
	record.info = machine->info.message;
	machine_scheduling_pack(machine, &record);
	return wire_pack_record(&record.base, &write->data, &write->len, err);
}

static enum fl_code pack_meta(
	const struct core *core, struct core_write *write, struct fl_error *err)
{
	Pb__MetaRecord record = PB__META_RECORD__INIT;

	snprintf(write->key, sizeof(write->key), "%s", CORE_KEY_META);
	record.store_id = core->store_id;
	record.fleet = core->fleet;
	record.revision = core->reserved;
	record.format = 1;
	record.lease_ms = core->lease_ms;
	return wire_pack_record(&record.base, &write->data, &write->len, err);
}

enum fl_code core_pop_write(struct core *core, struct core_effects *effects,
	struct core_write *ret_write, bool *ret_any, struct fl_error *err)
{
	struct core_write write = {0};
	struct mark *mark;

	if (effects->write_meta) {
		FL_TRY(pack_meta(core, &write, err));
		effects->write_meta = false;
	} else if (!fl_list_empty(&effects->writes)) {
		mark = FL_LIST_ENTRY(effects->writes.next, struct mark, link);
		switch (mark->kind) {
		case MARK_UNIT:
			FL_TRY(pack_unit(FL_CONTAINER(mark, struct unit, write), &write, err));
			break;
		case MARK_MACHINE:
			FL_TRY(pack_machine(
				FL_CONTAINER(mark, struct machine, write), &write, err));
			break;
		case MARK_TOKEN:
		case MARK_MEMBER:
			FL_TRY(join_pack(mark, &write, err));
			break;
		case MARK_DELETED:
			snprintf(write.key, sizeof(write.key), "%s",
				FL_CONTAINER(mark, struct deletion, write)->key);
			break;
		}
		fl_list_remove(&mark->link);
		if (mark->kind == MARK_DELETED)
			deletion_free(FL_CONTAINER(mark, struct deletion, write));
		else
			join_packed(core, mark);
	} else {
		*ret_any = false;
		return FL_OK;
	}
	*ret_write = write;
	*ret_any = true;
	return FL_OK;
}
