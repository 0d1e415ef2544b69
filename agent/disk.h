/*
 * The agent's two records. The assignment lies in the state directory, on a disk, and is written by
 * a worker thread: the loop never waits for it. What was done for each unit lies in the runtime
 * directory, which is memory and gone after a reboot, as the started units are.
 *
 * A record has a line of its own before it, "flota-record 1 CRC LENGTH": a file that is cut or
 * damaged is told from a whole one, set aside as PATH.damaged, and the coordinator asked for all.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "proto/flota.pb-c.h"

struct disk;

struct disk_handlers {
	/* What is to be written, packed by wire_pack_record(); and its revision. */
	enum fl_code (*snapshot)(uint8_t **ret_data, size_t *ret_len, uint64_t *ret_revision,
		void *userdata, struct fl_error *err);
	/* That revision is on disk. */
	void (*saved)(uint64_t revision, void *userdata);
};

enum fl_code disk_open(struct disk **ret_disk, uv_loop_t *loop, const char *path,
	const struct disk_handlers *handlers, void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* A write under way is waited for; @closed comes from the loop. */
void disk_close(struct disk *disk, void (*closed)(void *userdata), void *userdata);

/* Takes a snapshot and writes it, now or when the write under way has ended; `saved` follows. What
 * cannot be written is logged and tried again until it can. */
void disk_save(struct disk *disk);

/* Reads a record of @type. *ret_message is NULL where there is no file, or, with *ret_damaged, no
 * whole one. FL_E_* where it cannot be read at all. */
enum fl_code disk_read(const char *path, const ProtobufCMessageDescriptor *type,
	ProtobufCMessage **ret_message, bool *ret_damaged, struct fl_error *err) FL_MUST_CHECK;

/* Writes packed bytes as a record. With @durable it waits for the disk: not for the loop. */
enum fl_code disk_write(const char *path, const uint8_t *data, size_t len, bool durable,
	struct fl_error *err) FL_MUST_CHECK;
