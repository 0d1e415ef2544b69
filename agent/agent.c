/*
 * A change, from the coordinator to a running unit and back:
 *
 *   link.c on_sync_reply() ─▶ on_reply() ─▶ reconcile_assign() ─▶ a driver's steps
 *                                │                                    │ states, outcomes
 *                                ▼                                    ▼
 *                           disk_save() ─▶ on_saved()          on_reportable() ─▶ flush()
 *                                             │                                     │
 *                                             ▼                                     ▼
 *                                       link_resume()                         link_report()
 *
 * flush() runs once for each turn of the loop in which something happened, before the loop sleeps:
 * first what was done goes to the runtime directory, then it is reported.
 *
 * A coordinator with another store knows nothing of this machine's units, and its answer, "all that
 * you have is this: nothing", would end every one of them. So it is refused, and the units run on,
 * until the operator says `flota-agent adopt`.
 */
#include "agent/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/calls.h"
#include "agent/disk.h"
#include "agent/exclusive.h"
#include "agent/facts.h"
#include "agent/link.h"
#include "agent/reconcile.h"
#include "agent/systemd/systemd.h"
#include "agent/trust.h"
#include "agent/upgrade.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/wire.h"

#define OPEN_RETRY_MS  30000U
#define DRIVER_WAIT_MS 3000U /* for its capabilities, before the coordinator hears of us */

struct agent {
	uv_loop_t *loop;
	const struct config *config;
	struct facts facts;
	struct fl_strv metadata_words;
	Pb__Metadata *metadata;
	size_t n_metadata;
	struct trust *trust;

	struct driver_handlers driver_handlers;
	struct driver *systemd; /* NULL: this machine cannot run its units */
	struct reconcile *reconcile;
	struct exclusive *exclusive;
	struct disk *disk;
	struct calls *calls;
	struct upgrade *upgrade;
	const struct agent_handlers *handlers;
	void *userdata;
	struct link *link; /* NULL until the driver is ready and there are credentials */
	bool ready; /* the driver is, now */
	bool opening; /* the driver is ready, or was waited for long enough */
	uv_timer_t opener; /* of link */
	uv_prepare_t flush;

	char *done_path, *adopt_path;
	char store_id[LIMIT_NAME + 1]; /* "" = none yet */
	uint64_t revision; /* known */
	uint64_t saved_revision; /* and on disk */
	bool in_reset; /* between the first page of a whole assignment and its last */
	bool refused; /* the coordinator is another one */
	bool done_changed, exclusive_changed, reportable;
	bool no_lease; /* the last report brought none */
	bool fenced; /* as the coordinator was told */

	/* What a SyncRequest and its replies borrow. */
	Pb__MachineInfo info;
	Pb__Capacity capacity;
	struct fl_strv capabilities;
	Pb__Metadata **metadata_list;

	unsigned closing;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

/* ---- What was done, and what is to be told ------------------------------------------------ */

static enum fl_code write_done(struct agent *agent, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) Pb__AgentDone *units = NULL;
	FL_CLEANUP(fl_freep) Pb__AgentDone **list = NULL;
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	Pb__AgentDoneRecord record = PB__AGENT_DONE_RECORD__INIT;
	size_t len;

	FL_TRY(reconcile_done(agent->reconcile, &units, &record.n_units, err));
	list = fl_new_array(record.n_units + 1, sizeof(*list));
	if (list == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < record.n_units; i++)
		list[i] = &units[i];
	record.units = list;
	FL_TRY(wire_pack_record(&record.base, &data, &len, err));
	return disk_write(agent->done_path, data, len, false, err);
}

static void on_flush(uv_prepare_t *prepare)
{
	struct agent *agent = FL_CONTAINER(prepare, struct agent, flush);
	struct fl_error err = {.code = FL_OK};

	(void)uv_prepare_stop(prepare);
	if (agent->exclusive_changed && agent->exclusive != NULL) {
		agent->exclusive_changed = false;
		if (exclusive_write_list(agent->exclusive, &err) != FL_OK) {
			fl_log(FL_ERROR, "lease.list", "error=%s", fl_error_text(&err));
			agent->exclusive_changed = true; /* with the next turn */
		}
	}
	if (agent->done_changed && agent->reconcile != NULL) {
		agent->done_changed = false;
		if (write_done(agent, &err) != FL_OK)
			fl_log(FL_ERROR, "agent.done", "error=%s", fl_error_text(&err));
	}
	if (agent->reportable && agent->link != NULL) {
		agent->reportable = false;
		link_report(agent->link);
	}
}

