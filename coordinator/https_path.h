/*
 * What a URL of the HTTPS server means: pure, so that it can be tested and fuzzed by itself.
 */
#pragma once

#include <stddef.h>

/* Bytes of a path below DATA_DIR/agents, with its end. */
#define HTTPS_PATH_MAX 256

enum https_target {
	HTTPS_NOTHING,
	HTTPS_HEALTH, /* /healthz */
	HTTPS_AGENT, /* /agents/VERSION/ARCH/FILE */
};

/*
 * @uri is the path of a URL, decoded, without its query. Of HTTPS_AGENT @ret_path becomes
 * "VERSION/ARCH/FILE": three names of letters, digits and "._+~-" that do not begin with a dot, so
 * that it leads nowhere else whatever lies there.
 */
enum https_target https_path(const char *uri, size_t len, char ret_path[HTTPS_PATH_MAX]);
