#include "cli/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/connection.h"
#include "cli/dialect.h"
#include "cli/state.h"
#include "cli/term.h"
#include "unitfiles/name.h"

/* How long the coordinator may hold a question for more output; it forgets a call that nobody
 * asks for in 60 s. */
#define HOLD_MS 30000U

/* What systemctl status says of a unit that is not running (systemctl(1), "Exit status"), and a
 * shell of a program that ended by Ctrl-C. */
#define EXIT_NOT_RUNNING 3
#define EXIT_INTERRUPTED 130

static enum fl_code ask(struct connection *connection, Pb__CallRequest *body, uint32_t hold_ms,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__Envelope request = PB__ENVELOPE__INIT;

	request.body_case = PB__ENVELOPE__BODY_CALL_REQUEST;
	request.call_request = body;
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_CALL_REPLY, hold_ms, ret_reply, err);
}

/* Nobody wants the rest: the machine need not go on. That this fails changes nothing, the call
 * dies by itself. */
static void end_call(struct connection *connection, uint64_t call_id)
{
	Pb__CallRequest body = PB__CALL_REQUEST__INIT;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	struct fl_error ignored = {0};

	body.call_id = call_id;
	body.end = true;
	(void)!ask(connection, &body, 0, &reply, &ignored);
}

/* A reader that has gone (| head) is as Ctrl-C. */
static enum fl_code write_out(const ProtobufCBinaryData *data, struct fl_error *err)
{
	if (data->len == 0)
		return FL_OK; /* fwrite(3) wants a pointer even then */
	if (fwrite(data->data, 1, data->len, stdout) == data->len && fflush(stdout) == 0)
		return FL_OK;
	return FL_FAIL(err, errno == EPIPE ? FL_E_CANCELED : FL_E_IO, "standard output: %s",
		strerrordesc_np(errno));
}

/* Runs one call to its end; *ret_exit_code is that of the program on the machine. */
static enum fl_code run_call(struct connection *connection, Pb__CallRequest *first,
	int *ret_exit_code, struct fl_error *err)
{
	Pb__CallRequest more = PB__CALL_REQUEST__INIT;
	Pb__CallRequest *body = first;

	for (;;) {
		FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
		enum fl_code code = ask(connection, body, HOLD_MS, &reply, err);

		if (code == FL_OK) {
			more.call_id = reply->call_reply->call_id;
			body = &more;
			code = write_out(&reply->call_reply->data, err);
		}
		if (code == FL_OK && reply->call_reply->ended) {
			*ret_exit_code = reply->call_reply->exit_code;
			return FL_OK;
		}
		if (code == FL_OK)
			continue;
		if (more.call_id != 0 && (code == FL_E_CANCELED || code == FL_E_IO))
			end_call(connection, more.call_id);
		*ret_exit_code = EXIT_INTERRUPTED;
		return code == FL_E_CANCELED ? FL_OK : code;
	}
}

static void list_machines(const Pb__Unit *unit, struct fl_buf *out)
{
	char text[MACHINE_TEXT_MAX];

	for (size_t i = 0; i < unit->n_placements; i++) {
		machine_text(
			unit->placements[i]->machine_id, unit->placements[i]->address, false, text);
		fl_buf_printf(out, "%s%s", i > 0 ? ", " : "", text);
	}
}

/* The placement that --machine means. */
static enum fl_code choose_machine(const Pb__Unit *unit, const char *machine,
	const Pb__Placement **ret_placement, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf machines = FL_BUF_INIT;
	const Pb__Placement *found = NULL;
	size_t n = 0;

	for (size_t i = 0; i < unit->n_placements; i++)
		if (strncmp(unit->placements[i]->machine_id, machine, strlen(machine)) == 0) {
			found = unit->placements[i];
			n++;
		}
	if (n == 1) {
		*ret_placement = found;
		return FL_OK;
	}
	list_machines(unit, &machines);
	return FL_FAIL(err, FL_E_NOT_FOUND, "%s is on %s machine \"%s\"; it is on %s", unit->name,
		n == 0 ? "no" : "more than one", machine, fl_buf_str(&machines));
}

static const Pb__Unit *find_unit(const Pb__UnitsReply *units, const char *name)
{
	for (size_t i = 0; i < units->n_units; i++)
		if (strcmp(units->units[i]->name, name) == 0)
			return units->units[i];
	return NULL;
}

static enum fl_code status_on(struct command *command, struct connection *connection,
	const Pb__Unit *unit, const Pb__Placement *placement, int *ret_exit_code,
	struct fl_error *err)
{
	Pb__CallRequest body = PB__CALL_REQUEST__INIT;

	body.kind = PB__CALL_REQUEST__KIND__STATUS;
	body.unit = unit->name;
	body.machine_id = placement->machine_id;
	body.lines = (uint32_t)command->options->lines;
	return run_call(connection, &body, ret_exit_code, err);
}

