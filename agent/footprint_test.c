/* That trimming gives back the program's pages and loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/footprint.h"
#include "base/file.h"
#include "base/memory.h"

/* Of smaps_rollup, which counts pages; the counters of statm lag behind. */
static size_t resident_kb(void)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	const char *line;
	size_t len;

	assert_int_equal(fl_file_read("/proc/self/smaps_rollup", 65536, &text, &len, NULL), FL_OK);
	line = strstr(text, "\nRss:");
	assert_non_null(line);
	return strtoul(line + strlen("\nRss:"), NULL, 10);
}

/* Reads what lies between the program's variables too. */
__attribute__((no_sanitize("address"))) static int touch(
	struct dl_phdr_info *object, size_t size, void *total_kb)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	(void)size;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		const volatile char *byte =
			(const volatile char *)object->dlpi_addr + segment->p_vaddr;

		if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0)
			continue;
		for (size_t offset = 0; offset < segment->p_memsz; offset += page)
			(void)byte[offset];
		*(size_t *)total_kb += segment->p_memsz / 1024;
	}
	return 1; /* the program itself comes first (dl_iterate_phdr(3)), and is enough */
}

/* Relocated, so of the segment whose pages differ from the file's. */
static const char *const relocated[] = {"begin", "end"};

static void test_trim(void **state)
{
	static int written = 1;
	size_t program_kb = 0, before_kb;

	(void)state;
	written++;
	(void)dl_iterate_phdr(touch, &program_kb);
	before_kb = resident_kb();
	footprint_trim(SIZE_MAX);
	assert_true(resident_kb() >= before_kb - program_kb / 2);
	footprint_trim(0);
	assert_true(resident_kb() < before_kb - program_kb / 4);
	assert_int_equal(written, 2);
	assert_string_equal(relocated[written - 1], "end");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_trim)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
