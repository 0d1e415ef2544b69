#include "cli/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/random.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/term.h"

#define PIN_BYTES 32U

/* Of a key so much must be given that no other can be meant. */
#define KEY_DIGITS_MIN 16U

/* What the coordinator is asked to do with command->args[1] and on, and what is said when it has. */
struct wish {
	Pb__MachineChangeRequest__Verb verb;
	const char *done;
	char **machines;
	size_t n_machines;
	const ProtobufCBinaryData *key_pin; /* nullable */
};

/* ---- The change -- */

static enum fl_code ask(struct command *command, struct connection *connection,
	const struct wish *wish, Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__MachineChangeRequest body = PB__MACHINE_CHANGE_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	body.verb = wish->verb;
	body.machines = wish->machines;
	body.n_machines = wish->n_machines;
	if (command->options->reason != NULL)
		body.reason = command->options->reason;
	body.force = command->options->force;
	if (wish->key_pin != NULL)
		body.key_pin = *wish->key_pin;
	body.token = fl_random_id();
	request.body_case = PB__ENVELOPE__BODY_MACHINE_CHANGE_REQUEST;
	request.machine_change_request = &body;
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_MACHINE_CHANGE_REPLY, 0, ret_reply, err);
}

static void tell_done(const struct wish *wish, size_t i, const Pb__Machine *machine)
{
	char name[MACHINE_TEXT_MAX];

	if (machine != NULL)
		machine_text(machine->id, machine->address, false, name);
	else
		(void)snprintf(name, sizeof(name), "%s", wish->machines[i]);
	printf("Machine %s %s\n", name, wish->done);
}

/* What was refused is told, and decides the exit code. */
static enum fl_code change(struct command *command, struct connection *connection,
	const struct wish *wish, json_t *array, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	const Pb__MachineChangeReply *body;

	FL_TRY(ask(command, connection, wish, &reply, err));
	body = reply->machine_change_reply;
	for (size_t i = 0; i < body->n_results && i < wish->n_machines; i++) {
		const Pb__MachineChangeResult *result = body->results[i];

		if (result->error != NULL) {
			term_error("%s", result->error->text);
			command->exit_code = fl_code_exit(fl_code_from_wire(result->error->code));
		} else if (array == NULL) {
			tell_done(wish, i, result->machine);
		} else if (result->machine != NULL) {
			FL_TRY(json_add(array, json_of_machine(result->machine), err));
		} else {
			FL_TRY(json_add(array,
				json_pack("{s:s, s:s}", "machine", wish->machines[i], "state",
					"removed"),
				err));
		}
	}
	return FL_OK;
}

/* ---- adopt -- */

static const Pb__Machine *find(
	const Pb__MachinesReply *all, const char *id, const Pb__Machine **ret_other)
{
	const Pb__Machine *found = NULL;

	for (size_t i = 0; i < all->n_machines; i++) {
		const Pb__Machine *machine = all->machines[i];

		if (strcmp(machine->id, id) == 0) {
			*ret_other = NULL;
			return machine;
		}
		if (strncmp(machine->id, id, strlen(id)) != 0)
			continue;
		*ret_other = found;
		found = machine;
	}
	return found;
}

/* Whether --key= means this one. */
static bool is_meant(const char *wanted, const ProtobufCBinaryData *pin)
{
	char text[PIN_TEXT_SIZE];

	pin_text(pin, text);
	return pin->len == PIN_BYTES && strncmp(text, wanted, strlen(wanted)) == 0;
}

static const ProtobufCBinaryData *refused_pin(const Pb__Machine *machine)
{
	return machine->refused != NULL && machine->refused->key_pin.len == PIN_BYTES
		       ? &machine->refused->key_pin
		       : NULL;
}

/* The key that the machine is to be known by: the one that --key= names, or the only one that there
 * is to choose. */
static enum fl_code choose(const struct command *command, const Pb__Machine *machine,
	const ProtobufCBinaryData **ret_pin, struct fl_error *err)
{
	const ProtobufCBinaryData *refused = refused_pin(machine);
	const char *wanted = command->options->key;
	bool is_revoked = machine->standing == PB__MACHINE__STANDING__REVOKED;
	char known[PIN_TEXT_SIZE], other[PIN_TEXT_SIZE];

	if (wanted != NULL && strlen(wanted) < KEY_DIGITS_MIN)
		return FL_FAIL(err, FL_E_USAGE, "--key=%s: give at least %u digits", wanted,
			KEY_DIGITS_MIN);
	if (!is_revoked && refused == NULL)
		return FL_FAIL(err, FL_E_STATE,
			"machine %s is a member, and nobody was refused in its name since the "
			"coordinator started",
			machine->id);
	if (wanted != NULL && refused != NULL && is_meant(wanted, refused)) {
		*ret_pin = refused;
		return FL_OK;
	}
	if (wanted != NULL && is_revoked && is_meant(wanted, &machine->key_pin)) {
		*ret_pin = &machine->key_pin;
		return FL_OK;
	}
	if (wanted != NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"machine %s has shown no key that begins with %s", machine->id, wanted);
	if (!is_revoked || refused == NULL) {
		*ret_pin = is_revoked ? &machine->key_pin : refused;
		return FL_OK;
	}
	pin_text(&machine->key_pin, known);
	pin_text(refused, other);
	return FL_FAIL(err, FL_E_INVALID,
		"machine %s was known by the key %s, and %s (%s) asked in its name with %s: say with "
		"--key= which of them it is to be",
		machine->id, known, machine->refused->hostname, machine->refused->address, other);
}

