#include "coordinator/releases.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "proto/wire.h"

#define UPLOAD ".upload"

static const char *const files[] = {RELEASE_MANIFEST, RELEASE_SHA512, RELEASE_FILE};

struct releases {
	char *directory;
	struct release_kept *items; /* the newest first */
	size_t n;
};

struct upload {
	const struct releases *releases;
	struct release release;
	char *manifest;
	char *folder;
	struct release_hash *hash;
	int fd;
	uint64_t offset;
};

/* ---- What there is -- */

/* The newest first; of one version by architecture. */
static int compare(const void *a, const void *b)
{
	const struct release *x = &((const struct release_kept *)a)->release;
	const struct release *y = &((const struct release_kept *)b)->release;
	int order = release_version_compare(y->version, x->version);

	return order != 0 ? order : strcmp(x->arch, y->arch);
}

static bool is_of(const struct release *release, const char *version, const char *arch)
{
	return strcmp(release->version, version) == 0 &&
	       (*arch == '\0' || strcmp(release->arch, arch) == 0);
}

enum fl_code releases_add(struct releases *releases, const char *manifest, struct fl_error *err)
{
	struct release_kept one = {.manifest = NULL}, *items;
	enum fl_code code;

	FL_TRY(release_read(manifest, strlen(manifest), &one.release, err));
	releases_forget(releases, one.release.version, one.release.arch);
	if (releases->n >= LIMIT_RELEASES)
		return FL_FAIL(err, FL_E_LIMIT,
			"there are %u releases already: remove old ones with \"flotactl release "
			"remove\"",
			LIMIT_RELEASES);
	one.manifest = fl_strdup(manifest);
	items = reallocarray(releases->items, releases->n + 1, sizeof(*items));
	code = one.manifest != NULL && items != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
	if (items != NULL)
		releases->items = items;
	if (code != FL_OK) {
		free(one.manifest);
		return code;
	}
	items[releases->n++] = one;
	qsort(items, releases->n, sizeof(*items), compare);
	return FL_OK;
}

void releases_forget(struct releases *releases, const char *version, const char *arch)
{
	size_t n = 0;

	for (size_t i = 0; i < releases->n; i++) {
		if (is_of(&releases->items[i].release, version, arch))
			free(releases->items[i].manifest);
		else
			releases->items[n++] = releases->items[i];
	}
	releases->n = n;
}

size_t releases_count(const struct releases *releases)
{
	return releases->n;
}

const struct release_kept *releases_at(const struct releases *releases, size_t i)
{
	return &releases->items[i];
}

const struct release_kept *releases_find(
	const struct releases *releases, const char *version, const char *arch)
{
	for (size_t i = 0; i < releases->n; i++)
		if (is_of(&releases->items[i].release, version, arch))
			return &releases->items[i];
	return NULL;
}

/* ---- Reading the folder, when the coordinator begins -- */

static enum fl_code read_one(
	struct releases *releases, const char *version, const char *arch, struct fl_error *err)
{
	FL_CLEANUP(fl_freep)
	char *path = fl_printf("%s/%s/%s/" RELEASE_MANIFEST, releases->directory, version, arch);
	FL_CLEANUP(fl_freep)
	char *binary = fl_printf("%s/%s/%s/" RELEASE_FILE, releases->directory, version, arch);
	FL_CLEANUP(fl_freep) char *manifest = NULL;
	struct release release;
	struct stat st;
	size_t len;

