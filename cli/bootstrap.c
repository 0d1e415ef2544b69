#include "cli/bootstrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "cli/connection.h"
#include "cli/token.h"
#include "ignition/document.h"
#include "ignition/machine.h"
#include "proto/token.h"
#include "proto/wire.h"
#include "unitfiles/file.h"

#define AT(field) .offset = offsetof(struct cli_options, field), .flags = FL_OPTION_ARG_ONLY

const struct fl_option bootstrap_options[BOOTSTRAP_OPTIONS] = {
	{.name = "out",
		.short_name = 'o',
		.type = FL_OPTION_STRING,
		.value_name = "PATH",
		AT(out),
		.doc = "Write the document there, readable by you alone, instead of to standard "
		       "output."},
	{.name = "token",
		.type = FL_OPTION_STRING,
		.value_name = "TOKEN",
		AT(token),
		.doc = "The join token. Default: a new one, for this host name and with this "
		       "metadata."},
	{.name = "token-file",
		.type = FL_OPTION_STRING,
		.value_name = "PATH",
		AT(token_file),
		.doc = "The same, from a file."},
	{.name = "no-token",
		.type = FL_OPTION_BOOL,
		AT(no_token),
		.doc = "Leave the token out: somebody brings it to the machine later."},
	{.name = "ttl",
		.type = FL_OPTION_DURATION,
		.value_name = "TIME",
		.initial = "15min",
		.min = 1000,
		.max = UINT64_C(30) * 24 * 3600 * 1000,
		AT(ttl_ms),
		.doc = "How long a new token is good for; at most 30 days."},
	{.name = "uses",
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "1",
		.min = 1,
		.max = 100000,
		AT(uses),
		.doc = "How many machines a new token lets in."},
#define X(constant, section, key, flag, type_, many, value, doc_) \
	{.name = flag, \
		.type = FL_OPTION_LIST, \
		.value_name = value, \
		.offset = offsetof(struct cli_options, machine_keys[constant]), \
		.flags = FL_OPTION_ARG_ONLY | FL_OPTION_WHOLE, \
		.doc = "[" section "] " key "=: " doc_},
	MACHINE_KEYS(X)
#undef X
};

static const char *const flags[] = {
#define X(constant, section, key, flag, type, many, value, doc) flag,
	MACHINE_KEYS(X)
#undef X
};

/* ---- the description -- */

static enum fl_code read_machine(
	const char *path, struct unit_report *report, struct machine *machine, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;

	FL_TRY(fl_file_read(path, UNIT_FILE_MAX, &text, &len, err));
	return machine_parse(machine, text, len, report, err);
}

static enum fl_code override(
	const struct cli_options *options, struct machine *machine, struct fl_error *err)
{
	for (unsigned key = 0; key < MACHINE_KEY_COUNT; key++) {
		const struct fl_strv *given = &options->machine_keys[key];
		enum fl_code code;

		if (given->n == 0)
			continue;
		code = machine_override(machine, key, given, err);
		if (code != FL_OK)
			return fl_error_prefix(err, code, "--%s", flags[key]);
	}
	return FL_OK;
}

bool bootstrap_is_machine(const char *path)
{
	static const char suffix[] = ".machine";
	size_t len = strlen(path);

	return len > strlen(suffix) && strcmp(path + len - strlen(suffix), suffix) == 0;
}

enum fl_code bootstrap_verify(const char *path, struct unit_report *report, struct fl_error *err)
{
	FL_CLEANUP(machine_freep) struct machine *machine = NULL;
	struct fl_error local = {0};
	enum fl_code code;

	if (err == NULL)
		err = &local;
	FL_TRY(machine_new(path, &machine, err));
	code = read_machine(path, report, machine, err);
	if (code == FL_OK)
		code = machine_check(machine, err);
	if (code == FL_OK)
		code = machine_read_sources(machine, err);
	if (code != FL_OK && report->errors.n == 0)
		FL_TRY(fl_strv_add(&report->errors, fl_error_text(err), err));
	return code;
}

/* ---- what only the coordinator knows -- */

static enum fl_code ask(const struct cli_options *options, Pb__Envelope *request,
	Pb__Envelope__BodyCase expected, Pb__Envelope **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;

	FL_TRY(connection_open(options, &connection, err));
	return connection_ask(connection, request, expected, 0, ret_reply, err);
}

