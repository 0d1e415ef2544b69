#include "agent/systemd/files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/lease.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "unitfiles/file.h"
#include "unitfiles/name.h"

#define LOG_MAX       (64U << 20)
#define LOG_LINES_MIN 1000
#define DROP_IN       "50-flota.conf"
#define OPERATOR      "default"
#define PATH_BYTES    4096

struct files {
	char *unit_directory;
	char *log_path;
	char *lease_path;
	int log_fd;
	size_t log_lines;
	struct fl_map *owned; /* the values are only there: `owned` itself */
	struct fl_strv search_path;
};

static enum fl_code own(struct files *files, const char *name, struct fl_error *err)
{
	return fl_map_put(files->owned, name, files->owned, err);
}

/* Reads "+NAME" and "-NAME" lines. The last one may be cut: then its file was not written yet. */
static enum fl_code log_read(struct files *files, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct fl_error read_err = {.code = FL_OK};
	size_t len;
	char *line, *end;
	enum fl_code code = fl_file_read(files->log_path, LOG_MAX, &text, &len, &read_err);

	if (code == FL_E_NOT_FOUND)
		return FL_OK;
	if (code != FL_OK)
		return FL_FAIL(err, code, "%s", fl_error_text(&read_err));
	for (line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		if (line[0] == '+')
			FL_TRY(own(files, line + 1, err));
		else if (line[0] == '-')
			(void)fl_map_remove(files->owned, line + 1);
	}
	return FL_OK;
}

/* Begins a log that holds what is owned now and no more. */
static enum fl_code log_begin(struct files *files, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;

	FL_MAP_FOREACH (entry, following, files->owned)
		fl_buf_printf(&buf, "+%s\n", fl_map_key(entry));
	if (!fl_buf_ok(&buf))
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_file_write(files->log_path, fl_buf_str(&buf), buf.len, 0600, false, err));
	fl_closep(&files->log_fd);
	files->log_lines = fl_map_count(files->owned);
	files->log_fd = open(files->log_path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (files->log_fd < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", files->log_path);
	return FL_OK;
}

static enum fl_code log_append(
	struct files *files, char sign, const char *name, struct fl_error *err)
{
	char line[UNIT_NAME_MAX + 8];
	int len = snprintf(line, sizeof(line), "%c%s\n", sign, name);
	ssize_t n;

	if (len < 0 || (size_t)len >= sizeof(line))
		return FL_FAIL(err, FL_E_INVALID, "%s: the name is too long", name);
	n = write(files->log_fd, line, (size_t)len);
	if (n != len)
		return FL_FAIL_ERRNO(err, n < 0 ? errno : ENOSPC, "%s", files->log_path);
	files->log_lines++;
	return FL_OK;
}

/* Most of the log is about files that are no longer there. */
static enum fl_code log_shorten(struct files *files, struct fl_error *err)
{
	if (files->log_lines < LOG_LINES_MIN || files->log_lines < 4 * fl_map_count(files->owned))
		return FL_OK;
	return log_begin(files, err);
}

enum fl_code files_new(struct files **ret_files, const char *unit_directory,
	const char *runtime_directory, struct fl_error *err)
{
	FL_CLEANUP(files_freep) struct files *files = FL_NEW(struct files);

	if (files == NULL)
		return FL_FAIL_NO_MEMORY(err);
	files->log_fd = -1;
	files->unit_directory = fl_strdup(unit_directory);
	files->log_path = fl_printf("%s/owned", runtime_directory);
	files->lease_path = lease_condition_path(runtime_directory);
	if (files->unit_directory == NULL || files->log_path == NULL || files->lease_path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&files->owned, err));
	FL_TRY(fl_mkdir_all(unit_directory, 0755, err));
	FL_TRY(fl_mkdir_all(runtime_directory, 0700, err));
	FL_TRY(log_read(files, err));
	FL_TRY(log_begin(files, err));
	*ret_files = FL_TAKE(files);
	return FL_OK;
}

void files_free(struct files *files)
{
	if (files == NULL)
		return;
	fl_closep(&files->log_fd);
	fl_map_free(files->owned);
	fl_strv_fini(&files->search_path);
	free(files->unit_directory);
	free(files->log_path);
	free(files->lease_path);
	free(files);
}

enum fl_code files_set_search_path(
	struct files *files, const struct fl_strv *path, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv copy = {0};

	FL_TRY(fl_strv_copy(&copy, path, err));
	fl_strv_fini(&files->search_path);
	files->search_path = copy;
	copy = (struct fl_strv){0};
	return FL_OK;
}

bool files_owns(const struct files *files, const char *name)
{
	return fl_map_get(files->owned, name) != NULL;
}

