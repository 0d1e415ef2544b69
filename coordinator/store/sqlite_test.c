/* What SQLite's store does when something goes wrong: a full disk, a kill, a damaged file. */
#include "coordinator/store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/flota-sqlite-test-XXXXXX";

static int setup(void **state)
{
	(void)state;
	memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
	return mkdtemp(directory) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	char command[PATH_MAX];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

static void set_true(void *userdata)
{
	*(bool *)userdata = true;
}

static void close_store(uv_loop_t *loop, struct store *store)
{
	bool closed = false;

	store_close(store, set_true, &closed);
	while (!closed)
		(void)uv_run(loop, UV_RUN_ONCE);
}

struct result {
	bool done;
	enum fl_code code;
	struct fl_error err;
};

static void on_committed(
	enum fl_code code, uint64_t revision, const struct fl_error *err, void *userdata)
{
	struct result *result = userdata;

	(void)revision;
	*result = (struct result){.done = true, .code = code, .err = *err};
}

static struct result commit(uv_loop_t *loop, struct store *store, struct store_batch *batch)
{
	struct result result = {0};

	store_commit(store, batch, on_committed, &result);
	while (!result.done)
		(void)uv_run(loop, UV_RUN_ONCE);
	return result;
}

/* ---- A full disk -- */

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static enum fl_code count(const char *key, const void *value, size_t len, uint64_t revision,
	void *userdata, struct fl_error *err)
{
	(void)key;
	(void)value;
	(void)len;
	(void)revision;
	(void)err;
	++*(unsigned *)userdata;
	return FL_OK;
}

static void test_disk_full(void **state)
{
	static char value[256 << 10];
	struct store_batch *batch = NULL;
	struct store *store = NULL;
	struct result result;
	struct fl_error err = {0};
	unsigned n = 0;
	uv_loop_t loop;

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN); /* as the coordinator does: write(2) then says EFBIG */
	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, &err), FL_OK);
	assert_int_equal(store_batch_new(&batch, &err), FL_OK);
	assert_int_equal(store_batch_put(batch, "small", "x", 1, &err), FL_OK);
	assert_int_equal(store_batch_put(batch, "big", value, sizeof(value), &err), FL_OK);

	limit_file_size(128 << 10);
	result = commit(&loop, store, batch);
	assert_int_equal(result.code, FL_E_STORE);
	assert_non_null(strstr(result.err.text, "store.sqlite"));
	assert_non_null(strstr(result.err.text, strerrordesc_np(EFBIG)));
	result = commit(&loop, store, batch); /* and it stays so */
	assert_int_equal(result.code, FL_E_STORE);
	assert_int_equal(store_list(store, count, &n, &err), FL_OK);
	assert_int_equal(n, 0);

	limit_file_size(RLIM_INFINITY);
	result = commit(&loop, store, batch); /* it recovers by itself */
	assert_int_equal(result.code, FL_OK);
	assert_int_equal(store_list(store, count, &n, &err), FL_OK);
	assert_int_equal(n, 2);

	store_batch_free(batch);
	close_store(&loop, store);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- kill -9 in the midst of commits -- */

/* Commits pairs a/N, b/N for ever, and writes N to @acknowledge after each. */
_Noreturn static void write_until_killed(int acknowledge)
{
	struct store *store = NULL;
	uv_loop_t loop;

	(void)uv_loop_init(&loop);
	if (store_open_sqlite(&store, &loop, directory, NULL) != FL_OK)
		_exit(1);
	for (uint32_t i = 0;; i++) {
		struct store_batch *batch = NULL;
		char key[32];

		if (store_batch_new(&batch, NULL) != FL_OK)
			_exit(1);
		(void)snprintf(key, sizeof(key), "a/%08u", i);
		if (store_batch_put(batch, key, key + 2, 8, NULL) != FL_OK)
			_exit(1);
		key[0] = 'b';
		if (store_batch_put(batch, key, key + 2, 8, NULL) != FL_OK)
			_exit(1);
		if (commit(&loop, store, batch).code != FL_OK)
			_exit(1);
		store_batch_free(batch);
		if (write(acknowledge, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
}

struct pairs {
	uint32_t a, b; /* how many of each, which are 0, 1, 2, ... without a gap */
};

static enum fl_code check_pair(const char *key, const void *value, size_t len, uint64_t revision,
	void *userdata, struct fl_error *err)
{
	struct pairs *pairs = userdata;
	uint32_t *n = key[0] == 'a' ? &pairs->a : &pairs->b;
	char expected[32];

	(void)revision;
	(void)err;
	(void)snprintf(expected, sizeof(expected), "%c/%08u", key[0], (*n)++);
	assert_string_equal(key, expected);
	assert_int_equal(len, 8);
	assert_memory_equal(value, expected + 2, 8);
	return FL_OK;
}

static void kill_after(unsigned acknowledged)
{
	struct store *store = NULL;
	struct pairs pairs = {0};
	struct fl_error err = {0};
	uint32_t last = 0, number;
	int ends[2], status;
	uv_loop_t loop;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(ends[0]);
		write_until_killed(ends[1]);
	}
	(void)close(ends[1]);
	for (unsigned i = 0; i < acknowledged; i++)
		assert_int_equal(read(ends[0], &last, sizeof(last)), sizeof(last));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	while (read(ends[0], &number, sizeof(number)) == sizeof(number))
		last = number;
	(void)close(ends[0]);

	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, &err), FL_OK);
	assert_int_equal(store_list(store, check_pair, &pairs, &err), FL_OK);
	assert_true(pairs.a > last);
	assert_true(pairs.a <= last + 2); /* at most one that was not acknowledged */
	assert_int_equal(pairs.a, pairs.b);
	close_store(&loop, store);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_kill(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 64; i *= 4) {
		kill_after(i);
		assert_int_equal(teardown(NULL), 0);
		assert_int_equal(setup(NULL), 0);
	}
}

