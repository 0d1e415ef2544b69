/* What may be asked for, and how its output comes: with echo and sleep in journalctl's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/calls.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "proto/wire.h"

static Pb__CallOrder order(uint64_t id, const char *unit, Pb__CallRequest__Kind kind)
{
	Pb__CallOrder o = PB__CALL_ORDER__INIT;

	o.call_id = id;
	o.unit = (char *)unit;
	o.kind = kind;
	return o;
}

#define STATUS  PB__CALL_REQUEST__KIND__STATUS
#define JOURNAL PB__CALL_REQUEST__KIND__JOURNAL

static void expect_command(const Pb__CallOrder *o, const char *expected)
{
	FL_CLEANUP_BUF struct fl_buf line = FL_BUF_INIT;
	struct calls_command command;

	assert_int_equal(calls_command(o, &command, NULL), FL_OK);
	for (size_t i = 0; command.argv[i] != NULL; i++)
		fl_buf_printf(&line, "%s|", command.argv[i]);
	assert_string_equal(fl_buf_str(&line), expected);
}

static void test_commands(void **state)
{
	Pb__CallOrder o = order(1, "a@1.service", STATUS);

	(void)state;
	expect_command(&o, "systemctl|status|--no-pager|--full|--lines=10|--|a@1.service|");
	o = order(1, "-.slice", STATUS);
	expect_command(&o, "systemctl|status|--no-pager|--full|--lines=10|--|-.slice|");
	o = order(1, "a.service", JOURNAL);
	o.lines = 3;
	o.follow = true;
	o.output = (char *)"json";
	expect_command(
		&o, "journalctl|--no-pager|--unit=a.service|--lines=3|--output|json|--follow|");
}

static void test_what_cannot_be_asked_for(void **state)
{
	static const char *const names[] = {"", "a", "a;reboot.service", "../a.service",
		"a b.service", "a*.service", "$(reboot).service", "a.service\n"};
	static const char *const outputs[] = {"nosuch", "--file=/etc/shadow", "cat "};
	struct calls_command command;
	Pb__CallOrder o;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(names); i++) {
		o = order(1, names[i], JOURNAL);
		assert_int_not_equal(calls_command(&o, &command, NULL), FL_OK);
	}
	for (size_t i = 0; i < FL_COUNT(outputs); i++) {
		o = order(1, "a.service", JOURNAL);
		o.output = (char *)outputs[i];
		assert_int_equal(calls_command(&o, &command, NULL), FL_E_INVALID);
	}
	o = order(1, "a.service", PB__CALL_REQUEST__KIND__KIND_UNSPECIFIED);
	assert_int_equal(calls_command(&o, &command, NULL), FL_E_INVALID);
}

#define FOLDER "/tmp/flota-calls-test-XXXXXX"
static char folder[sizeof(FOLDER)];

/* ---- Running ------------------------------------------------------------------------------ */

struct test {
	uv_loop_t loop;
	struct calls *calls;
	struct fl_buf output, errors;
	calls_sent sent; /* of the piece under way */
	void *call;
	unsigned pieces;
	bool ended, closed;
	int exit_code;
};

static bool on_owns(const char *unit, void *userdata)
{
	(void)userdata;
	return strcmp(unit, "ssh.service") != 0;
}

static enum fl_code on_send(Pb__CallOutputRequest *output, calls_sent sent, void *call,
	void *userdata, struct fl_error *err)
{
	struct test *t = userdata;

	(void)err;
	assert_null(t->sent); /* one at a time */
	assert_true(output->data.len <= LIMIT_CALL_DATA);
	fl_buf_append(&t->output, output->data.data, output->data.len);
	fl_buf_text(&t->errors, output->error);
	t->pieces++;
	t->ended = output->ended;
	t->exit_code = output->exit_code;
	t->sent = sent;
	t->call = call;
	return FL_OK;
}

static const struct calls_handlers handlers = {.owns = on_owns, .send = on_send};

static void taken(struct test *t, bool stop)
{
	calls_sent sent = FL_TAKE(t->sent);

	sent(FL_OK, stop, t->call);
}

static void next_piece(struct test *t)
{
	while (t->sent == NULL)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
}

static void run_to_end(struct test *t)
{
	do {
		next_piece(t);
		taken(t, false);
	} while (!t->ended);
}

/* A host whose journalctl is this test's own. */
static void put_journalctl(const char *script)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/journalctl", folder);
	FL_CLEANUP(fl_freep) char *text = fl_printf("#!/bin/sh\n%s\n", script);

	assert_int_equal(fl_file_write(path, text, strlen(text), 0755, false, NULL), FL_OK);
}

