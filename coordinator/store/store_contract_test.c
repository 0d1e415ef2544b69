/* What every store keeps to. One suite, run over each backend. */
#include "coordinator/store/store.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "coordinator/store/memory.h"
#include "coordinator/store/sqlite.h"

struct fixture {
	uv_loop_t loop;
	struct store *store;
	bool closed;
	char directory[PATH_MAX]; /* "" for memory */
};

struct result {
	unsigned n;
	enum fl_code code;
	uint64_t revision;
	struct fl_error err;
};

static void on_committed(
	enum fl_code code, uint64_t revision, const struct fl_error *err, void *userdata)
{
	struct result *result = userdata;

	result->n++;
	result->code = code;
	result->revision = revision;
	result->err = *err;
}

static void on_closed(void *userdata)
{
	*(bool *)userdata = true;
}

static void open_store(struct fixture *fixture)
{
	struct fl_error err = {0};
	enum fl_code code = fixture->directory[0] != '\0'
				    ? store_open_sqlite(&fixture->store, &fixture->loop,
					      fixture->directory, &err)
				    : store_open_memory(&fixture->store, &fixture->loop, &err);

	assert_string_equal(err.text, "");
	assert_int_equal(code, FL_OK);
}

static void close_store(struct fixture *fixture)
{
	fixture->closed = false;
	store_close(fixture->store, on_closed, &fixture->closed);
	assert_false(fixture->closed);
	while (!fixture->closed)
		(void)uv_run(&fixture->loop, UV_RUN_ONCE);
}

static int setup_memory(void **state)
{
	struct fixture *fixture = FL_NEW(struct fixture);

	(void)uv_loop_init(&fixture->loop);
	open_store(fixture);
	*state = fixture;
	return 0;
}

static int setup_sqlite(void **state)
{
	struct fixture *fixture = FL_NEW(struct fixture);

	(void)uv_loop_init(&fixture->loop);
	(void)snprintf(
		fixture->directory, sizeof(fixture->directory), "/tmp/flota-store-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	open_store(fixture);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	close_store(fixture);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	if (fixture->directory[0] != '\0') {
		FL_CLEANUP(fl_freep) char *command = fl_printf("rm -r %s", fixture->directory);

		assert_int_equal(system(command), 0);
	}
	free(fixture);
	return 0;
}

static struct result commit(struct fixture *fixture, struct store_batch *batch)
{
	struct result result = {0};

	store_commit(fixture->store, batch, on_committed, &result);
	assert_int_equal(result.n, 0); /* never inside the call */
	while (result.n == 0)
		(void)uv_run(&fixture->loop, UV_RUN_ONCE);
	return result;
}

static struct store_batch *new_batch(void)
{
	struct store_batch *batch = NULL;

	assert_int_equal(store_batch_new(&batch, NULL), FL_OK);
	return batch;
}

static void put(struct store_batch *batch, const char *key, const char *value)
{
	assert_int_equal(store_batch_put(batch, key, value, strlen(value), NULL), FL_OK);
}

static enum fl_code visit(const char *key, const void *value, size_t len, uint64_t revision,
	void *userdata, struct fl_error *err)
{
	(void)err;
	fl_buf_printf(userdata, "%s=%.*s@%llu ", key, (int)len, (const char *)value,
		(unsigned long long)revision);
	return FL_OK;
}

static void assert_listing(struct fixture *fixture, const char *expected)
{
	FL_CLEANUP_BUF struct fl_buf listing = FL_BUF_INIT;

	assert_int_equal(store_list(fixture->store, visit, &listing, NULL), FL_OK);
	assert_string_equal(fl_buf_str(&listing), expected);
}

static void test_put_delete_list(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *first = new_batch();
	FL_CLEANUP(store_batch_freep) struct store_batch *second = new_batch();
	struct result result;

	assert_listing(fixture, "");
	assert_true(store_batch_empty(first));
	put(first, "unit/b", "two");
	put(first, "unit/a", "one");
	put(first, "meta", "");
	assert_false(store_batch_empty(first));
	result = commit(fixture, first);
	assert_int_equal(result.code, FL_OK);
	assert_int_equal(result.revision, 1);
	assert_listing(fixture, "meta=@1 unit/a=one@1 unit/b=two@1 ");

	put(second, "unit/a", "changed");
	assert_int_equal(store_batch_delete(second, "unit/b", NULL), FL_OK);
	assert_int_equal(store_batch_delete(second, "unit/never", NULL), FL_OK);
	put(second, "unit/a", "twice");
	result = commit(fixture, second);
	assert_int_equal(result.code, FL_OK);
	assert_int_equal(result.revision, 2);
	assert_listing(fixture, "meta=@1 unit/a=twice@2 ");
}

static void test_values_are_bytes(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *batch = new_batch();
	FL_CLEANUP_BUF struct fl_buf listing = FL_BUF_INIT;
	static char value[3 << 20];

	memset(value, 'x', sizeof(value));
	value[1000] = '\0';
	assert_int_equal(store_batch_put(batch, "k", value, sizeof(value), NULL), FL_OK);
	memset(value, 'y', sizeof(value)); /* it was copied */
	assert_int_equal(commit(fixture, batch).code, FL_OK);
	assert_int_equal(store_list(fixture->store, visit, &listing, NULL), FL_OK);
	/* printf stops at the 0 byte, so 1000 x's came back before it. */
	assert_int_equal(listing.len, strlen("k=") + 1000 + strlen("@1 "));
	assert_int_equal(listing.data[1001], 'x');
}

