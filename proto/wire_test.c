#include "proto/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every message that goes over the wire or to a disk, found from these. */
static const ProtobufCMessageDescriptor *const roots[] = {
	&pb__envelope__descriptor,
	&pb__unit_record__descriptor,
	&pb__machine_record__descriptor,
	&pb__meta_record__descriptor,
	&pb__agent_record__descriptor,
	&pb__agent_done_record__descriptor,
};

/* One of each repeated field, so that a field without a bound trips wire_check's assertion. */
static void check_one_of_each(const ProtobufCMessageDescriptor *type, unsigned depth)
{
	assert_true(depth < 10);
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		ProtobufCMessage *message;
		void *element;
		void *array[1];

		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			check_one_of_each(field->descriptor, depth + 1);
		if (field->label != PROTOBUF_C_LABEL_REPEATED)
			continue;
		message = calloc(1, type->sizeof_message);
		type->message_init(message);
		if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
			const ProtobufCMessageDescriptor *inner = field->descriptor;

			element = calloc(1, inner->sizeof_message);
			inner->message_init(element);
		} else {
			element = calloc(1, 8);
		}
		array[0] = element;
		*(size_t *)(void *)((char *)message + field->quantifier_offset) = 1;
		*(void ***)(void *)((char *)message + field->offset) = array;
		assert_int_equal(wire_check(message, NULL), FL_OK);
		free(element);
		free(message);
	}
}

static void test_every_repeated_field_has_a_bound(void **state)
{
	(void)state;
	for (size_t i = 0; i < FL_COUNT(roots); i++)
		check_one_of_each(roots[i], 0);
}

static Pb__Envelope *envelope_with_change(Pb__Envelope *envelope, Pb__ChangeRequest *request,
	Pb__Change *change, Pb__Change **changes)
{
	pb__envelope__init(envelope);
	pb__change_request__init(request);
	pb__change__init(change);
	changes[0] = change;
	request->changes = changes;
	request->n_changes = 1;
	envelope->request_id = 7;
	envelope->body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
	envelope->change_request = request;
	return envelope;
}

static void test_round_trip(void **state)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *back = NULL;
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	Pb__ChangeRequest request;
	Pb__Change change, *changes[1];
	Pb__Envelope envelope;
	uint64_t id = 0;
	size_t len;

	(void)state;
	envelope_with_change(&envelope, &request, &change, changes);
	change.name = (char *)(uintptr_t) "a.service";
	change.content.data = (uint8_t *)(uintptr_t) "[Service]\n\0x";
	change.content.len = 12;
	assert_int_equal(wire_pack(&envelope, &data, &len, NULL), FL_OK);
	assert_int_equal(wire_unpack(data, len, &back, &id, NULL), FL_OK);
	assert_int_equal(id, 7);
	assert_int_equal(back->version, PROTO_VERSION);
	assert_int_equal(back->body_case, PB__ENVELOPE__BODY_CHANGE_REQUEST);
	assert_string_equal(back->change_request->changes[0]->name, "a.service");
	assert_int_equal(back->change_request->changes[0]->content.len, 12);
	assert_memory_equal(
		back->change_request->changes[0]->content.data, change.content.data, 12);
}

static void expect_limit(const Pb__Envelope *envelope, enum fl_code code, const char *text)
{
	struct fl_error err = {0};

	assert_int_equal(wire_check(&envelope->base, &err), code);
	assert_string_equal(err.text, text);
}

