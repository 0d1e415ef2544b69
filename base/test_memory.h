/*
 * For tests: memory that runs out. A test that is linked with test_memory (base/CMakeLists.txt) has
 * these in the place of the allocators that the modules under test call (ld's --wrap).
 */
#pragma once

/* From the fail_at-th allocation on all fail; 0: none does. Whoever sets it sets the count to 0. */
extern unsigned long test_memory_fail_at, test_memory_allocations;
