#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
#include "coordinator/ca.h"
#include "coordinator/commands.h"

struct issue_options {
	char *data;
	char *out;
	struct fl_strv address;
	uint64_t valid_for_ms;
	char *not_after;
	bool force;
};

#define AT(field) offsetof(struct issue_options, field)

static const struct fl_option options[] = {
	{.name = "data",
		.type = FL_OPTION_STRING,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "DIR",
		.doc = "Where the fleet is, instead of DataDirectory=.",
		.offset = AT(data)},
	{.name = "out",
		.short_name = 'o',
		.type = FL_OPTION_STRING,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "DIR",
		.doc = "Write there. Default: the current folder; the fleet's own for a "
		       "coordinator.",
		.offset = AT(out)},
	{.name = "address",
		.type = FL_OPTION_LIST,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "HOST",
		.doc = "A host name or IP address in a coordinator's certificate; may be given "
		       "several times.",
		.offset = AT(address)},
	{.name = "valid-for",
		.type = FL_OPTION_DURATION,
		.flags = FL_OPTION_ARG_ONLY,
		.min = 1000,
		.initial = "365d",
		.value_name = "DURATION",
		.doc = "From now on. Default: 365d, as long as agents do not renew theirs.",
		.offset = AT(valid_for_ms)},
	{.name = "not-after",
		.type = FL_OPTION_STRING,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "TIME",
		.doc = "Valid until TIME instead, written 2026-01-31T12:00:00Z; it may have passed.",
		.offset = AT(not_after)},
	{.name = "force",
		.type = FL_OPTION_BOOL,
		.flags = FL_OPTION_ARG_ONLY,
		.doc = "Overwrite files that are there.",
		.offset = AT(force)},
};

static const struct fl_option_table table = {
	.program = "flota-coordinator issue",
	.section = "Issue",
	.options = options,
	.n_options = FL_COUNT(options),
};

void command_issue_help(FILE *out)
{
	fl_options_help(&table, out);
}

/* "machine ID", "operator NAME" or "coordinator". */
static enum fl_code parse_words(int argc, char **argv, const char *fleet,
	struct identity *ret_identity, struct fl_error *err)
{
	static const struct {
		const char *word;
		bool named;
	} kinds[] = {{"machine", true}, {"operator", true}, {"coordinator", false}};
	char uri[IDENTITY_URI_MAX];

	for (size_t i = 0; argc > 0 && i < FL_COUNT(kinds); i++) {
		int n;

		if (strcmp(argv[0], kinds[i].word) != 0 || argc != (kinds[i].named ? 2 : 1))
			continue;
		n = snprintf(uri, sizeof(uri), "flota://%s/%s%s%s", fleet, argv[0],
			kinds[i].named ? "/" : "", kinds[i].named ? argv[1] : "");
		if (n < 0 || (size_t)n >= sizeof(uri))
			return FL_FAIL(err, FL_E_INVALID, "\"%.32s...\" is too long", argv[1]);
		return identity_parse(uri, ret_identity, err);
	}
	return FL_FAIL(err, FL_E_USAGE,
		"say for whom: issue machine ID, issue operator NAME or issue coordinator");
}

static enum fl_code end_of_life(
	const struct issue_options *given, int64_t *ret_not_after, struct fl_error *err)
{
	struct tm time_parts = {0};
	const char *end;

	if (given->not_after == NULL) {
		*ret_not_after = (int64_t)time(NULL) + (int64_t)(given->valid_for_ms / 1000);
		return FL_OK;
	}
	end = strptime(given->not_after, "%Y-%m-%dT%H:%M:%SZ", &time_parts);
	if (end == NULL || *end != '\0')
		return FL_FAIL(err, FL_E_USAGE,
			"--not-after=%s: write it like 2026-01-31T12:00:00Z", given->not_after);
	*ret_not_after = (int64_t)timegm(&time_parts);
	return FL_OK;
}

static const char *file_name(const struct identity *identity)
{
	switch (identity->kind) {
	case IDENTITY_MACHINE:
		return "machine";
	case IDENTITY_OPERATOR:
		return "operator";
	case IDENTITY_COORDINATOR:
		return "coordinator";
	case IDENTITY_NONE:
	case IDENTITY_USER:
	case IDENTITY_LOCAL:
	case IDENTITY_JOINER:
		break;
	}
	fl_assert_failed("parse_words knows no other", __FILE__, __LINE__, __func__);
}

/* Beside each certificate its holder needs the CA's. The same one there already is no conflict. */
static enum fl_code write_ca(
	const char *directory, const struct ca *ca, bool force, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/ca.crt", directory);
	FL_CLEANUP(fl_freep) char *present = NULL;
	const char *pem = ca_certificate(ca);
	size_t len;

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (fl_file_read(path, strlen(pem), &present, &len, NULL) == FL_OK &&
		strcmp(present, pem) == 0)
		return FL_OK;
	if (!force && access(path, F_OK) == 0)
		return FL_FAIL(err, FL_E_EXISTS,
			"%s is there already, of another fleet; --force overwrites it", path);
	return fl_file_write(path, pem, strlen(pem), 0644, true, err);
}

static enum fl_code issue(const struct config *config, const struct issue_options *given, int argc,
	char **argv, struct fl_error *err)
{
	const char *data = given->data != NULL ? given->data : config->data_directory;
	FL_CLEANUP(ca_freep) struct ca *ca = NULL;
	FL_CLEANUP(ca_pair_fini) struct ca_pair pair = {0};
	struct identity identity;
	int64_t not_after;
	const char *out = given->out, *name;

	FL_TRY(ca_load(data, &ca, err));
	FL_TRY(parse_words(argc, argv, ca_fleet(ca), &identity, err));
	FL_TRY(end_of_life(given, &not_after, err));
	if (given->address.n > 0 && identity.kind != IDENTITY_COORDINATOR)
		return FL_FAIL(err, FL_E_USAGE, "--address is for a coordinator's certificate");
	if (out == NULL)
		out = identity.kind == IDENTITY_COORDINATOR ? data : ".";
	FL_TRY(ca_issue(ca, &identity, &given->address, not_after, &pair, err));

	name = file_name(&identity);
	FL_TRY(command_become_owner(out, err));
	FL_TRY(fl_mkdir_all(out, 0700, err));
	FL_TRY(write_ca(out, ca, given->force, err));
	FL_TRY(command_write_pair(out, name, &pair, given->force, err));
	printf("%s/%s.crt, %s.key and ca.crt\n", out, name, name);
	return FL_OK;
}

enum fl_code command_issue(const struct config *config, int argc, char **argv, struct fl_error *err)
{
	struct issue_options given = {0};
	int first = 0;
	enum fl_code code;

	code = fl_options_init(&table, &given, err);
	if (code == FL_OK)
		code = fl_options_parse_args(&table, argc, argv, false, &given, &first, err);
	if (code == FL_OK)
		code = issue(config, &given, argc - first, argv + first, err);
	fl_options_fini(&table, &given);
	return code;
}
