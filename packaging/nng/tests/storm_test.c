// Storms: a process that holds one end of many busy connections is killed, again and again. Every
// client comes back, and the server lets go of every connection.
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

// Connecting to a free port of 127.0.0.1 from there can connect a socket with itself.
#define ADDRESS  "tls+tcp://127.0.0.2"
#define REQUESTS 8 // of each client, at a time
#define BODY_MAX 20000

#define CLIENTS      40
#define SERVER_KILLS 5
#define ANSWERS      20 // that each client gets from each server

#define KILLED_CLIENTS 100
#define CLIENT_KILLS   3

// One of a client's requests: asked again as soon as it is answered.
struct request {
	struct client *client;
	nng_ctx ctx;
	nng_aio *aio;
	bool sent;
	size_t size;
};

struct client {
	struct board *board;
	struct request requests[REQUESTS];
	nng_socket socket;
	unsigned answers;
};

// What the clients have got from the present server.
struct board {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned content; // clients with enough answers
	bool closing;
};

static void request_send(struct request *r)
{
	nng_msg *msg;

	r->size = (r->size + 7919) % BODY_MAX + 1;
	if (nng_msg_alloc(&msg, r->size) != 0)
		abort();
	memset(nng_msg_body(msg), 0, r->size);
	r->sent = false;
	nng_aio_set_msg(r->aio, msg);
	nng_ctx_send(r->ctx, r->aio);
}

// Returns whether to ask again.
static bool client_answered(struct client *c)
{
	bool more;

	pthread_mutex_lock(&c->board->lock);
	if (++c->answers == ANSWERS) {
		c->board->content++;
		pthread_cond_signal(&c->board->changed);
	}
	more = !c->board->closing;
	pthread_mutex_unlock(&c->board->lock);
	return more;
}

static void on_request(void *arg)
{
	struct request *r = arg;
	int rv = nng_aio_result(r->aio);

	if (rv != 0) {
		if (!r->sent)
			nng_msg_free(nng_aio_get_msg(r->aio));
		return; // closed: all else nng tries again by itself
	}
	if (!r->sent) {
		r->sent = true;
		nng_ctx_recv(r->ctx, r->aio);
		return;
	}
	nng_msg_free(nng_aio_get_msg(r->aio));
	if (client_answered(r->client))
		request_send(r);
}

static int client_open(struct client *c, struct board *board, uint16_t port)
{
	char url[64];
	int rv;

	c->board = board;
	snprintf(url, sizeof(url), ADDRESS ":%u", port);
	if ((rv = nng_req0_open(&c->socket)) != 0 ||
		(rv = nng_socket_set_ms(c->socket, NNG_OPT_RECONNMINT, 10)) != 0 ||
		(rv = nng_socket_set_ms(c->socket, NNG_OPT_RECONNMAXT, 100)) != 0 ||
		(rv = nng_dial(c->socket, url, NULL, NNG_FLAG_NONBLOCK)) != 0)
		return rv;
	for (size_t i = 0; i < REQUESTS; i++) {
		struct request *r = &c->requests[i];

		*r = (struct request){.client = c, .size = i * 1000};
		if ((rv = nng_ctx_open(&r->ctx, c->socket)) != 0 ||
			(rv = nng_aio_alloc(&r->aio, on_request, r)) != 0)
			return rv;
		request_send(r);
	}
	return 0;
}

static void client_close(struct client *c)
{
	pthread_mutex_lock(&c->board->lock);
	c->board->closing = true;
	pthread_mutex_unlock(&c->board->lock);
	nng_close(c->socket);
	for (size_t i = 0; i < REQUESTS; i++) {
		nng_aio_wait(c->requests[i].aio);
		nng_aio_free(c->requests[i].aio);
	}
}

// Answers everything with what it got. Writes its port to stdout when it listens.
static int be_server(const char *port)
{
	nng_listener listener;
	char url[64];
	nng_socket rep;
	nng_msg *msg;
	int bound;

	snprintf(url, sizeof(url), ADDRESS ":%s", port);
	if (nng_rep0_open_raw(&rep) != 0 || nng_listen(rep, url, &listener, 0) != 0 ||
		nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &bound) != 0)
		return 1;
	printf("%d\n", bound);
	fflush(stdout);
	while (nng_recvmsg(rep, &msg, 0) == 0) {
		if (nng_sendmsg(rep, msg, 0) != 0)
			return 1;
	}
	return 1;
}

static int be_clients(const char *port)
{
	static struct client clients[KILLED_CLIENTS];
	struct board board = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};

	for (size_t i = 0; i < KILLED_CLIENTS; i++) {
		if (client_open(&clients[i], &board, (uint16_t)atoi(port)) != 0)
			return 1;
	}
	for (;;)
		pause();
}

