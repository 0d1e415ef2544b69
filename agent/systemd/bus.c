/*
 *             connect()                Subscribe answered
 *   WAITING ────────────▶ CONNECTING ─────────────────────▶ UP
 *      ▲   backoff            │ no answer, refused           │ lost, daemon-reexec
 *      └──────────────────────┴──────────────────────────────┘          any ──▶ CLOSED
 *
 * The happy path: WAITING's timer fires at once, the socket connects, sd-bus authenticates in the
 * background and sends what is queued, Manager.Subscribe is answered: UP.
 * It fails when systemd is not there, when it takes longer than CONNECT_MS (PID 1 may be busy
 * with a reload), or later when the connection breaks (daemon-reexec closes it). Then the next try
 * takes the other address: private socket, system bus, private socket...
 * Deadlines: WAITING its timer, CONNECTING the timeout of its calls; in UP each call has its own.
 */
#include "agent/systemd/bus.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fsm.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"

#define CONNECT_MS     30000U
#define BACKOFF_MIN_MS 50U
#define BACKOFF_MAX_MS 5000U
#define TURN_MESSAGES  256 /* handled before the rest of the loop has its turn */

#define DESTINATION "org.freedesktop.systemd1"

#define BUS_STATES(X) \
	X(BUS, WAITING, FL_TO(BUS, CONNECTING) | FL_TO(BUS, CLOSED)) \
	X(BUS, CONNECTING, FL_TO(BUS, UP) | FL_TO(BUS, WAITING) | FL_TO(BUS, CLOSED)) \
	X(BUS, UP, FL_TO(BUS, WAITING) | FL_TO(BUS, CLOSED)) \
	X(BUS, CLOSED, 0)
FL_FSM_DEFINE(bus, BUS_STATES)

static const struct {
	const char *address;
	bool is_bus; /* a bus daemon is in between */
} addresses[] = {
	{"unix:path=/run/systemd/private", false},
	{"unix:path=/run/dbus/system_bus_socket", true},
};

/* One connection; freed when both handles are closed. */
struct connection {
	struct bus *bus;
	sd_bus *sd;
	uv_poll_t poll;
	uv_timer_t timer; /* sd-bus's own timeouts */
	int handles;
};

struct bus {
	struct fl_fsm fsm;
	uv_loop_t *loop;
	uv_timer_t backoff;
	struct connection *connection; /* NULL in WAITING and CLOSED */
	unsigned address; /* of addresses[] */
	uint32_t backoff_ms;
	bool lost; /* found while messages are handled; acted on behind them */
	char owner[64]; /* systemd's unique name on the system bus; "" on the private socket */
	struct fl_list waiting, sent; /* of struct bus_call */
	unsigned n_sent;
	const struct bus_handlers *handlers;
	void *userdata;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

struct bus_call {
	struct fl_list link;
	struct bus *bus;
	sd_bus_message *message; /* until it is sent */
	sd_bus_slot *slot; /* once it is sent */
	uint32_t timeout_ms;
	bus_reply reply;
	void *userdata;
};

static void drop(struct bus *bus, const char *why);
static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

bool bus_is_up(const struct bus *bus)
{
	return bus->fsm.state == BUS_UP;
}

static void call_free(struct bus_call *call)
{
	fl_list_remove(&call->link);
	if (call->slot != NULL) {
		call->bus->n_sent--;
		(void)libsystemd.bus_slot_unref(call->slot);
	}
	if (call->message != NULL)
		(void)libsystemd.bus_message_unref(call->message);
	free(call);
}

static void call_end(
	struct bus_call *call, enum fl_code code, sd_bus_message *reply, const struct fl_error *err)
{
	bus_reply done = call->reply;
	void *userdata = call->userdata;

