#include "cli/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/strv.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/table.h"

enum fl_code token_ask(const struct cli_options *options, Pb__TokensRequest *body,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	request.body_case = PB__ENVELOPE__BODY_TOKENS_REQUEST;
	request.tokens_request = body;
	FL_TRY(connection_open(options, &connection, err));
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_TOKENS_REPLY, 0, ret_reply, err);
}

/* "23 h", "15 min", "40 s": the greatest unit of which there is a whole one. */
static void write_span(uint64_t ms, struct fl_buf *out)
{
	uint64_t s = (ms + 500) / 1000;

	if (s >= UINT64_C(48) * 3600)
		fl_buf_printf(out, "%" PRIu64 " days", s / 86400);
	else if (s >= 3600)
		fl_buf_printf(out, "%" PRIu64 " h", s / 3600);
	else if (s >= 60)
		fl_buf_printf(out, "%" PRIu64 " min", s / 60);
	else
		fl_buf_printf(out, "%" PRIu64 " s", s);
}

static void write_metadata(const Pb__Token *token, struct fl_buf *out)
{
	for (size_t i = 0; i < token->n_metadata; i++)
		fl_buf_printf(out, "%s%s=%s", i > 0 ? "," : "", token->metadata[i]->key,
			token->metadata[i]->value);
}

static json_t *json_of_token(const Pb__Token *token)
{
	json_t *metadata = json_object();
	bool ok = metadata != NULL;

	for (size_t i = 0; i < token->n_metadata && ok; i++)
		ok = json_object_set_new(metadata, token->metadata[i]->key,
			     json_of_text(token->metadata[i]->value)) == 0;
	if (!ok) {
		json_free(metadata);
		return NULL;
	}
	return json_pack("{s:s, s:I, s:i, s:s, s:s, s:o, s:s}", "id", token->id, "expires_in_ms",
		(json_int_t)token->expires_in_ms, "uses_left", (int)token->uses_left, "name",
		token->name, "machine", token->machine_id, "metadata", metadata, "created_by",
		token->created_by);
}

/* ---- create ---- */

enum fl_code token_set_metadata(Pb__TokensRequest *body, struct fl_strv *words, Pb__Metadata *pairs,
	Pb__Metadata **list, struct fl_error *err)
{
	if (words->n > LIMIT_METADATA)
		return FL_FAIL(err, FL_E_USAGE, "--metadata: more than %u pairs", LIMIT_METADATA);
	for (size_t i = 0; i < words->n; i++) {
		char *equals = strchr(words->items[i], '=');

		if (equals == NULL || equals == words->items[i] || equals[1] == '\0')
			return FL_FAIL(err, FL_E_USAGE, "--metadata: \"%s\" is not key=value",
				words->items[i]);
		*equals = '\0';
		pb__metadata__init(&pairs[i]);
		pairs[i].key = words->items[i];
		pairs[i].value = equals + 1;
		list[i] = &pairs[i];
	}
	body->metadata = list;
	body->n_metadata = words->n;
	return FL_OK;
}

static enum fl_code print_created(
	const struct command *command, const Pb__TokensReply *reply, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf span = FL_BUF_INIT;
	FL_CLEANUP(json_freep) json_t *object = NULL;
	const Pb__Token *token;
	bool json;

	if (reply->n_tokens != 1)
		return FL_FAIL(
			err, FL_E_PROTOCOL, "the coordinator did not say which token it made");
	token = reply->tokens[0];
	FL_TRY(command_wants_json(command, &json, err));
	if (json) {
		object = json_of_token(token);
		if (object == NULL ||
			json_object_set_new(object, "token", json_string(reply->text)) < 0)
			return FL_FAIL_NO_MEMORY(err);
		return json_print(object, err);
	}
	printf("%s\n", reply->text);
	(void)fflush(stdout);
	write_span(token->expires_in_ms, &span);
	fprintf(stderr,
		"It lets %u machine%s in, and is valid for %s. Write it to /etc/flota/token there "
		"(mode 0600), beside Coordinator= in /etc/flota/agent.conf.\n"
		"Whoever has it can join: it is shown this once.\n",
		token->uses_left, token->uses_left == 1 ? "" : "s", fl_buf_str(&span));
	return FL_OK;
}

static enum fl_code create(struct command *command, struct fl_error *err)
{
	const struct cli_options *options = command->options;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP_STRV struct fl_strv words = {0};
	Pb__TokensRequest body = PB__TOKENS_REQUEST__INIT;
	Pb__Metadata pairs[LIMIT_METADATA], *list[LIMIT_METADATA];