static void on_reportable(void *userdata)
{
	struct agent *agent = userdata;

	agent->reportable = true;
	(void)uv_prepare_start(&agent->flush, on_flush);
}

static void on_done(void *userdata)
{
	struct agent *agent = userdata;

	agent->done_changed = true;
	(void)uv_prepare_start(&agent->flush, on_flush);
}

static void on_exclusive(void *userdata)
{
	struct agent *agent = userdata;

	agent->exclusive_changed = true;
	(void)uv_prepare_start(&agent->flush, on_flush);
}

static bool on_leased(void *userdata)
{
	const struct agent *agent = userdata;

	return agent->exclusive != NULL && exclusive_is_leased(agent->exclusive);
}

static const struct reconcile_handlers reconcile_handlers = {
	.reportable = on_reportable,
	.done = on_done,
	.exclusive = on_exclusive,
	.leased = on_leased,
};

/* ---- The assignment and the disk ---------------------------------------------------------- */

static enum fl_code on_snapshot(uint8_t **ret_data, size_t *ret_len, uint64_t *ret_revision,
	void *userdata, struct fl_error *err)
{
	struct agent *agent = userdata;
	FL_CLEANUP(fl_freep) Pb__Assignment *assignments = NULL;
	FL_CLEANUP(fl_freep) Pb__Assignment **list = NULL;
	Pb__AgentRecord record = PB__AGENT_RECORD__INIT;

	if (agent->in_reset)
		return FL_FAIL(err, FL_E_STATE, "a part of a whole assignment is still missing");
	FL_TRY(reconcile_assignments(agent->reconcile, &assignments, &record.n_assignments, err));
	list = fl_new_array(record.n_assignments + 1, sizeof(*list));
	if (list == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < record.n_assignments; i++)
		list[i] = &assignments[i];
	record.assignments = list;
	record.store_id = agent->store_id;
	record.revision = agent->revision;
	FL_TRY(wire_pack_record(&record.base, ret_data, ret_len, err));
	*ret_revision = agent->revision;
	return FL_OK;
}

static void on_saved(uint64_t revision, void *userdata)
{
	struct agent *agent = userdata;

	agent->saved_revision = revision;
	if (agent->link != NULL && revision == agent->revision && !agent->in_reset)
		link_resume(agent->link);
}

static const struct disk_handlers disk_handlers = {
	.snapshot = on_snapshot,
	.saved = on_saved,
};

/* Whether what this coordinator says is for us. */
static bool accept_store(struct agent *agent, const char *store_id)
{
	if (agent->store_id[0] != '\0' && strcmp(agent->store_id, store_id) != 0 &&
		reconcile_count(agent->reconcile) > 0) {
		if (access(agent->adopt_path, F_OK) != 0) {
			fl_log(FL_ERROR, "agent.other_coordinator",
				"known=%s answers=%s units=%zu hint=%s", agent->store_id, store_id,
				reconcile_count(agent->reconcile),
				"this coordinator does not know this machine's units, which run on; "
				"to have them replaced by what it says run: flota-agent adopt");
			return false;
		}
		fl_log(FL_NOTICE, "agent.adopt", "from=%s to=%s", agent->store_id, store_id);
	}
	if (strcmp(agent->store_id, store_id) != 0) {
		(void)snprintf(agent->store_id, sizeof(agent->store_id), "%s", store_id);
		reconcile_forget_epochs(agent->reconcile);
	}
	(void)unlink(agent->adopt_path);
	return true;
}

/* FL_E_NO_MEMORY: not all of it; to be done again. */
static enum fl_code apply(struct agent *agent, const Pb__SyncReply *reply)
{
	struct fl_error err = {.code = FL_OK};
	enum fl_code code;

	for (size_t i = 0; i < reply->n_assignments; i++) {
		code = reconcile_assign(agent->reconcile, reply->assignments[i], &err);
		if (code == FL_E_NO_MEMORY)
			return code;
		if (code != FL_OK)
			fl_log(FL_WARNING, "agent.assignment", "unit=%s error=%s",
				reply->assignments[i]->name, fl_error_text(&err));
	}
	for (size_t i = 0; i < reply->n_removed; i++)
		reconcile_remove(agent->reconcile, reply->removed[i], reply->revision);
	return FL_OK;
}

