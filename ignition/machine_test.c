#include "ignition/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AGENT "[Agent]\nCoordinator=tls+tcp://10.17.3.10:7440\n"

static struct machine *new_machine(void)
{
	struct machine *machine;

	assert_int_equal(machine_new("testdata/x.machine", &machine, NULL), FL_OK);
	return machine;
}

/* Each of the messages, in their order, behind "testdata/x.machine:". */
static void expect_errors(const char *text, const char *const *expected)
{
	FL_CLEANUP(machine_freep) struct machine *machine = new_machine();
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	struct fl_error err = {0};
	size_t n = 0;

	assert_int_not_equal(machine_parse(machine, text, strlen(text), &report, &err), FL_OK);
	for (; expected[n] != NULL; n++) {
		assert_true(n < report.errors.n);
		assert_memory_equal(report.errors.items[n], "testdata/x.machine:", 19);
		assert_string_equal(report.errors.items[n] + 19, expected[n]);
	}
	assert_int_equal(report.errors.n, n);
	assert_string_equal(err.text + 19, expected[0]);
}

static void test_syntax(void **state)
{
	(void)state;
	expect_errors("[Machine]\nHostnam=a\n\n[Netwrok]\nDNS=x\n",
		(const char *const[]){"4: there is no section [Netwrok]; is it [Network]?",
			"2: [Machine] has no key Hostnam=; is it Hostname=?", NULL});
	expect_errors("[Machine]\nMetadata=a=b c\n[Match]\nMACAddress=52:54\n",
		(const char *const[]){"2: \"c\" is not key=value without blanks, commas, quotes "
				      "and backslashes",
			"4: \"52:54\" is not a hardware address, such as 52:54:00:12:34:56", NULL});
	expect_errors("[File etc/motd]\nSource=motd\n",
		(const char *const[]){"1: \"etc/motd\" is not the absolute path of a file", NULL});
	expect_errors("[File /etc/motd]\nMode=1777\nOwner=ana\n",
		(const char *const[]){
			"2: \"1777\" is not a mode of three octal digits, such as 0644",
			"3: [File /etc/motd] has no key Owner=; it has Source= and Mode=",
			"1: Source= does not say which file becomes \"/etc/motd\"", NULL});
	expect_errors("[Unit hello.service]\nSource=x\nMode=0644\n",
		(const char *const[]){
			"3: [Unit hello.service] has no key Mode=; it has Source= and Enable=",
			NULL});
}

static void test_paths_of_files(void **state)
{
	static const char *const bad[] = {"/", "/a/", "//a", "/a//b", "/a/./b", "/a/../b", "/a/.",
		"/a/..", "/..", "relative", ""};
	static const char *const good[] = {"/a", "/a/..b", "/a/.b", "/a b/c", "/a/b..."};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(bad) + FL_COUNT(good); i++) {
		bool is_bad = i < FL_COUNT(bad);
		FL_CLEANUP(machine_freep) struct machine *machine = new_machine();
		FL_CLEANUP(fl_freep)
		char *text = fl_printf(
			"[File %s]\nSource=x\n", is_bad ? bad[i] : good[i - FL_COUNT(bad)]);
		enum fl_code code = machine_parse(machine, text, strlen(text), NULL, NULL);

		assert_int_equal(code == FL_OK, !is_bad);
	}
}

static void test_values(void **state)
{
	static const char text[] = "[Machine]\nHostname=a\nHostname=b\nMetadata=x=1 y=2,z=3\n"
				   "[Network]\nDNS=10.0.0.1\nDNS=\nDNS=10.0.0.2 10.0.0.3 10.0.0.2\n"
				   "[Agent]\nCACertificate=../ca.crt\nReleaseKey=/k 1\n";
	FL_CLEANUP(machine_freep) struct machine *machine = new_machine();
	FL_CLEANUP_STRV struct fl_strv given = {0};

	(void)state;
	assert_int_equal(machine_parse(machine, text, strlen(text), NULL, NULL), FL_OK);
	assert_string_equal(machine_value(machine, MACHINE_HOSTNAME), "b");
	assert_null(machine_value(machine, MACHINE_ROLE));
	assert_int_equal(machine->values[MACHINE_METADATA].n, 3);
	assert_int_equal(machine->values[MACHINE_DNS].n, 2);
	assert_string_equal(machine->values[MACHINE_DNS].items[0], "10.0.0.2");
	assert_string_equal(machine_value(machine, MACHINE_CA), "testdata/../ca.crt");
	assert_string_equal(machine_value(machine, MACHINE_RELEASE_KEY), "/k 1");

	/* Flags take the place of the file's, and their paths are relative to where one is. */
	assert_int_equal(fl_strv_add(&given, "10.0.0.4,10.0.0.5", NULL), FL_OK);
	assert_int_equal(machine_override(machine, MACHINE_DNS, &given, NULL), FL_OK);
	assert_int_equal(machine->values[MACHINE_DNS].n, 2);
	assert_string_equal(machine->values[MACHINE_DNS].items[0], "10.0.0.4");
	assert_int_equal(machine_override(machine, MACHINE_CA, &given, NULL), FL_OK);
	assert_string_equal(machine_value(machine, MACHINE_CA), "10.0.0.4,10.0.0.5");
	assert_int_equal(machine_override(machine, MACHINE_HOSTNAME, &given, NULL), FL_E_INVALID);
}

