#include "cli/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "cli/batch.h"
#include "cli/dialect.h"
#include "cli/state.h"
#include "cli/term.h"
#include "cli/unit_args.h"
#include "unitfiles/name.h"

/* What was typed, and what the registry has of it. */
struct request {
	struct command *command;
	const struct change_kind *kind;
	struct connection *connection;
	struct unit_args args;
	struct unit_source *sources; /* as many as args */
	Pb__Envelope *stored; /* nullable */
	struct fl_map *by_name; /* its Pb__Unit */
	struct batch batch; /* as many items as args */
};

static void request_fini(struct request *request)
{
	for (size_t i = 0; request->sources != NULL && i < request->args.n; i++)
		unit_source_fini(&request->sources[i]);
	free(request->sources);
	batch_fini(&request->batch);
	fl_map_free(request->by_name);
	wire_free(request->stored);
	unit_args_fini(&request->args);
	connection_close(request->connection);
}

static enum fl_code remember(
	struct fl_map *by_name, const Pb__Envelope *reply, struct fl_error *err)
{
	const Pb__UnitsReply *units = reply->units_reply;

	for (size_t i = 0; i < units->n_units; i++)
		FL_TRY(fl_map_put(by_name, units->units[i]->name, units->units[i], err));
	return FL_OK;
}

/* The units, and of instances the templates too: most are asked for in vain, and cost nothing. */
static enum fl_code fetch_stored(struct request *request, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char **names = fl_new_array(2 * request->args.n, sizeof(*names));
	size_t n = 0;

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < request->args.n; i++) {
		names[n++] = request->args.items[i].name;
		if (request->kind->takes_files && request->args.items[i].template_name != NULL)
			names[n++] = request->args.items[i].template_name;
	}
	FL_TRY(connection_units(request->connection, names, n, false, &request->stored, err));
	return remember(request->by_name, request->stored, err);
}

/* fleet counted those that there are. */
static void forget_unknown(struct request *request)
{
	size_t n = 0;

	for (size_t i = 0; i < request->args.n; i++) {
		struct unit_arg *arg = &request->args.items[i];

		if (fl_map_get(request->by_name, arg->name) == NULL)
			unit_arg_fini(arg);
		else
			request->args.items[n++] = *arg;
	}
	request->args.n = n;
	if (n == 0)
		term_error("Units not found in registry");
}

/* A running unit is replaced by "start", a loaded one by "load" too, as in fleet. */
static enum fl_code check_replace(
	const struct request *request, const Pb__Unit *stored, struct fl_error *err)
{
	Pb__DesiredState most = request->kind->verb == PB__CHANGE__VERB__SUBMIT
					? PB__DESIRED_STATE__INACTIVE
					: request->kind->desired;

	if (stored->desired <= most)
		return FL_OK;
	return DIALECT_FAIL(err, TEXT_REPLACE, stored->name, desired_name(stored->desired),
		stored->desired == PB__DESIRED_STATE__LAUNCHED ? "start" : "load");
}

/* A file that takes the place of a stored one. */
static enum fl_code replace(const struct request *request, const Pb__Unit *stored,
	struct unit_source *source, struct fl_error *err)
{
	enum fl_code code;

	if (dialect->tells_same && !source->differs) {
		(void)fflush(stdout);
		fprintf(stderr, "Found same Unit(%s) in Registry, nothing to do\n", stored->name);
	}
	code = check_replace(request, stored, err);
	if (code == FL_OK || !dialect->forgives_replace)
		return code;
	if (source->differs)
		term_error("%s", fl_error_text(err));
	unit_source_fini(source);
	source->origin = UNIT_FROM_REGISTRY;
	return FL_OK;
}