static enum link_next on_reply(const Pb__SyncReply *reply, void *userdata)
{
	struct agent *agent = userdata;
	bool changes = reply->reset || reply->n_assignments > 0 || reply->n_removed > 0;

	agent->refused = changes && !accept_store(agent, reply->store_id);
	if (agent->refused)
		return LINK_PAUSE;
	for (size_t i = 0; i < reply->n_calls; i++)
		calls_order(agent->calls, reply->calls[i]);
	if (reply->upgrade != NULL)
		upgrade_order(agent->upgrade, reply->upgrade);
	if (!changes)
		return LINK_ASK;
	if (reply->reset) {
		fl_log(FL_INFO, "agent.reset", "revision=%" PRIu64, reply->revision);
		agent->in_reset = true;
		reconcile_reset_begin(agent->reconcile);
	}
	if (apply(agent, reply) != FL_OK) {
		fl_log(FL_ERROR, "agent.assignment", "error=%s", "out of memory");
		return LINK_PAUSE;
	}
	agent->revision = reply->revision;
	if (agent->in_reset && reply->more)
		return LINK_ASK;
	if (agent->in_reset) {
		agent->in_reset = false;
		reconcile_reset_end(agent->reconcile, reply->revision);
	}
	disk_save(agent->disk);
	/* The coordinator gives no lease to whom it has to tell something first. */
	if (agent->no_lease)
		link_report(agent->link);
	return LINK_HOLD;
}

/* ---- What the coordinator is told --------------------------------------------------------- */

static void take_capabilities(struct agent *agent)
{
	struct fl_error err = {.code = FL_OK};
	enum fl_code code;

	fl_strv_fini(&agent->capabilities);
	code = fl_strv_add(&agent->capabilities, facts_cgroup(""), &err);
	if (code == FL_OK && agent->systemd != NULL)
		code = driver_capabilities(agent->systemd, &agent->capabilities, &err);
	agent->fenced = exclusive_is_fenced(agent->exclusive);
	if (code == FL_OK && agent->systemd != NULL && agent->fenced)
		code = fl_strv_add(&agent->capabilities, CAPABILITY_EXCLUSIVE, &err);
	if (code != FL_OK)
		fl_log(FL_WARNING, "agent.capabilities", "error=%s", fl_error_text(&err));
}

static void take_capacity(struct agent *agent)
{
	struct fl_error err = {.code = FL_OK};

	if (facts_capacity("", &agent->capacity, &err) != FL_OK)
		fl_log(FL_WARNING, "agent.capacity", "error=%s", fl_error_text(&err));
}

static void on_request(Pb__SyncRequest *request, bool with_info, void *userdata)
{
	struct agent *agent = userdata;
	Pb__MachineInfo *info = &agent->info;

	request->store_id = agent->store_id;
	request->revision = agent->revision;
	request->upgrade = upgrade_result(agent->upgrade);
	if (!with_info)
		return;
	take_capabilities(agent);
	take_capacity(agent);
	pb__machine_info__init(info);
	info->boot_id = agent->facts.boot_id;
	info->hostname = agent->facts.hostname;
	if (agent->config->address != NULL)
		info->address = agent->config->address;
	info->metadata = agent->metadata_list;
	info->n_metadata = agent->n_metadata;
	info->capacity = &agent->capacity;
	info->agent_version = (char *)FLOTA_VERSION;
	info->capabilities = agent->capabilities.items;
	info->n_capabilities = agent->capabilities.n;
	request->info = info;
}

static size_t on_states(
	bool begin_all, Pb__UnitState *states, size_t max, bool *ret_more, void *userdata)
{
	struct agent *agent = userdata;

	if (begin_all)
		reconcile_report_all(agent->reconcile);
	return reconcile_report(agent->reconcile, states, max, ret_more);
}

static bool on_report(Pb__ReportRequest *report, void *userdata)
{
	struct agent *agent = userdata;

	if (agent->refused)
		return false;
	if (agent->fenced != exclusive_is_fenced(agent->exclusive))
		link_info_changed(agent->link);
	take_capacity(agent);
	report->revision = agent->saved_revision;
	report->store_id = agent->store_id;
	report->acts_on = agent->in_reset ? 0 : agent->revision;
	report->capacity = &agent->capacity;
	return true;
}

