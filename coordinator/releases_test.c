/* Releases of the agent, published and fetched through the real coordinator. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "coordinator/test_peers.h"
#include "release/release.h"

#define BYTES (LIMIT_PIECE + 1000U) /* two pieces */

struct file {
	uint8_t data[BYTES];
	char manifest[RELEASE_TEXT_MAX];
};

static void make_file(struct file *file, const char *version, uint8_t seed)
{
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = NULL;
	struct release release = {.arch = "x86_64", .size = BYTES};

	for (size_t i = 0; i < BYTES; i++)
		file->data[i] = (uint8_t)(seed + i * 31 + i / 253);
	(void)snprintf(release.version, sizeof(release.version), "%s", version);
	assert_int_equal(release_hash_new(&hash, NULL), FL_OK);
	release_hash_add(hash, file->data, BYTES);
	release_hash_end(hash, release.sha512);
	assert_int_equal(release_write(&release, NULL, file->manifest, NULL), FL_OK);
}

/* ---- Requests -- */

struct put {
	Pb__Envelope envelope;
	Pb__ReleasesRequest request;
};

static Pb__Envelope *put_piece(
	struct put *put, const struct file *file, uint64_t upload, size_t offset)
{
	size_t left = BYTES - offset;

	pb__envelope__init(&put->envelope);
	pb__releases_request__init(&put->request);
	put->request.verb = PB__RELEASES_REQUEST__VERB__PUT;
	put->request.upload = upload;
	put->request.manifest.data = (uint8_t *)file->manifest;
	put->request.manifest.len = strlen(file->manifest);
	put->request.offset = offset;
	put->request.data.data = (uint8_t *)file->data + offset;
	put->request.data.len = left < LIMIT_PIECE ? left : LIMIT_PIECE;
	put->envelope.body_case = PB__ENVELOPE__BODY_RELEASES_REQUEST;
	put->envelope.releases_request = &put->request;
	return &put->envelope;
}

static bool put_is_done(struct peer *peer, const struct file *file, uint64_t upload, size_t offset)
{
	struct put put;
	struct fl_error err = {0};
	FL_CLEANUP(wire_freep)
	Pb__Envelope *reply = peer_call(peer, put_piece(&put, file, upload, offset));

	if (wire_reply_error(reply, &err) != FL_OK)
		fail_msg("%s", err.text);
	return reply->releases_reply->done;
}

static void publish(struct peer *peer, const struct file *file, uint64_t upload)
{
	assert_false(put_is_done(peer, file, upload, 0));
	assert_true(put_is_done(peer, file, upload, LIMIT_PIECE));
}

/* The versions that there are, blanks between. */
static const char *list(struct peer *peer)
{
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ReleasesRequest request = PB__RELEASES_REQUEST__INIT;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	static char text[256];

	envelope.body_case = PB__ENVELOPE__BODY_RELEASES_REQUEST;
	envelope.releases_request = &request;
	reply = peer_call(peer, &envelope);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_RELEASES_REPLY);
	text[0] = '\0';
	for (size_t i = 0; i < reply->releases_reply->n_releases; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			i > 0 ? " " : "", reply->releases_reply->releases[i]->version);
	return text;
}

struct fetch {
	Pb__Envelope envelope;
	Pb__FetchRequest request;
};

static Pb__Envelope *fetch_piece(
	struct fetch *fetch, const char *machine, const char *version, uint64_t offset)
{
	pb__envelope__init(&fetch->envelope);
	pb__fetch_request__init(&fetch->request);
	fetch->request.machine_id = (char *)machine;
	fetch->request.version = (char *)version;
	fetch->request.arch = (char *)"x86_64";
	fetch->request.offset = offset;
	fetch->envelope.body_case = PB__ENVELOPE__BODY_FETCH_REQUEST;
	fetch->envelope.fetch_request = &fetch->request;
	return &fetch->envelope;
}

/* ---- Tests -- */

