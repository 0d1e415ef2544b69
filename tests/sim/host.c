#include "tests/sim/host.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"
#include "proto/wire.h"
#include "tests/sim/guard.h"
#include "tests/sim/lease.h"

#define POLL_MS       60000U
#define ANSWER_MS     20000U
#define PAUSE_MS      1000U
#define REST_MS       250U
#define REPORT_MIN_MS 2000U
#define STATES_MAX    7U /* few, so that there are pages */

static void ask(struct host *host);
static void send_report(struct host *host);
static void decide(struct host *host, struct agent_unit *unit);

/* ---- Maps of things that they own -------------------------------------------------------- */

static void *get_or_make(struct fl_map *map, const char *name, size_t size)
{
	void *value = fl_map_get(map, name);

	if (value != NULL)
		return value;
	value = fl_new_array(1, size);
	assert_non_null(value);
	assert_int_equal(fl_map_put(map, name, value, NULL), FL_OK);
	return value;
}

static void map_empty(struct fl_map *map)
{
	FL_MAP_FOREACH (entry, following, map)
		free(fl_map_remove(map, fl_map_key(entry)));
}

static void assignments_empty(struct fl_map *map)
{
	FL_MAP_FOREACH (entry, following, map)
		pb__assignment__free_unpacked(fl_map_remove(map, fl_map_key(entry)), NULL);
}

static void agent_unit_free(struct agent_unit *unit)
{
	if (unit != NULL && unit->assignment != NULL)
		pb__assignment__free_unpacked(unit->assignment, NULL);
	free(unit);
}

static void agent_units_empty(struct host *host)
{
	FL_MAP_FOREACH (entry, following, host->agent_units)
		agent_unit_free(fl_map_remove(host->agent_units, fl_map_key(entry)));
}

/* ---- A unit: agent/unit.c ---------------------------------------------------------------- */

static struct agent_unit *unit_add(struct host *host, const char *name)
{
	struct agent_unit *unit = get_or_make(host->agent_units, name, sizeof(*unit));
	const struct done *done = fl_map_get(host->done, name);

	snprintf(unit->name, sizeof(unit->name), "%s", name);
	if (done != NULL)
		unit->done = *done;
	return unit;
}

static void on_report_now(void *owner, void *data)
{
	struct host *host = owner;

	(void)data;
	if (host->report == REPORT_IDLE)
		send_report(host);
}

static void reportable(struct host *host, struct agent_unit *unit)
{
	if (unit->held)
		return;
	unit->reportable = true;
	world_after(host->world, &host->process, 0, on_report_now, host, NULL);
}

static void set_done(struct host *host, struct agent_unit *unit, const struct done *done)
{
	struct done *kept = get_or_make(host->done, unit->name, sizeof(*kept));

	unit->done = *done;
	*kept = *done;
}

static struct done done_of(const struct agent_unit *unit)
{
	const Pb__Assignment *a = unit->assignment;
	struct done done = {.desired = a->desired,
		.epoch = a->epoch,
		.start_generation = a->start_generation,
		.restart_generation = a->restart_generation};

	snprintf(done.hash, sizeof(done.hash), "%s", a->hash);
	return done;
}

static enum host_step plan(
	const struct host *host, const struct agent_unit *unit, const struct host_unit *there)
{
	const Pb__Assignment *a = unit->assignment;
	const struct done *done = &unit->done;
	bool running = there != NULL && there->running, restart;

	if (!unit->assigned)
		return there == NULL ? STEP_NONE : running ? STEP_STOP : STEP_REMOVE;
	if (running && a->exclusive && host->lease == HOST_LEASE_NONE)
		return STEP_STOP;
	if (there == NULL || strcmp(there->hash, a->hash) != 0)
		return running ? STEP_STOP : STEP_INSTALL;
	if (a->desired == PB__DESIRED_STATE__LOADED)
		return unit->stop_wanted && running ? STEP_STOP : STEP_NONE;
	restart = a->restart_generation > done->restart_generation;
	if (done->desired == PB__DESIRED_STATE__LAUNCHED && done->epoch == a->epoch &&
		done->start_generation >= a->start_generation && strcmp(done->hash, a->hash) == 0)
		return restart ? STEP_RESTART : STEP_NONE;
	return restart && running ? STEP_RESTART : STEP_START;
}

