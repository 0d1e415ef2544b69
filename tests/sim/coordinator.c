#include "tests/sim/coordinator.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"
#include "proto/wire.h"
#include "tests/sim/guard.h"

/* The wall clock when the world begins. */
#define WALL_MS UINT64_C(1000000000000)

#define RETRY_MIN_MS 250U
#define RETRY_MAX_MS 10000U
#define HOLD_MS      60000U /* what agents ask for */

struct reply {
	struct fl_list link;
	struct connection *to;
	uint64_t request_id;
	Pb__Envelope *message;
};

struct stored_write {
	struct fl_list link;
	struct core_write write;
};

static void flush(struct coordinator *coordinator);
static void commit(struct coordinator *coordinator);

unsigned machine_index(const char *machine_id)
{
	return (unsigned)strtoul(machine_id + strlen("machine"), NULL, 10);
}

uint64_t coordinator_now_ms(const struct coordinator *coordinator)
{
	return coordinator->world->now_ms - coordinator->clock_offset_ms;
}

/* ---- The core ---------------------------------------------------------------------------- */

static enum fl_code step(struct coordinator *coordinator, const struct core_event *event,
	struct core_answer *answer, struct fl_error *err)
{
	enum fl_code code;

	guard_before_step(coordinator->guard, coordinator);
	code = core_step(coordinator->core, event, coordinator_now_ms(coordinator),
		&coordinator->effects, answer, err);
	guard_after_step(coordinator->guard, coordinator, event, code);
	return code;
}

static void on_tick(void *owner, void *data)
{
	struct coordinator *coordinator = owner;
	struct core_answer answer;

	(void)data;
	coordinator->tick_at_ms = UINT64_MAX;
	if (core_next_deadline(coordinator->core) <= coordinator_now_ms(coordinator))
		assert_int_equal(
			step(coordinator, &(struct core_event){.kind = CORE_TICK}, &answer, NULL),
			FL_OK);
	flush(coordinator);
}

static void set_tick(struct coordinator *coordinator)
{
	uint64_t at_ms = core_next_deadline(coordinator->core);
	uint64_t now_ms = coordinator_now_ms(coordinator);

	if (at_ms >= coordinator->tick_at_ms)
		return;
	coordinator->tick_at_ms = at_ms;
	world_after(coordinator->world, &coordinator->server.process,
		at_ms > now_ms ? at_ms - now_ms : 0, on_tick, coordinator, NULL);
}

/* ---- The store --------------------------------------------------------------------------- */

static void write_free(struct core_write *write)
{
	if (write != NULL)
		free(write->data);
	free(write);
}

static void store_put(struct store *store, const struct core_write *write)
{
	struct core_write *kept;

	write_free(fl_map_remove(store->records, write->key));
	if (write->data == NULL)
		return;
	kept = FL_NEW(struct core_write);
	assert_non_null(kept);
	*kept = *write;
	kept->data = fl_memdup0(write->data, write->len);
	assert_non_null(kept->data);
	assert_int_equal(fl_map_put(store->records, write->key, kept, NULL), FL_OK);
}

static void store_apply(struct store *store, const struct batch *batch)
{
	const struct stored_write *stored;

	FL_LIST_FOREACH (stored, &batch->writes, link)
		store_put(store, &stored->write);
	fl_buf_clear(&store->snapshot);
	fl_buf_text(&store->snapshot, fl_buf_str(&batch->snapshot));
}

/* ---- Batches ----------------------------------------------------------------------------- */

static bool is_durable(const struct coordinator *coordinator)
{
	return !coordinator->batch.committing && fl_list_empty(&coordinator->effects.writes) &&
	       !coordinator->effects.write_meta;
}

static uint64_t durable_revision(const struct coordinator *coordinator)
{
	return is_durable(coordinator) ? core_revision(coordinator->core)
				       : coordinator->batch.durable_revision;
}

static void reply_free(struct reply *reply)
{
	pb__envelope__free_unpacked(reply->message, NULL);
	free(reply);
}

