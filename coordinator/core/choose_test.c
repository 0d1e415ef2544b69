/* Which of the machines that may take a unit gets it: Spread=, PreferConflicts=, PreferMetadata=,
 * load; and who comes first where not all find a place: Priority=. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "coordinator/core/internal.h"
#include "coordinator/core/testing.h"

static void start(struct fleet *fleet, const char *name, const char *rules, const char *where)
{
	if (!fleet_start(fleet, name, rules))
		fail_msg("%s: %s", name, fleet_error(fleet));
	if (strcmp(fleet_where(fleet, name), where) != 0)
		fail_msg("%s is on %s, expected %s", name, fleet_where(fleet, name), where);
	fleet_check(fleet->core);
}

static void spread_over_a_key(void **state)
{
	static const char spread[] = "[X-Flota]\nSpread=zone";
	struct fleet *fleet = *state;

	fleet_join(fleet, "a1", "zone=a");
	fleet_join(fleet, "a2", "zone=a");
	fleet_join(fleet, "a3", "zone=a");
	fleet_join(fleet, "b1", "zone=b");
	fleet_join(fleet, "c1", "zone=c");
	fleet_join(fleet, "0none", "");
	start(fleet, "other.service", "MachineMetadata=zone=b", "b1");
	/* Zone by zone, in a zone by load; a machine without a zone last. */
	start(fleet, "web@1.service", spread, "a1");
	start(fleet, "web@2.service", spread, "c1");
	start(fleet, "web@3.service", spread, "b1");
	start(fleet, "web@4.service", spread, "a2");
	start(fleet, "web@5.service", spread, "c1");
	start(fleet, "web@6.service", spread, "b1");
	start(fleet, "web@7.service", spread, "a3");
	/* Another template begins anew. */
	start(fleet, "db@1.service", spread, "a1");
	/* Where one has left the next one comes. */
	assert_true(fleet_unload(fleet, "web@2.service"));
	start(fleet, "web@8.service", spread, "c1");
	/* Machines that may not be taken do not count. */
	start(fleet, "web@9.service", "MachineMetadata=zone=a\n[X-Flota]\nSpread=zone", "a2");
	assert_true(fleet_destroy(fleet, "web@5.service"));
	start(fleet, "web@10.service",
		"MachineMetadata=zone=a\nMachineMetadata=zone=b\n[X-Flota]\nSpread=zone", "b1");
}

static void a_domain_that_refuses_is_passed_over(void **state)
{
	static const char spread[] = "Conflicts=lonely.service\n[X-Flota]\nSpread=zone";
	struct fleet *fleet = *state;

	fleet_join(fleet, "a1", "zone=a");
	fleet_join(fleet, "b1", "zone=b");
	fleet_join(fleet, "n1", "");
	start(fleet, "lonely.service", "MachineMetadata=zone=a", "a1");
	start(fleet, "web@1.service", spread, "b1");
	start(fleet, "web@2.service", spread, "b1");
	/* Only the one without a zone is left. */
	start(fleet, "more.service", "MachineMetadata=zone=b", "b1");
	fleet_capacity(fleet, "b1", 1, UINT64_C(1) << 30);
	start(fleet, "web@3.service", "Conflicts=lonely.service\n[X-Flota]\nSpread=zone\nMemory=2G",
		"n1");
	/* And when nothing is left, it waits. */
	fleet_capacity(fleet, "n1", 1, UINT64_C(1) << 30);
	start(fleet, "web@4.service", "Conflicts=lonely.service\n[X-Flota]\nSpread=zone\nMemory=2G",
		"");
	assert_true(fleet_destroy(fleet, "lonely.service"));
	assert_where(fleet, "web@4.service", "a1");
}

static void spread_by_machine(void **state)
{
	static const char spread[] = "[X-Flota]\nSpread=machine";
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	for (int i = 0; i < 6; i++) {
		char name[32];

		snprintf(name, sizeof(name), "load%d.service", i);
		start(fleet, name, "MachineID=m3", "m3");
	}
	start(fleet, "web@1.service", spread, "m1");
	start(fleet, "web@2.service", spread, "m2");
	start(fleet, "web@3.service", spread, "m3");
	start(fleet, "web@4.service", spread, "m1");
	start(fleet, "web@5.service", spread, "m2");
	start(fleet, "web@6.service", spread, "m3");
	assert_true(fleet_destroy(fleet, "web@3.service"));
	assert_true(fleet_destroy(fleet, "web@6.service"));
	fleet_restart(fleet);
	fleet_beat(fleet, "m1");
	fleet_beat(fleet, "m2");
	fleet_beat(fleet, "m3");
	start(fleet, "web@7.service", spread, "m3");
	start(fleet, "web@8.service", spread, "m3");
	start(fleet, "web@9.service", spread, "m1");
}

