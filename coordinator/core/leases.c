/*
 * Who is heard of and who is lost.
 *
 *	         hello or report                 lease over
 *	UNKNOWN ─────────────────▶ UP ◀────────────────────────▶ LOST
 *	   └──────────────────────── lease over ──────────────────▲
 *
 * All leases are equally long, so the list of machines by when they were last heard of is also the
 * list of deadlines: a heartbeat moves its machine to the end, a tick looks at the beginning.
 *
 * A machine whose lease has ended is a suspect until a verdict: either its units move, or too many
 * machines look lost at once, and then the fault is taken to be the coordinator's own and nothing
 * moves. To "look lost" less than a lease is enough (CORE_LOOKS_LOST_MS): when all connections
 * break at one moment the leases end one after the other, and the first verdict must already see
 * that the others are silent too, even where the first one's last heartbeat was late. Machines come to the verdict again and again until they are back
 * or their units have moved.
 */
#include <inttypes.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/members.h"
#include "proto/wire.h"

#define HOLD_ABOVE_PERCENT 55

/* How often a held verdict is looked at again. */
static uint64_t verdict_interval_ms(const struct core *core)
{
	return core->lease_ms / 10 + 1;
}

static void mark_units_changed(struct core *core, struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (!placement->removed)
			mark_unit_changed(core, placement->unit);
}

static void lease_begin(struct core *core, struct machine *machine)
{
	machine->last_heard_ms = core->now_ms;
	if (fl_list_linked(&machine->lease))
		fl_list_remove(&machine->lease);
	else
		core->n_leases++;
	fl_list_append(&core->leases, &machine->lease);
}

void machine_heard(struct core *core, struct machine *machine)
{
	bool was_lost = machine->fsm.state == MACHINE_LOST;

	machine->heard = true;
	if (machine_is_up(machine)) {
		lease_begin(core, machine);
		return;
	}
	core_note(core, FL_INFO, "machine.up", "machine=%s address=%s silent_ms=%" PRIu64,
		machine->id, machine->info.message->address, core->now_ms - machine->last_heard_ms);
	if (was_lost)
		event_addf(core, "machine.up", NULL, machine, "after %" PRIu64 " s",
			(core->now_ms - machine->last_heard_ms) / 1000);
	lease_begin(core, machine);
	fl_list_remove(&machine->suspect);
	fl_fsm_move(&machine->fsm, MACHINE_UP, "heard of");
	machine_pools_enter(machine);
	if (was_lost) {
		mark_units_changed(core, machine);
		exclusive_machine_back(core, machine);
		held_resume(core, machine);
	}
	settle_recheck_machine(core, machine);
	settle_help(core, machine, true);
}

void leases_begin(struct core *core)
{
	struct machine *machine;

	RB_FOREACH (machine, machine_tree, &core->machines)
		lease_begin(core, machine);
}

/* Units that name their machine or wait for it stay; followers go when their leader goes. */
static bool moves_when_lost(const struct placement *placement)
{
	const struct unit_rules *rules = &placement->unit->body.rules;

	return !placement->removed && !rules->global && rules->machine_id == NULL &&
	       rules->machine_of.n == 0 && rules->on_machine_loss == UNIT_LOSS_MOVE;
}

bool leases_let_go(struct core *core, const struct placement *placement)
{
	struct machine *machine = placement->machine;

	if (machine->fsm.state != MACHINE_LOST || fl_list_linked(&machine->suspect) ||
		!moves_when_lost(placement))
		return false;
	if (!core->holding)
		return true;
	fl_list_append(&core->suspects, &machine->suspect);
	return false;
}

/* One that was about to move when the machine was lost. */
static bool held_for_a_time(const struct placement *placement)
{
	return placement_is_held(placement) && placement->unit->held_until_ms != UINT64_MAX;
}

static bool has_units_to_move(struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements) {
		if (moves_when_lost(placement) || held_for_a_time(placement))
			return true;
	}
	return false;
}

