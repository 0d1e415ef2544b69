/* Changed files on their way to replicas, global units and single ones, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

#define ROLLING   PB__ROLLOUT__STATE__ROLLING
#define DONE      PB__ROLLOUT__STATE__DONE
#define RETURNING PB__ROLLOUT__STATE__RETURNING
#define RETURNED  PB__ROLLOUT__STATE__RETURNED
#define LAUNCHED  PB__DESIRED_STATE__LAUNCHED

/* ---- What hosts say ---------------------------------------------------------------------- */

static void join(struct fleet *fleet, const char *machine, const char *metadata)
{
	fleet_join(fleet, machine, metadata);
	fleet_report_nothing(fleet, machine);
}

/* Of a unit there: it is so, and all that was asked is done. */
static void say_on(struct fleet *fleet, const char *machine, const char *unit, const char *active,
	uint32_t main_pid)
{
	fleet_report_one(fleet, machine, unit, active, main_pid);
	fleet_check(fleet->core);
}

static void say(struct fleet *fleet, const char *unit, const char *active)
{
	char machine[16];

	snprintf(machine, sizeof(machine), "%s", fleet_where(fleet, unit));
	say_on(fleet, machine, unit, active, 1);
}

static void pass_with(struct fleet *fleet, uint64_t ms, const char *beating)
{
	char names[64], *rest = names;

	snprintf(names, sizeof(names), "%s", beating);
	for (char *name; (name = strsep(&rest, " ")) != NULL;)
		fleet_beat(fleet, name);
	fleet_pass(fleet, ms, beating);
	fleet_check(fleet->core);
}

static void pass(struct fleet *fleet, uint64_t ms)
{
	pass_with(fleet, ms, "m1 m2 m3");
}

/* ---- What people do and see -------------------------------------------------------------- */

static int setup(void **state)
{
	(void)fleet_setup(state);
	join(*state, "m1", "");
	join(*state, "m2", "");
	join(*state, "m3", "");
	return 0;
}

static const char *file(const char *command, const char *x_flota)
{
	static char text[512];

	snprintf(text, sizeof(text), "[Service]\nExecStart=%s\n[X-Flota]\nMinHealthySec=2s\n%s\n",
		command, x_flota);
	return text;
}

static bool put(struct fleet *fleet, const char *name, const char *content)
{
	bool done = fleet_change(fleet, PB__CHANGE__VERB__SET, name, content, LAUNCHED, true);

	fleet_check(fleet->core);
	return done;
}

/* A template whose replicas are all active. */
static void start_web(struct fleet *fleet, unsigned n, const char *more)
{
	char x_flota[128], name[32];

	snprintf(x_flota, sizeof(x_flota), "Replicas=%u\n%s", n, more);
	assert_true(put(fleet, "web@.service", file("/bin/one", x_flota)));
	for (unsigned i = 1; i <= n; i++) {
		snprintf(name, sizeof(name), "web@%u.service", i);
		say(fleet, name, "active");
	}
}

static bool replace_web(struct fleet *fleet, unsigned n, const char *command, const char *more)
{
	char x_flota[128];

	snprintf(x_flota, sizeof(x_flota), "Replicas=%u\n%s", n, more);
	return put(fleet, "web@.service", file(command, x_flota));
}

static const Pb__Rollout *rollout(struct fleet *fleet, const char *name)
{
	const Pb__Unit *unit = fleet_unit(fleet, name);

	assert_non_null(unit->rollout);
	return unit->rollout;
}

static bool has(struct fleet *fleet, const char *name, const char *command)
{
	const Pb__Unit *unit = fleet_unit(fleet, name);

	return strstr((const char *)unit->content.data, command) != NULL;
}

