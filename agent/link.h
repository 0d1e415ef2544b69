/*
 * The agent's side of the connection to the coordinator: one long poll that brings changes, and
 * reports that carry states and are the heartbeat. It knows messages and deadlines; what they mean
 * is agent.c's. Without a coordinator it tries for ever.
 *
 * All on the loop thread; handlers are called from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/calls.h"
#include "agent/trust.h"
#include "base/error.h"
#include "base/strv.h"
#include "proto/flota.pb-c.h"
#include "transport/tls.h"

struct link;

struct link_config {
	const struct fl_strv *urls; /* one after the other until one answers */
	struct tls_credentials *credentials;
	const char *machine_id;
};

/* What a reply means for the next request. */
enum link_next {
	LINK_ASK, /* ask on at once */
	LINK_HOLD, /* not before link_resume() */
	LINK_PAUSE, /* after half a minute */
};

struct link_handlers {
	/* Fills store_id, revision and, with @with_info, info; borrowed until the next turn. */
	void (*request)(Pb__SyncRequest *request, bool with_info, void *userdata);
	enum link_next (*reply)(const Pb__SyncReply *reply, void *userdata);
	/* The next report's states; @begin_all: all of them count as changed from now on. Returns
	 * how many of the @max were filled; borrowed as above. */
	size_t (*states)(
		bool begin_all, Pb__UnitState *states, size_t max, bool *ret_more, void *userdata);
	/* Fills a report's revisions and capacity; false: nothing may be reported now. */
	bool (*report)(Pb__ReportRequest *report, void *userdata);
	/* The answer to a report: exclusive units have a lease until then (CLOCK_BOOTTIME, ms); 0:
	 * none is given, as long as the assignment is not known that the coordinator has. */
	void (*lease)(uint64_t until_ms, void *userdata);
	/* The machine's certificate is to be renewed now: the fleet's CA changes. */
	void (*renew)(void *userdata);
};

enum fl_code link_open(struct link **ret_link, uv_loop_t *loop, const struct link_config *config,
	const struct link_handlers *handlers, void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Whatever is under way is given up (output of calls ends with FL_E_CANCELED). @closed comes from
 * the loop. */
void link_close(struct link *link, void (*closed)(void *userdata), void *userdata);

/* After LINK_HOLD. */
void link_resume(struct link *link);

/* There are states to report. */
void link_report(struct link *link);

/* The machine's facts have changed: they are told at once. */
void link_info_changed(struct link *link);

/* Goes on with a new connection that shows @credentials. The old one is kept until what is under way
 * on it has ended. */
void link_set_credentials(struct link *link, struct tls_credentials *credentials);

/* A new certificate: see trust.h. The request's machine ID is set here. */
enum fl_code link_renew(struct link *link, Pb__RenewRequest *request, trust_renewed done,
	void *done_userdata, struct fl_error *err) FL_MUST_CHECK;

/* A piece of a release. The request's machine ID is set here. @done comes later, once, with the reply
 * or with NULL and why there is none; unless this fails. */
typedef void (*link_fetched)(
	const Pb__FetchReply *reply, const struct fl_error *err, void *userdata);
enum fl_code link_fetch(struct link *link, Pb__FetchRequest *request, link_fetched done,
	void *done_userdata, struct fl_error *err) FL_MUST_CHECK;

/* Output of a call: see calls.h. */
enum fl_code link_send_output(struct link *link, Pb__CallOutputRequest *output, calls_sent sent,
	void *call, struct fl_error *err) FL_MUST_CHECK;