static void move_units(struct core *core, struct machine *machine)
{
	struct placement *placement, *following;

	RB_FOREACH_SAFE (placement, placement_tree, &machine->placements, following) {
		if (held_for_a_time(placement)) {
			held_release(core, placement, "its machine is lost");
			continue;
		}
		if (!moves_when_lost(placement))
			continue;
		settle_unplace(core, placement->unit, "its machine is lost");
		settle_activate(core, placement->unit);
	}
}

static void lose(struct core *core, struct machine *machine, const char *why)
{
	if (machine_is_up(machine))
		machine_pools_leave(machine);
	fl_fsm_move(&machine->fsm, MACHINE_LOST, why);
	fl_list_remove(&machine->lease);
	core->n_leases--;
	mark_units_changed(core, machine);
	exclusive_machine_lost(core, machine);
}

void machine_cut_off(struct core *core, struct machine *machine)
{
	if (machine->fsm.state != MACHINE_LOST)
		lose(core, machine, "it was revoked");
	fl_list_remove(&machine->suspect);
	move_units(core, machine);
}

static void machine_lose(struct core *core, struct machine *machine)
{
	core_note(core, FL_WARNING, "machine.lost",
		"machine=%s address=%s silent_ms=%" PRIu64 " units=%" PRIu32, machine->id,
		machine->info.message->address, core->now_ms - machine->last_heard_ms,
		machine->n_units);
	event_addf(core, "machine.lost", NULL, machine, "not heard of for %" PRIu64 " s, %u units",
		(core->now_ms - machine->last_heard_ms) / 1000, machine->n_units);
	lose(core, machine, "its lease ended");
	/* One that was not seen since the start and that nothing would leave has been away for
	 * long: its silence says nothing about the coordinator. */
	if (machine->heard || has_units_to_move(machine))
		fl_list_append(&core->suspects, &machine->suspect);
}

static void set_holding(struct core *core, bool hold)
{
	if (hold == core->holding)
		return;
	core->holding = hold;
	if (hold) {
		core_note(core, FL_ERROR, "fleet.hold",
			"lost=%zu of=%zu why=most machines look lost: nothing is moved",
			core->n_look_lost, core->n_in_question);
		event_addf(core, "fleet.hold", NULL, NULL,
			"%zu of %zu machines look lost: nothing is moved", core->n_look_lost,
			core->n_in_question);
	} else {
		core_note(core, FL_NOTICE, "fleet.hold_over", "%s", "why=units may move again");
		event_add(core, "fleet.hold_over", NULL, NULL, "units may move again");
	}
}

static void give_verdict(struct core *core)
{
	size_t n_silent = 0, n_suspects = 0;
	struct machine *machine;
	struct fl_list *link;
	bool hold;

	FL_LIST_FOREACH (machine, &core->leases, lease) {
		if (core->now_ms - machine->last_heard_ms < CORE_LOOKS_LOST_MS(core->lease_ms))
			break;
		n_silent++;
	}
	FL_LIST_FOREACH (machine, &core->suspects, suspect)
		n_suspects++;
	core->n_look_lost = n_suspects + n_silent;
	core->n_in_question = n_suspects + core->n_leases;
	hold = core->n_look_lost * 100 > core->n_in_question * HOLD_ABOVE_PERCENT;
	set_holding(core, hold);
	core->next_verdict_ms = core->now_ms + verdict_interval_ms(core);
	if (hold)
		return;
	while ((link = fl_list_pop(&core->suspects)) != NULL)
		move_units(core, FL_LIST_ENTRY(link, struct machine, suspect));
}

void leases_check(struct core *core)
{
	bool ended = false;

	while (!fl_list_empty(&core->leases)) {
		struct machine *machine = FL_LIST_ENTRY(core->leases.next, struct machine, lease);

		if (core->now_ms < machine->last_heard_ms + core->lease_ms)
			break;
		machine_lose(core, machine);
		ended = true;
	}
	if (fl_list_empty(&core->suspects))
		set_holding(core, false);
	else if (ended || core->now_ms >= core->next_verdict_ms)
		give_verdict(core);
}

