/* flota-coordinator's configuration and its verbs init and issue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "coordinator/commands.h"
#include "transport/tls.h"

static char folder[] = "/tmp/flota-commands-test-XXXXXX";
static struct config config; /* of the verbs: its data_directory is the fleet's */

static int setup(void **state)
{
	(void)state;
	memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
	if (mkdtemp(folder) == NULL)
		return -1;
	config = (struct config){.data_directory = fl_printf("%s/fleet", folder)};
	return 0;
}

static int teardown(void **state)
{
	FL_CLEANUP(fl_freep) char *command = fl_printf("rm -r %s", folder);

	(void)state;
	free(config.data_directory);
	return system(command);
}

static char *in_folder(const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* ---- Configuration -- */

static enum fl_code load(
	struct config *ret_config, const char *text, const char *argument, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *file = fl_printf("--config=%s/conf", folder);
	char *argv[] = {(char *)"flota-coordinator", file, (char *)argument, (char *)"run", NULL};
	int first = 0;
	enum fl_code code;

	assert_int_equal(
		fl_file_write(in_folder("conf"), text, strlen(text), 0600, false, NULL), FL_OK);
	code = config_load(ret_config, 4, argv, &first, err);
	if (code == FL_OK) {
		assert_int_equal(first, 3);
		assert_string_equal(argv[first], "run");
	}
	return code;
}

static void test_config(void **state)
{
	struct config c;

	(void)state;
	assert_int_equal(load(&c, "", "--no-help", NULL), FL_OK);
	assert_int_equal(c.listen.n, 2);
	assert_string_equal(c.listen.items[0], "tls+tcp://0.0.0.0:7440");
	assert_string_equal(c.listen.items[1], "ipc:///run/flota/coordinator/socket");
	assert_string_equal(c.data_directory, "/var/lib/flota/coordinator");
	assert_int_equal(c.lease_ms, 10000);
	assert_int_equal(c.memory_overcommit_permille, 1000);
	assert_int_equal(c.cpu_overcommit_permille, 1000);
	assert_int_equal(c.program.level, FL_INFO);
	config_fini(&c);

	/* What is said takes the defaults' place; the command line is above the file. */
	assert_int_equal(load(&c,
				 "[Coordinator]\nListen=ipc:///x\nLease=5s\nLogLevel=debug\n"
				 "DataDirectory=/there\nMemoryOvercommit=1.5\n",
				 "--lease=7s", NULL),
		FL_OK);
	assert_int_equal(c.listen.n, 1);
	assert_string_equal(c.listen.items[0], "ipc:///x");
	assert_string_equal(c.data_directory, "/there");
	assert_int_equal(c.lease_ms, 7000);
	assert_int_equal(c.memory_overcommit_permille, 1500);
	assert_int_equal(c.program.level, FL_DEBUG);
	config_fini(&c);
}

static void test_bad_config(void **state)
{
	static const struct {
		const char *text, *argument, *says;
	} rows[] = {
		{"[Coordinator]\n\nLaese=5s\n", "--no-help", "conf:3: unknown key Laese="},
		{"[Coordinator]\nLease=500ms\n", "--no-help", "conf:2: Lease=: "},
		{"[Agent]\n", "--no-help", "conf:1: unknown section"},
		{"", "--lease=0", "--lease"},
		{"", "--cpu-overcommit=0", "--cpu-overcommit"},
		{"", "--memory-overcommit=150%", "write it like 1 or 1.5"},
		{"", "--log-level=loud", "LogLevel=loud"},
		{"", "--nonsense", "--nonsense"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct fl_error err = {0};
		struct config c;

		assert_int_not_equal(load(&c, rows[i].text, rows[i].argument, &err), FL_OK);
		if (strstr(err.text, rows[i].says) == NULL)
			fail_msg("\"%s\" is not in \"%s\"", rows[i].says, err.text);
	}
}

/* ---- init and issue -- */

/* Runs a verb with these words; what it prints is of no interest here. */
static enum fl_code run(
	enum fl_code (*verb)(const struct config *, int, char **, struct fl_error *),
	const char *const *words, struct fl_error *err)
{
	char *argv[16];
	int argc = 0;

	while (words[argc] != NULL) {
		argv[argc] = (char *)words[argc];
		argc++;
	}
	argv[argc] = NULL;
	return verb(&config, argc, argv, err);
}

static void init(void)
{
	struct fl_error err = {0};

	if (run(command_init, (const char *[]){"init", "--fleet=lab", "--address=10.0.0.1", NULL},
		    &err) != FL_OK)
		fail_msg("%s", err.text);
}

static void assert_mode(const char *name, mode_t mode)
{
	struct stat st;

	assert_int_equal(stat(in_folder(name), &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

/* They are what transport/ takes, for whom they were issued. */
static void assert_identity(
	const char *directory, const char *name, enum identity_kind kind, const char *who)
{
	FL_CLEANUP(fl_freep) char *ca = fl_printf("%s/fleet/ca.crt", folder);
	FL_CLEANUP(fl_freep)
	char *certificate = fl_printf("%s/%s/%s.crt", folder, directory, name);
	FL_CLEANUP(fl_freep) char *key = fl_printf("%s/%s/%s.key", folder, directory, name);
	const struct tls_files files = {.ca = ca, .certificate = certificate, .key = key};
	struct tls_credentials *credentials = NULL;
	struct fl_error err = {0};

	if (tls_credentials_load(&files, &credentials, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(tls_credentials_identity(credentials)->kind, kind);
	assert_string_equal(tls_credentials_identity(credentials)->fleet, "lab");
	assert_string_equal(tls_credentials_identity(credentials)->name, who);
	tls_credentials_unref(credentials);
}

static void test_init(void **state)
{
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(run(command_init, (const char *[]){"init", NULL}, &err), FL_E_USAGE);
	assert_int_equal(run(command_init, (const char *[]){"init", "--fleet=a b", NULL}, &err),
		FL_E_INVALID);
	init();
	assert_mode("fleet", 0700);
	assert_mode("fleet/ca.key", 0600);
	assert_mode("fleet/ca.crt", 0644);
	assert_mode("fleet/coordinator.key", 0600);
	assert_mode("fleet/operators/root.key", 0600);
	assert_identity("fleet", "coordinator", IDENTITY_COORDINATOR, "");
	assert_identity("fleet/operators", "root", IDENTITY_OPERATOR, "root");
	assert_int_equal(run(command_init, (const char *[]){"init", "--fleet=lab", NULL}, &err),
		FL_E_EXISTS);

	/* Interrupted before the CA's key was there, it may be done again. */
	assert_int_equal(unlink(in_folder("fleet/ca.key")), 0);
	init();
	assert_identity("fleet", "coordinator", IDENTITY_COORDINATOR, "");
}

/* Root's verbs beside the files of a coordinator that is another user. */
static void test_owner(void **state)
{
	static const uid_t other = 65534;
	FL_CLEANUP(fl_freep) char *elsewhere = fl_printf("--out=%s/m", folder);
	const char *const coordinator[] = {"issue", "coordinator", "--force", NULL};
	const char *const machine[] = {"issue", "machine", "3f2a", elsewhere, NULL};
	struct fl_error err = {0};
	struct stat st;
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(mkdir(in_folder("fleet"), 0700), 0);
	assert_int_equal(chown(in_folder("fleet"), other, other), 0);
	child = fork(); /* they become that user for good */
	if (child == 0) {
		init();
		_exit(run(command_issue, coordinator, &err) == FL_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(stat(in_folder("fleet/ca.key"), &st), 0);
	assert_int_equal(st.st_uid, other);
	assert_int_equal(st.st_gid, other);
	assert_mode("fleet/ca.key", 0600);
	assert_int_equal(stat(in_folder("fleet/operators/root.key"), &st), 0);
	assert_int_equal(st.st_uid, other);
	assert_int_equal(stat(in_folder("fleet/coordinator.key"), &st), 0);
	assert_int_equal(st.st_uid, other);

	assert_int_equal(run(command_issue, machine, &err), FL_OK);
	assert_int_equal(stat(in_folder("m/machine.key"), &st), 0);
	assert_int_equal(st.st_uid, 0);
}

static void test_issue(void **state)
{
	FL_CLEANUP(fl_freep) char *out = fl_printf("--out=%s/m", folder);
	const char *const words[] = {"issue", "machine", "3f2a", out, NULL};
	const char *const force[] = {"issue", "machine", "3f2b", out, "--force", NULL};
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(run(command_issue, words, &err), FL_E_NOT_FOUND); /* no fleet */
	init();
	assert_int_equal(run(command_issue, words, &err), FL_OK);
	assert_identity("m", "machine", IDENTITY_MACHINE, "3f2a");
	assert_mode("m/machine.key", 0600);
	assert_mode("m/ca.crt", 0644);
	assert_int_equal(run(command_issue, words, &err), FL_E_EXISTS);
	assert_identity("m", "machine", IDENTITY_MACHINE, "3f2a");
	assert_int_equal(run(command_issue, force, &err), FL_OK);
	assert_identity("m", "machine", IDENTITY_MACHINE, "3f2b");

	/* The coordinator's goes to its place. */
	assert_int_equal(run(command_issue, (const char *[]){"issue", "coordinator", NULL}, &err),
		FL_E_EXISTS);
	assert_int_equal(run(command_issue,
				 (const char *[]){"issue", "coordinator", "--address=10.0.0.2",
					 "--force", NULL},
				 &err),
		FL_OK);
	assert_identity("fleet", "coordinator", IDENTITY_COORDINATOR, "");
}

static void test_issue_usage(void **state)
{
	static const struct {
		const char *words[6];
		enum fl_code code;
	} rows[] = {
		{{"issue"}, FL_E_USAGE},
		{{"issue", "machine"}, FL_E_USAGE},
		{{"issue", "machine", "a", "b"}, FL_E_USAGE},
		{{"issue", "coordinator", "a"}, FL_E_USAGE},
		{{"issue", "king", "a"}, FL_E_USAGE},
		{{"issue", "machine", "a/b"}, FL_E_INVALID},
		{{"issue", "machine", "a", "--address=x"}, FL_E_USAGE},
		{{"issue", "machine", "a", "--not-after=tomorrow"}, FL_E_USAGE},
		{{"issue", "machine", "a", "--valid-for=0"}, FL_E_USAGE},
	};

	(void)state;
	init();
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct fl_error err = {0};

		assert_int_equal(run(command_issue, rows[i].words, &err), rows[i].code);
		assert_int_not_equal(err.text[0], '\0');
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config),
		TEST(test_bad_config),
		TEST(test_init),
		TEST(test_owner),
		TEST(test_issue),
		TEST(test_issue_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
