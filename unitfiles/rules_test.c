#include "unitfiles/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "unitfiles/specifier.h"

struct outcome {
	enum fl_code code;
	struct unit_rules rules;
	struct unit_report report;
	struct fl_error err;
};

static struct outcome read_rules(const char *text, const char *name, enum unit_flags flags)
{
	struct outcome o = {0};
	struct unit_file *file = NULL;

	if (unit_file_parse(text, strlen(text), "f", NULL, &file, &o.err) != FL_OK)
		fail_msg("%s\n%s", text, o.err.text);
	o.code = unit_rules_read(file, name, flags, &o.report, &o.rules, &o.err);
	unit_file_free(file);
	return o;
}

static void outcome_fini(struct outcome *o)
{
	unit_rules_fini(&o->rules);
	unit_report_fini(&o->report);
}

/* "id=…" "of=…" "meta=k:v|v" "conflicts=…" "replaces=…" "global" "wait", what there is of it. */
static void describe(const struct unit_rules *rules, struct fl_buf *buf)
{
	fl_buf_clear(buf);
	fl_buf_text(buf, "");
	if (rules->machine_id != NULL)
		fl_buf_printf(buf, "id=%s ", rules->machine_id);
	for (size_t i = 0; i < rules->machine_of.n; i++)
		fl_buf_printf(buf, "of=%s ", rules->machine_of.items[i]);
	for (size_t i = 0; i < rules->n_metadata; i++) {
		fl_buf_printf(buf, "meta=%s:", rules->metadata[i].key);
		for (size_t j = 0; j < rules->metadata[i].values.n; j++)
			fl_buf_printf(
				buf, "%s%s", j > 0 ? "|" : "", rules->metadata[i].values.items[j]);
		fl_buf_byte(buf, ' ');
	}
	for (size_t i = 0; i < rules->conflicts.n; i++)
		fl_buf_printf(buf, "conflicts=%s ", rules->conflicts.items[i]);
	for (size_t i = 0; i < rules->replaces.n; i++)
		fl_buf_printf(buf, "replaces=%s ", rules->replaces.items[i]);
	if (rules->global)
		fl_buf_text(buf, "global ");
	if (rules->on_machine_loss == UNIT_LOSS_WAIT)
		fl_buf_text(buf, "wait ");
}

#define FLEET "[X-Fleet]\n"
#define FLOTA "[X-Flota]\n"
#define ID    "0123456789abcdef0123456789abcdef"

