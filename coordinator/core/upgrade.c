/*
 * Agents that are upgraded, from machine to machine.
 *
 *	BEGIN ─▶ ROLLING ──────────────────────────▶ DONE     every machine is upgraded, or was away
 *	            │ a machine failed, or somebody said STOP
 *	            └──────────────────────────────▶ STOPPED  those under way go on; no other begins
 *
 *	a machine:  WAITING ─▶ UPGRADING ─▶ UPGRADED          its agent says that it is the new one
 *	               │           └──────▶ FAILED            refused, rolled back, or silent for long
 *	               └──────────────────▶ SKIPPED           it is not up when its turn comes
 *
 * In memory alone: who begins it again goes on with the machines that are not upgraded yet. What a
 * machine was told it carries out, or undoes, by itself.
 */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"

/* To fetch it over a slow line, and to try it twice. */
#define UPGRADE_MS (15U * 60U * 1000U)

#define WIDTH_DEFAULT 1U

struct upgrade {
	Pb__Upgrade *view; /* machines by ID */
	uint64_t order;
	bool allow_downgrade;
	size_t width;
	size_t first; /* those before it are no longer WAITING */
	size_t n_under_way;
	struct {
		size_t index;
		uint64_t until_ms;
		bool told; /* its agent knows of the order */
	} under_way[CORE_UPGRADE_WIDTH_MAX];
};

void upgrade_fini(struct core *core)
{
	struct upgrade *upgrade = FL_TAKE(core->upgrade);

	if (upgrade == NULL)
		return;
	core_message_free(&upgrade->view->base);
	free(upgrade);
}

/* In place of the text before, which stays when there is no memory. */
static void set_text(char **field, const char *text)
{
	char *fresh = (char *)protobuf_c_empty_string;

	if (!message_text(&fresh, text))
		return;
	if (*field != (char *)protobuf_c_empty_string)
		free(*field);
	*field = fresh;
}

/* ---- Machines ---------------------------------------------------------------------------- */

static void end_machine(
	struct core *core, size_t slot, Pb__MachineUpgrade__State state, const char *text)
{
	struct upgrade *upgrade = core->upgrade;
	Pb__MachineUpgrade *one = upgrade->view->machines[upgrade->under_way[slot].index];

	one->state = state;
	set_text(&one->text, text);
	upgrade->under_way[slot] = upgrade->under_way[--upgrade->n_under_way];
}

static void stop_rolling(struct core *core, const char *text)
{
	struct upgrade *upgrade = core->upgrade;

	if (upgrade->view->state != PB__UPGRADE__STATE__ROLLING)
		return;
	upgrade->view->state = PB__UPGRADE__STATE__STOPPED;
	set_text(&upgrade->view->text, text);
	event_addf(core, "fleet.upgrade_stopped", NULL, NULL, "agents to %s: %s",
		upgrade->view->version, text);
}

static void fail_machine(struct core *core, size_t slot, const struct machine *machine,
	const char *kind, const char *why)
{
	char text[LIMIT_NAME * 2];
	const Pb__MachineUpgrade *one =
		core->upgrade->view->machines[core->upgrade->under_way[slot].index];

	event_addf(core, kind, NULL, machine, "%s: %s", core->upgrade->view->version, why);
	(void)snprintf(text, sizeof(text), "%.8s...: %.*s", one->machine_id,
		(int)(sizeof(text) - 16), why);
	end_machine(core, slot, PB__MACHINE_UPGRADE__STATE__FAILED, why);
	stop_rolling(core, text);
}

/* What the agent says of the order that it was given. */
void upgrade_heard(
	struct core *core, const struct machine *machine, const Pb__UpgradeResult *result)
{
	struct upgrade *upgrade = core->upgrade;
	size_t slot = 0;

	if (upgrade == NULL)
		return;
	while (slot < upgrade->n_under_way &&
		strcmp(upgrade->view->machines[upgrade->under_way[slot].index]->machine_id,
			machine->id) != 0)
		slot++;
	if (slot == upgrade->n_under_way)
		return;
	if (result == NULL || result->order != upgrade->order) {
		upgrade->under_way[slot].told = false; /* or it has forgotten */
		return;
	}
	switch (result->state) {
	case PB__UPGRADE_RESULT__STATE__UNDER_WAY:
		upgrade->under_way[slot].told = true;
		set_text(&upgrade->view->machines[upgrade->under_way[slot].index]->text,
			result->text);
		break;
	case PB__UPGRADE_RESULT__STATE__DONE:
		event_addf(core, "agent.upgraded", NULL, machine, "%s", upgrade->view->version);
		end_machine(core, slot, PB__MACHINE_UPGRADE__STATE__UPGRADED, result->text);
		break;
	case PB__UPGRADE_RESULT__STATE__REFUSED:
		fail_machine(core, slot, machine, "agent.upgrade_refused", result->text);
		break;
	case PB__UPGRADE_RESULT__STATE__ROLLED_BACK:
		fail_machine(core, slot, machine, "agent.rolled_back", result->text);
		break;
	case _PB__UPGRADE_RESULT__STATE_IS_INT_SIZE:
		break;
	}
}

