/*
 * The asking side, of agents and flotactl: one REQ socket that dials the coordinator, and calls
 * that run side by side on it. Reconnecting is nng's; calls under way are sent again on the new
 * connection, so every request of the protocol is one that may be done twice.
 *
 * All functions are for the loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "transport/tls.h"

struct transport_client;
struct transport_call;

struct transport_client_config {
	const char *url; /* tls+tcp://HOST:PORT or ipc:///PATH */
	struct tls_credentials *credentials; /* nullable for ipc */
	size_t message_max;
	uint32_t reconnect_min_ms, reconnect_max_ms; /* with jitter; both 0: connect once */
};

struct transport_client_handlers {
	/* Connected (the peer is the fleet's coordinator: @err is NULL); or not, after each attempt
	 * that failed and when the connection is lost (@err says why). Nullable. */
	void (*connection)(bool up, const struct fl_error *err, void *userdata);
};

enum fl_code transport_client_open(struct transport_client **ret_client, uv_loop_t *loop,
	const struct transport_client_config *config,
	const struct transport_client_handlers *handlers, void *userdata,
	struct fl_error *err) FL_MUST_CHECK;

/* Calls under way end with FL_E_CANCELED; @closed comes from the loop, after them. */
void transport_client_close(
	struct transport_client *client, void (*closed)(void *userdata), void *userdata);

/* A reply, or why there is none: FL_E_TIMEOUT (connected, but not answered), FL_E_UNAVAILABLE (could
 * not connect within the timeout, or at all when the client does not reconnect; @err says what the
 * last attempt failed of), FL_E_CANCELED. @data is borrowed; @err is NULL with FL_OK. */
typedef void (*transport_call_done)(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata);

/* Sends @data (copied), at once or when there is a connection; at most 256 calls may be under way
 * (FL_E_LIMIT). @done comes later from the loop, exactly once, never inside this call.
 * *ret_call (nullable) is valid until then. */
enum fl_code transport_client_call(struct transport_client *client, const uint8_t *data, size_t len,
	uint32_t timeout_ms, transport_call_done done, void *userdata,
	struct transport_call **ret_call, struct fl_error *err) FL_MUST_CHECK;

/* @done comes with FL_E_CANCELED, from the loop. */
void transport_call_cancel(struct transport_call *call);

bool transport_client_connected(const struct transport_client *client);

/* The local address that the connection goes out from ("" when not connected). */
void transport_client_local_address(const struct transport_client *client, char *text, size_t size);
