// Peers that do not get through the handshake: those that say nothing are closed after nng's 10 s
// (patch 04-tls-cancel), and none keeps the listener from the others (patches 02-tls-bad-peer and
// 12-ipc-bad-peer).
#include "engine.h"
#include "support.h"

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

static void idle_peer_is_closed(void **state)
{
	struct pipes pipes;
	nng_socket rep;
	uint16_t port;
	int silent, greeted, half;

	(void)state;
	assert_int_equal(nng_rep0_open(&rep), 0);
	pipes_watch(&pipes, rep);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);

	silent = peer_connect(port);
	greeted = peer_connect(port);
	half = peer_connect(port);
	assert_true(silent >= 0 && greeted >= 0 && half >= 0);
	assert_true(peer_handshake(greeted));
	assert_true(peer_handshake(half) && peer_write(half, "\0SP", 3));

	assert_true(peer_reads_eof(silent));
	assert_true(peer_reads_eof(greeted));
	assert_true(peer_reads_eof(half));
	assert_int_equal(pipes_added(&pipes), 0);
	close(silent);
	close(greeted);
	close(half);
	nng_close(rep);
}

static void refused_peer_does_not_stop_the_listener(void **state)
{
	const char insult = ENGINE_INSULT;
	struct pipes pipes;
	nng_socket rep;
	uint16_t port;
	int bad, good;

	(void)state;
	assert_int_equal(nng_rep0_open(&rep), 0);
	pipes_watch(&pipes, rep);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);

	bad = peer_connect(port);
	assert_true(bad >= 0 && peer_write(bad, &insult, 1));
	assert_true(peer_reads_eof(bad));
	good = peer_open(port, SP_REQ);
	assert_true(good >= 0);
	assert_true(pipes_wait_added(&pipes, 1));
	close(bad);
	close(good);
	nng_close(rep);
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

// Sockets bound to that path: the listener's, and those that it has accepted. One that still waits in
// the backlog has no inode.
static int count_accepted(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned long inode = 0;

		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu", &inode) == 1 && inode != 0)
			n += strstr(line, path) != NULL;
	}
	fclose(f);
	return n - 1;
}

static void hold_all(struct hold *holds)
{
	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_init(&holds[i]);
		hold_queue(&holds[i]);
		assert_true(hold_wait(&holds[i]));
	}
}

static void let_go(struct hold *holds)
{
	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_release(&holds[i]);
		hold_fini(&holds[i]);
	}
}

static void unix_peer_that_is_gone_does_not_stop_the_listener(void **state)
{
	char dir[] = "/tmp/nng-handshake-XXXXXX", url[64];
	struct hold holds[TASK_THREADS];
	struct pipes pipes;
	nng_socket rep;
	int bad, good;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(url, sizeof(url), "ipc://%s/socket", dir);
	assert_int_equal(nng_rep0_open(&rep), 0);
	pipes_watch(&pipes, rep);
	assert_int_equal(nng_listen(rep, url, NULL, 0), 0);

	// It is gone before it can be sent anything.
	hold_all(holds);
	bad = connect_unix(url + 6);
	while (count_accepted(url + 6) < 1)
		sched_yield();
	close(bad);
	let_go(holds);
	// What follows from that is done before the next one comes: it is accepted, it is to be sent
	// the header, that fails. Each is a task that the one before has queued.
	for (int i = 0; i < 3; i++) {
		hold_all(holds);
		let_go(holds);
	}
	good = connect_unix(url + 6);
	assert_true(peer_sp_header(good, SP_REQ));
	assert_true(pipes_wait_added(&pipes, 1));
	close(good);
	nng_close(rep);
	assert_int_equal(rmdir(dir), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_peer_does_not_stop_the_listener),
		cmocka_unit_test(unix_peer_that_is_gone_does_not_stop_the_listener),
		cmocka_unit_test(idle_peer_is_closed),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
