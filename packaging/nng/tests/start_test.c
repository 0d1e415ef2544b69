// What nng does when it starts: the engine that was registered first is the one it uses (patch
// 07-tls-register-engine), and it starts the few threads that ../build asks for.
#include "engine.h"
#include "support.h"

#include <dirent.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/engine.h>
#include <nng/supplemental/tls/tls.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

// Besides those for tasks, one each for expiry, names, timers, polling and reaping.
#define OTHER_THREADS 5

// ThreadSanitizer starts one of its own with the first of ours.
#ifdef __SANITIZE_THREAD__
#define SANITIZER_THREADS 1
#else
#define SANITIZER_THREADS 0
#endif

static unsigned threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	const struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static nng_socket rep;
static unsigned threads_started;

static void few_threads(void **state)
{
	(void)state;
	assert_int_equal(threads_started, TASK_THREADS + OTHER_THREADS + SANITIZER_THREADS);
}

static void registered_engine_stays(void **state)
{
	(void)state;
	assert_string_equal(nng_tls_engine_name(), ENGINE_NAME);
}

// nng starts once in a process, with the first call of it.
static int setup(void **state)
{
	unsigned before = threads();

	(void)state;
	if (engine_register() != 0 || nng_rep0_open(&rep) != 0)
		return -1;
	threads_started = threads() - before;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return nng_close(rep);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_threads),
		cmocka_unit_test(registered_engine_stays),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
