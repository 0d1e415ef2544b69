/* Tokens and members: who is let in, once, and what is in the store afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/members.h"
#include "coordinator/core/testing.h"

#define WALL_MS   UINT64_C(1700000000000)
#define MINUTE_MS UINT64_C(60000)

static const uint8_t secret[CORE_HASH_BYTES] = {1}, wrong[CORE_HASH_BYTES] = {2};
static const uint8_t key_1[CORE_HASH_BYTES] = {11}, key_2[CORE_HASH_BYTES] = {12};

static struct fl_error err;

static enum fl_code try_step(
	struct fleet *fleet, const struct core_event *event, struct core_answer *answer)
{
	err = (struct fl_error){0};
	*answer = (struct core_answer){0};
	return core_step(fleet->core, event, fleet->now_ms, &fleet->effects, answer, &err);
}

static enum fl_code tokens(struct fleet *fleet, const Pb__TokensRequest *request, const char *id)
{
	struct core_answer answer;
	const struct core_event event = {.kind = CORE_TOKENS,
		.tokens = {.request = request,
			.new_id = id,
			.secret_hash = secret,
			.by = "operator ana",
			.wall_ms = WALL_MS}};

	return try_step(fleet, &event, &answer);
}

/* For one machine, for a minute. */
static void make_token(struct fleet *fleet, const char *id)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;

	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.ttl_ms = MINUTE_MS;
	assert_int_equal(tokens(fleet, &request, id), FL_OK);
}

static const struct core_join stranger = {
	.machine_id = "m1",
	.hostname = "web1",
	.address = "10.0.0.1",
	.token_id = "t1",
	.secret_hash = secret,
	.key_pin = key_1,
	.certificate = "first",
	.wall_ms = WALL_MS,
};

/* The certificate that it gets, or NULL. */
static const char *join(struct fleet *fleet, const struct core_join *how)
{
	const struct core_event event = {.kind = CORE_JOIN, .join = *how};
	static char certificate[64];
	struct core_answer answer;

	if (try_step(fleet, &event, &answer) != FL_OK) {
		assert_null(answer.certificate);
		return NULL;
	}
	snprintf(certificate, sizeof(certificate), "%s %u", answer.certificate->certificate,
		answer.certificate->generation);
	assert_string_equal(answer.certificate->fleet, core_fleet(fleet->core));
	core_message_free(&answer.certificate->base);
	/* Into the store, as any step does. */
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	return certificate;
}

static void assert_denied(struct fleet *fleet, const struct core_join *how, const char *text)
{
	assert_null(join(fleet, how));
	assert_int_equal(err.code, FL_E_DENIED);
	if (strstr(err.text, text) == NULL)
		fail_msg("wanted \"%s\", got \"%s\"", text, err.text);
}

static size_t n_tokens(const struct fleet *fleet)
{
	Pb__TokensReply *reply;
	size_t n;

	assert_int_equal(core_tokens_list(fleet->core, NULL, WALL_MS, &reply, &err), FL_OK);
	n = reply->n_tokens;
	core_message_free(&reply->base);
	return n;
}

static void a_token_lets_one_machine_in(void **state)
{
	struct fleet *fleet = *state;
	struct core_join second = stranger;

	make_token(fleet, "t1");
	assert_int_equal(n_tokens(fleet), 1);
	assert_string_equal(join(fleet, &stranger), "first 1");
	assert_int_equal(n_tokens(fleet), 0);
	second.machine_id = "m2";
	assert_denied(fleet, &second, "has been used");
	fleet_restart(fleet);
	assert_denied(fleet, &second, "has been used");
}

static void whoever_asks_again_hears_the_same(void **state)
{
	struct fleet *fleet = *state;
	struct core_join again = stranger;

	make_token(fleet, "t1");
	assert_string_equal(join(fleet, &stranger), "first 1");
	again.certificate = "second";
	again.wall_ms += 10 * MINUTE_MS;
	assert_string_equal(join(fleet, &again), "first 1");
	fleet_restart(fleet);
	assert_string_equal(join(fleet, &again), "first 1");
}

