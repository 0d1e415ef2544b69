#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum fl_code fl_file_read(
	const char *path, size_t max, char **ret_data, size_t *ret_len, struct fl_error *err)
{
	FL_CLEANUP(fl_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FL_CLEANUP(fl_freep) char *data = NULL;
	struct stat st;
	size_t len = 0, capacity;

	if (fd < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	if (fstat(fd, &st) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return FL_FAIL(err, FL_E_INVALID, "%s: not a regular file", path);
	if ((size_t)st.st_size > max)
		return FL_FAIL(err, FL_E_TOO_BIG, "%s: %lld bytes, the limit is %zu", path,
			(long long)st.st_size, max);
	/* Files of proc(5) say size 0: read until the end, with the limit as the bound. */
	capacity = st.st_size > 0 ? (size_t)st.st_size + 1 : 4096;
	data = malloc(capacity);
	if (data == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (;;) {
		ssize_t n;

		if (len + 1 >= capacity) {
			char *grown = realloc(data, 2 * capacity);

			if (grown == NULL)
				return FL_FAIL_NO_MEMORY(err);
			data = grown;
			capacity *= 2;
		}
		n = read(fd, data + len, capacity - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return FL_FAIL_ERRNO(err, errno, "%s", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return FL_FAIL(err, FL_E_TOO_BIG, "%s: more than %zu bytes", path, max);
	}
	data[len] = '\0';
	*ret_data = FL_TAKE(data);
	*ret_len = len;
	return FL_OK;
}

static enum fl_code write_all(
	int fd, const char *path, const char *data, size_t len, struct fl_error *err)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return FL_FAIL_ERRNO(err, errno, "%s", path);
		data += n;
		len -= (size_t)n;
	}
	return FL_OK;
}

/* A rename is durable when the folder that holds the name is. */
static enum fl_code sync_folder_of(const char *path, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *folder = fl_strdup(path);
	FL_CLEANUP(fl_closep) int fd = -1;
	char *slash;

	if (folder == NULL)
		return FL_FAIL_NO_MEMORY(err);
	slash = strrchr(folder, '/');
	if (slash == folder)
		slash[1] = '\0';
	else if (slash != NULL)
		*slash = '\0';
	fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", folder);
	return FL_OK;
}

static enum fl_code fill_and_rename(int fd, const char *temporary, const char *path,
	const void *data, size_t len, mode_t mode, bool durable, struct fl_error *err)
{
	FL_TRY(write_all(fd, temporary, data, len, err));
	if (fchmod(fd, mode) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", temporary);
	if (durable && fsync(fd) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", temporary);
	if (rename(temporary, path) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	return durable ? sync_folder_of(path, err) : FL_OK;
}

enum fl_code fl_file_write(const char *path, const void *data, size_t len, mode_t mode,
	bool durable, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *temporary = NULL;
	FL_CLEANUP(fl_closep) int fd = -1;
	const char *name = strrchr(path, '/');
	int folder_len = name != NULL ? (int)(name + 1 - path) : 0;
	enum fl_code code;

	/* A leading dot: systemd and shell globs pass over a file that is not finished. */
	temporary = fl_printf("%.*s.%s.XXXXXX", folder_len, path, name != NULL ? name + 1 : path);
	if (temporary == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", temporary);
	code = fill_and_rename(fd, temporary, path, data, len, mode, durable, err);
	if (code != FL_OK)
		(void)unlink(temporary);
	return code;
}

enum fl_code fl_mkdir_all(const char *path, mode_t mode, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *folder = fl_strdup(path);

	if (folder == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (char *slash = folder; slash != NULL;) {
		bool above;

		slash = strchr(slash + 1, '/');
		above = slash != NULL && slash[strspn(slash, "/")] != '\0';
		if (slash != NULL)
			*slash = '\0';
		if (mkdir(folder, above ? 0755 : mode) < 0 && errno != EEXIST)
			return FL_FAIL_ERRNO(err, errno, "%s", folder);
		if (slash != NULL)
			*slash = '/';
	}
	return FL_OK;
}