static void test_accepted(void **state)
{
	static const struct {
		const char *text, *name, *rules;
	} rows[] = {
		{"[Service]\nExecStart=/bin/true\nConflicts=x\n", "a.service", ""},
		{FLEET "MachineID=" ID "\n", "a.service", "id=" ID " "},
		{FLEET "X-ConditionMachineID=" ID "\n", "a.service", "id=" ID " "},
		{FLEET "X-ConditionMachineBootID=" ID "\n", "a.service", "id=" ID " "},
		{FLEET "MachineID=one\nMachineID=two\n", "a.service", "id=one "},
		{FLEET "MachineID=\"one\" \"two\"\n", "a.service", "id=one "},
		/* The new name counts, wherever it stands. */
		{FLEET "X-ConditionMachineBootID=c\nX-ConditionMachineID=b\nMachineID=a\n",
			"a.service", "id=a "},
		{FLEET "X-ConditionMachineBootID=c\nX-ConditionMachineID=b\n", "a.service",
			"id=b "},
		{FLEET "MachineOf=b.service\nMachineOf=c.socket\n", "a.service",
			"of=b.service of=c.socket "},
		{FLEET "MachineOf=\"b.service\" \"c.socket\"\n", "a.service",
			"of=b.service of=c.socket "},
		{FLEET "X-ConditionMachineOf=b.service\nMachineOf=b.service\n", "a.service",
			"of=b.service "},
		{FLEET "MachineOf=b@%i.service\n", "a@7.service", "of=b@7.service "},
		{FLEET "MachineOf=b@%i.service\n", "a@.service", "of=b@1.service "},
		{FLEET "MachineMetadata=zone=%i\n", "a@.service", "meta=zone:1 "},
		{FLEET "MachineMetadata=disk=ssd\n", "a.service", "meta=disk:ssd "},
		{FLEET "MachineMetadata=\"disk=ssd\" \"region=eu\"\n", "a.service",
			"meta=disk:ssd meta=region:eu "},
		{FLEET "MachineMetadata=\"disk=ssd\"   \"disk=nvme\"\t\"region=eu\"\n", "a.service",
			"meta=disk:ssd|nvme meta=region:eu "},
		{FLEET "MachineMetadata=z=1\nX-ConditionMachineMetadata=a=2\n"
		       "MachineMetadata=z=3\n[Unit]\n" FLEET "MachineMetadata=a=2\n",
			"a.service", "meta=a:2 meta=z:1|3 "},
		{FLEET "MachineMetadata=room=first floor\n", "a.service", "meta=room:first floor "},
		{FLEET "MachineMetadata=unit=%p\n", "a@7.service", "meta=unit:a "},
		{FLEET "Conflicts=web@*.service\n", "a.service", "conflicts=web@*.service "},
		{FLEET "Conflicts=%p@*.service\n", "a@7.service", "conflicts=a@*.service "},
		{FLEET "Conflicts=a.* b.*\nX-Conflicts=c.?\nConflicts=\"d\" \"[e] f\"\n",
			"a.service",
			"conflicts=a.* conflicts=b.* conflicts=c.? conflicts=d conflicts=[e] "
			"conflicts=f "},
		{FLEET "Replaces=b.service\nReplaces=\"c.*\" \"d.*\"\n", "a.service",
			"replaces=b.service replaces=c.* replaces=d.* "},
		{FLEET "Global=true\n", "a.service", "global "},
		{FLEET "Global=YES\n", "a.service", "global "},
		{FLEET "Global=1\n", "a.service", "global "},
		{FLEET "Global=on\n", "a.service", "global "},
		{FLEET "Global=T\n", "a.service", "global "},
		{FLEET "Global=false\n", "a.service", ""},
		{FLEET "Global=true\nGlobal=no\n", "a.service", ""},
		{FLEET "Global=0\nGlobal=true\n", "a.service", "global "},
		{FLEET "Global=true\nMachineMetadata=a=b\nConflicts=c.*\n", "a.service",
			"meta=a:b conflicts=c.* global "},
		{FLEET "Global=no\nMachineID=x\n", "a.service", "id=x "},
		{FLEET "MachineOf=b.service\nConflicts=c.*\n", "a.service",
			"of=b.service conflicts=c.* "},
		{FLOTA "OnMachineLoss=wait\n", "a.service", "wait "},
		{FLOTA "OnMachineLoss=move\n", "a.service", ""},
		{FLOTA "OnMachineLoss=wait\nOnMachineLoss=move\n", "a.service", ""},
		{FLOTA "OnMachineLoss=wait\nOnMachineLoss=\n", "a.service", ""},
		{FLOTA "OnMachineLoss=\n" FLEET "Global=yes\n", "a.service", "global "},
		{"[X-Other]\nkey=value\n", "a.service", ""},
	};
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct outcome o = read_rules(rows[i].text, rows[i].name, 0);

		if (o.code != FL_OK)
			fail_msg("%s\n%s", rows[i].text, o.err.text);
		describe(&o.rules, &buf);
		if (strcmp(fl_buf_str(&buf), rows[i].rules) != 0)
			fail_msg("%s\n%s", rows[i].text, fl_buf_str(&buf));
		outcome_fini(&o);
	}
}

