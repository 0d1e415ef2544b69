/*
 * The fleet drains a machine by itself; "drain" looks on. What it is woken by are the events of the
 * machines; what it shows it then asks for, so that one that begins late, or whose coordinator was
 * away, shows the same.
 */
#include "cli/operate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/strv.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/term.h"

/* How long the coordinator may hold a question for what happens next; after so long without a change
 * what is left is told, and why. */
#define HOLD_MS 5000U

/* A coordinator that restarts is back by then. */
#define AWAY_MAX_MS 60000U
#define RETRY_MS    500U

#define EXIT_INTERRUPTED 130

static void machine_name(const Pb__Machine *machine, char text[MACHINE_TEXT_MAX])
{
	machine_text(machine->id, machine->address, false, text);
}

/* ---- The change -- */

static enum fl_code ask(struct command *command, struct connection *connection,
	Pb__MachineChangeRequest__Verb verb, Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__MachineChangeRequest body = PB__MACHINE_CHANGE_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	body.verb = verb;
	body.machines = command->args;
	body.n_machines = command->n_args;
	if (command->options->reason != NULL)
		body.reason = command->options->reason;
	body.deadline_ms = command->options->deadline_ms;
	body.parallel = (uint32_t)command->options->parallel;
	body.token = fl_random_id();
	request.body_case = PB__ENVELOPE__BODY_MACHINE_CHANGE_REQUEST;
	request.machine_change_request = &body;
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_MACHINE_CHANGE_REPLY, 0, ret_reply, err);
}

/* What was refused is told, and decides the exit code. */
static void tell_refused(struct command *command, const Pb__MachineChangeReply *reply)
{
	for (size_t i = 0; i < reply->n_results; i++) {
		const Pb__Error *error = reply->results[i]->error;

		if (error == NULL)
			continue;
		term_error("%s", error->text);
		command->exit_code = fl_code_exit(fl_code_from_wire(error->code));
	}
}

static enum fl_code print_json(const Pb__MachineChangeReply *reply, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < reply->n_results; i++)
		if (reply->results[i]->machine != NULL)
			FL_TRY(json_add(array, json_of_machine(reply->results[i]->machine), err));
	return json_print(array, err);
}

static enum fl_code change(struct command *command, Pb__MachineChangeRequest__Verb verb,
	const char *done, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	const Pb__MachineChangeReply *body;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(ask(command, connection, verb, &reply, err));
	body = reply->machine_change_reply;
	tell_refused(command, body);
	if (json)
		return print_json(body, err);
	for (size_t i = 0; i < body->n_results; i++) {
		char name[MACHINE_TEXT_MAX];

		if (body->results[i]->machine == NULL)
			continue;
		machine_name(body->results[i]->machine, name);
		printf("Machine %s %s\n", name, done);
	}
	return FL_OK;
}

enum fl_code verb_cordon(struct command *command, struct fl_error *err)
{
	return change(command, PB__MACHINE_CHANGE_REQUEST__VERB__CORDON, "cordoned", err);
}

enum fl_code verb_uncordon(struct command *command, struct fl_error *err)
{
	return change(command, PB__MACHINE_CHANGE_REQUEST__VERB__UNCORDON, "open again", err);
}

/* ---- Looking on -- */

/* A unit that was on one of the machines when the drain began, or went on. */
struct leaver {
	char *name;
	const char *machine_id; /* of a watched one */
	bool is_told;
};

struct watched {
	Pb__Machine *machine; /* as it was last seen; the reply's */
	bool is_over;
};

struct drain {
	struct command *command;
	struct connection *connection;
	bool json;
	Pb__Envelope *begun; /* owns what follows */
	struct watched *machines;
	size_t n_machines;
	struct leaver *leavers;
	size_t n_leavers, n_told, n_told_before;
	uint64_t index; /* of the last event */
	uint64_t began_ms, answered_ms, changed_ms;
	bool is_explained;
};

static void drain_fini(struct drain *drain)
{
	for (size_t i = 0; i < drain->n_leavers; i++)
		free(drain->leavers[i].name);
	free(drain->leavers);
	free(drain->machines);
	wire_free(drain->begun);
}

