#include "cli/connection.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/random.h"
#include "cli/endpoint.h"
#include "cli/term.h"
#include "cli/tunnel.h"
#include "transport/client.h"
#include "transport/tls.h"

/* A connection that is lost while we wait (the coordinator restarts) is made again. */
#define RECONNECT_MIN_MS 50
#define RECONNECT_MAX_MS 1000

#define TICK_MS 1000

struct connection {
	uv_loop_t loop;
	uv_timer_t tick, pause;
	uv_signal_t signals[2];
	bool has_loop, has_tick, has_pause, has_signals;
	struct endpoint endpoint;
	struct tunnel *tunnel; /* nullable */
	struct tls_credentials *credentials;
	struct transport_client *client;
	bool client_closed;
	uint32_t request_timeout_ms;

	/* Until it is up for the first time a failure to connect is final. */
	bool was_up;
	struct fl_error refused; /* that failure */

	/* The one question under way. */
	struct transport_call *call;
	bool answered;
	enum fl_code code;
	struct fl_error why;
	Pb__Envelope *reply;
	bool interrupted, is_pausing;
	uint64_t asked_ms;

	void (*on_tick)(void *userdata);
	void *userdata;
};

static void on_connection(bool up, const struct fl_error *err, void *userdata)
{
	struct connection *connection = userdata;

	if (up) {
		connection->was_up = true;
		return;
	}
	if (connection->was_up || err == NULL || err->code == FL_OK)
		return;
	connection->refused = *err;
	if (connection->call != NULL)
		transport_call_cancel(connection->call);
}

static enum fl_code open_client(struct connection *connection, struct fl_error *err)
{
	static const struct transport_client_handlers handlers = {.connection = on_connection};
	struct endpoint *endpoint = &connection->endpoint;
	struct transport_client_config config = {
		.url = endpoint->url,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = RECONNECT_MIN_MS,
		.reconnect_max_ms = RECONNECT_MAX_MS,
	};

	if (strncmp(endpoint->url, "tls+tcp://", 10) == 0) {
		const struct tls_files files = {.ca = endpoint->ca,
			.certificate = endpoint->certificate,
			.key = endpoint->key};

		FL_TRY(tls_credentials_load(&files, &connection->credentials, err));
		config.credentials = connection->credentials;
	}
	return transport_client_open(
		&connection->client, &connection->loop, &config, &handlers, connection, err);
}

static enum fl_code find_endpoint(
	struct connection *connection, const struct cli_options *options, struct fl_error *err)
{
	if (connection->tunnel == NULL)
		return endpoint_find(options, &connection->endpoint, err);
	connection->endpoint.url = fl_strdup(tunnel_url(connection->tunnel));
	return connection->endpoint.url != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

enum fl_code connection_open(
	const struct cli_options *options, struct connection **ret_connection, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = FL_NEW(struct connection);
	int r;

	if (connection == NULL)
		return FL_FAIL_NO_MEMORY(err);
	connection->request_timeout_ms = (uint32_t)options->request_timeout_ms;
	FL_TRY(tunnel_open(options, &connection->tunnel, err));
	FL_TRY(find_endpoint(connection, options, err));
	r = uv_loop_init(&connection->loop);
	if (r < 0)
		return FL_FAIL_ERRNO(err, -r, "the event loop");
	connection->has_loop = true;
	FL_TRY(open_client(connection, err));
	*ret_connection = FL_TAKE(connection);
	return FL_OK;
}

static void on_client_closed(void *userdata)
{
	struct connection *connection = userdata;

	connection->client_closed = true;
}

void connection_close(struct connection *connection)
{
	if (connection == NULL)
		return;
	if (connection->has_tick)
		uv_close((uv_handle_t *)&connection->tick, NULL);
	if (connection->has_pause)
		uv_close((uv_handle_t *)&connection->pause, NULL);
	for (size_t i = 0; connection->has_signals && i < FL_COUNT(connection->signals); i++)
		uv_close((uv_handle_t *)&connection->signals[i], NULL);
	if (connection->client != NULL) {
		transport_client_close(connection->client, on_client_closed, connection);
		while (!connection->client_closed)
			uv_run(&connection->loop, UV_RUN_ONCE);
	}
	if (connection->has_loop) {
		uv_run(&connection->loop, UV_RUN_DEFAULT);
		fl_assert(uv_loop_close(&connection->loop) == 0);
	}
	tls_credentials_unref(connection->credentials);
	endpoint_fini(&connection->endpoint);
	tunnel_close(connection->tunnel);
	free(connection);
}

static void on_tick(uv_timer_t *timer)
{
	struct connection *connection = timer->data;

	if (connection->on_tick != NULL)
		connection->on_tick(connection->userdata);
}

void connection_set_tick(
	struct connection *connection, void (*tick)(void *userdata), void *userdata)
{
	connection->on_tick = tick;
	connection->userdata = userdata;
	if (!connection->has_tick) {
		/* uv_timer_init() and uv_timer_start() cannot fail with these arguments. */
		(void)uv_timer_init(&connection->loop, &connection->tick);
		connection->tick.data = connection;
		connection->has_tick = true;
	}
	if (tick != NULL)
		(void)uv_timer_start(&connection->tick, on_tick, TICK_MS, TICK_MS);
	else
		(void)uv_timer_stop(&connection->tick);
}

/* Takes notice of a signal. */
static enum fl_code check_interrupted(struct connection *connection, struct fl_error *err)
{
	if (!connection->interrupted)
		return FL_OK;
	connection->interrupted = false;
	return FL_FAIL(err, FL_E_CANCELED, "interrupted");
}

static void on_paused(uv_timer_t *timer)
{
	struct connection *connection = timer->data;

	connection->is_pausing = false;
}

enum fl_code connection_pause(struct connection *connection, uint32_t ms, struct fl_error *err)
{
	if (!connection->has_pause) {
		(void)uv_timer_init(&connection->loop, &connection->pause);
		connection->pause.data = connection;
		connection->has_pause = true;
	}
	connection->is_pausing = true;
	(void)uv_timer_start(&connection->pause, on_paused, ms, 0);
	while (connection->is_pausing && !connection->interrupted)
		uv_run(&connection->loop, UV_RUN_ONCE);
	(void)uv_timer_stop(&connection->pause);
	return check_interrupted(connection, err);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct connection *connection = handle->data;

