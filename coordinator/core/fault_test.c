/*
 * Memory that runs out: each event is tried with its first allocation failing, then its second, and
 * so on until none fails. An event that is refused has changed nothing; one that goes through may
 * leave a unit unplaced, and the next tick mends that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

/* ---- The allocator (ld's --wrap) --------------------------------------------------------- */

static unsigned fail_at; /* 0: never; else it counts down */
static bool has_failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);

static bool fails(void)
{
	if (fail_at == 0 || --fail_at > 0)
		return false;
	has_failed = true;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(old, n, size);
}

/* ---- Events ------------------------------------------------------------------------------ */

/* What an event would do to a fleet of two machines with some units. */
struct attempt {
	const char *what;
	enum core_event_kind kind;
	Pb__Change__Verb verb;
	const char *name, *x_fleet;
	Pb__DesiredState desired;
	uint64_t pass_ms;
	const char *active; /* of a report */
	const char *rolls; /* a file that is on its way to w@.service when it happens */
};

#define REPLICAS "Conflicts=x*\n[X-Flota]\nMinHealthySec=0\nReplicas="

static const struct attempt attempts[] = {
	{"a new unit", CORE_CHANGE, PB__CHANGE__VERB__SET, "new.service",
		"MachineMetadata=k=1\nConflicts=z*\n", PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"a unit that fits nowhere", CORE_CHANGE, PB__CHANGE__VERB__SET, "new.service",
		"MachineMetadata=k=9\n", PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"a follower", CORE_CHANGE, PB__CHANGE__VERB__SET, "new.service",
		"MachineOf=nobody.service\nMachineOf=a.service\n", PB__DESIRED_STATE__LAUNCHED, 0,
		NULL, NULL},
	{"a global unit", CORE_CHANGE, PB__CHANGE__VERB__SET, "new.service",
		"Global=true\nConflicts=a.service\n", PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"one that replaces", CORE_CHANGE, PB__CHANGE__VERB__SET, "new.service",
		"Replaces=a.service\n", PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"an instance", CORE_CHANGE, PB__CHANGE__VERB__SET, "t@1.service", NULL,
		PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"an instance that is spread", CORE_CHANGE, PB__CHANGE__VERB__SET, "t@2.service",
		"MachineMetadata=k=1\n[X-Flota]\nSpread=zone\nMemory=1M\nPreferMetadata=k=2\n"
		"PreferConflicts=z*\n",
		PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"another file", CORE_CHANGE, PB__CHANGE__VERB__SET, "a.service", "MachineMetadata=k=2\n",
		PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"a stop", CORE_CHANGE, PB__CHANGE__VERB__SET, "a.service", NULL, PB__DESIRED_STATE__LOADED,
		0, NULL, NULL},
	{"an unload", CORE_CHANGE, PB__CHANGE__VERB__SET, "a.service", NULL,
		PB__DESIRED_STATE__INACTIVE, 0, NULL, NULL},
	{"an end", CORE_CHANGE, PB__CHANGE__VERB__DESTROY, "a.service", NULL, 0, 0, NULL, NULL},
	{"a mistake", CORE_CHANGE, PB__CHANGE__VERB__RESTART, "t@.service", NULL, 0, 0, NULL, NULL},
	{"a new machine", CORE_SYNC, 0, "m3", NULL, 0, 0, NULL, NULL},
	{"a machine that changed", CORE_SYNC, 0, "m1", NULL, 0, 0, NULL, NULL},
	{"states", CORE_REPORT, 0, "a.service", NULL, 0, 0, NULL, NULL},
	{"a lost machine", CORE_TICK, 0, NULL, NULL, 0, 10000, NULL, NULL},
	{"replicas", CORE_CHANGE, PB__CHANGE__VERB__SET, "new@.service", REPLICAS "3",
		PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"more replicas", CORE_CHANGE, PB__CHANGE__VERB__SET, "w@.service", REPLICAS "4",
		PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"another file of replicas", CORE_CHANGE, PB__CHANGE__VERB__SET, "w@.service",
		"MachineMetadata=k=1\n" REPLICAS "3", PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"the end of replicas", CORE_CHANGE, PB__CHANGE__VERB__DESTROY, "w@.service", NULL, 0, 0,
		NULL, NULL},
	{"another file of a global unit", CORE_CHANGE, PB__CHANGE__VERB__SET, "g.service",
		"Global=true\nMachineMetadata=k=1\nMachineMetadata=k=2\n",
		PB__DESIRED_STATE__LAUNCHED, 0, NULL, NULL},
	{"the next replica", CORE_REPORT, 0, "w@1.service", NULL, 0, 0, "active",
		"Replaces=x*\n[X-Flota]\nMinHealthySec=0\nReplicas=2"},
	{"a return", CORE_REPORT, 0, "w@1.service", NULL, 0, 0, "failed",
		"Replaces=x*\n[X-Flota]\nMinHealthySec=0\nReplicas=1"},
	{"a return of a global unit", CORE_REPORT, 0, "g.service", NULL, 0, 0, "failed", NULL},
	{"a cordon", CORE_MACHINE_CHANGE, 0, "m1", NULL, 0, 0, NULL, NULL},
	{"a move", CORE_MOVE, 0, "a.service", NULL, 0, 0, NULL, NULL},
};

