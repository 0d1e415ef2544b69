/* Where units go: every rule of fleet's, and what follows when something changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"

static void least_loaded_first_then_lowest_id(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m3", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_load(fleet, "b.service", ""));
	assert_true(fleet_start(fleet, "c.service", ""));
	assert_true(fleet_start(fleet, "d.service", ""));
	assert_where(fleet, "a.service", "m1");
	assert_where(fleet, "b.service", "m2");
	assert_where(fleet, "c.service", "m3");
	assert_where(fleet, "d.service", "m1");
	assert_true(fleet_unload(fleet, "b.service"));
	assert_where(fleet, "b.service", "");
	assert_true(fleet_start(fleet, "e.service", ""));
	assert_where(fleet, "e.service", "m2");
}

static void machine_id_whole_or_eight_characters(void **state)
{
	static const struct {
		const char *rule, *where;
	} cases[] = {
		{"MachineID=12345678aaaa", "12345678aaaa"},
		{"MachineID=12345678", "12345678aaaa"},
		{"MachineID=87654321", "87654321cccc"},
		{"MachineID=1234567", ""},
		{"MachineID=12345678aa", ""},
		{"X-ConditionMachineBootID=87654321cccc", "87654321cccc"},
	};
	struct fleet *fleet = *state;

	fleet_join(fleet, "12345678aaaa", "");
	fleet_join(fleet, "12345678bbbb", "");
	fleet_join(fleet, "87654321cccc", "");
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		assert_true(fleet_start(fleet, "a.service", cases[i].rule));
		assert_where(fleet, "a.service", cases[i].where);
		assert_true(fleet_destroy(fleet, "a.service"));
	}
}

static void metadata(void **state)
{
	static const struct {
		const char *rule, *where, *refusal_of_m1;
	} cases[] = {
		{"MachineMetadata=role=web", "m2",
			"metadata role=web wanted, the machine has role=db"},
		{"MachineMetadata=role=db", "m1", ""},
		{"MachineMetadata=role=db\nMachineMetadata=role=web", "m1", ""},
		{"MachineMetadata=role=web\nMachineMetadata=role=mail", "m2",
			"metadata role=web or role=mail wanted, the machine has role=db"},
		{"MachineMetadata=role=web\nMachineMetadata=disk=ssd", "m3",
			"metadata disk=ssd wanted, the machine has no disk"},
		{"MachineMetadata=\"role=web\" \"disk=ssd\"", "m3",
			"metadata disk=ssd wanted, the machine has no disk"},
		{"MachineMetadata=role=none", "",
			"metadata role=none wanted, the machine has role=db"},
	};
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "role=db");
	fleet_join(fleet, "m2", "role=web");
	fleet_join(fleet, "m3", "disk=ssd role=web");
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		assert_true(fleet_start(fleet, "a.service", cases[i].rule));
		assert_where(fleet, "a.service", cases[i].where);
		assert_string_equal(
			fleet_refusal(fleet, "a.service", "m1"), cases[i].refusal_of_m1);
		assert_true(fleet_destroy(fleet, "a.service"));
	}
}

/* Two values of one key: their machines are walked together, by load. */
static void metadata_values_share_the_load(void **state)
{
	struct fleet *fleet = *state;
	char name[32];

	fleet_join(fleet, "m1", "role=a");
	fleet_join(fleet, "m2", "role=b");
	fleet_join(fleet, "m3", "role=c");
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "u%d.service", i);
		assert_true(
			fleet_start(fleet, name, "MachineMetadata=role=b\nMachineMetadata=role=a"));
		assert_where(fleet, name, i % 2 == 0 ? "m1" : "m2");
	}
}

static void metadata_that_changes_moves_units(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "role=db");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=role=db"));
	assert_true(fleet_start(fleet, "g.service", "Global=true\nMachineMetadata=role=db"));
	assert_where(fleet, "a.service", "m1");
	fleet_join(fleet, "m1", "role=web");
	assert_where(fleet, "a.service", "");
	assert_where(fleet, "g.service", "");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting,
		"it has left machine m1, which has not let go of it yet");
	fleet_let_go(fleet, "m1");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting,
		"none of 1 machines can take it: "
		"1 × metadata role=db wanted, the machine has role=web");
	fleet_join(fleet, "m2", "role=db");
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "g.service", "m2");
}

