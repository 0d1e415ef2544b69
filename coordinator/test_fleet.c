#include "coordinator/test_fleet.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "base/strv.h"

#define CALL_TIMEOUT_MS 60000 /* a safety net */

/* ---- The coordinator -- */

static char *program(void)
{
	const char *folder = getenv("FLOTA_BIN");
	char *path;

	assert_non_null(folder); /* ctest sets it */
	path = fl_printf("%s/flota-coordinator", folder);
	assert_non_null(path);
	return path;
}

_Noreturn static void become(const char *path, const char *const *words, int stdout_fd)
{
	FL_CLEANUP_STRV struct fl_strv argv = {0};

	if (fl_strv_add(&argv, path, NULL) != FL_OK)
		_exit(127);
	for (size_t i = 0; words[i] != NULL; i++)
		if (fl_strv_add(&argv, words[i], NULL) != FL_OK)
			_exit(127);
	if (stdout_fd >= 0) {
		(void)dup2(stdout_fd, STDOUT_FILENO);
		(void)dup2(stdout_fd, STDERR_FILENO);
	}
	(void)execv(path, argv.items);
	_exit(127);
}

int fleet_command(const char *const *words)
{
	FL_CLEANUP(fl_freep) char *path = program();
	FL_CLEANUP(fl_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		become(path, words, null);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void issue(const struct fleet *fleet, const char *kind, const char *name)
{
	FL_CLEANUP(fl_freep) char *out = fl_printf("%s/%s", fleet->directory, name);

	assert_int_equal(fleet_command((const char *[]){"issue", kind, name, "--data",
				 fleet->directory, "--out", out, NULL}),
		0);
}

static int open_notify(const struct fleet *fleet)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", fleet->directory);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

struct fleet *fleet_new(void)
{
	struct fleet *fleet = FL_NEW(struct fleet);

	assert_non_null(fleet);
	(void)snprintf(fleet->directory, sizeof(fleet->directory), "/tmp/flota-daemon-test-XXXXXX");
	assert_non_null(mkdtemp(fleet->directory));
	/* All of 127.0.0.0/8 is this machine's (RFC 1122, 3.2.1.3). */
	(void)snprintf(fleet->address, sizeof(fleet->address), "127.%u.%u.%u",
		1 + (unsigned)getpid() / 65536 % 250, (unsigned)getpid() / 256 % 256,
		(unsigned)getpid() % 256);
	assert_int_equal(uv_loop_init(&fleet->loop), 0);
	assert_int_equal(fleet_command((const char *[]){
				 "init", "--data", fleet->directory, "--fleet", "test", NULL}),
		0);
	issue(fleet, "machine", "m1");
	issue(fleet, "machine", "m2");
	issue(fleet, "operator", "ana");
	fleet->notify_fd = open_notify(fleet);
	return fleet;
}

char *fleet_log(const struct fleet *fleet)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/log", fleet->directory);
	char *text = NULL;
	size_t len;

	assert_int_equal(fl_file_read(path, 16 << 20, &text, &len, NULL), FL_OK);
	return text;
}

_Noreturn static void exec_coordinator(const struct fleet *fleet, const char *path)
{
	char notify[128], tls[64], ipc[128], log[128];
	int fd;

	(void)snprintf(notify, sizeof(notify), "%s/notify", fleet->directory);
	(void)snprintf(tls, sizeof(tls), "--listen=tls+tcp://%s:%u", fleet->address, fleet->port);
	(void)snprintf(ipc, sizeof(ipc), "--listen=ipc://%s/socket", fleet->directory);
	(void)snprintf(log, sizeof(log), "%s/log", fleet->directory);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	/* A test that fails must leave nothing behind. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || setenv("NOTIFY_SOCKET", notify, 1) < 0)
		_exit(127);
	become(path,
		(const char *[]){"--data-directory", fleet->directory, tls, ipc, "--lease=20s",
			"--log-level=debug", "run", NULL},
		fd);
}

static void await_ready(const struct fleet *fleet)
{
	char state[256];
	ssize_t n;

	do {
		n = recv(fleet->notify_fd, state, sizeof(state) - 1, 0);
		assert_true(n > 0);
		state[n] = '\0';
	} while (strstr(state, "READY=1") == NULL);
}

void fleet_start(struct fleet *fleet)
{
	FL_CLEANUP(fl_freep) char *path = program();
	FL_CLEANUP(fl_freep) char *log = NULL;
	struct timeval patience = {.tv_sec = 60};
	unsigned port;
	const char *at;

	fleet->pid = fork();
	assert_true(fleet->pid >= 0);
	if (fleet->pid == 0)
		exec_coordinator(fleet, path);
	(void)setsockopt(fleet->notify_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	await_ready(fleet);
	log = fleet_log(fleet);
	at = strstr(log, "coordinator.listening url=tls+tcp://");
	assert_non_null(at);
	at = strstr(at, " port=");
	assert_non_null(at);
	assert_int_equal(sscanf(at, " port=%u", &port), 1);
	fleet->port = (uint16_t)port;
}

int fleet_kill(struct fleet *fleet, int number)
{
	int status;

	assert_int_equal(kill(fleet->pid, number), 0);
	assert_int_equal(waitpid(fleet->pid, &status, 0), fleet->pid);
	fleet->pid = 0;
	return status;
}

void fleet_free(struct fleet *fleet)
{
	FL_CLEANUP(fl_freep) char *command = fl_printf("rm -r %s", fleet->directory);

	if (fleet->pid != 0) {
		int status = fleet_kill(fleet, SIGTERM);

		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			FL_CLEANUP(fl_freep) char *log = fleet_log(fleet);

			fail_msg("the coordinator ended with status %d: %s", status, log);
		}
	}
	assert_int_equal(uv_loop_close(&fleet->loop), 0);
	(void)close(fleet->notify_fd);
	assert_int_equal(system(command), 0);
	free(fleet);
}

/* ---- Peers -- */

static struct peer *open_peer(
	struct fleet *fleet, const char *url, struct tls_credentials *credentials)
{
	struct peer *peer = FL_NEW(struct peer);
	const struct transport_client_config config = {
		.url = url,
		.credentials = credentials,
		.message_max = LIMIT_MESSAGE,
		.reconnect_min_ms = 20,
		.reconnect_max_ms = 100,
	};
	static const struct transport_client_handlers handlers = {0};
	struct fl_error err = {0};

	assert_non_null(peer);
	peer->fleet = fleet;
	peer->credentials = credentials;
	if (transport_client_open(&peer->client, &fleet->loop, &config, &handlers, peer, &err) !=
		FL_OK)
		fail_msg("%s", err.text);
	return peer;
}

struct peer *peer_new(struct fleet *fleet, const char *files, const char *name)
{
	FL_CLEANUP(fl_freep) char *ca = fl_printf("%s/ca.crt", fleet->directory);
	FL_CLEANUP(fl_freep)
	char *certificate = fl_printf("%s/%s/%s.crt", fleet->directory, files, name);
	FL_CLEANUP(fl_freep) char *key = fl_printf("%s/%s/%s.key", fleet->directory, files, name);
	const struct tls_files paths = {.ca = ca, .certificate = certificate, .key = key};
	struct tls_credentials *credentials = NULL;
	struct fl_error err = {0};
	char url[64];

	if (tls_credentials_load(&paths, &credentials, &err) != FL_OK)
		fail_msg("%s", err.text);
	(void)snprintf(url, sizeof(url), "tls+tcp://%s:%u", fleet->address, fleet->port);
	return open_peer(fleet, url, credentials);
}

struct peer *peer_new_local(struct fleet *fleet)
{
	char url[128];

	(void)snprintf(url, sizeof(url), "ipc://%s/socket", fleet->directory);
	return open_peer(fleet, url, NULL);
}

static void on_closed(void *userdata)
{
	((struct peer *)userdata)->closed = true;
}

void peer_free(struct peer *peer)
{
	transport_client_close(peer->client, on_closed, peer);
	while (!peer->closed)
		(void)uv_run(&peer->fleet->loop, UV_RUN_ONCE);
	tls_credentials_unref(peer->credentials);
	free(peer);
}

/* ---- Requests -- */

struct asked {
	struct fleet *fleet;
	struct transport_call *call;
	bool done, abandoned;
	Pb__Envelope *reply;
	struct fl_error err;
};

static void on_reply(enum fl_code code, const uint8_t *data, size_t len, const struct fl_error *err,
	void *userdata)
{
	struct asked *asked = userdata;

	asked->done = true;
	if (asked->abandoned) {
		free(asked);
		return;
	}
	if (code != FL_OK)
		(void)FL_FAIL(&asked->err, code, "%s", fl_error_text(err));
	else if (wire_unpack(data, len, &asked->reply, NULL, &asked->err) != FL_OK)
		fail_msg("a reply that cannot be read: %s", asked->err.text);
}

struct asked *peer_ask(struct peer *peer, Pb__Envelope *request)
{
	struct asked *asked = FL_NEW(struct asked);
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	struct fl_error err = {0};
	size_t len;

	assert_non_null(asked);
	asked->fleet = peer->fleet;
	if (request->request_id == 0)
		request->request_id = fl_random_id();
	assert_int_equal(wire_pack(request, &data, &len, &err), FL_OK);
	assert_int_equal(transport_client_call(peer->client, data, len, CALL_TIMEOUT_MS, on_reply,
				 asked, &asked->call, &err),
		FL_OK);
	return asked;
}

bool asked_is_done(const struct asked *asked)
{
	return asked->done;
}

Pb__Envelope *asked_wait(struct asked *asked)
{
	Pb__Envelope *reply;

	while (!asked->done)
		(void)uv_run(&asked->fleet->loop, UV_RUN_ONCE);
	reply = asked->reply;
	if (reply == NULL)
		fail_msg("no reply: %s", fl_error_text(&asked->err));
	free(asked);
	return reply;
}

void asked_cancel(struct asked *asked)
{
	if (asked->done) {
		wire_free(asked->reply);
		free(asked);
		return;
	}
	asked->abandoned = true;
	transport_call_cancel(asked->call);
}

Pb__Envelope *peer_call(struct peer *peer, Pb__Envelope *request)
{
	return asked_wait(peer_ask(peer, request));
}

void peer_call_fails(struct peer *peer, Pb__Envelope *request, enum fl_code code, const char *text)
{
	Pb__Envelope *reply = peer_call(peer, request);
	struct fl_error err = {0};

	assert_int_equal(wire_reply_error(reply, &err), code);
	if (strstr(err.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
	wire_free(reply);
}
