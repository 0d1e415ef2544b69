#include "tests/sim/guard.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/rollout.h"
#include "coordinator/core/testing.h"
#include "proto/wire.h"
#include "tests/sim/sim.h"

/* Of the machines in question so many must be there, or nothing moves (DESIGN.md, "Failure"). */
#define HOLD_ABOVE_PERCENT 55

/* What is known of a unit's name, whether there is such a unit now or not. */
struct guard_unit {
	unsigned n_trial; /* of its rollout */
	int rollout; /* its state */
	int machine; /* before the step under way; -1 = nowhere, or global */
	uint64_t epoch, epoch_max;
	uint64_t told_epoch; /* the greatest that an agent was told */
	int told_machine;
	int held; /* before the step under way: the machine that had not let go of it; -1 = none */
	int runs_on; /* as an exclusive unit; -1 = nowhere */
};

void guard_open(struct guard *guard, struct world *world)
{
	*guard = (struct guard){.world = world};
	assert_int_equal(fl_map_new(&guard->units, NULL), FL_OK);
	for (size_t i = 0; i < SIM_MACHINES_MAX; i++)
		assert_int_equal(fl_map_new(&guard->heard[i], NULL), FL_OK);
}

static void empty(struct fl_map *map)
{
	FL_MAP_FOREACH (entry, following, map)
		free(fl_map_remove(map, fl_map_key(entry)));
}

void guard_close(struct guard *guard)
{
	empty(guard->units);
	fl_map_free(guard->units);
	for (size_t i = 0; i < SIM_MACHINES_MAX; i++) {
		empty(guard->heard[i]);
		fl_map_free(guard->heard[i]);
	}
}

static struct guard_unit *unit_of(struct guard *guard, const char *name)
{
	struct guard_unit *unit = fl_map_get(guard->units, name);

	if (unit != NULL)
		return unit;
	unit = FL_NEW(struct guard_unit);
	assert_non_null(unit);
	unit->machine = unit->told_machine = unit->held = unit->runs_on = -1;
	assert_int_equal(fl_map_put(guard->units, name, unit, NULL), FL_OK);
	return unit;
}

static int machine_of(const struct unit *unit)
{
	return unit != NULL && unit->placed != NULL ? (int)machine_index(unit->placed->machine->id)
						    : -1;
}

/* ---- What moves, and whether it may ------------------------------------------------------ */

static bool moves_when_lost(const struct unit *unit)
{
	const struct unit_rules *rules = &unit->body.rules;

	return !rules->global && rules->machine_id == NULL && rules->machine_of.n == 0 &&
	       rules->on_machine_loss == UNIT_LOSS_MOVE;
}

static bool has_units_to_move(const struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements)
		if (!placement->removed && moves_when_lost(placement->unit))
			return true;
	return false;
}

void guard_before_step(struct guard *guard, const struct coordinator *coordinator)
{
	struct machine *machine;

	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&coordinator->core->machines)
		guard->machines[machine_index(machine->id)].had_units_to_move =
			has_units_to_move(machine);
}

static void note_heard(struct guard *guard, const struct coordinator *coordinator, const char *id)
{
	struct guard_machine *machine = &guard->machines[machine_index(id)];

	machine->known = machine->heard = true;
	machine->last_heard_ms = coordinator_now_ms(coordinator);
	machine->written_off = false;
}

/* Whether so many machines are silent that nothing may move, counted from what was heard alone. */
static bool most_look_lost(const struct guard *guard, const struct coordinator *coordinator)
{
	uint64_t now_ms = coordinator_now_ms(coordinator);
	uint32_t lease_ms = core_lease_ms(coordinator->core);
	unsigned n = 0, n_silent = 0;

	for (size_t i = 0; i < SIM_MACHINES_MAX; i++) {
		const struct guard_machine *machine = &guard->machines[i];
		uint64_t silent_ms = now_ms - machine->last_heard_ms;

		if (!machine->known || machine->written_off)
			continue;
		/* Away for long, and nothing of it would move. */
		if (!machine->heard && silent_ms >= lease_ms && !machine->had_units_to_move)
			continue;
		n++;
		n_silent += silent_ms >= CORE_LOOKS_LOST_MS(lease_ms);
	}
	return n_silent * 100 > n * HOLD_ABOVE_PERCENT;
}

