/*
 * Machines that operators take out and put back.
 *
 *	         cordon              drain               all have left, or the deadline
 *	  OPEN ─────────▶ CORDONED ─────────▶ DRAINING ─────────────────────────────────▶ DRAINED
 *	   │ ▲                │                ▲  │                                          │
 *	   └─┼────────────────┼────────────────┘  │                                          │
 *	     └────────────────┴──── uncordon ─────┴──────────────────────────────────────────┘
 *
 * No unit comes to a machine that is not OPEN; a global one that became active before stays there.
 * While it is DRAINING units move away (moves.c), `drain_parallel` at a time. A unit that no other
 * machine takes stays, is tried again, and at the deadline is stopped and waits for a machine. A
 * unit that is bound to this one (bound_to()) stays until all others have left. In DRAINED such
 * units are parked: placed here still, but their agent is told to remove them, until uncordon.
 *
 * All of it is in the machine's record, so a coordinator that starts goes on with it. A machine that
 * is not up is left to its lease; its drain goes on when it is back.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/members.h"
#include "proto/wire.h"

#define PARALLEL_DEFAULT 4U
#define PARALLEL_MAX     100U
#define LOOK_MS          1000U
/* How often a unit that no other machine took is tried, and how many in one look: a choice may have
 * to ask every machine. */
#define TRY_MS    5000U
#define TRIES_MAX 50U

/* MachineOf= of MachineOf= and so on: circles are cut. */
#define LEADERS_MAX 16

_Static_assert((int)SCHEDULING_OPEN == (int)PB__MACHINE__SCHEDULING__OPEN &&
		       (int)SCHEDULING_DRAINED == (int)PB__MACHINE__SCHEDULING__DRAINED,
	"a machine's state is on the wire as it is");

/* ---- What it means ----------------------------------------------------------------------- */

bool machine_keeps_away(const struct machine *machine, const struct unit *unit)
{
	if (!machine_is_closed(machine))
		return false;
	return !unit->body.rules.global || unit->epoch > machine->closed_revision;
}

void machine_closed_text(const struct machine *machine, struct fl_buf *text)
{
	static const char *const words[] = {[SCHEDULING_OPEN] = "open",
		[SCHEDULING_CORDONED] = "cordoned",
		[SCHEDULING_DRAINING] = "being drained",
		[SCHEDULING_DRAINED] = "drained"};

	fl_buf_printf(text, "%s by %s", words[machine->scheduling.state], machine->closed_by);
	if (*machine->closed_reason != '\0')
		fl_buf_printf(text, ": %s", machine->closed_reason);
}

/* The leader with whom a unit has to be on its machine, when that is why it is there. */
static const struct unit *leader_there(const struct core *core, const struct placement *placement)
{
	const struct fl_strv *names = &placement->unit->body.rules.machine_of;

	for (size_t i = 0; i < names->n; i++) {
		const struct unit *leader = unit_find(core, names->items[i]);

		if (leader != NULL && leader->placed != NULL &&
			leader->placed->machine == placement->machine)
			return leader;
	}
	return NULL;
}

/* Why a unit can be nowhere but on its machine, or should not; NULL: it may leave. */
static const char *bound_to(const struct core *core, const struct placement *placement)
{
	for (int i = 0; i < LEADERS_MAX && placement != NULL; i++) {
		const struct unit_rules *rules = &placement->unit->body.rules;
		const struct unit *leader;

		if (rules->global)
			return "it is global";
		if (rules->machine_id != NULL)
			return "MachineID= names this machine";
		if (rules->on_machine_loss == UNIT_LOSS_WAIT)
			return "its data are here (OnMachineLoss=wait)";
		leader = leader_there(core, placement);
		placement = leader != NULL ? leader->placed : NULL;
	}
	return NULL;
}