	call_free(call);
	done(code, code == FL_OK ? reply : NULL, err, userdata);
}

/* systemd's error names, as far as they make a difference here. */
static enum fl_code code_from_error(const char *name)
{
	static const struct {
		const char *name;
		enum fl_code code;
	} known[] = {
		{"org.freedesktop.systemd1.NoSuchUnit", FL_E_NOT_FOUND},
		{"org.freedesktop.systemd1.NoSuchJob", FL_E_NOT_FOUND},
		{"org.freedesktop.DBus.Error.UnknownObject", FL_E_NOT_FOUND},
		{"org.freedesktop.DBus.Error.NoReply", FL_E_UNAVAILABLE},
		{"org.freedesktop.DBus.Error.Timeout", FL_E_UNAVAILABLE},
		{"org.freedesktop.DBus.Error.Disconnected", FL_E_UNAVAILABLE},
		{"org.freedesktop.DBus.Error.ServiceUnknown", FL_E_UNAVAILABLE},
		{"org.freedesktop.DBus.Error.NameHasNoOwner", FL_E_UNAVAILABLE},
		{"org.freedesktop.DBus.Error.LimitsExceeded", FL_E_UNAVAILABLE},
		{"org.freedesktop.DBus.Error.NoMemory", FL_E_NO_MEMORY},
		{"org.freedesktop.DBus.Error.AccessDenied", FL_E_DENIED},
	};

