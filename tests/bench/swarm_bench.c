/*
 * A fleet's worth of agents against a real flota-coordinator: `swarm [AGENTS [SECONDS]]` (1,000
 * and 30; at most as many as a process may have open files).
 *
 *	processes of SHARD agents                   a process of its own
 *	-------------------------                   --------------------
 *	agents: mutual TLS, each with its own  ──▶  flota-coordinator (of $FLOTA_BIN)
 *	certificate; one question held, a           or, for the floor, a bare transport server that
 *	heartbeat each 10 s                         holds and echoes
 *	operator: the local socket             ──▶
 *
 * Measured, in turn against both: the server's memory for each agent, its processor time for
 * heartbeats, and pushes: from the moment when a change is asked for (of the floor: a byte down a
 * pipe) until the machine has it, or the last of all machines. Its store is in memory (/dev/shm):
 * the disk has store_bench. Both ends share this machine, so that a push to all has the agents' work
 * in it too; so it is measured a second time with the agents stopped, as if each had a machine of
 * its own: until there is something in the receive queue of the last one's socket.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "coordinator/ca.h"
#include "proto/wire.h"
#include "tests/bench/swarm_floor.h"
#include "transport/client.h"

#define FLEET          "swarm"
#define BEAT_MS        10000U
#define LEASE          "--lease=30s" /* so that agents beat every 10 s */
#define POLL_MS        60000U /* as an agent's */
#define CALL_MS        120000U
#define SHARD          250U /* agents: libuv looks at all its mailboxes whenever one has something */
#define CONNECTING     4U /* at a time and shard: a handshake is a millisecond of work for both */
#define GO_MS          10U
#define PUSHES         200U
#define PUSHES_ALL     5U
#define FILES_SPARE    100U
#define SHARDS_MAX     256U
#define QUEUES_LOOK_US 10000U
#define CERTIFICATE_S  86400

struct swarm;

/* What all processes see. */
struct shared {
	atomic_bool go; /* all may connect; before, one does */
	atomic_uint n_synced, n_pushed, n_beats, n_failed;
	atomic_uint_fast64_t last_push_us;
};

struct agent {
	struct swarm *swarm;
	struct transport_client *client;
	uv_timer_t beat;
	char id[33];
	char store_id[40];
	uint64_t session, revision;
	bool synced, beating;
};

struct swarm {
	uv_loop_t loop;
	bool floor; /* the server is not the coordinator */
	pid_t server;
	int control; /* the floor's pipe */
	char *folder, *url, *ipc_url;
	struct ca *ca;
	struct shared *shared;
	unsigned n_agents;
	unsigned port;
	pid_t shards[SHARDS_MAX];
	unsigned n_shards;

	/* In a shard. */
	uv_timer_t go;
	struct agent *agents;
	unsigned first, n_mine, n_opened;

	struct transport_client *operator;
	bool answered;
};

static void must(enum fl_code code, const struct fl_error *err)
{
	if (code == FL_OK)
		return;
	fprintf(stderr, "swarm: %s\n", fl_error_text(err));
	exit(1);
}

static void *must_have(void *memory)
{
	if (memory == NULL) {
		fprintf(stderr, "swarm: out of memory\n");
		exit(1);
	}
	return memory;
}