/* The numbers of the replicas whose file has this. */
static const char *who_has(struct fleet *fleet, const char *command)
{
	static char text[64];
	char name[32];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 1; i <= 9; i++) {
		snprintf(name, sizeof(name), "web@%u.service", i);
		if (core_unit_revision(fleet->core, name) > 0 && has(fleet, name, command))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%u", i);
	}
	return text;
}
#define assert_who(fleet, command, numbers) assert_string_equal(who_has(fleet, command), numbers)
#define assert_state(fleet, unit, is)       assert_int_equal(rollout(fleet, unit)->state, (is))

/* Whom it has reached becomes healthy. */
static void heal(struct fleet *fleet, const char *name)
{
	say(fleet, name, "active");
	pass(fleet, 2000);
}

/* ---- Replicas ---------------------------------------------------------------------------- */

static void one_after_the_other(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_null(fleet_unit(fleet, "web@.service")->rollout);
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	assert_who(fleet, "/bin/two", "1");
	assert_int_equal(rollout(fleet, "web@.service")->state, ROLLING);
	assert_int_equal(rollout(fleet, "web@.service")->revision,
		fleet_unit(fleet, "web@.service")->change_revision);
	assert_true(fleet_unit(fleet, "web@2.service")->placements[0]->old_file);
	assert_false(fleet_unit(fleet, "web@1.service")->placements[0]->old_file);
	say(fleet, "web@1.service", "activating");
	pass(fleet, 10000);
	assert_who(fleet, "/bin/two", "1");
	say(fleet, "web@1.service", "active");
	assert_non_null(strstr(rollout(fleet, "web@.service")->text, "waits for web@1.service"));
	pass(fleet, 1999);
	assert_who(fleet, "/bin/two", "1");
	pass(fleet, 1);
	assert_who(fleet, "/bin/two", "12");
	assert_int_equal(rollout(fleet, "web@.service")->done, 1);
	assert_int_equal(rollout(fleet, "web@.service")->total, 3);
	assert_string_equal(rollout(fleet, "web@.service")->last, "web@1.service");
	heal(fleet, "web@2.service");
	heal(fleet, "web@3.service");
	assert_who(fleet, "/bin/two", "123");
	assert_state(fleet, "web@.service", DONE);
	assert_int_equal(rollout(fleet, "web@.service")->done, 3);
	assert_string_equal(rollout(fleet, "web@.service")->text, "");
	assert_true(core_next_deadline(fleet->core) > fleet->now_ms + 3000);
	assert_non_null(strstr(fl_buf_str(&fleet->notes), "rollout.done unit=web@.service"));
}

static void several_at_a_time(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 4, "MaxUnavailable=50%");
	assert_true(replace_web(fleet, 4, "/bin/two", "MaxUnavailable=50%"));
	assert_who(fleet, "/bin/two", "12");
	heal(fleet, "web@2.service");
	assert_who(fleet, "/bin/two", "123");
	/* Fewer of them, while two are on their way. */
	assert_true(replace_web(fleet, 4, "/bin/three", "MaxUnavailable=1"));
	assert_who(fleet, "/bin/three", "13");
	heal(fleet, "web@1.service");
	assert_who(fleet, "/bin/three", "13");
	heal(fleet, "web@3.service");
	assert_who(fleet, "/bin/three", "123");
	/* One that is down for another reason counts. */
	say(fleet, "web@1.service", "activating");
	heal(fleet, "web@2.service");
	assert_who(fleet, "/bin/three", "123");
	say(fleet, "web@1.service", "active");
	assert_who(fleet, "/bin/three", "1234");
	heal(fleet, "web@4.service");
	assert_state(fleet, "web@.service", DONE);
}

