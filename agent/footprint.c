#include "agent/footprint.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

void footprint_begin(void)
{
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, 64 * 1024);
	(void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	/* The one worker writes files. */
	(void)setenv("UV_THREADPOOL_SIZE", "1", 1);
}

/* proc(5): the second word of statm, in pages; 0 when it cannot be read. */
static size_t resident_bytes(void)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;
	char *resident;

	if (fl_file_read("/proc/self/statm", 4096, &text, &len, NULL) != FL_OK)
		return 0;
	(void)strtoul(text, &resident, 10);
	return strtoul(resident, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Segments without PF_W are as in their file: what relocation wrote to lies in writable ones. */
static int drop_read_only(struct dl_phdr_info *object, size_t size, void *userdata)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)userdata;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
		uintptr_t first = begin & ~(page - 1);

		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) == 0)
			(void)madvise(
				(void *)first, begin + segment->p_memsz - first, MADV_DONTNEED);
	}
	return 0;
}

/*
 * The start runs through all of OpenSSL, the loader through every symbol of libsystemd's libraries,
 * and the kernel maps 64 kB around each page that is touched: 6.8 MB of program, of which an idle
 * agent uses half. Dropped pages stay in the page cache, from where a fault takes them again without
 * I/O; but nothing maps them any more, so the kernel can have them when it wants memory.
 *
 * Not done for nothing, hence @above_bytes: a breakpoint or uprobe in the program goes with its page.
 */
void footprint_trim(size_t above_bytes)
{
	if (resident_bytes() <= above_bytes)
		return;
	(void)malloc_trim(0);
	(void)dl_iterate_phdr(drop_read_only, NULL);
}
