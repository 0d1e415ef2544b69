/*
 * The coordinator changes its CA in one step, and the fleet follows by itself. This looks on until
 * nobody needs the old one any more, and then has it dropped: so that somebody is there when an
 * operator's certificate ends with it.
 */
#include "cli/ca.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/term.h"

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

/* Nothing else tells when a machine has renewed. */
#define LOOK_MS 300U
/* A coordinator that restarts is back by then. */
#define AWAY_MAX_MS 60000U
/* Who is waited for is told when nothing has changed for so long. */
#define QUIET_MS 5000U

static enum fl_code ask(struct connection *connection, Pb__CaRequest__Verb verb, bool force,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__CaRequest body = PB__CA_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	body.verb = verb;
	body.force = force;
	request.body_case = PB__ENVELOPE__BODY_CA_REQUEST;
	request.ca_request = &body;
	return connection_ask(connection, &request, PB__ENVELOPE__BODY_CA_REPLY, 0, ret_reply, err);
}

static bool is_needed(const Pb__CaReply *ca)
{
	return ca->machines_waiting > 0 || ca->tokens > 0 || ca->n_operators > 0;
}

/* ---- show -- */

static void print_waiting(const Pb__CaReply *ca, FILE *out)
{
	char name[MACHINE_TEXT_MAX];

	for (size_t i = 0; i < ca->n_waiting; i++) {
		machine_text(ca->waiting[i]->id, ca->waiting[i]->address, false, name);
		fprintf(out, "  Machine %s is %s\n", name, machine_state_of(ca->waiting[i]));
	}
	if (ca->machines_waiting > ca->n_waiting)
		fprintf(out, "  and %zu machines more\n", ca->machines_waiting - ca->n_waiting);
	if (ca->tokens > 0)
		fprintf(out,
			"  %u tokens name it, the last for %" PRIu64
			" min: wait, or revoke them and make others\n",
			ca->tokens, (ca->tokens_end_in_ms + 59999) / 60000);
	for (size_t i = 0; i < ca->n_operators; i++)
		fprintf(out,
			"  Operator %s has shown a certificate of it: flota-coordinator issue "
			"operator %s\n",
			ca->operators[i], ca->operators[i]);
}

static void print_text(const Pb__CaReply *ca)
{
	char pin[PIN_TEXT_SIZE];

	pin_text(&ca->key_pin, pin);
	printf("Key %s\nEnds in %" PRIu64 " days\n", pin, ca->ends_in_ms / DAY_MS);
	if (!ca->changing)
		return;
	printf("The one before it is accepted too; of %u machines %u need it\n", ca->machines,
		ca->machines_waiting);
	print_waiting(ca, stdout);
	if (!is_needed(ca))
		printf("Nobody is known to need it: \"flotactl ca rotate\" drops it\n");
}