/* Refused; and what an old file then gets, if lenient takes it. */
static void test_complaints(void **state)
{
	static const struct {
		const char *text, *error, *lenient;
	} rows[] = {
		{FLEET "MachineMetadata=a=b c=d\n",
			"f:2: MachineMetadata=a=b c=d is not one key=value; write each on", ""},
		{FLEET "MachineMetadata=a\n", "f:2: MachineMetadata=a is not one", ""},
		{FLEET "MachineMetadata==b\n", "f:2: MachineMetadata==b is not one", ""},
		{FLEET "MachineMetadata=a=\n", "f:2: MachineMetadata=a= is not one", ""},
		{FLEET "MachineMetadata=\"a=b\" \"c\"\n", "f:2: MachineMetadata=c is not one",
			"meta=a:b "},
		{FLEET "MachineMetadata=\"a=b\",\"c=d\"\n",
			"f:2: MachineMetadata=a=b,c=d is not one", ""},
		{FLEET "MachineMetadata=\"a=b\n", "f:2: MachineMetadata: quotes do not match",
			"meta=\"a:b "},
		{FLEET "Conflicts=\"a\" \"b\"\"\n", "f:2: Conflicts: quotes do not match",
			"conflicts=a conflicts=b "},
		{FLEET "MachineOf=\"\n", "f:2: MachineOf: quotes do not match", "of= "},
		{FLEET "MachineOf=b.service c.service\n",
			"f:2: MachineOf=b.service c.service is not one unit's name",
			"of=b.service c.service "},
		{FLEET "MachineOf=b\n", "f:2: MachineOf=: unit name \"b\" has no suffix", "of=b "},
		{FLEET "MachineOf=b*.service\n", "f:2: MachineOf=: unit name \"b*.service\" has an",
			"of=b*.service "},
		{FLEET "MachineOf=b@.service\n", "f:2: MachineOf=b@.service names a template",
			"of=b@.service "},
		{FLEET "MachineOf=%n\n", "f:2: MachineOf=a.service is the unit itself",
			"of=a.service "},
		{FLEET "Conflicts=a[\n", "f:2: Conflicts=: pattern \"a[\"", "conflicts=a[ "},
		{FLEET "Replaces=a\\ \n", "f:2: Replaces=: pattern \"a\\\" ends in a single \\",
			"replaces=a\\ "},
		{FLEET "Replaces=a b\n", "f:2: Replaces=a b has a blank in it", "replaces=a b "},
		{FLEET "MachineID=\n", "f:2: MachineID= is empty; remove the line", "id= "},
		{FLEET "MachineOf=\n", "f:2: MachineOf= is empty", "of= "},
		{FLEET "MachineMetadata=\n", "f:2: MachineMetadata= is empty", ""},
		{FLEET "X-Conflicts=\n", "f:2: Conflicts= is empty", ""},
		{FLEET "Replaces=\n", "f:2: Replaces= is empty", ""},
		{FLEET "Global=\n", "f:2: Global= is empty", ""},
		{FLEET "Global=true\nGlobal=\n", "f:3: Global= is empty", ""},
		{FLEET "Global=maybe\n", "f:2: Global=maybe is neither yes nor no", ""},
		{FLEET "MachineMetaData=a=b\n",
			"f:2: [X-Fleet] has no key \"MachineMetaData\"; did you mean "
			"MachineMetadata=?",
			""},
		{FLEET "X-Replaces=a\n", "f:2: [X-Fleet] has no key \"X-Replaces\"", ""},
		{FLEET "Foo=bar\n", "f:2: [X-Fleet] has no key \"Foo\"; docs/UNIT-FILES.md", ""},
		{"[X-fleet]\nMachineID=x\n",
			"f:1: nothing reads the section [X-fleet]; did you mean [X-Fleet]?", ""},
		{"[XFlota]\n", "f:1: nothing reads the section [XFlota]; did you mean [X-Flota]?",
			""},
		{FLOTA "OnMachineLost=wait\n",
			"f:2: [X-Flota] has no key \"OnMachineLost\"; did you mean OnMachineLoss=?",
			NULL},
		{FLOTA "Foo=bar\n", "f:2: [X-Flota] has no key \"Foo\"; docs/", NULL},
		{FLOTA "OnMachineLoss=stay\n",
			"f:2: OnMachineLoss=stay is not known; write move or wait", NULL},
	};
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct outcome o = read_rules(rows[i].text, "a.service", 0);
		struct outcome lenient = read_rules(rows[i].text, "a.service", UNIT_LENIENT);

		if (o.code != FL_E_INVALID)
			fail_msg("accepted: %s", rows[i].text);
		if (strncmp(o.err.text, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("%s\n%s", rows[i].text, o.err.text);
		assert_string_equal(o.report.errors.items[0], o.err.text);
		if (rows[i].lenient == NULL) {
			assert_int_equal(lenient.code, FL_E_INVALID);
		} else {
			if (lenient.code != FL_OK)
				fail_msg("%s\n%s", rows[i].text, lenient.err.text);
			assert_true(lenient.report.warnings.n > 0);
			describe(&lenient.rules, &buf);
			if (strcmp(fl_buf_str(&buf), rows[i].lenient) != 0)
				fail_msg("%s\n%s", rows[i].text, fl_buf_str(&buf));
		}
		outcome_fini(&o);
		outcome_fini(&lenient);
	}
}

/* Rejected by fleet, so also for old files. */
static void test_combinations(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{FLEET "MachineID=x\nMachineOf=b.service\n",
			"f:3: MachineID cannot be used with Peers (MachineOf=); remove one of them "
			"(the other is in line 2)"},
		{FLEET "Conflicts=b.*\nMachineID=x\n",
			"f:3: MachineID cannot be used with Conflicts; "},
		{FLEET "X-ConditionMachineBootID=x\nX-Conflicts=b.*\n",
			"f:3: MachineID cannot be used with Conflicts; "},
		{FLEET "MachineID=x\nGlobal=yes\n", "f:3: MachineID cannot be used with Global; "},
		{FLEET "MachineID=x\nReplaces=b.*\n",
			"f:3: MachineID cannot be used with Replaces; "},
		{FLEET "Global=yes\nMachineOf=b.service\n",
			"f:3: Global cannot be used with Peers (MachineOf=); "},
		{FLEET "Global=yes\nReplaces=b.*\n", "f:3: Global cannot be used with Replaces; "},
		{FLEET "Conflicts=b.*\nReplaces=c.*\n",
			"f:3: Conflicts cannot be used with Replaces; "},
		{FLEET "MachineOf=b.service\nConflicts=c.* b.*\n",
			"f:3: unresolvable requirements: peer \"b.service\" matches conflict "
			"\"b.*\"; change it, or MachineOf= in line 2"},
		{FLEET "MachineOf=b.service\nReplaces=b.service\n",
			"f:3: unresolvable requirements: peer \"b.service\" matches replace "
			"\"b.service\""},
		{FLEET "MachineOf=b@%i.service\nConflicts=b@7.*\n",
			"f:3: unresolvable requirements: peer \"b@7.service\" matches conflict"},
		{FLEET "Global=yes\n" FLOTA "OnMachineLoss=wait\n",
			"f:4: OnMachineLoss= has no meaning with Global="},
		{FLOTA "OnMachineLoss=move\n" FLEET "MachineID=x\n",
			"f:2: OnMachineLoss= has no meaning with MachineID="},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++)
		for (int lenient = 0; lenient < 2; lenient++) {
			struct outcome o =
				read_rules(rows[i].text, "a@7.service", lenient ? UNIT_LENIENT : 0);

			if (o.code != FL_E_INVALID)
				fail_msg("accepted: %s", rows[i].text);
			if (strncmp(o.err.text, rows[i].error, strlen(rows[i].error)) != 0)
				fail_msg("%s\n%s", rows[i].text, o.err.text);
			assert_null(o.rules.machine_id);
			outcome_fini(&o);
		}
}