static void on_lease(uint64_t until_ms, void *userdata)
{
	struct agent *agent = userdata;

	agent->no_lease = until_ms == 0;
	if (!agent->no_lease)
		exclusive_granted(agent->exclusive, until_ms);
	if (agent->ready || agent->systemd == NULL)
		upgrade_in_session(agent->upgrade);
}

static void on_renew_wanted(void *userdata)
{
	struct agent *agent = userdata;

	if (agent->trust != NULL)
		trust_renew_now(agent->trust);
}

static const struct link_handlers link_handlers = {
	.request = on_request,
	.reply = on_reply,
	.states = on_states,
	.report = on_report,
	.lease = on_lease,
	.renew = on_renew_wanted,
};

static bool on_owns(const char *unit, void *userdata)
{
	return reconcile_owns(((struct agent *)userdata)->reconcile, unit);
}

static enum fl_code on_send(Pb__CallOutputRequest *output, calls_sent sent, void *call,
	void *userdata, struct fl_error *err)
{
	struct agent *agent = userdata;

	if (agent->link == NULL)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "not connected");
	return link_send_output(agent->link, output, sent, call, err);
}

static const struct calls_handlers calls_handlers = {
	.owns = on_owns,
	.send = on_send,
};

/* ---- Another release of the agent --------------------------------------------------------- */

static enum fl_code on_fetch(Pb__FetchRequest *request, link_fetched done, void *done_userdata,
	void *userdata, struct fl_error *err)
{
	struct agent *agent = userdata;

	if (agent->link == NULL)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "not connected");
	return link_fetch(agent->link, request, done, done_userdata, err);
}

static void on_upgrade_told(void *userdata)
{
	struct agent *agent = userdata;

	if (agent->link != NULL)
		link_info_changed(agent->link);
}

static bool on_upgrade_fenced(void *userdata)
{
	return exclusive_is_fenced(((struct agent *)userdata)->exclusive);
}

static void on_upgrade_restart(void *userdata)
{
	struct agent *agent = userdata;

	agent->handlers->restart(agent->userdata);
}

static const struct upgrade_handlers upgrade_handlers = {
	.fetch = on_fetch,
	.told = on_upgrade_told,
	.fenced = on_upgrade_fenced,
	.restart = on_upgrade_restart,
};

/* ---- The connection ----------------------------------------------------------------------- */

static void on_opener(uv_timer_t *timer);

static void open_link(struct agent *agent)
{
	struct link_config config = {.urls = &agent->config->coordinators,
		.credentials = trust_credentials(agent->trust),
		.machine_id = agent->facts.machine_id};
	struct fl_error err = {.code = FL_OK};

	if (link_open(&agent->link, agent->loop, &config, &link_handlers, agent, &err) == FL_OK)
		return;
	fl_log(FL_ERROR, "link.open", "error=%s", fl_error_text(&err));
	agent->link = NULL;
	(void)uv_timer_start(&agent->opener, on_opener, OPEN_RETRY_MS, 0);
}

/* Without a certificate the units run all the same, after a reboot too. */
static void on_credentials(struct tls_credentials *credentials, void *userdata)
{
	struct agent *agent = userdata;

	if (agent->link != NULL)
		link_set_credentials(agent->link, credentials);
	else if (agent->opening)
		open_link(agent);
}

static enum fl_code on_renew(Pb__RenewRequest *request, trust_renewed done, void *done_userdata,
	void *userdata, struct fl_error *err)
{
	struct agent *agent = userdata;

	if (agent->link == NULL)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "not connected");
	return link_renew(agent->link, request, done, done_userdata, err);
}

static const struct trust_handlers trust_handlers = {
	.credentials = on_credentials,
	.renew = on_renew,
};

static void on_opener(uv_timer_t *timer)
{
	struct agent *agent = FL_CONTAINER(timer, struct agent, opener);

	agent->opening = true;
	if (agent->link == NULL && agent->trust != NULL && trust_credentials(agent->trust) != NULL)
		open_link(agent);
}

/* Between a driver and the reconciler: what a ready driver can do is told the coordinator. */
static void on_driver_ready(bool ready, void *userdata)
{
	struct agent *agent = userdata;

	if (agent->reconcile == NULL)
		return; /* closing */
	agent->ready = ready;
	reconcile_driver_handlers.ready(ready, agent->reconcile);
	if (!ready)
		return;
	if (agent->link != NULL)
		link_info_changed(agent->link);
	else
		(void)uv_timer_start(&agent->opener, on_opener, 0, 0);
}