	if (path == NULL || binary == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_file_read(path, RELEASE_TEXT_MAX, &manifest, &len, err));
	FL_TRY(release_read(manifest, len, &release, err));
	if (stat(binary, &st) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", binary);
	if ((uint64_t)st.st_size != release.size || strcmp(release.version, version) != 0 ||
		strcmp(release.arch, arch) != 0)
		return FL_FAIL(err, FL_E_INVALID, "%s is of another file", path);
	return releases_add(releases, manifest, err);
}

/* Names of folders in @path that may be a version's or an architecture's. */
static enum fl_code list_names(
	const char *path, size_t max, struct fl_strv *ret_names, struct fl_error *err)
{
	DIR *folder = opendir(path);
	const struct dirent *entry;
	enum fl_code code = FL_OK;

	if (folder == NULL)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	while (code == FL_OK && (entry = readdir(folder)) != NULL)
		if (entry->d_type == DT_DIR && release_name_is_good(entry->d_name, max))
			code = fl_strv_add(ret_names, entry->d_name, err);
	(void)closedir(folder);
	return code;
}

static enum fl_code read_version(
	struct releases *releases, const char *version, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", releases->directory, version);
	FL_CLEANUP_STRV struct fl_strv archs = {0};

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(list_names(path, RELEASE_ARCH_MAX, &archs, err));
	for (size_t i = 0; i < archs.n; i++) {
		struct fl_error why = {0};

		if (read_one(releases, version, archs.items[i], &why) != FL_OK)
			fl_log(FL_WARNING, "release.left_out", "path=%s/%s error=%s", path,
				archs.items[i], fl_error_text(&why));
	}
	return FL_OK;
}

enum fl_code releases_new(
	struct releases **ret_releases, const char *directory, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv versions = {0};
	struct releases *releases = FL_NEW(struct releases);
	enum fl_code code;

	if (releases == NULL)
		return FL_FAIL_NO_MEMORY(err);
	releases->directory = fl_strdup(directory);
	code = releases->directory != NULL ? fl_mkdir_all(directory, 0700, err)
					   : FL_FAIL_NO_MEMORY(err);
	if (code == FL_OK)
		code = list_names(directory, RELEASE_VERSION_MAX, &versions, err);
	for (size_t i = 0; code == FL_OK && i < versions.n; i++)
		code = read_version(releases, versions.items[i], err);
	if (code != FL_OK) {
		releases_free(releases);
		return code;
	}
	*ret_releases = releases;
	return FL_OK;
}

void releases_free(struct releases *releases)
{
	if (releases == NULL)
		return;
	for (size_t i = 0; i < releases->n; i++)
		free(releases->items[i].manifest);
	free(releases->items);
	free(releases->directory);
	free(releases);
}

/* ---- On a worker thread: what comes -- */

static void remove_folder(const char *path)
{
	for (size_t i = 0; i < FL_COUNT(files); i++) {
		FL_CLEANUP(fl_freep) char *file = fl_printf("%s/%s", path, files[i]);

		if (file != NULL)
			(void)unlink(file);
	}
	(void)rmdir(path);
}

static enum fl_code sync_folder(const char *path, struct fl_error *err)
{
	FL_CLEANUP(fl_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	return FL_OK;
}

static enum fl_code check_manifest(const struct fl_strv *key_folders, const char *manifest,
	size_t len, struct release *ret_release, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct release_key *keys = NULL;
	size_t n;

	FL_TRY(release_keys_load(
		(const char *const *)key_folders->items, key_folders->n, &keys, &n, err));
	if (n == 0)
		return release_read(manifest, len, ret_release, err);
	return release_verify(manifest, len, keys, n, ret_release, err);
}

enum fl_code upload_new(struct upload **ret_upload, const struct releases *releases,
	const struct fl_strv *key_folders, const char *manifest, size_t manifest_len,
	struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = NULL;
	struct release release;
	struct upload *upload;
	enum fl_code code;

	FL_TRY(check_manifest(key_folders, manifest, manifest_len, &release, err));
	upload = FL_NEW(struct upload);
	if (upload == NULL)
		return FL_FAIL_NO_MEMORY(err);
	upload->fd = -1;
	upload->releases = releases;
	upload->release = release;
	upload->manifest = fl_memdup0(manifest, manifest_len);
	upload->folder = fl_printf("%s/" UPLOAD, releases->directory);
	if (upload->folder != NULL)
		path = fl_printf("%s/" RELEASE_FILE, upload->folder);
	code = upload->manifest != NULL && path != NULL ? release_hash_new(&upload->hash, err)
							: FL_FAIL_NO_MEMORY(err);
	if (code == FL_OK) {
		remove_folder(upload->folder);
		code = fl_mkdir_all(upload->folder, 0700, err);
	}
	if (code == FL_OK) {
		upload->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (upload->fd < 0)
			code = FL_FAIL_ERRNO(err, errno, "%s", path);
	}
	if (code != FL_OK) {
		upload_free(upload);
		return code;
	}
	*ret_upload = upload;
	return FL_OK;
}

void upload_free(struct upload *upload)
{
	if (upload == NULL)
		return;
	if (upload->fd >= 0)
		(void)close(upload->fd);
	release_hash_free(upload->hash);
	free(upload->manifest);
	free(upload->folder);
	free(upload);
}

const char *upload_manifest(const struct upload *upload)
{
	return upload->manifest;
}

uint64_t upload_offset(const struct upload *upload)
{
	return upload->offset;
}

static enum fl_code write_beside(
	const struct upload *upload, const char *name, const char *text, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", upload->folder, name);

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return fl_file_write(path, text, strlen(text), 0600, true, err);
}

/* It is whole: now it may be seen. */
static enum fl_code finish(struct upload *upload, struct fl_error *err)
{
	const struct release *release = &upload->release;
	const char *top = upload->releases->directory;
	FL_CLEANUP(fl_freep) char *version = fl_printf("%s/%s", top, release->version);
	FL_CLEANUP(fl_freep)
	char *place = fl_printf("%s/%s/%s", top, release->version, release->arch);
	uint8_t sha512[RELEASE_HASH_BYTES];
	char text[RELEASE_SHA512_TEXT_MAX];