static void test_bounds(void **state)
{
	Pb__Change change, *changes[1], *many[LIMIT_CHANGES + 1];
	FL_CLEANUP(fl_freep) char *big = calloc(1, LIMIT_UNIT_FILE + 2);
	Pb__ChangeRequest request;
	Pb__Envelope envelope;

	(void)state;
	envelope_with_change(&envelope, &request, &change, changes);
	memset(big, 'x', LIMIT_UNIT_FILE + 1);
	change.content.data = (uint8_t *)big;
	change.content.len = LIMIT_UNIT_FILE + 1;
	expect_limit(
		&envelope, FL_E_LIMIT, "Change.content has 1048577 bytes, the limit is 1048576");
	change.content.len = LIMIT_UNIT_FILE;
	assert_int_equal(wire_check(&envelope.base, NULL), FL_OK);
	big[LIMIT_NAME + 1] = '\0';
	change.name = big;
	expect_limit(&envelope, FL_E_LIMIT, "Change.name has 257 bytes, the limit is 256");
	big[LIMIT_NAME] = '\0';
	change.verb = 99;
	expect_limit(&envelope, FL_E_PROTOCOL, "Change.verb has the unknown value 99");
	change.verb = PB__CHANGE__VERB__SET;
	for (size_t i = 0; i < FL_COUNT(many); i++)
		many[i] = &change;
	request.changes = many;
	request.n_changes = FL_COUNT(many);
	expect_limit(
		&envelope, FL_E_LIMIT, "ChangeRequest.changes has 1001 members, the limit is 1000");
}

static void test_versions(void **state)
{
	static const uint32_t wrong[] = {0, PROTO_VERSION_MIN - 1, PROTO_VERSION + 1, UINT32_MAX};
	Pb__Envelope envelope, *back = NULL;
	struct fl_error err;
	uint8_t data[64];

	(void)state;
	pb__envelope__init(&envelope);
	envelope.request_id = 9;
	for (size_t i = 0; i < FL_COUNT(wrong); i++) {
		uint64_t id = 0;
		size_t len;

		envelope.version = wrong[i];
		len = pb__envelope__pack(&envelope, data);
		assert_int_equal(wire_unpack(data, len, &back, &id, &err), FL_E_VERSION);
		assert_int_equal(id, 9); /* so that the asker can be told */
		assert_null(back);
	}
	envelope.version = PROTO_VERSION;
	envelope.request_id = 0;
	assert_int_equal(wire_unpack(data, pb__envelope__pack(&envelope, data), &back, NULL, &err),
		FL_E_PROTOCOL);
}

/* 2 MiB of "an empty change" would unpack to 100 MiB. */
static void test_a_short_message_cannot_unpack_to_a_huge_one(void **state)
{
	size_t inner = 2U << 20, len = 0;
	FL_CLEANUP(fl_freep) uint8_t *data = malloc(inner + 64);
	Pb__Envelope *back = NULL;

	(void)state;
	data[len++] = 0x08; /* version = 1 */
	data[len++] = 0x01;
	data[len++] = 0x10; /* request_id = 1 */
	data[len++] = 0x01;
	data[len++] = 0x62; /* change_request (12), 2 MiB */
	data[len++] = 0x80;
	data[len++] = 0x80;
	data[len++] = 0x80;
	data[len++] = 0x01;
	for (size_t i = 0; i < inner; i += 2) {
		data[len++] = 0x0a; /* changes (1), 0 bytes */
		data[len++] = 0x00;
	}
	assert_int_equal(wire_unpack(data, len, &back, NULL, NULL), FL_E_PROTOCOL);
	assert_null(back);
}

static void test_garbage(void **state)
{
	static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	Pb__Envelope *back = NULL;

	(void)state;
	for (size_t len = 0; len <= sizeof(garbage); len++)
		assert_int_equal(wire_unpack(garbage, len, &back, NULL, NULL), FL_E_PROTOCOL);
}

static void test_reply_error(void **state)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__Error error = PB__ERROR__INIT;
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(wire_reply_error(&reply, &err), FL_OK);
	reply.error = &error;
	error.code = fl_code_to_wire(FL_E_DENIED);
	error.text = (char *)(uintptr_t) "no";
	assert_int_equal(wire_reply_error(&reply, &err), FL_E_DENIED);
	assert_string_equal(err.text, "no");
	error.code = 0;
	assert_int_equal(wire_reply_error(&reply, &err), FL_E_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_repeated_field_has_a_bound),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_a_short_message_cannot_unpack_to_a_huge_one),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_reply_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
