/*
 *   nng's threads                               the loop
 *   -------------                               --------
 *   ADD_PRE: who is it? unknown: closed
 *            else a peer in the table  ------>  peer counted
 *   receive done: a receiver is posted ------>  request in its peer's account, receiver goes back
 *                                               to nng; handlers.request()
 *                                               transport_request_reply(): the reply is queued, a
 *                                               free sender takes it to nng
 *   send done: the sender is posted    ------>  the next reply of the queue
 *   REM_POST: out of the table         ------>  handlers.request_gone() for what it still has; freed
 *
 * Bounds. A message waits for the loop in one of RECEIVERS receivers and nowhere else: when all are
 * waiting nng stops reading, and TCP slows the peers down. Each connection has an account of the
 * requests and bytes it has us hold; one request over it and the connection is closed: our own
 * programs never have so many under way, so who does is broken or means harm, and a refusal that is
 * not answered would leave it waiting. Replies are as many as requests; nng keeps up to 64 of them
 * for a connection that does not read and drops what exceeds that, which peer_requests_max stays
 * below.
 *
 * Memory that is out costs the peer at hand its connection; it comes back and asks again.
 */
#include "transport/server.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsm.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "transport/bridge.h"
#include "transport/engine.h"

/* Memory that is out is told to the caller; uthash's default would end the program. */
#define HASH_NONFATAL_OOM         1
#define uthash_nonfatal_oom(peer) ((peer)->in_table = false)
#include <uthash.h>

#define RECEIVERS            32U
#define SENDERS              32U
#define NNG_REPLIES_PER_PIPE 64U
#define REQUEST_HEADER_BYTES 4U /* SP's request ID, which counts for NNG_OPT_RECVMAXSZ */

#define SERVER_STATES(X) \
	X(SERVER, OPEN, FL_TO(SERVER, CLOSING)) \
	X(SERVER, CLOSING, FL_TO(SERVER, CLOSED)) \
	X(SERVER, CLOSED, 0)
FL_FSM_DEFINE(server, SERVER_STATES)

#define PEER_STATES(X) \
	X(PEER, OPEN, FL_TO(PEER, DROPPED) | FL_TO(PEER, GONE)) \
	X(PEER, DROPPED, FL_TO(PEER, GONE)) /* closed by us; nng has not let go yet */ \
	X(PEER, GONE, 0)
FL_FSM_DEFINE(peer, PEER_STATES)

/* A connection. Made and taken out of the table by nng's threads, everything else is the loop's. */
struct transport_peer {
	struct transport_server *server;
	struct bridge_post added, gone;
	UT_hash_handle hh; /* server->peers; guarded by its lock */
	bool in_table;
	uint32_t pipe;

	struct identity identity;
	char name[IDENTITY_PART_MAX + 32];
	char address[INET6_ADDRSTRLEN];
	uint64_t number;

	struct fl_fsm fsm;
	struct fl_list requests; /* held */
	unsigned n_requests;
	size_t n_bytes;
};

struct transport_request {
	struct fl_list node; /* peer->requests; then, answered, server->replies */
	struct transport_peer *peer;
	nng_msg *message;
	uint64_t received_us;
	void *userdata;
};

struct receiver {
	struct bridge_post post;
	struct transport_server *server;
	nng_aio *aio;
	uint64_t received_us;
	bool busy; /* nng's, or posted; the loop's view */
};

struct sender {
	struct bridge_post post;
	struct transport_server *server;
	nng_aio *aio;
	struct fl_list node; /* server->idle_senders */
};

struct listener {
	nng_listener nng;
	struct tls_endpoint *endpoint; /* NULL: ipc */
	uint16_t port;
};

struct transport_server {
	struct fl_fsm fsm;
	uv_loop_t *loop;
	struct fl_mailbox *mailbox;
	struct transport_server_handlers handlers;
	void *userdata;
	struct tls_credentials *credentials; /* of new listeners */
	struct revoked *revoked;
	char fleet[IDENTITY_PART_MAX];
	size_t message_max, peer_bytes_max;
	unsigned peer_requests_max;

	nng_socket socket;
	bool socket_open;
	struct listener *listeners;
	unsigned n_listeners;
	struct receiver receivers[RECEIVERS];
	struct sender senders[SENDERS];
	unsigned receivers_busy, senders_busy;
	struct fl_list idle_senders;
	struct fl_list replies; /* requests that are answered and wait for a sender */