void placement_leaving_text(const struct core *core, const struct placement *placement,
	uint64_t now_ms, struct fl_buf *text)
{
	const struct machine *machine = placement->machine;
	const char *bound = bound_to(core, placement);
	const struct unit *leader = leader_there(core, placement);

	if (placement_is_parked(placement)) {
		fl_buf_text(text, "stopped, for its machine is ");
		machine_closed_text(machine, text);
		fl_buf_printf(text, "; it waits for it: %s", bound != NULL ? bound : "uncordon it");
	} else if (machine->scheduling.state != SCHEDULING_DRAINING) {
		return;
	} else if (bound != NULL) {
		fl_buf_printf(text, "stays until all others have left, then stops: %s", bound);
	} else if (leader != NULL) {
		fl_buf_printf(text, "goes with unit %s (MachineOf=)", leader->name);
	} else if (placement->unit->try_ms > now_ms) {
		why_nowhere(core, placement->unit, now_ms, text);
	} else {
		fl_buf_text(text, "is about to leave");
	}
}

/* ---- Drains ------------------------------------------------------------------------------ */

void drain_look_soon(struct machine *machine)
{
	machine->look_ms = 0;
}

static void tell_all(struct core *core, struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements) {
		if (placement->removed)
			continue;
		placement->gone = false;
		placement_touch(core, placement);
		mark_unit_changed(core, placement->unit);
	}
}

static void scheduling_move(
	struct core *core, struct machine *machine, enum scheduling_state to, const char *event)
{
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	bool was_drained = machine->scheduling.state == SCHEDULING_DRAINED;

	fl_fsm_move(&machine->scheduling, to, event);
	fl_list_remove(&machine->drain);
	if (to == SCHEDULING_DRAINING)
		fl_list_append(&core->drains, &machine->drain);
	/* Parked units come and go. */
	if (was_drained || to == SCHEDULING_DRAINED)
		tell_all(core, machine);
	mark_machine_write(core, machine);
	machine_closed_text(machine, &text);
	core_note(core, FL_NOTICE, event, "machine=%s why=%s", machine->id, fl_buf_str(&text));
	event_add(core, event, NULL, machine, fl_buf_str(&text));
}

/* What is still to leave, but for units that are bound to it. */
static bool is_left(const struct core *core, const struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements)
		if (placement->removed ? placement_is_held(placement)
				       : bound_to(core, placement) == NULL)
			return true;
	return machine->n_leaving > 0;
}

/* Whether another machine takes it now. */
static bool finds_a_place(struct core *core, struct unit *unit)
{
	unsigned refused_for;

	if (place_choose(core, unit, &refused_for) != NULL)
		return true;
	unit->try_ms = core->now_ms + TRY_MS;
	mark_unit_changed(core, unit); /* its reason */
	return false;
}

static void begin_moves(struct core *core, struct machine *machine)
{
	struct placement *placement;
	unsigned n_tried = 0;

	RB_FOREACH (placement, placement_tree, &machine->placements) {
		struct unit *unit = placement->unit;

		if (machine->n_leaving >= machine->drain_parallel || n_tried >= TRIES_MAX)
			return;
		if (placement->removed || unit->try_ms > core->now_ms ||
			bound_to(core, placement) != NULL || leader_there(core, placement) != NULL)
			continue;
		n_tried++;
		if (finds_a_place(core, unit))
			move_begin(core, unit, NULL, "its machine is being drained");
	}
}

/* They wait for a place like any other unit that has none. */
static void stop_the_rest(struct core *core, struct machine *machine)
{
	struct placement *placement;

	RB_FOREACH (placement, placement_tree, &machine->placements)
		if (!placement->removed && bound_to(core, placement) == NULL)
			settle_displace(core, placement->unit, "the drain's deadline is over");
}

static void look_at(struct core *core, struct machine *machine)
{
	bool over = core->now_ms >= machine->drain_deadline_ms;

	machine->look_ms = core->now_ms + LOOK_MS;
	if (!machine_is_up(machine))
		return;
	if (over)
		stop_the_rest(core, machine);
	else
		begin_moves(core, machine);
	if (over || !is_left(core, machine))
		scheduling_move(core, machine, SCHEDULING_DRAINED, "machine.drained");
}

static uint64_t look_due_ms(const struct machine *machine)
{
	return machine->look_ms < machine->drain_deadline_ms || !machine_is_up(machine)
		       ? machine->look_ms
		       : machine->drain_deadline_ms;
}

