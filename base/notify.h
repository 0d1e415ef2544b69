/* sd_notify(3)'s protocol, without libsystemd. */
#pragma once

#include <stdint.h>

/* Sends @state ("READY=1", "STOPPING=1", "STATUS=...") to $NOTIFY_SOCKET; nothing where there is
 * none. */
void fl_notify(const char *state);

/* How often systemd wants to hear "WATCHDOG=1" of this process, or it ends it: twice in the period of
 * WatchdogSec= (sd_watchdog_enabled(3)). 0: it does not. */
uint64_t fl_watchdog_ms(void);
