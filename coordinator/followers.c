#include "coordinator/followers.h"

#include <stdlib.h>

#include "base/clock.h"
#include "coordinator/services.h"

/* A wall clock that is this far from where it was has been set. */
#define CLOCK_SET_US 1000000

struct followers {
	struct fl_list waiting; /* exchanges, by their `held` */
	int64_t real_us; /* what the wall clock shows at boot; 0: not yet known */
};

enum fl_code followers_new(struct followers **ret_followers, struct fl_error *err)
{
	struct followers *followers = FL_NEW(struct followers);

	if (followers == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fl_list_init(&followers->waiting);
	*ret_followers = followers;
	return FL_OK;
}

void followers_free(struct followers *followers)
{
	if (followers == NULL)
		return;
	fl_assert(fl_list_empty(&followers->waiting));
	free(followers);
}

void followers_collect(struct followers *followers, struct fl_list *wake)
{
	struct exchange *exchange;

	FL_LIST_FOREACH (exchange, &followers->waiting, held)
		if (!fl_list_linked(&exchange->wake))
			fl_list_append(wake, &exchange->wake);
}

/* ---- Waiting -- */

static void follower_gone(struct exchange *exchange)
{
	fl_list_remove(&exchange->held);
}

static void follower_expired(struct exchange *exchange)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__EventsReply body = PB__EVENTS_REPLY__INIT;

	fl_list_remove(&exchange->held);
	body.index = exchange->message->events_request->since;
	reply.body_case = PB__ENVELOPE__BODY_EVENTS_REPLY;
	reply.events_reply = &body;
	exchange_reply(exchange, &reply);
}

static void follower_wake(struct exchange *exchange)
{
	fl_list_remove(&exchange->held);
	service_events(exchange);
}

static void hold(struct exchange *exchange, uint64_t index)
{
	static const struct exchange_holder holder = {
		.gone = follower_gone,
		.expired = follower_expired,
		.wake = follower_wake,
	};
	struct followers *followers = exchange->coordinator->followers;

	/* What has been looked at need not be looked at again. */
	exchange->message->events_request->since = index;
	if (exchange_hold(exchange, &holder, followers))
		fl_list_append(&followers->waiting, &exchange->held);
}

/* ---- Answering -- */

/* The core's times, since boot, become those of the wall clock. An event keeps its time, however
 * often it is asked for, unless the clock is set. */
static void tell_times(struct followers *followers, Pb__EventsReply *reply)
{
	int64_t real_us = (int64_t)fl_clock_real_us() - (int64_t)fl_clock_boot_us();

	if (llabs(real_us - followers->real_us) > CLOCK_SET_US)
		followers->real_us = real_us;
	for (size_t i = 0; i < reply->n_events; i++)
		reply->events[i]->time_us += (uint64_t)followers->real_us;
}

void service_events(struct exchange *exchange)
{
	const struct coordinator *coordinator = exchange->coordinator;
	const Pb__EventsRequest *request = exchange->message->events_request;
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__EventsReply *body = NULL;
	struct fl_error err = {0};

	if (core_events(coordinator->core, request, &body, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	/* An index behind the newest: there was more to look at than one answer may. */
	if (request->since > 0 && body->n_events == 0 && !body->lost &&
		body->index == core_revision(coordinator->core)) {
		hold(exchange, body->index);
	} else {
		tell_times(coordinator->followers, body);
		reply.body_case = PB__ENVELOPE__BODY_EVENTS_REPLY;
		reply.events_reply = body;
		exchange_reply_durable(exchange, &reply);
	}
	core_message_free(&body->base);
}