	pthread_mutex_t lock;
	struct transport_peer *peers; /* guarded by lock: nng's threads add and remove */
	atomic_uint_fast64_t refused; /* in ADD_PRE */

	struct transport_server_stats stats;
	struct bridge_closer closer;
	bool socket_closed;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static atomic_uint_fast64_t last_connection;

static void server_finish(struct transport_server *server);

/* ---- Requests ------------------------------------------------------------------------------- */

static void request_free(struct transport_request *request)
{
	nng_msg_free(request->message);
	free(request);
}

/* Takes it out of its peer's account. */
static void request_release(struct transport_request *request)
{
	struct transport_peer *peer = request->peer;

	fl_assert(peer->n_requests > 0);
	fl_list_remove(&request->node);
	peer->n_requests--;
	peer->n_bytes -= nng_msg_len(request->message);
	peer->server->stats.requests_held--;
}

static void peer_drop(struct transport_peer *peer, const char *why)
{
	if (peer->fsm.state != PEER_OPEN)
		return;
	fl_fsm_move(&peer->fsm, PEER_DROPPED, why);
	peer->server->stats.dropped_total++;
	fl_log(FL_WARNING, "peer.dropped", "peer=%s address=%s why=%s", peer->name, peer->address,
		why);
	(void)nng_pipe_close((nng_pipe){.id = peer->pipe});
}

static struct transport_peer *peer_find(struct transport_server *server, uint32_t pipe)
{
	struct transport_peer *peer = NULL;

