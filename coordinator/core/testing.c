#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cmocka.h wants the four first. */
#include <cmocka.h>

#include "coordinator/core/testing.h"
#include "proto/wire.h"
#include "unitfiles/name.h"

/* ---- The daemon's part ------------------------------------------------------------------- */

static void store_put(struct fleet *fleet, struct core_write *write)
{
	struct core_write *old = fl_map_remove(fleet->store, write->key), *kept;

	if (old != NULL)
		free(old->data);
	free(old);
	if (write->data == NULL)
		return;
	kept = FL_NEW(struct core_write);
	assert_non_null(kept);
	*kept = *write;
	assert_int_equal(fl_map_put(fleet->store, write->key, kept, NULL), FL_OK);
}

static void flush(struct fleet *fleet)
{
	struct core_note *note;
	struct core_write write;
	const char *name;
	bool any;

	for (;;) {
		assert_int_equal(
			core_pop_write(fleet->core, &fleet->effects, &write, &any, NULL), FL_OK);
		if (!any)
			break;
		store_put(fleet, &write);
		fleet->n_writes++;
	}
	while ((name = core_pop_machine(&fleet->effects)) != NULL)
		assert_int_equal(fl_strv_add(&fleet->machines, name, NULL), FL_OK);
	while ((name = core_pop_unit(&fleet->effects)) != NULL)
		assert_int_equal(fl_strv_add(&fleet->units, name, NULL), FL_OK);
	while ((note = core_pop_note(&fleet->effects)) != NULL) {
		fl_buf_printf(&fleet->notes, "%s %s\n", note->event, note->text);
		free(note);
	}
}

void fleet_forget(struct fleet *fleet)
{
	fl_strv_fini(&fleet->machines);
	fl_strv_fini(&fleet->units);
	fl_buf_clear(&fleet->notes);
	fleet->n_writes = 0;
}

static void begin(struct fleet *fleet)
{
	struct core_config config = {.lease_ms = FLEET_LEASE_MS,
		.memory_overcommit_permille = fleet->memory_overcommit_permille,
		.cpu_overcommit_permille = fleet->cpu_overcommit_permille,
		.store_id = "store",
		.fleet = "test"};
	struct fl_error err;

	assert_int_equal(core_new(&fleet->core, &config, NULL), FL_OK);
	core_effects_init(&fleet->effects);
	FL_MAP_FOREACH (entry, following, fleet->store) {
		const struct core_write *write = fl_map_value(entry);

		if (core_load(fleet->core, write->key, write->data, write->len, &err) != FL_OK)
			fail_msg("%s", err.text);
	}
	assert_int_equal(core_loaded(fleet->core, fleet->now_ms, &fleet->effects, NULL), FL_OK);
	fleet->session++;
	flush(fleet);
}

void fleet_open(struct fleet *fleet)
{
	*fleet = (struct fleet){.now_ms = 1000000};
	assert_int_equal(fl_map_new(&fleet->store, NULL), FL_OK);
	begin(fleet);
}

static void end(struct fleet *fleet)
{
	core_effects_fini(&fleet->effects);
	core_free(fleet->core);
	fleet->core = NULL;
}

int fleet_setup(void **state)
{
	static struct fleet fleet;

	fleet_open(&fleet);
	*state = &fleet;
	return 0;
}

int fleet_setup_with_m1(void **state)
{
	(void)fleet_setup(state);
	fleet_join(*state, "m1", "");
	return 0;
}

int fleet_teardown(void **state)
{
	fleet_unit(*state, NULL);
	fleet_close(*state);
	return 0;
}

void fleet_restart(struct fleet *fleet)
{
	end(fleet);
	begin(fleet);
}

static void result_set(struct fleet *fleet, Pb__ChangeResult *result)
{
	if (fleet->result != NULL)
		core_message_free(&fleet->result->base);
	fleet->result = result;
}

void fleet_close(struct fleet *fleet)
{
	end(fleet);
	result_set(fleet, NULL);
	fleet_forget(fleet);
	fl_buf_fini(&fleet->notes);
	FL_MAP_FOREACH (entry, following, fleet->store) {
		struct core_write *write = fl_map_value(entry);

		free(write->data);
		free(write);
	}
	fl_map_free(fleet->store);
}

struct core_answer fleet_step(struct fleet *fleet, const struct core_event *event)
{
	struct core_answer answer;
	struct fl_error err;

