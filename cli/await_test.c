/* The wait, against a coordinator that follows a script: this file is its connection, and its
 * clock. */
#include "cli/await.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define ID "2d0c6ea8b4f34ff4a3a3c2c1f0e0d0c0"

/* What the next question must be, and what it is answered with. */
struct line {
	const char *names; /* asked for, divided by spaces */
	uint64_t since;
	const char *after;
	bool held;

	enum fl_code code; /* not FL_OK: no answer */
	uint64_t revision;
	const char *unit; /* NULL: none; "-NAME": it is gone */
	const char *active; /* its state; NULL: not reported */
	const char *waiting;
	bool more;
	unsigned takes_ms; /* on the test's own clock */
};

static const struct line *script;
static size_t n_lines, at;

static uint64_t now_ms = 1000;

uint64_t fl_clock_boot_ms(void)
{
	return now_ms;
}

static Pb__Unit *make_unit(const struct line *line)
{
	Pb__Unit *unit = malloc(sizeof(*unit));

	assert_non_null(unit);
	pb__unit__init(unit);
	unit->name = strdup(line->unit);
	unit->desired = PB__DESIRED_STATE__LAUNCHED;
	unit->change_revision = 1;
	if (line->waiting != NULL) {
		unit->waiting = strdup(line->waiting);
		return unit;
	}
	unit->n_placements = 1;
	unit->placements = malloc(sizeof(*unit->placements));
	unit->placements[0] = malloc(sizeof(**unit->placements));
	pb__placement__init(unit->placements[0]);
	unit->placements[0]->machine_id = strdup(ID);
	unit->placements[0]->address = strdup("10.0.0.1");
	if (line->active != NULL) {
		Pb__UnitState *state = malloc(sizeof(*state));

		pb__unit_state__init(state);
		state->load = strdup("loaded");
		state->active = strdup(line->active);
		state->sub = strdup("x");
		state->done_revision = 1;
		unit->placements[0]->state = state;
	}
	return unit;
}

static void check_question(const struct line *line, const Pb__UnitsRequest *asked, uint32_t hold_ms)
{
	char names[256] = "";

	for (size_t i = 0; i < asked->n_names; i++) {
		strcat(names, i > 0 ? " " : "");
		strcat(names, asked->names[i]);
	}
	assert_string_equal(names, line->names);
	assert_int_equal(asked->since, line->since);
	assert_string_equal(asked->after, line->after != NULL ? line->after : "");
	assert_int_equal(hold_ms > 0, line->held);
}

enum fl_code connection_ask(struct connection *connection, Pb__Envelope *request,
	Pb__Envelope__BodyCase expected, uint32_t hold_ms, Pb__Envelope **ret_reply,
	struct fl_error *err)
{
	Pb__Envelope *reply = malloc(sizeof(*reply));
	Pb__UnitsReply *units = malloc(sizeof(*units));
	const struct line *line;

	(void)connection;
	assert_non_null(reply);
	assert_non_null(units);
	assert_int_equal(expected, PB__ENVELOPE__BODY_UNITS_REPLY);
	assert_in_range(at, 0, n_lines - 1);
	line = &script[at++];
	check_question(line, request->units_request, hold_ms);
	if (line->code != FL_OK) {
		free(reply);
		free(units);
		return FL_FAIL(err, line->code, "scripted");
	}
	now_ms += line->takes_ms;
	pb__envelope__init(reply);
	pb__units_reply__init(units);
	reply->body_case = PB__ENVELOPE__BODY_UNITS_REPLY;
	reply->units_reply = units;
	units->revision = line->revision;
	units->more = line->more;
	if (line->unit != NULL && line->unit[0] == '-') {
		units->n_gone = 1;
		units->gone = malloc(sizeof(*units->gone));
		units->gone[0] = strdup(line->unit + 1);
	} else if (line->unit != NULL) {
		units->n_units = 1;
		units->units = malloc(sizeof(*units->units));
		units->units[0] = make_unit(line);
	}
	*ret_reply = reply;
	return FL_OK;
}

void connection_set_tick(struct connection *connection, void (*tick)(void *), void *userdata)
{
	(void)connection;
	(void)tick;
	(void)userdata;
}

static char told[512];

static void on_done(struct change *change, void *userdata)
{
	(void)userdata;
	strcat(told, change->name);
	strcat(told, change->outcome == CHANGE_DONE        ? "+ "
		     : change->outcome == CHANGE_TIMED_OUT ? "? "
							   : "! ");
}

static enum fl_code play(const struct line *lines, size_t n, struct change *changes,
	size_t n_changes, uint64_t timeout_ms)
{
	struct fl_error err = {0};
	enum fl_code code;

	script = lines;
	n_lines = n;
	at = 0;
	told[0] = '\0';
	code = await_changes(NULL, changes, n_changes, 5, timeout_ms, on_done, NULL, &err);
	assert_int_equal(at, n);
	for (size_t i = 0; i < n_changes; i++)
		change_fini(&changes[i]);
	return code;
}