	pthread_mutex_lock(&server->lock);
	HASH_FIND(hh, server->peers, &pipe, sizeof(pipe), peer);
	pthread_mutex_unlock(&server->lock);
	return peer;
}

/* Takes @message into its peer's account and hands it to the user, or frees it. */
static void server_take(struct transport_server *server, nng_msg *message, uint64_t received_us)
{
	struct transport_peer *peer =
		peer_find(server, (uint32_t)nng_pipe_id(nng_msg_get_pipe(message)));
	struct transport_request *request;
	size_t len = nng_msg_len(message);

	if (server->fsm.state != SERVER_OPEN || peer == NULL || peer->fsm.state != PEER_OPEN) {
		nng_msg_free(message);
		return;
	}
	server->stats.requests_total++;
	if (peer->n_requests >= server->peer_requests_max ||
		peer->n_bytes + len > server->peer_bytes_max) {
		nng_msg_free(message);
		peer_drop(peer, "more requests at once than a connection may have");
		return;
	}
	request = FL_NEW(struct transport_request);
	if (request == NULL) {
		nng_msg_free(message);
		peer_drop(peer, "out of memory");
		return;
	}
	request->peer = peer;
	request->message = message;
	request->received_us = received_us;
	fl_list_append(&peer->requests, &request->node);
	peer->n_requests++;
	peer->n_bytes += len;
	server->stats.requests_held++;
	server->handlers.request(request, server->userdata);
}

/* ---- Receiving and sending ------------------------------------------------------------------ */

static void receiver_start(struct receiver *receiver)
{
	receiver->busy = true;
	receiver->server->receivers_busy++;
	nng_recv_aio(receiver->server->socket, receiver->aio);
}

/* nng's thread. */
static void on_received(void *arg)
{
	struct receiver *receiver = arg;

	receiver->received_us = fl_clock_boot_us();
	bridge_post(receiver->server->mailbox, &receiver->post);
}

static void receiver_deliver(struct bridge_post *post)
{
	struct receiver *receiver = FL_CONTAINER(post, struct receiver, post);
	struct transport_server *server = receiver->server;
	int rv = nng_aio_result(receiver->aio);
	nng_msg *message = rv == 0 ? nng_aio_get_msg(receiver->aio) : NULL;
	uint64_t received_us = receiver->received_us;

	receiver->busy = false;
	server->receivers_busy--;
	if (server->fsm.state == SERVER_OPEN) {
		if (rv != 0)
			fl_log(FL_ERROR, "transport.receive_failed", "why=%s", nng_strerror(rv));
		receiver_start(receiver);
	}
	if (message != NULL)
		server_take(server, message, received_us);
	server_finish(server);
}

static void server_send(struct transport_server *server)
{
	while (!fl_list_empty(&server->replies) && !fl_list_empty(&server->idle_senders)) {
		struct fl_list *reply = fl_list_pop(&server->replies);
		struct transport_request *request =
			FL_LIST_ENTRY(reply, struct transport_request, node);
		struct sender *sender =
			FL_LIST_ENTRY(fl_list_pop(&server->idle_senders), struct sender, node);

		nng_aio_set_msg(sender->aio, FL_TAKE(request->message));
		server->senders_busy++;
		nng_send_aio(server->socket, sender->aio);
		request_free(request);
	}
}

/* nng's thread. */
static void on_sent(void *arg)
{
	struct sender *sender = arg;

	/* Not sent: still ours. */
	if (nng_aio_result(sender->aio) != 0)
		nng_msg_free(nng_aio_get_msg(sender->aio));
	nng_aio_set_msg(sender->aio, NULL);
	bridge_post(sender->server->mailbox, &sender->post);
}

static void sender_deliver(struct bridge_post *post)
{
	struct sender *sender = FL_CONTAINER(post, struct sender, post);
	struct transport_server *server = sender->server;

	server->senders_busy--;
	fl_list_append(&server->idle_senders, &sender->node);
	if (server->fsm.state == SERVER_OPEN)
		server_send(server);
	server_finish(server);
}

/* ---- Peers ---------------------------------------------------------------------------------- */

static void peer_added(struct bridge_post *post)
{
	struct transport_peer *peer = FL_CONTAINER(post, struct transport_peer, added);

	peer->server->stats.connections++;
	fl_log(FL_DEBUG, "peer.connected", "peer=%s address=%s", peer->name, peer->address);
}

static void peer_gone(struct bridge_post *post)
{
	struct transport_peer *peer = FL_CONTAINER(post, struct transport_peer, gone);
	struct transport_server *server = peer->server;
	struct fl_list *node;

	fl_fsm_move(&peer->fsm, PEER_GONE, "connection closed");
	server->stats.connections--;
	fl_log(FL_DEBUG, "peer.gone", "peer=%s address=%s", peer->name, peer->address);
	/* One by one from the head: the callee may answer others of them meanwhile. */
	while ((node = fl_list_pop(&peer->requests)) != NULL) {
		struct transport_request *request =
			FL_LIST_ENTRY(node, struct transport_request, node);

		request_release(request);
		server->handlers.request_gone(request, server->userdata);
		request_free(request);
	}
	free(peer);
	if (server->handlers.peer_gone != NULL)
		server->handlers.peer_gone(server->userdata);
	server_finish(server);
}

/* Who is at the other end of @pipe; false: nobody that we know. */
static bool identify(const struct transport_server *server, nng_pipe pipe, struct identity *ret)
{
	uint64_t uid;

	if (tls_pipe_identity(pipe, ret)) {
		/* All that sets one apart from another. */
		if (ret->kind == IDENTITY_JOINER)
			bridge_pipe_address(pipe, NNG_OPT_REMADDR, ret->name, sizeof(ret->name));
		return true;
	}
	if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) != 0)
		return false;
	if (uid != 0) {
		fl_log(FL_NOTICE, "ipc.refused", "uid=%llu", (unsigned long long)uid);
		return false;
	}
	*ret = (struct identity){.kind = IDENTITY_LOCAL};
	memcpy(ret->fleet, server->fleet, sizeof(ret->fleet));
	return true;
}

static struct transport_peer *peer_new(
	struct transport_server *server, nng_pipe pipe, const struct identity *identity)
{
	struct transport_peer *peer = FL_NEW(struct transport_peer);

	if (peer == NULL)
		return NULL;
	peer->server = server;
	peer->added.deliver = peer_added;
	peer->gone.deliver = peer_gone;
	peer->pipe = (uint32_t)nng_pipe_id(pipe);
	peer->identity = *identity;
	peer->number = atomic_fetch_add(&last_connection, 1) + 1;
	identity_describe(identity, peer->name, sizeof(peer->name));
	bridge_pipe_address(pipe, NNG_OPT_REMADDR, peer->address, sizeof(peer->address));
	fl_fsm_init(&peer->fsm, &peer_fsm_def, peer->name);
	fl_list_init(&peer->requests);
	return peer;
}

