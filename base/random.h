/* Randomness from getrandom(2). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Fills @data; aborts where the kernel has no randomness to give, since nothing can go on then. */
void fl_random(void *data, size_t size);

/* A random number that is not 0. */
uint64_t fl_random_id(void);

/* A number below @bound (which is not 0), for jitter: not exactly uniform. */
uint32_t fl_random_below(uint32_t bound);
