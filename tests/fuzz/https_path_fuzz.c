/* Whatever a URL says: three plain names below the folder, or nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/https_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[HTTPS_PATH_MAX];
	unsigned slashes = 0;

	if (https_path((const char *)data, size, path) != HTTPS_AGENT)
		return 0;
	if (strlen(path) >= size || path[0] == '.' || path[0] == '/' ||
		strstr(path, "/.") != NULL || strstr(path, "//") != NULL)
		abort();
	for (const char *at = path; *at != '\0'; at++) {
		slashes += *at == '/';
		if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f)
			abort();
	}
	if (slashes != 2 || path[strlen(path) - 1] == '/')
		abort();
	return 0;
}