static uint64_t epoch; /* of what is reported */
static char where[8]; /* and its machine */

/* Replicas that are healthy, perhaps while another file is on its way to them. */
static void setup_replicas(struct fleet *fleet, const struct attempt *attempt)
{
	char machine[8];

	assert_true(fleet_start(fleet, "w@.service", REPLICAS "2"));
	for (int i = 1; i <= 2; i++) {
		const char *name = i == 1 ? "w@1.service" : "w@2.service";

		snprintf(machine, sizeof(machine), "%s", fleet_where(fleet, name));
		fleet_report_one(fleet, machine, name, "active", 1);
		fleet_report_one(fleet, i == 1 ? "m1" : "m2", "g.service", "active", 1);
	}
	if (attempt->rolls != NULL)
		assert_true(fleet_replace(fleet, "w@.service", attempt->rolls));
	else if (attempt->active != NULL)
		assert_true(fleet_replace(fleet, "g.service", "Global=true\nConflicts=y*"));
}

static void setup(struct fleet *fleet, const struct attempt *attempt)
{
	fleet_open(fleet);
	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "b.service", "MachineOf=a.service"));
	assert_true(fleet_start(fleet, "c.service", "Conflicts=z*"));
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	assert_true(fleet_submit(fleet, "t@.service", unit_text("Conflicts=t@*")));
	assert_true(fleet_start(fleet, "t@0.service", "[X-Flota]\nSpread=machine"));
	fleet_state(fleet, "m1", "a.service", "active");
	fleet_report_nothing(fleet, "m2");
	setup_replicas(fleet, attempt);
	if (attempt->kind == CORE_REPORT)
		epoch = fleet_unit(fleet, attempt->name)->placements[0]->epoch;
	if (attempt->kind == CORE_REPORT)
		snprintf(where, sizeof(where), "%s",
			fleet_unit(fleet, attempt->name)->placements[0]->machine_id);
	if (attempt->pass_ms > 0) {
		fleet_pass(fleet, attempt->pass_ms - 1, "m2");
		fleet->now_ms++;
	}
}

static enum fl_code try_change(struct fleet *fleet, const struct attempt *attempt)
{
	Pb__Change change = PB__CHANGE__INIT;
	struct core_event event = {.kind = CORE_CHANGE,
		.change = {.change = &change, .tenant = "default", .max_refusals = 10}};
	struct core_answer answer = {0};
	enum fl_code code;

