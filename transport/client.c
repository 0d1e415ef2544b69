/*
 *   DOWN -- dial --> DIALING -- up --> UP -- lost --> DOWN -- nng let go --> BACKOFF -- timer --> DIALING
 *                       |                                                  (or FAILED: no reconnecting)
 *                       `-- refused, no answer, time out --> DOWN
 *   any of them -- close --> CLOSING -- everything is back --> CLOSED
 *
 * The socket lives as long as the client; each attempt to connect has a dialer of its own, which
 * dials once. nng keeps the calls that are under way and sends them again on the next connection. We
 * keep the rest: when to dial, and why the last attempt failed.
 *
 * A link is one attempt and the connection that came of it. nng's threads post what happens to it:
 * `up` and `gone` from the pipe's events, `dialed` when the attempt has a result. It is over, and its
 * fields may be used again, when `dialed` was delivered and, if there was a pipe, `gone` too.
 *
 * Backing off: a random time below a bound that doubles from reconnect_min_ms to reconnect_max_ms,
 * so that the agents that lost a coordinator at one moment come back at different ones. The bound
 * falls back when a connection has brought a reply, not when it is up: a coordinator that accepts
 * and drops us is not hammered.
 *
 * A connection can die without a word (a host without power). A call that ends by its time-out, when
 * not a byte has come since it was sent, closes the connection; all others go out on the next.
 *
 * All fields are the loop's, but those of the link between dial() and the posts that hand them back.
 */
#include "transport/client.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fsm.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "transport/bridge.h"
#include "transport/engine.h"

#define DIAL_TIMEOUT_MS    15000U
#define CALLS_MAX          256U
#define RESEND_NEVER_MS    INT32_MAX /* but > 0, or nng would not send again on a new connection */
#define REPLY_HEADER_BYTES 4U /* SP's request ID, which counts for NNG_OPT_RECVMAXSZ */

#define CLIENT_STATES(X) \
	X(CLIENT, DOWN, \
		FL_TO(CLIENT, DIALING) | FL_TO(CLIENT, BACKOFF) | FL_TO(CLIENT, FAILED) | \
			FL_TO(CLIENT, CLOSING)) \
	X(CLIENT, DIALING, FL_TO(CLIENT, UP) | FL_TO(CLIENT, DOWN) | FL_TO(CLIENT, CLOSING)) \
	X(CLIENT, UP, FL_TO(CLIENT, DOWN) | FL_TO(CLIENT, CLOSING)) \
	X(CLIENT, BACKOFF, FL_TO(CLIENT, DIALING) | FL_TO(CLIENT, CLOSING)) \
	X(CLIENT, FAILED, FL_TO(CLIENT, CLOSING)) \
	X(CLIENT, CLOSING, FL_TO(CLIENT, CLOSED)) \
	X(CLIENT, CLOSED, 0)
FL_FSM_DEFINE(client, CLIENT_STATES)

#define CALL_STATES(X) \
	X(CALL, SENDING, FL_TO(CALL, RECEIVING) | FL_TO(CALL, DONE)) \
	X(CALL, RECEIVING, FL_TO(CALL, DONE)) \
	X(CALL, DONE, 0)
FL_FSM_DEFINE(call, CALL_STATES)

struct link {
	struct bridge_post up, dialed, gone;
	nng_dialer dialer;
	struct tls_endpoint *endpoint; /* NULL: ipc */
	nng_aio *aio;
	nng_pipe pipe;
	bool open; /* there is a dialer to close */
	bool dialing; /* `dialed` is still to come */
	bool piped; /* there was a pipe: `gone` comes too */
	bool refused; /* by us: who answered is not whom we want */
	bool piped_gone;
	char why[160]; /* we refused it */
	char local_address[INET6_ADDRSTRLEN];
};

