/*
 *               disk_save()          written
 *   IDLE ──────────────────▶ WRITING ────────▶ IDLE, or at once WRITING again when disk_save()
 *    ▲                          │              was called meanwhile
 *    └───────── RETRY ◀─────────┘ could not be written; RETRY_MS
 *
 * The worker thread owns `data`, `len` and `err` while WRITING, the loop all else.
 */
#include "agent/disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/fsm.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/wire.h"

#define RETRY_MS 5000U
#define HEADER   "flota-record 1 "

#define DISK_STATES(X) \
	X(DISK, IDLE, FL_TO(DISK, WRITING)) \
	X(DISK, WRITING, FL_TO(DISK, IDLE) | FL_TO(DISK, RETRY)) \
	X(DISK, RETRY, FL_TO(DISK, IDLE))
FL_FSM_DEFINE(disk, DISK_STATES)

struct disk {
	struct fl_fsm fsm;
	uv_loop_t *loop;
	uv_work_t work;
	uv_timer_t retry;
	char *path;
	bool again; /* something changed since the snapshot */
	bool closing;
	const struct disk_handlers *handlers;
	void *userdata;
	void (*closed)(void *userdata);
	void *closed_userdata;

	uint8_t *data;
	size_t len;
	uint64_t revision;
	struct fl_error err;
};

enum fl_code disk_write(
	const char *path, const uint8_t *data, size_t len, bool durable, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	fl_buf_printf(&buf, HEADER "%08" PRIx32 " %zu\n", fl_crc32(0, data, len), len);
	fl_buf_append(&buf, data, len);
	if (!fl_buf_ok(&buf))
		return FL_FAIL_NO_MEMORY(err);
	return fl_file_write(path, fl_buf_str(&buf), buf.len, 0600, durable, err);
}

/* The record behind the header, or why there is no whole one. */
static enum fl_code parse(const char *text, size_t len, const ProtobufCMessageDescriptor *type,
	ProtobufCMessage **ret_message, struct fl_error *err)
{
	const char *end = memchr(text, '\n', len);
	const uint8_t *data;
	uint32_t crc;
	size_t size;

	if (end == NULL || strncmp(text, HEADER, strlen(HEADER)) != 0 ||
		sscanf(text + strlen(HEADER), "%8" SCNx32 " %zu", &crc, &size) != 2)
		return FL_FAIL(err, FL_E_PROTOCOL, "it does not begin as a record");
	data = (const uint8_t *)end + 1;
	if (size != len - (size_t)(end + 1 - text))
		return FL_FAIL(err, FL_E_PROTOCOL, "it has %zu bytes and should have %zu",
			len - (size_t)(end + 1 - text), size);
	if (fl_crc32(0, data, size) != crc)
		return FL_FAIL(err, FL_E_PROTOCOL, "its checksum is wrong");
	return wire_unpack_record(type, data, size, ret_message, err);
}

enum fl_code disk_read(const char *path, const ProtobufCMessageDescriptor *type,
	ProtobufCMessage **ret_message, bool *ret_damaged, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	FL_CLEANUP(fl_freep) char *aside = NULL;
	struct fl_error read_err = {.code = FL_OK};
	ProtobufCMessage *message = NULL;
	size_t len;
	enum fl_code code = fl_file_read(path, LIMIT_ON_DISK, &text, &len, &read_err);

	if (code == FL_OK) {
		code = parse(text, len, type, &message, &read_err);
		if (code == FL_E_NO_MEMORY)
			return FL_FAIL_NO_MEMORY(err);
	} else if (code != FL_E_NOT_FOUND) {
		return FL_FAIL(err, code, "%s", fl_error_text(&read_err));
	}
	*ret_damaged = code != FL_OK && code != FL_E_NOT_FOUND;
	*ret_message = message;
	if (!*ret_damaged)
		return FL_OK;
	aside = fl_printf("%s.damaged", path);
	if (aside == NULL)
		return FL_FAIL_NO_MEMORY(err);
	(void)rename(path, aside);
	fl_log(FL_ERROR, "disk.damaged", "path=%s kept_as=%s error=%s", path, aside,
		fl_error_text(&read_err));
	return FL_OK;
}