static void test_published_and_fetched(void **state)
{
	struct fixture *f = *state;
	struct file file;
	struct fetch fetch;
	Pb__Envelope *reply;

	make_file(&file, "1.0", 1);
	assert_string_equal(list(f->ana), "");
	publish(f->ana, &file, 7);
	assert_string_equal(list(f->ana), "1.0");
	reply = peer_call(f->m1, fetch_piece(&fetch, "m1", "1.0", 0));
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_FETCH_REPLY);
	assert_int_equal(reply->fetch_reply->manifest.len, strlen(file.manifest));
	assert_memory_equal(
		reply->fetch_reply->manifest.data, file.manifest, strlen(file.manifest));
	assert_int_equal(reply->fetch_reply->data.len, LIMIT_PIECE);
	assert_memory_equal(reply->fetch_reply->data.data, file.data, LIMIT_PIECE);
	wire_free(reply);
	reply = peer_call(f->m1, fetch_piece(&fetch, "m1", "1.0", LIMIT_PIECE));
	assert_int_equal(reply->fetch_reply->manifest.len, 0);
	assert_int_equal(reply->fetch_reply->data.len, BYTES - LIMIT_PIECE);
	assert_memory_equal(
		reply->fetch_reply->data.data, file.data + LIMIT_PIECE, BYTES - LIMIT_PIECE);
	wire_free(reply);
	reply = peer_call(f->m1, fetch_piece(&fetch, "m1", "1.0", BYTES));
	assert_int_equal(reply->fetch_reply->data.len, 0);
	wire_free(reply);
	peer_call_fails(
		f->m1, fetch_piece(&fetch, "m1", "../1.0", 0), FL_E_NOT_FOUND, "no release");
	peer_call_fails(f->m1, fetch_piece(&fetch, "m2", "1.0", 0), FL_E_DENIED, "for machine m2");
	peer_call_fails(f->ana, fetch_piece(&fetch, "m1", "1.0", 0), FL_E_DENIED, "may not fetch");
}

static void test_over_a_crash(void **state)
{
	struct fixture *f = *state;
	struct file file, newer;
	struct put put;

	make_file(&file, "1.0", 1);
	make_file(&newer, "1.1", 2);
	publish(f->ana, &file, 7);
	assert_false(put_is_done(f->ana, &newer, 8, 0));
	(void)fleet_kill(f->fleet, SIGKILL);
	fleet_start(f->fleet);
	assert_string_equal(list(f->ana), "1.0");
	peer_call_fails(f->ana, put_piece(&put, &newer, 8, LIMIT_PIECE), FL_E_STATE, "begin again");
	publish(f->ana, &newer, 8);
	assert_string_equal(list(f->ana), "1.1 1.0");
}

/* An answer may be lost, and two may publish at once. */
static void test_pieces_that_come_twice(void **state)
{
	struct fixture *f = *state;
	struct file file, other;
	struct put put;

	make_file(&file, "1.0", 1);
	make_file(&other, "1.0", 2);
	assert_false(put_is_done(f->ana, &file, 7, 0));
	assert_false(put_is_done(f->ana, &file, 7, 0));
	assert_false(put_is_done(f->ana, &other, 8, 0)); /* it takes its place */
	peer_call_fails(
		f->ana, put_piece(&put, &file, 7, LIMIT_PIECE), FL_E_STATE, "took its place");
	publish(f->ana, &file, 9);
	assert_true(put_is_done(f->ana, &file, 9, LIMIT_PIECE));
	assert_true(put_is_done(f->ana, &file, 10, 0));
	assert_false(put_is_done(f->ana, &other, 11, 0));
	peer_call_fails(
		f->ana, put_piece(&put, &other, 11, LIMIT_PIECE), FL_E_EXISTS, "another 1.0");
	assert_string_equal(list(f->ana), "1.0");
}