static void writes_drop(struct batch *batch)
{
	struct fl_list *node;

	while ((node = fl_list_pop(&batch->writes)) != NULL) {
		struct stored_write *stored = FL_LIST_ENTRY(node, struct stored_write, link);

		free(stored->write.data);
		free(stored);
	}
}

static void take_writes(struct coordinator *coordinator)
{
	for (;;) {
		struct stored_write *stored = FL_NEW(struct stored_write);
		bool any;

		assert_non_null(stored);
		assert_int_equal(core_pop_write(coordinator->core, &coordinator->effects,
					 &stored->write, &any, NULL),
			FL_OK);
		if (!any) {
			free(stored);
			return;
		}
		fl_list_append(&coordinator->batch.writes, &stored->link);
	}
}

static void pop_notes(struct coordinator *coordinator)
{
	struct core_note *note;

	while ((note = core_pop_note(&coordinator->effects)) != NULL) {
		world_trace(coordinator->world, "%s %s", note->event, note->text);
		free(note);
	}
}

static bool answer_sync(struct coordinator *coordinator, unsigned machine);

static void finish(struct coordinator *coordinator)
{
	struct batch *batch = &coordinator->batch;
	bool wake[SIM_MACHINES_MAX];
	struct fl_list *node;

	batch->committing = false;
	batch->durable_revision = batch->revision;
	writes_drop(batch);
	while ((node = fl_list_pop(&batch->replies)) != NULL) {
		struct reply *reply = FL_LIST_ENTRY(node, struct reply, link);

		if (reply->message->body_case == PB__ENVELOPE__BODY_CHANGE_REPLY)
			guard_change_reply(
				coordinator->guard, coordinator, reply->message->change_reply);
		connection_reply(reply->to, reply->request_id, reply->message);
		reply_free(reply);
	}
	memcpy(wake, batch->wake, sizeof(wake));
	memset(batch->wake, 0, sizeof(batch->wake));
	for (unsigned i = 0; i < SIM_MACHINES_MAX; i++)
		if (wake[i])
			(void)answer_sync(coordinator, i);
	if (!coordinator->server.listening) {
		coordinator->server.listening = true;
		world_trace(coordinator->world, "coordinator: serves");
	}
}

static void on_committed(void *owner, void *data)
{
	struct coordinator *coordinator = owner;
	struct batch *batch = &coordinator->batch;
	bool fails = coordinator->store.bad && world_chance(coordinator->world, 80);

	(void)data;
	/* Some failures come when all is written. */
	if (!fails || world_chance(coordinator->world, 30))
		store_apply(&coordinator->store, batch);
	if (fails) {
		batch->retry_ms = batch->retry_ms == 0 ? RETRY_MIN_MS : 2 * batch->retry_ms;
		if (batch->retry_ms > RETRY_MAX_MS)
			batch->retry_ms = RETRY_MAX_MS;
		world_trace(coordinator->world, "coordinator: commit failed");
		world_after(coordinator->world, &coordinator->server.process, batch->retry_ms,
			on_committed, coordinator, NULL);
		return;
	}
	batch->retry_ms = 0;
	finish(coordinator);
	flush(coordinator);
}

static void commit(struct coordinator *coordinator)
{
	coordinator->batch.committing = true;
	world_after(coordinator->world, &coordinator->server.process,
		world_between(coordinator->world, 0, coordinator->store.delay_max_ms), on_committed,
		coordinator, NULL);
}

static void flush(struct coordinator *coordinator)
{
	struct batch *batch = &coordinator->batch;
	const char *name;

	pop_notes(coordinator);
	set_tick(coordinator);
	if (batch->committing)
		return;
	take_writes(coordinator);
	while ((name = core_pop_machine(&coordinator->effects)) != NULL)
		batch->wake[machine_index(name)] = true;
	while (core_pop_unit(&coordinator->effects) != NULL)
		;
	batch->revision = core_revision(coordinator->core);
	fl_list_splice(&batch->replies, &batch->gathering);
	fl_buf_clear(&batch->snapshot);
	fleet_snapshot(coordinator->core, &batch->snapshot);
	if (!fl_list_empty(&batch->writes)) {
		commit(coordinator);
		return;
	}
	guard_nothing_to_write(coordinator->guard, coordinator);
	finish(coordinator);
}