	(void)number;
	connection->interrupted = true;
	if (connection->call != NULL)
		transport_call_cancel(connection->call);
}

enum fl_code connection_catch_signals(struct connection *connection, struct fl_error *err)
{
	static const int numbers[] = {SIGINT, SIGTERM};

	if (connection->has_signals)
		return FL_OK;
	for (size_t i = 0; i < FL_COUNT(numbers); i++) {
		(void)uv_signal_init(&connection->loop, &connection->signals[i]);
		connection->signals[i].data = connection;
	}
	connection->has_signals = true;
	for (size_t i = 0; i < FL_COUNT(numbers); i++) {
		int r = uv_signal_start(&connection->signals[i], on_signal, numbers[i]);

		if (r < 0)
			return FL_FAIL_ERRNO(err, -r, "signal handlers");
	}
	return FL_OK;
}

static void on_done(enum fl_code code, const uint8_t *data, size_t len, const struct fl_error *err,
	void *userdata)
{
	struct connection *connection = userdata;

	connection->call = NULL;
	connection->answered = true;
	connection->code = code;
	if (code == FL_OK)
		connection->code =
			wire_unpack(data, len, &connection->reply, NULL, &connection->why);
	else if (err != NULL)
		connection->why = *err;
	connection->why.code = connection->code;
}

/* Sends the bytes and runs the loop until there is an answer, or none will come. */
static enum fl_code exchange(struct connection *connection, const uint8_t *data, size_t len,
	uint32_t timeout_ms, struct fl_error *err)
{
	connection->answered = false;
	connection->why = (struct fl_error){0};
	if (connection->refused.code != FL_OK)
		return FL_FAIL(err, connection->refused.code, "%s", connection->refused.text);
	FL_TRY(check_interrupted(connection, err));
	FL_TRY(transport_client_call(connection->client, data, len, timeout_ms, on_done, connection,
		&connection->call, err));
	while (!connection->answered)
		uv_run(&connection->loop, UV_RUN_ONCE);
	if (connection->interrupted)
		wire_free(FL_TAKE(connection->reply));
	FL_TRY(check_interrupted(connection, err));
	if (connection->code == FL_OK)
		return FL_OK;
	if (connection->refused.code != FL_OK)
		connection->why = connection->refused;
	return FL_FAIL(err, connection->why.code, "%s", fl_error_text(&connection->why));
}

/* Whether the reply is one to this request. */
static enum fl_code check_reply(const Pb__Envelope *request, const Pb__Envelope *reply,
	Pb__Envelope__BodyCase expected, struct fl_error *err)
{
	if (reply->request_id != request->request_id)
		return FL_FAIL(err, FL_E_PROTOCOL, "the coordinator answered another request");
	FL_TRY(wire_reply_error(reply, err));
	if (reply->body_case != expected)
		return FL_FAIL(err, FL_E_PROTOCOL,
			"the coordinator answered something else than was asked");
	return FL_OK;
}

static void show_silence(void *userdata)
{
	const struct connection *connection = userdata;
	char text[512];

	(void)snprintf(text, sizeof(text), "%" PRIu64 " s: %.256s has not answered yet",
		(fl_clock_boot_ms() - connection->asked_ms + 500) / 1000, connection->endpoint.url);
	term_progress(text);
}

/* A question that is to be answered at once, and that nobody else tells of: that it is not. */
static enum fl_code exchange_telling(struct connection *connection, const uint8_t *data, size_t len,
	uint32_t timeout_ms, struct fl_error *err)
{
	enum fl_code code;

	connection->asked_ms = fl_clock_boot_ms();
	connection_set_tick(connection, show_silence, connection);
	code = exchange(connection, data, len, timeout_ms, err);
	connection_set_tick(connection, NULL, NULL);
	term_progress(NULL);
	return code;
}

enum fl_code connection_ask(struct connection *connection, Pb__Envelope *request,
	Pb__Envelope__BodyCase expected, uint32_t hold_ms, Pb__Envelope **ret_reply,
	struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	uint32_t timeout_ms = connection->request_timeout_ms + hold_ms;
	size_t len;

	request->request_id = fl_random_id();
	request->deadline_ms = hold_ms > 0 ? hold_ms : timeout_ms;
	FL_TRY(wire_pack(request, &data, &len, err));
	if (hold_ms == 0 && connection->on_tick == NULL)
		FL_TRY(exchange_telling(connection, data, len, timeout_ms, err));
	else
		FL_TRY(exchange(connection, data, len, timeout_ms, err));
	reply = FL_TAKE(connection->reply);
	FL_TRY(check_reply(request, reply, expected, err));
	*ret_reply = FL_TAKE(reply);
	return FL_OK;
}

/* Moves the units and names of @from behind those of @to. */
static enum fl_code join(Pb__UnitsReply *to, Pb__UnitsReply *from, struct fl_error *err)
{
	Pb__Unit **units =
		reallocarray(to->units, to->n_units + from->n_units + 1, sizeof(Pb__Unit *));
	char **gone;

