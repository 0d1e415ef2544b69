/* What a person reads when a unit does not run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>

#include "agent/systemd/explain.h"
#include "base/memory.h"

static void test_states(void **state)
{
	static const struct {
		struct properties properties;
		const char *text; /* that it begins with */
	} cases[] = {
		{{.load = "loaded", .active = "active"}, ""},
		{{.load = "loaded", .active = "inactive", .result = "exit-code"}, ""},
		{{.active = "failed",
			 .result = "exit-code",
			 .exec_code = CLD_EXITED,
			 .exec_status = 203},
			"exit status 203/EXEC: the program"},
		{{.active = "failed",
			 .result = "exit-code",
			 .exec_code = CLD_EXITED,
			 .exec_status = 7},
			"its process ended with exit status 7"},
		{{.active = "failed", .result = "exit-code"}, "one of its commands ended"},
		{{.active = "failed",
			 .result = "signal",
			 .exec_code = CLD_KILLED,
			 .exec_status = SIGKILL},
			"its process was killed by SIGKILL"},
		{{.active = "failed",
			 .result = "core-dump",
			 .exec_code = CLD_DUMPED,
			 .exec_status = SIGSEGV},
			"its process was killed by SIGSEGV"},
		{{.active = "failed", .result = "start-limit-hit"}, "start-limit-hit: it was"},
		{{.active = "failed", .result = "oom-kill"}, "oom-kill: the kernel"},
		{{.active = "failed", .result = "something-new"}, "result something-new"},
		{{.active = "failed", .result = "success"}, "it failed"},
		{{.load = "bad-setting", .active = "inactive", .load_error = "Line 3"},
			"systemd cannot load it (bad-setting): Line 3; its journal"},
		{{.load = "masked", .active = "inactive"}, "the unit is masked"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		char text[300];

		explain_state(&cases[i].properties, text, sizeof(text));
		if (cases[i].text[0] == '\0')
			assert_string_equal(text, "");
		assert_memory_equal(text, cases[i].text, strlen(cases[i].text));
	}
}

static void test_jobs(void **state)
{
	struct properties failed = {.active = "failed",
		.result = "exit-code",
		.exec_code = CLD_EXITED,
		.exec_status = 217};
	struct properties fine = {.active = "inactive", .result = "success"};
	char text[300];

	(void)state;
	explain_job("done", &failed, text, sizeof(text));
	assert_string_equal(text, "");
	explain_job("failed", &failed, text, sizeof(text));
	assert_string_equal(text, "exit status 217/USER: the User= does not exist on this host");
	explain_job("dependency", &fine, text, sizeof(text));
	assert_string_equal(text, "dependency: a unit that it requires could not be started");
	explain_job("novel", &fine, text, sizeof(text));
	assert_string_equal(text, "its job ended with \"novel\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_jobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
