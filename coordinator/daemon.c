/*
 * The daemon's life:
 *
 *	load      the store into the core, before the loop runs
 *	begin     what the core made of it becomes durable
 *	serve     then it listens, and says READY=1
 *	stop      SIGTERM: new requests are refused, the last batch becomes durable, everything is
 *	          closed from the outside in: calls, server, store, loop
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/fsm.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/random.h"
#include "coordinator/agents.h"
#include "coordinator/attempts.h"
#include "coordinator/authority.h"
#include "coordinator/batch.h"
#include "coordinator/calls.h"
#include "coordinator/commands.h"
#include "coordinator/descriptors.h"
#include "coordinator/exchange.h"
#include "coordinator/followers.h"
#include "coordinator/gate.h"
#include "coordinator/https.h"
#include "coordinator/services.h"
#include "coordinator/store/sqlite.h"
#include "coordinator/tokens.h"
#include "coordinator/watches.h"
#include "transport/server.h"

#define STOP_MAX_MS         5000U /* what is not durable by then never was acknowledged */
#define TICK_RETRY_MS       1000U /* of a core that was out of memory */
#define PEER_REQUESTS_MAX   256U /* held by one connection */
#define PEER_BYTES_MAX      (16U << 20)
#define TRIM_AFTER_GONE     100U /* connections, until memory goes back to the system */
#define TRIM_AFTER_MS       1000U
#define LOAD_PROGRESS_EVERY 100000U

#define LIFE_STATES(X) \
	X(LIFE, BEGINNING, FL_TO(LIFE, SERVING) | FL_TO(LIFE, STOPPING)) \
	X(LIFE, SERVING, FL_TO(LIFE, STOPPING)) \
	X(LIFE, STOPPING, FL_TO(LIFE, CLOSING)) \
	X(LIFE, CLOSING, 0)
FL_FSM_DEFINE(life, LIFE_STATES)

struct daemon {
	struct coordinator coordinator;
	struct fl_fsm life;
	uv_loop_t loop;
	uv_prepare_t prepare;
	uv_timer_t timer;
	uint64_t timer_at_ms; /* UINT64_MAX = not running */
	uv_signal_t signals[2];
	struct deadline stop, watchdog;
	uint64_t began_ms;
	uint64_t tick_not_before_ms;
	struct deadline trim;
	unsigned gone; /* connections since memory was last given back */
	struct https *https; /* NULL: none */
	enum fl_code code; /* what it ends with */
	struct fl_error err;
};

static struct daemon *daemon_of(struct coordinator *coordinator)
{
	return FL_CONTAINER(coordinator, struct daemon, coordinator);
}

enum fl_code coordinator_step(struct coordinator *coordinator, const struct core_event *event,
	struct core_answer *ret_answer, struct fl_error *err)
{
	return core_step(coordinator->core, event, fl_clock_boot_ms(), &coordinator->effects,
		ret_answer, err);
}

/* ---- Stopping -- */

static void on_store_closed(void *userdata)
{
	struct daemon *daemon = userdata;

	uv_close((uv_handle_t *)&daemon->prepare, NULL);
	uv_close((uv_handle_t *)&daemon->timer, NULL);
	for (size_t i = 0; i < FL_COUNT(daemon->signals); i++)
		uv_close((uv_handle_t *)&daemon->signals[i], NULL);
}

static void on_server_closed(void *userdata)
{
	struct daemon *daemon = userdata;

	store_close(daemon->coordinator.store, on_store_closed, daemon);
}

static void close_all(struct daemon *daemon)
{
	fl_fsm_move(&daemon->life, LIFE_CLOSING, "all is on disk, or never will be");
	deadlines_clear(daemon->coordinator.deadlines, &daemon->stop);
	deadlines_clear(daemon->coordinator.deadlines, &daemon->watchdog);
	calls_end_all(daemon->coordinator.calls);
	https_close(FL_TAKE(daemon->https));
	if (daemon->coordinator.server != NULL)
		transport_server_close(daemon->coordinator.server, on_server_closed, daemon);
	else
		on_server_closed(daemon);
}

static void on_stop_expired(struct deadline *deadline, uint64_t now_ms)
{
	struct daemon *daemon = FL_CONTAINER(deadline, struct daemon, stop);

	(void)now_ms;
	fl_log(FL_WARNING, "coordinator.stop_expired", "after_ms=%u", STOP_MAX_MS);
	close_all(daemon);
}

