#include "cli/dialect.h"

#include <string.h>

#include "base/buf.h"
#include "cli/term.h"

/* ---- texts ---- */

#define SEE_UNITS "; \"flotactl list-unit-files\" lists those that do"

/* An error of FL_E_USAGE ends fleetctl with 0: see dialect_exit_code(). */
static const struct {
	struct {
		enum fl_code code;
		const char *text;
	} flotactl, fleetctl;
} texts[N_DIALECT_TEXTS] = {
	/* What was typed; the verbs that were perhaps meant. */
	[TEXT_UNKNOWN_VERB] = {{FL_E_USAGE,
				       "unknown command \"{1}\"; \"flotactl help\" lists them"},
		{FL_E_USAGE, "unknown command \"{1}\" for \"fleetctl\""}},
	[TEXT_UNKNOWN_VERB_MEANT] = {{FL_E_USAGE, "unknown command \"{1}\". Did you mean {2}?"},
		{FL_E_USAGE,
			"unknown command \"{1}\" for \"fleetctl\"\n\nDid you mean this?\n\t{2}\n"}},

	/* The URL. */
	[TEXT_ENDPOINT_WITHOUT_SCHEME] = {{FL_E_USAGE, "the endpoint \"{1}\" is neither "
						       "tls+tcp://HOST:PORT nor ipc:///PATH"},
		{FL_E_INVALID, "Unable to initialize client: URL scheme undefined"}},
	[TEXT_ENDPOINT_SCHEME] = {{FL_E_USAGE, "the endpoint \"{1}\" is neither "
					       "tls+tcp://HOST:PORT nor ipc:///PATH"},
		{FL_E_INVALID, "Unable to initialize client: the endpoint \"{1}\" is neither "
			       "tls+tcp://HOST:PORT nor ipc:///PATH"}},

	/* The column. */
	[TEXT_FIELD] = {{FL_E_USAGE, "Invalid key in output format: \"{1}\"; see --help"},
		{FL_E_INVALID, "Invalid key in output format: \"{1}\""}},

	/* The unit; the path that was looked at. */
	[TEXT_UNIT_NOWHERE] = {{FL_E_NOT_FOUND,
				       "unable to find Unit({1}) in Registry or on filesystem "
				       "({2})"},
		{FL_E_NOT_FOUND, "Error creating units: unable to find Unit({1}) in Registry or on "
				 "filesystem"}},
	/* The unit. fleetctl's status and journal said the first, cat the second. */
	[TEXT_UNIT_UNKNOWN] = {{FL_E_NOT_FOUND, "Unit {1} does not exist" SEE_UNITS},
		{FL_E_NOT_FOUND, "Unit {1} does not exist."}},
	[TEXT_UNIT_NOT_FOUND] = {{FL_E_NOT_FOUND, "Unit {1} does not exist" SEE_UNITS},
		{FL_E_NOT_FOUND, "Unit {1} not found"}},
	/* The instance; its template. */
	[TEXT_TEMPLATE_NOWHERE] = {{FL_E_NOT_FOUND,
					   "unable to find Unit({1}), nor its template Unit({2}), "
					   "in Registry or on filesystem"},
		{FL_E_NOT_FOUND,
			"Error creating units: failed getting Unit({1}) from template: unable to "
			"find template Unit({2}) in Registry or on filesystem"}},
	/* The file; what is wrong with it, with its path. */
	[TEXT_FILE] = {{FL_E_INVALID, "{2}"},
		{FL_E_INVALID, "Error creating units: failed getting Unit({1}) from file: {2}"}},
	/* The template; an instance of it; the verb. */
	[TEXT_TEMPLATE_STARTED] = {{FL_E_INVALID,
					   "{1} is a template and runs nowhere itself; name an "
					   "instance of it, such as {2}"},
		{FL_E_INVALID, "Error {3}ing units: googleapi: Error 400: cannot activate template "
			       "\"{1}\""}},
	/* The unit; its state; the verb that replaces it. */
	[TEXT_REPLACE] = {{FL_E_STATE, "can not replace Unit({1}) in state '{2}': {3} it with "
				       "--replace"},
		{FL_E_STATE, "Warning: can not replace Unit({1}) in state '{2}', use the "
			     "appropriate command"}},
	/* The unit; the coordinator's reason. */
	[TEXT_REFUSED] = {{FL_E_FAILED, "{1}: {2}"},
		{FL_E_FAILED, "Error creating units: {1}: {2}"}},
	/* The unit; how it failed, and where. */
	[TEXT_FAILED] = {{FL_E_FAILED,
				 "{1} {2}; see \"flotactl status {1}\" and \"flotactl journal "
				 "{1}\""},
		{FL_E_FAILED, "Error waiting for units: Failed to find an active unit {1} within "
			      "2s, err: {2}"}},
	/* ssh: nothing was given; what was given. */
	[TEXT_NO_HOST] = {{FL_E_USAGE, "nothing is given to ssh; it is used as: flotactl ssh "
				       "MACHINE|UNIT [COMMAND...]"},
		{FL_E_NOT_FOUND, "Unable to proceed: one machine or unit must be provided"}},
	[TEXT_NO_SUCH_HOST] = {{FL_E_NOT_FOUND,
				       "\"{1}\" is neither the beginning of a machine's ID nor a "
				       "unit on a machine"},
		{FL_E_NOT_FOUND, "Unable to proceed: could not find matching unit or machine"}},
};