static const char *watched_id(const struct drain *drain, const char *id)
{
	for (size_t i = 0; i < drain->n_machines; i++)
		if (strcmp(drain->machines[i].machine->id, id) == 0)
			return drain->machines[i].machine->id;
	return NULL;
}

/* The watched machine where the unit is, when it can leave it. */
static const char *place_of(const struct drain *drain, const Pb__Unit *unit)
{
	if (unit->global || unit->n_placements != 1)
		return NULL;
	return watched_id(drain, unit->placements[0]->machine_id);
}

static enum fl_code take_leavers(
	struct drain *drain, const Pb__UnitsReply *units, struct fl_error *err)
{
	drain->leavers = fl_new_array(units->n_units + 1, sizeof(*drain->leavers));
	if (drain->leavers == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < units->n_units; i++) {
		const char *id = place_of(drain, units->units[i]);
		struct leaver *leaver = &drain->leavers[drain->n_leavers];

		if (id == NULL)
			continue;
		*leaver =
			(struct leaver){.name = fl_strdup(units->units[i]->name), .machine_id = id};
		if (leaver->name == NULL)
			return FL_FAIL_NO_MEMORY(err);
		drain->n_leavers++;
	}
	return FL_OK;
}

static void told(struct drain *drain, struct leaver *leaver)
{
	leaver->is_told = true;
	drain->n_told++;
	drain->changed_ms = fl_clock_boot_ms();
	drain->is_explained = false;
}

/* Its news, when it has left; @unit is NULL when it was destroyed. */
static void tell_left(struct drain *drain, struct leaver *leaver, const Pb__Unit *unit)
{
	char name[MACHINE_TEXT_MAX];

	if (unit == NULL || unit->desired == PB__DESIRED_STATE__INACTIVE) {
		told(drain, leaver);
		return;
	}
	if (unit->n_placements != 1 ||
		strcmp(unit->placements[0]->machine_id, leaver->machine_id) == 0)
		return;
	told(drain, leaver);
	if (drain->json)
		return;
	term_progress(NULL);
	machine_text(unit->placements[0]->machine_id, unit->placements[0]->address, false, name);
	printf("Unit %s moved to %s\n", leaver->name, name);
	(void)fflush(stdout);
}

static const Pb__Unit *find_unit(const Pb__UnitsReply *units, const char *name)
{
	for (size_t i = 0; i < units->n_units; i++)
		if (strcmp(units->units[i]->name, name) == 0)
			return units->units[i];
	return NULL;
}

/* Those that have not left, each with why. @over: what became of them. */
static void explain(struct drain *drain, const Pb__UnitsReply *units, bool over)
{
	for (size_t i = 0; i < drain->n_leavers; i++) {
		const struct leaver *leaver = &drain->leavers[i];
		const Pb__Unit *unit = leaver->is_told ? NULL : find_unit(units, leaver->name);

		if (unit == NULL)
			continue;
		if (unit->n_placements == 0) {
			term_warning("Unit %s waits: %s", unit->name, unit->waiting);
			if (over)
				drain->command->exit_code = fl_code_exit(FL_E_UNSCHEDULABLE);
		} else if (unit->placements[0]->leaving[0] != '\0') {
			term_warning("Unit %s %s", unit->name, unit->placements[0]->leaving);
		}
	}
}

static enum fl_code look_at_units(
	struct drain *drain, bool over, Pb__Envelope **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char **names = fl_new_array(drain->n_leavers + 1, sizeof(char *));
	Pb__Envelope *reply = NULL;
	size_t n = 0;

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < drain->n_leavers; i++)
		if (!drain->leavers[i].is_told)
			names[n++] = drain->leavers[i].name;
	if (n == 0)
		return FL_OK;
	if (n > LIMIT_NAMES)
		n = 0; /* all units */
	FL_TRY(connection_units(drain->connection, names, n, false, &reply, err));
	for (size_t i = 0; i < drain->n_leavers; i++)
		if (!drain->leavers[i].is_told)
			tell_left(drain, &drain->leavers[i],
				find_unit(reply->units_reply, drain->leavers[i].name));
	if (over || (!drain->is_explained && fl_clock_boot_ms() > drain->changed_ms + HOLD_MS)) {
		explain(drain, reply->units_reply, over);
		drain->is_explained = true;
	}
	*ret_reply = reply;
	return FL_OK;
}

