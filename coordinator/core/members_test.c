/* Machines that are revoked, removed and adopted: whose units go where, whose keys count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/testing.h"

#define WALL_MS UINT64_C(1700000000000)

static const uint8_t secret[CORE_HASH_BYTES] = {1};
static const uint8_t key_1[CORE_HASH_BYTES] = {11}, key_2[CORE_HASH_BYTES] = {12},
		     key_3[CORE_HASH_BYTES] = {13};

static struct fl_error err;

static enum fl_code change(struct fleet *fleet, Pb__MachineChangeRequest__Verb verb,
	const char *machine, bool force, const uint8_t *key)
{
	const struct core_event event = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {.verb = verb,
			.machine_id = machine,
			.by = "ana",
			.reason = "stolen",
			.force = force,
			.key_pin = key}};
	enum fl_code code;

	err = (struct fl_error){0};
	code = fleet_try(fleet, &event, &err);
	fleet_check(fleet->core);
	return code;
}

#define REVOKE(machine) \
	change(fleet, PB__MACHINE_CHANGE_REQUEST__VERB__REVOKE, machine, false, NULL)
#define REMOVE(machine, force) \
	change(fleet, PB__MACHINE_CHANGE_REQUEST__VERB__REMOVE, machine, force, NULL)
#define ADOPT(machine, key) \
	change(fleet, PB__MACHINE_CHANGE_REQUEST__VERB__ADOPT, machine, false, key)

static void make_token(struct fleet *fleet, const char *id, const char *machine)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	const struct core_event event = {.kind = CORE_TOKENS,
		.tokens = {.request = &request,
			.new_id = id,
			.secret_hash = secret,
			.by = "ana",
			.wall_ms = WALL_MS}};

	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.machine_id = (char *)machine;
	(void)fleet_step(fleet, &event);
}

static const struct core_join m1_with_t1 = {
	.machine_id = "m1",
	.hostname = "web1",
	.address = "10.0.0.1",
	.token_id = "t1",
	.secret_hash = secret,
	.key_pin = key_1,
	.certificate = "one",
	.wall_ms = WALL_MS,
};

/* The certificate that it gets, or NULL. */
static const char *join(struct fleet *fleet, const struct core_join *how)
{
	const struct core_event event = {.kind = CORE_JOIN, .join = *how};
	struct core_answer answer = {0};
	static char certificate[64];

	err = (struct fl_error){0};
	if (core_step(fleet->core, &event, fleet->now_ms, &fleet->effects, &answer, &err) != FL_OK)
		return NULL;
	snprintf(certificate, sizeof(certificate), "%s %u", answer.certificate->certificate,
		answer.certificate->generation);
	core_message_free(&answer.certificate->base);
	(void)fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	return certificate;
}

/* The next certificate, for @key, asked for with the one for @shown. */
static const char *renew(struct fleet *fleet, uint32_t generation, const uint8_t *shown,
	const uint8_t *key, const char *certificate)
{
	struct core_join how = m1_with_t1;

	how.renews = true;
	how.token_id = "";
	how.generation = generation;
	how.shown_pin = shown;
	how.key_pin = key;
	how.certificate = certificate;
	return join(fleet, &how);
}

static bool is_heard(struct fleet *fleet, const uint8_t *key)
{
	return core_member_check(fleet->core, "m1", key, &err) == FL_OK;
}

static Pb__Machine *look(struct fleet *fleet, const char *machine)
{
	Pb__Machine *message = NULL;

	assert_int_equal(
		core_machine_get(fleet->core, machine, fleet->now_ms, &message, &err), FL_OK);
	return message;
}

static void assert_standing(
	struct fleet *fleet, const char *machine, Pb__Machine__Standing standing)
{
	Pb__Machine *message = look(fleet, machine);

	assert_int_equal(message->standing, standing);
	core_message_free(&message->base);
}

/* m1 as a member, and m2. */
static void two_machines(struct fleet *fleet)
{
	make_token(fleet, "t1", "");
	assert_string_equal(join(fleet, &m1_with_t1), "one 1");
	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
}

