/*
 * Threads: the loop opens, lists (before the first commit) and closes; between the first commit
 * and the end of close the worker alone uses the database. They share the queue, under the lock.
 */
#include "coordinator/store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "coordinator/store/backend.h"

/* "flot": PRAGMA application_id, so that file(1) and we can tell whose file it is. */
#define APPLICATION_ID 0x666c6f74
#define FORMAT         2

/* Its records have no sum (NULL) until they are written again. */
#define FORMAT_WITHOUT_SUMS 1

/* The statements that a batch is made of. */
#define STATEMENTS(X) \
	X(BEGIN, "BEGIN IMMEDIATE") \
	X(COMMIT, "COMMIT") \
	X(ROLLBACK, "ROLLBACK") \
	X(NEXT, "UPDATE head SET revision = revision + 1 RETURNING revision") \
	X(PUT, "REPLACE INTO record (key, value, revision, sum) VALUES (?1, ?2, ?3, ?4)") \
	X(DELETE, "DELETE FROM record WHERE key = ?1") \
	X(GET, "SELECT revision FROM record WHERE key = ?1") \
	X(LIST, "SELECT key, value, revision, sum FROM record ORDER BY key")

enum statement {
#define X(name, sql) SQL_##name,
	STATEMENTS(X)
#undef X
		N_STATEMENTS
};

static const char *const statement_texts[] = {
#define X(name, sql) sql,
	STATEMENTS(X)
#undef X
};

struct sqlite_store {
	struct store store;
	struct fl_mailbox *mailbox;
	char *path;
	int lock_fd;
	sqlite3 *db;
	sqlite3_stmt *statements[N_STATEMENTS];
	pthread_t worker;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct fl_list queue; /* batches; guarded by lock */
	bool closing; /* guarded by lock */
};

/* What SQLite's last call failed of, in words that say what to do. */
static enum fl_code fail(struct sqlite_store *sqlite, struct fl_error *err)
{
	/* SQLite keeps the system's error of most calls, but not of a COMMIT: see run(). */
	int commit_errno = errno;
	int system_errno = sqlite3_system_errno(sqlite->db);
	int code = sqlite3_errcode(sqlite->db);

	if (system_errno == 0 && (code & 0xff) == SQLITE_IOERR)
		system_errno = commit_errno;

	switch (code & 0xff) {
	case SQLITE_FULL:
		return FL_FAIL(
			err, FL_E_STORE, "%s: the disk is full: make room there", sqlite->path);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return FL_FAIL(err, FL_E_STORE,
			"%s is damaged (%s): stop the coordinator and put a backup in its place",
			sqlite->path, sqlite3_errmsg(sqlite->db));
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return FL_FAIL(
			err, FL_E_STORE, "%s is locked by another program: end it", sqlite->path);
	case SQLITE_NOMEM:
		return FL_FAIL_NO_MEMORY(err);
	default:
		if (system_errno != 0)
			return FL_FAIL(err, FL_E_STORE, "%s: %s: %s", sqlite->path,
				sqlite3_errmsg(sqlite->db), strerrordesc_np(system_errno));
		return FL_FAIL(err, FL_E_STORE, "%s: %s", sqlite->path, sqlite3_errmsg(sqlite->db));
	}
}

/* Runs a statement that gives no rows. */
static enum fl_code run(struct sqlite_store *sqlite, enum statement which, struct fl_error *err)
{
	sqlite3_stmt *statement = sqlite->statements[which];
	enum fl_code code = FL_OK;

	errno = 0;
	if (sqlite3_step(statement) != SQLITE_DONE)
		code = fail(sqlite, err);
	(void)sqlite3_reset(statement);
	return code;
}

/* Runs a statement whose only answer is one number; *ret_number is 0 where there is no row. */
static enum fl_code run_number(struct sqlite_store *sqlite, enum statement which,
	uint64_t *ret_number, struct fl_error *err)
{
	sqlite3_stmt *statement = sqlite->statements[which];
	enum fl_code code = FL_OK;
	uint64_t number = 0;
	int r;

	while ((r = sqlite3_step(statement)) == SQLITE_ROW)
		number = (uint64_t)sqlite3_column_int64(statement, 0);
	if (r != SQLITE_DONE)
		code = fail(sqlite, err);
	else
		*ret_number = number;
	(void)sqlite3_reset(statement);
	return code;
}

