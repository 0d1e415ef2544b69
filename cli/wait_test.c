#include "cli/wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

#define ID   "2d0c6ea8b4f34ff4a3a3c2c1f0e0d0c0"
#define HERE "2d0c6ea8.../10.77.0.11"

#define REVISION 7 /* of the change that is waited for */

static struct world {
	Pb__Unit unit;
	Pb__Placement placements[2];
	Pb__UnitState states[2];
	Pb__Placement *pointers[2];
} world;

/* A unit on one machine, whose agent has carried out the change. */
static Pb__Unit *make(
	Pb__DesiredState desired, const char *active, const char *sub, const char *result)
{
	pb__unit__init(&world.unit);
	world.unit.name = (char *)"a.service";
	world.unit.desired = desired;
	world.unit.change_revision = REVISION;
	for (size_t i = 0; i < 2; i++) {
		pb__placement__init(&world.placements[i]);
		pb__unit_state__init(&world.states[i]);
		world.pointers[i] = &world.placements[i];
		world.placements[i].machine_id = (char *)ID;
		world.placements[i].address = (char *)"10.77.0.11";
		world.placements[i].epoch = 3;
		world.placements[i].state = &world.states[i];
		world.states[i].epoch = 3;
		world.states[i].load = (char *)"loaded";
		world.states[i].active = (char *)active;
		world.states[i].sub = (char *)sub;
		world.states[i].result = (char *)result;
		world.states[i].done_revision = REVISION;
	}
	world.unit.placements = world.pointers;
	world.unit.n_placements = 1;
	return &world.unit;
}

#define LAUNCHED PB__DESIRED_STATE__LAUNCHED
#define LOADED   PB__DESIRED_STATE__LOADED
#define INACTIVE PB__DESIRED_STATE__INACTIVE

static void expect(
	enum wait_goal goal, const Pb__Unit *unit, enum wait_verdict verdict, const char *text)
{
	char said[WAIT_TEXT_MAX];

	assert_int_equal(wait_judge(goal, REVISION, unit, said), verdict);
	assert_string_equal(said, text);
}

static void test_states_of_systemd(void **state)
{
	static const struct {
		enum wait_goal goal;
		const char *active, *sub, *result;
		enum wait_verdict verdict;
		const char *text;
	} rows[] = {
		{WAIT_FOR_ACTIVE, "active", "running", "done", WAIT_DONE, ""},
		{WAIT_FOR_ACTIVE, "active", "exited", "done", WAIT_DONE, ""},
		{WAIT_FOR_ACTIVE, "reloading", "reload", "done", WAIT_DONE, ""},
		/* A oneshot that has finished, one that ran before, one whose condition is not met. */
		{WAIT_FOR_ACTIVE, "inactive", "dead", "done", WAIT_DONE, ""},
		{WAIT_FOR_ACTIVE, "inactive", "dead", "", WAIT_DONE, ""},
		{WAIT_FOR_ACTIVE, "inactive", "dead", "skipped", WAIT_DONE, ""},
		{WAIT_FOR_ACTIVE, "inactive", "dead", "dependency", WAIT_FAILED,
			"failed on " HERE ": it is inactive (dead), its job ended as: dependency"},
		{WAIT_FOR_ACTIVE, "failed", "failed", "failed", WAIT_FAILED,
			"failed on " HERE ": it is failed (failed), its job ended as: failed"},
		{WAIT_FOR_ACTIVE, "failed", "failed", "done", WAIT_FAILED,
			"failed on " HERE ": it is failed (failed)"},
		{WAIT_FOR_ACTIVE, "activating", "auto-restart", "done", WAIT_FAILED,
			"ended on " HERE
			" right after its start; systemd there starts it again and again"},
		{WAIT_FOR_ACTIVE, "activating", "start", "done", WAIT_GO_ON,
			"activating (start) on " HERE},
		{WAIT_FOR_ACTIVE, "deactivating", "stop-post", "done", WAIT_GO_ON,
			"deactivating (stop-post) on " HERE},
		{WAIT_FOR_LOADED, "inactive", "dead", "", WAIT_DONE, ""},
		{WAIT_FOR_LOADED, "deactivating", "stop-sigterm", "", WAIT_GO_ON,
			"deactivating (stop-sigterm) on " HERE},
		{WAIT_FOR_STOPPED, "inactive", "dead", "done", WAIT_DONE, ""},
		{WAIT_FOR_STOPPED, "failed", "failed", "done", WAIT_DONE, ""},
		{WAIT_FOR_STOPPED, "active", "running", "timeout", WAIT_FAILED,
			"failed on " HERE ": it is active (running), its job ended as: timeout"},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rows); i++)
		expect(rows[i].goal,
			make(rows[i].goal == WAIT_FOR_ACTIVE ? LAUNCHED : LOADED, rows[i].active,
				rows[i].sub, rows[i].result),
			rows[i].verdict, rows[i].text);
}

