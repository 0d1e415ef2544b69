/*
 * Requests and replies as transport/ has them: one connection at a time from a client to the
 * coordinator, over which bytes arrive in order or not at all. What can happen to it:
 *
 *	it breaks        replies under way are lost; requests under way may still arrive; when there
 *	                 is another connection the client sends again what is unanswered, so the
 *	                 coordinator may see a request twice
 *	a direction is   what is under way stalls until it is open again; no new connection is made
 *	cut
 *	the coordinator  all of that, and what was sent to an earlier life never arrives at a later
 *	dies
 */
#pragma once

#include "base/list.h"
#include "proto/flota.pb-c.h"
#include "tests/sim/world.h"

struct connection;
struct request;

/* What a server hears. @message is borrowed, and was on the wire: packed and read again. */
struct network_server {
	struct process process;
	bool listening;
	void (*request)(struct connection *from, uint64_t request_id, const Pb__Envelope *message,
		void *server);
	void (*gone)(struct connection *connection, void *server);
	void *userdata;
	struct fl_list links;
};

/* It was killed: its kernel says so to every client, when it can. */
void network_server_died(struct network_server *server);

enum { UPWARDS, DOWNWARDS };

struct link {
	struct world *world;
	struct network_server *server;
	struct process *client;
	char name[40];
	struct connection *connection; /* NULL: none */
	bool connecting;
	bool cut[2];
	uint32_t latency_max_ms;
	uint64_t next_id;
	struct fl_list of_server;
	struct fl_list unanswered;
	struct fl_list connections; /* old ones too */
};

/* @message is NULL when there was no answer in time. */
typedef void (*link_done)(void *owner, const Pb__Envelope *message);

void link_open(struct link *link, struct world *world, struct network_server *server,
	struct process *client, const char *name);
void link_close(struct link *link);
/* The client was killed: nobody waits any more. */
void link_reset(struct link *link);
/* Without the wish of either side. */
void link_break(struct link *link, const char *why);
void link_call(struct link *link, const Pb__Envelope *message, uint32_t timeout_ms, link_done done,
	void *owner);

/* The server's side. A connection outlives its link's use of it. */
struct link *connection_link(const struct connection *connection);
void connection_reply(
	struct connection *connection, uint64_t request_id, const Pb__Envelope *message);

/* A deep copy; pb__..._free_unpacked() it. */
ProtobufCMessage *message_again(const ProtobufCMessage *message);
