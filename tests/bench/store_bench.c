/*
 * What a durable decision costs: `store_bench [FOLDER]` ($FLOTA_BENCH_DISK, or /var/tmp).
 *
 * The core decides and SQLite keeps it, as in the daemon: while one batch goes to disk the next one
 * gathers. A placement is the change that stores a unit's file and launches it on one of 1,000
 * machines; a change restarts a unit that is there. Beside them two floors: the very same records,
 * put by plain SQLite in transactions of the same size; and 4 kB behind a file's end, fdatasync(2),
 * without any database.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/core/core.h"
#include "coordinator/store/sqlite.h"

#define MACHINES 1000U
#define SYNCS    500U

struct bench {
	uv_loop_t loop;
	struct core *core;
	struct core_effects effects;
	struct store *store;
	struct store_batch *under_way; /* NULL: none */
	struct core_write *writes; /* all of one measurement, for the floor */
	size_t n_writes, capacity;
	size_t *ends; /* of each batch, in writes */
	size_t n_batches;
};

static void must(enum fl_code code, const struct fl_error *err)
{
	if (code == FL_OK)
		return;
	fprintf(stderr, "store_bench: %s\n", fl_error_text(err));
	exit(1);
}

static void *must_have(void *memory)
{
	if (memory == NULL) {
		fprintf(stderr, "store_bench: out of memory\n");
		exit(1);
	}
	return memory;
}

/* ---- The core and the store, as the daemon has them -- */

static void step(struct bench *bench, const struct core_event *event)
{
	struct core_answer answer = {0};
	struct fl_error err = {0};

	must(core_step(bench->core, event, 1, &bench->effects, &answer, &err), &err);
	if (answer.result != NULL && answer.result->error != NULL) {
		fprintf(stderr, "store_bench: %s\n", answer.result->error->text);
		exit(1);
	}
	core_message_free(answer.result != NULL ? &answer.result->base : NULL);
}

static void join(struct bench *bench, unsigned i)
{
	Pb__MachineInfo info = PB__MACHINE_INFO__INIT;
	char id[33];

	(void)snprintf(id, sizeof(id), "%08x%024x", i * 2654435761U, i);
	step(bench, &(struct core_event){.kind = CORE_SYNC,
			    .sync = {.machine_id = id,
				    .session = 1,
				    .store_id = "",
				    .info = &info,
				    .peer_address = "10.0.0.1"}});
}

/* 400 bytes, as a small service's file has. */
static void place(struct bench *bench, unsigned i)
{
	Pb__Change change = PB__CHANGE__INIT;
	char name[32], content[512];

	(void)snprintf(name, sizeof(name), "web@%06u.service", i);
	(void)snprintf(content, sizeof(content),
		"[Unit]\nDescription=A tenant's service, number %u\nAfter=network-online.target\n"
		"[Service]\nExecStartPre=-/usr/bin/podman rm -f web\n"
		"ExecStart=/usr/bin/podman run --rm --name web --net host "
		"registry.example.org/tenant/web:1.25\n"
		"ExecStop=/usr/bin/podman stop web\nRestart=always\nRestartSec=5\n",
		i);
	change.verb = PB__CHANGE__VERB__SET;
	change.desired = PB__DESIRED_STATE__LAUNCHED;
	change.name = name;
	change.content.data = (uint8_t *)content;
	change.content.len = strlen(content);
	step(bench, &(struct core_event){.kind = CORE_CHANGE,
			    .change = {.change = &change, .tenant = "default"}});
}

static void restart(struct bench *bench, unsigned i)
{
	Pb__Change change = PB__CHANGE__INIT;
	char name[32];

	(void)snprintf(name, sizeof(name), "web@%06u.service", i);
	change.verb = PB__CHANGE__VERB__RESTART;
	change.name = name;
	step(bench, &(struct core_event){.kind = CORE_CHANGE,
			    .change = {.change = &change, .tenant = "default"}});
}