static enum fl_code bind_key(struct sqlite_store *sqlite, enum statement which,
	const struct store_op *op, struct fl_error *err)
{
	if (sqlite3_bind_text(sqlite->statements[which], 1, op->key, -1, SQLITE_STATIC) !=
		SQLITE_OK)
		return fail(sqlite, err);
	return FL_OK;
}

/* SQLite sees damage to its own structure alone, not a bit that turned in a value. */
static uint32_t sum_of(const char *key, const void *value, size_t len)
{
	return fl_crc32(fl_crc32(0, key, strlen(key) + 1), value, len);
}

static enum fl_code put(struct sqlite_store *sqlite, const struct store_op *op, uint64_t revision,
	struct fl_error *err)
{
	sqlite3_stmt *statement = sqlite->statements[SQL_PUT];

	FL_TRY(bind_key(sqlite, SQL_PUT, op, err));
	if (sqlite3_bind_blob64(statement, 2, op->value, op->len, SQLITE_STATIC) != SQLITE_OK ||
		sqlite3_bind_int64(statement, 3, (sqlite3_int64)revision) != SQLITE_OK ||
		sqlite3_bind_int64(statement, 4, sum_of(op->key, op->value, op->len)) != SQLITE_OK)
		return fail(sqlite, err);
	return run(sqlite, SQL_PUT, err);
}

static enum fl_code check_expectations(
	struct sqlite_store *sqlite, struct store_batch *batch, struct fl_error *err)
{
	const struct store_op *op;

	FL_LIST_FOREACH (op, &batch->ops, node) {
		uint64_t revision = 0;

		if (op->kind != STORE_EXPECT)
			continue;
		FL_TRY(bind_key(sqlite, SQL_GET, op, err));
		FL_TRY(run_number(sqlite, SQL_GET, &revision, err));
		FL_TRY(store_op_check(op, revision, err));
	}
	return FL_OK;
}

static enum fl_code apply(
	struct sqlite_store *sqlite, struct store_batch *batch, struct fl_error *err)
{
	const struct store_op *op;

	FL_TRY(check_expectations(sqlite, batch, err));
	FL_TRY(run_number(sqlite, SQL_NEXT, &batch->revision, err));
	FL_LIST_FOREACH (op, &batch->ops, node) {
		switch (op->kind) {
		case STORE_PUT:
			FL_TRY(put(sqlite, op, batch->revision, err));
			break;
		case STORE_DELETE:
			FL_TRY(bind_key(sqlite, SQL_DELETE, op, err));
			FL_TRY(run(sqlite, SQL_DELETE, err));
			break;
		case STORE_EXPECT:
			break;
		}
	}
	return run(sqlite, SQL_COMMIT, err);
}

static enum fl_code commit(
	struct sqlite_store *sqlite, struct store_batch *batch, struct fl_error *err)
{
	enum fl_code code;

	FL_TRY(run(sqlite, SQL_BEGIN, err));
	code = apply(sqlite, batch, err);
	/* Some failures have ended the transaction already (sqlite.org/lang_transaction.html). */
	if (code != FL_OK && !sqlite3_get_autocommit(sqlite->db))
		(void)run(sqlite, SQL_ROLLBACK, NULL);
	return code;
}

static void *worker_main(void *argument)
{
	struct sqlite_store *sqlite = argument;
	struct fl_list *node;

	pthread_mutex_lock(&sqlite->lock);
	for (;;) {
		struct store_batch *batch;

		node = fl_list_pop(&sqlite->queue);
		if (node == NULL && sqlite->closing)
			break;
		if (node == NULL) {
			pthread_cond_wait(&sqlite->wake, &sqlite->lock);
			continue;
		}
		pthread_mutex_unlock(&sqlite->lock);
		batch = FL_LIST_ENTRY(node, struct store_batch, node);
		batch->code = commit(sqlite, batch, &batch->err);
		fl_mailbox_post(sqlite->mailbox, &batch->node);
		pthread_mutex_lock(&sqlite->lock);
	}
	pthread_mutex_unlock(&sqlite->lock);
	fl_mailbox_post(sqlite->mailbox, &sqlite->store.stopped);
	return NULL;
}

