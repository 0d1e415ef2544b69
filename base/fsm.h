/*
 * Table-driven state machines. A machine is one list: its states, and for each where it may go.
 *
 *	#define LINK_STATES(X)                                                     \
 *		X(LINK, DIALING, FL_TO(LINK, UP) | FL_TO(LINK, CLOSED))            \
 *		X(LINK, UP, FL_TO(LINK, CLOSED))                                   \
 *		X(LINK, CLOSED, 0)
 *	FL_FSM_DEFINE(link, LINK_STATES)       // enum link_state, link_fsm_def
 *
 * The first state of the list is where every machine begins. fl_fsm_move() is the only writer of
 * a state: an illegal move is our bug and aborts; a legal one runs the invariant and is traced
 * at debug level with from, to and why.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fl_fsm_def {
	const char *name;
	unsigned n_states;
	const char *const *state_names;
	const uint32_t *may_move_to; /* a bit for each state */
};

struct fl_fsm {
	const struct fl_fsm_def *def;
	const char *id; /* which of its kind, for the trace; borrowed */
	void (*invariant)(
		const struct fl_fsm *fsm); /* nullable; asserts what holds in each state */
	unsigned state;
};

#define FL_TO(prefix, state) (UINT32_C(1) << prefix##_##state)

#define FL_FSM_ENUM_(prefix, state, to)  prefix##_##state,
#define FL_FSM_NAME_(prefix, state, to)  #state,
#define FL_FSM_MOVES_(prefix, state, to) (to),

#define FL_FSM_DEFINE(name_, LIST) \
	enum name_##_state{LIST(FL_FSM_ENUM_)}; \
	static const char *const name_##_state_names[] = {LIST(FL_FSM_NAME_)}; \
	static const uint32_t name_##_state_moves[] = {LIST(FL_FSM_MOVES_)}; \
	_Static_assert(sizeof(name_##_state_moves) <= 32 * sizeof(uint32_t), \
		"a state machine has at most 32 states"); \
	static const struct fl_fsm_def name_##_fsm_def = { \
		.name = #name_, \
		.n_states = sizeof(name_##_state_moves) / sizeof(uint32_t), \
		.state_names = name_##_state_names, \
		.may_move_to = name_##_state_moves, \
	};

/* Begins in the first state. @id is borrowed and must outlive the machine. */
void fl_fsm_init(struct fl_fsm *fsm, const struct fl_fsm_def *def, const char *id);

/* Moves to @state, which the table must allow. @why is for the trace. */
void fl_fsm_move(struct fl_fsm *fsm, unsigned state, const char *why);

/* Whether the table allows it. */
bool fl_fsm_may(const struct fl_fsm *fsm, unsigned state);

const char *fl_fsm_state_name(const struct fl_fsm *fsm);
