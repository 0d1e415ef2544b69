/*
 * libsystemd, found at run time: a host without it still has an agent, which then says that it
 * cannot run systemd's units. Only the functions of this list are used, each as a member of
 * `libsystemd` under the name that it has behind "sd_".
 */
#pragma once

#include <systemd/sd-bus.h>

#include "base/error.h"

#define LIBSYSTEMD_FUNCTIONS(X) \
	X(bus_new) \
	X(bus_set_address) \
	X(bus_set_bus_client) \
	X(bus_start) \
	X(bus_close_unref) \
	X(bus_get_fd) \
	X(bus_get_events) \
	X(bus_get_timeout) \
	X(bus_process) \
	X(bus_add_filter) \
	X(bus_call_async) \
	X(bus_slot_unref) \
	X(bus_message_new_method_call) \
	X(bus_message_append) \
	X(bus_message_append_strv) \
	X(bus_message_unref) \
	X(bus_message_read) \
	X(bus_message_enter_container) \
	X(bus_message_exit_container) \
	X(bus_message_peek_type) \
	X(bus_message_skip) \
	X(bus_message_get_error) \
	X(bus_message_is_signal) \
	X(bus_message_get_member) \
	X(bus_message_get_interface) \
	X(bus_message_get_path) \
	X(bus_message_get_sender) \
	X(bus_path_encode) \
	X(bus_path_decode)

struct libsystemd {
#define X(name) __typeof__(sd_##name) *name;
	LIBSYSTEMD_FUNCTIONS(X)
#undef X
};

extern struct libsystemd libsystemd;

/* Loads libsystemd.so.0 and fills `libsystemd`; done once, before threads start. It stays loaded.
 * FL_E_UNAVAILABLE says what is missing. */
enum fl_code libsystemd_load(struct fl_error *err) FL_MUST_CHECK;
