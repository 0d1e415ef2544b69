#include "coordinator/test_peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int fixture_setup(void **state)
{
	struct fixture *f = FL_NEW(struct fixture);

	f->fleet = fleet_new();
	fleet_start(f->fleet);
	f->ana = peer_new(f->fleet, "ana", "operator");
	f->m1 = peer_new(f->fleet, "m1", "machine");
	f->m2 = peer_new(f->fleet, "m2", "machine");
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	peer_free(f->ana);
	peer_free(f->m1);
	peer_free(f->m2);
	fleet_free(f->fleet);
	free(f);
	return 0;
}

/* ---- Requests -- */

struct asked *ask_change(struct peer *peer, const struct change *change)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ChangeRequest request = PB__CHANGE_REQUEST__INIT;
	Pb__Change one = PB__CHANGE__INIT;

	one.verb = change->verb;
	one.name = (char *)change->name;
	if (change->content != NULL) {
		one.content.data = (uint8_t *)change->content;
		one.content.len = strlen(change->content);
	}
	one.desired = change->desired;
	request.token = change->token;
	request.n_changes = 1;
	request.changes = (Pb__Change *[]){&one};
	envelope.deadline_ms = change->deadline_ms;
	envelope.body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
	envelope.change_request = &request;
	return peer_ask(peer, &envelope);
}

Pb__Envelope *do_change(struct peer *peer, const struct change *change)
{
	Pb__Envelope *reply = asked_wait(ask_change(peer, change));
	struct fl_error err = {0};

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_CHANGE_REPLY);
	assert_int_equal(reply->change_reply->n_results, 1);
	if (reply->change_reply->results[0]->error != NULL)
		fail_msg("%s", reply->change_reply->results[0]->error->text);
	return reply;
}

uint64_t launch(struct peer *peer, const char *name)
{
	Pb__Envelope *reply = do_change(peer, &(struct change){.verb = PB__CHANGE__VERB__SET,
						      .name = name,
						      .content = UNIT_TEXT,
						      .desired = PB__DESIRED_STATE__LAUNCHED});
	uint64_t revision = reply->change_reply->revision;

	wire_free(reply);
	return revision;
}

struct asked *ask_units(struct peer *peer, const char *name, uint64_t since, uint32_t wait_ms)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__UnitsRequest request = PB__UNITS_REQUEST__INIT;
	char *names[] = {(char *)name};

	request.n_names = name != NULL;
	request.names = names;
	request.since = since;
	request.with_content = true;
	envelope.deadline_ms = wait_ms;
	envelope.body_case = PB__ENVELOPE__BODY_UNITS_REQUEST;
	envelope.units_request = &request;
	return peer_ask(peer, &envelope);
}

Pb__Envelope *get_units(struct peer *peer, const char *name, uint64_t since)
{
	Pb__Envelope *reply = asked_wait(ask_units(peer, name, since, 0));

	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_UNITS_REPLY);
	return reply;
}

struct asked *ask_sync(struct peer *peer, const struct sync *sync)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__SyncRequest request = PB__SYNC_REQUEST__INIT;
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;

	info.boot_id = (char *)"b";
	info.hostname = (char *)sync->machine_id;
	info.agent_version = (char *)"0.1.0";
	request.machine_id = (char *)sync->machine_id;
	request.session = sync->session;
	if (sync->store_id != NULL)
		request.store_id = (char *)sync->store_id;
	request.revision = sync->revision;
	if (sync->info)
		request.info = &info;
	envelope.deadline_ms = sync->wait_ms;
	envelope.request_id = sync->request_id;
	envelope.body_case = PB__ENVELOPE__BODY_SYNC_REQUEST;
	envelope.sync_request = &request;
	return peer_ask(peer, &envelope);
}

Pb__Envelope *wait_sync(struct asked *asked)
{
	Pb__Envelope *reply = asked_wait(asked);
	struct fl_error err = {0};

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_SYNC_REPLY);
	return reply;
}

void report(struct peer *peer, const char *machine_id, Pb__UnitState *state)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ReportRequest request = PB__REPORT_REQUEST__INIT;
	Pb__Envelope *reply;

	request.machine_id = (char *)machine_id;
	request.session = 1;
	request.all = true;
	request.states = &state;
	request.n_states = state != NULL;
	envelope.body_case = PB__ENVELOPE__BODY_REPORT_REQUEST;
	envelope.report_request = &request;
	reply = peer_call(peer, &envelope);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_REPORT_REPLY);
	assert_int_equal(reply->report_reply->lease_ms, FLEET_LEASE_MS);
	wire_free(reply);
}

void join(struct peer *peer, const char *machine_id, uint64_t session, struct known *known)
{
	Pb__Envelope *reply = wait_sync(ask_sync(
		peer, &(struct sync){.machine_id = machine_id, .session = session, .info = true}));

	assert_true(reply->sync_reply->reset);
	(void)snprintf(known->store_id, sizeof(known->store_id), "%s", reply->sync_reply->store_id);
	known->revision = reply->sync_reply->revision;
	wire_free(reply);
}

struct asked *next_sync(
	struct peer *peer, const char *machine_id, uint64_t session, const struct known *known)
{
	return ask_sync(peer, &(struct sync){.machine_id = machine_id,
				      .store_id = known->store_id,
				      .session = session,
				      .revision = known->revision});
}

uint64_t get_revision(struct peer *peer)
{
	Pb__Envelope *reply = get_units(peer, NULL, 0);
	uint64_t revision = reply->units_reply->revision;

	wire_free(reply);
	return revision;
}
