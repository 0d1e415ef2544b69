/* Reasons, for people. Every one comes from place_check(): what the scheduler asked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"

/* A listing of many waiting units must not ask every machine for each. */
#define TALLY_MACHINES_MAX 256U

#define TALLY_GROUPS_MAX 16U
#define TALLY_SAY_MAX    3U

/* ---- In one sentence --------------------------------------------------------------------- */

static void why_on_lost(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text)
{
	const struct machine *machine = unit->placed->machine;
	const struct unit_rules *rules = &unit->body.rules;

	fl_buf_printf(text,
		"its machine %.8s is lost, not heard of for %" PRIu64 " s: ", machine->id,
		(now_ms - machine->last_heard_ms) / 1000);
	if (rules->machine_id != NULL)
		fl_buf_printf(text, "it waits for it (MachineID=%s)", rules->machine_id);
	else if (rules->on_machine_loss == UNIT_LOSS_WAIT)
		fl_buf_text(text, "it waits for it (OnMachineLoss=wait)");
	else if (rules->machine_of.n > 0)
		fl_buf_printf(
			text, "it stays with unit %s (MachineOf=)", rules->machine_of.items[0]);
	else if (fl_list_linked(&machine->suspect))
		fl_buf_printf(text,
			"%zu of %zu machines look lost, so the fault is taken to be the "
			"coordinator's own and nothing moves",
			core->n_look_lost, core->n_in_question);
	else
		fl_buf_text(text, "it is about to be moved");
}

/* Machines that refuse in the same words. */
struct tally {
	struct {
		struct fl_buf words;
		size_t n;
	} groups[TALLY_GROUPS_MAX];
	size_t n_groups;
	size_t n_others;
};

static void tally_add(struct tally *tally, const char *words)
{
	size_t i = 0;

	while (i < tally->n_groups && strcmp(fl_buf_str(&tally->groups[i].words), words) != 0)
		i++;
	if (i == TALLY_GROUPS_MAX) {
		tally->n_others++;
		return;
	}
	if (i == tally->n_groups) {
		fl_buf_text(&tally->groups[i].words, words);
		tally->n_groups++;
	}
	tally->groups[i].n++;
}

/* The largest groups, and frees all. */
static void tally_say(struct tally *tally, const struct unit *unit, struct fl_buf *text)
{
	const char *before = ": ";

	for (size_t said = 0; said < TALLY_SAY_MAX && said < tally->n_groups; said++) {
		size_t most = 0;

		for (size_t i = 1; i < tally->n_groups; i++)
			if (tally->groups[i].n > tally->groups[most].n)
				most = i;
		fl_buf_printf(text, "%s%zu × %s", before, tally->groups[most].n,
			fl_buf_str(&tally->groups[most].words));
		tally->groups[most].n = 0;
		before = ", ";
	}
	for (size_t i = 0; i < tally->n_groups; i++) {
		tally->n_others += tally->groups[i].n;
		text->failed |= !fl_buf_ok(&tally->groups[i].words);
		fl_buf_fini(&tally->groups[i].words);
	}
	if (tally->n_others > 0)
		fl_buf_printf(text, "%s%zu × otherwise (flotactl why %s)", before, tally->n_others,
			unit->name);
}

/* How many machines refuse, and in which words. */
void why_nowhere(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text)
{
	struct tally tally = {0};
	size_t n = 0;
	const struct machine *machine = machine_next(core, "");

	if (unit->held != NULL) {
		fl_buf_printf(text, "it has left machine %.8s, which has not let go of it yet",
			unit->held->machine->id);
		exclusive_why(core, unit, now_ms, text);
		return;
	}
	if (machine == NULL) {
		fl_buf_text(text, "there is no machine in the fleet yet");
		return;
	}
	if ((unit->refused_for & 1U << REFUSAL_MEMORY) != 0) {
		fl_buf_text(text, "the coordinator is short of memory; it tries again");
		return;
	}
	for (; machine != NULL && n < TALLY_MACHINES_MAX; n++) {
		FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;

		if (place_check(unit, machine, now_ms, &why) != REFUSAL_NONE)
			tally_add(&tally, fl_buf_str(&why));
		text->failed |= !fl_buf_ok(&why);
		machine = machine_next(core, machine->id);
	}
	fl_buf_printf(text, "none of %zu machines can take it", core->n_machines);
	if (machine != NULL)
		fl_buf_printf(text, "; of the first %zu", n);
	tally_say(&tally, unit, text);
}