/* ---- Requests ---------------------------------------------------------------------------- */

static void reply_error(
	struct connection *to, uint64_t request_id, enum fl_code code, const char *text)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__Error error = PB__ERROR__INIT;

	error.code = fl_code_to_wire(code);
	error.text = (char *)text;
	reply.error = &error;
	connection_reply(to, request_id, &reply);
}

static void reply_sync(struct held *held, Pb__SyncReply *body)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	reply.body_case = PB__ENVELOPE__BODY_SYNC_REPLY;
	reply.sync_reply = body;
	connection_reply(FL_TAKE(held->from), held->request_id, &reply);
}

static void reply_empty(struct held *held)
{
	Pb__SyncReply body = PB__SYNC_REPLY__INIT;

	body.store_id = held->store_id;
	body.revision = held->revision;
	body.lease_ms = FLEET_LEASE_MS;
	reply_sync(held, &body);
}

/* Whether there was anything to say to the request that is held for the machine. */
static bool answer_sync(struct coordinator *coordinator, unsigned machine)
{
	struct held *held = &coordinator->held[machine];
	Pb__SyncReply *body = NULL;
	struct fl_error err;
	char id[16];

	if (held->from == NULL)
		return true;
	snprintf(id, sizeof(id), "machine%02u", machine);
	if (core_assignment(coordinator->core, id, held->store_id, held->revision,
		    durable_revision(coordinator), &body, &err) != FL_OK)
		fail_msg("%s", fl_error_text(&err));
	if (body == NULL)
		return false;
	guard_assignment(coordinator->guard, coordinator, id, body);
	world_trace(coordinator->world, "%s is told revision=%" PRIu64 "%s +%zu -%zu", id,
		body->revision, body->reset ? " reset" : "", body->n_assignments, body->n_removed);
	reply_sync(held, body);
	core_message_free(&body->base);
	return true;
}

/* Asked for nothing to say for so long, it says so. */
static void on_held_expired(void *owner, void *data)
{
	struct coordinator *coordinator = owner;
	const struct held *was = data;

	for (unsigned i = 0; i < SIM_MACHINES_MAX; i++) {
		struct held *held = &coordinator->held[i];

		if (held->from != NULL && held->from == was->from &&
			held->request_id == was->request_id)
			reply_empty(held);
	}
}

static void on_sync(struct coordinator *coordinator, struct connection *from, uint64_t request_id,
	const Pb__SyncRequest *request)
{
	unsigned machine = machine_index(request->machine_id);
	struct held *held = &coordinator->held[machine];
	struct core_event event = {.kind = CORE_SYNC,
		.sync = {.machine_id = request->machine_id,
			.session = request->session,
			.store_id = request->store_id,
			.revision = request->revision,
			.info = request->info,
			.peer_address = "10.0.0.1"}};
	struct core_answer answer;
	struct fl_error err;

	if (step(coordinator, &event, &answer, &err) != FL_OK) {
		reply_error(from, request_id, err.code, fl_error_text(&err));
		return;
	}
	if (held->from != NULL)
		reply_empty(held);
	*held = (struct held){
		.from = from, .request_id = request_id, .revision = request->revision};
	snprintf(held->store_id, sizeof(held->store_id), "%s", request->store_id);
	/* What a machine is it tells once: an answer says that this is on disk. */
	if ((request->info == NULL || is_durable(coordinator)) && answer_sync(coordinator, machine))
		return;
	if (!is_durable(coordinator))
		coordinator->batch.wake[machine] = true;
	world_after(coordinator->world, &coordinator->server.process, HOLD_MS, on_held_expired,
		coordinator, fl_memdup0(held, sizeof(*held)));
}

