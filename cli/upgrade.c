/*
 * The fleet upgrades agents by itself; "upgrade" looks on, as "drain" does: it is woken by events,
 * and asks then how far it is.
 */
#include "cli/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strv.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/term.h"

#define HOLD_MS          5000U
#define EXIT_INTERRUPTED 130

/* Which machines have been told of, in the order of the reply, which does not change. */
struct watch {
	struct connection *connection;
	bool *told;
	bool json;
};

static enum fl_code ask(struct connection *connection, Pb__UpgradeRequest *body,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__Envelope request = PB__ENVELOPE__INIT;

	request.body_case = PB__ENVELOPE__BODY_UPGRADE_REQUEST;
	request.upgrade_request = body;
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_UPGRADE_REPLY, 0, ret_reply, err);
}

/* Until something has happened behind @since; its index. */
static enum fl_code wait_for_event(
	struct connection *connection, uint64_t since, uint64_t *ret_index, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__EventsRequest body = PB__EVENTS_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	body.since = since;
	request.body_case = PB__ENVELOPE__BODY_EVENTS_REQUEST;
	request.events_request = &body;
	FL_TRY(connection_ask(
		connection, &request, PB__ENVELOPE__BODY_EVENTS_REPLY, HOLD_MS, &reply, err));
	*ret_index = reply->events_reply->index;
	return FL_OK;
}

/* ---- What is shown -- */

static const char *state_text(Pb__MachineUpgrade__State state)
{
	switch (state) {
	case PB__MACHINE_UPGRADE__STATE__WAITING:
		return "waiting";
	case PB__MACHINE_UPGRADE__STATE__UPGRADING:
		return "upgrading";
	case PB__MACHINE_UPGRADE__STATE__UPGRADED:
		return "upgraded";
	case PB__MACHINE_UPGRADE__STATE__FAILED:
		return "failed";
	case PB__MACHINE_UPGRADE__STATE__SKIPPED:
		return "left out";
	case _PB__MACHINE_UPGRADE__STATE_IS_INT_SIZE:
		break;
	}
	return "unknown";
}

static bool is_over(const Pb__MachineUpgrade *machine)
{
	return machine->state != PB__MACHINE_UPGRADE__STATE__WAITING &&
	       machine->state != PB__MACHINE_UPGRADE__STATE__UPGRADING;
}

static void tell_machine(const Pb__Upgrade *upgrade, const Pb__MachineUpgrade *machine)
{
	char name[MACHINE_TEXT_MAX];

	machine_text(machine->machine_id, machine->address, false, name);
	if (machine->state == PB__MACHINE_UPGRADE__STATE__UPGRADED)
		printf("Machine %s upgraded to %s%s%s\n", name, upgrade->version,
			*machine->text != '\0' ? ": " : "", machine->text);
	else if (machine->state == PB__MACHINE_UPGRADE__STATE__SKIPPED)
		term_warning("machine %s is left out: %s", name, machine->text);
	else
		term_error("machine %s is not upgraded: %s", name, machine->text);
}

static void show(struct watch *watch, const Pb__Upgrade *upgrade)
{
	char progress[MACHINE_TEXT_MAX + 128];
	const Pb__MachineUpgrade *now = NULL;
	size_t n_over = 0;

	for (size_t i = 0; i < upgrade->n_machines; i++) {
		const Pb__MachineUpgrade *machine = upgrade->machines[i];

		n_over += is_over(machine);
		if (machine->state == PB__MACHINE_UPGRADE__STATE__UPGRADING)
			now = machine;
		if (is_over(machine) && !watch->told[i] && !watch->json) {
			watch->told[i] = true;
			tell_machine(upgrade, machine);
		}
	}
	(void)fflush(stdout);
	(void)snprintf(progress, sizeof(progress), "%zu of %zu%s%.8s%s%.64s", n_over,
		upgrade->n_machines, now != NULL ? ", " : "", now != NULL ? now->machine_id : "",
		now != NULL ? "... " : "", now != NULL ? now->text : "");
	term_progress(progress);
}

static enum fl_code print_json(const Pb__Upgrade *upgrade, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *object = NULL;
	json_t *machines = json_array();

	object = json_pack("{s:s, s:s, s:o}", "version", upgrade->version, "stopped", upgrade->text,
		"machines", machines);
	if (object == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < upgrade->n_machines; i++) {
		const Pb__MachineUpgrade *machine = upgrade->machines[i];

		FL_TRY(json_add(machines,
			json_pack("{s:s, s:s, s:s, s:o}", "machine", machine->machine_id, "address",
				machine->address, "state", state_text(machine->state), "text",
				json_of_text(machine->text)),
			err));
	}
	return json_print(object, err);
}