static enum fl_code set_value(
	struct machine *machine, enum machine_key key, const char *value, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv values = {0};

	FL_TRY(fl_strv_add(&values, value, err));
	return machine_override(machine, key, &values, err);
}

static enum fl_code take_release(
	struct machine *machine, const Pb__ReleasesReply *reply, struct fl_error *err)
{
	const char *version = machine_value(machine, MACHINE_VERSION);
	const char *architecture = machine_value(machine, MACHINE_ARCHITECTURE);

	if (architecture == NULL)
		architecture = MACHINE_ARCHITECTURE_DEFAULT;
	for (size_t i = 0; i < reply->n_releases; i++) {
		const Pb__Release *release = reply->releases[i];
		FL_CLEANUP(fl_freep) char *hash = NULL;

		if (strcmp(release->arch, architecture) != 0 ||
			(strcmp(version, "newest") != 0 && strcmp(version, release->version) != 0))
			continue;
		hash = fl_printf("sha512-%s", release->sha512);
		if (hash == NULL)
			return FL_FAIL_NO_MEMORY(err);
		FL_TRY(set_value(machine, MACHINE_VERSION, release->version, err));
		return set_value(machine, MACHINE_HASH, hash, err);
	}
	return FL_FAIL(err, FL_E_NOT_FOUND,
		"the coordinator has no release \"%s\" for %s; \"flotactl release publish\" brings "
		"it one",
		version, architecture);
}

/* The hash of a release that is named without one. */
static enum fl_code find_release(
	const struct cli_options *options, struct machine *machine, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__ReleasesRequest body = PB__RELEASES_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	enum fl_code code;

	if (machine_value(machine, MACHINE_VERSION) == NULL ||
		machine_value(machine, MACHINE_HASH) != NULL ||
		machine_value(machine, MACHINE_HASH_OF) != NULL ||
		machine_value(machine, MACHINE_BINARY) != NULL)
		return FL_OK;
	request.body_case = PB__ENVELOPE__BODY_RELEASES_REQUEST;
	request.releases_request = &body;
	code = ask(options, &request, PB__ENVELOPE__BODY_RELEASES_REPLY, &reply, err);
	if (code != FL_OK)
		return fl_error_prefix(err, code,
			"the agent's hash cannot be asked for (--agent-hash= and "
			"--agent-hash-of= do without)");
	return take_release(machine, reply->releases_reply, err);
}

