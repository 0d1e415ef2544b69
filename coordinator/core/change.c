/*
 * What people ask for. A change is first prepared, with all that can fail (a name, a file, memory),
 * then done, which cannot; so a change that is refused has changed nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"

/* A replica that a template's change makes, takes in, or gives another file. */
struct replica {
	struct unit *unit; /* NULL: there is none yet */
	struct unit_body body;
	bool is_new;
};

struct plan {
	struct core *core;
	const struct core_change *request;
	const Pb__Change *change;
	struct unit *unit; /* NULL: there is none yet */
	struct unit_body body; /* of the unit to be made, or to be given to the one there is */
	bool has_body;
	struct replica *replicas; /* n_replicas of them: 1 to N, of a template that wants them */
	uint32_t n_replicas;
	bool rolls; /* the file goes to one place after the other */
	struct rollout_start start;
	struct fl_strv warnings;
};

static void plan_fini(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->n_replicas; i++)
		unit_body_fini(plan->core, &plan->replicas[i].body);
	free(plan->replicas);
	rollout_start_fini(&plan->start);
	unit_body_fini(plan->core, &plan->body);
}

static const char *desired_name(Pb__DesiredState desired)
{
	if (desired == PB__DESIRED_STATE__LAUNCHED)
		return "launched";
	return desired == PB__DESIRED_STATE__LOADED ? "loaded" : "inactive";
}

/* ---- Preparing --------------------------------------------------------------------------- */

static enum fl_code warn(struct plan *plan, struct fl_error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static enum fl_code warn(struct plan *plan, struct fl_error *err, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return fl_strv_add(&plan->warnings, text, err);
}

/* fleet's table: submit replaces what is inactive, load also what is loaded, start anything. */
static bool may_replace(const struct plan *plan)
{
	Pb__DesiredState now = plan->unit->desired;

	if (plan->change->verb != PB__CHANGE__VERB__SET)
		return now == PB__DESIRED_STATE__INACTIVE;
	switch (plan->change->desired) {
	case PB__DESIRED_STATE__LAUNCHED:
		return true;
	case PB__DESIRED_STATE__LOADED:
		return now != PB__DESIRED_STATE__LAUNCHED;
	case PB__DESIRED_STATE__INACTIVE:
	case PB__DESIRED_STATE__DESIRED_STATE_UNSPECIFIED:
	case _PB__DESIRED_STATE_IS_INT_SIZE:
		break;
	}
	return now == PB__DESIRED_STATE__INACTIVE;
}

static enum fl_code read_body(
	struct plan *plan, const void *content, size_t len, bool lenient, struct fl_error *err)
{
	UNIT_CLEANUP_REPORT struct unit_report report = {0};

	FL_TRY(unit_body_read(plan->core, plan->change->name, content, len, lenient, true, &report,
		&plan->body, err));
	plan->has_body = true;
	for (size_t i = 0; i < report.warnings.n; i++)
		FL_TRY(fl_strv_add(&plan->warnings, report.warnings.items[i], err));
	return FL_OK;
}

/* A unit that is there, and content for it. */
static enum fl_code prepare_replace(struct plan *plan, struct fl_error *err)
{
	const Pb__Change *change = plan->change;
	const struct unit_body *old = &plan->unit->body;
	bool same_bytes = old->content_len == change->content.len &&
			  memcmp(old->content, change->content.data, old->content_len) == 0;
	bool same;

	FL_TRY(read_body(plan, change->content.data, change->content.len, change->lenient, err));
	if (plan->unit->replica_of != NULL) {
		same = strcmp(plan->body.replica_hash, old->hash) == 0;
		plan->has_body = false;
		return same ? FL_OK
			    : FL_FAIL(err, FL_E_STATE,
				      "%s is a replica of %s and has its file; replace that",
				      change->name, plan->unit->replica_of->name);
	}
	same = strcmp(plan->body.hash, old->hash) == 0 &&
	       (same_bytes || plan->body.lenient == old->lenient);
	if (same && (same_bytes || !change->replace)) {
		plan->has_body = false; /* comments do not count */
		return FL_OK;
	}
	if (!change->replace) {
		plan->has_body = false;
		return warn(plan, err,
			"Unit %s in registry differs from local unit file. Add --replace to override.",
			change->name);
	}
	if (!same && !may_replace(plan)) {
		plan->has_body = false;
		return warn(plan, err,
			"can not replace Unit(%s) in state '%s', use the appropriate command",
			change->name, desired_name(plan->unit->desired));
	}
	return FL_OK;
}

/* No unit and no content: an instance is made of its template's text. */
static enum fl_code prepare_instance(struct plan *plan, struct fl_error *err)
{
	const char *name = plan->change->name;
	char template_name[UNIT_NAME_MAX + 1];
	const struct unit *template;

	if (!unit_name_is_instance(name))
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"unable to find Unit(%s) in Registry or on filesystem", name);
	FL_TRY(unit_name_template_of(name, template_name, err));
	template = unit_find(plan->core, template_name);
	if (template == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"failed getting Unit(%s) from template: unable to find template "
			"Unit(%s) in Registry or on filesystem",
			name, template_name);
	return read_body(plan, template->body.content, template->body.content_len,
		template->body.lenient, err);
}

