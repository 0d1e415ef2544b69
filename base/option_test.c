#include "base/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"

struct config {
	char *data;
	struct fl_strv listen;
	bool verbose;
	uint64_t lines, lease_ms, size;
	char *ca;
};

#define AT(field) offsetof(struct config, field)

static const struct fl_option options[] = {
	{.name = "data",
		.type = FL_OPTION_STRING,
		.initial = "/var/lib/x",
		.doc = "A folder.",
		.offset = AT(data)},
	{.name = "listen-address",
		.type = FL_OPTION_LIST,
		.doc = "Addresses.",
		.offset = AT(listen)},
	{.name = "verbose",
		.short_name = 'v',
		.type = FL_OPTION_BOOL,
		.doc = "Say more.",
		.offset = AT(verbose),
		.flags = FL_OPTION_ARG_ONLY},
	{.name = "lines",
		.short_name = 'n',
		.type = FL_OPTION_UINT,
		.min = 1,
		.max = 100,
		.initial = "10",
		.value_name = "N",
		.doc = "Lines.",
		.offset = AT(lines)},
	{.name = "lease",
		.type = FL_OPTION_DURATION,
		.min = 1000,
		.initial = "10s",
		.doc = "The lease.",
		.offset = AT(lease_ms)},
	{.name = "size",
		.type = FL_OPTION_SIZE,
		.initial = "2M",
		.doc = "A size.",
		.offset = AT(size)},
	{.name = "ca-file",
		.type = FL_OPTION_STRING,
		.initial = "/etc/ca",
		.doc = "The CA.",
		.offset = AT(ca)},
};

static const struct fl_option_table table = {
	.program = "x", .section = "X", .options = options, .n_options = FL_COUNT(options)};

static void test_args(void **state)
{
	const char *argv[] = {
		"x", "start", "-v", "--lines", "7", "a.service", "--lease=2min", "--", "-b"};
	struct config config = {0};
	struct fl_error err = {0};
	int first;

	(void)state;
	assert_int_equal(fl_options_init(&table, &config, &err), FL_OK);
	assert_int_equal(config.listen.n, 0);
	assert_int_equal(
		fl_options_parse_args(&table, 9, (char **)argv, false, &config, &first, &err),
		FL_OK);
	assert_true(config.verbose);
	assert_int_equal(config.lines, 7);
	assert_int_equal(config.lease_ms, 120000);
	assert_int_equal(9 - first, 3);
	assert_string_equal(argv[first], "start");
	assert_string_equal(argv[first + 1], "a.service");
	assert_string_equal(argv[first + 2], "-b");
	fl_options_fini(&table, &config);
}

static void test_args_stop_at_word(void **state)
{
	const char *argv[] = {"x", "-n5", "verb", "--verbose"};
	struct config config = {0};
	int first;

	(void)state;
	assert_int_equal(
		fl_options_parse_args(&table, 4, (char **)argv, true, &config, &first, NULL),
		FL_OK);
	assert_int_equal(first, 2);
	assert_int_equal(config.lines, 5);
	assert_false(config.verbose);
}

static void expect_arg_error(const char *arg, const char *text)
{
	const char *argv[] = {"x", arg};
	struct config config = {0};
	struct fl_error err = {0};
	int first;

	assert_int_equal(
		fl_options_parse_args(&table, 2, (char **)argv, false, &config, &first, &err),
		FL_E_USAGE);
	assert_string_equal(err.text, text);
}

static void test_arg_errors(void **state)
{
	(void)state;
	expect_arg_error("--nope=1", "there is no option --nope; see --help");
	expect_arg_error("-q", "there is no option -q; see --help");
	expect_arg_error("--lines", "--lines needs a value");
	expect_arg_error("--lines=0", "--lines: \"0\" is not between 1 and 100");
	expect_arg_error("--lines=-1", "--lines: \"-1\" is not a number");
	expect_arg_error("--lease=1ms", "--lease: \"1ms\" is below 1000 ms");
	expect_arg_error("--lease=3weeks",
		"--lease: \"3weeks\" has an unknown unit; write it like 500ms, 10s, 2min, 1h or 7d");
	expect_arg_error("--size=99999999999T", "--size: \"99999999999T\" is too large");
	expect_arg_error("--verbose=maybe", "--verbose: \"maybe\" is neither yes nor no");
}

