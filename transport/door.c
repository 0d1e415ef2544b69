#include "transport/door.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "base/option.h"

enum fl_code door_beside(const char *url, char **ret_door, struct fl_error *err)
{
	const char *colon = strrchr(url, ':');
	uint64_t port;

	*ret_door = NULL;
	if (strncmp(url, "tls+tcp", strlen("tls+tcp")) != 0 || colon == NULL ||
		fl_parse_uint(colon + 1, &port, NULL) != FL_OK || port >= UINT16_MAX)
		return FL_OK;
	*ret_door =
		fl_printf("%.*s:%u", (int)(colon - url), url, port > 0 ? (unsigned)port + 1 : 0U);
	return *ret_door != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
