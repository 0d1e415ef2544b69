/* Templates with Replicas=, and the instances that they make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

static int setup(void **state)
{
	(void)fleet_setup(state);
	fleet_join(*state, "m1", "");
	fleet_join(*state, "m2", "");
	fleet_join(*state, "m3", "");
	return 0;
}

static const char *file(unsigned replicas, const char *command)
{
	static char text[256];

	snprintf(text, sizeof(text),
		"[Service]\nExecStart=%s\n[X-Flota]\nReplicas=%u\nMinHealthySec=2s\n", command,
		replicas);
	return text;
}

static bool set(
	struct fleet *fleet, const char *name, const char *content, Pb__DesiredState desired)
{
	return fleet_change(fleet, PB__CHANGE__VERB__SET, name, content, desired, true);
}

static bool start(struct fleet *fleet, unsigned replicas)
{
	return set(fleet, "web@.service", file(replicas, "/bin/web"), PB__DESIRED_STATE__LAUNCHED);
}

static bool there_is(const struct fleet *fleet, const char *name)
{
	return core_unit_revision(fleet->core, name) > 0;
}

/* "name desired machine" of every unit, a line each. */
static const char *units(struct fleet *fleet)
{
	static const char *const words[] = {"?", "inactive", "loaded", "launched"};
	static char text[2048];
	const char *name = "";
	size_t len = 0;

	text[0] = '\0';
	while ((name = core_unit_next(fleet->core, name)) != NULL) {
		Pb__DesiredState desired = fleet_unit(fleet, name)->desired;

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %s %s\n", name,
			words[desired], fleet_where(fleet, name));
	}
	fleet_check(fleet->core);
	return text;
}

static void one_that_was_made_by_hand_rolls_by_itself_no_more(void **state)
{
	static const char first[] = "[Service]\nExecStart=/bin/1\n[X-Flota]\nMinHealthySec=2s\n";
	static const char second[] = "[Service]\nExecStart=/bin/2\n[X-Flota]\nMinHealthySec=2s\n";
	struct fleet *fleet = *state;

	assert_true(set(fleet, "web@2.service", first, PB__DESIRED_STATE__LAUNCHED));
	assert_true(set(fleet, "web@2.service", second, PB__DESIRED_STATE__LAUNCHED));
	assert_non_null(fleet_unit(fleet, "web@2.service")->rollout);
	assert_true(start(fleet, 2));
	assert_null(fleet_unit(fleet, "web@2.service")->rollout);
	fleet_pass(fleet, 3600000, "m1 m2 m3");
	fleet_check(fleet->core);
}

static void a_template_stands_for_its_replicas(void **state)
{
	struct fleet *fleet = *state;
	const Pb__Unit *unit;

	assert_true(start(fleet, 3));
	assert_int_equal(fleet->result->unit->replicas, 3);
	assert_int_equal(fleet->result->n_refusals, 0);
	assert_string_equal(units(fleet), "web@.service launched \n"
					  "web@1.service launched m1\n"
					  "web@2.service launched m2\n"
					  "web@3.service launched m3\n");
	unit = fleet_unit(fleet, "web@2.service");
	assert_string_equal(unit->replica_of, "web@.service");
	assert_string_equal((const char *)unit->content.data, file(3, "/bin/web"));
	assert_true(set(fleet, "web@.service", NULL, PB__DESIRED_STATE__LOADED));
	assert_string_equal(units(fleet), "web@.service loaded \n"
					  "web@1.service loaded m1\n"
					  "web@2.service loaded m2\n"
					  "web@3.service loaded m3\n");
	fleet_restart(fleet);
	assert_int_equal(fleet_unit(fleet, "web@.service")->desired, PB__DESIRED_STATE__LOADED);
	assert_string_equal(fleet_unit(fleet, "web@3.service")->replica_of, "web@.service");
	assert_true(fleet_unload(fleet, "web@.service"));
	assert_string_equal(units(fleet), "web@.service inactive \n");
	assert_true(set(fleet, "web@.service", NULL, PB__DESIRED_STATE__LAUNCHED));
	assert_int_equal(core_unit_count(fleet->core), 4);
	assert_true(fleet_destroy(fleet, "web@.service"));
	assert_string_equal(units(fleet), "");
	fleet_restart(fleet);
	assert_string_equal(units(fleet), "");
}

static void a_restart_is_one_of_each(void **state)
{
	struct fleet *fleet = *state;
	uint64_t before;

	assert_true(start(fleet, 2));
	before = fleet_unit(fleet, "web@2.service")->change_revision;
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__RESTART, "web@.service", NULL, 0, false));
	assert_true(fleet_unit(fleet, "web@2.service")->change_revision > before);
	assert_true(set(fleet, "web@.service", NULL, PB__DESIRED_STATE__LOADED));
	assert_false(
		fleet_change(fleet, PB__CHANGE__VERB__RESTART, "web@.service", NULL, 0, false));
}