/* What a step does to the host. */
static void step_happens(struct host *host, const struct agent_unit *unit)
{
	struct host_unit *there;

	if (unit->step == STEP_REMOVE) {
		free(fl_map_remove(host->units, unit->name));
		return;
	}
	there = get_or_make(host->units, unit->name, sizeof(*there));
	if (unit->step == STEP_INSTALL)
		snprintf(there->hash, sizeof(there->hash), "%s", unit->working_on.hash);
	if (unit->step == STEP_INSTALL)
		there->bad = unit->working_on_bad;
	if (unit->step == STEP_RESTART || (unit->step == STEP_START && !there->running))
		there->start = ++host->n_starts;
	if (unit->step == STEP_INSTALL)
		return;
	there->failed = false;
	if (unit->step == STEP_STOP) {
		host_unit_run(host, unit->name, there, false);
		return;
	}
	if (!there->running) {
		there->exclusive = unit->assignment->exclusive;
		there->stop_ms = unit->assignment->stop_ms;
	}
	/* systemd asks for itself whether there is a lease. */
	host_unit_run(host, unit->name, there, !there->bad && (!there->exclusive || host->leased));
	there->failed = there->bad;
}

static void step_is_done(struct host *host, struct agent_unit *unit)
{
	struct done done = unit->done;

	if (unit->step == STEP_START || unit->step == STEP_RESTART) {
		if (!unit->canceled)
			set_done(host, unit, &unit->working_on);
	} else if (unit->step == STEP_STOP && done.desired == PB__DESIRED_STATE__LAUNCHED) {
		done.desired = PB__DESIRED_STATE__LOADED;
		set_done(host, unit, &done);
	}
}

static void on_backoff(void *owner, void *data)
{
	struct host *host = owner;
	struct agent_unit *unit = fl_map_get(host->agent_units, data);

	if (unit != NULL && unit->backoff) {
		unit->backoff = false;
		decide(host, unit);
	}
}

static void on_step_ended(void *owner, void *data)
{
	struct host *host = owner;
	struct agent_unit *unit = fl_map_get(host->agent_units, data);

	assert_true(unit != NULL && unit->step != STEP_NONE);
	if (host->world->chaos && world_chance(host->world, 3)) {
		world_trace(host->world, "%s: a step of %s failed", host->id, unit->name);
		unit->step = STEP_NONE;
		unit->backoff = true;
		unit->done_revision = unit->revision;
		reportable(host, unit);
		world_after(host->world, &host->process, world_between(host->world, 1000, 8000),
			on_backoff, host, fl_strdup(unit->name));
		return;
	}
	step_happens(host, unit);
	step_is_done(host, unit);
	unit->step = STEP_NONE;
	reportable(host, unit);
	decide(host, unit);
}

static void begin(struct host *host, struct agent_unit *unit, enum host_step step)
{
	static const char *const names[] = {"", "install", "start", "stop", "restart", "remove"};
	bool slow = step == STEP_START || step == STEP_STOP || step == STEP_RESTART;

	if (unit->assigned)
		unit->working_on = done_of(unit);
	if (unit->assigned)
		unit->working_on_bad =
			memmem(unit->assignment->content.data, unit->assignment->content.len,
				"/bin/bad", strlen("/bin/bad")) != NULL;
	unit->step = step;
	unit->canceled = false;
	world_trace(host->world, "%s: %s %s", host->id, names[step], unit->name);
	if (unit->assigned)
		guard_agent_acts(host->guard, host, unit);
	world_after(host->world, &host->process,
		slow ? world_between(host->world, 1, 300) : world_pick(host->world, 10),
		on_step_ended, host, fl_strdup(unit->name));
}

static void decide(struct host *host, struct agent_unit *unit)
{
	enum host_step step;

	if (unit->step != STEP_NONE || unit->held || unit->backoff)
		return;
	step = plan(host, unit, fl_map_get(host->units, unit->name));
	if ((step == STEP_START || step == STEP_RESTART) && unit->assignment->exclusive &&
		(host->lease != HOST_LEASE_OURS || host_clock_ms(host) >= host->lease_until_ms))
		return; /* it waits for a lease */
	if (step != STEP_NONE) {
		begin(host, unit, step);
		return;
	}
	unit->done_revision = unit->revision;
	if (!unit->assigned) {
		unit->gone = true;
	} else if (unit->assignment->desired == PB__DESIRED_STATE__LOADED) {
		struct done done = done_of(unit);

		unit->stop_wanted = false;
		set_done(host, unit, &done);
	}
	reportable(host, unit);
}

