#include "tests/sim/network.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define RECONNECT_MIN_MS 100U
#define RECONNECT_MAX_MS 5000U
#define STALLED_LOOK_MS  50U

struct packet {
	struct fl_list link;
	uint64_t due_ms;
	uint64_t request_id;
	size_t len;
	uint8_t data[];
};

struct connection {
	struct fl_list of_link;
	struct link *link;
	uint64_t server_life;
	struct fl_list packets[2];
	uint64_t last_due_ms[2];
	bool pumping[2];
};

struct request {
	struct fl_list link;
	uint64_t id;
	uint32_t timeout_ms;
	link_done done;
	void *owner;
	Pb__Envelope *message;
};

static void connect_later(struct link *link);
static void pump_later(struct connection *connection, int way, uint64_t ms);

void link_open(struct link *link, struct world *world, struct network_server *server,
	struct process *client, const char *name)
{
	*link = (struct link){.world = world, .server = server, .client = client};
	snprintf(link->name, sizeof(link->name), "%s", name);
	link->latency_max_ms = 5;
	fl_list_init(&link->unanswered);
	fl_list_init(&link->connections);
	fl_list_append(&server->links, &link->of_server);
}

/* ---- On the way -------------------------------------------------------------------------- */

static Pb__Envelope *unpack(const struct packet *packet)
{
	Pb__Envelope *message = pb__envelope__unpack(NULL, packet->len, packet->data);

	fl_assert(message != NULL);
	return message;
}

static void packets_drop(struct fl_list *packets)
{
	struct fl_list *node;

	while ((node = fl_list_pop(packets)) != NULL)
		free(FL_LIST_ENTRY(node, struct packet, link));
}

static void send_packet(
	struct connection *connection, int way, uint64_t request_id, const Pb__Envelope *message)
{
	struct world *world = connection->link->world;
	size_t len = pb__envelope__get_packed_size(message);
	struct packet *packet = fl_new_array(1, sizeof(*packet) + len);
	uint64_t due_ms = world->now_ms + world_between(world, 0, connection->link->latency_max_ms);

	fl_assert(packet != NULL);
	packet->request_id = request_id;
	packet->len = pb__envelope__pack(message, packet->data);
	if (due_ms < connection->last_due_ms[way])
		due_ms = connection->last_due_ms[way];
	packet->due_ms = connection->last_due_ms[way] = due_ms;
	fl_list_append(&connection->packets[way], &packet->link);
	if (!connection->pumping[way])
		pump_later(connection, way, due_ms - world->now_ms);
}

static void deliver_up(struct connection *connection, const struct packet *packet)
{
	struct network_server *server = connection->link->server;
	Pb__Envelope *message;

	if (!server->listening || server->process.life != connection->server_life)
		return;
	message = unpack(packet);
	server->request(connection, packet->request_id, message, server->userdata);
	pb__envelope__free_unpacked(message, NULL);
}

static void request_end(struct request *request, const Pb__Envelope *answer)
{
	link_done done = request->done;
	void *owner = request->owner;

	fl_list_remove(&request->link);
	pb__envelope__free_unpacked(request->message, NULL);
	free(request);
	if (done != NULL)
		done(owner, answer);
}

static struct request *request_find(const struct link *link, uint64_t id)
{
	struct request *request;

	FL_LIST_FOREACH (request, &link->unanswered, link)
		if (request->id == id)
			return request;
	return NULL;
}

static void deliver_down(struct connection *connection, const struct packet *packet)
{
	struct link *link = connection->link;
	struct request *request = request_find(link, packet->request_id);
	Pb__Envelope *message;

	if (link->connection != connection || request == NULL)
		return;
	message = unpack(packet);
	request_end(request, message);
	pb__envelope__free_unpacked(message, NULL);
}

static uint64_t asleep_ms(const struct world *world, const struct process *process)
{
	return process->asleep_until_ms > world->now_ms ? process->asleep_until_ms - world->now_ms
							: 0;
}

static void pump(struct connection *connection, int way)
{
	struct link *link = connection->link;
	const struct process *to = way == UPWARDS ? &link->server->process : link->client;

	connection->pumping[way] = false;
	while (!fl_list_empty(&connection->packets[way])) {
		struct packet *packet =
			FL_LIST_ENTRY(connection->packets[way].next, struct packet, link);
		uint64_t wait_ms = asleep_ms(link->world, to);

		if (wait_ms > STALLED_LOOK_MS)
			wait_ms = STALLED_LOOK_MS; /* it may be woken before */
		if (link->cut[way] && wait_ms == 0)
			wait_ms = world_between(link->world, 1, STALLED_LOOK_MS);
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one freed is in no list any more */
		if (packet->due_ms > link->world->now_ms && wait_ms == 0)
			wait_ms = packet->due_ms - link->world->now_ms;
		if (wait_ms > 0) {
			pump_later(connection, way, wait_ms);
			return;
		}
		fl_list_remove(&packet->link);
		if (way == UPWARDS)
			deliver_up(connection, packet);
		else
			deliver_down(connection, packet);
		free(packet);
	}
}

static void pump_up(void *owner, void *data)
{
	(void)data;
	pump(owner, UPWARDS);
}

static void pump_down(void *owner, void *data)
{
	(void)data;
	pump(owner, DOWNWARDS);
}

