#include "ignition/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/test_memory.h"

#define TOKEN \
	"flota1.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA." \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static struct machine *read_machine(const char *path)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct machine *machine;
	size_t len;

	assert_int_equal(fl_file_read(path, 65536, &text, &len, NULL), FL_OK);
	assert_int_equal(machine_new(path, &machine, NULL), FL_OK);
	assert_int_equal(machine_parse(machine, text, len, NULL, NULL), FL_OK);
	assert_int_equal(machine_check(machine, NULL), FL_OK);
	assert_int_equal(machine_read_sources(machine, NULL), FL_OK);
	return machine;
}

static void write_document(const char *path, enum document_kind kind, const char *token,
	struct fl_buf *out, struct fl_strv *secrets)
{
	FL_CLEANUP(machine_freep) struct machine *machine = read_machine(path);

	assert_int_equal(document_write(kind, machine, token, out, secrets, NULL), FL_OK);
}

/* The documents of testdata/web1.machine are the files beside it. FLOTA_TEST_UPDATE=1 in the
 * environment writes them anew; git diff then shows what has changed. */
static void test_golden(void **state)
{
	static const char *const files[] = {[DOCUMENT_IGNITION] = "testdata/web1.ign",
		[DOCUMENT_CLOUD_CONFIG] = "testdata/web1.yaml",
		[DOCUMENT_SCRIPT] = "testdata/web1.sh",
		[DOCUMENT_BUTANE] = "testdata/web1.bu"};

	(void)state;
	for (unsigned kind = 0; kind < FL_COUNT(files); kind++) {
		FL_CLEANUP_BUF struct fl_buf document = FL_BUF_INIT;
		FL_CLEANUP_STRV struct fl_strv secrets = {0};
		FL_CLEANUP(fl_freep) char *expected = NULL;
		size_t len;

		write_document("testdata/web1.machine", kind, TOKEN, &document, &secrets);
		assert_int_equal(secrets.n, 2);
		assert_string_equal(secrets.items[0], "the join token");
		assert_string_equal(secrets.items[1], "/etc/hoster/secret");
		if (getenv("FLOTA_TEST_UPDATE") != NULL)
			assert_int_equal(fl_file_write(files[kind], document.data, document.len,
						 0644, false, NULL),
				FL_OK);
		assert_int_equal(fl_file_read(files[kind], 65536, &expected, &len, NULL), FL_OK);
		assert_string_equal(fl_buf_str(&document), expected);
		assert_int_equal(document.len, len);
	}
}

static void test_without_a_token(void **state)
{
	(void)state;
	for (unsigned kind = DOCUMENT_IGNITION; kind <= DOCUMENT_BUTANE; kind++) {
		FL_CLEANUP_BUF struct fl_buf document = FL_BUF_INIT;
		FL_CLEANUP_STRV struct fl_strv secrets = {0};

		write_document("testdata/web1.machine", kind, NULL, &document, &secrets);
		assert_null(strstr(fl_buf_str(&document), "/etc/flota/token"));
		assert_int_equal(secrets.n, 1);
	}
}

static void expect_all(const char *document, const char *const *parts)
{
	for (; *parts != NULL; parts++)
		if (strstr(document, *parts) == NULL)
			fail_msg("there is no\n%s\nin\n%s", *parts, document);
}

static void test_freeipa_and_the_agent(void **state)
{
	static const char *const of_both[] = {
		"ipa-client-install --unattended --mkhomedir --hostname=db1.flota.example "
		"--domain=flota.example --server=ipa1.flota.example --no-ntp",
		"--password='it'\\''s $ecret'\n",
		"url=https://10.17.3.10:7442/agents/1.2.3/aarch64/flota-agent\n",
		"--cacert \"$ca\"", "/etc/flota/release-keys.d/main.pub",
		"ExecStart=/opt/flota/bin/flota-agent\n",
		"ExecStart=/opt/flota/bin/flota-agent fence", "method=auto", NULL};
	FL_CLEANUP_BUF struct fl_buf script = FL_BUF_INIT, cloud_config = FL_BUF_INIT;
	FL_CLEANUP_STRV struct fl_strv secrets = {0}, same = {0};

	(void)state;
	write_document("testdata/ipa1.machine", DOCUMENT_SCRIPT, TOKEN, &script, &secrets);
	expect_all(fl_buf_str(&script), of_both);
	assert_non_null(strstr(fl_buf_str(&script), "servers='ipa1.flota.example'\n"));
	write_document("testdata/ipa1.machine", DOCUMENT_CLOUD_CONFIG, TOKEN, &cloud_config, &same);
	expect_all(fl_buf_str(&cloud_config), of_both);
	assert_non_null(strstr(fl_buf_str(&cloud_config), "  servers:\n    - \"ipa1.flota"));
	assert_int_equal(secrets.n, 2);
	assert_string_equal(secrets.items[1], "the FreeIPA password");
	assert_string_equal(same.items[1], "the FreeIPA password");
}