static void conflicts_repel_both_ways(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "web1.service", "Conflicts=web*"));
	assert_true(fleet_start(fleet, "other.service", ""));
	assert_true(fleet_start(fleet, "web2.service", ""));
	assert_where(fleet, "web1.service", "m1");
	assert_where(fleet, "other.service", "m1");
	assert_where(fleet, "web2.service", "");
	assert_string_equal(fleet_refusal(fleet, "web2.service", "m1"),
		"unit web1.service, which is there, conflicts with it (Conflicts=web*)");
	assert_int_equal(fleet->result->n_refusals, 1);
	assert_string_equal(fleet->result->refusals[0]->machine_id, "m1");
	assert_string_equal(fleet->result->refusals[0]->address, "10.0.0.1");
	assert_true(fleet_start(fleet, "shy.service", "Conflicts=nothing.service other.service"));
	assert_string_equal(fleet_refusal(fleet, "shy.service", "m1"),
		"conflicts with unit other.service, which is there (Conflicts=other.service)");
	/* What was in the way goes: who waited for that comes. */
	assert_true(fleet_unload(fleet, "other.service"));
	assert_where(fleet, "shy.service", "m1");
	assert_where(fleet, "web2.service", "");
	assert_true(fleet_destroy(fleet, "web1.service"));
	assert_where(fleet, "web2.service", "m1");
}

static void instances_that_repel_each_other_spread(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_submit(fleet, "p@.service", unit_text("Conflicts=p@*.service")));
	assert_true(fleet_start(fleet, "x.service", ""));
	assert_true(fleet_start(fleet, "p@1.service", NULL));
	assert_true(fleet_start(fleet, "p@2.service", NULL));
	assert_true(fleet_start(fleet, "p@3.service", NULL));
	assert_where(fleet, "p@1.service", "m2");
	assert_where(fleet, "p@2.service", "m1");
	assert_where(fleet, "p@3.service", "");
	assert_int_equal(fleet->result->n_refusals, 2);
	fleet_join(fleet, "m3", "");
	assert_where(fleet, "p@3.service", "m3");
}

static void followers_go_with_their_leader(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "c.service", "MachineOf=b.service"));
	assert_true(fleet_start(fleet, "b.service", "MachineOf=a.service"));
	assert_where(fleet, "c.service", "");
	assert_string_equal(fleet_refusal(fleet, "b.service", "m1"),
		"wants to be with unit a.service (MachineOf=), which does not exist");
	assert_string_equal(fleet_refusal(fleet, "c.service", "m1"),
		"wants to be with unit b.service (MachineOf=), which is not there");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=2"));
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "b.service", "m2");
	assert_where(fleet, "c.service", "m2");
	assert_string_equal(fleet_refusal(fleet, "b.service", "m1"),
		"wants to be with unit a.service (MachineOf=), which is on machine m2");
	/* The leader moves, both go along. */
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=1"));
	fleet_let_go(fleet, "m2");
	assert_where(fleet, "a.service", "m1");
	assert_where(fleet, "b.service", "m1");
	assert_where(fleet, "c.service", "m1");
	assert_true(fleet_unload(fleet, "a.service"));
	assert_where(fleet, "b.service", "");
	assert_where(fleet, "c.service", "");
	assert_string_equal(fleet_refusal(fleet, "b.service", "m1"),
		"wants to be with unit a.service (MachineOf=), which is inactive");
	assert_true(fleet_load(fleet, "a.service", NULL));
	assert_where(fleet, "c.service", "m1");
	assert_true(fleet_destroy(fleet, "a.service"));
	assert_where(fleet, "b.service", "");
	assert_where(fleet, "c.service", "");
}

static void circles_of_leaders_wait(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "a.service", "MachineOf=b.service"));
	assert_true(fleet_start(fleet, "b.service", "MachineOf=a.service"));
	assert_where(fleet, "a.service", "");
	assert_where(fleet, "b.service", "");
	/* Made while both run, a circle stays where it is, and dissolves once one leaves. */
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=2"));
	assert_where(fleet, "b.service", "m2");
	assert_true(fleet_replace(fleet, "a.service", "MachineOf=b.service"));
	assert_where(fleet, "a.service", "m2");
	assert_true(fleet_unload(fleet, "a.service"));
	assert_true(fleet_start(fleet, "a.service", NULL));
	assert_where(fleet, "a.service", "");
	assert_where(fleet, "b.service", "");
}