static void a_revoked_machines_units_go(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "moves.service", ""));
	assert_true(fleet_start(fleet, "waits.service", "[X-Flota]\nOnMachineLoss=wait"));
	assert_true(fleet_start(fleet, "all.service", "Global=true"));
	fleet_join(fleet, "m2", "");
	assert_where(fleet, "moves.service", "m1");
	fleet_forget(fleet);
	assert_int_equal(REVOKE("m1"), FL_OK);
	assert_where(fleet, "moves.service", "m2");
	assert_where(fleet, "waits.service", "m1");
	assert_non_null(strstr(fl_buf_str(&fleet->notes), "machine.revoked"));
	assert_null(strstr(fl_buf_str(&fleet->notes), "machine.lost"));
	assert_standing(fleet, "m1", PB__MACHINE__STANDING__REVOKED);
	assert_string_equal(fleet_refusal(fleet, "moves.service", "m1"), "revoked");
	assert_int_equal(REVOKE("m1"), FL_OK);
	/* It is not one of those whose silence would say something about the coordinator. */
	fleet_restart(fleet);
	assert_standing(fleet, "m1", PB__MACHINE__STANDING__REVOKED);
	assert_false(is_heard(fleet, key_1));
	assert_non_null(strstr(err.text, "revoked by ana: stolen"));
	assert_string_equal(core_revoked_next(fleet->core, ""), "m1");
	assert_null(core_revoked_next(fleet->core, "m1"));
	fleet_pass(fleet, 2 * FLEET_LEASE_MS, "m2");
	assert_where(fleet, "moves.service", "m2");
	assert_int_equal(REVOKE("m9"), FL_E_NOT_FOUND);
}

static void an_exclusive_unit_waits_for_the_lease(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_change(fleet, PB__CHANGE__VERB__SET, "x.service",
		"[Service]\nExecStart=/bin/true\nTimeoutStopSec=3s\n[X-Flota]\nExclusive=yes\n",
		PB__DESIRED_STATE__LAUNCHED, false));
	assert_where(fleet, "x.service", "m1");
	assert_int_equal(REVOKE("m1"), FL_OK);
	assert_where(fleet, "x.service", "");
	assert_int_equal(REMOVE("m1", false), FL_E_STATE);
	assert_non_null(strstr(err.text, "x.service is exclusive"));
	fleet_pass(fleet, FLEET_LEASE_MS, "m2");
	assert_where(fleet, "x.service", "");
	fleet_pass(fleet, 6000, "m2");
	assert_where(fleet, "x.service", "m2");
	assert_int_equal(REMOVE("m1", false), FL_OK);
}

static void a_revoked_machine_gets_no_certificate(void **state)
{
	struct fleet *fleet = *state;
	struct core_join how = m1_with_t1;

	two_machines(fleet);
	make_token(fleet, "t2", "m1");
	assert_int_equal(REVOKE("m1"), FL_OK);
	assert_null(renew(fleet, 1, key_1, key_2, "two"));
	assert_non_null(strstr(err.text, "was revoked by ana"));
	assert_null(join(fleet, &how));
	how.token_id = "";
	assert_null(join(fleet, &how));
	/* A token that was made for it before is no way back; one that is made now is. */
	how.token_id = "t2";
	how.key_pin = key_3;
	assert_null(join(fleet, &how));
	assert_non_null(strstr(err.text, "not one of this fleet"));
	make_token(fleet, "t3", "");
	how.token_id = "t3";
	assert_null(join(fleet, &how));
	assert_non_null(strstr(err.text, "was revoked by ana"));
	make_token(fleet, "t4", "m1");
	how.token_id = "t4";
	how.certificate = "three";
	assert_string_equal(join(fleet, &how), "three 1");
	assert_true(is_heard(fleet, key_3));
	assert_false(is_heard(fleet, key_1));
}

static void an_adopted_machine_is_a_member_again(void **state)
{
	struct fleet *fleet = *state;

	two_machines(fleet);
	assert_int_equal(ADOPT("m1", NULL), FL_E_STATE);
	assert_int_equal(ADOPT("m2", NULL), FL_E_STATE);
	assert_int_equal(REVOKE("m1"), FL_OK);
	assert_int_equal(ADOPT("m1", key_2), FL_E_NOT_FOUND);
	assert_int_equal(ADOPT("m1", key_1), FL_OK);
	fleet_restart(fleet);
	assert_standing(fleet, "m1", PB__MACHINE__STANDING__MEMBER);
	assert_true(is_heard(fleet, key_1));
	assert_string_equal(renew(fleet, 1, key_1, key_2, "two"), "two 2");
	/* One whose key is not known, for its certificate was made by hand. */
	assert_int_equal(REVOKE("m2"), FL_OK);
	assert_int_equal(ADOPT("m2", NULL), FL_OK);
	fleet_restart(fleet);
	assert_int_equal(core_member_check(fleet->core, "m2", key_3, &err), FL_OK);
}

