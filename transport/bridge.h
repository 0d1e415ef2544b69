/*
 * What client and server share: the way from nng's threads to the loop, and nng's words in ours.
 *
 * A post is embedded in what has something to tell. nng's callback fills in the object around it and
 * posts; from then on the object is the loop's, until deliver() has run.
 */
#pragma once

#include <nng/nng.h>
#include <stddef.h>
#include <uv.h>

#include "base/error.h"
#include "base/list.h"
#include "base/mailbox.h"

struct bridge_post {
	struct fl_list node;
	void (*deliver)(struct bridge_post *post); /* on the loop */
};

/* Any thread. */
void bridge_post(struct fl_mailbox *mailbox, struct bridge_post *post);

/* The fl_mailbox_drain of a mailbox of posts. */
void bridge_drain(struct fl_list *items, void *userdata);

/* Closes a socket without making the loop wait for its connections to go. */
struct bridge_closer {
	struct bridge_post post; /* delivered when the socket is closed */
	struct fl_mailbox *mailbox;
	nng_socket socket;
	uv_thread_t thread;
	bool threaded;
};

/* The caller has filled in @closer->post.deliver. */
void bridge_closer_start(
	struct bridge_closer *closer, struct fl_mailbox *mailbox, nng_socket socket);

/* For deliver(). */
void bridge_closer_join(struct bridge_closer *closer);

/* nng's error for a person: "connection refused". */
const char *bridge_error_text(int rv);

/* "10.0.0.7" or "fd00::7", without port; "" for what has no IP address. @option is NNG_OPT_REMADDR
 * or NNG_OPT_LOCADDR. */
void bridge_pipe_address(nng_pipe pipe, const char *option, char *text, size_t size);

/* The remote address of a TLS engine's stream. */
void bridge_stream_address(void *stream, char *text, size_t size);
