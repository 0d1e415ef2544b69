// Peers that do not get through the handshake: those that say nothing are closed after nng's 10 s
// (patch 04-tls-cancel), and none keeps the listener from the others (patch 02-tls-bad-peer).
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/rep.h>
#include <setjmp.h>
#include <stdarg.h>
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_peer_does_not_stop_the_listener),
		cmocka_unit_test(idle_peer_is_closed),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
