/* What the agent takes of its host's memory. */
#pragma once

#include <stddef.h>

/* Before any thread: one heap, one worker, for a process that does little and waits long. */
void footprint_begin(void);

/* When more than @above_bytes are resident: gives back what the next while is not likely to need,
 * free heap and the pages of programs. */
void footprint_trim(size_t above_bytes);