	change.verb = attempt->verb;
	change.name = (char *)attempt->name;
	change.desired = attempt->desired;
	change.replace = true;
	if (attempt->x_fleet != NULL) {
		change.content.data = (uint8_t *)unit_text(attempt->x_fleet);
		change.content.len = strlen(unit_text(attempt->x_fleet));
	}
	code = core_step(fleet->core, &event, fleet->now_ms, &fleet->effects, &answer, NULL);
	if (code != FL_OK)
		return code;
	if (answer.result->error != NULL && has_failed &&
		answer.result->error->code != fl_code_to_wire(FL_E_STATE))
		code = fl_code_from_wire(answer.result->error->code);
	core_message_free(&answer.result->base);
	return code;
}

static enum fl_code try_sync(struct fleet *fleet, const struct attempt *attempt)
{
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	Pb__Metadata pair = PB__METADATA__INIT, *pairs[] = {&pair};
	struct core_event event = {.kind = CORE_SYNC,
		.sync = {.machine_id = attempt->name,
			.store_id = "",
			.info = &info,
			.peer_address = "10.0.0.3"}};
	struct core_answer answer;

	pair.key = (char *)"k";
	pair.value = (char *)"3";
	info.n_metadata = 1;
	info.metadata = pairs;
	return core_step(fleet->core, &event, fleet->now_ms, &fleet->effects, &answer, NULL);
}

static enum fl_code try_report(struct fleet *fleet, const struct attempt *attempt)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	Pb__UnitState state = PB__UNIT_STATE__INIT, *states[] = {&state};
	struct core_event event = {.kind = CORE_REPORT, .report = {.report = &report}};
	struct core_answer answer;

	state.name = (char *)attempt->name;
	state.epoch = epoch;
	state.error = (char *)(attempt->active == NULL ? "it fails" : "");
	state.active = (char *)(attempt->active != NULL ? attempt->active : "");
	state.done_revision = attempt->active != NULL ? core_revision(fleet->core) : 0;
	report.machine_id = where;
	report.session = fleet->session;
	report.n_states = 1;
	report.states = states;
	return core_step(fleet->core, &event, fleet->now_ms, &fleet->effects, &answer, NULL);
}

static enum fl_code try_cordon(struct fleet *fleet, const struct attempt *attempt)
{
	struct core_event event = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {.verb = PB__MACHINE_CHANGE_REQUEST__VERB__CORDON,
			.machine_id = attempt->name,
			.by = "ana",
			.reason = "a disk"}};
	struct core_answer answer;

	return core_step(fleet->core, &event, fleet->now_ms, &fleet->effects, &answer, NULL);
}

static enum fl_code try_move(struct fleet *fleet, const struct attempt *attempt)
{
	struct core_event event = {
		.kind = CORE_MOVE, .move = {.unit = attempt->name, .from = "m1", .to = "m2"}};
	struct core_answer answer;

	return core_step(fleet->core, &event, fleet->now_ms, &fleet->effects, &answer, NULL);
}

static enum fl_code try_it(struct fleet *fleet, const struct attempt *attempt)
{
	struct core_event tick = {.kind = CORE_TICK};
	struct core_answer answer;

	switch (attempt->kind) {
	case CORE_CHANGE:
		return try_change(fleet, attempt);
	case CORE_SYNC:
		return try_sync(fleet, attempt);
	case CORE_REPORT:
		return try_report(fleet, attempt);
	case CORE_MACHINE_CHANGE:
		return try_cordon(fleet, attempt);
	case CORE_MOVE:
		return try_move(fleet, attempt);
	case CORE_TOKENS:
	case CORE_JOIN:
	case CORE_REFUSED:
	case CORE_CA:
	case CORE_UPGRADE:
	case CORE_TICK:
		break;
	}
	return core_step(fleet->core, &tick, fleet->now_ms, &fleet->effects, &answer, NULL);
}