struct transport_call {
	struct bridge_post post;
	struct fl_list node; /* client->calls */
	struct transport_client *client;
	struct fl_fsm fsm;
	nng_ctx context;
	bool context_open;
	nng_aio *aio;
	uint32_t timeout_ms;
	uint64_t sent_ms;
	enum fl_code verdict; /* of who aborted it; FL_OK while nobody did */
	transport_call_done done;
	void *userdata;
};

struct transport_client {
	struct fl_fsm fsm;
	uv_loop_t *loop;
	struct fl_mailbox *mailbox;
	uv_timer_t timer; /* of DIALING and BACKOFF */
	struct transport_client_handlers handlers;
	void *userdata;
	char *url;
	struct tls_credentials *credentials;
	size_t message_max;
	uint32_t reconnect_min_ms, reconnect_max_ms, backoff_ms;

	nng_socket socket;
	struct link link;
	uint64_t heard_ms; /* when the connection came up, or its last reply */
	struct fl_error trouble; /* why there is no connection; code FL_OK: nothing known */

	unsigned n_calls;
	struct fl_list calls;

	struct bridge_closer closer;
	void (*closed)(void *userdata);
	void *closed_userdata;

	bool ipc, timer_open, socket_open, socket_closed;
};

static void client_finish(struct transport_client *client);
static void client_tick(struct transport_client *client);
static void on_timer(uv_timer_t *timer);

/* ---- Calls ---------------------------------------------------------------------------------- */

static void call_free(struct transport_call *call)
{
	/* A socket that is being closed takes its contexts along. */
	if (call->context_open && call->client->fsm.state != CLIENT_CLOSING)
		(void)nng_ctx_close(call->context);
	nng_aio_free(call->aio);
	free(call);
}

static void call_end(
	struct transport_call *call, enum fl_code code, nng_msg *reply, const struct fl_error *err)
{
	struct transport_client *client = call->client;
	transport_call_done done = call->done;
	void *userdata = call->userdata;

	fl_fsm_move(&call->fsm, CALL_DONE, fl_code_text(code));
	fl_list_remove(&call->node);
	client->n_calls--;
	call_free(call);
	done(code, reply != NULL ? nng_msg_body(reply) : NULL,
		reply != NULL ? nng_msg_len(reply) : 0, err, userdata);
	nng_msg_free(reply);
	client_finish(client);
}

static void call_fail(struct transport_call *call, enum fl_code code)
{
	struct transport_client *client = call->client;
	struct fl_error err;

	if (code == FL_E_TIMEOUT && client->fsm.state != CLIENT_UP)
		code = FL_E_UNAVAILABLE;
	if (code == FL_E_CANCELED)
		fl_error_set(&err, code, "the call was canceled");
	else if (code == FL_E_TIMEOUT)
		fl_error_set(&err, code, "no answer from the coordinator at %s within %u ms",
			client->url, call->timeout_ms);
	else if (code == FL_E_UNAVAILABLE && client->trouble.code != FL_OK)
		err = client->trouble;
	else if (code == FL_E_UNAVAILABLE)
		fl_error_set(&err, code,
			"cannot reach the coordinator at %s: no connection within %u ms",
			client->url, call->timeout_ms);
	else
		fl_error_set(&err, code, "%s", fl_code_text(code));
	call_end(call, code, NULL, &err);
}

/* Makes it end with @verdict, from the loop. */
static void call_abort(struct transport_call *call, enum fl_code verdict)
{
	if (call->verdict != FL_OK)
		return;
	call->verdict = verdict;
	nng_aio_cancel(call->aio);
}

static enum fl_code call_code(const struct transport_call *call, int rv)
{
	if (call->client->fsm.state == CLIENT_CLOSING)
		return FL_E_CANCELED;
	if (call->verdict != FL_OK)
		return call->verdict;
	switch (rv) {
	case NNG_ETIMEDOUT:
		return FL_E_TIMEOUT;
	case NNG_ENOMEM:
		return FL_E_NO_MEMORY;
	default:
		return FL_E_INTERNAL;
	}
}