static void test_all_problems_are_reported(void **state)
{
	struct outcome o = read_rules(
		FLEET "Foo=1\nMachineID=x\nGlobal=yes\nMachineOf=b.service\n", "a.service", 0);

	(void)state;
	assert_int_equal(o.report.errors.n, 4);
	assert_non_null(strstr(o.report.errors.items[0], "f:2: [X-Fleet] has no key"));
	assert_non_null(strstr(o.report.errors.items[1], "f:5: MachineID cannot"));
	assert_non_null(strstr(o.report.errors.items[2], "f:4: MachineID cannot"));
	assert_non_null(strstr(o.report.errors.items[3], "f:5: Global cannot"));
	outcome_fini(&o);
}

static void test_limits(void **state)
{
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	(void)state;
	for (size_t over = 0; over < 2; over++) {
		struct outcome o;

		fl_buf_clear(&buf);
		fl_buf_text(&buf, FLEET);
		for (size_t i = 0; i < UNIT_RULES_VALUES_MAX + over; i++)
			fl_buf_printf(&buf, "Conflicts=a%zu\n", i);
		o = read_rules(buf.data, "a.service", 0);
		assert_int_equal(o.code, over ? FL_E_LIMIT : FL_OK);
		outcome_fini(&o);

		/* Several in one line are as many. */
		fl_buf_clear(&buf);
		fl_buf_text(&buf, FLEET "Conflicts=");
		for (size_t i = 0; i < UNIT_RULES_VALUES_MAX + over; i++)
			fl_buf_printf(&buf, " a%zu", i);
		o = read_rules(buf.data, "a.service", 0);
		assert_int_equal(o.code, over ? FL_E_LIMIT : FL_OK);
		outcome_fini(&o);

		fl_buf_clear(&buf);
		fl_buf_text(&buf, FLEET "MachineMetadata=k=%i");
		for (size_t i = 0; i < UNIT_RULES_VALUE_MAX - 9 + over; i++)
			fl_buf_byte(&buf, 'x');
		o = read_rules(buf.data, "a@1234567.service", 0);
		assert_int_equal(o.code, over ? FL_E_TOO_BIG : FL_OK);
		outcome_fini(&o);
	}
}

struct pair {
	const char *key, *value;
};

static const char *get(void *userdata, const char *key)
{
	for (const struct pair *pair = userdata; pair->key != NULL; pair++)
		if (strcmp(pair->key, key) == 0)
			return pair->value;
	return NULL;
}

