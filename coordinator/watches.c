#include "coordinator/watches.h"

#include <stdlib.h>

#include "base/map.h"
#include "coordinator/batch.h"

/* Those who wait for one unit, whether it exists or not. */
struct topic {
	struct fl_list watches;
	struct watches *all;
	char *name;
};

/* One exchange waits for one unit. */
struct watch {
	struct fl_list link; /* of the topic */
	struct topic *topic;
	struct exchange *exchange;
};

/* What an exchange owns while it is held here. */
struct watch_set {
	size_t n;
	struct watch watches[];
};

struct watches {
	struct fl_map *topics;
	struct fl_list everything; /* exchanges that wait for any unit, by their `held` */
};

enum fl_code watches_new(struct watches **ret_watches, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct watches *watches = FL_NEW(struct watches);

	if (watches == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&watches->topics, err));
	fl_list_init(&watches->everything);
	*ret_watches = FL_TAKE(watches);
	return FL_OK;
}

void watches_free(struct watches *watches)
{
	if (watches == NULL)
		return;
	fl_assert(fl_map_count(watches->topics) == 0 && fl_list_empty(&watches->everything));
	fl_map_free(watches->topics);
	free(watches);
}

static enum fl_code topic_get(
	struct watches *watches, const char *name, struct topic **ret_topic, struct fl_error *err)
{
	struct topic *topic = fl_map_get(watches->topics, name);

	if (topic == NULL) {
		topic = FL_NEW(struct topic);
		if (topic == NULL)
			return FL_FAIL_NO_MEMORY(err);
		topic->name = fl_strdup(name);
		if (topic->name == NULL ||
			fl_map_put(watches->topics, name, topic, NULL) != FL_OK) {
			free(topic->name);
			free(topic);
			return FL_FAIL_NO_MEMORY(err);
		}
		fl_list_init(&topic->watches);
		topic->all = watches;
	}
	*ret_topic = topic;
	return FL_OK;
}

static void topic_put(struct topic *topic)
{
	if (!fl_list_empty(&topic->watches))
		return;
	(void)fl_map_remove(topic->all->topics, topic->name);
	free(topic->name);
	free(topic);
}

static void set_free(struct watch_set *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->n; i++) {
		fl_list_remove(&set->watches[i].link);
		topic_put(set->watches[i].topic);
	}
	free(set);
}
FL_DEFINE_CLEANUP(struct watch_set *, set_free)

static enum fl_code set_new(struct watches *watches, struct exchange *exchange,
	struct watch_set **ret_set, struct fl_error *err)
{
	const Pb__UnitsRequest *request = exchange->message->units_request;
	FL_CLEANUP(set_freep)
	struct watch_set *set =
		fl_new_array(1, sizeof(struct watch_set) + request->n_names * sizeof(struct watch));

	if (set == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < request->n_names; i++) {
		struct watch *watch = &set->watches[i];

		FL_TRY(topic_get(watches, request->names[i], &watch->topic, err));
		watch->exchange = exchange;
		fl_list_append(&watch->topic->watches, &watch->link);
		set->n++;
	}
	*ret_set = FL_TAKE(set);
	return FL_OK;
}

static void unwatch(struct exchange *exchange)
{
	fl_list_remove(&exchange->held);
	set_free(exchange->owner);
	exchange->owner = NULL;
}

static void watch_expired(struct exchange *exchange)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__UnitsReply body = PB__UNITS_REPLY__INIT;

	unwatch(exchange);
	/* What is durable has been looked at, so nothing of it is missed by going on from here. */
	body.revision = batch_durable_revision(exchange->coordinator->batch);
	if (body.revision < exchange->message->units_request->since)
		body.revision = exchange->message->units_request->since;
	reply.body_case = PB__ENVELOPE__BODY_UNITS_REPLY;
	reply.units_reply = &body;
	exchange_reply(exchange, &reply);
}

static void watch_wake(struct exchange *exchange)
{
	unwatch(exchange);
	service_units_changed(exchange);
}

static const struct exchange_holder watch_holder = {
	.gone = unwatch,
	.expired = watch_expired,
	.wake = watch_wake,
};

void watches_hold(struct watches *watches, struct exchange *exchange)
{
	struct watch_set *set = NULL;
	struct fl_error err = {0};

	if (set_new(watches, exchange, &set, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	if (!exchange_hold(exchange, &watch_holder, set)) {
		set_free(set);
		return;
	}
	if (set->n == 0)
		fl_list_append(&watches->everything, &exchange->held);
	batch_wake_when_durable(exchange->coordinator->batch, exchange);
}

static void move(struct exchange *exchange, struct fl_list *wake)
{
	if (!fl_list_linked(&exchange->wake))
		fl_list_append(wake, &exchange->wake);
}

void watches_collect(struct watches *watches, const char *unit, struct fl_list *wake)
{
	struct topic *topic = fl_map_get(watches->topics, unit);
	struct exchange *exchange;
	struct watch *watch;

	FL_LIST_FOREACH (exchange, &watches->everything, held)
		move(exchange, wake);
	if (topic != NULL)
		FL_LIST_FOREACH (watch, &topic->watches, link)
			move(watch->exchange, wake);
}
