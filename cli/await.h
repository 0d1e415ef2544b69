/* Changes that were asked for, and the wait until machines have carried them out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cli/connection.h"
#include "cli/wait.h"
#include "proto/flota.pb-c.h"

enum change_outcome {
	CHANGE_PENDING,
	CHANGE_DONE,
	CHANGE_TRIGGERED, /* taken by the fleet; nobody waits for it */
	CHANGE_FAILED, /* on a machine, or refused by the coordinator: see code */
	CHANGE_UNSCHEDULABLE, /* no machine can take it now */
	CHANGE_TIMED_OUT,
};

struct change {
	const char *name; /* borrowed */
	enum wait_goal goal;
	uint64_t change_revision; /* 0: that of the unit when it is first seen */
	bool is_patient; /* that no machine can take it now ends nothing */
	uint64_t old_rollout; /* Unit.rollout of this revision or older had ended before */
	void (*tell_healthy)(const Pb__Unit *unit); /* one more is, with a new file; nullable */
	bool is_watched; /* was not asked for here: what others ask for meanwhile counts as well */
	enum change_outcome outcome;
	enum fl_code code; /* of an outcome that is no success */
	char *text; /* for a person: what is waited for, or went wrong; nullable */
	Pb__Unit *unit; /* the newest that is known, owned; NULL: none */
};

/* Takes @unit for the newest. */
void change_take_unit(struct change *change, Pb__Unit *unit);

/* Frees what a change owns, not the change. */
void change_fini(struct change *change);

/* The verdict on what is known of @change now: moves it from CHANGE_PENDING when there is one. */
enum fl_code change_judge(struct change *change, struct fl_error *err) FL_MUST_CHECK;

/*
 * Waits until none of @changes is pending, or @timeout_ms is over (0: never). @done is called for
 * each that stops to be pending, as it happens. @since is the fleet's revision of which the
 * changes know already.
 */
enum fl_code await_changes(struct connection *connection, struct change *changes, size_t n,
	uint64_t since, uint64_t timeout_ms, void (*done)(struct change *change, void *userdata),
	void *userdata, struct fl_error *err) FL_MUST_CHECK;