static void test_stopped_badly(void **state)
{
	Pb__Unit *unit = make(LOADED, "failed", "failed", "done");

	(void)state;
	world.states[0].error = (char *)"its process was killed by SIGTERM";
	expect(WAIT_FOR_STOPPED, unit, WAIT_DONE, "");
	expect(WAIT_FOR_LOADED, unit, WAIT_DONE, "");
	world.states[0].active = (char *)"active";
	expect(WAIT_FOR_STOPPED, unit, WAIT_FAILED,
		"failed on " HERE ": its process was killed by SIGTERM");
}

/* What a machine says counts only for this placement, and once it has carried the change out. */
static void test_not_yet(void **state)
{
	Pb__Unit *unit = make(LAUNCHED, "failed", "failed", "failed");

	(void)state;
	world.states[0].done_revision = REVISION - 1;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "failed (failed) on " HERE);
	world.states[0].error = (char *)"no space left";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "on " HERE ": no space left");
	world.states[0].done_revision = REVISION;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_FAILED, "failed on " HERE ": no space left");
	world.states[0].epoch = 2;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "waits for " HERE " to take it up");
	world.placements[0].state = NULL;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "waits for " HERE " to take it up");
}

/* What it said last is no answer; of a global unit the other machines are. */
static void test_lost_machine(void **state)
{
	Pb__Unit *unit = make(LAUNCHED, "active", "running", "done");

	(void)state;
	world.placements[0].lost = true;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON,
		HERE " is lost; it hears of this when it is back");
	unit->global = true;
	unit->n_placements = 2;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_DONE, "");
	world.states[1].active = (char *)"failed";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_FAILED, "failed on " HERE ": it is failed (running)");
}

static void test_not_loadable(void **state)
{
	Pb__Unit *unit = make(LAUNCHED, "inactive", "dead", "");

	(void)state;
	world.states[0].load = (char *)"bad-setting";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_FAILED,
		"failed on " HERE ": systemd there says: load state bad-setting");
	unit->desired = LOADED;
	expect(WAIT_FOR_LOADED, unit, WAIT_FAILED,
		"failed on " HERE ": systemd there says: load state bad-setting");
	/* It does not run, and more was not asked for. */
	expect(WAIT_FOR_STOPPED, unit, WAIT_DONE, "");
}

static void test_nowhere(void **state)
{
	Pb__Unit *unit = make(LAUNCHED, "active", "running", "done");

	(void)state;
	unit->n_placements = 0;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "waits for a machine");
	unit->global = true;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_DONE, "");
	unit->global = false;
	unit->waiting = (char *)"no machine has disk=ssd";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_NOWHERE, "no machine has disk=ssd");
	/* To stop it there is nothing left to do. */
	unit->desired = LOADED;
	expect(WAIT_FOR_LOADED, unit, WAIT_NOWHERE, "no machine has disk=ssd");
	/* It will have one when another machine has let go of it. */
	unit->held_by = (char *)"m1";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "no machine has disk=ssd");
	unit->held_by = (char *)"";
	expect(WAIT_FOR_STOPPED, unit, WAIT_DONE, "");
}

static void test_going(void **state)
{
	Pb__Unit *unit = make(INACTIVE, "active", "running", "done");

	(void)state;
	expect(WAIT_FOR_UNPLACED, unit, WAIT_GO_ON, "waits for " HERE " to let go of it");
	expect(WAIT_FOR_GONE, unit, WAIT_GO_ON, "waits for " HERE " to let go of it");
	unit->n_placements = 0;
	expect(WAIT_FOR_UNPLACED, unit, WAIT_DONE, "");
	expect(WAIT_FOR_GONE, unit, WAIT_GO_ON, "is being forgotten");
	expect(WAIT_FOR_GONE, NULL, WAIT_DONE, "");
	expect(WAIT_FOR_UNPLACED, NULL, WAIT_DONE, "");
	expect(WAIT_FOR_ACTIVE, NULL, WAIT_FAILED, "was destroyed meanwhile");
}