static void test_measures(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} rows[] = {{"3", 3000}, {"3.0", 3000}, {"0.5s", 500}, {"1.25", 1250}, {"1.2345 s", 1234},
		{"0.1h", 360000}, {"1.9ms", 1}};
	uint64_t value = 7;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		assert_int_equal(fl_parse_duration_ms(rows[i].text, &value, NULL), FL_OK);
		assert_int_equal(value, rows[i].ms);
	}
	assert_int_equal(fl_parse_factor("1.5", &value, NULL), FL_OK);
	assert_int_equal(value, 1500);
	assert_int_equal(fl_parse_factor("0.05", &value, NULL), FL_OK);
	assert_int_equal(value, 50);
	assert_int_equal(fl_parse_factor("150%", &value, NULL), FL_E_INVALID);
	assert_int_equal(fl_parse_size("1.5G", &value, NULL), FL_OK);
	assert_true(value == UINT64_C(3) << 29);
	assert_int_equal(fl_parse_duration_ms("1.", &value, NULL), FL_E_INVALID);
	assert_int_equal(fl_parse_duration_ms("1.-5", &value, NULL), FL_E_INVALID);
	assert_int_equal(fl_parse_duration_ms(".5", &value, NULL), FL_E_INVALID);
	assert_int_equal(fl_parse_duration_ms("1.5.5", &value, NULL), FL_E_INVALID);
	assert_int_equal(fl_parse_uint("1.5", &value, NULL), FL_E_INVALID);
	assert_int_equal(fl_parse_size("16777215.9999T", &value, NULL), FL_OK);
	assert_int_equal(fl_parse_size("16777216T", &value, NULL), FL_E_INVALID);
}

static void read_text(const char *text, struct config *config, enum fl_code code, const char *error)
{
	char path[] = "/tmp/flota-option-XXXXXX";
	char expected[600];
	struct fl_error err = {0};
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	assert_int_equal(fl_options_read_file(&table, path, config, &err), code);
	if (code != FL_OK) {
		snprintf(expected, sizeof(expected), "%s:%s", path, error);
		assert_string_equal(err.text, expected);
	}
	unlink(path);
}

static void test_file(void **state)
{
	struct config config = {0};

	(void)state;
	assert_int_equal(fl_options_init(&table, &config, NULL), FL_OK);
	read_text("# comment\n\n[X]\nData = /srv \nListenAddress=\nListenAddress=c d\nSize=1G\r\n",
		&config, FL_OK, NULL);
	assert_string_equal(config.data, "/srv");
	assert_int_equal(config.listen.n, 2);
	assert_string_equal(config.listen.items[1], "d");
	assert_true(config.size == UINT64_C(1) << 30);
	read_text("[X]\nColour=red\n", &config, FL_E_SYNTAX,
		"2: unknown key Colour=; x --dump-config lists them");
	read_text("[X]\nVerbose=yes\n", &config, FL_E_SYNTAX,
		"2: unknown key Verbose=; x --dump-config lists them");
	read_text("Data=1\n", &config, FL_E_SYNTAX, "1: a key before the section header [X]");
	read_text("[Y]\n", &config, FL_E_SYNTAX, "1: unknown section [Y]; there is [X]");
	read_text("[X]\n\nLines=1000\n", &config, FL_E_INVALID,
		"3: Lines=: \"1000\" is not between 1 and 100");
	fl_options_fini(&table, &config);
}

/* What is dumped reads back as the same. */
static void test_dump_round_trip(void **state)
{
	struct config config = {0}, again = {0};
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(fl_options_init(&table, &config, NULL), FL_OK);
	assert_int_equal(fl_options_init(&table, &again, NULL), FL_OK);
	assert_int_equal(fl_options_set(&table, "listen-address", "a b", &config, NULL), FL_OK);
	fl_options_dump(&table, &config, out);
	fclose(out);
	assert_non_null(strstr(text, "# The lease.\nLease=10s\n"));
	assert_non_null(strstr(text, "Size=2M\n"));
	assert_non_null(strstr(text, "\nCAFile=/etc/ca\n"));
	read_text(text, &again, FL_OK, NULL);
	assert_int_equal(again.lease_ms, config.lease_ms);
	assert_int_equal(again.size, config.size);
	assert_string_equal(again.data, config.data);
	assert_int_equal(again.listen.n, 2);
	fl_options_fini(&table, &config);
	fl_options_fini(&table, &again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_args),
		cmocka_unit_test(test_args_stop_at_word),
		cmocka_unit_test(test_arg_errors),
		cmocka_unit_test(test_measures),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_dump_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
