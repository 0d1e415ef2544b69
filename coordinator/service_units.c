/* What people ask: changes, units, machines, why. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/batch.h"
#include "coordinator/services.h"
#include "coordinator/tokens.h"
#include "coordinator/watches.h"

/* Of a reply with many results: behind so many bytes they come without what can be asked for. */
#define RESULTS_MAX_BYTES (2U << 20)

/* Refusals of one request, shared among its changes; the rest is counted. */
#define REFUSALS_MAX     1000U
#define REFUSALS_MIN     10U
#define WHY_MACHINES_MAX 10000U

/* A unit that is the whole operator's until tenants come. */
#define TENANT "default"

/* Members of a reply, which are the core's. */
struct members {
	ProtobufCMessage **items;
	size_t n;
	size_t capacity;
	size_t bytes; /* packed */
};

static void members_fini(struct members *members)
{
	for (size_t i = 0; i < members->n; i++)
		core_message_free(members->items[i]);
	free(members->items);
	*members = (struct members){0};
}

/* Takes @message over, also when it fails. */
static enum fl_code members_add(
	struct members *members, ProtobufCMessage *message, struct fl_error *err)
{
	if (members->n == members->capacity) {
		size_t capacity = members->capacity > 0 ? 2 * members->capacity : 16;
		ProtobufCMessage **items =
			reallocarray(members->items, capacity, sizeof(ProtobufCMessage *));

		if (items == NULL) {
			core_message_free(message);
			return FL_FAIL_NO_MEMORY(err);
		}
		members->items = items;
		members->capacity = capacity;
	}
	members->bytes += protobuf_c_message_get_packed_size(message);
	members->items[members->n++] = message;
	return FL_OK;
}

/* ---- Hello -- */

void service_hello(struct exchange *exchange)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__HelloReply body = PB__HELLO_REPLY__INIT;
	char who[2 * IDENTITY_PART_MAX];

	identity_describe(exchange_identity(exchange), who, sizeof(who));
	body.program_version = (char *)FLOTA_VERSION;
	body.fleet = (char *)exchange->coordinator->fleet;
	body.peer = who;
	reply.body_case = PB__ENVELOPE__BODY_HELLO_REPLY;
	reply.hello_reply = &body;
	exchange_reply(exchange, &reply);
}

/* ---- Changes -- */

/* What became of a change that the core could not even begin. */
static Pb__ChangeResult *failed_result(const struct fl_error *why)
{
	Pb__ChangeResult *result = malloc(sizeof(*result));
	Pb__Error *error = malloc(sizeof(*error));
	char *text = fl_strdup(fl_error_text(why));

	if (result == NULL || error == NULL || text == NULL) {
		free(result);
		free(error);
		free(text);
		return NULL;
	}
	pb__error__init(error);
	error->code = fl_code_to_wire(why->code);
	error->text = text;
	pb__change_result__init(result);
	result->error = error;
	return result;
}

/* Whoever changes a thousand units looks at them afterwards, page by page. */
static void strip(Pb__ChangeResult *result)
{
	core_message_free(result->unit != NULL ? &result->unit->base : NULL);
	result->unit = NULL;
	for (size_t i = 0; i < result->n_refusals; i++)
		core_message_free(&result->refusals[i]->base);
	free(result->refusals);
	result->refusals = NULL;
	result->n_refusals = 0;
}

static enum fl_code change_all(
	struct exchange *exchange, const char *by, struct members *results, struct fl_error *err)
{
	const Pb__ChangeRequest *request = exchange->message->change_request;
	size_t max_refusals = REFUSALS_MAX / (request->n_changes + 1);

	for (size_t i = 0; i < request->n_changes; i++) {
		struct core_answer answer = {0};
		struct fl_error why = {0};
		struct core_event event = {.kind = CORE_CHANGE,
			.change = {.change = request->changes[i],
				.tenant = TENANT,
				.by = by,
				.received_us = transport_request_received_us(exchange->request),
				.max_refusals =
					max_refusals > REFUSALS_MIN ? max_refusals : REFUSALS_MIN}};

		if (coordinator_step(exchange->coordinator, &event, &answer, &why) != FL_OK)
			answer.result = failed_result(&why);
		if (answer.result == NULL)
			return FL_FAIL_NO_MEMORY(err);
		if (results->bytes > RESULTS_MAX_BYTES)
			strip(answer.result);
		FL_TRY(members_add(results, &answer.result->base, err));
	}
	return FL_OK;
}