/* Nobody knows how it ended: it begins anew. */
static void begin_anew_without_lease(struct host *host, struct agent_unit *unit)
{
	struct done done = unit->done;

	if (unit->assignment == NULL || !unit->assignment->exclusive ||
		host->lease != HOST_LEASE_NONE)
		return;
	unit->canceled = true;
	if (!unit->assigned || done.desired != PB__DESIRED_STATE__LAUNCHED)
		return;
	done.desired = PB__DESIRED_STATE__LOADED;
	set_done(host, unit, &done);
}

void host_lease_changed(struct host *host)
{
	FL_MAP_FOREACH (entry, following, host->agent_units) {
		struct agent_unit *unit = fl_map_value(entry);

		if (unit->assignment == NULL || !unit->assignment->exclusive)
			continue;
		begin_anew_without_lease(host, unit);
		decide(host, unit);
	}
}

/* Takes @assignment over. */
static void unit_assign(struct host *host, Pb__Assignment *assignment)
{
	struct agent_unit *unit = fl_map_get(host->agent_units, assignment->name);
	bool was_assigned, newer;

	if (unit != NULL && unit->assignment != NULL &&
		assignment->epoch < unit->assignment->epoch) {
		unit->seen = true;
		pb__assignment__free_unpacked(assignment, NULL);
		return;
	}
	if (unit == NULL)
		unit = unit_add(host, assignment->name);
	was_assigned = unit->assigned;
	newer = unit->assignment == NULL || assignment->revision > unit->assignment->revision;
	if (unit->assignment != NULL)
		pb__assignment__free_unpacked(unit->assignment, NULL);
	unit->assignment = assignment;
	unit->assigned = unit->seen = true;
	unit->held = unit->gone = unit->backoff = false;
	unit->revision = assignment->revision;
	begin_anew_without_lease(host, unit);
	if (assignment->desired == PB__DESIRED_STATE__LOADED)
		unit->stop_wanted |=
			was_assigned ? newer : unit->done.desired != PB__DESIRED_STATE__LOADED;
	else
		unit->stop_wanted = false;
	decide(host, unit);
}

static void unit_unassign(struct host *host, struct agent_unit *unit, uint64_t revision)
{
	unit->assigned = unit->held = unit->backoff = false;
	unit->revision = revision;
	unit->done = (struct done){0};
	free(fl_map_remove(host->done, unit->name));
	decide(host, unit);
}

/* ---- The assignment: agent/agent.c ------------------------------------------------------- */

static void disk_swap(struct host *host)
{
	struct host_disk disk = host->disk;

	host->disk = host->disk_before;
	host->disk_before = disk;
}

static void on_saved(void *owner, void *data)
{
	struct host *host = owner;

	(void)data;
	if (host->disk_bad && world_chance(host->world, 80)) {
		world_after(host->world, &host->process, 1000, on_saved, host, NULL);
		return;
	}
	disk_swap(host);
	assignments_empty(host->disk.assignments);
	FL_MAP_FOREACH (entry, following, host->agent_units) {
		const struct agent_unit *unit = fl_map_value(entry);

		if (unit->assigned)
			assert_int_equal(fl_map_put(host->disk.assignments, unit->name,
						 message_again(&unit->assignment->base), NULL),
				FL_OK);
	}
	host->disk.whole = true;
	host->disk.revision = host->saved_revision = host->revision;
	snprintf(host->disk.store_id, sizeof(host->disk.store_id), "%s", host->store_id);
	if (host->sync == SYNC_HOLDING)
		ask(host);
}

static void apply(struct host *host, const Pb__SyncReply *reply)
{
	guard_agent_hears(host->guard, host, reply);
	snprintf(host->store_id, sizeof(host->store_id), "%s", reply->store_id);
	if (reply->reset) {
		host->in_reset = true;
		FL_MAP_FOREACH (entry, following, host->agent_units)
			((struct agent_unit *)fl_map_value(entry))->seen = false;
	}
	for (size_t i = 0; i < reply->n_assignments; i++)
		unit_assign(host, (Pb__Assignment *)message_again(&reply->assignments[i]->base));
	for (size_t i = 0; i < reply->n_removed; i++) {
		struct agent_unit *unit = fl_map_get(host->agent_units, reply->removed[i]);

		if (unit == NULL)
			unit = unit_add(host, reply->removed[i]);
		unit_unassign(host, unit, reply->revision);
	}
	host->revision = reply->revision;
	if (!host->in_reset || reply->more)
		return;
	host->in_reset = false;
	FL_MAP_FOREACH (each, next, host->agent_units) {
		struct agent_unit *unit = fl_map_value(each);

		if ((unit->assigned && !unit->seen) || unit->held)
			unit_unassign(host, unit, reply->revision);
	}
}

