// A connection whose listener is closed before anybody took it is freed (patch 11-close-waiting-pipes).
#include "engine.h"
#include "support.h"

#include <dirent.h>
#include <nng/protocol/reqrep0/rep.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PEERS 8

static unsigned fds_before; // nng was there

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

struct holder {
	nng_listener listener;
	sem_t held;
};

// The listener takes no other connection before this returns: not before it is being closed.
static void hold_listener(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct holder *holder = arg;
	size_t size;

	(void)pipe, (void)event;
	sem_post(&holder->held);
	while (nng_listener_get_size(holder->listener, NNG_OPT_RECVMAXSZ, &size) == 0)
		sched_yield();
}

static int connect_unix(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int connect_peer(const struct holder *holder, const char *url)
{
	int port = 0, fd;

	if (strncmp(url, "ipc://", 6) == 0) {
		fd = connect_unix(url + 6);
	} else {
		assert_int_equal(
			nng_listener_get_int(holder->listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
		fd = peer_connect((uint16_t)port);
		assert_true(fd >= 0);
	}
	if (strncmp(url, "tls+", 4) == 0)
		assert_true(peer_handshake(fd));
	assert_true(peer_sp_header(fd, SP_REQ));
	return fd;
}

static void close_while_peers_wait(const char *url)
{
	struct holder holder;
	nng_socket rep;
	int fds[PEERS];

	assert_int_equal(nng_rep0_open(&rep), 0);
	assert_int_equal(sem_init(&holder.held, 0, 0), 0);
	assert_int_equal(nng_pipe_notify(rep, NNG_PIPE_EV_ADD_PRE, hold_listener, &holder), 0);
	assert_int_equal(nng_listener_create(&holder.listener, rep, url), 0);
	assert_int_equal(nng_listener_start(holder.listener, 0), 0);
	fds[0] = connect_peer(&holder, url);
	assert_true(sem_wait_bounded(&holder.held));
	// nng answers each and lets it wait for the listener.
	for (size_t i = 1; i < PEERS; i++)
		fds[i] = connect_peer(&holder, url);
	assert_int_equal(nng_close(rep), 0);
	for (size_t i = 0; i < PEERS; i++)
		close(fds[i]);
	nng_fini(); // waits until all that was closed is freed
	assert_int_equal(count_fds(), fds_before);
	sem_destroy(&holder.held);
}

static void tls_peers_are_freed(void **state)
{
	(void)state;
	close_while_peers_wait("tls+tcp://127.0.0.1:0");
}

static void tcp_peers_are_freed(void **state)
{
	(void)state;
	close_while_peers_wait("tcp://127.0.0.1:0");
}

static void unix_peers_are_freed(void **state)
{
	char dir[] = "/tmp/nng-waiting-XXXXXX", url[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(url, sizeof(url), "ipc://%s/socket", dir);
	close_while_peers_wait(url);
	assert_int_equal(rmdir(dir), 0);
}

static int setup(void **state)
{
	(void)state;
	fds_before = count_fds();
	return engine_install() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(tls_peers_are_freed, setup),
		cmocka_unit_test_setup(tcp_peers_are_freed, setup),
		cmocka_unit_test_setup(unix_peers_are_freed, setup),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
