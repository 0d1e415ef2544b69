/*
 * Random events on a small fleet; after each of them everything that must always hold is recounted
 * the slow way, from the units and machines alone. The seed is printed: FLOTA_SEED replays it,
 * FLOTA_STEPS makes it longer.
 */
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

#define N_MACHINES 20
#define N_UNITS    200

struct model {
	struct fleet fleet;
	uint64_t random;
	bool alive[N_MACHINES], known[N_MACHINES];
	bool out[N_MACHINES]; /* revoked or removed: the daemon would not let its agent speak */
	unsigned n_tokens;
	char ids[N_MACHINES][16];
	struct agent agents[N_MACHINES];
	uint64_t epochs[N_UNITS]; /* the greatest seen of each name */
	unsigned n_removed, n_done, n_refused, n_placed, n_waiting, n_moved, n_restarts;
};

static uint32_t pick(struct model *model, uint32_t below)
{
	return fleet_pick(&model->random, below);
}

/* ---- What must always hold --------------------------------------------------------------- */

static void check_epochs(struct model *model)
{
	char name[32];

	for (unsigned i = 0; i < N_UNITS; i++) {
		const struct unit *unit;

		fleet_unit_name(name, i);
		unit = unit_find(model->fleet.core, name);
		if (unit == NULL || unit_placement_count(unit) == 0)
			continue;
		assert_true(unit->epoch >= model->epochs[i]);
		model->n_moved += model->epochs[i] != 0 && unit->epoch > model->epochs[i];
		model->epochs[i] = unit->epoch;
		model->n_placed++;
	}
}

static void check(struct model *model)
{
	fleet_check(model->fleet.core);
	check_epochs(model);
	model->n_waiting += !RB_EMPTY(&model->fleet.core->waiting);
}

/* ---- What happens ------------------------------------------------------------------------ */

static void machine_metadata_text(struct model *model, char *text, size_t size)
{
	snprintf(text, size, "role=%u disk=%u", pick(model, 3), pick(model, 2));
}

static void random_file(struct model *model, const char *name, char *text, size_t size)
{
	const char *ids[N_MACHINES];

	for (unsigned i = 0; i < N_MACHINES; i++)
		ids[i] = model->ids[i];
	fleet_random_file(&model->random, name, ids, N_MACHINES, N_UNITS, text, size);
}

static void random_change(struct model *model)
{
	char name[32], content[1024];
	uint32_t what = pick(model, 100);
	struct fleet *fleet = &model->fleet;
	bool done;

	fleet_unit_name(name, pick(model, N_UNITS));
	random_file(model, name, content, sizeof(content));
	if (what < 55)
		done = fleet_change(fleet, PB__CHANGE__VERB__SET, name, content,
			PB__DESIRED_STATE__LOADED + pick(model, 2), pick(model, 2) == 0);
	else if (what < 60)
		done = fleet_submit(fleet, name, content);
	else if (what < 75)
		done = fleet_unload(fleet, name);
	else if (what < 85)
		done = fleet_start(fleet, name, NULL);
	else if (what < 90)
		done = fleet_change(fleet, PB__CHANGE__VERB__RESTART, name, NULL, 0, false);
	else
		done = fleet_destroy(fleet, name);
	model->n_done += done;
	model->n_refused += !done;
}

