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
