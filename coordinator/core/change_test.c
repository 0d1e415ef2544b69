/* What people ask for, and what they are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"
#include "proto/wire.h"

static const char OTHER[] = "[Service]\nExecStart=/bin/false\n";

static const char *content(struct fleet *fleet, const char *name)
{
	return (const char *)fleet_unit(fleet, name)->content.data;
}

static void a_file_comes_back_byte_for_byte(void **state)
{
	static const char text[] = "# hello\n\n[Unit]\nDescription=A web server\n"
				   "[Service]\r\nExecStart=/bin/true \n\n; bye";
	struct fleet *fleet = *state;

	assert_true(fleet_submit(fleet, "a.service", text));
	assert_int_equal(fleet->result->n_warnings, 0);
	assert_int_equal(fleet->result->unit->content.len, 0);
	assert_string_equal(fleet->result->unit->description, "A web server");
	assert_int_equal(fleet->result->unit->desired, PB__DESIRED_STATE__INACTIVE);
	assert_int_equal(strlen(fleet->result->unit->hash), 40);
	assert_int_equal(fleet_unit(fleet, "a.service")->content.len, strlen(text));
	assert_string_equal(content(fleet, "a.service"), text);
	fleet_restart(fleet);
	assert_string_equal(content(fleet, "a.service"), text);
	assert_string_equal(fleet_unit(fleet, "a.service")->description, "A web server");
}

static void refused_changes_change_nothing(void **state)
{
	static const struct {
		Pb__Change__Verb verb;
		const char *name, *content;
		Pb__DesiredState desired;
		enum fl_code code;
		const char *text;
	} cases[] = {
		{PB__CHANGE__VERB__SET, "no.service", NULL, PB__DESIRED_STATE__LAUNCHED,
			FL_E_NOT_FOUND,
			"unable to find Unit(no.service) in Registry or on filesystem"},
		{PB__CHANGE__VERB__SET, "no@1.service", NULL, PB__DESIRED_STATE__LOADED,
			FL_E_NOT_FOUND,
			"failed getting Unit(no@1.service) from template: unable to find template "
			"Unit(no@.service) in Registry or on filesystem"},
		{PB__CHANGE__VERB__SET, "no@1.service", NULL, PB__DESIRED_STATE__INACTIVE,
			FL_E_NOT_FOUND, "Unit(no@1.service) not found in registry"},
		{PB__CHANGE__VERB__SUBMIT, "no.service", NULL, 0, FL_E_NOT_FOUND,
			"unable to find Unit(no.service) in Registry or on filesystem"},
		{PB__CHANGE__VERB__RESTART, "no.service", NULL, 0, FL_E_NOT_FOUND,
			"Unit(no.service) not found in registry"},
		{PB__CHANGE__VERB__DESTROY, "no.service", NULL, 0, FL_E_NOT_FOUND,
			"Unit(no.service) not found in registry"},
		{PB__CHANGE__VERB__RESTART, "there.service", NULL, 0, FL_E_STATE,
			"Unable to restart unit there.service in state inactive; start it instead"},
		{PB__CHANGE__VERB__SET, "t@.service", NULL, PB__DESIRED_STATE__LAUNCHED,
			FL_E_INVALID,
			"cannot activate template \"t@.service\": its file has no Replicas="},
		{PB__CHANGE__VERB__SET, "u@.service", OTHER, PB__DESIRED_STATE__LOADED,
			FL_E_INVALID,
			"cannot activate template \"u@.service\": its file has no Replicas="},
		{PB__CHANGE__VERB__SET, "there.service", NULL, 7, FL_E_INVALID,
			"7 is not a desired state of a unit"},
		{9, "there.service", NULL, 0, FL_E_INVALID,
			"9 is not a change that can be made to a unit"},
		{PB__CHANGE__VERB__SUBMIT, "x/y.service", OTHER, 0, FL_E_INVALID, NULL},
		{PB__CHANGE__VERB__SUBMIT, "x.service", "ExecStart=\n", 0, FL_E_SYNTAX, NULL},
		{PB__CHANGE__VERB__SET, "there.service",
			"[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\nMachineID=1\n",
			PB__DESIRED_STATE__LAUNCHED, FL_E_INVALID, NULL},
	};
	struct fleet *fleet = *state;
	uint64_t revision;

	assert_true(fleet_submit(fleet, "there.service", unit_text(NULL)));
	assert_true(fleet_submit(fleet, "t@.service", unit_text(NULL)));
	revision = core_revision(fleet->core);
	fleet_forget(fleet);
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		assert_false(fleet_change(fleet, cases[i].verb, cases[i].name, cases[i].content,
			cases[i].desired, true));
		assert_int_equal(fl_code_from_wire(fleet->result->error->code), cases[i].code);
		if (cases[i].text != NULL)
			assert_string_equal(fleet_error(fleet), cases[i].text);
		assert_true(*fleet_error(fleet) != '\0');
		assert_null(fleet->result->unit);
	}
	assert_int_equal(core_unit_count(fleet->core), 2);
	assert_int_equal(core_revision(fleet->core), revision);
	assert_int_equal(fleet->n_writes, 0);
	assert_string_equal(content(fleet, "there.service"), unit_text(NULL));
}

/* fleet's table: what --replace may replace, by what was asked for and the state it is in. */
static void replace_table(void **state)
{
	static const struct {
		Pb__DesiredState now;
		Pb__Change__Verb verb;
		Pb__DesiredState desired;
		bool replaced;
	} cases[] = {
		{PB__DESIRED_STATE__INACTIVE, PB__CHANGE__VERB__SUBMIT, 0, true},
		{PB__DESIRED_STATE__LOADED, PB__CHANGE__VERB__SUBMIT, 0, false},
		{PB__DESIRED_STATE__LAUNCHED, PB__CHANGE__VERB__SUBMIT, 0, false},
		{PB__DESIRED_STATE__INACTIVE, PB__CHANGE__VERB__SET, PB__DESIRED_STATE__LOADED,
			true},
		{PB__DESIRED_STATE__LOADED, PB__CHANGE__VERB__SET, PB__DESIRED_STATE__LOADED, true},
		{PB__DESIRED_STATE__LAUNCHED, PB__CHANGE__VERB__SET, PB__DESIRED_STATE__LOADED,
			false},
		{PB__DESIRED_STATE__INACTIVE, PB__CHANGE__VERB__SET, PB__DESIRED_STATE__LAUNCHED,
			true},
		{PB__DESIRED_STATE__LOADED, PB__CHANGE__VERB__SET, PB__DESIRED_STATE__LAUNCHED,
			true},
		{PB__DESIRED_STATE__LAUNCHED, PB__CHANGE__VERB__SET, PB__DESIRED_STATE__LAUNCHED,
			true},
	};
	struct fleet *fleet = *state;

	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		uint64_t before;

		assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "a.service", unit_text(NULL),
			cases[i].now, false));
		before = fleet_unit(fleet, "a.service")->change_revision;
		assert_true(fleet_change(
			fleet, cases[i].verb, "a.service", OTHER, cases[i].desired, true));
		assert_int_equal(fleet->result->n_warnings, cases[i].replaced ? 0 : 1);
		assert_string_equal(
			content(fleet, "a.service"), cases[i].replaced ? OTHER : unit_text(NULL));
		if (cases[i].replaced)
			assert_true(fleet_unit(fleet, "a.service")->change_revision > before);
		assert_true(fleet_destroy(fleet, "a.service"));
	}
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SUBMIT, "a.service", OTHER, 0, true));
	assert_string_equal(fleet->result->warnings[0],
		"can not replace Unit(a.service) in state 'launched', use the appropriate command");
}

