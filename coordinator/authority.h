/*
 * What the coordinator is trusted by: its CA's files, its own certificate, and how both change while
 * it runs.
 *
 * Its certificate is renewed from half its life on, and shown to all connections that begin from then
 * on; those that are there stay.
 *
 * The CA changes in these steps, each of which a restart goes on from:
 *
 *	accept    ca.crt holds the new CA's certificate and, behind it, the old one's
 *	switch    the new one signs from then on. The old one's key is gone; what it signed last is the
 *	          new one's key (ca.cross), so that who knows the old CA alone goes on trusting us
 *	refresh   agents hear with a heartbeat that they should renew their certificate
 *	drop      somebody said that the old one is not needed any more: ca.crt holds the new one alone
 *
 * Files are written on the loop: this is a matter of milliseconds, a few times in a year.
 */
#pragma once

#include "coordinator/ca.h"
#include "coordinator/coordinator.h"
#include "transport/tls.h"

struct authority;

/* Loads all of it. coordinator->ca is NULL where the key is kept elsewhere. */
enum fl_code authority_open(struct authority **ret_authority, struct coordinator *coordinator,
	struct fl_error *err) FL_MUST_CHECK;
void authority_free(struct authority *authority);
FL_DEFINE_CLEANUP(struct authority *, authority_free)

/* Borrowed; others when coordinator_certified() was called. */
struct tls_credentials *authority_credentials(const struct authority *authority);
const char *authority_fleet(const struct authority *authority);

/* The server is open: sees to the certificate from here on. */
void authority_begin(struct authority *authority);

/* Puts a new CA in the old one's place; where that has begun already, nothing. FL_E_STATE. */
enum fl_code authority_succeed(struct authority *authority, struct fl_error *err) FL_MUST_CHECK;
/* The old one is not accepted any more. */
enum fl_code authority_drop(struct authority *authority, struct fl_error *err) FL_MUST_CHECK;

/* A person has shown a certificate; while the CA changes it is noted who has one of the old CA. */
void authority_note(struct authority *authority, const struct identity *identity);
/* Those of the old one, as texts that are borrowed. */
enum fl_code authority_old_operators(const struct authority *authority, struct fl_strv *ret_names,
	struct fl_error *err) FL_MUST_CHECK;