static void change(struct exchange *exchange)
{
	struct coordinator *coordinator = exchange->coordinator;
	FL_CLEANUP(members_fini) struct members results = {0};
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__ChangeReply body = PB__CHANGE_REPLY__INIT;
	struct fl_error err = {0};
	char who[2 * IDENTITY_PART_MAX];

	identity_describe(exchange_identity(exchange), who, sizeof(who));
	fl_log(FL_INFO, "units.change", "by=%s changes=%zu", who,
		exchange->message->change_request->n_changes);
	if (change_all(exchange, who, &results, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	body.revision = core_revision(coordinator->core);
	body.results = (Pb__ChangeResult **)results.items;
	body.n_results = results.n;
	reply.body_case = PB__ENVELOPE__BODY_CHANGE_REPLY;
	reply.change_reply = &body;
	tokens_remember(coordinator->tokens, exchange_identity(exchange),
		exchange->message->change_request->token, &reply);
	exchange_reply_durable(exchange, &reply);
}

void service_change(struct exchange *exchange)
{
	struct coordinator *coordinator = exchange->coordinator;
	FL_CLEANUP(wire_freep)
	Pb__Envelope *before = tokens_find(coordinator->tokens, exchange_identity(exchange),
		exchange->message->change_request->token);
	struct fl_error err = {0};

	if (before != NULL)
		exchange_reply_durable(exchange, before);
	else if (batch_check_store(coordinator->batch, &err) != FL_OK)
		exchange_fail(exchange, &err);
	else
		change(exchange);
}

/* ---- Units -- */

struct units_page {
	struct members units;
	char **gone; /* names of the request, borrowed */
	size_t n_gone;
	bool more;
};

static void units_page_fini(struct units_page *page)
{
	members_fini(&page->units);
	free(page->gone);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The next name to look at behind @after: of the sorted names asked for from *at on, or of all
 * units. */
static const char *next_name(const struct coordinator *coordinator, const Pb__UnitsRequest *request,
	const char *after, size_t *at)
{
	if (request->n_names == 0)
		return core_unit_next(coordinator->core, after);
	while (*at < request->n_names && strcmp(request->names[*at], after) <= 0)
		++*at;
	return *at < request->n_names ? request->names[*at] : NULL;
}

static bool page_is_full(const struct units_page *page, const Pb__UnitsRequest *request)
{
	size_t limit = request->limit > 0 && request->limit < LIMIT_UNITS_PAGE ? request->limit
									       : LIMIT_UNITS_PAGE;

	return page->units.n >= limit || page->units.bytes >= WIRE_PAGE_BYTES;
}

static enum fl_code fill_units_page(
	struct exchange *exchange, uint64_t since, struct units_page *page, struct fl_error *err)
{
	const struct coordinator *coordinator = exchange->coordinator;
	const Pb__UnitsRequest *request = exchange->message->units_request;
	const char *name = request->after;
	size_t at = 0;

	if (request->n_names > 0) {
		qsort(request->names, request->n_names, sizeof(char *), compare_names);
		page->gone = fl_new_array(request->n_names, sizeof(char *));
		if (page->gone == NULL)
			return FL_FAIL_NO_MEMORY(err);
	}
	while ((name = next_name(coordinator, request, name, &at)) != NULL) {
		uint64_t revision = core_unit_revision(coordinator->core, name);
		Pb__Unit *unit = NULL;

		if (revision == 0) {
			fl_assert(page->gone != NULL); /* the core's own names all exist */
			page->gone[page->n_gone++] = (char *)name;
			continue;
		}
		if (revision <= since)
			continue;
		if (page_is_full(page, request)) {
			page->more = true;
			break;
		}
		FL_TRY(core_unit_get(coordinator->core, name, request->with_content,
			fl_clock_boot_ms(), &unit, err));
		FL_TRY(members_add(&page->units, &unit->base, err));
	}
	return FL_OK;
}

static void reply_units(struct exchange *exchange, const struct units_page *page)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__UnitsReply body = PB__UNITS_REPLY__INIT;

	body.revision = core_revision(exchange->coordinator->core);
	body.units = (Pb__Unit **)page->units.items;
	body.n_units = page->units.n;
	body.more = page->more;
	body.gone = page->gone;
	body.n_gone = page->n_gone;
	reply.body_case = PB__ENVELOPE__BODY_UNITS_REPLY;
	reply.units_reply = &body;
	exchange_reply_durable(exchange, &reply);
}

/* Those that have changed after @since; none of them is a reason to wait, unless @woken says that
 * one of all (then perhaps one that is gone) has. */
static void answer_units(struct exchange *exchange, uint64_t since, bool woken)
{
	const Pb__UnitsRequest *request = exchange->message->units_request;
	FL_CLEANUP(units_page_fini) struct units_page page = {0};
	struct fl_error err = {0};

	if (fill_units_page(exchange, since, &page, &err) != FL_OK)
		exchange_fail(exchange, &err);
	else if (since == 0 || page.units.n > 0 || page.n_gone > 0 || request->after[0] != '\0' ||
		 (woken && request->n_names == 0))
		reply_units(exchange, &page);
	else
		watches_hold(exchange->coordinator->watches, exchange);
}

void service_units_changed(struct exchange *exchange)
{
	answer_units(exchange, exchange->message->units_request->since, true);
}

void service_units(struct exchange *exchange)
{
	struct coordinator *coordinator = exchange->coordinator;
	uint64_t since = exchange->message->units_request->since;
	struct fl_error err = {0};

	/* Memory is ahead of the store for who knows how long, and what may be lost is not shown. */
	if (!batch_is_durable(coordinator->batch) &&
		batch_check_store(coordinator->batch, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	/* A revision from the future is another store's: what is known there says nothing here. */
	if (since > core_revision(coordinator->core))
		since = 0;
	answer_units(exchange, since, false);
}

/* ---- Machines -- */

static enum fl_code fill_machines(
	struct exchange *exchange, struct members *machines, bool *ret_more, struct fl_error *err)
{
	const struct coordinator *coordinator = exchange->coordinator;
	const Pb__MachinesRequest *request = exchange->message->machines_request;
	const char *id = request->after;
	size_t limit = request->limit > 0 && request->limit < LIMIT_MACHINES_PAGE
			       ? request->limit
			       : LIMIT_MACHINES_PAGE;

	while ((id = core_machine_next(coordinator->core, id)) != NULL) {
		Pb__Machine *machine = NULL;

		if (machines->n >= limit || machines->bytes >= WIRE_PAGE_BYTES) {
			*ret_more = true;
			break;
		}
		FL_TRY(core_machine_get(coordinator->core, id, fl_clock_boot_ms(), &machine, err));
		FL_TRY(members_add(machines, &machine->base, err));
	}
	return FL_OK;
}

void service_machines(struct exchange *exchange)
{
	FL_CLEANUP(members_fini) struct members machines = {0};
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__MachinesReply body = PB__MACHINES_REPLY__INIT;
	struct fl_error err = {0};
	bool more = false;

	if (fill_machines(exchange, &machines, &more, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	body.revision = core_revision(exchange->coordinator->core);
	body.machines = (Pb__Machine **)machines.items;
	body.n_machines = machines.n;
	body.more = more;
	reply.body_case = PB__ENVELOPE__BODY_MACHINES_REPLY;
	reply.machines_reply = &body;
	exchange_reply_durable(exchange, &reply);
}

/* ---- Why -- */

void service_why(struct exchange *exchange)
{
	const struct coordinator *coordinator = exchange->coordinator;
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__WhyReply *body = NULL;
	struct fl_error err = {0};

	if (core_why(coordinator->core, exchange->message->why_request->name, fl_clock_boot_ms(),
		    WHY_MACHINES_MAX, &body, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	reply.body_case = PB__ENVELOPE__BODY_WHY_REPLY;
	reply.why_reply = body;
	exchange_reply_durable(exchange, &reply);
	core_message_free(&body->base);
}