	for (size_t i = 0; i < FL_COUNT(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].code;
	return FL_E_FAILED;
}

static int on_reply(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct bus_call *call = userdata;
	const sd_bus_error *error = libsystemd.bus_message_get_error(message);
	struct fl_error err = {.code = FL_OK};

	(void)ret_error;
	if (error != NULL)
		fl_error_set(&err, code_from_error(error->name), "%s",
			error->message != NULL ? error->message : error->name);
	call_end(call, err.code, message, &err);
	return 1;
}

/* What sd-bus waits for has changed. */
static void connection_update(struct connection *connection)
{
	int events = libsystemd.bus_get_events(connection->sd);
	uint64_t until_us = UINT64_MAX, now_us, wait_ms;
	struct timespec now;
	int uv_events = 0;

	if (events < 0 || libsystemd.bus_get_timeout(connection->sd, &until_us) < 0) {
		/* Closed under us: the next look at it says so. */
		uv_events = UV_READABLE;
		until_us = 0;
	} else {
		uv_events |= (events & 0x1 /* POLLIN */) != 0 ? UV_READABLE : 0;
		uv_events |= (events & 0x4 /* POLLOUT */) != 0 ? UV_WRITABLE : 0;
	}
	(void)uv_poll_start(&connection->poll, uv_events, on_poll);
	if (until_us == UINT64_MAX) {
		(void)uv_timer_stop(&connection->timer);
		return;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	now_us = (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
	wait_ms = until_us > now_us ? (until_us - now_us + 999U) / 1000U : 0;
	uv_update_time(connection->bus->loop);
	(void)uv_timer_start(&connection->timer, on_timer, wait_ms, 0);
}

/* Sends what may be sent. */
static void calls_pump(struct bus *bus)
{
	while (bus->connection != NULL && bus->n_sent < BUS_CALLS_MAX &&
		!fl_list_empty(&bus->waiting)) {
		struct bus_call *call = FL_LIST_ENTRY(bus->waiting.next, struct bus_call, link);
		int r = libsystemd.bus_call_async(bus->connection->sd, &call->slot, call->message,
			on_reply, call, (uint64_t)call->timeout_ms * 1000U);

		if (r < 0) {
			/* The connection is closing, or memory is out: both are met by a new one. */
			bus->lost = true;
			(void)uv_timer_start(&bus->connection->timer, on_timer, 0, 0);
			return;
		}
		(void)libsystemd.bus_message_unref(FL_TAKE(call->message));
		bus->n_sent++;
		fl_list_remove(&call->link);
		fl_list_append(&bus->sent, &call->link);
	}
	if (bus->connection != NULL)
		connection_update(bus->connection);
}

/* Takes over @message. */
static enum fl_code call_queue(struct bus *bus, sd_bus_message *message, uint32_t timeout_ms,
	bus_reply reply, void *userdata, struct bus_call **ret_call, struct fl_error *err)
{
	struct bus_call *call = FL_NEW(struct bus_call);

	if (call == NULL) {
		(void)libsystemd.bus_message_unref(message);
		return FL_FAIL_NO_MEMORY(err);
	}
	*call = (struct bus_call){.bus = bus,
		.message = message,
		.timeout_ms = timeout_ms,
		.reply = reply,
		.userdata = userdata};
	fl_list_append(&bus->waiting, &call->link);
	if (ret_call != NULL)
		*ret_call = call;
	calls_pump(bus);
	return FL_OK;
}

static enum fl_code message_new(struct bus *bus, const char *destination, const char *path,
	const char *interface, const char *member, sd_bus_message **ret_message,
	struct fl_error *err)
{
	int r;

	if (bus->connection == NULL || bus->lost)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "systemd on this machine does not answer");
	r = libsystemd.bus_message_new_method_call(
		bus->connection->sd, ret_message, destination, path, interface, member);
	if (r < 0)
		return fl_error_set_errno(err, FL_E_INTERNAL, -r, "%s.%s", interface, member);
	return FL_OK;
}

static enum fl_code vcall(struct bus *bus, const char *destination, const char *path,
	const char *interface, const char *member, uint32_t timeout_ms, bus_reply reply,
	void *userdata, struct bus_call **ret_call, struct fl_error *err, const char *types,
	va_list ap)
{
	/* libsystemd has sd_bus_message_appendv(3) for this, but a list of at most three strings
	 * or booleans is all that is ever sent. */
	sd_bus_message *message = NULL;
	int r = 0;

	FL_TRY(message_new(bus, destination, path, interface, member, &message, err));
	for (const char *type = types; *type != '\0' && r >= 0; type++) {
		const char one[] = {*type, '\0'};

		if (*type == 's' || *type == 'o')
			r = libsystemd.bus_message_append(message, one, va_arg(ap, const char *));
		else
			r = libsystemd.bus_message_append(message, one, va_arg(ap, uint32_t));
	}
	if (r < 0) {
		(void)libsystemd.bus_message_unref(message);
		return fl_error_set_errno(err, FL_E_INTERNAL, -r, "%s.%s", interface, member);
	}
	return call_queue(bus, message, timeout_ms, reply, userdata, ret_call, err);
}

enum fl_code bus_call(struct bus *bus, const char *path, const char *interface, const char *member,
	uint32_t timeout_ms, bus_reply reply, void *userdata, struct bus_call **ret_call,
	struct fl_error *err, const char *types, ...)
{
	enum fl_code code;
	va_list ap;

	va_start(ap, types);
	code = vcall(bus, DESTINATION, path, interface, member, timeout_ms, reply, userdata,
		ret_call, err, types, ap);
	va_end(ap);
	return code;
}

enum fl_code bus_call_strv(struct bus *bus, const char *path, const char *interface,
	const char *member, uint32_t timeout_ms, bus_reply reply, void *userdata, char **strings,
	struct fl_error *err)
{
	sd_bus_message *message = NULL;
	int r;

	FL_TRY(message_new(bus, DESTINATION, path, interface, member, &message, err));
	r = libsystemd.bus_message_append_strv(message, strings);
	if (r < 0) {
		(void)libsystemd.bus_message_unref(message);
		return fl_error_set_errno(err, FL_E_INTERNAL, -r, "%s.%s", interface, member);
	}
	return call_queue(bus, message, timeout_ms, reply, userdata, NULL, err);
}

void bus_call_cancel(struct bus_call *call)
{
	struct bus *bus = call->bus;

	call_free(call);
	calls_pump(bus);
}

/* ---- Connecting --------------------------------------------------------------------------- */

/* To the bus daemon itself; errors show in what is asked next. */
static enum fl_code daemon_call(struct bus *bus, const char *member, bus_reply reply,
	struct fl_error *err, const char *types, ...)
{
	enum fl_code code;
	va_list ap;

	va_start(ap, types);
	code = vcall(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
		member, CONNECT_MS, reply, bus, NULL, err, types, ap);
	va_end(ap);
	return code;
}

static void connect_failed(struct bus *bus, const struct fl_error *err)
{
	fl_log(FL_DEBUG, "systemd.connect", "address=%s error=%s", addresses[bus->address].address,
		fl_error_text(err));
	bus->lost = true;
}

static void on_match_added(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	(void)reply;
	if (code != FL_OK)
		connect_failed(userdata, err);
}

static void on_owner(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct bus *bus = userdata;
	const char *owner;

	if (code != FL_OK) {
		connect_failed(bus, err);
		return;
	}
	if (libsystemd.bus_message_read(reply, "s", &owner) < 0 ||
		snprintf(bus->owner, sizeof(bus->owner), "%s", owner) >= (int)sizeof(bus->owner))
		bus->lost = true;
}

static void on_subscribed(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct bus *bus = userdata;

	(void)reply;
	if (bus->fsm.state != BUS_CONNECTING || bus->lost)
		return;
	if (code != FL_OK) {
		connect_failed(bus, err);
		return;
	}
	bus->backoff_ms = 0;
	fl_log(FL_INFO, "systemd.connected", "address=%s", addresses[bus->address].address);
	fl_fsm_move(&bus->fsm, BUS_UP, "subscribed");
	bus->handlers->up(bus->userdata);
}

static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct bus *bus = userdata;
	const char *sender = libsystemd.bus_message_get_sender(message);

	(void)ret_error;
	if (addresses[bus->address].is_bus) {
		/* systemd has executed itself anew: it no longer knows our subscription. */
		if (libsystemd.bus_message_is_signal(
			    message, "org.freedesktop.DBus", "NameOwnerChanged") > 0 &&
			sender != NULL && strcmp(sender, "org.freedesktop.DBus") == 0) {
			bus->lost = bus->lost || bus->owner[0] != '\0';
			return 0;
		}
		/* Anybody may send us signals over a bus; only systemd's count. */
		if (sender == NULL || strcmp(sender, bus->owner) != 0)
			return 0;
	}
	if (bus->fsm.state == BUS_UP && !bus->lost &&
		libsystemd.bus_message_is_signal(message, NULL, NULL) > 0)
		bus->handlers->signal(message, bus->userdata);
	return 0;
}

static void connection_process(struct connection *connection)
{
	struct bus *bus = connection->bus;
	int r = 1;

	for (int i = 0; i < TURN_MESSAGES && r > 0 && !bus->lost && bus->connection != NULL; i++)
		r = libsystemd.bus_process(connection->sd, NULL);
	if (bus->connection != connection)
		return; /* a handler closed the bus */
	if (r < 0 || bus->lost) {
		drop(bus, r < 0 ? strerrordesc_np(-r) : "lost");
		return;
	}
	calls_pump(bus);
	if (r > 0) /* there is more: after the others' turn */
		(void)uv_timer_start(&connection->timer, on_timer, 0, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	connection_process(FL_CONTAINER(poll, struct connection, poll));
}

static void on_timer(uv_timer_t *timer)
{
	connection_process(FL_CONTAINER(timer, struct connection, timer));
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;

	if (--connection->handles == 0)
		free(connection);
}

static void connection_close(struct connection *connection)
{
	uv_close((uv_handle_t *)&connection->poll, on_handle_closed);
	uv_close((uv_handle_t *)&connection->timer, on_handle_closed);
	(void)libsystemd.bus_close_unref(FL_TAKE(connection->sd));
}

/* systemd's signals, from a bus that carries others' too. */
static enum fl_code subscribe_on_bus(struct bus *bus, struct fl_error *err)
{
	FL_TRY(daemon_call(bus, "AddMatch", on_match_added, err, "s",
		"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',"
		"arg0='org.freedesktop.systemd1'"));
	FL_TRY(daemon_call(bus, "AddMatch", on_match_added, err, "s",
		"type='signal',sender='org.freedesktop.systemd1',"
		"path_namespace='/org/freedesktop/systemd1'"));
	return daemon_call(bus, "GetNameOwner", on_owner, err, "s", DESTINATION);
}

/* A connection whose handles are open, or an error and nothing. */
static enum fl_code connection_new(struct bus *bus, struct fl_error *err)
{
	const char *address = addresses[bus->address].address;
	struct connection *connection = FL_NEW(struct connection);
	int r;

	if (connection == NULL)
		return FL_FAIL_NO_MEMORY(err);
	connection->bus = bus;
	r = libsystemd.bus_new(&connection->sd);
	if (r >= 0)
		r = libsystemd.bus_set_address(connection->sd, address);
	if (r >= 0)
		r = libsystemd.bus_set_bus_client(connection->sd, addresses[bus->address].is_bus);
	if (r >= 0)
		r = libsystemd.bus_start(connection->sd);
	if (r >= 0)
		r = libsystemd.bus_add_filter(connection->sd, NULL, on_message, bus);
	if (r >= 0)
		r = libsystemd.bus_get_fd(connection->sd);
	if (r >= 0)
		r = uv_poll_init(bus->loop, &connection->poll, r);
	if (r < 0) {
		if (connection->sd != NULL)
			(void)libsystemd.bus_close_unref(connection->sd);
		free(connection);
		return fl_error_set_errno(err, FL_E_UNAVAILABLE, -r, "%s", address);
	}
	(void)uv_timer_init(bus->loop, &connection->timer);
	connection->handles = 2;
	connection->poll.data = connection->timer.data = connection;
	bus->connection = connection;
	return FL_OK;
}

static void on_backoff(uv_timer_t *timer)
{
	struct bus *bus = FL_CONTAINER(timer, struct bus, backoff);
	struct fl_error err = {.code = FL_OK};
	enum fl_code code;

	fl_fsm_move(&bus->fsm, BUS_CONNECTING, "backoff is over");
	bus->lost = false;
	bus->owner[0] = '\0';
	code = connection_new(bus, &err);
	if (code == FL_OK && addresses[bus->address].is_bus)
		code = subscribe_on_bus(bus, &err);
	if (code == FL_OK)
		code = bus_call(bus, BUS_MANAGER_PATH, BUS_MANAGER, "Subscribe", CONNECT_MS,
			on_subscribed, bus, NULL, &err, "");
	if (code != FL_OK) {
		connect_failed(bus, &err);
		drop(bus, "cannot connect");
	}
}

/* Ends every call; those that their replies begin meanwhile fail at once (bus->lost). */
static void calls_end(struct bus *bus)
{
	struct fl_error err;
	struct fl_list *node;

	fl_error_set(&err, FL_E_UNAVAILABLE, "the connection to systemd was lost");
	fl_list_splice(&bus->sent, &bus->waiting);
	while ((node = fl_list_pop(&bus->sent)) != NULL)
		call_end(FL_LIST_ENTRY(node, struct bus_call, link), FL_E_UNAVAILABLE, NULL, &err);
}

/* From UP or CONNECTING back to WAITING. */
static void drop(struct bus *bus, const char *why)
{
	bool was_up = bus_is_up(bus);

	bus->lost = true;
	fl_fsm_move(&bus->fsm, BUS_WAITING, why);
	calls_end(bus);
	if (bus->connection != NULL)
		connection_close(FL_TAKE(bus->connection));
	if (was_up) {
		fl_log(FL_NOTICE, "systemd.lost", "address=%s why=%s",
			addresses[bus->address].address, why);
		bus->handlers->down(bus->userdata);
		bus->address = 0;
	} else {
		bus->address = (bus->address + 1) % FL_COUNT(addresses);
	}
	if (bus->fsm.state == BUS_CLOSED)
		return;
	(void)uv_timer_start(&bus->backoff, on_backoff, bus->backoff_ms, 0);
	bus->backoff_ms = bus->backoff_ms == 0 ? BACKOFF_MIN_MS : 2 * bus->backoff_ms;
	if (bus->backoff_ms > BACKOFF_MAX_MS)
		bus->backoff_ms = BACKOFF_MAX_MS;
}

enum fl_code bus_open(struct bus **ret_bus, uv_loop_t *loop, const struct bus_handlers *handlers,
	void *userdata, struct fl_error *err)
{
	struct bus *bus = FL_NEW(struct bus);

	if (bus == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fl_fsm_init(&bus->fsm, &bus_fsm_def, "systemd");
	bus->loop = loop;
	bus->handlers = handlers;
	bus->userdata = userdata;
	fl_list_init(&bus->waiting);
	fl_list_init(&bus->sent);
	(void)uv_timer_init(loop, &bus->backoff);
	(void)uv_timer_start(&bus->backoff, on_backoff, 0, 0);
	*ret_bus = bus;
	return FL_OK;
}

static void on_closed(uv_handle_t *handle)
{
	struct bus *bus = FL_CONTAINER((uv_timer_t *)handle, struct bus, backoff);
	void (*closed)(void *userdata) = bus->closed;
	void *userdata = bus->closed_userdata;

	free(bus);
	closed(userdata);
}

void bus_close(struct bus *bus, void (*closed)(void *userdata), void *userdata)
{
	struct fl_list *node;

	fl_fsm_move(&bus->fsm, BUS_CLOSED, "closed");
	fl_list_splice(&bus->sent, &bus->waiting);
	while ((node = fl_list_pop(&bus->sent)) != NULL)
		call_free(FL_LIST_ENTRY(node, struct bus_call, link));
	if (bus->connection != NULL)
		connection_close(FL_TAKE(bus->connection));
	bus->closed = closed;
	bus->closed_userdata = userdata;
	uv_close((uv_handle_t *)&bus->backoff, on_closed);
}