static void assert_why(struct fleet *fleet, const char *name, const char *text)
{
	Pb__WhyReply *reply;

	assert_int_equal(core_why(fleet->core, name, fleet->now_ms, 0, &reply, NULL), FL_OK);
	if (strstr(reply->summary, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, reply->summary);
	core_message_free(&reply->base);
}

static void a_bad_file_goes_back(void **state)
{
	struct fleet *fleet = *state;
	uint64_t before;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	heal(fleet, "web@1.service");
	assert_who(fleet, "/bin/two", "12");
	assert_why(fleet, "web@3.service",
		"; a changed file of web@.service is on its way, 1 of 3 are healthy with it: waits for "
		"web@2.service");
	before = fleet_unit(fleet, "web@3.service")->change_revision;
	fleet_forget(fleet);
	say(fleet, "web@2.service", "failed");
	assert_state(fleet, "web@.service", RETURNING);
	assert_true(has(fleet, "web@.service", "/bin/one"));
	assert_string_equal(rollout(fleet, "web@.service")->text,
		"web@2.service on machine m2 (10.0.0.1): failed, its job ended as: failed");
	assert_non_null(strstr(fl_buf_str(&fleet->notes), "rollout.returning unit=web@.service"));
	/* The one that is down anyway first. */
	assert_who(fleet, "/bin/two", "1");
	heal(fleet, "web@2.service");
	assert_who(fleet, "/bin/two", "");
	heal(fleet, "web@1.service");
	assert_state(fleet, "web@.service", RETURNED);
	assert_non_null(strstr(rollout(fleet, "web@.service")->text, "web@2.service"));
	assert_int_equal(fleet_unit(fleet, "web@3.service")->change_revision, before);
	fleet_restart(fleet);
	assert_state(fleet, "web@.service", RETURNED);
	assert_why(fleet, "web@.service",
		"it is a template, and wants 3 replicas; web@.service returned to its last good file, "
		"because with the new one: web@2.service on machine m2");
	assert_true(core_next_deadline(fleet->core) > fleet->now_ms + 3000);
}

/* What fails with the good file too does not keep others from it. */
static void the_way_back_goes_to_its_end(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	heal(fleet, "web@1.service");
	say(fleet, "web@2.service", "failed");
	assert_who(fleet, "/bin/two", "1");
	say(fleet, "web@2.service", "failed");
	assert_who(fleet, "/bin/two", "");
	heal(fleet, "web@1.service");
	assert_state(fleet, "web@.service", RETURNED);
	assert_int_equal(rollout(fleet, "web@.service")->failed, 1);
}

static void it_may_fail_later_too(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	heal(fleet, "web@1.service");
	say(fleet, "web@1.service", "failed");
	assert_state(fleet, "web@.service", RETURNING);
}

static void health_is_counted_from_the_last_start(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 2, "");
	assert_true(replace_web(fleet, 2, "/bin/two", ""));
	for (uint32_t pid = 2; pid < 10; pid++) {
		say_on(fleet, "m1", "web@1.service", "active", pid);
		pass(fleet, 1500);
		assert_who(fleet, "/bin/two", "1");
	}
	pass(fleet, 500);
	assert_who(fleet, "/bin/two", "12");
}

/* Type=oneshot. */
static void what_ends_well_is_healthy(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 2, "");
	assert_true(replace_web(fleet, 2, "/bin/two", ""));
	say(fleet, "web@1.service", "inactive");
	pass(fleet, 2000);
	assert_who(fleet, "/bin/two", "12");
}

static void what_takes_too_long_goes_back(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 2, "");
	assert_true(replace_web(fleet, 2, "/bin/two", ""));
	say(fleet, "web@1.service", "activating");
	pass(fleet, 10 * 60 * 1000 + 1000);
	assert_state(fleet, "web@.service", ROLLING);
	pass(fleet, 1000);
	assert_state(fleet, "web@.service", RETURNING);
	assert_non_null(strstr(rollout(fleet, "web@.service")->text, "not healthy in time"));
}

/* Not healthy before, they cost nothing and prove nothing. */
static void what_was_broken_before(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	say(fleet, "web@2.service", "failed");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	assert_who(fleet, "/bin/two", "12");
	say(fleet, "web@2.service", "failed");
	heal(fleet, "web@1.service");
	heal(fleet, "web@3.service");
	assert_state(fleet, "web@.service", DONE);
	assert_int_equal(rollout(fleet, "web@.service")->done, 2);
	assert_int_equal(rollout(fleet, "web@.service")->failed, 1);
	assert_string_equal(rollout(fleet, "web@.service")->text,
		"1 of 3 are not healthy with it, and were not before");
}