static void another_file_without_replace_is_only_a_warning(void **state)
{
	struct fleet *fleet = *state;

	assert_true(fleet_submit(fleet, "a.service", unit_text(NULL)));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "a.service", OTHER,
		PB__DESIRED_STATE__LAUNCHED, false));
	assert_int_equal(fleet->result->n_warnings, 1);
	assert_string_equal(fleet->result->warnings[0],
		"Unit a.service in registry differs from local unit file. "
		"Add --replace to override.");
	assert_string_equal(content(fleet, "a.service"), unit_text(NULL));
	assert_string_equal(fleet_where(fleet, "a.service"), "m1");
}

static void comments_alone_do_not_touch_the_unit(void **state)
{
	struct fleet *fleet = *state;
	char text[256] = "# new\n";
	uint64_t change;

	strcat(text, unit_text(NULL));
	assert_true(fleet_start(fleet, "a.service", ""));
	change = fleet_unit(fleet, "a.service")->change_revision;
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SUBMIT, "a.service", text, 0, false));
	assert_int_equal(fleet->result->n_warnings, 0);
	assert_string_equal(content(fleet, "a.service"), unit_text(NULL));
	fleet_forget(fleet);
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SUBMIT, "a.service", text, 0, true));
	assert_string_equal(content(fleet, "a.service"), text);
	assert_int_equal(fleet_unit(fleet, "a.service")->change_revision, change);
	assert_int_equal(fleet->machines.n, 0);
	assert_int_equal(fleet->n_writes, 1);
}

