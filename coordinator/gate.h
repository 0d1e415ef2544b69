/*
 * Machines whose certificates no longer count: their sessions end when that is decided, and no other
 * begins. The core knows them; here the transport is told.
 */
#pragma once

#include "coordinator/exchange.h"

/* All that the core has loaded, before the server opens. */
enum fl_code gate_load(struct coordinator *coordinator, struct fl_error *err) FL_MUST_CHECK;

/* The machine was revoked, removed, adopted, or has joined. */
void gate_update(struct coordinator *coordinator, const char *machine_id);

/* Whether the machine that asks is heard. It has a certificate that the transport has accepted; with
 * @any_key that may be one for an old key. FL_E_DENIED. */
enum fl_code gate_check(
	const struct exchange *exchange, bool any_key, struct fl_error *err) FL_MUST_CHECK;
