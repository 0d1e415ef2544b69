#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/fsm.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/strv.h"

static void test_error_text_is_cut_with_dots(void **state)
{
	struct fl_error err = {0};
	char big[2000];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(FL_FAIL(&err, FL_E_TOO_BIG, "%s", big), FL_E_TOO_BIG);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_string_equal(err.text + sizeof(err.text) - 4, "...");
	assert_int_equal(FL_FAIL(NULL, FL_E_IO, "nobody reads this"), FL_E_IO);
}

static void test_error_prefix_and_errno(void **state)
{
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(FL_FAIL_ERRNO(&err, ENOENT, "a/%s", "b"), FL_E_NOT_FOUND);
	assert_string_equal(err.text, "a/b: No such file or directory");
	assert_int_equal(fl_error_prefix(&err, FL_E_SYNTAX, "x.conf:%d", 3), FL_E_SYNTAX);
	assert_int_equal(err.code, FL_E_SYNTAX);
	assert_string_equal(err.text, "x.conf:3: a/b: No such file or directory");
	assert_int_equal(fl_error_prefix(NULL, FL_E_IO, "nobody reads this"), FL_E_IO);
}

static void test_error_wire_values_round_trip(void **state)
{
	(void)state;
	for (unsigned code = FL_OK; code <= FL_E_USAGE; code++)
		assert_int_equal(fl_code_from_wire(fl_code_to_wire((enum fl_code)code)), code);
	assert_int_equal(fl_code_from_wire(4711), FL_E_INTERNAL);
}

static void test_buf(void **state)
{
	struct fl_buf buf = FL_BUF_INIT;
	char *text;

	(void)state;
	assert_string_equal(fl_buf_str(&buf), "");
	for (unsigned i = 0; i < 1000; i++)
		fl_buf_printf(&buf, "%u,", i);
	assert_true(fl_buf_ok(&buf));
	assert_int_equal(buf.len, 10 * 2 + 90 * 3 + 900 * 4);
	assert_int_equal(fl_buf_take(&buf, &text, NULL), FL_OK);
	assert_string_equal(text + strlen(text) - 8, "998,999,");
	assert_null(buf.data);
	free(text);
	fl_buf_append(&buf, "x", SIZE_MAX / 2);
	assert_false(fl_buf_ok(&buf));
	assert_int_equal(fl_buf_take(&buf, &text, NULL), FL_E_NO_MEMORY);
}

static void test_strv(void **state)
{
	FL_CLEANUP_STRV struct fl_strv strv = {0}, copy = {0};

	(void)state;
	assert_int_equal(fl_strv_split(&strv, "  b a\tc ", " \t", NULL), FL_OK);
	assert_int_equal(strv.n, 3);
	fl_strv_sort(&strv);
	assert_string_equal(strv.items[0], "a");
	assert_null(strv.items[3]);
	assert_true(fl_strv_has(&strv, "c"));
	assert_false(fl_strv_has(&strv, "d"));
	assert_int_equal(fl_strv_copy(&copy, &strv, NULL), FL_OK);
	assert_string_equal(copy.items[2], "c");
}

static void test_map_keeps_order_and_values(void **state)
{
	FL_CLEANUP(fl_map_freep) struct fl_map *map = NULL;
	int values[1000];
	char key[16];
	unsigned n = 0;

	(void)state;
	assert_int_equal(fl_map_new(&map, NULL), FL_OK);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(fl_map_put(map, key, &values[i], NULL), FL_OK);
	}
	assert_int_equal(fl_map_put(map, "k7", &values[8], NULL), FL_OK);
	assert_ptr_equal(fl_map_get(map, "k7"), &values[8]);
	assert_ptr_equal(fl_map_remove(map, "k7"), &values[8]);
	assert_null(fl_map_get(map, "k7"));
	assert_null(fl_map_remove(map, "k7"));
	assert_int_equal(fl_map_count(map), 999);
	FL_MAP_FOREACH (entry, following, map) {
		snprintf(key, sizeof(key), "k%u", n < 7 ? n : n + 1);
		assert_string_equal(fl_map_key(entry), key);
		n++;
		assert_non_null(fl_map_remove(map, key));
	}
	assert_int_equal(n, 999);
	assert_int_equal(fl_map_count(map), 0);
}

struct item {
	int number;
	struct fl_list node;
};

