// A dialer that dials once and says what came of it (patch 09-dialer-start-aio).
#include "engine.h"
#include "support.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static int dial(nng_dialer dialer)
{
	nng_aio *aio;
	int rv;

	assert_int_equal(nng_aio_alloc(&aio, NULL, NULL), 0);
	nng_dialer_start_aio(dialer, aio);
	nng_aio_wait(aio);
	rv = nng_aio_result(aio);
	nng_aio_free(aio);
	return rv;
}

static void dialer_says_why_and_may_try_again(void **state)
{
	struct pipes served, dialed;
	nng_socket rep, req;
	nng_dialer dialer;
	uint16_t port;
	char url[64];

	(void)state;
	assert_int_equal(nng_rep0_open(&rep), 0);
	port = listen_tls(rep);
	assert_int_not_equal(port, 0);
	assert_int_equal(nng_close(rep), 0);
	snprintf(url, sizeof(url), "tls+tcp://127.0.0.1:%u", port);

	assert_int_equal(nng_req0_open(&req), 0);
	pipes_watch(&dialed, req);
	assert_int_equal(nng_dialer_create(&dialer, req, url), 0);
	assert_int_equal(dial(dialer), NNG_ECONNREFUSED);
	assert_int_equal(dial(dialer), NNG_ECONNREFUSED);

	assert_int_equal(nng_rep0_open(&rep), 0);
	pipes_watch(&served, rep);
	assert_int_equal(nng_listen(rep, url, NULL, 0), 0);
	assert_int_equal(dial(dialer), 0);
	assert_true(pipes_wait_added(&dialed, 1));
	assert_true(pipes_wait_added(&served, 1));
	assert_int_equal(dial(dialer), NNG_ESTATE);
	nng_close(req);
	nng_close(rep);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialer_says_why_and_may_try_again),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, engine_setup, NULL);
}
