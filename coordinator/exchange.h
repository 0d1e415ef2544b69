/*
 * A request and its reply.
 *
 * It is unpacked, authorised and given to its service, which answers it at once, or when the store
 * has what the answer tells of, or holds it: a long poll. Whoever holds one says by a `struct
 * exchange_holder` what is to be done when its peer goes, its time runs out, or something that it
 * may wait for has become durable.
 */
#pragma once

#include "base/list.h"
#include "coordinator/coordinator.h"
#include "proto/wire.h"
#include "transport/server.h"

struct account;
struct exchange;

struct exchange_holder {
	/* The peer is gone: forget it, it is freed on return. */
	void (*gone)(struct exchange *exchange);
	/* Its time is up: answer it. */
	void (*expired)(struct exchange *exchange);
	/* See batch_wake_when_durable(); nullable where that is not used. */
	void (*wake)(struct exchange *exchange);
};

struct exchange {
	struct coordinator *coordinator;
	struct transport_request *request;
	Pb__Envelope *message;
	const struct exchange_holder *holder; /* NULL while its service works on it */
	struct fl_list held; /* of the holder's list */
	struct fl_list wake; /* of the batch that it waits for */
	struct deadline deadline;
	struct account *account; /* nullable; of its peer, and what it is charged */
	size_t charged_bytes;
	uint8_t *reply; /* packed, while it waits to leave */
	size_t reply_len;
	void *owner; /* the holder's own */
};

/* A request has come. It may be answered, refused or held on return. */
void exchange_begin(struct coordinator *coordinator, struct transport_request *request);

/* The transport says that a request's peer is gone. */
void exchange_gone(struct transport_request *request);

const struct identity *exchange_identity(const struct exchange *exchange);

/* Answers with @reply, whose body is set, and frees the exchange. The second one waits until all
 * that the core decided so far is durable: for replies that tell of it. */
void exchange_reply(struct exchange *exchange, Pb__Envelope *reply);
void exchange_reply_durable(struct exchange *exchange, Pb__Envelope *reply);

/* Answers with an error, at once. */
void exchange_fail(struct exchange *exchange, const struct fl_error *err);
void exchange_failf(struct exchange *exchange, enum fl_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Leaves the reply that was packed before. */
void exchange_send(struct exchange *exchange);

/* The exchange stays, until @holder answers it: for as long as its peer wants to wait, within
 * bounds. False: it could not, and was refused. */
bool exchange_hold(struct exchange *exchange, const struct exchange_holder *holder, void *owner);

/* ---- Accounts: what a peer may make us keep; by identity, over all its connections. ---- */

#define ACCOUNT_HELD_MAX  1024U
#define ACCOUNT_BYTES_MAX (16U << 20)
#define ACCOUNT_CALLS_MAX 64U

enum fl_code accounts_new(struct accounts **ret_accounts, struct fl_error *err) FL_MUST_CHECK;
void accounts_free(struct accounts *accounts);

/* The account of a peer; counted, to be given back. */
enum fl_code account_get(struct accounts *accounts, const struct identity *identity,
	struct account **ret_account, struct fl_error *err) FL_MUST_CHECK;
void account_put(struct account *account);

/* A call more or less. FL_E_LIMIT. */
enum fl_code account_charge_call(struct account *account, struct fl_error *err) FL_MUST_CHECK;
void account_release_call(struct account *account);