static void keep(struct bench *bench, struct core_write *write)
{
	if (bench->n_writes == bench->capacity) {
		bench->capacity = bench->capacity > 0 ? 2 * bench->capacity : 1024;
		bench->writes = must_have(
			reallocarray(bench->writes, bench->capacity, sizeof(*bench->writes)));
	}
	bench->writes[bench->n_writes++] = *write;
}

static void forget_writes(struct bench *bench)
{
	for (size_t i = 0; i < bench->n_writes; i++)
		free(bench->writes[i].data);
	bench->n_writes = bench->n_batches = 0;
}

static void on_committed(
	enum fl_code code, uint64_t revision, const struct fl_error *err, void *userdata)
{
	struct bench *bench = userdata;

	(void)revision;
	must(code, err);
	store_batch_free(FL_TAKE(bench->under_way));
}

static void wait_for_disk(struct bench *bench)
{
	while (bench->under_way != NULL)
		(void)uv_run(&bench->loop, UV_RUN_ONCE);
}

/* What has gathered goes to disk, as soon as the batch before it is there. */
static void commit(struct bench *bench)
{
	struct store_batch *batch = NULL;
	struct core_write write;
	struct fl_error err = {0};
	bool any;

	must(store_batch_new(&batch, &err), &err);
	for (;;) {
		must(core_pop_write(bench->core, &bench->effects, &write, &any, &err), &err);
		if (!any)
			break;
		must(write.data != NULL
				? store_batch_put(batch, write.key, write.data, write.len, &err)
				: store_batch_delete(batch, write.key, &err),
			&err);
		keep(bench, &write);
	}
	bench->ends[bench->n_batches++] = bench->n_writes;
	wait_for_disk(bench);
	bench->under_way = batch;
	store_commit(bench->store, batch, on_committed, bench);
}

/* @n decisions in batches of @at_once: how many a second. */
static double durable(struct bench *bench, void (*decide)(struct bench *bench, unsigned i),
	unsigned n, unsigned at_once)
{
	uint64_t begin_us;

	forget_writes(bench);
	bench->ends = must_have(reallocarray(bench->ends, n / at_once, sizeof(*bench->ends)));
	begin_us = fl_clock_boot_us();
	for (unsigned i = 0; i < n; i++) {
		decide(bench, i);
		if ((i + 1) % at_once == 0)
			commit(bench);
	}
	wait_for_disk(bench);
	return n * 1e6 / (double)(fl_clock_boot_us() - begin_us);
}

/* ---- Floors -- */

static void must_sqlite(sqlite3 *db, int result)
{
	if (result == SQLITE_OK || result == SQLITE_DONE)
		return;
	fprintf(stderr, "store_bench: %s\n", sqlite3_errmsg(db));
	exit(1);
}

static sqlite3 *plain_open(const char *path)
{
	sqlite3 *db;

	if (sqlite3_open(path, &db) != SQLITE_OK)
		exit(1);
	must_sqlite(
		db, sqlite3_exec(db,
			    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			    "CREATE TABLE IF NOT EXISTS plain (key TEXT PRIMARY KEY, value BLOB)",
			    NULL, NULL, NULL));
	return db;
}