/* A unit has left a machine that is not up, and nobody asked for it. */
static void check_loss_move(
	struct guard *guard, const struct coordinator *coordinator, const char *name, int from)
{
	const struct core *core = coordinator->core;
	uint64_t now_ms = coordinator_now_ms(coordinator);
	const struct machine *machine;
	char id[24];

	snprintf(id, sizeof(id), "machine%02d", from);
	machine = machine_find(core, id);
	if (machine == NULL || machine_is_up(machine))
		return;
	/* A replica that the file has not to which its template returned: it goes nowhere else. */
	if (unit_find(core, name) == NULL)
		return;
	guard->n_loss_moves++;
	if (now_ms < coordinator->began_ms + core_lease_ms(core))
		fail_msg("%s leaves %s within a lease of the coordinator's start", name, id);
	if (now_ms < guard->machines[from].last_heard_ms + core_lease_ms(core))
		fail_msg("%s leaves %s, whose lease has not ended", name, id);
	if (most_look_lost(guard, coordinator))
		fail_msg("%s leaves %s although most machines look lost", name, id);
}

/* A hold ended by the machine's own word: so the unit is not there. A disk that went back to an older
 * record breaks any promise. */
static void check_let_go(const struct coordinator *coordinator, const char *name,
	const struct guard_unit *before, const struct core_event *event)
{
	const struct sim *sim = FL_CONTAINER(coordinator, struct sim, coordinator);
	const struct unit *unit = unit_find(coordinator->core, name);
	const struct host *host;

	/* One that is gone, with a file that returned, is started nowhere; one that has become a global
	 * unit is where it was, too. */
	if (before->held < 0 || unit == NULL || unit->held != NULL || unit->body.rules.global ||
		(event->kind != CORE_REPORT && event->kind != CORE_SYNC))
		return;
	host = &sim->hosts[before->held];
	if (strcmp(event->kind == CORE_REPORT ? event->report.report->machine_id
					      : event->sync.machine_id,
		    host->id) != 0 ||
		host->was_damaged || machine_of(unit) == before->held)
		return;
	if (fl_map_get(host->units, name) != NULL)
		fail_msg("%s has let go of %s, and has it", host->id, name);
}

/* Those that a drained machine holds for later are down for another reason. */
static bool is_on_trial(const struct rolled *rolled, const struct placement *placement)
{
	return rolled->on_trial && placement != NULL && machine_is_up(placement->machine) &&
	       !placement_is_parked(placement);
}

/* The places whom a rollout has taken from their health, and whose machines can be heard of. */
static unsigned count_trial(const struct unit *unit, unsigned *n_places)
{
	const struct placement *placement;
	const struct unit *replica;
	unsigned n = 0;

	*n_places = 0;
	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		const struct rolled *rolled =
			unit->body.rules.global ? &placement->rolled : &unit->rolled;

		if (placement->removed)
			continue;
		*n_places += 1;
		n += is_on_trial(rolled, placement);
	}
	FL_LIST_FOREACH (replica, &unit->replicas, replica) {
		*n_places += 1;
		n += is_on_trial(&replica->rolled, replica->placed);
	}
	return n;
}

/* A rollout makes no more of its places unhealthy than MaxUnavailable= says. A machine that comes
 * back with one, or a file that says less, makes them more, but not another place. */
static void check_rollout_step(
	struct guard *guard, const struct unit *unit, struct guard_unit *before)
{
	const struct unit_rules *rules = &unit->body.rules;
	Pb__UnitRecord record = PB__UNIT_RECORD__INIT;
	unsigned n_places, n = count_trial(unit, &n_places), most = rules->max_unavailable;

	assert_int_equal(rollout_record(unit, &record, NULL), FL_OK);
	if (rules->max_unavailable_percent > 0)
		most = n_places * rules->max_unavailable_percent / 100;
	if (record.n_trial > before->n_trial && n > (most > 0 ? most : 1))
		fail_msg("%u places of %s are unhealthy for their new file", n, unit->name);
	before->n_trial = (unsigned)record.n_trial;
	guard->n_returns += record.rollout != NULL &&
			    record.rollout->state == PB__ROLLOUT__STATE__RETURNED &&
			    before->rollout != (int)record.rollout->state;
	before->rollout = record.rollout != NULL ? (int)record.rollout->state : 0;
	rollout_record_fini(&record);
}

/* Who comes finds room. What is there may claim more than the machine has: global units are not
 * asked, and a unit whose file changed while its machine was away stays. */
