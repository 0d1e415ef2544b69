/* Files: read whole under a limit, written so that a crash leaves the old or the new one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Reads a regular file of at most @max bytes. *ret_data is allocated and followed by a 0 byte that
 * is not counted. FL_E_NOT_FOUND, FL_E_TOO_BIG, FL_E_IO. */
enum fl_code fl_file_read(const char *path, size_t max, char **ret_data, size_t *ret_len,
	struct fl_error *err) FL_MUST_CHECK;

/* Writes beside @path and renames over it. With @durable the file and its folder are on disk when
 * it returns (fsync(2)). */
enum fl_code fl_file_write(const char *path, const void *data, size_t len, mode_t mode,
	bool durable, struct fl_error *err) FL_MUST_CHECK;

/* Makes @path, and with mode 0755 what is missing above it: others may have theirs beside it. What
 * is there is left as it is. */
enum fl_code fl_mkdir_all(const char *path, mode_t mode, struct fl_error *err) FL_MUST_CHECK;
