#include "cli/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/random.h"
#include "cli/await.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/state.h"
#include "cli/term.h"
#include "cli/unit_args.h"
#include "unitfiles/name.h"

/* Bytes of unit files in one request; a message may have twice as many. */
#define REQUEST_BYTES (LIMIT_MESSAGE / 2)

/* What the verbs differ in. */
struct change_kind {
	Pb__Change__Verb verb;
	Pb__DesiredState desired; /* of SET */
	enum wait_goal goal;
	bool takes_files; /* sends unit files that the registry has not */
	bool needs_placed; /* refuses a unit that is not to be on a machine */
	const char *done; /* "Successfully ... units [...]." on standard error, as fleet did */
};

/* One unit of the command. */
struct item {
	const struct unit_arg *arg;
	struct unit_source source;
	Pb__Change proto;
	struct change change;
	json_t *refusals; /* nullable */
	bool unsent; /* settled without asking the coordinator */
};

struct batch {
	struct command *command;
	const struct change_kind *kind;
	struct connection *connection;
	struct unit_args args;
	struct item *items; /* as many as args */
	struct change *changes; /* the items' changes, side by side while they are waited for */
	uint64_t revision; /* of the fleet, with the first changes made; 0: nothing was sent */
	Pb__Envelope *stored; /* what the registry has of them; nullable */
	struct fl_map *by_name; /* its Pb__Unit */
	bool json;
};

static void batch_fini(struct batch *batch)
{
	for (size_t i = 0; batch->items != NULL && i < batch->args.n; i++) {
		change_fini(&batch->items[i].change);
		unit_source_fini(&batch->items[i].source);
		json_decref(batch->items[i].refusals);
	}
	free(batch->items);
	free(batch->changes);
	fl_map_free(batch->by_name);
	wire_free(batch->stored);
	unit_args_fini(&batch->args);
	connection_close(batch->connection);
}

/* Settles an item without its machine; the caller tells the person. */
static void settle(
	struct item *item, enum change_outcome outcome, enum fl_code code, const char *text)
{
	item->change.outcome = outcome;
	item->change.code = code;
	free(item->change.text);
	item->change.text = fl_strdup(text);
}

/* ---- what the registry has, and what is to be sent ---- */

static enum fl_code remember(
	struct fl_map *by_name, const Pb__Envelope *reply, struct fl_error *err)
{
	const Pb__UnitsReply *units = reply->units_reply;

	for (size_t i = 0; i < units->n_units; i++)
		FL_TRY(fl_map_put(by_name, units->units[i]->name, units->units[i], err));
	return FL_OK;
}

/* The units, and of instances the templates too: most are asked for in vain, and cost nothing. */
static enum fl_code fetch_stored(struct batch *batch, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char **names = fl_new_array(2 * batch->args.n, sizeof(*names));
	size_t n = 0;

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < batch->args.n; i++) {
		names[n++] = batch->args.items[i].name;
		if (batch->kind->takes_files && batch->args.items[i].template_name != NULL)
			names[n++] = batch->args.items[i].template_name;
	}
	FL_TRY(connection_units(batch->connection, names, n, false, &batch->stored, err));
	return remember(batch->by_name, batch->stored, err);
}

/* A running unit is replaced by "start", a loaded one by "load" too, as in fleet. */
static enum fl_code check_replace(
	const struct batch *batch, const Pb__Unit *stored, struct fl_error *err)
{
	Pb__DesiredState most = batch->kind->verb == PB__CHANGE__VERB__SUBMIT
					? PB__DESIRED_STATE__INACTIVE
					: batch->kind->desired;

	if (stored->desired > most)
		return FL_FAIL(err, FL_E_STATE,
			"can not replace Unit(%s) in state '%s': %s it with --replace",
			stored->name, desired_name(stored->desired),
			stored->desired == PB__DESIRED_STATE__LAUNCHED ? "start" : "load");
	return FL_OK;
}