static void sqlite_commit(struct store *store, struct store_batch *batch)
{
	struct sqlite_store *sqlite = FL_CONTAINER(store, struct sqlite_store, store);

	pthread_mutex_lock(&sqlite->lock);
	fl_list_append(&sqlite->queue, &batch->node);
	pthread_cond_signal(&sqlite->wake);
	pthread_mutex_unlock(&sqlite->lock);
}

/* What the caller could not read is damage that SQLite does not see. */
static enum fl_code unreadable(const struct sqlite_store *sqlite, struct fl_error *err)
{
	char why[sizeof(err->text)];

	(void)snprintf(why, sizeof(why), "%s", err != NULL ? fl_error_text(err) : "");
	return FL_FAIL(err, FL_E_STORE, "%s is damaged (%s): put a backup in its place",
		sqlite->path, why);
}

static enum fl_code sqlite_list(
	struct store *store, store_visit visit, void *userdata, struct fl_error *err)
{
	struct sqlite_store *sqlite = FL_CONTAINER(store, struct sqlite_store, store);
	sqlite3_stmt *statement = sqlite->statements[SQL_LIST];
	enum fl_code code = FL_OK;
	int r;

	while ((r = sqlite3_step(statement)) == SQLITE_ROW) {
		/* The order of these calls matters: sqlite.org/c3ref/column_blob.html */
		const char *key = (const char *)sqlite3_column_text(statement, 0);
		const void *value = sqlite3_column_blob(statement, 1);
		int len = sqlite3_column_bytes(statement, 1);

		if (key == NULL || (value == NULL && len > 0)) {
			code = FL_FAIL_NO_MEMORY(err);
			break;
		}
		if (sqlite3_column_type(statement, 3) != SQLITE_NULL &&
			sqlite3_column_int64(statement, 3) != sum_of(key, value, (size_t)len)) {
			(void)FL_FAIL(
				err, FL_E_STORE, "the record \"%s\" is not as it was written", key);
			code = unreadable(sqlite, err);
			break;
		}
		code = visit(key, value, (size_t)len, (uint64_t)sqlite3_column_int64(statement, 2),
			userdata, err);
		if (code == FL_E_STORE)
			code = unreadable(sqlite, err);
		if (code != FL_OK)
			break;
	}
	if (code == FL_OK && r != SQLITE_DONE)
		code = fail(sqlite, err);
	(void)sqlite3_reset(statement);
	return code;
}

static void sqlite_free(struct sqlite_store *sqlite)
{
	if (sqlite == NULL)
		return;
	for (size_t i = 0; i < N_STATEMENTS; i++)
		(void)sqlite3_finalize(sqlite->statements[i]);
	if (sqlite->db != NULL)
		(void)sqlite3_close(sqlite->db);
	fl_closep(&sqlite->lock_fd); /* and with it the lock */
	pthread_cond_destroy(&sqlite->wake);
	pthread_mutex_destroy(&sqlite->lock);
	free(sqlite->path);
	free(sqlite);
}
FL_DEFINE_CLEANUP(struct sqlite_store *, sqlite_free)

static void sqlite_close(struct store *store)
{
	struct sqlite_store *sqlite = FL_CONTAINER(store, struct sqlite_store, store);

	pthread_mutex_lock(&sqlite->lock);
	sqlite->closing = true;
	pthread_cond_signal(&sqlite->wake);
	pthread_mutex_unlock(&sqlite->lock);
}

static void on_mailbox_closed(void *userdata)
{
	struct sqlite_store *sqlite = FL_CONTAINER(userdata, struct sqlite_store, store);
	void (*closed)(void *) = sqlite->store.closed;
	void *closed_userdata = sqlite->store.closed_userdata;

	sqlite_free(sqlite);
	if (closed != NULL)
		closed(closed_userdata);
}

