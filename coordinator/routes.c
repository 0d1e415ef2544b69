#include "coordinator/routes.h"

#include <string.h>

#include "base/log.h"
#include "coordinator/services.h"

#define MAY(kind) (1U << IDENTITY_##kind)

#define ANYBODY  (MAY(COORDINATOR) | MAY(MACHINE) | MAY(OPERATOR) | MAY(USER) | MAY(LOCAL))
#define PEOPLE   (MAY(OPERATOR) | MAY(LOCAL))
#define MACHINES MAY(MACHINE)

static const char *sync_machine(const Pb__Envelope *message)
{
	return message->sync_request->machine_id;
}

static const char *report_machine(const Pb__Envelope *message)
{
	return message->report_request->machine_id;
}

static const char *output_machine(const Pb__Envelope *message)
{
	return message->call_output_request->machine_id;
}

/* Tenants' users have nothing here yet but hello. */
static const struct route {
	Pb__Envelope__BodyCase body;
	const char *name;
	unsigned may; /* a bit for each identity kind */
	const char *needs; /* for who may not */
	const char *(*machine_id)(const Pb__Envelope *message); /* it must be the peer's own */
	void (*serve)(struct exchange *exchange);
} routes[] = {
#define ROUTE_PEOPLE(BODY, name, serve) \
	{ \
		PB__ENVELOPE__BODY_##BODY, name, PEOPLE, \
			"an operator's certificate, or root on the coordinator's machine", NULL, \
			serve \
	}
#define ROUTE_MACHINE(BODY, name, machine_id, serve) \
	{ \
		PB__ENVELOPE__BODY_##BODY, name, MACHINES, "the machine's own certificate", \
			machine_id, serve \
	}
	{PB__ENVELOPE__BODY_HELLO_REQUEST, "hello", ANYBODY, "a certificate of the fleet", NULL,
		service_hello},
	ROUTE_PEOPLE(CHANGE_REQUEST, "change units", service_change),
	ROUTE_PEOPLE(UNITS_REQUEST, "list units", service_units),
	ROUTE_PEOPLE(MACHINES_REQUEST, "list machines", service_machines),
	ROUTE_PEOPLE(WHY_REQUEST, "ask why", service_why),
	ROUTE_PEOPLE(CALL_REQUEST, "see status and journals", service_call),
	ROUTE_MACHINE(SYNC_REQUEST, "receive an assignment", sync_machine, service_sync),
	ROUTE_MACHINE(REPORT_REQUEST, "report", report_machine, service_report),
	ROUTE_MACHINE(CALL_OUTPUT_REQUEST, "give output", output_machine, service_call_output),
#undef ROUTE_PEOPLE
#undef ROUTE_MACHINE
};

static const struct route *find(Pb__Envelope__BodyCase body)
{
	for (size_t i = 0; i < FL_COUNT(routes); i++)
		if (routes[i].body == body)
			return &routes[i];
	return NULL;
}

static enum fl_code authorise(
	const struct route *route, const struct exchange *exchange, struct fl_error *err)
{
	const struct identity *identity = exchange_identity(exchange);
	char who[3 * IDENTITY_PART_MAX];

	identity_describe(identity, who, sizeof(who));
	if ((route->may & (1U << identity->kind)) == 0)
		return FL_FAIL(err, FL_E_DENIED, "%s may not %s: that takes %s", who, route->name,
			route->needs);
	if (identity->kind != IDENTITY_LOCAL &&
		strcmp(identity->fleet, exchange->coordinator->fleet) != 0)
		return FL_FAIL(err, FL_E_DENIED, "%s is of the fleet \"%s\", this is \"%s\"", who,
			identity->fleet, exchange->coordinator->fleet);
	if (route->machine_id != NULL &&
		strcmp(route->machine_id(exchange->message), identity->name) != 0)
		return FL_FAIL(err, FL_E_DENIED, "%s may not %s for machine %s: that takes %s", who,
			route->name, route->machine_id(exchange->message), route->needs);
	return FL_OK;
}

void routes_dispatch(struct exchange *exchange)
{
	const struct route *route = find(exchange->message->body_case);
	struct fl_error err = {0};

	if (route == NULL) {
		exchange_failf(exchange, FL_E_PROTOCOL,
			"the message is no request that this coordinator (flota " FLOTA_VERSION
			") knows");
		return;
	}
	if (authorise(route, exchange, &err) != FL_OK) {
		fl_log(FL_NOTICE, "request.denied", "address=%s why=%s",
			transport_request_address(exchange->request), err.text);
		exchange_fail(exchange, &err);
		return;
	}
	if (exchange->coordinator->stopping) {
		exchange_failf(exchange, FL_E_UNAVAILABLE, "the coordinator is stopping");
		return;
	}
	route->serve(exchange);
}