/* Another number makes and takes away; those that stay do not hear of it. */
static void it_scales(void **state)
{
	struct fleet *fleet = *state;
	uint64_t before;

	assert_true(start(fleet, 2));
	before = fleet_unit(fleet, "web@1.service")->change_revision;
	assert_true(start(fleet, 4));
	assert_int_equal(core_unit_count(fleet->core), 5);
	assert_int_equal(fleet_unit(fleet, "web@1.service")->change_revision, before);
	assert_string_equal((const char *)fleet_unit(fleet, "web@1.service")->content.data,
		file(4, "/bin/web"));
	assert_null(fleet_unit(fleet, "web@.service")->rollout);
	assert_string_not_equal(fleet_where(fleet, "web@4.service"), "");
	assert_true(start(fleet, 1));
	assert_string_equal(units(fleet), "web@.service launched \nweb@1.service launched m1\n");
	assert_int_equal(fleet_unit(fleet, "web@1.service")->change_revision, before);
	fleet_restart(fleet);
	assert_string_equal(units(fleet), "web@.service launched \nweb@1.service launched m1\n");
	/* What was loaded only is changed at once. */
	assert_true(set(fleet, "web@.service", NULL, PB__DESIRED_STATE__LOADED));
	assert_true(set(fleet, "web@.service", file(2, "/bin/other"), PB__DESIRED_STATE__LOADED));
	assert_string_equal((const char *)fleet_unit(fleet, "web@1.service")->content.data,
		file(2, "/bin/other"));
	assert_null(fleet_unit(fleet, "web@.service")->rollout);
	fleet_check(fleet->core);
}

static void other_instances_are_nobodys_replicas(void **state)
{
	struct fleet *fleet = *state;

	assert_true(fleet_submit(fleet, "web@.service", file(2, "/bin/web")));
	assert_true(fleet_start(fleet, "web@9.service", NULL));
	assert_true(fleet_start(fleet, "web@2.service", NULL));
	assert_string_equal(units(fleet), "web@.service inactive \n"
					  "web@2.service launched m2\n"
					  "web@9.service launched m1\n");
	assert_true(set(fleet, "web@.service", NULL, PB__DESIRED_STATE__LAUNCHED));
	assert_string_equal(fleet_unit(fleet, "web@2.service")->replica_of, "web@.service");
	assert_string_equal(fleet_unit(fleet, "web@9.service")->replica_of, "");
	assert_true(fleet_unload(fleet, "web@.service"));
	assert_string_equal(units(fleet), "web@.service inactive \nweb@9.service launched m1\n");
	assert_true(fleet_destroy(fleet, "web@.service"));
	assert_true(there_is(fleet, "web@9.service"));
}

static void a_replica_has_its_templates_file(void **state)
{
	struct fleet *fleet = *state;

	assert_true(start(fleet, 2));
	assert_false(
		set(fleet, "web@1.service", file(2, "/bin/other"), PB__DESIRED_STATE__LAUNCHED));
	assert_string_equal(fleet_error(fleet),
		"web@1.service is a replica of web@.service and has its file; replace that");
	assert_true(set(fleet, "web@1.service", file(2, "/bin/web"), PB__DESIRED_STATE__LAUNCHED));
	assert_false(fleet_destroy(fleet, "web@1.service"));
	assert_string_equal(fleet_error(fleet),
		"web@1.service is a replica of web@.service; lower its Replicas=, or destroy that");
	/* One of them may be stopped; starting all starts it again. */
	assert_true(set(fleet, "web@1.service", NULL, PB__DESIRED_STATE__LOADED));
	assert_int_equal(fleet_unit(fleet, "web@2.service")->desired, PB__DESIRED_STATE__LAUNCHED);
	assert_true(set(fleet, "web@.service", NULL, PB__DESIRED_STATE__LAUNCHED));
	assert_int_equal(fleet_unit(fleet, "web@1.service")->desired, PB__DESIRED_STATE__LAUNCHED);
}

static void templates_that_cannot_be_started(void **state)
{
	static char big[300000] = "[Service]\nExecStart=/bin/web\n[X-Flota]\nReplicas=1000\n";
	struct fleet *fleet = *state;

	assert_true(start(fleet, 2));
	assert_false(set(fleet, "web@.service", unit_text(NULL), PB__DESIRED_STATE__LAUNCHED));
	assert_string_equal(fleet_error(fleet),
		"cannot activate template \"web@.service\": its file has no Replicas=");
	memset(big + strlen(big), '\n', sizeof(big) - strlen(big) - 1);
	assert_false(set(fleet, "web@.service", big, PB__DESIRED_STATE__LAUNCHED));
	assert_non_null(strstr(fleet_error(fleet), "lower Replicas="));
	/* Of one replica the file is wrong. */
	assert_false(set(fleet, "web@.service",
		"[Service]\nExecStart=/bin/web\n[X-Fleet]\nMachineOf=web@2.service\n"
		"[X-Flota]\nReplicas=2\n",
		PB__DESIRED_STATE__LAUNCHED));
	assert_string_equal(units(fleet), "web@.service launched \n"
					  "web@1.service launched m1\n"
					  "web@2.service launched m2\n");
	assert_string_equal(
		(const char *)fleet_unit(fleet, "web@.service")->content.data, file(2, "/bin/web"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_template_stands_for_its_replicas, setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(a_restart_is_one_of_each, setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(it_scales, setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			other_instances_are_nobodys_replicas, setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			a_replica_has_its_templates_file, setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			templates_that_cannot_be_started, setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			one_that_was_made_by_hand_rolls_by_itself_no_more, setup, fleet_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
