#include "coordinator/attempts.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"

#define SLOTS 4096U

struct attempts {
	uint64_t salt; /* so that nobody can choose whose slot it shares */
	/* When the slot's failures will all have been forgotten. */
	uint64_t free_at_ms[SLOTS];
};

enum fl_code attempts_new(struct attempts **ret_attempts, struct fl_error *err)
{
	struct attempts *attempts = FL_NEW(struct attempts);

	if (attempts == NULL)
		return FL_FAIL_NO_MEMORY(err);
	attempts->salt = fl_random_id();
	*ret_attempts = attempts;
	return FL_OK;
}

void attempts_free(struct attempts *attempts)
{
	free(attempts);
}

/* FNV-1a with the salt for a beginning. */
static size_t slot_of(const struct attempts *attempts, const char *address)
{
	uint64_t hash = attempts->salt;

	for (; *address != '\0'; address++)
		hash = (hash ^ (unsigned char)*address) * UINT64_C(0x100000001b3);
	return (size_t)(hash >> 32 ^ hash) % SLOTS;
}

bool attempts_allowed(const struct attempts *attempts, const char *address, uint64_t now_ms)
{
	uint64_t free_at_ms = attempts->free_at_ms[slot_of(attempts, address)];

	return free_at_ms <= now_ms + (ATTEMPTS_BURST - 1) * ATTEMPTS_INTERVAL_MS;
}

void attempts_failed(struct attempts *attempts, const char *address, uint64_t now_ms)
{
	uint64_t *free_at_ms = &attempts->free_at_ms[slot_of(attempts, address)];

	*free_at_ms = (*free_at_ms > now_ms ? *free_at_ms : now_ms) + ATTEMPTS_INTERVAL_MS;
}
