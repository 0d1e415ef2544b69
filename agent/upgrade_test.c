/* An agent that becomes another release: the coordinator is played here, releases are scripts. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/launch.h"
#include "agent/upgrade.h"
#include "base/file.h"
#include "base/memory.h"
#include "release/release.h"

#define GOOD "#!/bin/sh\necho flota-agent 9.0\n"

struct stage {
	char directory[64];
	struct config config;
	uv_loop_t loop;
	uv_idle_t answer; /* to a fetch, from the loop */
	struct upgrade *upgrade;

	/* What the coordinator has. */
	const char *text;
	char manifest[RELEASE_TEXT_MAX];
	size_t piece; /* bytes in an answer */
	enum fl_code fails; /* the next fetch with this */

	link_fetched done;
	void *done_userdata;
	uint64_t offset;
	unsigned n_fetches, n_restarts;
	bool closed;
	bool is_fenced;
};

static struct release_secret secret;

static void on_answer(uv_idle_t *idle)
{
	struct stage *stage = idle->data;
	Pb__FetchReply reply = PB__FETCH_REPLY__INIT;
	struct fl_error err = {.code = FL_OK};
	size_t left = strlen(stage->text) - (size_t)stage->offset;
	enum fl_code code = stage->fails;

	(void)uv_idle_stop(idle);
	stage->fails = FL_OK;
	if (code != FL_OK) {
		(void)fl_error_set(&err, code, "the coordinator says no");
		stage->done(NULL, &err, stage->done_userdata);
		return;
	}
	if (stage->offset == 0) {
		reply.manifest.data = (uint8_t *)stage->manifest;
		reply.manifest.len = strlen(stage->manifest);
	}
	reply.data.data = (uint8_t *)stage->text + stage->offset;
	reply.data.len = left < stage->piece ? left : stage->piece;
	stage->done(&reply, NULL, stage->done_userdata);
}

static enum fl_code on_fetch(Pb__FetchRequest *request, link_fetched done, void *done_userdata,
	void *userdata, struct fl_error *err)
{
	struct stage *stage = userdata;

	(void)err;
	assert_string_equal(request->version, "9.0");
	stage->n_fetches++;
	stage->offset = request->offset;
	stage->done = done;
	stage->done_userdata = done_userdata;
	(void)uv_idle_start(&stage->answer, on_answer);
	return FL_OK;
}

static void on_told(void *userdata)
{
	(void)userdata;
}

static bool on_fenced(void *userdata)
{
	return ((struct stage *)userdata)->is_fenced;
}

static void on_restart(void *userdata)
{
	((struct stage *)userdata)->n_restarts++;
}

static const struct upgrade_handlers handlers = {
	.fetch = on_fetch, .told = on_told, .fenced = on_fenced, .restart = on_restart};

static void write_text(const struct stage *stage, const char *name, const char *text)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", stage->directory, name);

	assert_int_equal(fl_file_write(path, text, strlen(text), 0600, false, NULL), FL_OK);
}

static void offer(struct stage *stage, const char *version, const char *text)
{
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = NULL;
	struct release release = {.size = strlen(text)};
	struct utsname machine;

	assert_int_equal(uname(&machine), 0);
	(void)snprintf(release.version, sizeof(release.version), "%s", version);
	(void)snprintf(release.arch, sizeof(release.arch), "%.31s", machine.machine);
	assert_int_equal(release_hash_new(&hash, NULL), FL_OK);
	release_hash_add(hash, text, strlen(text));
	release_hash_end(hash, release.sha512);
	assert_int_equal(release_write(&release, &secret, stage->manifest, NULL), FL_OK);
	stage->text = text;
}

static int setup(void **state)
{
	struct stage *stage = FL_NEW(struct stage);
	char line[RELEASE_LINE_MAX];
	struct release_key key;

	(void)snprintf(stage->directory, sizeof(stage->directory), "/tmp/upgrade_test.XXXXXX");
	assert_non_null(mkdtemp(stage->directory));
	stage->config.state_directory = stage->config.runtime_directory = stage->directory;
	assert_int_equal(fl_strv_add(&stage->config.release_keys, stage->directory, NULL), FL_OK);
	assert_int_equal(release_key_make("main", &secret, &key, NULL), FL_OK);
	release_key_format(&key, line);
	write_text(stage, "main.pub", line);
	stage->piece = 10;
	assert_int_equal(uv_loop_init(&stage->loop), 0);
	(void)uv_idle_init(&stage->loop, &stage->answer);
	stage->answer.data = stage;
	assert_int_equal(
		upgrade_open(&stage->upgrade, &stage->loop, &stage->config, &handlers, stage, NULL),
		FL_OK);
	offer(stage, "9.0", GOOD);
	*state = stage;
	return 0;
}

static void on_closed(void *userdata)
{
	((struct stage *)userdata)->closed = true;
}

