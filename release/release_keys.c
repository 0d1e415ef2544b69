#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/file.h"
#include "base/random.h"
#include "release/release.h"

#define KEY_HEAD     "flota-release-key-1:"
#define SECRET_HEAD  "flota-release-secret-1:"
#define KEY_BYTES    32U
#define BASE64_BYTES 44U

/* Both kinds are HEAD:NAME:BASE64 of 32 bytes. */
static void format_line(
	const char *head, const char *name, const uint8_t *bytes, char line[RELEASE_LINE_MAX])
{
	unsigned char base64[BASE64_BYTES + 1];

	(void)EVP_EncodeBlock(base64, bytes, (int)KEY_BYTES);
	(void)snprintf(line, RELEASE_LINE_MAX, "%s%s:%s\n", head, name, (const char *)base64);
	OPENSSL_cleanse(base64, sizeof(base64));
}

static bool parse_line(const char *line, const char *head, char ret_name[RELEASE_KEY_MAX + 1],
	uint8_t ret_bytes[KEY_BYTES])
{
	unsigned char decoded[KEY_BYTES + 1], again[BASE64_BYTES + 1];
	const char *name = line + strlen(head), *colon;
	bool ok;

	if (strncmp(line, head, strlen(head)) != 0 || (colon = strchr(name, ':')) == NULL ||
		colon - name > (ptrdiff_t)RELEASE_KEY_MAX ||
		strcspn(colon + 1, "\n") != BASE64_BYTES ||
		(colon[1 + BASE64_BYTES] != '\0' && colon[2 + BASE64_BYTES] != '\0'))
		return false;
	(void)snprintf(ret_name, RELEASE_KEY_MAX + 1, "%.*s", (int)(colon - name), name);
	ok = release_name_is_good(ret_name, RELEASE_KEY_MAX) &&
	     EVP_DecodeBlock(decoded, (const unsigned char *)colon + 1, (int)BASE64_BYTES) ==
		     (int)sizeof(decoded);
	/* OpenSSL takes more than one text for the same bytes. */
	(void)EVP_EncodeBlock(again, decoded, ok ? (int)KEY_BYTES : 0);
	ok = ok && memcmp(again, colon + 1, BASE64_BYTES) == 0;
	if (ok)
		memcpy(ret_bytes, decoded, KEY_BYTES);
	OPENSSL_cleanse(decoded, sizeof(decoded));
	OPENSSL_cleanse(again, sizeof(again));
	return ok;
}

void release_key_format(const struct release_key *key, char ret_line[RELEASE_LINE_MAX])
{
	format_line(KEY_HEAD, key->name, key->bytes, ret_line);
}

void release_secret_format(const struct release_secret *secret, char ret_line[RELEASE_LINE_MAX])
{
	format_line(SECRET_HEAD, secret->name, secret->bytes, ret_line);
}

enum fl_code release_key_parse(const char *line, struct release_key *ret_key, struct fl_error *err)
{
	struct release_key key;

	if (!parse_line(line, KEY_HEAD, key.name, key.bytes))
		return FL_FAIL(err, FL_E_INVALID,
			"this is no release key: it should be " KEY_HEAD "NAME:BASE64");
	*ret_key = key;
	return FL_OK;
}

enum fl_code release_secret_parse(
	const char *line, struct release_secret *ret_secret, struct fl_error *err)
{
	if (!parse_line(line, SECRET_HEAD, ret_secret->name, ret_secret->bytes))
		return FL_FAIL(err, FL_E_INVALID,
			"this is no secret release key: it should be " SECRET_HEAD "NAME:...");
	return FL_OK;
}

enum fl_code release_key_make(const char *name, struct release_secret *ret_secret,
	struct release_key *ret_key, struct fl_error *err)
{
	size_t n = sizeof(ret_key->bytes);
	EVP_PKEY *pkey;
	bool ok;

	if (!release_name_is_good(name, RELEASE_KEY_MAX))
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is no name for a key: use letters, digits, \".\", \"_\", \"-\"",
			name);
	/* The seed is the secret (RFC 8032, 5.1.5). */
	fl_random(ret_secret->bytes, sizeof(ret_secret->bytes));
	pkey = EVP_PKEY_new_raw_private_key(
		EVP_PKEY_ED25519, NULL, ret_secret->bytes, sizeof(ret_secret->bytes));
	ok = pkey != NULL && EVP_PKEY_get_raw_public_key(pkey, ret_key->bytes, &n) == 1;
	EVP_PKEY_free(pkey);
	if (!ok)
		return FL_FAIL(err, FL_E_INTERNAL, "OpenSSL has no Ed25519");
	(void)snprintf(ret_secret->name, sizeof(ret_secret->name), "%s", name);
	(void)snprintf(ret_key->name, sizeof(ret_key->name), "%s", name);
	return FL_OK;
}

enum fl_code release_key_folders(struct fl_strv *folders, struct fl_error *err)
{
	if (folders->n > 0)
		return FL_OK;
	FL_TRY(fl_strv_add(folders, RELEASE_KEYS_ETC, err));
	return fl_strv_add(folders, RELEASE_KEYS_LIB, err);
}

static enum fl_code load_one(
	const char *folder, const char *name, struct release_key *ret_key, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, name);
	FL_CLEANUP(fl_freep) char *line = NULL;
	size_t len;

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_file_read(path, RELEASE_LINE_MAX, &line, &len, err));
	if (release_key_parse(line, ret_key, err) != FL_OK)
		return fl_error_prefix(err, FL_E_INVALID, "%s", path);
	return FL_OK;
}

static bool is_key_file(const char *name)
{
	size_t len = strlen(name);

	return name[0] != '.' && len > strlen(RELEASE_KEYS_SUFFIX) &&
	       strcmp(name + len - strlen(RELEASE_KEYS_SUFFIX), RELEASE_KEYS_SUFFIX) == 0;
}

static enum fl_code load_folder(const char *folder, DIR *open_folder, struct release_key **keys,
	size_t *n, struct fl_error *err)
{
	const struct dirent *entry;

	while ((entry = readdir(open_folder)) != NULL) {
		struct release_key *more;

		if (!is_key_file(entry->d_name))
			continue;
		more = reallocarray(*keys, *n + 1, sizeof(**keys));
		if (more == NULL)
			return FL_FAIL_NO_MEMORY(err);
		*keys = more;
		FL_TRY(load_one(folder, entry->d_name, &more[*n], err));
		(*n)++;
	}
	return FL_OK;
}

enum fl_code release_keys_load(const char *const *folders, size_t n_folders,
	struct release_key **ret_keys, size_t *ret_n, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct release_key *keys = NULL;
	size_t n = 0;

	for (size_t i = 0; i < n_folders; i++) {
		DIR *folder = opendir(folders[i]);
		enum fl_code code;

		if (folder == NULL && errno == ENOENT)
			continue;
		if (folder == NULL)
			return FL_FAIL_ERRNO(err, errno, "%s", folders[i]);
		code = load_folder(folders[i], folder, &keys, &n, err);
		(void)closedir(folder);
		if (code != FL_OK)
			return code;
	}
	*ret_keys = FL_TAKE(keys);
	*ret_n = n;
	return FL_OK;
}