/* A start whose answer has been seen. */
static struct change known(const char *name)
{
	const struct line answer = {.unit = name};

	return (struct change){.name = name,
		.goal = WAIT_FOR_ACTIVE,
		.change_revision = 1,
		.unit = make_unit(&answer)};
}

/* Only those that are not done are asked for again, each time from the last revision. */
static void test_one_after_the_other(void **state)
{
	static const struct line lines[] = {
		{"a b", 5, NULL, true, .revision = 7, .unit = "a", .active = NULL},
		{"a b", 7, NULL, true, .revision = 8, .unit = "b", .active = "active"},
		{"a", 8, NULL, true, .revision = 9, .unit = "a", .active = "failed"},
	};
	struct change changes[] = {known("a"), known("b")};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 2, 0), FL_OK);
	assert_string_equal(told, "b+ a! ");
	assert_int_equal(changes[0].code, FL_E_FAILED);
}

static void test_pages(void **state)
{
	static const struct line lines[] = {
		{"a b", 5, NULL, true, .revision = 7, .unit = "a", .active = NULL, .more = true},
		/* The second page's revision does not count: "a" may have changed between them. */
		{"a b", 5, "a", true, .revision = 9, .unit = "b", .active = "active"},
		{"a", 7, NULL, true, .revision = 9, .unit = "a", .active = "active"},
	};
	struct change changes[] = {known("a"), known("b")};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 2, 0), FL_OK);
	assert_string_equal(told, "b+ a+ ");
}

/* A coordinator that came back may count from less: what says nothing is followed by a look at
 * all. */
static void test_no_news(void **state)
{
	static const struct line lines[] = {
		{"a", 5, NULL, true, .revision = 5},
		{"a", 0, NULL, false, .revision = 3, .unit = "a", .active = NULL},
		{"a", 3, NULL, true, .revision = 4, .unit = "a", .active = "active"},
	};
	struct change changes[] = {known("a")};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 1, 0), FL_OK);
	assert_string_equal(told, "a+ ");
}

static void test_gone(void **state)
{
	static const struct line lines[] = {
		/* Not held: it may be gone already, which is no change any more. */
		{"a", 0, NULL, false, .revision = 6, .unit = "a", .active = "active"},
		{"a", 6, NULL, true, .revision = 7, .unit = "-a"},
	};
	static const struct line meanwhile[] = {
		{"a", 5, NULL, true, .revision = 7, .unit = "-a"},
	};
	struct change destroyed[] = {{.name = "a", .goal = WAIT_FOR_GONE, .change_revision = 1}};
	struct change started[] = {known("a")};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), destroyed, 1, 0), FL_OK);
	assert_string_equal(told, "a+ ");
	assert_int_equal(play(meanwhile, FL_COUNT(meanwhile), started, 1, 0), FL_OK);
	assert_string_equal(told, "a! ");
}

static void test_nowhere(void **state)
{
	static const struct line lines[] = {
		{"a", 5, NULL, true, .revision = 7, .unit = "a", .waiting = "its machine is lost"},
	};
	struct change changes[] = {known("a")};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 1, 0), FL_OK);
	assert_int_equal(changes[0].outcome, CHANGE_UNSCHEDULABLE);
	assert_int_equal(changes[0].code, FL_E_UNSCHEDULABLE);
}

static void test_time_limit(void **state)
{
	static const struct line lines[] = {
		{"a", 5, NULL, true, .revision = 7, .unit = "a", .active = "activating",
			.takes_ms = 3},
	};
	struct change changes[] = {known("a"), {.name = "b", .outcome = CHANGE_DONE}};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 2, 2), FL_OK);
	assert_string_equal(told, "a? ");
	assert_int_equal(changes[0].code, FL_E_TIMEOUT);
}

static void test_error(void **state)
{
	static const struct line lines[] = {{"a", 5, NULL, true, .code = FL_E_UNAVAILABLE}};
	struct change changes[] = {known("a")};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 1, 0), FL_E_UNAVAILABLE);
	assert_string_equal(told, "");
}

/* An answer with very many results leaves the units out; what the machine did before the change
 * must not count then. */
static void test_not_known(void **state)
{
	static const struct line lines[] = {
		{"a", 0, NULL, false, .revision = 7, .unit = "a", .active = NULL},
		{"a", 7, NULL, true, .revision = 8, .unit = "a", .active = "active"},
	};
	struct change changes[] = {{.name = "a", .goal = WAIT_FOR_ACTIVE}};

	(void)state;
	assert_int_equal(play(lines, FL_COUNT(lines), changes, 1, 0), FL_OK);
	assert_int_equal(changes[0].change_revision, 1);
	assert_string_equal(told, "a+ ");
}

static void test_nothing_to_wait_for(void **state)
{
	struct change changes[] = {{.name = "a", .outcome = CHANGE_DONE}};

	(void)state;
	assert_int_equal(play(NULL, 0, changes, 1, 0), FL_OK);
	assert_string_equal(told, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_no_news),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_time_limit),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_not_known),
		cmocka_unit_test(test_nothing_to_wait_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