static void on_report(struct coordinator *coordinator, struct connection *from, uint64_t request_id,
	const Pb__ReportRequest *request)
{
	struct core_event event = {.kind = CORE_REPORT, .report = {.report = request}};
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__ReportReply body = PB__REPORT_REPLY__INIT;
	struct core_answer answer = {0};
	struct fl_error err;

	if (step(coordinator, &event, &answer, &err) != FL_OK) {
		reply_error(from, request_id, err.code, fl_error_text(&err));
		return;
	}
	body.lease_ms = core_lease_ms(coordinator->core);
	body.want_all = answer.want_all;
	body.exclusive_ms = answer.exclusive_ms;
	reply.body_case = PB__ENVELOPE__BODY_REPORT_REPLY;
	reply.report_reply = &body;
	connection_reply(from, request_id, &reply);
}

static void send_when_durable(struct coordinator *coordinator, struct connection *to,
	uint64_t request_id, const Pb__Envelope *message)
{
	struct reply *reply = FL_NEW(struct reply);

	assert_non_null(reply);
	*reply = (struct reply){.to = to,
		.request_id = request_id,
		.message = (Pb__Envelope *)message_again(&message->base)};
	fl_list_append(&coordinator->batch.gathering, &reply->link);
}

static void remember(struct coordinator *coordinator, uint64_t token, const Pb__Envelope *reply)
{
	size_t at = coordinator->n_tokens++ % TOKENS_KEPT;

	pb__envelope__free_unpacked(coordinator->tokens[at].reply, NULL);
	coordinator->tokens[at].token = token;
	coordinator->tokens[at].reply = (Pb__Envelope *)message_again(&reply->base);
}

static void change(struct coordinator *coordinator, struct connection *from, uint64_t request_id,
	const Pb__ChangeRequest *request)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__ChangeReply body = PB__CHANGE_REPLY__INIT;

	body.n_results = request->n_changes;
	body.results = fl_new_array(request->n_changes + 1, sizeof(Pb__ChangeResult *));
	assert_non_null(body.results);
	for (size_t i = 0; i < request->n_changes; i++) {
		struct core_event event = {.kind = CORE_CHANGE,
			.change = {.change = request->changes[i],
				.tenant = "default",
				.max_refusals = 10}};
		struct core_answer answer;
		struct fl_error err;

		if (step(coordinator, &event, &answer, &err) != FL_OK)
			fail_msg("%s", fl_error_text(&err));
		guard_change_result(
			coordinator->guard, coordinator, request->changes[i], answer.result);
		body.results[i] = answer.result;
	}
	body.revision = core_revision(coordinator->core);
	reply.body_case = PB__ENVELOPE__BODY_CHANGE_REPLY;
	reply.change_reply = &body;
	remember(coordinator, request->token, &reply);
	send_when_durable(coordinator, from, request_id, &reply);
	for (size_t i = 0; i < request->n_changes; i++)
		core_message_free(&body.results[i]->base);
	free(body.results);
}

/* What is wrong with one of them is not answered: whoever asked looks. */
static void operate(struct coordinator *coordinator, struct connection *from, uint64_t request_id,
	const Pb__MachineChangeRequest *request)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__MachineChangeReply body = PB__MACHINE_CHANGE_REPLY__INIT;

	for (size_t i = 0; i < request->n_machines; i++) {
		struct core_event event = {.kind = CORE_MACHINE_CHANGE,
			.machine_change = {.verb = request->verb,
				.machine_id = request->machines[i],
				.by = "ana",
				.reason = request->reason,
				.deadline_ms = request->deadline_ms,
				.parallel = request->parallel}};
		struct core_answer answer;

		(void)step(coordinator, &event, &answer, NULL);
	}
	reply.body_case = PB__ENVELOPE__BODY_MACHINE_CHANGE_REPLY;
	reply.machine_change_reply = &body;
	send_when_durable(coordinator, from, request_id, &reply);
}

