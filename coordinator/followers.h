/*
 * Held EventsRequests: who follows what happens. The core keeps the events; a follower is only a
 * request that waits, so a slow one costs nothing and misses nothing that the core still knows.
 */
#pragma once

#include "coordinator/exchange.h"

enum fl_code followers_new(struct followers **ret_followers, struct fl_error *err) FL_MUST_CHECK;
void followers_free(struct followers *followers);

/* There are new events: moves all who wait for one to @wake. */
void followers_collect(struct followers *followers, struct fl_list *wake);