/* Of a template only its replicas run. */
static enum fl_code check_template(const struct request *request, const char *name,
	const Pb__Unit *stored, const struct unit_source *source, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *instance = NULL;
	const char *rest = strchr(name, '@');
	bool can_start;

	if (request->kind->goal == WAIT_FOR_NOTHING || !unit_name_is_template(name))
		return FL_OK;
	if (source->origin == UNIT_FROM_FILE)
		FL_TRY(unit_source_can_start(name, source->text, source->len, &can_start, err));
	else
		can_start = stored != NULL && stored->replicas > 0;
	if (can_start)
		return FL_OK;
	instance = fl_printf("%.*s1%s", (int)(rest + 1 - name), name, rest + 1);
	if (instance == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return DIALECT_FAIL(err, TEXT_TEMPLATE_STARTED, name, instance, request->kind->name);
}

static enum fl_code find_source(struct request *request, size_t i, struct fl_error *err)
{
	const struct cli_options *options = request->command->options;
	const struct unit_arg *arg = &request->args.items[i];
	struct unit_source *source = &request->sources[i];
	const Pb__Unit *stored = fl_map_get(request->by_name, arg->name);
	const Pb__Unit *template = arg->template_name != NULL
					   ? fl_map_get(request->by_name, arg->template_name)
					   : NULL;
	FL_CLEANUP_STRV struct fl_strv problems = {0};
	enum fl_code code;

	code = unit_source_find(
		arg, stored, template, options->replace, options->lenient, &problems, source, err);
	/* The last problem is told as the error, by the caller. */
	for (size_t j = 0; j < problems.n; j++)
		if (code == FL_OK || strcmp(problems.items[j], err->text) != 0)
			term_error("%s", problems.items[j]);
	if (code != FL_OK && problems.n > 0) {
		struct fl_error problem = *err;

		return DIALECT_FAIL(err, TEXT_FILE, arg->name, problem.text);
	}
	if (code != FL_OK)
		return code;
	FL_TRY(check_template(request, arg->name, stored, source, err));
	if (stored != NULL && source->origin == UNIT_FROM_FILE)
		return replace(request, stored, source, err);
	if (source->differs)
		term_warning(
			"Unit %s in registry differs from local unit file %s. Add --replace to "
			"override.",
			arg->name, source->path);
	return FL_OK;
}

/* Verbs that take no files: the unit must be there, and be what the verb can change. */
static enum fl_code check_stored(
	const struct request *request, const char *name, struct fl_error *err)
{
	const Pb__Unit *stored = fl_map_get(request->by_name, name);

	if (stored == NULL)
		return DIALECT_FAIL(err, TEXT_UNIT_NOT_FOUND, name);
	if (request->kind->needs_placed && stored->desired == PB__DESIRED_STATE__INACTIVE)
		return FL_FAIL(err, FL_E_STATE, "Unable to %s unit %s in state inactive",
			request->kind->name, name);
	return FL_OK;
}

static void set_content(struct item *item, const struct unit_source *source)
{
	switch (source->origin) {
	case UNIT_FROM_REGISTRY:
		/* There is nothing to store: submit is done. */
		if (item->proto.verb == PB__CHANGE__VERB__SUBMIT) {
			item->unsent = true;
			item->change.outcome = CHANGE_DONE;
		}
		break;
	case UNIT_FROM_FILE:
		item->proto.content.data = (uint8_t *)source->text;
		item->proto.content.len = source->len;
		break;
	case UNIT_FROM_REGISTRY_TEMPLATE:
		/* Without content the coordinator takes the template's. */
		break;
	}
}

static bool has_asked_template(const struct request *request, const char *name)
{
	const Pb__Unit *unit = fl_map_get(request->by_name, name);

	return unit != NULL && unit->replica_of[0] != '\0' &&
	       fl_map_get(request->by_name, unit->replica_of) != NULL;
}

/* What to send for each unit. A file that cannot be sent stops all, before anything has happened;
 * one unit that is not there does not keep others from being stopped. */
static enum fl_code prepare(struct request *request, struct fl_error *err)
{
	struct batch *batch = &request->batch;

	for (size_t i = 0; i < request->args.n; i++) {
		const char *name = request->args.items[i].name;
		enum fl_code code;

		batch_set(batch, i, request->kind, name, fl_map_get(request->by_name, name));
		if (request->kind->takes_files) {
			FL_TRY(find_source(request, i, err));
			set_content(&batch->items[i], &request->sources[i]);
			continue;
		}
		/* It goes with its template, which is named too. */
		if (request->kind->goal == WAIT_FOR_GONE && has_asked_template(request, name)) {
			batch->items[i].unsent = true;
			continue;
		}
		code = check_stored(request, name, err);
		if (code != FL_OK) {
			term_error("%s", fl_error_text(err));
			item_settle(&batch->items[i], CHANGE_FAILED, code, fl_error_text(err));
			batch->items[i].unsent = true;
		}
	}
	return FL_OK;
}

static enum fl_code run(
	struct command *command, const struct change_kind *kind, struct fl_error *err)
{
	FL_CLEANUP(request_fini) struct request request = {.command = command, .kind = kind};
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(unit_args_parse(command->args, command->n_args, &request.args, err));
	FL_TRY(fl_map_new(&request.by_name, err));
	FL_TRY(connection_open(command->options, &request.connection, err));
	FL_TRY(fetch_stored(&request, err));
	if (dialect->forgives_unknown && !kind->takes_files)
		forget_unknown(&request);
	if (request.args.n == 0)
		return FL_OK;
	request.sources = fl_new_array(request.args.n, sizeof(*request.sources));
	if (request.sources == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(batch_init(&request.batch, command, request.connection, request.args.n, json, err));
	FL_TRY(prepare(&request, err));
	return batch_run(&request.batch, err);
}

enum fl_code verb_submit(struct command *command, struct fl_error *err)
{
	return run(command, &change_submit, err);
}

enum fl_code verb_load(struct command *command, struct fl_error *err)
{
	return run(command, &change_load, err);
}

enum fl_code verb_start(struct command *command, struct fl_error *err)
{
	return run(command, &change_start, err);
}

enum fl_code verb_stop(struct command *command, struct fl_error *err)
{
	return run(command, &change_stop, err);
}

enum fl_code verb_restart(struct command *command, struct fl_error *err)
{
	return run(command, &change_restart, err);
}

enum fl_code verb_unload(struct command *command, struct fl_error *err)
{
	return run(command, &change_unload, err);
}

enum fl_code verb_destroy(struct command *command, struct fl_error *err)
{
	return run(command, &change_destroy, err);
}