/* The records of the last durable(), in the same transactions: decisions a second. */
static double plain_sqlite(struct bench *bench, sqlite3 *db, unsigned n)
{
	sqlite3_stmt *put;
	uint64_t begin_us = fl_clock_boot_us();

	must_sqlite(db, sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO plain VALUES (?1, ?2)", -1,
				&put, NULL));
	for (size_t batch = 0, i = 0; batch < bench->n_batches; batch++) {
		must_sqlite(db, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
		for (; i < bench->ends[batch]; i++) {
			const struct core_write *write = &bench->writes[i];

			must_sqlite(db, sqlite3_bind_text(put, 1, write->key, -1, SQLITE_STATIC));
			must_sqlite(db, sqlite3_bind_blob64(
						put, 2, write->data, write->len, SQLITE_STATIC));
			must_sqlite(db, sqlite3_step(put));
			(void)sqlite3_reset(put);
		}
		must_sqlite(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
	}
	(void)sqlite3_finalize(put);
	return n * 1e6 / (double)(fl_clock_boot_us() - begin_us);
}

static double syncs(const char *folder)
{
	static const char block[4096] = "nothing";
	FL_CLEANUP(fl_freep) char *path = must_have(fl_printf("%s/syncs", folder));
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t begin_us = fl_clock_boot_us();

	for (unsigned i = 0; i < SYNCS; i++)
		if (write(fd, block, sizeof(block)) != sizeof(block) || fdatasync(fd) < 0) {
			perror(path);
			exit(1);
		}
	begin_us = fl_clock_boot_us() - begin_us;
	(void)close(fd);
	return SYNCS * 1e6 / (double)begin_us;
}

/* ---- All of it -- */

static void begin(struct bench *bench, const char *folder)
{
	struct core_config config = {.store_id = "bench", .fleet = "bench"};
	struct fl_error err = {0};

	(void)uv_loop_init(&bench->loop);
	must(core_new(&bench->core, &config, &err), &err);
	core_effects_init(&bench->effects);
	must(core_loaded(bench->core, 1, &bench->effects, &err), &err);
	must(store_open_sqlite(&bench->store, &bench->loop, folder, &err), &err);
	for (unsigned i = 0; i < MACHINES; i++)
		join(bench, i);
}

static void end(struct bench *bench)
{
	store_close(bench->store, NULL, NULL);
	(void)uv_run(&bench->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&bench->loop);
	core_effects_fini(&bench->effects);
	core_free(bench->core);
	forget_writes(bench);
	free(bench->writes);
	free(bench->ends);
}

static void measure(const char *parent, unsigned n, unsigned at_once)
{
	FL_CLEANUP(fl_freep)
	char *folder = must_have(fl_printf("%s/flota-store-bench-XXXXXX", parent));
	FL_CLEANUP(fl_freep) char *path = NULL;
	FL_CLEANUP(fl_freep) char *remove = NULL;
	struct bench bench = {0};
	double placed, placed_plain, changed, changed_plain;
	sqlite3 *db;

	if (mkdtemp(folder) == NULL) {
		perror(folder);
		exit(1);
	}
	path = must_have(fl_printf("%s/plain.sqlite", folder));
	remove = must_have(fl_printf("rm -r '%s'", folder));
	begin(&bench, folder);
	db = plain_open(path);
	bench.ends = must_have(calloc(1, sizeof(*bench.ends)));
	commit(&bench); /* the machines */
	placed = durable(&bench, place, n, at_once);
	placed_plain = plain_sqlite(&bench, db, n);
	changed = durable(&bench, restart, n, at_once);
	changed_plain = plain_sqlite(&bench, db, n);
	printf("%-12u %12.0f %12.0f %12.0f %12.0f %12.0f\n", at_once, placed, placed_plain, changed,
		changed_plain, syncs(folder) * at_once);
	(void)sqlite3_close(db);
	end(&bench);
	if (system(remove) != 0)
		fprintf(stderr, "store_bench: %s stays\n", folder);
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : getenv("FLOTA_BENCH_DISK");
	static const struct {
		unsigned n, at_once;
	} rows[] = {{1000, 1}, {5000, 10}, {20000, 100}, {50000, 1000}};

	fl_log_set_level(FL_WARNING);
	if (folder == NULL)
		folder = "/var/tmp";
	printf("durable decisions a second, store in %s\n%-12s %12s %12s %12s %12s %12s\n", folder,
		"in a batch", "placements", "plain SQLite", "changes", "plain SQLite", "fdatasync");
	for (size_t i = 0; i < FL_COUNT(rows); i++)
		measure(folder, rows[i].n, rows[i].at_once);
	return 0;
}