static enum fl_code status_of(struct command *command, struct connection *connection,
	const Pb__Unit *unit, int *ret_exit_code, struct fl_error *err)
{
	const char *machine = command->options->machine;
	const Pb__Placement *chosen = NULL;
	char text[MACHINE_TEXT_MAX];

	if (unit->n_placements == 0) {
		printf("%s is on no machine; it is to be %s%s%s\n", unit->name,
			desired_name(unit->desired), unit->waiting[0] != '\0' ? ": " : "",
			unit->waiting);
		*ret_exit_code = EXIT_NOT_RUNNING;
		return FL_OK;
	}
	if (machine != NULL && machine[0] != '\0')
		FL_TRY(choose_machine(unit, machine, &chosen, err));
	for (size_t i = 0; i < unit->n_placements; i++) {
		const Pb__Placement *placement = unit->placements[i];
		int exit_code = 0;

		if (chosen != NULL && placement != chosen)
			continue;
		if (unit->n_placements > 1) {
			machine_text(placement->machine_id, placement->address, false, text);
			printf("%s%s:\n", i > 0 && chosen == NULL ? "\n" : "", text);
		}
		FL_TRY(status_on(command, connection, unit, placement, &exit_code, err));
		if (*ret_exit_code == 0)
			*ret_exit_code = exit_code;
		if (exit_code == EXIT_INTERRUPTED)
			break;
	}
	return FL_OK;
}

/* In place of a template that is not inactive come its replicas. */
static enum fl_code name_replicas(struct connection *connection, struct fl_strv *names,
	Pb__Envelope **reply, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv all = {0};
	bool any = false;

	for (size_t i = 0; i < names->n; i++) {
		const Pb__Unit *unit = find_unit((*reply)->units_reply, names->items[i]);
		char name[UNIT_NAME_MAX + 1];

		if (unit == NULL || unit->replicas == 0 ||
			unit->desired == PB__DESIRED_STATE__INACTIVE) {
			FL_TRY(fl_strv_add(&all, names->items[i], err));
			continue;
		}
		any = true;
		for (unsigned k = 1; k <= unit->replicas; k++) {
			FL_TRY(unit_name_replica(unit->name, k, name, err));
			FL_TRY(fl_strv_add(&all, name, err));
		}
	}
	if (!any)
		return FL_OK;
	fl_strv_fini(names);
	*names = all;
	all = (struct fl_strv){0};
	wire_free(FL_TAKE(*reply));
	return connection_units(connection, names->items, names->n, false, reply, err);
}

enum fl_code verb_status(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP_STRV struct fl_strv names = {0};

	for (size_t i = 0; i < command->n_args; i++) {
		char name[UNIT_NAME_MAX + 1];

		FL_TRY(unit_name_from_argument(command->args[i], name, err));
		FL_TRY(fl_strv_add(&names, name, err));
	}
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_units(connection, names.items, names.n, false, &reply, err));
	FL_TRY(name_replicas(connection, &names, &reply, err));
	FL_TRY(connection_catch_signals(connection, err));
	for (size_t i = 0; i < names.n && command->exit_code != EXIT_INTERRUPTED; i++) {
		const Pb__Unit *unit = find_unit(reply->units_reply, names.items[i]);
		struct fl_error why = {0};
		int exit_code = 0;

		if (i > 0)
			putchar('\n');
		if (unit == NULL) {
			(void)!DIALECT_FAIL(&why, TEXT_UNIT_UNKNOWN, names.items[i]);
			term_error("%s", fl_error_text(&why));
			exit_code = fl_code_exit(FL_E_NOT_FOUND);
		} else {
			FL_TRY(status_of(command, connection, unit, &exit_code, err));
		}
		if (command->exit_code == 0 || exit_code == EXIT_INTERRUPTED)
			command->exit_code = exit_code;
	}
	return FL_OK;
}

enum fl_code verb_journal(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	const struct cli_options *options = command->options;
	Pb__CallRequest body = PB__CALL_REQUEST__INIT;
	const Pb__Placement *placement;
	char name[UNIT_NAME_MAX + 1];
	char *names = name;
	const Pb__Unit *unit;

	FL_TRY(unit_name_from_argument(command->args[0], name, err));
	FL_TRY(connection_open(options, &connection, err));
	FL_TRY(connection_units(connection, &names, 1, false, &reply, err));
	unit = find_unit(reply->units_reply, name);
	if (unit == NULL)
		return DIALECT_FAIL(err, TEXT_UNIT_UNKNOWN, name);
	if (unit->n_placements == 0)
		return FL_FAIL(err, FL_E_STATE, "%s is on no machine; it is to be %s%s%s", name,
			desired_name(unit->desired), unit->waiting[0] != '\0' ? ": " : "",
			unit->waiting);
	placement = unit->placements[0];
	if (options->machine != NULL && options->machine[0] != '\0') {
		FL_TRY(choose_machine(unit, options->machine, &placement, err));
	} else if (unit->n_placements > 1) {
		FL_CLEANUP_BUF struct fl_buf machines = FL_BUF_INIT;

		list_machines(unit, &machines);
		return FL_FAIL(err, FL_E_USAGE,
			"%s is on several machines; choose one with --machine=ID: %s", name,
			fl_buf_str(&machines));
	}
	body.kind = PB__CALL_REQUEST__KIND__JOURNAL;
	body.unit = name;
	body.machine_id = placement->machine_id;
	body.lines = (uint32_t)options->lines;
	body.follow = options->follow;
	body.output = options->output;
	FL_TRY(connection_catch_signals(connection, err));
	return run_call(connection, &body, &command->exit_code, err);
}
