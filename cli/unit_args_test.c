#include "cli/unit_args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "unitfiles/file.h"

#define TEXT  "[Service]\nExecStart=/bin/sleep 1\n"
#define OTHER "# a comment\n[Service]\nExecStart=/bin/sleep 2\n"

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/flota-args-XXXXXX");
	assert_non_null(mkdtemp(folder));
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"a.service", "t@.service", "t@1.service"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < FL_COUNT(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		(void)unlink(path);
	}
	return rmdir(folder);
}

static void write_unit(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(fl_file_write(path, text, strlen(text), 0600, false, NULL), FL_OK);
}

/* As the registry would have it. */
static Pb__Unit stored(const char *name, const char *text, char hash[UNIT_FILE_HASH_SIZE])
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	Pb__Unit unit = PB__UNIT__INIT;

	assert_int_equal(unit_file_parse(text, strlen(text), name, NULL, &file, NULL), FL_OK);
	assert_int_equal(unit_file_hash(file, hash, NULL), FL_OK);
	unit.name = (char *)name;
	unit.hash = hash;
	return unit;
}

static void parse(const char *typed, struct unit_args *args)
{
	char path[128];
	char *words[] = {path};

	snprintf(path, sizeof(path), "%s/%s", folder, typed);
	assert_int_equal(unit_args_parse(words, 1, args, NULL), FL_OK);
}

static enum fl_code find(const char *typed, const Pb__Unit *unit, const Pb__Unit *template,
	bool replace, struct unit_source *source, struct fl_error *err)
{
	UNIT_ARGS_CLEANUP struct unit_args args = {0};
	FL_CLEANUP_STRV struct fl_strv problems = {0};
	enum fl_code code;

	parse(typed, &args);
	code = unit_source_find(
		&args.items[0], unit, template, replace, false, &problems, source, err);
	if (code == FL_OK)
		source->path = NULL; /* borrowed from what ends here */
	return code;
}

static void test_names(void **state)
{
	static char *const words[] = {(char *)"a", (char *)"/x/y/b.timer", (char *)"./a.service",
		(char *)"u/t@7", (char *)"c.target"};
	UNIT_ARGS_CLEANUP struct unit_args args = {0};
	struct fl_error err = {0};
	char *bad[] = {(char *)"x/@.service"};

	(void)state;
	assert_int_equal(unit_args_parse((char **)words, FL_COUNT(words), &args, NULL), FL_OK);
	assert_int_equal(args.n, 4);
	assert_string_equal(args.items[0].name, "a.service");
	assert_string_equal(args.items[0].path, "a.service");
	assert_null(args.items[0].template_name);
	assert_string_equal(args.items[1].name, "b.timer");
	assert_string_equal(args.items[1].path, "/x/y/b.timer");
	assert_string_equal(args.items[2].name, "t@7.service");
	assert_string_equal(args.items[2].path, "u/t@7.service");
	assert_string_equal(args.items[2].template_name, "t@.service");
	assert_string_equal(args.items[2].template_path, "u/t@.service");
	assert_string_equal(args.items[3].name, "c.target");

	assert_int_equal(unit_args_parse(bad, 1, &args, &err), FL_E_INVALID);
	assert_memory_equal(err.text, "x/@.service: ", 13);
}

static void test_order(void **state)
{
	char hash[UNIT_FILE_HASH_SIZE], template_hash[UNIT_FILE_HASH_SIZE];
	Pb__Unit unit = stored("t@1.service", TEXT, hash);
	Pb__Unit template = stored("t@.service", TEXT, template_hash);
	struct fl_error err = {0};
	struct unit_source source;

	(void)state;
	assert_int_equal(find("t@1", NULL, NULL, false, &source, &err), FL_E_NOT_FOUND);
	assert_string_equal(err.text,
		"unable to find Unit(t@1.service), nor its template Unit(t@.service), in Registry "
		"or on filesystem");

	write_unit("t@.service", OTHER);
	assert_int_equal(find("t@1", NULL, NULL, false, &source, &err), FL_OK);
	assert_int_equal(source.origin, UNIT_FROM_FILE);
	assert_string_equal(source.text, OTHER);
	unit_source_fini(&source);

	assert_int_equal(find("t@1", NULL, &template, false, &source, &err), FL_OK);
	assert_int_equal(source.origin, UNIT_FROM_REGISTRY_TEMPLATE);

	write_unit("t@1.service", TEXT);
	assert_int_equal(find("t@1", NULL, &template, false, &source, &err), FL_OK);
	assert_int_equal(source.origin, UNIT_FROM_FILE);
	assert_string_equal(source.text, TEXT);
	unit_source_fini(&source);

	assert_int_equal(find("t@1", &unit, &template, false, &source, &err), FL_OK);
	assert_int_equal(source.origin, UNIT_FROM_REGISTRY);
	assert_false(source.differs);
}

static void test_differs(void **state)
{
	char hash[UNIT_FILE_HASH_SIZE];
	Pb__Unit unit = stored("a.service", TEXT, hash);
	struct unit_source source;

	(void)state;
	assert_int_equal(find("a", &unit, NULL, false, &source, NULL), FL_OK);
	assert_false(source.differs);
	/* Comments do not count. */
	write_unit("a.service", "# hello\n" TEXT);
	assert_int_equal(find("a", &unit, NULL, false, &source, NULL), FL_OK);
	assert_false(source.differs);
	write_unit("a.service", OTHER);
	assert_int_equal(find("a", &unit, NULL, false, &source, NULL), FL_OK);
	assert_int_equal(source.origin, UNIT_FROM_REGISTRY);
	assert_true(source.differs);

	/* The file goes first now, byte for byte. */
	assert_int_equal(find("a", &unit, NULL, true, &source, NULL), FL_OK);
	assert_int_equal(source.origin, UNIT_FROM_FILE);
	assert_int_equal(source.len, strlen(OTHER));
	assert_memory_equal(source.text, OTHER, source.len);
	unit_source_fini(&source);
}

static void test_problems(void **state)
{
	UNIT_ARGS_CLEANUP struct unit_args args = {0};
	FL_CLEANUP_STRV struct fl_strv problems = {0};
	struct unit_source source;
	struct fl_error err = {0};
	char expected[128];

	(void)state;
	write_unit("a.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nBogus=1\nWorse=2\n");
	parse("a", &args);
	assert_int_not_equal(unit_source_find(&args.items[0], NULL, NULL, false, false, &problems,
				     &source, &err),
		FL_OK);
	assert_int_equal(problems.n, 2);
	snprintf(expected, sizeof(expected), "%s/a.service:5: ", folder);
	assert_memory_equal(problems.items[1], expected, strlen(expected));

	/* For old files it is no more than a warning. */
	assert_int_equal(
		unit_source_find(&args.items[0], NULL, NULL, false, true, &problems, &source, &err),
		FL_OK);
	unit_source_fini(&source);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_differs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_problems, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
