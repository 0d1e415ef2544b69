// A message and what nng puts before it travel as one TLS record when they are short, and arrive
// unchanged however they are cut (patch 05-tls-gather).
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/req.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define LENGTH_SIZE     8
#define REQUEST_ID_SIZE 4
#define GATHER_MAX      4096

struct link {
	nng_socket req;
	struct pipes pipes;
	int fd;
};

static void link_open(struct link *l)
{
	uint16_t port;

	assert_int_equal(nng_req0_open(&l->req), 0);
	pipes_watch(&l->pipes, l->req);
	port = listen_tls(l->req);
	assert_int_not_equal(port, 0);
	l->fd = peer_open(port, SP_REP);
	assert_true(l->fd >= 0);
	assert_true(pipes_wait_added(&l->pipes, 1));
}

static void link_close(struct link *l)
{
	close(l->fd);
	nng_close(l->req);
}

// Sends a request of that size and checks what the peer gets. Returns how many records it took.
static unsigned records_for(struct link *l, size_t size)
{
	size_t len = LENGTH_SIZE + REQUEST_ID_SIZE + size;
	uint8_t *got = malloc(len);
	unsigned before;
	nng_msg *msg;

	assert_non_null(got);
	assert_int_equal(nng_msg_alloc(&msg, size), 0);
	for (size_t i = 0; i < size; i++)
		((uint8_t *)nng_msg_body(msg))[i] = (uint8_t)(i * 31 + i / 251);

	before = engine_records();
	assert_int_equal(nng_sendmsg(l->req, msg, 0), 0);
	assert_true(peer_read(l->fd, got, len));
	assert_int_equal(get_be(got, LENGTH_SIZE), len - LENGTH_SIZE);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(
			got[LENGTH_SIZE + REQUEST_ID_SIZE + i], (uint8_t)(i * 31 + i / 251));
	free(got);
	return engine_records() - before;
}

static void short_message_is_one_record(void **state)
{
	const size_t sizes[] = {1, 100, GATHER_MAX - LENGTH_SIZE - REQUEST_ID_SIZE};
	struct link l;

	(void)state;
	link_open(&l);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		assert_int_equal(records_for(&l, sizes[i]), 1);
	link_close(&l);
}

static void message_of_any_size_arrives(void **state)
{
	const size_t limits[] = {0, 1, 7, 4095};
	const size_t sizes[] = {0, 1, GATHER_MAX - 13, GATHER_MAX - 12, GATHER_MAX - 11, GATHER_MAX,
		GATHER_MAX + 1, 16384, 70000};
	struct link l;

	(void)state;
	link_open(&l);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		engine_limit_records(limits[i]);
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			assert_true(records_for(&l, sizes[k]) >= 1);
	}
	engine_limit_records(0);
	link_close(&l);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_message_is_one_record),
		cmocka_unit_test(message_of_any_size_arrives),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