/* false: nothing failed any more. */
static bool attempt_with(const struct attempt *attempt, unsigned n)
{
	FL_CLEANUP_BUF struct fl_buf before = FL_BUF_INIT, after = FL_BUF_INIT;
	struct fleet fleet;
	enum fl_code code;
	size_t machines;

	setup(&fleet, attempt);
	fleet_snapshot(fleet.core, &before);
	machines = core_machine_count(fleet.core);
	has_failed = false;
	fail_at = n;
	code = try_it(&fleet, attempt);
	fail_at = 0;
	fleet_check(fleet.core);
	fleet_snapshot(fleet.core, &after);
	if (code != FL_OK) {
		assert_true(has_failed);
		assert_string_equal(fl_buf_str(&after), fl_buf_str(&before));
		assert_int_equal(core_machine_count(fleet.core), machines);
	}
	/* What was put off for want of memory is done within the next second. */
	fleet_pass(&fleet, 1001, "m1 m2");
	fleet_check(fleet.core);
	assert_true(core_next_deadline(fleet.core) > fleet.now_ms + 1001);
	fleet_restart(&fleet);
	fleet_check(fleet.core);
	fleet_unit(&fleet, NULL);
	fleet_close(&fleet);
	return has_failed;
}

static void events_survive_want_of_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < FL_COUNT(attempts); i++) {
		unsigned n = 1;

		while (attempt_with(&attempts[i], n))
			n++;
		print_message("%s: %u allocations\n", attempts[i].what, n - 1);
	}
}

static bool load_with(struct fleet *fleet, unsigned n)
{
	struct core_config config = {.store_id = "store", .fleet = "test"};
	struct core_effects effects;
	struct core *core = NULL;
	enum fl_code code;

	core_effects_init(&effects);
	has_failed = false;
	fail_at = n;
	code = core_new(&core, &config, NULL);
	FL_MAP_FOREACH (entry, following, fleet->store) {
		const struct core_write *write = fl_map_value(entry);

		if (code == FL_OK)
			code = core_load(core, write->key, write->data, write->len, NULL);
	}
	if (code == FL_OK)
		code = core_loaded(core, fleet->now_ms, &effects, NULL);
	fail_at = 0;
	assert_true(code == FL_OK || has_failed);
	core_effects_fini(&effects);
	core_free(core);
	return has_failed;
}

static void loading_survives_want_of_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < FL_COUNT(attempts); i++) {
		struct fleet fleet;
		unsigned n = 1;

		/* What is stored when it happens differs by what is rolling. */
		if (i > 0 && attempts[i].active == NULL)
			continue;
		setup(&fleet, &attempts[i]);
		while (load_with(&fleet, n))
			n++;
		assert_true(n > 50);
		fleet_unit(&fleet, NULL);
		fleet_close(&fleet);
	}
}

static enum fl_code look(struct fleet *fleet, unsigned which)
{
	Pb__WhyReply *why;
	Pb__Unit *unit;
	Pb__Machine *machine;
	Pb__SyncReply *sync;
	enum fl_code code;

	switch (which) {
	case 0:
		code = core_why(fleet->core, "waits.service", fleet->now_ms, 10, &why, NULL);
		if (code == FL_OK)
			core_message_free(&why->base);
		return code;
	case 1:
		code = core_unit_get(fleet->core, "a.service", true, fleet->now_ms, &unit, NULL);
		if (code == FL_OK)
			core_message_free(&unit->base);
		return code;
	case 2:
		code = core_machine_get(fleet->core, "m1", fleet->now_ms, &machine, NULL);
		if (code == FL_OK)
			core_message_free(&machine->base);
		return code;
	default:
		code = core_assignment(
			fleet->core, "m1", "", 0, core_revision(fleet->core), &sync, NULL);
		if (code == FL_OK)
			core_message_free(&sync->base);
		return code;
	}
}

