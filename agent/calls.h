/*
 * status and journal of a unit, for somebody far away: the host's own systemctl and journalctl,
 * their output piece by piece. Nothing that is asked for reaches a shell; only units that are this
 * agent's own can be asked about.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "base/error.h"
#include "proto/flota.pb-c.h"

struct calls;

/* The answer to a piece of output: FL_OK and whether nobody listens any more, or why it is lost. */
typedef void (*calls_sent)(enum fl_code code, bool stop, void *call);

struct calls_handlers {
	/* Whether a unit of this name is this agent's own, on this host. */
	bool (*owns)(const char *unit, void *userdata);
	/* Sends @output (copied); @sent comes later, exactly once, unless it fails here. */
	enum fl_code (*send)(Pb__CallOutputRequest *output, calls_sent sent, void *call,
		void *userdata, struct fl_error *err);
};

#define CALLS_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* @path is where the programs are looked for: CALLS_PATH, but in tests. */
enum fl_code calls_new(struct calls **ret_calls, uv_loop_t *loop, const char *path,
	const struct calls_handlers *handlers, void *userdata, struct fl_error *err) FL_MUST_CHECK;

/* Kills what runs; nothing is sent any more. @closed comes from the loop. */
void calls_close(struct calls *calls, void (*closed)(void *userdata), void *userdata);

/* Begins or cancels a call. What is wrong with it is sent as its output's end. An order that came
 * before is not carried out again. */
void calls_order(struct calls *calls, const Pb__CallOrder *order);

#define CALLS_ARGS_MAX 12

/* The command of an order; for calls_order() and its test. Texts are in @storage or borrowed.
 * FL_E_INVALID says what cannot be asked for. */
struct calls_command {
	const char *argv[CALLS_ARGS_MAX]; /* followed by a NULL */
	char lines[24];
	char unit[300];
};
enum fl_code calls_command(const Pb__CallOrder *order, struct calls_command *ret_command,
	struct fl_error *err) FL_MUST_CHECK;