static enum fl_code prepare_content(struct plan *plan, struct fl_error *err)
{
	const Pb__Change *change = plan->change;

	if (change->content.len == 0)
		return plan->unit != NULL ? FL_OK : prepare_instance(plan, err);
	if (change->content.len > LIMIT_UNIT_FILE)
		return FL_FAIL(err, FL_E_TOO_BIG, "unit file %s is %zu bytes, the limit is %u",
			change->name, change->content.len, LIMIT_UNIT_FILE);
	if (plan->unit != NULL)
		return prepare_replace(plan, err);
	return read_body(plan, change->content.data, change->content.len, change->lenient, err);
}

/* What a template's file and state will be. */
static const struct unit_body *body_to_be(const struct plan *plan)
{
	return plan->has_body ? &plan->body : &plan->unit->body;
}

static Pb__DesiredState desired_to_be(const struct plan *plan)
{
	if (plan->change->verb == PB__CHANGE__VERB__SET)
		return plan->change->desired;
	return plan->unit != NULL ? plan->unit->desired : PB__DESIRED_STATE__INACTIVE;
}

/* Of a template whose replicas' file stays the same: other numbers do not stop what is on its way. */
static bool keeps_rollout(const struct plan *plan)
{
	const struct unit *unit = plan->unit;

	return unit != NULL && unit->is_template &&
	       strcmp(unit->body.replica_hash, body_to_be(plan)->replica_hash) == 0;
}

static enum fl_code prepare_replica(
	struct plan *plan, uint32_t number, struct replica *replica, struct fl_error *err)
{
	const struct unit_body *body = body_to_be(plan);
	char name[UNIT_NAME_MAX + 1];
	const struct unit *unit;

	FL_TRY(unit_name_replica(plan->change->name, number, name, err));
	unit = replica->unit = unit_find(plan->core, name);
	if (unit != NULL && unit->replica_of == plan->unit && !plan->has_body)
		return FL_OK;
	FL_TRY(replica_body_read(plan->core, name, body, &replica->body, err));
	/* It was read to see that it can be; the rollout reads it again when it is there. */
	if ((plan->rolls || keeps_rollout(plan)) && unit != NULL &&
		unit->replica_of == plan->unit && strcmp(unit->body.hash, body->replica_hash) != 0)
		unit_body_fini(plan->core, &replica->body);
	return FL_OK;
}

/* The bytes that the files of all replicas of one template may have. */
#define REPLICAS_BYTES_MAX (64U << 20)

static enum fl_code prepare_replicas(struct plan *plan, struct fl_error *err)
{
	uint32_t n = body_to_be(plan)->rules.replicas;