/* ---- Looking on -- */

/* It stopped, and nothing is under way any more. */
static bool has_ended(const Pb__Upgrade *upgrade)
{
	if (upgrade->state == PB__UPGRADE__STATE__ROLLING)
		return false;
	for (size_t i = 0; i < upgrade->n_machines; i++)
		if (upgrade->machines[i]->state == PB__MACHINE_UPGRADE__STATE__UPGRADING)
			return false;
	return true;
}

static enum fl_code tell_end(struct command *command, const struct watch *watch,
	const Pb__Upgrade *upgrade, struct fl_error *err)
{
	size_t n_left = 0;

	term_progress(NULL);
	for (size_t i = 0; i < upgrade->n_machines; i++)
		n_left += upgrade->machines[i]->state == PB__MACHINE_UPGRADE__STATE__WAITING;
	if (upgrade->state == PB__UPGRADE__STATE__STOPPED) {
		term_error("stopped (%s); %zu machine%s not begun", upgrade->text, n_left,
			n_left == 1 ? " was" : "s were");
		command->exit_code = 1;
	}
	return watch->json ? print_json(upgrade, err) : FL_OK;
}

static enum fl_code look_on(
	struct command *command, struct watch *watch, Pb__Envelope *first, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = first;
	size_t n = first->upgrade_reply->upgrade != NULL ? first->upgrade_reply->upgrade->n_machines
							 : 0;
	FL_CLEANUP(fl_freep) bool *told = fl_new_array(n + 1, sizeof(*told));

	watch->told = told;
	if (told == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (;;) {
		Pb__UpgradeRequest body = PB__UPGRADE_REQUEST__INIT;
		const Pb__Upgrade *upgrade = reply->upgrade_reply->upgrade;
		uint64_t since = reply->upgrade_reply->revision;

		if (upgrade == NULL || upgrade->n_machines != n)
			return FL_FAIL(err, FL_E_UNAVAILABLE,
				"the coordinator was restarted: the same command again goes on");
		show(watch, upgrade);
		if (has_ended(upgrade))
			return tell_end(command, watch, upgrade, err);
		FL_TRY(wait_for_event(watch->connection, since, &since, err));
		wire_free(FL_TAKE(reply));
		FL_TRY(ask(watch->connection, &body, &reply, err));
	}
}

/* A word that can be no machine's ID is the version. */
static enum fl_code read_words(
	const struct command *command, Pb__UpgradeRequest *body, struct fl_error *err)
{
	size_t first = 1;

	if (command->options->release != NULL)
		body->version = command->options->release;
	else if (command->n_args > 1 &&
		 command->args[1][strspn(command->args[1], "0123456789abcdef")] != '\0')
		body->version = command->args[first++];
	body->machines = command->args + first;
	body->n_machines = command->n_args - first;
	body->max_unavailable = (uint32_t)command->options->max_unavailable;
	body->allow_downgrade = command->options->allow_downgrade;
	if (strcmp(command->args[0], "agents") != 0)
		return FL_FAIL(
			err, FL_E_USAGE, "upgrade %s? There is upgrade agents", command->args[0]);
	return FL_OK;
}

enum fl_code verb_upgrade(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	Pb__UpgradeRequest body = PB__UPGRADE_REQUEST__INIT;
	Pb__Envelope *reply = NULL;
	struct watch watch = {.told = NULL};
	enum fl_code code;

	FL_TRY(read_words(command, &body, err));
	body.verb = command->options->stop ? PB__UPGRADE_REQUEST__VERB__STOP
					   : PB__UPGRADE_REQUEST__VERB__BEGIN;
	FL_TRY(command_wants_json(command, &watch.json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_catch_signals(connection, err));
	FL_TRY(ask(connection, &body, &reply, err));
	if (command->options->no_block) {
		wire_free(reply);
		return FL_OK;
	}
	watch.connection = connection;
	code = look_on(command, &watch, reply, err);
	term_progress(NULL);
	if (code != FL_E_CANCELED)
		return code;
	term_warning("the fleet goes on by itself; \"flotactl upgrade agents --stop\" ends it");
	command->exit_code = EXIT_INTERRUPTED;
	return FL_OK;
}