static void call_receive(struct transport_call *call)
{
	uint64_t spent_ms = fl_clock_boot_ms() - call->sent_ms;

	fl_fsm_move(&call->fsm, CALL_RECEIVING, "sent");
	nng_aio_set_timeout(call->aio,
		spent_ms < call->timeout_ms ? (nng_duration)(call->timeout_ms - spent_ms) : 0);
	nng_ctx_recv(call->context, call->aio);
}

/* nng's thread: the request is handed to a connection, or the reply is here, or neither will be. */
static void on_call(void *arg)
{
	struct transport_call *call = arg;

	bridge_post(call->client->mailbox, &call->post);
}

static void call_deliver(struct bridge_post *post)
{
	struct transport_call *call = FL_CONTAINER(post, struct transport_call, post);
	struct transport_client *client = call->client;
	int rv = nng_aio_result(call->aio);
	nng_msg *message = nng_aio_get_msg(call->aio);

	nng_aio_set_msg(call->aio, NULL);
	if (call->fsm.state == CALL_SENDING && rv == 0 && call->verdict == FL_OK &&
		client->fsm.state != CLIENT_CLOSING) {
		call_receive(call);
		return;
	}
	if (call->fsm.state == CALL_RECEIVING && rv == 0) {
		client->heard_ms = fl_clock_boot_ms();
		client->backoff_ms = client->reconnect_min_ms;
		if (call->verdict == FL_OK) {
			call_end(call, FL_OK, message, NULL);
			return;
		}
	}
	nng_msg_free(message); /* not sent, or not wanted any more */
	if (rv == NNG_ETIMEDOUT && call->fsm.state == CALL_RECEIVING &&
		client->fsm.state == CLIENT_UP && client->heard_ms <= call->sent_ms) {
		fl_log(FL_NOTICE, "transport.silent", "url=%s ms=%u", client->url,
			call->timeout_ms);
		(void)nng_pipe_close(client->link.pipe);
	}
	call_fail(call, call_code(call, rv));
}

static enum fl_code call_prepare(
	struct transport_call *call, const uint8_t *data, size_t len, struct fl_error *err)
{
	nng_msg *message;
	int rv;

	if (nng_aio_alloc(&call->aio, on_call, call) != 0)
		return FL_FAIL_NO_MEMORY(err);
	rv = nng_ctx_open(&call->context, call->client->socket);
	if (rv != 0)
		return FL_FAIL(err, rv == NNG_ENOMEM ? FL_E_NO_MEMORY : FL_E_INTERNAL, "nng: %s",
			nng_strerror(rv));
	call->context_open = true;
	if (nng_msg_alloc(&message, 0) != 0)
		return FL_FAIL_NO_MEMORY(err);
	if (nng_msg_append(message, data, len) != 0) {
		nng_msg_free(message);
		return FL_FAIL_NO_MEMORY(err);
	}
	nng_aio_set_msg(call->aio, message);
	return FL_OK;
}

enum fl_code transport_client_call(struct transport_client *client, const uint8_t *data, size_t len,
	uint32_t timeout_ms, transport_call_done done, void *userdata,
	struct transport_call **ret_call, struct fl_error *err)
{
	struct transport_call *call;

