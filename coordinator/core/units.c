#include <stdlib.h>

#include "base/option.h"
#include "coordinator/core/internal.h"
#include "unitfiles/verify.h"

int unit_compare(const struct unit *a, const struct unit *b)
{
	return strcmp(a->name, b->name);
}

static int leader_compare(const struct leader *a, const struct leader *b)
{
	return strcmp(a->name, b->name);
}

RB_GENERATE(unit_tree, unit, by_name, unit_compare)
RB_GENERATE(global_tree, unit, global, unit_compare)
RB_PROTOTYPE(leader_tree, leader, link, leader_compare)
RB_GENERATE(leader_tree, leader, link, leader_compare)

/* ---- Finding ----------------------------------------------------------------------------- */

static struct unit *unit_find_any(const struct core *core, const char *name)
{
	struct unit *unit = RB_ROOT(&core->units);

	while (unit != NULL) {
		int order = strcmp(name, unit->name);

		if (order == 0)
			return unit;
		unit = order < 0 ? RB_LEFT(unit, by_name) : RB_RIGHT(unit, by_name);
	}
	return NULL;
}

struct unit *unit_find(const struct core *core, const char *name)
{
	struct unit *unit = unit_find_any(core, name);

	return unit != NULL && !unit->gone ? unit : NULL;
}

struct unit *unit_next(const struct core *core, const char *after)
{
	struct unit *unit = RB_ROOT(&core->units), *next = NULL;

	while (unit != NULL) {
		if (strcmp(unit->name, after) > 0) {
			next = unit;
			unit = RB_LEFT(unit, by_name);
		} else {
			unit = RB_RIGHT(unit, by_name);
		}
	}
	while (next != NULL && next->gone)
		next = RB_NEXT(unit_tree, &core->units, next);
	return next;
}

/* ---- Leaders and followers --------------------------------------------------------------- */

static struct leader *leader_find(const struct core *core, const char *name)
{
	struct leader *leader = RB_ROOT(&core->leaders);

	while (leader != NULL) {
		int order = strcmp(name, leader->name);

		if (order == 0)
			return leader;
		leader = order < 0 ? RB_LEFT(leader, link) : RB_RIGHT(leader, link);
	}
	return NULL;
}

static struct leader *leader_ref(struct core *core, const char *name)
{
	struct leader *leader = leader_find(core, name);

	if (leader == NULL) {
		leader = FL_NEW(struct leader);
		if (leader == NULL)
			return NULL;
		leader->name = fl_strdup(name);
		if (leader->name == NULL) {
			free(leader);
			return NULL;
		}
		fl_list_init(&leader->follows);
		RB_INSERT(leader_tree, &core->leaders, leader);
	}
	leader->n_refs++;
	return leader;
}

static void leader_unref(struct core *core, struct leader *leader)
{
	if (leader == NULL || --leader->n_refs > 0)
		return;
	RB_REMOVE(leader_tree, &core->leaders, leader);
	free(leader->name);
	free(leader);
}

void unit_wake_followers(struct core *core, const struct unit *unit)
{
	struct leader *leader = leader_find(core, unit->name);
	struct follow *follow;

	/* While loading, followers have their own stored places. */
	if (leader == NULL || !core->loaded)
		return;
	FL_LIST_FOREACH (follow, &leader->follows, link) {
		if (follow->unit->placed != NULL)
			settle_recheck(core, follow->unit);
		else if (unit_is_active(follow->unit) && !follow->unit->body.rules.global)
			settle_activate(core, follow->unit);
	}
}

bool unit_has_followers(const struct core *core, const struct unit *unit)
{
	const struct leader *leader = leader_find(core, unit->name);

	return leader != NULL && !fl_list_empty(&leader->follows);
}

/* ---- Files ------------------------------------------------------------------------------- */

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/; with the zero behind each text. */
static uint64_t add_text(uint64_t hash, const char *text)
{
	do
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	while (*text++ != '\0');
	return hash;
}

static uint64_t metadata_id(const struct unit_rules *rules)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < rules->n_metadata; i++) {
		hash = add_text(hash, rules->metadata[i].key);
		for (size_t k = 0; k < rules->metadata[i].values.n; k++)
			hash = add_text(hash, rules->metadata[i].values.items[k]);
		hash = add_text(hash, "");
	}
	return hash;
}