/* All instances of the template count, whatever their own files say. */
static void siblings_without_the_key_count(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "a1", "zone=a");
	fleet_join(fleet, "b1", "zone=b");
	fleet_join(fleet, "b2", "zone=b");
	start(fleet, "web@1.service", "", "a1");
	start(fleet, "web@2.service", "", "b1");
	start(fleet, "web@3.service", "", "b2");
	start(fleet, "web@4.service", "[X-Flota]\nSpread=zone", "a1");
	start(fleet, "web@5.service", "[X-Flota]\nSpread=zone", "b1");
	assert_true(fleet_replace(fleet, "web@5.service", "[X-Flota]\nSpread=machine"));
	assert_where(fleet, "web@5.service", "b1");
	start(fleet, "web@6.service", "[X-Flota]\nSpread=machine", "b2");
	fleet_check(fleet->core);
}

static void a_machine_that_changes_its_zone_takes_its_units_along(void **state)
{
	static const char spread[] = "[X-Flota]\nSpread=zone";
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "zone=a");
	fleet_join(fleet, "m2", "zone=b");
	start(fleet, "web@1.service", spread, "m1");
	start(fleet, "web@2.service", spread, "m2");
	start(fleet, "web@3.service", spread, "m1");
	fleet_join(fleet, "m3", "zone=a");
	fleet_join(fleet, "m1", "zone=b");
	fleet_check(fleet->core);
	start(fleet, "web@4.service", spread, "m3");
	fleet_join(fleet, "m1", "");
	fleet_check(fleet->core);
	/* zone=a: web@4; zone=b: web@2. */
	start(fleet, "web@5.service", spread, "m2");
	start(fleet, "web@6.service", spread, "m3");
	fleet_join(fleet, "m1", "zone=c");
	start(fleet, "web@7.service", "[X-Flota]\nSpread=zone", "m1");
}

static void rather_not_with_some(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	start(fleet, "loud.service", "", "m1");
	start(fleet, "a.service", "MachineID=m2", "m2");
	start(fleet, "b.service", "MachineID=m2", "m2");
	start(fleet, "quiet.service", "[X-Flota]\nPreferConflicts=loud*", "m2");
	start(fleet, "loud2.service", "MachineID=m2", "m2");
	/* No machine is without one: then the least loaded, and it does not wait. */
	start(fleet, "quiet2.service", "[X-Flota]\nPreferConflicts=loud*", "m1");
	assert_true(fleet_destroy(fleet, "loud2.service"));
	start(fleet, "quiet3.service", "[X-Flota]\nPreferConflicts=x* loud*", "m2");
}

static void rather_with_such_metadata(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "disk=ssd");
	fleet_join(fleet, "m3", "disk=ssd region=eu");
	fleet_join(fleet, "m4", "region=us");
	start(fleet, "a.service", "[X-Flota]\nPreferMetadata=disk=ssd", "m2");
	start(fleet, "b.service", "[X-Flota]\nPreferMetadata=disk=ssd region=eu", "m3");
	/* One of two keys is more than none. */
	start(fleet, "c.service", "[X-Flota]\nPreferMetadata=region=us disk=mars", "m4");
	start(fleet, "d.service", "[X-Flota]\nPreferMetadata=region=us disk=nvme", "m4");
	start(fleet, "e.service", "[X-Flota]\nPreferMetadata=region=mars", "m1");
	/* What must be comes before what should, and no company before both. */
	start(fleet, "f.service", "MachineMetadata=region=us\n[X-Flota]\nPreferMetadata=disk=ssd",
		"m4");
	start(fleet, "g.service",
		"[X-Flota]\nPreferConflicts=a.service b.service\nPreferMetadata=disk=ssd", "m1");
}

static void assert_why(struct fleet *fleet, const char *name, const char *part)
{
	Pb__WhyReply *reply;

	assert_int_equal(core_why(fleet->core, name, fleet->now_ms, 10, &reply, NULL), FL_OK);
	if (strstr(reply->summary, part) == NULL)
		fail_msg("%s: %s", name, reply->summary);
	core_message_free(&reply->base);
}