static void an_instance_is_its_templates_text(void **state)
{
	struct fleet *fleet = *state;

	assert_true(fleet_submit(fleet, "p@.service", unit_text(NULL)));
	assert_true(fleet_start(fleet, "p@1.service", NULL));
	assert_string_equal(content(fleet, "p@1.service"), unit_text(NULL));
	/* Later changes of the template do not reach it. */
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SUBMIT, "p@.service", OTHER, 0, true));
	assert_string_equal(content(fleet, "p@1.service"), unit_text(NULL));
	assert_true(fleet_submit(fleet, "p@2.service", NULL));
	assert_string_equal(content(fleet, "p@2.service"), OTHER);
	assert_int_equal(fleet_unit(fleet, "p@2.service")->desired, PB__DESIRED_STATE__INACTIVE);
}

/* The assignment of the only unit of m1. */
static Pb__Assignment assignment(struct fleet *fleet)
{
	Pb__Assignment copy;
	Pb__SyncReply *reply;

	assert_int_equal(
		core_assignment(fleet->core, "m1", "", 0, core_revision(fleet->core), &reply, NULL),
		FL_OK);
	assert_non_null(reply);
	assert_int_equal(reply->n_assignments, 1);
	copy = *reply->assignments[0];
	core_message_free(&reply->base);
	return copy;
}

static void start_of_a_launched_unit_starts_it_when_it_has_ended(void **state)
{
	static const struct {
		const char *active;
		bool started;
	} cases[] = {
		{"active", false}, {"failed", true}, {"inactive", true}, {"activating", false}};
	struct fleet *fleet = *state;
	uint64_t before;

	assert_true(fleet_start(fleet, "a.service", ""));
	before = assignment(fleet).start_generation;
	assert_true(fleet_start(fleet, "a.service", NULL));
	/* No state is known yet. */
	assert_int_equal(assignment(fleet).start_generation, before);
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		fleet_state(fleet, "m1", "a.service", cases[i].active);
		before = assignment(fleet).start_generation;
		assert_true(fleet_start(fleet, "a.service", NULL));
		assert_int_equal(assignment(fleet).start_generation > before, cases[i].started);
		/* Again at once: the first one is still under way. */
		before = assignment(fleet).start_generation;
		assert_true(fleet_start(fleet, "a.service", NULL));
		assert_int_equal(assignment(fleet).start_generation, before);
	}
}

static void restart_and_stop(void **state)
{
	struct fleet *fleet = *state;
	Pb__Assignment before, after;

	assert_true(fleet_start(fleet, "a.service", ""));
	before = assignment(fleet);
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__RESTART, "a.service", NULL, 0, false));
	after = assignment(fleet);
	assert_true(after.restart_generation > before.restart_generation);
	assert_int_equal(after.start_generation, before.start_generation);
	assert_int_equal(after.epoch, before.epoch);
	assert_true(after.revision >= fleet_unit(fleet, "a.service")->change_revision);
	assert_true(fleet_load(fleet, "a.service", NULL));
	assert_int_equal(assignment(fleet).desired, PB__DESIRED_STATE__LOADED);
	assert_false(fleet_change(fleet, PB__CHANGE__VERB__RESTART, "a.service", NULL, 0, false));
	assert_string_equal(fleet_error(fleet),
		"Unable to restart unit a.service in state loaded; start it instead");
	fleet_restart(fleet);
	assert_int_equal(assignment(fleet).restart_generation, after.restart_generation);
	assert_int_equal(assignment(fleet).epoch, after.epoch);
}

static void a_unit_made_again_is_another_one(void **state)
{
	struct fleet *fleet = *state;
	Pb__Assignment before, after;

	assert_true(fleet_start(fleet, "a.service", ""));
	before = assignment(fleet);
	assert_int_equal(before.start_generation, 0);
	assert_int_equal(before.restart_generation, 0);
	assert_true(fleet_destroy(fleet, "a.service"));
	assert_null(core_unit_next(fleet->core, ""));
	assert_int_equal(core_unit_revision(fleet->core, "a.service"), 0);
	assert_true(fleet_start(fleet, "a.service", ""));
	after = assignment(fleet);
	assert_true(after.epoch > before.epoch);
	assert_true(after.start_generation > before.start_generation);
	assert_true(after.restart_generation > before.restart_generation);
	assert_int_equal(core_unit_count(fleet->core), 1);
}

static void units_come_in_name_order(void **state)
{
	struct fleet *fleet = *state;

	assert_true(fleet_submit(fleet, "b.service", unit_text(NULL)));
	assert_true(fleet_submit(fleet, "a.service", unit_text(NULL)));
	assert_true(fleet_submit(fleet, "c.service", unit_text(NULL)));
	assert_true(fleet_destroy(fleet, "b.service"));
	assert_string_equal(core_unit_next(fleet->core, ""), "a.service");
	assert_string_equal(core_unit_next(fleet->core, "a.service"), "c.service");
	assert_string_equal(core_unit_next(fleet->core, "b"), "c.service");
	assert_null(core_unit_next(fleet->core, "c.service"));
}

