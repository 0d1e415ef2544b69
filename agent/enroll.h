/*
 * How the machine becomes the fleet's: at the coordinator's door, by a token or, when its
 * certificate has run out, by the key that the fleet knows it by. Leaves the files that
 * tls_credentials_load() reads.
 *
 *	 the token and the pin        key made, 0600        "let me in"
 *	──────────────────────▶ READY ─────────────▶ KNOCKING ─────────▶ IN: certificate written,
 *	                                              │  ▲               token removed
 *	                     nobody there, or not yet ▼  │ after a while
 *	                                             RESTING
 *
 * A crash at any point is harmless: the key is made once and asked for again, which the coordinator
 * answers as it did before; the certificate is written last but for the token's end.
 *
 * All on the loop thread; handlers are called from the loop.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "agent/config.h"
#include "agent/facts.h"
#include "base/error.h"

struct enroll;

/* Whether there is something to be done: no certificate but a token, or one that has run out. */
bool enroll_wanted(const struct config *config);

/* Knocks until it is let in, then calls @joined once. A refusal is logged, and knocked against
 * again now and then: its reason may go away. FL_E_INVALID: the token's file is not one. */
enum fl_code enroll_open(struct enroll **ret_enroll, uv_loop_t *loop, const struct config *config,
	const struct facts *facts, void (*joined)(void *userdata), void *userdata,
	struct fl_error *err) FL_MUST_CHECK;

/* @closed comes from the loop. */
void enroll_close(struct enroll *enroll, void (*closed)(void *userdata), void *userdata);