/* The fleet's CA, where the agent comes from the coordinator. */
static enum fl_code find_ca(
	const struct cli_options *options, struct machine *machine, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__CaRequest body = PB__CA_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	enum fl_code code;

	if (machine->ca_certificate != NULL || machine->hash == NULL ||
		machine_value(machine, MACHINE_BINARY) != NULL)
		return FL_OK;
	request.body_case = PB__ENVELOPE__BODY_CA_REQUEST;
	request.ca_request = &body;
	code = ask(options, &request, PB__ENVELOPE__BODY_CA_REPLY, &reply, err);
	if (code != FL_OK)
		return fl_error_prefix(err, code,
			"the fleet's CA cannot be asked for (--ca-certificate= does without)");
	machine->ca_certificate = fl_strdup(reply->ca_reply->certificates);
	return machine->ca_certificate != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* ---- the token -- */

static enum fl_code read_token(const char *path, char **ret_text, struct fl_error *err)
{
	size_t len;

	return fl_file_read(path, TOKEN_TEXT_SIZE + 64, ret_text, &len, err);
}

/* One that the coordinator makes: for the machine that is described, and no other. */
static enum fl_code make_token(const struct cli_options *options, const struct machine *machine,
	char **ret_text, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP_STRV struct fl_strv metadata = {0};
	Pb__TokensRequest body = PB__TOKENS_REQUEST__INIT;
	Pb__Metadata pairs[LIMIT_METADATA], *list[LIMIT_METADATA];
	FL_CLEANUP(fl_freep) char *name = NULL;
	enum fl_code code;

	if (machine_value(machine, MACHINE_HOSTNAME) != NULL) {
		name = fl_strdup(machine_value(machine, MACHINE_HOSTNAME));
		if (name == NULL)
			return FL_FAIL_NO_MEMORY(err);
		body.name = name;
	}
	FL_TRY(machine_metadata(machine, &metadata, err));
	FL_TRY(token_set_metadata(&body, &metadata, pairs, list, err));
	body.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	body.ttl_ms = options->ttl_ms;
	body.uses = (uint32_t)options->uses;
	code = token_ask(options, &body, &reply, err);
	if (code != FL_OK)
		return fl_error_prefix(err, code,
			"the machine's token cannot be made (--token=, --token-file= and "
			"--no-token do without)");
	*ret_text = fl_strdup(reply->tokens_reply->text);
	explicit_bzero(reply->tokens_reply->text, strlen(reply->tokens_reply->text));
	return *ret_text != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code find_token(const struct cli_options *options, const struct machine *machine,
	char **ret_text, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct token token;
	enum fl_code code;

	if ((options->token != NULL) + (options->token_file != NULL) + options->no_token > 1)
		return FL_FAIL(err, FL_E_USAGE,
			"only one of --token=, --token-file= and --no-token can be followed");
	if (options->no_token) {
		*ret_text = NULL;
		return FL_OK;
	}
	if (options->token_file != NULL)
		FL_TRY(read_token(options->token_file, &text, err));
	else if (options->token != NULL)
		text = fl_strdup(options->token);
	else
		FL_TRY(make_token(options, machine, &text, err));
	if (text == NULL)
		return FL_FAIL_NO_MEMORY(err);
	code = token_parse(text, &token, err);
	if (code != FL_OK) {
		explicit_bzero(text, strlen(text));
		return code;
	}
	/* As it is written here, without blanks around it. */
	*ret_text = malloc(TOKEN_TEXT_SIZE);
	if (*ret_text != NULL)
		token_format(&token, *ret_text);
	explicit_bzero(text, strlen(text));
	explicit_bzero(&token, sizeof(token));
	return *ret_text != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* ---- the document -- */

static void tell_secrets(const struct fl_strv *secrets)
{
	if (secrets->n == 0)
		return;
	(void)fflush(stdout);
	fputs("It holds what nobody else should see:", stderr);
	for (size_t i = 0; i < secrets->n; i++)
		fprintf(stderr, "%s %s", i > 0 ? "," : "", secrets->items[i]);
	fputs(".\nKeep it where only you can read it, and remove it when the machine has joined.\n",
		stderr);
}

static enum fl_code write_out(const char *path, const struct fl_buf *document, struct fl_error *err)
{
	if (path != NULL)
		return fl_file_write(path, document->data, document->len, 0600, false, err);
	if (fwrite(document->data, 1, document->len, stdout) != document->len ||
		fflush(stdout) != 0)
		return FL_FAIL(err, FL_E_IO, "standard output cannot be written");
	return FL_OK;
}

/* Once without a token: one that is made for a document that cannot be would stay behind. */
static enum fl_code make_document(const struct cli_options *options, enum document_kind kind,
	const struct machine *machine, struct fl_buf *document, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv ignored = {0}, secrets = {0};
	char *token = NULL;
	enum fl_code code;

	FL_TRY(document_write(kind, machine, NULL, document, &ignored, err));
	fl_buf_clear(document);
	FL_TRY(find_token(options, machine, &token, err));
	code = document_write(kind, machine, token, document, &secrets, err);
	if (token != NULL)
		fl_free_secret(token, TOKEN_TEXT_SIZE);
	if (code == FL_OK)
		code = write_out(options->out, document, err);
	if (code == FL_OK)
		tell_secrets(&secrets);
	return code;
}

enum fl_code verb_bootstrap(struct command *command, struct fl_error *err)
{
	const struct cli_options *options = command->options;
	const char *path = command->n_args > 1 ? command->args[1] : NULL;
	FL_CLEANUP(machine_freep) struct machine *machine = NULL;
	FL_CLEANUP_BUF struct fl_buf document = FL_BUF_INIT;
	enum document_kind kind;
	enum fl_code code;

	FL_TRY(document_kind_find(command->args[0], &kind, err));
	FL_TRY(machine_new(path != NULL ? path : "the machine", &machine, err));
	if (path != NULL)
		FL_TRY(read_machine(path, NULL, machine, err));
	FL_TRY(override(options, machine, err));
	FL_TRY(machine_check(machine, err));
	FL_TRY(find_release(options, machine, err));
	FL_TRY(machine_read_sources(machine, err));
	FL_TRY(find_ca(options, machine, err));
	code = make_document(options, kind, machine, &document, err);
	if (document.data != NULL)
		explicit_bzero(document.data, document.capacity);
	return code;
}
