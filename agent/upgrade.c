/*
 *            order            piece            written               all of it is there
 *   IDLE ──────────▶ FETCHING ─────▶ WRITING ──────────▶ FETCHING ... ─────▶ CHECKING
 *    ▲                │    ▲ RETRY_MS  │                                       │
 *    │                ▼    │           │                                       │ it runs here
 *    │               RESTING           │                                       ▼
 *    └──────── refused ◀───────────────┴───────────────────────────────── RESTARTING
 *
 * CONFIRMING is the way of a release on trial, once: from in session to "this is it", on disk. Then,
 * FENCING, it waits for the fence to become the same release: without one the machine would lose its
 * exclusive units, and so would the next ones, so an upgrade is not done before.
 *
 * Deadlines: FETCHING that of its call, RESTING its timer, both together FETCH_MS; WRITING, CHECKING
 * and CONFIRMING end with the disk and with the ten seconds that the new program has to say its
 * version; FENCING after FENCE_MS; RESTARTING with the process.
 *
 * The worker thread owns `file`, `piece` and `err` while it works, the loop all else.
 */
#include "agent/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/launch.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/fsm.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/wire.h"
#include "release/release.h"

#define RETRY_MS   1000U
#define FETCH_MS   (10U * 60U * 1000U)
#define VERSION_S  10U
#define FETCH_FILE ".fetch"
#define FENCE_MS   15000U
#define LOOK_MS    200U

#define UPGRADE_STATES(X) \
	X(UPGRADE, IDLE, FL_TO(UPGRADE, FETCHING) | FL_TO(UPGRADE, CONFIRMING)) \
	X(UPGRADE, FETCHING, \
		FL_TO(UPGRADE, WRITING) | FL_TO(UPGRADE, RESTING) | FL_TO(UPGRADE, IDLE)) \
	X(UPGRADE, RESTING, FL_TO(UPGRADE, FETCHING) | FL_TO(UPGRADE, IDLE)) \
	X(UPGRADE, WRITING, \
		FL_TO(UPGRADE, FETCHING) | FL_TO(UPGRADE, CHECKING) | FL_TO(UPGRADE, IDLE)) \
	X(UPGRADE, CHECKING, FL_TO(UPGRADE, RESTARTING) | FL_TO(UPGRADE, IDLE)) \
	X(UPGRADE, RESTARTING, 0) \
	X(UPGRADE, CONFIRMING, FL_TO(UPGRADE, FENCING) | FL_TO(UPGRADE, IDLE)) \
	X(UPGRADE, FENCING, FL_TO(UPGRADE, IDLE))
FL_FSM_DEFINE(upgrade, UPGRADE_STATES)

/* What is fetched: empty but while FETCHING to CHECKING. */
struct file {
	struct release release;
	bool is_known; /* the manifest was good */
	struct release_hash *hash;
	int fd;
	uint64_t len;
};

struct upgrade {
	uv_loop_t *loop;
	const struct config *config;
	const struct upgrade_handlers *handlers;
	void *userdata;
	struct fl_fsm fsm;
	uv_work_t work;
	uv_timer_t retry;
	Pb__AgentReleaseRecord *record; /* as on disk, but for what the last order is doing */
	char *version; /* of the order */
	uint64_t until_ms;

	struct file file;
	uint8_t *piece;
	size_t piece_len;
	struct fl_error err;