	if (command->n_args > 1)
		return FL_FAIL(err, FL_E_USAGE, "token create takes no \"%s\"", command->args[1]);
	if (options->metadata != NULL)
		FL_TRY(fl_strv_split(&words, options->metadata, ", ", err));
	FL_TRY(token_set_metadata(&body, &words, pairs, list, err));
	body.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	body.ttl_ms = options->ttl_ms;
	body.uses = (uint32_t)options->uses;
	if (options->name != NULL)
		body.name = options->name;
	if (options->machine != NULL)
		body.machine_id = options->machine;
	FL_TRY(token_ask(command->options, &body, &reply, err));
	return print_created(command, reply->tokens_reply, err);
}

/* ---- list ---- */

static enum fl_code add_row(struct table *table, const Pb__Token *token, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf span = FL_BUF_INIT;
	FL_CLEANUP_BUF struct fl_buf uses = FL_BUF_INIT;
	FL_CLEANUP_BUF struct fl_buf metadata = FL_BUF_INIT;
	const char *const only = *token->name != '\0' ? token->name : token->machine_id;

	write_span(token->expires_in_ms, &span);
	fl_buf_printf(&uses, "%u", token->uses_left);
	write_metadata(token, &metadata);
	if (!fl_buf_ok(&span) || !fl_buf_ok(&uses) || !fl_buf_ok(&metadata))
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(table_add(table, token->id, TERM_PLAIN, err));
	FL_TRY(table_add(table, fl_buf_str(&span), TERM_PLAIN, err));
	FL_TRY(table_add(table, fl_buf_str(&uses), TERM_PLAIN, err));
	FL_TRY(table_add(table, only, TERM_PLAIN, err));
	FL_TRY(table_add(table, fl_buf_str(&metadata), TERM_PLAIN, err));
	return table_add(table, token->created_by, TERM_PLAIN, err);
}

static enum fl_code list_json(const Pb__TokensReply *reply, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < reply->n_tokens; i++)
		FL_TRY(json_add(array, json_of_token(reply->tokens[i]), err));
	return json_print(array, err);
}

static enum fl_code list(struct command *command, struct fl_error *err)
{
	static const char *const columns[] = {"TOKEN", "EXPIRES", "USES", "ONLY", "METADATA", "BY"};
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP(table_freep) struct table *table = NULL;
	Pb__TokensRequest body = PB__TOKENS_REQUEST__INIT;
	bool json;

	if (command->n_args > 1)
		return FL_FAIL(err, FL_E_USAGE, "token list takes no \"%s\"", command->args[1]);
	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(token_ask(command->options, &body, &reply, err));
	if (json)
		return list_json(reply->tokens_reply, err);
	FL_TRY(table_new(FL_COUNT(columns), &table, err));
	for (size_t i = 0; i < FL_COUNT(columns) && !command->options->no_legend; i++)
		FL_TRY(table_add(table, columns[i], TERM_PLAIN, err));
	for (size_t i = 0; i < reply->tokens_reply->n_tokens; i++)
		FL_TRY(add_row(table, reply->tokens_reply->tokens[i], err));
	table_print(table, false, stdout);
	return FL_OK;
}

/* ---- revoke ---- */

static enum fl_code revoke(struct command *command, struct fl_error *err)
{
	if (command->n_args < 2)
		return FL_FAIL(err, FL_E_USAGE, "which token? \"flotactl token list\" shows them");
	for (size_t i = 1; i < command->n_args; i++) {
		FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
		Pb__TokensRequest body = PB__TOKENS_REQUEST__INIT;

		body.verb = PB__TOKENS_REQUEST__VERB__REVOKE;
		body.id = command->args[i];
		FL_TRY(token_ask(command->options, &body, &reply, err));
		printf("Revoked %s\n", command->args[i]);
	}
	return FL_OK;
}

enum fl_code verb_token(struct command *command, struct fl_error *err)
{
	const char *what = command->args[0];

	if (strcmp(what, "create") == 0)
		return create(command, err);
	if (strcmp(what, "list") == 0)
		return list(command, err);
	if (strcmp(what, "revoke") == 0)
		return revoke(command, err);
	return FL_FAIL(err, FL_E_USAGE,
		"token %s? There are token create, token list and token revoke", what);
}
