#include "base/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

#define NAME_MAX_BYTES 64U

void fl_fault_point(const char *name)
{
	const char *path = getenv("FLOTA_FAULT");
	FL_CLEANUP(fl_freep) char *wanted = NULL;
	size_t len;

	if (path == NULL || fl_file_read(path, NAME_MAX_BYTES, &wanted, &len, NULL) != FL_OK)
		return;
	if (strcmp(wanted, name) == 0 && unlink(path) == 0)
		(void)raise(SIGKILL);
}
