#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

#include "base/error.h"

void fl_random(void *data, size_t size)
{
	uint8_t *bytes = data;

	while (size > 0) {
		ssize_t n = getrandom(bytes, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		fl_assert(n > 0);
		bytes += n;
		size -= (size_t)n;
	}
}

uint64_t fl_random_id(void)
{
	uint64_t id = 0;

	while (id == 0)
		fl_random(&id, sizeof(id));
	return id;
}

uint32_t fl_random_below(uint32_t bound)
{
	uint32_t number;

	fl_random(&number, sizeof(number));
	return (uint32_t)((uint64_t)number * bound >> 32);
}