static void must_be(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "swarm: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- Agents -- */

static void agent_call(
	struct agent *agent, Pb__Envelope *envelope, uint32_t timeout_ms, transport_call_done done)
{
	uint8_t kind = envelope->sync_request != NULL &&
				       envelope->body_case == PB__ENVELOPE__BODY_SYNC_REQUEST
			       ? FLOOR_HOLD
			       : FLOOR_ECHO;
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	struct fl_error err = {0};
	size_t len;

	envelope->request_id = fl_random_id();
	must(wire_pack(envelope, &data, &len, &err), &err);
	if (agent->swarm->floor)
		data[0] = kind;
	must(transport_client_call(agent->client, data, len, timeout_ms, done, agent, NULL, &err),
		&err);
}

static void open_next(struct swarm *swarm);
static void agent_ask(struct agent *agent);

static bool take_sync(struct agent *agent, const uint8_t *data, size_t len)
{
	Pb__Envelope *envelope = NULL;
	struct fl_error err = {0};
	bool changes;

	must(wire_unpack(data, len, &envelope, NULL, &err), &err);
	must(wire_reply_error(envelope, &err), &err);
	agent->revision = envelope->sync_reply->revision;
	(void)snprintf(
		agent->store_id, sizeof(agent->store_id), "%s", envelope->sync_reply->store_id);
	changes = envelope->sync_reply->n_assignments > 0;
	wire_free(envelope);
	return changes;
}

static void on_sync(enum fl_code code, const uint8_t *data, size_t len, const struct fl_error *err,
	void *userdata)
{
	struct agent *agent = userdata;
	struct swarm *swarm = agent->swarm;
	uint64_t now_us = fl_clock_boot_us();
	bool changes;

	if (code == FL_E_CANCELED)
		return;
	if (code == FL_OK) {
		changes = swarm->floor || take_sync(agent, data, len);
		if (changes && agent->synced) {
			atomic_store(&swarm->shared->last_push_us, now_us);
			atomic_fetch_add(&swarm->shared->n_pushed, 1);
		}
		if (!swarm->floor && !agent->synced) {
			agent->synced = true;
			atomic_fetch_add(&swarm->shared->n_synced, 1);
			open_next(swarm);
		}
	} else {
		atomic_fetch_add(&swarm->shared->n_failed, 1);
		fprintf(stderr, "swarm: %s: %s\n", agent->id, fl_error_text(err));
	}
	agent_ask(agent);
}

static void agent_ask(struct agent *agent)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__SyncRequest request = PB__SYNC_REQUEST__INIT;
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	Pb__Capacity capacity = PB__CAPACITY__INIT;

	capacity.cpus = 8;
	capacity.memory_bytes = UINT64_C(32) << 30;
	info.boot_id = info.hostname = agent->id;
	info.agent_version = (char *)FLOTA_VERSION;
	info.capacity = &capacity;
	request.machine_id = agent->id;
	request.session = agent->session;
	request.store_id = agent->store_id;
	request.revision = agent->revision;
	request.info = agent->synced ? NULL : &info;
	envelope.deadline_ms = POLL_MS;
	envelope.body_case = PB__ENVELOPE__BODY_SYNC_REQUEST;
	envelope.sync_request = &request;
	agent_call(agent, &envelope, CALL_MS, on_sync);
}

static void on_beat_answer(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct agent *agent = userdata;
	struct swarm *swarm = agent->swarm;

	(void)data;
	(void)len;
	if (code == FL_E_CANCELED)
		return;
	if (code != FL_OK) {
		atomic_fetch_add(&swarm->shared->n_failed, 1);
		fprintf(stderr, "swarm: %s: %s\n", agent->id, fl_error_text(err));
	}
	atomic_fetch_add(&swarm->shared->n_beats, 1);
	/* The bare server answers no question: the first echo says that it is there. */
	if (swarm->floor && !agent->synced) {
		agent->synced = true;
		atomic_fetch_add(&swarm->shared->n_synced, 1);
		open_next(swarm);
	}
}

static void on_beat(uv_timer_t *timer)
{
	struct agent *agent = FL_CONTAINER(timer, struct agent, beat);
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ReportRequest report = PB__REPORT_REQUEST__INIT;
	Pb__Capacity capacity = PB__CAPACITY__INIT;

	if (!agent->synced && !agent->swarm->floor)
		return;
	capacity.cpus = 8;
	capacity.memory_bytes = UINT64_C(32) << 30;
	capacity.memory_available_bytes = UINT64_C(30) << 30;
	report.machine_id = agent->id;
	report.session = agent->session;
	report.revision = agent->revision;
	report.capacity = &capacity;
	/* The first is a whole one, as an agent's. */
	report.all = !agent->beating;
	agent->beating = true;
	envelope.deadline_ms = BEAT_MS;
	envelope.body_case = PB__ENVELOPE__BODY_REPORT_REQUEST;
	envelope.report_request = &report;
	agent_call(agent, &envelope, CALL_MS, on_beat_answer);
}

