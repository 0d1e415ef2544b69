/*
 * Logging: a stable event name, then key=value pairs.
 *
 *	fl_log(FL_INFO, "machine.lost", "machine=%s after_ms=%u", id, after);
 *
 * Under systemd each pair becomes a journal field (FLOTA_EVENT, FLOTA_MACHINE, ...; see
 * systemd.journal-fields(7)), elsewhere a line on stderr. An event repeated more than 50 times in
 * 5 seconds is held back, and how often is said afterwards; errors are never held back for good.
 * No keys, secrets or payloads.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The values are syslog(3)'s. */
enum fl_level {
	FL_ERROR = 3,
	FL_WARNING = 4,
	FL_NOTICE = 5,
	FL_INFO = 6,
	FL_DEBUG = 7,
};

/* Names the program on stderr lines and finds out whether the journal reads us. Call once. */
void fl_log_init(const char *program);

/* Events above @level are dropped; FL_INFO until it is called. */
void fl_log_set_level(enum fl_level level);
bool fl_log_wants(enum fl_level level);

/* "error" ... "debug"; false leaves *ret_level alone. */
bool fl_log_level_from_name(const char *name, enum fl_level *ret_level);

/* The request that this thread works on, put on every line until it is set to 0. */
void fl_log_set_request(uint64_t request_id);

/* @format is "key=%s key=%u ..."; a value may hold spaces, and is quoted where it does. Keeps
 * errno. Any thread. */
void fl_log_event(enum fl_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a text that was formatted before: a space in it begins a new pair where "key="
 * follows, and else belongs to the value. */
void fl_log_text(enum fl_level level, const char *event, const char *text);

#define fl_log(level, event, ...) \
	do { \
		if (fl_log_wants(level)) \
			fl_log_event((level), (event), __VA_ARGS__); \
	} while (0)