static void two_leaders_must_be_together(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=1"));
	assert_true(fleet_start(fleet, "b.service", "MachineMetadata=k=2"));
	assert_true(fleet_start(fleet, "g.service", "Global=true\nMachineMetadata=k=2"));
	assert_true(fleet_start(fleet, "x.service", "MachineOf=a.service\nMachineOf=b.service"));
	assert_where(fleet, "x.service", "");
	assert_true(fleet_start(fleet, "y.service", "MachineOf=g.service\nMachineOf=b.service"));
	assert_where(fleet, "y.service", "m2");
	assert_true(fleet_start(fleet, "z.service", "MachineOf=g.service"));
	assert_where(fleet, "z.service", "m2");
	assert_true(fleet_replace(fleet, "b.service", "MachineMetadata=k=1"));
	fleet_let_go(fleet, "m2");
	assert_where(fleet, "x.service", "m1");
	assert_where(fleet, "y.service", "");
	assert_true(fleet_unload(fleet, "g.service"));
	assert_where(fleet, "z.service", "");
}

static void nobody_refuses_who_has_not_been_heard_of_yet(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_restart(fleet);
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_int_equal(fleet->result->n_refusals, 0);
	assert_true(fleet_start(fleet, "b.service", "MachineMetadata=k=2"));
	assert_int_equal(fleet->result->n_refusals, 1);
	fleet_pass(fleet, FLEET_LEASE_MS, "");
	assert_true(fleet_start(fleet, "c.service", ""));
	assert_int_equal(fleet->result->n_refusals, 1);
	fleet_beat(fleet, "m1");
	assert_where(fleet, "a.service", "m1");
}

static void a_replacing_unit_sends_the_old_one_elsewhere(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "old.service", ""));
	assert_true(fleet_start(fleet, "follower.service", "MachineOf=old.service"));
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "filler.service", ""));
	/* Where it goes is not steered: the least loaded machine does not hold the old one. */
	assert_true(fleet_start(fleet, "far.service", "Replaces=old.service"));
	assert_where(fleet, "far.service", "m2");
	assert_where(fleet, "old.service", "m1");
	assert_true(fleet_destroy(fleet, "far.service"));
	assert_true(fleet_start(fleet, "f2.service", ""));
	assert_true(fleet_start(fleet, "new.service", "Replaces=old.*"));
	assert_where(fleet, "new.service", "m1");
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "old.service", "m2");
	assert_where(fleet, "follower.service", "m2");
	/* It does not come back to who replaced it. */
	assert_string_equal(fleet_refusal(fleet, "old.service", "m1"),
		"unit new.service, which is there, replaces it (Replaces=old.*)");
	fleet_pass(fleet, 60000, "m1");
	assert_where(fleet, "old.service", "");
	assert_true(fleet_destroy(fleet, "new.service"));
	assert_where(fleet, "old.service", "m1");
	assert_where(fleet, "follower.service", "m1");
}

static void mutual_replaces_are_ignored(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", "Replaces=b.service"));
	assert_true(fleet_start(fleet, "b.service", "Replaces=a.service"));
	assert_where(fleet, "a.service", "m1");
	assert_where(fleet, "b.service", "m1");
}

static void a_circle_of_replaces_ends(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", "Replaces=b.service"));
	assert_true(fleet_start(fleet, "b.service", "Replaces=c.service"));
	assert_true(fleet_start(fleet, "c.service", "Replaces=a.service"));
	assert_true(fleet_unload(fleet, "a.service"));
	assert_true(fleet_start(fleet, "a.service", NULL));
	for (const char *const *name =
			(const char *const[]){"a.service", "b.service", "c.service", NULL};
		*name != NULL; name++) {
		const Pb__Unit *unit = fleet_unit(fleet, *name);

		assert_true(unit->n_placements == 1 || *unit->waiting != '\0');
	}
}

/* It grows whenever one is placed. */
static uint64_t epochs_of_all(struct fleet *fleet)
{
	return unit_find(fleet->core, "a.service")->epoch +
	       unit_find(fleet->core, "b.service")->epoch +
	       unit_find(fleet->core, "c.service")->epoch;
}