void why_waiting(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text)
{
	if (!unit_is_active(unit))
		return;
	if (unit_placement_count(unit) == 0)
		why_nowhere(core, unit, now_ms, text);
	else if (unit->placed != NULL && unit->placed->machine->fsm.state == MACHINE_LOST)
		why_on_lost(core, unit, now_ms, text);
	else if (unit->placed != NULL && placement_is_parked(unit->placed))
		placement_leaving_text(core, unit->placed, now_ms, text);
}

/* ---- Machine by machine ------------------------------------------------------------------ */

static enum fl_code refusal_message(const char *machine_id, const char *address, const char *reason,
	Pb__Refusal **ret_refusal, struct fl_error *err)
{
	Pb__Refusal *message = malloc(sizeof(*message));

	if (message == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__refusal__init(message);
	if (!message_text(&message->machine_id, machine_id) ||
		!message_text(&message->address, address) ||
		!message_text(&message->reason, reason)) {
		core_message_free(&message->base);
		return FL_FAIL_NO_MEMORY(err);
	}
	*ret_refusal = message;
	return FL_OK;
}

static enum fl_code refusal_of(const struct unit *unit, const struct machine *machine,
	uint64_t now_ms, bool refused_only, Pb__Refusal **ret_refusal, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf why = FL_BUF_INIT;
	const struct placement *there = placement_find(machine, unit->name);
	enum refusal refusal = REFUSAL_NONE;

	/* Where it is it fits, or is about to leave. */
	if (there == NULL || there->removed)
		refusal = place_check(unit, machine, now_ms, &why);
	if (!fl_buf_ok(&why))
		return FL_FAIL_NO_MEMORY(err);
	*ret_refusal = NULL;
	if (refused_only && refusal == REFUSAL_NONE)
		return FL_OK;
	return refusal_message(
		machine->id, machine->info.message->address, fl_buf_str(&why), ret_refusal, err);
}

static enum fl_code fill_refusals(const struct core *core, const struct unit *unit, uint64_t now_ms,
	size_t max, bool refused_only, Pb__Refusal **refusals, size_t *n, struct fl_error *err)
{
	const struct machine *machine = machine_next(core, "");
	char rest[64];
	size_t seen = 0;

	for (; machine != NULL && *n < max; seen++) {
		FL_TRY(refusal_of(unit, machine, now_ms, refused_only, &refusals[*n], err));
		*n += refusals[*n] != NULL;
		machine = machine_next(core, machine->id);
	}
	if (machine == NULL || max == 0)
		return FL_OK;
	snprintf(rest, sizeof(rest), "and %zu more machines", core->n_machines - seen);
	FL_TRY(refusal_message("", "", rest, &refusals[*n], err));
	*n += 1;
	return FL_OK;
}

enum fl_code why_refusals(const struct core *core, const struct unit *unit, uint64_t now_ms,
	size_t max, bool refused_only, Pb__Refusal ***ret_refusals, size_t *ret_n,
	struct fl_error *err)
{
	size_t room = (max < core->n_machines ? max : core->n_machines) + 1, n = 0;
	Pb__Refusal **refusals = fl_new_array(room, sizeof(*refusals));
	enum fl_code code;

	if (refusals == NULL)
		return FL_FAIL_NO_MEMORY(err);
	code = fill_refusals(core, unit, now_ms, max, refused_only, refusals, &n, err);
	if (code != FL_OK) {
		while (n > 0)
			core_message_free(&refusals[--n]->base);
		free(refusals);
		return code;
	}
	*ret_refusals = refusals;
	*ret_n = n;
	return FL_OK;
}

/* What the choice looks at when several machines could take it, as it is now. */
static void why_preferred(const struct placement *placement, struct fl_buf *text)
{
	const struct unit *unit = placement->unit, *avoided;
	const struct machine *machine = placement->machine;
	const struct unit_rules *rules = &unit->body.rules;
	const struct spread *spread = unit->body.spread;

	if (spread != NULL) {
		uint32_t siblings = spread_siblings(spread, machine);
		const char *value = spread->axis->key != NULL
					    ? machine_metadata(machine, spread->axis->key)
					    : NULL;

		if (siblings == UINT32_MAX)
			fl_buf_printf(text, "; Spread=%s: the machine has no %s", rules->spread,
				rules->spread);
		else
			fl_buf_printf(text, "; Spread=%s: %" PRIu32 " others of %s %s%s%s",
				rules->spread, siblings - 1, unit->family->template_name,
				value != NULL ? "in " : "there", value != NULL ? rules->spread : "",
				value != NULL ? "=" : "");
		if (value != NULL && siblings != UINT32_MAX)
			fl_buf_text(text, value);
	}
	for (size_t i = 0; i < rules->n_prefer_metadata; i++) {
		const char *key = rules->prefer_metadata[i].key;
		const char *value = machine_metadata(machine, key);

		fl_buf_printf(text, "; PreferMetadata=: the machine has %s%s%s",
			value != NULL ? key : "no ", value != NULL ? "=" : key,
			value != NULL ? value : "");
	}
	if (rules->prefer_conflicts.n == 0)
		return;
	avoided = place_avoided(unit, machine);
	fl_buf_printf(text, "; PreferConflicts=: %s%s", avoided != NULL ? avoided->name : "none",
		" is there");
}

static void why_placed(const struct core *core, const struct placement *placement, uint64_t now_ms,
	struct fl_buf *text)
{
	const struct machine *machine = placement->machine;

	fl_buf_printf(text, "it is on machine %.8s (%s) since revision %" PRIu64, machine->id,
		machine->info.message->address, placement->epoch);
	why_preferred(placement, text);
	if (machine->scheduling.state != SCHEDULING_DRAINING)
		return;
	fl_buf_text(text, ", which is ");
	machine_closed_text(machine, text);
	fl_buf_text(text, "; there it ");
	placement_leaving_text(core, placement, now_ms, text);
}

static void summarize(
	const struct core *core, const struct unit *unit, uint64_t now_ms, struct fl_buf *text)
{
	size_t n = unit_placement_count(unit);

	if (unit->is_template && unit->body.rules.replicas > 0)
		fl_buf_printf(text, "it is a template, and wants %" PRIu32 " replicas%s",
			unit->body.rules.replicas,
			replicas_wanted(unit) > 0 ? "" : " when it is started");
	else if (unit->is_template)
		fl_buf_text(text, "it is a template: only its instances run");
	else if (!unit_is_active(unit))
		fl_buf_text(text, "nobody asked for it to be loaded or launched: it is inactive");
	else if (n == 0)
		why_waiting(core, unit, now_ms, text);
	else if (unit->body.rules.global)
		fl_buf_printf(
			text, "it is global, and on %zu of %zu machines", n, core->n_machines);
	else if (unit->placed->machine->fsm.state == MACHINE_LOST ||
		 placement_is_parked(unit->placed))
		why_waiting(core, unit, now_ms, text);
	else
		why_placed(core, unit->placed, now_ms, text);
	rollout_why(unit, text);
}

static enum fl_code fill_why(const struct core *core, const struct unit *unit, uint64_t now_ms,
	size_t max_machines, Pb__WhyReply *reply, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf summary = FL_BUF_INIT;

	FL_TRY(unit_message(core, unit, false, now_ms, &reply->unit, err));
	summarize(core, unit, now_ms, &summary);
	if (!fl_buf_ok(&summary) || !message_text(&reply->summary, fl_buf_str(&summary)))
		return FL_FAIL_NO_MEMORY(err);
	return why_refusals(
		core, unit, now_ms, max_machines, false, &reply->machines, &reply->n_machines, err);
}

enum fl_code core_why(const struct core *core, const char *name, uint64_t now_ms,
	size_t max_machines, Pb__WhyReply **ret_reply, struct fl_error *err)
{
	const struct unit *unit = unit_find(core, name);
	Pb__WhyReply *reply;
	enum fl_code code;

	if (unit == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND, "Unit %s does not exist.", name);
	reply = malloc(sizeof(*reply));
	if (reply == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__why_reply__init(reply);
	code = fill_why(core, unit, now_ms, max_machines, reply, err);
	if (code != FL_OK) {
		core_message_free(&reply->base);
		return code;
	}
	*ret_reply = reply;
	return FL_OK;
}