/* nng's thread: before the protocol reads from the pipe. */
static void on_pipe_added(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct transport_server *server = arg;
	struct transport_peer *peer = NULL;
	struct identity identity;
	bool added = false;

	(void)event;
	if (identify(server, pipe, &identity))
		peer = peer_new(server, pipe, &identity);
	if (peer != NULL) {
		pthread_mutex_lock(&server->lock);
		peer->in_table = true;
		HASH_ADD(hh, server->peers, pipe, sizeof(peer->pipe), peer);
		added = peer->in_table;
		pthread_mutex_unlock(&server->lock);
	}
	if (added) {
		bridge_post(server->mailbox, &peer->added);
		return;
	}
	free(peer);
	atomic_fetch_add(&server->refused, 1);
	(void)nng_pipe_close(pipe);
}

/* nng's thread: the last that is heard of the pipe, whose ID nng does not use again soon. */
static void on_pipe_gone(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct transport_server *server = arg;
	uint32_t id = (uint32_t)nng_pipe_id(pipe);
	struct transport_peer *peer = NULL;

	(void)event;
	pthread_mutex_lock(&server->lock);
	HASH_FIND(hh, server->peers, &id, sizeof(id), peer);
	if (peer != NULL)
		HASH_DELETE(hh, server->peers, peer);
	pthread_mutex_unlock(&server->lock);
	if (peer != NULL)
		bridge_post(server->mailbox, &peer->gone);
}

/* ---- Opening and closing -------------------------------------------------------------------- */

static void server_free(struct transport_server *server)
{
	for (unsigned i = 0; i < RECEIVERS; i++)
		nng_aio_free(server->receivers[i].aio);
	for (unsigned i = 0; i < SENDERS; i++)
		nng_aio_free(server->senders[i].aio);
	for (unsigned i = 0; i < server->n_listeners; i++)
		tls_endpoint_free(server->listeners[i].endpoint);
	free(server->listeners);
	tls_credentials_unref(server->credentials);
	revoked_unref(server->revoked);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

static enum fl_code open_socket(struct transport_server *server, struct fl_error *err)
{
	int rv = nng_rep0_open_raw(&server->socket);

	if (rv != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "nng: %s", nng_strerror(rv));
	server->socket_open = true;
	/* One hop: requests come from who is connected, not through relays. */
	if ((rv = nng_socket_set_int(server->socket, NNG_OPT_MAXTTL, 1)) != 0 ||
		(rv = nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ,
			 server->message_max + REQUEST_HEADER_BYTES)) != 0 ||
		(rv = nng_pipe_notify(
			 server->socket, NNG_PIPE_EV_ADD_PRE, on_pipe_added, server)) != 0 ||
		(rv = nng_pipe_notify(
			 server->socket, NNG_PIPE_EV_REM_POST, on_pipe_gone, server)) != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "nng: %s", nng_strerror(rv));
	for (unsigned i = 0; i < RECEIVERS; i++) {
		server->receivers[i].server = server;
		server->receivers[i].post.deliver = receiver_deliver;
		if (nng_aio_alloc(&server->receivers[i].aio, on_received, &server->receivers[i]) !=
			0)
			return FL_FAIL_NO_MEMORY(err);
	}
	for (unsigned i = 0; i < SENDERS; i++) {
		server->senders[i].server = server;
		server->senders[i].post.deliver = sender_deliver;
		fl_list_append(&server->idle_senders, &server->senders[i].node);
		if (nng_aio_alloc(&server->senders[i].aio, on_sent, &server->senders[i]) != 0)
			return FL_FAIL_NO_MEMORY(err);
	}
	return FL_OK;
}

static int configure_tls(struct listener *listener)
{
	int rv = nng_listener_set_ptr(
		listener->nng, NNG_OPT_TLS_CONFIG, tls_endpoint_config(listener->endpoint));

	if (rv == 0)
		rv = nng_listener_set_bool(listener->nng, NNG_OPT_TCP_KEEPALIVE, true);
	return rv;
}

