// A sender that does not wait is told so when others wait already (patch 08-msgqueue-refill).
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/rep.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static nng_msg *message(void)
{
	nng_msg *msg;

	assert_int_equal(nng_msg_alloc(&msg, 1), 0);
	return msg;
}

static void full_queue_stays_full_while_senders_wait(void **state)
{
	struct hold holds[TASK_THREADS + 1];
	nng_socket rep;
	nng_aio *waiting;
	nng_msg *msg;

	(void)state;
	// What a raw REP socket sends goes through a queue that the protocol's callback empties.
	assert_int_equal(nng_rep0_open_raw(&rep), 0);
	assert_int_equal(nng_socket_set_int(rep, NNG_OPT_SENDBUF, 1), 0);
	for (size_t i = 0; i < TASK_THREADS + 1; i++)
		hold_init(&holds[i]);
	for (size_t i = 0; i < TASK_THREADS; i++) {
		hold_queue(&holds[i]);
		assert_true(hold_wait(&holds[i]));
	}
	// The first goes to that callback, the second into the queue, the third waits.
	assert_int_equal(nng_sendmsg(rep, message(), NNG_FLAG_NONBLOCK), 0);
	assert_int_equal(nng_sendmsg(rep, message(), NNG_FLAG_NONBLOCK), 0);
	assert_int_equal(nng_aio_alloc(&waiting, NULL, NULL), 0);
	nng_aio_set_msg(waiting, message());
	nng_send_aio(rep, waiting);

	// The callback takes the second, and then finds no thread again.
	hold_queue(&holds[TASK_THREADS]);
	hold_release(&holds[0]);
	assert_true(hold_wait(&holds[TASK_THREADS]));
	msg = message();
	assert_int_equal(nng_sendmsg(rep, msg, NNG_FLAG_NONBLOCK), NNG_EAGAIN);
	nng_msg_free(msg);

	for (size_t i = 1; i < TASK_THREADS + 1; i++)
		hold_release(&holds[i]);
	for (size_t i = 0; i < TASK_THREADS + 1; i++)
		hold_fini(&holds[i]);
	nng_aio_wait(waiting);
	assert_int_equal(nng_aio_result(waiting), 0);
	nng_aio_free(waiting);
	nng_close(rep);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_queue_stays_full_while_senders_wait),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