static void who_was_refused_may_be_adopted(void **state)
{
	struct fleet *fleet = *state;
	struct core_join anew = m1_with_t1;
	Pb__Machine *machine;

	two_machines(fleet);
	make_token(fleet, "t2", "");
	anew.token_id = "t2";
	anew.key_pin = key_2;
	anew.certificate = "two";
	assert_null(join(fleet, &anew));
	machine = look(fleet, "m1");
	assert_memory_equal(machine->key_pin.data, key_1, CORE_HASH_BYTES);
	assert_memory_equal(machine->refused->key_pin.data, key_2, CORE_HASH_BYTES);
	assert_string_equal(machine->refused->address, "10.0.0.1");
	core_message_free(&machine->base);
	assert_int_equal(ADOPT("m1", key_3), FL_E_NOT_FOUND);
	assert_int_equal(ADOPT("m1", key_2), FL_OK);
	assert_false(is_heard(fleet, key_1));
	assert_string_equal(join(fleet, &anew), "two 1");
	assert_null(join(fleet, &m1_with_t1));
	machine = look(fleet, "m1");
	assert_memory_equal(machine->refused->key_pin.data, key_1, CORE_HASH_BYTES);
	core_message_free(&machine->base);
}

/* Two go on from one disk; the operator wants the one that came second. */
static void a_copy_may_be_adopted(void **state)
{
	struct fleet *fleet = *state;

	two_machines(fleet);
	assert_string_equal(renew(fleet, 1, key_1, key_2, "two"), "two 2");
	assert_null(renew(fleet, 1, key_1, key_3, "three"));
	assert_non_null(strstr(err.text, "this disk is a copy"));
	assert_int_equal(ADOPT("m1", key_3), FL_OK);
	assert_string_equal(renew(fleet, 1, key_1, key_3, "three"), "three 3");
	assert_string_equal(renew(fleet, 1, key_1, key_3, "four"), "three 3");
	assert_null(renew(fleet, 2, key_2, key_1, "five"));
	assert_non_null(strstr(err.text, "this disk is a copy"));
	assert_false(is_heard(fleet, key_2));
}

static void only_the_newest_two_keys_count(void **state)
{
	struct fleet *fleet = *state;

	two_machines(fleet);
	assert_true(is_heard(fleet, key_1));
	assert_string_equal(renew(fleet, 1, key_1, key_2, "two"), "two 2");
	assert_true(is_heard(fleet, key_1));
	assert_true(is_heard(fleet, key_2));
	assert_string_equal(renew(fleet, 2, key_2, key_3, "three"), "three 3");
	fleet_restart(fleet);
	assert_false(is_heard(fleet, key_1));
	assert_non_null(strstr(err.text, "this disk is a copy"));
	assert_true(is_heard(fleet, key_2));
	assert_true(is_heard(fleet, key_3));
}

/* The answer to a renewal never came, and now the certificate has run out: the key before brings it
 * back, until the new one has been seen. */
static void a_lost_renewal_locks_nobody_out(void **state)
{
	struct fleet *fleet = *state;
	struct core_join late = m1_with_t1;
	struct core_event sync = {.kind = CORE_SYNC,
		.sync = {.machine_id = "m1", .session = 7, .store_id = "", .key_pin = key_2}};

	two_machines(fleet);
	assert_string_equal(renew(fleet, 1, key_1, key_2, "two"), "two 2");
	late.token_id = "";
	late.certificate = "late";
	assert_string_equal(join(fleet, &late), "late 2");
	assert_string_equal(renew(fleet, 2, key_1, key_2, "three"), "three 3");
	(void)fleet_step(fleet, &sync);
	fleet_restart(fleet);
	assert_null(join(fleet, &late));
	assert_non_null(strstr(err.text, "this disk is a copy"));
}

static void a_machine_is_removed(void **state)
{
	struct fleet *fleet = *state;
	struct core_join how = m1_with_t1;

	two_machines(fleet);
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "all.service", "Global=true"));
	assert_where(fleet, "a.service", "m1");
	assert_int_equal(REMOVE("m1", false), FL_E_STATE);
	assert_non_null(strstr(err.text, "flotactl drain m1"));
	fleet_pass(fleet, 2 * FLEET_LEASE_MS, "m2");
	assert_int_equal(REMOVE("m1", false), FL_OK);
	assert_int_equal(core_machine_count(fleet->core), 1);
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "all.service", "m2");
	assert_int_equal(REMOVE("m1", false), FL_E_NOT_FOUND);
	assert_int_equal(ADOPT("m1", NULL), FL_E_NOT_FOUND);
	fleet_restart(fleet);
	assert_int_equal(core_machine_count(fleet->core), 1);
	assert_false(is_heard(fleet, key_1));
	assert_null(renew(fleet, 1, key_1, key_2, "two"));
	how.token_id = "";
	assert_null(join(fleet, &how));
	assert_non_null(strstr(err.text, "was removed by ana"));
	/* Any token brings it back. */
	make_token(fleet, "t2", "");
	how.token_id = "t2";
	how.certificate = "again";
	assert_string_equal(join(fleet, &how), "again 1");
	assert_true(is_heard(fleet, key_1));
	fleet_join(fleet, "m1", "");
	assert_int_equal(core_machine_count(fleet->core), 2);
	fleet_restart(fleet);
	assert_int_equal(core_machine_count(fleet->core), 2);
}