static int setup(void **state)
{
	struct test *t = FL_NEW(struct test);

	FL_CLEANUP(fl_freep) char *path = NULL;

	fl_log_set_level(FL_ERROR);
	(void)strcpy(folder, FOLDER);
	assert_non_null(mkdtemp(folder));
	path = fl_printf("%s:/usr/bin:/bin", folder);
	assert_int_equal(uv_loop_init(&t->loop), 0);
	assert_int_equal(calls_new(&t->calls, &t->loop, path, &handlers, t, NULL), FL_OK);
	*state = t;
	return 0;
}

static void on_closed(void *userdata)
{
	((struct test *)userdata)->closed = true;
}

static int teardown(void **state)
{
	FL_CLEANUP(fl_freep) char *path = NULL;
	struct test *t = *state;

	calls_close(t->calls, on_closed, t);
	if (t->sent != NULL)
		t->sent(FL_E_CANCELED, false, t->call);
	assert_int_equal(uv_run(&t->loop, UV_RUN_DEFAULT), 0);
	assert_true(t->closed);
	assert_int_equal(uv_loop_close(&t->loop), 0);
	fl_buf_fini(&t->output);
	fl_buf_fini(&t->errors);
	free(t);
	path = fl_printf("%s/journalctl", folder);
	(void)unlink(path);
	return rmdir(folder);
}

static void test_output_and_exit_code(void **state)
{
	struct test *t = *state;
	Pb__CallOrder o = order(5, "a.service", JOURNAL);

	put_journalctl("echo out; echo err >&2; exit 3");
	calls_order(t->calls, &o);
	run_to_end(t);
	assert_string_equal(fl_buf_str(&t->output), "out\nerr\n");
	assert_int_equal(t->exit_code, 3);
	/* The coordinator's order came twice. */
	calls_order(t->calls, &o);
	(void)uv_run(&t->loop, UV_RUN_NOWAIT);
	assert_null(t->sent);
}

static void test_much_output_comes_whole(void **state)
{
	struct test *t = *state;
	Pb__CallOrder o = order(6, "a.service", JOURNAL);
	size_t n = 1000000;

	put_journalctl("head -c 1000000 /dev/zero | tr '\\0' x");
	calls_order(t->calls, &o);
	run_to_end(t);
	assert_int_equal(t->output.len, n);
	assert_int_equal(strspn(fl_buf_str(&t->output), "x"), n);
	assert_true(t->pieces > n / LIMIT_CALL_DATA);
}

static void test_cancel_ends_the_process(void **state)
{
	struct test *t = *state;
	Pb__CallOrder o = order(7, "a.service", JOURNAL);

	put_journalctl("echo $$; exec sleep 1000");
	calls_order(t->calls, &o);
	next_piece(t);
	o.cancel = true;
	calls_order(t->calls, &o);
	taken(t, false);
	/* teardown() would wait for the process for 1000 s. */
}

static void test_nobody_listens(void **state)
{
	struct test *t = *state;
	Pb__CallOrder o = order(8, "a.service", JOURNAL);

	put_journalctl("echo a; exec sleep 1000");
	calls_order(t->calls, &o);
	next_piece(t);
	taken(t, true);
}

static void test_refused(void **state)
{
	struct test *t = *state;
	Pb__CallOrder o = order(9, "ssh.service", STATUS);

	calls_order(t->calls, &o);
	next_piece(t);
	assert_true(t->ended);
	assert_string_equal(
		fl_buf_str(&t->errors), "ssh.service is not a unit of the fleet on this machine");
	taken(t, false);
}

static void test_as_many_as_may_be(void **state)
{
	struct test *t = *state;
	Pb__CallOrder o;

	put_journalctl("exec sleep 1000");
	for (uint64_t i = 0; i < LIMIT_CALLS; i++) {
		o = order(100 + i, "a.service", JOURNAL);
		calls_order(t->calls, &o);
	}
	o = order(200, "a.service", JOURNAL);
	calls_order(t->calls, &o);
	next_piece(t);
	assert_true(t->ended);
	assert_non_null(strstr(fl_buf_str(&t->errors), "limit"));
	taken(t, false);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_what_cannot_be_asked_for),
		T(test_output_and_exit_code),
		T(test_much_output_comes_whole),
		T(test_cancel_ends_the_process),
		T(test_nobody_listens),
		T(test_refused),
		T(test_as_many_as_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
