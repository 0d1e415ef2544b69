/* Input of a fuzz target as a file, for what reads its input by a path. */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FOREIGN_PATH_SIZE 32

/* The same file, in memory, each time: @path is where it is. */
static inline void foreign_file(const void *data, size_t size, char path[FOREIGN_PATH_SIZE])
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("foreign", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	(void)snprintf(path, FOREIGN_PATH_SIZE, "/proc/self/fd/%d", fd);
}
