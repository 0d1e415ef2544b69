#include "proto/wire.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * The bound of every field that is repeated, or longer than LIMIT_NAME bytes. A string or bytes
 * field that is not here may have LIMIT_NAME bytes; a repeated field that is not here is our bug,
 * which the tests look for.
 */
static const struct field_limit {
	const ProtobufCMessageDescriptor *message;
	const char *field;
	size_t max_count; /* of a repeated field */
	size_t max_bytes; /* of a string or bytes field, each */
} field_limits[] = {
	{&pb__error__descriptor, "text", 0, LIMIT_TEXT},
	{&pb__change_request__descriptor, "changes", LIMIT_CHANGES, 0},
	{&pb__change__descriptor, "content", 0, LIMIT_UNIT_FILE},
	{&pb__change_reply__descriptor, "results", LIMIT_CHANGES, 0},
	{&pb__change_result__descriptor, "warnings", LIMIT_WARNINGS, LIMIT_TEXT},
	{&pb__change_result__descriptor, "refusals", LIMIT_MACHINES, 0},
	{&pb__units_request__descriptor, "names", LIMIT_NAMES, LIMIT_NAME},
	{&pb__units_reply__descriptor, "units", LIMIT_UNITS_PAGE, 0},
	{&pb__units_reply__descriptor, "gone", LIMIT_NAMES, LIMIT_NAME},
	{&pb__unit__descriptor, "content", 0, LIMIT_UNIT_FILE},
	{&pb__unit__descriptor, "description", 0, LIMIT_TEXT},
	{&pb__unit__descriptor, "placements", LIMIT_MACHINES, 0},
	{&pb__unit__descriptor, "waiting", 0, LIMIT_TEXT},
	{&pb__unit_state__descriptor, "error", 0, LIMIT_TEXT},
	{&pb__machines_reply__descriptor, "machines", LIMIT_MACHINES_PAGE, 0},
	{&pb__machine__descriptor, "metadata", LIMIT_METADATA, 0},
	{&pb__machine__descriptor, "capabilities", LIMIT_CAPABILITIES, LIMIT_NAME},
	{&pb__rollout__descriptor, "text", 0, LIMIT_TEXT},
	{&pb__placement__descriptor, "leaving", 0, LIMIT_TEXT},
	{&pb__machine__descriptor, "closed_reason", 0, LIMIT_TEXT},
	{&pb__machine_change_request__descriptor, "machines", LIMIT_MACHINES_PAGE, LIMIT_NAME},
	{&pb__machine_change_request__descriptor, "reason", 0, LIMIT_TEXT},
	{&pb__machine_change_reply__descriptor, "results", LIMIT_MACHINES_PAGE, 0},
	{&pb__rebalance_request__descriptor, "moves", LIMIT_MOVES, 0},
	{&pb__rebalance_reply__descriptor, "moves", LIMIT_MOVES, 0},
	{&pb__move__descriptor, "reason", 0, LIMIT_TEXT},
	{&pb__move__descriptor, "error", 0, LIMIT_TEXT},
	{&pb__events_request__descriptor, "names", LIMIT_NAMES, LIMIT_NAME},
	{&pb__events_reply__descriptor, "events", LIMIT_EVENTS, 0},
	{&pb__event__descriptor, "text", 0, LIMIT_TEXT},
	{&pb__machine_record__descriptor, "closed_reason", 0, LIMIT_TEXT},
	{&pb__machine__descriptor, "revoked_reason", 0, LIMIT_TEXT},
	{&pb__ca_reply__descriptor, "waiting", LIMIT_MACHINES_PAGE, 0},
	{&pb__ca_reply__descriptor, "operators", LIMIT_NAMES, LIMIT_NAME},
	{&pb__ca_reply__descriptor, "certificates", 0, LIMIT_CERTIFICATE},
	{&pb__member_record__descriptor, "ended_reason", 0, LIMIT_TEXT},
	{&pb__why_reply__descriptor, "summary", 0, LIMIT_TEXT},
	{&pb__why_reply__descriptor, "machines", LIMIT_MACHINES, 0},
	{&pb__refusal__descriptor, "reason", 0, LIMIT_TEXT},
	{&pb__call_reply__descriptor, "data", 0, LIMIT_CALL_DATA},
	{&pb__machine_info__descriptor, "metadata", LIMIT_METADATA, 0},
	{&pb__machine_info__descriptor, "capabilities", LIMIT_CAPABILITIES, LIMIT_NAME},
	{&pb__sync_reply__descriptor, "assignments", LIMIT_ASSIGNMENTS, 0},
	{&pb__sync_reply__descriptor, "removed", LIMIT_NAMES, LIMIT_NAME},
	{&pb__sync_reply__descriptor, "calls", 2 * LIMIT_CALLS, 0},
	{&pb__assignment__descriptor, "content", 0, LIMIT_UNIT_FILE},
	{&pb__report_request__descriptor, "states", LIMIT_STATES, 0},
	{&pb__call_output_request__descriptor, "data", 0, LIMIT_CALL_DATA},
	{&pb__call_output_request__descriptor, "error", 0, LIMIT_TEXT},
	{&pb__tokens_request__descriptor, "metadata", LIMIT_METADATA, 0},
	{&pb__tokens_reply__descriptor, "tokens", LIMIT_TOKENS, 0},
	{&pb__token__descriptor, "metadata", LIMIT_METADATA, 0},
	{&pb__join_request__descriptor, "secret", 0, LIMIT_SECRET},
	{&pb__join_request__descriptor, "key_request", 0, LIMIT_KEY_REQUEST},
	{&pb__renew_request__descriptor, "key_request", 0, LIMIT_KEY_REQUEST},
	{&pb__certificate_reply__descriptor, "certificate", 0, LIMIT_CERTIFICATE},
	{&pb__certificate_reply__descriptor, "ca", 0, LIMIT_CERTIFICATE},
	{&pb__member_record__descriptor, "key_pin", 0, LIMIT_SECRET},
	{&pb__member_record__descriptor, "certificate", 0, LIMIT_CERTIFICATE},
	{&pb__member_record__descriptor, "labels", LIMIT_METADATA, 0},
	{&pb__token_record__descriptor, "secret_hash", 0, LIMIT_SECRET},
	{&pb__token_record__descriptor, "labels", LIMIT_METADATA, 0},
	{&pb__releases_request__descriptor, "manifest", 0, LIMIT_TEXT},
	{&pb__releases_request__descriptor, "data", 0, LIMIT_PIECE},
	{&pb__releases_reply__descriptor, "releases", LIMIT_RELEASES, 0},
	{&pb__fetch_reply__descriptor, "manifest", 0, LIMIT_TEXT},
	{&pb__fetch_reply__descriptor, "data", 0, LIMIT_PIECE},
	{&pb__upgrade_request__descriptor, "machines", LIMIT_MACHINES, LIMIT_NAME},
	{&pb__upgrade__descriptor, "text", 0, LIMIT_TEXT},
	{&pb__upgrade__descriptor, "machines", LIMIT_MACHINES, 0},
	{&pb__machine_upgrade__descriptor, "text", 0, LIMIT_TEXT},
	{&pb__upgrade_result__descriptor, "text", 0, LIMIT_TEXT},
	{&pb__unit_record__descriptor, "content", 0, LIMIT_UNIT_FILE},
	{&pb__unit_record__descriptor, "good_content", 0, LIMIT_UNIT_FILE},
	{&pb__unit_record__descriptor, "trial", LIMIT_MACHINES, LIMIT_NAME},
	{&pb__unit_record__descriptor, "old_files", LIMIT_MACHINES, 0},
	{&pb__old_file__descriptor, "content", 0, LIMIT_UNIT_FILE},
	{&pb__old_file__descriptor, "machine_ids", LIMIT_MACHINES, LIMIT_NAME},
	{&pb__agent_record__descriptor, "assignments", 1U << 20, 0},
	{&pb__agent_done_record__descriptor, "units", 1U << 20, 0},
};