static void looking_survives_want_of_memory(void **state)
{
	struct fleet fleet;

	(void)state;
	setup(&fleet, &attempts[0]);
	assert_true(fleet_start(&fleet, "waits.service", "MachineMetadata=k=9"));
	for (unsigned which = 0; which < 4; which++) {
		for (unsigned n = 1;; n++) {
			enum fl_code code;

			has_failed = false;
			fail_at = n;
			code = look(&fleet, which);
			fail_at = 0;
			assert_int_equal(code, has_failed ? FL_E_NO_MEMORY : FL_OK);
			if (!has_failed)
				break;
		}
	}
	fleet_unit(&fleet, NULL);
	fleet_close(&fleet);
}

/* A write that cannot be packed is there for another try. */
static void writes_survive_want_of_memory(void **state)
{
	struct core_event event = {.kind = CORE_CHANGE};
	Pb__Change change = PB__CHANGE__INIT;
	struct core_answer answer;
	struct core_write write;
	struct fleet fleet;
	unsigned n = 0;
	bool any;

	(void)state;
	setup(&fleet, &attempts[0]);
	change.verb = PB__CHANGE__VERB__DESTROY;
	change.name = (char *)"b.service";
	event.change.change = &change;
	assert_int_equal(
		core_step(fleet.core, &event, fleet.now_ms, &fleet.effects, &answer, NULL), FL_OK);
	core_message_free(&answer.result->base);
	change.verb = PB__CHANGE__VERB__RESTART;
	change.name = (char *)"a.service";
	assert_int_equal(
		core_step(fleet.core, &event, fleet.now_ms, &fleet.effects, &answer, NULL), FL_OK);
	core_message_free(&answer.result->base);
	for (;;) {
		enum fl_code code;

		fail_at = 1;
		code = core_pop_write(fleet.core, &fleet.effects, &write, &any, NULL);
		fail_at = 0;
		if (code == FL_E_NO_MEMORY)
			code = core_pop_write(fleet.core, &fleet.effects, &write, &any, NULL);
		assert_int_equal(code, FL_OK);
		if (!any)
			break;
		assert_string_equal(write.key, n == 0 ? "unit/b.service" : "unit/a.service");
		assert_int_equal(write.data == NULL, n == 0);
		free(write.data);
		n++;
	}
	assert_int_equal(n, 2);
	fleet_unit(&fleet, NULL);
	fleet_close(&fleet);
}

/* Who follows what happens is told that something is missing. */
static void an_event_without_memory_counts_as_lost(void **state)
{
	const struct core_event tick = {.kind = CORE_TICK};
	Pb__EventsRequest request = PB__EVENTS_REQUEST__INIT;
	unsigned n_lost = 0;

	(void)state;
	for (unsigned n = 1; n == 1 || has_failed; n++) {
		struct core_answer answer;
		Pb__EventsReply *reply;
		struct fleet fleet;

		setup(&fleet, &attempts[0]);
		request.since = core_revision(fleet.core);
		fleet.now_ms += FLEET_LEASE_MS;
		has_failed = false;
		fail_at = n;
		assert_int_equal(
			core_step(fleet.core, &tick, fleet.now_ms, &fleet.effects, &answer, NULL),
			FL_OK);
		fail_at = 0;
		assert_int_equal(core_events(fleet.core, &request, &reply, NULL), FL_OK);
		/* Both machines, and that nothing moves. */
		assert_true(reply->lost || reply->n_events == 3);
		assert_true(has_failed || !reply->lost);
		n_lost += reply->lost ? 1 : 0;
		core_message_free(&reply->base);
		fleet_unit(&fleet, NULL);
		fleet_close(&fleet);
	}
	assert_int_equal(n_lost, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_survive_want_of_memory),
		cmocka_unit_test(loading_survives_want_of_memory),
		cmocka_unit_test(looking_survives_want_of_memory),
		cmocka_unit_test(writes_survive_want_of_memory),
		cmocka_unit_test(an_event_without_memory_counts_as_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
