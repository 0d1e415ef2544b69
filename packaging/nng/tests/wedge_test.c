// A pipe that is closed while its last transfer's callback waits for a thread must still go away, and
// with it everything that is closed later (patch 01-tls-closed-pipe).
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// More than nng sends or receives at once: a transfer of it always has a rest to submit.
#define BODY_SIZE 65536

// nng frees what was closed on one thread: if the first pipe blocks it, the second stays for ever.
static void assert_pipes_still_go(struct pipes *pipes, uint16_t port, uint16_t protocol)
{
	unsigned n = pipes_added(pipes);
	int fd;

	// That thread is at work on the first: it says so before it waits for it.
	assert_true(pipes_wait_removed(pipes, n));
	fd = peer_open(port, protocol);
	assert_true(fd >= 0);
	assert_true(pipes_wait_added(pipes, n + 1));
	assert_int_equal(nng_pipe_close(pipes->last), 0);
	assert_true(pipes_wait_removed(pipes, n + 1));
	assert_true(peer_reads_eof(fd));
	close(fd);
}

static void closed_while_sending(void **state)
{
	struct hold holds[TASK_THREADS];
	struct pipes pipes;
	nng_socket req;
	nng_aio *aio;
	nng_msg *msg;
	uint16_t port;
	int fd;

	(void)state;
	assert_int_equal(nng_req0_open(&req), 0);
	pipes_watch(&pipes, req);
	port = listen_tls(req);
	assert_int_not_equal(port, 0);
	fd = peer_open(port, SP_REP);
	assert_true(fd >= 0);
	assert_true(pipes_wait_added(&pipes, 1));

	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_init(&holds[i]);
		hold_queue(&holds[i]);
		assert_true(hold_wait(&holds[i]));
	}
	// A part of the message goes out; the callback that sends the rest finds no thread.
	assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
	assert_int_equal(nng_msg_alloc(&msg, BODY_SIZE), 0);
	memset(nng_msg_body(msg), 0, BODY_SIZE);
	nng_aio_set_msg(aio, msg);
	nng_send_aio(req, aio);
	assert_int_equal(nng_pipe_close(pipes.last), 0);
	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_release(&holds[i]);
		hold_fini(&holds[i]);
	}

	assert_pipes_still_go(&pipes, port, SP_REP);
	close(fd);
	nng_aio_free(aio);
	nng_close(req);
}

static void queue_hold(void *hold)
{
	hold_queue(hold);
}

// The peer sends the first bytes of a message; they lie between nng's TLS layer and the pipe's
// callback when the pipe is closed.
static void close_while_receiving(const void *bytes, size_t len)
{
	struct hold first, second;
	struct pipes pipes;
	nng_socket rep;
	uint16_t port;
	int fd;

	_Static_assert(
		TASK_THREADS == 2, "the other thread runs up to where the second hold stands");
	assert_int_equal(nng_rep0_open(&rep), 0);
	pipes_watch(&pipes, rep);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);
	fd = peer_open(port, SP_REQ);
	assert_true(fd >= 0);
	assert_true(pipes_wait_added(&pipes, 1));

	hold_init(&first);
	hold_init(&second);
	hold_queue(&first);
	assert_true(hold_wait(&first));
	engine_on_bytes(queue_hold, &second);
	assert_true(peer_write(fd, bytes, len));
	assert_true(hold_wait(&second));
	assert_int_equal(nng_pipe_close(pipes.last), 0);
	hold_release(&first);
	hold_release(&second);
	hold_fini(&first);
	hold_fini(&second);

	assert_pipes_still_go(&pipes, port, SP_REQ);
	close(fd);
	nng_close(rep);
}

static void closed_within_the_length(void **state)
{
	(void)state;
	close_while_receiving("\0\0\0", 3);
}

static void closed_before_the_body(void **state)
{
	uint8_t length[8];

	(void)state;
	put_be(length, BODY_SIZE, sizeof(length));
	close_while_receiving(length, sizeof(length));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_while_sending),
		cmocka_unit_test(closed_within_the_length),
		cmocka_unit_test(closed_before_the_body),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
