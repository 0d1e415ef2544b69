/*
 * The daemon around the real core, with coordinator/batch.h's rules over a modelled store: what a
 * turn decided is committed as one batch, after a while; replies and pushes that tell of it leave
 * afterwards; a commit that fails is tried again, and new changes are refused meanwhile; a kill
 * loses what was not committed, and of the batch under way nobody knows.
 */
#pragma once

#include "base/buf.h"
#include "base/map.h"
#include "coordinator/core/core.h"
#include "tests/sim/network.h"

#define SIM_MACHINES_MAX 24

struct guard;

/* What survives everything. */
struct store {
	struct fl_map *records; /* key → struct core_write */
	struct fl_buf snapshot; /* fleet_snapshot() of the core that wrote it */
	bool bad; /* writes fail, for now */
	uint32_t delay_max_ms;
};

/* A SyncRequest that waits for something to say. */
struct held {
	struct connection *from; /* NULL: none */
	uint64_t request_id;
	char store_id[40];
	uint64_t revision;
};

struct batch {
	bool committing;
	struct fl_list writes;
	struct fl_buf snapshot;
	uint64_t revision, durable_revision;
	uint32_t retry_ms;
	struct fl_list gathering, replies;
	bool wake[SIM_MACHINES_MAX];
};

#define TOKENS_KEPT 256

struct coordinator {
	struct world *world;
	struct guard *guard;
	struct network_server server; /* its process is the coordinator's */
	struct core *core; /* NULL while it is dead */
	struct core_effects effects;
	struct store store;
	struct batch batch;
	struct held held[SIM_MACHINES_MAX];
	struct {
		uint64_t token;
		Pb__Envelope *reply;
	} tokens[TOKENS_KEPT];
	size_t n_tokens;
	uint64_t began_ms; /* by its clock */
	uint64_t clock_offset_ms; /* a machine that boots begins its clock anew */
	uint64_t tick_at_ms; /* when a tick is due to come */
	unsigned n_starts, n_lost_batches;
};

void coordinator_open(struct coordinator *coordinator, struct world *world, struct guard *guard);
void coordinator_close(struct coordinator *coordinator);
void coordinator_start(struct coordinator *coordinator, bool machine_booted);
void coordinator_kill(struct coordinator *coordinator);
uint64_t coordinator_now_ms(const struct coordinator *coordinator);

/* "machine07" → 7 */
unsigned machine_index(const char *machine_id);
