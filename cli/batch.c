#include "cli/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cli/dialect.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/state.h"
#include "cli/term.h"
#include "unitfiles/file.h"
#include "unitfiles/name.h"

/* Bytes of unit files in one request; a message may have twice as many. */
#define REQUEST_BYTES (LIMIT_MESSAGE / 2)

const struct change_kind change_submit = {.name = "submit",
	.verb = PB__CHANGE__VERB__SUBMIT,
	.goal = WAIT_FOR_NOTHING,
	.takes_files = true};
const struct change_kind change_load = {.name = "load",
	.verb = PB__CHANGE__VERB__SET,
	.desired = PB__DESIRED_STATE__LOADED,
	.goal = WAIT_FOR_LOADED,
	.takes_files = true};
const struct change_kind change_start = {.name = "start",
	.verb = PB__CHANGE__VERB__SET,
	.desired = PB__DESIRED_STATE__LAUNCHED,
	.goal = WAIT_FOR_ACTIVE,
	.takes_files = true};
const struct change_kind change_stop = {.name = "stop",
	.verb = PB__CHANGE__VERB__SET,
	.desired = PB__DESIRED_STATE__LOADED,
	.goal = WAIT_FOR_STOPPED,
	.needs_placed = true,
	.done = "stopped"};
const struct change_kind change_restart = {.name = "restart",
	.verb = PB__CHANGE__VERB__RESTART,
	.desired = PB__DESIRED_STATE__LAUNCHED,
	.goal = WAIT_FOR_ACTIVE,
	.needs_placed = true};
const struct change_kind change_unload = {.name = "unload",
	.verb = PB__CHANGE__VERB__SET,
	.desired = PB__DESIRED_STATE__INACTIVE,
	.goal = WAIT_FOR_UNPLACED,
	.done = "unloaded"};
const struct change_kind change_destroy = {
	.name = "destroy", .verb = PB__CHANGE__VERB__DESTROY, .goal = WAIT_FOR_GONE};

enum fl_code change_that_replaces(const Pb__Unit *stored, const char *text, size_t len,
	const struct change_kind **ret_kind, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	char hash[UNIT_FILE_HASH_SIZE];

	FL_TRY(unit_file_parse(text, len, stored->name, NULL, &file, err));
	FL_TRY(unit_file_hash(file, hash, err));
	if (strcmp(hash, stored->hash) == 0)
		*ret_kind = &change_submit;
	else if (stored->desired == PB__DESIRED_STATE__LAUNCHED)
		*ret_kind = &change_start;
	else if (stored->desired == PB__DESIRED_STATE__LOADED)
		*ret_kind = &change_load;
	else
		*ret_kind = &change_submit;
	return FL_OK;
}