	if (client->fsm.state == CLIENT_CLOSING || client->fsm.state == CLIENT_CLOSED)
		return FL_FAIL(err, FL_E_CANCELED, "the connection is being closed");
	if (len > client->message_max)
		return FL_FAIL(err, FL_E_TOO_BIG, "the request is %zu bytes, the limit is %zu", len,
			client->message_max);
	if (client->n_calls >= CALLS_MAX)
		return FL_FAIL(err, FL_E_LIMIT, "%u calls are under way, the limit is %u",
			client->n_calls, CALLS_MAX);
	call = FL_NEW(struct transport_call);
	if (call == NULL)
		return FL_FAIL_NO_MEMORY(err);
	call->post.deliver = call_deliver;
	call->client = client;
	call->timeout_ms = timeout_ms < INT32_MAX ? timeout_ms : INT32_MAX;
	call->done = done;
	call->userdata = userdata;
	fl_fsm_init(&call->fsm, &call_fsm_def, client->url);
	if (call_prepare(call, data, len, err) != FL_OK) {
		enum fl_code code = err != NULL ? err->code : FL_E_NO_MEMORY;

		call_free(call);
		return code;
	}
	fl_list_append(&client->calls, &call->node);
	client->n_calls++;
	call->sent_ms = fl_clock_boot_ms();
	nng_aio_set_timeout(call->aio, (nng_duration)call->timeout_ms);
	nng_ctx_send(call->context, call->aio);
	if (client->fsm.state == CLIENT_FAILED)
		call_abort(call, FL_E_UNAVAILABLE);
	if (ret_call != NULL)
		*ret_call = call;
	return FL_OK;
}

void transport_call_cancel(struct transport_call *call)
{
	call_abort(call, FL_E_CANCELED);
}

/* ---- The link ------------------------------------------------------------------------------- */

/* Whether who answered may be our coordinator. Over TLS the handshake has seen to it. */
/* Whether @uid may listen at @path: root, we ourselves, and whose folder it is in, who could put
 * anything there; in one that anybody writes to that is root. */
static bool may_listen(uint64_t uid, const char *path)
{
	FL_CLEANUP(fl_freep) char *folder = fl_strdup(path);
	char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
	struct stat st;

	if (uid == 0 || uid == geteuid())
		return true;
	if (slash == NULL)
		return false;
	slash[1] = '\0';
	return stat(folder, &st) == 0 && st.st_uid == uid;
}

static bool check_pipe(struct transport_client *client, nng_pipe pipe)
{
	struct link *link = &client->link;
	struct identity identity;
	uint64_t uid;

	if (!client->ipc) {
		if (tls_pipe_identity(pipe, &identity) && identity.kind == IDENTITY_COORDINATOR)
			return true;
		snprintf(link->why, sizeof(link->why), "the peer's identity is not known");
		return false;
	}
	if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) != 0) {
		snprintf(link->why, sizeof(link->why), "the peer's user is not known");
		return false;
	}
	if (may_listen(uid, client->url + strlen("ipc://")))
		return true;
	snprintf(link->why, sizeof(link->why),
		"user %llu listens there, who is neither root nor the folder's owner",
		(unsigned long long)uid);
	return false;
}

/* nng's thread. */
static void on_pipe_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct transport_client *client = arg;
	struct link *link = &client->link;

	switch (event) {
	case NNG_PIPE_EV_ADD_PRE:
		link->piped = true;
		link->pipe = pipe;
		link->refused = !check_pipe(client, pipe);
		if (link->refused)
			(void)nng_pipe_close(pipe);
		return;
	case NNG_PIPE_EV_ADD_POST:
		bridge_pipe_address(
			pipe, NNG_OPT_LOCADDR, link->local_address, sizeof(link->local_address));
		bridge_post(client->mailbox, &link->up);
		return;
	case NNG_PIPE_EV_REM_POST:
		bridge_post(client->mailbox, &link->gone);
		return;
	case NNG_PIPE_EV_NUM:
		return;
	}
}

/* nng's thread. */
static void on_dialed(void *arg)
{
	struct transport_client *client = arg;

	bridge_post(client->mailbox, &client->link.dialed);
}

static bool link_over(const struct link *link)
{
	return !link->dialing && (!link->piped || link->piped_gone);
}

static void link_close(struct link *link)
{
	if (link->open)
		(void)nng_dialer_close(link->dialer);
	link->open = false;
	tls_endpoint_free(FL_TAKE(link->endpoint));
}

static enum fl_code link_open(struct transport_client *client, struct fl_error *err)
{
	struct link *link = &client->link;
	int rv;

