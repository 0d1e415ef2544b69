/* What agent and fence share, as two processes would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/lease.h"
#include "base/clock.h"
#include "base/file.h"

struct test {
	char folder[64];
	struct lease *agent, *fence;
};

static int setup(void **state)
{
	struct test *t = FL_NEW(struct test);

	strcpy(t->folder, "/tmp/flota-lease-test-XXXXXX");
	assert_non_null(mkdtemp(t->folder));
	assert_int_equal(lease_open(&t->agent, t->folder, NULL), FL_OK);
	assert_int_equal(lease_open(&t->fence, t->folder, NULL), FL_OK);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;
	FL_CLEANUP(fl_freep) char *command = fl_printf("rm -r %s", t->folder);

	lease_free(t->agent);
	lease_free(t->fence);
	free(t);
	return system(command);
}

static void test_each_sees_what_the_other_wrote(void **state)
{
	struct test *t = *state;
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/lease", t->folder);
	uint64_t now_ms = fl_clock_boot_ms();
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(lease_until_ms(t->fence), 0);
	assert_false(lease_is_alive(t->fence));
	assert_false(lease_is_fenced(t->agent));
	lease_extend(t->agent, now_ms + 60000);
	assert_int_equal(lease_until_ms(t->fence), now_ms + 60000);
	assert_true(lease_is_alive(t->fence));
	lease_extend(t->agent, now_ms + 50000);
	assert_int_equal(lease_until_ms(t->fence), now_ms + 60000);
	lease_fence_seen(t->fence);
	assert_true(lease_is_fenced(t->agent));
}

static void test_it_outlives_the_agent(void **state)
{
	struct test *t = *state;
	uint64_t until_ms = fl_clock_boot_ms() + 60000;

	lease_extend(t->agent, until_ms);
	lease_free(FL_TAKE(t->agent));
	assert_int_equal(lease_open(&t->agent, t->folder, NULL), FL_OK);
	assert_int_equal(lease_until_ms(t->agent), until_ms);
}

static void test_shown_or_not(void **state)
{
	struct test *t = *state;
	FL_CLEANUP(fl_freep) char *path = lease_condition_path(t->folder);

	lease_show(t->agent, true);
	lease_show(t->agent, true);
	assert_int_equal(access(path, F_OK), 0);
	lease_show(t->fence, false);
	lease_show(t->fence, false);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void write_down(const char *name, uint32_t stop_ms, void *userdata)
{
	fl_buf_printf(userdata, "%s=%u;", name, stop_ms);
}

static void test_list(void **state)
{
	struct test *t = *state;
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/exclusive", t->folder);
	FL_CLEANUP_BUF struct fl_buf list = FL_BUF_INIT, read = FL_BUF_INIT;
	const char *broken =
		"10 a.service\nx\n5 ../b.service\n-1 c.service\n7 d.service\n8 cut.ser";

	assert_int_equal(lease_list_read(t->fence, write_down, &read, NULL), FL_OK);
	lease_list_add(&list, "a.service", 10000);
	lease_list_add(&list, "p@1.service", 0);
	assert_int_equal(lease_list_write(t->agent, &list, NULL), FL_OK);
	assert_int_equal(lease_list_read(t->fence, write_down, &read, NULL), FL_OK);
	assert_string_equal(fl_buf_str(&read), "a.service=10000;p@1.service=0;");
	fl_buf_clear(&read);
	assert_int_equal(fl_file_write(path, broken, strlen(broken), 0600, false, NULL), FL_OK);
	assert_int_equal(lease_list_read(t->fence, write_down, &read, NULL), FL_OK);
	assert_string_equal(fl_buf_str(&read), "a.service=10;d.service=7;");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_sees_what_the_other_wrote),
		TEST(it_outlives_the_agent),
		TEST(shown_or_not),
		TEST(list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
