/*
 * What the machine is known by: its key and certificate, the CA it trusts. Loads them, gets them
 * (enroll.h), and renews them in time, each for a new key.
 *
 * Files, of which a crash at any point leaves a set that works: a new key is made beside the old one
 * (KEY.next) and asked for; the certificate that comes back takes the old one's place, then the key
 * does. When it is found that the certificate is for the next key, that is made up for.
 *
 * All on the loop thread; handlers are called from the loop.
 */
#pragma once

#include <uv.h>

#include "agent/config.h"
#include "agent/facts.h"
#include "base/error.h"
#include "proto/flota.pb-c.h"
#include "transport/tls.h"

struct trust;

/* @reply is NULL where there is none, and @err says why. */
typedef void (*trust_renewed)(
	const Pb__CertificateReply *reply, const struct fl_error *err, void *userdata);

struct trust_handlers {
	/* There are credentials, or others than before; a reference is for who takes one. */
	void (*credentials)(struct tls_credentials *credentials, void *userdata);
	/* Sends @request; @done comes later, once, unless this fails. */
	enum fl_code (*renew)(Pb__RenewRequest *request, trust_renewed done, void *done_userdata,
		void *userdata, struct fl_error *err);
};

/* Begins to see to it. An error says why there is neither a certificate nor a way to one; with
 * @patient that is logged, and tried again now and then. */
enum fl_code trust_open(struct trust **ret_trust, uv_loop_t *loop, const struct config *config,
	const struct facts *facts, bool patient, const struct trust_handlers *handlers,
	void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Renews the certificate soon, although it is good for long: its CA changes. */
void trust_renew_now(struct trust *trust);

/* No renewal is under way any more (its link is closed). @closed comes from the loop. */
void trust_close(struct trust *trust, void (*closed)(void *userdata), void *userdata);

/* NULL while there are none; borrowed. */
struct tls_credentials *trust_credentials(const struct trust *trust);
