/*
 * A driver for the reconciler's test: it writes down which steps are begun, and the test says how
 * each of them ends.
 */
#pragma once

#include "agent/driver.h"
#include "base/buf.h"
#include "base/map.h"

struct fake_unit {
	struct driver_unit base;
	struct fake *fake;
	char *name;
	void *userdata;
	struct driver_state state;
	bool stepping;
	enum driver_verb verb;
	struct driver_definition definition;
};

/* What of a unit is on the host: it outlives the agent. */
struct fake_file {
	char *content;
	bool running;
};

struct fake {
	struct driver base;
	struct fl_map *units, *files;
	struct fl_buf log; /* "verb name; " of every step begun */
	bool ready;
	const struct driver_handlers *handlers;
	void *userdata;
};

extern const struct driver_ops fake_ops;

/* NULL: nothing of it is on the host. */
struct fake_file *fake_file_of(const struct fake_unit *unit);
void fake_put_file(struct fake *fake, const char *name, const char *content, bool running);
void fake_set_active(struct fake_unit *unit, const char *active);

/* What a step that works does to the host. */
void fake_carry_out(struct fake_unit *unit);
