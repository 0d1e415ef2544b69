/* Agents that are upgraded from machine to machine: in which order, and what ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

#define ORDER 4711U

static struct fl_error err;

static enum fl_code ask(struct fleet *fleet, Pb__UpgradeRequest *request)
{
	const struct core_event event = {.kind = CORE_UPGRADE,
		.upgrade = {.request = request, .version = "2.0", .order = ORDER, .by = "ana"}};

	err = (struct fl_error){0};
	return fleet_try(fleet, &event, &err);
}

static enum fl_code begin(struct fleet *fleet, uint32_t width, const char *only)
{
	Pb__UpgradeRequest request = PB__UPGRADE_REQUEST__INIT;
	char *machines[] = {(char *)only};

	request.verb = PB__UPGRADE_REQUEST__VERB__BEGIN;
	request.max_unavailable = width;
	request.machines = machines;
	request.n_machines = only != NULL;
	return ask(fleet, &request);
}

static bool has_order(struct fleet *fleet, const char *machine)
{
	Pb__UpgradeOrder order;

	if (!core_upgrade_order(fleet->core, machine, &order))
		return false;
	assert_string_equal(order.version, "2.0");
	assert_int_equal(order.order, ORDER);
	return true;
}

static void says(struct fleet *fleet, const char *machine, uint64_t order,
	Pb__UpgradeResult__State state, const char *text)
{
	Pb__UpgradeResult result = PB__UPGRADE_RESULT__INIT;
	struct core_event event = {.kind = CORE_SYNC,
		.sync = {.machine_id = machine,
			.session = fleet->session,
			.store_id = core_store_id(fleet->core),
			.revision = core_revision(fleet->core),
			.upgrade = &result}};

	result.order = order;
	result.state = state;
	result.text = (char *)text;
	fleet_step(fleet, &event);
}

/* "ROLLING: m1 2 text, m2 0 " */
static const char *view(struct fleet *fleet)
{
	static char text[256];
	Pb__Upgrade *upgrade;
	size_t n;

	assert_int_equal(core_upgrade_get(fleet->core, &upgrade, NULL), FL_OK);
	if (upgrade == NULL)
		return "";
	n = (size_t)snprintf(text, sizeof(text), "%d %s:", (int)upgrade->state, upgrade->text);
	for (size_t i = 0; i < upgrade->n_machines; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %s=%d",
			upgrade->machines[i]->machine_id, (int)upgrade->machines[i]->state);
	core_message_free(&upgrade->base);
	return text;
}

static void three_machines(struct fleet *fleet)
{
	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	fleet_join(fleet, "m3", "");
	fleet_forget(fleet);
}