/* What @text and a coordinator mean together, and of what is read. */
static void expect_refused(const char *text, const char *why)
{
	FL_CLEANUP(machine_freep) struct machine *machine = new_machine();
	FL_CLEANUP_STRV struct fl_strv metadata = {0};
	struct fl_error err = {0};
	enum fl_code code;

	assert_int_equal(machine_parse(machine, text, strlen(text), NULL, &err), FL_OK);
	code = machine_check(machine, &err);
	if (code == FL_OK)
		code = machine_metadata(machine, &metadata, &err);
	if (code == FL_OK)
		code = machine_read_sources(machine, &err);
	assert_int_not_equal(code, FL_OK);
	if (strstr(err.text, why) == NULL)
		fail_msg("\"%s\", not \"%s\"", err.text, why);
}

static void test_checks(void **state)
{
	(void)state;
	expect_refused("[Machine]\nHostname=a\n", "Coordinator= (--coordinator=) has to say");
	expect_refused(AGENT "Binary=https://a/b\n", "would run as root");
	expect_refused(AGENT "[Network]\nAddress=10.0.0.2/24\n", "not of which interface");
	expect_refused(AGENT "[Network]\nDHCP=no\n", "has no network");
	expect_refused(AGENT "[Network]\nGateway=10.0.0.1 10.0.0.2\n", "twice for one family");
	expect_refused(AGENT "[FreeIPA]\nServer=a.b\n", "has no Domain=");
	expect_refused(AGENT "[FreeIPA]\nDomain=a.b\n", "needs PasswordFile=");
	expect_refused(AGENT "[FreeIPA]\nDomain=a.b\nPasswordFile=motd\n", "their full names");
	expect_refused(AGENT "[Machine]\nRole=a\nMetadata=role=b\n",
		"there are \"role=a\" and \"role=b\"");
	expect_refused(AGENT "HashOf=nothing\n", "testdata/nothing: No such file");
	expect_refused(AGENT "CACertificate=motd\n", "no certificate in PEM");
	expect_refused(AGENT "CACertificate=secret\n", "not a text file");
	expect_refused(AGENT "ReleaseKey=motd\n", "testdata/motd: this is no release key");
	expect_refused(AGENT "[Unit a.service]\nSource=motd\n", "testdata/motd:");
	expect_refused(AGENT "[Unit a@.service]\nSource=hello.service\n",
		"testdata/x.machine:3: a@.service cannot be enabled: a template does not run");
}

static void test_the_agents_url(void **state)
{
	static const struct {
		const char *text, *url;
	} rows[] = {
		{AGENT, NULL},
		{AGENT "HashOf=motd\n",
			"https://10.17.3.10:7442/agents/" FLOTA_VERSION "/x86_64/flota-agent"},
		{"[Agent]\nCoordinator=tls+tcp://[fd17::1]:1\nHashOf=motd\nVersion=2\n",
			"https://[fd17::1]:7442/agents/2/x86_64/flota-agent"},
		{AGENT "HashOf=motd\nBinary=http://a/b\n", "http://a/b"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		FL_CLEANUP(machine_freep) struct machine *machine = new_machine();
		FL_CLEANUP(fl_freep) char *url = NULL;

		assert_int_equal(
			machine_parse(machine, rows[i].text, strlen(rows[i].text), NULL, NULL),
			FL_OK);
		assert_int_equal(machine_check(machine, NULL), FL_OK);
		assert_int_equal(machine_read_sources(machine, NULL), FL_OK);
		assert_int_equal(machine_agent_url(machine, &url, NULL), FL_OK);
		if (rows[i].url == NULL)
			assert_null(url);
		else
			assert_string_equal(url, rows[i].url);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_syntax),
		cmocka_unit_test(test_paths_of_files),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_the_agents_url),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