/* ---- Questions and reports: agent/link.c ------------------------------------------------- */

static void on_pause(void *owner, void *data)
{
	struct host *host = owner;

	(void)data;
	if (host->sync == SYNC_PAUSED)
		ask(host);
}

static void pause_sync(struct host *host)
{
	host->sync = SYNC_PAUSED;
	world_after(host->world, &host->process, world_between(host->world, PAUSE_MS, 2 * PAUSE_MS),
		on_pause, host, NULL);
}

static void on_sync_reply(void *owner, const Pb__Envelope *message)
{
	struct host *host = owner;
	const Pb__SyncReply *reply;

	if (message == NULL || message->error != NULL) {
		host->with_info = true;
		pause_sync(host);
		return;
	}
	reply = message->sync_reply;
	if (!reply->reset && reply->n_assignments == 0 && reply->n_removed == 0) {
		if (host->world->now_ms - host->asked_ms < PAUSE_MS)
			pause_sync(host);
		else
			ask(host);
		return;
	}
	apply(host, reply);
	if (!host->in_reset && host->no_lease)
		world_after(host->world, &host->process, 0, on_report_now, host, NULL);
	if (host->in_reset) {
		ask(host);
		return;
	}
	host->sync = SYNC_HOLDING;
	world_after(host->world, &host->process,
		world_between(host->world, 0, host->disk_delay_max_ms), on_saved, host, NULL);
}

static void ask(struct host *host)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__SyncRequest request = PB__SYNC_REQUEST__INIT;
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	Pb__Metadata pairs[2], *pointers[2] = {&pairs[0], &pairs[1]};
	Pb__Capacity capacity = PB__CAPACITY__INIT;
	char boot_id[24], *capabilities[] = {(char *)CAPABILITY_EXCLUSIVE};

	host->sync = SYNC_ASKING;
	host->asked_ms = host->world->now_ms;
	request.machine_id = host->id;
	request.session = host->session;
	request.store_id = host->store_id;
	request.revision = host->revision;
	if (host->with_info) {
		snprintf(boot_id, sizeof(boot_id), "boot-%u", host->boots);
		info.boot_id = boot_id;
		info.hostname = host->id;
		capacity.cpus = FLEET_CPUS;
		capacity.memory_bytes = FLEET_MEMORY_BYTES;
		info.capacity = &capacity;
		for (size_t i = 0; i < 2; i++) {
			pb__metadata__init(&pairs[i]);
			pairs[i].key = host->metadata[i][0];
			pairs[i].value = host->metadata[i][1];
		}
		info.n_capabilities = host->fenced;
		info.capabilities = capabilities;
		info.n_metadata = 2;
		info.metadata = pointers;
		request.info = &info;
	}
	host->with_info = false;
	envelope.body_case = PB__ENVELOPE__BODY_SYNC_REQUEST;
	envelope.sync_request = &request;
	link_call(&host->link, &envelope, POLL_MS + ANSWER_MS, on_sync_reply, host);
}

static void on_beat(void *owner, void *data)
{
	struct host *host = owner;

	if (*(const uint64_t *)data == host->beat && host->report != REPORT_SENDING)
		send_report(host);
}

static void beat_after(struct host *host, uint64_t ms)
{
	uint64_t *beat = FL_NEW(uint64_t);

	assert_non_null(beat);
	*beat = ++host->beat;
	world_after(host->world, &host->process, ms, on_beat, host, beat);
}

static bool any_reportable(const struct host *host)
{
	FL_MAP_FOREACH (entry, following, host->agent_units)
		if (((const struct agent_unit *)fl_map_value(entry))->reportable)
			return true;
	return false;
}

static void on_report_reply(void *owner, const Pb__Envelope *message)
{
	struct host *host = owner;

	if (message == NULL || message->error != NULL) {
		host->report = REPORT_RESTING;
		host->all_wanted = true;
		beat_after(host, world_between(host->world, REST_MS, 2 * REST_MS));
		return;
	}
	host->report = REPORT_IDLE;
	host->lease_ms = message->report_reply->lease_ms;
	host->no_lease = message->report_reply->exclusive_ms == 0;
	if (!host->no_lease)
		lease_granted(host, host->reported_ms + message->report_reply->exclusive_ms);
	host->all_wanted |= message->report_reply->want_all;
	if (host->all_wanted || any_reportable(host))
		send_report(host);
	else
		beat_after(host, host->lease_ms / 3);
}