static void test_expectations(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *first = new_batch();
	FL_CLEANUP(store_batch_freep) struct store_batch *wrong = new_batch();
	FL_CLEANUP(store_batch_freep) struct store_batch *right = new_batch();
	struct result result;

	assert_int_equal(store_batch_expect(first, "leader", 0, NULL), FL_OK);
	put(first, "leader", "a");
	assert_int_equal(commit(fixture, first).code, FL_OK);

	put(wrong, "other", "x"); /* must not happen either */
	assert_int_equal(store_batch_expect(wrong, "leader", 0, NULL), FL_OK);
	result = commit(fixture, wrong);
	assert_int_equal(result.code, FL_E_STATE);
	assert_string_equal(result.err.text, "leader is at revision 1, expected was 0");
	assert_listing(fixture, "leader=a@1 ");

	assert_int_equal(store_batch_expect(right, "leader", 1, NULL), FL_OK);
	put(right, "leader", "b");
	assert_int_equal(commit(fixture, right).code, FL_OK);
	assert_listing(fixture, "leader=b@2 ");
}

static void test_commits_in_order(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batches[50];
	struct result result = {0};

	for (size_t i = 0; i < FL_COUNT(batches); i++) {
		char value[16];

		batches[i] = new_batch();
		(void)snprintf(value, sizeof(value), "%zu", i);
		put(batches[i], "k", value);
		store_commit(fixture->store, batches[i], on_committed, &result);
	}
	while (result.n < FL_COUNT(batches)) {
		unsigned before = result.n;

		(void)uv_run(&fixture->loop, UV_RUN_ONCE);
		if (result.n > before)
			assert_int_equal(result.revision, result.n);
	}
	assert_listing(fixture, "k=49@50 ");
	for (size_t i = 0; i < FL_COUNT(batches); i++)
		store_batch_free(batches[i]);
}

static void test_close_finishes_commits(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *batch = new_batch();
	struct result result = {0};

	put(batch, "k", "v");
	store_commit(fixture->store, batch, on_committed, &result);
	close_store(fixture);
	assert_int_equal(result.n, 1);
	assert_int_equal(result.code, FL_OK);
	open_store(fixture); /* for the teardown */
}

static enum fl_code visit_and_stop(const char *key, const void *value, size_t len,
	uint64_t revision, void *userdata, struct fl_error *err)
{
	(void)value;
	(void)len;
	(void)revision;
	++*(int *)userdata;
	return FL_FAIL(err, FL_E_PROTOCOL, "%s is not to my taste", key);
}

static void test_visitor_stops_list(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *batch = new_batch();
	struct fl_error err = {0};
	int visited = 0;

	put(batch, "a", "");
	put(batch, "b", "");
	assert_int_equal(commit(fixture, batch).code, FL_OK);
	assert_int_equal(store_list(fixture->store, visit_and_stop, &visited, &err), FL_E_PROTOCOL);
	assert_int_equal(visited, 1);
	assert_string_equal(err.text, "a is not to my taste");
	assert_listing(fixture, "a=@1 b=@1 ");
}

/* ---- What only a store that lasts can show -- */

static void test_reopen(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *first = new_batch();
	FL_CLEANUP(store_batch_freep) struct store_batch *second = new_batch();

	put(first, "a", "1");
	put(first, "b", "2");
	assert_int_equal(commit(fixture, first).code, FL_OK);
	close_store(fixture);
	open_store(fixture);
	assert_listing(fixture, "a=1@1 b=2@1 ");
	assert_int_equal(store_batch_delete(second, "b", NULL), FL_OK);
	assert_int_equal(commit(fixture, second).revision, 2); /* it goes on counting */
}

/* ---- What only a store that can be told to fail shows -- */

static void test_failed_batch_again(void **state)
{
	struct fixture *fixture = *state;
	FL_CLEANUP(store_batch_freep) struct store_batch *batch = new_batch();

	put(batch, "a", "1");
	store_memory_fail(fixture->store, 2);
	assert_int_equal(commit(fixture, batch).code, FL_E_STORE);
	assert_int_equal(commit(fixture, batch).code, FL_E_STORE);
	assert_listing(fixture, "");
	assert_int_equal(commit(fixture, batch).code, FL_OK);
	assert_listing(fixture, "a=1@1 ");
}

#define CONTRACT(X) \
	X(test_put_delete_list) \
	X(test_values_are_bytes) \
	X(test_expectations) \
	X(test_commits_in_order) \
	X(test_close_finishes_commits) \
	X(test_visitor_stops_list)

int main(void)
{
	const struct CMUnitTest memory[] = {
#define X(test) cmocka_unit_test_setup_teardown(test, setup_memory, teardown),
		CONTRACT(X)
#undef X
			cmocka_unit_test_setup_teardown(
				test_failed_batch_again, setup_memory, teardown),
	};
	const struct CMUnitTest sqlite[] = {
#define X(test) cmocka_unit_test_setup_teardown(test, setup_sqlite, teardown),
		CONTRACT(X)
#undef X
			cmocka_unit_test_setup_teardown(test_reopen, setup_sqlite, teardown),
	};
	int failed = cmocka_run_group_tests_name("memory", memory, NULL, NULL);

	return failed + cmocka_run_group_tests_name("sqlite", sqlite, NULL, NULL);
}