/* With a token that was made for it. */
static void let_in(struct model *model, uint32_t i)
{
	static const uint8_t hash[CORE_HASH_BYTES] = {1};
	const uint8_t key[CORE_HASH_BYTES] = {(uint8_t)i, 1};
	Pb__TokensRequest request = PB__TOKENS_REQUEST__INIT;
	struct core_event token = {.kind = CORE_TOKENS,
		.tokens = {.request = &request, .secret_hash = hash, .by = "ana", .wall_ms = 1}};
	struct core_event join = {.kind = CORE_JOIN,
		.join = {.machine_id = model->ids[i],
			.hostname = "",
			.address = "",
			.secret_hash = hash,
			.key_pin = key,
			.certificate = "",
			.wall_ms = 1}};
	struct core_answer answer;
	char id[16];

	snprintf(id, sizeof(id), "t%u", model->n_tokens++);
	request.verb = PB__TOKENS_REQUEST__VERB__CREATE;
	request.machine_id = model->ids[i];
	token.tokens.new_id = join.join.token_id = id;
	(void)fleet_step(&model->fleet, &token);
	answer = fleet_step(&model->fleet, &join);
	core_message_free(&answer.certificate->base);
	request.verb = PB__TOKENS_REQUEST__VERB__REVOKE;
	request.id = id;
	(void)fleet_try(&model->fleet, &token, NULL);
	model->out[i] = false;
}

static void random_join(struct model *model)
{
	uint32_t i = pick(model, N_MACHINES);
	char metadata[64];

	if (model->out[i])
		let_in(model, i);
	machine_metadata_text(model, metadata, sizeof(metadata));
	fleet_join(&model->fleet, model->ids[i], metadata);
	if (pick(model, 4) > 0)
		fleet_capacity(&model->fleet, model->ids[i], FLEET_CPUS, FLEET_MEMORY_BYTES);
	/* This was the beginning of an agent that has nothing on its disk. */
	agent_close(&model->agents[i]);
	agent_open(&model->agents[i], model->ids[i]);
	model->known[i] = model->alive[i] = true;
}

static void random_operation(struct model *model)
{
	static const char *const reasons[] = {"", "a disk"};
	struct core_event event = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {
			.verb = PB__MACHINE_CHANGE_REQUEST__VERB__CORDON + pick(model, 3),
			.machine_id = model->ids[pick(model, N_MACHINES)],
			.by = "ana",
			.reason = reasons[pick(model, 2)],
			.deadline_ms = pick(model, 2) * pick(model, 20000),
			.parallel = pick(model, 4)}};
	struct core_event move = {.kind = CORE_MOVE};
	Pb__RebalanceReply *plan;

	(void)fleet_try(&model->fleet, &event, NULL);
	if (pick(model, 3) > 0)
		return;
	assert_int_equal(core_rebalance(model->fleet.core, 3, &plan, NULL), FL_OK);
	for (size_t i = 0; i < plan->n_moves; i++) {
		move.move = (struct core_move){.unit = plan->moves[i]->unit,
			.from = plan->moves[i]->from,
			.to = plan->moves[i]->to};
		(void)fleet_try(&model->fleet, &move, NULL);
	}
	core_message_free(&plan->base);
}

/* Machines are put out, and taken back. */
static void random_membership(struct model *model)
{
	static const Pb__MachineChangeRequest__Verb verbs[] = {
		PB__MACHINE_CHANGE_REQUEST__VERB__REVOKE, PB__MACHINE_CHANGE_REQUEST__VERB__REMOVE,
		PB__MACHINE_CHANGE_REQUEST__VERB__ADOPT};
	uint32_t i = pick(model, N_MACHINES);
	Pb__MachineChangeRequest__Verb verb = verbs[pick(model, FL_COUNT(verbs))];
	const struct core_event event = {.kind = CORE_MACHINE_CHANGE,
		.machine_change = {.verb = verb,
			.machine_id = model->ids[i],
			.by = "ana",
			.reason = "",
			.force = pick(model, 3) > 0}};

	if (fleet_try(&model->fleet, &event, NULL) != FL_OK)
		return;
	model->out[i] = verb != PB__MACHINE_CHANGE_REQUEST__VERB__ADOPT;
	if (verb != PB__MACHINE_CHANGE_REQUEST__VERB__REMOVE)
		return;
	model->known[i] = false;
	model->n_removed++;
}

