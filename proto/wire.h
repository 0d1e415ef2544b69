/*
 * Messages as bytes: packing, unpacking under limits, and the bounds of every field.
 *
 * Everything that comes from a peer passes wire_unpack(), which accepts this protocol's version
 * and the one before, bounds what a message may make us allocate, and checks every repeated and
 * sized field against the table in wire.c. Code behind it may trust those bounds.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "proto/flota.pb-c.h"

/* See the version rule in flota.proto. */
#define PROTO_VERSION     1U
#define PROTO_VERSION_MIN 1U

/* MachineInfo.capabilities, those that decide something: its agent and fence keep exclusive units to
 * their lease. */
#define CAPABILITY_EXCLUSIVE "exclusive"

#define LIMIT_MESSAGE       (4U << 20) /* bytes of a message on the wire */
#define LIMIT_MEMORY        (32U << 20) /* bytes that unpacking one may allocate */
#define LIMIT_NAME          256U /* bytes of a unit's name, an ID, an address, a key */
#define LIMIT_TEXT          4096U /* bytes of a text for people */
#define LIMIT_UNIT_FILE     (1U << 20) /* bytes of one unit file */
#define LIMIT_CHANGES       1000U /* changes in a request */
#define LIMIT_NAMES         10000U /* unit names in a request or reply */
#define LIMIT_UNITS_PAGE    1000U /* units in a reply */
#define LIMIT_MACHINES      20000U /* placements of a unit, refusals, machines in a reply */
#define LIMIT_MACHINES_PAGE 1000U /* machines in a page of a listing */
#define LIMIT_WARNINGS      100U
#define LIMIT_METADATA      64U /* pairs of a machine */
#define LIMIT_TOKENS        1000U /* that let somebody in at a time */
#define LIMIT_SECRET        64U /* bytes of a token's secret */
#define LIMIT_KEY_REQUEST   4096U /* bytes of a PKCS#10 request */
#define LIMIT_CERTIFICATE   8192U /* bytes of PEM: a certificate, or the CAs' */
#define LIMIT_CAPABILITIES  64U
#define LIMIT_MOVES         1000U /* moves of a plan */
#define LIMIT_EVENTS        1000U /* events in a reply */
#define LIMIT_STATES        1000U /* unit states in a report */
#define LIMIT_ASSIGNMENTS   1000U /* assignments in a reply */
#define LIMIT_CALLS         32U /* calls under way on a machine */
#define LIMIT_RELEASES      1000U /* that a coordinator keeps */
#define LIMIT_PIECE         (256U << 10) /* bytes of a release in one message */
#define LIMIT_CALL_DATA     (64U << 10) /* bytes of a call's output in one message */
#define LIMIT_ON_DISK       (1U << 30) /* bytes of an agent's record */

/* How much of a page to fill before saying "more". */
#define WIRE_PAGE_BYTES (1U << 20)

/* Packs @envelope (its version is set here) into allocated bytes. FL_E_TOO_BIG over LIMIT_MESSAGE,
 * FL_E_LIMIT where a field is over its bound. */
enum fl_code wire_pack(Pb__Envelope *envelope, uint8_t **ret_data, size_t *ret_len,
	struct fl_error *err) FL_MUST_CHECK;

/* Unpacks and checks what a peer sent. On FL_E_VERSION *ret_request_id (nullable) is still set, so
 * that the peer can be told. FL_E_PROTOCOL for anything malformed, FL_E_LIMIT over a bound. */
enum fl_code wire_unpack(const uint8_t *data, size_t len, Pb__Envelope **ret_envelope,
	uint64_t *ret_request_id, struct fl_error *err) FL_MUST_CHECK;

void wire_free(Pb__Envelope *envelope);
FL_DEFINE_CLEANUP(Pb__Envelope *, wire_free)

/* A message of its own (a record of the store or an agent's disk). Free it with
 * protobuf_c_message_free_unpacked(message, NULL). */
enum fl_code wire_pack_record(const ProtobufCMessage *message, uint8_t **ret_data, size_t *ret_len,
	struct fl_error *err) FL_MUST_CHECK;
enum fl_code wire_unpack_record(const ProtobufCMessageDescriptor *type, const uint8_t *data,
	size_t len, ProtobufCMessage **ret_message, struct fl_error *err) FL_MUST_CHECK;

/* Every field within its bound? FL_E_LIMIT names the field that is not. */
enum fl_code wire_check(const ProtobufCMessage *message, struct fl_error *err) FL_MUST_CHECK;

/* The error of a reply: FL_OK where it has none. Its text goes to @err. */
enum fl_code wire_reply_error(const Pb__Envelope *reply, struct fl_error *err) FL_MUST_CHECK;
