/*
 * Replicas. A template with Replicas=N that is loaded or launched has the instances 1 to N: units as
 * any other, but their file and whether they are there is their template's matter. They are made
 * with it (change.c), and here where a file returns (rollout.c).
 */
#include "coordinator/core/internal.h"

uint32_t replicas_wanted(const struct unit *template)
{
	bool is_active = !template->gone && template->desired > PB__DESIRED_STATE__INACTIVE;

	return template->is_template && is_active ? template->body.rules.replicas : 0;
}

enum fl_code replica_body_read(struct core *core, const char *name, const struct unit_body *body,
	struct unit_body *ret_body, struct fl_error *err)
{
	FL_TRY(unit_body_read(core, name, body->content, body->content_len, body->lenient, true,
		NULL, ret_body, err));
	memcpy(ret_body->hash, ret_body->replica_hash, sizeof(ret_body->hash));
	return FL_OK;
}

void replica_link(struct core *core, struct unit *template, struct unit *unit)
{
	/* How a file reaches it is its template's matter from now on. */
	if (unit->rollout != NULL)
		rollout_drop(core, unit);
	unit->replica_of = template;
	fl_list_append(&template->replicas, &unit->replica);
}

void replica_unlink(struct unit *unit)
{
	fl_list_remove(&unit->replica);
	unit->replica_of = NULL;
}

void replicas_trim(struct core *core, struct unit *template, uint32_t n)
{
	struct unit *unit, *following;

	FL_LIST_FOREACH_SAFE (unit, &template->replicas, replica, following) {
		if (n > 0)
			n--;
		else
			change_destroy(core, unit);
	}
}

static enum fl_code fill_one(
	struct core *core, struct unit *template, const char *name, struct fl_error *err)
{
	struct unit *unit = unit_find(core, name);
	struct unit_body body;
	enum fl_code code;

	FL_TRY(replica_body_read(core, name, &template->body, &body, err));
	if (unit != NULL) {
		/* Somebody made it by hand meanwhile. */
		replica_link(core, template, unit);
		change_file(core, unit, &body);
		unit_body_fini(core, &body);
	} else {
		code = change_make_unit(core, name, template->tenant, &unit, err);
		if (code != FL_OK) {
			unit_body_fini(core, &body);
			return code;
		}
		unit_body_set(core, unit, &body);
		replica_link(core, template, unit);
	}
	change_asked(core, unit);
	change_desired(core, unit, template->desired);
	return FL_OK;
}

enum fl_code replicas_fill(struct core *core, struct unit *template, struct fl_error *err)
{
	uint32_t n = 0;
	struct unit *unit;

	FL_LIST_FOREACH (unit, &template->replicas, replica)
		n++;
	while (n < replicas_wanted(template)) {
		char name[UNIT_NAME_MAX + 1];

		FL_TRY(unit_name_replica(template->name, ++n, name, err));
		FL_TRY(fill_one(core, template, name, err));
	}
	return FL_OK;
}

void replicas_restore(struct core *core)
{
	struct unit *template, *unit;
	char name[UNIT_NAME_MAX + 1];

	RB_FOREACH (template, unit_tree, &core->units) {
		for (uint32_t i = 1; i <= replicas_wanted(template); i++) {
			if (unit_name_replica(template->name, i, name, NULL) != FL_OK)
				break;
			unit = unit_find(core, name);
			if (unit == NULL || !unit->stored_replica)
				break;
			replica_link(core, template, unit);
		}
	}
}