static enum fl_code listen_at(struct transport_server *server, struct listener *listener,
	const char *url, enum tls_role role, struct fl_error *err)
{
	bool ipc = role != TLS_DOOR && strncmp(url, "ipc://", 6) == 0;
	int rv, port = 0;

	if (!ipc) {
		if (strncmp(url, "tls+tcp", 7) != 0)
			return FL_FAIL(err, FL_E_INVALID,
				"cannot listen on %s: not a tls+tcp://%s URL", url,
				role == TLS_DOOR ? "" : " or ipc://");
		if (server->credentials == NULL)
			return FL_FAIL(err, FL_E_INVALID,
				"cannot listen on %s: no certificate is configured", url);
		FL_TRY(tls_endpoint_new(server->credentials, role, &listener->endpoint, err));
		tls_endpoint_set_revoked(listener->endpoint, server->revoked);
	}
	rv = nng_listener_create(&listener->nng, server->socket, url);
	if (rv == 0)
		/* Only root is answered; the mode spares others the try. */
		rv = ipc ? nng_listener_set_int(listener->nng, NNG_OPT_IPC_PERMISSIONS, 0600)
			 : configure_tls(listener);
	if (rv == 0)
		rv = nng_listener_start(listener->nng, 0);
	if (rv == 0 && !ipc)
		rv = nng_listener_get_int(listener->nng, NNG_OPT_TCP_BOUND_PORT, &port);
	if (rv != 0)
		return FL_FAIL(err, FL_E_IO, "cannot listen on %s: %s", url, bridge_error_text(rv));
	listener->port = (uint16_t)port;
	return FL_OK;
}

static unsigned count(const char *const *urls)
{
	unsigned n = 0;

	while (urls != NULL && urls[n] != NULL)
		n++;
	return n;
}

static enum fl_code server_start(struct transport_server *server,
	const struct transport_server_config *config, struct fl_error *err)
{
	unsigned n = count(config->urls), n_doors = count(config->doors);

	server->listeners = fl_new_array(n + n_doors, sizeof(struct listener));
	if (server->listeners == NULL)
		return FL_FAIL_NO_MEMORY(err);
	server->n_listeners = n + n_doors;
	FL_TRY(open_socket(server, err));
	for (unsigned i = 0; i < n; i++)
		FL_TRY(listen_at(server, &server->listeners[i], config->urls[i], TLS_SERVER, err));
	for (unsigned i = 0; i < n_doors; i++)
		FL_TRY(listen_at(
			server, &server->listeners[n + i], config->doors[i], TLS_DOOR, err));
	for (unsigned i = 0; i < RECEIVERS; i++)
		receiver_start(&server->receivers[i]);
	return FL_OK;
}

