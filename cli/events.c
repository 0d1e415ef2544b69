#include "cli/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/option.h"
#include "base/strv.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/term.h"
#include "unitfiles/name.h"

/* How long the coordinator may hold a question for what happens next. */
#define HOLD_MS 30000U

/* Until it is asked again, when it has answered that it cannot now. */
#define RETRY_MS 500U

/* What a shell says of a program that ended by Ctrl-C. */
#define EXIT_INTERRUPTED 130

struct follower {
	const struct cli_options *options;
	struct connection *connection;
	struct fl_strv names;
	bool json;
	uint64_t since; /* index of the last one seen; 0: none was */
	uint32_t last; /* then: how many to begin with */
	uint64_t until; /* the newest that is wanted */
	bool is_away; /* the coordinator, and that has been told */
};

/* "web" may be the beginning of a machine's ID, or a unit's short name. */
static enum fl_code add_name(struct fl_strv *names, const char *arg, struct fl_error *err)
{
	char unit[UNIT_NAME_MAX + 1];

	FL_TRY(fl_strv_add(names, arg, err));
	if (unit_name_from_argument(arg, unit, NULL) == FL_OK && strcmp(unit, arg) != 0)
		FL_TRY(fl_strv_add(names, unit, err));
	return FL_OK;
}

/* ---- Showing -- */

static enum term_colour colour_of(const Pb__Event *event)
{
	static const struct {
		const char *kind;
		enum term_colour colour;
	} colours[] = {
		{"unit.active", TERM_GREEN},
		{"machine.up", TERM_GREEN},
		{"machine.joined", TERM_GREEN},
		{"rollout.done", TERM_GREEN},
		{"unit.failed", TERM_RED},
		{"unit.error", TERM_RED},
		{"machine.lost", TERM_RED},
		{"machine.cloned", TERM_RED},
		{"rollout.returning", TERM_RED},
		{"unit.doubled", TERM_RED},
		{"fleet.hold", TERM_RED},
		{"unit.waiting", TERM_YELLOW},
		{"unit.displaced", TERM_YELLOW},
		{"unit.restarting", TERM_YELLOW},
		{"machine.refused", TERM_YELLOW},
	};

	for (size_t i = 0; i < FL_COUNT(colours); i++)
		if (strcmp(event->kind, colours[i].kind) == 0)
			return colours[i].colour;
	return TERM_PLAIN;
}

/* Texts come from machines: one line each, and nothing that a terminal obeys. */
static void put_text(const char *text)
{
	for (; *text != '\0'; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text);
}

static void print_line(const Pb__Event *event, bool full)
{
	enum term_colour colour = term_has_colours(stdout) ? colour_of(event) : TERM_PLAIN;
	time_t seconds = (time_t)(event->time_us / 1000000);
	char when[64], machine[MACHINE_TEXT_MAX];
	struct tm local;

	if (localtime_r(&seconds, &local) == NULL ||
		strftime(when, sizeof(when), "%b %d %H:%M:%S", &local) == 0)
		(void)snprintf(when, sizeof(when), "%15" PRIu64, event->time_us / 1000000);
	printf("%s %" PRIu64 " ", when, event->index);
	fputs(term_begin(colour), stdout);
	put_text(event->kind);
	fputs(colour != TERM_PLAIN ? TERM_END : "", stdout);
	if (event->unit[0] != '\0') {
		putchar(' ');
		put_text(event->unit);
	}
	if (event->machine_id[0] != '\0') {
		machine_text(event->machine_id, "", full, machine);
		fputs(event->unit[0] != '\0' ? " on " : " ", stdout);
		put_text(machine);
	}
	if (event->text[0] != '\0') {
		fputs(": ", stdout);
		put_text(event->text);
	}
	putchar('\n');
}

static enum fl_code print_json(const Pb__Event *event, struct fl_error *err)
{
	return json_print_line(
		json_pack("{s:I, s:I, s:s, s:s, s:s, s:o}", "index", (json_int_t)event->index,
			"time_us", (json_int_t)event->time_us, "kind", event->kind, "unit",
			event->unit, "machine", event->machine_id, "text",
			json_of_text(event->text)),
		err);
}