static void a_newer_file_takes_its_place(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	heal(fleet, "web@1.service");
	say(fleet, "web@2.service", "activating");
	assert_true(replace_web(fleet, 3, "/bin/three", ""));
	/* The one that is down anyway, and no other. */
	assert_who(fleet, "/bin/three", "2");
	assert_who(fleet, "/bin/two", "1");
	say(fleet, "web@2.service", "failed");
	/* Back to the last good one, which "two" never was. */
	assert_true(has(fleet, "web@.service", "/bin/one"));
	assert_who(fleet, "/bin/one", "23");
	heal(fleet, "web@2.service");
	heal(fleet, "web@1.service");
	assert_who(fleet, "/bin/one", "123");
	pass(fleet, 2000);
	assert_state(fleet, "web@.service", RETURNED);
	/* The good file by hand. */
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	assert_true(replace_web(fleet, 3, "/bin/one", ""));
	assert_who(fleet, "/bin/one", "123");
	heal(fleet, "web@1.service");
	assert_state(fleet, "web@.service", DONE);
}

/* Healthy, and not yet for long enough: it is the next for another file, before any other. */
static void a_newer_file_while_one_is_healthy_on_trial(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 4, "MaxUnavailable=50%");
	assert_true(replace_web(fleet, 4, "/bin/two", "MaxUnavailable=50%"));
	say(fleet, "web@2.service", "active");
	assert_true(replace_web(fleet, 4, "/bin/three", "MaxUnavailable=50%"));
	assert_who(fleet, "/bin/three", "12");
	say(fleet, "web@1.service", "active");
	say(fleet, "web@2.service", "active");
	pass(fleet, 1000);
	assert_true(replace_web(fleet, 4, "/bin/four", "MaxUnavailable=1"));
	assert_who(fleet, "/bin/four", "1");
	pass(fleet, 10000);
	assert_who(fleet, "/bin/four", "1");
	heal(fleet, "web@1.service");
	assert_who(fleet, "/bin/four", "12");
	say(fleet, "web@2.service", "active");
	fleet_restart(fleet);
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	for (unsigned i = 0; i < 4; i++)
		say(fleet,
			(const char *[]){"web@1.service", "web@2.service", "web@3.service",
				"web@4.service"}[i],
			"active");
	assert_true(replace_web(fleet, 4, "/bin/five", "MaxUnavailable=1"));
	assert_who(fleet, "/bin/five", "2");
	heal(fleet, "web@2.service");
	heal(fleet, "web@1.service");
	heal(fleet, "web@3.service");
	heal(fleet, "web@4.service");
	assert_who(fleet, "/bin/five", "1234");
	assert_state(fleet, "web@.service", DONE);
}

/* One replica fails while another is healthy on trial: that one goes back too. */
static void a_return_while_one_is_healthy_on_trial(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 1, "");
	assert_true(replace_web(fleet, 2, "/bin/two", ""));
	heal(fleet, "web@2.service");
	say(fleet, "web@1.service", "active");
	say(fleet, "web@2.service", "failed");
	assert_state(fleet, "web@.service", RETURNING);
	assert_who(fleet, "/bin/two", "");
	assert_who(fleet, "/bin/one", "1");
	heal(fleet, "web@1.service");
	assert_state(fleet, "web@.service", RETURNED);
}

static void numbers_change_while_it_rolls(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	assert_true(replace_web(fleet, 4, "/bin/two", ""));
	assert_who(fleet, "/bin/two", "14");
	assert_state(fleet, "web@.service", ROLLING);
	heal(fleet, "web@4.service");
	assert_true(replace_web(fleet, 2, "/bin/two", ""));
	assert_who(fleet, "/bin/two", "1");
	heal(fleet, "web@1.service");
	assert_who(fleet, "/bin/two", "12");
	/* The last good file has three. */
	say(fleet, "web@2.service", "failed");
	assert_who(fleet, "/bin/one", "23");
	assert_string_not_equal(fleet_where(fleet, "web@3.service"), "");
}

