#include "agent/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "unitfiles/name.h"

#define LIST_MAX (16U << 20)

/* In the shared page; zero is "never". Each word has one writer. */
struct page {
	_Atomic uint64_t until_ms; /* the agent's */
	_Atomic uint64_t fence_ms; /* the fence's */
};
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "two processes share these words");

struct lease {
	struct page *page;
	char *leased_path, *list_path;
};

char *lease_condition_path(const char *runtime_directory)
{
	return fl_printf("%s/leased", runtime_directory);
}

static enum fl_code map_page(struct lease *lease, const char *path, struct fl_error *err)
{
	FL_CLEANUP(fl_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	void *page;

	if (fd < 0 || ftruncate(fd, (off_t)sizeof(struct page)) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	page = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	lease->page = page;
	return FL_OK;
}

enum fl_code lease_open(
	struct lease **ret_lease, const char *runtime_directory, struct fl_error *err)
{
	FL_CLEANUP(lease_freep) struct lease *lease = FL_NEW(struct lease);
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/lease", runtime_directory);

	if (lease == NULL || path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	lease->leased_path = lease_condition_path(runtime_directory);
	lease->list_path = fl_printf("%s/exclusive", runtime_directory);
	if (lease->leased_path == NULL || lease->list_path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_mkdir_all(runtime_directory, 0700, err));
	FL_TRY(map_page(lease, path, err));
	*ret_lease = FL_TAKE(lease);
	return FL_OK;
}

void lease_free(struct lease *lease)
{
	if (lease == NULL)
		return;
	if (lease->page != NULL)
		(void)munmap(lease->page, sizeof(struct page));
	free(lease->leased_path);
	free(lease->list_path);
	free(lease);
}

uint64_t lease_until_ms(const struct lease *lease)
{
	return atomic_load(&lease->page->until_ms);
}

bool lease_is_alive(const struct lease *lease)
{
	return fl_clock_boot_ms() < lease_until_ms(lease);
}

void lease_extend(struct lease *lease, uint64_t until_ms)
{
	if (until_ms > lease_until_ms(lease))
		atomic_store(&lease->page->until_ms, until_ms);
}

void lease_show(const struct lease *lease, bool alive)
{
	FL_CLEANUP(fl_closep) int fd = -1;

	if (!alive) {
		(void)unlink(lease->leased_path);
		return;
	}
	fd = open(lease->leased_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fl_log(FL_ERROR, "lease.show", "path=%s error=%s", lease->leased_path,
			strerrordesc_np(errno));
}

void lease_fence_seen(struct lease *lease)
{
	atomic_store(&lease->page->fence_ms, fl_clock_boot_ms());
}

bool lease_is_fenced(const struct lease *lease)
{
	uint64_t seen_ms = atomic_load(&lease->page->fence_ms);

	return seen_ms != 0 && fl_clock_boot_ms() < seen_ms + LEASE_FENCE_DEAD_MS;
}

/* ---- The list ----------------------------------------------------------------------------- */

void lease_list_add(struct fl_buf *list, const char *name, uint32_t stop_ms)
{
	fl_buf_printf(list, "%u %s\n", stop_ms, name);
}

enum fl_code lease_list_write(
	const struct lease *lease, const struct fl_buf *list, struct fl_error *err)
{
	if (!fl_buf_ok(list))
		return FL_FAIL_NO_MEMORY(err);
	return fl_file_write(lease->list_path, fl_buf_str(list), list->len, 0600, false, err);
}

enum fl_code lease_list_read(const struct lease *lease,
	void (*each)(const char *name, uint32_t stop_ms, void *userdata), void *userdata,
	struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct fl_error read_err = {.code = FL_OK};
	char *line, *end;
	size_t len;
	enum fl_code code = fl_file_read(lease->list_path, LIST_MAX, &text, &len, &read_err);

	if (code == FL_E_NOT_FOUND)
		return FL_OK;
	if (code != FL_OK)
		return FL_FAIL(err, code, "%s", fl_error_text(&read_err));
	for (line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		unsigned long stop_ms;
		char *name;

		*end = '\0';
		stop_ms = strtoul(line, &name, 10);
		if (*name == ' ' && stop_ms <= UINT32_MAX &&
			unit_name_check(name + 1, NULL) == FL_OK)
			each(name + 1, (uint32_t)stop_ms, userdata);
	}
	return FL_OK;
}
