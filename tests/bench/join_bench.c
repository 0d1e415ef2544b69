/*
 * Machines that join a real flota-coordinator all at once: `join_bench [MACHINES]` (1,000), of $FLOTA_BIN,
 * each over a TLS connection of its own, from one address, with one token.
 *
 * Then all of them do it again, with the same keys, as if no answer had come: they hear the same. So
 * what the coordinator keeps of its members is there in both rounds, and what else has grown after
 * the second one is what a thousand handshakes leave behind.
 *
 * Keys and requests are made beforehand, for a machine makes its own. Both ends share this machine.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "proto/token.h"
#include "proto/wire.h"
#include "transport/client.h"
#include "transport/tls_key.h"

#define ANSWER_MS 60000U
#define FAILURES  50U
#define ROUNDS    2

struct bench;

struct machine {
	struct bench *bench;
	struct transport_client *client;
	char id[33];
	uint8_t *key_request;
	size_t key_request_len;
	char *certificate; /* that it has been given */
	double ms;
};

struct bench {
	uv_loop_t loop;
	char folder[64], url[64], door[64], ipc_url[128];
	pid_t server;
	struct token token;
	char token_id[40];
	struct tls_credentials *credentials;
	struct machine *machines;
	unsigned n, n_done, n_closed;
	uint64_t began_us;
	bool answered;
};

static void must(enum fl_code code, const struct fl_error *err)
{
	if (code == FL_OK)
		return;
	fprintf(stderr, "join: %s\n", fl_error_text(err));
	exit(1);
}

static void must_be(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "join: %s\n", what);
	exit(1);
}

/* ---- The coordinator -- */

static void command(const char *program, const char *const *words)
{
	pid_t pid = fork();
	int status = 0;

	must_be(pid >= 0, "fork");
	if (pid == 0) {
		(void)dup2(open("/dev/null", O_RDWR | O_CLOEXEC), STDOUT_FILENO);
		(void)execv(program, (char *const *)words);
		_exit(127);
	}
	must_be(waitpid(pid, &status, 0) == pid && status == 0, program);
}

static void server_start(struct bench *bench, const char *program)
{
	FL_CLEANUP(fl_freep) char *data = fl_printf("--data-directory=%s", bench->folder);
	FL_CLEANUP(fl_freep) char *listen = fl_printf("--listen=%s", bench->url);
	FL_CLEANUP(fl_freep) char *local = fl_printf("--listen=%s", bench->ipc_url);
	FL_CLEANUP(fl_freep) char *door = fl_printf("--door=%s", bench->door);

	bench->server = fork();
	must_be(bench->server >= 0, "fork");
	if (bench->server == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)execl(program, program, data, listen, local, door, "--https=none",
			"--log-level=warning", "run", NULL);
		_exit(127);
	}
}