	if (core_step(fleet->core, event, fleet->now_ms, &fleet->effects, &answer, &err) != FL_OK)
		fail_msg("%s", err.text);
	flush(fleet);
	return answer;
}

enum fl_code fleet_try(struct fleet *fleet, const struct core_event *event, struct fl_error *err)
{
	struct core_answer answer;
	enum fl_code code =
		core_step(fleet->core, event, fleet->now_ms, &fleet->effects, &answer, err);

	flush(fleet);
	return code;
}

/* ---- Agents ------------------------------------------------------------------------------ */

void fleet_join(struct fleet *fleet, const char *machine, const char *metadata)
{
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	Pb__Metadata pairs[16], *pointers[16];
	FL_CLEANUP_STRV struct fl_strv words = {0};

	assert_int_equal(fl_strv_split(&words, metadata, " ", NULL), FL_OK);
	for (size_t i = 0; i < words.n; i++) {
		char *equals = strchr(words.items[i], '=');

		assert_non_null(equals);
		*equals = '\0';
		pb__metadata__init(&pairs[i]);
		pairs[i].key = words.items[i];
		pairs[i].value = equals + 1;
		pointers[i] = &pairs[i];
	}
	info.n_metadata = words.n;
	info.metadata = pointers;
	info.n_capabilities = 1;
	info.capabilities = (char *[]){(char *)CAPABILITY_EXCLUSIVE};
	info.hostname = (char *)machine;
	fleet_step(fleet, &(struct core_event){.kind = CORE_SYNC,
				  .sync = {.machine_id = machine,
					  .session = fleet->session,
					  .store_id = "",
					  .info = &info,
					  .peer_address = "10.0.0.1"}});
}

void fleet_ack(struct fleet *fleet, const char *machine, uint64_t revision)
{
	fleet_step(fleet, &(struct core_event){.kind = CORE_SYNC,
				  .sync = {.machine_id = machine,
					  .session = fleet->session,
					  .store_id = "store",
					  .revision = revision}});
}

void fleet_beat(struct fleet *fleet, const char *machine)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;

	report.machine_id = (char *)machine;
	report.session = fleet->session;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
}

void fleet_capacity(struct fleet *fleet, const char *machine, uint32_t cpus, uint64_t memory_bytes)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	Pb__Capacity capacity = PB__CAPACITY__INIT;

	capacity.cpus = cpus;
	capacity.memory_bytes = memory_bytes;
	report.machine_id = (char *)machine;
	report.session = fleet->session;
	report.capacity = &capacity;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
}

void fleet_pass(struct fleet *fleet, uint64_t ms, const char *beating)
{
	const uint64_t beat_ms = FLEET_LEASE_MS / CORE_HEARTBEATS_PER_LEASE;
	uint64_t end_ms = fleet->now_ms + ms, next_beat = fleet->now_ms + beat_ms;
	FL_CLEANUP_STRV struct fl_strv names = {0};

	assert_int_equal(fl_strv_split(&names, beating, " ", NULL), FL_OK);
	for (;;) {
		uint64_t due = core_next_deadline(fleet->core);
		uint64_t next = due < next_beat ? due : next_beat;

		if (next > end_ms)
			break;
		fleet->now_ms = next > fleet->now_ms ? next : fleet->now_ms;
		if (next == next_beat) {
			for (size_t i = 0; i < names.n; i++)
				fleet_beat(fleet, names.items[i]);
			next_beat += beat_ms;
		} else {
			fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
			/* A deadline that does not move on would be a busy loop. */
			assert_true(core_next_deadline(fleet->core) > fleet->now_ms);
		}
	}
	fleet->now_ms = end_ms;
}

static void report(struct fleet *fleet, const char *machine, bool all, Pb__UnitState *state)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;

	report.machine_id = (char *)machine;
	report.session = fleet->session;
	report.all = all;
	report.n_states = state != NULL;
	report.states = &state;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT,
				  .report = {.report = &report, .received_us = 5000}});
}

static Pb__UnitState state_of(
	struct fleet *fleet, const char *machine, const char *unit, const char *active_state)
{
	Pb__UnitState state = PB__UNIT_STATE__INIT;
	const Pb__Unit *seen = fleet_unit(fleet, unit);

	state.name = (char *)unit;
	state.load = (char *)"loaded";
	state.active = (char *)active_state;
	state.done_revision = core_revision(fleet->core);
	for (size_t i = 0; i < seen->n_placements; i++)
		if (strcmp(seen->placements[i]->machine_id, machine) == 0)
			state.epoch = seen->placements[i]->epoch;
	return state;
}