	bool closing;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static void fetch(struct upgrade *upgrade);

static void file_end(struct file *file)
{
	if (file->fd >= 0)
		(void)close(file->fd);
	release_hash_free(file->hash);
	*file = (struct file){.fd = -1};
}

/* ---- What is told -- */

static void tell(struct upgrade *upgrade, Pb__UpgradeResult__State state, const char *text)
{
	Pb__UpgradeResult *result = upgrade->record->result;

	if (launch_set_text(&result->text, text, NULL) != FL_OK)
		return; /* with the next one */
	result->state = state;
	upgrade->handlers->told(upgrade->userdata);
}

static void refuse(struct upgrade *upgrade, const struct fl_error *why)
{
	fl_log(FL_ERROR, "upgrade.refused", "version=%s why=%s", upgrade->version,
		fl_error_text(why));
	file_end(&upgrade->file);
	if (upgrade->fsm.state != UPGRADE_IDLE)
		fl_fsm_move(&upgrade->fsm, UPGRADE_IDLE, "refused");
	tell(upgrade, PB__UPGRADE_RESULT__STATE__REFUSED, fl_error_text(why));
}

Pb__UpgradeResult *upgrade_result(struct upgrade *upgrade)
{
	Pb__UpgradeResult *result = upgrade->record->result;

	return result != NULL && result->order != 0 ? result : NULL;
}

/* ---- The worker -- */

static char *fetch_path(const struct upgrade *upgrade)
{
	return fl_printf("%s/releases/" FETCH_FILE, upgrade->config->state_directory);
}

static enum fl_code write_piece(struct upgrade *upgrade, struct fl_error *err)
{
	struct file *file = &upgrade->file;
	size_t written = 0;

