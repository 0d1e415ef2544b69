/*
 * What units claim of a machine's memory and CPUs, beside what it offers: its capacity times what
 * the coordinator may overcommit. A machine that has not told its capacity has no limit, and a unit
 * that claims nothing always fits.
 *
 * Claims count from the placement to its end, those of global units too, which are not refused for
 * them. They are checked when a unit comes, and when its own file makes it claim more; not when a
 * machine has less than before: what runs there stays.
 */
#include <inttypes.h>
#include <stdio.h>

#include "coordinator/core/internal.h"

#define PERMYRIAD 10000U

/* More than this is never claimed, so that sums do not overflow. */
#define MEMORY_MAX (UINT64_C(1) << 50)

/* Without overflow where the result has none. */
static uint64_t part_of(uint64_t whole, uint64_t numerator, uint64_t denominator)
{
	return whole / denominator * numerator + whole % denominator * numerator / denominator;
}

static uint64_t capacity_memory(const struct machine *machine)
{
	const Pb__Capacity *capacity = machine->info.message->capacity;

	return capacity != NULL ? capacity->memory_bytes : 0;
}

struct room claims_on(const struct unit_claims *claims, const struct machine *machine)
{
	uint64_t bytes = claims->memory_bytes +
			 part_of(capacity_memory(machine), claims->memory_permyriad, PERMYRIAD);

	return (struct room){.memory_bytes = bytes < MEMORY_MAX ? bytes : MEMORY_MAX,
		.cpu_milli = claims->cpu_milli};
}

struct room claims_anywhere(const struct unit_claims *claims)
{
	/* A share is of the machine's own: how much, is asked there. */
	return (struct room){.memory_bytes = claims->memory_bytes, .cpu_milli = claims->cpu_milli};
}

struct room machine_claimed(const struct machine *machine)
{
	return (struct room){.memory_bytes = machine->claims.memory_bytes +
					     part_of(capacity_memory(machine),
						     machine->claims.memory_permyriad, PERMYRIAD),
		.cpu_milli = machine->claims.cpu_milli};
}

struct room machine_offered(const struct machine *machine)
{
	const Pb__Capacity *capacity = machine->info.message->capacity;
	const struct core *core = machine->core;
	struct room offered = {.memory_bytes = ROOM_UNLIMITED, .cpu_milli = ROOM_UNLIMITED};

	if (capacity != NULL && capacity->memory_bytes > 0)
		offered.memory_bytes =
			part_of(capacity->memory_bytes, core->memory_overcommit_permille, 1000);
	if (capacity != NULL && capacity->cpus > 0)
		offered.cpu_milli = (uint64_t)capacity->cpus * core->cpu_overcommit_permille;
	return offered;
}

static uint64_t left_of(uint64_t offered, uint64_t claimed)
{
	if (offered == ROOM_UNLIMITED)
		return ROOM_UNLIMITED;
	return offered > claimed ? offered - claimed : 0;
}

static struct room room_left(const struct room *offered, const struct room *claimed)
{
	return (struct room){.memory_bytes = left_of(offered->memory_bytes, claimed->memory_bytes),
		.cpu_milli = left_of(offered->cpu_milli, claimed->cpu_milli)};
}

void machine_free_refresh(struct machine *machine)
{
	struct room offered = machine_offered(machine), claimed = machine_claimed(machine);

	machine->free = room_left(&offered, &claimed);
}

void machine_claims_add(struct machine *machine, const struct unit_claims *claims, int by)
{
	uint64_t bytes = claims->memory_bytes < MEMORY_MAX ? claims->memory_bytes : MEMORY_MAX;

	if (by > 0) {
		machine->claims.memory_bytes += bytes;
		machine->claims.memory_permyriad += claims->memory_permyriad;
		machine->claims.cpu_milli += claims->cpu_milli;
	} else {
		machine->claims.memory_bytes -= bytes;
		machine->claims.memory_permyriad -= claims->memory_permyriad;
		machine->claims.cpu_milli -= claims->cpu_milli;
	}
	machine_free_refresh(machine);
}

/* ---- In words ---------------------------------------------------------------------------- */

/* "512M", "2.0G". Rounded @up, or down, so that what does not fit never looks as if it did. */
static const char *size_text(uint64_t bytes, bool up, char text[24])
{
	static const char units[] = "BKMGT";
	unsigned unit = 0;
	uint64_t tenths;

	while (unit < sizeof(units) - 2 && bytes >> 10 * (unit + 1) > 0)
		unit++;
	tenths = bytes / (UINT64_C(1) << 10 * unit) * 10;
	tenths += (bytes % (UINT64_C(1) << 10 * unit) * 10 +
			  (up ? (UINT64_C(1) << 10 * unit) - 1 : 0)) >>
		  10 * unit;
	if (unit == 0 || tenths >= 100)
		snprintf(text, 24, "%" PRIu64 "%c", up ? (tenths + 9) / 10 : tenths / 10,
			units[unit]);
	else
		snprintf(text, 24, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10,
			units[unit]);
	return text;
}

/* "2", "0.25". */
static const char *cpus_text(uint64_t milli, char text[24])
{
	int len = snprintf(text, 24, "%" PRIu64 ".%03u", milli / 1000, (unsigned)(milli % 1000));

	while (text[len - 1] == '0')
		text[--len] = '\0';
	if (text[len - 1] == '.')
		text[len - 1] = '\0';
	return text;
}

static void say_misfit(const struct room *needed, const struct room *left,
	const struct room *offered, struct fl_buf *why)
{
	char a[24], b[24], c[24];
	bool memory = needed->memory_bytes > left->memory_bytes;

	if (memory)
		fl_buf_printf(why, "needs %s memory, %s of %s free",
			size_text(needed->memory_bytes, true, a),
			size_text(left->memory_bytes, false, b),
			size_text(offered->memory_bytes, false, c));
	if (needed->cpu_milli > left->cpu_milli)
		fl_buf_printf(why, "%sneeds %s CPUs, %s of %s free", memory ? "; " : "",
			cpus_text(needed->cpu_milli, a), cpus_text(left->cpu_milli, b),
			cpus_text(offered->cpu_milli, c));
}

bool claims_fit(
	const struct unit *unit, const struct machine *machine, bool is_there, struct fl_buf *why)
{
	struct room needed = claims_on(&unit->body.rules.claims, machine), offered, others, left;

	if (!is_there && room_holds(&machine->free, &needed))
		return true;
	offered = machine_offered(machine);
	others = machine_claimed(machine);
	if (is_there) {
		others.memory_bytes -= needed.memory_bytes;
		others.cpu_milli -= needed.cpu_milli;
	}
	left = room_left(&offered, &others);
	if (room_holds(&left, &needed))
		return true;
	if (why != NULL)
		say_misfit(&needed, &left, &offered, why);
	return false;
}

bool claims_grow(const struct unit_claims *before, const struct unit_claims *after)
{
	return after->memory_bytes > before->memory_bytes ||
	       after->memory_permyriad > before->memory_permyriad ||
	       after->cpu_milli > before->cpu_milli;
}
