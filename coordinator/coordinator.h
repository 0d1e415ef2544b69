/*
 * What the daemon's files share: one loop, one core, and who serves what.
 *
 *	daemon.c          its life: load, listen, stop; the one timer
 *	exchange.c        a request from its arrival to its reply
 *	routes.c          which peer may send what, and who handles it
 *	batch.c           what was decided becomes durable; only then do replies leave
 *	service_units.c   what people ask
 *	watches.c         their long polls
 *	followers.c       who follows what happens
 *	service_agents.c  what machines ask; their long polls
 *	service_join.c    tokens, machines that join, certificates
 *	service_releases.c  releases of the agent, and upgrades (releases.c: the disk)
 *	service_calls.c   status and journal, between the two
 *	authority.c       the CA and the coordinator's certificate, as both change
 *	service_ca.c      what people ask about that
 *	gate.c            machines whose certificates no longer count
 *	attempts.c        how often an address may fail to join
 *	descriptors.c     whether connections can be accepted
 *	tokens.c          replies remembered for requests that come twice
 *
 * All of it belongs to the loop's thread.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "coordinator/config.h"
#include "coordinator/core/core.h"
#include "coordinator/deadlines.h"
#include "coordinator/store/store.h"

struct accounts;
struct agents;
struct attempts;
struct authority;
struct batch;
struct ca;
struct calls;
struct descriptors;
struct followers;
struct publisher;
struct revoked;
struct tokens;
struct transport_server;
struct watches;

struct coordinator {
	uv_loop_t *loop;
	const struct config *config;
	const char *fleet;
	struct ca *ca; /* NULL: its key is kept elsewhere, and machines do not join by themselves */
	struct core *core;
	struct core_effects effects;
	struct store *store;
	struct deadlines *deadlines;
	struct batch *batch;
	struct accounts *accounts;
	struct agents *agents;
	struct attempts *attempts;
	struct authority *authority;
	struct calls *calls;
	struct descriptors *descriptors;
	struct followers *followers;
	struct publisher *publisher;
	struct tokens *tokens;
	struct watches *watches;
	struct transport_server *server; /* NULL before it serves */
	struct revoked *revoked;
	bool stopping;
};

/* The core's step, with the effects going to the next batch. */
enum fl_code coordinator_step(struct coordinator *coordinator, const struct core_event *event,
	struct core_answer *ret_answer, struct fl_error *err) FL_MUST_CHECK;

/* The coordinator has another certificate: from authority.c to daemon.c. */
void coordinator_certified(struct coordinator *coordinator);

/* The store has taken what the core began with, or cannot: from batch.c to daemon.c. */
void coordinator_durable(struct coordinator *coordinator);
