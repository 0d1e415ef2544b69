/* Whatever a certificate names: an identity that is written as it was read, or refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "transport/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FL_CLEANUP(fl_freep) char *uri = fl_memdup0(data, size);
	char text[IDENTITY_URI_MAX];
	struct identity identity;
	struct fl_error err;

	if (uri == NULL || identity_parse(uri, &identity, &err) != FL_OK)
		return 0;
	identity_format(&identity, text);
	if (strcmp(text, uri) != 0)
		abort();
	identity_describe(&identity, text, sizeof(text));
	return 0;
}
