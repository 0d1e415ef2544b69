/* The agent's records: round trips, damage, and the write beside the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/wire.h"

#define FOLDER "/tmp/flota-disk-test-XXXXXX"
static char folder[sizeof(FOLDER)];
static char path[64], aside[80];

static int setup(void **state)
{
	(void)state;
	fl_log_set_level((enum fl_level)0); /* damage is an error, and wanted here */
	(void)strcpy(folder, FOLDER);
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/record", folder);
	(void)snprintf(aside, sizeof(aside), "%s.damaged", path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	(void)unlink(aside);
	return rmdir(folder);
}

/* A packed record with one assignment of every field. */
static void pack(uint64_t revision, uint8_t **ret_data, size_t *ret_len)
{
	Pb__AgentRecord record = PB__AGENT_RECORD__INIT;
	Pb__Assignment a = PB__ASSIGNMENT__INIT, *list[] = {&a};

	a.name = (char *)"a.service";
	a.content.data = (uint8_t *)"[Service]\n\0x";
	a.content.len = 12;
	a.hash = (char *)"0123";
	a.desired = PB__DESIRED_STATE__LAUNCHED;
	a.epoch = 1;
	a.revision = 2;
	a.start_generation = 3;
	a.restart_generation = 4;
	a.tenant = (char *)"ana";
	record.store_id = (char *)"store";
	record.revision = revision;
	record.assignments = list;
	record.n_assignments = 1;
	assert_int_equal(wire_pack_record(&record.base, ret_data, ret_len, NULL), FL_OK);
}

static void write_record(uint64_t revision)
{
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	size_t len;

	pack(revision, &data, &len);
	assert_int_equal(disk_write(path, data, len, true, NULL), FL_OK);
}

static Pb__AgentRecord *read_record(bool *ret_damaged)
{
	ProtobufCMessage *message = NULL;

	assert_int_equal(
		disk_read(path, &pb__agent_record__descriptor, &message, ret_damaged, NULL), FL_OK);
	return (Pb__AgentRecord *)message;
}

static void test_round_trip(void **state)
{
	Pb__AgentRecord *record;
	bool damaged;

	(void)state;
	write_record(42);
	record = read_record(&damaged);
	assert_non_null(record);
	assert_false(damaged);
	assert_int_equal(record->revision, 42);
	assert_string_equal(record->store_id, "store");
	assert_int_equal(record->n_assignments, 1);
	assert_string_equal(record->assignments[0]->name, "a.service");
	assert_int_equal(record->assignments[0]->content.len, 12);
	assert_memory_equal(record->assignments[0]->content.data, "[Service]\n\0x", 12);
	assert_int_equal(record->assignments[0]->restart_generation, 4);
	assert_string_equal(record->assignments[0]->tenant, "ana");
	pb__agent_record__free_unpacked(record, NULL);
}

static void test_no_file_is_no_damage(void **state)
{
	bool damaged = true;

	(void)state;
	assert_null(read_record(&damaged));
	assert_false(damaged);
}

/* Every cut, and a flipped bit in every byte, is found, and the file is kept. */
static void test_damage(void **state)
{
	FL_CLEANUP(fl_freep) char *whole = NULL;
	size_t len;

	(void)state;
	write_record(42);
	assert_int_equal(fl_file_read(path, 1 << 20, &whole, &len, NULL), FL_OK);
	for (size_t i = 0; i < 2 * len; i++) {
		FL_CLEANUP(fl_freep) char *copy = fl_memdup0(whole, len);
		size_t size = i < len ? i : len;
		struct stat st;
		bool damaged;

		if (i >= len)
			copy[i - len] ^= (char)(1 << i % 8);
		assert_int_equal(fl_file_write(path, copy, size, 0600, false, NULL), FL_OK);
		assert_null(read_record(&damaged));
		assert_true(damaged);
		assert_int_equal(stat(path, &st), -1);
		assert_int_equal(stat(aside, &st), 0);
		assert_int_equal(st.st_size, size);
	}
}

/* ---- The write beside the loop ------------------------------------------------------------ */

struct writer {
	struct disk *disk;
	uint64_t revision, saved;
	unsigned snapshots;
	bool closed;
};

static enum fl_code on_snapshot(uint8_t **ret_data, size_t *ret_len, uint64_t *ret_revision,
	void *userdata, struct fl_error *err)
{
	struct writer *writer = userdata;

	(void)err;
	writer->snapshots++;
	pack(writer->revision, ret_data, ret_len);
	*ret_revision = writer->revision;
	return FL_OK;
}

static void on_closed(void *userdata)
{
	((struct writer *)userdata)->closed = true;
}

static void on_saved(uint64_t revision, void *userdata)
{
	struct writer *writer = userdata;

	writer->saved = revision;
	if (revision == writer->revision)
		disk_close(writer->disk, on_closed, writer);
}

static void test_writes_gather(void **state)
{
	static const struct disk_handlers handlers = {on_snapshot, on_saved};
	struct writer writer = {.revision = 1};
	Pb__AgentRecord *record;
	uv_loop_t loop;
	bool damaged;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(disk_open(&writer.disk, &loop, path, &handlers, &writer, NULL), FL_OK);
	disk_save(writer.disk);
	/* While the first is written: they become one. */
	for (writer.revision = 2; writer.revision < 9; writer.revision++)
		disk_save(writer.disk);
	assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
	assert_true(writer.closed);
	assert_int_equal(writer.saved, 9);
	assert_int_equal(writer.snapshots, 2);
	assert_int_equal(uv_loop_close(&loop), 0);
	record = read_record(&damaged);
	assert_int_equal(record->revision, 9);
	pb__agent_record__free_unpacked(record, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_file_is_no_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes_gather, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
