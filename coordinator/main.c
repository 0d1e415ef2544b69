/* flota-coordinator: keeps a fleet's desired state and decides which machine runs what. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "coordinator/commands.h"
#include "coordinator/config.h"

static enum fl_code check_config(
	const struct config *config, int argc, char **argv, struct fl_error *err);
static enum fl_code man(const struct config *config, int argc, char **argv, struct fl_error *err);

static const struct command commands[] = {
	{"run", "", "Be the coordinator; also without a verb.", command_run, NULL},
	{"init", "--fleet=NAME [OPTION...]", "Make a fleet: its CA and first certificates.",
		command_init, command_init_help},
	{"issue", "machine ID | operator NAME | coordinator [OPTION...]", "Make a certificate.",
		command_issue, command_issue_help},
	{"check-config", "", "Read the configuration, say what is wrong with it.", check_config,
		NULL},
	{"man", "", "Print the manual page, for man(1).", man, NULL},
};

/* That we are here says that it could be read. */
static enum fl_code check_config(
	const struct config *config, int argc, char **argv, struct fl_error *err)
{
	(void)config;
	if (argc > 1)
		return FL_FAIL(err, FL_E_USAGE, "%s takes no \"%s\"", argv[0], argv[1]);
	puts("The configuration is good.");
	return FL_OK;
}

static void print_help(void)
{
	puts("flota-coordinator [OPTION...] [VERB ...]\n\n"
	     "Keeps a fleet's desired state and decides which machine runs what.\n\nVerbs:");
	for (size_t i = 0; i < FL_COUNT(commands); i++)
		printf("  %s %s\n        %s\n", commands[i].name, commands[i].arguments,
			commands[i].doc);
	puts("\nOptions, before the verb:");
	fl_options_help(&config_program.table, stdout);
	for (size_t i = 0; i < FL_COUNT(commands); i++) {
		if (commands[i].help == NULL)
			continue;
		printf("\nOptions of %s:\n", commands[i].name);
		commands[i].help(stdout);
	}
}

static enum fl_code man(const struct config *config, int argc, char **argv, struct fl_error *err)
{
	(void)config;
	if (argc > 1)
		return FL_FAIL(err, FL_E_USAGE, "%s takes no \"%s\"", argv[0], argv[1]);
	printf(".TH FLOTA\\-COORDINATOR 8 \"\" \"flota " FLOTA_VERSION "\"\n"
	       ".SH NAME\nflota\\-coordinator \\- decides which machine of a fleet runs what\n"
	       ".SH SYNOPSIS\n.B flota\\-coordinator\n[OPTION...] [VERB ...]\n.SH VERBS\n");
	for (size_t i = 0; i < FL_COUNT(commands); i++)
		printf(".TP\n.BI \"%s \" \"%s\"\n%s\n", commands[i].name, commands[i].arguments,
			commands[i].doc);
	puts(".SH OPTIONS");
	fl_options_man(&config_program.table, false, stdout);
	puts(".SH CONFIGURATION\nKeys of the section [Coordinator] in " CONFIG_FILE ":");
	fl_options_man(&config_program.table, true, stdout);
	puts(".SH SIGNALS\nSIGTERM and SIGINT end it, after what is under way is on disk. "
	     "Running units are not touched.");
	return FL_OK;
}

static enum fl_code run_verb(
	const struct config *config, int argc, char **argv, struct fl_error *err)
{
	if (argc == 0)
		return command_run(config, 0, argv, err);
	for (size_t i = 0; i < FL_COUNT(commands); i++)
		if (strcmp(commands[i].name, argv[0]) == 0)
			return commands[i].run(config, argc, argv, err);
	return FL_FAIL(err, FL_E_USAGE, "unknown verb \"%s\"; see --help", argv[0]);
}

int main(int argc, char **argv)
{
	struct config config = {0};
	struct fl_error err = {0};
	enum fl_code code;
	int first = argc;

	/* Writes then fail with EPIPE and EFBIG, which are handled where they happen. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	fl_log_init("flota-coordinator");
	code = config_load(&config, argc, argv, &first, &err);
	if (code == FL_OK) {
		fl_log_set_level(config.program.level);
		if (!fl_program_answer(&config_program, &config, print_help))
			code = run_verb(&config, argc - first, argv + first, &err);
		config_fini(&config);
	}
	if (fflush(stdout) != 0 && code == FL_OK)
		code = FL_FAIL(&err, FL_E_IO, "standard output cannot be written");
	if (code != FL_OK)
		fprintf(stderr, "flota-coordinator: %s\n", fl_error_text(&err));
	return fl_code_exit(code);
}
