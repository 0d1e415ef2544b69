#include "cli/context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/endpoint.h"

/* A home of its own for each test. */
struct home {
	char folder[64];
	char path[128];
};

static const char *const variables[] = {"FLOTACTL_ENDPOINT", "FLOTACTL_CONTEXT",
	"FLEETCTL_ENDPOINT", "FLOTACTL_CA_FILE", "FLEETCTL_CA_FILE", "FLOTACTL_CERT_FILE",
	"FLEETCTL_CERT_FILE", "FLOTACTL_KEY_FILE", "FLEETCTL_KEY_FILE"};

static int set_up(void **state)
{
	struct home *home = FL_NEW(struct home);
	char folder[128];

	strcpy(home->folder, "/tmp/flota-context-XXXXXX");
	assert_non_null(mkdtemp(home->folder));
	snprintf(folder, sizeof(folder), "%s/flota", home->folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(home->path, sizeof(home->path), "%s/flota/config", home->folder);
	assert_int_equal(setenv("XDG_CONFIG_HOME", home->folder, 1), 0);
	for (size_t i = 0; i < FL_COUNT(variables); i++)
		unsetenv(variables[i]);
	*state = home;
	return 0;
}

static int tear_down(void **state)
{
	struct home *home = *state;
	char folder[128];

	snprintf(folder, sizeof(folder), "%s/flota", home->folder);
	(void)unlink(home->path);
	(void)rmdir(folder);
	(void)rmdir(home->folder);
	free(home);
	return 0;
}

static void write_config(const struct home *home, const char *text)
{
	assert_int_equal(fl_file_write(home->path, text, strlen(text), 0600, false, NULL), FL_OK);
}

static const char two[] = "# fleets\n"
			  "[Flotactl]\n"
			  "Context = prod\n"
			  "\n"
			  "[Context prod]\n"
			  "Endpoint=tls+tcp://10.0.0.1:7440\n"
			  "CACertificate=prod/ca.pem\n"
			  "Certificate=/etc/ana.pem\n"
			  "Key=/etc/ana.key\n"
			  "\n"
			  "[Context lab]\n"
			  "Endpoint=ipc:///run/lab.sock\n";

static void test_load(void **state)
{
	const struct home *home = *state;
	CONTEXTS_CLEANUP struct contexts contexts = {0};
	const struct context *prod;
	char expected[256];

	write_config(home, two);
	assert_int_equal(contexts_load(home->path, &contexts, NULL), FL_OK);
	assert_int_equal(contexts.n, 2);
	assert_string_equal(contexts.current, "prod");
	prod = contexts_find(&contexts, "prod");
	assert_non_null(prod);
	assert_string_equal(prod->endpoint, "tls+tcp://10.0.0.1:7440");
	snprintf(expected, sizeof(expected), "%s/flota/prod/ca.pem", home->folder);
	assert_string_equal(prod->ca_certificate, expected);
	assert_string_equal(prod->key, "/etc/ana.key");
	assert_null(contexts_find(&contexts, "lab")->key);
	assert_null(contexts_find(&contexts, "other"));
}

static void test_load_nothing(void **state)
{
	const struct home *home = *state;
	CONTEXTS_CLEANUP struct contexts contexts = {0};

	assert_int_equal(contexts_load(home->path, &contexts, NULL), FL_OK);
	assert_int_equal(contexts.n, 0);
	assert_null(contexts.current);
}

static void test_load_errors(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"[Flotactl]\nColour=red\n", "2: unknown key Colour=; [Flotactl] has Context="},
		{"[Context a]\nUrl=x\n", "2: unknown key Url=; a context has Endpoint=, "
					 "CACertificate=, Certificate= and Key="},
		{"Endpoint=x\n", "1: a key before the first section header"},
		{"\n[Other]\n", "2: unknown section [Other]; there are [Flotactl] and "
				"[Context NAME]"},
		{"[Context a b]\n", "1: \"a b\" is not the name of a context: letters, digits, "
				    "\".\", \"_\" and \"-\""},
		{"[Context a\n", "1: a section header ends with \"]\""},
		{"[Context a]\nhello\n", "2: neither \"Key=value\" nor a comment"},
	};
	const struct home *home = *state;

	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		CONTEXTS_CLEANUP struct contexts contexts = {0};
		struct fl_error err = {0};
		char expected[512];

		write_config(home, rows[i].text);
		assert_int_not_equal(contexts_load(home->path, &contexts, &err), FL_OK);
		snprintf(expected, sizeof(expected), "%s:%s", home->path, rows[i].error);
		assert_string_equal(err.text, expected);
	}
}

