#include "cli/look.h"

#include <stdio.h>

#include "cli/connection.h"
#include "cli/dialect.h"
#include "cli/help.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/state.h"
#include "cli/term.h"
#include "unitfiles/name.h"

enum fl_code verb_cat(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	char name[UNIT_NAME_MAX + 1];
	const ProtobufCBinaryData *content;
	char *names = name;

	FL_TRY(unit_name_from_argument(command->args[0], name, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_units(connection, &names, 1, true, &reply, err));
	if (reply->units_reply->n_units == 0)
		return DIALECT_FAIL(err, TEXT_UNIT_NOT_FOUND, name);
	content = &reply->units_reply->units[0]->content;
	if (fwrite(content->data, 1, content->len, stdout) != content->len)
		return FL_FAIL(err, FL_E_IO, "standard output cannot be written");
	return FL_OK;
}

static enum fl_code why_json(const Pb__WhyReply *why, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *object = NULL;

	object = json_pack("{s:o, s:s, s:o}", "unit",
		why->unit != NULL ? json_of_unit(why->unit) : json_null(), "summary", why->summary,
		"machines", json_of_refusals(why->machines, why->n_machines));
	if (object == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return json_print(object, err);
}

enum fl_code verb_why(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	const struct list_style style = {
		.full = command->options->full,
		.legend = !command->options->no_legend,
		.colours = term_has_colours(stdout),
	};
	Pb__WhyRequest body = PB__WHY_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	char name[UNIT_NAME_MAX + 1];
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(unit_name_from_argument(command->args[0], name, err));
	body.name = name;
	request.body_case = PB__ENVELOPE__BODY_WHY_REQUEST;
	request.why_request = &body;
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_ask(connection, &request, PB__ENVELOPE__BODY_WHY_REPLY, 0, &reply, err));
	if (json)
		return why_json(reply->why_reply, err);
	printf("%s\n", reply->why_reply->summary);
	if (reply->why_reply->n_machines == 0)
		return FL_OK;
	putchar('\n');
	return list_print_refusals(reply->why_reply->machines, reply->why_reply->n_machines,
		reply->why_reply->unit, &style, stdout, err);
}

/* That the coordinator cannot be reached, or none is configured, is an answer here, no error. */
enum fl_code verb_version(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP(json_freep) json_t *object = NULL;
	Pb__HelloRequest body = PB__HELLO_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	struct fl_error why = {0};
	const Pb__HelloReply *hello;
	enum fl_code code;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	if (!json) {
		help_print_version(stdout);
		(void)fflush(stdout);
	}
	if (!json && dialect->has_own_version)
		return FL_OK;
	request.body_case = PB__ENVELOPE__BODY_HELLO_REQUEST;
	request.hello_request = &body;
	code = connection_open(command->options, &connection, &why);
	if (code == FL_OK)
		code = connection_ask(
			connection, &request, PB__ENVELOPE__BODY_HELLO_REPLY, 0, &reply, &why);
	hello = code == FL_OK ? reply->hello_reply : NULL;
	if (json) {
		object = json_pack("{s:s, s:s?, s:s?, s:s?, s:s?}", "flotactl", FLOTA_VERSION,
			"coordinator", hello != NULL ? hello->program_version : NULL, "fleet",
			hello != NULL ? hello->fleet : NULL, "you",
			hello != NULL ? hello->peer : NULL, "error",
			hello != NULL ? NULL : fl_error_text(&why));
		return object != NULL ? json_print(object, err) : FL_FAIL_NO_MEMORY(err);
	}
	/* Nothing configured at all is no news to somebody who asks for a version. */
	if (hello == NULL && code != FL_E_USAGE)
		fprintf(stderr, "coordinator: %s\n", fl_error_text(&why));
	if (hello != NULL)
		printf("coordinator version %s of the fleet %s; you are %s\n",
			hello->program_version, hello->fleet, hello->peer);
	return FL_OK;
}