static void test_list(void **state)
{
	struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
	struct fl_list list, other;
	struct item *item, *following;
	int expected = 0;

	(void)state;
	fl_list_init(&list);
	fl_list_init(&other);
	for (unsigned i = 0; i < 3; i++)
		fl_list_append(i < 1 ? &list : &other, &items[i].node);
	fl_list_splice(&list, &other);
	assert_true(fl_list_empty(&other));
	FL_LIST_FOREACH_SAFE (item, &list, node, following) {
		assert_int_equal(item->number, expected++);
		if (item->number == 1)
			fl_list_remove(&item->node);
	}
	assert_int_equal(expected, 3);
	assert_false(fl_list_linked(&items[1].node));
	fl_list_remove(&items[1].node);
	assert_ptr_equal(fl_list_pop(&list), &items[0].node);
	assert_ptr_equal(fl_list_pop(&list), &items[2].node);
	assert_null(fl_list_pop(&list));
}

static void test_file_write_replaces_whole(void **state)
{
	char folder[] = "/tmp/flota-file-XXXXXX";
	FL_CLEANUP(fl_freep) char *path = NULL, *data = NULL;
	struct fl_error err = {0};
	struct stat st;
	size_t len;

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = fl_printf("%s/a/b/c", folder);
	assert_int_equal(fl_file_read(path, 10, &data, &len, &err), FL_E_NOT_FOUND);
	path[strlen(path) - 2] = '\0';
	assert_int_equal(fl_mkdir_all(path, 0700, &err), FL_OK);
	path[strlen(path)] = '/';
	assert_int_equal(fl_file_write(path, "first", 5, 0600, true, &err), FL_OK);
	assert_int_equal(fl_file_write(path, "second", 6, 0640, false, &err), FL_OK);
	assert_int_equal(fl_file_read(path, 6, &data, &len, &err), FL_OK);
	assert_int_equal(len, 6);
	assert_string_equal(data, "second");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	fl_freep(&data);
	assert_int_equal(fl_file_read(path, 5, &data, &len, &err), FL_E_TOO_BIG);
	assert_int_equal(fl_file_read(folder, 5, &data, &len, &err), FL_E_INVALID);
	assert_int_equal(unlink(path), 0);
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0); /* nothing temporary is left in it */
	*strrchr(path, '/') = '\0';
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

