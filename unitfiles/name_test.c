#include "unitfiles/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

static void test_check(void **state)
{
	static const char *const good[] = {
		"a.service",
		"a.socket",
		"a.timer",
		"a.path",
		"a.target",
		"a.mount",
		"a.automount",
		"a.swap",
		"a.slice",
		"web@.service",
		"web@1.service",
		"web@a@b.timer",
		"A-z_0:9.x\\x2d.service",
		"..service",
		"-.mount",
	};
	static const struct {
		const char *name, *text;
	} bad[] = {
		{"", "empty"},
		{"web", "no suffix"},
		{"web.", "no suffix"},
		{".service", "suffix only"},
		{"web.conf", "unknown suffix \".conf\""},
		{"web.Service", "unknown suffix \".Service\""},
		{"we b.service", "position 3"},
		{"dir/web.service", "position 4"},
		{"w\303\251b.service", "\"w??b.service\" has an invalid character at position 2"},
		{"web\033[2J.service", "\"web?[2J.service\""},
		{"@web.service", "begins with @"},
		{"@.service", "begins with @"},
		{"a@b.mount", "no templates of .mount"},
		{"a@.slice", "no templates of .slice"},
		{"dev-sda.device", "the kernel makes devices"},
		{"session-1.scope", "programs make scopes"},
		{"a.busname", "since version 232"},
		{"a.snapshot", "since version 228"},
		{"shop.vm", "does not run units of this kind yet"},
		{"db@1.container", "does not run units of this kind yet"},
	};
	char name[UNIT_NAME_MAX + 2];
	struct fl_error err;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(good); i++)
		if (unit_name_check(good[i], &err) != FL_OK)
			fail_msg("%s: %s", good[i], err.text);
	for (size_t i = 0; i < FL_COUNT(bad); i++) {
		if (unit_name_check(bad[i].name, &err) != FL_E_INVALID)
			fail_msg("%s is accepted", bad[i].name);
		if (strstr(err.text, bad[i].text) == NULL)
			fail_msg("%s: \"%s\"", bad[i].name, err.text);
	}

	memset(name, 'x', sizeof(name));
	memcpy(name + UNIT_NAME_MAX - 8, ".service", 9);
	assert_int_equal(unit_name_check(name, &err), FL_OK);
	memcpy(name + UNIT_NAME_MAX - 7, ".service", 9);
	assert_int_equal(unit_name_check(name, &err), FL_E_INVALID);
	assert_non_null(strstr(err.text, "has 256 characters"));
}

static void test_kind(void **state)
{
	(void)state;
	assert_int_equal(unit_name_kind("a.service"), UNIT_SERVICE);
	assert_int_equal(unit_name_kind("a.b.timer"), UNIT_TIMER);
	assert_int_equal(unit_name_kind("a.vm"), UNIT_VM);
	assert_int_equal(unit_name_kind("a.conf"), UNIT_KIND_UNKNOWN);
	assert_int_equal(unit_name_kind("a."), UNIT_KIND_UNKNOWN);
	assert_int_equal(unit_name_kind("a"), UNIT_KIND_UNKNOWN);
	assert_string_equal(unit_kind_suffix(UNIT_SWAP), "swap");
	assert_string_equal(unit_kind_suffix(UNIT_KIND_UNKNOWN), "");
}

static void test_parts(void **state)
{
	static const struct {
		const char *name, *prefix, *instance, *stem, *suffix;
	} rows[] = {
		{"web.service", "web", NULL, "web", "service"},
		{"web@.service", "web", "", "web@", "service"},
		{"web@1.service", "web", "1", "web@1", "service"},
		{"web@a.b@c.timer", "web", "a.b@c", "web@a.b@c", "timer"},
		{"a.b.service", "a.b", NULL, "a.b", "service"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		struct unit_name_parts parts;

		unit_name_split(rows[i].name, &parts);
		assert_int_equal(parts.prefix_len, strlen(rows[i].prefix));
		assert_memory_equal(parts.prefix, rows[i].prefix, parts.prefix_len);
		assert_int_equal(parts.stem_len, strlen(rows[i].stem));
		assert_memory_equal(parts.stem, rows[i].stem, parts.stem_len);
		assert_string_equal(parts.suffix, rows[i].suffix);
		assert_int_equal(parts.instance == NULL, rows[i].instance == NULL);
		if (rows[i].instance == NULL)
			continue;
		assert_int_equal(parts.instance_len, strlen(rows[i].instance));
		assert_memory_equal(parts.instance, rows[i].instance, parts.instance_len);
	}
}

static void test_templates(void **state)
{
	static const struct {
		const char *name;
		bool template, instance;
		const char *template_of;
	} rows[] = {
		{"web.service", false, false, NULL},
		{"web@.service", true, false, NULL},
		{"web@1.service", false, true, "web@.service"},
		{"web@a@b.socket", false, true, "web@.socket"},
		{"@1.service", false, false, NULL},
		{"web@1.conf", false, false, NULL},
		{"web@1", false, false, NULL},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		char template[UNIT_NAME_MAX + 1] = "untouched";
		struct fl_error err;
		enum fl_code code = unit_name_template_of(rows[i].name, template, &err);

		assert_int_equal(unit_name_is_template(rows[i].name), rows[i].template);
		assert_int_equal(unit_name_is_instance(rows[i].name), rows[i].instance);
		assert_int_equal(code, rows[i].template_of != NULL ? FL_OK : FL_E_INVALID);
		assert_string_equal(
			template, rows[i].template_of != NULL ? rows[i].template_of : "untouched");
	}
}

static void test_argument(void **state)
{
	static const struct {
		const char *argument, *name;
	} rows[] = {
		{"web", "web.service"},
		{"web.service", "web.service"},
		{"./units/web.timer", "web.timer"},
		{"/etc/web@.service", "web@.service"},
		{"web@1", "web@1.service"},
		{"units/web.service/", "web.service"},
		{"web.conf", "web.conf.service"},
		{"x.target", "x.target"},
		{"dev-sda.device", NULL},
		{"", NULL},
		{"/", NULL},
		{"units/a b", NULL},
	};
	char long_name[UNIT_NAME_MAX + 1];

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		char name[UNIT_NAME_MAX + 1] = "untouched";
		struct fl_error err;
		enum fl_code code = unit_name_from_argument(rows[i].argument, name, &err);

		assert_int_equal(code, rows[i].name != NULL ? FL_OK : FL_E_INVALID);
		assert_string_equal(name, rows[i].name != NULL ? rows[i].name : "untouched");
	}
	memset(long_name, 'x', sizeof(long_name));
	for (size_t len = UNIT_NAME_MAX - 9; len <= UNIT_NAME_MAX; len++) {
		char name[UNIT_NAME_MAX + 1];
		struct fl_error err;

		memset(long_name, 'x', len);
		long_name[len] = '\0';
		assert_int_equal(unit_name_from_argument(long_name, name, &err),
			len + 8 <= UNIT_NAME_MAX ? FL_OK : FL_E_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_kind),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_argument),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