static void test_somebody_else(void **state)
{
	Pb__Unit *unit = make(INACTIVE, "active", "running", "done");

	(void)state;
	unit->n_placements = 0;
	unit->change_revision = REVISION + 1;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_FAILED,
		"was changed meanwhile: it is to be inactive now");
	/* A second start of the same unit does not disturb the first. */
	unit = make(LAUNCHED, "active", "running", "done");
	unit->change_revision = REVISION + 1;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_DONE, "");
}

static void test_several_machines(void **state)
{
	Pb__Unit *unit = make(LAUNCHED, "active", "running", "done");

	(void)state;
	unit->global = true;
	unit->n_placements = 2;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_DONE, "");
	world.states[0].active = (char *)"failed";
	world.states[1].active = (char *)"activating";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_GO_ON, "activating (running) on " HERE);
	world.states[1].active = (char *)"active";
	expect(WAIT_FOR_ACTIVE, unit, WAIT_FAILED, "failed on " HERE ": it is failed (running)");
}

static void test_a_file_that_rolls(void **state)
{
	static const struct {
		Pb__Rollout__State state;
		uint32_t done, failed;
		const char *words;
		enum wait_verdict verdict;
		const char *text;
	} rows[] = {
		{PB__ROLLOUT__STATE__ROLLING, 2, 0, "waits for a@3.service", WAIT_GO_ON,
			"2 of 5 are healthy with the new file; waits for a@3.service"},
		{PB__ROLLOUT__STATE__ROLLING, 2, 0, "", WAIT_GO_ON,
			"2 of 5 are healthy with the new file"},
		{PB__ROLLOUT__STATE__RETURNING, 1, 0, "a@3.service failed", WAIT_GO_ON,
			"returns to the last good file, 1 of 5 have it again: a@3.service failed"},
		{PB__ROLLOUT__STATE__RETURNED, 5, 0, "a@3.service failed", WAIT_FAILED,
			"returned to the last good file, because with the new one: a@3.service "
			"failed"},
		{PB__ROLLOUT__STATE__DONE, 5, 0, "", WAIT_DONE, ""},
		{PB__ROLLOUT__STATE__DONE, 4, 0, "1 of 5 get it later", WAIT_DONE, ""},
		{PB__ROLLOUT__STATE__DONE, 4, 1, "1 of 5 are not healthy", WAIT_FAILED,
			"1 of 5 are not healthy"},
	};
	Pb__Rollout rollout = PB__ROLLOUT__INIT;
	Pb__Unit *unit = make(LAUNCHED, "active", "running", "done");

	(void)state;
	unit->rollout = &rollout;
	rollout.revision = REVISION;
	rollout.total = 5;
	for (size_t i = 0; i < FL_COUNT(rows); i++) {
		rollout.state = rows[i].state;
		rollout.done = rows[i].done;
		rollout.failed = rows[i].failed;
		rollout.text = (char *)rows[i].words;
		expect(WAIT_FOR_ACTIVE, unit, rows[i].verdict, rows[i].text);
	}
	/* One from before this change says nothing of it; nor does it say when a unit has stopped. */
	rollout.state = PB__ROLLOUT__STATE__RETURNED;
	rollout.revision = REVISION - 1;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_DONE, "");
	/* A template is where its replicas are. */
	unit->rollout = NULL;
	unit->n_placements = 0;
	unit->replicas = 5;
	expect(WAIT_FOR_ACTIVE, unit, WAIT_DONE, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_that_rolls),
		cmocka_unit_test(test_states_of_systemd),
		cmocka_unit_test(test_stopped_badly),
		cmocka_unit_test(test_not_yet),
		cmocka_unit_test(test_lost_machine),
		cmocka_unit_test(test_not_loadable),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_going),
		cmocka_unit_test(test_somebody_else),
		cmocka_unit_test(test_several_machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