static void data_are_not_given_up_without_a_word(void **state)
{
	struct fleet *fleet = *state;

	fleet_join(fleet, "m1", "");
	fleet_join(fleet, "m2", "");
	assert_true(fleet_start(fleet, "db.service", "[X-Flota]\nOnMachineLoss=wait"));
	assert_where(fleet, "db.service", "m1");
	fleet_pass(fleet, 2 * FLEET_LEASE_MS, "m2");
	assert_int_equal(REMOVE("m1", false), FL_E_STATE);
	assert_non_null(strstr(err.text, "the data of unit db.service"));
	assert_int_equal(REMOVE("m1", true), FL_OK);
	assert_where(fleet, "db.service", "m2");
}

static void one_that_was_never_heard_of_has_its_whole_id(void **state)
{
	struct fleet *fleet = *state;

	make_token(fleet, "t1", "");
	assert_string_equal(join(fleet, &m1_with_t1), "one 1");
	assert_int_equal(REVOKE("m"), FL_E_NOT_FOUND);
	assert_int_equal(REVOKE("m1"), FL_OK);
	assert_false(is_heard(fleet, key_1));
	assert_int_equal(ADOPT("m1", key_1), FL_OK);
	assert_true(is_heard(fleet, key_1));
	assert_int_equal(REMOVE("m1", false), FL_OK);
	assert_int_equal(REMOVE("m1", false), FL_E_NOT_FOUND);
	assert_false(is_heard(fleet, key_1));
}

/* By force, at any time: under way, held, moving. */
static void nothing_hangs_on_a_removed_machine(void **state)
{
	struct fleet *fleet = *state;
	const struct core_event drain = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {.verb = PB__MACHINE_CHANGE_REQUEST__VERB__DRAIN,
			.machine_id = "m1",
			.by = "ana",
			.reason = ""}};

	fleet_join(fleet, "m1", "");
	assert_true(fleet_start(fleet, "a.service", ""));
	assert_true(fleet_start(fleet, "b.service", ""));
	assert_true(fleet_start(fleet, "x.service", "[X-Flota]\nExclusive=true"));
	assert_true(fleet_start(fleet, "pin.service", "MachineID=m1"));
	assert_true(fleet_start(fleet, "all.service", "Global=true"));
	fleet_join(fleet, "m2", "");
	(void)fleet_step(fleet, &drain);
	assert_true(fleet_destroy(fleet, "b.service"));
	assert_int_equal(REMOVE("m1", true), FL_OK);
	assert_where(fleet, "a.service", "m2");
	assert_where(fleet, "x.service", "m2");
	assert_where(fleet, "pin.service", "");
	fleet_pass(fleet, 2 * FLEET_LEASE_MS, "m2");
	fleet_restart(fleet);
	fleet_join(fleet, "m2", "");
	assert_int_equal(REMOVE("m2", true), FL_OK);
	assert_where(fleet, "a.service", "");
	fleet_join(fleet, "m3", "");
	assert_where(fleet, "a.service", "m3");
	assert_where(fleet, "x.service", "m3");
}

#define fleet_test(function) cmocka_unit_test_setup_teardown(function, fleet_setup, fleet_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fleet_test(a_revoked_machines_units_go),
		fleet_test(an_exclusive_unit_waits_for_the_lease),
		fleet_test(a_revoked_machine_gets_no_certificate),
		fleet_test(an_adopted_machine_is_a_member_again),
		fleet_test(who_was_refused_may_be_adopted),
		fleet_test(a_copy_may_be_adopted),
		fleet_test(only_the_newest_two_keys_count),
		fleet_test(a_lost_renewal_locks_nobody_out),
		fleet_test(a_machine_is_removed),
		fleet_test(data_are_not_given_up_without_a_word),
		fleet_test(one_that_was_never_heard_of_has_its_whole_id),
		fleet_test(nothing_hangs_on_a_removed_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