static void sqlite_stopped(struct store *store)
{
	struct sqlite_store *sqlite = FL_CONTAINER(store, struct sqlite_store, store);

	(void)pthread_join(sqlite->worker, NULL); /* it is past its last instruction but one */
	fl_mailbox_close(sqlite->mailbox, on_mailbox_closed);
}

static const struct store_ops sqlite_ops = {
	.commit = sqlite_commit,
	.list = sqlite_list,
	.close = sqlite_close,
	.stopped = sqlite_stopped,
};

/* ---- Opening -- */

/* Two coordinators on one store would both be right and the fleet would be wrong. */
static enum fl_code lock_directory(
	struct sqlite_store *sqlite, const char *directory, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/lock", directory);
	char pid[32] = "";

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	sqlite->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (sqlite->lock_fd < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", path);
	if (flock(sqlite->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return FL_FAIL_ERRNO(err, errno, "%s", path);
		if (pread(sqlite->lock_fd, pid, sizeof(pid) - 1, 0) < 0)
			pid[0] = '\0';
		pid[strcspn(pid, "\n")] = '\0';
		return FL_FAIL(err, FL_E_STATE,
			"%s is in use by another coordinator (process %s): stop that one first",
			directory, pid);
	}
	/* Only for the message above; that it cannot be written is no reason to stop. */
	(void)snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(sqlite->lock_fd, 0) < 0 || pwrite(sqlite->lock_fd, pid, strlen(pid), 0) < 0)
		fl_log(FL_DEBUG, "store.lock_unlabelled", "path=%s", path);
	return FL_OK;
}

static enum fl_code execute(struct sqlite_store *sqlite, const char *sql, struct fl_error *err)
{
	if (sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(sqlite, err);
	return FL_OK;
}

/* The one value that a PRAGMA answers with, as text of at most @size - 1 bytes. */
static enum fl_code ask(
	struct sqlite_store *sqlite, const char *sql, char *text, size_t size, struct fl_error *err)
{
	sqlite3_stmt *statement = NULL;
	enum fl_code code = FL_OK;
	const char *value;

	if (sqlite3_prepare_v2(sqlite->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return fail(sqlite, err);
	if (sqlite3_step(statement) == SQLITE_ROW) {
		value = (const char *)sqlite3_column_text(statement, 0);
		(void)snprintf(text, size, "%s", value != NULL ? value : "");
	} else {
		code = fail(sqlite, err);
	}
	(void)sqlite3_finalize(statement);
	return code;
}

static enum fl_code ask_number(
	struct sqlite_store *sqlite, const char *sql, long *ret_number, struct fl_error *err)
{
	char text[32];

	FL_TRY(ask(sqlite, sql, text, sizeof(text), err));
	*ret_number = strtol(text, NULL, 10);
	return FL_OK;
}

static enum fl_code create(struct sqlite_store *sqlite, struct fl_error *err)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql),
		"BEGIN IMMEDIATE;"
		"CREATE TABLE head (revision INTEGER NOT NULL) STRICT;"
		"INSERT INTO head VALUES (0);"
		"CREATE TABLE record (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,"
		" revision INTEGER NOT NULL, sum INTEGER) STRICT;"
		"PRAGMA application_id = %d;"
		"PRAGMA user_version = %d;"
		"COMMIT;",
		APPLICATION_ID, FORMAT);
	return execute(sqlite, sql, err);
}

static enum fl_code add_sums(struct sqlite_store *sqlite, struct fl_error *err)
{
	return execute(sqlite,
		"BEGIN IMMEDIATE;"
		"ALTER TABLE record ADD COLUMN sum INTEGER;"
		"PRAGMA user_version = 2;"
		"COMMIT;",
		err);
}

static enum fl_code check_or_create(struct sqlite_store *sqlite, struct fl_error *err)
{
	long application_id, format, tables;
	char answer[256];

	FL_TRY(ask_number(sqlite, "PRAGMA application_id", &application_id, err));
	FL_TRY(ask_number(sqlite, "PRAGMA user_version", &format, err));
	FL_TRY(ask_number(sqlite, "SELECT count(*) FROM sqlite_schema", &tables, err));
	if (application_id == 0 && format == 0 && tables == 0)
		return create(sqlite, err);
	if (application_id != APPLICATION_ID)
		return FL_FAIL(err, FL_E_STORE, "%s belongs to another program", sqlite->path);
	if (format != FORMAT && format != FORMAT_WITHOUT_SUMS)
		return FL_FAIL(err, FL_E_STORE,
			"%s has format %ld, this coordinator knows format %d: use a newer one",
			sqlite->path, format, FORMAT);
	FL_TRY(ask(sqlite, "PRAGMA quick_check(1)", answer, sizeof(answer), err));
	if (strcmp(answer, "ok") != 0)
		return FL_FAIL(err, FL_E_STORE, "%s is damaged (%s): put a backup in its place",
			sqlite->path, answer);
	return format == FORMAT ? FL_OK : add_sums(sqlite, err);
}

static enum fl_code open_database(struct sqlite_store *sqlite, struct fl_error *err)
{
	char mode[16];

	/* It is used by one thread at a time, so SQLite's own mutexes would only cost. */
	if (sqlite3_open_v2(sqlite->path, &sqlite->db,
		    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK)
		return sqlite->db != NULL ? fail(sqlite, err) : FL_FAIL_NO_MEMORY(err);
	(void)sqlite3_extended_result_codes(sqlite->db, 1);
	(void)sqlite3_busy_timeout(sqlite->db, 5000); /* a backup that is being taken */
	FL_TRY(ask(sqlite, "PRAGMA journal_mode = WAL", mode, sizeof(mode), err));
	if (strcmp(mode, "wal") != 0)
		return FL_FAIL(err, FL_E_STORE, "%s: no write-ahead log on this file system",
			sqlite->path);
	FL_TRY(execute(sqlite,
		"PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;"
		"PRAGMA journal_size_limit = 16777216;",
		err));
	FL_TRY(check_or_create(sqlite, err));
	for (size_t i = 0; i < N_STATEMENTS; i++)
		if (sqlite3_prepare_v3(sqlite->db, statement_texts[i], -1,
			    SQLITE_PREPARE_PERSISTENT, &sqlite->statements[i], NULL) != SQLITE_OK)
			return FL_FAIL(err, FL_E_STORE,
				"%s is damaged (%s): put a backup in its place", sqlite->path,
				sqlite3_errmsg(sqlite->db));
	return FL_OK;
}

/* The worker takes no signals: the loop does. */
static enum fl_code start_worker(struct sqlite_store *sqlite, struct fl_error *err)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&sqlite->worker, NULL, worker_main, sqlite);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return FL_FAIL_ERRNO(err, r, "the store's thread cannot be started");
	return FL_OK;
}

