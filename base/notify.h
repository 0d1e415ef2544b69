/* sd_notify(3)'s protocol, without libsystemd. */
#pragma once

/* Sends @state ("READY=1", "STOPPING=1", "STATUS=...") to $NOTIFY_SOCKET; nothing where there is
 * none. */
void fl_notify(const char *state);