static enum fl_code find_source(struct batch *batch, struct item *item, struct fl_error *err)
{
	const struct cli_options *options = batch->command->options;
	const Pb__Unit *stored = fl_map_get(batch->by_name, item->arg->name);
	const Pb__Unit *template = item->arg->template_name != NULL
					   ? fl_map_get(batch->by_name, item->arg->template_name)
					   : NULL;
	const char *rest = strchr(item->arg->name, '@');
	FL_CLEANUP_STRV struct fl_strv problems = {0};
	enum fl_code code;

	if (batch->kind->goal != WAIT_FOR_NOTHING && unit_name_is_template(item->arg->name))
		return FL_FAIL(err, FL_E_INVALID,
			"%s is a template and runs nowhere itself; name an instance of it, such as "
			"%.*s1%s",
			item->arg->name, (int)(rest + 1 - item->arg->name), item->arg->name,
			rest + 1);
	code = unit_source_find(item->arg, stored, template, options->replace, options->lenient,
		&problems, &item->source, err);
	/* The last problem is told as the error, by the caller. */
	for (size_t i = 0; i < problems.n; i++)
		if (code == FL_OK || strcmp(problems.items[i], err->text) != 0)
			term_error("%s", problems.items[i]);
	if (code != FL_OK)
		return code;
	if (item->source.differs)
		term_warning(
			"Unit %s in registry differs from local unit file %s. Add --replace to "
			"override.",
			item->arg->name, item->source.path);
	if (stored != NULL && item->source.origin == UNIT_FROM_FILE)
		return check_replace(batch, stored, err);
	return FL_OK;
}

/* Verbs that take no files: the unit must be there, and be what the verb can change. */
static enum fl_code check_stored(
	const struct batch *batch, const struct item *item, struct fl_error *err)
{
	const Pb__Unit *stored = fl_map_get(batch->by_name, item->arg->name);

	if (stored == NULL)
		return FL_FAIL(
			err, FL_E_NOT_FOUND, "Unit %s not found in registry", item->arg->name);
	if (batch->kind->needs_placed && stored->desired == PB__DESIRED_STATE__INACTIVE)
		return FL_FAIL(err, FL_E_STATE, "Unable to %s unit %s in state inactive",
			batch->command->verb->name, item->arg->name);
	return FL_OK;
}

static void set_content(struct item *item)
{
	switch (item->source.origin) {
	case UNIT_FROM_REGISTRY:
		/* There is nothing to store: submit is done. */
		if (item->proto.verb == PB__CHANGE__VERB__SUBMIT) {
			item->unsent = true;
			item->change.outcome = CHANGE_DONE;
		}
		break;
	case UNIT_FROM_FILE:
		item->proto.content.data = (uint8_t *)item->source.text;
		item->proto.content.len = item->source.len;
		break;
	case UNIT_FROM_REGISTRY_TEMPLATE:
		/* Without content the coordinator takes the template's. */
		break;
	}
}

static void init_item(const struct batch *batch, size_t i)
{
	const struct cli_options *options = batch->command->options;
	struct item *item = &batch->items[i];

	item->arg = &batch->args.items[i];
	item->change.name = item->arg->name;
	item->change.goal = batch->kind->goal;
	pb__change__init(&item->proto);
	item->proto.verb = batch->kind->verb;
	item->proto.name = item->arg->name;
	item->proto.desired = batch->kind->desired;
	item->proto.replace = options->replace;
	item->proto.lenient = options->lenient;
}

/* What to send for each unit. A file that cannot be sent stops all, before anything has happened;
 * one unit that is not there does not keep others from being stopped. */
static enum fl_code prepare(struct batch *batch, struct fl_error *err)
{
	FL_TRY(fetch_stored(batch, err));
	for (size_t i = 0; i < batch->args.n; i++) {
		struct item *item = &batch->items[i];
		enum fl_code code;

		init_item(batch, i);
		if (batch->kind->takes_files) {
			FL_TRY(find_source(batch, item, err));
			set_content(item);
			continue;
		}
		code = check_stored(batch, item, err);
		if (code != FL_OK) {
			term_error("%s", fl_error_text(err));
			settle(item, CHANGE_FAILED, code, fl_error_text(err));
			item->unsent = true;
		}
	}
	return FL_OK;
}