/* The plan, and some of it done at once. */
static void rebalance(struct coordinator *coordinator, struct connection *from, uint64_t request_id,
	const Pb__RebalanceRequest *request)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__RebalanceReply *plan;

	assert_int_equal(core_rebalance(coordinator->core, request->max_moves, &plan, NULL), FL_OK);
	for (size_t i = 0; i < plan->n_moves; i++) {
		struct core_event event = {.kind = CORE_MOVE,
			.move = {.unit = plan->moves[i]->unit,
				.from = plan->moves[i]->from,
				.to = plan->moves[i]->to}};
		struct core_answer answer;

		(void)step(coordinator, &event, &answer, NULL);
	}
	reply.body_case = PB__ENVELOPE__BODY_REBALANCE_REPLY;
	reply.rebalance_reply = plan;
	send_when_durable(coordinator, from, request_id, &reply);
	core_message_free(&plan->base);
}

static void on_change(struct coordinator *coordinator, struct connection *from, uint64_t request_id,
	const Pb__ChangeRequest *request)
{
	for (size_t i = 0; i < TOKENS_KEPT; i++)
		if (coordinator->tokens[i].reply != NULL &&
			coordinator->tokens[i].token == request->token) {
			world_trace(coordinator->world, "coordinator: the same request again");
			send_when_durable(
				coordinator, from, request_id, coordinator->tokens[i].reply);
			return;
		}
	if (coordinator->batch.retry_ms != 0)
		reply_error(from, request_id, FL_E_STORE, "the store cannot be written");
	else
		change(coordinator, from, request_id, request);
}

static void on_request(
	struct connection *from, uint64_t request_id, const Pb__Envelope *message, void *userdata)
{
	struct coordinator *coordinator = userdata;

	if (message->body_case == PB__ENVELOPE__BODY_SYNC_REQUEST)
		on_sync(coordinator, from, request_id, message->sync_request);
	else if (message->body_case == PB__ENVELOPE__BODY_REPORT_REQUEST)
		on_report(coordinator, from, request_id, message->report_request);
	else if (message->body_case == PB__ENVELOPE__BODY_CHANGE_REQUEST)
		on_change(coordinator, from, request_id, message->change_request);
	else if (coordinator->batch.retry_ms != 0)
		reply_error(from, request_id, FL_E_STORE, "the store cannot be written");
	else if (message->body_case == PB__ENVELOPE__BODY_MACHINE_CHANGE_REQUEST)
		operate(coordinator, from, request_id, message->machine_change_request);
	else
		rebalance(coordinator, from, request_id, message->rebalance_request);
	flush(coordinator);
}

static void on_gone(struct connection *connection, void *userdata)
{
	struct coordinator *coordinator = userdata;

	for (size_t i = 0; i < SIM_MACHINES_MAX; i++)
		if (coordinator->held[i].from == connection)
			coordinator->held[i].from = NULL;
}

/* ---- Life -------------------------------------------------------------------------------- */

static int compare_records(const void *a, const void *b)
{
	return strcmp((*(const struct core_write *const *)a)->key,
		(*(const struct core_write *const *)b)->key);
}

/* In an order that differs from time to time: the core promises that it does not matter. */
static void load(struct coordinator *coordinator)
{
	size_t n = fl_map_count(coordinator->store.records), i = 0;
	const struct core_write **records = fl_new_array(n + 1, sizeof(*records));
	struct fl_error err;

	assert_non_null(records);
	FL_MAP_FOREACH (entry, following, coordinator->store.records)
		records[i++] = fl_map_value(entry);
	qsort(records, n, sizeof(*records), compare_records);
	while (n > 0) {
		i = world_pick(coordinator->world, (uint32_t)n);
		if (core_load(coordinator->core, records[i]->key, records[i]->data, records[i]->len,
			    &err) != FL_OK)
			fail_msg("%s", fl_error_text(&err));
		records[i] = records[--n];
	}
	free(records);
}