static struct tls_credentials *agent_credentials(const struct swarm *swarm, const char *id)
{
	FL_CLEANUP(fl_freep)
	char *certificate = must_have(fl_printf("%s/%u.crt", swarm->folder, swarm->first));
	FL_CLEANUP(fl_freep)
	char *key = must_have(fl_printf("%s/%u.key", swarm->folder, swarm->first));
	FL_CLEANUP(fl_freep) char *ca = must_have(fl_printf("%s/ca.crt", swarm->folder));
	struct identity identity = {.kind = IDENTITY_MACHINE, .fleet = FLEET};
	struct tls_credentials *credentials = NULL;
	struct ca_pair pair = {0};
	struct fl_error err = {0};

	(void)snprintf(identity.name, sizeof(identity.name), "%s", id);
	must(ca_issue(swarm->ca, &identity, NULL, time(NULL) + CERTIFICATE_S, &pair, &err), &err);
	must(fl_file_write(
		     certificate, pair.certificate, strlen(pair.certificate), 0600, false, &err),
		&err);
	must(fl_file_write(key, pair.key, strlen(pair.key), 0600, false, &err), &err);
	must(tls_credentials_load(
		     &(struct tls_files){.ca = ca, .certificate = certificate, .key = key},
		     &credentials, &err),
		&err);
	ca_pair_fini(&pair);
	return credentials;
}

static void agent_id(unsigned number, char id[33])
{
	(void)snprintf(id, 33, "%08x%024x", number * 2654435761U, number);
}

static void agent_open(struct swarm *swarm, struct agent *agent, unsigned number)
{
	struct transport_client_config config = {.url = swarm->url,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = 100,
		.reconnect_max_ms = 5000};
	struct fl_error err = {0};

	agent->swarm = swarm;
	agent_id(number, agent->id);
	agent->session = fl_random_id();
	config.credentials = agent_credentials(swarm, agent->id);
	must(transport_client_open(&agent->client, &swarm->loop, &config,
		     &(struct transport_client_handlers){0}, agent, &err),
		&err);
	tls_credentials_unref(config.credentials);
	(void)uv_timer_init(&swarm->loop, &agent->beat);
	agent_ask(agent);
	if (swarm->floor)
		on_beat(&agent->beat);
	(void)uv_timer_start(&agent->beat, on_beat, fl_random_below(BEAT_MS), BEAT_MS);
}

static void open_next(struct swarm *swarm)
{
	if (swarm->n_opened == swarm->n_mine)
		return;
	agent_open(swarm, &swarm->agents[swarm->n_opened], swarm->first + swarm->n_opened);
	swarm->n_opened++;
}

static void on_go(uv_timer_t *timer)
{
	struct swarm *swarm = FL_CONTAINER(timer, struct swarm, go);

	if (!atomic_load(&swarm->shared->go))
		return;
	(void)uv_timer_stop(timer);
	for (unsigned i = 0; i < CONNECTING; i++)
		open_next(swarm);
}