	if (desired_to_be(plan) == PB__DESIRED_STATE__INACTIVE)
		return FL_OK;
	if (n == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"cannot activate template \"%s\": its file has no Replicas=",
			plan->change->name);
	if (body_to_be(plan)->content_len * n > REPLICAS_BYTES_MAX)
		return FL_FAIL(err, FL_E_TOO_BIG,
			"the files of %u replicas of %s would have more than %u bytes; lower "
			"Replicas=, or make the file shorter",
			(unsigned)n, plan->change->name, REPLICAS_BYTES_MAX);
	plan->replicas = fl_new_array(n, sizeof(*plan->replicas));
	if (plan->replicas == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (plan->n_replicas = 0; plan->n_replicas < n; plan->n_replicas++)
		FL_TRY(prepare_replica(
			plan, plan->n_replicas + 1, &plan->replicas[plan->n_replicas], err));
	return FL_OK;
}

static bool is_other_file(const struct plan *plan)
{
	const struct unit_body *now = &plan->unit->body;

	return strcmp(now->hash, plan->body.hash) != 0 || now->lenient != plan->body.lenient;
}

/* The units themselves: without a file yet, and so not to be seen before the next step. */
static enum fl_code make_units(struct plan *plan, struct fl_error *err)
{
	const char *tenant = plan->request->tenant != NULL ? plan->request->tenant : "default";
	enum fl_code code = FL_OK;
	char name[UNIT_NAME_MAX + 1];
	bool is_new = plan->unit == NULL;

	if (is_new)
		FL_TRY(change_make_unit(plan->core, plan->change->name, tenant, &plan->unit, err));
	for (uint32_t i = 0; i < plan->n_replicas && code == FL_OK; i++) {
		struct replica *replica = &plan->replicas[i];

		if (replica->unit != NULL)
			continue;
		code = unit_name_replica(plan->change->name, i + 1, name, err);
		if (code == FL_OK)
			code = change_make_unit(
				plan->core, name, plan->unit->tenant, &replica->unit, err);
		replica->is_new = code == FL_OK;
	}
	if (code == FL_OK)
		return FL_OK;
	for (uint32_t i = 0; i < plan->n_replicas; i++)
		if (plan->replicas[i].is_new)
			unit_forget(plan->core, plan->replicas[i].unit);
	if (is_new)
		unit_forget(plan->core, FL_TAKE(plan->unit));
	return code;
}

static enum fl_code prepare(struct plan *plan, struct fl_error *err)
{
	FL_TRY(prepare_content(plan, err));
	plan->rolls = plan->unit != NULL && plan->has_body && is_other_file(plan) &&
		      desired_to_be(plan) == PB__DESIRED_STATE__LAUNCHED &&
		      rollout_is_due(plan->unit, &plan->body);
	if (plan->rolls)
		FL_TRY(rollout_prepare(plan->unit, &plan->start, err));
	if (unit_name_is_template(plan->change->name))
		FL_TRY(prepare_replicas(plan, err));
	return make_units(plan, err);
}

/* ---- Doing ------------------------------------------------------------------------------- */

enum fl_code change_make_unit(struct core *core, const char *name, const char *tenant,
	struct unit **ret_unit, struct fl_error *err)
{
	struct unit *unit;

	FL_TRY(unit_add(core, name, tenant, &unit, err));
	/* One destroyed a moment ago and made again is another unit: an agent that has not let go
	 * of the old one must start it again. */
	unit->start_generation = unit->restart_generation =
		fl_list_empty(&unit->placements) ? 0 : core_next_revision(core);
	*ret_unit = unit;
	return FL_OK;
}

void change_asked(struct core *core, struct unit *unit)
{
	unit->change_revision = core_next_revision(core);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
}

/* A person did. */
static void asked(struct plan *plan, struct unit *unit)
{
	change_asked(plan->core, unit);
	if (unit->replaced && unit->queue != NULL)
		settle_activate(plan->core, unit); /* it may replace others again */
	unit->replaced = false;
	unit->change_received_us = plan->request->received_us;
}

/* To those who follow what happens; @what is nullable. */
static void tell(
	const struct plan *plan, const struct unit *unit, const char *kind, const char *what)
{
	const char *by = plan->request->by;

	event_addf(plan->core, kind, unit, NULL, "%s%s%s%s", what != NULL ? what : "",
		what != NULL && by != NULL ? ", " : "", by != NULL ? "by " : "",
		by != NULL ? by : "");
}

static void touch_placements(struct core *core, struct unit *unit)
{
	struct placement *placement;

	FL_LIST_FOREACH (placement, &unit->placements, of_unit)
		if (!placement->removed)
			placement_touch(core, placement);
}

/* Its new rules may keep away what is there, or let in what they kept away. */
static void recheck_around(struct core *core, struct unit *unit)
{
	struct placement *placement;

	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		if (placement->removed)
			continue;
		settle_help(core, placement->machine, false);
		/* A unit that is not global goes itself where it conflicts with another. */
		if (unit->body.rules.global && unit->body.rules.conflicts.n > 0)
			settle_recheck_machine(core, placement->machine);
	}
}

