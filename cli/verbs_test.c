#include "cli/verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Words of @line, divided by spaces, as argv. */
static int split(char *line, char **argv)
{
	int argc = 0;

	argv[argc++] = (char *)"flotactl";
	for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	return argc;
}

static enum fl_code parse(const char *line, struct cli_options *options, struct command *command,
	struct fl_error *err)
{
	static char copy[512];
	static char *argv[64];

	strncpy(copy, line, sizeof(copy) - 1);
	return command_parse(split(copy, argv), argv, options, command, err);
}

static void expect_error(const char *line, const char *text)
{
	struct cli_options options;
	struct command command;
	struct fl_error err = {0};

	assert_int_equal(parse(line, &options, &command, &err), FL_E_USAGE);
	assert_string_equal(err.text, text);
	command_fini(&command, &options);
}

static void test_find(void **state)
{
	static const struct {
		const char *given, *found;
	} rows[] = {
		{"start", "start"},
		{"list-units", "list-units"},
		{"list-unit-files", "list-unit-files"},
		{"list-m", "list-machines"},
		{"des", "destroy"},
		{"sta", NULL},
		{"list-un", NULL},
		{"l", NULL},
		{"", NULL},
	};
	const struct verb *verb;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		bool found = verb_find(rows[i].given, &verb, NULL) == FL_OK;

		assert_int_equal(found, rows[i].found != NULL);
		if (found)
			assert_string_equal(verb->name, rows[i].found);
	}
	expect_error("list-un", "unknown command \"list-un\". Did you mean list-units, "
				"list-unit-files?");
	expect_error("satrt", "unknown command \"satrt\". Did you mean start?");
	expect_error("lst", "unknown command \"lst\"; \"flotactl help\" lists them");
	expect_error("xyzzy", "unknown command \"xyzzy\"; \"flotactl help\" lists them");
}

static void test_options(void **state)
{
	struct cli_options options;
	struct command command;

	(void)state;
	assert_int_equal(parse("--endpoint=ipc:///x start a --no-block b --context c", &options,
				 &command, NULL),
		FL_OK);
	assert_string_equal(command.verb->name, "start");
	assert_int_equal(command.n_args, 2);
	assert_string_equal(command.args[0], "a");
	assert_string_equal(command.args[1], "b");
	assert_string_equal(options.endpoint, "ipc:///x");
	assert_string_equal(options.context, "c");
	assert_true(options.no_block);
	assert_int_equal(options.request_timeout_ms, 10000);
	assert_string_equal(options.output, "text");
	command_fini(&command, &options);

	/* fleetctl's way to write short flags, and -- before a name that looks like one. */
	assert_int_equal(parse("journal --f -n 3 -- -x", &options, &command, NULL), FL_OK);
	assert_true(options.follow);
	assert_int_equal(options.lines, 3);
	assert_string_equal(options.output, "short");
	assert_string_equal(command.args[0], "-x");
	command_fini(&command, &options);

	assert_int_equal(
		parse("list-units --l --no-legend=true --fields=unit", &options, &command, NULL),
		FL_OK);
	assert_true(options.full && options.no_legend);
	command_fini(&command, &options);

	assert_int_equal(parse("", &options, &command, NULL), FL_OK);
	assert_null(command.verb);
	command_fini(&command, &options);

	/* Help is given without the arguments that the verb would need. */
	assert_int_equal(parse("start --help", &options, &command, NULL), FL_OK);
	assert_true(options.help);
	command_fini(&command, &options);
}

static void test_errors(void **state)
{
	(void)state;
	expect_error("start", "nothing is given to start; it is used as: flotactl start UNIT...");
	expect_error("cat a b", "\"b\" is too much; it is used as: flotactl cat UNIT");
	expect_error("list-machines x", "\"x\" is too much; it is used as: flotactl list-machines");
	expect_error("cat --follow a", "there is no option --follow; see --help");
	expect_error("start --timeout=soon a", "--timeout: \"soon\" is not a number");
	expect_error("--bogus start a", "there is no option --bogus; see --help");
}

static void test_environment(void **state)
{
	struct cli_options options;
	struct command command;

	(void)state;
	assert_int_equal(setenv("FLEETCTL_REQUEST_TIMEOUT", "3", 1), 0);
	assert_int_equal(parse("version", &options, &command, NULL), FL_OK);
	assert_int_equal(options.request_timeout_ms, 3000);
	command_fini(&command, &options);
	assert_int_equal(setenv("FLOTACTL_REQUEST_TIMEOUT", "4s", 1), 0);
	assert_int_equal(parse("version", &options, &command, NULL), FL_OK);
	assert_int_equal(options.request_timeout_ms, 4000);
	command_fini(&command, &options);
	assert_int_equal(parse("--request-timeout=5 version", &options, &command, NULL), FL_OK);
	assert_int_equal(options.request_timeout_ms, 5000);
	command_fini(&command, &options);
	assert_int_equal(setenv("FLOTACTL_REQUEST_TIMEOUT", "never", 1), 0);
	expect_error("version", "in the environment: --request-timeout: \"never\" is not a number");
	unsetenv("FLOTACTL_REQUEST_TIMEOUT");
	unsetenv("FLEETCTL_REQUEST_TIMEOUT");
}

/* Every row is whole, and no option stands in two places of one command line. */
static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_verbs; i++) {
		const struct verb *verb = &verbs[i];

		assert_non_null(verb->run);
		assert_true(strlen(verb->summary) > 0);
		assert_non_null(verb->help);
		assert_true(verb->min_args <= verb->max_args);
		for (size_t j = 0; j < verb->n_options; j++) {
			for (size_t k = 0; k < n_global_options; k++)
				assert_string_not_equal(
					verb->options[j].name, global_options[k].name);
			for (size_t k = 0; k < j; k++)
				assert_string_not_equal(
					verb->options[j].name, verb->options[k].name);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