/* Whether the machine's drain is over, or cannot go on. */
static bool look_at_machine(struct drain *drain, const Pb__Machine *machine)
{
	char name[MACHINE_TEXT_MAX];

	machine_name(machine, name);
	if (machine->scheduling == PB__MACHINE__SCHEDULING__DRAINED && machine->drain_units == 0) {
		term_progress(NULL);
		if (!drain->json)
			printf("Machine %s drained\n", name);
		return true;
	}
	if (machine->scheduling < PB__MACHINE__SCHEDULING__DRAINING) {
		term_error("Machine %s was uncordoned: its drain is over", name);
		drain->command->exit_code = fl_code_exit(FL_E_STATE);
		return true;
	}
	if (machine->state == PB__MACHINE__STATE__LOST) {
		term_error(
			"Machine %s is lost: what cannot be elsewhere waits for it, and its drain "
			"goes on when it is back; to look on: flotactl drain %.8s",
			name, machine->id);
		drain->command->exit_code = fl_code_exit(FL_E_UNAVAILABLE);
		return true;
	}
	return false;
}

static void show_progress(const struct drain *drain, uint32_t n_left, uint64_t deadline_ms)
{
	char text[200], rest[64] = "";

	if (deadline_ms != 0)
		(void)snprintf(rest, sizeof(rest),
			", what is left then is stopped in %" PRIu64 " s",
			(deadline_ms + 999) / 1000);
	(void)snprintf(text, sizeof(text), "draining: %zu of %zu units moved, %" PRIu32 " left%s",
		drain->n_told, drain->n_leavers, n_left, rest);
	term_progress(text);
}

/* true: all are over. */
static enum fl_code look(struct drain *drain, bool *ret_over, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *units = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	uint64_t deadline_ms = 0;
	uint32_t n_left = 0;
	bool over = true;

	FL_TRY(connection_machines(drain->connection, &reply, err));
	for (size_t i = 0; i < reply->machines_reply->n_machines; i++) {
		const Pb__Machine *machine = reply->machines_reply->machines[i];

		n_left += watched_id(drain, machine->id) != NULL ? machine->drain_units : 0;
		over &= watched_id(drain, machine->id) == NULL ||
			(machine->scheduling == PB__MACHINE__SCHEDULING__DRAINED &&
				machine->drain_units == 0);
	}
	FL_TRY(look_at_units(drain, over, &units, err));
	over = true;
	for (size_t i = 0; i < drain->n_machines; i++) {
		struct watched *watched = &drain->machines[i];

		for (size_t k = 0; k < reply->machines_reply->n_machines; k++) {
			const Pb__Machine *machine = reply->machines_reply->machines[k];

			if (watched->is_over || strcmp(machine->id, watched->machine->id) != 0)
				continue;
			watched->is_over = look_at_machine(drain, machine);
			deadline_ms = machine->drain_left_ms;
		}
		over &= watched->is_over;
	}
	if (!over)
		show_progress(drain, n_left, deadline_ms);
	*ret_over = over;
	return FL_OK;
}

/* Until something happens on one of the machines. */
static enum fl_code wait_for_event(struct drain *drain, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char **ids = fl_new_array(drain->n_machines + 1, sizeof(char *));
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__EventsRequest body = PB__EVENTS_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	if (ids == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < drain->n_machines; i++)
		ids[i] = drain->machines[i].machine->id;
	body.since = drain->index;
	body.names = ids;
	body.n_names = drain->n_machines;
	request.body_case = PB__ENVELOPE__BODY_EVENTS_REQUEST;
	request.events_request = &body;
	FL_TRY(connection_ask(drain->connection, &request, PB__ENVELOPE__BODY_EVENTS_REPLY, HOLD_MS,
		&reply, err));
	drain->index = reply->events_reply->index;
	return FL_OK;
}

