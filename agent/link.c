/*
 * Changes:                                           Reports:
 *
 *           asked, answered                              something changed, or lease / 3
 *   PAUSED ─────────▶ ASKING ──▶ HOLDING                 IDLE ─────────────────▶ SENDING ─▶ IDLE
 *      ▲              ▲   │         │ it is on disk        ▲ a while                │ failed
 *      │ no answer,   └───┴─────────┘                      └────────── RESTING ◀────┘
 *      │ or refused       │
 *      └──────────────────┘
 *
 * The happy path: ASKING is answered when something has changed, or empty after POLL_MS; the agent
 * writes the change to its disk (HOLDING) and asks again. One report is under way at a time; what
 * changes meanwhile goes with the next one, the newest state of each unit.
 *
 * A report that failed may or may not have arrived: after it all states are reported again. nng
 * sends both again by itself when the connection broke and another was made.
 *
 * With several coordinators named, the next one is tried when one cannot be reached.
 *
 * Deadlines: ASKING and SENDING that of their call, PAUSED and RESTING their timer; HOLDING ends
 * with the write to disk, which disk.c repeats until it works.
 */
#include "agent/link.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsm.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "proto/wire.h"
#include "transport/client.h"

#define POLL_MS          60000U
#define ANSWER_MS        20000U /* beyond what the coordinator may hold a request */
#define PAUSE_MS         1000U /* and as much again by chance */
#define LONG_PAUSE_MS    30000U
#define REST_MS          250U
#define LEASE_DEFAULT_MS 10000U
#define REPORT_MIN_MS    2000U
#define OUTPUT_MS        150000U
#define RECONNECT_MIN_MS 100U
/* Below a lease, so that after a coordinator's restart every agent is back before anything moves. */
#define RECONNECT_MAX_MS 5000U
#define STATES_MAX       250U /* in one report: under LIMIT_STATES, and 1 MB with all texts */
#define FAILURES_TO_MOVE 3U /* attempts at one coordinator when there are others */
#define FAILURES_TO_LOG  10U

#define SYNC_STATES(X) \
	X(SYNC, PAUSED, FL_TO(SYNC, ASKING) | FL_TO(SYNC, CLOSED)) \
	X(SYNC, ASKING, \
		FL_TO(SYNC, ASKING) | FL_TO(SYNC, HOLDING) | FL_TO(SYNC, PAUSED) | \
			FL_TO(SYNC, CLOSED)) \
	X(SYNC, HOLDING, FL_TO(SYNC, ASKING) | FL_TO(SYNC, PAUSED) | FL_TO(SYNC, CLOSED)) \
	X(SYNC, CLOSED, 0)
FL_FSM_DEFINE(sync, SYNC_STATES)

#define REPORT_STATES(X) \
	X(REPORT, IDLE, FL_TO(REPORT, SENDING) | FL_TO(REPORT, RESTING) | FL_TO(REPORT, CLOSED)) \
	X(REPORT, SENDING, FL_TO(REPORT, IDLE) | FL_TO(REPORT, RESTING) | FL_TO(REPORT, CLOSED)) \
	X(REPORT, RESTING, FL_TO(REPORT, IDLE) | FL_TO(REPORT, CLOSED)) \
	X(REPORT, CLOSED, 0)
FL_FSM_DEFINE(report, REPORT_STATES)

struct output {
	calls_sent sent;
	void *call;
};

struct renewal {
	trust_renewed done;
	void *userdata;
};

struct link {
	uv_loop_t *loop;
	const struct link_handlers *handlers;
	void *userdata;
	struct transport_client *client; /* NULL while one is closed and the next not open */
	struct tls_credentials *credentials;
	struct fl_strv urls;
	size_t url;
	unsigned failures; /* attempts since it was connected */
	bool moving; /* to the next coordinator, when the client is closed */
	struct transport_client *old; /* with credentials that are no longer ours; NULL: none */
	uv_timer_t drain; /* of it */
	char *machine_id;
	uint64_t session;