static void expect_refused(
	const char *path, const char *more, enum document_kind kind, const char *why)
{
	FL_CLEANUP_BUF struct fl_buf document = FL_BUF_INIT;
	FL_CLEANUP_STRV struct fl_strv secrets = {0};
	FL_CLEANUP(machine_freep) struct machine *machine = NULL;
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct fl_error err = {0};
	size_t len;

	assert_int_equal(fl_file_read(path, 65536, &text, &len, NULL), FL_OK);
	assert_int_equal(machine_new(path, &machine, NULL), FL_OK);
	assert_int_equal(machine_parse(machine, text, len, NULL, NULL), FL_OK);
	assert_int_equal(machine_parse(machine, more, strlen(more), NULL, &err), FL_OK);
	assert_int_equal(machine_read_sources(machine, NULL), FL_OK);
	assert_int_not_equal(document_write(kind, machine, NULL, &document, &secrets, &err), FL_OK);
	assert_non_null(strstr(err.text, why));
	assert_int_equal(secrets.n, 0);
}

static void test_what_cannot_be(void **state)
{
	(void)state;
	expect_refused(
		"testdata/ipa1.machine", "", DOCUMENT_IGNITION, "Flatcar has no FreeIPA client");
	expect_refused("testdata/ipa1.machine", "", DOCUMENT_BUTANE, "Flatcar has no FreeIPA");
	expect_refused("testdata/web1.machine", "[File /etc/flota/agent.conf]\nSource=motd\n",
		DOCUMENT_SCRIPT, "cannot both be there");
	expect_refused("testdata/web1.machine", "[File /etc/motd/below]\nSource=motd\n",
		DOCUMENT_IGNITION, "/etc/motd and /etc/motd/below cannot both");
	expect_refused("testdata/web1.machine",
		"[Unit flota-agent.service]\nSource=hello.service\n", DOCUMENT_CLOUD_CONFIG,
		"is flota's own");
	expect_refused("testdata/web1.machine",
		"[File /etc/systemd/system/hello.service]\nSource=hello.service\n", DOCUMENT_BUTANE,
		"is a unit that is there already");
}

static void test_kinds(void **state)
{
	enum document_kind kind;
	struct fl_error err = {0};

	(void)state;
#define X(constant, name, doc) \
	assert_int_equal(document_kind_find(name, &kind, NULL), FL_OK); \
	assert_int_equal(kind, constant);
	DOCUMENT_KINDS(X)
#undef X
	assert_int_equal(document_kind_find("kickstart", &kind, &err), FL_E_USAGE);
	assert_non_null(strstr(err.text, "cloud-config"));
}

static enum fl_code make(const char *path, enum document_kind kind, const char *text, size_t len,
	struct fl_error *err)
{
	FL_CLEANUP(machine_freep) struct machine *machine = NULL;
	FL_CLEANUP_BUF struct fl_buf document = FL_BUF_INIT;
	FL_CLEANUP_STRV struct fl_strv secrets = {0};

	FL_TRY(machine_new(path, &machine, err));
	FL_TRY(machine_parse(machine, text, len, NULL, err));
	FL_TRY(machine_check(machine, err));
	FL_TRY(machine_read_sources(machine, err));
	return document_write(kind, machine, TOKEN, &document, &secrets, err);
}

static void test_out_of_memory(void **state)
{
	static const char *const paths[] = {"testdata/web1.machine", "testdata/ipa1.machine"};

	(void)state;
	for (unsigned i = 0; i < 2 * (DOCUMENT_BUTANE + 1); i++) {
		const char *path = paths[i % 2];
		enum document_kind kind = i / 2;
		FL_CLEANUP(fl_freep) char *text = NULL;
		enum fl_code code;
		unsigned long n = 0;
		size_t len;

		if (i % 2 == 1 && (kind == DOCUMENT_IGNITION || kind == DOCUMENT_BUTANE))
			continue; /* no FreeIPA there */
		assert_int_equal(fl_file_read(path, 65536, &text, &len, NULL), FL_OK);
		do {
			struct fl_error err = {0};

			test_memory_allocations = 0;
			test_memory_fail_at = ++n;
			code = make(path, kind, text, len, &err);
			test_memory_fail_at = 0;
			if (code != FL_OK)
				assert_int_equal(err.code, FL_E_NO_MEMORY);
		} while (code != FL_OK && n < 10000);
		assert_int_equal(code, FL_OK);
		assert_true(n > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_without_a_token),
		cmocka_unit_test(test_freeipa_and_the_agent),
		cmocka_unit_test(test_what_cannot_be),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