void change_file(struct core *core, struct unit *unit, struct unit_body *body)
{
	bool changes_kind = unit_is_active(unit) && unit->body.rules.global != body->rules.global;
	struct placement *placement;

	if (changes_kind) {
		settle_unplace(core, unit, "it became, or is no longer, a global unit");
		settle_deactivate(core, unit);
	}
	if (unit->placed != NULL && claims_grow(&unit->body.rules.claims, &body->rules.claims))
		unit->recheck_claims = true;
	unit_body_swap(core, unit, body);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
	if (!unit_is_active(unit))
		return;
	FL_LIST_FOREACH (placement, &unit->placements, of_unit)
		if (!placement->removed && placement->old == NULL)
			placement_touch(core, placement);
	recheck_around(core, unit);
	if (unit->placed != NULL)
		settle_recheck(core, unit);
	else if (changes_kind || !unit->body.rules.global)
		settle_activate(core, unit);
	settle_globals(core, NULL);
}

/* Another file which means the same: its comments are others, or what is no matter of replicas. */
static void same_file(struct core *core, struct unit *unit, struct unit_body *body)
{
	unit_body_set(core, unit, body);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
}

static void do_body(struct plan *plan, bool is_new)
{
	struct core *core = plan->core;
	struct unit *unit = plan->unit;

	if (!plan->has_body)
		return;
	if (is_new || !is_other_file(plan)) {
		same_file(core, unit, &plan->body);
		if (is_new) {
			asked(plan, unit);
			tell(plan, unit, "unit.submitted", NULL);
		}
		return;
	}
	asked(plan, unit);
	tell(plan, unit, "unit.changed", NULL);
	if (plan->rolls) {
		rollout_begin(core, unit, &plan->start, &plan->body);
	} else {
		if (!keeps_rollout(plan))
			rollout_drop(core, unit);
		change_file(core, unit, &plan->body);
	}
}

/* A launched unit whose process has ended, with nothing under way that would start it. */
static bool needs_start(const struct unit *unit)
{
	const struct placement *placement;

	FL_LIST_FOREACH (placement, &unit->placements, of_unit) {
		const struct placement_state *state = &placement->state;

		if (!placement->removed && state->known &&
			state->done_revision >= placement->revision &&
			(strcmp(state->active, "failed") == 0 ||
				strcmp(state->active, "inactive") == 0))
			return true;
	}
	return false;
}

void change_desired(struct core *core, struct unit *unit, Pb__DesiredState desired)
{
	Pb__DesiredState before = unit->desired;

	if (desired == PB__DESIRED_STATE__INACTIVE) {
		settle_unplace(core, unit, NULL);
		settle_deactivate(core, unit);
		unit->desired = desired;
		return;
	}
	unit->desired = desired;
	if (unit->is_template)
		return;
	if (before == PB__DESIRED_STATE__INACTIVE)
		settle_activate(core, unit);
	else
		touch_placements(core, unit);
}