static const struct field_limit *limit_of(
	const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field)
{
	for (size_t i = 0; i < FL_COUNT(field_limits); i++)
		if (field_limits[i].message == message &&
			strcmp(field_limits[i].field, field->name) == 0)
			return &field_limits[i];
	return NULL;
}

static enum fl_code check_bytes(const ProtobufCMessageDescriptor *message,
	const ProtobufCFieldDescriptor *field, size_t len, size_t max, struct fl_error *err)
{
	if (len <= max)
		return FL_OK;
	return FL_FAIL(err, FL_E_LIMIT, "%s.%s has %zu bytes, the limit is %zu",
		message->short_name, field->name, len, max);
}

/* One value: @at points to the member, or to an element of the array of a repeated field. */
static enum fl_code check_value(const ProtobufCMessageDescriptor *message,
	const ProtobufCFieldDescriptor *field, size_t max_bytes, const void *at,
	struct fl_error *err)
{
	if (field->type == PROTOBUF_C_TYPE_STRING) {
		const char *text = *(char *const *)at;

		return text == NULL ? FL_OK
				    : check_bytes(message, field, strlen(text), max_bytes, err);
	}
	if (field->type == PROTOBUF_C_TYPE_BYTES) {
		const ProtobufCBinaryData *bytes = at;

		return check_bytes(message, field, bytes->len, max_bytes, err);
	}
	if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
		const ProtobufCMessage *inner = *(ProtobufCMessage *const *)at;

