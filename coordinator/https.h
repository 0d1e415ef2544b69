/*
 * The coordinator's small HTTPS server, for machines that have nothing of flota yet: GET and HEAD of
 * /healthz and of /agents/VERSION/ARCH/FILE. It asks for no certificate and serves nothing secret.
 *
 * It runs in a thread of its own, on libwebsockets' own loop: it reads files, and a peer that keeps
 * it busy keeps nothing else. The thread shares nothing with the daemon's loop but what is said here.
 *
 * What a peer can take: HTTPS_PEERS_MAX connections in all and HTTPS_PEERS_PER_ADDRESS from one
 * address (of IPv6, from one /64); HTTPS_IDLE_S of silence at any point; HTTPS_TRANSFER_S for one
 * file; 4 kB of headers. One connection more is closed as soon as it is accepted.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define HTTPS_PEERS_MAX         512U
#define HTTPS_PEERS_PER_ADDRESS 64U
#define HTTPS_IDLE_S            10U
#define HTTPS_TRANSFER_S        900U

struct https;

struct https_config {
	const char *address; /* NULL: all */
	uint16_t port; /* 0: the kernel chooses */
	const char *certificate, *key; /* paths of PEM files; TLS 1.2 and up */
	const char *directory; /* what is below /agents/ */
};

/* Reads "[ADDRESS:]PORT", or "[IPV6]:PORT". *ret_address is the caller's, and NULL for all.
 * FL_E_INVALID. */
enum fl_code https_parse_listen(const char *text, char **ret_address, uint16_t *ret_port,
	struct fl_error *err) FL_MUST_CHECK;

/* Listens when it returns. */
enum fl_code https_open(struct https **ret_https, const struct https_config *config,
	struct fl_error *err) FL_MUST_CHECK;

/* Ends what is under way and waits for its thread, which never takes long. NULL is nothing. */
void https_close(struct https *https);

uint16_t https_port(const struct https *https);

/* Certificate and key are read again, for connections to come. */
void https_reload(struct https *https);