bool drains_settle(struct core *core)
{
	struct machine *machine, *following;
	bool any = false;

	FL_LIST_FOREACH_SAFE (machine, &core->drains, drain, following) {
		if (core->now_ms < look_due_ms(machine))
			continue;
		look_at(core, machine);
		any = true;
	}
	return any;
}

uint64_t drains_next_deadline(const struct core *core)
{
	const struct machine *machine;
	uint64_t deadline = UINT64_MAX;

	FL_LIST_FOREACH (machine, &core->drains, drain)
		if (look_due_ms(machine) < deadline)
			deadline = look_due_ms(machine);
	return deadline;
}

uint32_t drain_units_left(const struct machine *machine)
{
	struct placement *placement;
	uint32_t n = 0;

	if (machine->scheduling.state < SCHEDULING_DRAINING)
		return 0;
	RB_FOREACH (placement, placement_tree, (struct placement_tree *)&machine->placements)
		n += placement->removed ? placement_is_held(placement) : !placement->gone;
	return n;
}

/* ---- What operators ask for -------------------------------------------------------------- */

enum fl_code machine_named(
	const struct core *core, const char *id, struct machine **ret_machine, struct fl_error *err)
{
	struct machine *machine = machine_find(core, id), *next;

	if (machine == NULL && *id != '\0') {
		machine = machine_next(core, id);
		if (machine != NULL && strncmp(machine->id, id, strlen(id)) != 0)
			machine = NULL;
		next = machine != NULL ? machine_next(core, machine->id) : NULL;
		if (next != NULL && strncmp(next->id, id, strlen(id)) == 0)
			return FL_FAIL(err, FL_E_INVALID,
				"\"%s\" could be machine %s or %s; write more of it", id,
				machine->id, next->id);
	}
	if (machine == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "there is no machine \"%s\"", id);
	*ret_machine = machine;
	return FL_OK;
}

static enum fl_code set_words(
	struct machine *machine, const char *by, const char *reason, struct fl_error *err)
{
	char *new_by = fl_strdup(by), *new_reason = fl_strdup(reason);

	if (new_by == NULL || new_reason == NULL) {
		free(new_by);
		free(new_reason);
		return FL_FAIL_NO_MEMORY(err);
	}
	free(machine->closed_by);
	free(machine->closed_reason);
	machine->closed_by = new_by;
	machine->closed_reason = new_reason;
	return FL_OK;
}

static void do_uncordon(struct core *core, struct machine *machine)
{
	if (!machine_is_closed(machine))
		return;
	scheduling_move(core, machine, SCHEDULING_OPEN, "machine.uncordoned");
	settle_globals(core, machine);
	settle_help(core, machine, true);
}

static void close_to(
	struct core *core, struct machine *machine, enum scheduling_state to, const char *event)
{
	if (!machine_is_closed(machine)) {
		machine->closed_revision = core_next_revision(core);
		settle_globals(core, machine);
	}
	scheduling_move(core, machine, to, event);
}

static void do_drain(
	struct core *core, struct machine *machine, const struct core_machine_change *change)
{
	struct placement *placement;
	uint32_t parallel = change->parallel != 0 ? change->parallel : PARALLEL_DEFAULT;

	machine->drain_parallel = parallel < PARALLEL_MAX ? parallel : PARALLEL_MAX;
	machine->drain_deadline_ms =
		change->deadline_ms != 0 ? core->now_ms + change->deadline_ms : UINT64_MAX;
	machine->drain_wall_ms =
		change->deadline_ms != 0 ? machine->drain_deadline_ms + core->wall_offset_ms : 0;
	RB_FOREACH (placement, placement_tree, &machine->placements)
		placement->unit->try_ms = 0;
	drain_look_soon(machine);
	if (machine->scheduling.state < SCHEDULING_DRAINING)
		close_to(core, machine, SCHEDULING_DRAINING, "machine.draining");
	else
		mark_machine_write(core, machine);
}