void fleet_state(
	struct fleet *fleet, const char *machine, const char *unit, const char *active_state)
{
	Pb__UnitState state = state_of(fleet, machine, unit, active_state);

	report(fleet, machine, true, &state);
}

void fleet_report_nothing(struct fleet *fleet, const char *machine)
{
	report(fleet, machine, true, NULL);
}

void fleet_report_one(struct fleet *fleet, const char *machine, const char *unit,
	const char *active_state, uint32_t main_pid)
{
	Pb__UnitState state = state_of(fleet, machine, unit, active_state);

	state.result = (char *)(strcmp(active_state, "failed") == 0 ? "failed" : "done");
	state.main_pid = main_pid;
	report(fleet, machine, false, &state);
}

void fleet_let_go(struct fleet *fleet, const char *machine)
{
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;

	report.machine_id = (char *)machine;
	report.session = fleet->session;
	report.revision = core_revision(fleet->core);
	report.all = true;
	fleet_step(fleet, &(struct core_event){.kind = CORE_REPORT, .report = {.report = &report}});
}

/* ---- Chance ------------------------------------------------------------------------------ */

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"). */
uint32_t fleet_pick(uint64_t *random, uint32_t below)
{
	*random ^= *random >> 12;
	*random ^= *random << 25;
	*random ^= *random >> 27;
	return (uint32_t)((*random * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % below;
}

void fleet_unit_name(char name[32], unsigned i)
{
	snprintf(name, 32, i % 5 == 0 ? "p@%03u.service" : "u%03u.service", i);
}

/* Of [X-Flota], about where. */
static void random_wishes(uint64_t *random, const char *name, char *text, size_t size)
{
	size_t len = 0;

#define ADD(...) len += (size_t)snprintf(text + len, size - len, __VA_ARGS__)
	if (fleet_pick(random, 3) == 0)
		ADD("Memory=%uM\n", fleet_pick(random, 1500));
	if (fleet_pick(random, 8) == 0)
		ADD("CPUs=%u.%u\n", fleet_pick(random, 2), fleet_pick(random, 10));
	if (fleet_pick(random, 4) == 0)
		ADD("Priority=%d\n", (int)fleet_pick(random, 5) - 2);
	if (strchr(name, '@') != NULL && fleet_pick(random, 2) == 0)
		ADD("Spread=%s\n", fleet_pick(random, 2) == 0 ? "machine" : "role");
	if (fleet_pick(random, 8) == 0)
		ADD("PreferMetadata=disk=%u role=%u\n", fleet_pick(random, 2),
			fleet_pick(random, 3));
	if (fleet_pick(random, 8) == 0)
		ADD("PreferConflicts=u%u*\n", fleet_pick(random, 20));
	if (fleet_pick(random, 3) == 0)
		ADD("Exclusive=yes\n[Service]\nTimeoutStopSec=%u.5\n", fleet_pick(random, 3));
#undef ADD
}

void fleet_random_file(uint64_t *random, const char *name, const char *const *ids, uint32_t n_ids,
	uint32_t n_units, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, "[Service]\nExecStart=/bin/%s%u\n[X-Fleet]\n",
		fleet_pick(random, 6) == 0 ? "bad" : "r", fleet_pick(random, 3));
	uint32_t kinds = fleet_pick(random, 256);
	bool is_template = unit_name_is_template(name);
	bool global = !is_template && fleet_pick(random, 30) == 0;
	char other[32];

#define ADD(...) len += (size_t)snprintf(text + len, size - len, __VA_ARGS__)
	if (kinds % 3 == 0)
		ADD("MachineMetadata=role=%u\n", fleet_pick(random, 3));
	if (kinds % 9 == 0)
		ADD("MachineMetadata=role=%u disk=%u\nMachineMetadata=disk=%u\n",
			fleet_pick(random, 3), fleet_pick(random, 2), fleet_pick(random, 2));
	if (kinds % 16 == 1)
		ADD("MachineID=%s\n", ids[fleet_pick(random, n_ids)]);
	if (kinds % 4 == 2) {
		fleet_unit_name(other, fleet_pick(random, n_units));
		ADD("Conflicts=%s u%u*\n", other, fleet_pick(random, 20));
	}
	if (kinds % 8 == 3) {
		fleet_unit_name(other, fleet_pick(random, n_units));
		ADD("MachineOf=%s\n", other);
	}
	if (kinds % 8 == 5)
		ADD("Replaces=?%02u*\n", fleet_pick(random, 20));
	if (kinds % 16 == 7)
		ADD("Conflicts=*%u.service\n", fleet_pick(random, 10));
	if (global)
		ADD("Global=true\n");
	ADD("[X-Flota]\n");
	if (fleet_pick(random, 8) == 0)
		ADD("OnMachineLoss=wait\n");
	if (is_template)
		ADD("Replicas=%u\n", 1 + fleet_pick(random, 5));
	if (is_template || global || fleet_pick(random, 4) == 0)
		ADD("MinHealthySec=%ums\n", fleet_pick(random, 3) * 400);
	if (fleet_pick(random, 8) == 0)
		ADD("MaxUnavailable=%u%s\n", 1 + fleet_pick(random, 3),
			fleet_pick(random, 2) == 0 ? "0%" : "");
	if (!global && kinds % 16 != 1)
		random_wishes(random, name, text + len, size - len);
#undef ADD
}

/* ---- People ------------------------------------------------------------------------------ */

const char *unit_text(const char *x_fleet)
{
	static char text[8192];

	snprintf(text, sizeof(text), "[Service]\nExecStart=/bin/true\n%s%s\n",
		x_fleet != NULL ? "[X-Fleet]\n" : "", x_fleet != NULL ? x_fleet : "");
	return text;
}

bool fleet_change(struct fleet *fleet, Pb__Change__Verb verb, const char *name, const char *content,
	Pb__DesiredState desired, bool replace)
{
	Pb__Change change = PB__CHANGE__INIT;

	change.verb = verb;
	change.name = (char *)name;
	change.content.data = (uint8_t *)content;
	change.content.len = content != NULL ? strlen(content) : 0;
	change.desired = desired;
	change.replace = replace;
	result_set(fleet, fleet_step(fleet, &(struct core_event){.kind = CORE_CHANGE,
						    .change = {.change = &change,
							    .tenant = "default",
							    .received_us = 1000,
							    .max_refusals = 100}})
				  .result);
	assert_non_null(fleet->result);
	return fleet->result->error == NULL;
}

bool fleet_submit(struct fleet *fleet, const char *name, const char *content)
{
	return fleet_change(fleet, PB__CHANGE__VERB__SUBMIT, name, content,
		PB__DESIRED_STATE__DESIRED_STATE_UNSPECIFIED, false);
}

static bool set(struct fleet *fleet, const char *name, const char *x_fleet,
	Pb__DesiredState desired, bool replace)
{
	return fleet_change(fleet, PB__CHANGE__VERB__SET, name,
		x_fleet != NULL ? unit_text(*x_fleet != '\0' ? x_fleet : NULL) : NULL, desired,
		replace);
}

bool fleet_load(struct fleet *fleet, const char *name, const char *x_fleet)
{
	return set(fleet, name, x_fleet, PB__DESIRED_STATE__LOADED, false);
}

bool fleet_start(struct fleet *fleet, const char *name, const char *x_fleet)
{
	return set(fleet, name, x_fleet, PB__DESIRED_STATE__LAUNCHED, false);
}

bool fleet_replace(struct fleet *fleet, const char *name, const char *x_fleet)
{
	return set(fleet, name, x_fleet, PB__DESIRED_STATE__LAUNCHED, true);
}

bool fleet_unload(struct fleet *fleet, const char *name)
{
	return set(fleet, name, NULL, PB__DESIRED_STATE__INACTIVE, false);
}

bool fleet_destroy(struct fleet *fleet, const char *name)
{
	return fleet_change(fleet, PB__CHANGE__VERB__DESTROY, name, NULL,
		PB__DESIRED_STATE__DESIRED_STATE_UNSPECIFIED, false);
}

const char *fleet_error(const struct fleet *fleet)
{
	return fleet->result->error != NULL ? fleet->result->error->text : "";
}

/* ---- Looking ----------------------------------------------------------------------------- */

const Pb__Unit *fleet_unit(struct fleet *fleet, const char *name)
{
	static Pb__Unit *unit;
	struct fl_error err;

	if (unit != NULL)
		core_message_free(&unit->base);
	unit = NULL;
	if (name == NULL)
		return NULL;
	if (core_unit_get(fleet->core, name, true, fleet->now_ms, &unit, &err) != FL_OK)
		fail_msg("%s", err.text);
	return unit;
}

const char *fleet_where(struct fleet *fleet, const char *name)
{
	const Pb__Unit *unit = fleet_unit(fleet, name);
	static char text[1024];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < unit->n_placements; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? " " : "",
			unit->placements[i]->machine_id);
	fleet_unit(fleet, NULL);
	return text;
}

