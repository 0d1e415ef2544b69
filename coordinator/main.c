/* flota-coordinator: keeps a fleet's desired state and decides which machine runs what. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/man.h"
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
	{"man", "[PAGE]", "Print a manual page: flota-coordinator or flota-coordinator.conf.", man,
		NULL},
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

static void print_man(void)
{
	fl_man_begin("flota-coordinator", 8, "decides which machine of a fleet runs what", stdout);
	fl_man_section("SYNOPSIS", stdout);
	fl_man_text("flota-coordinator [OPTION...] [VERB ...]", stdout);
	fl_man_section("DESCRIPTION", stdout);
	fl_man_text("Keeps a fleet's desired state and decides which machine runs what. The agents "
		    "of its machines and flotactl(1) connect with it; it connects with nobody.",
		stdout);
	fl_man_section("VERBS", stdout);
	for (size_t i = 0; i < FL_COUNT(commands); i++) {
		char term[256];

		(void)snprintf(
			term, sizeof(term), "%s %s", commands[i].name, commands[i].arguments);
		fl_man_item(term, commands[i].doc, stdout);
	}
	fl_man_section("OPTIONS", stdout);
	fl_man_text("They stand before the verb.", stdout);
	fl_options_man(&config_program.table, false, stdout);
	fl_man_section("SIGNALS", stdout);
	fl_man_text("SIGTERM and SIGINT end it, after what is under way is on disk. Running units "
		    "are not touched.",
		stdout);
	fl_man_section("FILES", stdout);
	fl_man_item(CONFIG_FILE, "flota-coordinator.conf(5).", stdout);
	fl_man_see_also("flota-coordinator.conf(5) flota-agent(8) flotactl(1)", stdout);
}

static enum fl_code man(const struct config *config, int argc, char **argv, struct fl_error *err)
{
	bool is_file;

	(void)config;
	if (argc > 2)
		return FL_FAIL(err, FL_E_USAGE, "%s takes no \"%s\"", argv[0], argv[2]);
	FL_TRY(fl_program_man_page(&config_program, argc > 1 ? argv[1] : NULL, &is_file, err));
	if (is_file)
		fl_program_man_file(&config_program, stdout);
	else
		print_man();
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