static void test_bad_ones(void **state)
{
	struct fixture *f = *state;
	struct file file;
	struct put put;

	make_file(&file, "1.0", 1);
	peer_call_fails(f->ana, put_piece(&put, &file, 7, LIMIT_PIECE), FL_E_STATE, "begin again");
	peer_call_fails(
		f->m1, put_piece(&put, &file, 7, 0), FL_E_DENIED, "an operator's certificate");
	(void)put_piece(&put, &file, 7, 0);
	put.request.manifest.len--;
	peer_call_fails(f->ana, &put.envelope, FL_E_INVALID, "manifest");
	(void)put_piece(&put, &file, 7, 0);
	put.request.data.len = 0;
	peer_call_fails(f->ana, &put.envelope, FL_E_INVALID, "not as long");
	file.data[BYTES - 1] ^= 1;
	assert_false(put_is_done(f->ana, &file, 8, 0));
	peer_call_fails(f->ana, put_piece(&put, &file, 8, LIMIT_PIECE), FL_E_INVALID, "SHA-512");
	file.data[BYTES - 1] ^= 1;
	assert_false(put_is_done(f->ana, &file, 9, 0));
	(void)put_piece(&put, &file, 9, LIMIT_PIECE);
	put.request.data.data = file.data;
	put.request.data.len = BYTES - LIMIT_PIECE + 1;
	peer_call_fails(f->ana, &put.envelope, FL_E_INVALID, "not as long");
	assert_string_equal(list(f->ana), "");
}

static void test_removed(void **state)
{
	struct fixture *f = *state;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__ReleasesRequest request = PB__RELEASES_REQUEST__INIT;
	Pb__UpgradeRequest upgrade = PB__UPGRADE_REQUEST__INIT;
	struct file file;
	struct fetch fetch;

	make_file(&file, "1.0", 1);
	publish(f->ana, &file, 7);
	request.verb = PB__RELEASES_REQUEST__VERB__REMOVE;
	request.version = (char *)"1.1";
	envelope.body_case = PB__ENVELOPE__BODY_RELEASES_REQUEST;
	envelope.releases_request = &request;
	peer_call_fails(f->ana, &envelope, FL_E_NOT_FOUND, "no release 1.1");
	request.version = (char *)"1.0";
	envelope.request_id = 0;
	wire_free(peer_call(f->ana, &envelope));
	assert_string_equal(list(f->ana), "");
	peer_call_fails(f->m1, fetch_piece(&fetch, "m1", "1.0", 0), FL_E_NOT_FOUND, "no release");
	upgrade.verb = PB__UPGRADE_REQUEST__VERB__BEGIN;
	envelope.request_id = 0;
	envelope.body_case = PB__ENVELOPE__BODY_UPGRADE_REQUEST;
	envelope.upgrade_request = &upgrade;
	peer_call_fails(f->ana, &envelope, FL_E_NOT_FOUND, "there is no release");
	publish(f->ana, &file, 12); /* as if it had never been */
}

static void test_order(void **state)
{
	struct fixture *f = *state;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__UpgradeRequest upgrade = PB__UPGRADE_REQUEST__INIT;
	struct known known;
	struct asked *sync;
	struct file file;
	Pb__Envelope *reply;

	make_file(&file, "1.0", 1);
	publish(f->ana, &file, 7);
	join(f->m1, "m1", 1, &known);
	sync = next_sync(f->m1, "m1", 1, &known);
	upgrade.verb = PB__UPGRADE_REQUEST__VERB__BEGIN;
	envelope.body_case = PB__ENVELOPE__BODY_UPGRADE_REQUEST;
	envelope.upgrade_request = &upgrade;
	reply = peer_call(f->ana, &envelope);
	assert_int_equal(reply->body_case, PB__ENVELOPE__BODY_UPGRADE_REPLY);
	assert_int_equal(reply->upgrade_reply->upgrade->n_machines, 1);
	assert_string_equal(reply->upgrade_reply->upgrade->version, "1.0");
	wire_free(reply);
	reply = wait_sync(sync); /* the held one is answered */
	assert_non_null(reply->sync_reply->upgrade);
	assert_string_equal(reply->sync_reply->upgrade->version, "1.0");
	assert_int_equal(reply->sync_reply->revision, known.revision);
	wire_free(reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_published_and_fetched),
		FIXTURE_TEST(test_over_a_crash),
		FIXTURE_TEST(test_pieces_that_come_twice),
		FIXTURE_TEST(test_bad_ones),
		FIXTURE_TEST(test_removed),
		FIXTURE_TEST(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