	link->piped = link->piped_gone = link->refused = false;
	link->local_address[0] = '\0';
	if (!client->ipc)
		FL_TRY(tls_endpoint_new(client->credentials, TLS_CLIENT, &link->endpoint, err));
	rv = nng_dialer_create(&link->dialer, client->socket, client->url);
	if (rv != 0)
		return FL_FAIL(err, FL_E_INVALID, "%s: %s", client->url, bridge_error_text(rv));
	link->open = true;
	if (!client->ipc) {
		rv = nng_dialer_set_ptr(
			link->dialer, NNG_OPT_TLS_CONFIG, tls_endpoint_config(link->endpoint));
		if (rv == 0)
			rv = nng_dialer_set_bool(link->dialer, NNG_OPT_TCP_KEEPALIVE, true);
	}
	if (rv != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "nng: %s", nng_strerror(rv));
	return FL_OK;
}

/* Says why the coordinator cannot be reached, in client->trouble. */
static void set_trouble(struct transport_client *client, int rv)
{
	struct link *link = &client->link;
	char text[256] = "";

	if (link->refused)
		snprintf(text, sizeof(text), "%s", link->why);
	else if (link->endpoint == NULL ||
		 !tls_endpoint_trouble(link->endpoint, text, sizeof(text)))
		snprintf(text, sizeof(text), "%s",
			client->ipc && rv == NNG_ECONNREFUSED ? "nobody listens there"
							      : bridge_error_text(rv));
	fl_error_set(&client->trouble, FL_E_UNAVAILABLE, "cannot reach the coordinator at %s: %s",
		client->url, text);
}

static void dial(struct transport_client *client)
{
	struct link *link = &client->link;
	bool opened = link_open(client, &client->trouble) == FL_OK;

	fl_fsm_move(&client->fsm, CLIENT_DIALING, "dial");
	if (!opened) {
		/* Out of memory, most likely. The timer tells it: nobody is called back from here. */
		client->trouble.code = FL_E_UNAVAILABLE;
		(void)uv_timer_start(&client->timer, on_timer, 0, 0);
		return;
	}
	link->dialing = true;
	(void)uv_timer_start(&client->timer, on_timer, DIAL_TIMEOUT_MS, 0);
	nng_dialer_start_aio(link->dialer, link->aio);
}

/* The user may close the client in its callback. */
static void tell(struct transport_client *client, bool up)
{
	if (client->handlers.connection != NULL)
		client->handlers.connection(up, up ? NULL : &client->trouble, client->userdata);
}

static void link_up(struct bridge_post *post)
{
	struct transport_client *client = FL_CONTAINER(post, struct transport_client, link.up);

	if (client->fsm.state != CLIENT_DIALING)
		return;
	fl_fsm_move(&client->fsm, CLIENT_UP, "connected");
	(void)uv_timer_stop(&client->timer);
	client->trouble = (struct fl_error){.code = FL_OK};
	client->heard_ms = fl_clock_boot_ms();
	tell(client, true);
}

static void client_down(struct transport_client *client, int rv)
{
	if (client->fsm.state != CLIENT_DIALING && client->fsm.state != CLIENT_UP)
		return;
	set_trouble(client, rv);
	fl_fsm_move(&client->fsm, CLIENT_DOWN, client->trouble.text);
	(void)uv_timer_stop(&client->timer);
}

static void link_dialed(struct bridge_post *post)
{
	struct transport_client *client = FL_CONTAINER(post, struct transport_client, link.dialed);
	struct link *link = &client->link;
	int rv = nng_aio_result(link->aio);

	link->dialing = false;
	/* Without a pipe a success is nng's way to say that it had no memory for one. */
	if (rv != 0)
		client_down(client, rv);
	else if (!link->piped)
		client_down(client, NNG_ENOMEM);
	client_tick(client);
}

static void link_gone(struct bridge_post *post)
{
	struct transport_client *client = FL_CONTAINER(post, struct transport_client, link.gone);

	client->link.piped_gone = true;
	client_down(client, NNG_ECONNSHUT);
	client_tick(client);
}