enum fl_code files_owned(const struct files *files, struct fl_strv *names, struct fl_error *err)
{
	FL_MAP_FOREACH (entry, following, files->owned)
		FL_TRY(fl_strv_add(names, fl_map_key(entry), err));
	return FL_OK;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static enum fl_code check_host_name(
	const struct files *files, const char *name, struct fl_error *err)
{
	for (size_t i = 0; i < files->search_path.n; i++) {
		char path[PATH_BYTES];

		(void)snprintf(path, sizeof(path), "%s/%s", files->search_path.items[i], name);
		if (exists(path) && !files_owns(files, name))
			return FL_FAIL(
				err, FL_E_EXISTS, "the host has a unit of this name: %s", path);
	}
	return FL_OK;
}

enum fl_code files_check_host(const struct files *files, const char *name, struct fl_error *err)
{
	char template[UNIT_NAME_MAX + 1];

	FL_TRY(check_host_name(files, name, err));
	if (unit_name_is_instance(name) && unit_name_template_of(name, template, NULL) == FL_OK)
		return check_host_name(files, template, err);
	return FL_OK;
}

static char *path_of(const struct files *files, const char *name, const char *suffix)
{
	return fl_printf("%s/%s%s", files->unit_directory, name, suffix);
}

bool files_has(
	const struct files *files, const char *name, const struct driver_definition *definition)
{
	FL_CLEANUP(fl_freep) char *path = path_of(files, name, "");
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;

	return files_owns(files, name) && path != NULL &&
	       fl_file_read(path, UNIT_FILE_MAX, &text, &len, NULL) == FL_OK &&
	       len == definition->len && memcmp(text, definition->content, len) == 0;
}

char *files_slice_name(const char *tenant)
{
	FL_CLEANUP_BUF struct fl_buf buf = FL_BUF_INIT;
	char *name;

	fl_buf_text(&buf, "flota-");
	for (const char *p = tenant; *p != '\0'; p++) {
		/* As systemd-escape(1) does, which has "-" stand for a level of the tree. */
		if (isalnum((unsigned char)*p) || *p == '_' || *p == ':' ||
			(*p == '.' && p != tenant))
			fl_buf_byte(&buf, *p);
		else
			fl_buf_printf(&buf, "\\x%02x", (unsigned char)*p);
	}
	fl_buf_text(&buf, ".slice");
	return fl_buf_take(&buf, &name, NULL) == FL_OK ? name : NULL;
}

/* Kinds whose processes or files lie in a cgroup of their own: systemd.resource-control(5). */
static const char *slice_section(const char *name)
{
	static const struct {
		enum unit_kind kind;
		const char *section;
	} kinds[] = {
		{UNIT_SERVICE, "Service"},
		{UNIT_SOCKET, "Socket"},
		{UNIT_MOUNT, "Mount"},
		{UNIT_SWAP, "Swap"},
	};
	enum unit_kind kind = unit_name_kind(name);

	for (size_t i = 0; i < FL_COUNT(kinds); i++)
		if (kinds[i].kind == kind)
			return kinds[i].section;
	return NULL;
}

/* What the drop-in says; nothing where there is nothing to say. */
static enum fl_code drop_in_text(const struct files *files, const char *name,
	const struct driver_definition *definition, const struct unit_file *file,
	struct fl_buf *text, struct fl_error *err)
{
	const char *section = slice_section(name);
	bool own_slice = section != NULL && strcmp(definition->tenant, OPERATOR) == 0 &&
			 file != NULL && unit_file_value(file, section, "Slice", "")[0] != '\0';

