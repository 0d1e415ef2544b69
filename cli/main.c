/* flotactl: asks a fleet's coordinator to run units, and shows what they do. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/dialect.h"
#include "cli/help.h"
#include "cli/term.h"
#include "cli/verbs.h"

static enum fl_code run(struct command *command, struct fl_error *err)
{
	if (command->options->version) {
		help_print_version(stdout);
		return FL_OK;
	}
	if (command->verb == NULL) {
		help_print(stdout);
		return FL_OK;
	}
	if (command->options->help) {
		help_print_verb(command->verb, stdout);
		return FL_OK;
	}
	if (command->is_answered)
		return FL_OK;
	return command->verb->run(command, err);
}

int main(int argc, char **argv)
{
	struct fl_error err = {0};
	struct cli_options options;
	struct command command;
	enum fl_code code;
	bool silent = false;

	/* A reader that has gone (| head) is told by the write's error: a call ends in order. */
	(void)signal(SIGPIPE, SIG_IGN);
	dialect_choose(argv[0]);
	code = command_parse(argc, argv, &options, &command, &err);
	if (code == FL_OK)
		code = run(&command, &err);
	/* What could not be written was not done; but a reader that has gone wants no message. */
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == FL_OK) {
		code = FL_FAIL(&err, FL_E_IO, "standard output cannot be written");
		silent = errno == EPIPE;
	}
	if (code != FL_OK && !silent)
		term_error("%s%s", dialect_context(command.verb, code), fl_error_text(&err));
	command_fini(&command, &options);
	return code != FL_OK ? dialect_exit_code(code) : command.exit_code;
}
