/*
 * What rollout.c and rollout_store.c share of rollouts.
 */
#pragma once

#include "coordinator/core/internal.h"

struct rollout {
	struct unit *unit;
	struct fl_list link; /* of core->rollouts, until every place has the file */
	struct fl_list moved; /* of core->rollouts_moved */
	Pb__Rollout__State state;
	struct unit_body good; /* while ROLLING */
	uint64_t revision; /* the change_revision that began it */
	uint64_t since_ms; /* when this file began to roll */
	uint64_t due_ms; /* when to look again */
	uint32_t done, total, failed;
	char text[1024];
	char last[UNIT_NAME_MAX + 1]; /* who became healthy last */
	Pb__UnitRecord *stored; /* between core_load() and core_loaded() */
};

/* One of the places of a unit's file. */
struct place {
	struct unit *unit;
	struct placement *placement; /* nullable */
	struct rolled *rolled;
};

/* From an empty @place on; false: there is no more. */
bool rollout_next_place(struct unit *owner, struct place *place);
/* Whether the unit's file has not reached it. */
bool rollout_place_is_old(const struct unit *owner, const struct place *place);
/* What the store and people call it. */
const char *rollout_place_name(const struct place *place);
bool rollout_is_under_way(const struct rollout *rollout);

/* A copy of the file, with one reference; NULL: no memory. */
struct old_file *old_file_new(const struct unit_body *body);
