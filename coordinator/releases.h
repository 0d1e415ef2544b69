/*
 * The agent's releases that this coordinator has: DATA_DIR/agents/VERSION/ARCH/ holds flota-agent,
 * its manifest flota-agent.sig and, for sha512sum(1), flota-agent.sha512 (release/release.h). They
 * are served by HTTPS as they lie there, and to agents piece by piece.
 *
 * A folder gets its place by one rename, when all in it is on disk: nobody sees half a release. What
 * comes is kept in .upload until then; there is one at a time.
 *
 * Functions that say so touch the disk and belong to a worker thread, one at a time of each upload;
 * all else is the loop's.
 */
#pragma once

#include "base/strv.h"
#include "release/release.h"

struct releases;

struct release_kept {
	struct release release;
	char *manifest;
};

/* Reads what there is in @directory; a folder that holds no whole release is left out, and logged. */
enum fl_code releases_new(
	struct releases **ret_releases, const char *directory, struct fl_error *err) FL_MUST_CHECK;
void releases_free(struct releases *releases);

/* The newest first. Borrowed until one is added or removed. */
size_t releases_count(const struct releases *releases);
const struct release_kept *releases_at(const struct releases *releases, size_t i);
/* NULL: there is none. @arch "" = any. */
const struct release_kept *releases_find(
	const struct releases *releases, const char *version, const char *arch);

/* What a worker has put on disk, or removed (@arch "" = all). */
enum fl_code releases_add(
	struct releases *releases, const char *manifest, struct fl_error *err) FL_MUST_CHECK;
void releases_forget(struct releases *releases, const char *version, const char *arch);

/* ---- On a worker thread -- */

/* A release that comes in pieces. */
struct upload;

/* Begins one, after @manifest is found to be good: by one of the keys in @key_folders when there are
 * any. FL_E_DENIED, FL_E_INVALID. */
enum fl_code upload_new(struct upload **ret_upload, const struct releases *releases,
	const struct fl_strv *key_folders, const char *manifest, size_t manifest_len,
	struct fl_error *err) FL_MUST_CHECK;
void upload_free(struct upload *upload);

const char *upload_manifest(const struct upload *upload);
uint64_t upload_offset(const struct upload *upload);

/* The next bytes. *ret_done: it is all there, checked, on disk and in its place. */
enum fl_code upload_add(struct upload *upload, const void *data, size_t len, bool *ret_done,
	struct fl_error *err) FL_MUST_CHECK;

/* At most @max bytes of a binary, from @offset on; 0 at its end. */
enum fl_code releases_read(const struct releases *releases, const char *version, const char *arch,
	uint64_t offset, void *buffer, size_t max, size_t *ret_len,
	struct fl_error *err) FL_MUST_CHECK;

enum fl_code releases_remove(const struct releases *releases, const char *version, const char *arch,
	struct fl_error *err) FL_MUST_CHECK;