static enum fl_code body_spread(
	struct core *core, const char *name, struct unit_body *body, struct fl_error *err)
{
	body->metadata_id = metadata_id(&body->rules);
	if (body->rules.spread == NULL || !unit_name_is_instance(name))
		return FL_OK;
	body->spread = spread_ref(core, name, body->rules.spread);
	return body->spread != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code body_follows(struct core *core, struct unit_body *body, struct fl_error *err)
{
	const struct fl_strv *names = &body->rules.machine_of;

	if (names->n == 0)
		return FL_OK;
	body->follows = fl_new_array(names->n, sizeof(*body->follows));
	if (body->follows == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < names->n; i++) {
		body->follows[i].leader = leader_ref(core, names->items[i]);
		if (body->follows[i].leader == NULL)
			return FL_FAIL_NO_MEMORY(err);
	}
	return FL_OK;
}

/* systemd.time(7), as far as times of starting go: "90", "5min 20s". 0: it has no end, or is not
 * understood. */
static uint64_t read_start_timeout(const struct unit_file *file)
{
	FL_CLEANUP_STRV struct fl_strv words = {0};
	const char *value = unit_file_value(file, "Service", "TimeoutStartSec",
		unit_file_value(file, "Service", "TimeoutSec", ""));
	uint64_t sum_ms = 0, ms;

	if (fl_strv_split(&words, value, " \t", NULL) != FL_OK)
		return 0;
	for (size_t i = 0; i < words.n; i++) {
		if (fl_parse_duration_ms(words.items[i], &ms, NULL) != FL_OK)
			return 0;
		sum_ms += ms;
	}
	return sum_ms;
}

static enum fl_code body_read(struct core *core, const char *name, bool verify,
	struct unit_report *report, struct unit_body *body, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	enum unit_flags flags = body->lenient ? UNIT_LENIENT : 0;
	/* How many there are and how they change is no matter of theirs. */
	static const char *const own_keys[] = {"Replicas", "MaxUnavailable", "MinHealthySec"};

	if (verify) {
		FL_TRY(unit_verify_read(body->content, body->content_len, name, name, flags, report,
			&file, &body->rules, err));
	} else {
		FL_TRY(unit_file_parse(body->content, body->content_len, name, report, &file, err));
		FL_TRY(unit_rules_read(file, name, flags, report, &body->rules, err));
	}
	FL_TRY(unit_file_hash(file, body->hash, err));
	if (body->rules.replicas > 0)
		FL_TRY(unit_file_hash_without(
			file, "X-Flota", own_keys, FL_COUNT(own_keys), body->replica_hash, err));
	body->start_timeout_ms = read_start_timeout(file);
	body->description = fl_strdup(unit_file_value(file, "Unit", "Description", ""));
	if (body->description == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(body_spread(core, name, body, err));
	return body_follows(core, body, err);
}

enum fl_code unit_body_read(struct core *core, const char *name, const void *content, size_t len,
	bool lenient, bool verify, struct unit_report *report, struct unit_body *ret_body,
	struct fl_error *err)
{
	struct unit_body body = {
		.content = fl_memdup0(content, len), .content_len = len, .lenient = lenient};
	enum fl_code code;

	if (body.content == NULL)
		return FL_FAIL_NO_MEMORY(err);
	code = body_read(core, name, verify, report, &body, err);
	if (code != FL_OK) {
		unit_body_fini(core, &body);
		return code;
	}
	*ret_body = body;
	return FL_OK;
}

enum fl_code unit_body_load(struct core *core, const char *name, const ProtobufCBinaryData *content,
	bool lenient, struct unit_body *ret_body, struct fl_error *err)
{
	enum fl_code code = unit_body_read(
		core, name, content->data, content->len, lenient, false, NULL, ret_body, err);

	if (code == FL_OK || code == FL_E_NO_MEMORY || lenient)
		return code;
	FL_TRY(unit_body_read(
		core, name, content->data, content->len, true, false, NULL, ret_body, err));
	ret_body->lenient = false;
	return FL_OK;
}

void unit_body_fini(struct core *core, struct unit_body *body)
{
	for (size_t i = 0; body->follows != NULL && i < body->rules.machine_of.n; i++) {
		fl_list_remove(&body->follows[i].link);
		leader_unref(core, body->follows[i].leader);
	}
	free(body->follows);
	spread_unref(core, body->spread);
	unit_rules_fini(&body->rules);
	free(body->description);
	free(body->content);
	*body = (struct unit_body){0};
}

void unit_body_swap(struct core *core, struct unit *unit, struct unit_body *body)
{
	struct unit_body old = unit->body;
	struct placement *placement;
	bool was_exclusive = unit->body.content != NULL
				     ? unit->body.rules.exclusive
				     : unit->held != NULL && unit->held_until_ms == UINT64_MAX;

	FL_LIST_FOREACH (placement, &unit->placements, of_unit)
		placement_unindex(placement);
	for (size_t i = 0; i < old.rules.machine_of.n; i++)
		fl_list_remove(&old.follows[i].link);
	unit->body = *body;
	*body = old;
	for (size_t i = 0; i < unit->body.rules.machine_of.n; i++) {
		struct follow *follow = &unit->body.follows[i];

		follow->unit = unit;
		fl_list_append(&follow->leader->follows, &follow->link);
	}
	FL_LIST_FOREACH (placement, &unit->placements, of_unit)
		placement_index(placement);
	if (core->loaded && unit->body.content != NULL)
		exclusive_file_changed(core, unit, was_exclusive);
}

void unit_body_set(struct core *core, struct unit *unit, struct unit_body *body)
{
	unit_body_swap(core, unit, body);
	unit_body_fini(core, body);
}

/* ---- Coming and going -------------------------------------------------------------------- */

enum fl_code unit_add(struct core *core, const char *name, const char *tenant,
	struct unit **ret_unit, struct fl_error *err)
{
	struct unit *unit = unit_find_any(core, name);
	char *owner = fl_strdup(tenant);

	if (owner == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (unit == NULL) {
		unit = FL_NEW(struct unit);
		if (unit != NULL)
			unit->name = fl_strdup(name);
		if (unit == NULL || unit->name == NULL || !family_join(core, unit)) {
			if (unit != NULL)
				free(unit->name);
			free(unit);
			free(owner);
			return FL_FAIL_NO_MEMORY(err);
		}
		unit->write.kind = MARK_UNIT;
		fl_list_init(&unit->placements);
		fl_list_init(&unit->replicas);
		RB_INSERT(unit_tree, &core->units, unit);
	}
	fl_list_remove(&unit->reap);
	free(unit->tenant);
	unit->tenant = owner;
	unit->gone = false;
	unit->is_template = unit_name_is_template(name);
	unit->desired = PB__DESIRED_STATE__INACTIVE;
	core->n_units++;
	*ret_unit = unit;
	return FL_OK;
}

void unit_forget(struct core *core, struct unit *unit)
{
	struct unit_body none = {0};

	rollout_drop(core, unit);
	replica_unlink(unit);
	unit_body_set(core, unit, &none);
	unit->gone = true;
	unit->desired = PB__DESIRED_STATE__INACTIVE;
	unit->epoch = 0;
	core->n_units--;
	if (fl_list_empty(&unit->placements))
		fl_list_append(&core->reap, &unit->reap);
}

void unit_reap(struct core *core)
{
	struct unit *unit, *following;

	FL_LIST_FOREACH_SAFE (unit, &core->reap, reap, following) {
		if (fl_list_linked(&unit->write.link) || fl_list_linked(&unit->changed))
			continue; /* in the effects: they are the daemon's to pop */
		RB_REMOVE(unit_tree, &core->units, unit);
		unit_free(core, unit);
	}
}

void unit_free(struct core *core, struct unit *unit)
{
	struct unit *replica, *next;

	if (unit->queue != NULL)
		RB_REMOVE(wait_tree, unit->queue, unit);
	fl_list_remove(&unit->recheck);
	fl_list_remove(&unit->held_link);
	fl_list_remove(&unit->move.link);
	fl_list_remove(&unit->reap);
	fl_list_remove(&unit->write.link);
	fl_list_remove(&unit->changed);
	replica_unlink(unit);
	FL_LIST_FOREACH_SAFE (replica, &unit->replicas, replica, next)
		replica_unlink(replica);
	rollout_drop(core, unit);
	unit_body_fini(core, &unit->body);
	family_leave(core, unit);
	free(unit->stored_machine_id);
	free(unit->stored_held_id);
	free(unit->tenant);
	free(unit->name);
	free(unit);
}

void units_free(struct core *core)
{
	struct unit *unit, *following;

	RB_FOREACH_SAFE (unit, unit_tree, &core->units, following) {
		struct placement *placement, *next;

		FL_LIST_FOREACH_SAFE (placement, &unit->placements, of_unit, next)
			placement_free(placement);
		RB_REMOVE(unit_tree, &core->units, unit);
		unit_free(core, unit);
	}
}