enum fl_code core_do_machine(
	struct core *core, const struct core_machine_change *change, struct fl_error *err)
{
	struct machine *machine;

	if (change->verb < PB__MACHINE_CHANGE_REQUEST__VERB__CORDON ||
		change->verb > PB__MACHINE_CHANGE_REQUEST__VERB__ADOPT)
		return FL_FAIL(err, FL_E_INVALID,
			"%d is not a change that can be made to a machine", (int)change->verb);
	if (change->deadline_ms > CORE_DRAIN_DEADLINE_MS_MAX)
		return FL_FAIL(err, FL_E_INVALID, "a drain's deadline is at most %u days away",
			(unsigned)(CORE_DRAIN_DEADLINE_MS_MAX / 86400000));
	if (change->verb > PB__MACHINE_CHANGE_REQUEST__VERB__DRAIN)
		return member_change(core, change, err);
	FL_TRY(machine_named(core, change->machine_id, &machine, err));
	if (change->verb == PB__MACHINE_CHANGE_REQUEST__VERB__UNCORDON) {
		do_uncordon(core, machine);
		return FL_OK;
	}
	FL_TRY(set_words(machine, change->by, change->reason, err));
	if (change->verb == PB__MACHINE_CHANGE_REQUEST__VERB__DRAIN)
		do_drain(core, machine, change);
	else if (!machine_is_closed(machine))
		close_to(core, machine, SCHEDULING_CORDONED, "machine.cordoned");
	else
		mark_machine_write(core, machine);
	return FL_OK;
}

enum fl_code core_machine_find(
	const struct core *core, const char *id, const char **ret_id, struct fl_error *err)
{
	struct machine *machine;

	FL_TRY(machine_named(core, id, &machine, err));
	*ret_id = machine->id;
	return FL_OK;
}

/* ---- The store --------------------------------------------------------------------------- */

void machine_scheduling_pack(const struct machine *machine, Pb__MachineRecord *record)
{
	if (!machine_is_closed(machine))
		return;
	record->scheduling = (Pb__Machine__Scheduling)machine->scheduling.state;
	record->closed_by = machine->closed_by;
	record->closed_reason = machine->closed_reason;
	record->closed_revision = machine->closed_revision;
	record->drain_parallel = machine->drain_parallel;
	record->drain_deadline_ms = machine->drain_wall_ms;
}

enum fl_code machine_scheduling_load(struct core *core, struct machine *machine,
	const Pb__MachineRecord *record, struct fl_error *err)
{
	uint64_t wall_ms = record->drain_deadline_ms;

	if (record->scheduling == PB__MACHINE__SCHEDULING__OPEN)
		return FL_OK;
	if (record->scheduling < 0 || record->scheduling > PB__MACHINE__SCHEDULING__DRAINED)
		return FL_FAIL(err, FL_E_INVALID, "machine %s has a state %d", machine->id,
			(int)record->scheduling);
	FL_TRY(set_words(machine, record->closed_by, record->closed_reason, err));
	machine->closed_revision = record->closed_revision;
	machine->drain_parallel = record->drain_parallel;
	machine->drain_wall_ms = wall_ms;
	/* What is over was before this core's time began. */
	if (wall_ms != 0)
		machine->drain_deadline_ms =
			wall_ms > core->wall_offset_ms ? wall_ms - core->wall_offset_ms : 0;
	if (record->scheduling == PB__MACHINE__SCHEDULING__CORDONED) {
		fl_fsm_move(&machine->scheduling, SCHEDULING_CORDONED, "stored");
		return FL_OK;
	}
	fl_fsm_move(&machine->scheduling, SCHEDULING_DRAINING, "stored");
	if (record->scheduling == PB__MACHINE__SCHEDULING__DRAINED)
		fl_fsm_move(&machine->scheduling, SCHEDULING_DRAINED, "stored");
	else
		fl_list_append(&core->drains, &machine->drain);
	return FL_OK;
}

void machine_scheduling_fini(struct machine *machine)
{
	fl_list_remove(&machine->drain);
	free(machine->closed_by);
	free(machine->closed_reason);
}