static int teardown(void **state)
{
	struct stage *stage = *state;
	FL_CLEANUP(fl_freep) char *remove = fl_printf("rm -r %s", stage->directory);

	upgrade_close(stage->upgrade, on_closed, stage);
	uv_close((uv_handle_t *)&stage->answer, NULL);
	(void)uv_run(&stage->loop, UV_RUN_DEFAULT);
	assert_true(stage->closed);
	assert_int_equal(uv_loop_close(&stage->loop), 0);
	fl_strv_fini(&stage->config.release_keys);
	assert_int_equal(system(remove), 0); /* NOLINT(cert-env33-c): a path of our own */
	free(stage);
	return 0;
}

static void order(struct stage *stage, uint64_t number, const char *version, bool downgrade)
{
	Pb__UpgradeOrder one = PB__UPGRADE_ORDER__INIT;

	one.order = number;
	one.version = (char *)version;
	one.allow_downgrade = downgrade;
	upgrade_order(stage->upgrade, &one);
}

/* Until nothing is left to do. */
static const Pb__UpgradeResult *run(struct stage *stage)
{
	(void)uv_run(&stage->loop, UV_RUN_DEFAULT);
	return upgrade_result(stage->upgrade);
}

static void assert_refused(struct stage *stage, const char *why)
{
	const Pb__UpgradeResult *result;

	order(stage, 1, "9.0", false);
	result = run(stage);
	assert_non_null(result);
	assert_int_equal(result->state, PB__UPGRADE_RESULT__STATE__REFUSED);
	if (strstr(result->text, why) == NULL)
		fail_msg("%s", result->text);
	assert_int_equal(stage->n_restarts, 0);
}

/* ---- Tests -- */

static void test_it_becomes_it(void **state)
{
	struct stage *stage = *state;
	FL_CLEANUP(launch_record_freep) Pb__AgentReleaseRecord *record = NULL;
	FL_CLEANUP(fl_freep) char *path = launch_path(&stage->config, "9.0");
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;

	assert_null(upgrade_result(stage->upgrade));
	order(stage, 5, "9.0", false);
	order(stage, 5, "9.0", false); /* it comes with each sync */
	assert_int_equal(
		upgrade_result(stage->upgrade)->state, PB__UPGRADE_RESULT__STATE__UNDER_WAY);
	assert_int_equal(run(stage)->state, PB__UPGRADE_RESULT__STATE__UNDER_WAY);
	assert_int_equal(stage->n_restarts, 1);
	assert_int_equal(stage->n_fetches, (strlen(GOOD) + 9) / 10);
	assert_int_equal(fl_file_read(path, 1000, &text, &len, NULL), FL_OK);
	assert_string_equal(text, GOOD);
	assert_int_equal(launch_read(&stage->config, &record, NULL), FL_OK);
	assert_non_null(record);
	assert_string_equal(record->trial, "9.0");
	assert_string_equal(record->current, "");
	assert_int_equal(record->starts, 0);
	assert_int_equal(record->result->order, 5);
}

static void test_it_is_already(void **state)
{
	struct stage *stage = *state;

	order(stage, 5, FLOTA_VERSION, false);
	assert_int_equal(run(stage)->state, PB__UPGRADE_RESULT__STATE__DONE);
	assert_int_equal(stage->n_fetches, 0);
}

static void test_older_ones(void **state)
{
	struct stage *stage = *state;
	const Pb__UpgradeResult *result;

	order(stage, 5, "0.0.1", false);
	result = run(stage);
	assert_int_equal(result->state, PB__UPGRADE_RESULT__STATE__REFUSED);
	assert_non_null(strstr(result->text, "which is newer"));
	assert_int_equal(stage->n_fetches, 0);
	order(stage, 6, "../9.0", true);
	assert_non_null(strstr(run(stage)->text, "is no version"));
}

static void test_a_coordinator_that_is_away_for_a_while(void **state)
{
	struct stage *stage = *state;

	stage->fails = FL_E_UNAVAILABLE;
	order(stage, 5, "9.0", false);
	assert_int_equal(run(stage)->state, PB__UPGRADE_RESULT__STATE__UNDER_WAY);
	assert_int_equal(stage->n_restarts, 1);
	assert_int_equal(stage->n_fetches, (strlen(GOOD) + 9) / 10 + 1);
}

static void test_there_is_none(void **state)
{
	struct stage *stage = *state;

	stage->fails = FL_E_NOT_FOUND;
	assert_refused(stage, "the coordinator says no");
	/* Another order begins anew. */
	order(stage, 2, "9.0", false);
	(void)run(stage);
	assert_int_equal(stage->n_restarts, 1);
}

static void test_another_version(void **state)
{
	struct stage *stage = *state;

	offer(stage, "8.0", GOOD);
	assert_refused(stage, "it is signed as 8.0");
}