static void describe(
	const Pb__Machine *machine, const ProtobufCBinaryData *pin, struct fl_buf *text)
{
	char name[MACHINE_TEXT_MAX], key[PIN_TEXT_SIZE];

	machine_text(machine->id, machine->address, false, name);
	pin_text(pin, key);
	if (pin == &machine->key_pin)
		fl_buf_printf(text, "Machine %s was revoked by %s%s%s", name, machine->revoked_by,
			*machine->revoked_reason != '\0' ? ": " : "", machine->revoked_reason);
	else
		fl_buf_printf(text,
			"%s (%s) asked %" PRIu64 " s ago to be machine %s, with another key",
			machine->refused->hostname, machine->refused->address,
			machine->refused->ago_ms / 1000, name);
	if (*key != '\0')
		fl_buf_printf(text,
			"\nKey %s\nOn the machine: openssl pkey -pubout -outform DER -in "
			"/etc/flota/tls/machine.key | sha256sum",
			key);
}

static enum fl_code adopt_one(struct command *command, struct connection *connection,
	const Pb__Machine *machine, json_t *array, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	const ProtobufCBinaryData *pin;
	char *id = machine->id;
	struct wish wish = {.verb = PB__MACHINE_CHANGE_REQUEST__VERB__ADOPT,
		.done = "adopted",
		.machines = &id,
		.n_machines = 1};

	FL_TRY(choose(command, machine, &pin, err));
	wish.key_pin = pin;
	if (!command->options->yes && command->options->key == NULL) {
		describe(machine, pin, &text);
		if (!fl_buf_ok(&text))
			return FL_FAIL_NO_MEMORY(err);
		fprintf(stderr, "%s\n", fl_buf_str(&text));
		FL_TRY(term_confirm("Adopt it?", "it was not adopted", err));
	}
	return change(command, connection, &wish, array, err);
}

static enum fl_code adopt(
	struct command *command, struct connection *connection, json_t *array, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;

	if (command->options->key != NULL && command->n_args > 2)
		return FL_FAIL(err, FL_E_USAGE, "--key= is of one machine");
	FL_TRY(connection_machines(connection, &reply, err));
	for (size_t i = 1; i < command->n_args; i++) {
		const Pb__Machine *other = NULL;
		const Pb__Machine *machine = find(reply->machines_reply, command->args[i], &other);

		if (machine == NULL)
			return FL_FAIL(err, FL_E_NOT_FOUND, "there is no machine \"%s\"",
				command->args[i]);
		if (other != NULL)
			return FL_FAIL(err, FL_E_INVALID,
				"\"%s\" could be machine %s or %s; write more of it",
				command->args[i], machine->id, other->id);
		FL_TRY(adopt_one(command, connection, machine, array, err));
	}
	return FL_OK;
}

/* ---- All of them -- */

static enum fl_code run(
	struct command *command, struct connection *connection, json_t *array, struct fl_error *err)
{
	const char *what = command->args[0];
	struct wish wish = {.machines = command->args + 1, .n_machines = command->n_args - 1};

	if (strcmp(what, "adopt") == 0)
		return adopt(command, connection, array, err);
	wish.verb = PB__MACHINE_CHANGE_REQUEST__VERB__REVOKE;
	wish.done = "revoked";
	if (strcmp(what, "remove") == 0) {
		wish.verb = PB__MACHINE_CHANGE_REQUEST__VERB__REMOVE;
		wish.done = "removed";
	}
	return change(command, connection, &wish, array, err);
}

enum fl_code verb_machine(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(json_freep) json_t *array = NULL;
	const char *what = command->args[0];
	bool json;

	if (strcmp(what, "revoke") != 0 && strcmp(what, "remove") != 0 &&
		strcmp(what, "adopt") != 0)
		return FL_FAIL(err, FL_E_USAGE,
			"machine %s? There are machine revoke, machine remove and machine adopt",
			what);
	if (command->n_args < 2)
		return FL_FAIL(
			err, FL_E_USAGE, "which machine? \"flotactl list-machines\" shows them");
	FL_TRY(command_wants_json(command, &json, err));
	if (json)
		FL_TRY(json_new_array(&array, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(run(command, connection, array, err));
	return json ? json_print(array, err) : FL_OK;
}