enum fl_code batch_init(struct batch *batch, struct command *command, struct connection *connection,
	size_t n, bool json, struct fl_error *err)
{
	*batch = (struct batch){.command = command, .connection = connection, .n = n, .json = json};
	batch->items = fl_new_array(n, sizeof(*batch->items));
	batch->changes = fl_new_array(n, sizeof(*batch->changes));
	if (batch->items == NULL || batch->changes == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

void batch_fini(struct batch *batch)
{
	for (size_t i = 0; batch->items != NULL && i < batch->n; i++) {
		change_fini(&batch->items[i].change);
		json_decref(batch->items[i].refusals);
		free(batch->items[i].own_name);
	}
	free(batch->items);
	free(batch->changes);
	*batch = (struct batch){0};
}

/* "web@2.service: healthy (2 of 5)"; of a global unit the machine. */
static void tell_healthy(const Pb__Unit *unit)
{
	char where[MACHINE_TEXT_MAX + 8] = "", text[MACHINE_TEXT_MAX];
	const Pb__Rollout *rollout = unit->rollout;

	for (size_t i = 0; unit->global && i < unit->n_placements; i++) {
		const Pb__Placement *placement = unit->placements[i];

		if (strcmp(placement->machine_id, rollout->last) != 0)
			continue;
		machine_text(placement->machine_id, placement->address, false, text);
		(void)snprintf(where, sizeof(where), " on %s", text);
	}
	term_progress(NULL);
	printf("%s%s: healthy%s (%u of %u)\n",
		unit->global || rollout->last[0] == '\0' ? unit->name : rollout->last, where,
		rollout->state == PB__ROLLOUT__STATE__RETURNING ||
				rollout->state == PB__ROLLOUT__STATE__RETURNED
			? " with the last good file"
			: "",
		rollout->done, rollout->total);
	(void)fflush(stdout);
}

void batch_set(struct batch *batch, size_t i, const struct change_kind *kind, const char *name,
	const Pb__Unit *stored)
{
	const struct cli_options *options = batch->command->options;
	struct item *item = &batch->items[i];

	item->kind = kind;
	item->stored = stored;
	item->change.name = name;
	item->change.goal = kind->goal;
	item->change.is_patient = dialect->is_patient && !options->no_block;
	item->change.tell_healthy = batch->json ? NULL : tell_healthy;
	pb__change__init(&item->proto);
	item->proto.verb = kind->verb;
	item->proto.name = (char *)name;
	item->proto.desired = kind->desired;
	item->proto.replace = options->replace;
	item->proto.lenient = options->lenient;
}

void item_settle(
	struct item *item, enum change_outcome outcome, enum fl_code code, const char *text)
{
	item->change.outcome = outcome;
	item->change.code = code;
	free(item->change.text);
	item->change.text = fl_strdup(text);
}

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
	if (result->n_refusals > 0 && list_print_refusals(result->refusals, result->n_refusals,
					      change->unit, &style, stderr, &err) != FL_OK)
		term_error("%s", fl_error_text(&err));
}

/* Nobody will tell it later. */
static bool waits_patiently(const struct change *change)
{
	return change->is_patient && change->unit != NULL && change->unit->waiting[0] != '\0';
}

/* What is wrong with a file begins with its name already: "a.service:4: ...". */
static void tell_warning(const char *name, const char *text)
{
	size_t n = strlen(name);

	if (strncmp(text, name, n) == 0 && text[n] == ':')
		term_warning("%s", text);
	else
		term_warning("%s: %s", name, text);
}

static void take_result(struct batch *batch, struct item *item, Pb__ChangeResult *result)
{
	struct change *change = &item->change;
	enum wait_goal goal = item->kind->goal;
	bool needs_machine = goal == WAIT_FOR_LOADED || goal == WAIT_FOR_ACTIVE;

	for (size_t i = 0; i < result->n_warnings; i++)
		tell_warning(change->name, result->warnings[i]);
	if (result->error != NULL) {
		enum fl_code code = fl_code_from_wire(result->error->code);
		struct fl_error text = {0};

		(void)!DIALECT_FAIL(&text, TEXT_REFUSED, change->name, result->error->text);
		term_error("%s", fl_error_text(&text));
		item_settle(item, CHANGE_FAILED, code != FL_OK ? code : FL_E_INTERNAL,
			result->error->text);
		return;
	}
	if (result->unit != NULL) {
		change_take_unit(change, FL_TAKE(result->unit));
		change->change_revision = change->unit->change_revision;
	}
	if (needs_machine && (result->n_refusals > 0 || waits_patiently(change))) {
		tell_refusals(batch, result, change);
		item->refusals = json_of_refusals(result->refusals, result->n_refusals);
		if (!change->is_patient)
			item_settle(item, CHANGE_UNSCHEDULABLE, FL_E_UNSCHEDULABLE,
				change->unit != NULL ? change->unit->waiting : "");
	}
	if (goal == WAIT_FOR_NOTHING)
		change->outcome = CHANGE_DONE;
	else if (batch->command->options->no_block)
		item_settle(item, CHANGE_TRIGGERED, FL_OK, NULL);
}

/* ---- templates with Replicas= ---- */

static size_t n_replicas_of(const struct item *item)
{
	const Pb__Unit *unit = item->change.unit;

	/* A file that rolls is the template's own matter, until it is everywhere. */
	if (item->change.outcome != CHANGE_PENDING || unit == NULL || unit->rollout != NULL ||
		unit->desired == PB__DESIRED_STATE__INACTIVE)
		return 0;
	return unit->replicas;
}

/* One more to wait for: nothing is asked of it. */
static enum fl_code add_replica(
	struct batch *batch, const struct item *template, unsigned number, struct fl_error *err)
{
	struct item *item = &batch->items[batch->n];
	char name[UNIT_NAME_MAX + 1];

	FL_TRY(unit_name_replica(template->change.name, number, name, err));
	item->own_name = fl_strdup(name);
	if (item->own_name == NULL)
		return FL_FAIL_NO_MEMORY(err);
	batch_set(batch, batch->n, template->kind, item->own_name, NULL);
	item->unsent = true;
	item->change.is_patient = template->change.is_patient;
	item->change.is_watched = template->change.is_watched;
	batch->n++;
	return FL_OK;
}

/* What a template is to be is waited for at its replicas. */
static enum fl_code add_replicas(struct batch *batch, struct fl_error *err)
{
	size_t n = batch->n, more = 0;
	struct item *items;
	struct change *changes;

	for (size_t i = 0; i < n; i++)
		more += n_replicas_of(&batch->items[i]);
	if (more == 0)
		return FL_OK;
	items = fl_new_array(n + more, sizeof(*items));
	changes = fl_new_array(n + more, sizeof(*changes));
	if (items == NULL || changes == NULL) {
		free(items);
		free(changes);
		return FL_FAIL_NO_MEMORY(err);
	}
	memcpy(items, batch->items, n * sizeof(*items));
	free(batch->items);
	free(batch->changes);
	batch->items = items;
	batch->changes = changes;
	for (size_t i = 0; i < n; i++)
		for (unsigned k = 1; k <= n_replicas_of(&items[i]); k++)
			FL_TRY(add_replica(batch, &items[i], k, err));
	return FL_OK;
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
	for (i = *first; i < batch->n && n < LIMIT_CHANGES; i++) {
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

static void tell_machines(const Pb__Unit *unit)
{
	size_t n_lost = 0;

	for (size_t i = 0; i < unit->n_placements; i++)
		n_lost += unit->placements[i]->lost ? 1 : 0;
	printf("Unit %s %s on %zu machines", unit->name, desired_name(unit->desired),
		unit->n_placements - n_lost);
	if (n_lost > 0)
		printf(" (%zu more: lost, and told when back)", n_lost);
	putchar('\n');
}

/* "Unit X launched on 3f2a81c0.../10.77.0.11", in fleet's words. */
static void tell_done(const struct item *item, const struct change *change)
{
	char where[MACHINE_TEXT_MAX];
	const Pb__Unit *unit = change->unit;

	if (item->kind->goal == WAIT_FOR_GONE) {
		printf("Destroyed %s\n", change->name);
		return;
	}
	if (unit == NULL)
		unit = item->stored;
	if (unit == NULL) {
		printf("Unit %s inactive\n", change->name);
	} else if (unit->n_placements == 0 || item->kind->goal == WAIT_FOR_NOTHING) {
		printf("Unit %s %s\n", change->name, desired_name(unit->desired));
	} else if (unit->n_placements > 1) {
		tell_machines(unit);
	} else {
		machine_text(unit->placements[0]->machine_id, unit->placements[0]->address, false,
			where);
		printf("Unit %s %s on %s\n", change->name, desired_name(unit->desired), where);
	}
}

static void tell(const struct batch *batch, size_t i, const struct change *change)
{
	const struct item *item = &batch->items[i];
	struct fl_error text = {0};

	term_progress(NULL);
	switch (change->outcome) {
	case CHANGE_DONE:
		if (!batch->json)
			tell_done(item, change);
		break;
	case CHANGE_TRIGGERED:
		if (!batch->json)
			printf("Triggered unit %s %s\n", change->name, item->kind->name);
		break;
	case CHANGE_FAILED:
		(void)!DIALECT_FAIL(&text, TEXT_FAILED, change->name, change->text);
		term_error("%s", fl_error_text(&text));
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
	const struct batch *batch = userdata;

	tell(batch, (size_t)(change - batch->changes), change);
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

	for (size_t i = 0; i < batch->n; i++) {
		struct change *change = &batch->items[i].change;

		/* What has just been asked for may be so already, or have nowhere to run. */
		if (change->outcome == CHANGE_PENDING && change->unit != NULL) {
			FL_TRY(change_judge(change, err));
			if (change->outcome != CHANGE_PENDING)
				tell(batch, i, change);
		} else if (change->outcome == CHANGE_DONE || change->outcome == CHANGE_TRIGGERED) {
			tell(batch, i, change);
		}
		batch->changes[i] = *change;
	}
	code = await_changes(batch->connection, batch->changes, batch->n, batch->revision,
		timeout_of(batch->command->options), on_done, batch, err);
	for (size_t i = 0; i < batch->n; i++)
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
	for (size_t i = 0; i < batch->n; i++) {
		const struct item *item = &batch->items[i];
		const struct change *change = &item->change;
		json_t *now = change->unit != NULL ? json_of_unit(change->unit) : json_null();

		FL_TRY(json_add(array,
			json_pack("{s:s, s:s, s:s, s:s?, s:o, s:O?}", "unit", change->name, "verb",
				item->kind->name, "outcome", outcome_name(change->outcome), "text",
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
	for (size_t i = 0; i < batch->n && batch->command->exit_code == 0; i++)
		batch->command->exit_code = dialect_exit_code(batch->items[i].change.code);
}

/* Where all were of one kind that fleet told so. */
static void tell_successes(const struct batch *batch)
{
	const struct change_kind *kind = batch->n > 0 ? batch->items[0].kind : NULL;

	if (kind == NULL || kind->done == NULL || batch->command->exit_code != 0 || batch->json)
		return;
	(void)fflush(stdout);
	fprintf(stderr, "Successfully %s units [", kind->done);
	for (size_t i = 0; i < batch->n; i++)
		fprintf(stderr, "%s%s", i > 0 ? " " : "", batch->items[i].change.name);
	fputs("].\n", stderr);
}

enum fl_code batch_run(struct batch *batch, struct fl_error *err)
{
	for (size_t next = 0; next < batch->n;)
		FL_TRY(send_some(batch, &next, err));
	FL_TRY(add_replicas(batch, err));
	FL_TRY(wait_for_all(batch, err));
	set_exit_code(batch);
	tell_successes(batch);
	return batch->json ? print_json(batch, err) : FL_OK;
}