/* ---- The client ----------------------------------------------------------------------------- */

static void back_off(struct transport_client *client)
{
	uint32_t bound_ms = client->backoff_ms;

	client->backoff_ms =
		bound_ms < client->reconnect_max_ms / 2 ? 2 * bound_ms : client->reconnect_max_ms;
	fl_fsm_move(&client->fsm, CLIENT_BACKOFF, client->trouble.text);
	(void)uv_timer_start(&client->timer, on_timer, fl_random_below(bound_ms) + 1U, 0);
}

static void give_up(struct transport_client *client)
{
	struct transport_call *call;

	fl_fsm_move(&client->fsm, CLIENT_FAILED, client->trouble.text);
	FL_LIST_FOREACH (call, &client->calls, node)
		call_abort(call, FL_E_UNAVAILABLE);
}

/* Goes on from DOWN when nothing of the last link is left. */
static void client_tick(struct transport_client *client)
{
	if (client->fsm.state == CLIENT_DOWN && link_over(&client->link)) {
		link_close(&client->link);
		if (client->reconnect_max_ms == 0)
			give_up(client);
		else
			back_off(client);
		tell(client, false);
	}
	client_finish(client);
}

static void on_timer(uv_timer_t *timer)
{
	struct transport_client *client = FL_CONTAINER(timer, struct transport_client, timer);

	if (client->fsm.state == CLIENT_BACKOFF) {
		dial(client);
		return;
	}
	fl_assert(client->fsm.state == CLIENT_DIALING);
	if (link_over(&client->link)) { /* it was not even begun */
		fl_fsm_move(&client->fsm, CLIENT_DOWN, client->trouble.text);
		client_tick(client);
		return;
	}
	/* `dialed`, or `gone`, does the rest. */
	client_down(client, NNG_ETIMEDOUT);
	(void)nng_dialer_close(client->link.dialer);
}

static enum fl_code open_socket(struct transport_client *client, struct fl_error *err)
{
	static const nng_pipe_ev events[] = {
		NNG_PIPE_EV_ADD_PRE, NNG_PIPE_EV_ADD_POST, NNG_PIPE_EV_REM_POST};
	int rv = nng_req0_open(&client->socket);

	if (rv != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "nng: %s", nng_strerror(rv));
	client->socket_open = true;
	if ((rv = nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ,
		     client->message_max + REPLY_HEADER_BYTES)) != 0 ||
		(rv = nng_socket_set_ms(client->socket, NNG_OPT_REQ_RESENDTIME, RESEND_NEVER_MS)) !=
			0)
		return FL_FAIL(err, FL_E_INTERNAL, "nng: %s", nng_strerror(rv));
	for (size_t i = 0; i < FL_COUNT(events); i++)
		if ((rv = nng_pipe_notify(client->socket, events[i], on_pipe_event, client)) != 0)
			return FL_FAIL(err, FL_E_INTERNAL, "nng: %s", nng_strerror(rv));
	if (nng_aio_alloc(&client->link.aio, on_dialed, client) != 0)
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

static void client_free(struct transport_client *client)
{
	link_close(&client->link);
	nng_aio_free(client->link.aio);
	tls_credentials_unref(client->credentials);
	free(client->url);
	free(client);
}