static void why_names_what_was_preferred(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "zone=a");
	fleet_join(fleet, "m2", "zone=b disk=ssd");
	start(fleet, "web@1.service", "[X-Flota]\nSpread=zone", "m1");
	start(fleet, "web@2.service", "[X-Flota]\nSpread=machine", "m2");
	start(fleet, "a.service", "[X-Flota]\nPreferMetadata=disk=ssd\nPreferConflicts=web@2*",
		"m1");
	start(fleet, "b.service", "[X-Flota]\nPreferMetadata=disk=ssd", "m2");
	assert_why(fleet, "web@1.service", "; Spread=zone: 0 others of web@.service in zone=a");
	assert_why(fleet, "web@2.service", "; Spread=machine: 0 others of web@.service there");
	assert_why(fleet, "a.service",
		"; PreferMetadata=: the machine has no disk; PreferConflicts=: none is there");
	assert_why(fleet, "b.service", "; PreferMetadata=: the machine has disk=ssd");
}

/* In one line: those with the same words together, the most first. */
static void reasons_are_grouped(void **state)
{
	struct fleet *fleet = *state;
	char id[8];

	for (int i = 0; i < 12; i++) {
		snprintf(id, sizeof(id), "m%02d", i);
		fleet_join(fleet, id, i < 2 ? "role=web" : i < 7 ? "role=db" : "");
	}
	for (int i = 8; i < 12; i++) {
		snprintf(id, sizeof(id), "m%02d", i);
		fleet_join(fleet, id, i == 8 ? "role=x" : i == 9 ? "role=y" : "role=z");
	}
	start(fleet, "a.service", "MachineMetadata=role=none", "");
	assert_string_equal(fleet_unit(fleet, "a.service")->waiting,
		"none of 12 machines can take it: "
		"5 × metadata role=none wanted, the machine has role=db, "
		"2 × metadata role=none wanted, the machine has role=web, "
		"2 × metadata role=none wanted, the machine has role=z, "
		"3 × otherwise (flotactl why a.service)");
}

static void the_highest_priority_first(void **state)
{
	static const struct {
		const char *name, *rules;
	} waiting[] = {
		{"low.service", "[X-Flota]\nMemory=1G\nPriority=-5"},
		{"first.service", "[X-Flota]\nMemory=1G"},
		{"second.service", "[X-Flota]\nMemory=1G"},
		{"high.service", "[X-Flota]\nMemory=1G\nPriority=100"},
		{"big.service", "[X-Flota]\nMemory=3G\nPriority=1000"},
	};
	static const char *const order[] = {
		"high.service", "first.service", "second.service", "low.service"};
	struct fleet *fleet = *state;
	char name[32];

	fleet_capacity(fleet, "m1", 4, UINT64_C(4) << 30);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "there%d.service", i);
		start(fleet, name, "[X-Flota]\nMemory=1G", "m1");
	}
	for (size_t i = 0; i < FL_COUNT(waiting); i++)
		start(fleet, waiting[i].name, waiting[i].rules, "");
	/* big.service asks first each time, and there is not enough for it. */
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "there%d.service", i);
		assert_true(fleet_destroy(fleet, name));
		for (int k = 0; k < 4; k++)
			assert_where(fleet, order[k], k <= i ? "m1" : "");
		assert_where(fleet, "big.service", "");
		fleet_check(fleet->core);
	}
	assert_true(fleet_destroy(fleet, "high.service"));
	assert_true(fleet_destroy(fleet, "low.service"));
	/* Another file, another turn. */
	start(fleet, "late.service", "[X-Flota]\nMemory=4G", "");
	assert_true(fleet_replace(fleet, "big.service", "[X-Flota]\nMemory=2G\nPriority=-1000"));
	assert_where(fleet, "big.service", "m1");
}