static void expect_edit(const char *text, const char *section, const char *expected)
{
	FL_CLEANUP(fl_freep) char *edited = NULL;

	assert_int_equal(context_edit(text, section, "K", "new", &edited, NULL), FL_OK);
	assert_string_equal(edited, expected);
}

static void test_edit(void **state)
{
	(void)state;
	expect_edit("", "A", "[A]\nK=new\n");
	expect_edit("# c\n[A]\nK=old\nL=1\n", "A", "# c\n[A]\nK=new\nL=1\n");
	expect_edit("[A]\nK = old\n# c\nK=older\n", "A", "[A]\nK=new\n# c\n");
	expect_edit("[A]\nL=1\n\n[B]\nK=b\n", "A", "[A]\nL=1\nK=new\n\n[B]\nK=b\n");
	expect_edit("[A]\nK=a\n\n[B]\nL=1", "B", "[A]\nK=a\n\n[B]\nL=1\nK=new\n");
	expect_edit("[B]\nK=b\n", "A", "[B]\nK=b\n\n[A]\nK=new\n");
	expect_edit("[A]\nL=1\n  [B]\n\tK=b\n", "A", "[A]\nL=1\nK=new\n\n  [B]\n\tK=b\n");
	expect_edit("\t[A]\r\n K = old\r\n", "A", "\t[A]\r\nK=new\n");
	expect_edit("[A]\nK=1\nK\r =2\n", "A", "[A]\nK=new\n");
	expect_edit("[A]\nKK=1\n#K=2\n", "A", "[A]\nKK=1\n#K=2\nK=new\n");
}

static void expect_url(const struct cli_options *options, const char *url, const char *ca)
{
	ENDPOINT_CLEANUP struct endpoint endpoint = {0};
	struct fl_error err = {0};

	if (endpoint_find(options, &endpoint, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_string_equal(endpoint.url, url);
	if (ca != NULL)
		assert_string_equal(endpoint.ca, ca);
}

/* Each that goes before the last one, added one after the other. */
static void test_order(void **state)
{
	const struct home *home = *state;
	struct cli_options options = {0};
	char ca[256];

	write_config(home, two);
	snprintf(ca, sizeof(ca), "%s/flota/prod/ca.pem", home->folder);
	expect_url(&options, "tls+tcp://10.0.0.1:7440", ca);
	assert_int_equal(setenv("FLEETCTL_ENDPOINT", "unix:///run/f.sock,http://b", 1), 0);
	expect_url(&options, "ipc:///run/f.sock", NULL);
	assert_int_equal(setenv("FLOTACTL_CONTEXT", "lab", 1), 0);
	expect_url(&options, "ipc:///run/lab.sock", NULL);
	assert_int_equal(setenv("FLOTACTL_ENDPOINT", "ipc:///run/e.sock", 1), 0);
	expect_url(&options, "ipc:///run/e.sock", NULL);
	options.context = (char *)"prod";
	expect_url(&options, "tls+tcp://10.0.0.1:7440", ca);
	options.endpoint = (char *)"tls+tcp://10.0.0.9:1";
	options.ca_file = (char *)"/mine.pem";
	expect_url(&options, "tls+tcp://10.0.0.9:1", "/mine.pem");
}

static void expect_refused(const struct cli_options *options, const char *beginning)
{
	ENDPOINT_CLEANUP struct endpoint endpoint = {0};
	struct fl_error err = {0};

	assert_int_equal(endpoint_find(options, &endpoint, &err), FL_E_USAGE);
	if (strncmp(err.text, beginning, strlen(beginning)) != 0)
		fail_msg("\"%s\" does not begin with \"%s\"", err.text, beginning);
}

static void test_refused(void **state)
{
	const struct home *home = *state;
	struct cli_options options = {0};
	char text[256];

	if (access(ENDPOINT_LOCAL_SOCKET, F_OK) != 0)
		expect_refused(&options, "no fleet is configured");
	options.context = (char *)"nope";
	snprintf(text, sizeof(text), "there is no context \"nope\" in %s", home->path);
	expect_refused(&options, text);
	options.context = NULL;
	options.endpoint = (char *)"http://x";
	expect_refused(&options, "the endpoint \"http://x\" is neither");
	options.endpoint = (char *)"tls+tcp://x:1";
	expect_refused(&options, "tls+tcp://x:1 needs certificates");
}

int main(void)
{
#define WITH_HOME(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_HOME(test_load),
		WITH_HOME(test_load_nothing),
		WITH_HOME(test_load_errors),
		WITH_HOME(test_order),
		WITH_HOME(test_refused),
		cmocka_unit_test(test_edit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
