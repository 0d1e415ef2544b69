/*
 * When is a change carried out? Pure: one unit as the coordinator tells of it, one verdict. The
 * loop around it (cli/change.c) asks again as long as the verdict is to go on.
 */
#pragma once

#include <stdint.h>

#include "proto/flota.pb-c.h"

/* What was asked for. */
enum wait_goal {
	WAIT_FOR_NOTHING, /* the coordinator's word is enough */
	WAIT_FOR_LOADED, /* systemd on its machine has loaded it, and it does not run */
	WAIT_FOR_ACTIVE, /* it is active there; a Type=oneshot service: has finished well */
	WAIT_FOR_STOPPED, /* it is on its machine and does not run */
	WAIT_FOR_UNPLACED, /* no machine has it any more */
	WAIT_FOR_GONE, /* the fleet does not know it any more */
};

enum wait_verdict {
	WAIT_GO_ON,
	WAIT_DONE,
	WAIT_FAILED,
	WAIT_NOWHERE, /* no machine can take it now */
};

#define WAIT_TEXT_MAX 1024

/*
 * @unit is NULL when the fleet does not know it (any more). @change_revision is the revision that
 * the change has (Unit.change_revision right after it): what a machine says counts once it has
 * carried that out. @text, of WAIT_TEXT_MAX bytes, gets for a person what it waits for, or what
 * failed and where; "" when it is done.
 *
 * A unit on several machines is done when it is on each; one that failed on any has failed, once
 * no other is under way.
 */
enum wait_verdict wait_judge(
	enum wait_goal goal, uint64_t change_revision, const Pb__Unit *unit, char *text);