/* fleetctl's verbs; what it said of one without arguments (and, where it took one, with several), and
 * when its server did not answer. */
static const struct {
	const char *verb;
	const char *no_args; /* NULL: the usage; "": nothing */
	int no_args_exit_code;
	const char *unreachable;
} fleet_verbs[] = {
	{"submit", "No units given", 0, "Error creating units: "},
	{"load", "No units given", 0, "Error creating units: "},
	{"start", "No units given", 0, "Error creating units: "},
	{"stop", "No units given", 0, "Error retrieving list of units from repository: "},
	{"restart", "No units given", 0, "Error retrieving list of units from repository: "},
	{"unload", "No units given", 0, "Error retrieving list of units from repository: "},
	{"destroy", "No units given", 0, "Error retrieving list of units from repository: "},
	{"status", "", 0, ""},
	{"journal", "One unit file must be provided.", 1, ""},
	{"cat", "One unit file must be provided", 1, ""},
	{"list-units", NULL, 0, "Error retrieving list of units from repository: "},
	{"list-unit-files", NULL, 0, "Error retrieving list of units from repository: "},
	{"list-machines", NULL, 0, "Error retrieving list of active machines: "},
	{"ssh", NULL, 0, ""},
	{"fd-forward", NULL, 0, ""},
	{"verify", NULL, 0, ""},
	{"version", NULL, 0, ""},
	{"help", NULL, 0, ""},
};

/* ---- options ---- */

#define AT(field) .offset = offsetof(struct cli_options, field), .flags = FL_OPTION_ARG_ONLY

/* What has no meaning any more. */
#define IGNORED(option, why) \
	{ \
		.name = (option), .type = FL_OPTION_STRING, .value_name = "VALUE", AT(ignored), \
		.doc = "Ignored: " why "." \
	}
#define IGNORED_FLAG(option, why) \
	{ \
		.name = (option), .type = FL_OPTION_BOOL, AT(is_ignored), \
		.doc = "Ignored: " why "." \
	}

/* How ssh(1) is called. fleetctl had defaults of its own; flotactl leaves to ssh_config(5) what is
 * not said. */
#define SSH_OPTIONS(username, timeout, hosts_file) \
	{.name = "tunnel", \
		.type = FL_OPTION_STRING, \
		.value_name = "HOST[:PORT]", \
		AT(tunnel), \
		.doc = "Reach the coordinator through ssh(1) to its machine, at the local socket " \
		       "there (or the one of --endpoint=unix:///PATH)."}, \
		{.name = "ssh-username", \
			.type = FL_OPTION_STRING, \
			.value_name = "NAME", \
			.initial = (username), \
			AT(ssh_username), \
			.doc = "Who to be on hosts: ssh's -l."}, \
		{.name = "ssh-port", \
			.type = FL_OPTION_UINT, \
			.value_name = "PORT", \
			.max = 65535, \
			AT(ssh_port), \
			.doc = "ssh's -p; status and journal have no use for it."}, \
		{.name = "ssh-timeout", \
			.type = FL_OPTION_DURATION, \
			.value_name = "TIME", \
			.initial = (timeout), \
			AT(ssh_timeout_ms), \
			.doc = "ssh's ConnectTimeout."}, \
		{.name = "known-hosts-file", \
			.type = FL_OPTION_STRING, \
			.value_name = "PATH", \
			.initial = (hosts_file), \
			AT(known_hosts_file), \
			.doc = "ssh's UserKnownHostsFile; empty: ssh's own."}, \
	{ \
		.name = "strict-host-key-checking", .type = FL_OPTION_BOOL, .initial = "true", \
		AT(strict_host_keys), .doc = "With \"false\" ssh's StrictHostKeyChecking is no." \
	}

static const struct fl_option flotactl_options[] = {SSH_OPTIONS(NULL, NULL, NULL)};
static const struct fl_option fleetctl_options[] = {
	SSH_OPTIONS("core", "10s", "~/.fleetctl/known_hosts")};