enum fl_code transport_server_open(struct transport_server **ret_server, uv_loop_t *loop,
	const struct transport_server_config *config,
	const struct transport_server_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct transport_server *server = FL_NEW(struct transport_server);
	enum fl_code code;

	fl_assert(config->peer_bytes_max >= config->message_max);
	fl_assert(config->peer_requests_max > 0);
	if (server == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fl_fsm_init(&server->fsm, &server_fsm_def, "transport");
	server->loop = loop;
	server->handlers = *handlers;
	server->userdata = userdata;
	server->message_max = config->message_max;
	server->peer_bytes_max = config->peer_bytes_max;
	server->peer_requests_max = config->peer_requests_max < NNG_REPLIES_PER_PIPE
					    ? config->peer_requests_max
					    : NNG_REPLIES_PER_PIPE;
	fl_list_init(&server->idle_senders);
	fl_list_init(&server->replies);
	pthread_mutex_init(&server->lock, NULL);
	server->revoked = revoked_ref(config->revoked);
	if (config->credentials != NULL) {
		server->credentials = tls_credentials_ref(config->credentials);
		memcpy(server->fleet, tls_credentials_identity(config->credentials)->fleet,
			sizeof(server->fleet));
	}
	code = fl_mailbox_open(&server->mailbox, loop, bridge_drain, server, err);
	if (code == FL_OK)
		code = server_start(server, config, err);
	if (code == FL_OK) {
		*ret_server = server;
		return FL_OK;
	}
	/* Peers may have come already; their posts are delivered by closing the mailbox. No receiver
	 * has been started. */
	if (server->socket_open)
		nng_close(server->socket);
	if (server->mailbox != NULL)
		fl_mailbox_close(server->mailbox, NULL);
	server_free(server);
	return code;
}

static void on_mailbox_closed(void *userdata)
{
	struct transport_server *server = userdata;
	void (*closed)(void *) = server->closed;
	void *closed_userdata = server->closed_userdata;

	server_free(server);
	if (closed != NULL)
		closed(closed_userdata);
}

/* Ends the closing when nothing of nng's can post any more. */
static void server_finish(struct transport_server *server)
{
	if (server->fsm.state != SERVER_CLOSING || !server->socket_closed ||
		server->receivers_busy > 0 || server->senders_busy > 0 ||
		server->stats.connections > 0)
		return;
	fl_fsm_move(&server->fsm, SERVER_CLOSED, "all is back");
	fl_mailbox_close(server->mailbox, on_mailbox_closed);
}

static void server_socket_closed(struct bridge_post *post)
{
	struct bridge_closer *closer = FL_CONTAINER(post, struct bridge_closer, post);
	struct transport_server *server = FL_CONTAINER(closer, struct transport_server, closer);

	bridge_closer_join(closer);
	server->socket_closed = true;
	server_finish(server);
}

void transport_server_close(
	struct transport_server *server, void (*closed)(void *userdata), void *userdata)
{
	struct fl_list *node;

	fl_fsm_move(&server->fsm, SERVER_CLOSING, "close");
	server->closed = closed;
	server->closed_userdata = userdata;
	while ((node = fl_list_pop(&server->replies)) != NULL)
		request_free(FL_LIST_ENTRY(node, struct transport_request, node));
	server->closer.post.deliver = server_socket_closed;
	bridge_closer_start(&server->closer, server->mailbox, server->socket);
}

/* ---- While it is open ----------------------------------------------------------------------- */

void transport_server_set_credentials(
	struct transport_server *server, struct tls_credentials *credentials)
{
	for (unsigned i = 0; i < server->n_listeners; i++)
		if (server->listeners[i].endpoint != NULL)
			tls_endpoint_set_credentials(server->listeners[i].endpoint, credentials);
}

/* A connection of the machine that is not closed yet. */
static struct transport_peer *find_machine(struct transport_server *server, const char *machine_id)
{
	struct transport_peer *peer;

	pthread_mutex_lock(&server->lock);
	for (peer = server->peers; peer != NULL; peer = peer->hh.next)
		if (peer->fsm.state == PEER_OPEN && peer->identity.kind == IDENTITY_MACHINE &&
			strcmp(peer->identity.name, machine_id) == 0)
			break;
	pthread_mutex_unlock(&server->lock);
	return peer;
}

void transport_server_drop_machine(
	struct transport_server *server, const char *machine_id, const char *why)
{
	struct transport_peer *peer;

	/* It cannot be freed under us: that is the loop's to do. */
	while ((peer = find_machine(server, machine_id)) != NULL)
		peer_drop(peer, why);
}

/* ---- What a user asks ----------------------------------------------------------------------- */

const struct identity *transport_request_identity(const struct transport_request *request)
{
	return &request->peer->identity;
}

const uint8_t *transport_request_data(const struct transport_request *request, size_t *ret_len)
{
	*ret_len = nng_msg_len(request->message);
	return nng_msg_body(request->message);
}

uint64_t transport_request_connection(const struct transport_request *request)
{
	return request->peer->number;
}

const char *transport_request_address(const struct transport_request *request)
{
	return request->peer->address;
}

uint64_t transport_request_received_us(const struct transport_request *request)
{
	return request->received_us;
}

void transport_request_set_userdata(struct transport_request *request, void *userdata)
{
	request->userdata = userdata;
}

void *transport_request_userdata(const struct transport_request *request)
{
	return request->userdata;
}

void transport_request_reply(struct transport_request *request, const uint8_t *data, size_t len)
{
	struct transport_peer *peer = request->peer;
	struct transport_server *server = peer->server;

	fl_assert(len <= server->message_max);
	request_release(request);
	/* The header stays: it says whose the reply is. */
	nng_msg_clear(request->message);
	if (server->fsm.state != SERVER_OPEN || peer->fsm.state != PEER_OPEN) {
		request_free(request);
		return;
	}
	if (nng_msg_append(request->message, data, len) != 0) {
		request_free(request);
		peer_drop(peer, "out of memory");
		return;
	}
	fl_list_append(&server->replies, &request->node);
	server_send(server);
}

void transport_request_drop_peer(struct transport_request *request, const char *why)
{
	struct transport_peer *peer = request->peer;

	request_release(request);
	request_free(request);
	peer_drop(peer, why);
}

void transport_server_stats(
	const struct transport_server *server, struct transport_server_stats *ret_stats)
{
	*ret_stats = server->stats;
	ret_stats->refused_total = atomic_load(&server->refused);
	for (unsigned i = 0; i < server->n_listeners; i++)
		if (server->listeners[i].endpoint != NULL)
			ret_stats->refused_total +=
				tls_endpoint_refused(server->listeners[i].endpoint);
}

uint16_t transport_server_port(const struct transport_server *server, unsigned url)
{
	fl_assert(url < server->n_listeners);
	return server->listeners[url].port;
}