static void who_is_not_let_in(void **state)
{
	struct fleet *fleet = *state;
	struct core_join how;

	make_token(fleet, "t1");
	how = stranger, how.token_id = "t2";
	assert_denied(fleet, &how, "not one of this fleet");
	how = stranger, how.secret_hash = wrong;
	assert_denied(fleet, &how, "not one of this fleet");
	how = stranger, how.token_id = "";
	assert_denied(fleet, &how, "not a member with this key");
	how = stranger, how.wall_ms += MINUTE_MS;
	assert_denied(fleet, &how, "has expired");
	how = stranger, how.wall_ms += MINUTE_MS - 1;
	assert_string_equal(join(fleet, &how), "first 1");
}

static void a_revoked_token_is_none(void **state)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	struct fleet *fleet = *state;

	make_token(fleet, "t1");
	request.verb = PB__TOKENS_REQUEST__VERB__REVOKE;
	request.id = (char *)"t1";
	assert_int_equal(tokens(fleet, &request, NULL), FL_OK);
	assert_denied(fleet, &stranger, "or was revoked");
	assert_int_equal(tokens(fleet, &request, NULL), FL_E_NOT_FOUND);
	fleet_step(fleet, &(struct core_event){.kind = CORE_TICK});
	fleet_restart(fleet);
	assert_denied(fleet, &stranger, "or was revoked");
}

static void a_token_may_be_bound(void **state)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	struct fleet *fleet = *state;
	struct core_join how = stranger;

	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.uses = 10;
	request.name = (char *)"web1";
	assert_int_equal(tokens(fleet, &request, "t1"), FL_OK);
	request.name = (char *)"";
	request.machine_id = (char *)"m1";
	assert_int_equal(tokens(fleet, &request, "t2"), FL_OK);
	how.hostname = "web2";
	assert_denied(fleet, &how, "is for the machine called web1, not web2");
	how.machine_id = "m2";
	how.token_id = "t2";
	assert_denied(fleet, &how, "is for machine m1, not m2");
	assert_string_equal(join(fleet, &stranger), "first 1");
}

/* Another machine's ID is not to be had with any token, its own owner's needs one for it. */
static void a_member_is_not_replaced_by_chance(void **state)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	struct fleet *fleet = *state;
	struct core_join thief = stranger;

	make_token(fleet, "t1");
	assert_string_equal(join(fleet, &stranger), "first 1");
	make_token(fleet, "t2");
	thief.token_id = "t2";
	thief.key_pin = key_2;
	thief.certificate = "thief's";
	assert_denied(fleet, &thief, "flotactl token create --machine=m1");
	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.machine_id = (char *)"m1";
	assert_int_equal(tokens(fleet, &request, "t3"), FL_OK);
	thief.token_id = "t3";
	assert_string_equal(join(fleet, &thief), "thief's 1");
	assert_denied(fleet, &stranger, "has been used");
}

static void certificates_are_renewed(void **state)
{
	struct fleet *fleet = *state;
	struct core_join next = stranger;

	make_token(fleet, "t1");
	assert_string_equal(join(fleet, &stranger), "first 1");
	next.renews = true;
	next.key_pin = key_2;
	next.certificate = "second";
	next.generation = 1;
	assert_string_equal(join(fleet, &next), "second 2");
	/* The reply was lost. */
	next.certificate = "third";
	assert_string_equal(join(fleet, &next), "second 2");
	fleet_restart(fleet);
	assert_string_equal(join(fleet, &next), "second 2");
	/* The old disk's copy goes on from where it was. */
	next.key_pin = wrong;
	assert_denied(fleet, &next, "this disk is a copy");
	next.generation = 2;
	assert_string_equal(join(fleet, &next), "third 3");
}

static void a_certificate_made_by_hand_is_renewed_too(void **state)
{
	struct fleet *fleet = *state;
	struct core_join next = stranger;

	next.renews = true;
	assert_string_equal(join(fleet, &next), "first 1");
}

static void a_known_key_comes_back_in(void **state)
{
	struct fleet *fleet = *state;
	struct core_join late = stranger;

	make_token(fleet, "t1");
	assert_string_equal(join(fleet, &stranger), "first 1");
	late.token_id = "";
	late.certificate = "another";
	late.wall_ms += 1000 * MINUTE_MS;
	assert_string_equal(join(fleet, &late), "another 1");
	late.key_pin = key_2;
	assert_denied(fleet, &late, "not a member with this key");
}

