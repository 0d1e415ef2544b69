/* What is written under a unit directory, and what is never touched there. */
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

#include "agent/systemd/files.h"
#include "base/file.h"

#define FOLDER "/tmp/flota-files-test-XXXXXX"

struct test {
	char folder[sizeof(FOLDER)];
	char run[64], units[64], host[64];
	struct files *files;
};

static void open_files(struct test *t)
{
	FL_CLEANUP_STRV struct fl_strv path = {0};

	assert_int_equal(files_new(&t->files, t->units, t->run, NULL), FL_OK);
	assert_int_equal(fl_strv_add(&path, t->units, NULL), FL_OK);
	assert_int_equal(fl_strv_add(&path, t->host, NULL), FL_OK);
	assert_int_equal(files_set_search_path(t->files, &path, NULL), FL_OK);
}

static int setup(void **state)
{
	struct test *t = FL_NEW(struct test);

	(void)strcpy(t->folder, FOLDER);
	assert_non_null(mkdtemp(t->folder));
	(void)snprintf(t->run, sizeof(t->run), "%s/run", t->folder);
	(void)snprintf(t->units, sizeof(t->units), "%s/units", t->folder);
	(void)snprintf(t->host, sizeof(t->host), "%s/host", t->folder);
	assert_int_equal(fl_mkdir_all(t->host, 0755, NULL), FL_OK);
	open_files(t);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;
	char command[100];

	files_free(t->files);
	(void)snprintf(command, sizeof(command), "rm -r %s", t->folder);
	free(t);
	return system(command);
}

static enum fl_code write_unit(
	struct test *t, const char *name, const char *text, const char *tenant)
{
	struct driver_definition definition = {
		.content = text, .len = strlen(text), .tenant = tenant};

	return files_write(t->files, name, &definition, NULL);
}

static void expect_file(const char *folder, const char *name, const char *text)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, name);
	FL_CLEANUP(fl_freep) char *found = NULL;
	size_t len;

	if (text == NULL) {
		assert_int_equal(access(path, F_OK), -1);
		return;
	}
	assert_int_equal(fl_file_read(path, 4096, &found, &len, NULL), FL_OK);
	assert_string_equal(found, text);
}

static void expect_drop_in(struct test *t, const char *name, const char *slice)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s.d/50-flota.conf", t->units, name);
	FL_CLEANUP(fl_freep) char *found = NULL;
	size_t len;
	enum fl_code code = fl_file_read(path, 4096, &found, &len, NULL);

	assert_int_equal(code, slice != NULL ? FL_OK : FL_E_NOT_FOUND);
	if (slice != NULL)
		assert_non_null(strstr(found, slice));
}

static void test_write_and_remove(void **state)
{
	static const char text[] = "# kept\n[Service]\nExecStart=/bin/true\n";
	struct driver_definition same = {
		.content = text, .len = sizeof(text) - 1, .tenant = "default"};
	struct test *t = *state;

	assert_false(files_owns(t->files, "a.service"));
	assert_int_equal(write_unit(t, "a.service", text, "default"), FL_OK);
	expect_file(t->units, "a.service", text);
	expect_drop_in(t, "a.service", "[Service]\nSlice=flota-default.slice\n");
	assert_true(files_owns(t->files, "a.service"));
	assert_true(files_has(t->files, "a.service", &same));

	/* The next agent knows it as its own. */
	files_free(t->files);
	open_files(t);
	assert_true(files_has(t->files, "a.service", &same));
	same.len--;
	assert_false(files_has(t->files, "a.service", &same));
	assert_int_equal(files_remove(t->files, "a.service", NULL), FL_OK);
	expect_file(t->units, "a.service", NULL);
	expect_file(t->units, "a.service.d", NULL);
	files_free(t->files);
	open_files(t);
	assert_false(files_owns(t->files, "a.service"));
}

/* systemd itself refuses to start it while there is no lease. */
static void test_exclusive(void **state)
{
	static const char text[] = "[Service]\nSlice=own.slice\nExecStart=/bin/true\n";
	struct driver_definition definition = {
		.content = text, .len = sizeof(text) - 1, .tenant = "default", .exclusive = true};
	struct test *t = *state;
	FL_CLEANUP(fl_freep)
	char *condition = fl_printf("[Unit]\nConditionPathExists=%s/leased\n", t->run);

	assert_int_equal(files_write(t->files, "a.service", &definition, NULL), FL_OK);
	expect_drop_in(t, "a.service", condition);
	definition.tenant = "ana";
	assert_int_equal(files_write(t->files, "a.service", &definition, NULL), FL_OK);
	expect_drop_in(t, "a.service", condition);
	expect_drop_in(t, "a.service", "[Service]\nSlice=flota-ana.slice\n");
	assert_int_equal(write_unit(t, "a.service", text, "default"), FL_OK);
	expect_drop_in(t, "a.service", NULL);
	assert_int_equal(files_write(t->files, "a.timer", &definition, NULL), FL_OK);
	expect_drop_in(t, "a.timer", condition);
	assert_int_equal(files_remove(t->files, "a.timer", NULL), FL_OK);
	expect_file(t->units, "a.timer.d", NULL);
}

static void test_the_log_may_be_cut(void **state)
{
	FL_CLEANUP(fl_freep) char *path = NULL;
	struct test *t = *state;
	FILE *log;

	assert_int_equal(write_unit(t, "a.service", "[Service]\n", "default"), FL_OK);
	files_free(t->files);
	path = fl_printf("%s/owned", t->run);
	log = fopen(path, "a");
	assert_true(fputs("+b.serv", log) >= 0);
	assert_int_equal(fclose(log), 0);
	open_files(t);
	assert_true(files_owns(t->files, "a.service"));
	assert_false(files_owns(t->files, "b.serv"));
	assert_int_equal(write_unit(t, "b.service", "[Service]\n", "default"), FL_OK);
	files_free(t->files);
	open_files(t);
	assert_true(files_owns(t->files, "b.service"));
}