/* What is under way becomes durable and is answered; the loop's next turn looks whether it is. */
static void stop(struct daemon *daemon, const char *why)
{
	if (daemon->life.state == LIFE_STOPPING || daemon->life.state == LIFE_CLOSING)
		return;
	fl_notify("STOPPING=1");
	fl_log(FL_INFO, "coordinator.stopping", "why=%s", why);
	fl_fsm_move(&daemon->life, LIFE_STOPPING, why);
	daemon->coordinator.stopping = true;
	if (deadlines_set(daemon->coordinator.deadlines, &daemon->stop,
		    fl_clock_boot_ms() + STOP_MAX_MS, NULL) != FL_OK)
		close_all(daemon);
}

static void on_signal(uv_signal_t *handle, int number)
{
	stop(handle->data, strsignal(number));
}

/* ---- Serving -- */

static void on_request(struct transport_request *request, void *userdata)
{
	exchange_begin(userdata, request);
}

static void on_request_gone(struct transport_request *request, void *userdata)
{
	(void)userdata;
	exchange_gone(request);
}

/* TRANSPORT.md, "Scale": thousands of connections leave their memory scattered. */
static void on_trim(struct deadline *deadline, uint64_t now_ms)
{
	(void)deadline;
	(void)now_ms;
	(void)malloc_trim(0);
}

static void on_peer_gone(void *userdata)
{
	struct daemon *daemon = daemon_of(userdata);

	if (++daemon->gone < TRIM_AFTER_GONE)
		return;
	daemon->gone = 0;
	/* Others follow, as a rule. */
	(void)!deadlines_set(daemon->coordinator.deadlines, &daemon->trim,
		fl_clock_boot_ms() + TRIM_AFTER_MS, NULL);
}

/* ipc:///run/flota/coordinator/socket wants its folder. */
static enum fl_code make_socket_folders(const struct config *config, struct fl_error *err)
{
	static const char scheme[] = "ipc://";

	for (size_t i = 0; i < config->listen.n; i++) {
		const char *url = config->listen.items[i];
		FL_CLEANUP(fl_freep) char *folder = NULL;
		char *slash;

		if (strncmp(url, scheme, strlen(scheme)) != 0)
			continue;
		folder = fl_strdup(url + strlen(scheme));
		if (folder == NULL)
			return FL_FAIL_NO_MEMORY(err);
		slash = strrchr(folder, '/');
		if (slash == NULL || slash == folder)
			continue;
		*slash = '\0';
		FL_TRY(fl_mkdir_all(folder, 0755, err));
	}
	return FL_OK;
}

static enum fl_code listen_on_all(struct daemon *daemon, struct fl_error *err)
{
	static const struct transport_server_handlers handlers = {
		.request = on_request,
		.request_gone = on_request_gone,
		.peer_gone = on_peer_gone,
	};
	const struct transport_server_config config = {
		.urls = (const char *const *)daemon->coordinator.config->listen.items,
		.doors = daemon->coordinator.ca != NULL
				 ? (const char *const *)daemon->coordinator.config->doors.items
				 : NULL,
		.credentials = authority_credentials(daemon->coordinator.authority),
		.revoked = daemon->coordinator.revoked,
		.message_max = LIMIT_MESSAGE,
		.peer_requests_max = PEER_REQUESTS_MAX,
		.peer_bytes_max = PEER_BYTES_MAX,
	};

	FL_TRY(make_socket_folders(daemon->coordinator.config, err));
	return transport_server_open(&daemon->coordinator.server, &daemon->loop, &config, &handlers,
		&daemon->coordinator, err);
}

/* Only beside the CA: a certificate of the fleet's is what machines trust that do not know it yet. */
static enum fl_code open_https(struct daemon *daemon, struct fl_error *err)
{
	const struct config *config = daemon->coordinator.config;
	const char *directory = config->data_directory;
	FL_CLEANUP(fl_freep) char *certificate = fl_printf("%s/coordinator.crt", directory);
	FL_CLEANUP(fl_freep) char *key = fl_printf("%s/coordinator.key", directory);
	FL_CLEANUP(fl_freep) char *agents = fl_printf("%s/agents", directory);
	const struct https_config https = {.address = config->https_address,
		.port = config->https_port,
		.certificate = certificate,
		.key = key,
		.directory = agents};