/* ---- Beginning ---------------------------------------------------------------------------- */

static enum fl_code read_metadata(struct agent *agent, struct fl_error *err)
{
	const struct fl_strv *given = &agent->config->metadata;

	for (size_t i = 0; i < given->n; i++)
		FL_TRY(fl_strv_split(&agent->metadata_words, given->items[i], ", \t", err));
	FL_TRY(facts_metadata(&agent->metadata_words, &agent->metadata, &agent->n_metadata, err));
	agent->metadata_list = fl_new_array(agent->n_metadata + 1, sizeof(*agent->metadata_list));
	if (agent->metadata_list == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < agent->n_metadata; i++)
		agent->metadata_list[i] = &agent->metadata[i];
	return FL_OK;
}

static enum fl_code open_drivers(struct agent *agent, struct fl_error *err)
{
	struct systemd_config config = {.unit_directory = "/run/systemd/system",
		.runtime_directory = agent->config->runtime_directory};
	struct fl_error why = {.code = FL_OK};
	enum fl_code code;

	agent->driver_handlers = reconcile_driver_handlers;
	agent->driver_handlers.ready = on_driver_ready;
	code = systemd_driver_open(
		&agent->systemd, agent->loop, &config, &agent->driver_handlers, agent, &why);
	if (code == FL_OK)
		reconcile_add_driver(agent->reconcile, agent->systemd);
	else if (code == FL_E_UNAVAILABLE)
		fl_log(FL_WARNING, "agent.cannot", "kind=%s error=%s", "systemd's units",
			fl_error_text(&why));
	else
		return FL_FAIL(err, code, "%s", fl_error_text(&why));
	return FL_OK;
}

static enum fl_code restore_done(struct agent *agent, struct fl_error *err)
{
	ProtobufCMessage *message = NULL;
	const Pb__AgentDoneRecord *record;
	enum fl_code code = FL_OK;
	bool damaged;

	FL_TRY(disk_read(
		agent->done_path, &pb__agent_done_record__descriptor, &message, &damaged, err));
	record = (const Pb__AgentDoneRecord *)message;
	for (size_t i = 0; record != NULL && i < record->n_units && code == FL_OK; i++)
		code = reconcile_restore_done(agent->reconcile, record->units[i], err);
	protobuf_c_message_free_unpacked(message, NULL);
	return code;
}

static enum fl_code restore(struct agent *agent, const char *path, struct fl_error *err)
{
	ProtobufCMessage *message = NULL;
	const Pb__AgentRecord *record;
	struct fl_error one = {.code = FL_OK};
	bool damaged;

	FL_TRY(restore_done(agent, err));
	FL_TRY(disk_read(path, &pb__agent_record__descriptor, &message, &damaged, err));
	record = (const Pb__AgentRecord *)message;
	if (record != NULL) {
		(void)snprintf(agent->store_id, sizeof(agent->store_id), "%s", record->store_id);
		agent->revision = agent->saved_revision = record->revision;
		for (size_t i = 0; i < record->n_assignments; i++)
			if (reconcile_assign(agent->reconcile, record->assignments[i], &one) !=
				FL_OK)
				fl_log(FL_ERROR, "agent.restore", "unit=%s error=%s",
					record->assignments[i]->name, fl_error_text(&one));
	}
	/* Without a whole record nobody knows what is too many. */
	reconcile_take_orphans(agent->reconcile, record != NULL, agent->revision);
	fl_log(FL_INFO, "agent.begin", "machine=%s units=%zu revision=%" PRIu64,
		agent->facts.machine_id, reconcile_count(agent->reconcile), agent->revision);
	protobuf_c_message_free_unpacked(message, NULL);
	return FL_OK;
}

static enum fl_code begin(struct agent *agent, struct fl_error *err)
{
	const struct config *config = agent->config;
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/assignment.pb", config->state_directory);