static void test_another_key(void **state)
{
	struct stage *stage = *state;
	struct release_key key;

	assert_int_equal(release_key_make("other", &secret, &key, NULL), FL_OK);
	offer(stage, "9.0", GOOD);
	assert_refused(stage, "the key \"other\"");
	assert_int_equal(stage->n_fetches, 1); /* not a byte more than the first piece */
}

static void test_another_file(void **state)
{
	struct stage *stage = *state;

	stage->text = "#!/bin/sh\necho flota-agent 9.1\n";
	assert_refused(stage, "its SHA-512 differs");
}

static void test_a_longer_file(void **state)
{
	struct stage *stage = *state;

	stage->text = GOOD "and more";
	stage->piece = 1000;
	assert_refused(stage, "not as long as its manifest says");
}

static void test_a_shorter_file(void **state)
{
	struct stage *stage = *state;

	stage->text = "#!/bin/sh\n";
	assert_refused(stage, "not as long as its manifest says");
}

static void test_it_does_not_run(void **state)
{
	struct stage *stage = *state;
	FL_CLEANUP(launch_record_freep) Pb__AgentReleaseRecord *record = NULL;

	offer(stage, "9.0", "#!/bin/sh\nexit 3\n");
	assert_refused(stage, "it does not run here (exit code 3)");
	assert_int_equal(launch_read(&stage->config, &record, NULL), FL_OK);
	assert_null(record); /* nothing is to be tried */
}

static void test_it_is_another_program(void **state)
{
	struct stage *stage = *state;

	offer(stage, "9.0", "#!/bin/sh\necho hello\n");
	assert_refused(stage, "it says \"hello\"");
}

static void test_closed_in_the_middle(void **state)
{
	struct stage *stage = *state;

	order(stage, 5, "9.0", false);
	for (unsigned i = 0; i < 3; i++)
		(void)uv_run(&stage->loop, UV_RUN_ONCE);
	(void)uv_idle_stop(&stage->answer);
}

/* A release on trial that comes into session; the last one of this process. */
static void pass_trial(struct stage *stage)
{
	FL_CLEANUP(launch_record_freep) Pb__AgentReleaseRecord *record = NULL;
	Pb__AgentReleaseRecord trial = PB__AGENT_RELEASE_RECORD__INIT;
	Pb__UpgradeResult result = PB__UPGRADE_RESULT__INIT;

	assert_int_equal(setenv("FLOTA_INSTALLED_AGENT", "0.0.1 /bin/true", 1), 0);
	assert_int_equal(setenv("FLOTA_AGENT_ON_TRIAL", "1", 1), 0);
	launch(&stage->config, false, NULL);
	assert_true(launch_is_trial());
	trial.installed = (char *)"0.0.1";
	trial.current = (char *)"8.0";
	trial.trial = (char *)"9.0";
	trial.starts = 1;
	trial.result = &result;
	result.order = 5;
	assert_int_equal(launch_write(&stage->config, &trial, NULL), FL_OK);
	upgrade_close(stage->upgrade, on_closed, stage);
	(void)uv_run(&stage->loop, UV_RUN_DEFAULT);
	assert_int_equal(
		upgrade_open(&stage->upgrade, &stage->loop, &stage->config, &handlers, stage, NULL),
		FL_OK);
	upgrade_in_session(stage->upgrade);
	upgrade_in_session(stage->upgrade); /* with each report */
	assert_int_equal(run(stage)->state, PB__UPGRADE_RESULT__STATE__DONE);
	assert_int_equal(upgrade_result(stage->upgrade)->order, 5);
	assert_false(launch_is_trial());
	assert_int_equal(launch_read(&stage->config, &record, NULL), FL_OK);
	assert_string_equal(record->current, "9.0");
	assert_string_equal(record->previous, "8.0");
	assert_string_equal(record->trial, "");
	assert_int_equal(record->result->state, PB__UPGRADE_RESULT__STATE__DONE);
}

static void test_trial_passed(void **state)
{
	pass_trial(*state);
}

static void test_trial_passed_with_a_fence(void **state)
{
	struct stage *stage = *state;

	stage->is_fenced = true;
	write_text(stage, LAUNCH_FENCE_VERSION, FLOTA_VERSION);
	pass_trial(stage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_it_becomes_it),
		TEST(test_it_is_already),
		TEST(test_older_ones),
		TEST(test_a_coordinator_that_is_away_for_a_while),
		TEST(test_there_is_none),
		TEST(test_another_version),
		TEST(test_another_key),
		TEST(test_another_file),
		TEST(test_a_longer_file),
		TEST(test_a_shorter_file),
		TEST(test_it_does_not_run),
		TEST(test_it_is_another_program),
		TEST(test_closed_in_the_middle),
		TEST(test_trial_passed),
		TEST(test_trial_passed_with_a_fence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
