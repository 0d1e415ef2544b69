/*
 * What happened, for people who follow it: the newest EVENTS_MAX events, in memory alone. An event
 * takes a revision of its own, so its index grows over restarts too, and whoever comes back with an
 * index from before finds out that the coordinator knows no more what was right behind it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"
#include "unitfiles/glob.h"

#define EVENTS_MAX       10000U
#define EVENTS_MAX_BYTES (4U << 20)

/* Of a text; what is longer is cut. */
#define EVENT_TEXT_MAX 512

/* Names compared with events in one answer: as many as take some milliseconds. */
#define COMPARISONS_MAX 100000U

struct event {
	struct fl_list link;
	uint64_t index;
	uint64_t at_ms;
	const char *kind; /* static */
	const char *unit, *machine_id, *text; /* in @data */
	size_t size;
	char data[];
};

void events_init(struct core *core)
{
	fl_list_init(&core->events);
}

void events_begin(struct core *core)
{
	core->events_forgotten = core->revision;
	event_addf(core, "coordinator.started", NULL, NULL, "%zu units, %zu machines",
		core->n_units, core->n_machines);
}

static void forget_oldest(struct core *core)
{
	struct event *event = FL_LIST_ENTRY(fl_list_pop(&core->events), struct event, link);

	core->events_forgotten = event->index;
	core->events_bytes -= event->size;
	core->n_events--;
	free(event);
}

void events_fini(struct core *core)
{
	while (core->n_events > 0)
		forget_oldest(core);
}

/* ---- What happens ------------------------------------------------------------------------ */

/* As much of a text as is kept: whole characters of UTF-8. */
static size_t cut(const char *text)
{
	size_t len = strnlen(text, EVENT_TEXT_MAX + 1);

	if (len <= EVENT_TEXT_MAX)
		return len;
	for (len = EVENT_TEXT_MAX; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

static const char *put(char **at, const char *text)
{
	const char *begin = *at;

	*at = stpcpy(*at, text) + 1;
	return begin;
}

void event_add(struct core *core, const char *kind, const struct unit *unit,
	const struct machine *machine, const char *text)
{
	const char *name = unit != NULL ? unit->name : "";
	const char *id = machine != NULL ? machine->id : "";
	size_t text_len = cut(text);
	size_t size = sizeof(struct event) + strlen(name) + strlen(id) + text_len + 3;
	struct event *event = malloc(size);
	uint64_t index = core_next_revision(core);
	char *at;

	core->effects->events = true;
	if (event == NULL) {
		/* Whoever has not yet seen this far has lost something. */
		core->events_forgotten = index;
		return;
	}
	*event = (struct event){.index = index, .at_ms = core->now_ms, .kind = kind, .size = size};
	at = event->data;
	event->unit = put(&at, name);
	event->machine_id = put(&at, id);
	event->text = at;
	memcpy(at, text, text_len);
	at[text_len] = '\0';
	fl_list_append(&core->events, &event->link);
	core->n_events++;
	core->events_bytes += size;
	while (core->n_events > EVENTS_MAX || core->events_bytes > EVENTS_MAX_BYTES)
		forget_oldest(core);
}

void event_addf(struct core *core, const char *kind, const struct unit *unit,
	const struct machine *machine, const char *format, ...)
{
	char text[2 * EVENT_TEXT_MAX]; /* to be cut between characters */
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	event_add(core, kind, unit, machine, text);
}

uint32_t event_limit_take(const struct core *core, struct event_limit *limit)
{
	if (core->now_ms - limit->from_ms >= 60000)
		limit->n = 0;
	if (limit->n == 0)
		limit->from_ms = core->now_ms;
	return ++limit->n;
}

/* ---- What is asked ----------------------------------------------------------------------- */

static bool is_meant(const Pb__EventsRequest *request, const struct event *event)
{
	for (size_t i = 0; i < request->n_names; i++) {
		const char *name = request->names[i];

		if (*name != '\0' && (unit_glob_match(name, event->unit) ||
					     strncmp(name, event->machine_id, strlen(name)) == 0))
			return true;
	}
	return request->n_names == 0;
}

/* The first one to look at: behind @since, or of the newest that make @last ones which are meant. It
 * may be the head of the list: none. */
static struct fl_list *find_first(
	const struct core *core, const Pb__EventsRequest *request, uint64_t since)
{
	struct fl_list *link = core->events.prev;
	size_t n = 0, compared = 0;

	for (; link != &core->events; link = link->prev) {
		const struct event *event = FL_LIST_ENTRY(link, struct event, link);

		if (since > 0 ? event->index <= since
			      : n == request->last || compared > COMPARISONS_MAX)
			break;
		if (since == 0) {
			n += is_meant(request, event);
			compared += request->n_names;
		}
	}
	return link->next;
}

static enum fl_code event_message(
	const struct event *event, Pb__Event **ret_message, struct fl_error *err)
{
	Pb__Event *message = malloc(sizeof(*message));

	if (message == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__event__init(message);
	message->index = event->index;
	message->time_us = event->at_ms * 1000;
	if (!message_text(&message->kind, event->kind) ||
		!message_text(&message->unit, event->unit) ||
		!message_text(&message->machine_id, event->machine_id) ||
		!message_text(&message->text, event->text)) {
		core_message_free(&message->base);
		return FL_FAIL_NO_MEMORY(err);
	}
	*ret_message = message;
	return FL_OK;
}

/* From @link on, as many as fit in; reply->index, the newest, becomes that of the last one looked at
 * when there are more. */
static enum fl_code fill(const Pb__EventsRequest *request, const struct fl_list *head,
	struct fl_list *link, Pb__EventsReply *reply, struct fl_error *err)
{
	size_t limit =
		request->limit > 0 && request->limit < LIMIT_EVENTS ? request->limit : LIMIT_EVENTS;
	uint64_t newest = reply->index;
	size_t compared = 0, bytes = 0;

	for (; link != head; link = link->next) {
		const struct event *event = FL_LIST_ENTRY(link, struct event, link);

		compared += request->n_names;
		if (reply->n_events == limit || bytes > WIRE_PAGE_BYTES ||
			compared > COMPARISONS_MAX)
			return FL_OK;
		reply->index = event->index;
		if (!is_meant(request, event))
			continue;
		if (reply->events == NULL)
			reply->events = fl_new_array(limit, sizeof(Pb__Event *));
		if (reply->events == NULL)
			return FL_FAIL_NO_MEMORY(err);
		FL_TRY(event_message(event, &reply->events[reply->n_events], err));
		reply->n_events++;
		bytes += event->size;
	}
	reply->index = newest;
	return FL_OK;
}

enum fl_code core_events(const struct core *core, const Pb__EventsRequest *request,
	Pb__EventsReply **ret_reply, struct fl_error *err)
{
	uint64_t since = request->since;
	bool lost = since > 0 && (since < core->events_forgotten || since > core->revision);
	Pb__EventsReply *reply;
	enum fl_code code;

	for (size_t i = 0; i < request->n_names; i++)
		FL_TRY(unit_glob_check(request->names[i], err));
	reply = malloc(sizeof(*reply));
	if (reply == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__events_reply__init(reply);
	reply->index = core->revision;
	reply->lost = lost;
	code = fill(request, &core->events,
		find_first(core, request, lost ? core->events_forgotten : since), reply, err);
	if (code != FL_OK) {
		core_message_free(&reply->base);
		return code;
	}
	*ret_reply = reply;
	return FL_OK;
}
