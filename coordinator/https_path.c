#include "coordinator/https_path.h"

#include <stdbool.h>
#include <string.h>

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+~-"
#define AGENTS          "/agents/"
#define HEALTH          "/healthz"
#define DEPTH           3

/* VERSION/ARCH/FILE, all of it. */
static bool is_agent_path(const char *path)
{
	for (int i = 0; i < DEPTH; i++) {
		size_t n = strspn(path, NAME_CHARACTERS);

		if (n == 0 || path[0] == '.' || path[n] != (i + 1 < DEPTH ? '/' : '\0'))
			return false;
		path += n + 1;
	}
	return true;
}

enum https_target https_path(const char *uri, size_t len, char ret_path[HTTPS_PATH_MAX])
{
	char path[HTTPS_PATH_MAX];

	if (len == strlen(HEALTH) && memcmp(uri, HEALTH, len) == 0)
		return HTTPS_HEALTH;
	if (len < strlen(AGENTS) || memcmp(uri, AGENTS, strlen(AGENTS)) != 0)
		return HTTPS_NOTHING;
	uri += strlen(AGENTS);
	len -= strlen(AGENTS);
	if (len >= sizeof(path) || memchr(uri, '\0', len) != NULL)
		return HTTPS_NOTHING;
	memcpy(path, uri, len);
	path[len] = '\0';
	if (!is_agent_path(path))
		return HTTPS_NOTHING;
	memcpy(ret_path, path, len + 1);
	return HTTPS_AGENT;
}