	if (file->fd < 0) {
		FL_CLEANUP(fl_freep)
		char *folder = fl_printf("%s/releases", upgrade->config->state_directory);
		FL_CLEANUP(fl_freep) char *path = fetch_path(upgrade);

		if (folder == NULL || path == NULL)
			return FL_FAIL_NO_MEMORY(err);
		FL_TRY(fl_mkdir_all(folder, 0700, err));
		file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
		if (file->fd < 0)
			return FL_FAIL_ERRNO(err, errno, "%s", path);
		FL_TRY(release_hash_new(&file->hash, err));
	}
	if (upgrade->piece_len == 0 || upgrade->piece_len > file->release.size - file->len)
		return FL_FAIL(err, FL_E_INVALID, "it is not as long as its manifest says");
	while (written < upgrade->piece_len) {
		ssize_t n = write(file->fd, upgrade->piece + written, upgrade->piece_len - written);

		if (n < 0 && errno != EINTR)
			return FL_FAIL_ERRNO(err, errno, "it cannot be kept");
		written += n > 0 ? (size_t)n : 0;
	}
	release_hash_add(file->hash, upgrade->piece, upgrade->piece_len);
	file->len += upgrade->piece_len;
	return FL_OK;
}

/* What is no good takes no room. */
static void drop_file(const struct upgrade *upgrade)
{
	FL_CLEANUP(fl_freep) char *path = fetch_path(upgrade);

	if (path != NULL)
		(void)unlink(path);
}

static void write_work(uv_work_t *work)
{
	struct upgrade *upgrade = FL_CONTAINER(work, struct upgrade, work);

	upgrade->err.code = write_piece(upgrade, &upgrade->err);
	if (upgrade->err.code != FL_OK)
		drop_file(upgrade);
}

/* What `@path --version` says, as far as it fits; the kernel ends it after VERSION_S. */
static enum fl_code ask_version(const char *path, char *ret_text, size_t size, struct fl_error *err)
{
	char *const argv[] = {(char *)path, (char *)"--version", NULL};
	size_t len = 0;
	ssize_t n;
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return FL_FAIL_ERRNO(err, errno, "pipe");
	pid = fork();
	if (pid == 0) {
		(void)alarm(VERSION_S);
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)execv(path, argv);
		_exit(127);
	}
	(void)close(ends[1]);
	while (pid > 0 && len + 1 < size &&
		((n = read(ends[0], ret_text + len, size - 1 - len)) > 0 ||
			(n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	(void)close(ends[0]);
	ret_text[len] = '\0';
	if (pid < 0)
		return FL_FAIL_ERRNO(err, errno, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return FL_FAIL(err, FL_E_FAILED, "it does not run here (%s %d)",
			WIFSIGNALED(status) ? "signal" : "exit code",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return FL_OK;
}

/* It is whole, and says what it is supposed to be: only then does it get its place. */
static enum fl_code check(struct upgrade *upgrade, struct fl_error *err)
{
	struct file *file = &upgrade->file;
	FL_CLEANUP(fl_freep) char *from = fetch_path(upgrade);
	FL_CLEANUP(fl_freep) char *to = launch_path(upgrade->config, file->release.version);
	char said[128], expected[128];
	uint8_t sha512[RELEASE_HASH_BYTES];

	if (from == NULL || to == NULL)
		return FL_FAIL_NO_MEMORY(err);
	release_hash_end(file->hash, sha512);
	if (memcmp(sha512, file->release.sha512, sizeof(sha512)) != 0)
		return FL_FAIL(err, FL_E_DENIED, "it is not what was signed: its SHA-512 differs");
	if (fsync(file->fd) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", from);
	/* A file that is open for writing is not run (ETXTBSY). */
	(void)close(file->fd);
	file->fd = -1;
	FL_TRY(ask_version(from, said, sizeof(said), err));
	(void)snprintf(expected, sizeof(expected), "flota-agent %s\n", file->release.version);
	if (strcmp(said, expected) != 0)
		return FL_FAIL(err, FL_E_INVALID, "it says \"%.*s\", not \"flota-agent %s\"",
			(int)strcspn(said, "\n"), said, file->release.version);
	*strrchr(to, '/') = '\0';
	FL_TRY(fl_mkdir_all(to, 0700, err));
	to[strlen(to)] = '/';
	if (rename(from, to) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", to);
	return launch_write(upgrade->config, upgrade->record, err);
}

static void check_work(uv_work_t *work)
{
	struct upgrade *upgrade = FL_CONTAINER(work, struct upgrade, work);

	upgrade->err.code = check(upgrade, &upgrade->err);
	if (upgrade->err.code != FL_OK)
		drop_file(upgrade);
}

static void confirm_work(uv_work_t *work)
{
	struct upgrade *upgrade = FL_CONTAINER(work, struct upgrade, work);

	upgrade->err.code = launch_write(upgrade->config, upgrade->record, &upgrade->err);
	if (upgrade->err.code == FL_OK)
		launch_sweep(upgrade->config, upgrade->record);
}

static void close_now(struct upgrade *upgrade);

/* Whether the loop goes on with it. */
static bool worked(struct upgrade *upgrade)
{
	free(FL_TAKE(upgrade->piece));
	if (upgrade->closing)
		close_now(upgrade);
	return !upgrade->closing;
}

static void start_work(struct upgrade *upgrade, uv_work_cb work, uv_after_work_cb after)
{
	upgrade->err = (struct fl_error){.code = FL_OK};
	(void)uv_queue_work(upgrade->loop, &upgrade->work, work, after);
}

/* ---- Fetching -- */

static void on_checked(uv_work_t *work, int status)
{
	struct upgrade *upgrade = FL_CONTAINER(work, struct upgrade, work);

	(void)status;
	if (!worked(upgrade))
		return;
	if (upgrade->err.code != FL_OK) {
		/* It is not on disk; should memory be short even for this, the next order says it. */
		if (launch_set_text(&upgrade->record->trial, "", NULL) != FL_OK)
			fl_log(FL_ERROR, "upgrade.record", "error=%s", "out of memory");
		refuse(upgrade, &upgrade->err);
		return;
	}
	file_end(&upgrade->file);
	fl_log(FL_NOTICE, "upgrade.restart", "from=" FLOTA_VERSION " to=%s", upgrade->version);
	fl_fsm_move(&upgrade->fsm, UPGRADE_RESTARTING, "it is in its place");
	upgrade->handlers->restart(upgrade->userdata);
}

static void begin_check(struct upgrade *upgrade)
{
	struct fl_error err = {.code = FL_OK};

	fl_fsm_move(&upgrade->fsm, UPGRADE_CHECKING, "all is there");
	tell(upgrade, PB__UPGRADE_RESULT__STATE__UNDER_WAY, "on trial");
	if (launch_set_text(&upgrade->record->trial, upgrade->version, &err) != FL_OK) {
		refuse(upgrade, &err);
		return;
	}
	upgrade->record->starts = 0;
	start_work(upgrade, check_work, on_checked);
}

static void on_written(uv_work_t *work, int status)
{
	struct upgrade *upgrade = FL_CONTAINER(work, struct upgrade, work);

	(void)status;
	if (!worked(upgrade))
		return;
	if (upgrade->err.code != FL_OK)
		refuse(upgrade, &upgrade->err);
	else if (upgrade->file.len == upgrade->file.release.size)
		begin_check(upgrade);
	else
		fetch(upgrade);
}

static enum fl_code read_manifest(
	struct upgrade *upgrade, const ProtobufCBinaryData *manifest, struct fl_error *err)
{
	const struct fl_strv *folders = &upgrade->config->release_keys;
	FL_CLEANUP(fl_freep) struct release_key *keys = NULL;
	struct release *release = &upgrade->file.release;
	struct utsname machine;
	size_t n;

	FL_TRY(release_keys_load((const char *const *)folders->items, folders->n, &keys, &n, err));
	FL_TRY(release_verify((const char *)manifest->data, manifest->len, keys, n, release, err));
	if (uname(&machine) < 0 || strcmp(release->arch, machine.machine) != 0)
		return FL_FAIL(err, FL_E_DENIED, "it is signed for %s", release->arch);
	if (strcmp(release->version, upgrade->version) != 0)
		return FL_FAIL(err, FL_E_DENIED, "it is signed as %s", release->version);
	upgrade->file.is_known = true;
	return FL_OK;
}

static void on_retry(uv_timer_t *timer)
{
	fetch(FL_CONTAINER(timer, struct upgrade, retry));
}

static void rest(struct upgrade *upgrade, const struct fl_error *why)
{
	fl_fsm_move(&upgrade->fsm, UPGRADE_RESTING, fl_code_text(why->code));
	(void)uv_timer_start(&upgrade->retry, on_retry, RETRY_MS, 0);
}

static void on_fetched(const Pb__FetchReply *reply, const struct fl_error *why, void *userdata)
{
	struct upgrade *upgrade = userdata;
	struct fl_error err = {.code = FL_OK};

	if (upgrade->closing)
		return;
	if (reply == NULL) {
		if (why->code == FL_E_UNAVAILABLE || why->code == FL_E_TIMEOUT ||
			why->code == FL_E_CANCELED)
			rest(upgrade, why);
		else
			refuse(upgrade, why);
		return;
	}
	if (!upgrade->file.is_known && read_manifest(upgrade, &reply->manifest, &err) != FL_OK) {
		refuse(upgrade, &err);
		return;
	}
	upgrade->piece = fl_memdup0(reply->data.data, reply->data.len);
	upgrade->piece_len = reply->data.len;
	if (upgrade->piece == NULL) {
		(void)FL_FAIL_NO_MEMORY(&err);
		refuse(upgrade, &err);
		return;
	}
	fl_fsm_move(&upgrade->fsm, UPGRADE_WRITING, "a piece");
	start_work(upgrade, write_work, on_written);
}

static void fetch(struct upgrade *upgrade)
{
	Pb__FetchRequest request = PB__FETCH_REQUEST__INIT;
	struct fl_error err = {.code = FL_OK};
	struct utsname machine = {.machine = ""};

	fl_fsm_move(&upgrade->fsm, UPGRADE_FETCHING, "the next piece");
	if (fl_clock_boot_ms() > upgrade->until_ms) {
		(void)FL_FAIL(&err, FL_E_TIMEOUT, "it could not be fetched within %u min",
			FETCH_MS / 60000U);
		refuse(upgrade, &err);
		return;
	}
	(void)uname(&machine);
	request.version = upgrade->version;
	request.arch = machine.machine;
	request.offset = upgrade->file.len;
	if (upgrade->handlers->fetch(&request, on_fetched, upgrade, upgrade->userdata, &err) !=
		FL_OK)
		rest(upgrade, &err);
}

/* ---- Orders -- */

/* Why it will not be carried out, whatever is fetched. */
static enum fl_code check_order(const Pb__UpgradeOrder *order, struct fl_error *err)
{
	if (!release_name_is_good(order->version, RELEASE_VERSION_MAX))
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is no version", order->version);
	if (!order->allow_downgrade && release_version_compare(order->version, FLOTA_VERSION) < 0)
		return FL_FAIL(err, FL_E_DENIED,
			"this agent is " FLOTA_VERSION ", which is newer; --allow-downgrade "
			"overrides that");
	return FL_OK;
}

void upgrade_order(struct upgrade *upgrade, const Pb__UpgradeOrder *order)
{
	Pb__UpgradeResult *result = upgrade->record->result;
	struct fl_error err = {.code = FL_OK};

	if (result->order == order->order || upgrade->fsm.state != UPGRADE_IDLE ||
		launch_set_text(&upgrade->version, order->version, NULL) != FL_OK)
		return;
	fl_log(FL_NOTICE, "upgrade.order", "from=" FLOTA_VERSION " to=%s", order->version);
	result->order = order->order;
	if (strcmp(order->version, FLOTA_VERSION) == 0) {
		tell(upgrade, PB__UPGRADE_RESULT__STATE__DONE, "it was already");
		return;
	}
	if (check_order(order, &err) != FL_OK) {
		refuse(upgrade, &err);
		return;
	}
	upgrade->until_ms = fl_clock_boot_ms() + FETCH_MS;
	tell(upgrade, PB__UPGRADE_RESULT__STATE__UNDER_WAY, "fetching");
	fetch(upgrade);
}

/* ---- The trial -- */

static void write_version(struct upgrade *upgrade)
{
	FL_CLEANUP(fl_freep)
	char *path = fl_printf("%s/" LAUNCH_AGENT_VERSION, upgrade->config->runtime_directory);
	struct fl_error err = {.code = FL_OK};

	if (path != NULL && fl_file_write(path, FLOTA_VERSION, strlen(FLOTA_VERSION), 0600, false,
				    &err) != FL_OK)
		fl_log(FL_WARNING, "upgrade.version", "error=%s", fl_error_text(&err));
}

static void finish(struct upgrade *upgrade)
{
	fl_fsm_move(&upgrade->fsm, UPGRADE_IDLE, "all of it is the new one");
	tell(upgrade, PB__UPGRADE_RESULT__STATE__DONE, "");
}

/* The fence says which it is in the runtime directory, in memory. */
static bool fence_followed(const struct upgrade *upgrade)
{
	FL_CLEANUP(fl_freep)
	char *path = fl_printf("%s/" LAUNCH_FENCE_VERSION, upgrade->config->runtime_directory);
	FL_CLEANUP(fl_freep) char *version = NULL;
	size_t len;

	return path != NULL &&
	       fl_file_read(path, RELEASE_VERSION_MAX, &version, &len, NULL) == FL_OK &&
	       strcmp(version, FLOTA_VERSION) == 0 && upgrade->handlers->fenced(upgrade->userdata);
}

static void on_look(uv_timer_t *timer)
{
	struct upgrade *upgrade = FL_CONTAINER(timer, struct upgrade, retry);

	if (fence_followed(upgrade)) {
		(void)uv_timer_stop(timer);
		finish(upgrade);
	} else if (fl_clock_boot_ms() > upgrade->until_ms) {
		(void)uv_timer_stop(timer);
		fl_log(FL_ERROR, "upgrade.no_fence", "version=" FLOTA_VERSION);
		fl_fsm_move(&upgrade->fsm, UPGRADE_IDLE, "no fence");
		tell(upgrade, PB__UPGRADE_RESULT__STATE__REFUSED,
			"the agent is " FLOTA_VERSION " now, but its fence does not come back: see "
			"\"systemctl status flota-fence\" there");
	}
}

static void on_confirmed(uv_work_t *work, int status)
{
	struct upgrade *upgrade = FL_CONTAINER(work, struct upgrade, work);

	(void)status;
	if (!worked(upgrade))
		return;
	if (upgrade->err.code != FL_OK) {
		/* Then its time runs out, and the one before is back. */
		fl_fsm_move(&upgrade->fsm, UPGRADE_IDLE, "it cannot be kept");
		fl_log(FL_ERROR, "upgrade.confirm", "error=%s", fl_error_text(&upgrade->err));
		return;
	}
	launch_trial_passed();
	fl_log(FL_NOTICE, "upgrade.done", "version=%s", upgrade->record->current);
	write_version(upgrade);
	fl_fsm_move(&upgrade->fsm, UPGRADE_FENCING, "it is on disk");
	upgrade->until_ms = fl_clock_boot_ms() + FENCE_MS;
	if (upgrade->handlers->fenced(upgrade->userdata))
		(void)uv_timer_start(&upgrade->retry, on_look, LOOK_MS, LOOK_MS);
	else
		finish(upgrade);
}

void upgrade_in_session(struct upgrade *upgrade)
{
	Pb__AgentReleaseRecord *record = upgrade->record;
	struct fl_error err = {.code = FL_OK};

	if (!launch_is_trial() || upgrade->fsm.state != UPGRADE_IDLE || *record->trial == '\0')
		return;
	if (launch_set_text(&record->previous, record->current, &err) != FL_OK ||
		launch_set_text(&record->current, record->trial, &err) != FL_OK ||
		launch_set_text(&record->trial, "", &err) != FL_OK)
		return; /* with the next report */
	record->starts = 0;
	record->result->state = PB__UPGRADE_RESULT__STATE__DONE;
	fl_fsm_move(&upgrade->fsm, UPGRADE_CONFIRMING, "in session");
	start_work(upgrade, confirm_work, on_confirmed);
}

/* ---- Life -- */

static enum fl_code read_record(struct upgrade *upgrade, struct fl_error *err)
{
	FL_TRY(launch_read(upgrade->config, &upgrade->record, err));
	if (upgrade->record == NULL) {
		upgrade->record = malloc(sizeof(*upgrade->record));
		if (upgrade->record == NULL)
			return FL_FAIL_NO_MEMORY(err);
		pb__agent_release_record__init(upgrade->record);
		FL_TRY(launch_set_text(&upgrade->record->installed, launch_installed(), err));
	}
	if (upgrade->record->result == NULL) {
		upgrade->record->result = malloc(sizeof(*upgrade->record->result));
		if (upgrade->record->result == NULL)
			return FL_FAIL_NO_MEMORY(err);
		pb__upgrade_result__init(upgrade->record->result);
	}
	return FL_OK;
}

enum fl_code upgrade_open(struct upgrade **ret_upgrade, uv_loop_t *loop,
	const struct config *config, const struct upgrade_handlers *handlers, void *userdata,
	struct fl_error *err)
{
	struct upgrade *upgrade = FL_NEW(struct upgrade);
	enum fl_code code;

	if (upgrade == NULL)
		return FL_FAIL_NO_MEMORY(err);
	upgrade->loop = loop;
	upgrade->config = config;
	upgrade->handlers = handlers;
	upgrade->userdata = userdata;
	upgrade->file.fd = -1;
	fl_fsm_init(&upgrade->fsm, &upgrade_fsm_def, "upgrade");
	code = read_record(upgrade, err);
	if (code != FL_OK) {
		launch_record_free(upgrade->record);
		free(upgrade);
		return code;
	}
	(void)uv_timer_init(loop, &upgrade->retry);
	*ret_upgrade = upgrade;
	return FL_OK;
}

static void on_closed(uv_handle_t *handle)
{
	struct upgrade *upgrade = FL_CONTAINER((uv_timer_t *)handle, struct upgrade, retry);
	void (*closed)(void *userdata) = upgrade->closed;
	void *userdata = upgrade->closed_userdata;

	file_end(&upgrade->file);
	launch_record_free(upgrade->record);
	free(upgrade->version);
	free(upgrade);
	closed(userdata);
}

static void close_now(struct upgrade *upgrade)
{
	uv_close((uv_handle_t *)&upgrade->retry, on_closed);
}

void upgrade_close(struct upgrade *upgrade, void (*closed)(void *userdata), void *userdata)
{
	upgrade->closing = true;
	upgrade->closed = closed;
	upgrade->closed_userdata = userdata;
	switch ((enum upgrade_state)upgrade->fsm.state) {
	case UPGRADE_WRITING:
	case UPGRADE_CHECKING:
	case UPGRADE_CONFIRMING:
		return; /* when the worker has ended */
	case UPGRADE_IDLE:
	case UPGRADE_FETCHING:
	case UPGRADE_RESTING:
	case UPGRADE_RESTARTING:
	case UPGRADE_FENCING:
		close_now(upgrade);
	}
}