		return inner == NULL ? FL_OK : wire_check(inner, err);
	}
	if (field->type == PROTOBUF_C_TYPE_ENUM) {
		int value = *(const int *)at;

		if (protobuf_c_enum_descriptor_get_value(field->descriptor, value) == NULL)
			return FL_FAIL(err, FL_E_PROTOCOL, "%s.%s has the unknown value %d",
				message->short_name, field->name, value);
	}
	return FL_OK;
}

static enum fl_code check_repeated(const ProtobufCMessageDescriptor *message,
	const ProtobufCFieldDescriptor *field, const struct field_limit *limit,
	const ProtobufCMessage *in, struct fl_error *err)
{
	size_t count = *(const size_t *)((const char *)in + field->quantifier_offset);
	const char *array = *(char *const *)((const char *)in + field->offset);

	fl_assert(limit != NULL);
	/* All of ours are arrays of pointers: strings and messages. */
	fl_assert(field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE);
	if (count > limit->max_count)
		return FL_FAIL(err, FL_E_LIMIT, "%s.%s has %zu members, the limit is %zu",
			message->short_name, field->name, count, limit->max_count);
	for (size_t i = 0; i < count; i++)
		FL_TRY(check_value(
			message, field, limit->max_bytes, array + i * sizeof(void *), err));
	return FL_OK;
}

enum fl_code wire_check(const ProtobufCMessage *in, struct fl_error *err)
{
	const ProtobufCMessageDescriptor *message = in->descriptor;

	for (unsigned i = 0; i < message->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->fields[i];
		const struct field_limit *limit;

		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			FL_TRY(check_repeated(message, field, limit_of(message, field), in, err));
			continue;
		}
		if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
			const int *which =
				(const void *)((const char *)in + field->quantifier_offset);

			if (*which != (int)field->id)
				continue;
		}
		limit = limit_of(message, field);
		FL_TRY(check_value(message, field, limit != NULL ? limit->max_bytes : LIMIT_NAME,
			(const char *)in + field->offset, err));
	}
	return FL_OK;
}

/* A short message can unpack to a large one (two bytes make a whole empty submessage): what it may
 * allocate is bounded. What it did allocate is freed with free(3). */
static void *budget_alloc(void *budget, size_t size)
{
	size_t *left = budget;

	if (size > *left)
		return NULL;
	*left -= size;
	return malloc(size);
}