static enum fl_code print_json(const Pb__CaReply *ca, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *operators = json_array();
	FL_CLEANUP(json_freep) json_t *machines = json_array();
	FL_CLEANUP(json_freep) json_t *object = NULL;
	char pin[PIN_TEXT_SIZE];

	if (operators == NULL || machines == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < ca->n_operators; i++)
		FL_TRY(json_add(operators, json_of_text(ca->operators[i]), err));
	for (size_t i = 0; i < ca->n_waiting; i++)
		FL_TRY(json_add(machines, json_of_text(ca->waiting[i]->id), err));
	pin_text(&ca->key_pin, pin);
	object = json_pack("{s:s, s:I, s:b, s:i, s:i, s:O, s:i, s:I, s:O}", "key", pin,
		"ends_in_ms", (json_int_t)ca->ends_in_ms, "changing", (int)ca->changing, "machines",
		(int)ca->machines, "machines_waiting", (int)ca->machines_waiting, "waiting",
		machines, "tokens", (int)ca->tokens, "tokens_end_in_ms",
		(json_int_t)ca->tokens_end_in_ms, "operators", operators);
	return object != NULL ? json_print(object, err) : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code print_ca(const Pb__CaReply *ca, bool json, struct fl_error *err)
{
	if (json)
		return print_json(ca, err);
	print_text(ca);
	return FL_OK;
}

static enum fl_code show(struct connection *connection, bool json, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;

	FL_TRY(ask(connection, PB__CA_REQUEST__VERB__SHOW, false, &reply, err));
	return print_ca(reply->ca_reply, json, err);
}

/* ---- rotate -- */

struct rotation {
	struct command *command;
	struct connection *connection;
	bool json;
	uint64_t began_ms, answered_ms, changed_ms;
	uint32_t waiting; /* machines, when last looked */
	bool is_explained;
};

static void say(const struct rotation *r, const char *text)
{
	term_progress(NULL);
	if (!r->json)
		printf("%s\n", text);
	(void)fflush(stdout);
}

static enum fl_code begin(struct rotation *r, bool *ret_changing, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	bool goes_on;

	FL_TRY(ask(r->connection, PB__CA_REQUEST__VERB__SHOW, false, &reply, err));
	goes_on = reply->ca_reply->changing;
	if (!goes_on && !r->command->options->yes)
		FL_TRY(term_confirm(
			"Put a new CA in the place of the fleet's?", "the CA is as it was", err));
	wire_free(FL_TAKE(reply));
	FL_TRY(ask(r->connection, PB__CA_REQUEST__VERB__SUCCEED, false, &reply, err));
	*ret_changing = reply->ca_reply->changing;
	say(r, goes_on ? "Goes on: the new CA signs, both are accepted"
		       : "A new CA signs, both are accepted; copy its ca.key to a safe place");
	if (reply->ca_reply->asker)
		term_warning("your own certificate is of the old CA: have another made with "
			     "\"flota-coordinator issue operator\" before that is dropped");
	return FL_OK;
}

static void show_progress(struct rotation *r, const Pb__CaReply *ca)
{
	char text[200];

	if (ca->machines_waiting != r->waiting) {
		r->waiting = ca->machines_waiting;
		r->changed_ms = fl_clock_boot_ms();
		r->is_explained = false;
	}
	(void)snprintf(text, sizeof(text),
		"%u of %u machines have a certificate of the new CA; %u tokens, %zu operators of "
		"the old one",
		ca->machines - ca->machines_waiting, ca->machines, ca->tokens, ca->n_operators);
	if (!r->is_explained && fl_clock_boot_ms() > r->changed_ms + QUIET_MS) {
		term_progress(NULL);
		fprintf(stderr, "The old CA is needed still:\n");
		print_waiting(ca, stderr);
		r->is_explained = true;
	}
	term_progress(text);
}

/* One look; a coordinator that is away for a while is asked again. */
static enum fl_code look(struct rotation *r, bool *ret_over, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	struct fl_error why = {0};
	enum fl_code code = ask(r->connection, PB__CA_REQUEST__VERB__SHOW, false, &reply, &why);

	if (code == FL_OK) {
		r->answered_ms = fl_clock_boot_ms();
		*ret_over = !reply->ca_reply->changing || !is_needed(reply->ca_reply);
		if (!*ret_over)
			show_progress(r, reply->ca_reply);
		return FL_OK;
	}
	if ((code != FL_E_UNAVAILABLE && code != FL_E_TIMEOUT) ||
		fl_clock_boot_ms() > r->answered_ms + AWAY_MAX_MS)
		return FL_FAIL(err, code, "%s", fl_error_text(&why));
	return FL_OK;
}

static enum fl_code wait_for_all(struct rotation *r, struct fl_error *err)
{
	uint64_t timeout_ms = r->command->options->timeout_ms;
	bool over = false;

	FL_TRY(connection_catch_signals(r->connection, err));
	r->began_ms = r->answered_ms = r->changed_ms = fl_clock_boot_ms();
	r->waiting = UINT32_MAX;
	for (;;) {
		FL_TRY(look(r, &over, err));
		if (over)
			return FL_OK;
		if (timeout_ms != 0 && fl_clock_boot_ms() > r->began_ms + timeout_ms)
			return FL_FAIL(err, FL_E_TIMEOUT,
				"the old CA is needed still (flotactl ca show); the fleet goes on, "
				"and the same command later drops it");
		FL_TRY(connection_pause(r->connection, LOOK_MS, err));
	}
}

static enum fl_code rotate(
	struct command *command, struct connection *connection, bool json, struct fl_error *err)
{
	struct rotation r = {.command = command, .connection = connection, .json = json};
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	bool changing;
	enum fl_code code;

	FL_TRY(begin(&r, &changing, err));
	if (command->options->no_block)
		return json ? show(connection, true, err) : FL_OK;
	if (!command->options->force) {
		code = wait_for_all(&r, err);
		term_progress(NULL);
		FL_TRY(code);
		say(&r, "All machines have certificates of the new CA");
	}
	FL_TRY(ask(connection, PB__CA_REQUEST__VERB__DROP, command->options->force, &reply, err));
	say(&r, "The old CA is dropped");
	return json ? print_json(reply->ca_reply, err) : FL_OK;
}

enum fl_code verb_ca(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	bool rotates = strcmp(command->args[0], "rotate") == 0, json;

	if (!rotates && strcmp(command->args[0], "show") != 0)
		return FL_FAIL(err, FL_E_USAGE, "ca %s? There are ca show and ca rotate",
			command->args[0]);
	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	return rotates ? rotate(command, connection, json, err) : show(connection, json, err);
}
