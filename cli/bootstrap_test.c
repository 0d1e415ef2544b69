/* flotactl bootstrap, as a shell would call it: where the token comes from, and what goes where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/test_program.h"

#define COORDINATOR "--coordinator=tls+tcp://10.17.3.10:7440 "
#define TOKEN \
	"flota1.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA." \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void test_usage(void **state)
{
	(void)state;
	program_expect("bootstrap kickstart", 1,
		"flotactl: there is no first-boot document \"kickstart\"; there are ignition, "
		"cloud-config, script and butane\n");
	program_expect_part(
		"bootstrap script --no-token", 1, "Coordinator= (--coordinator=) has to");
	program_expect_part("bootstrap script none.machine", 1, "none.machine: No such file");
	program_expect("bootstrap script " COORDINATOR "--no-token --ntp='a b c_d'", 1,
		"flotactl: --ntp: \"c_d\" is not an IP address or a host name\n");
	program_expect_part("bootstrap script " COORDINATOR "--no-token --token=x", 1,
		"only one of --token=, --token-file= and --no-token");
	program_expect_part("bootstrap script " COORDINATOR "--token=secret.words", 1, "token");
	program_expect_part("bootstrap script " COORDINATOR "--no-token --agent-version=1", 1,
		"the agent's hash cannot be asked for (--agent-hash= and --agent-hash-of= do "
		"without): ");
	program_expect_part("bootstrap script " COORDINATOR, 1,
		"the machine's token cannot be made (--token=, --token-file= and --no-token do "
		"without): ");
}

static void test_verify(void **state)
{
	(void)state;
	program_write("good.machine", "[Agent]\nCoordinator=tls+tcp://10.17.3.10:7440\n"
				      "[File /etc/motd]\nSource=motd\n");
	program_write("motd", "hello\n");
	program_write("bad.machine", "[Machine]\nHostname=-\n\n[Netwrok]\n");
	program_write("worse.machine", "[Agent]\nCoordinator=tls+tcp://10.17.3.10:7440\n"
				       "HashOf=missing\n");
	program_expect("verify good.machine", 0, "");
	program_expect_part("verify bad.machine", 1, "bad.machine:2: \"-\" is not a host name");
	program_expect_part(
		"verify bad.machine", 1, "bad.machine:4: there is no section [Netwrok]");
	program_expect_part("verify worse.machine", 1, "missing: No such file or directory");
	program_expect_part("verify --output=json good.machine", 0, "\"valid\": true");
}

static void test_output(void **state)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/web1.sh", program_folder);
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct stat st;
	size_t len;

	(void)state;
	program_expect_part(
		"bootstrap butane good.machine --no-token --hostname=web1", 0, "          web1\n");
	program_write("web1.sh", "of yesterday");
	program_write("token", TOKEN "\n");
	program_expect("bootstrap script good.machine --token-file=token -o web1.sh", 0,
		"It holds what nobody else should see: the join token.\n"
		"Keep it where only you can read it, and remove it when the machine has "
		"joined.\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fl_file_read(path, 65536, &text, &len, NULL), FL_OK);
	assert_memory_equal(text, "#!/bin/sh\n", 10);
	assert_non_null(strstr(text, TOKEN "\n"));
}

static void test_a_token_is_made(void **state)
{
	pid_t pid = program_start_coordinator();

	(void)state;
	/* None for a document that cannot be. */
	program_write("other.machine", "[File /etc/flota/agent.conf]\nSource=motd\n");
	program_expect_part(
		"bootstrap script other.machine " COORDINATOR, 1, "cannot both be there");
	program_expect("token list --no-legend", 0, "");
	program_expect_part("bootstrap ignition good.machine --hostname=web1.flota.example "
			    "--role=web --metadata=disk=ssd,pool=a --uses=2 --ttl=1h",
		0, "the join token");
	program_expect_part("token list --no-legend", 0, "web1.flota.example");
	program_expect_part("token list --no-legend", 0, "disk=ssd,pool=a");
	program_expect_part("token list --output=json", 0, "\"uses_left\": 2");
	program_expect_part("token list --output=json", 0, "\"role\": \"web\"");
	program_expect_part("bootstrap script good.machine --no-token --agent-version=newest", 1,
		"the coordinator has no release \"newest\" for x86_64");
	program_expect_part("bootstrap script good.machine --no-token --agent-hash-of=motd", 0,
		"-----BEGIN CERTIFICATE-----");
	program_stop_coordinator(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_a_token_is_made),
	};

	return cmocka_run_group_tests(tests, program_set_up, program_tear_down);
}
