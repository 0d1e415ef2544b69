#include "base/fsm.h"

#include <stddef.h>

#include "base/error.h"
#include "base/log.h"

void fl_fsm_init(struct fl_fsm *fsm, const struct fl_fsm_def *def, const char *id)
{
	*fsm = (struct fl_fsm){.def = def, .id = id};
}

bool fl_fsm_may(const struct fl_fsm *fsm, unsigned state)
{
	fl_assert(state < fsm->def->n_states);
	return (fsm->def->may_move_to[fsm->state] >> state & 1U) != 0;
}

void fl_fsm_move(struct fl_fsm *fsm, unsigned state, const char *why)
{
	const char *const *names = fsm->def->state_names;

	if (!fl_fsm_may(fsm, state)) {
		fl_log(FL_ERROR, "fsm.illegal", "machine=%s id=%s from=%s to=%s why=%s",
			fsm->def->name, fsm->id, names[fsm->state], names[state], why);
		fl_assert(fl_fsm_may(fsm, state));
	}
	fl_log(FL_DEBUG, "fsm.move", "machine=%s id=%s from=%s to=%s why=%s", fsm->def->name,
		fsm->id, names[fsm->state], names[state], why);
	fsm->state = state;
	if (fsm->invariant != NULL)
		fsm->invariant(fsm);
}

const char *fl_fsm_state_name(const struct fl_fsm *fsm)
{
	return fsm->def->state_names[fsm->state];
}