static void do_set(struct plan *plan, struct unit *unit)
{
	Pb__DesiredState desired = plan->change->desired;

	if (unit->desired == desired) {
		/* What rolls is started with its new file. */
		if (desired == PB__DESIRED_STATE__LAUNCHED && !plan->rolls && needs_start(unit)) {
			asked(plan, unit);
			tell(plan, unit, "unit.desired", "launched again");
			unit->start_generation = unit->change_revision;
			touch_placements(plan->core, unit);
		}
		return;
	}
	asked(plan, unit);
	tell(plan, unit, "unit.desired", desired_name(desired));
	change_desired(plan->core, unit, desired);
}

static void do_restart(struct plan *plan, struct unit *unit)
{
	asked(plan, unit);
	tell(plan, unit, "unit.restart", NULL);
	unit->restart_generation = unit->change_revision;
	touch_placements(plan->core, unit);
}

void change_destroy(struct core *core, struct unit *unit)
{
	settle_unplace(core, unit, NULL);
	settle_deactivate(core, unit);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
	unit_forget(core, unit);
	unit_wake_followers(core, unit);
}

/* ---- Replicas ---------------------------------------------------------------------------- */

static void do_replica(struct plan *plan, struct replica *replica)
{
	struct core *core = plan->core;
	struct unit *unit = replica->unit;
	bool was_there = unit->replica_of == plan->unit;
	bool has_body = replica->body.content != NULL;

	if (!was_there)
		replica_link(core, plan->unit, unit);
	if (replica->is_new) {
		unit_body_set(core, unit, &replica->body);
		asked(plan, unit);
		tell(plan, unit, "unit.submitted", NULL);
	} else if (has_body && strcmp(unit->body.hash, replica->body.hash) == 0) {
		same_file(core, unit, &replica->body);
	} else if (has_body) {
		asked(plan, unit);
		tell(plan, unit, "unit.changed", NULL);
		change_file(core, unit, &replica->body);
	}
	if (plan->change->verb == PB__CHANGE__VERB__SET)
		do_set(plan, unit);
}

/* What a change of a template means for its replicas. */
static void do_replicas(struct plan *plan)
{
	if (!plan->unit->is_template)
		return;
	replicas_trim(plan->core, plan->unit, plan->n_replicas);
	for (uint32_t i = 0; i < plan->n_replicas; i++)
		do_replica(plan, &plan->replicas[i]);
}

/* ---- Verbs ------------------------------------------------------------------------------- */

static enum fl_code submit(struct plan *plan, struct fl_error *err)
{
	bool is_new = plan->unit == NULL;

	FL_TRY(prepare(plan, err));
	do_body(plan, is_new);
	do_replicas(plan);
	return FL_OK;
}

static enum fl_code set(struct plan *plan, struct fl_error *err)
{
	const Pb__Change *change = plan->change;
	bool is_new = plan->unit == NULL;

	if (change->desired < PB__DESIRED_STATE__INACTIVE ||
		change->desired > PB__DESIRED_STATE__LAUNCHED)
		return FL_FAIL(err, FL_E_INVALID, "%d is not a desired state of a unit",
			(int)change->desired);
	if (is_new && change->desired == PB__DESIRED_STATE__INACTIVE && change->content.len == 0)
		return FL_FAIL(err, FL_E_NOT_FOUND, "Unit(%s) not found in registry", change->name);
	FL_TRY(prepare(plan, err));
	do_body(plan, is_new);
	do_set(plan, plan->unit);
	do_replicas(plan);
	return FL_OK;
}

static enum fl_code restart(struct plan *plan, struct fl_error *err)
{
	struct unit *unit = plan->unit, *replica;

	if (unit->desired != PB__DESIRED_STATE__LAUNCHED)
		return FL_FAIL(err, FL_E_STATE,
			"Unable to restart unit %s in state %s; start it instead", unit->name,
			desired_name(unit->desired));
	do_restart(plan, unit);
	FL_LIST_FOREACH (replica, &unit->replicas, replica)
		if (replica->desired == PB__DESIRED_STATE__LAUNCHED)
			do_restart(plan, replica);
	return FL_OK;
}

static enum fl_code destroy(struct plan *plan, struct fl_error *err)
{
	struct unit *unit = plan->unit;