static mode_t mode_of(const char *folder, const char *name)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, name);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void test_mkdir_all(void **state)
{
	static const char *const made[] = {"a/b", "a"};
	char folder[] = "/tmp/flota-file-XXXXXX";
	FL_CLEANUP(fl_freep) char *path = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = fl_printf("%s/a/b/", folder);
	assert_int_equal(fl_mkdir_all(path, 0700, NULL), FL_OK);
	assert_int_equal(mode_of(folder, "a"), 0755);
	assert_int_equal(mode_of(folder, "a/b"), 0700);
	assert_int_equal(fl_mkdir_all(path, 0750, NULL), FL_OK);
	assert_int_equal(mode_of(folder, "a/b"), 0700);
	for (size_t i = 0; i < FL_COUNT(made); i++) {
		FL_CLEANUP(fl_freep) char *name = fl_printf("%s/%s", folder, made[i]);

		assert_int_equal(rmdir(name), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void test_file_read_of_proc(void **state)
{
	FL_CLEANUP(fl_freep) char *data = NULL;
	size_t len;

	(void)state;
	assert_int_equal(fl_file_read("/proc/self/status", 1 << 20, &data, &len, NULL), FL_OK);
	assert_true(len > 0);
	fl_freep(&data);
	assert_int_equal(fl_file_read("/proc/self/status", 10, &data, &len, NULL), FL_E_TOO_BIG);
}

#define DOOR_STATES(X) \
	X(DOOR, CLOSED, FL_TO(DOOR, OPEN) | FL_TO(DOOR, LOCKED)) \
	X(DOOR, OPEN, FL_TO(DOOR, CLOSED)) \
	X(DOOR, LOCKED, FL_TO(DOOR, CLOSED))
FL_FSM_DEFINE(door, DOOR_STATES)

/* Runs @body in a child and says whether it was aborted. */
static bool aborts(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void move_illegally(void)
{
	struct fl_fsm door;

	fl_fsm_init(&door, &door_fsm_def, "front");
	fl_fsm_move(&door, DOOR_OPEN, "handle");
	fl_fsm_move(&door, DOOR_LOCKED, "key");
}

static void test_fsm(void **state)
{
	struct fl_fsm door;

	(void)state;
	fl_fsm_init(&door, &door_fsm_def, "front");
	assert_string_equal(fl_fsm_state_name(&door), "CLOSED");
	fl_fsm_move(&door, DOOR_LOCKED, "key");
	assert_false(fl_fsm_may(&door, DOOR_OPEN));
	fl_fsm_move(&door, DOOR_CLOSED, "key");
	assert_true(aborts(move_illegally));
}

/* What a logging function writes to stderr. */
static void capture_log(void (*body)(void), char *text, size_t size)
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	body();
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	n = read(fds[0], text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fds[0]);
}

static void log_lines(void)
{
	fl_log_set_request(0xabcU);
	fl_log(FL_WARNING, "machine.lost", "machine=%s after_ms=%u text=%s", "m1", 30U,
		"a \"b\"\nc");
	fl_log_set_request(0);
	fl_log(FL_DEBUG, "not.wanted", "x=%d", 1);
}

static void test_log_line(void **state)
{
	char text[1024];

	(void)state;
	capture_log(log_lines, text, sizeof(text));
	assert_string_equal(text,
		"flota: warning: machine.lost machine=m1 after_ms=30 text=\"a \\\"b\\\"?c\""
		" request=0000000000000abc\n");
}

static void log_flood(void)
{
	for (unsigned i = 0; i < 500; i++)
		fl_log(FL_INFO, "flood", "i=%u", i);
}

static void test_log_holds_a_flood_back(void **state)
{
	char text[65536];
	unsigned lines = 0;

	(void)state;
	capture_log(log_flood, text, sizeof(text));
	for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(lines, 50);
}

struct post {
	struct fl_list node;
	unsigned number;
};

static struct {
	struct fl_mailbox *mailbox;
	unsigned expected;
	bool closed;
} mail;

#define POSTS 20000U

static void post_many(void *userdata)
{
	(void)userdata;
	for (unsigned i = 0; i < POSTS; i++) {
		struct post *post = FL_NEW(struct post);

		fl_assert(post != NULL);
		post->number = i;
		fl_mailbox_post(mail.mailbox, &post->node);
	}
}

static void on_mailbox_closed(void *userdata)
{
	(void)userdata;
	mail.closed = true;
}

static void on_mail(struct fl_list *items, void *userdata)
{
	struct fl_list *node;

	(void)userdata;
	while ((node = fl_list_pop(items)) != NULL) {
		struct post *post = FL_LIST_ENTRY(node, struct post, node);

		assert_int_equal(post->number, mail.expected++);
		free(post);
	}
	if (mail.expected == POSTS)
		fl_mailbox_close(mail.mailbox, on_mailbox_closed);
}

static void test_mailbox_delivers_all_in_order(void **state)
{
	uv_thread_t thread;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(fl_mailbox_open(&mail.mailbox, &loop, on_mail, NULL, NULL), FL_OK);
	assert_int_equal(uv_thread_create(&thread, post_many, NULL), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_thread_join(&thread);
	assert_true(mail.closed);
	assert_int_equal(mail.expected, POSTS);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_random_below(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(fl_random_below(7) < 7);
	assert_true(fl_random_id() != fl_random_id());
}

/* The check value that catalogues of such sums give. */
static void test_crc32(void **state)
{
	(void)state;
	assert_int_equal(fl_crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(fl_crc32(fl_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
	assert_int_equal(fl_crc32(0, "", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32),
		cmocka_unit_test(test_error_text_is_cut_with_dots),
		cmocka_unit_test(test_error_prefix_and_errno),
		cmocka_unit_test(test_error_wire_values_round_trip),
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_strv),
		cmocka_unit_test(test_map_keeps_order_and_values),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_file_write_replaces_whole),
		cmocka_unit_test(test_mkdir_all),
		cmocka_unit_test(test_file_read_of_proc),
		cmocka_unit_test(test_fsm),
		cmocka_unit_test(test_log_line),
		cmocka_unit_test(test_log_holds_a_flood_back),
		cmocka_unit_test(test_mailbox_delivers_all_in_order),
		cmocka_unit_test(test_random_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