static void test_matching(void **state)
{
	struct pair all[] = {{"disk", "ssd"}, {"region", "eu"}, {"role", "web"}, {NULL, NULL}};
	struct pair other[] = {{"disk", "nvme"}, {"region", "us"}, {NULL, NULL}};
	struct pair none[] = {{NULL, NULL}};
	struct outcome o = read_rules(
		FLEET "MachineMetadata=\"disk=ssd\" \"disk=nvme\" \"region=eu\"\n", "a.service", 0);

	(void)state;
	assert_null(unit_rules_unmet_metadata(&o.rules, get, all));
	assert_string_equal(unit_rules_unmet_metadata(&o.rules, get, other)->key, "region");
	assert_string_equal(unit_rules_unmet_metadata(&o.rules, get, none)->key, "disk");
	assert_true(unit_rules_match_machine_id(&o.rules, ID));
	assert_false(unit_rules_conflict_with(&o.rules, "a.service"));
	outcome_fini(&o);

	o = read_rules("[Unit]\n", "a.service", 0);
	assert_null(unit_rules_unmet_metadata(&o.rules, get, none));
	outcome_fini(&o);

	o = read_rules(FLEET "MachineID=01234567\n", "a.service", 0);
	assert_true(unit_rules_match_machine_id(&o.rules, ID));
	assert_false(unit_rules_match_machine_id(&o.rules, "1123456789abcdef0123456789abcdef"));
	outcome_fini(&o);
	o = read_rules(FLEET "MachineID=" ID "\n", "a.service", 0);
	assert_true(unit_rules_match_machine_id(&o.rules, ID));
	assert_false(unit_rules_match_machine_id(&o.rules, "01234567"));
	outcome_fini(&o);
	o = read_rules(FLEET "MachineID=012345678\n", "a.service", 0);
	assert_false(unit_rules_match_machine_id(&o.rules, ID));
	outcome_fini(&o);

	o = read_rules(FLEET "Conflicts=web@*.service db.*\n", "a.service", 0);
	assert_true(unit_rules_conflict_with(&o.rules, "web@1.service"));
	assert_true(unit_rules_conflict_with(&o.rules, "db.socket"));
	assert_false(unit_rules_conflict_with(&o.rules, "mail.service"));
	assert_false(unit_rules_replace(&o.rules, "web@1.service"));
	outcome_fini(&o);
	o = read_rules(FLEET "Replaces=web@*.service\n", "a.service", 0);
	assert_true(unit_rules_replace(&o.rules, "web@1.service"));
	assert_false(unit_rules_replace(&o.rules, "web.service"));
	outcome_fini(&o);
}

/* docs/UNIT-FILES.md has a row for each key and each specifier, made of the same words. */
static void test_documentation(void **state)
{
	FL_CLEANUP_BUF struct fl_buf rows = FL_BUF_INIT;
	FL_CLEANUP(fl_freep) char *page = NULL;
	FL_CLEANUP_STRV struct fl_strv lines = {0};
	struct fl_error err = {0};
	size_t len;

	(void)state;
	if (fl_file_read("../docs/UNIT-FILES.md", 1 << 20, &page, &len, &err) != FL_OK)
		fail_msg("%s", err.text);
#define X(constant, name, doc) fl_buf_printf(&rows, "| `%s=` | %s |\n", name, doc);
	UNIT_FLEET_KEYS(X)
#undef X
#define X(constant, name, type, otherwise, since, doc) \
	fl_buf_printf(&rows, "| `%s=` | %s | %s | %s | %s |\n", name, type, otherwise, since, doc);
	UNIT_FLOTA_KEYS(X)
#undef X
#define X(letter, doc) fl_buf_printf(&rows, "| `%%%c` | %s |\n", letter, doc);
	UNIT_SPECIFIERS(X)
#undef X
	assert_int_equal(fl_strv_split(&lines, fl_buf_str(&rows), "\n", NULL), FL_OK);
	for (size_t i = 0; i < lines.n; i++)
		if (strstr(page, lines.items[i]) == NULL)
			fail_msg("docs/UNIT-FILES.md lacks: %s", lines.items[i]);
#define X(constant, name) assert_non_null(strstr(page, "`" name "=`"));
	UNIT_FLEET_LEGACY_KEYS(X)
#undef X
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_complaints),
		cmocka_unit_test(test_combinations),
		cmocka_unit_test(test_all_problems_are_reported),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_matching),
		cmocka_unit_test(test_documentation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