	struct fl_fsm sync;
	uv_timer_t pause;
	struct transport_call *asking; /* the question under way */
	bool with_info; /* the next request carries it */
	uint64_t asked_ms;

	struct fl_fsm report;
	uv_timer_t beat; /* IDLE: the heartbeat; RESTING: its end */
	uint32_t lease_ms;
	uint64_t reported_ms; /* when the report under way was sent */
	bool due; /* there are states to report */
	bool all_wanted; /* all states are to be reported */
	bool in_all; /* and pages of that are on their way */
	uint32_t page; /* the last one of them */
	uint64_t n_reports;

	unsigned clients; /* that are not closed yet */
	unsigned closing; /* timers that are not closed yet; 0 but while the link is closed */
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static void ask(struct link *link);
static void send_report(struct link *link);
static void on_pause(uv_timer_t *timer);
static void on_beat(uv_timer_t *timer);

/* ---- Messages ----------------------------------------------------------------------------- */

static enum fl_code call(struct link *link, Pb__Envelope *envelope, uint32_t timeout_ms,
	transport_call_done done, void *userdata, struct transport_call **ret_call,
	struct fl_error *err)
{
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	size_t len;

	if (link->client == NULL)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "not connected");
	envelope->request_id = fl_random_id();
	FL_TRY(wire_pack(envelope, &data, &len, err));
	return transport_client_call(
		link->client, data, len, timeout_ms, done, userdata, ret_call, err);
}

/* The reply's envelope, when it is one and has no error. */
static enum fl_code unpack(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, Pb__Envelope__BodyCase body, Pb__Envelope **ret_envelope,
	struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;

	if (code != FL_OK)
		return FL_FAIL(err, code, "%s", fl_error_text(call_err));
	FL_TRY(wire_unpack(data, len, &envelope, NULL, err));
	FL_TRY(wire_reply_error(envelope, err));
	if (envelope->body_case != body)
		return FL_FAIL(err, FL_E_PROTOCOL, "the reply has another body");
	*ret_envelope = FL_TAKE(envelope);
	return FL_OK;
}

/* ---- Changes ------------------------------------------------------------------------------ */

static void pause_sync(struct link *link, uint32_t ms, const char *why)
{
	fl_fsm_move(&link->sync, SYNC_PAUSED, why);
	(void)uv_timer_start(&link->pause, on_pause, ms + fl_random_below(ms), 0);
}

static void take_lease(struct link *link, uint32_t lease_ms)
{
	if (lease_ms != 0)
		link->lease_ms = lease_ms;
}

static bool is_empty(const Pb__SyncReply *reply)
{
	return !reply->reset && reply->n_assignments == 0 && reply->n_removed == 0 &&
	       reply->n_calls == 0 && reply->upgrade == NULL;
}

static void on_sync_reply(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct link *link = userdata;
	struct fl_error err = {.code = FL_OK};
	enum link_next next;

	link->asking = NULL;
	if (link->sync.state != SYNC_ASKING)
		return; /* closed */
	if (code == FL_E_CANCELED) {
		ask(link); /* with what is new */
		return;
	}
	if (unpack(code, data, len, call_err, PB__ENVELOPE__BODY_SYNC_REPLY, &envelope, &err) !=
		FL_OK) {
		if (err.code != FL_E_TIMEOUT && err.code != FL_E_UNAVAILABLE)
			fl_log(FL_WARNING, "link.sync", "error=%s", fl_error_text(&err));
		link->with_info = true; /* it may not have arrived */
		pause_sync(link, PAUSE_MS, fl_code_text(err.code));
		return;
	}
	take_lease(link, envelope->sync_reply->lease_ms);
	/* An empty answer at once: somebody else asks in this machine's name. Not in a circle. */
	if (is_empty(envelope->sync_reply) && fl_clock_boot_ms() - link->asked_ms < PAUSE_MS) {
		pause_sync(link, PAUSE_MS, "empty at once");
		return;
	}
	next = link->handlers->reply(envelope->sync_reply, link->userdata);
	if (link->sync.state != SYNC_ASKING)
		return;
	switch (next) {
	case LINK_ASK:
		ask(link);
		break;
	case LINK_HOLD:
		fl_fsm_move(&link->sync, SYNC_HOLDING, "a change goes to disk");
		break;
	case LINK_PAUSE:
		pause_sync(link, LONG_PAUSE_MS, "the agent wants it");
		break;
	}
}