static void a_circle_of_replaces_ends_from_step_to_step(void **state)
{
	struct fleet *fleet = *state;
	uint64_t epochs;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", "Replaces=b.service"));
	assert_true(fleet_start(fleet, "b.service", "Replaces=c.service"));
	assert_true(fleet_start(fleet, "c.service", "Replaces=a.service"));
	for (int i = 0; i < 6; i++) {
		fleet_let_go(fleet, "m1");
		fleet_let_go(fleet, "m2");
	}
	epochs = epochs_of_all(fleet);
	for (int i = 0; i < 6; i++) {
		fleet_let_go(fleet, "m1");
		fleet_let_go(fleet, "m2");
	}
	assert_int_equal(epochs_of_all(fleet), epochs);
	fleet_check(fleet->core);
}

static void who_was_replaced_replaces_when_it_is_asked_for_anew(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "old.service", "Replaces=older.service"));
	assert_true(fleet_start(fleet, "new.service", "Replaces=old.service"));
	fleet_let_go(fleet, "m1");
	fleet_join(fleet, "m2", "");
	assert_where(fleet, "new.service", "m1");
	assert_where(fleet, "old.service", "m2");
	fleet_pass(fleet, 2 * FLEET_LEASE_MS, "m1");
	assert_where(fleet, "old.service", "");
	assert_true(fleet_destroy(fleet, "new.service"));
	assert_where(fleet, "old.service", "m1");
	assert_true(fleet_start(fleet, "newest.service", "Replaces=old.service"));
	fleet_let_go(fleet, "m1");
	assert_true(fleet_start(fleet, "older.service", ""));
	assert_true(fleet_destroy(fleet, "newest.service"));
	fleet_restart(fleet);
	fleet_beat(fleet, "m1");
	assert_where(fleet, "older.service", "m1");
	assert_where(fleet, "old.service", "");
	assert_string_equal(fleet_refusal(fleet, "old.service", "m1"),
		"it would replace unit older.service (Replaces=older.service), and was replaced "
		"itself: it does so when it is started anew");
	assert_true(fleet_unload(fleet, "old.service"));
	assert_true(fleet_start(fleet, "old.service", NULL));
	assert_where(fleet, "old.service", "m1");
	assert_where(fleet, "older.service", "");
	fleet_check(fleet->core);
}

static void global_units_run_everywhere(void **state)
{
	struct fleet *fleet = *state;
	uint64_t epoch;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	assert_true(fleet_start(fleet, "h.service", "Global=true\nMachineMetadata=k=2"));
	assert_where(fleet, "g.service", "m1 m2");
	assert_where(fleet, "h.service", "m2");
	assert_true(fleet_unit(fleet, "g.service")->global);
	epoch = fleet_epoch(fleet, "h.service");
	fleet_join(fleet, "m3", "k=2");
	assert_where(fleet, "g.service", "m1 m2 m3");
	assert_where(fleet, "h.service", "m2 m3");
	/* They count as load. */
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_unload(fleet, "h.service"));
	assert_where(fleet, "h.service", "");
	assert_true(fleet_start(fleet, "h.service", NULL));
	assert_true(fleet_unit(fleet, "h.service")->placements[0]->epoch > epoch);
	assert_true(fleet_destroy(fleet, "g.service"));
	assert_int_equal(core_unit_count(fleet->core), 2);
}

static void a_global_unit_wins_over_others(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "follower.service", "MachineOf=a.service"));
	fleet_join(fleet, "m2", "keep=free");
	assert_true(fleet_submit(fleet, "g.service", unit_text("Global=true\nConflicts=a.*")));
	assert_where(fleet, "a.service", "m1");
	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "g.service", NULL));
	assert_where(fleet, "g.service", "m1 m2");
	assert_where(fleet, "a.service", "");
	assert_where(fleet, "follower.service", "");
	assert_true(fleet_unload(fleet, "g.service"));
	assert_where(fleet, "a.service", "m1");
	/* Two global ones that conflict: the first by name. */
	assert_true(fleet_start(fleet, "z.service", "Global=true\nConflicts=y.service"));
	assert_where(fleet, "z.service", "m1 m2");
	assert_true(fleet_start(fleet, "y.service", "Global=true\nMachineMetadata=keep=free"));
	assert_where(fleet, "y.service", "m2");
	assert_where(fleet, "z.service", "m1");
	assert_string_equal(fleet_refusal(fleet, "z.service", "m2"),
		"conflicts with unit y.service, which is there (Conflicts=y.service)");
	assert_true(fleet_destroy(fleet, "y.service"));
	assert_where(fleet, "z.service", "m1 m2");
}