	if (unit->replica_of != NULL)
		return FL_FAIL(err, FL_E_STATE,
			"%s is a replica of %s; lower its Replicas=, or destroy that", unit->name,
			unit->replica_of->name);
	replicas_trim(plan->core, unit, 0);
	tell(plan, unit, "unit.destroyed", NULL);
	change_destroy(plan->core, unit);
	plan->unit = NULL;
	return FL_OK;
}

static enum fl_code dispatch(struct plan *plan, struct fl_error *err)
{
	FL_TRY(unit_name_check(plan->change->name, err));
	plan->unit = unit_find(plan->core, plan->change->name);
	switch (plan->change->verb) {
	case PB__CHANGE__VERB__SUBMIT:
		return submit(plan, err);
	case PB__CHANGE__VERB__SET:
		return set(plan, err);
	case PB__CHANGE__VERB__RESTART:
	case PB__CHANGE__VERB__DESTROY:
		if (plan->unit == NULL)
			return FL_FAIL(err, FL_E_NOT_FOUND, "Unit(%s) not found in registry",
				plan->change->name);
		if (plan->change->verb == PB__CHANGE__VERB__RESTART)
			return restart(plan, err);
		return destroy(plan, err);
	case PB__CHANGE__VERB__VERB_UNSPECIFIED:
	case _PB__CHANGE__VERB_IS_INT_SIZE:
		break;
	}
	return FL_FAIL(err, FL_E_INVALID, "%d is not a change that can be made to a unit",
		(int)plan->change->verb);
}

/* ---- The answer -------------------------------------------------------------------------- */

static bool fill_error(Pb__ChangeResult *result, const struct fl_error *err)
{
	result->error = malloc(sizeof(*result->error));
	if (result->error == NULL)
		return false;
	pb__error__init(result->error);
	result->error->code = fl_code_to_wire(err->code);
	return message_text(&result->error->text, fl_error_text(err));
}

/* Soon after a start: a machine that may be heard of any moment could take it. */
static bool may_be_taken_soon(const struct core *core, const struct unit *unit)
{
	struct machine *machine;

	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines)
		if (machine->fsm.state == MACHINE_UNKNOWN && !machine_is_closed(machine) &&
			place_check_stay(unit, machine, NULL) == REFUSAL_NONE)
			return true;
	return false;
}

/* The change is made: where memory is short for saying more, the answer says less. */
static void fill_unit(const struct plan *plan, Pb__ChangeResult *result)
{
	const struct core *core = plan->core;
	const struct unit *unit = plan->unit;
	bool nowhere = unit_is_active(unit) && unit_placement_count(unit) == 0 &&
		       unit->held == NULL && !may_be_taken_soon(core, unit);

	if (unit_message(core, unit, false, core->now_ms, &result->unit, NULL) != FL_OK)
		return;
	if (nowhere && why_refusals(core, unit, core->now_ms, plan->request->max_refusals, true,
			       &result->refusals, &result->n_refusals, NULL) != FL_OK)
		result->n_refusals = 0;
}

enum fl_code core_do_change(struct core *core, const struct core_change *request,
	struct core_answer *ret_answer, struct fl_error *err)
{
	struct plan plan = {.core = core, .request = request, .change = request->change};
	struct fl_error own = {0};
	Pb__ChangeResult *result = malloc(sizeof(*result));
	enum fl_code code;

	if (result == NULL)
		return FL_FAIL_NO_MEMORY(err);
	pb__change_result__init(result);
	code = dispatch(&plan, &own);
	plan_fini(&plan);
	if (code == FL_E_NO_MEMORY || (code != FL_OK && !fill_error(result, &own))) {
		fl_strv_fini(&plan.warnings);
		core_message_free(&result->base);
		return FL_FAIL_NO_MEMORY(err);
	}
	settle(core);
	result->warnings = plan.warnings.items;
	result->n_warnings = plan.warnings.n;
	if (code == FL_OK && plan.unit != NULL)
		fill_unit(&plan, result);
	ret_answer->result = result;
	return FL_OK;
}