/* ---- Rolling ----------------------------------------------------------------------------- */

static void give_up_late(struct core *core)
{
	struct upgrade *upgrade = core->upgrade;

	for (size_t slot = upgrade->n_under_way; slot-- > 0;) {
		const Pb__MachineUpgrade *one =
			upgrade->view->machines[upgrade->under_way[slot].index];

		if (upgrade->under_way[slot].until_ms <= core->now_ms)
			fail_machine(core, slot, machine_find(core, one->machine_id),
				"agent.upgrade_refused",
				"nothing was heard of its upgrade for too long");
	}
}

static void begin_machine(struct core *core, size_t index)
{
	struct upgrade *upgrade = core->upgrade;
	Pb__MachineUpgrade *one = upgrade->view->machines[index];
	struct machine *machine = machine_find(core, one->machine_id);

	if (machine == NULL || !machine_is_up(machine)) {
		one->state = PB__MACHINE_UPGRADE__STATE__SKIPPED;
		set_text(&one->text, "it was away");
		return;
	}
	if (strcmp(machine->info.message->agent_version, upgrade->view->version) == 0) {
		one->state = PB__MACHINE_UPGRADE__STATE__UPGRADED;
		set_text(&one->text, "it was already");
		return;
	}
	one->state = PB__MACHINE_UPGRADE__STATE__UPGRADING;
	upgrade->under_way[upgrade->n_under_way].index = index;
	upgrade->under_way[upgrade->n_under_way].until_ms = core->now_ms + UPGRADE_MS;
	upgrade->under_way[upgrade->n_under_way].told = false;
	upgrade->n_under_way++;
	event_addf(core, "agent.upgrading", NULL, machine, "from %s to %s",
		machine->info.message->agent_version, upgrade->view->version);
	mark_machine_changed(core, machine);
}

/* After each step. */
void upgrade_check(struct core *core)
{
	struct upgrade *upgrade = core->upgrade;

	if (upgrade == NULL)
		return;
	give_up_late(core);
	if (upgrade->view->state != PB__UPGRADE__STATE__ROLLING)
		return;
	while (upgrade->n_under_way < upgrade->width && upgrade->first < upgrade->view->n_machines)
		begin_machine(core, upgrade->first++);
	if (upgrade->n_under_way > 0)
		return;
	upgrade->view->state = PB__UPGRADE__STATE__DONE;
	event_addf(core, "fleet.upgraded", NULL, NULL, "agents to %s", upgrade->view->version);
}

uint64_t upgrade_next_deadline(const struct core *core)
{
	uint64_t deadline = UINT64_MAX;

	for (size_t i = 0; core->upgrade != NULL && i < core->upgrade->n_under_way; i++)
		if (core->upgrade->under_way[i].until_ms < deadline)
			deadline = core->upgrade->under_way[i].until_ms;
	return deadline;
}

/* ---- What people ask --------------------------------------------------------------------- */

static bool is_meant(const struct core *core, const Pb__UpgradeRequest *request, const char *id)
{
	const char *found;

	for (size_t i = 0; i < request->n_machines; i++)
		if (core_machine_find(core, request->machines[i], &found, NULL) == FL_OK &&
			strcmp(found, id) == 0)
			return true;
	return request->n_machines == 0;
}

