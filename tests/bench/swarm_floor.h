/* What a coordinator of the swarm is measured against: a transport server and nothing else. */
#pragma once

/* The first byte of a message says what it does with it. */
#define FLOOR_HOLD 'h' /* keep it */
#define FLOOR_ECHO 'e' /* send it back */

/*
 * Serves agents at @url with the coordinator's certificate and key of @folder, until @control, a
 * pipe, is closed. A byte down the pipe answers what is held: 'a' all of it, another the last.
 */
_Noreturn void floor_run(const char *folder, const char *url, unsigned n_agents, int control);
