/*
 * The machines whose certificates no longer count, by ID: changed on the loop, asked in every
 * handshake by nng's threads.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct revoked; /* counted */

enum fl_code revoked_new(struct revoked **ret_revoked, struct fl_error *err) FL_MUST_CHECK;
struct revoked *revoked_ref(struct revoked *revoked);
void revoked_unref(struct revoked *revoked);

/* FL_E_NO_MEMORY leaves it as it was. */
enum fl_code revoked_set(struct revoked *revoked, const char *machine_id, bool is_revoked,
	struct fl_error *err) FL_MUST_CHECK;
bool revoked_has(struct revoked *revoked, const char *machine_id);