/* ---- asking for it ---- */

static void tell_refusals(
	const struct batch *batch, const Pb__ChangeResult *result, const struct change *change)
{
	const struct list_style style = {.legend = true, .colours = term_has_colours(stderr)};
	const char *why = change->unit != NULL ? change->unit->waiting : "";
	const char *colon = why[0] != '\0' ? ": " : "";
	struct fl_error err = {0};

	if (batch->command->options->no_block)
		term_warning("no machine can take %s now%s%s", change->name, colon, why);
	else
		term_error("no machine can take %s now%s%s", change->name, colon, why);
	if (list_print_refusals(result->refusals, result->n_refusals, &style, stderr, &err) !=
		FL_OK)
		term_error("%s", fl_error_text(&err));
}

static void take_result(struct batch *batch, struct item *item, Pb__ChangeResult *result)
{
	struct change *change = &item->change;
	enum wait_goal goal = batch->kind->goal;
	bool needs_machine = goal == WAIT_FOR_LOADED || goal == WAIT_FOR_ACTIVE;

	for (size_t i = 0; i < result->n_warnings; i++)
		term_warning("%s: %s", change->name, result->warnings[i]);
	if (result->error != NULL) {
		enum fl_code code = fl_code_from_wire(result->error->code);

		term_error("%s: %s", change->name, result->error->text);
		settle(item, CHANGE_FAILED, code != FL_OK ? code : FL_E_INTERNAL,
			result->error->text);
		return;
	}
	if (result->unit != NULL) {
		change->unit = FL_TAKE(result->unit);
		change->change_revision = change->unit->change_revision;
	}
	if (needs_machine && result->n_refusals > 0) {
		tell_refusals(batch, result, change);
		item->refusals = json_of_refusals(result->refusals, result->n_refusals);
		settle(item, CHANGE_UNSCHEDULABLE, FL_E_UNSCHEDULABLE,
			change->unit != NULL ? change->unit->waiting : "");
	}
	if (goal == WAIT_FOR_NOTHING)
		change->outcome = CHANGE_DONE;
	else if (batch->command->options->no_block)
		settle(item, CHANGE_TRIGGERED, FL_OK, NULL);
}

/* Sends items from *first on, as many as fit into one request. */
static enum fl_code send_some(struct batch *batch, size_t *first, struct fl_error *err)
{
	FL_CLEANUP(fl_freep)
	Pb__Change **changes = fl_new_array(LIMIT_CHANGES, sizeof(Pb__Change *));
	FL_CLEANUP(fl_freep) size_t *indexes = fl_new_array(LIMIT_CHANGES, sizeof(*indexes));
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__ChangeRequest body = PB__CHANGE_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	size_t n = 0, bytes = 0, i;

