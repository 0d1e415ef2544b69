/* Whatever bytes a peer sends: unpacked under limits, or refused; and what was accepted packs and
 * unpacks to the same again. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* protobuf-c keeps fields that it does not know, and need not write them as they came. */
static bool has_unknown_fields(const ProtobufCMessage *message)
{
	if (message->n_unknown_fields > 0)
		return true;
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		const void *at = (const char *)message + field->offset;
		const int *quantifier =
			(const void *)((const char *)message + field->quantifier_offset);
		size_t count = 1;

		if (field->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
			*quantifier != (int)field->id)
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			count = *(const size_t *)(const void *)quantifier;
			at = *(void *const *)at;
		}
		for (size_t j = 0; j < count; j++) {
			const ProtobufCMessage *inner = ((ProtobufCMessage *const *)at)[j];

			if (inner != NULL && has_unknown_fields(inner))
				return true;
		}
	}
	return false;
}

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
	if (has_unknown_fields(&envelope->base))
		return 0;
	if (wire_unpack(packed, len, &again, NULL, &err) != FL_OK)
		abort();
	if (wire_pack(again, &repacked, &relen, &err) != FL_OK)
		abort();
	if (len != relen || memcmp(packed, repacked, len) != 0)
		abort();
	return 0;
}