uint64_t fleet_epoch(struct fleet *fleet, const char *name)
{
	const Pb__Unit *unit = fleet_unit(fleet, name);
	uint64_t epoch;

	assert_int_equal(unit->n_placements, 1);
	epoch = unit->placements[0]->epoch;
	fleet_unit(fleet, NULL);
	return epoch;
}

const char *fleet_refusal(struct fleet *fleet, const char *name, const char *machine)
{
	static char text[1024];
	Pb__WhyReply *reply;

	assert_int_equal(core_why(fleet->core, name, fleet->now_ms, 1000, &reply, NULL), FL_OK);
	snprintf(text, sizeof(text), "no machine %s", machine);
	for (size_t i = 0; i < reply->n_machines; i++)
		if (strcmp(reply->machines[i]->machine_id, machine) == 0)
			snprintf(text, sizeof(text), "%s", reply->machines[i]->reason);
	core_message_free(&reply->base);
	return text;
}

/* ---- An agent ---------------------------------------------------------------------------- */

void agent_open(struct agent *agent, const char *machine)
{
	*agent = (struct agent){.machine = machine};
	assert_int_equal(fl_map_new(&agent->units, NULL), FL_OK);
}

static void agent_drop(struct agent *agent, const char *name)
{
	Pb__Assignment *old = fl_map_remove(agent->units, name);

	if (old != NULL)
		core_message_free(&old->base);
}

