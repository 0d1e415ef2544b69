/* Whatever a manifest or a key says: it is what would be written for it, or refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "release/release.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_unsigned(const char *text, const struct release *release)
{
	char again[RELEASE_TEXT_MAX];

	if (release_write(release, NULL, again, NULL) != FL_OK)
		abort();
	if (release->key[0] == '\0' && strcmp(again, text) != 0)
		abort();
	if (strncmp(again, text, strlen(again)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FL_CLEANUP(fl_freep) char *text = fl_memdup0(data, size);
	static const struct release_key key = {.name = "main"};
	struct release_secret secret;
	struct release release;
	struct release_key read;

	if (text == NULL)
		return 0;
	if (release_read(text, size, &release, NULL) == FL_OK)
		check_unsigned(text, &release);
	/* Nobody has signed anything with a key of zeros. */
	if (release_verify(text, size, &key, 1, &release, NULL) == FL_OK)
		abort();
	if (release_key_parse(text, &read, NULL) == FL_OK) {
		char line[RELEASE_LINE_MAX];

		release_key_format(&read, line);
		if (strncmp(line, text, strlen(line) - 1) != 0)
			abort();
	}
	if (release_secret_parse(text, &secret, NULL) == FL_OK &&
		!release_name_is_good(secret.name, RELEASE_KEY_MAX))
		abort();
	(void)release_version_compare(text, "1.0~rc1");
	return 0;
}