static void write_state(struct host *host, const struct agent_unit *unit, Pb__UnitState *state)
{
	const struct host_unit *there = fl_map_get(host->units, unit->name);
	const Pb__Assignment *wanted = unit->assigned ? unit->assignment : NULL;

	pb__unit_state__init(state);
	state->name = (char *)unit->name;
	state->epoch = unit->assignment != NULL ? unit->assignment->epoch : 0;
	if (unit->backoff)
		state->error = (char *)"it tries again";
	state->load = (char *)(there != NULL ? "loaded" : "not-found");
	state->active = (char *)(there == NULL || (!there->running && !there->failed) ? "inactive"
				 : there->running                                     ? "active"
										      : "failed");
	state->desired = wanted != NULL ? wanted->desired : PB__DESIRED_STATE__INACTIVE;
	state->hash = (char *)(there != NULL ? there->hash : "");
	state->done_revision = unit->done_revision;
}

/* The next page of states; what is gone and told is forgotten. */
static size_t take_states(struct host *host, Pb__UnitState *states, bool *more)
{
	size_t n = 0;

	*more = false;
	FL_MAP_FOREACH (entry, following, host->agent_units) {
		struct agent_unit *unit = fl_map_value(entry);

		if (!unit->reportable)
			continue;
		if (n == STATES_MAX) {
			*more = true;
			break;
		}
		unit->reportable = false;
		write_state(host, unit, &states[n++]);
	}
	return n;
}

static void forget_gone(struct host *host)
{
	FL_MAP_FOREACH (entry, following, host->agent_units) {
		struct agent_unit *unit = fl_map_value(entry);

		if (unit->gone && !unit->reportable)
			agent_unit_free(fl_map_remove(host->agent_units, fl_map_key(entry)));
	}
}

static void send_report(struct host *host)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	Pb__UnitState states[STATES_MAX], *pointers[STATES_MAX];
	bool more;

	if (host->all_wanted) {
		/* The last report may not have arrived. */
		FL_MAP_FOREACH (entry, following, host->agent_units) {
			struct agent_unit *unit = fl_map_value(entry);

			unit->reportable = !unit->held;
		}
	} else {
		forget_gone(host);
	}
	report.machine_id = host->id;
	report.session = host->session;
	report.revision = host->saved_revision;
	report.store_id = host->store_id;
	report.acts_on = host->in_reset ? 0 : host->revision;
	report.n_states = take_states(host, states, &more);
	for (size_t i = 0; i < report.n_states; i++)
		pointers[i] = &states[i];
	report.states = pointers;
	report.all = host->all_wanted || host->in_all;
	host->page = host->all_wanted ? 0 : host->page + 1;
	report.page = report.all ? host->page : 0;
	report.number = ++host->n_reports;
	report.more = host->in_all = report.all && more;
	host->all_wanted = false;
	host->report = REPORT_SENDING;
	host->reported_ms = host_clock_ms(host);
	host->beat++;
	envelope.body_case = PB__ENVELOPE__BODY_REPORT_REQUEST;
	envelope.report_request = &report;
	link_call(&host->link, &envelope,
		host->lease_ms > REPORT_MIN_MS ? host->lease_ms : REPORT_MIN_MS, on_report_reply,
		host);
}

/* ---- Life -------------------------------------------------------------------------------- */

/* What the agent finds when it starts: first its disk, then what else of it is on the host. */
static void restore(struct host *host)
{
	host->store_id[0] = '\0';
	host->revision = host->saved_revision = 0;
	if (host->disk.whole) {
		snprintf(host->store_id, sizeof(host->store_id), "%s", host->disk.store_id);
		host->revision = host->saved_revision = host->disk.revision;
		FL_MAP_FOREACH (entry, following, host->disk.assignments) {
			const Pb__Assignment *assignment = fl_map_value(entry);

			unit_assign(host, (Pb__Assignment *)message_again(&assignment->base));
		}
	}
	FL_MAP_FOREACH (each, next, host->units) {
		struct agent_unit *unit = fl_map_get(host->agent_units, fl_map_key(each));

		if (unit != NULL)
			continue;
		unit = unit_add(host, fl_map_key(each));
		unit->held = true;
		if (host->disk.whole)
			unit_unassign(host, unit, host->revision);
	}
}