static void ask(struct link *link)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__SyncRequest request = PB__SYNC_REQUEST__INIT;
	struct fl_error err = {.code = FL_OK};

	fl_fsm_move(&link->sync, SYNC_ASKING, "what changed?");
	link->asked_ms = fl_clock_boot_ms();
	request.machine_id = link->machine_id;
	request.session = link->session;
	link->handlers->request(&request, link->with_info, link->userdata);
	envelope.deadline_ms = POLL_MS;
	envelope.body_case = PB__ENVELOPE__BODY_SYNC_REQUEST;
	envelope.sync_request = &request;
	if (call(link, &envelope, POLL_MS + ANSWER_MS, on_sync_reply, link, &link->asking, &err) !=
		FL_OK) {
		if (err.code != FL_E_UNAVAILABLE)
			fl_log(FL_WARNING, "link.sync", "error=%s", fl_error_text(&err));
		pause_sync(link, PAUSE_MS, fl_code_text(err.code));
		return;
	}
	link->with_info = false;
}

static void connect_next(struct link *link);

static void on_pause(uv_timer_t *timer)
{
	struct link *link = FL_CONTAINER(timer, struct link, pause);

	if (link->client == NULL && !link->moving)
		connect_next(link); /* the last try had no memory for it */
	ask(link);
}

void link_resume(struct link *link)
{
	if (link->sync.state == SYNC_HOLDING)
		ask(link);
}

void link_info_changed(struct link *link)
{
	link->with_info = true;
	if (link->asking != NULL)
		transport_call_cancel(link->asking);
}

/* ---- Reports ------------------------------------------------------------------------------ */

static void beat_after(struct link *link, uint64_t ms)
{
	(void)uv_timer_start(&link->beat, on_beat, ms, 0);
}

static void rest(struct link *link, const char *why)
{
	fl_fsm_move(&link->report, REPORT_RESTING, why);
	link->all_wanted = true;
	link->in_all = false;
	beat_after(link, REST_MS + fl_random_below(REST_MS));
}

static void on_report_reply(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct link *link = userdata;
	struct fl_error err = {.code = FL_OK};
	uint32_t exclusive_ms;

	if (link->report.state != REPORT_SENDING)
		return; /* closed */
	if (unpack(code, data, len, call_err, PB__ENVELOPE__BODY_REPORT_REPLY, &envelope, &err) !=
		FL_OK) {
		/* NOT_FOUND: it came before this machine's first question. */
		if (err.code != FL_E_TIMEOUT && err.code != FL_E_UNAVAILABLE &&
			err.code != FL_E_NOT_FOUND)
			fl_log(FL_WARNING, "link.report", "error=%s", fl_error_text(&err));
		rest(link, fl_code_text(err.code));
		return;
	}
	take_lease(link, envelope->report_reply->lease_ms);
	exclusive_ms = envelope->report_reply->exclusive_ms;
	if (envelope->report_reply->renew)
		link->handlers->renew(link->userdata);
	link->handlers->lease(
		exclusive_ms != 0 ? link->reported_ms + exclusive_ms : 0, link->userdata);
	fl_fsm_move(&link->report, REPORT_IDLE, "taken");
	link->all_wanted = link->all_wanted || envelope->report_reply->want_all;
	if (link->due || link->all_wanted || link->in_all)
		send_report(link);
	else
		beat_after(link, link->lease_ms / 3);
}