static void check_room(const struct unit *unit)
{
	const struct unit_claims *claims = &unit->body.rules.claims;
	const struct machine *machine = unit->placed->machine;
	struct room claimed = machine_claimed(machine);

	if ((claims->memory_bytes > 0 && claimed.memory_bytes > FLEET_MEMORY_BYTES) ||
		(claims->cpu_milli > 0 && claimed.cpu_milli > 1000 * FLEET_CPUS))
		fail_msg("%s comes to %s, on which more is claimed than it has", unit->name,
			machine->id);
}

static void check_unit_step(struct guard *guard, const struct coordinator *coordinator,
	const char *name, struct guard_unit *before, bool asked)
{
	const struct unit *unit = unit_find(coordinator->core, name);
	int machine = machine_of(unit);

	if (machine >= 0 && machine != before->machine && machine_is_closed(unit->placed->machine))
		fail_msg("%s comes to %s, which is not open", name, unit->placed->machine->id);
	if (machine != before->machine) {
		if (!asked && before->machine >= 0)
			check_loss_move(guard, coordinator, name, before->machine);
		guard->n_moves += machine >= 0 && before->machine >= 0;
		if (machine >= 0)
			check_room(unit);
		if (machine >= 0 && unit->epoch <= before->epoch_max)
			fail_msg("%s comes to machine %d with epoch %" PRIu64
				 ", after one of %" PRIu64,
				name, machine, unit->epoch, before->epoch_max);
	}
	before->machine = machine;
	before->held = unit != NULL && unit->held != NULL
			       ? (int)machine_index(unit->held->machine->id)
			       : -1;
	if (unit == NULL)
		return;
	check_rollout_step(guard, unit, before);
	/* Whoever gives the promise up has no claim on what runs already. */
	if (!unit->body.rules.exclusive)
		before->runs_on = -1;
	if (unit->epoch != before->epoch && unit_placement_count(unit) > 0 &&
		unit->epoch <= before->epoch_max)
		fail_msg("%s has epoch %" PRIu64 " after one of %" PRIu64, name, unit->epoch,
			before->epoch_max);
	before->epoch = unit->epoch;
	if (unit->epoch > before->epoch_max)
		before->epoch_max = unit->epoch;
}

static void check_units_step(
	struct guard *guard, const struct coordinator *coordinator, const struct core_event *event)
{
	struct unit *unit;

	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&coordinator->core->units)
		(void)unit_of(guard, unit->name);
	FL_MAP_FOREACH (entry, following, guard->units) {
		check_let_go(coordinator, fl_map_key(entry), fl_map_value(entry), event);
		check_unit_step(guard, coordinator, fl_map_key(entry), fl_map_value(entry),
			event->kind == CORE_CHANGE || event->kind == CORE_MACHINE_CHANGE);
	}
}

static void check_memory(struct guard *guard, const struct core *core)
{
	struct machine *machine;
	struct unit *unit;
	size_t n_gone = 0, n_tombstones = 0;

	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
		assert_true(machine->n_tombstones <= CORE_TOMBSTONES_MAX);
		n_tombstones += machine->n_tombstones;
		if (machine->n_tombstones > guard->n_tombstones_max)
			guard->n_tombstones_max = machine->n_tombstones;
	}
	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&core->units)
		n_gone += unit->gone && !fl_list_linked(&unit->reap) && unit->held == NULL;
	/* A unit that is gone is here for its tombstones, or for who may still run it. */
	assert_true(n_gone <= n_tombstones);
}

void guard_after_step(struct guard *guard, const struct coordinator *coordinator,
	const struct core_event *event, enum fl_code code)
{
	const struct core *core = coordinator->core;
	struct machine *machine;

	if (code == FL_OK && event->kind == CORE_SYNC)
		note_heard(guard, coordinator, event->sync.machine_id);
	if (code == FL_OK && event->kind == CORE_REPORT)
		note_heard(guard, coordinator, event->report.report->machine_id);
	/* A heartbeat that changes nothing is no reason to count all again, each time. */
	if (core_revision(core) != guard->steps_revision || event->kind == CORE_TICK ||
		core->step % 32 == 0) {
		check_units_step(guard, coordinator, event);
		check_memory(guard, core);
		fleet_check(core);
	}
	guard->steps_revision = core_revision(core);
	/* What was given out before it served nobody has seen. */
	if (coordinator->server.listening)
		guard->revision_max = core_revision(core);
	guard->n_waits += !RB_EMPTY(&core->waiting);
	guard->n_holds += core->holding;
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		if (machine->fsm.state == MACHINE_LOST && !core->holding)
			guard->machines[machine_index(machine->id)].written_off = true;
}

