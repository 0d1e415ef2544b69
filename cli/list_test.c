#include "cli/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/memory.h"
#include "cli/state.h"

#define ID1  "2d0c6ea8b4f34ff4a3a3c2c1f0e0d0c0"
#define ID2  "9f1e7a00b4f34ff4a3a3c2c1f0e0d0c0"
#define HASH "da39a3ee5e6b4b0d3255bfef95601890afd80709"

/* A service that runs, a global one on two machines, one that waits. */
static struct fleet {
	Pb__Unit units[3];
	Pb__Unit *pointers[3];
	Pb__Placement placements[3];
	Pb__Placement *places[3];
	Pb__UnitState states[3];
} fleet;

static void place(size_t i, const char *machine_id, const char *address)
{
	pb__placement__init(&fleet.placements[i]);
	pb__unit_state__init(&fleet.states[i]);
	fleet.places[i] = &fleet.placements[i];
	fleet.placements[i].machine_id = (char *)machine_id;
	fleet.placements[i].address = (char *)address;
	fleet.placements[i].epoch = 1;
	fleet.placements[i].state = &fleet.states[i];
	fleet.states[i].epoch = 1;
	fleet.states[i].load = (char *)"loaded";
	fleet.states[i].active = (char *)"active";
	fleet.states[i].sub = (char *)"running";
	fleet.states[i].hash = (char *)HASH;
	fleet.states[i].desired = PB__DESIRED_STATE__LAUNCHED;
}

static int set_up(void **state)
{
	static const char *const names[] = {"hello.service", "log.service", "wait.service"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		pb__unit__init(&fleet.units[i]);
		fleet.pointers[i] = &fleet.units[i];
		fleet.units[i].name = (char *)names[i];
		fleet.units[i].hash = (char *)HASH;
		fleet.units[i].desired = PB__DESIRED_STATE__LAUNCHED;
	}
	place(0, ID1, "10.77.0.11");
	/* Not in the order of their IDs; and one has not reported yet. */
	place(1, ID2, "10.77.0.12");
	place(2, ID1, "10.77.0.11");
	fleet.placements[1].state = NULL;
	fleet.units[0].placements = &fleet.places[0];
	fleet.units[0].n_placements = 1;
	fleet.units[1].placements = &fleet.places[1];
	fleet.units[1].n_placements = 2;
	fleet.units[1].global = true;
	fleet.units[2].description = (char *)"Waits";
	fleet.units[2].waiting = (char *)"no machine";
	return 0;
}

typedef enum fl_code (*printer)(Pb__Unit *const *units, size_t n, const struct list_style *style,
	FILE *out, struct fl_error *err);

static void expect(printer print, const struct list_style *style, const char *expected)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct fl_error err = {0};
	size_t size;
	FILE *out = open_memstream(&text, &size);
	enum fl_code code = print(fleet.pointers, 3, style, out, &err);

	fclose(out);
	assert_string_equal(code == FL_OK ? text : err.text, expected);
}

static void test_units(void **state)
{
	struct list_style style = {.legend = true};

	(void)state;
	expect(list_print_units, &style,
		"UNIT\t\tMACHINE\t\t\tACTIVE\tSUB\n"
		"hello.service\t2d0c6ea8.../10.77.0.11\tactive\trunning\n"
		"log.service\t2d0c6ea8.../10.77.0.11\tactive\trunning\n"
		"log.service\t9f1e7a00.../10.77.0.12\t-\t-\n");
	style = (struct list_style){.fields = "unit,hash,load", .full = true};
	expect(list_print_units, &style,
		"hello.service\t" HASH "\tloaded\n"
		"log.service\t" HASH "\tloaded\n"
		"log.service\t-\t\t\t\t\t\t-\n");
	style = (struct list_style){.fields = "machine", .full = true};
	expect(list_print_units, &style,
		ID1 "/10.77.0.11\n" ID1 "/10.77.0.11\n" ID2 "/10.77.0.12\n");
	/* What a lost machine said last says nothing of now. */
	fleet.placements[0].lost = true;
	style = (struct list_style){.fields = "unit,active,sub"};
	expect(list_print_units, &style,
		"hello.service\t-\tlost\nlog.service\tactive\trunning\nlog.service\t-\t-\n");
	style = (struct list_style){.fields = "unit,foo"};
	expect(list_print_units, &style, "Invalid key in output format: \"foo\"; see --help");
}

/* Times are in the zone of who reads them, and say in which. */
static void test_since(void **state)
{
	struct list_style style = {.fields = "unit,since"};

	(void)state;
	fleet.states[0].since_us = UINT64_C(1795243300623791);
	assert_int_equal(setenv("TZ", "UTC0", 1), 0);
	expect(list_print_units, &style,
		"hello.service\t2026-11-21 06:41:40 UTC\nlog.service\t-\nlog.service\t-\n");
	assert_int_equal(setenv("TZ", "CET-1", 1), 0);
	tzset(); /* localtime_r(3) need not look again */
	expect(list_print_units, &style,
		"hello.service\t2026-11-21 07:41:40 CET\nlog.service\t-\nlog.service\t-\n");
	unsetenv("TZ");
}

