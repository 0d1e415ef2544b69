/*
 * Signed releases of the agent. A binary is told by a manifest, a few lines of text that lie beside
 * it as flota-agent.sig:
 *
 *	flota-release-1
 *	version 1.2.0
 *	arch x86_64                    (uname -m)
 *	size 5034224
 *	sha512 HEX
 *	key NAME                       (these two: not when it is unsigned)
 *	signature BASE64
 *
 * The signature is Ed25519 (RFC 8032) over all the lines before its own, so an old release cannot
 * be passed off as a new one, nor one architecture's as another's. There is one way to write a
 * manifest: any other text is refused.
 *
 * Keys are lines of text, in files of their own:
 *
 *	flota-release-key-1:NAME:BASE64          NAME.pub, to be given to machines and coordinators
 *	flota-release-secret-1:NAME:BASE64       NAME.key, mode 0600: whoever has it can sign
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/strv.h"

#define RELEASE_VERSION_MAX 64U
#define RELEASE_ARCH_MAX    32U
#define RELEASE_KEY_MAX     64U /* bytes of a key's name */
#define RELEASE_SIZE_MAX    (128U << 20)
#define RELEASE_HASH_BYTES  64U
#define RELEASE_TEXT_MAX    1024U /* bytes of a manifest, with its end */
#define RELEASE_LINE_MAX    256U /* bytes of a key's line, with its end */

#define RELEASE_FILE         "flota-agent"
#define RELEASE_MANIFEST     "flota-agent.sig"
#define RELEASE_SHA512       "flota-agent.sha512"
#define RELEASE_KEYS_ETC     "/etc/flota/release-keys.d"
#define RELEASE_KEYS_LIB     "/usr/lib/flota/release-keys.d"
#define RELEASE_KEYS_SUFFIX  ".pub"
#define RELEASE_PUBLIC_BYTES 32U
#define RELEASE_SECRET_BYTES 32U

struct release {
	char version[RELEASE_VERSION_MAX + 1];
	char arch[RELEASE_ARCH_MAX + 1];
	uint64_t size;
	uint8_t sha512[RELEASE_HASH_BYTES];
	char key[RELEASE_KEY_MAX + 1]; /* "" = unsigned */
};

struct release_key {
	char name[RELEASE_KEY_MAX + 1];
	uint8_t bytes[RELEASE_PUBLIC_BYTES];
};

struct release_secret {
	char name[RELEASE_KEY_MAX + 1];
	uint8_t bytes[RELEASE_SECRET_BYTES];
};

/* Letters, digits and "._+~-", not beginning with a dot: a version, an architecture and a key's
 * name are names of files and folders too. */
bool release_name_is_good(const char *name, size_t max);

/* Which of two versions is the older: negative when @a is. Digits count as numbers, "~" is before
 * the end (1.0~rc1 is older than 1.0), as dpkg and rpm have it. */
int release_version_compare(const char *a, const char *b);

/* ---- Manifests -- */

/* Signs with @secret, or not (NULL). @release's own key is not looked at. FL_E_INVALID. */
enum fl_code release_write(const struct release *release, const struct release_secret *secret,
	char ret_text[RELEASE_TEXT_MAX], struct fl_error *err) FL_MUST_CHECK;

/* Reads a manifest, whoever signed it. FL_E_INVALID. */
enum fl_code release_read(const char *text, size_t len, struct release *ret_release,
	struct fl_error *err) FL_MUST_CHECK;

/* The same, and one of @keys has signed it. FL_E_DENIED where none has. */
enum fl_code release_verify(const char *text, size_t len, const struct release_key *keys,
	size_t n_keys, struct release *ret_release, struct fl_error *err) FL_MUST_CHECK;

/* As sha512sum(1) reads it: "HEX  flota-agent\n". */
#define RELEASE_SHA512_TEXT_MAX (2 * RELEASE_HASH_BYTES + 32)
void release_sha512_text(const struct release *release, char ret_text[RELEASE_SHA512_TEXT_MAX]);

/* ---- SHA-512, piece by piece -- */

struct release_hash;

enum fl_code release_hash_new(struct release_hash **ret_hash, struct fl_error *err) FL_MUST_CHECK;
void release_hash_free(struct release_hash *hash);
FL_DEFINE_CLEANUP(struct release_hash *, release_hash_free)
void release_hash_add(struct release_hash *hash, const void *data, size_t len);
/* Nothing may be added any more. */
void release_hash_end(struct release_hash *hash, uint8_t ret_sha512[RELEASE_HASH_BYTES]);

/* ---- Keys -- */

enum fl_code release_key_make(const char *name, struct release_secret *ret_secret,
	struct release_key *ret_key, struct fl_error *err) FL_MUST_CHECK;

/* A line and its newline. */
void release_key_format(const struct release_key *key, char ret_line[RELEASE_LINE_MAX]);
void release_secret_format(const struct release_secret *secret, char ret_line[RELEASE_LINE_MAX]);
enum fl_code release_key_parse(
	const char *line, struct release_key *ret_key, struct fl_error *err) FL_MUST_CHECK;
enum fl_code release_secret_parse(
	const char *line, struct release_secret *ret_secret, struct fl_error *err) FL_MUST_CHECK;

/* Fills @folders with the usual ones, when there are none. */
enum fl_code release_key_folders(struct fl_strv *folders, struct fl_error *err) FL_MUST_CHECK;

/* Every NAME.pub in the folders, of which any may be missing. *ret_keys is the caller's, free(3). A
 * file that is no key is an error, which names it. */
enum fl_code release_keys_load(const char *const *folders, size_t n_folders,
	struct release_key **ret_keys, size_t *ret_n, struct fl_error *err) FL_MUST_CHECK;