	if (section != NULL && !own_slice) {
		FL_CLEANUP(fl_freep) char *slice = files_slice_name(definition->tenant);

		if (slice == NULL)
			return FL_FAIL_NO_MEMORY(err);
		fl_buf_printf(text,
			"# Written by flota-agent: the unit's tenant has a slice of its own.\n"
			"[%s]\nSlice=%s\n",
			section, slice);
	}
	if (definition->exclusive)
		fl_buf_printf(text,
			"# Written by flota-agent: Exclusive=, so not without a lease.\n"
			"[Unit]\nConditionPathExists=%s\n",
			files->lease_path);
	return fl_buf_ok(text) ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code drop_in_write(struct files *files, const char *name,
	const struct driver_definition *definition, const struct unit_file *file,
	struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *folder = path_of(files, name, ".d");
	FL_CLEANUP(fl_freep) char *path = path_of(files, name, ".d/" DROP_IN);
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;

	if (folder == NULL || path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(drop_in_text(files, name, definition, file, &text, err));
	if (text.len == 0) {
		if (unlink(path) == 0)
			(void)rmdir(folder);
		return FL_OK;
	}
	FL_TRY(fl_mkdir_all(folder, 0755, err));
	return fl_file_write(path, fl_buf_str(&text), text.len, 0644, false, err);
}

/* ---- [Install] ---------------------------------------------------------------------------- */

static const struct {
	const char *key;
	const char *folder; /* behind the name of the other unit; NULL: a second name */
} install_keys[] = {
	{"WantedBy", ".wants"},
	{"RequiredBy", ".requires"},
	{"UpheldBy", ".upholds"},
	{"Alias", NULL},
};

/* One symbolic link of [Install], made or removed. Failures are not worth the unit's start. */
static void link_one(
	struct files *files, const char *name, const char *other, const char *suffix, bool make)
{
	FL_CLEANUP(fl_freep) char *folder = path_of(files, other, suffix != NULL ? suffix : "");
	FL_CLEANUP(fl_freep) char *path = NULL;
	char target[UNIT_NAME_MAX + 8], was[UNIT_NAME_MAX + 8];
	ssize_t n;

	if (folder == NULL)
		return;
	path = suffix != NULL ? fl_printf("%s/%s", folder, name) : fl_strdup(folder);
	if (path == NULL)
		return;
	(void)snprintf(target, sizeof(target), "%s%s", suffix != NULL ? "../" : "", name);
	if (make) {
		if (suffix != NULL && mkdir(folder, 0755) < 0 && errno != EEXIST)
			return;
		if (symlink(target, path) < 0 && errno != EEXIST)
			fl_log(FL_WARNING, "unit.link", "unit=%s path=%s error=%s", name, path,
				strerrordesc_np(errno));
		return;
	}
	n = readlink(path, was, sizeof(was));
	if (n < 0 || (size_t)n != strlen(target) || memcmp(was, target, (size_t)n) != 0)
		return;
	(void)unlink(path);
	if (suffix != NULL)
		(void)rmdir(folder);
}

static void links(struct files *files, const char *name, const struct unit_file *file, bool make)
{
	for (size_t k = 0; k < FL_COUNT(install_keys); k++) {
		FL_CLEANUP_STRV struct fl_strv others = {0};

		for (size_t i = 0; i < unit_file_count(file); i++) {
			const struct unit_entry *entry = unit_file_entry(file, i);

			if (strcmp(entry->section, "Install") != 0 ||
				strcmp(entry->key, install_keys[k].key) != 0)
				continue;
			if (entry->value[0] == '\0')
				fl_strv_fini(&others); /* an empty value forgets those before */
			else if (fl_strv_split(&others, entry->value, " \t", NULL) != FL_OK)
				return;
		}
		for (size_t i = 0; i < others.n; i++) {
			const char *other = others.items[i];

			/* Names with specifiers, and the host's own, are left alone. */
			if (unit_name_check(other, NULL) != FL_OK || strcmp(other, name) == 0)
				continue;
			if (make && check_host_name(files, other, NULL) != FL_OK)
				continue;
			if (make && install_keys[k].folder == NULL && files_owns(files, other))
				continue;
			link_one(files, name, other, install_keys[k].folder, make);
		}
	}
}

/* Removes the links that the file on the host asks for. */
static void links_remove(struct files *files, const char *name, const char *path)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;

	if (fl_file_read(path, UNIT_FILE_MAX, &text, &len, NULL) == FL_OK &&
		unit_file_parse(text, len, name, NULL, &file, NULL) == FL_OK)
		links(files, name, file, false);
}

/* ---- Writing and removing ----------------------------------------------------------------- */

/*
 * systemd looks into the folder again when its time of change differs from what it remembers. The
 * kernel's own stamps move in ticks of up to 10 ms, so two files of one tick would look like one:
 * an exact time is set instead.
 */
void files_touch(const struct files *files)
{
	struct timespec times[2];

	(void)clock_gettime(CLOCK_REALTIME, &times[0]);
	times[1] = times[0];
	(void)utimensat(AT_FDCWD, files->unit_directory, times, 0);
}

enum fl_code files_write(struct files *files, const char *name,
	const struct driver_definition *definition, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	FL_CLEANUP(fl_freep) char *path = path_of(files, name, "");

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	/* A file that flota cannot parse goes to systemd all the same, which says why it is bad. */
	(void)!unit_file_parse(definition->content, definition->len, name, NULL, &file, NULL);
	if (!files_owns(files, name)) {
		FL_TRY(log_append(files, '+', name, err));
		FL_TRY(own(files, name, err));
	} else {
		links_remove(files, name, path);
	}
	FL_TRY(drop_in_write(files, name, definition, file, err));
	FL_TRY(fl_file_write(path, definition->content, definition->len, 0644, false, err));
	if (file != NULL && unit_file_has_section(file, "Install"))
		links(files, name, file, true);
	files_touch(files);
	return FL_OK;
}

enum fl_code files_remove(struct files *files, const char *name, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = path_of(files, name, "");
	FL_CLEANUP(fl_freep) char *folder = path_of(files, name, ".d");
	FL_CLEANUP(fl_freep) char *drop_in = path_of(files, name, ".d/" DROP_IN);

	if (!files_owns(files, name))
		return FL_OK;
	if (path == NULL || folder == NULL || drop_in == NULL)
		return FL_FAIL_NO_MEMORY(err);
	links_remove(files, name, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	if (unlink(drop_in) == 0)
		(void)rmdir(folder);
	files_touch(files);
	FL_TRY(log_append(files, '-', name, err));
	(void)fl_map_remove(files->owned, name);
	return log_shorten(files, err);
}
