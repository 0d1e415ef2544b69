#include "agent/driver.h"

#include <string.h>

const char *driver_verb_text(enum driver_verb verb)
{
	static const char *const texts[] = {
#define X(verb_, text) [verb_] = text,
		DRIVER_VERBS(X)
#undef X
	};

	return texts[verb];
}

bool driver_state_is_running(const struct driver_state *state)
{
	return state->active[0] != '\0' && strcmp(state->active, "inactive") != 0 &&
	       strcmp(state->active, "failed") != 0;
}

bool driver_state_equal(const struct driver_state *a, const struct driver_state *b)
{
	return strcmp(a->load, b->load) == 0 && strcmp(a->active, b->active) == 0 &&
	       strcmp(a->sub, b->sub) == 0 && strcmp(a->failure, b->failure) == 0 &&
	       a->main_pid == b->main_pid && a->since_us == b->since_us;
}
