/* [X-Flota] and claims; what it shares with [X-Fleet] is in rules_test.c. */
#include "unitfiles/rules.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static enum fl_code read_rules(const char *text, const char *name, struct unit_rules *ret_rules,
	struct unit_report *report, struct fl_error *err)
{
	struct unit_file *file = NULL;
	enum fl_code code;

	if (unit_file_parse(text, strlen(text), "f", NULL, &file, err) != FL_OK)
		fail_msg("%s\n%s", text, err->text);
	code = unit_rules_read(file, name, 0, report, ret_rules, err);
	unit_file_free(file);
	return code;
}

static void say_number(struct fl_buf *buf, const char *name, uint64_t value)
{
	if (value != 0)
		fl_buf_printf(buf, "%s=%" PRIu64 " ", name, value);
}

/* What differs from a file without the section. */
static void describe(const struct unit_rules *rules, struct fl_buf *buf)
{
	fl_buf_clear(buf);
	fl_buf_text(buf, "");
	if (rules->exclusive)
		fl_buf_printf(buf, "exclusive stop=%" PRIu32 " ", rules->stop_ms);
	else
		assert_int_equal(rules->stop_ms, 0);
	say_number(buf, "memory", rules->claims.memory_bytes);
	say_number(buf, "permyriad", rules->claims.memory_permyriad);
	say_number(buf, "milli", rules->claims.cpu_milli);
	if (rules->priority != 0)
		fl_buf_printf(buf, "priority=%d ", rules->priority);
	if (rules->spread != NULL)
		fl_buf_printf(buf, "spread=%s ", rules->spread);
	for (size_t i = 0; i < rules->n_prefer_metadata; i++)
		for (size_t j = 0; j < rules->prefer_metadata[i].values.n; j++)
			fl_buf_printf(buf, "prefer=%s:%s ", rules->prefer_metadata[i].key,
				rules->prefer_metadata[i].values.items[j]);
	for (size_t i = 0; i < rules->prefer_conflicts.n; i++)
		fl_buf_printf(buf, "without=%s ", rules->prefer_conflicts.items[i]);
	say_number(buf, "replicas", rules->replicas);
	say_number(buf, "unavailable", rules->max_unavailable);
	say_number(buf, "percent", rules->max_unavailable_percent);
	if (rules->has_min_healthy)
		fl_buf_printf(buf, "healthy=%" PRIu64 " ", rules->min_healthy_ms);
}

#define FLOTA   "[X-Flota]\n"
#define SERVICE "[Service]\n"

