/* What the agent reads of its machine, from a root of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/facts.h"
#include "base/file.h"
#include "base/memory.h"

static char root[] = "/tmp/flota-facts-test-XXXXXX";

static void put(const char *name, const char *text)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", root, name);
	char *slash = strrchr(path, '/');

	*slash = '\0';
	assert_int_equal(fl_mkdir_all(path, 0755, NULL), FL_OK);
	*slash = '/';
	assert_int_equal(fl_file_write(path, text, strlen(text), 0644, false, NULL), FL_OK);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(root) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	FL_CLEANUP(fl_freep) char *command = fl_printf("rm -r %s", root);

	(void)state;
	return system(command);
}

static void test_identity(void **state)
{
	struct facts facts;
	struct fl_error err;

	(void)state;
	put("proc/sys/kernel/random/boot_id", "6ad3e2c4-0000-4000-8000-000000000000\n");
	assert_int_equal(facts_read(root, &facts, &err), FL_E_NOT_FOUND);
	put("etc/machine-id", "uninitialized\n");
	assert_int_equal(facts_read(root, &facts, &err), FL_E_INVALID);
	assert_non_null(strstr(err.text, "systemd-machine-id-setup"));
	put("etc/machine-id", "42f4653ebdb544999de4ea6920d8222G\n");
	assert_int_equal(facts_read(root, &facts, &err), FL_E_INVALID);
	put("etc/machine-id", "42f4653ebdb544999de4ea6920d82223\n");
	assert_int_equal(facts_read(root, &facts, &err), FL_OK);
	assert_string_equal(facts.machine_id, "42f4653ebdb544999de4ea6920d82223");
	assert_string_equal(facts.boot_id, "6ad3e2c4-0000-4000-8000-000000000000");
	assert_true(facts.hostname[0] != '\0');
}

static void test_capacity(void **state)
{
	Pb__Capacity capacity;

	(void)state;
	put("proc/meminfo", "MemTotal:       24682064 kB\nMemFree:        1 kB\n"
			    "MemAvailable:   24276480 kB\n");
	put("proc/loadavg", "1.37 0.17 0.08 2/312 4711\n");
	assert_int_equal(facts_capacity(root, &capacity, NULL), FL_OK);
	assert_int_equal(capacity.memory_bytes, 24682064ULL * 1024);
	assert_int_equal(capacity.memory_available_bytes, 24276480ULL * 1024);
	assert_int_equal(capacity.load_1min_x100, 137);
	assert_true(capacity.cpus >= 1);
	assert_int_equal(facts_capacity("", &capacity, NULL), FL_OK);
	assert_true(capacity.memory_bytes > capacity.memory_available_bytes);
}

static void test_cgroup(void **state)
{
	(void)state;
	assert_string_equal(facts_cgroup(root), "cgroup v1");
	put("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
	assert_string_equal(facts_cgroup(root), "cgroup v2");
}

static enum fl_code metadata(const char *text, Pb__Metadata **ret_list, size_t *ret_n,
	struct fl_strv *words, struct fl_error *err)
{
	fl_strv_fini(words);
	assert_int_equal(fl_strv_split(words, text, ", ", NULL), FL_OK);
	return facts_metadata(words, ret_list, ret_n, err);
}

static void test_metadata(void **state)
{
	FL_CLEANUP_STRV struct fl_strv words = {0};
	Pb__Metadata *list;
	struct fl_error err;
	size_t n;

	(void)state;
	assert_int_equal(metadata("region=norte,disk=a=b", &list, &n, &words, &err), FL_OK);
	assert_int_equal(n, 2);
	assert_string_equal(list[0].key, "disk");
	assert_string_equal(list[0].value, "a=b");
	assert_string_equal(list[1].key, "region");
	free(list);
	assert_int_equal(metadata("", &list, &n, &words, &err), FL_OK);
	assert_int_equal(n, 0);
	free(list);
	assert_int_equal(metadata("disk", &list, &n, &words, &err), FL_E_INVALID);
	assert_non_null(strstr(err.text, "\"disk\""));
	assert_int_equal(metadata("=x", &list, &n, &words, &err), FL_E_INVALID);
	assert_int_equal(metadata("x=", &list, &n, &words, &err), FL_E_INVALID);
	assert_int_equal(metadata("x=1 x=2", &list, &n, &words, &err), FL_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_cgroup),
		cmocka_unit_test(test_metadata),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