static void send_report(struct link *link)
{
	/* A heartbeat has no states. */
	size_t max = link->due || link->all_wanted || link->in_all ? STATES_MAX : 0;
	FL_CLEANUP(fl_freep) Pb__UnitState *states = fl_new_array(max + 1, sizeof(*states));
	FL_CLEANUP(fl_freep) Pb__UnitState **list = fl_new_array(max + 1, sizeof(*list));
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	struct fl_error err = {.code = FL_OK};
	bool more = false, begin_all = link->all_wanted;

	if (!link->handlers->report(&report, link->userdata)) {
		link->all_wanted = true;
		beat_after(link, link->lease_ms / 3);
		return;
	}
	if (states == NULL || list == NULL) {
		rest(link, "out of memory");
		return;
	}
	link->all_wanted = false;
	report.machine_id = link->machine_id;
	report.session = link->session;
	report.n_states = link->handlers->states(begin_all, states, max, &more, link->userdata);
	for (size_t i = 0; i < report.n_states; i++)
		list[i] = &states[i];
	report.states = list;
	report.all = begin_all || link->in_all;
	link->page = begin_all ? 0 : link->page + 1;
	report.page = report.all ? link->page : 0;
	report.number = ++link->n_reports;
	report.more = report.all && more;
	link->in_all = report.more;
	link->due = more;
	envelope.deadline_ms = link->lease_ms;
	envelope.body_case = PB__ENVELOPE__BODY_REPORT_REQUEST;
	envelope.report_request = &report;
	fl_fsm_move(&link->report, REPORT_SENDING, report.all ? "all states" : "changes");
	link->reported_ms = fl_clock_boot_ms();
	if (call(link, &envelope, link->lease_ms > REPORT_MIN_MS ? link->lease_ms : REPORT_MIN_MS,
		    on_report_reply, link, NULL, &err) != FL_OK) {
		if (err.code != FL_E_UNAVAILABLE)
			fl_log(FL_WARNING, "link.report", "error=%s", fl_error_text(&err));
		rest(link, fl_code_text(err.code));
	}
}

static void on_beat(uv_timer_t *timer)
{
	struct link *link = FL_CONTAINER(timer, struct link, beat);

	if (link->report.state == REPORT_RESTING)
		fl_fsm_move(&link->report, REPORT_IDLE, "rested");
	send_report(link);
}

void link_report(struct link *link)
{
	link->due = true;
	if (link->report.state != REPORT_IDLE)
		return;
	(void)uv_timer_stop(&link->beat);
	send_report(link);
}

/* ---- Output of calls ---------------------------------------------------------------------- */

static void on_output_reply(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct output *output = userdata;
	struct fl_error err = {.code = FL_OK};
	bool stop = false;

	if (unpack(code, data, len, call_err, PB__ENVELOPE__BODY_CALL_OUTPUT_REPLY, &envelope,
		    &err) == FL_OK)
		stop = envelope->call_output_reply->stop;
	output->sent(err.code, stop, output->call);
	free(output);
}

enum fl_code link_send_output(struct link *link, Pb__CallOutputRequest *message, calls_sent sent,
	void *call_userdata, struct fl_error *err)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	struct output *output = FL_NEW(struct output);
	enum fl_code code;

	if (output == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*output = (struct output){.sent = sent, .call = call_userdata};
	message->machine_id = link->machine_id;
	envelope.deadline_ms = OUTPUT_MS;
	envelope.body_case = PB__ENVELOPE__BODY_CALL_OUTPUT_REQUEST;
	envelope.call_output_request = message;
	code = call(link, &envelope, OUTPUT_MS + ANSWER_MS, on_output_reply, output, NULL, err);
	if (code != FL_OK)
		free(output);
	return code;
}

/* ---- Certificates ------------------------------------------------------------------------- */

static void on_renew_reply(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct renewal *renewal = userdata;
	struct fl_error err = {.code = FL_OK};

	if (unpack(code, data, len, call_err, PB__ENVELOPE__BODY_CERTIFICATE_REPLY, &envelope,
		    &err) == FL_OK)
		renewal->done(envelope->certificate_reply, NULL, renewal->userdata);
	else
		renewal->done(NULL, &err, renewal->userdata);
	free(renewal);
}