static void test_accepted(void **state)
{
	static const struct {
		const char *text, *rules;
	} rows[] = {
		{FLOTA "Exclusive=yes\n", "exclusive stop=10000 "},
		{FLOTA "Exclusive=yes\n" SERVICE "TimeoutStopSec=2\n", "exclusive stop=2000 "},
		{FLOTA "Exclusive=yes\n" SERVICE "TimeoutStopSec=2\nTimeoutSec=1min\n",
			"exclusive stop=60000 "},
		{FLOTA "Exclusive=yes\n" SERVICE "TimeoutSec=2\nTimeoutStopSec=\n",
			"exclusive stop=10000 "},
		{FLOTA "Exclusive=yes\n" SERVICE "TimeoutStopSec=infinity\n",
			"exclusive stop=90000 "},
		{FLOTA "Exclusive=yes\n" SERVICE "TimeoutStopSec=1min 5s\n",
			"exclusive stop=65000 "},
		{FLOTA "Exclusive=yes\n" SERVICE "TimeoutStopSec=0\n", "exclusive stop=90000 "},
		{FLOTA "Exclusive=yes\n[Mount]\nTimeoutSec=300ms\n", "exclusive stop=300 "},
		{FLOTA "Exclusive=yes\nExclusive=\n", ""},
		{FLOTA "Memory=512M\n", "memory=536870912 "},
		{FLOTA "Memory=1\nMemory=2\n", "memory=2 "},
		{FLOTA "CPUs=0.5\n", "milli=500 "},
		{FLOTA "CPUs=2\n", "milli=2000 "},
		{FLOTA "CPUs=0.125\n", "milli=125 "},
		{FLOTA "CPUs=100000\n", "milli=100000000 "},
		{SERVICE "MemoryMax=1G\nCPUQuota=150%\n", "memory=1073741824 milli=1500 "},
		{SERVICE "MemoryMax=12.5%\nCPUQuota=7.5%\n", "permyriad=1250 milli=75 "},
		{SERVICE "MemoryMax=infinity\n", ""},
		{SERVICE "MemoryLimit=1K\n", "memory=1024 "},
		{SERVICE "MemoryMax=2K\nMemoryLimit=1K\n", "memory=2048 "},
		{SERVICE "MemoryMax=1G\nMemoryMax=\n", ""},
		{SERVICE "MemoryMax=1G\n" FLOTA "Memory=1K\n", "memory=1024 "},
		{SERVICE "MemoryMax=1G\n" FLOTA "Memory=0\n", ""},
		{SERVICE "MemoryMax=20%\n" FLOTA "Memory=1K\n", "memory=1024 "},
		{SERVICE "MemoryMax=1K\n" FLOTA "Memory=\n", "memory=1024 "},
		{FLOTA "Priority=-1000\n", "priority=-1000 "},
		{FLOTA "Priority=1000\n", "priority=1000 "},
		{FLOTA "Spread=zone\n", "spread=zone "},
		{FLOTA "Spread=zone\nSpread=machine\n", "spread=machine "},
		{FLOTA "Spread=zone\nSpread=\n", ""},
		{FLOTA "PreferMetadata=disk=ssd zone=b\nPreferMetadata=disk=nvme\n",
			"prefer=disk:ssd prefer=disk:nvme prefer=zone:b "},
		{FLOTA "PreferMetadata=disk=ssd\nPreferMetadata=\nPreferMetadata=a=b\n",
			"prefer=a:b "},
		{FLOTA "PreferConflicts=web@* db.service\n", "without=web@* without=db.service "},
		{FLOTA "PreferConflicts=a\nPreferConflicts=\n", ""},
		{FLOTA "Replicas=1000\n", "replicas=1000 "},
		{FLOTA "MaxUnavailable=2\n", "unavailable=2 "},
		{FLOTA "MaxUnavailable=2\nMaxUnavailable=25%\n", "percent=25 "},
		{FLOTA "MinHealthySec=2min\n", "healthy=120000 "},
		{FLOTA "MinHealthySec=1min 30s\n", "healthy=90000 "},
		{FLOTA "MinHealthySec=0\n", "healthy=0 "},
		{FLOTA "MaxUnavailable=1\n[X-Fleet]\nGlobal=yes\n", "unavailable=1 "},
		{FLOTA "Memory=1\nReplicas=2\n[X-Fleet]\nMachineID=x\n", "memory=1 replicas=2 "},
	};
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_rules rules = {0};
		struct fl_error err = {0};

		if (read_rules(rows[i].text, "a@7.service", &rules, NULL, &err) != FL_OK)
			fail_msg("%s\n%s", rows[i].text, err.text);
		describe(&rules, &buf);
		if (strcmp(fl_buf_str(&buf), rows[i].rules) != 0)
			fail_msg("%s\n%s", rows[i].text, fl_buf_str(&buf));
		unit_rules_fini(&rules);
	}
}

