#include "unitfiles/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/test_memory.h"

#define START "ExecStart=/bin/true\n"

static void test_accepted(void **state)
{
	static const char *const rows[][2] = {
		{"a.service", "[Service]\n" START},
		{"a@.service", "# c\n[Unit]\nDescription=%i\n[Service]\n" START},
		{"a@1.service", "[Service]\nExecStart=\n" START},
		{"a.service", "[Service]\nType=oneshot\n" START START},
		{"a.service", "[Service]\n" START "ExecStart=\n" START},
		{"a.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true\n"},
		{"a.service", "[Unit]\nSuccessAction=reboot\n[Service]\nType=oneshot\n"},
		{"a.service", "[Unit]\nSuccessAction=reboot\n"},
		{"a.service", "[Service]\nRemainAfterExit=yes\nExecStop=/bin/true\n"},
		{"a.service", "[Service]\nType=dbus\nBusName=a.b\n" START},
		{"a.timer", "[Timer]\nOnCalendar=daily\n"},
		{"a.timer", "[Timer]\nOnBootSec=1\n[X-Fleet]\nGlobal=yes\n"},
		{"a.socket", "[Socket]\nListenStream=80\n"},
		{"a.path", "[Path]\nPathChanged=/a\n"},
		{"a.mount", "[Mount]\nWhat=/dev/a\nWhere=/a\n"},
		{"dev-a.swap", "[Swap]\nPriority=1\n"},
		{"a.automount", "[Automount]\nWhere=/a\n"},
		{"a.target", "[Unit]\nDescription=a\n"},
		{"a.slice", "[Slice]\nMemoryMax=1G\n"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct fl_error err = {0};

		if (unit_verify(rows[i][1], strlen(rows[i][1]), "f", rows[i][0], 0, NULL, &err) !=
			FL_OK)
			fail_msg("%s\n%s", rows[i][1], err.text);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *name, *text, *error;
	} rows[] = {
		{"a.service", "", "f: there is nothing in it"},
		{"a.service", "# c\n[Service]\n", "f: there is nothing in it"},
		{"a.service", "[Unit]\nDescription=a\n", "f: there is no section [Service]"},
		{"a.service", "[Service]\nRestart=no\n", "f:1: the service starts nothing"},
		{"a.service", "[Service]\n" START "ExecStart=\n",
			"f:3: the service starts nothing"},
		{"a.service", "[Service]\nExecStop=/bin/true\n", "f:1: the service starts nothing"},
		{"a.service", "[Service]\nType=oneshot\nExecStop=/bin/true\n",
			"f:1: the service starts nothing; add ExecStart=, or Remain"},
		{"a.service", "[Service]\n" START START, "f:3: only a service with Type=oneshot"},
		{"a.service", "[Service]\nType=dbus\n" START,
			"f:1: a service with Type=dbus needs"},
		{"a.timer", "[Service]\n" START, "f: there is no section [Timer]"},
		{"a.timer", "[Timer]\nOnCalendar=\nUnit=b.service\n",
			"f:1: the unit never elapses"},
		{"a.socket", "[Socket]\nAccept=yes\n", "f:1: the unit listens on nothing"},
		{"a.path", "[Path]\nUnit=b.service\n", "f:1: the unit watches nothing"},
		{"a.mount", "[Mount]\nWhere=/a\n", "f:1: the unit does not say what to mount"},
		{"a.vm", "[VM]\nCPUs=1\n", "f: unit a.vm: a fleet has no .vm units: this version"},
		{"a b.service", "[Service]\n" START, "f: unit name \"a b.service\" has an invalid"},
		{"a.service", "[Service]\nnonsense\n" START, "f:2: the line has no \"=\""},
		{"a.service", "[Service]\n" START "[X-Fleet]\nFoo=1\n",
			"f:4: [X-Fleet] has no key"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		UNIT_CLEANUP_REPORT struct unit_report report = {0};
		struct fl_error err = {0};
		enum fl_code code = unit_verify(
			rows[i].text, strlen(rows[i].text), "f", rows[i].name, 0, &report, &err);

		if (code == FL_OK)
			fail_msg("accepted: %s", rows[i].text);
		assert_int_equal(code, err.code);
		if (strncmp(err.text, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("%s\n%s", rows[i].text, err.text);
		assert_string_equal(report.errors.items[0], err.text);
	}
}

static void test_all_problems_are_reported(void **state)
{
	static const char text[] = "[Service]\nType=dbus\n[X-Fleet]\nFoo=1\nMachineID=\n";
	static const char broken[] = "[Service\n";
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(
		unit_verify(text, strlen(text), "f", "a.service", 0, &report, &err), FL_E_INVALID);
	assert_int_equal(report.errors.n, 4);
	assert_string_equal(report.errors.items[0], err.text);
	unit_report_fini(&report);

	assert_int_equal(
		unit_verify(broken, strlen(broken), "f", "a", 0, &report, &err), FL_E_INVALID);
	assert_int_equal(report.errors.n, 2);
	assert_string_equal(report.errors.items[0], err.text);
	unit_report_fini(&report);

	assert_int_equal(
		unit_verify(text, strlen(text), "f", "a.service", UNIT_LENIENT, &report, &err),
		FL_E_INVALID);
	assert_int_equal(report.errors.n, 2);
	assert_int_equal(report.warnings.n, 2);
}

static void test_read(void **state)
{
	static const char text[] = "[Service]\n" START "[X-Fleet]\nMachineID=x\n";
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	UNIT_CLEANUP_RULES struct unit_rules rules = {0};

	(void)state;
	assert_int_equal(unit_verify_read(text, strlen(text), "f", "a.service", 0, NULL, &file,
				 &rules, NULL),
		FL_OK);
	assert_string_equal(unit_file_text(file, NULL), text);
	assert_string_equal(rules.machine_id, "x");
}

/* Whichever allocation fails: FL_E_NO_MEMORY, nothing handed out, nothing leaked (the sanitizer
 * says so). */
static void test_out_of_memory(void **state)
{
	static const char text[] =
		"[Service]\n" START "[X-Fleet]\nMachineMetadata=\"a=b\" \"c=d\"\n"
		"MachineMetadata=a=%p\nConflicts=%p@*.service b.*\nFoo=1\n"
		"MachineOf=c@%i.service\n[X-Flota]\nOnMachineLoss=wait\n";
	unsigned long n = 0;
	enum fl_code code;

	(void)state;
	do {
		UNIT_CLEANUP_REPORT struct unit_report report = {0};
		FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
		UNIT_CLEANUP_RULES struct unit_rules rules = {0};
		char hash[UNIT_FILE_HASH_SIZE];
		struct fl_error err = {0};

		test_memory_allocations = 0;
		test_memory_fail_at = ++n;
		code = unit_verify_read(text, strlen(text), "f", "a@1.service", UNIT_LENIENT,
			&report, &file, &rules, &err);
		test_memory_fail_at = 0;
		if (code != FL_OK) {
			assert_int_equal(code, FL_E_NO_MEMORY);
			assert_int_equal(err.code, FL_E_NO_MEMORY);
			assert_null(file);
			assert_int_equal(rules.n_metadata, 0);
			continue;
		}
		assert_int_equal(rules.n_metadata, 2);
		test_memory_fail_at = 1;
		test_memory_allocations = 0;
		assert_int_equal(unit_file_hash(file, hash, &err), FL_E_NO_MEMORY);
		test_memory_fail_at = 0;
	} while (code != FL_OK && n < 1000);
	assert_int_equal(code, FL_OK);
	assert_true(n > 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_all_problems_are_reported),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
