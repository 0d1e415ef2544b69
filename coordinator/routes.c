#include "coordinator/routes.h"

#include <string.h>

#include "base/log.h"
#include "coordinator/authority.h"
#include "coordinator/gate.h"
#include "coordinator/services.h"

#define MAY(kind) (1U << IDENTITY_##kind)

#define ANYBODY  (MAY(COORDINATOR) | MAY(MACHINE) | MAY(OPERATOR) | MAY(USER) | MAY(LOCAL))
#define PEOPLE   (MAY(OPERATOR) | MAY(LOCAL))
#define MACHINES MAY(MACHINE)
#define JOINERS  MAY(JOINER)

static const char *sync_machine(const Pb__Envelope *message)
{
	return message->sync_request->machine_id;
}

static const char *report_machine(const Pb__Envelope *message)
{
	return message->report_request->machine_id;
}

static const char *renew_machine(const Pb__Envelope *message)
{
	return message->renew_request->machine_id;
}

static const char *fetch_machine(const Pb__Envelope *message)
{
	return message->fetch_request->machine_id;
}

static const char *output_machine(const Pb__Envelope *message)
{
	return message->call_output_request->machine_id;
}

/* Tenants' users have nothing here yet but hello. */
static const struct route {
	Pb__Envelope__BodyCase body;
	unsigned may; /* a bit for each identity kind */
	const char *name;
	const char *(*machine_id)(const Pb__Envelope *message); /* it must be the peer's own */
	void (*serve)(struct exchange *exchange);
} routes[] = {
	{PB__ENVELOPE__BODY_HELLO_REQUEST, ANYBODY, "say hello", NULL, service_hello},
	{PB__ENVELOPE__BODY_CHANGE_REQUEST, PEOPLE, "change units", NULL, service_change},
	{PB__ENVELOPE__BODY_UNITS_REQUEST, PEOPLE, "list units", NULL, service_units},
	{PB__ENVELOPE__BODY_MACHINES_REQUEST, PEOPLE, "list machines", NULL, service_machines},
	{PB__ENVELOPE__BODY_MACHINE_CHANGE_REQUEST, PEOPLE, "take out machines", NULL,
		service_machine_change},
	{PB__ENVELOPE__BODY_REBALANCE_REQUEST, PEOPLE, "move units", NULL, service_rebalance},
	{PB__ENVELOPE__BODY_EVENTS_REQUEST, PEOPLE, "follow what happens", NULL, service_events},
	{PB__ENVELOPE__BODY_WHY_REQUEST, PEOPLE, "ask why", NULL, service_why},
	{PB__ENVELOPE__BODY_CALL_REQUEST, PEOPLE, "see status and journals", NULL, service_call},
	{PB__ENVELOPE__BODY_SYNC_REQUEST, MACHINES, "receive an assignment", sync_machine,
		service_sync},
	{PB__ENVELOPE__BODY_REPORT_REQUEST, MACHINES, "report", report_machine, service_report},
	{PB__ENVELOPE__BODY_CALL_OUTPUT_REQUEST, MACHINES, "give output", output_machine,
		service_call_output},
	{PB__ENVELOPE__BODY_RENEW_REQUEST, MACHINES, "renew a certificate", renew_machine,
		service_renew},
	{PB__ENVELOPE__BODY_TOKENS_REQUEST, PEOPLE, "make and see tokens", NULL, service_tokens},
	{PB__ENVELOPE__BODY_RELEASES_REQUEST, PEOPLE, "publish releases", NULL, service_releases},
	{PB__ENVELOPE__BODY_UPGRADE_REQUEST, PEOPLE, "upgrade agents", NULL, service_upgrade},
	{PB__ENVELOPE__BODY_FETCH_REQUEST, MACHINES, "fetch a release", fetch_machine,
		service_fetch},
	{PB__ENVELOPE__BODY_CA_REQUEST, PEOPLE, "see and change the CA", NULL, service_ca},
	{PB__ENVELOPE__BODY_JOIN_REQUEST, JOINERS, "join", NULL, service_join},
};

/* For who may not. */
static const char *needed(const struct route *route)
{
	if (route->may == PEOPLE)
		return "an operator's certificate, or root on the coordinator's machine";
	if (route->may == JOINERS)
		return "the port for machines that join";
	return route->may == MACHINES ? "the machine's own certificate"
				      : "a certificate of the fleet";
}

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
			needed(route));
	if (identity->kind != IDENTITY_LOCAL &&
		strcmp(identity->fleet, exchange->coordinator->fleet) != 0)
		return FL_FAIL(err, FL_E_DENIED, "%s is of the fleet \"%s\", this is \"%s\"", who,
			identity->fleet, exchange->coordinator->fleet);
	if (route->machine_id != NULL &&
		strcmp(route->machine_id(exchange->message), identity->name) != 0)
		return FL_FAIL(err, FL_E_DENIED, "%s may not %s for machine %s: that takes %s", who,
			route->name, route->machine_id(exchange->message), needed(route));
	authority_note(exchange->coordinator->authority, identity);
	/* Who renews with an old key hears more about it. */
	if (identity->kind == IDENTITY_MACHINE)
		return gate_check(exchange, route->body == PB__ENVELOPE__BODY_RENEW_REQUEST, err);
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
