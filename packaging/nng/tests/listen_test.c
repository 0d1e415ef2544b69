// Many peers may come at once (patch 06-listen-backlog); and who it is that comes to a Unix socket.
#include "engine.h"
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <nng/protocol/reqrep0/rep.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PEERS 300

// With nng's task threads held, nobody accepts: what connects stands in the backlog.
static void connect_all(const struct sockaddr *to, socklen_t len)
{
	struct hold holds[TASK_THREADS];
	int fds[PEERS];

	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_init(&holds[i]);
		hold_queue(&holds[i]);
		assert_true(hold_wait(&holds[i]));
	}
	for (size_t i = 0; i < PEERS; i++) {
		struct pollfd wait = {.events = POLLOUT};
		int error = 0;

		fds[i] = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(fds[i] >= 0);
		if (connect(fds[i], to, len) == 0)
			continue;
		assert_int_equal(errno, EINPROGRESS);
		wait.fd = fds[i];
		assert_int_equal(poll(&wait, 1, WAIT_S * 1000), 1);
		assert_int_equal(getsockopt(fds[i], SOL_SOCKET, SO_ERROR, &error,
					 &(socklen_t){sizeof(error)}),
			0);
		assert_int_equal(error, 0);
	}
	for (size_t i = 0; i < PEERS; i++)
		close(fds[i]);
	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_release(&holds[i]);
		hold_fini(&holds[i]);
	}
}

// Connecting more than the system lets stand in a backlog would test the system.
static void skip_unless_backlog_is_deep(void)
{
	FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
	int max = 0;

	if (f != NULL) {
		if (fscanf(f, "%d", &max) != 1)
			max = 0;
		fclose(f);
	}
	if (max < PEERS)
		skip();
}

static void tcp_backlog(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	nng_socket rep;
	uint16_t port;

	(void)state;
	skip_unless_backlog_is_deep();
	assert_int_equal(nng_rep0_open(&rep), 0);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);
	to.sin_port = htons(port);
	connect_all((struct sockaddr *)&to, sizeof(to));
	nng_close(rep);
}

static void listen_unix(nng_socket rep, struct sockaddr_un *ret_address)
{
	char url[sizeof(ret_address->sun_path) + sizeof("ipc://")];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/nng-listen-XXXXXX";

	assert_non_null(mkdtemp(dir));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);
	snprintf(url, sizeof(url), "ipc://%s", address.sun_path);
	assert_int_equal(nng_listen(rep, url, NULL, 0), 0);
	*ret_address = address;
}

static void close_unix(nng_socket rep, struct sockaddr_un *address)
{
	nng_close(rep);
	unlink(address->sun_path);
	*strrchr(address->sun_path, '/') = '\0';
	assert_int_equal(rmdir(address->sun_path), 0);
}

static void unix_backlog(void **state)
{
	struct sockaddr_un to;
	nng_socket rep;

	(void)state;
	skip_unless_backlog_is_deep();
	assert_int_equal(nng_rep0_open(&rep), 0);
	listen_unix(rep, &to);
	connect_all((struct sockaddr *)&to, sizeof(to));
	close_unix(rep, &to);
}

static void unix_peer_is_known(void **state)
{
	struct sockaddr_un to;
	struct pipes pipes;
	nng_socket rep;
	uint64_t uid = UINT64_MAX, pid = 0;
	int fd;

	(void)state;
	assert_int_equal(nng_rep0_open(&rep), 0);
	pipes_watch(&pipes, rep);
	listen_unix(rep, &to);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_true(peer_sp_header(fd, SP_REQ));
	assert_true(pipes_wait_added(&pipes, 1));
	assert_int_equal(nng_pipe_get_uint64(pipes.last, NNG_OPT_IPC_PEER_UID, &uid), 0);
	assert_int_equal(nng_pipe_get_uint64(pipes.last, NNG_OPT_IPC_PEER_PID, &pid), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(pid, getpid());
	close(fd);
	close_unix(rep, &to);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_backlog),
		cmocka_unit_test(unix_backlog),
		cmocka_unit_test(unix_peer_is_known),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
