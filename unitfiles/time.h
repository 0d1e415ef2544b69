/* Times as systemd writes them (systemd.time(7)): whether it can read one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A span: "90", "1min 30s", "1.5h", "infinity" (UINT64_MAX). False where it is none. */
bool unit_time_parse_span(const char *text, uint64_t *ret_us);

/* A calendar event: "daily", "Mon..Fri 10:00", "*-*-01/7 00:00:00 Europe/Madrid". Whether a host
 * knows the time zone is not asked. */
bool unit_time_is_calendar(const char *text);