	if (units == NULL)
		return FL_FAIL_NO_MEMORY(err);
	to->units = units;
	gone = reallocarray(to->gone, to->n_gone + from->n_gone + 1, sizeof(*gone));
	if (gone == NULL)
		return FL_FAIL_NO_MEMORY(err);
	to->gone = gone;
	for (size_t i = 0; i < from->n_units; i++)
		to->units[to->n_units++] = FL_TAKE(from->units[i]);
	for (size_t i = 0; i < from->n_gone; i++)
		to->gone[to->n_gone++] = FL_TAKE(from->gone[i]);
	from->n_units = from->n_gone = 0;
	return FL_OK;
}

/* All pages of one question, behind what is in *all (nullable). */
static enum fl_code ask_units(struct connection *connection, Pb__UnitsRequest *body,
	Pb__Envelope **all, struct fl_error *err)
{
	Pb__Envelope request = PB__ENVELOPE__INIT;
	bool more = true;

	request.body_case = PB__ENVELOPE__BODY_UNITS_REQUEST;
	request.units_request = body;
	while (more) {
		FL_CLEANUP(wire_freep) Pb__Envelope *page = NULL;
		const Pb__UnitsReply *units;

		FL_TRY(connection_ask(
			connection, &request, PB__ENVELOPE__BODY_UNITS_REPLY, 0, &page, err));
		more = page->units_reply->more && page->units_reply->n_units > 0;
		if (*all == NULL)
			*all = FL_TAKE(page);
		else
			FL_TRY(join((*all)->units_reply, page->units_reply, err));
		units = (*all)->units_reply;
		if (more)
			body->after = units->units[units->n_units - 1]->name;
	}
	return FL_OK;
}

enum fl_code connection_units(struct connection *connection, char **names, size_t n_names,
	bool with_content, Pb__Envelope **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *all = NULL;
	size_t asked = 0;

	/* No names are all units: that is one question too. */
	do {
		Pb__UnitsRequest body = PB__UNITS_REQUEST__INIT;

		body.names = n_names > 0 ? names + asked : NULL;
		body.n_names = n_names - asked < LIMIT_NAMES ? n_names - asked : LIMIT_NAMES;
		body.with_content = with_content;
		FL_TRY(ask_units(connection, &body, &all, err));
		asked += body.n_names;
	} while (asked < n_names);
	*ret_reply = FL_TAKE(all);
	return FL_OK;
}

static enum fl_code join_machines(
	Pb__MachinesReply *to, Pb__MachinesReply *from, struct fl_error *err)
{
	Pb__Machine **machines = reallocarray(
		to->machines, to->n_machines + from->n_machines + 1, sizeof(Pb__Machine *));

	if (machines == NULL)
		return FL_FAIL_NO_MEMORY(err);
	to->machines = machines;
	for (size_t i = 0; i < from->n_machines; i++)
		to->machines[to->n_machines++] = FL_TAKE(from->machines[i]);
	from->n_machines = 0;
	return FL_OK;
}

enum fl_code connection_machines(
	struct connection *connection, Pb__Envelope **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *all = NULL;
	Pb__MachinesRequest body = PB__MACHINES_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;
	bool more = true;

	request.body_case = PB__ENVELOPE__BODY_MACHINES_REQUEST;
	request.machines_request = &body;
	while (more) {
		FL_CLEANUP(wire_freep) Pb__Envelope *page = NULL;
		const Pb__MachinesReply *machines;

		FL_TRY(connection_ask(
			connection, &request, PB__ENVELOPE__BODY_MACHINES_REPLY, 0, &page, err));
		more = page->machines_reply->more && page->machines_reply->n_machines > 0;
		if (all == NULL)
			all = FL_TAKE(page);
		else
			FL_TRY(join_machines(all->machines_reply, page->machines_reply, err));
		machines = all->machines_reply;
		if (more)
			body.after = machines->machines[machines->n_machines - 1]->id;
	}
	*ret_reply = FL_TAKE(all);
	return FL_OK;
}