/* ---- The store --------------------------------------------------------------------------- */

/* Shows only the first line that differs. */
static void check_same(const char *what, const char *stored, const char *core)
{
	while (*stored != '\0' || *core != '\0') {
		int m = (int)strcspn(stored, "\n"), n = (int)strcspn(core, "\n");

		if (m != n || strncmp(stored, core, (size_t)m) != 0)
			fail_msg("%s: in the store \"%.*s\", in the core \"%.*s\"", what, m, stored,
				n, core);
		stored += m + (stored[m] != '\0');
		core += n + (core[n] != '\0');
	}
}

void guard_loaded(struct guard *guard, const struct coordinator *coordinator)
{
	FL_CLEANUP_BUF struct fl_buf now = FL_BUF_INIT;
	struct machine *machine;
	struct unit *unit;

	fleet_snapshot(coordinator->core, &now);
	check_same("after a start", fl_buf_str(&coordinator->store.snapshot), fl_buf_str(&now));
	if (core_revision(coordinator->core) <= guard->revision_max)
		fail_msg("revision %" PRIu64 " is given out again",
			core_revision(coordinator->core));
	memset(guard->machines, 0, sizeof(guard->machines));
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&coordinator->core->machines) {
		guard->machines[machine_index(machine->id)].known = true;
		guard->machines[machine_index(machine->id)].last_heard_ms = coordinator->began_ms;
	}
	FL_MAP_FOREACH (entry, following, guard->units)
		((struct guard_unit *)fl_map_value(entry))->machine =
			((struct guard_unit *)fl_map_value(entry))->held = -1;
	RB_FOREACH (unit, unit_tree, (struct unit_tree *)&coordinator->core->units) {
		struct guard_unit *known = unit_of(guard, unit->name);

		known->machine = machine_of(unit);
		known->held = unit->held != NULL && !unit->gone
				      ? (int)machine_index(unit->held->machine->id)
				      : -1;
		known->epoch = unit->epoch;
	}
	fleet_check(coordinator->core);
}

void guard_nothing_to_write(struct guard *guard, const struct coordinator *coordinator)
{
	(void)guard;
	check_same("nothing is said to be written", fl_buf_str(&coordinator->store.snapshot),
		fl_buf_str(&coordinator->batch.snapshot));
}

/* The unit's record, or NULL. */
static Pb__UnitRecord *stored_unit(const struct coordinator *coordinator, const char *name)
{
	const struct core_write *write;
	ProtobufCMessage *message = NULL;
	char key[300];

	snprintf(key, sizeof(key), "%s%s", CORE_KEY_UNIT, name);
	write = fl_map_get(coordinator->store.records, key);
	if (write != NULL)
		assert_int_equal(wire_unpack_record(&pb__unit_record__descriptor, write->data,
					 write->len, &message, NULL),
			FL_OK);
	return (Pb__UnitRecord *)message;
}

static void record_free(Pb__UnitRecord *record)
{
	if (record != NULL)
		core_message_free(&record->base);
}

/* ---- People ------------------------------------------------------------------------------ */

void guard_change_result(struct guard *guard, const struct coordinator *coordinator,
	const Pb__Change *change, const Pb__ChangeResult *result)
{
	const struct unit *unit = unit_find(coordinator->core, change->name);
	const Pb__Rollout *rollout;

	(void)guard;
	if (result->error != NULL)
		return;
	switch (change->verb) {
	case PB__CHANGE__VERB__SET:
		assert_non_null(unit);
		assert_int_equal(unit->desired, change->desired);
		break;
	case PB__CHANGE__VERB__RESTART:
		assert_non_null(unit);
		assert_int_equal(unit->desired, PB__DESIRED_STATE__LAUNCHED);
		break;
	case PB__CHANGE__VERB__DESTROY:
		assert_null(unit);
		return;
	case PB__CHANGE__VERB__SUBMIT:
	case PB__CHANGE__VERB__VERB_UNSPECIFIED:
	case _PB__CHANGE__VERB_IS_INT_SIZE:
		assert_non_null(unit);
		break;
	}
	/* A file that is found unfit at once, because no machine takes it, has returned already, and
	 * whoever sent it is told; or does so in what else happens in this step, and is heard of later. */
	rollout = result->unit->rollout;
	if (rollout != NULL && (rollout->state == PB__ROLLOUT__STATE__RETURNING ||
				       rollout->state == PB__ROLLOUT__STATE__RETURNED)) {
		assert_true(rollout->text[0] != '\0');
	} else if (unit->rollout != NULL && unit->rollout->state != PB__ROLLOUT__STATE__ROLLING &&
		   unit->rollout->state != PB__ROLLOUT__STATE__DONE) {
		assert_true(unit->change_revision > result->unit->change_revision);
	} else if (change->content.len > 0 && result->n_warnings == 0) {
		assert_int_equal(unit->body.content_len, change->content.len);
		assert_memory_equal(unit->body.content, change->content.data, change->content.len);
	}
	/* Who is told that it is nowhere is told why. */
	if (unit_is_active(unit) && !result->unit->global && result->unit->n_placements == 0)
		assert_true(result->unit->waiting[0] != '\0');
}