	if (version == NULL || place == NULL)
		return FL_FAIL_NO_MEMORY(err);
	release_hash_end(upload->hash, sha512);
	if (memcmp(sha512, release->sha512, sizeof(sha512)) != 0)
		return FL_FAIL(err, FL_E_INVALID,
			"the file is not the one that its manifest is of: its SHA-512 differs");
	if (fsync(upload->fd) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s/" RELEASE_FILE, upload->folder);
	release_sha512_text(release, text);
	FL_TRY(write_beside(upload, RELEASE_SHA512, text, err));
	FL_TRY(write_beside(upload, RELEASE_MANIFEST, upload->manifest, err));
	FL_TRY(fl_mkdir_all(version, 0700, err));
	if (rename(upload->folder, place) < 0) {
		if (errno == ENOTEMPTY || errno == EEXIST)
			return FL_FAIL(err, FL_E_EXISTS,
				"there is another %s for %s already; \"flotactl release remove %s\" "
				"first",
				release->version, release->arch, release->version);
		return FL_FAIL_ERRNO(err, errno, "%s", place);
	}
	FL_TRY(sync_folder(version, err));
	return sync_folder(top, err);
}

enum fl_code upload_add(
	struct upload *upload, const void *data, size_t len, bool *ret_done, struct fl_error *err)
{
	size_t written = 0;

	if (len == 0 || len > upload->release.size - upload->offset)
		return FL_FAIL(err, FL_E_INVALID, "the file is not as long as its manifest says");
	while (written < len) {
		ssize_t n = write(upload->fd, (const char *)data + written, len - written);

		if (n < 0 && errno != EINTR)
			return FL_FAIL_ERRNO(err, errno, "%s", upload->folder);
		written += n > 0 ? (size_t)n : 0;
	}
	release_hash_add(upload->hash, data, len);
	upload->offset += len;
	*ret_done = upload->offset == upload->release.size;
	return *ret_done ? finish(upload, err) : FL_OK;
}

/* ---- On a worker thread: what goes -- */

enum fl_code releases_read(const struct releases *releases, const char *version, const char *arch,
	uint64_t offset, void *buffer, size_t max, size_t *ret_len, struct fl_error *err)
{
	FL_CLEANUP(fl_freep)
	char *path = fl_printf("%s/%s/%s/" RELEASE_FILE, releases->directory, version, arch);
	FL_CLEANUP(fl_closep) int fd = -1;
	ssize_t n;

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	n = pread(fd, buffer, max, (off_t)offset);
	if (n < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	*ret_len = (size_t)n;
	return FL_OK;
}

enum fl_code releases_remove(const struct releases *releases, const char *version, const char *arch,
	struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *folder = fl_printf("%s/%s", releases->directory, version);
	FL_CLEANUP_STRV struct fl_strv archs = {0};

	if (folder == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(list_names(folder, RELEASE_ARCH_MAX, &archs, err));
	for (size_t i = 0; i < archs.n; i++) {
		FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, archs.items[i]);

		if (path == NULL)
			return FL_FAIL_NO_MEMORY(err);
		if (*arch == '\0' || strcmp(arch, archs.items[i]) == 0)
			remove_folder(path);
	}
	(void)rmdir(folder);
	return sync_folder(releases->directory, err);
}
