/*
 * What people ask for. A change is first prepared, with all that can fail (a name, a file, memory),
 * then done, which cannot; so a change that is refused has changed nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/core/internal.h"
#include "proto/wire.h"

struct plan {
	struct core *core;
	const struct core_change *request;
	const Pb__Change *change;
	struct unit *unit; /* NULL: there is none yet */
	struct unit_body body; /* of the unit to be made, or to be given to the one there is */
	bool has_body;
	struct fl_strv warnings;
};

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

/* Gives the plan a unit: without a file yet, and so not to be seen before the next step. */
static enum fl_code make_unit(struct plan *plan, struct fl_error *err)
{
	const char *tenant = plan->request->tenant != NULL ? plan->request->tenant : "default";
	struct unit *unit;

	FL_TRY(unit_add(plan->core, plan->change->name, tenant, &unit, err));
	/* One destroyed a moment ago and made again is another unit: an agent that has not let go
	 * of the old one must start it again. */
	unit->start_generation = unit->restart_generation =
		fl_list_empty(&unit->placements) ? 0 : core_next_revision(plan->core);
	plan->unit = unit;
	return FL_OK;
}

/* ---- Doing ------------------------------------------------------------------------------- */

/* Somebody asked for this: a placement that has carried out a revision from here on has done it. */
static void asked(struct plan *plan)
{
	struct unit *unit = plan->unit;

	unit->change_revision = core_next_revision(plan->core);
	unit->change_received_us = plan->request->received_us;
	mark_unit_write(plan->core, unit);
	mark_unit_changed(plan->core, unit);
}

/* To those who follow what happens; @what is nullable. */
static void tell(const struct plan *plan, const char *kind, const char *what)
{
	const char *by = plan->request->by;

	event_addf(plan->core, kind, plan->unit, NULL, "%s%s%s%s", what != NULL ? what : "",
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

static void do_body(struct plan *plan, bool is_new)
{
	struct core *core = plan->core;
	struct unit *unit = plan->unit;
	bool was_global = unit->body.rules.global;
	bool changes_kind;
	bool same = !is_new && strcmp(unit->body.hash, plan->body.hash) == 0 &&
		    unit->body.lenient == plan->body.lenient;

	if (!plan->has_body)
		return;
	if (is_new || same) {
		unit_body_set(core, unit, &plan->body);
		mark_unit_write(core, unit);
		mark_unit_changed(core, unit);
		if (is_new) {
			asked(plan);
			tell(plan, "unit.submitted", NULL);
		}
		return;
	}
	asked(plan);
	tell(plan, "unit.changed", NULL);
	changes_kind = unit_is_active(unit) && was_global != plan->body.rules.global;
	if (changes_kind) {
		settle_unplace(core, unit, "it became, or is no longer, a global unit");
		settle_deactivate(core, unit);
	}
	if (unit->placed != NULL &&
		claims_grow(&unit->body.rules.claims, &plan->body.rules.claims))
		unit->recheck_claims = true;
	unit_body_set(core, unit, &plan->body);
	if (!unit_is_active(unit))
		return;
	touch_placements(core, unit);
	recheck_around(core, unit);
	if (unit->placed != NULL)
		settle_recheck(core, unit);
	else if (changes_kind || !unit->body.rules.global)
		settle_activate(core, unit);
	settle_globals(core, NULL);
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

static void do_set(struct plan *plan)
{
	struct core *core = plan->core;
	struct unit *unit = plan->unit;
	Pb__DesiredState before = unit->desired, desired = plan->change->desired;

	if (before == desired) {
		if (desired == PB__DESIRED_STATE__LAUNCHED && needs_start(unit)) {
			asked(plan);
			tell(plan, "unit.desired", "launched again");
			unit->start_generation = unit->change_revision;
			touch_placements(core, unit);
		}
		return;
	}
	asked(plan);
	tell(plan, "unit.desired", desired_name(desired));
	if (desired == PB__DESIRED_STATE__INACTIVE) {
		settle_unplace(core, unit, NULL);
		settle_deactivate(core, unit);
		unit->desired = desired;
		return;
	}
	unit->desired = desired;
	if (before == PB__DESIRED_STATE__INACTIVE)
		settle_activate(core, unit);
	else
		touch_placements(core, unit);
}

static void do_destroy(struct plan *plan)
{
	struct core *core = plan->core;
	struct unit *unit = plan->unit;

	settle_unplace(core, unit, NULL);
	settle_deactivate(core, unit);
	mark_unit_write(core, unit);
	mark_unit_changed(core, unit);
	tell(plan, "unit.destroyed", NULL);
	unit_forget(core, unit);
	unit_wake_followers(core, unit);
	plan->unit = NULL;
}

/* ---- Verbs ------------------------------------------------------------------------------- */

static enum fl_code submit(struct plan *plan, struct fl_error *err)
{
	bool is_new = plan->unit == NULL;

	FL_TRY(prepare_content(plan, err));
	if (is_new)
		FL_TRY(make_unit(plan, err));
	do_body(plan, is_new);
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
	if (change->desired != PB__DESIRED_STATE__INACTIVE && unit_name_is_template(change->name))
		return FL_FAIL(err, FL_E_INVALID, "cannot activate template \"%s\"", change->name);
	if (is_new && change->desired == PB__DESIRED_STATE__INACTIVE && change->content.len == 0)
		return FL_FAIL(err, FL_E_NOT_FOUND, "Unit(%s) not found in registry", change->name);
	FL_TRY(prepare_content(plan, err));
	if (is_new)
		FL_TRY(make_unit(plan, err));
	do_body(plan, is_new);
	do_set(plan);
	return FL_OK;
}

static enum fl_code restart(struct plan *plan, struct fl_error *err)
{
	struct unit *unit = plan->unit;

	if (unit->desired != PB__DESIRED_STATE__LAUNCHED)
		return FL_FAIL(err, FL_E_STATE,
			"Unable to restart unit %s in state %s; start it instead", unit->name,
			desired_name(unit->desired));
	asked(plan);
	tell(plan, "unit.restart", NULL);
	unit->restart_generation = unit->change_revision;
	touch_placements(plan->core, unit);
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
		do_destroy(plan);
		return FL_OK;
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

/* The change is made: where memory is short for saying more, the answer says less. */
static void fill_unit(const struct plan *plan, Pb__ChangeResult *result)
{
	const struct core *core = plan->core;
	const struct unit *unit = plan->unit;
	bool nowhere = unit_is_active(unit) && unit_placement_count(unit) == 0;

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
	unit_body_fini(core, &plan.body);
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