static void a_lost_machine_holds_nothing_up(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "OnMachineLoss=wait");
	assert_true(replace_web(fleet, 3, "/bin/two", "OnMachineLoss=wait"));
	pass_with(fleet, 12000, "m1 m2"); /* m3 is lost */
	say(fleet, "web@1.service", "active");
	pass_with(fleet, 2000, "m1 m2");
	say(fleet, "web@2.service", "active");
	pass_with(fleet, 2000, "m1 m2");
	assert_state(fleet, "web@.service", DONE);
	assert_who(fleet, "/bin/two", "12");
	assert_int_equal(rollout(fleet, "web@.service")->done, 2);
	assert_string_equal(
		rollout(fleet, "web@.service")->text, "1 of 3 get it when their machines are back");
	fleet_restart(fleet);
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	say(fleet, "web@1.service", "active");
	say(fleet, "web@2.service", "active");
	assert_who(fleet, "/bin/two", "12");
	join(fleet, "m3", "");
	assert_who(fleet, "/bin/two", "12");
	say(fleet, "web@3.service", "active");
	assert_who(fleet, "/bin/two", "123");
	heal(fleet, "web@3.service");
	assert_state(fleet, "web@.service", DONE);
	assert_true(core_next_deadline(fleet->core) > fleet->now_ms + 3000);
}

/* On trial when its machine is lost: what it would have been nobody knows. */
static void lost_on_trial(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "OnMachineLoss=wait");
	assert_true(replace_web(fleet, 3, "/bin/two", "OnMachineLoss=wait"));
	pass_with(fleet, 12000, "m2 m3");
	say(fleet, "web@2.service", "active");
	pass_with(fleet, 2000, "m2 m3");
	say(fleet, "web@3.service", "active");
	pass_with(fleet, 2000, "m2 m3");
	assert_state(fleet, "web@.service", DONE);
	assert_int_equal(rollout(fleet, "web@.service")->done, 2);
}

/* Units that move away from a lost machine are watched where they come to. */
static void moved_on_trial(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	pass_with(fleet, 12000, "m2 m3");
	assert_string_not_equal(fleet_where(fleet, "web@1.service"), "m1");
	assert_who(fleet, "/bin/two", "1");
	say(fleet, "web@1.service", "failed");
	assert_state(fleet, "web@.service", RETURNING);
}

static void nothing_is_concluded_while_most_are_lost(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	pass_with(fleet, 60000, "m1");
	say(fleet, "web@1.service", "active");
	pass_with(fleet, 60000, "m1");
	assert_state(fleet, "web@.service", ROLLING);
	assert_who(fleet, "/bin/two", "1");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	say(fleet, "web@2.service", "active");
	say(fleet, "web@3.service", "active");
	pass(fleet, 0);
	assert_who(fleet, "/bin/two", "12");
}

static void a_file_that_fits_nowhere_goes_back(void **state)
{
	struct fleet *fleet = *state;
	const char *nowhere = "[X-Fleet]\nMachineMetadata=no=where\n";

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", nowhere));
	pass(fleet, 20000);
	assert_state(fleet, "web@.service", ROLLING);
	fleet_let_go(fleet, "m1");
	assert_state(fleet, "web@.service", RETURNING);
	assert_string_equal(
		rollout(fleet, "web@.service")->text, "no machine can take web@1.service with it");
	assert_string_not_equal(fleet_where(fleet, "web@1.service"), "");
	assert_who(fleet, "/bin/one", "123");
}