void guard_change_reply(
	struct guard *guard, const struct coordinator *coordinator, const Pb__ChangeReply *reply)
{
	for (size_t i = 0; i < reply->n_results; i++) {
		const Pb__Unit *unit = reply->results[i]->unit;
		Pb__UnitRecord *record;

		if (unit == NULL || reply->results[i]->error != NULL)
			continue;
		record = stored_unit(coordinator, unit->name);
		/* No record: it was destroyed since, and that is in the store too. */
		if (record != NULL && !record->destroyed &&
			record->change_revision < unit->change_revision)
			fail_msg("what was asked of %s at %" PRIu64
				 " is acknowledged, and the store has %" PRIu64,
				unit->name, unit->change_revision, record->change_revision);
		if (record == NULL && unit_find(coordinator->core, unit->name) != NULL &&
			coordinator->batch.retry_ms == 0 && !coordinator->batch.committing &&
			fl_list_empty(&coordinator->effects.writes))
			fail_msg("%s is acknowledged, and not in the store", unit->name);
		record_free(record);
	}
	(void)guard;
}

/* ---- Agents ------------------------------------------------------------------------------ */

/* Whether that is the file that the store has for the machine. */
static bool has_file(
	const Pb__UnitRecord *record, const char *machine_id, const ProtobufCBinaryData *content)
{
	const ProtobufCBinaryData *stored = &record->content;

	for (size_t i = 0; i < record->n_old_files; i++)
		for (size_t k = 0; k < record->old_files[i]->n_machine_ids; k++)
			if (strcmp(record->old_files[i]->machine_ids[k], machine_id) == 0)
				stored = &record->old_files[i]->content;
	return stored->len == content->len &&
	       memcmp(stored->data, content->data, content->len) == 0;
}

static void check_told(struct guard *guard, const struct coordinator *coordinator,
	const char *machine_id, const Pb__Assignment *one)
{
	struct guard_unit *unit = unit_of(guard, one->name);
	Pb__UnitRecord *record = stored_unit(coordinator, one->name);
	int machine = (int)machine_index(machine_id);
	const struct unit *known = unit_find(coordinator->core, one->name);

	if (record == NULL || record->epoch != one->epoch || record->desired != one->desired ||
		record->start_generation != one->start_generation ||
		record->restart_generation != one->restart_generation ||
		!has_file(record, machine_id, &one->content))
		fail_msg("%s is told of %s, epoch %" PRIu64 ", which is not in the store",
			machine_id, one->name, one->epoch);
	assert_non_null(known);
	if (!known->body.rules.global) {
		assert_string_equal(record->machine_id, machine_id);
		if (one->epoch < unit->told_epoch ||
			(one->epoch == unit->told_epoch && machine != unit->told_machine &&
				unit->told_machine >= 0))
			fail_msg("%s is told of %s with epoch %" PRIu64
				 ", machine %d was with %" PRIu64,
				machine_id, one->name, one->epoch, unit->told_machine,
				unit->told_epoch);
		unit->told_machine = machine;
	} else {
		assert_true(one->epoch >= unit->told_epoch);
		unit->told_machine = -1;
	}
	unit->told_epoch = one->epoch;
	record_free(record);
}

static bool mentions(const Pb__SyncReply *reply, const char *name)
{
	for (size_t i = 0; i < reply->n_assignments; i++)
		if (strcmp(reply->assignments[i]->name, name) == 0)
			return true;
	return false;
}