void agent_close(struct agent *agent)
{
	FL_MAP_FOREACH (entry, following, agent->units)
		core_message_free(&((Pb__Assignment *)fl_map_value(entry))->base);
	fl_map_free(agent->units);
	fl_strv_fini(&agent->seen);
	fl_strv_fini(&agent->removed);
}

static void agent_take(struct agent *agent, Pb__SyncReply *reply)
{
	if (reply->reset) {
		agent->resetting = true;
		agent->resets++;
		fl_strv_fini(&agent->seen);
	}
	for (size_t i = 0; i < reply->n_removed; i++) {
		agent_drop(agent, reply->removed[i]);
		assert_int_equal(fl_strv_add(&agent->removed, reply->removed[i], NULL), FL_OK);
	}
	for (size_t i = 0; i < reply->n_assignments; i++) {
		Pb__Assignment *one = FL_TAKE(reply->assignments[i]);

		agent_drop(agent, one->name);
		assert_int_equal(fl_map_put(agent->units, one->name, one, NULL), FL_OK);
		assert_int_equal(fl_strv_add(&agent->seen, one->name, NULL), FL_OK);
	}
	reply->n_assignments = 0;
	free(reply->assignments);
	reply->assignments = NULL;
	if (agent->resetting && !reply->more) {
		FL_MAP_FOREACH (entry, following, agent->units)
			if (!fl_strv_has(&agent->seen, fl_map_key(entry)))
				agent_drop(agent, fl_map_key(entry));
		agent->resetting = false;
	}
	assert_true(reply->revision >= agent->revision || reply->reset);
	agent->revision = reply->revision;
	snprintf(agent->store_id, sizeof(agent->store_id), "%s", reply->store_id);
	agent->pages++;
}

bool agent_ask(struct agent *agent, struct fleet *fleet)
{
	Pb__SyncReply *reply;

	fleet_step(fleet, &(struct core_event){.kind = CORE_SYNC,
				  .sync = {.machine_id = agent->machine,
					  .session = fleet->session,
					  .store_id = agent->store_id,
					  .revision = agent->revision}});
	assert_int_equal(core_assignment(fleet->core, agent->machine, agent->store_id,
				 agent->revision, core_revision(fleet->core), &reply, NULL),
		FL_OK);
	if (reply == NULL)
		return false;
	assert_int_equal(reply->lease_ms, FLEET_LEASE_MS);
	agent_take(agent, reply);
	core_message_free(&reply->base);
	return true;
}

void agent_sync(struct agent *agent, struct fleet *fleet)
{
	for (int i = 0; i < 1000; i++)
		if (!agent_ask(agent, fleet))
			return;
	fail_msg("the assignment never ends");
}
