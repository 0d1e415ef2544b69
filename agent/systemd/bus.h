/*
 * A connection to systemd, PID 1, that comes back by itself: over its private socket, which needs
 * no bus daemon, else over the system bus. Method calls are asynchronous, and at most
 * BUS_CALLS_MAX wait for their reply at a time (dbus-daemon answers no more than 128); more wait
 * in line here.
 *
 * All on the loop thread; handlers and replies come from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/systemd/libsystemd.h"
#include "base/error.h"

#define BUS_CALLS_MAX 64

#define BUS_MANAGER_PATH "/org/freedesktop/systemd1"
#define BUS_UNIT_PATH    "/org/freedesktop/systemd1/unit"
#define BUS_MANAGER      "org.freedesktop.systemd1.Manager"
#define BUS_UNIT         "org.freedesktop.systemd1.Unit"
#define BUS_PROPERTIES   "org.freedesktop.DBus.Properties"

struct bus;
struct bus_call;

struct bus_handlers {
	/* Connected and subscribed to systemd's signals. */
	void (*up)(void *userdata);
	/* No longer; every call has had its reply (FL_E_UNAVAILABLE) before. */
	void (*down)(void *userdata);
	/* A signal of systemd's; borrowed. */
	void (*signal)(sd_bus_message *message, void *userdata);
};

/* libsystemd_load() has been called. Connecting begins at once and goes on for ever. */
enum fl_code bus_open(struct bus **ret_bus, uv_loop_t *loop, const struct bus_handlers *handlers,
	void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Calls under way are forgotten without a reply; @closed comes from the loop. */
void bus_close(struct bus *bus, void (*closed)(void *userdata), void *userdata);

bool bus_is_up(const struct bus *bus);

/* @reply is borrowed, and NULL unless @code is FL_OK. FL_E_UNAVAILABLE: the connection or the
 * reply was lost. FL_E_NOT_FOUND: no such unit, job or object. Otherwise FL_E_FAILED. The text is
 * systemd's. */
typedef void (*bus_reply)(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata);

/*
 * Calls systemd's @interface.@member at @path with arguments as sd_bus_message_append(3) takes
 * them. @reply comes later, exactly once unless bus_call_cancel() comes first. FL_E_UNAVAILABLE
 * where the bus is not up, FL_E_NO_MEMORY. *ret_call (nullable) is valid until @reply.
 */
enum fl_code bus_call(struct bus *bus, const char *path, const char *interface, const char *member,
	uint32_t timeout_ms, bus_reply reply, void *userdata, struct bus_call **ret_call,
	struct fl_error *err, const char *types, ...) FL_MUST_CHECK;

/* The same with one argument, a list of strings. */
enum fl_code bus_call_strv(struct bus *bus, const char *path, const char *interface,
	const char *member, uint32_t timeout_ms, bus_reply reply, void *userdata, char **strings,
	struct fl_error *err) FL_MUST_CHECK;

/* No reply will come. What systemd was asked to do it does. */
void bus_call_cancel(struct bus_call *call);
