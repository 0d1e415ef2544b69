// A reply on its way to a pipe that closes is freed with it (patch 10-reqrep-message-leak).
#include "engine.h"
#include "support.h"

#include <malloc.h>
#include <nng/protocol/reqrep0/rep.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY_SIZE (8 << 20)

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void reply_to_a_closing_pipe_is_freed(void **state)
{
	struct hold holds[TASK_THREADS + 1];
	size_t before = allocated();
	struct pipes pipes;
	nng_socket rep;
	nng_msg *msg;
	uint16_t port;
	int fd;

	(void)state;
	assert_int_equal(nng_rep0_open_raw(&rep), 0);
	assert_int_equal(nng_socket_set_ms(rep, NNG_OPT_RECVTIMEO, WAIT_S * 1000), 0);
	pipes_watch(&pipes, rep);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);
	fd = peer_open(port, SP_REQ);
	assert_true(fd >= 0);
	assert_true(pipes_wait_added(&pipes, 1));
	assert_true(peer_request(fd));
	assert_int_equal(nng_recvmsg(rep, &msg, 0), 0);
	assert_int_equal(nng_msg_realloc(msg, BODY_SIZE), 0);

	// The socket's callback passes the reply on to the pipe's, which finds no thread until the pipe
	// is closed.
	for (size_t i = 0; i < TASK_THREADS + 1; i++)
		hold_init(&holds[i]);
	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_queue(&holds[i]);
		assert_true(hold_wait(&holds[i]));
	}
	assert_int_equal(nng_sendmsg(rep, msg, 0), 0);
	hold_queue(&holds[TASK_THREADS]);
	hold_release(&holds[0]);
	assert_true(hold_wait(&holds[TASK_THREADS]));
	assert_int_equal(nng_pipe_close(pipes.last), 0);
	for (size_t i = 1; i < TASK_THREADS + 1; i++)
		hold_release(&holds[i]);
	for (size_t i = 0; i < TASK_THREADS + 1; i++)
		hold_fini(&holds[i]);

	close(fd);
	nng_close(rep);
	nng_fini(); // waits until all that was closed is freed
	assert_true(allocated() < before + BODY_SIZE / 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reply_to_a_closing_pipe_is_freed),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