/* On the worker thread. */
static void on_work(uv_work_t *work)
{
	struct disk *disk = FL_CONTAINER(work, struct disk, work);

	if (disk_write(disk->path, disk->data, disk->len, true, &disk->err) == FL_OK)
		disk->err.code = FL_OK;
}

static void on_retry(uv_timer_t *timer)
{
	struct disk *disk = FL_CONTAINER(timer, struct disk, retry);

	fl_fsm_move(&disk->fsm, DISK_IDLE, "again");
	disk_save(disk);
}

static void close_now(struct disk *disk);

static void on_written(uv_work_t *work, int status)
{
	struct disk *disk = FL_CONTAINER(work, struct disk, work);
	uint64_t revision = disk->revision;

	(void)status; /* the work is never canceled */
	free(FL_TAKE(disk->data));
	if (disk->err.code != FL_OK)
		fl_log(FL_ERROR, "disk.write", "error=%s", fl_error_text(&disk->err));
	if (disk->closing) {
		close_now(disk);
		return;
	}
	if (disk->err.code != FL_OK) {
		fl_fsm_move(&disk->fsm, DISK_RETRY, fl_code_text(disk->err.code));
		(void)uv_timer_start(&disk->retry, on_retry, RETRY_MS, 0);
		return;
	}
	fl_fsm_move(&disk->fsm, DISK_IDLE, "written");
	if (disk->again)
		disk_save(disk);
	disk->handlers->saved(revision, disk->userdata);
}

void disk_save(struct disk *disk)
{
	struct fl_error err = {.code = FL_OK};

	disk->again = disk->fsm.state != DISK_IDLE;
	if (disk->again || disk->closing)
		return;
	fl_fsm_move(&disk->fsm, DISK_WRITING, "changed");
	disk->err = (struct fl_error){.code = FL_OK};
	if (disk->handlers->snapshot(
		    &disk->data, &disk->len, &disk->revision, disk->userdata, &err) == FL_OK &&
		uv_queue_work(disk->loop, &disk->work, on_work, on_written) == 0)
		return;
	free(FL_TAKE(disk->data));
	fl_log(FL_ERROR, "disk.snapshot", "error=%s", fl_error_text(&err));
	fl_fsm_move(&disk->fsm, DISK_RETRY, "no snapshot");
	(void)uv_timer_start(&disk->retry, on_retry, RETRY_MS, 0);
}

enum fl_code disk_open(struct disk **ret_disk, uv_loop_t *loop, const char *path,
	const struct disk_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct disk *disk = FL_NEW(struct disk);

	if (disk == NULL)
		return FL_FAIL_NO_MEMORY(err);
	disk->path = fl_strdup(path);
	if (disk->path == NULL) {
		free(disk);
		return FL_FAIL_NO_MEMORY(err);
	}
	fl_fsm_init(&disk->fsm, &disk_fsm_def, disk->path);
	disk->loop = loop;
	disk->handlers = handlers;
	disk->userdata = userdata;
	(void)uv_timer_init(loop, &disk->retry);
	*ret_disk = disk;
	return FL_OK;
}

static void on_closed(uv_handle_t *handle)
{
	struct disk *disk = FL_CONTAINER((uv_timer_t *)handle, struct disk, retry);
	void (*closed)(void *userdata) = disk->closed;
	void *userdata = disk->closed_userdata;

	free(disk->path);
	free(disk);
	closed(userdata);
}

static void close_now(struct disk *disk)
{
	uv_close((uv_handle_t *)&disk->retry, on_closed);
}

void disk_close(struct disk *disk, void (*closed)(void *userdata), void *userdata)
{
	disk->closing = true;
	disk->closed = closed;
	disk->closed_userdata = userdata;
	if (disk->fsm.state != DISK_WRITING)
		close_now(disk);
}
