#include "cli/watch.h"

#include <stdlib.h>
#include <string.h>

#include "cli/batch.h"
#include "cli/dialect.h"
#include "cli/term.h"
#include "cli/unit_args.h"

static const struct {
	const char *name; /* of --for */
	struct change_kind kind;
} goals[] = {
	{"active", {.name = "wait", .goal = WAIT_FOR_ACTIVE}},
	{"stopped", {.name = "wait", .goal = WAIT_FOR_STOPPED}},
	{"gone", {.name = "wait", .goal = WAIT_FOR_GONE}},
};

static enum fl_code find_goal(
	const char *name, const struct change_kind **ret_kind, struct fl_error *err)
{
	for (size_t i = 0; i < FL_COUNT(goals); i++)
		if (strcmp(goals[i].name, name) == 0) {
			*ret_kind = &goals[i].kind;
			return FL_OK;
		}
	return FL_FAIL(err, FL_E_USAGE, "--for: \"%s\" is none of active, stopped and gone", name);
}

static Pb__Unit *take_unit(Pb__UnitsReply *units, const char *name)
{
	for (size_t i = 0; i < units->n_units; i++)
		if (strcmp(units->units[i]->name, name) == 0) {
			Pb__Unit *unit = units->units[i];

			/* The reply keeps no hole. */
			units->units[i] = units->units[--units->n_units];
			return unit;
		}
	return NULL;
}

/* What there is not, can be waited for only to be gone: nobody waits for a name misspelt. */
static enum fl_code find_units(struct batch *batch, const struct unit_args *args,
	const struct change_kind *kind, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char **names = fl_new_array(args->n, sizeof(*names));
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < args->n; i++)
		names[i] = args->items[i].name;
	FL_TRY(connection_units(batch->connection, names, args->n, false, &reply, err));
	for (size_t i = 0; i < args->n; i++) {
		struct item *item = &batch->items[i];
		struct fl_error why = {0};
		Pb__Unit *unit;

		batch_set(batch, i, kind, names[i], NULL);
		item->unsent = true;
		item->change.is_watched = true;
		item->change.is_patient = true;
		if (kind->goal == WAIT_FOR_GONE)
			continue;
		unit = take_unit(reply->units_reply, names[i]);
		if (unit != NULL) {
			change_take_unit(&item->change, unit);
			item->change.change_revision = unit->change_revision;
			continue;
		}
		(void)!DIALECT_FAIL(&why, TEXT_UNIT_UNKNOWN, names[i]);
		term_error("%s", fl_error_text(&why));
		item_settle(item, CHANGE_FAILED, FL_E_NOT_FOUND, "does not exist");
	}
	return FL_OK;
}

enum fl_code verb_wait(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	UNIT_ARGS_CLEANUP struct unit_args args = {0};
	BATCH_CLEANUP struct batch batch = {0};
	const struct change_kind *kind = NULL;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(find_goal(command->options->wait_for, &kind, err));
	FL_TRY(unit_args_parse(command->args, command->n_args, &args, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(batch_init(&batch, command, connection, args.n, json, err));
	FL_TRY(find_units(&batch, &args, kind, err));
	return batch_run(&batch, err);
}