/* ---- Files that are not ours to use -- */

static void assert_refused(enum fl_code code, const char *text)
{
	struct store *store = NULL;
	struct fl_error err = {0};
	uv_loop_t loop;

	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, &err), code);
	assert_null(store);
	if (strstr(err.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_two_coordinators(void **state)
{
	struct store *store = NULL;
	char text[64];
	uv_loop_t loop;

	(void)state;
	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, NULL), FL_OK);
	(void)snprintf(text, sizeof(text), "another coordinator (process %ld)", (long)getpid());
	assert_refused(FL_E_STATE, text);
	close_store(&loop, store);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, NULL), FL_OK);
	close_store(&loop, store);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void sqlite_does(const char *sql)
{
	char path[PATH_MAX];
	sqlite3 *db = NULL;

	(void)snprintf(path, sizeof(path), "%s/store.sqlite", directory);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void make_store(void)
{
	struct store *store = NULL;
	uv_loop_t loop;

	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, NULL), FL_OK);
	close_store(&loop, store);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_other_programs_file(void **state)
{
	(void)state;
	sqlite_does("CREATE TABLE recipes (text)");
	assert_refused(FL_E_STORE, "belongs to another program");
}

static void test_newer_format(void **state)
{
	(void)state;
	make_store();
	sqlite_does("PRAGMA user_version = 99");
	assert_refused(FL_E_STORE, "has format 99");
}

static void test_not_a_database(void **state)
{
	char path[PATH_MAX];
	FILE *file;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/store.sqlite", directory);
	file = fopen(path, "we");
	assert_non_null(file);
	for (int i = 0; i < 1000; i++)
		(void)fputs("not a database, this. ", file);
	assert_int_equal(fclose(file), 0);
	assert_refused(FL_E_STORE, "damaged");
}

static void test_damaged(void **state)
{
	char path[PATH_MAX], junk[512];
	int fd;

	(void)state;
	make_store();
	sqlite_does("INSERT INTO record VALUES ('k', zeroblob(100000), 1, NULL);");
	(void)snprintf(path, sizeof(path), "%s/store.sqlite", directory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	memset(junk, 0xaa, sizeof(junk));
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 3L * 4096), sizeof(junk));
	(void)close(fd);
	assert_refused(FL_E_STORE, "damaged");
}

static void put(const char *key, const char *value)
{
	struct store_batch *batch = NULL;
	struct store *store = NULL;
	uv_loop_t loop;

	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, NULL), FL_OK);
	assert_int_equal(store_batch_new(&batch, NULL), FL_OK);
	assert_int_equal(store_batch_put(batch, key, value, strlen(value), NULL), FL_OK);
	assert_int_equal(commit(&loop, store, batch).code, FL_OK);
	store_batch_free(batch);
	close_store(&loop, store);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static enum fl_code list_all(unsigned *ret_n, struct fl_error *err)
{
	struct store *store = NULL;
	enum fl_code code;
	uv_loop_t loop;

	*ret_n = 0;
	(void)uv_loop_init(&loop);
	assert_int_equal(store_open_sqlite(&store, &loop, directory, NULL), FL_OK);
	code = store_list(store, count, ret_n, err);
	close_store(&loop, store);
	assert_int_equal(uv_loop_close(&loop), 0);
	return code;
}

/* Damage that leaves SQLite's own structure as it was. */
static void test_turned_bit(void **state)
{
	struct fl_error err = {0};
	unsigned n;

	(void)state;
	put("a", "right");
	put("b", "right");
	assert_int_equal(list_all(&n, &err), FL_OK);
	assert_int_equal(n, 2);
	sqlite_does("UPDATE record SET value = CAST('wrong' AS BLOB) WHERE key = 'b'");
	assert_int_equal(list_all(&n, &err), FL_E_STORE);
	assert_non_null(strstr(err.text, "store.sqlite is damaged (the record \"b\" is not as it "
					 "was written): put a backup in its place"));
}

static void test_format_without_sums(void **state)
{
	struct fl_error err = {0};
	unsigned n;

	(void)state;
	make_store();
	sqlite_does("DROP TABLE record;"
		    "CREATE TABLE record (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,"
		    " revision INTEGER NOT NULL) STRICT;"
		    "INSERT INTO record VALUES ('a', x'01', 1), ('b', x'02', 1);"
		    "PRAGMA user_version = 1");
	assert_int_equal(list_all(&n, &err), FL_OK);
	assert_int_equal(n, 2);
	/* From the next writing on it has one. */
	put("b", "right");
	sqlite_does("UPDATE record SET value = x'03'");
	assert_int_equal(list_all(&n, &err), FL_E_STORE);
	assert_non_null(strstr(err.text, "\"b\""));
}

static void test_no_directory(void **state)
{
	(void)state;
	assert_int_equal(rmdir(directory), 0);
	assert_refused(FL_E_NOT_FOUND, "lock");
	assert_int_equal(mkdir(directory, 0700), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_coordinators, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_programs_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_newer_format, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_a_database, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_turned_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_format_without_sums, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