static void random_time(struct model *model)
{
	char beating[512] = "";
	size_t len = 0;

	for (uint32_t i = 0; i < N_MACHINES; i++) {
		if (pick(model, 40) == 0)
			model->alive[i] = !model->alive[i];
		if (model->alive[i] && model->known[i] && !model->out[i])
			len += (size_t)snprintf(
				beating + len, sizeof(beating) - len, "%s ", model->ids[i]);
	}
	/* Once in a while the network is away. */
	if (pick(model, 20) == 0)
		beating[0] = '\0';
	fleet_pass(&model->fleet, pick(model, 8000), beating);
}

/* Whoever asks to the end knows exactly what is placed there. */
static void random_agent(struct model *model)
{
	uint32_t i = pick(model, N_MACHINES);
	struct agent *agent = &model->agents[i];

	if (!model->known[i] || model->out[i])
		return;
	agent_sync(agent, &model->fleet);
	fleet_check_assignment(model->fleet.core, model->ids[i], agent->units);
	if (pick(model, 2) == 0)
		fleet_let_go(&model->fleet, model->ids[i]);
}

/* Shows only the first line that differs. */
static void assert_same_lines(const char *before, const char *after)
{
	while (*before != '\0' || *after != '\0') {
		int m = (int)strcspn(before, "\n"), n = (int)strcspn(after, "\n");

		if (m != n || strncmp(before, after, (size_t)m) != 0)
			fail_msg("before \"%.*s\" after \"%.*s\"", m, before, n, after);
		before += m + (before[m] != '\0');
		after += n + (after[n] != '\0');
	}
}

static void crash(struct model *model)
{
	FL_CLEANUP_BUF struct fl_buf before = FL_BUF_INIT, after = FL_BUF_INIT;
	uint64_t revision = core_revision(model->fleet.core);

	fleet_snapshot(model->fleet.core, &before);
	fleet_restart(&model->fleet);
	fleet_snapshot(model->fleet.core, &after);
	assert_same_lines(fl_buf_str(&before), fl_buf_str(&after));
	assert_true(core_revision(model->fleet.core) > revision);
	model->n_restarts++;
}

static void random_event(struct model *model)
{
	uint32_t what = pick(model, 100);

	if (what < 57)
		random_change(model);
	else if (what < 60)
		random_operation(model);
	else if (what < 64)
		random_membership(model);
	else if (what < 69)
		random_join(model);
	else if (what < 80)
		random_time(model);
	else if (what < 98)
		random_agent(model);
	else
		crash(model);
}

/* @known: of this seed it is known that the run shows something. */
static void run(uint64_t seed, unsigned steps, bool known)
{
	struct model model = {.random = seed};

	print_message("FLOTA_SEED=%" PRIu64 " FLOTA_STEPS=%u\n", seed, steps);
	fleet_open(&model.fleet);
	for (unsigned i = 0; i < N_MACHINES; i++) {
		snprintf(model.ids[i], sizeof(model.ids[i]), "machine%02u", i);
		agent_open(&model.agents[i], model.ids[i]);
	}
	for (unsigned i = 0; i < steps; i++) {
		random_event(&model);
		fleet_forget(&model.fleet);
		check(&model);
	}
	print_message("%u changes done, %u refused; %u moves, %u steps with units waiting, "
		      "%u restarts, %u machines removed\n",
		model.n_done, model.n_refused, model.n_moved, model.n_waiting, model.n_restarts,
		model.n_removed);
	assert_true(!known ||
		    (model.n_done > steps / 10 && model.n_placed > steps && model.n_moved > 0 &&
			    model.n_waiting > 0 && model.n_restarts > 0));
	for (unsigned i = 0; i < N_MACHINES; i++)
		agent_close(&model.agents[i]);
	fleet_close(&model.fleet);
}

static uint64_t number(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void known_seeds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(seed, 500, true);
}

static void a_new_seed(void **state)
{
	(void)state;
	run(number("FLOTA_SEED", fl_random_id()), (unsigned)number("FLOTA_STEPS", 500), false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_seeds),
		cmocka_unit_test(a_new_seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