static void test_one_after_the_other(void **state)
{
	struct fleet *fleet = *state;

	three_machines(fleet);
	assert_string_equal(view(fleet), "");
	assert_false(has_order(fleet, "m1"));
	assert_int_equal(begin(fleet, 0, NULL), FL_OK);
	assert_string_equal(view(fleet), "1 : m1=1 m2=0 m3=0");
	assert_true(has_order(fleet, "m1"));
	assert_false(has_order(fleet, "m2"));
	assert_int_equal(fleet->machines.n, 1); /* its held sync is woken */
	/* The same again looks on. */
	assert_int_equal(begin(fleet, 0, NULL), FL_OK);
	assert_int_equal(begin(fleet, 0, "m3"), FL_OK);
	assert_string_equal(view(fleet), "1 : m1=1 m2=0 m3=0");

	says(fleet, "m1", ORDER, PB__UPGRADE_RESULT__STATE__UNDER_WAY, "fetching");
	assert_false(has_order(fleet, "m1")); /* it knows */
	fleet_ack(fleet, "m1", core_revision(fleet->core));
	assert_true(has_order(fleet, "m1")); /* or did: it has begun anew */
	says(fleet, "m1", ORDER, PB__UPGRADE_RESULT__STATE__UNDER_WAY, "fetching");
	assert_string_equal(view(fleet), "1 : m1=1 m2=0 m3=0");
	says(fleet, "m2", ORDER, PB__UPGRADE_RESULT__STATE__DONE, ""); /* it was not asked */
	says(fleet, "m1", 1, PB__UPGRADE_RESULT__STATE__DONE, ""); /* of an older order */
	assert_string_equal(view(fleet), "1 : m1=1 m2=0 m3=0");
	says(fleet, "m1", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "1 : m1=2 m2=1 m3=0");
	says(fleet, "m2", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	says(fleet, "m3", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "2 : m1=2 m2=2 m3=2");
	assert_int_equal(begin(fleet, 0, NULL), FL_OK);
}

static void test_several_at_a_time(void **state)
{
	struct fleet *fleet = *state;

	three_machines(fleet);
	assert_int_equal(begin(fleet, CORE_UPGRADE_WIDTH_MAX + 1, NULL), FL_E_INVALID);
	assert_int_equal(begin(fleet, 2, NULL), FL_OK);
	assert_string_equal(view(fleet), "1 : m1=1 m2=1 m3=0");
	says(fleet, "m2", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "1 : m1=1 m2=2 m3=1");
}

static void test_a_failure_stops_it(void **state)
{
	struct fleet *fleet = *state;

	three_machines(fleet);
	assert_int_equal(begin(fleet, 2, NULL), FL_OK);
	says(fleet, "m1", ORDER, PB__UPGRADE_RESULT__STATE__REFUSED, "it is not signed");
	assert_string_equal(view(fleet), "3 m1...: it is not signed: m1=3 m2=1 m3=0");
	/* What is under way goes on. */
	says(fleet, "m2", ORDER, PB__UPGRADE_RESULT__STATE__ROLLED_BACK, "gone");
	assert_string_equal(view(fleet), "3 m1...: it is not signed: m1=3 m2=3 m3=0");
	assert_false(has_order(fleet, "m3"));
}

static void test_only_one(void **state)
{
	struct fleet *fleet = *state;

	three_machines(fleet);
	assert_int_equal(begin(fleet, 0, "m9"), FL_E_NOT_FOUND);
	assert_string_equal(view(fleet), "");
	assert_int_equal(begin(fleet, 0, "m2"), FL_OK);
	assert_int_equal(begin(fleet, 0, "m1"), FL_E_STATE); /* another one */
	assert_string_equal(view(fleet), "1 : m2=1");
	says(fleet, "m2", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "2 : m2=2");
}

static void test_who_is_away_is_left_out(void **state)
{
	struct fleet *fleet = *state;

	three_machines(fleet);
	fleet_pass(fleet, 2UL * FLEET_LEASE_MS, "m1 m3");
	assert_int_equal(begin(fleet, 0, NULL), FL_OK);
	says(fleet, "m1", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "1 : m1=2 m2=4 m3=1");
	says(fleet, "m3", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "2 : m1=2 m2=4 m3=2");
}

static void test_stop(void **state)
{
	struct fleet *fleet = *state;
	Pb__UpgradeRequest request = PB__UPGRADE_REQUEST__INIT;

	three_machines(fleet);
	request.verb = PB__UPGRADE_REQUEST__VERB__STOP;
	assert_int_equal(ask(fleet, &request), FL_E_STATE);
	assert_int_equal(begin(fleet, 0, NULL), FL_OK);
	assert_int_equal(ask(fleet, &request), FL_OK);
	assert_string_equal(view(fleet), "3 by ana: m1=1 m2=0 m3=0");
	says(fleet, "m1", ORDER, PB__UPGRADE_RESULT__STATE__DONE, "");
	assert_string_equal(view(fleet), "3 by ana: m1=2 m2=0 m3=0");
	/* Begun anew, it knows nothing of it. */
	fleet_restart(fleet);
	assert_string_equal(view(fleet), "");
}

/* An agent that never says anything does not hold up the fleet for ever. */
static void test_silence_is_a_failure(void **state)
{
	struct fleet *fleet = *state;

	three_machines(fleet);
	assert_int_equal(begin(fleet, 0, NULL), FL_OK);
	fleet_pass(fleet, 14UL * 60 * 1000, "m1 m2 m3");
	assert_string_equal(view(fleet), "1 : m1=1 m2=0 m3=0");
	fleet_pass(fleet, 61UL * 1000, "m1 m2 m3");
	assert_int_equal(strncmp(view(fleet), "3 m1...: nothing was heard", 26), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_one_after_the_other, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			test_several_at_a_time, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			test_a_failure_stops_it, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(test_only_one, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			test_who_is_away_is_left_out, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(test_stop, fleet_setup, fleet_teardown),
		cmocka_unit_test_setup_teardown(
			test_silence_is_a_failure, fleet_setup, fleet_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