static void a_restart_goes_on(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	heal(fleet, "web@1.service");
	assert_who(fleet, "/bin/two", "12");
	fleet_restart(fleet);
	fleet_check(fleet->core);
	assert_state(fleet, "web@.service", ROLLING);
	assert_true(has(fleet, "web@.service", "/bin/two"));
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	say(fleet, "web@1.service", "active");
	say(fleet, "web@3.service", "active");
	pass(fleet, 5000);
	/* web@2 is on trial, and was before. */
	assert_who(fleet, "/bin/two", "12");
	fleet_restart(fleet);
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	say(fleet, "web@2.service", "failed");
	assert_state(fleet, "web@.service", RETURNING);
	fleet_restart(fleet);
	assert_state(fleet, "web@.service", RETURNING);
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	assert_who(fleet, "/bin/one", "23");
	say(fleet, "web@1.service", "active");
	say(fleet, "web@3.service", "active");
	heal(fleet, "web@2.service");
	assert_who(fleet, "/bin/one", "123");
	heal(fleet, "web@1.service");
	assert_state(fleet, "web@.service", RETURNED);
}

static void a_stop_ends_it(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "");
	assert_true(replace_web(fleet, 3, "/bin/two", ""));
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "web@.service", NULL,
		PB__DESIRED_STATE__LOADED, false));
	assert_who(fleet, "/bin/two", "123");
	assert_state(fleet, "web@.service", DONE);
	assert_true(put(fleet, "web@.service", NULL));
	for (unsigned i = 0; i < 3; i++)
		say(fleet, (const char *[]){"web@1.service", "web@2.service", "web@3.service"}[i],
			"active");
	assert_true(replace_web(fleet, 3, "/bin/three", ""));
	assert_true(fleet_unload(fleet, "web@.service"));
	assert_state(fleet, "web@.service", DONE);
	fleet_check(fleet->core);
	assert_true(put(fleet, "web@.service", NULL));
	assert_true(replace_web(fleet, 3, "/bin/four", ""));
	assert_true(fleet_destroy(fleet, "web@.service"));
	fleet_check(fleet->core);
	assert_int_equal(core_unit_count(fleet->core), 0);
}

static void a_stop_while_a_machine_is_lost(void **state)
{
	struct fleet *fleet = *state;

	start_web(fleet, 3, "OnMachineLoss=wait");
	assert_true(replace_web(fleet, 3, "/bin/two", "OnMachineLoss=wait"));
	pass_with(fleet, 12000, "m1 m2"); /* m3 is lost */
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "web@.service", NULL,
		PB__DESIRED_STATE__LOADED, false));
	assert_who(fleet, "/bin/two", "12");
	assert_state(fleet, "web@.service", DONE);
	join(fleet, "m3", "");
	assert_who(fleet, "/bin/two", "123");
	fleet_check(fleet->core);
}

/* ---- Single units ------------------------------------------------------------------------ */

static void a_single_unit_goes_back(void **state)
{
	struct fleet *fleet = *state;

	assert_true(put(fleet, "a.service", file("/bin/one", "")));
	say(fleet, "a.service", "active");
	assert_true(put(fleet, "a.service", file("/bin/two", "")));
	assert_state(fleet, "a.service", ROLLING);
	heal(fleet, "a.service");
	assert_state(fleet, "a.service", DONE);
	assert_true(put(fleet, "a.service", file("/bin/three", "")));
	fleet_restart(fleet);
	join(fleet, "m1", "");
	say(fleet, "a.service", "failed");
	assert_state(fleet, "a.service", RETURNING);
	assert_true(has(fleet, "a.service", "/bin/two"));
	heal(fleet, "a.service");
	assert_state(fleet, "a.service", RETURNED);
	/* Without the keys nothing rolls; and what was broken may become what it likes. */
	assert_true(put(fleet, "a.service", unit_text(NULL)));
	assert_null(fleet_unit(fleet, "a.service")->rollout);
	say(fleet, "a.service", "failed");
	assert_true(put(fleet, "a.service", file("/bin/four", "")));
	say(fleet, "a.service", "failed");
	assert_state(fleet, "a.service", DONE);
	assert_int_equal(rollout(fleet, "a.service")->failed, 1);
	assert_true(has(fleet, "a.service", "/bin/four"));
	/* It became a global unit. */
	assert_true(put(fleet, "a.service", file("/bin/five", "[X-Fleet]\nGlobal=yes")));
	assert_null(fleet_unit(fleet, "a.service")->rollout);
}

