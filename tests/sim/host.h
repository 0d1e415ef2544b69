/*
 * A host and its agent, as a small model with the real agent's rules (agent/agent.c, unit.c,
 * link.c): the assignment is on disk before the next question; an older epoch is refused; a unit is
 * started once for each epoch, content and start_generation, and the markers of that are in /run;
 * units live on when the agent dies, and are gone when the host does.
 *
 * What is where, and what it survives:
 *
 *	memory      sync, report, units           nothing
 *	/run        done markers, systemd's units   an agent's kill
 *	disk        the assignment with its revision   a reboot
 */
#pragma once

#include "base/map.h"
#include "tests/sim/network.h"

struct guard;

/* What was carried out last for a unit. */
struct done {
	char hash[48];
	Pb__DesiredState desired;
	uint64_t epoch, start_generation, restart_generation;
};

/* A unit as systemd has it. */
struct host_unit {
	char hash[48];
	bool running, failed;
	bool bad; /* its file's program fails */
	bool exclusive; /* as it was started */
	uint32_t stop_ms;
	uint64_t start; /* the number of its last one, of all starts on the host */
};

/* agent/lease.h */
enum host_lease { HOST_LEASE_NONE, HOST_LEASE_KEPT, HOST_LEASE_OURS };

enum host_step { STEP_NONE, STEP_INSTALL, STEP_START, STEP_STOP, STEP_RESTART, STEP_REMOVE };

/* A unit as the agent has it. */
struct agent_unit {
	char name[64];
	Pb__Assignment *assignment; /* NULL: taken up from the host, never assigned */
	bool assigned, seen, held, stop_wanted, gone;
	enum host_step step; /* under way */
	bool backoff;
	bool canceled; /* the start under way: the lease ended */
	struct done working_on, done;
	bool working_on_bad; /* a file whose program fails */
	uint64_t revision, done_revision;
	bool reportable;
};

struct host_disk {
	bool whole; /* there is a record, and it can be read */
	char store_id[40];
	uint64_t revision;
	struct fl_map *assignments; /* of Pb__Assignment */
};

enum sync_state { SYNC_PAUSED, SYNC_ASKING, SYNC_HOLDING };
enum report_state { REPORT_IDLE, REPORT_SENDING, REPORT_RESTING };

struct host {
	struct world *world;
	struct guard *guard;
	char id[16];
	struct process process; /* the agent */
	struct link link;
	bool on, agent_runs;

	/* The machine. */
	uint32_t boots;
	uint64_t n_starts;
	char metadata[2][2][8]; /* key, value */
	struct fl_map *units; /* of struct host_unit */
	struct fl_map *done; /* of struct done, in /run */
	uint64_t booted_ms, clock_began_ms; /* by the world's clock, by its own */
	int32_t clock_ppm;
	uint64_t lease_until_ms; /* in /run, by its own clock */
	bool fenced; /* the fence runs */
	bool leased; /* in /run: systemd starts exclusive units */
	struct host_disk disk, disk_before; /* and as it was one write ago */
	bool disk_bad;
	bool was_damaged; /* its disk, ever */
	uint32_t disk_delay_max_ms;

	/* The agent. */
	uint64_t session;
	char store_id[40];
	uint64_t revision, saved_revision;
	bool in_reset, with_info;
	uint64_t asked_ms;
	enum sync_state sync;
	enum report_state report;
	uint64_t beat; /* which of the beats that were ordered counts */
	uint32_t lease_ms;
	enum host_lease lease;
	uint64_t reported_ms; /* when the report under way was sent, by its clock */
	bool no_lease; /* the last report brought none */
	uint32_t page; /* of states, the last one */
	uint64_t n_reports;
	bool all_wanted, in_all;
	struct fl_map *agent_units; /* of struct agent_unit */
};

void host_open(struct host *host, struct world *world, struct network_server *server,
	struct guard *guard, unsigned number);
void host_close(struct host *host);
void host_boot(struct host *host);
/* Power off, at once. */
void host_die(struct host *host);
void agent_start(struct host *host);
void agent_kill(struct host *host);
/* Exclusive units may run, or not any more. */
void host_lease_changed(struct host *host);
/* A unit's process is gone: systemd tells the agent, where there is one. */
void host_unit_ended(struct host *host, const char *name);
/* A unit of it ends by itself. */
void host_unit_exits(struct host *host);
/* The disk's record is damaged, or is an older one again (a snapshot that was restored); the agent
 * finds out when it starts. */
void host_damage_disk(struct host *host);