/* What was between what is shown and what follows, nobody knows any more. */
static enum fl_code tell_lost(const struct follower *follower, struct fl_error *err)
{
	if (follower->json)
		return json_print_line(
			json_pack("{s:b, s:I}", "lost", 1, "since", (json_int_t)follower->since),
			err);
	term_warning("some events behind %" PRIu64 " are lost: the coordinator was restarted, or "
		     "more have come than it keeps",
		follower->since);
	return FL_OK;
}

static enum fl_code show(
	const struct follower *follower, const Pb__EventsReply *reply, struct fl_error *err)
{
	if (reply->lost)
		FL_TRY(tell_lost(follower, err));
	for (size_t i = 0; i < reply->n_events; i++) {
		if (follower->json)
			FL_TRY(print_json(reply->events[i], err));
		else
			print_line(reply->events[i], follower->options->full);
	}
	if (fflush(stdout) != 0)
		return FL_FAIL(err, errno == EPIPE ? FL_E_CANCELED : FL_E_IO, "standard output: %s",
			strerrordesc_np(errno));
	return FL_OK;
}

/* ---- Asking -- */

static enum fl_code ask(
	struct follower *follower, uint32_t last, Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__EventsRequest body = PB__EVENTS_REQUEST__INIT;
	Pb__Envelope request = PB__ENVELOPE__INIT;

	body.since = follower->since;
	body.last = last;
	body.names = follower->names.items;
	body.n_names = follower->names.n;
	request.body_case = PB__ENVELOPE__BODY_EVENTS_REQUEST;
	request.events_request = &body;
	return connection_ask(follower->connection, &request, PB__ENVELOPE__BODY_EVENTS_REPLY,
		body.since > 0 ? HOLD_MS : 0, ret_reply, err);
}

/* The coordinator may be away for a while, and is back where it was. */
static enum fl_code wait_for_it(struct follower *follower, enum fl_code code,
	const struct fl_error *why, struct fl_error *err)
{
	bool passes = code == FL_E_UNAVAILABLE || code == FL_E_TIMEOUT || code == FL_E_STORE;

	if (!follower->options->follow || follower->since == 0 || !passes)
		return FL_FAIL(err, code, "%s", why->text);
	if (!follower->is_away)
		term_warning("%s; going on when it answers", why->text);
	follower->is_away = true;
	return connection_pause(follower->connection, RETRY_MS, err);
}

static enum fl_code follow(struct follower *follower, struct fl_error *err)
{
	if (follower->since == follower->until)
		return FL_OK;
	/* An index behind the newest is of another fleet: to be told that it is. */
	do {
		FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
		struct fl_error why = {0};
		enum fl_code code = ask(follower, follower->last, &reply, &why);

		if (code != FL_OK) {
			FL_TRY(wait_for_it(follower, code, &why, err));
			continue;
		}
		follower->is_away = false;
		FL_TRY(show(follower, reply->events_reply, err));
		follower->since = reply->events_reply->index;
	} while (follower->since < follower->until);
	return FL_OK;
}

static enum fl_code find_range(struct follower *follower, struct fl_error *err)
{
	const struct cli_options *options = follower->options;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;

	follower->last = (uint32_t)options->lines;
	follower->until = UINT64_MAX;
	/* What happens from now on is not meant. */
	if (!options->follow) {
		FL_TRY(ask(follower, 0, &reply, err));
		follower->until = reply->events_reply->index;
	}
	if (options->since == NULL || options->since[0] == '\0')
		return FL_OK;
	if (fl_parse_uint(options->since, &follower->since, err) != FL_OK)
		return FL_FAIL(err, FL_E_USAGE,
			"--since: \"%s\" is no index; it is the number behind an event's time",
			options->since);
	/* All that is known. */
	if (follower->since == 0)
		follower->last = UINT32_MAX;
	return FL_OK;
}

enum fl_code verb_events(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	struct follower follower = {.options = command->options};
	enum fl_code code = command_wants_json(command, &follower.json, err);

	for (size_t i = 0; i < command->n_args && code == FL_OK; i++)
		code = add_name(&follower.names, command->args[i], err);
	if (code == FL_OK)
		code = connection_open(command->options, &connection, err);
	follower.connection = connection;
	if (code == FL_OK)
		code = connection_catch_signals(connection, err);
	if (code == FL_OK)
		code = find_range(&follower, err);
	if (code == FL_OK)
		code = follow(&follower, err);
	fl_strv_fini(&follower.names);
	if (code != FL_E_CANCELED)
		return code;
	command->exit_code = EXIT_INTERRUPTED;
	return FL_OK;
}