/* Forked before this process has any of nng's threads; ends with it. */
static void shard_start(struct swarm *parent, unsigned first)
{
	struct swarm swarm = *parent;
	unsigned left = parent->n_agents - first;
	pid_t pid = fork();

	must_be(pid >= 0, "fork");
	if (pid != 0) {
		parent->shards[parent->n_shards++] = pid;
		return;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	swarm.first = first;
	/* The first of all tells that the server is there, and is alone until it has. */
	swarm.n_mine = 1;
	swarm.agents = must_have(fl_new_array(SHARD, sizeof(*swarm.agents)));
	(void)uv_loop_init(&swarm.loop);
	if (first == 0)
		open_next(&swarm);
	swarm.n_mine = left < SHARD ? left : SHARD;
	(void)uv_timer_init(&swarm.loop, &swarm.go);
	(void)uv_timer_start(&swarm.go, on_go, GO_MS, GO_MS);
	(void)uv_run(&swarm.loop, UV_RUN_DEFAULT);
	_exit(1);
}

/* ---- The operator -- */

static void on_change(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	struct swarm *swarm = userdata;
	Pb__Envelope *envelope = NULL;
	struct fl_error why = {0};

	must(code, err);
	must(wire_unpack(data, len, &envelope, NULL, &why), &why);
	must(wire_reply_error(envelope, &why), &why);
	if (envelope->body_case == PB__ENVELOPE__BODY_CHANGE_REPLY &&
		envelope->change_reply->results[0]->error != NULL) {
		fprintf(stderr, "swarm: %s\n", envelope->change_reply->results[0]->error->text);
		exit(1);
	}
	wire_free(envelope);
	swarm->answered = true;
}

static void operator_ask(struct swarm *swarm, Pb__Envelope *envelope)
{
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	struct fl_error err = {0};
	size_t len;

	swarm->answered = false;
	envelope->request_id = fl_random_id();
	must(wire_pack(envelope, &data, &len, &err), &err);
	must(transport_client_call(
		     swarm->operator, data, len, CALL_MS, on_change, swarm, NULL, &err),
		&err);
}

static void operator_launch(struct swarm *swarm, const char *name, const char *rule)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ChangeRequest request = PB__CHANGE_REQUEST__INIT;
	Pb__Change change = PB__CHANGE__INIT;
	char content[512];

	(void)snprintf(content, sizeof(content),
		"[Unit]\nDescription=A tenant's service\n[Service]\n"
		"ExecStart=/usr/bin/podman run --rm --name web registry.example.org/web:1.25\n"
		"Restart=always\n[X-Fleet]\n%s\n",
		rule);
	change.verb = PB__CHANGE__VERB__SET;
	change.desired = PB__DESIRED_STATE__LAUNCHED;
	change.name = (char *)name;
	change.content.data = (uint8_t *)content;
	change.content.len = strlen(content);
	request.n_changes = 1;
	request.changes = (Pb__Change *[]){&change};
	request.token = fl_random_id();
	envelope.body_case = PB__ENVELOPE__BODY_CHANGE_REQUEST;
	envelope.change_request = &request;
	operator_ask(swarm, &envelope);
}

static void operator_open(struct swarm *swarm)
{
	struct transport_client_config config = {.url = swarm->ipc_url,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = 10,
		.reconnect_max_ms = 100};
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__HelloRequest hello = PB__HELLO_REQUEST__INIT;
	struct fl_error err = {0};

	must(transport_client_open(&swarm->operator, & swarm->loop, &config,
		     &(struct transport_client_handlers){0}, swarm, &err),
		&err);
	envelope.body_case = PB__ENVELOPE__BODY_HELLO_REQUEST;
	envelope.hello_request = &hello;
	operator_ask(swarm, &envelope);
	while (!swarm->answered)
		(void)uv_run(&swarm->loop, UV_RUN_ONCE);
}

/* ---- Servers -- */

static void command(const char *program, const char *const *words)
{
	pid_t pid = fork();
	int status = 0;

	must_be(pid >= 0, "fork");
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		(void)dup2(null, STDOUT_FILENO);
		(void)execv(program, (char *const *)words);
		_exit(127);
	}
	must_be(waitpid(pid, &status, 0) == pid && status == 0, program);
}

/* Forked before this process has any of nng's threads. */
static void server_start(struct swarm *swarm, const char *program)
{
	FL_CLEANUP(fl_freep)
	char *data = must_have(fl_printf("--data-directory=%s", swarm->folder));
	FL_CLEANUP(fl_freep) char *listen = must_have(fl_printf("--listen=%s", swarm->url));
	FL_CLEANUP(fl_freep) char *local = must_have(fl_printf("--listen=%s", swarm->ipc_url));
	int fds[2];

	must_be(pipe2(fds, O_CLOEXEC) == 0, "pipe");
	swarm->server = fork();
	must_be(swarm->server >= 0, "fork");
	if (swarm->server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (swarm->floor) {
			(void)close(fds[1]);
			floor_run(swarm->folder, swarm->url, swarm->n_agents, fds[0]);
		}
		(void)execl(program, program, data, listen, local, "--door=none", LEASE,
			"--log-level=warning", "run", NULL);
		_exit(127);
	}
	(void)close(fds[0]);
	swarm->control = fds[1];
}