const struct fl_option dialect_ignored_options[] = {
	IGNORED("driver", "there is one way to reach the registry"),
	IGNORED("etcd-key-prefix", "there is no etcd"),
	IGNORED("etcd-cafile", "there is no etcd"),
	IGNORED("etcd-certfile", "there is no etcd"),
	IGNORED("etcd-keyfile", "there is no etcd"),
	IGNORED_FLAG("experimental-api", "there is one way to reach the registry"),
	IGNORED_FLAG("debug", "what goes wrong is told anyway"),
	IGNORED_FLAG("sign", "unit files are not signed; was one of submit, load and start"),
	IGNORED_FLAG("sudo", "status and journal come over flota's own connection"),
};
const size_t dialect_n_ignored_options = FL_COUNT(dialect_ignored_options);

/* ---- the dialects ---- */

static const struct dialect dialect_flotactl = {
	.program = "flotactl",
	.version = FLOTA_VERSION,
	.error_prefix = "flotactl: ",
	.between_verbs = ", ",
	.options = flotactl_options,
	.n_options = FL_COUNT(flotactl_options),
	.tells_closed = true,
};

static const struct dialect dialect_fleetctl = {
	.program = "fleetctl",
	.version = "1.0.0 (flota " FLOTA_VERSION ")",
	.error_prefix = "",
	.between_verbs = "\n\t",
	.options = fleetctl_options,
	.n_options = FL_COUNT(fleetctl_options),
	.asks_host_keys = true,
	.is_lenient = true,
	.is_patient = true,
	.forgives_unknown = true,
	.forgives_replace = true,
	.tells_same = true,
	.has_own_version = true,
};

const struct dialect *dialect = &dialect_flotactl;

void dialect_choose(const char *argv0)
{
	const char *slash = argv0 != NULL ? strrchr(argv0, '/') : NULL;
	const char *name = slash != NULL ? slash + 1 : argv0;
	bool is_fleetctl = name != NULL && strcmp(name, dialect_fleetctl.program) == 0;

	dialect = is_fleetctl ? &dialect_fleetctl : &dialect_flotactl;
}

enum fl_code dialect_fail(struct fl_error *err, enum dialect_text number, const char *const *args)
{
	bool is_fleetctl = dialect == &dialect_fleetctl;
	const char *text = is_fleetctl ? texts[number].fleetctl.text : texts[number].flotactl.text;
	FL_CLEANUP_BUF struct fl_buf out = FL_BUF_INIT;
	enum fl_code code = is_fleetctl ? texts[number].fleetctl.code : texts[number].flotactl.code;

	while (*text != '\0') {
		size_t n = strcspn(text, "{");

		fl_buf_append(&out, text, n);
		text += n;
		if (*text == '{') {
			fl_buf_text(&out, args[text[1] - '0']);
			text += strlen("{1}");
		}
	}
	return fl_error_set(err, code, "%s", fl_buf_str(&out));
}

static bool is_unreachable(enum fl_code code)
{
	return code == FL_E_UNAVAILABLE || code == FL_E_TIMEOUT || code == FL_E_DENIED;
}

const char *dialect_context(const struct verb *verb, enum fl_code code)
{
	if (dialect != &dialect_fleetctl)
		return "";
	if (code == FL_E_USAGE)
		return "cannot execute cmdFleet: ";
	for (size_t i = 0; verb != NULL && i < FL_COUNT(fleet_verbs); i++)
		if (strcmp(fleet_verbs[i].verb, verb->name) == 0 && is_unreachable(code))
			return fleet_verbs[i].unreachable;
	return "";
}

int dialect_exit_code(enum fl_code code)
{
	if (dialect != &dialect_fleetctl)
		return fl_code_exit(code);
	return code == FL_OK || code == FL_E_USAGE ? 0 : 1;
}

bool dialect_has_verb(const char *name)
{
	if (dialect != &dialect_fleetctl)
		return true;
	for (size_t i = 0; i < FL_COUNT(fleet_verbs); i++)
		if (strcmp(fleet_verbs[i].verb, name) == 0)
			return true;
	return false;
}

bool dialect_tells_wrong_args(struct command *command)
{
	const struct verb *verb = command->verb;

	if (dialect != &dialect_fleetctl || verb->min_args == 0 ||
		(command->n_args > 0 && command->n_args <= verb->max_args))
		return false;
	for (size_t i = 0; i < FL_COUNT(fleet_verbs); i++) {
		if (strcmp(fleet_verbs[i].verb, verb->name) != 0 || fleet_verbs[i].no_args == NULL)
			continue;
		if (fleet_verbs[i].no_args[0] != '\0')
			term_error("%s", fleet_verbs[i].no_args);
		command->exit_code = fleet_verbs[i].no_args_exit_code;
		command->is_answered = true;
		return true;
	}
	return false;
}
