/*
 * A synchronous connection to the coordinator: one question, one answer. It runs its own loop
 * while it waits. What is slow to begin with (TLS, nng's threads) begins with the first one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/verbs.h"
#include "proto/flota.pb-c.h"
#include "proto/wire.h"

struct connection;

/* Finds the endpoint and begins to connect. */
enum fl_code connection_open(const struct cli_options *options, struct connection **ret_connection,
	struct fl_error *err) FL_MUST_CHECK;
void connection_close(struct connection *connection);
FL_DEFINE_CLEANUP(struct connection *, connection_close)

/*
 * Sends @request (its body is set, the rest is filled in here) and waits. @hold_ms is how long the
 * coordinator may hold it (0: it is to answer at once). *ret_reply has the body @expected.
 * The error of a reply is returned as one. FL_E_UNAVAILABLE; FL_E_TIMEOUT when no answer came in
 * @hold_ms and the request timeout on top; FL_E_CANCELED after Ctrl-C, see below.
 */
enum fl_code connection_ask(struct connection *connection, Pb__Envelope *request,
	Pb__Envelope__BodyCase expected, uint32_t hold_ms, Pb__Envelope **ret_reply,
	struct fl_error *err) FL_MUST_CHECK;

/* From now on SIGINT and SIGTERM do not end the program but connection_ask(), with FL_E_CANCELED:
 * each as often as it comes. */
enum fl_code connection_catch_signals(
	struct connection *connection, struct fl_error *err) FL_MUST_CHECK;

/* Waits, with nothing asked. FL_E_CANCELED, as above. */
enum fl_code connection_pause(
	struct connection *connection, uint32_t ms, struct fl_error *err) FL_MUST_CHECK;

/* Called every second while connection_ask() waits; NULL for none. */
void connection_set_tick(
	struct connection *connection, void (*tick)(void *userdata), void *userdata);

/* All units of @names (n_names = 0: all there are), with the pages put together into one reply. */
enum fl_code connection_units(struct connection *connection, char **names, size_t n_names,
	bool with_content, Pb__Envelope **ret_reply, struct fl_error *err) FL_MUST_CHECK;

/* All machines, the same way. */
enum fl_code connection_machines(struct connection *connection, Pb__Envelope **ret_reply,
	struct fl_error *err) FL_MUST_CHECK;
