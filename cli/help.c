#include "cli/help.h"

#include <string.h>

#include "base/man.h"
#include "cli/context.h"
#include "cli/dialect.h"
#include "ignition/machine.h"
#include "unitfiles/man.h"

/* What the help and the manual page both say of the environment. */
static const struct {
	const char *name, *doc;
} environment[] = {
	{"FLOTACTL_ENDPOINT",
		"The coordinator, as --endpoint; FLEETCTL_ENDPOINT is read beside it."},
	{"FLOTACTL_CONTEXT", "The context, as --context."},
	{"FLOTACTL_CA_FILE, FLOTACTL_CERT_FILE, FLOTACTL_KEY_FILE",
		"As --ca-file, --cert-file and --key-file; also with FLEETCTL_ in front."},
	{"FLOTACTL_REQUEST_TIMEOUT, FLOTACTL_TUNNEL, FLOTACTL_SSH_USERNAME, ...",
		"As the options of every verb that are named so; also with FLEETCTL_ in front."},
	{"XDG_CONFIG_HOME", "Where the configuration is, instead of ~/.config."},
	{"VISUAL, EDITOR", "The editor of \"edit\"; vi where neither is set."},
	{"TZ", "The time zone of listings. What status and journal print is in the machine's own; "
	       "with --output=json times are microseconds since 1970 in UTC."},
	{"NO_COLOR, TERM",
		"NO_COLOR set to anything, or TERM=dumb: no colours. There are none "
		"either where standard output is no terminal, and a pager is never started."},
};

static const struct {
	enum fl_code code;
	const char *doc;
} exit_codes[] = {
	{FL_OK, "All went well."},
	{FL_E_FAILED, "A unit failed, or the command was wrong."},
	{FL_E_UNAVAILABLE, "The coordinator cannot be reached."},
	{FL_E_DENIED, "Your certificate does not allow it."},
	{FL_E_TIMEOUT, "The time of --timeout is over; what was asked for goes on."},
	{FL_E_UNSCHEDULABLE, "No machine can take a unit now."},
};

static const char other_exit_codes[] =
	"Of several units the first that did not come to be as it was asked for decides. \"status\" "
	"ends as systemctl status on the machine does (3: it does not run), \"ssh\" as ssh(1) does "
	"(255: no connection), \"apply --dry-run\" with 0 when there is nothing to do, 2 when there "
	"is and 1 on any error. Called by the name fleetctl it ends with 0 also when the command line "
	"was wrong and for stop, unload and destroy of units that do not exist, and every other "
	"failure is 1.";

void help_print_version(FILE *out)
{
	fprintf(out, "%s version %s\n", dialect->program, dialect->version);
}

/* Words in lines of at most 78 columns that begin with @indent spaces. */
static void print_filled(const char *text, size_t indent, FILE *out)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t n = strcspn(text, " ");

		if (column > 0 && column + 1 + n > 78) {
			fputc('\n', out);
			column = 0;
		}
		if (column == 0) {
			fprintf(out, "%*s", (int)indent, "");
			column = indent;
		} else {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, n, out);
		column += n;
		text += n + strspn(text + n, " ");
	}
	fputc('\n', out);
}

static void print_environment(FILE *out)
{
	for (size_t i = 0; i < FL_COUNT(environment); i++) {
		fprintf(out, "  %s\n", environment[i].name);
		print_filled(environment[i].doc, 6, out);
	}
}

static void print_exit_codes(FILE *out)
{
	for (size_t i = 0; i < FL_COUNT(exit_codes); i++)
		fprintf(out, "  %d  %s\n", fl_code_exit(exit_codes[i].code), exit_codes[i].doc);
	print_filled(other_exit_codes, 2, out);
}

void help_print(FILE *out)
{
	const struct fl_option_table table = {.program = dialect->program,
		.options = global_options,
		.n_options = n_global_options};
	const struct fl_option_table ssh = {.program = dialect->program,
		.options = dialect->options,
		.n_options = dialect->n_options};

	fprintf(out,
		"%s [OPTIONS] VERB [ARGUMENTS]\n\n"
		"Runs units, written in systemd's syntax, on the machines of a fleet.\n\n"
		"Verbs (the beginning of one is enough; \"%s help VERB\" tells more):\n",
		dialect->program, dialect->program);
	for (size_t i = 0; i < n_verbs; i++)
		fprintf(out, "  %-16s %s\n", verbs[i].name, verbs[i].summary);
	fputs("\nOptions of every verb:\n", out);
	fl_options_help(&table, out);
	fputs("\nOptions of every verb that uses ssh(1):\n", out);
	fl_options_help(&ssh, out);
	fputs("\nTaken and ignored, as fleetctl had them:", out);
	for (size_t i = 0; i < dialect_n_ignored_options; i++)
		fprintf(out, "%s--%s", i % 4 == 0 ? "\n  " : ", ", dialect_ignored_options[i].name);
	fputs("\n\nEnvironment:\n", out);
	print_environment(out);
	fputs("\nExit codes:\n", out);
	print_exit_codes(out);
}