static void test_unit_files(void **state)
{
	struct list_style style = {.legend = true};

	(void)state;
	expect(list_print_unit_files, &style,
		"UNIT\t\tHASH\tDSTATE\t\tSTATE\t\tTARGET\n"
		"hello.service\tda39a3e\tlaunched\tlaunched\t2d0c6ea8.../10.77.0.11\n"
		"log.service\tda39a3e\tlaunched\t-\t\tglobal\n"
		"wait.service\tda39a3e\tlaunched\tinactive\t-\n");
	style = (struct list_style){.fields = "unit,desc,global,tmachine,waiting"};
	expect(list_print_unit_files, &style,
		"hello.service\t-\tfalse\t2d0c6ea8.../10.77.0.11\t-\n"
		"log.service\t-\ttrue\t-\t\t\t-\n"
		"wait.service\tWaits\tfalse\t-\t\t\tno machine\n");
}

static void test_empty(void **state)
{
	const struct list_style style = {.legend = true}, bare = {.legend = false};
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(list_print_units(NULL, 0, &style, out, NULL), FL_OK);
	assert_int_equal(list_print_unit_files(NULL, 0, &bare, out, NULL), FL_OK);
	assert_int_equal(list_print_machines(NULL, 0, &style, out, NULL), FL_OK);
	fclose(out);
	assert_string_equal(text, "UNIT\tMACHINE\tACTIVE\tSUB\nMACHINE\tIP\tMETADATA\n");
}

static void test_machines(void **state)
{
	const struct list_style style = {.legend = true};
	const struct list_style more = {
		.fields = "machine,state,cpus,memory,load,units,heard", .full = true};
	Pb__Metadata disk = PB__METADATA__INIT, region = PB__METADATA__INIT;
	Pb__Metadata *metadata[] = {&disk, &region};
	Pb__Capacity capacity = PB__CAPACITY__INIT;
	Pb__Machine one = PB__MACHINE__INIT, two = PB__MACHINE__INIT;
	Pb__Machine *machines[] = {&one, &two};
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	disk.key = (char *)"disk";
	disk.value = (char *)"ssd";
	region.key = (char *)"region";
	region.value = (char *)"eu";
	capacity.cpus = 8;
	capacity.memory_bytes = UINT64_C(3) << 29;
	capacity.load_1min_x100 = 25;
	one.id = (char *)ID1;
	one.address = (char *)"10.77.0.11";
	one.metadata = metadata;
	one.n_metadata = 2;
	one.capacity = &capacity;
	one.state = PB__MACHINE__STATE__UP;
	one.units = 3;
	one.last_heard_ms = 1234;
	two.id = (char *)ID2;
	two.state = PB__MACHINE__STATE__LOST;
	assert_int_equal(list_print_machines(machines, 2, &style, out, NULL), FL_OK);
	assert_int_equal(list_print_machines(machines, 2, &more, out, NULL), FL_OK);
	fclose(out);
	assert_string_equal(text,
		"MACHINE\t\tIP\t\tMETADATA\n"
		"2d0c6ea8...\t10.77.0.11\tdisk=ssd,region=eu\n"
		"9f1e7a00...\t-\t\t-\n" ID1 "\tup\t8\t1.5G\t0.25\t3\t1.2s ago\n" ID2
		"\tlost\t-\t-\t-\t0\t0.0s ago\n");
}

/* FLEET.md's words: inactive, loaded and launched say how far the machine has got. */
static void test_current_state(void **state)
{
	Pb__Unit *unit = &fleet.units[0];

	(void)state;
	assert_int_equal(unit_current(unit), PB__DESIRED_STATE__LAUNCHED);
	fleet.states[0].desired = PB__DESIRED_STATE__LOADED;
	assert_int_equal(unit_current(unit), PB__DESIRED_STATE__LOADED);
	fleet.states[0].epoch = 0;
	assert_int_equal(unit_current(unit), PB__DESIRED_STATE__INACTIVE);
	unit->n_placements = 0;
	assert_int_equal(unit_current(unit), PB__DESIRED_STATE__INACTIVE);
	/* The least of a global unit's. */
	assert_int_equal(unit_current(&fleet.units[1]), PB__DESIRED_STATE__INACTIVE);
	fleet.placements[1].state = &fleet.states[1];
	assert_int_equal(unit_current(&fleet.units[1]), PB__DESIRED_STATE__LAUNCHED);
	fleet.states[2].desired = PB__DESIRED_STATE__LOADED;
	assert_int_equal(unit_current(&fleet.units[1]), PB__DESIRED_STATE__LOADED);
}

static void test_machine_text(void **state)
{
	char text[MACHINE_TEXT_MAX];

	(void)state;
	machine_text(ID1, "10.0.0.1", false, text);
	assert_string_equal(text, "2d0c6ea8.../10.0.0.1");
	machine_text(ID1, "10.0.0.1", true, text);
	assert_string_equal(text, ID1 "/10.0.0.1");
	machine_text(ID1, "", false, text);
	assert_string_equal(text, "2d0c6ea8...");
	machine_text("short", "10.0.0.1", false, text);
	assert_string_equal(text, "short/10.0.0.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_units, set_up),
		cmocka_unit_test_setup(test_since, set_up),
		cmocka_unit_test_setup(test_unit_files, set_up),
		cmocka_unit_test_setup(test_empty, set_up),
		cmocka_unit_test_setup(test_machines, set_up),
		cmocka_unit_test_setup(test_current_state, set_up),
		cmocka_unit_test(test_machine_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