	if (changes == NULL || indexes == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (i = *first; i < batch->args.n && n < LIMIT_CHANGES; i++) {
		struct item *item = &batch->items[i];

		if (item->unsent)
			continue;
		if (n > 0 && bytes + item->proto.content.len > REQUEST_BYTES)
			break;
		bytes += item->proto.content.len;
		indexes[n] = i;
		changes[n++] = &item->proto;
	}
	*first = i;
	if (n == 0)
		return FL_OK;
	body.changes = changes;
	body.n_changes = n;
	body.token = fl_random_id();
	request.body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
	request.change_request = &body;
	FL_TRY(connection_ask(
		batch->connection, &request, PB__ENVELOPE__BODY_CHANGE_REPLY, 0, &reply, err));
	if (reply->change_reply->n_results != n)
		return FL_FAIL(err, FL_E_PROTOCOL, "%zu changes have %zu results", n,
			reply->change_reply->n_results);
	if (batch->revision == 0)
		batch->revision = reply->change_reply->revision;
	for (size_t j = 0; j < n; j++)
		take_result(batch, &batch->items[indexes[j]], reply->change_reply->results[j]);
	return FL_OK;
}

/* ---- what came of it ---- */

/* "Unit X launched on 3f2a81c0.../10.77.0.11", in fleet's words. */
static void tell_done(const struct batch *batch, const struct change *change)
{
	char where[MACHINE_TEXT_MAX];
	const Pb__Unit *unit = change->unit;

	if (batch->kind->goal == WAIT_FOR_GONE) {
		printf("Destroyed %s\n", change->name);
		return;
	}
	if (unit == NULL)
		unit = fl_map_get(batch->by_name, change->name);
	if (unit == NULL) {
		printf("Unit %s inactive\n", change->name);
	} else if (unit->n_placements == 0 || batch->kind->goal == WAIT_FOR_NOTHING) {
		printf("Unit %s %s\n", change->name, desired_name(unit->desired));
	} else if (unit->n_placements > 1) {
		printf("Unit %s %s on %zu machines\n", change->name, desired_name(unit->desired),
			unit->n_placements);
	} else {
		machine_text(unit->placements[0]->machine_id, unit->placements[0]->address, false,
			where);
		printf("Unit %s %s on %s\n", change->name, desired_name(unit->desired), where);
	}
}

static void tell(const struct batch *batch, const struct change *change)
{
	term_progress(NULL);
	switch (change->outcome) {
	case CHANGE_DONE:
		if (!batch->json)
			tell_done(batch, change);
		break;
	case CHANGE_TRIGGERED:
		if (!batch->json)
			printf("Triggered unit %s %s\n", change->name, batch->command->verb->name);
		break;
	case CHANGE_FAILED:
		term_error("%s %s; see \"flotactl status %s\" and \"flotactl journal %s\"",
			change->name, change->text, change->name, change->name);
		break;
	case CHANGE_UNSCHEDULABLE:
		term_error("no machine can take %s now: %s; see \"flotactl why %s\"", change->name,
			change->text, change->name);
		break;
	case CHANGE_TIMED_OUT:
		term_error("%s: %s", change->name, change->text);
		break;
	case CHANGE_PENDING:
		break;
	}
	/* Lines come while others are waited for. */
	(void)fflush(stdout);
}

static void on_done(struct change *change, void *userdata)
{
	tell(userdata, change);
}

static uint64_t timeout_of(const struct cli_options *options)
{
	/* fleet's attempts were 2 s each. */
	return options->timeout_ms > 0 ? options->timeout_ms : options->block_attempts * 2000;
}

/* Waits for those that are pending; the others have been told when they were settled, except
 * those that are done already. */
static enum fl_code wait_for_all(struct batch *batch, struct fl_error *err)
{
	enum fl_code code = FL_OK;

	for (size_t i = 0; i < batch->args.n; i++) {
		struct change *change = &batch->items[i].change;

		/* What has just been asked for may be so already, or have nowhere to run. */
		if (change->outcome == CHANGE_PENDING && change->unit != NULL) {
			FL_TRY(change_judge(change, err));
			if (change->outcome != CHANGE_PENDING)
				tell(batch, change);
		} else if (change->outcome == CHANGE_DONE || change->outcome == CHANGE_TRIGGERED) {
			tell(batch, change);
		}
		batch->changes[i] = *change;
	}
	code = await_changes(batch->connection, batch->changes, batch->args.n, batch->revision,
		timeout_of(batch->command->options), on_done, batch, err);
	for (size_t i = 0; i < batch->args.n; i++)
		batch->items[i].change = batch->changes[i];
	return code;
}

static const char *outcome_name(enum change_outcome outcome)
{
	switch (outcome) {
	case CHANGE_PENDING:
		return "pending";
	case CHANGE_DONE:
		return "done";
	case CHANGE_TRIGGERED:
		return "triggered";
	case CHANGE_FAILED:
		return "failed";
	case CHANGE_UNSCHEDULABLE:
		return "unschedulable";
	case CHANGE_TIMED_OUT:
		return "timeout";
	}
	return "pending";
}

static enum fl_code print_json(const struct batch *batch, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < batch->args.n; i++) {
		const struct item *item = &batch->items[i];
		const struct change *change = &item->change;
		json_t *now = change->unit != NULL ? json_of_unit(change->unit) : json_null();