static void why_says_what_a_unit_waits_for(void **state)
{
	struct fleet *fleet = *state;
	Pb__WhyReply *reply;
	static const struct {
		const char *name, *summary;
	} cases[] = {
		{"t@.service", "it is a template: only its instances run"},
		{"i.service", "nobody asked for it to be loaded or launched: it is inactive"},
		{"g.service", "it is global, and on 1 of 1 machines"},
		{"n.service", "none of 1 machines can take it: "
			      "1 × metadata k=v wanted, the machine has no k"},
	};

	assert_true(fleet_submit(fleet, "t@.service", unit_text(NULL)));
	assert_true(fleet_submit(fleet, "i.service", unit_text(NULL)));
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	assert_true(fleet_start(fleet, "n.service", "MachineMetadata=k=v"));
	for (size_t i = 0; i < FL_COUNT(cases); i++) {
		assert_int_equal(
			core_why(fleet->core, cases[i].name, fleet->now_ms, 10, &reply, NULL),
			FL_OK);
		assert_string_equal(reply->summary, cases[i].summary);
		core_message_free(&reply->base);
	}
	assert_int_equal(core_why(fleet->core, "no.service", fleet->now_ms, 10, &reply, NULL),
		FL_E_NOT_FOUND);
}

/* What the wire does not carry is cut, or no listing could be sent any more. */
static void long_texts_are_cut(void **state)
{
	static char text[40000];
	struct fleet *fleet = *state;
	const Pb__Unit *unit;
	size_t len;

	len = (size_t)sprintf(text, "[Unit]\nDescription=");
	while (len < 6000)
		len += (size_t)sprintf(text + len, "é");
	len += (size_t)sprintf(text + len, "\n[Service]\nExecStart=/bin/true\n[X-Fleet]\n");
	for (int i = 0; i < 40; i++)
		len += (size_t)sprintf(text + len, "MachineMetadata=k=%0200d\n", i);
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "a.service", text,
		PB__DESIRED_STATE__LAUNCHED, false));
	unit = fleet_unit(fleet, "a.service");
	assert_int_equal(wire_check(&unit->base, NULL), FL_OK);
	assert_int_equal(wire_check(&fleet->result->base, NULL), FL_OK);
	assert_string_equal(unit->description + 4090, "é...");
	assert_int_equal(strlen(unit->waiting), LIMIT_TEXT);
}

static void calls_find_their_machine(void **state)
{
	struct fleet *fleet = *state;
	const char *machine = NULL;
	struct fl_error err;

	assert_true(fleet_start(fleet, "a.service", ""));
	assert_int_equal(core_placement_find(fleet->core, "a.service", "", &machine, &err), FL_OK);
	assert_string_equal(machine, "m1");
	assert_int_equal(
		core_placement_find(fleet->core, "a.service", "m2", &machine, &err), FL_E_STATE);
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "g.service", "Global=true"));
	assert_int_equal(
		core_placement_find(fleet->core, "g.service", "", &machine, &err), FL_E_INVALID);
	assert_int_equal(
		core_placement_find(fleet->core, "g.service", "m2", &machine, &err), FL_OK);
	assert_string_equal(machine, "m2");
	assert_true(fleet_unload(fleet, "a.service"));
	assert_int_equal(
		core_placement_find(fleet->core, "a.service", "", &machine, &err), FL_E_STATE);
	assert_int_equal(
		core_placement_find(fleet->core, "no.service", "", &machine, &err), FL_E_NOT_FOUND);
	assert_string_equal(err.text, "Unit no.service does not exist.");
}

static void a_store_that_cannot_be_read_is_named(void **state)
{
	struct fleet *fleet = *state;
	struct core_config config = {.store_id = "s", .fleet = "f"};
	struct core *core;
	struct fl_error err;

	(void)fleet;
	assert_int_equal(core_new(&core, &config, NULL), FL_OK);
	assert_int_equal(core_load(core, "ca/key", "\xff", 1, &err), FL_OK);
	assert_int_equal(core_load(core, "unit/a.service", "\xff", 1, &err), FL_E_STORE);
	assert_non_null(strstr(err.text, "unit/a.service"));
	core_free(core);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fleet_setup_with_m1, fleet_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_comes_back_byte_for_byte),
		TEST(refused_changes_change_nothing),
		TEST(replace_table),
		TEST(another_file_without_replace_is_only_a_warning),
		TEST(comments_alone_do_not_touch_the_unit),
		TEST(an_instance_is_its_templates_text),
		TEST(start_of_a_launched_unit_starts_it_when_it_has_ended),
		TEST(restart_and_stop),
		TEST(a_unit_made_again_is_another_one),
		TEST(units_come_in_name_order),
		TEST(why_says_what_a_unit_waits_for),
		TEST(long_texts_are_cut),
		TEST(calls_find_their_machine),
		TEST(a_store_that_cannot_be_read_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