static void a_global_unit_displaces_what_conflicts_with_it(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", "Conflicts=g.service"));
	assert_where(fleet, "a.service", "m1");
	assert_true(fleet_start(fleet, "g.service", "Global=true\nMachineMetadata=k=1"));
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");
}

static void another_file_of_a_global_unit_displaces_too(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	assert_true(fleet_replace(fleet, "g.service", "Global=true\nConflicts=a.service"));
	assert_where(fleet, "a.service", "");
	assert_true(fleet_replace(fleet, "g.service", "Global=true"));
	assert_where(fleet, "a.service", "m1");
}

static void another_file_may_make_a_unit_global(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_replace(fleet, "a.service", "Global=true"));
	assert_where(fleet, "a.service", "m1 m2");
	assert_true(fleet_replace(fleet, "a.service", ""));
	assert_where(fleet, "a.service", "m1");
}

static void a_changed_rule_moves_the_unit(void **state)
{
	struct fleet *fleet = *state;
	uint64_t epoch;

	fleet_join(fleet, "m1", "k=1");
	fleet_join(fleet, "m2", "k=2");
	assert_true(fleet_start(fleet, "a.service", ""));
	epoch = fleet_epoch(fleet, "a.service");
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=1"));
	assert_where(fleet, "a.service", "m1");
	assert_int_equal(fleet_epoch(fleet, "a.service"), epoch);
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=2"));
	fleet_let_go(fleet, "m1");
	assert_where(fleet, "a.service", "m2");
	assert_true(fleet_epoch(fleet, "a.service") > epoch);
	/* A waiting unit whose file changes is tried again. */
	assert_true(fleet_replace(fleet, "a.service", "MachineMetadata=k=3"));
	assert_where(fleet, "a.service", "");
	fleet_let_go(fleet, "m2");
	assert_true(fleet_replace(fleet, "a.service", ""));
	assert_where(fleet, "a.service", "m1");
}

static void no_machine_yet(void **state)
{
	struct fleet *fleet = *state;

	assert_true(fleet_start(fleet, "a.service", ""));
	assert_string_equal(fleet->result->unit->waiting, "there is no machine in the fleet yet");
	assert_int_equal(fleet->result->unit->desired, PB__DESIRED_STATE__LAUNCHED);
	fleet_join(fleet, "m1", "");
	assert_where(fleet, "a.service", "m1");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting, "");
}

static void refusals_are_bounded(void **state)
{
	struct fleet *fleet = *state;
	char id[32];
	Pb__WhyReply *reply;

	for (int i = 0; i < 150; i++) {
		snprintf(id, sizeof(id), "m%03d", i);
		fleet_join(fleet, id, "");
	}
	assert_true(fleet_start(fleet, "a.service", "MachineMetadata=k=1"));
	assert_int_equal(fleet->result->n_refusals, 101);
	assert_string_equal(fleet->result->refusals[100]->machine_id, "");
	assert_string_equal(fleet->result->refusals[100]->reason, "and 50 more machines");
	assert_int_equal(
		core_why(fleet->core, "a.service", fleet->now_ms, 150, &reply, NULL), FL_OK);
	assert_int_equal(reply->n_machines, 150);
	core_message_free(&reply->base);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fleet_setup, fleet_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(least_loaded_first_then_lowest_id),
		TEST(machine_id_whole_or_eight_characters),
		TEST(metadata),
		TEST(metadata_values_share_the_load),
		TEST(metadata_that_changes_moves_units),
		TEST(conflicts_repel_both_ways),
		TEST(instances_that_repel_each_other_spread),
		TEST(followers_go_with_their_leader),
		TEST(circles_of_leaders_wait),
		TEST(two_leaders_must_be_together),
		TEST(a_replacing_unit_sends_the_old_one_elsewhere),
		TEST(nobody_refuses_who_has_not_been_heard_of_yet),
		TEST(mutual_replaces_are_ignored),
		TEST(a_circle_of_replaces_ends),
		TEST(a_circle_of_replaces_ends_from_step_to_step),
		TEST(who_was_replaced_replaces_when_it_is_asked_for_anew),
		TEST(global_units_run_everywhere),
		TEST(a_global_unit_wins_over_others),
		TEST(a_global_unit_displaces_what_conflicts_with_it),
		TEST(another_file_of_a_global_unit_displaces_too),
		TEST(another_file_may_make_a_unit_global),
		TEST(a_changed_rule_moves_the_unit),
		TEST(no_machine_yet),
		TEST(refusals_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