void help_print_verb(const struct verb *verb, FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = verb->options, .n_options = verb->n_options};

	fprintf(out, "%s %s%s%s%s\n\n", dialect->program, verb->name,
		verb->n_options > 0 ? " [OPTIONS]" : "", verb->args[0] != '\0' ? " " : "",
		verb->args);
	fprintf(out, "%s.\n", verb->summary);
	if (verb->help[0] != '\0') {
		fputc('\n', out);
		print_filled(verb->help, 0, out);
	}
	if (verb->n_options > 0) {
		fputs("\nOptions:\n", out);
		fl_options_help(&table, out);
	}
	fprintf(out, "\n\"%s help\" lists the options of every verb.\n", dialect->program);
}

/* ---- Manual pages -- */

static void man_verb(const struct verb *verb, FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = verb->options, .n_options = verb->n_options};
	char title[128];

	(void)snprintf(title, sizeof(title), "%s %s", verb->name, verb->args);
	fl_man_subsection(title, out);
	(void)snprintf(title, sizeof(title), "%s.", verb->summary);
	fl_man_text(title, out);
	if (verb->help[0] != '\0')
		fl_man_text(verb->help, out);
	fl_options_man(&table, false, out);
}

static void man_options(FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = global_options, .n_options = n_global_options};
	const struct fl_option_table ssh = {.program = "flotactl",
		.options = dialect->options,
		.n_options = dialect->n_options};
	const struct fl_option_table ignored = {.program = "flotactl",
		.options = dialect_ignored_options,
		.n_options = dialect_n_ignored_options};

	fl_man_section("OPTIONS", out);
	fl_options_man(&table, false, out);
	fl_man_text("Options of every verb that uses ssh(1):", out);
	fl_options_man(&ssh, false, out);
	fl_man_text("These are taken because fleetctl had them:", out);
	fl_options_man(&ignored, false, out);
}

static void man_exit_status(FILE *out)
{
	char code[16];

	fl_man_section("EXIT STATUS", out);
	for (size_t i = 0; i < FL_COUNT(exit_codes); i++) {
		(void)snprintf(code, sizeof(code), "%d", fl_code_exit(exit_codes[i].code));
		fl_man_item(code, exit_codes[i].doc, out);
	}
	fl_man_text(other_exit_codes, out);
}

static void man_flotactl(FILE *out)
{
	fl_man_begin("flotactl", 1, "run units on the machines of a fleet", out);
	fl_man_section("SYNOPSIS", out);
	fl_man_text("flotactl [OPTIONS] VERB [ARGUMENTS]", out);
	fl_man_section("DESCRIPTION", out);
	fl_man_text("Asks the coordinator of a fleet to run units on its machines, and shows what "
		    "they do. The beginning of a verb is enough where only one begins so. Options "
		    "may stand before or behind it.",
		out);
	fl_man_section("VERBS", out);
	for (size_t i = 0; i < n_verbs; i++)
		man_verb(&verbs[i], out);
	man_options(out);
	fl_man_section("AS FLEETCTL", out);
	fl_man_text("Called by the name fleetctl (a link to flotactl), the program answers in the "
		    "words and with the exit codes of CoreOS fleet's. start waits also for a unit "
		    "that no machine can take now, having said why. Keys of [X-Fleet] that fleet "
		    "ignored are ignored with a warning. ssh(1) is told fleet's own defaults: "
		    "--ssh-username=core, --ssh-timeout=10s, "
		    "--known-hosts-file=~/.fleetctl/known_hosts, and to ask whether a new host's "
		    "key is right.",
		out);
	fl_man_section("ENVIRONMENT", out);
	for (size_t i = 0; i < FL_COUNT(environment); i++)
		fl_man_item(environment[i].name, environment[i].doc, out);
	man_exit_status(out);
	fl_man_section("FILES", out);
	fl_man_item("~/.config/flota/config", "The contexts: flota.config(5).", out);
	fl_man_item("/run/flota/coordinator/socket",
		"Where root on the coordinator's own machine is connected when nothing else is "
		"said.",
		out);
	fl_man_see_also(
		"flota.unit(5) flota.config(5) flota.machine(5) flota-coordinator(8) flota-agent(8) "
		"systemctl(1) systemd.unit(5)",
		out);
}

enum fl_code verb_help(struct command *command, struct fl_error *err)
{
	static const struct {
		const char *name;
		void (*print)(FILE *out);
	} topics[] = {{"exit-codes", print_exit_codes}, {"environment", print_environment}};
	const struct verb *verb;

	if (command->n_args == 0) {
		help_print(stdout);
		return FL_OK;
	}
	for (size_t i = 0; i < FL_COUNT(topics); i++)
		if (strcmp(topics[i].name, command->args[0]) == 0) {
			topics[i].print(stdout);
			return FL_OK;
		}
	FL_TRY(verb_find(command->args[0], &verb, err));
	help_print_verb(verb, stdout);
	return FL_OK;
}

enum fl_code verb_man(struct command *command, struct fl_error *err)
{
	static const struct {
		const char *name;
		void (*print)(FILE *out);
	} pages[] = {{"flotactl", man_flotactl}, {"flota.unit", unit_man},
		{"flota.config", contexts_man}, {"flota.machine", machine_man}};
	const char *name = command->n_args > 0 ? command->args[0] : pages[0].name;

	for (size_t i = 0; i < FL_COUNT(pages); i++)
		if (strcmp(pages[i].name, name) == 0) {
			pages[i].print(stdout);
			return FL_OK;
		}
	return FL_FAIL(err, FL_E_USAGE,
		"there is no page \"%s\"; there are flotactl, flota.unit, flota.config and "
		"flota.machine",
		name);
}