/* Of user and system, in seconds: proc(5). */
static double server_cpu_s(const struct bench *bench)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("/proc/%d/stat", (int)bench->server);
	FILE *file = fopen(path, "r");
	unsigned long user = 0, system = 0;

	must_be(file != NULL &&
			fscanf(file,
				"%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system) == 2,
		path);
	(void)fclose(file);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static unsigned long server_kb(const struct bench *bench)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("/proc/%d/status", (int)bench->server);
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

/* ---- The token -- */

static void on_token(enum fl_code code, const uint8_t *data, size_t len, const struct fl_error *err,
	void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct bench *bench = userdata;
	struct fl_error own = {0};

	if (code == FL_E_CANCELED)
		return;
	must(code, err);
	must(wire_unpack(data, len, &envelope, NULL, &own), &own);
	must(wire_reply_error(envelope, &own), &own);
	must(token_parse(envelope->tokens_reply->text, &bench->token, &own), &own);
	bench->answered = true;
}

static void on_closed(void *userdata)
{
	struct bench *bench = userdata;

	bench->n_closed++;
}

static void get_token(struct bench *bench)
{
	const struct transport_client_config config = {.url = bench->ipc_url,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = 10,
		.reconnect_max_ms = 100};
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	struct transport_client *client;
	struct fl_error err = {0};
	size_t len;

	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.uses = bench->n;
	envelope.request_id = fl_random_id();
	envelope.body_case = PB__ENVELOPE__BODY_TOKENS_REQUEST;
	envelope.tokens_request = &request;
	must(transport_client_open(&client, &bench->loop, &config,
		     &(struct transport_client_handlers){0}, bench, &err),
		&err);
	must(wire_pack(&envelope, &data, &len, &err), &err);
	must(transport_client_call(client, data, len, ANSWER_MS, on_token, bench, NULL, &err),
		&err);
	while (!bench->answered)
		(void)uv_run(&bench->loop, UV_RUN_ONCE);
	transport_client_close(client, on_closed, bench);
	while (bench->n_closed == 0)
		(void)uv_run(&bench->loop, UV_RUN_ONCE);
	must(tls_credentials_pinned(bench->token.pin, &bench->credentials, &err), &err);
}

/* ---- Machines -- */

static void machine_init(struct bench *bench, struct machine *machine, unsigned number)
{
	FL_CLEANUP(fl_freep) char *key = fl_printf("%s/machine.key", bench->folder);
	struct fl_error err = {0};

	machine->bench = bench;
	(void)snprintf(machine->id, sizeof(machine->id), "%08x%024x", number * 2654435761U, number);
	must(tls_key_make(key, &err), &err);
	must(tls_key_request(key, &machine->key_request, &machine->key_request_len, &err), &err);
}

/* The first answer is kept; another one must be the same. */
static void on_answer(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct machine *machine = userdata;
	struct bench *bench = machine->bench;
	struct fl_error own = {0};
	const char *certificate;

	if (code == FL_E_CANCELED)
		return;
	must(code, err);
	machine->ms = (double)(fl_clock_boot_us() - bench->began_us) / 1000;
	must(wire_unpack(data, len, &envelope, NULL, &own), &own);
	must(wire_reply_error(envelope, &own), &own);
	certificate = envelope->certificate_reply->certificate;
	if (machine->certificate == NULL)
		machine->certificate = fl_strdup(certificate);
	must_be(machine->certificate != NULL && strcmp(machine->certificate, certificate) == 0,
		"another certificate for the same key");
	bench->n_done++;
	transport_client_close(FL_TAKE(machine->client), on_closed, bench);
}

static void machine_join(struct machine *machine)
{
	const struct transport_client_config config = {.url = machine->bench->door,
		.credentials = machine->bench->credentials,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = 500,
		.reconnect_max_ms = 5000};
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__JoinRequest request = PB__JOIN_REQUEST__INIT;
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	struct fl_error err = {0};
	size_t len;

	request.token_id = machine->bench->token.id;
	request.secret.data = machine->bench->token.secret;
	request.secret.len = sizeof(machine->bench->token.secret);
	request.machine_id = machine->id;
	request.hostname = machine->id;
	request.key_request.data = machine->key_request;
	request.key_request.len = machine->key_request_len;
	envelope.request_id = fl_random_id();
	envelope.body_case = PB__ENVELOPE__BODY_JOIN_REQUEST;
	envelope.join_request = &request;
	must(wire_pack(&envelope, &data, &len, &err), &err);
	must(transport_client_open(&machine->client, &machine->bench->loop, &config,
		     &(struct transport_client_handlers){0}, machine, &err),
		&err);
	must(transport_client_call(
		     machine->client, data, len, ANSWER_MS, on_answer, machine, NULL, &err),
		&err);
}

/* ---- Measuring -- */

static int by_ms(const void *a, const void *b)
{
	const struct machine *x = a, *y = b;

	return x->ms < y->ms ? -1 : x->ms > y->ms;
}

static void round_run(struct bench *bench, const char *what)
{
	unsigned long before_kb = server_kb(bench), kb;
	double before_s = server_cpu_s(bench), before_own_s = (double)clock() / CLOCKS_PER_SEC;
	uint64_t until_ms;

	bench->n_done = bench->n_closed = 0;
	bench->began_us = fl_clock_boot_us();
	for (unsigned i = 0; i < bench->n; i++)
		machine_join(&bench->machines[i]);
	while (bench->n_closed < bench->n)
		(void)uv_run(&bench->loop, UV_RUN_ONCE);
	/* Its connections close behind ours. */
	until_ms = fl_clock_boot_ms() + 2000;
	while (fl_clock_boot_ms() < until_ms)
		(void)usleep(10000);
	kb = server_kb(bench);
	qsort(bench->machines, bench->n, sizeof(*bench->machines), by_ms);
	printf("%-16s %6.2f s %6.2f s %6.2f s %8.1f MB %6.1f MB %6.2f s %6.2f s\n", what,
		bench->machines[bench->n / 2].ms / 1000,
		bench->machines[bench->n - 1 - bench->n / 100].ms / 1000,
		bench->machines[bench->n - 1].ms / 1000, (double)before_kb / 1024,
		(double)kb / 1024, server_cpu_s(bench) - before_s,
		(double)clock() / CLOCKS_PER_SEC - before_own_s);
}

static void folder_make(struct bench *bench)
{
	(void)snprintf(bench->folder, sizeof(bench->folder), "/dev/shm/flota-join-XXXXXX");
	must_be(mkdtemp(bench->folder) != NULL, "a folder in /dev/shm");
	(void)snprintf(bench->url, sizeof(bench->url), "tls+tcp://127.0.0.1:%u",
		20000 + 2 * fl_random_below(5000));
	(void)snprintf(bench->door, sizeof(bench->door), "tls+tcp://127.0.0.1:%u",
		(unsigned)strtoul(strrchr(bench->url, ':') + 1, NULL, 10) + 1);
	(void)snprintf(bench->ipc_url, sizeof(bench->ipc_url), "ipc://%s/socket", bench->folder);
}

int main(int argc, char **argv)
{
	struct bench bench = {.n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000};
	const char *bin = getenv("FLOTA_BIN");
	struct rlimit files = {0};
	FL_CLEANUP(fl_freep)
	char *program = fl_printf("%s/flota-coordinator", bin != NULL ? bin : "build/release/bin");

	must_be(getrlimit(RLIMIT_NOFILE, &files) == 0, "getrlimit");
	files.rlim_cur = files.rlim_max;
	must_be(setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
	(void)signal(SIGPIPE, SIG_IGN);
	fl_log_init("join");
	folder_make(&bench);
	command(program, (const char *const[]){
				 program, "init", "--fleet=join", "--data", bench.folder, NULL});
	server_start(&bench, program);
	must_be(uv_loop_init(&bench.loop) == 0, "a loop");
	bench.machines = calloc(bench.n, sizeof(*bench.machines));
	must_be(bench.machines != NULL && bench.n > 0, "no machines");
	for (unsigned i = 0; i < bench.n; i++)
		machine_init(&bench, &bench.machines[i], i + 1);
	get_token(&bench);
	printf("%u machines\n%-16s %8s %8s %8s %11s %9s %8s %8s\n", bench.n, "all in after", "half",
		"99 %", "all", "memory", "then", "its CPU", "ours");
	round_run(&bench, "they join");
	for (int i = 1; i < ROUNDS + 1; i++)
		round_run(&bench, "the same again");
	(void)kill(bench.server, SIGTERM);
	(void)waitpid(bench.server, NULL, 0);
	command("/bin/rm", (const char *const[]){"rm", "-r", bench.folder, NULL});
	return 0;
}