/* When a machine is lost, those of its units with the highest priority find a place. */
static void priority_when_a_machine_is_lost(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	fleet_capacity(fleet, "m1", 4, UINT64_C(4) << 30);
	fleet_capacity(fleet, "m2", 4, UINT64_C(1) << 30);
	fleet_capacity(fleet, "m3", 4, UINT64_C(1) << 30);
	start(fleet, "a.service", "[X-Flota]\nMemory=1025M\n", "m1");
	start(fleet, "b.service", "MachineID=m1\n[X-Flota]\nMemory=1G\n", "m1");
	assert_true(fleet_unload(fleet, "b.service"));
	assert_true(fleet_destroy(fleet, "b.service"));
	fleet_capacity(fleet, "m2", 4, 1);
	fleet_capacity(fleet, "m3", 4, 1);
	start(fleet, "c.service", "[X-Flota]\nMemory=1G", "m1");
	start(fleet, "d.service", "[X-Flota]\nMemory=1G\nPriority=7", "m1");
	fleet_capacity(fleet, "m2", 4, UINT64_C(1) << 30);
	fleet_pass(fleet, 2 * FLEET_LEASE_MS, "m2 m3");
	assert_where(fleet, "a.service", "");
	assert_where(fleet, "c.service", "");
	assert_where(fleet, "d.service", "m2");
}

/* ---- Against counting --------------------------------------------------------------------- */

#define N_MACHINES 60

struct score {
	const struct machine *machine;
	size_t siblings, unmet;
	bool no_domain, avoided;
};

static bool is_sibling(const struct unit *unit, const struct unit *other)
{
	size_t len = strcspn(unit->name, "@");

	return unit != other && unit->name[len] == '@' &&
	       strncmp(unit->name, other->name, len + 1) == 0;
}

static bool same_domain(const char *key, const struct machine *a, const struct machine *b)
{
	const char *x, *y;

	if (strcmp(key, "machine") == 0)
		return a == b;
	x = machine_metadata(a, key);
	y = machine_metadata(b, key);
	return x != NULL && y != NULL && strcmp(x, y) == 0;
}

static struct score score_of(
	const struct core *core, const struct unit *unit, const struct machine *machine)
{
	const struct unit_rules *rules = &unit->body.rules;
	struct score score = {.machine = machine,
		.unmet = place_unmet_preferences(unit, machine),
		.avoided = place_avoided(unit, machine) != NULL};
	struct unit *other;

	if (rules->spread == NULL)
		return score;
	score.no_domain = strcmp(rules->spread, "machine") != 0 &&
			  machine_metadata(machine, rules->spread) == NULL;
	RB_FOREACH (other, unit_tree, (struct unit_tree *)&core->units)
		if (!other->gone && is_sibling(unit, other) && other->placed != NULL &&
			same_domain(rules->spread, machine, other->placed->machine))
			score.siblings++;
	return score;
}

static bool is_better(const struct score *a, const struct score *b)
{
	if (a->no_domain != b->no_domain)
		return b->no_domain;
	if (a->siblings != b->siblings)
		return a->siblings < b->siblings;
	if (a->avoided != b->avoided)
		return b->avoided;
	if (a->unmet != b->unmet)
		return a->unmet < b->unmet;
	if (a->machine->n_units != b->machine->n_units)
		return a->machine->n_units < b->machine->n_units;
	return strcmp(a->machine->id, b->machine->id) < 0;
}

static const struct machine *best_of(const struct core *core, const struct unit *unit)
{
	struct score best = {0};
	struct machine *machine;

	RB_FOREACH (machine, machine_tree, (struct machine_tree *)&core->machines) {
		struct score score;

		if (place_check(unit, machine, core->now_ms, NULL) != REFUSAL_NONE)
			continue;
		score = score_of(core, unit, machine);
		if (best.machine == NULL || is_better(&score, &best))
			best = score;
	}
	return best.machine;
}

static void random_rules(uint64_t *random, bool instance, char *text, size_t size)
{
	static const char *const spreads[] = {"zone", "machine", "disk", "nothing"};
	size_t len = 0;

#define ADD(...) len += (size_t)snprintf(text + len, size - len, __VA_ARGS__)
	text[0] = '\0';
	if (fleet_pick(random, 3) == 0)
		ADD("MachineMetadata=disk=%u\n", fleet_pick(random, 3));
	if (fleet_pick(random, 6) == 0)
		ADD("MachineMetadata=zone=%u\nMachineMetadata=zone=%u\n", fleet_pick(random, 8),
			fleet_pick(random, 8));
	if (fleet_pick(random, 4) == 0)
		ADD("Conflicts=u%u*\n", fleet_pick(random, 10));
	ADD("[X-Flota]\n");
	if (instance && fleet_pick(random, 3) > 0)
		ADD("Spread=%s\n", spreads[fleet_pick(random, FL_COUNT(spreads))]);
	if (fleet_pick(random, 3) == 0)
		ADD("PreferMetadata=disk=%u\n", fleet_pick(random, 3));
	if (fleet_pick(random, 4) == 0)
		ADD("PreferMetadata=zone=%u\nPreferMetadata=zone=%u\n", fleet_pick(random, 8),
			fleet_pick(random, 8));
	if (fleet_pick(random, 4) == 0)
		ADD("PreferConflicts=u%u*\n", fleet_pick(random, 10));
	if (fleet_pick(random, 2) == 0)
		ADD("Memory=%uM\n", fleet_pick(random, 2000));
	if (fleet_pick(random, 4) == 0)
		ADD("CPUs=0.%u\n", fleet_pick(random, 10));
#undef ADD
}

