/*
 * Whatever records a damaged store holds: the core begins with all of them, or says which one it
 * cannot read; and one that has begun can go on.
 *
 * The input is records, one behind the other: a byte that chooses the kind, two of the length, and
 * so many bytes of protobuf.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/core/core.h"
#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

#define NOW_MS 1000000U

static const struct {
	const char *prefix;
	const ProtobufCMessageDescriptor *type;
	const char *name; /* the field that the rest of the key is */
} kinds[] = {
	{CORE_KEY_META, &pb__meta_record__descriptor, NULL},
	{CORE_KEY_UNIT, &pb__unit_record__descriptor, "name"},
	{CORE_KEY_MACHINE, &pb__machine_record__descriptor, "id"},
	{CORE_KEY_MEMBER, &pb__member_record__descriptor, "id"},
	{CORE_KEY_TOKEN, &pb__token_record__descriptor, "id"},
};

/* The key that the record was stored under. */
static char *key_of(size_t kind, const uint8_t *data, size_t size)
{
	const ProtobufCFieldDescriptor *field;
	ProtobufCMessage *message = NULL;
	char *key;

	if (kinds[kind].name == NULL)
		return fl_strdup(kinds[kind].prefix);
	if (wire_unpack_record(kinds[kind].type, data, size, &message, NULL) != FL_OK)
		return fl_printf("%s?", kinds[kind].prefix);
	field = protobuf_c_message_descriptor_get_field_by_name(kinds[kind].type, kinds[kind].name);
	key = fl_printf("%s%s", kinds[kind].prefix,
		*(char *const *)(const void *)((const char *)message + field->offset));
	protobuf_c_message_free_unpacked(message, NULL);
	return key;
}

static enum fl_code load_all(struct core *core, const uint8_t *data, size_t size)
{
	while (size >= 3) {
		size_t kind = data[0] % FL_COUNT(kinds), len = data[1] | (size_t)data[2] << 8;
		FL_CLEANUP(fl_freep) char *key = NULL;
		struct fl_error err = {0};
		enum fl_code code;

		data += 3;
		size -= 3;
		if (len > size)
			len = size;
		key = key_of(kind, data, len);
		CHECK(key != NULL);
		code = core_load(core, key, data, len, &err);
		if (code != FL_OK) {
			CHECK(code == FL_E_STORE || code == FL_E_VERSION);
			CHECK(strstr(err.text, "cannot be read") != NULL);
			return code;
		}
		data += len;
		size -= len;
	}
	return FL_OK;
}

static void pop_all(struct core *core, struct core_effects *effects)
{
	struct core_write write;
	bool any = true;

	while (core_pop_write(core, effects, &write, &any, NULL) == FL_OK && any)
		free(write.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct core_config config = {.store_id = "0123", .fleet = "lab"};
	const struct core_event tick = {.kind = CORE_TICK};
	struct core_effects effects;
	struct core_answer answer = {0};
	struct core *core = NULL;

	CHECK(core_new(&core, &config, NULL) == FL_OK);
	core_effects_init(&effects);
	if (load_all(core, data, size) == FL_OK &&
		core_loaded(core, NOW_MS, &effects, NULL) == FL_OK) {
		uint64_t later_ms = NOW_MS;

		for (int i = 0; i < 3; i++) {
			pop_all(core, &effects);
			later_ms += CORE_LEASE_MS_DEFAULT;
			CHECK(core_step(core, &tick, later_ms, &effects, &answer, NULL) == FL_OK);
		}
	}
	core_effects_fini(&effects);
	core_free(core);
	return 0;
}