static void pump_later(struct connection *connection, int way, uint64_t ms)
{
	if (connection->pumping[way])
		return;
	connection->pumping[way] = true;
	world_after(connection->link->world, NULL, ms, way == UPWARDS ? pump_up : pump_down,
		connection, NULL);
}

/* ---- Connections ------------------------------------------------------------------------- */

struct link *connection_link(const struct connection *connection)
{
	return connection->link;
}

void connection_reply(
	struct connection *connection, uint64_t request_id, const Pb__Envelope *message)
{
	/* Over a connection that the client has left nothing arrives. */
	if (connection->link->connection == connection)
		send_packet(connection, DOWNWARDS, request_id, message);
}

static void connect_now(void *owner, void *data)
{
	struct link *link = owner;
	struct network_server *server = link->server;
	struct connection *connection;
	struct request *request;

	(void)data;
	link->connecting = false;
	if (link->connection != NULL)
		return;
	if (link->cut[UPWARDS] || link->cut[DOWNWARDS] || !server->listening ||
		asleep_ms(link->world, &server->process) > 0) {
		connect_later(link);
		return;
	}
	connection = FL_NEW(struct connection);
	fl_assert(connection != NULL);
	connection->link = link;
	connection->server_life = server->process.life;
	fl_list_init(&connection->packets[UPWARDS]);
	fl_list_init(&connection->packets[DOWNWARDS]);
	fl_list_append(&link->connections, &connection->of_link);
	link->connection = connection;
	FL_LIST_FOREACH (request, &link->unanswered, link)
		send_packet(connection, UPWARDS, request->id, request->message);
}

static void connect_later(struct link *link)
{
	if (link->connecting)
		return;
	link->connecting = true;
	world_after(link->world, link->client,
		world_between(link->world, RECONNECT_MIN_MS, RECONNECT_MAX_MS), connect_now, link,
		NULL);
}

static void server_notices(void *owner, void *data)
{
	struct connection *connection = owner;
	struct network_server *server = connection->link->server;

	(void)data;
	if (server->process.life == connection->server_life)
		server->gone(connection, server->userdata);
}

void link_break(struct link *link, const char *why)
{
	struct connection *connection = FL_TAKE(link->connection);

	if (connection == NULL)
		return;
	world_trace(link->world, "%s: connection broken: %s", link->name, why);
	packets_drop(&connection->packets[DOWNWARDS]);
	if (world_chance(link->world, 50))
		packets_drop(&connection->packets[UPWARDS]);
	/* By a FIN, or by silence. */
	world_after(link->world, NULL, world_between(link->world, 1, 20000), server_notices,
		connection, NULL);
	connect_later(link);
}

static void client_notices(void *owner, void *data)
{
	struct connection *connection = owner;
	struct link *link = connection->link;

	(void)data;
	if (link->connection != connection)
		return;
	if (link->cut[UPWARDS] || link->cut[DOWNWARDS])
		world_after(link->world, link->client, STALLED_LOOK_MS, client_notices, connection,
			NULL);
	else
		link_break(link, "the coordinator is gone");
}

void network_server_died(struct network_server *server)
{
	struct link *link;

	FL_LIST_FOREACH (link, &server->links, of_server)
		if (link->connection != NULL)
			world_after(link->world, link->client, world_pick(link->world, 5),
				client_notices, link->connection, NULL);
}

static void requests_drop(struct link *link)
{
	struct fl_list *node;

	while ((node = fl_list_pop(&link->unanswered)) != NULL) {
		struct request *request = FL_LIST_ENTRY(node, struct request, link);

		request->done = NULL;
		request_end(request, NULL);
	}
}

void link_reset(struct link *link)
{
	requests_drop(link);
	link->connecting = true; /* not before somebody calls again */
	link_break(link, "its client was killed");
	link->connecting = false;
}

void link_close(struct link *link)
{
	struct fl_list *node;

	requests_drop(link);
	while ((node = fl_list_pop(&link->connections)) != NULL) {
		struct connection *connection = FL_LIST_ENTRY(node, struct connection, of_link);

		packets_drop(&connection->packets[UPWARDS]);
		packets_drop(&connection->packets[DOWNWARDS]);
		free(connection);
	}
}

ProtobufCMessage *message_again(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *packed = fl_new_array(1, len + 1);
	ProtobufCMessage *copy;

	fl_assert(packed != NULL);
	protobuf_c_message_pack(message, packed);
	copy = protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
	free(packed);
	fl_assert(copy != NULL);
	return copy;
}

/* ---- Requests ---------------------------------------------------------------------------- */

static void on_timeout(void *owner, void *data)
{
	struct link *link = owner;
	struct request *request = request_find(link, *(const uint64_t *)data);

	if (request != NULL)
		request_end(request, NULL);
}

void link_call(struct link *link, const Pb__Envelope *message, uint32_t timeout_ms, link_done done,
	void *owner)
{
	struct request *request = FL_NEW(struct request);
	uint64_t *id = FL_NEW(uint64_t);

	fl_assert(request != NULL && id != NULL);
	*request = (struct request){.id = ++link->next_id,
		.done = done,
		.owner = owner,
		.message = (Pb__Envelope *)message_again(&message->base)};
	*id = request->id;
	fl_list_append(&link->unanswered, &request->link);
	world_after(link->world, link->client, timeout_ms, on_timeout, link, id);
	if (link->connection != NULL)
		send_packet(link->connection, UPWARDS, request->id, message);
	else
		connect_later(link);
}