void coordinator_start(struct coordinator *coordinator, bool machine_booted)
{
	struct core_config config = {
		.lease_ms = FLEET_LEASE_MS, .store_id = "store", .fleet = "simulated"};
	struct world *world = coordinator->world;

	if (machine_booted)
		coordinator->clock_offset_ms = world->now_ms - world_between(world, 1000, 60000);
	coordinator->began_ms = coordinator_now_ms(coordinator);
	config.wall_offset_ms = WALL_MS + world->now_ms - coordinator->began_ms;
	coordinator->tick_at_ms = UINT64_MAX;
	assert_int_equal(core_new(&coordinator->core, &config, NULL), FL_OK);
	core_effects_init(&coordinator->effects);
	load(coordinator);
	assert_int_equal(
		core_loaded(coordinator->core, coordinator->began_ms, &coordinator->effects, NULL),
		FL_OK);
	coordinator->n_starts++;
	world_trace(world, "coordinator: started, %zu units, %zu machines",
		core_unit_count(coordinator->core), core_machine_count(coordinator->core));
	guard_loaded(coordinator->guard, coordinator);
	flush(coordinator); /* it serves when this is durable */
}

static void forget_memory(struct coordinator *coordinator)
{
	struct batch *batch = &coordinator->batch;
	struct fl_list *node;

	writes_drop(batch);
	while ((node = fl_list_pop(&batch->gathering)) != NULL)
		reply_free(FL_LIST_ENTRY(node, struct reply, link));
	while ((node = fl_list_pop(&batch->replies)) != NULL)
		reply_free(FL_LIST_ENTRY(node, struct reply, link));
	batch->committing = false;
	batch->retry_ms = 0;
	batch->revision = batch->durable_revision = 0;
	memset(batch->wake, 0, sizeof(batch->wake));
	memset(coordinator->held, 0, sizeof(coordinator->held));
	for (size_t i = 0; i < TOKENS_KEPT; i++) {
		pb__envelope__free_unpacked(coordinator->tokens[i].reply, NULL);
		coordinator->tokens[i].reply = NULL;
	}
	core_effects_fini(&coordinator->effects);
	core_free(coordinator->core);
	coordinator->core = NULL;
}

void coordinator_kill(struct coordinator *coordinator)
{
	struct batch *batch = &coordinator->batch;

	coordinator->server.process.life++;
	coordinator->server.process.asleep_until_ms = 0;
	coordinator->server.listening = false;
	network_server_died(&coordinator->server);
	coordinator->n_lost_batches += batch->committing;
	if (batch->committing && world_chance(coordinator->world, 50))
		store_apply(&coordinator->store, batch);
	world_trace(coordinator->world, "coordinator: killed%s",
		batch->committing ? " with a commit under way" : "");
	forget_memory(coordinator);
}

void coordinator_open(struct coordinator *coordinator, struct world *world, struct guard *guard)
{
	*coordinator = (struct coordinator){.world = world, .guard = guard};
	coordinator->server = (struct network_server){.process = {.clock_permille = 1000},
		.request = on_request,
		.gone = on_gone,
		.userdata = coordinator};
	fl_list_init(&coordinator->server.links);
	coordinator->store.delay_max_ms = 10;
	fl_list_init(&coordinator->batch.writes);
	fl_list_init(&coordinator->batch.gathering);
	fl_list_init(&coordinator->batch.replies);
	assert_int_equal(fl_map_new(&coordinator->store.records, NULL), FL_OK);
}

void coordinator_close(struct coordinator *coordinator)
{
	if (coordinator->core != NULL)
		forget_memory(coordinator);
	fl_buf_fini(&coordinator->batch.snapshot);
	fl_buf_fini(&coordinator->store.snapshot);
	FL_MAP_FOREACH (entry, following, coordinator->store.records)
		write_free(fl_map_value(entry));
	fl_map_free(coordinator->store.records);
}