static enum fl_code client_start(struct transport_client *client,
	const struct transport_client_config *config, struct fl_error *err)
{
	int r;

	client->ipc = strncmp(config->url, "ipc://", 6) == 0;
	if (!client->ipc && strncmp(config->url, "tls+tcp", 7) != 0)
		return FL_FAIL(
			err, FL_E_INVALID, "%s: not a tls+tcp:// or ipc:// URL", config->url);
	if (!client->ipc && config->credentials == NULL)
		return FL_FAIL(err, FL_E_INVALID, "%s: no certificate is configured", config->url);
	client->url = fl_strdup(config->url);
	if (client->url == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (config->credentials != NULL)
		client->credentials = tls_credentials_ref(config->credentials);
	FL_TRY(fl_mailbox_open(&client->mailbox, client->loop, bridge_drain, client, err));
	FL_TRY(open_socket(client, err));
	/* A URL that nng does not understand is told at once. */
	FL_TRY(link_open(client, err));
	link_close(&client->link);
	r = uv_timer_init(client->loop, &client->timer);
	if (r < 0)
		return FL_FAIL(err, FL_E_INTERNAL, "event loop: %s", uv_strerror(r));
	client->timer_open = true;
	return FL_OK;
}

enum fl_code transport_client_open(struct transport_client **ret_client, uv_loop_t *loop,
	const struct transport_client_config *config,
	const struct transport_client_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct transport_client *client = FL_NEW(struct transport_client);
	enum fl_code code;

	fl_assert(config->reconnect_min_ms <= config->reconnect_max_ms);
	if (client == NULL)
		return FL_FAIL_NO_MEMORY(err);
	client->loop = loop;
	client->handlers = *handlers;
	client->userdata = userdata;
	client->message_max = config->message_max;
	client->reconnect_min_ms = config->reconnect_min_ms;
	client->reconnect_max_ms = config->reconnect_max_ms;
	client->backoff_ms = config->reconnect_min_ms;
	client->link.up.deliver = link_up;
	client->link.dialed.deliver = link_dialed;
	client->link.gone.deliver = link_gone;
	fl_list_init(&client->calls);
	code = client_start(client, config, err);
	if (code != FL_OK) {
		if (client->socket_open)
			nng_close(client->socket);
		if (client->mailbox != NULL)
			fl_mailbox_close(client->mailbox, NULL);
		client_free(client);
		return code;
	}
	fl_fsm_init(&client->fsm, &client_fsm_def, client->url);
	dial(client);
	*ret_client = client;
	return FL_OK;
}

static void on_mailbox_closed(void *userdata)
{
	struct transport_client *client = userdata;
	void (*closed)(void *) = client->closed;
	void *closed_userdata = client->closed_userdata;

	client_free(client);
	if (closed != NULL)
		closed(closed_userdata);
}

/* Ends the closing when nothing of nng's can post any more. */
static void client_finish(struct transport_client *client)
{
	if (client->fsm.state != CLIENT_CLOSING || !client->socket_closed || client->timer_open ||
		client->n_calls > 0 || !link_over(&client->link))
		return;
	fl_fsm_move(&client->fsm, CLIENT_CLOSED, "all is back");
	fl_mailbox_close(client->mailbox, on_mailbox_closed);
}

static void client_socket_closed(struct bridge_post *post)
{
	struct bridge_closer *closer = FL_CONTAINER(post, struct bridge_closer, post);
	struct transport_client *client = FL_CONTAINER(closer, struct transport_client, closer);

	bridge_closer_join(closer);
	client->socket_closed = true;
	client->link.open = false; /* the dialer went with its socket */
	client_finish(client);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct transport_client *client =
		FL_CONTAINER((uv_timer_t *)handle, struct transport_client, timer);

	client->timer_open = false;
	client_finish(client);
}

void transport_client_close(
	struct transport_client *client, void (*closed)(void *userdata), void *userdata)
{
	fl_fsm_move(&client->fsm, CLIENT_CLOSING, "close");
	client->closed = closed;
	client->closed_userdata = userdata;
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
	client->closer.post.deliver = client_socket_closed;
	bridge_closer_start(&client->closer, client->mailbox, client->socket);
}

bool transport_client_connected(const struct transport_client *client)
{
	return client->fsm.state == CLIENT_UP;
}

void transport_client_local_address(const struct transport_client *client, char *text, size_t size)
{
	snprintf(
		text, size, "%s", client->fsm.state == CLIENT_UP ? client->link.local_address : "");
}
