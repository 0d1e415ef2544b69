/*
 * For tests: the real coordinator as a process of its own, and peers that speak to it from the
 * test's loop. Everything asserts; nothing sleeps.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "proto/wire.h"
#include "transport/client.h"

struct fleet {
	char directory[64];
	uv_loop_t loop;
	pid_t pid; /* of the coordinator; 0 = not running */
	int notify_fd; /* where it says READY=1 */
	char address[16]; /* of this process alone, so that a port stays free over a restart */
	uint16_t port;
};

/* A fleet "test" in a new folder, with certificates for machines m1, m2 and operator ana. */
struct fleet *fleet_new(void);

/* Starts the coordinator and waits until it serves; on its old port, when it had one. */
void fleet_start(struct fleet *fleet);

/* Ends it with @number and waits; returns its status as of waitpid(2). */
int fleet_kill(struct fleet *fleet, int number);

/* Ends the coordinator if it runs (it must end well) and removes all. */
void fleet_free(struct fleet *fleet);

/* Runs flota-coordinator with these words, NULL-terminated; returns its exit code. */
int fleet_command(const char *const *words);

/* What the coordinator has logged so far; allocated. */
char *fleet_log(const struct fleet *fleet);

struct peer {
	struct fleet *fleet;
	struct transport_client *client;
	struct tls_credentials *credentials;
	bool closed;
};

/* Over TLS, as "machine m1", "operator ana", ...: @files is the folder in the fleet's, @name the
 * file's. */
struct peer *peer_new(struct fleet *fleet, const char *files, const char *name);
/* Over the local socket. */
struct peer *peer_new_local(struct fleet *fleet);
void peer_free(struct peer *peer);

/* A request under way. */
struct asked;

/* Sends @request (version and ID are set here, an ID that is set already is kept). */
struct asked *peer_ask(struct peer *peer, Pb__Envelope *request);
bool asked_is_done(const struct asked *asked);
/* Runs the loop until the reply is there, and takes it; the caller's, wire_free(). */
Pb__Envelope *asked_wait(struct asked *asked);
/* Nobody wants it any more. */
void asked_cancel(struct asked *asked);

/* Both. */
Pb__Envelope *peer_call(struct peer *peer, Pb__Envelope *request);

/* The same for a reply that must be this error, whose text must hold @text. */
void peer_call_fails(struct peer *peer, Pb__Envelope *request, enum fl_code code, const char *text);