enum fl_code link_renew(struct link *link, Pb__RenewRequest *request, trust_renewed done,
	void *done_userdata, struct fl_error *err)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	struct renewal *renewal = FL_NEW(struct renewal);
	enum fl_code code;

	if (renewal == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*renewal = (struct renewal){.done = done, .userdata = done_userdata};
	request->machine_id = link->machine_id;
	envelope.deadline_ms = ANSWER_MS;
	envelope.body_case = PB__ENVELOPE__BODY_RENEW_REQUEST;
	envelope.renew_request = request;
	code = call(link, &envelope, ANSWER_MS, on_renew_reply, renewal, NULL, err);
	if (code != FL_OK)
		free(renewal);
	return code;
}

/* ---- Releases ----------------------------------------------------------------------------- */

struct fetch {
	link_fetched done;
	void *userdata;
};

static void on_fetch_reply(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct fetch *fetch = userdata;
	struct fl_error err = {.code = FL_OK};

	if (unpack(code, data, len, call_err, PB__ENVELOPE__BODY_FETCH_REPLY, &envelope, &err) ==
		FL_OK)
		fetch->done(envelope->fetch_reply, NULL, fetch->userdata);
	else
		fetch->done(NULL, &err, fetch->userdata);
	free(fetch);
}

enum fl_code link_fetch(struct link *link, Pb__FetchRequest *request, link_fetched done,
	void *done_userdata, struct fl_error *err)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	struct fetch *fetch = FL_NEW(struct fetch);
	enum fl_code code;

	if (fetch == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*fetch = (struct fetch){.done = done, .userdata = done_userdata};
	request->machine_id = link->machine_id;
	envelope.deadline_ms = ANSWER_MS;
	envelope.body_case = PB__ENVELOPE__BODY_FETCH_REQUEST;
	envelope.fetch_request = request;
	code = call(link, &envelope, 2 * ANSWER_MS, on_fetch_reply, fetch, NULL, err);
	if (code != FL_OK)
		free(fetch);
	return code;
}

/* ---- The connection ----------------------------------------------------------------------- */

static void finish_close(struct link *link);

static void on_client_closed(void *userdata)
{
	struct link *link = userdata;

	link->clients--;
	finish_close(link);
}

static void on_client_moved(void *userdata)
{
	struct link *link = userdata;

	link->moving = false;
	link->clients--;
	if (link->closed != NULL) {
		finish_close(link);
		return;
	}
	link->url = (link->url + 1) % link->urls.n;
	connect_next(link);
}

static void on_connection(bool up, const struct fl_error *err, void *userdata)
{
	struct link *link = userdata;

	if (up) {
		fl_log(FL_NOTICE, "link.up", "coordinator=%s", link->urls.items[link->url]);
		link->failures = 0;
		link->with_info = true;
		return;
	}
	/* The first time, and then now and again: it goes on for as long as it takes. */
	if (link->failures++ % FAILURES_TO_LOG == 0)
		fl_log(FL_WARNING, "link.down", "coordinator=%s error=%s",
			link->urls.items[link->url], err != NULL ? fl_error_text(err) : "lost");
	if (link->urls.n > 1 && link->failures >= FAILURES_TO_MOVE && !link->moving) {
		link->moving = true;
		transport_client_close(FL_TAKE(link->client), on_client_moved, link);
	}
}

static const struct transport_client_handlers client_handlers = {.connection = on_connection};

static enum fl_code client_open(struct link *link, struct fl_error *err)
{
	struct transport_client_config config = {.url = link->urls.items[link->url],
		.credentials = link->credentials,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = RECONNECT_MIN_MS,
		.reconnect_max_ms = RECONNECT_MAX_MS};

	link->failures = 0;
	FL_TRY(transport_client_open(
		&link->client, link->loop, &config, &client_handlers, link, err));
	link->clients++;
	return FL_OK;
}