	if (!config->has_https || daemon->coordinator.ca == NULL)
		return FL_OK;
	if (certificate == NULL || key == NULL || agents == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(https_open(&daemon->https, &https, err));
	fl_log(FL_INFO, "coordinator.https", "address=%s port=%u",
		config->https_address != NULL ? config->https_address : "*",
		(unsigned)https_port(daemon->https));
	return FL_OK;
}

static void serve(struct daemon *daemon)
{
	const struct config *config = daemon->coordinator.config;
	const struct core *core = daemon->coordinator.core;

	daemon->code = listen_on_all(daemon, &daemon->err);
	if (daemon->code == FL_OK)
		daemon->code = open_https(daemon, &daemon->err);
	if (daemon->code != FL_OK) {
		stop(daemon, "cannot listen");
		return;
	}
	authority_begin(daemon->coordinator.authority);
	fl_fsm_move(&daemon->life, LIFE_SERVING, "the store has all that the core began with");
	for (size_t i = 0; i < config->listen.n; i++)
		fl_log(FL_INFO, "coordinator.listening", "url=%s port=%u", config->listen.items[i],
			(unsigned)transport_server_port(daemon->coordinator.server, (unsigned)i));
	for (size_t i = 0; i < config->doors.n && daemon->coordinator.ca != NULL; i++)
		fl_log(FL_INFO, "coordinator.door", "url=%s port=%u", config->doors.items[i],
			(unsigned)transport_server_port(
				daemon->coordinator.server, (unsigned)(config->listen.n + i)));
	fl_log(FL_NOTICE, "coordinator.ready",
		"fleet=%s units=%zu machines=%zu revision=%" PRIu64 " after_ms=%" PRIu64
		" version=" FLOTA_VERSION,
		core_fleet(core), core_unit_count(core), core_machine_count(core),
		core_revision(core), fl_clock_boot_ms() - daemon->began_ms);
	fl_notify("READY=1\nSTATUS=Serving.");
}

/* ---- The loop -- */

static enum fl_code start_watchdog(struct daemon *daemon, struct fl_error *err)
{
	uint64_t ms = fl_watchdog_ms();