		FL_TRY(json_add(array,
			json_pack("{s:s, s:s, s:s, s:s?, s:o, s:O?}", "unit", change->name, "verb",
				batch->command->verb->name, "outcome",
				outcome_name(change->outcome), "text",
				change->text != NULL && change->text[0] != '\0' ? change->text
										: NULL,
				"now", now, "refusals", item->refusals),
			err));
	}
	return json_print(array, err);
}

/* The exit code is that of the first unit that did not come to be as it was asked for. */
static void set_exit_code(struct batch *batch)
{
	for (size_t i = 0; i < batch->args.n && batch->command->exit_code == 0; i++)
		batch->command->exit_code = fl_code_exit(batch->items[i].change.code);
}

static void tell_successes(const struct batch *batch)
{
	if (batch->kind->done == NULL || batch->command->exit_code != 0 || batch->json)
		return;
	(void)fflush(stdout);
	fprintf(stderr, "Successfully %s units [", batch->kind->done);
	for (size_t i = 0; i < batch->args.n; i++)
		fprintf(stderr, "%s%s", i > 0 ? " " : "", batch->args.items[i].name);
	fputs("].\n", stderr);
}

static enum fl_code run(
	struct command *command, const struct change_kind *kind, struct fl_error *err)
{
	FL_CLEANUP(batch_fini) struct batch batch = {.command = command, .kind = kind};

	FL_TRY(command_wants_json(command, &batch.json, err));
	FL_TRY(unit_args_parse(command->args, command->n_args, &batch.args, err));
	batch.items = fl_new_array(batch.args.n, sizeof(*batch.items));
	batch.changes = fl_new_array(batch.args.n, sizeof(*batch.changes));
	if (batch.items == NULL || batch.changes == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&batch.by_name, err));
	FL_TRY(connection_open(command->options, &batch.connection, err));
	FL_TRY(prepare(&batch, err));
	for (size_t next = 0; next < batch.args.n;)
		FL_TRY(send_some(&batch, &next, err));
	FL_TRY(wait_for_all(&batch, err));
	set_exit_code(&batch);
	tell_successes(&batch);
	return batch.json ? print_json(&batch, err) : FL_OK;
}

enum fl_code verb_submit(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {
		.verb = PB__CHANGE__VERB__SUBMIT, .goal = WAIT_FOR_NOTHING, .takes_files = true};

	return run(command, &kind, err);
}

enum fl_code verb_load(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {.verb = PB__CHANGE__VERB__SET,
		.desired = PB__DESIRED_STATE__LOADED,
		.goal = WAIT_FOR_LOADED,
		.takes_files = true};

	return run(command, &kind, err);
}

enum fl_code verb_start(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {.verb = PB__CHANGE__VERB__SET,
		.desired = PB__DESIRED_STATE__LAUNCHED,
		.goal = WAIT_FOR_ACTIVE,
		.takes_files = true};

	return run(command, &kind, err);
}

enum fl_code verb_stop(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {.verb = PB__CHANGE__VERB__SET,
		.desired = PB__DESIRED_STATE__LOADED,
		.goal = WAIT_FOR_STOPPED,
		.needs_placed = true,
		.done = "stopped"};

	return run(command, &kind, err);
}

enum fl_code verb_restart(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {.verb = PB__CHANGE__VERB__RESTART,
		.desired = PB__DESIRED_STATE__LAUNCHED,
		.goal = WAIT_FOR_ACTIVE,
		.needs_placed = true};

	return run(command, &kind, err);
}

enum fl_code verb_unload(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {.verb = PB__CHANGE__VERB__SET,
		.desired = PB__DESIRED_STATE__INACTIVE,
		.goal = WAIT_FOR_UNPLACED,
		.done = "unloaded"};

	return run(command, &kind, err);
}

enum fl_code verb_destroy(struct command *command, struct fl_error *err)
{
	static const struct change_kind kind = {
		.verb = PB__CHANGE__VERB__DESTROY, .goal = WAIT_FOR_GONE};

	return run(command, &kind, err);
}