/* ---- What the server costs -- */

static unsigned long server_kb(const struct swarm *swarm)
{
	FL_CLEANUP(fl_freep)
	char *path = must_have(fl_printf("/proc/%d/status", (int)swarm->server));
	FILE *file = fopen(path, "r");
	unsigned long kb = 0;
	char line[128];

	must_be(file != NULL, path);
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmRSS: %lu", &kb) == 1)
			break;
	(void)fclose(file);
	return kb;
}

/* Of all its threads, whose number stays the same: the scheduler's own count. */
static double server_cpu_s(const struct swarm *swarm)
{
	FL_CLEANUP(fl_freep)
	char *folder = must_have(fl_printf("/proc/%d/task", (int)swarm->server));
	DIR *tasks = opendir(folder);
	struct dirent *task;
	uint64_t ns, sum_ns = 0;

	must_be(tasks != NULL, folder);
	while ((task = readdir(tasks)) != NULL) {
		FL_CLEANUP(fl_freep)
		char *path = must_have(fl_printf("%s/%s/schedstat", folder, task->d_name));
		FILE *file = task->d_name[0] != '.' ? fopen(path, "r") : NULL;

		if (file == NULL)
			continue;
		if (fscanf(file, "%" SCNu64, &ns) == 1)
			sum_ns += ns;
		(void)fclose(file);
	}
	(void)closedir(tasks);
	return (double)sum_ns / 1e9;
}

/* Until @count is @wanted. When it came to be so the shards say. */
static void await_count(struct swarm *swarm, const atomic_uint *count, unsigned wanted)
{
	while (atomic_load(count) < wanted) {
		(void)uv_run(&swarm->loop, UV_RUN_NOWAIT);
		(void)usleep(200);
	}
}