static void test_slices(void **state)
{
	static const char own[] = "[Service]\nExecStart=/bin/true\nSlice=mine.slice\n";
	struct test *t = *state;

	/* The operator may choose; a tenant may not leave its slice. */
	assert_int_equal(write_unit(t, "a.service", own, "default"), FL_OK);
	expect_drop_in(t, "a.service", NULL);
	assert_int_equal(write_unit(t, "b.service", own, "ana-1"), FL_OK);
	expect_drop_in(t, "b.service", "Slice=flota-ana\\x2d1.slice\n");
	assert_int_equal(write_unit(t, "c.timer", "[Timer]\nOnBootSec=1\n", "ana"), FL_OK);
	expect_drop_in(t, "c.timer", NULL);
	assert_int_equal(write_unit(t, "d.socket", "[Socket]\nListenStream=1\n", "ana"), FL_OK);
	expect_drop_in(t, "d.socket", "[Socket]\nSlice=flota-ana.slice\n");
}

static void put_host(struct test *t, const char *name)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", t->host, name);

	assert_int_equal(fl_file_write(path, "host", 4, 0644, false, NULL), FL_OK);
}

static void test_the_hosts_own(void **state)
{
	FL_CLEANUP(fl_freep) char *masked = NULL;
	struct test *t = *state;
	struct fl_error err;

	put_host(t, "ssh.service");
	put_host(t, "getty@.service");
	assert_int_equal(files_check_host(t->files, "ssh.service", &err), FL_E_EXISTS);
	assert_non_null(strstr(err.text, "/host/ssh.service"));
	assert_int_equal(files_check_host(t->files, "getty@tty1.service", &err), FL_E_EXISTS);
	assert_int_equal(files_check_host(t->files, "a.service", &err), FL_OK);
	assert_int_equal(write_unit(t, "a.service", "[Service]\n", "default"), FL_OK);
	assert_int_equal(files_check_host(t->files, "a.service", &err), FL_OK);
	/* A link to nowhere is a unit's name too: somebody masked it. */
	masked = fl_printf("%s/m.service", t->units);
	assert_int_equal(symlink("/dev/null", masked), 0);
	assert_int_equal(files_check_host(t->files, "m.service", &err), FL_E_EXISTS);
	/* What is not ours is not removed. */
	assert_int_equal(files_remove(t->files, "m.service", &err), FL_OK);
	assert_int_equal(readlink(masked, (char[8]){0}, 8), 8);
}

static void test_install_section(void **state)
{
	static const char text[] = "[Service]\nExecStart=/bin/true\n"
				   "[Install]\nWantedBy=gone.target\nWantedBy=\n"
				   "WantedBy=app.target multi-user.target %i.target\n"
				   "RequiredBy=app.target\nAlias=b.service ssh.service\n";
	FL_CLEANUP(fl_freep) char *wants = NULL;
	FL_CLEANUP(fl_freep) char *alias = NULL;
	struct test *t = *state;
	char to[64] = "";

	put_host(t, "multi-user.target");
	put_host(t, "ssh.service");
	assert_int_equal(write_unit(t, "a.service", text, "default"), FL_OK);
	wants = fl_printf("%s/app.target.wants/a.service", t->units);
	alias = fl_printf("%s/b.service", t->units);
	assert_true(readlink(wants, to, sizeof(to) - 1) > 0);
	assert_string_equal(to, "../a.service");
	(void)memset(to, 0, sizeof(to));
	assert_true(readlink(alias, to, sizeof(to) - 1) > 0);
	assert_string_equal(to, "a.service");
	expect_file(t->units, "app.target.requires/a.service", text);
	expect_file(t->units, "multi-user.target.wants", NULL);
	expect_file(t->units, "gone.target.wants", NULL);
	expect_file(t->units, "ssh.service", NULL);

	/* Links go with the line that made them. */
	assert_int_equal(write_unit(t, "a.service", "[Service]\n[Install]\nWantedBy=app.target\n",
				 "default"),
		FL_OK);
	expect_file(t->units, "app.target.requires", NULL);
	expect_file(t->units, "b.service", NULL);
	assert_int_equal(access(wants, F_OK), 0);
	assert_int_equal(files_remove(t->files, "a.service", NULL), FL_OK);
	expect_file(t->units, "app.target.wants", NULL);
}

static void test_every_write_moves_the_folders_time(void **state)
{
	struct test *t = *state;
	struct timespec before = {0};

	/* systemd would not see the second of two files of one tick of the clock. */
	for (int i = 0; i < 100; i++) {
		char name[32];
		struct stat st;

		(void)snprintf(name, sizeof(name), "u%d.service", i);
		assert_int_equal(write_unit(t, name, "[Service]\n", "default"), FL_OK);
		assert_int_equal(stat(t->units, &st), 0);
		assert_false(
			st.st_mtim.tv_sec == before.tv_sec && st.st_mtim.tv_nsec == before.tv_nsec);
		before = st.st_mtim;
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_write_and_remove),
		T(test_exclusive),
		T(test_the_log_may_be_cut),
		T(test_slices),
		T(test_the_hosts_own),
		T(test_install_section),
		T(test_every_write_moves_the_folders_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