static void a_single_unit_whose_file_fits_nowhere(void **state)
{
	struct fleet *fleet = *state;

	assert_true(put(fleet, "a.service", file("/bin/one", "")));
	say(fleet, "a.service", "active");
	assert_true(put(fleet, "a.service", file("/bin/two", "[X-Fleet]\nMachineMetadata=x=y")));
	fleet_let_go(fleet, "m1");
	assert_state(fleet, "a.service", RETURNING);
	assert_where(fleet, "a.service", "m1");
	/* Its machine is lost, and no other may take it: that is not the file's fault. */
	heal(fleet, "a.service");
	assert_state(fleet, "a.service", RETURNED);
	assert_true(put(fleet, "a.service", file("/bin/two", "[X-Fleet]\nMachineID=m1")));
	pass_with(fleet, 12000, "m2 m3");
	assert_state(fleet, "a.service", DONE);
	assert_int_equal(rollout(fleet, "a.service")->done, 0);
}

/* ---- Global units ------------------------------------------------------------------------ */

static const char GLOBAL[] = "[X-Fleet]\nGlobal=yes";

/* What its agent is told to have. */
static const char *told(struct fleet *fleet, const char *machine)
{
	static char text[512];
	Pb__SyncReply *reply;

	assert_int_equal(core_assignment(fleet->core, machine, "", 0, core_revision(fleet->core),
				 &reply, NULL),
		FL_OK);
	assert_non_null(reply);
	snprintf(text, sizeof(text), "none");
	for (size_t i = 0; i < reply->n_assignments; i++)
		if (strcmp(reply->assignments[i]->name, "g.service") == 0)
			snprintf(text, sizeof(text), "%s",
				(const char *)reply->assignments[i]->content.data +
					strlen("[Service]\nExecStart="));
	*strchrnul(text, '\n') = '\0';
	core_message_free(&reply->base);
	return text;
}
#define assert_told(fleet, machine, command) assert_string_equal(told(fleet, machine), command)

static void start_global(struct fleet *fleet)
{
	assert_true(put(fleet, "g.service", file("/bin/one", GLOBAL)));
	say_on(fleet, "m1", "g.service", "active", 1);
	say_on(fleet, "m2", "g.service", "active", 1);
	say_on(fleet, "m3", "g.service", "active", 1);
}

static void a_global_unit_rolls_by_machine(void **state)
{
	struct fleet *fleet = *state;

	start_global(fleet);
	assert_true(put(fleet, "g.service", file("/bin/two", GLOBAL)));
	assert_true(has(fleet, "g.service", "/bin/two"));
	assert_told(fleet, "m1", "/bin/two");
	assert_told(fleet, "m2", "/bin/one");
	assert_true(fleet_unit(fleet, "g.service")->placements[1]->old_file);
	say_on(fleet, "m1", "g.service", "active", 2);
	pass(fleet, 2000);
	assert_string_equal(rollout(fleet, "g.service")->last, "m1");
	assert_told(fleet, "m2", "/bin/two");
	assert_told(fleet, "m3", "/bin/one");
	/* One that joins has nothing to lose. */
	join(fleet, "m4", "");
	assert_told(fleet, "m4", "/bin/two");
	fleet_restart(fleet);
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	assert_told(fleet, "m3", "/bin/one");
	assert_told(fleet, "m2", "/bin/two");
	say_on(fleet, "m3", "g.service", "active", 1);
	pass(fleet, 5000);
	assert_told(fleet, "m3", "/bin/one");
	say_on(fleet, "m1", "g.service", "active", 2);
	say_on(fleet, "m2", "g.service", "active", 2);
	pass(fleet, 2000);
	assert_told(fleet, "m3", "/bin/two");
	say_on(fleet, "m3", "g.service", "active", 2);
	pass(fleet, 20000); /* m4 is lost */
	assert_state(fleet, "g.service", DONE);
	assert_int_equal(rollout(fleet, "g.service")->total, 4);
}