static void test_refused(void **state)
{
	static const struct {
		const char *name, *text, *error;
	} rows[] = {
		{"a.service", FLOTA "Exclusive=perhaps\n", "f:2: Exclusive=perhaps is neither"},
		{"a.service", FLOTA "Memory=much\n", "f:2: Memory=much is not a size; write one"},
		{"a.service", FLOTA "Memory=20%\n", "f:2: Memory=20% is not a size"},
		{"a.service", FLOTA "CPUs=.5\n", "f:2: CPUs=.5 is not a number of CPUs"},
		{"a.service", FLOTA "CPUs=1.\n", "f:2: CPUs=1. is not"},
		{"a.service", FLOTA "CPUs=1.2.3\n", "f:2: CPUs=1.2.3 is not"},
		{"a.service", FLOTA "CPUs=0.0001\n", "f:2: CPUs=0.0001 is not"},
		{"a.service", FLOTA "CPUs=100001\n", "f:2: CPUs=100001 is not"},
		{"a.service", FLOTA "CPUs=-1\n", "f:2: CPUs=-1 is not"},
		{"a.service", FLOTA "Priority=1001\n", "f:2: Priority=1001 is not a number from"},
		{"a.service", FLOTA "Priority=--1\n", "f:2: Priority=--1 is not"},
		{"a.service", FLOTA "Spread=zone\n", "f:2: Spread=zone spreads the instances of"},
		{"a@1.service", FLOTA "Spread=a b\n", "f:2: Spread=a b is not one key"},
		{"a.service", FLOTA "PreferMetadata=disk\n",
			"f:2: PreferMetadata=disk is not a list of key=value"},
		{"a.service", FLOTA "PreferMetadata=\"disk=ssd\" a=b\n",
			"f:2: PreferMetadata=\"disk=ssd\" a=b is not a list of words without quotes"},
		{"a.service", FLOTA "PreferConflicts=a[\n", "f:2: PreferConflicts=: pattern"},
		{"a.service", FLOTA "Replicas=2\n", "f:2: Replicas=2 is for a template; call the"},
		{"a@.service", FLOTA "Replicas=0\n", "f:2: Replicas=0 is not a number from 1"},
		{"a@.service", FLOTA "Replicas=1001\n", "f:2: Replicas=1001 is not"},
		{"a.service", FLOTA "MaxUnavailable=0\n", "f:2: MaxUnavailable=0 is not a number"},
		{"a.service", FLOTA "MaxUnavailable=101%\n",
			"f:2: MaxUnavailable=101% is not from 1% to 100%"},
		{"a.service", FLOTA "MinHealthySec=25h\n", "f:2: MinHealthySec=25h is not a time"},
		{"a.service", FLOTA "MinHealthySec=soon\n", "f:2: MinHealthySec=soon is not"},
		{"a.service", FLOTA "Exclusive=yes\n[X-Fleet]\nGlobal=yes\n",
			"f:2: Exclusive= has no meaning with Global="},
		{"a@.service", FLOTA "Replicas=2\n[X-Fleet]\nGlobal=yes\n",
			"f:2: Replicas= has no meaning with Global="},
		{"a@.service", FLOTA "Spread=zone\n[X-Fleet]\nMachineID=x\n",
			"f:2: Spread= has no meaning with MachineID="},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_rules rules = {0};
		struct fl_error err = {0};

		if (read_rules(rows[i].text, rows[i].name, &rules, NULL, &err) != FL_E_INVALID)
			fail_msg("accepted: %s", rows[i].text);
		if (strncmp(err.text, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("%s\n%s", rows[i].text, err.text);
	}
}

/* systemd ignores such a limit, so its unit must run all the same. */
static void test_limits_that_cannot_be_read(void **state)
{
	static const struct {
		const char *text, *warning;
	} rows[] = {
		{SERVICE "MemoryMax=lots\n", "f:2: MemoryMax=lots is not a size; no memory"},
		{SERVICE "MemoryMax=101%\n", "f:2: MemoryMax=101% is not a size; no memory"},
		{SERVICE "CPUQuota=2\n", "f:2: CPUQuota=2 is not a percentage; no CPU"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_rules rules = {0};
		struct unit_report report = {0};
		struct fl_error err = {0};

		assert_int_equal(
			read_rules(rows[i].text, "a.service", &rules, &report, &err), FL_OK);
		assert_int_equal(report.warnings.n, 1);
		if (strncmp(report.warnings.items[0], rows[i].warning, strlen(rows[i].warning)) !=
			0)
			fail_msg("%s", report.warnings.items[0]);
		assert_int_equal(rules.claims.memory_bytes, 0);
		assert_int_equal(rules.claims.cpu_milli, 0);
		unit_rules_fini(&rules);
		unit_report_fini(&report);
	}
}

static void test_values_are_bounded(void **state)
{
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	struct unit_rules rules = {0};
	struct fl_error err = {0};

	(void)state;
	fl_buf_text(&text, FLOTA "PreferConflicts=");
	for (int i = 0; i < UNIT_RULES_VALUES_MAX; i++)
		fl_buf_text(&text, "a* ");
	fl_buf_text(&text, "\n");
	assert_int_equal(read_rules(fl_buf_str(&text), "a.service", &rules, NULL, &err), FL_OK);
	unit_rules_fini(&rules);
	fl_buf_text(&text, "PreferConflicts=b*\n");
	assert_int_equal(
		read_rules(fl_buf_str(&text), "a.service", &rules, NULL, &err), FL_E_LIMIT);
	assert_non_null(strstr(err.text, "f:3: PreferConflicts= has more than 64 values"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits_that_cannot_be_read),
		cmocka_unit_test(test_values_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