static void a_copy_whose_certificate_has_run_out_is_one_too(void **state)
{
	struct fleet *fleet = *state;
	struct core_join next = stranger, copy = stranger;

	make_token(fleet, "t1");
	assert_string_equal(join(fleet, &stranger), "first 1");
	next.renews = true;
	next.shown_pin = key_1;
	next.key_pin = key_2;
	next.certificate = "second";
	next.generation = 1;
	assert_string_equal(join(fleet, &next), "second 2");
	member_confirm(fleet->core, "m1", key_2);
	copy.token_id = "";
	assert_denied(fleet, &copy, "this disk is a copy");
	/* A token for it is the operator's word. */
	copy.token_id = "t1";
	assert_denied(fleet, &copy, "has been used");
}

static const char *metadata(struct fleet *fleet, const char *machine)
{
	static char text[256];
	Pb__Machine *message;
	size_t len = 0;

	assert_int_equal(
		core_machine_get(fleet->core, machine, fleet->now_ms, &message, &err), FL_OK);
	text[0] = '\0';
	for (size_t i = 0; i < message->n_metadata; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s=%s ",
			message->metadata[i]->key, message->metadata[i]->value);
	core_message_free(&message->base);
	return text;
}

static void labels_come_from_the_token(void **state)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	Pb__Metadata pool = PB__METADATA__INIT, *labels[] = {&pool};
	struct fleet *fleet = *state;

	pool.key = (char *)"pool";
	pool.value = (char *)"edge";
	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.metadata = labels;
	request.n_metadata = 1;
	assert_int_equal(tokens(fleet, &request, "t1"), FL_OK);
	assert_string_equal(join(fleet, &stranger), "first 1");
	fleet_join(fleet, "m1", "pool=core disk=ssd");
	assert_string_equal(metadata(fleet, "m1"), "disk=ssd pool=edge ");
	fleet_restart(fleet);
	assert_string_equal(metadata(fleet, "m1"), "disk=ssd pool=edge ");
	fleet_join(fleet, "m1", "pool=core");
	assert_string_equal(metadata(fleet, "m1"), "pool=edge ");
	fleet_join(fleet, "m2", "pool=core");
	assert_string_equal(metadata(fleet, "m2"), "pool=core ");
}

static void bad_tokens_are_not_made(void **state)
{
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	Pb__Metadata a = PB__METADATA__INIT, *labels[] = {&a, &a};
	struct fleet *fleet = *state;

	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.ttl_ms = CORE_TOKEN_TTL_MS_MAX + 1;
	assert_int_equal(tokens(fleet, &request, "t1"), FL_E_INVALID);
	request.ttl_ms = 0;
	request.metadata = labels;
	request.n_metadata = 1;
	a.key = (char *)"a";
	assert_int_equal(tokens(fleet, &request, "t1"), FL_E_INVALID);
	a.value = (char *)"b";
	request.n_metadata = 2;
	assert_int_equal(tokens(fleet, &request, "t1"), FL_E_INVALID);
	assert_non_null(strstr(err.text, "given twice"));
	request.n_metadata = 1;
	assert_int_equal(tokens(fleet, &request, "t1"), FL_OK);
	assert_int_equal(tokens(fleet, &request, "t1"), FL_E_EXISTS);
	assert_int_equal(n_tokens(fleet), 1);
}

#define fleet_test(function) cmocka_unit_test_setup_teardown(function, fleet_setup, fleet_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fleet_test(a_token_lets_one_machine_in),
		fleet_test(whoever_asks_again_hears_the_same),
		fleet_test(who_is_not_let_in),
		fleet_test(a_revoked_token_is_none),
		fleet_test(a_token_may_be_bound),
		fleet_test(a_member_is_not_replaced_by_chance),
		fleet_test(certificates_are_renewed),
		fleet_test(a_certificate_made_by_hand_is_renewed_too),
		fleet_test(a_known_key_comes_back_in),
		fleet_test(a_copy_whose_certificate_has_run_out_is_one_too),
		fleet_test(labels_come_from_the_token),
		fleet_test(bad_tokens_are_not_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
