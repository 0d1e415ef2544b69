/* systemd's results in words that say what to do. */
#pragma once

#include <stddef.h>

#include "agent/systemd/properties.h"

/* Why a unit is failed or cannot be loaded, into @text; "" where nothing is wrong. */
void explain_state(const struct properties *properties, char *text, size_t size);

/* Why a job did not end with "done" (JobRemoved's results); "" for "done". */
void explain_job(const char *result, const struct properties *properties, char *text, size_t size);
