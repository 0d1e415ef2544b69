/* Whatever bytes a peer sends: unpacked under limits, or refused; and what was accepted packs and
 * unpacks to the same again. */
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL, *again = NULL;
	FL_CLEANUP(fl_freep) uint8_t *packed = NULL, *repacked = NULL;
	size_t len, relen;
	struct fl_error err;

	if (wire_unpack(data, size, &envelope, NULL, &err) != FL_OK)
		return 0;
	if (wire_pack(envelope, &packed, &len, &err) != FL_OK)
		abort();
	if (wire_unpack(packed, len, &again, NULL, &err) != FL_OK)
		abort();
	if (wire_pack(again, &repacked, &relen, &err) != FL_OK)
		abort();
	if (len != relen || memcmp(packed, repacked, len) != 0)
		abort();
	return 0;
}
