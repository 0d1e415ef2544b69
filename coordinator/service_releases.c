/*
 * The agent's releases: people put them here, agents fetch them, and people have agents upgraded.
 * What touches the disk is done by a worker thread, a job for each request; the request is held
 * meanwhile. A job outlives its request when that is given up.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "coordinator/releases.h"
#include "coordinator/services.h"

struct publisher {
	struct releases *releases;
	struct upload *upload; /* the one that comes, or NULL; the worker's while busy */
	uint64_t upload_id;
	bool busy;
};

struct job {
	uv_work_t work;
	struct coordinator *coordinator;
	struct publisher *publisher;
	struct exchange *exchange; /* NULL: nobody waits any more */
	Pb__ReleasesRequest *put; /* of PUT and REMOVE, owned */
	Pb__FetchRequest *fetch; /* owned */
	uint8_t *data; /* what was fetched */
	size_t len;
	bool done;
	enum fl_code code;
	struct fl_error err;
};

enum fl_code publisher_new(
	struct publisher **ret_publisher, const char *directory, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct publisher *publisher = FL_NEW(struct publisher);

	if (publisher == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(releases_new(&publisher->releases, directory, err));
	*ret_publisher = FL_TAKE(publisher);
	return FL_OK;
}

void publisher_free(struct publisher *publisher)
{
	if (publisher == NULL)
		return;
	upload_free(publisher->upload);
	releases_free(publisher->releases);
	free(publisher);
}

/* ---- Jobs -- */

static void job_gone(struct exchange *exchange)
{
	((struct job *)exchange->owner)->exchange = NULL;
}

static void job_expired(struct exchange *exchange)
{
	((struct job *)exchange->owner)->exchange = NULL;
	exchange_failf(exchange, FL_E_TIMEOUT, "the coordinator's disk is slow; try again");
}

static const struct exchange_holder job_holder = {.gone = job_gone, .expired = job_expired};

static void job_free(struct job *job)
{
	if (job->put != NULL)
		pb__releases_request__free_unpacked(job->put, NULL);
	if (job->fetch != NULL)
		pb__fetch_request__free_unpacked(job->fetch, NULL);
	free(job->data);
	free(job);
}

static void reply_releases(struct exchange *exchange, Pb__ReleasesReply *body)
{
	Pb__Envelope reply = PB__ENVELOPE__INIT;

	reply.body_case = PB__ENVELOPE__BODY_RELEASES_REPLY;
	reply.releases_reply = body;
	exchange_reply(exchange, &reply);
}

static void reply_done(struct exchange *exchange, bool done)
{
	Pb__ReleasesReply body = PB__RELEASES_REPLY__INIT;

	body.done = done;
	reply_releases(exchange, &body);
}

/* Takes the message out of the exchange: the worker needs it for longer than that may live. */
static void start(struct exchange *exchange, uv_work_cb work, uv_after_work_cb after)
{
	struct coordinator *coordinator = exchange->coordinator;
	struct job *job = FL_NEW(struct job);

	if (job == NULL) {
		exchange_failf(exchange, FL_E_NO_MEMORY, "the coordinator is out of memory");
		return;
	}
	job->coordinator = coordinator;
	job->publisher = coordinator->publisher;
	job->exchange = exchange;
	if (!exchange_hold(exchange, &job_holder, job)) {
		free(job);
		return;
	}
	if (exchange->message->body_case == PB__ENVELOPE__BODY_FETCH_REQUEST)
		job->fetch = FL_TAKE(exchange->message->fetch_request);
	else
		job->put = FL_TAKE(exchange->message->releases_request);
	coordinator->publisher->busy = coordinator->publisher->busy || job->put != NULL;
	/* It fails only for want of a callback. */
	(void)uv_queue_work(coordinator->loop, &job->work, work, after);
}

/* ---- Putting and removing -- */

static void put_work(uv_work_t *work)
{
	struct job *job = FL_CONTAINER(work, struct job, work);
	struct publisher *publisher = job->publisher;
	const Pb__ReleasesRequest *put = job->put;

	if (put->offset == 0) {
		upload_free(FL_TAKE(publisher->upload));
		publisher->upload_id = put->upload;
		job->code = upload_new(&publisher->upload, publisher->releases,
			&job->coordinator->config->release_keys, (const char *)put->manifest.data,
			put->manifest.len, &job->err);
	}
	if (job->code == FL_OK)
		job->code = upload_add(
			publisher->upload, put->data.data, put->data.len, &job->done, &job->err);
}

static void put_after(uv_work_t *work, int status)
{
	struct job *job = FL_CONTAINER(work, struct job, work);
	struct publisher *publisher = job->publisher;

	(void)status; /* never canceled */
	publisher->busy = false;
	if (job->code == FL_OK && job->done) {
		job->code = releases_add(
			publisher->releases, upload_manifest(publisher->upload), &job->err);
		fl_log(FL_NOTICE, "release.published", "releases=%zu",
			releases_count(publisher->releases));
	}
	if (job->done || job->code != FL_OK)
		upload_free(FL_TAKE(publisher->upload));
	if (job->exchange != NULL && job->code != FL_OK)
		exchange_fail(job->exchange, &job->err);
	else if (job->exchange != NULL)
		reply_done(job->exchange, job->done);
	job_free(job);
}

/* A piece that was taken, and whose answer was lost, comes again. */
static bool is_known(const struct publisher *publisher, const Pb__ReleasesRequest *put, bool *done)
{
	*done = false;
	for (size_t i = 0; i < releases_count(publisher->releases); i++) {
		const char *manifest = releases_at(publisher->releases, i)->manifest;

		*done = *done ||
			(strlen(manifest) == put->manifest.len &&
				memcmp(manifest, put->manifest.data, put->manifest.len) == 0);
	}
	return *done || (publisher->upload != NULL && publisher->upload_id == put->upload &&
				put->offset < upload_offset(publisher->upload));
}

static void put_release(struct exchange *exchange)
{
	struct publisher *publisher = exchange->coordinator->publisher;
	const Pb__ReleasesRequest *put = exchange->message->releases_request;
	bool done;

	if (is_known(publisher, put, &done))
		reply_done(exchange, done);
	else if (put->offset > 0 &&
		 (publisher->upload == NULL || publisher->upload_id != put->upload ||
			 upload_offset(publisher->upload) != put->offset))
		exchange_failf(exchange, FL_E_STATE,
			"this upload was given up, or another one took its place; begin again");
	else
		start(exchange, put_work, put_after);
}

static void remove_work(uv_work_t *work)
{
	struct job *job = FL_CONTAINER(work, struct job, work);

	job->code = releases_remove(
		job->publisher->releases, job->put->version, job->put->arch, &job->err);
}

static void remove_after(uv_work_t *work, int status)
{
	struct job *job = FL_CONTAINER(work, struct job, work);

	(void)status;
	job->publisher->busy = false;
	releases_forget(job->publisher->releases, job->put->version, job->put->arch);
	if (job->exchange != NULL && job->code != FL_OK)
		exchange_fail(job->exchange, &job->err);
	else if (job->exchange != NULL)
		reply_done(job->exchange, true);
	job_free(job);
}

static void remove_release(struct exchange *exchange)
{
	const struct releases *releases = exchange->coordinator->publisher->releases;
	const Pb__ReleasesRequest *request = exchange->message->releases_request;

	if (releases_find(releases, request->version, request->arch) == NULL)
		exchange_failf(exchange, FL_E_NOT_FOUND, "there is no release %s%s%s",
			request->version, *request->arch != '\0' ? " for " : "", request->arch);
	else
		start(exchange, remove_work, remove_after);
}

static bool fill_release(Pb__Release *message, const struct release *release)
{
	char text[RELEASE_SHA512_TEXT_MAX];

	pb__release__init(message);
	release_sha512_text(release, text);
	text[2 * RELEASE_HASH_BYTES] = '\0';
	message->version = (char *)release->version;
	message->arch = (char *)release->arch;
	message->key = (char *)release->key;
	message->size = release->size;
	message->sha512 = fl_strdup(text);
	return message->sha512 != NULL;
}

static void list_releases(struct exchange *exchange)
{
	const struct releases *releases = exchange->coordinator->publisher->releases;
	size_t n = releases_count(releases);
	FL_CLEANUP(fl_freep) Pb__Release *messages = fl_new_array(n + 1, sizeof(*messages));
	FL_CLEANUP(fl_freep) Pb__Release **list = fl_new_array(n + 1, sizeof(Pb__Release *));
	Pb__ReleasesReply body = PB__RELEASES_REPLY__INIT;
	bool ok = messages != NULL && list != NULL;

	for (size_t i = 0; ok && i < n; i++) {
		ok = fill_release(&messages[i], &releases_at(releases, i)->release);
		list[i] = &messages[i];
		body.n_releases++;
	}
	body.releases = list;
	if (ok)
		reply_releases(exchange, &body);
	else
		exchange_failf(exchange, FL_E_NO_MEMORY, "the coordinator is out of memory");
	for (size_t i = 0; i < body.n_releases; i++)
		free(messages[i].sha512);
}

void service_releases(struct exchange *exchange)
{
	Pb__ReleasesRequest__Verb verb = exchange->message->releases_request->verb;

	if (verb == PB__RELEASES_REQUEST__VERB__LIST)
		list_releases(exchange);
	else if (exchange->coordinator->publisher->busy)
		exchange_failf(exchange, FL_E_STATE,
			"somebody else is publishing a release just now; try again");
	else if (verb == PB__RELEASES_REQUEST__VERB__PUT)
		put_release(exchange);
	else
		remove_release(exchange);
}

/* ---- Fetching -- */

static void fetch_work(uv_work_t *work)
{
	struct job *job = FL_CONTAINER(work, struct job, work);

	job->data = malloc(LIMIT_PIECE);
	job->code = job->data != NULL ? releases_read(job->publisher->releases, job->fetch->version,
						job->fetch->arch, job->fetch->offset, job->data,
						LIMIT_PIECE, &job->len, &job->err)
				      : FL_FAIL_NO_MEMORY(&job->err);
}

static void fetch_after(uv_work_t *work, int status)
{
	struct job *job = FL_CONTAINER(work, struct job, work);
	const struct release_kept *kept =
		releases_find(job->publisher->releases, job->fetch->version, job->fetch->arch);
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__FetchReply body = PB__FETCH_REPLY__INIT;

	(void)status;
	if (kept == NULL && job->code == FL_OK)
		job->code = FL_FAIL(&job->err, FL_E_NOT_FOUND, "it has just been removed");
	if (job->exchange != NULL && job->code != FL_OK) {
		exchange_fail(job->exchange, &job->err);
	} else if (job->exchange != NULL) {
		if (job->fetch->offset == 0) {
			body.manifest.data = (uint8_t *)kept->manifest;
			body.manifest.len = strlen(kept->manifest);
		}
		body.data.data = job->data;
		body.data.len = job->len;
		reply.body_case = PB__ENVELOPE__BODY_FETCH_REPLY;
		reply.fetch_reply = &body;
		exchange_reply(job->exchange, &reply);
	}
	job_free(job);
}

void service_fetch(struct exchange *exchange)
{
	const Pb__FetchRequest *request = exchange->message->fetch_request;

	if (releases_find(exchange->coordinator->publisher->releases, request->version,
		    request->arch) == NULL)
		exchange_failf(exchange, FL_E_NOT_FOUND, "there is no release %s for %s",
			request->version, request->arch);
	else
		start(exchange, fetch_work, fetch_after);
}

/* ---- Upgrading -- */

static void reply_upgrade(struct exchange *exchange)
{
	const struct core *core = exchange->coordinator->core;
	Pb__Envelope reply = PB__ENVELOPE__INIT;
	Pb__UpgradeReply body = PB__UPGRADE_REPLY__INIT;
	struct fl_error err = {0};

	if (core_upgrade_get(core, &body.upgrade, &err) != FL_OK) {
		exchange_fail(exchange, &err);
		return;
	}
	body.revision = core_revision(core);
	reply.body_case = PB__ENVELOPE__BODY_UPGRADE_REPLY;
	reply.upgrade_reply = &body;
	exchange_reply_durable(exchange, &reply);
	if (body.upgrade != NULL)
		core_message_free(&body.upgrade->base);
}

static enum fl_code step_upgrade(const struct exchange *exchange, struct fl_error *err)
{
	struct coordinator *coordinator = exchange->coordinator;
	const Pb__UpgradeRequest *request = exchange->message->upgrade_request;
	const struct releases *releases = coordinator->publisher->releases;
	char who[2 * IDENTITY_PART_MAX];
	struct core_answer answer;
	struct core_event event = {.kind = CORE_UPGRADE,
		.upgrade = {.request = request,
			.version = request->version,
			.order = fl_random_id(),
			.by = who}};

	identity_describe(exchange_identity(exchange), who, sizeof(who));
	if (request->verb == PB__UPGRADE_REQUEST__VERB__BEGIN) {
		if (releases_count(releases) == 0)
			return FL_FAIL(err, FL_E_NOT_FOUND,
				"there is no release; see \"flotactl release publish\"");
		if (*request->version == '\0')
			event.upgrade.version = releases_at(releases, 0)->release.version;
		else if (releases_find(releases, request->version, "") == NULL)
			return FL_FAIL(err, FL_E_NOT_FOUND,
				"there is no release %s; \"flotactl release list\" shows what "
				"there is",
				request->version);
	}
	return coordinator_step(coordinator, &event, &answer, err);
}

void service_upgrade(struct exchange *exchange)
{
	struct fl_error err = {0};

	if (exchange->message->upgrade_request->verb != PB__UPGRADE_REQUEST__VERB__LOOK &&
		step_upgrade(exchange, &err) != FL_OK)
		exchange_fail(exchange, &err);
	else
		reply_upgrade(exchange);
}