static void connect_next(struct link *link)
{
	struct fl_error err = {.code = FL_OK};

	if (client_open(link, &err) == FL_OK)
		return;
	/* Not a matter of the network, but of this machine's memory or of a URL. */
	fl_log(FL_ERROR, "link.open", "coordinator=%s error=%s", link->urls.items[link->url],
		fl_error_text(&err));
	link->client = NULL;
}

static void drop_old(struct link *link)
{
	if (link->old != NULL)
		transport_client_close(FL_TAKE(link->old), on_client_closed, link);
}

static void on_drain(uv_timer_t *timer)
{
	drop_old(FL_CONTAINER(timer, struct link, drain));
}

void link_set_credentials(struct link *link, struct tls_credentials *credentials)
{
	tls_credentials_unref(link->credentials);
	link->credentials = tls_credentials_ref(credentials);
	if (link->moving || link->client == NULL)
		return; /* the next one has them */
	drop_old(link);
	link->old = FL_TAKE(link->client);
	connect_next(link);
	/* All but the question ends by itself, and the question is asked again on the new one. */
	(void)uv_timer_start(&link->drain, on_drain, OUTPUT_MS + ANSWER_MS, 0);
	if (link->asking != NULL)
		transport_call_cancel(link->asking);
}

enum fl_code link_open(struct link **ret_link, uv_loop_t *loop, const struct link_config *config,
	const struct link_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct link *link = FL_NEW(struct link);
	enum fl_code code;

	if (link == NULL)
		return FL_FAIL_NO_MEMORY(err);
	link->loop = loop;
	link->handlers = handlers;
	link->userdata = userdata;
	link->session = fl_random_id();
	link->lease_ms = LEASE_DEFAULT_MS;
	link->with_info = link->all_wanted = true;
	link->credentials = tls_credentials_ref(config->credentials);
	link->machine_id = fl_strdup(config->machine_id);
	code = link->machine_id != NULL ? fl_strv_copy(&link->urls, config->urls, err)
					: FL_FAIL_NO_MEMORY(err);
	if (code == FL_OK)
		code = client_open(link, err);
	if (code != FL_OK) {
		tls_credentials_unref(link->credentials);
		fl_strv_fini(&link->urls);
		free(link->machine_id);
		free(link);
		return code;
	}
	fl_fsm_init(&link->sync, &sync_fsm_def, "sync");
	fl_fsm_init(&link->report, &report_fsm_def, "report");
	(void)uv_timer_init(loop, &link->pause);
	(void)uv_timer_init(loop, &link->beat);
	(void)uv_timer_init(loop, &link->drain);
	link->pause.data = link->beat.data = link->drain.data = link;
	(void)uv_timer_start(&link->pause, on_pause, 0, 0);
	beat_after(link, 1); /* behind the first question */
	*ret_link = link;
	return FL_OK;
}

static void finish_close(struct link *link)
{
	void (*closed)(void *userdata) = link->closed;
	void *userdata = link->closed_userdata;

	if (closed == NULL || link->closing > 0 || link->clients > 0)
		return;
	tls_credentials_unref(link->credentials);
	fl_strv_fini(&link->urls);
	free(link->machine_id);
	free(link);
	closed(userdata);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct link *link = handle->data;

	link->closing--;
	finish_close(link);
}

void link_close(struct link *link, void (*closed)(void *userdata), void *userdata)
{
	uv_timer_t *const timers[] = {&link->pause, &link->beat, &link->drain};

	fl_fsm_move(&link->sync, SYNC_CLOSED, "closed");
	fl_fsm_move(&link->report, REPORT_CLOSED, "closed");
	link->closed = closed;
	link->closed_userdata = userdata;
	for (size_t i = 0; i < FL_COUNT(timers); i++) {
		link->closing++;
		uv_close((uv_handle_t *)timers[i], on_timer_closed);
	}
	drop_old(link);
	if (link->client != NULL)
		transport_client_close(FL_TAKE(link->client), on_client_closed, link);
}