uint64_t leases_next_deadline(const struct core *core)
{
	uint64_t deadline = UINT64_MAX;

	if (!fl_list_empty(&core->leases))
		deadline = FL_LIST_ENTRY(core->leases.next, struct machine, lease)->last_heard_ms +
			   core->lease_ms;
	if (!fl_list_empty(&core->suspects) && core->next_verdict_ms < deadline)
		deadline = core->next_verdict_ms;
	return deadline;
}

/* ---- A machine asks for its assignment --------------------------------------------------- */

static void tell_changed(struct core *core, struct machine *machine, const Pb__MachineInfo *now)
{
	bool rebooted = strcmp(machine->info.message->boot_id, now->boot_id) != 0;

	if (rebooted)
		machine->booted_ms = core->now_ms;

	event_addf(core, rebooted ? "machine.rebooted" : "machine.changed", NULL, machine,
		"%s, %s, flota-agent %s", now->hostname, now->address, now->agent_version);
}

/* What the machine says of itself, behind what its token says of it. */
static enum fl_code read_info(struct core *core, const struct core_sync *sync,
	struct machine_info *ret_info, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) Pb__Metadata **metadata = NULL;
	Pb__MachineInfo info = *sync->info;
	Pb__Metadata **labels = NULL;
	size_t n = member_labels(core, sync->machine_id, &labels);

	if (n > 0) {
		metadata = fl_new_array(n + info.n_metadata, sizeof(*metadata));
		if (metadata == NULL)
			return FL_FAIL_NO_MEMORY(err);
		memcpy(metadata, labels, n * sizeof(*metadata));
		for (size_t i = 0; i < info.n_metadata && n < LIMIT_METADATA; i++)
			metadata[n++] = info.metadata[i];
		info.metadata = metadata;
		info.n_metadata = n;
	}
	return machine_info_read(core, &info, sync->peer_address, ret_info, err);
}

static enum fl_code take_info(struct core *core, const struct core_sync *sync,
	struct machine **machine, struct fl_error *err)
{
	struct machine_info info;
	bool changed = true;

	FL_TRY(read_info(core, sync, &info, err));
	if (*machine == NULL) {
		enum fl_code code = machine_add(core, sync->machine_id, &info, machine, err);

		if (code != FL_OK) {
			machine_info_fini(core, &info);
			return code;
		}
		core_note(core, FL_INFO, "machine.new", "machine=%s address=%s hostname=%s",
			sync->machine_id, (*machine)->info.message->address,
			(*machine)->info.message->hostname);
		event_addf(core, "machine.joined", NULL, *machine, "%s, %s",
			(*machine)->info.message->hostname, (*machine)->info.message->address);
		core_next_revision(core);
	} else {
		changed = !machine_info_equal(&info, &(*machine)->info);
		if (changed)
			tell_changed(core, *machine, info.message);
		machine_info_set(core, *machine, &info);
	}
	if (!changed)
		return FL_OK;
	mark_machine_write(core, *machine);
	mark_units_changed(core, *machine);
	settle_globals(core, *machine);
	settle_recheck_machine(core, *machine);
	settle_help(core, *machine, true);
	return FL_OK;
}

enum fl_code core_do_sync(struct core *core, const struct core_sync *sync, struct fl_error *err)
{
	struct machine *machine = machine_find(core, sync->machine_id);

	if (sync->info != NULL)
		FL_TRY(take_info(core, sync, &machine, err));
	else if (machine == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"machine %s is not known here; its agent has to send what it is",
			sync->machine_id);
	member_confirm(core, sync->machine_id, sync->key_pin);
	machine_heard(core, machine);
	machine_in_session(machine, sync->session);
	upgrade_heard(core, machine, sync->upgrade);
	if (assignment_needs_reset(core, machine, sync->store_id, sync->revision))
		assignment_begin_again(core, machine);
	else
		assignment_acknowledge(core, machine, sync->revision);
	return FL_OK;
}
