/*
 * Watches whether file descriptors are left. Without one no connection can be accepted; nng then
 * waits until there is one again and tells nobody, so this does: coordinator.no_descriptors, and
 * coordinator.descriptors_recovered.
 */
#pragma once

#include "base/error.h"
#include "coordinator/deadlines.h"

struct descriptors;

/* Looks at once, and then every few seconds. @deadlines is borrowed. */
enum fl_code descriptors_new(struct descriptors **ret_descriptors, struct deadlines *deadlines,
	struct fl_error *err) FL_MUST_CHECK;
void descriptors_free(struct descriptors *descriptors);