/* One look, and the wait for the next; a coordinator that is away for a while is asked again. */
static enum fl_code turn(struct drain *drain, bool *ret_over, struct fl_error *err)
{
	struct fl_error why = {0};
	enum fl_code code = look(drain, ret_over, &why);

	if (code == FL_OK && !*ret_over)
		code = wait_for_event(drain, &why);
	if (code == FL_OK) {
		drain->answered_ms = fl_clock_boot_ms();
		return FL_OK;
	}
	if ((code != FL_E_UNAVAILABLE && code != FL_E_TIMEOUT && code != FL_E_STORE) ||
		fl_clock_boot_ms() > drain->answered_ms + AWAY_MAX_MS)
		return FL_FAIL(err, code, "%s", fl_error_text(&why));
	term_progress(fl_error_text(&why));
	return connection_pause(drain->connection, RETRY_MS, err);
}

static enum fl_code look_on(struct drain *drain, struct fl_error *err)
{
	uint64_t timeout_ms = drain->command->options->timeout_ms;
	bool over = false;

	FL_TRY(connection_catch_signals(drain->connection, err));
	drain->began_ms = drain->answered_ms = drain->changed_ms = fl_clock_boot_ms();
	while (!over) {
		FL_TRY(turn(drain, &over, err));
		if (!over && timeout_ms != 0 && fl_clock_boot_ms() > drain->began_ms + timeout_ms)
			return FL_FAIL(err, FL_E_TIMEOUT,
				"the drain takes longer, and goes on; %zu of %zu units have moved",
				drain->n_told, drain->n_leavers);
	}
	return FL_OK;
}

static enum fl_code begin(struct drain *drain, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *units = NULL;
	const Pb__MachineChangeReply *reply;

	/* Before anything leaves. */
	FL_TRY(connection_units(drain->connection, NULL, 0, false, &units, err));
	FL_TRY(ask(drain->command, drain->connection, PB__MACHINE_CHANGE_REQUEST__VERB__DRAIN,
		&drain->begun, err));
	reply = drain->begun->machine_change_reply;
	tell_refused(drain->command, reply);
	drain->index = reply->revision;
	drain->machines = fl_new_array(reply->n_results + 1, sizeof(*drain->machines));
	if (drain->machines == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < reply->n_results; i++) {
		Pb__Machine *machine = reply->results[i]->machine;

		if (machine != NULL && watched_id(drain, machine->id) == NULL)
			drain->machines[drain->n_machines++].machine = machine;
	}
	return take_leavers(drain, units->units_reply, err);
}

static enum fl_code print_drained(const struct drain *drain, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;

	FL_TRY(connection_machines(drain->connection, &reply, err));
	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < reply->machines_reply->n_machines; i++) {
		const Pb__Machine *machine = reply->machines_reply->machines[i];

		if (watched_id(drain, machine->id) != NULL)
			FL_TRY(json_add(array, json_of_machine(machine), err));
	}
	return json_print(array, err);
}

static enum fl_code run(struct drain *drain, struct fl_error *err)
{
	char name[MACHINE_TEXT_MAX];
	enum fl_code code;

	FL_TRY(begin(drain, err));
	if (drain->command->options->no_block || drain->n_machines == 0) {
		for (size_t i = 0; i < drain->n_machines && !drain->json; i++) {
			machine_name(drain->machines[i].machine, name);
			printf("Machine %s draining\n", name);
		}
		return drain->json ? print_json(drain->begun->machine_change_reply, err) : FL_OK;
	}
	code = look_on(drain, err);
	term_progress(NULL);
	if (code == FL_E_CANCELED) {
		fprintf(stderr,
			"The drain goes on. To look on again: flotactl drain %.8s\n"
			"To end it: flotactl uncordon %.8s\n",
			drain->machines[0].machine->id, drain->machines[0].machine->id);
		drain->command->exit_code = EXIT_INTERRUPTED;
		return FL_OK;
	}
	FL_TRY(code);
	return drain->json ? print_drained(drain, err) : FL_OK;
}

enum fl_code verb_drain(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(drain_fini) struct drain drain = {.command = command};

	FL_TRY(command_wants_json(command, &drain.json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	drain.connection = connection;
	return run(&drain, err);
}