	if (ms == 0)
		return FL_OK;
	return deadlines_set(
		daemon->coordinator.deadlines, &daemon->watchdog, fl_clock_boot_ms() + ms, err);
}

static void on_watchdog(struct deadline *deadline, uint64_t now_ms)
{
	(void)now_ms;
	fl_notify("WATCHDOG=1");
	/* Its place is there. */
	(void)!start_watchdog(FL_CONTAINER(deadline, struct daemon, watchdog), NULL);
}

static void on_timer(uv_timer_t *handle)
{
	struct daemon *daemon = handle->data;
	struct coordinator *coordinator = &daemon->coordinator;
	const struct core_event tick = {.kind = CORE_TICK};
	uint64_t now_ms = fl_clock_boot_ms();
	struct core_answer answer = {0};
	struct fl_error err = {0};

	daemon->timer_at_ms = UINT64_MAX;
	deadlines_expire(coordinator->deadlines, now_ms);
	if (core_next_deadline(coordinator->core) > now_ms || daemon->tick_not_before_ms > now_ms)
		return;
	if (coordinator_step(coordinator, &tick, &answer, &err) != FL_OK) {
		fl_log(FL_ERROR, "coordinator.tick_failed", "error=%s", fl_error_text(&err));
		daemon->tick_not_before_ms = now_ms + TICK_RETRY_MS;
	}
}

static void arm_timer(struct daemon *daemon)
{
	uint64_t at_ms = core_next_deadline(daemon->coordinator.core);
	uint64_t other_ms = deadlines_next(daemon->coordinator.deadlines);
	uint64_t now_ms;

	if (at_ms < daemon->tick_not_before_ms)
		at_ms = daemon->tick_not_before_ms;
	if (other_ms < at_ms)
		at_ms = other_ms;
	if (at_ms == daemon->timer_at_ms)
		return;
	daemon->timer_at_ms = at_ms;
	if (at_ms == UINT64_MAX) {
		(void)uv_timer_stop(&daemon->timer);
		return;
	}
	now_ms = fl_clock_boot_ms();
	/* libuv's clock stands still while the loop works. */
	uv_update_time(&daemon->loop);
	(void)uv_timer_start(&daemon->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

/* Before the loop sleeps, when all that was there is handled. */
static void on_prepare(uv_prepare_t *handle)
{
	struct daemon *daemon = handle->data;

	if (daemon->life.state == LIFE_CLOSING)
		return;
	batch_flush(daemon->coordinator.batch);
	if (daemon->life.state == LIFE_STOPPING && batch_is_idle(daemon->coordinator.batch)) {
		close_all(daemon);
		return;
	}
	arm_timer(daemon);
}

void coordinator_certified(struct coordinator *coordinator)
{
	struct daemon *daemon = daemon_of(coordinator);

	transport_server_set_credentials(
		coordinator->server, authority_credentials(coordinator->authority));
	if (daemon->https != NULL)
		https_reload(daemon->https);
}

void coordinator_durable(struct coordinator *coordinator)
{
	struct daemon *daemon = daemon_of(coordinator);

	if (daemon->life.state == LIFE_BEGINNING)
		serve(daemon);
}

/* ---- Beginning -- */

struct loading {
	struct core *core;
	size_t records;
	bool has_meta;
};

static enum fl_code load_record(const char *key, const void *value, size_t len, uint64_t revision,
	void *userdata, struct fl_error *err)
{
	struct loading *loading = userdata;

	(void)revision;
	loading->has_meta = loading->has_meta || strcmp(key, CORE_KEY_META) == 0;
	if (++loading->records % LOAD_PROGRESS_EVERY == 0)
		fl_log(FL_INFO, "coordinator.loading", "records=%zu", loading->records);
	return core_load(loading->core, key, value, len, err);
}

static enum fl_code load_core(struct daemon *daemon, struct fl_error *err)
{
	struct coordinator *coordinator = &daemon->coordinator;
	struct loading loading = {0};
	char store_id[33];
	const struct core_config config = {
		.lease_ms = (uint32_t)coordinator->config->lease_ms,
		.memory_overcommit_permille =
			(uint32_t)coordinator->config->memory_overcommit_permille,
		.cpu_overcommit_permille = (uint32_t)coordinator->config->cpu_overcommit_permille,
		.wall_offset_ms = fl_clock_real_us() / 1000 - fl_clock_boot_ms(),
		.store_id = store_id,
		.fleet = coordinator->fleet,
	};

	(void)snprintf(store_id, sizeof(store_id), "%016" PRIx64 "%016" PRIx64, fl_random_id(),
		fl_random_id());
	FL_TRY(core_new(&coordinator->core, &config, err));
	loading.core = coordinator->core;
	FL_TRY(store_list(coordinator->store, load_record, &loading, err));
	if (loading.records > 0 && !loading.has_meta)
		return FL_FAIL(err, FL_E_STORE,
			"%s/store.sqlite has records, but not the one that says of which fleet they "
			"are: put a backup in its place",
			coordinator->config->data_directory);
	FL_TRY(core_loaded(coordinator->core, fl_clock_boot_ms(), &coordinator->effects, err));
	if (strcmp(core_fleet(coordinator->core), coordinator->fleet) != 0)
		return FL_FAIL(err, FL_E_INVALID,
			"the store in %s is of the fleet \"%s\", the certificate of \"%s\"",
			coordinator->config->data_directory, core_fleet(coordinator->core),
			coordinator->fleet);
	return FL_OK;
}

static enum fl_code make_publisher(struct coordinator *coordinator, struct fl_error *err)
{
	FL_CLEANUP(fl_freep)
	char *agents = fl_printf("%s/agents", coordinator->config->data_directory);

	if (agents == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return publisher_new(&coordinator->publisher, agents, err);
}

static enum fl_code make_parts(struct coordinator *coordinator, struct fl_error *err)
{
	FL_TRY(deadlines_new(&coordinator->deadlines, err));
	FL_TRY(authority_open(&coordinator->authority, coordinator, err));
	FL_TRY(descriptors_new(&coordinator->descriptors, coordinator->deadlines, err));
	FL_TRY(accounts_new(&coordinator->accounts, err));
	FL_TRY(attempts_new(&coordinator->attempts, err));
	FL_TRY(agents_new(&coordinator->agents, err));
	FL_TRY(calls_new(&coordinator->calls, err));
	FL_TRY(followers_new(&coordinator->followers, err));
	FL_TRY(tokens_new(&coordinator->tokens, err));
	FL_TRY(make_publisher(coordinator, err));
	FL_TRY(watches_new(&coordinator->watches, err));
	return batch_new(&coordinator->batch, coordinator, err);
}

static void free_parts(struct coordinator *coordinator)
{
	batch_free(coordinator->batch);
	if (coordinator->calls != NULL)
		calls_free(coordinator->calls);
	watches_free(coordinator->watches);
	publisher_free(coordinator->publisher);
	tokens_free(coordinator->tokens);
	followers_free(coordinator->followers);
	agents_free(coordinator->agents);
	attempts_free(coordinator->attempts);
	accounts_free(coordinator->accounts);
	revoked_unref(coordinator->revoked);
	authority_free(coordinator->authority);
	core_effects_fini(&coordinator->effects);
	core_free(coordinator->core);
	descriptors_free(coordinator->descriptors);
	deadlines_free(coordinator->deadlines);
}

static void open_handles(struct daemon *daemon)
{
	static const int numbers[FL_COUNT(daemon->signals)] = {SIGTERM, SIGINT};

	(void)uv_prepare_init(&daemon->loop, &daemon->prepare);
	daemon->prepare.data = daemon;
	(void)uv_prepare_start(&daemon->prepare, on_prepare);
	(void)uv_timer_init(&daemon->loop, &daemon->timer);
	daemon->timer.data = daemon;
	daemon->timer_at_ms = UINT64_MAX;
	for (size_t i = 0; i < FL_COUNT(daemon->signals); i++) {
		(void)uv_signal_init(&daemon->loop, &daemon->signals[i]);
		daemon->signals[i].data = daemon;
		(void)uv_signal_start(&daemon->signals[i], on_signal, numbers[i]);
	}
}

/* A connection is a file descriptor: 10,000 agents want more than the usual 1024. */
static void raise_limits(void)
{
	struct rlimit limit;

	(void)mallopt(M_ARENA_MAX, 2);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fl_log(FL_WARNING, "coordinator.few_files", "error=%s", strerrordesc_np(errno));
}

/* Until the loop runs an error only needs the store closed. */
static enum fl_code begin(struct daemon *daemon, struct fl_error *err)
{
	struct coordinator *coordinator = &daemon->coordinator;
	enum fl_code code;

	FL_TRY(make_parts(coordinator, err));
	FL_TRY(start_watchdog(daemon, err));
	coordinator->fleet = authority_fleet(coordinator->authority);
	FL_TRY(store_open_sqlite(
		&coordinator->store, &daemon->loop, coordinator->config->data_directory, err));
	code = load_core(daemon, err);
	if (code == FL_OK)
		code = gate_load(coordinator, err);
	if (code != FL_OK)
		store_close(coordinator->store, NULL, NULL);
	else
		open_handles(daemon);
	return code;
}

static enum fl_code run(struct daemon *daemon, struct fl_error *err)
{
	enum fl_code code = begin(daemon, err);

	(void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
	free_parts(&daemon->coordinator);
	if (code == FL_OK && daemon->code != FL_OK) {
		*err = daemon->err;
		code = daemon->code;
	}
	if (code == FL_OK)
		fl_log(FL_INFO, "coordinator.stopped", "code=0");
	return code;
}

enum fl_code command_run(const struct config *config, int argc, char **argv, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct daemon *daemon = NULL;
	enum fl_code code;

	if (argc > 1)
		return FL_FAIL(err, FL_E_USAGE, "%s takes no \"%s\"", argv[0], argv[1]);
	raise_limits();
	daemon = FL_NEW(struct daemon);
	if (daemon == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (uv_loop_init(&daemon->loop) < 0)
		return FL_FAIL(err, FL_E_INTERNAL, "the event loop cannot be made");
	fl_fsm_init(&daemon->life, &life_fsm_def, config->data_directory);
	core_effects_init(&daemon->coordinator.effects);
	daemon->coordinator.loop = &daemon->loop;
	daemon->coordinator.config = config;
	daemon->stop.expired = on_stop_expired;
	daemon->trim.expired = on_trim;
	daemon->watchdog.expired = on_watchdog;
	daemon->began_ms = fl_clock_boot_ms();
	code = run(daemon, err);
	if (uv_loop_close(&daemon->loop) != 0)
		fl_log(FL_ERROR, "coordinator.loop_busy", "%s", "a handle was left open");
	return code;
}
