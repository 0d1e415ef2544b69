/*
 * Follow one event: `flotactl start web.service` reaches the daemon as a ChangeRequest.
 *
 *	core_step()             core.c      sets the time, dispatches
 *	  core_do_change()      change.c    reads the file, checks it; then sets the desired state
 *	    settle_activate()   settle.c    marks the unit: to be placed
 *	  settle()              settle.c    until nothing is marked:
 *	    place_choose()      place.c       the least loaded machine that nothing speaks against
 *	    placement_make()    place.c       the unit is there, with an epoch; marks effects
 *	  unit_message()        look.c      the answer; refusals, where no machine took it (why.c)
 *
 * The daemon pops the writes (effects.c), commits, wakes the machine's held SyncRequest and answers
 * it with core_assignment() (assign.c). The agent's next ReportRequest comes as CORE_REPORT
 * (report.c): the unit's state, which wakes who watches the unit.
 */
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/members.h"
#include "proto/wire.h"

#define STORE_FORMAT 1U

enum fl_code core_new(
	struct core **ret_core, const struct core_config *config, struct fl_error *err)
{
	FL_CLEANUP(core_freep) struct core *core = FL_NEW(struct core);

	if (core == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fl_list_init(&core->leases);
	fl_list_init(&core->suspects);
	fl_list_init(&core->rechecks);
	fl_list_init(&core->helped);
	fl_list_init(&core->globals_of);
	fl_list_init(&core->rollouts);
	fl_list_init(&core->rollouts_moved);
	fl_list_init(&core->held);
	fl_list_init(&core->moves);
	fl_list_init(&core->drains);
	core->wall_offset_ms = config->wall_offset_ms;
	fl_list_init(&core->overflows);
	fl_list_init(&core->reap);
	fl_list_init(&core->refused_keys);
	fl_list_init(&core->deletions);
	axis_init(&core->each_machine);
	events_init(core);
	core->lease_ms = config->lease_ms != 0 ? config->lease_ms : CORE_LEASE_MS_DEFAULT;
	core->memory_overcommit_permille =
		config->memory_overcommit_permille != 0 ? config->memory_overcommit_permille : 1000;
	core->cpu_overcommit_permille =
		config->cpu_overcommit_permille != 0 ? config->cpu_overcommit_permille : 1000;
	core->store_id = fl_strdup(config->store_id);
	core->fleet = fl_strdup(config->fleet);
	if (core->store_id == NULL || core->fleet == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_core = FL_TAKE(core);
	return FL_OK;
}

void core_free(struct core *core)
{
	if (core == NULL)
		return;
	units_free(core);
	machines_free(core);
	join_fini(core);
	upgrade_fini(core);
	members_fini(core);
	deletions_fini(core);
	events_fini(core);
	free(core->store_id);
	free(core->fleet);
	axis_fini(&core->each_machine);
	free(core);
}

/* ---- Loading ----------------------------------------------------------------------------- */

static void seen_revision(struct core *core, uint64_t revision)
{
	if (core->stored_revision < revision)
		core->stored_revision = revision;
}

static enum fl_code load_meta(struct core *core, const Pb__MetaRecord *record, struct fl_error *err)
{
	char *store_id, *fleet;

	if (record->format != STORE_FORMAT)
		return FL_FAIL(err, FL_E_VERSION,
			"its format is %u, this program reads %u; run the version that wrote it",
			record->format, STORE_FORMAT);
	store_id = fl_strdup(record->store_id);
	fleet = fl_strdup(record->fleet);
	if (store_id == NULL || fleet == NULL) {
		free(store_id);
		free(fleet);
		return FL_FAIL_NO_MEMORY(err);
	}
	free(core->store_id);
	free(core->fleet);
	core->store_id = store_id;
	core->fleet = fleet;
	core->stored_lease_ms = record->lease_ms;
	seen_revision(core, record->revision);
	return FL_OK;
}

static enum fl_code load_machine(
	struct core *core, const Pb__MachineRecord *record, struct fl_error *err)
{
	Pb__MachineInfo none = PB__MACHINE_INFO__INIT;
	struct machine_info info;
	struct machine *machine;
	enum fl_code code;

	if (*record->id == '\0' || machine_find(core, record->id) != NULL)
		return FL_FAIL(err, FL_E_INVALID, "machine ID \"%s\"", record->id);
	FL_TRY(machine_info_read(
		core, record->info != NULL ? record->info : &none, NULL, &info, err));
	code = machine_add(core, record->id, &info, &machine, err);
	if (code != FL_OK) {
		machine_info_fini(core, &info);
		return code;
	}
	return machine_scheduling_load(core, machine, record, err);
}

static enum fl_code load_unit(struct core *core, const Pb__UnitRecord *record, struct fl_error *err)
{
	struct unit_body body;
	struct unit *unit;
	enum fl_code code;

	FL_TRY(unit_name_check(record->name, err));
	if (unit_find(core, record->name) != NULL)
		return FL_FAIL(err, FL_E_EXISTS, "unit %s is there twice", record->name);
	FL_TRY(unit_body_load(core, record->name, &record->content, record->lenient, &body, err));
	if (*record->replica_of != '\0')
		memcpy(body.hash, body.replica_hash, sizeof(body.hash));
	code = unit_add(core, record->name, record->tenant, &unit, err);
	if (code != FL_OK) {
		unit_body_fini(core, &body);
		return code;
	}
	unit_body_set(core, unit, &body);
	unit->stored_replica = *record->replica_of != '\0';
	unit->stored_machine_id = fl_strdup(record->machine_id);
	unit->stored_held_id = fl_strdup(record->held_machine_id);
	unit->stored_held_epoch = record->held_epoch;
	if (unit->stored_machine_id == NULL || unit->stored_held_id == NULL)
		return FL_FAIL_NO_MEMORY(err);
	unit->desired = record->desired != PB__DESIRED_STATE__DESIRED_STATE_UNSPECIFIED
				? record->desired
				: PB__DESIRED_STATE__INACTIVE;
	unit->change_revision = record->change_revision;
	unit->start_generation = record->start_generation;
	unit->restart_generation = record->restart_generation;
	unit->epoch = record->epoch;
	unit->stop_ms = record->stop_ms;
	unit->replaced = record->replaced;
	seen_revision(core, record->change_revision);
	seen_revision(core, record->epoch);
	return rollout_load(core, unit, record, err);
}

/* A unit that was destroyed, and that a machine may still run. */
static enum fl_code load_destroyed(
	struct core *core, const Pb__UnitRecord *record, struct fl_error *err)
{
	struct unit *unit;

	FL_TRY(unit_name_check(record->name, err));
	FL_TRY(unit_add(core, record->name, record->tenant, &unit, err));
	unit->gone = true;
	core->n_units--;
	unit->stop_ms = record->stop_ms;
	unit->stored_held_id = fl_strdup(record->held_machine_id);
	unit->stored_held_epoch = record->held_epoch;
	return unit->stored_held_id != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* A record under another's key would be written again under its own, and be there twice. */
static enum fl_code check_key(
	const char *key, const ProtobufCMessage *message, struct fl_error *err)
{
	const char *name = strchr(key, '/'), *own;

	if (message->descriptor == &pb__machine_record__descriptor)
		own = ((const Pb__MachineRecord *)message)->id;
	else if (message->descriptor == &pb__unit_record__descriptor)
		own = ((const Pb__UnitRecord *)message)->name;
	else
		return FL_OK;
	if (strcmp(name + 1, own) != 0)
		return FL_FAIL(err, FL_E_INVALID, "it is that of \"%s\"", own);
	return FL_OK;
}

static enum fl_code load_record(struct core *core, const ProtobufCMessageDescriptor *type,
	const char *key, const void *data, size_t len, struct fl_error *err)
{
	ProtobufCMessage *message = NULL;
	enum fl_code code = wire_unpack_record(type, data, len, &message, err);

	if (code == FL_OK)
		code = check_key(key, message, err);
	if (code == FL_OK) {
		if (type == &pb__meta_record__descriptor)
			code = load_meta(core, (const Pb__MetaRecord *)message, err);
		else if (type == &pb__machine_record__descriptor)
			code = load_machine(core, (const Pb__MachineRecord *)message, err);
		else if (type == &pb__token_record__descriptor)
			code = join_load_token(core, (const Pb__TokenRecord *)message, err);
		else if (type == &pb__member_record__descriptor)
			code = member_load(core, (const Pb__MemberRecord *)message, err);
		else if (((const Pb__UnitRecord *)message)->destroyed)
			code = load_destroyed(core, (const Pb__UnitRecord *)message, err);
		else
			code = load_unit(core, (const Pb__UnitRecord *)message, err);
	}
	if (message != NULL)
		core_message_free(message);
	if (code == FL_OK || code == FL_E_NO_MEMORY)
		return code;
	/* A newer program's is no damage. */
	return fl_error_prefix(err, code == FL_E_VERSION ? code : FL_E_STORE,
		"the store's record \"%s\" cannot be read", key);
}

enum fl_code core_load(
	struct core *core, const char *key, const void *data, size_t len, struct fl_error *err)
{
	fl_assert(!core->loaded);
	if (strcmp(key, CORE_KEY_META) == 0)
		return load_record(core, &pb__meta_record__descriptor, key, data, len, err);
	if (strncmp(key, CORE_KEY_MACHINE, strlen(CORE_KEY_MACHINE)) == 0)
		return load_record(core, &pb__machine_record__descriptor, key, data, len, err);
	if (strncmp(key, CORE_KEY_TOKEN, strlen(CORE_KEY_TOKEN)) == 0)
		return load_record(core, &pb__token_record__descriptor, key, data, len, err);
	if (strncmp(key, CORE_KEY_MEMBER, strlen(CORE_KEY_MEMBER)) == 0)
		return load_record(core, &pb__member_record__descriptor, key, data, len, err);
	if (strncmp(key, CORE_KEY_UNIT, strlen(CORE_KEY_UNIT)) == 0)
		return load_record(core, &pb__unit_record__descriptor, key, data, len, err);
	return FL_OK;
}

/* What is stored of a unit becomes its placement, or makes it wait for a machine. */
static enum fl_code place_stored(struct core *core, struct unit *unit, struct fl_error *err)
{
	struct machine *held = machine_find(core, unit->stored_held_id);
	struct machine *machine = unit->gone ? NULL : machine_find(core, unit->stored_machine_id);

	free(FL_TAKE(unit->stored_machine_id));
	free(FL_TAKE(unit->stored_held_id));
	unit->revision = core_next_revision(core);
	if (held != NULL && held != machine &&
		!held_restore(core, unit, held, unit->stored_held_epoch))
		return FL_FAIL_NO_MEMORY(err);
	if (unit->gone && unit->held == NULL) {
		mark_unit_write(core, unit);
		fl_list_append(&core->reap, &unit->reap);
	}
	if (!unit_is_active(unit))
		return FL_OK;
	if (machine == NULL || unit->body.rules.global)
		settle_activate(core, unit);
	else if (!placement_make(core, unit, machine, unit->epoch))
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

enum fl_code core_loaded(
	struct core *core, uint64_t now_ms, struct core_effects *effects, struct fl_error *err)
{
	struct machine *machine;
	struct unit *unit;

	fl_assert(!core->loaded);
	core->effects = effects;
	core->now_ms = now_ms;
	core->step = 1;
	core->revision = core->reserved = core->stored_revision;
	core_next_revision(core);
	events_begin(core);
	RB_FOREACH (machine, machine_tree, &core->machines)
		machine->deltas_from = core->revision;
	RB_FOREACH (unit, unit_tree, &core->units)
		FL_TRY(place_stored(core, unit, err));
	replicas_restore(core);
	leases_begin(core);
	members_loaded(core);
	core->old_leases_end_ms = now_ms + core->stored_lease_ms;
	settle(core);
	FL_TRY(rollouts_loaded(core, err));
	core->loaded = true;
	(void)drains_settle(core); /* when to look again: no machine is up yet */
	return FL_OK;
}

/* ---- The step ---------------------------------------------------------------------------- */

static enum fl_code dispatch(struct core *core, const struct core_event *event,
	struct core_answer *answer, struct fl_error *err)
{
	switch (event->kind) {
	case CORE_CHANGE:
		return core_do_change(core, &event->change, answer, err);
	case CORE_MACHINE_CHANGE:
		return core_do_machine(core, &event->machine_change, err);
	case CORE_MOVE:
		return core_do_move(core, &event->move, err);
	case CORE_SYNC:
		return core_do_sync(core, &event->sync, err);
	case CORE_REPORT:
		return core_do_report(core, &event->report, answer, err);
	case CORE_TOKENS:
		return core_do_tokens(core, &event->tokens, err);
	case CORE_UPGRADE:
		return core_do_upgrade(core, &event->upgrade, err);
	case CORE_JOIN:
		return core_do_join(core, &event->join, answer, err);
	case CORE_CA:
		join_do_ca(core, &event->ca);
		return FL_OK;
	case CORE_REFUSED:
		join_do_refused(core, &event->refused);
		return FL_OK;
	case CORE_TICK:
		return FL_OK;
	}
	return FL_FAIL(err, FL_E_INTERNAL, "there is no event %d", (int)event->kind);
}

enum fl_code core_step(struct core *core, const struct core_event *event, uint64_t now_ms,
	struct core_effects *effects, struct core_answer *ret_answer, struct fl_error *err)
{
	struct core_answer answer = {0};
	struct fl_list *link;
	enum fl_code code;

	fl_assert(core->loaded && now_ms >= core->now_ms);
	core->effects = effects;
	core->now_ms = now_ms;
	core->step++;
	unit_reap(core);
	code = dispatch(core, event, &answer, err);
	/* Whoever has just been heard of is not lost: leases are looked at afterwards. */
	leases_check(core);
	held_check(core);
	settle_retry(core);
	rollouts_check(core);
	/* What leaves a machine that has been lost for long is held for no time at all. */
	do
		settle(core);
	while (exclusive_check(core));
	upgrade_check(core);
	while ((link = fl_list_pop(&core->overflows)) != NULL)
		assignment_forget_tombstones(core, FL_LIST_ENTRY(link, struct machine, overflow));
	if (code == FL_OK)
		*ret_answer = answer;
	return code;
}

uint64_t core_next_deadline(const struct core *core)
{
	uint64_t deadline = leases_next_deadline(core);

	if (held_next_deadline(core) < deadline)
		deadline = held_next_deadline(core);
	if (exclusive_next_deadline(core) < deadline)
		deadline = exclusive_next_deadline(core);
	if (moves_next_deadline(core) < deadline)
		deadline = moves_next_deadline(core);
	if (drains_next_deadline(core) < deadline)
		deadline = drains_next_deadline(core);
	if (upgrade_next_deadline(core) < deadline)
		deadline = upgrade_next_deadline(core);
	if (core->memory_retry_ms != 0 && core->memory_retry_ms < deadline)
		deadline = core->memory_retry_ms;
	if (rollouts_next_deadline(core) < deadline)
		deadline = rollouts_next_deadline(core);
	return deadline;
}

/* ---- Small answers ----------------------------------------------------------------------- */

uint64_t core_revision(const struct core *core)
{
	return core->revision;
}

const char *core_store_id(const struct core *core)
{
	return core->store_id;
}

const char *core_fleet(const struct core *core)
{
	return core->fleet;
}

uint32_t core_lease_ms(const struct core *core)
{
	return core->lease_ms;
}

size_t core_unit_count(const struct core *core)
{
	return core->n_units;
}

size_t core_machine_count(const struct core *core)
{
	return core->n_machines;
}
