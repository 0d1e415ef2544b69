/*
 * The coordinator's side: raw REP over tls+tcp:// and ipc://, bridged to the loop. Each request
 * knows its peer's identity; a reply may be given at any time (held replies are long polls).
 *
 * All functions are for the loop thread. nng's threads only post to the loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "transport/identity.h"
#include "transport/revoked.h"
#include "transport/tls.h"

struct transport_server;
struct transport_request;
struct transport_peer;

struct transport_server_config {
	const char *const *urls; /* tls+tcp://HOST:PORT, ipc:///PATH; NULL-terminated */
	/* tls+tcp:// too: for machines that join. Peers there show no certificate and are each an
	 * IDENTITY_JOINER. NULL-terminated; nullable. */
	const char *const *doors;
	struct tls_credentials *credentials; /* a reference is taken; nullable with only ipc */
	struct revoked
		*revoked; /* machines whose handshakes fail; a reference is taken; nullable */
	size_t message_max; /* bytes; larger messages close their connection */
	unsigned peer_requests_max; /* held at once by one connection; more are refused */
	size_t peer_bytes_max; /* of requests held by one connection */
};

struct transport_server_handlers {
	/* A request came. The callee answers it now or later, once, with transport_request_reply().
	 * */
	void (*request)(struct transport_request *request, void *userdata);
	/* A connection is gone. Nullable. */
	void (*peer_gone)(void *userdata);
	/* The connection of a request that is still held is gone. The callee forgets the request,
	 * which is freed on return. */
	void (*request_gone)(struct transport_request *request, void *userdata);
};

/* Listens at once: FL_E_IO where an address cannot be bound. A socket file that a dead daemon left is
 * replaced. */
enum fl_code transport_server_open(struct transport_server **ret_server, uv_loop_t *loop,
	const struct transport_server_config *config,
	const struct transport_server_handlers *handlers, void *userdata,
	struct fl_error *err) FL_MUST_CHECK;

/* Closes connections and drops held requests (request_gone is called for each), then calls @closed
 * from the loop. */
void transport_server_close(
	struct transport_server *server, void (*closed)(void *userdata), void *userdata);

/* Others, of the same fleet, for the connections to come; those that are there stay as they are. */
void transport_server_set_credentials(
	struct transport_server *server, struct tls_credentials *credentials);

/* Closes all connections of a machine. */
void transport_server_drop_machine(
	struct transport_server *server, const char *machine_id, const char *why);

/* Borrowed, valid until the request is answered or gone. */
const struct identity *transport_request_identity(const struct transport_request *request);
const uint8_t *transport_request_data(const struct transport_request *request, size_t *ret_len);

/* Numbers the connection; never used again for another. The address is "" for ipc. */
uint64_t transport_request_connection(const struct transport_request *request);
const char *transport_request_address(const struct transport_request *request);

/* When it was received (CLOCK_BOOTTIME, microseconds), before any queueing in the loop. */
uint64_t transport_request_received_us(const struct transport_request *request);

/* The callee's own pointer. */
void transport_request_set_userdata(struct transport_request *request, void *userdata);
void *transport_request_userdata(const struct transport_request *request);

/* Sends @data (copied) and frees the request. */
void transport_request_reply(struct transport_request *request, const uint8_t *data, size_t len);

/* The peer broke the protocol: closes its connection and frees the request. */
void transport_request_drop_peer(struct transport_request *request, const char *why);

/* For metrics and tests. Connections and held requests are of now; refused are those that did not
 * get through the handshake or whose user is not root, dropped those that we closed later (a limit, or
 * transport_request_drop_peer()). */
struct transport_server_stats {
	uint64_t connections, requests_held, requests_total, refused_total, dropped_total;
};
void transport_server_stats(
	const struct transport_server *server, struct transport_server_stats *ret_stats);

/* The port that was bound (a URL may say port 0); 0 for ipc. Doors are behind the other URLs. */
uint16_t transport_server_port(const struct transport_server *server, unsigned url);