static enum fl_code add_machine(
	Pb__Upgrade *view, const struct machine *machine, struct fl_error *err)
{
	Pb__MachineUpgrade *one = malloc(sizeof(*one));

	if (one == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__machine_upgrade__init(one);
	view->machines[view->n_machines++] = one;
	if (!message_text(&one->machine_id, machine->id) ||
		!message_text(&one->address, machine->info.message->address))
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

static enum fl_code fill(const struct core *core, const struct core_upgrade *asked,
	Pb__Upgrade *view, struct fl_error *err)
{
	struct machine *machine;
	const char *unused;

	/* A mistake in one stops all before anything begins. */
	for (size_t i = 0; i < asked->request->n_machines; i++)
		FL_TRY(core_machine_find(core, asked->request->machines[i], &unused, err));
	view->state = PB__UPGRADE__STATE__ROLLING;
	view->machines = fl_new_array(core->n_machines + 1, sizeof(*view->machines));
	if (view->machines == NULL || !message_text(&view->version, asked->version) ||
		!message_text(&view->by, asked->by))
		return FL_FAIL_NO_MEMORY(err);
	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		if (is_meant(core, asked->request, machine->id))
			FL_TRY(add_machine(view, machine, err));
	return FL_OK;
}

static enum fl_code begin(struct core *core, const struct core_upgrade *asked, struct fl_error *err)
{
	uint32_t width = asked->request->max_unavailable;
	struct upgrade *upgrade;
	Pb__Upgrade *view;
	enum fl_code code;

	if (width > CORE_UPGRADE_WIDTH_MAX)
		return FL_FAIL(
			err, FL_E_INVALID, "at most %u machines at a time", CORE_UPGRADE_WIDTH_MAX);
	upgrade = FL_NEW(struct upgrade);
	view = malloc(sizeof(*view));
	if (view != NULL)
		pb__upgrade__init(view);
	code = upgrade != NULL && view != NULL ? fill(core, asked, view, err)
					       : FL_FAIL_NO_MEMORY(err);
	if (code != FL_OK) {
		if (view != NULL)
			core_message_free(&view->base);
		free(upgrade);
		return code;
	}
	upgrade->view = view;
	upgrade->order = asked->order;
	upgrade->allow_downgrade = asked->request->allow_downgrade;
	upgrade->width = width > 0 ? width : WIDTH_DEFAULT;
	upgrade_fini(core);
	core->upgrade = upgrade;
	event_addf(core, "fleet.upgrading", NULL, NULL, "agents of %zu machines to %s, by %s",
		view->n_machines, view->version, asked->by);
	return FL_OK;
}

/* Whether what is asked for is under way already: then it is looked on. */
static bool is_same(const struct core *core, const struct core_upgrade *asked)
{
	const Pb__Upgrade *view = core->upgrade->view;

	if (strcmp(view->version, asked->version) != 0)
		return false;
	for (size_t i = 0; i < asked->request->n_machines; i++) {
		const char *id;
		size_t k = 0;

		if (core_machine_find(core, asked->request->machines[i], &id, NULL) != FL_OK)
			return false;
		while (k < view->n_machines && strcmp(view->machines[k]->machine_id, id) != 0)
			k++;
		if (k == view->n_machines)
			return false;
	}
	return true;
}

enum fl_code core_do_upgrade(
	struct core *core, const struct core_upgrade *asked, struct fl_error *err)
{
	const struct upgrade *upgrade = core->upgrade;
	bool is_rolling = upgrade != NULL && upgrade->view->state == PB__UPGRADE__STATE__ROLLING;
	char text[LIMIT_NAME];

	if (asked->request->verb == PB__UPGRADE_REQUEST__VERB__BEGIN) {
		if (is_rolling && is_same(core, asked))
			return FL_OK;
		if (is_rolling)
			return FL_FAIL(err, FL_E_STATE,
				"agents are being upgraded to %s; \"flotactl upgrade agents "
				"--stop\" ends that",
				upgrade->view->version);
		return begin(core, asked, err);
	}
	if (!is_rolling)
		return FL_FAIL(err, FL_E_STATE, "no agents are being upgraded");
	(void)snprintf(text, sizeof(text), "by %s", asked->by);
	stop_rolling(core, text);
	return FL_OK;
}

/* ---- Looking ----------------------------------------------------------------------------- */

enum fl_code core_upgrade_get(
	const struct core *core, Pb__Upgrade **ret_upgrade, struct fl_error *err)
{
	Pb__Upgrade *copy = NULL;

	if (core->upgrade != NULL) {
		copy = (Pb__Upgrade *)message_copy(&core->upgrade->view->base);
		if (copy == NULL)
			return FL_FAIL_NO_MEMORY(err);
	}
	*ret_upgrade = copy;
	return FL_OK;
}

bool core_upgrade_order(
	const struct core *core, const char *machine_id, Pb__UpgradeOrder *ret_order)
{
	const struct upgrade *upgrade = core->upgrade;

	for (size_t i = 0; upgrade != NULL && i < upgrade->n_under_way; i++) {
		const Pb__MachineUpgrade *one =
			upgrade->view->machines[upgrade->under_way[i].index];

		if (upgrade->under_way[i].told || strcmp(one->machine_id, machine_id) != 0)
			continue;
		pb__upgrade_order__init(ret_order);
		ret_order->order = upgrade->order;
		ret_order->version = upgrade->view->version;
		ret_order->allow_downgrade = upgrade->allow_downgrade;
		return true;
	}
	return false;
}
