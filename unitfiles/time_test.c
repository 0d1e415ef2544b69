#include "unitfiles/time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"

static void test_spans(void **state)
{
	static const struct {
		const char *text;
		uint64_t us;
	} rows[] = {
		{"0", 0},
		{"90", 90000000},
		{"1min 30s", 90000000},
		{"1min30s", 90000000},
		{" 2 h ", 7200000000},
		{"1.5h", 5400000000},
		{".5", 500000},
		{"55s500ms", 55500000},
		{"300ms20s 5day", 432020300000},
		{"1M", 2629800000000},
		{"1m", 60000000},
		{"3\u00b5s", 3},
		{"infinity", UINT64_MAX},
	};
	static const char *const refused[] = {"", "banana", "-1", "1 banana", "1..5", "12.34.56",
		"infinity 1", "1e3", "99999999999999999999", "9999999999999y", "s"};
	uint64_t us = 0;

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		if (!unit_time_parse_span(rows[i].text, &us))
			fail_msg("refused: %s", rows[i].text);
		assert_true(us == rows[i].us);
	}
	for (size_t i = 0; i < FL_COUNT(refused); i++)
		if (unit_time_parse_span(refused[i], &us))
			fail_msg("accepted: %s", refused[i]);
}

/* The same rows are asked of systemd-analyze in tests/lab/test_foreign.py. */
static void test_calendar(void **state)
{
	static const char *const accepted[] = {
#define OK(text) text,
#define NO(text)
#include "unitfiles/testdata/calendar.inc"
#undef OK
#undef NO
	};
	static const char *const refused[] = {
#define OK(text)
#define NO(text) text,
#include "unitfiles/testdata/calendar.inc"
#undef OK
#undef NO
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(accepted); i++)
		if (!unit_time_is_calendar(accepted[i]))
			fail_msg("refused: %s", accepted[i]);
	for (size_t i = 0; i < FL_COUNT(refused); i++)
		if (unit_time_is_calendar(refused[i]))
			fail_msg("accepted: %s", refused[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_calendar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