static void run_for(struct swarm *swarm, uint64_t ms)
{
	uint64_t until_us = fl_clock_boot_us() + ms * 1000;

	while (fl_clock_boot_us() < until_us) {
		(void)uv_run(&swarm->loop, UV_RUN_NOWAIT);
		(void)usleep(200);
	}
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void push_ask(struct swarm *swarm, const char *name, const char *rule, char floor_byte)
{
	atomic_store(&swarm->shared->n_pushed, 0);
	if (swarm->floor) {
		must_be(write(swarm->control, &floor_byte, 1) == 1, "the floor's pipe");
		swarm->answered = true;
	} else {
		operator_launch(swarm, name, rule);
	}
}

/* From the question to the last of @n machines having it, in milliseconds. */
static double push(
	struct swarm *swarm, const char *name, const char *rule, char floor_byte, unsigned n)
{
	uint64_t begin_us = fl_clock_boot_us();

	push_ask(swarm, name, rule, floor_byte);
	while (!swarm->answered)
		(void)uv_run(&swarm->loop, UV_RUN_ONCE);
	await_count(swarm, &swarm->shared->n_pushed, n);
	return (double)(atomic_load(&swarm->shared->last_push_us) - begin_us) / 1000;
}

static void shards_signal(const struct swarm *swarm, int number)
{
	int status;

	for (unsigned i = 0; i < swarm->n_shards; i++)
		must_be(kill(swarm->shards[i], number) == 0, "kill");
	for (unsigned i = 0; i < swarm->n_shards && number == SIGSTOP; i++)
		must_be(waitpid(swarm->shards[i], &status, WUNTRACED) == swarm->shards[i] &&
				WIFSTOPPED(status),
			"a shard that stops");
}

/* Sockets of agents that have something to read: proc(5), /proc/net/tcp. */
static unsigned n_queued(const struct swarm *swarm)
{
	FILE *file = fopen("/proc/net/tcp", "r");
	unsigned remote_port, received, n = 0;
	char line[256];

	must_be(file != NULL, "/proc/net/tcp");
	while (fgets(line, sizeof(line), file) != NULL)
		n += sscanf(line, " %*u: %*x:%*x %*x:%x %*x %*x:%x", &remote_port, &received) ==
			     2 &&
		     remote_port == swarm->port && received > 0;
	(void)fclose(file);
	return n;
}

/* The same, to the last agent's socket, while the agents stand still. */
static double push_to_sockets(struct swarm *swarm, const char *name)
{
	uint64_t begin_us, end_us;

	shards_signal(swarm, SIGSTOP);
	run_for(swarm, 300);
	must_be(n_queued(swarm) < swarm->n_agents / 10, "agents have unread messages");
	begin_us = fl_clock_boot_us();
	push_ask(swarm, name, "Global=true", 'a');
	while (n_queued(swarm) < swarm->n_agents) {
		(void)uv_run(&swarm->loop, UV_RUN_NOWAIT);
		(void)usleep(QUEUES_LOOK_US);
	}
	end_us = fl_clock_boot_us();
	shards_signal(swarm, SIGCONT);
	while (!swarm->answered)
		(void)uv_run(&swarm->loop, UV_RUN_ONCE);
	await_count(swarm, &swarm->shared->n_pushed, swarm->n_agents);
	return (double)(end_us - begin_us) / 1000;
}

static void measure_pushes(struct swarm *swarm)
{
	double one[PUSHES], all[PUSHES_ALL], sockets[PUSHES_ALL], cpu_s = 0;
	char name[64], rule[128], id[33];

	for (unsigned i = 0; i < PUSHES; i++) {
		(void)snprintf(name, sizeof(name), "one%u.service", i);
		agent_id(fl_random_below(swarm->n_agents), id);
		(void)snprintf(rule, sizeof(rule), "MachineID=%s", id);
		one[i] = push(swarm, name, rule, 'o', 1);
		run_for(swarm, 5);
	}
	for (unsigned i = 0; i < PUSHES_ALL; i++) {
		cpu_s -= server_cpu_s(swarm);
		(void)snprintf(name, sizeof(name), "all%u.service", i);
		all[i] = push(swarm, name, "Global=true", 'a', swarm->n_agents);
		cpu_s += server_cpu_s(swarm);
		run_for(swarm, 2000);
	}
	for (unsigned i = 0; i < PUSHES_ALL; i++) {
		(void)snprintf(name, sizeof(name), "sockets%u.service", i);
		sockets[i] = push_to_sockets(swarm, name);
		run_for(swarm, 2000);
	}
	qsort(one, PUSHES, sizeof(one[0]), compare);
	qsort(all, PUSHES_ALL, sizeof(all[0]), compare);
	qsort(sockets, PUSHES_ALL, sizeof(sockets[0]), compare);
	printf("  push to one: %.2f ms (median), %.2f ms (99 %%); to all: %.0f ms (median), "
	       "%.0f ms at most; %.0f ms of its processor each time; to all sockets, the agents "
	       "stopped: %.0f ms (median), %.0f ms at most\n",
		one[PUSHES / 2], one[PUSHES * 99 / 100], all[PUSHES_ALL / 2], all[PUSHES_ALL - 1],
		cpu_s * 1000 / PUSHES_ALL, sockets[PUSHES_ALL / 2], sockets[PUSHES_ALL - 1]);
}

static void measure(struct swarm *swarm, unsigned seconds)
{
	struct shared *shared = swarm->shared;
	unsigned long before_kb;
	double cpu_s;
	uint64_t begin_us;
	unsigned beats;

	await_count(swarm, &shared->n_synced, 1);
	before_kb = server_kb(swarm);
	begin_us = fl_clock_boot_us();
	cpu_s = server_cpu_s(swarm);
	atomic_store(&shared->go, true);
	await_count(swarm, &shared->n_synced, swarm->n_agents);
	printf("%s, %u agents: connected in %.1f s, %.2f ms of its processor each\n",
		swarm->floor ? "the transport alone" : "coordinator", swarm->n_agents,
		(double)(fl_clock_boot_us() - begin_us) / 1e6,
		(server_cpu_s(swarm) - cpu_s) * 1000 / swarm->n_agents);
	run_for(swarm, BEAT_MS + 2000);
	printf("  memory: %.1f kB an agent (%.1f MB without agents)\n",
		(double)(server_kb(swarm) - before_kb) / swarm->n_agents, (double)before_kb / 1024);
	beats = atomic_load(&shared->n_beats);
	cpu_s = server_cpu_s(swarm);
	run_for(swarm, seconds * UINT64_C(1000));
	printf("  processor: %.1f %% of a core for %.0f heartbeats/s\n",
		(server_cpu_s(swarm) - cpu_s) * 100 / seconds,
		(double)(atomic_load(&shared->n_beats) - beats) / seconds);
	measure_pushes(swarm);
	if (atomic_load(&shared->n_failed) > 0)
		printf("  %u requests failed\n", atomic_load(&shared->n_failed));
	(void)fflush(stdout);
}

static void run(const char *program, unsigned n, unsigned seconds, bool floor)
{
	struct swarm swarm = {.floor = floor, .n_agents = n};
	FL_CLEANUP(fl_freep) char *remove = NULL;
	char folder[] = "/dev/shm/flota-swarm-XXXXXX";
	struct fl_error err = {0};

	must_be(mkdtemp(folder) != NULL, folder);
	swarm.folder = folder;
	swarm.port = 20000 + (unsigned)getpid() % 10000;
	swarm.url = must_have(fl_printf("tls+tcp://127.0.0.1:%u", swarm.port));
	swarm.ipc_url = must_have(fl_printf("ipc://%s/socket", folder));
	command(program,
		(const char *[]){program, "init", "--data", folder, "--fleet", FLEET, NULL});
	server_start(&swarm, program);
	must(ca_load(folder, &swarm.ca, &err), &err);
	swarm.shared = mmap(NULL, sizeof(*swarm.shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must_be(swarm.shared != MAP_FAILED, "mmap");
	(void)fflush(stdout);
	for (unsigned first = 0; first < n; first += SHARD)
		shard_start(&swarm, first);
	(void)uv_loop_init(&swarm.loop);
	if (!floor)
		operator_open(&swarm);
	measure(&swarm, seconds);
	(void)kill(swarm.server, SIGKILL);
	(void)waitpid(swarm.server, NULL, 0);
	remove = must_have(fl_printf("rm -r %s", folder));
	must_be(system(remove) == 0, folder);
}

/* As many agents as there are descriptors for: one each, on both sides. */
static unsigned cap(unsigned n)
{
	struct rlimit files;

	(void)mallopt(M_ARENA_MAX, 2);
	must_be(getrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
	files.rlim_cur = files.rlim_max;
	must_be(setrlimit(RLIMIT_NOFILE, &files) == 0, "RLIMIT_NOFILE");
	if (n + FILES_SPARE <= files.rlim_cur)
		return n;
	n = (unsigned)files.rlim_cur - FILES_SPARE;
	printf("only %u agents: a process may have %lu open files here (ulimit -Hn)\n", n,
		(unsigned long)files.rlim_cur);
	return n;
}

int main(int argc, char **argv)
{
	unsigned n = cap(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000);
	unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 30;
	const char *folder = getenv("FLOTA_BIN");
	FL_CLEANUP(fl_freep)
	char *program = must_have(fl_printf("%s/flota-coordinator", folder != NULL ? folder : ""));
	int status;

	if (folder == NULL || access(program, X_OK) != 0 || n == 0 || seconds == 0) {
		fprintf(stderr, "usage: FLOTA_BIN=FOLDER swarm [AGENTS [SECONDS]]\n");
		return 1;
	}
	fl_log_set_level(FL_WARNING);
	/* Each in a process of its own, whose end closes all that it had open. */
	for (int floor = 0; floor <= 1; floor++) {
		pid_t pid = fork();

		must_be(pid >= 0, "fork");
		if (pid == 0) {
			run(program, n, seconds, floor != 0);
			_exit(0);
		}
		must_be(waitpid(pid, &status, 0) == pid, "wait");
		if (status != 0)
			return 1;
	}
	printf("to reach with 10,000: 50 kB an agent, 15 %% of a core, 1 ms to one, 0.5 s to all\n");
	return 0;
}
