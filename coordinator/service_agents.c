/*
 * What machines ask: "what changed for me" (sync, held until something has) and "this is how my
 * units are" (report, which is the heartbeat too).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "coordinator/agents.h"
#include "coordinator/batch.h"
#include "coordinator/ca.h"
#include "coordinator/calls.h"
#include "coordinator/services.h"

/* Kept from a machine's first sync until the coordinator ends: a few hundred bytes each, and only a
 * certificate of the fleet makes one. */
struct agent {
	struct coordinator *coordinator;
	struct exchange *sync; /* held; NULL = none */
	struct fl_list calls;
	uint64_t session;
	uint64_t last_heard_ms;
	char machine_id[];
};

struct agents {
	struct fl_map *by_id;
};

enum fl_code agents_new(struct agents **ret_agents, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct agents *agents = FL_NEW(struct agents);

	if (agents == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&agents->by_id, err));
	*ret_agents = FL_TAKE(agents);
	return FL_OK;
}

void agents_free(struct agents *agents)
{
	if (agents == NULL)
		return;
	FL_MAP_FOREACH (entry, following, agents->by_id) {
		struct agent *agent = fl_map_value(entry);

		fl_assert(agent->sync == NULL && fl_list_empty(&agent->calls));
		free(agent);
	}
	fl_map_free(agents->by_id);
	free(agents);
}

struct agent *agents_find(const struct agents *agents, const char *machine_id)
{
	return fl_map_get(agents->by_id, machine_id);
}

static enum fl_code agent_get(struct coordinator *coordinator, const char *machine_id,
	struct agent **ret_agent, struct fl_error *err)
{
	struct agent *agent = agents_find(coordinator->agents, machine_id);

	if (agent == NULL) {
		size_t size = strlen(machine_id) + 1;

		agent = fl_new_array(1, sizeof(*agent) + size);
		if (agent == NULL)
			return FL_FAIL_NO_MEMORY(err);
		agent->coordinator = coordinator;
		fl_list_init(&agent->calls);
		memcpy(agent->machine_id, machine_id, size);
		if (fl_map_put(coordinator->agents->by_id, machine_id, agent, NULL) != FL_OK) {
			free(agent);
			return FL_FAIL_NO_MEMORY(err);
		}
	}
	*ret_agent = agent;
	return FL_OK;
}

const char *agent_machine_id(const struct agent *agent)
{
	return agent->machine_id;
}

struct fl_list *agent_calls(struct agent *agent)
{
	return &agent->calls;
}

bool agent_is_heard(const struct agent *agent)
{
	return fl_clock_boot_ms() - agent->last_heard_ms <= core_lease_ms(agent->coordinator->core);
}

/* ---- Sync -- */

/* "Nothing has changed": the agent's own revision back to it. */
static Pb__SyncReply *empty_reply(const struct exchange *exchange)
{
	Pb__SyncReply *reply = malloc(sizeof(*reply));

	if (reply == NULL)
		return NULL;
	pb__sync_reply__init(reply);
	reply->store_id = fl_strdup(exchange->message->sync_request->store_id);
	if (reply->store_id == NULL) {
		free(reply);
		return NULL;
	}
	reply->revision = exchange->message->sync_request->revision;
	return reply;
}

/* Takes @body over; @order (nullable) is borrowed. */
static void reply_sync(struct exchange *exchange, Pb__SyncReply *body, Pb__UpgradeOrder *order)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	if (body == NULL) {
		exchange_failf(exchange, FL_E_NO_MEMORY, "out of memory");
		return;
	}
	body->lease_ms = core_lease_ms(exchange->coordinator->core);
	reply.body_case = PB__ENVELOPE__BODY_SYNC_REPLY;
	reply.sync_reply = body;
	body->upgrade = order;
	exchange_reply(exchange, &reply);
	body->upgrade = NULL;
	core_message_free(&body->base);
}

/* Answers the agent's sync if there is anything to say. Only what is durable is ever in it, so it
 * need not wait for the batch. */
