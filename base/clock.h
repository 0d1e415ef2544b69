/* The two clocks flota reads. The core reads neither: its time is an argument. */
#pragma once

#include <stdint.h>

/* Milliseconds and microseconds since boot, time asleep included (CLOCK_BOOTTIME): for leases,
 * deadlines and durations. */
uint64_t fl_clock_boot_ms(void);
uint64_t fl_clock_boot_us(void);

/* Microseconds since 1970 (CLOCK_REALTIME): only for what a person reads. */
uint64_t fl_clock_real_us(void);