void agent_start(struct host *host)
{
	assert_false(host->agent_runs);
	host->agent_runs = true;
	host->process.life++;
	host->session = host->world->n_events + 1;
	host->in_reset = host->in_all = false;
	host->with_info = host->all_wanted = true;
	host->sync = SYNC_PAUSED;
	host->report = REPORT_IDLE;
	host->no_lease = false;
	lease_agent_start(host);
	world_trace(host->world, "%s: agent started", host->id);
	restore(host);
	ask(host);
	send_report(host);
}

void agent_kill(struct host *host)
{
	if (!host->agent_runs)
		return;
	world_trace(host->world, "%s: agent killed", host->id);
	host->agent_runs = false;
	host->process.life++;
	host->process.asleep_until_ms = 0;
	link_reset(&host->link);
	/* Its last word to systemd may have been heard. */
	FL_MAP_FOREACH (entry, following, host->agent_units) {
		const struct agent_unit *unit = fl_map_value(entry);

		if (unit->step != STEP_NONE && world_chance(host->world, 50))
			step_happens(host, unit);
	}
	agent_units_empty(host);
}

void host_die(struct host *host)
{
	if (!host->on)
		return;
	agent_kill(host);
	world_trace(host->world, "%s: power off", host->id);
	host->on = false;
	FL_MAP_FOREACH (entry, following, host->units)
		host_unit_run(host, fl_map_key(entry), fl_map_value(entry), false);
	map_empty(host->units);
	map_empty(host->done);
}

void host_boot(struct host *host)
{
	if (host->on)
		return;
	host->on = true;
	host->boots++;
	lease_boot(host);
	/* Somebody has been at it. */
	if (host->boots == 1 || world_chance(host->world, 10)) {
		snprintf(host->metadata[0][1], 8, "%u", world_pick(host->world, 3));
		snprintf(host->metadata[1][1], 8, "%u", world_pick(host->world, 2));
	}
	world_trace(host->world, "%s: power on, role=%s disk=%s", host->id, host->metadata[0][1],
		host->metadata[1][1]);
	agent_start(host);
}

void host_damage_disk(struct host *host)
{
	world_trace(host->world, "%s: its disk is damaged", host->id);
	host->was_damaged = true;
	if (world_chance(host->world, 50))
		disk_swap(host);
	else
		host->disk.whole = false;
}

void host_unit_ended(struct host *host, const char *name)
{
	struct agent_unit *known = fl_map_get(host->agent_units, name);

	if (known != NULL)
		reportable(host, known);
}

void host_unit_exits(struct host *host)
{
	uint32_t n = (uint32_t)fl_map_count(host->units);
	struct host_unit *unit;
	const char *name = NULL;

	if (n == 0)
		return;
	n = world_pick(host->world, n);
	FL_MAP_FOREACH (entry, following, host->units)
		if (n-- == 0)
			name = fl_map_key(entry);
	unit = fl_map_get(host->units, name);
	if (!unit->running)
		return;
	host_unit_run(host, name, unit, false);
	unit->failed = world_chance(host->world, 50);
	world_trace(host->world, "%s: %s ends by itself", host->id, name);
	host_unit_ended(host, name);
}

void host_open(struct host *host, struct world *world, struct network_server *server,
	struct guard *guard, unsigned number)
{
	*host = (struct host){.world = world,
		.guard = guard,
		.lease_ms = 10000,
		.disk_delay_max_ms = 20,
		.metadata = {{"role", "0"}, {"disk", "0"}}};
	host->process.clock_permille = world_between(world, 950, 1050);
	snprintf(host->id, sizeof(host->id), "machine%02u", number);
	link_open(&host->link, world, server, &host->process, host->id);
	assert_int_equal(fl_map_new(&host->units, NULL), FL_OK);
	assert_int_equal(fl_map_new(&host->done, NULL), FL_OK);
	assert_int_equal(fl_map_new(&host->disk.assignments, NULL), FL_OK);
	assert_int_equal(fl_map_new(&host->disk_before.assignments, NULL), FL_OK);
	assert_int_equal(fl_map_new(&host->agent_units, NULL), FL_OK);
}

void host_close(struct host *host)
{
	link_close(&host->link);
	agent_units_empty(host);
	assignments_empty(host->disk.assignments);
	assignments_empty(host->disk_before.assignments);
	map_empty(host->units);
	map_empty(host->done);
	fl_map_free(host->units);
	fl_map_free(host->done);
	fl_map_free(host->disk.assignments);
	fl_map_free(host->disk_before.assignments);
	fl_map_free(host->agent_units);
}