	agent->done_path = fl_printf("%s/done.pb", config->runtime_directory);
	agent->adopt_path = fl_printf("%s/adopt", config->state_directory);
	if (path == NULL || agent->done_path == NULL || agent->adopt_path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_mkdir_all(config->state_directory, 0700, err));
	FL_TRY(fl_mkdir_all(config->runtime_directory, 0700, err));
	FL_TRY(facts_read("", &agent->facts, err));
	FL_TRY(read_metadata(agent, err));
	FL_TRY(reconcile_new(&agent->reconcile, agent->loop, &reconcile_handlers, agent, err));
	FL_TRY(exclusive_open(
		&agent->exclusive, agent->loop, config->runtime_directory, agent->reconcile, err));
	FL_TRY(calls_new(&agent->calls, agent->loop, CALLS_PATH, &calls_handlers, agent, err));
	FL_TRY(disk_open(&agent->disk, agent->loop, path, &disk_handlers, agent, err));
	FL_TRY(upgrade_open(&agent->upgrade, agent->loop, config, &upgrade_handlers, agent, err));
	FL_TRY(open_drivers(agent, err));
	FL_TRY(restore(agent, path, err));
	/* A machine with units to run does so even with a bad certificate; one that is only being
	 * set up says at once what is wrong. */
	return trust_open(&agent->trust, agent->loop, config, &agent->facts,
		reconcile_count(agent->reconcile) > 0, &trust_handlers, agent, err);
}

enum fl_code agent_open(struct agent **ret_agent, uv_loop_t *loop, const struct config *config,
	const struct agent_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct agent *agent;

	if (config->coordinators.n == 0)
		return FL_FAIL(err, FL_E_USAGE,
			"no coordinator is named: %s needs a line Coordinator=tls+tcp://HOST:7440",
			CONFIG_FILE);
	agent = FL_NEW(struct agent);
	if (agent == NULL)
		return FL_FAIL_NO_MEMORY(err);
	agent->loop = loop;
	agent->config = config;
	agent->handlers = handlers;
	agent->userdata = userdata;
	pb__capacity__init(&agent->capacity);
	(void)uv_timer_init(loop, &agent->opener);
	(void)uv_prepare_init(loop, &agent->flush);
	agent->opener.data = agent->flush.data = agent;
	(void)uv_timer_start(&agent->opener, on_opener, DRIVER_WAIT_MS, 0);
	*ret_agent = agent; /* half built as it may be, agent_close() ends it */
	return begin(agent, err);
}

/* ---- The end ------------------------------------------------------------------------------ */

static void close_next(void *userdata);

static void on_handle_closed(uv_handle_t *handle)
{
	close_next(handle->data);
}

static void agent_free(struct agent *agent)
{
	fl_strv_fini(&agent->metadata_words);
	fl_strv_fini(&agent->capabilities);
	free(agent->metadata);
	free(agent->metadata_list);
	free(agent->done_path);
	free(agent->adopt_path);
	free(agent);
}

/* One part after the other, each with nothing left above it. */
static void close_next(void *userdata)
{
	struct agent *agent = userdata;
	void (*closed)(void *userdata) = agent->closed;
	void *closed_userdata = agent->closed_userdata;

	if (agent->link != NULL)
		link_close(FL_TAKE(agent->link), close_next, agent);
	else if (agent->upgrade != NULL)
		upgrade_close(FL_TAKE(agent->upgrade), close_next, agent);
	else if (agent->trust != NULL)
		trust_close(FL_TAKE(agent->trust), close_next, agent);
	else if (agent->calls != NULL)
		calls_close(FL_TAKE(agent->calls), close_next, agent);
	else if (agent->disk != NULL)
		disk_close(FL_TAKE(agent->disk), close_next, agent);
	else if (agent->exclusive != NULL)
		exclusive_close(FL_TAKE(agent->exclusive), close_next, agent);
	else if (agent->reconcile != NULL)
		reconcile_close(FL_TAKE(agent->reconcile), close_next, agent);
	else if (agent->systemd != NULL)
		driver_close(FL_TAKE(agent->systemd), close_next, agent);
	else if (agent->closing++ == 0)
		uv_close((uv_handle_t *)&agent->opener, on_handle_closed);
	else if (agent->closing == 2)
		uv_close((uv_handle_t *)&agent->flush, on_handle_closed);
	else {
		agent_free(agent);
		closed(closed_userdata);
	}
}

void agent_close(struct agent *agent, void (*closed)(void *userdata), void *userdata)
{
	agent->closed = closed;
	agent->closed_userdata = userdata;
	(void)uv_timer_stop(&agent->opener);
	close_next(agent);
}

enum fl_code agent_adopt(const struct config *config, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/adopt", config->state_directory);

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_mkdir_all(config->state_directory, 0700, err));
	return fl_file_write(path, "", 0, 0600, true, err);
}