static void mailbox_abandoned(void *userdata)
{
	sqlite_free(FL_CONTAINER(userdata, struct sqlite_store, store));
}

enum fl_code store_open_sqlite(
	struct store **ret_store, uv_loop_t *loop, const char *directory, struct fl_error *err)
{
	FL_CLEANUP(sqlite_freep) struct sqlite_store *sqlite = FL_NEW(struct sqlite_store);
	enum fl_code code;

	if (sqlite == NULL)
		return FL_FAIL_NO_MEMORY(err);
	sqlite->store.ops = &sqlite_ops;
	sqlite->lock_fd = -1;
	pthread_mutex_init(&sqlite->lock, NULL);
	pthread_cond_init(&sqlite->wake, NULL);
	fl_list_init(&sqlite->queue);
	sqlite->path = fl_printf("%s/store.sqlite", directory);
	if (sqlite->path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(lock_directory(sqlite, directory, err));
	FL_TRY(open_database(sqlite, err));
	FL_TRY(fl_mailbox_open(&sqlite->mailbox, loop, store_batches_done, &sqlite->store, err));
	code = start_worker(sqlite, err);
	if (code != FL_OK) {
		/* The mailbox is the loop's by now, and dies there. */
		fl_mailbox_close(sqlite->mailbox, mailbox_abandoned);
		(void)FL_TAKE(sqlite);
		return code;
	}
	*ret_store = &FL_TAKE(sqlite)->store;
	return FL_OK;
}