static void a_global_unit_goes_back(void **state)
{
	struct fleet *fleet = *state;

	start_global(fleet);
	assert_true(put(fleet, "g.service", file("/bin/two", GLOBAL)));
	say_on(fleet, "m1", "g.service", "active", 2);
	pass(fleet, 2000);
	say_on(fleet, "m2", "g.service", "failed", 0);
	assert_state(fleet, "g.service", RETURNING);
	assert_true(has(fleet, "g.service", "/bin/one"));
	assert_told(fleet, "m1", "/bin/two");
	assert_told(fleet, "m2", "/bin/one");
	fleet_restart(fleet);
	join(fleet, "m1", "");
	join(fleet, "m2", "");
	join(fleet, "m3", "");
	assert_told(fleet, "m1", "/bin/two");
	say_on(fleet, "m1", "g.service", "active", 2);
	say_on(fleet, "m3", "g.service", "active", 1);
	assert_told(fleet, "m1", "/bin/two");
	say_on(fleet, "m2", "g.service", "active", 3);
	pass(fleet, 2000);
	assert_told(fleet, "m1", "/bin/one");
	say_on(fleet, "m1", "g.service", "active", 3);
	pass(fleet, 2000);
	assert_state(fleet, "g.service", RETURNED);
}

static void a_newer_file_of_a_global_unit(void **state)
{
	struct fleet *fleet = *state;

	start_global(fleet);
	assert_true(put(fleet, "g.service", file("/bin/two", GLOBAL)));
	say_on(fleet, "m1", "g.service", "active", 2);
	pass(fleet, 2000);
	assert_true(put(fleet, "g.service", file("/bin/three", GLOBAL)));
	assert_told(fleet, "m1", "/bin/two");
	assert_told(fleet, "m2", "/bin/three");
	assert_told(fleet, "m3", "/bin/one");
	fleet_restart(fleet);
	assert_told(fleet, "m1", "/bin/two");
	assert_told(fleet, "m2", "/bin/three");
	assert_told(fleet, "m3", "/bin/one");
	/* Without --replace's company: unloaded, nothing of it is left. */
	assert_true(fleet_unload(fleet, "g.service"));
	fleet_restart(fleet);
	assert_true(put(fleet, "g.service", NULL));
	join(fleet, "m1", "");
	assert_told(fleet, "m1", "/bin/three");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fleet_teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_after_the_other),
		TEST(several_at_a_time),
		TEST(a_bad_file_goes_back),
		TEST(the_way_back_goes_to_its_end),
		TEST(it_may_fail_later_too),
		TEST(health_is_counted_from_the_last_start),
		TEST(what_ends_well_is_healthy),
		TEST(what_takes_too_long_goes_back),
		TEST(what_was_broken_before),
		TEST(a_newer_file_takes_its_place),
		TEST(a_newer_file_while_one_is_healthy_on_trial),
		TEST(a_return_while_one_is_healthy_on_trial),
		TEST(numbers_change_while_it_rolls),
		TEST(a_lost_machine_holds_nothing_up),
		TEST(lost_on_trial),
		TEST(moved_on_trial),
		TEST(nothing_is_concluded_while_most_are_lost),
		TEST(a_file_that_fits_nowhere_goes_back),
		TEST(a_restart_goes_on),
		TEST(a_stop_ends_it),
		TEST(a_stop_while_a_machine_is_lost),
		TEST(a_single_unit_goes_back),
		TEST(a_single_unit_whose_file_fits_nowhere),
		TEST(a_global_unit_rolls_by_machine),
		TEST(a_global_unit_goes_back),
		TEST(a_newer_file_of_a_global_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