static void random_machine(struct fleet *fleet, uint64_t *random)
{
	char id[16], metadata[64] = "";
	size_t len = 0;

	snprintf(id, sizeof(id), "m%02u", fleet_pick(random, N_MACHINES));
	if (fleet_pick(random, 5) > 0)
		len += (size_t)snprintf(
			metadata, sizeof(metadata), "zone=%u ", fleet_pick(random, 8));
	if (fleet_pick(random, 2) > 0)
		snprintf(metadata + len, sizeof(metadata) - len, "disk=%u", fleet_pick(random, 3));
	fleet_join(fleet, id, metadata);
	if (fleet_pick(random, 4) > 0)
		fleet_capacity(fleet, id, 1 + fleet_pick(random, 8),
			(uint64_t)fleet_pick(random, 20) << 29);
}

/* Every choice is the one that counting finds; every index is what counting finds. */
static void choices_against_counting(uint64_t seed, unsigned steps)
{
	uint64_t random = seed;
	unsigned n_placed = 0, n_waiting = 0;
	struct fleet fleet;

	print_message("FLOTA_SEED=%" PRIu64 " FLOTA_STEPS=%u\n", seed, steps);
	fleet_open(&fleet);
	for (unsigned i = 0; i < steps; i++) {
		char name[32], rules[1024], content[2048];
		const struct machine *expected;
		struct unit *unit;

		if (fleet_pick(&random, 5) == 0)
			random_machine(&fleet, &random);
		snprintf(name, sizeof(name), "u%u%s.service", fleet_pick(&random, 40),
			fleet_pick(&random, 3) > 0 ? "@x" : "");
		if (fleet_pick(&random, 2) == 0)
			snprintf(name, sizeof(name), "web@%u.service", fleet_pick(&random, 100));
		random_rules(&random, unit_name_is_instance(name), rules, sizeof(rules));
		snprintf(content, sizeof(content), "%s", unit_text(rules));
		if (unit_find(fleet.core, name) != NULL)
			assert_true(fleet_destroy(&fleet, name));
		if (!fleet_submit(&fleet, name, content))
			fail_msg("%s: %s", name, fleet_error(&fleet));
		unit = unit_find(fleet.core, name);
		expected = best_of(fleet.core, unit);
		assert_true(fleet_start(&fleet, name, NULL));
		if (expected != (unit->placed != NULL ? unit->placed->machine : NULL))
			fail_msg("%s is on %s, expected %s:\n%s", name, fleet_where(&fleet, name),
				expected != NULL ? expected->id : "none", rules);
		n_placed += expected != NULL;
		n_waiting += expected == NULL;
		fleet_check(fleet.core);
	}
	print_message("%u placed, %u waiting\n", n_placed, n_waiting);
	fleet_unit(&fleet, NULL);
	fleet_close(&fleet);
}

static void known_seeds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		choices_against_counting(seed, 600);
}

static void a_new_seed(void **state)
{
	const char *seed = getenv("FLOTA_SEED"), *steps = getenv("FLOTA_STEPS");

	(void)state;
	choices_against_counting(seed != NULL ? strtoull(seed, NULL, 10) : fl_random_id(),
		steps != NULL ? (unsigned)strtoul(steps, NULL, 10) : 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(spread_over_a_key, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			a_domain_that_refuses_is_passed_over, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(spread_by_machine, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			siblings_without_the_key_count, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			a_machine_that_changes_its_zone_takes_its_units_along, fleet_setup,
			fleet_teardown),
		cmocka_unit_test_setup_teardown(rather_not_with_some, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			rather_with_such_metadata, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			why_names_what_was_preferred, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(reasons_are_grouped, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			the_highest_priority_first, fleet_setup_with_m1, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			priority_when_a_machine_is_lost, fleet_setup_with_m1, fleet_teardown),
		cmocka_unit_test(known_seeds),
		cmocka_unit_test(a_new_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
