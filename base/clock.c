#include "base/clock.h"

#include <time.h>

static uint64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts); /* cannot fail for a clock that exists */
	return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

uint64_t fl_clock_boot_us(void)
{
	return clock_us(CLOCK_BOOTTIME);
}

uint64_t fl_clock_boot_ms(void)
{
	return clock_us(CLOCK_BOOTTIME) / 1000U;
}

uint64_t fl_clock_real_us(void)
{
	return clock_us(CLOCK_REALTIME);
}
