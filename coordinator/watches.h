/*
 * Held UnitsRequests: who waits for which unit.
 */
#pragma once

#include "coordinator/exchange.h"

enum fl_code watches_new(struct watches **ret_watches, struct fl_error *err) FL_MUST_CHECK;
void watches_free(struct watches *watches);

/* Holds the exchange, a UnitsRequest, until one of its units has changed. */
void watches_hold(struct watches *watches, struct exchange *exchange);

/* The unit has changed: moves those who wait for it to @wake. */
void watches_collect(struct watches *watches, const char *unit, struct fl_list *wake);

/* service_units.c: tries again to answer the exchange, which is watched no more. */
void service_units_changed(struct exchange *exchange);