/* Of a drained machine the units that are bound to it are placed there, and not told. */
static bool is_drained(const struct coordinator *coordinator, const char *machine_id)
{
	const struct core_write *write;
	ProtobufCMessage *message = NULL;
	char key[300];
	bool drained;

	snprintf(key, sizeof(key), "%s%s", CORE_KEY_MACHINE, machine_id);
	write = fl_map_get(coordinator->store.records, key);
	if (write == NULL)
		return false;
	assert_int_equal(wire_unpack_record(&pb__machine_record__descriptor, write->data,
				 write->len, &message, NULL),
		FL_OK);
	drained = ((const Pb__MachineRecord *)message)->scheduling ==
		  PB__MACHINE__SCHEDULING__DRAINED;
	core_message_free(message);
	return drained;
}

/* What a whole assignment leaves out the agent stops. */
static void check_whole(
	const struct coordinator *coordinator, const char *machine_id, const Pb__SyncReply *reply)
{
	FL_MAP_FOREACH (entry, following, coordinator->store.records) {
		const char *key = fl_map_key(entry);
		Pb__UnitRecord *record;

		if (strncmp(key, CORE_KEY_UNIT, strlen(CORE_KEY_UNIT)) != 0)
			continue;
		record = stored_unit(coordinator, key + strlen(CORE_KEY_UNIT));
		if (strcmp(record->machine_id, machine_id) == 0 && !mentions(reply, record->name) &&
			!is_drained(coordinator, machine_id))
			fail_msg("the whole assignment of %s leaves out %s", machine_id,
				record->name);
		record_free(record);
	}
}

void guard_assignment(struct guard *guard, const struct coordinator *coordinator,
	const char *machine_id, const Pb__SyncReply *reply)
{
	for (size_t i = 0; i < reply->n_assignments; i++)
		check_told(guard, coordinator, machine_id, reply->assignments[i]);
	if (reply->reset && !reply->more)
		check_whole(coordinator, machine_id, reply);
	for (size_t i = 0; i < reply->n_removed; i++) {
		Pb__UnitRecord *record = stored_unit(coordinator, reply->removed[i]);

		if (record != NULL && strcmp(record->machine_id, machine_id) == 0 &&
			!is_drained(coordinator, machine_id))
			fail_msg("%s is told to let go of %s, which the store has there",
				machine_id, reply->removed[i]);
		record_free(record);
	}
}

void guard_unit_runs(
	struct guard *guard, const struct host *host, const char *name, bool runs_exclusively)
{
	struct guard_unit *unit = unit_of(guard, name);
	int here = (int)machine_index(host->id);

	if (runs_exclusively && unit->runs_on >= 0 && unit->runs_on != here)
		fail_msg("%s, which is exclusive, begins on %s and runs on machine %d", name,
			host->id, unit->runs_on);
	if (runs_exclusively) {
		guard->n_exclusive += unit->runs_on < 0;
		unit->runs_on = here;
	} else if (unit->runs_on == here) {
		unit->runs_on = -1;
	}
}

void guard_agent_hears(struct guard *guard, const struct host *host, const Pb__SyncReply *reply)
{
	unsigned i = machine_index(host->id);

	if (guard->heard_session[i] != host->session)
		empty(guard->heard[i]);
	guard->heard_session[i] = host->session;
	for (size_t k = 0; k < reply->n_assignments; k++) {
		uint64_t *epoch = fl_map_get(guard->heard[i], reply->assignments[k]->name);

		if (epoch == NULL) {
			epoch = FL_NEW(uint64_t);
			assert_non_null(epoch);
			assert_int_equal(fl_map_put(guard->heard[i], reply->assignments[k]->name,
						 epoch, NULL),
				FL_OK);
		}
		if (reply->assignments[k]->epoch > *epoch)
			*epoch = reply->assignments[k]->epoch;
	}
}

void guard_agent_acts(struct guard *guard, const struct host *host, const struct agent_unit *unit)
{
	unsigned i = machine_index(host->id);
	const uint64_t *epoch = fl_map_get(guard->heard[i], unit->name);

	if (guard->heard_session[i] == host->session && epoch != NULL &&
		unit->assignment->epoch < *epoch)
		fail_msg("%s acts on epoch %" PRIu64 " of %s after %" PRIu64, host->id,
			unit->assignment->epoch, unit->name, *epoch);
}