static void budget_free(void *budget, void *memory)
{
	(void)budget;
	free(memory);
}

static enum fl_code unpack(const ProtobufCMessageDescriptor *type, size_t budget,
	const uint8_t *data, size_t len, ProtobufCMessage **ret_message, struct fl_error *err)
{
	ProtobufCAllocator allocator = {
		.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
	ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, len, data);
	enum fl_code code;

	if (message == NULL)
		return FL_FAIL(err, FL_E_PROTOCOL, "not a %s, or one too large", type->name);
	code = wire_check(message, err);
	if (code != FL_OK) {
		protobuf_c_message_free_unpacked(message, NULL);
		return code;
	}
	*ret_message = message;
	return FL_OK;
}

enum fl_code wire_unpack(const uint8_t *data, size_t len, Pb__Envelope **ret_envelope,
	uint64_t *ret_request_id, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	ProtobufCMessage *message = NULL;

	if (len > LIMIT_MESSAGE)
		return FL_FAIL(err, FL_E_TOO_BIG, "the message has %zu bytes, the limit is %u", len,
			LIMIT_MESSAGE);
	FL_TRY(unpack(&pb__envelope__descriptor, LIMIT_MEMORY, data, len, &message, err));
	envelope = (Pb__Envelope *)message;
	if (envelope->request_id == 0)
		return FL_FAIL(err, FL_E_PROTOCOL, "the message has no request ID");
	if (ret_request_id != NULL)
		*ret_request_id = envelope->request_id;
	if (envelope->version < PROTO_VERSION_MIN || envelope->version > PROTO_VERSION)
		return FL_FAIL(err, FL_E_VERSION,
			"protocol version %u is not supported, %u to %u are; upgrade the older program",
			envelope->version, PROTO_VERSION_MIN, PROTO_VERSION);
	*ret_envelope = FL_TAKE(envelope);
	return FL_OK;
}

enum fl_code wire_unpack_record(const ProtobufCMessageDescriptor *type, const uint8_t *data,
	size_t len, ProtobufCMessage **ret_message, struct fl_error *err)
{
	return unpack(type, LIMIT_ON_DISK, data, len, ret_message, err);
}

enum fl_code wire_pack_record(
	const ProtobufCMessage *message, uint8_t **ret_data, size_t *ret_len, struct fl_error *err)
{
	uint8_t *data;
	size_t len;

	FL_TRY(wire_check(message, err));
	len = protobuf_c_message_get_packed_size(message);
	data = malloc(len > 0 ? len : 1);
	if (data == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_len = protobuf_c_message_pack(message, data);
	*ret_data = data;
	return FL_OK;
}

enum fl_code wire_pack(
	Pb__Envelope *envelope, uint8_t **ret_data, size_t *ret_len, struct fl_error *err)
{
	uint8_t *data;
	size_t len;

	fl_assert(envelope->request_id != 0);
	envelope->version = PROTO_VERSION;
	FL_TRY(wire_pack_record(&envelope->base, &data, &len, err));
	if (len > LIMIT_MESSAGE) {
		free(data);
		return FL_FAIL(err, FL_E_TOO_BIG, "the message has %zu bytes, the limit is %u", len,
			LIMIT_MESSAGE);
	}
	*ret_data = data;
	*ret_len = len;
	return FL_OK;
}

void wire_free(Pb__Envelope *envelope)
{
	if (envelope != NULL)
		protobuf_c_message_free_unpacked(&envelope->base, NULL);
}

enum fl_code wire_reply_error(const Pb__Envelope *reply, struct fl_error *err)
{
	enum fl_code code;

	if (reply->error == NULL)
		return FL_OK;
	code = fl_code_from_wire(reply->error->code);
	if (code == FL_OK) /* an error that says "ok" is none of ours */
		code = FL_E_INTERNAL;
	return FL_FAIL(err, code, "%s", reply->error->text);
}
