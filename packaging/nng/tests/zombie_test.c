// An error that arrives while nobody waits for one is told to whoever asks next
// (patch 03-tls-sticky-error).
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/rep.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

// A REP socket does not receive from a peer whose last request nobody has taken.
static void peer_gone_while_its_request_waits(void **state)
{
	struct pipes pipes;
	nng_socket rep;
	nng_msg *msg;
	uint16_t port;
	int fd;

	(void)state;
	assert_int_equal(nng_rep0_open(&rep), 0);
	assert_int_equal(nng_socket_set_ms(rep, NNG_OPT_RECVTIMEO, WAIT_S * 1000), 0);
	pipes_watch(&pipes, rep);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);
	fd = peer_open(port, SP_REQ);
	assert_true(fd >= 0);

	assert_true(peer_request(fd));
	// nng has closed its side, so it has seen that we closed ours.
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_true(peer_reads_eof(fd));

	assert_int_equal(nng_recvmsg(rep, &msg, 0), 0);
	nng_msg_free(msg);
	assert_true(pipes_wait_removed(&pipes, 1));
	close(fd);
	nng_close(rep);
}

struct transfer {
	nng_aio *aio;
	sem_t done;
	char buf[16];
};

static void on_transfer(void *arg)
{
	struct transfer *t = arg;

	sem_post(&t->done);
}

static void transfer_init(struct transfer *t, size_t len)
{
	*t = (struct transfer){0};
	sem_init(&t->done, 0, 0);
	assert_int_equal(nng_aio_alloc(&t->aio, on_transfer, t), 0);
	nng_aio_set_iov(t->aio, 1, &(nng_iov){.iov_buf = t->buf, .iov_len = len});
}

static int transfer_fini(struct transfer *t)
{
	int rv;

	assert_true(sem_wait_bounded(&t->done));
	rv = nng_aio_result(t->aio);
	nng_aio_free(t->aio);
	sem_destroy(&t->done);
	return rv;
}

static nng_stream *stream_accept(nng_stream_listener *listener, int *ret_fd)
{
	struct transfer accepted;
	nng_stream *stream;
	int port, fd;

	assert_int_equal(nng_stream_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
	transfer_init(&accepted, 0);
	nng_stream_listener_accept(listener, accepted.aio);
	fd = peer_connect((uint16_t)port);
	assert_true(fd >= 0);
	assert_true(sem_wait_bounded(&accepted.done));
	stream = nng_aio_get_output(accepted.aio, 0);
	assert_non_null(stream);
	sem_post(&accepted.done);
	assert_int_equal(transfer_fini(&accepted), 0);
	*ret_fd = fd;
	return stream;
}

static void stream_tells_again(void **state)
{
	nng_stream_listener *listener;
	nng_stream *stream;
	struct transfer t;
	int fd;

	(void)state;
	assert_int_equal(nng_stream_listener_alloc(&listener, "tls+tcp://127.0.0.1:0"), 0);
	assert_int_equal(nng_stream_listener_listen(listener), 0);
	stream = stream_accept(listener, &fd);

	transfer_init(&t, 3);
	nng_stream_recv(stream, t.aio);
	assert_true(peer_handshake(fd) && peer_write(fd, "hello", 5));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_true(peer_reads_eof(fd));
	assert_int_equal(transfer_fini(&t), 0);

	// What came before the end is still to be had; then there is nothing but the error.
	transfer_init(&t, sizeof(t.buf));
	nng_stream_recv(stream, t.aio);
	assert_true(sem_wait_bounded(&t.done));
	assert_int_equal(nng_aio_count(t.aio), 2);
	assert_memory_equal(t.buf, "lo", 2);
	sem_post(&t.done);
	assert_int_equal(transfer_fini(&t), 0);
	for (int i = 0; i < 2; i++) {
		transfer_init(&t, sizeof(t.buf));
		nng_stream_recv(stream, t.aio);
		assert_int_equal(transfer_fini(&t), NNG_ECONNSHUT);
		transfer_init(&t, sizeof(t.buf));
		nng_stream_send(stream, t.aio);
		assert_int_equal(transfer_fini(&t), NNG_ECONNSHUT);
	}
	close(fd);
	nng_stream_free(stream);
	nng_stream_listener_free(listener);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_gone_while_its_request_waits),
		cmocka_unit_test(stream_tells_again),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