static bool answer_sync(struct agent *agent, struct exchange *exchange)
{
	const struct coordinator *coordinator = agent->coordinator;
	const Pb__SyncRequest *request = exchange->message->sync_request;
	uint64_t request_id = exchange->message->request_id;
	Pb__SyncReply *body = NULL;
	Pb__UpgradeOrder order;
	struct fl_error err = {0};
	bool is_to_upgrade;

	if (core_assignment(coordinator->core, agent->machine_id, request->store_id,
		    request->revision, batch_durable_revision(coordinator->batch), &body,
		    &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return true;
	}
	is_to_upgrade = core_upgrade_order(coordinator->core, agent->machine_id, &order);
	if (body == NULL && !is_to_upgrade && !calls_wait_for(agent, request_id))
		return false;
	if (body == NULL)
		body = empty_reply(exchange);
	if (body != NULL)
		calls_take_orders(agent, request_id, body);
	reply_sync(exchange, body, is_to_upgrade ? &order : NULL);
	return true;
}

static void sync_gone(struct exchange *exchange)
{
	struct agent *agent = exchange->owner;

	agent->sync = NULL;
}

static void sync_expired(struct exchange *exchange)
{
	struct agent *agent = exchange->owner;

	agent->sync = NULL;
	reply_sync(exchange, empty_reply(exchange), NULL);
}

static void sync_wake(struct exchange *exchange)
{
	struct agent *agent = exchange->owner;

	agent->sync = NULL;
	if (!answer_sync(agent, exchange))
		agent->sync = exchange;
}

static const struct exchange_holder sync_holder = {
	.gone = sync_gone,
	.expired = sync_expired,
	.wake = sync_wake,
};

void agents_collect(struct agents *agents, const char *machine_id, struct fl_list *wake)
{
	struct agent *agent = agents_find(agents, machine_id);

	if (agent != NULL && agent->sync != NULL && !fl_list_linked(&agent->sync->wake))
		fl_list_append(wake, &agent->sync->wake);
}

void agent_push_calls(struct agent *agent)
{
	if (agent->sync != NULL)
		sync_wake(agent->sync);
}

static void note_session(struct agent *agent, uint64_t session)
{
	if (agent->session == session)
		return;
	if (agent->session != 0) {
		fl_log(FL_INFO, "machine.restarted", "machine=%s session=%016" PRIx64,
			agent->machine_id, session);
		calls_agent_restarted(agent);
	}
	agent->session = session;
}

/* One sync is held for a machine. The one before was sent over a connection that is dying, or by
 * an agent that has begun anew; should anybody listen there, it may ask again. */
static void drop_older_sync(struct agent *agent)
{
	struct exchange *older = FL_TAKE(agent->sync);

	if (older != NULL)
		reply_sync(older, empty_reply(older), NULL);
}

void service_sync(struct exchange *exchange)
{
	Pb__SyncRequest *request = exchange->message->sync_request;
	struct core_event event = {.kind = CORE_SYNC,
		.sync = {.machine_id = request->machine_id,
			.session = request->session,
			.store_id = request->store_id,
			.revision = request->revision,
			.info = request->info,
			.upgrade = request->upgrade,
			.peer_address = transport_request_address(exchange->request),
			.key_pin = exchange_identity(exchange)->key_pin}};
	struct core_answer answer = {0};
	struct agent *agent = NULL;
	struct fl_error err = {0};

	if (agent_get(exchange->coordinator, request->machine_id, &agent, &err) != FL_OK ||
		coordinator_step(exchange->coordinator, &event, &answer, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	agent->last_heard_ms = fl_clock_boot_ms();
	note_session(agent, request->session);
	drop_older_sync(agent);
	/* What a machine is it tells once: an answer says that this is on disk. */
	if ((request->info == NULL || batch_is_durable(exchange->coordinator->batch)) &&
		answer_sync(agent, exchange))
		return;
	/* The core has it by now, and thousands of these are held. */
	if (request->info != NULL)
		pb__machine_info__free_unpacked(FL_TAKE(request->info), NULL);
	if (!exchange_hold(exchange, &sync_holder, agent))
		return;
	agent->sync = exchange;
	batch_wake_when_durable(exchange->coordinator->batch, exchange);
}

/* ---- Report -- */

/* What it has will not be accepted for long. */
static bool is_to_renew(const struct coordinator *coordinator, const char *machine_id)
{
	return coordinator->ca != NULL && ca_is_changing(coordinator->ca) &&
	       core_ca_waits(coordinator->core, machine_id, ca_id(coordinator->ca));
}

void service_report(struct exchange *exchange)
{
	const Pb__ReportRequest *request = exchange->message->report_request;
	struct core_event event = {.kind = CORE_REPORT,
		.report = {.report = request,
			.received_us = transport_request_received_us(exchange->request)}};
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__ReportReply body = PB__REPORT_REPLY__INIT;
	struct core_answer answer = {0};
	struct agent *agent = agents_find(exchange->coordinator->agents, request->machine_id);
	struct fl_error err = {0};

	if (coordinator_step(exchange->coordinator, &event, &answer, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	if (agent != NULL)
		agent->last_heard_ms = fl_clock_boot_ms();
	body.lease_ms = core_lease_ms(exchange->coordinator->core);
	body.exclusive_ms = answer.exclusive_ms;
	body.want_all = answer.want_all;
	body.renew = is_to_renew(exchange->coordinator, request->machine_id);
	reply.body_case = PB__ENVELOPE__BODY_REPORT_REPLY;
	reply.report_reply = &body;
	/* It tells of nothing that a crash could undo: heartbeats go on when the store does not. */
	exchange_reply(exchange, &reply);
}
