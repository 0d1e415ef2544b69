#include "cli/help.h"

#include <string.h>

#include "cli/dialect.h"

/* What the help and the manual page both say of the environment. */
static const struct {
	const char *name, *doc;
} environment[] = {
	{"FLOTACTL_ENDPOINT",
		"The coordinator, as --endpoint; FLEETCTL_ENDPOINT is read beside it."},
	{"FLOTACTL_CONTEXT", "The context, as --context."},
	{"FLOTACTL_CA_FILE, FLOTACTL_CERT_FILE, FLOTACTL_KEY_FILE",
		"As --ca-file, --cert-file and --key-file; also with FLEETCTL_ in front."},
	{"FLOTACTL_REQUEST_TIMEOUT", "As --request-timeout; also with FLEETCTL_ in front."},
	{"XDG_CONFIG_HOME", "Where the configuration is, instead of ~/.config."},
	{"NO_COLOR", "Set to anything: no colours."},
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

void help_print_version(FILE *out)
{
	fprintf(out, "%s version %s\n", dialect->program, dialect->version);
}

void help_print(FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = global_options, .n_options = n_global_options};
	const struct fl_option_table own = {.program = dialect->program,
		.options = dialect->options,
		.n_options = dialect->n_options};

	fputs("flotactl [OPTIONS] VERB [ARGUMENTS]\n\n"
	      "Runs units, written in systemd's syntax, on the machines of a fleet.\n\n"
	      "Verbs (the beginning of one is enough; \"flotactl help VERB\" tells more):\n",
		out);
	for (size_t i = 0; i < n_verbs; i++)
		fprintf(out, "  %-16s %s\n", verbs[i].name, verbs[i].summary);
	fputs("\nOptions of every verb:\n", out);
	fl_options_help(&table, out);
	if (dialect->n_options > 0) {
		fputs("\nOptions of every verb, as fleetctl had them:\n", out);
		fl_options_help(&own, out);
	}
	fputs("\nEnvironment:\n", out);
	for (size_t i = 0; i < FL_COUNT(environment); i++)
		fprintf(out, "  %s\n      %s\n", environment[i].name, environment[i].doc);
	fputs("\nExit codes:\n", out);
	for (size_t i = 0; i < FL_COUNT(exit_codes); i++)
		fprintf(out, "  %d  %s\n", fl_code_exit(exit_codes[i].code), exit_codes[i].doc);
}

/* Words in lines of at most 78 columns. */
static void print_filled(const char *text, FILE *out)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t n = strcspn(text, " ");

		if (column > 0 && column + 1 + n > 78) {
			fputc('\n', out);
			column = 0;
		} else if (column > 0) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, n, out);
		column += n;
		text += n + strspn(text + n, " ");
	}
	fputc('\n', out);
}

void help_print_verb(const struct verb *verb, FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = verb->options, .n_options = verb->n_options};

	fprintf(out, "flotactl %s%s%s%s\n\n", verb->name, verb->n_options > 0 ? " [OPTIONS]" : "",
		verb->args[0] != '\0' ? " " : "", verb->args);
	fprintf(out, "%s.\n", verb->summary);
	if (verb->help[0] != '\0') {
		fputc('\n', out);
		print_filled(verb->help, out);
	}
	if (verb->n_options > 0) {
		fputs("\nOptions:\n", out);
		fl_options_help(&table, out);
	}
	fputs("\n\"flotactl help\" lists the options of every verb.\n", out);
}

/* Text of ours in a manual page: a dash is one, a backslash is one, and no line is a request. */
static void man_text(const char *text, FILE *out)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text != '\0'; text++) {
		if (*text == '-' || *text == '\\')
			fputc('\\', out);
		fputc(*text == '\\' ? 'e' : *text, out);
	}
	fputc('\n', out);
}

static void man_verb(const struct verb *verb, FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = verb->options, .n_options = verb->n_options};

	fputs(".SS ", out);
	fputs(verb->name, out);
	fprintf(out, " %s\n", verb->args);
	fprintf(out, "%s.\n", verb->summary);
	if (verb->help[0] != '\0') {
		fputs(".PP\n", out);
		man_text(verb->help, out);
	}
	fl_options_man(&table, false, out);
}

void help_print_man(FILE *out)
{
	const struct fl_option_table table = {
		.program = "flotactl", .options = global_options, .n_options = n_global_options};
	const struct fl_option_table fleet = {.program = dialect_fleetctl.program,
		.options = dialect_fleetctl.options,
		.n_options = dialect_fleetctl.n_options};

	fputs(".TH FLOTACTL 1 \"\" \"flota " FLOTA_VERSION "\" \"flota\"\n"
	      ".SH NAME\nflotactl \\- run units on the machines of a fleet\n"
	      ".SH SYNOPSIS\n.B flotactl\n[OPTIONS] VERB [ARGUMENTS]\n"
	      ".SH DESCRIPTION\n"
	      "Asks the coordinator of a fleet to run units on its machines, and shows what they "
	      "do.\nThe beginning of a verb is enough where only one begins so. Options may stand "
	      "before\nor behind it.\n"
	      ".SH VERBS\n",
		out);
	for (size_t i = 0; i < n_verbs; i++)
		man_verb(&verbs[i], out);
	fputs(".SH OPTIONS\n", out);
	fl_options_man(&table, false, out);
	fputs(".SH AS FLEETCTL\n"
	      "Called by the name fleetctl (a link to flotactl), the program answers in the words\n"
	      "and with the exit codes of CoreOS fleet's: a command line that it does not\n"
	      "understand, and stop, unload and destroy of units that there are not, end with 0,\n"
	      "every other failure with 1. start waits also for a unit that no machine can take\n"
	      "now, having said why. Keys of [X\\-Fleet] that fleet ignored are ignored with a\n"
	      "warning. Each option is read from the environment too, \\-\\-ssh\\-username from\n"
	      "FLEETCTL_SSH_USERNAME. These options are taken besides:\n",
		out);
	fl_options_man(&fleet, false, out);
	fputs(".SH ENVIRONMENT\n", out);
	for (size_t i = 0; i < FL_COUNT(environment); i++) {
		fprintf(out, ".TP\n.B %s\n", environment[i].name);
		man_text(environment[i].doc, out);
	}
	fputs(".SH EXIT STATUS\n", out);
	for (size_t i = 0; i < FL_COUNT(exit_codes); i++) {
		fprintf(out, ".TP\n.B %d\n", fl_code_exit(exit_codes[i].code));
		man_text(exit_codes[i].doc, out);
	}
	fputs("\n\"flotactl status\" ends with the exit code of \"systemctl status\", \"flotactl ssh\"\n"
	      "with that of ssh(1), and \"flotactl apply \\-\\-dry\\-run\" with 2 when there is "
	      "something to do.\n"
	      ".SH FILES\n.TP\n.I ~/.config/flota/config\nThe contexts: \"flotactl config\".\n"
	      ".TP\n.I /run/flota/coordinator.sock\n"
	      "Where root on the coordinator's own machine is connected when nothing else is said.\n"
	      ".SH SEE ALSO\n.BR systemctl (1),\n.BR systemd.unit (5)\n",
		out);
}

enum fl_code verb_help(struct command *command, struct fl_error *err)
{
	const struct verb *verb;

	if (command->n_args == 0) {
		help_print(stdout);
		return FL_OK;
	}
	FL_TRY(verb_find(command->args[0], &verb, err));
	help_print_verb(verb, stdout);
	return FL_OK;
}

enum fl_code verb_man(struct command *command, struct fl_error *err)
{
	(void)command;
	(void)err;
	help_print_man(stdout);
	return FL_OK;
}