// Runs this program in a role of the above. Returns what it writes to stdout.
static FILE *spawn(char *role, uint16_t port, pid_t *ret_pid)
{
	char program[] = "storm_test";
	char number[8];
	char *argv[] = {program, role, number, NULL};
	posix_spawn_file_actions_t actions;
	int fds[2];

	snprintf(number, sizeof(number), "%u", port);
	assert_int_equal(pipe(fds), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, fds[0]);
	posix_spawn_file_actions_addclose(&actions, fds[1]);
	assert_int_equal(posix_spawn(ret_pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	return fdopen(fds[0], "r");
}

static void kill_and_wait(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static pid_t server_start(uint16_t port, uint16_t *ret_port)
{
	unsigned bound;
	pid_t pid;
	FILE *f = spawn((char[]){"server"}, port, &pid);

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &bound), 1);
	fclose(f);
	*ret_port = (uint16_t)bound;
	return pid;
}

static unsigned wait_content(struct board *board)
{
	struct timespec until;
	unsigned content;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&board->lock);
	while (board->content < CLIENTS &&
		pthread_cond_timedwait(&board->changed, &board->lock, &until) == 0)
		;
	content = board->content;
	pthread_mutex_unlock(&board->lock);
	return content;
}

static void clients_return_to_a_new_server(void **state)
{
	static struct client clients[CLIENTS];
	struct board board = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false};
	uint16_t port;
	pid_t server = server_start(0, &port);

	(void)state;
	for (size_t i = 0; i < CLIENTS; i++)
		assert_int_equal(client_open(&clients[i], &board, port), 0);
	for (int round = 0; round < SERVER_KILLS; round++) {
		assert_int_equal(wait_content(&board), CLIENTS);
		kill_and_wait(server);
		pthread_mutex_lock(&board.lock);
		board.content = 0;
		for (size_t i = 0; i < CLIENTS; i++)
			clients[i].answers = 0;
		pthread_mutex_unlock(&board.lock);
		server = server_start(port, &port);
	}
	assert_int_equal(wait_content(&board), CLIENTS);
	for (size_t i = 0; i < CLIENTS; i++)
		client_close(&clients[i]);
	kill_and_wait(server);
}

// A server that keeps the first request of each context, and drops what comes later.
struct server {
	nng_socket socket;
	struct pipes pipes;
	nng_aio *aio;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	nng_msg *parked[KILLED_CLIENTS * REQUESTS];
	size_t count;
};
#define PARKED_MAX ((size_t)KILLED_CLIENTS * REQUESTS)

static void on_received(void *arg)
{
	struct server *s = arg;
	nng_msg *msg;

	if (nng_aio_result(s->aio) != 0)
		return;
	msg = nng_aio_get_msg(s->aio);
	pthread_mutex_lock(&s->lock);
	if (s->count < PARKED_MAX) {
		s->parked[s->count++] = msg;
		msg = NULL;
		pthread_cond_signal(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	nng_msg_free(msg);
	nng_recv_aio(s->socket, s->aio);
}

static bool wait_parked(struct server *s)
{
	struct timespec until;
	bool all;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&s->lock);
	while (s->count < PARKED_MAX && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
		;
	all = s->count == PARKED_MAX;
	pthread_mutex_unlock(&s->lock);
	return all;
}

// The clients die while their server answers them all.
static void server_lets_go_of_dead_clients(void **state)
{
	static struct server s = {
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	nng_listener listener;
	int port;

	(void)state;
	assert_int_equal(nng_rep0_open_raw(&s.socket), 0);
	pipes_watch(&s.pipes, s.socket);
	assert_int_equal(nng_listen(s.socket, ADDRESS ":0", &listener, 0), 0);
	assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
	assert_int_equal(nng_aio_alloc(&s.aio, on_received, &s), 0);
	nng_recv_aio(s.socket, s.aio);

	for (unsigned round = 1; round <= CLIENT_KILLS; round++) {
		pid_t pid;
		FILE *f = spawn((char[]){"clients"}, (uint16_t)port, &pid);

		assert_true(wait_parked(&s));
		assert_true(pipes_wait_added(&s.pipes, round * KILLED_CLIENTS));
		for (size_t i = 0; i < PARKED_MAX; i++) {
			if (i == PARKED_MAX / 2)
				assert_int_equal(kill(pid, SIGKILL), 0);
			assert_int_equal(nng_sendmsg(s.socket, s.parked[i], 0), 0);
		}
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		fclose(f);
		assert_true(pipes_wait_removed(&s.pipes, round * KILLED_CLIENTS));
		pthread_mutex_lock(&s.lock);
		s.count = 0;
		pthread_mutex_unlock(&s.lock);
	}
	nng_close(s.socket);
	nng_aio_free(s.aio);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_return_to_a_new_server),
		cmocka_unit_test(server_lets_go_of_dead_clients),
	};

	if (argc > 2) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!engine_install())
			return 1;
		return strcmp(argv[1], "server") == 0 ? be_server(argv[2]) : be_clients(argv[2]);
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
