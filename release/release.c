#include "release/release.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#define HEAD            "flota-release-1\n"
#define SIGNATURE       "signature "
#define SIGNATURE_BYTES 64U
#define BASE64_BYTES    (4U * ((SIGNATURE_BYTES + 2U) / 3U))

FL_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
FL_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

/* ---- Ed25519 -- */

static enum fl_code sign(const struct release_secret *secret, const char *text, size_t len,
	uint8_t ret_signature[SIGNATURE_BYTES], struct fl_error *err)
{
	FL_CLEANUP(EVP_PKEY_freep)
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(
		EVP_PKEY_ED25519, NULL, secret->bytes, sizeof(secret->bytes));
	FL_CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t n = SIGNATURE_BYTES;

	if (key == NULL || context == NULL ||
		EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1 ||
		EVP_DigestSign(context, ret_signature, &n, (const uint8_t *)text, len) != 1)
		return FL_FAIL(err, FL_E_INTERNAL, "OpenSSL cannot sign with Ed25519");
	return FL_OK;
}

static bool is_signed_by(const struct release_key *by, const char *text, size_t len,
	const uint8_t signature[SIGNATURE_BYTES])
{
	FL_CLEANUP(EVP_PKEY_freep)
	EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, by->bytes, sizeof(by->bytes));
	FL_CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();

	return key != NULL && context != NULL &&
	       EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
	       EVP_DigestVerify(context, signature, SIGNATURE_BYTES, (const uint8_t *)text, len) ==
		       1;
}

/* ---- Manifests -- */

static void format_hex(const uint8_t *bytes, size_t n, char *ret_text)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

static bool parse_hex(const char *text, uint8_t *ret_bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		ret_bytes[i] = (uint8_t)byte;
	}
	return true;
}

/* All but the signature's line; its length. */
static size_t format(const struct release *release, char text[RELEASE_TEXT_MAX])
{
	char hex[2 * RELEASE_HASH_BYTES + 1];
	int n;

	format_hex(release->sha512, sizeof(release->sha512), hex);
	n = snprintf(text, RELEASE_TEXT_MAX,
		HEAD "version %s\narch %s\nsize %" PRIu64 "\nsha512 %s\n", release->version,
		release->arch, release->size, hex);
	if (release->key[0] != '\0')
		n += snprintf(text + n, RELEASE_TEXT_MAX - (size_t)n, "key %s\n", release->key);
	return (size_t)n;
}

static enum fl_code check(const struct release *release, struct fl_error *err)
{
	if (!release_name_is_good(release->version, RELEASE_VERSION_MAX))
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is no version: use letters, digits, %s",
			release->version, "\".\", \"_\", \"+\", \"~\", \"-\"");
	if (!release_name_is_good(release->arch, RELEASE_ARCH_MAX))
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is no architecture; \"uname -m\" says it on the machine",
			release->arch);
	if (release->size == 0 || release->size > RELEASE_SIZE_MAX)
		return FL_FAIL(err, FL_E_TOO_BIG, "a release has 1 to %u bytes", RELEASE_SIZE_MAX);
	return FL_OK;
}

enum fl_code release_write(const struct release *release, const struct release_secret *secret,
	char ret_text[RELEASE_TEXT_MAX], struct fl_error *err)
{
	struct release named = *release;
	uint8_t signature[SIGNATURE_BYTES];
	unsigned char base64[BASE64_BYTES + 1];
	size_t len;

	FL_TRY(check(release, err));
	(void)snprintf(named.key, sizeof(named.key), "%s", secret != NULL ? secret->name : "");
	len = format(&named, ret_text);
	if (secret == NULL)
		return FL_OK;
	FL_TRY(sign(secret, ret_text, len, signature, err));
	(void)EVP_EncodeBlock(base64, signature, sizeof(signature));
	(void)snprintf(
		ret_text + len, RELEASE_TEXT_MAX - len, SIGNATURE "%s\n", (const char *)base64);
	return FL_OK;
}

/* The signature behind the @signed_len bytes that it is of. */
static bool read_signature(
	const char *text, size_t signed_len, uint8_t ret_signature[SIGNATURE_BYTES])
{
	unsigned char decoded[SIGNATURE_BYTES + 2];
	unsigned char again[BASE64_BYTES + 1];
	const char *base64 = text + signed_len + strlen(SIGNATURE);

	if (strncmp(text + signed_len, SIGNATURE, strlen(SIGNATURE)) != 0 ||
		strlen(base64) != BASE64_BYTES + 1 || base64[BASE64_BYTES] != '\n' ||
		EVP_DecodeBlock(decoded, (const unsigned char *)base64, (int)BASE64_BYTES) !=
			(int)sizeof(decoded))
		return false;
	/* OpenSSL takes more than one text for the same bytes. */
	(void)EVP_EncodeBlock(again, decoded, SIGNATURE_BYTES);
	memcpy(ret_signature, decoded, SIGNATURE_BYTES);
	return memcmp(again, base64, BASE64_BYTES) == 0;
}

static enum fl_code read_all(const char *text, size_t len, struct release *ret_release,
	size_t *ret_signed_len, uint8_t ret_signature[SIGNATURE_BYTES], struct fl_error *err)
{
	char copy[RELEASE_TEXT_MAX], canonical[RELEASE_TEXT_MAX];
	char hex[2 * RELEASE_HASH_BYTES + 1] = "";
	struct release release = {.size = 0};
	size_t signed_len;

	if (len >= sizeof(copy) || memchr(text, '\0', len) != NULL)
		return FL_FAIL(err, FL_E_INVALID, "this is no manifest of a flota release");
	memcpy(copy, text, len);
	copy[len] = '\0';
	/* What these let pass is found by writing it again. */
	if (sscanf(copy, HEAD "version %64s\narch %32s\nsize %" SCNu64 "\nsha512 %128s\nkey %64s\n",
		    release.version, release.arch, &release.size, hex, release.key) < 4 ||
		!parse_hex(hex, release.sha512, sizeof(release.sha512)) ||
		check(&release, NULL) != FL_OK ||
		(release.key[0] != '\0' && !release_name_is_good(release.key, RELEASE_KEY_MAX)))
		return FL_FAIL(err, FL_E_INVALID, "this is no manifest of a flota release");
	signed_len = format(&release, canonical);
	if (strncmp(copy, canonical, signed_len) != 0 ||
		(release.key[0] == '\0' ? copy[signed_len] != '\0'
					: !read_signature(copy, signed_len, ret_signature)))
		return FL_FAIL(err, FL_E_INVALID, "the manifest is not as flotactl writes it");
	*ret_release = release;
	*ret_signed_len = signed_len;
	return FL_OK;
}

enum fl_code release_read(
	const char *text, size_t len, struct release *ret_release, struct fl_error *err)
{
	uint8_t signature[SIGNATURE_BYTES];
	size_t signed_len;

	return read_all(text, len, ret_release, &signed_len, signature, err);
}

enum fl_code release_verify(const char *text, size_t len, const struct release_key *keys,
	size_t n_keys, struct release *ret_release, struct fl_error *err)
{
	uint8_t signature[SIGNATURE_BYTES];
	struct release release;
	bool is_known = false;
	size_t signed_len;

	FL_TRY(read_all(text, len, &release, &signed_len, signature, err));
	if (release.key[0] == '\0')
		return FL_FAIL(err, FL_E_DENIED, "it is not signed; see \"flotactl release sign\"");
	for (size_t i = 0; i < n_keys; i++) {
		if (strcmp(keys[i].name, release.key) != 0)
			continue;
		is_known = true;
		if (is_signed_by(&keys[i], text, signed_len, signature)) {
			*ret_release = release;
			return FL_OK;
		}
	}
	if (!is_known)
		return FL_FAIL(err, FL_E_DENIED,
			"it is signed with the key \"%s\", which is not in %s", release.key,
			RELEASE_KEYS_ETC);
	return FL_FAIL(err, FL_E_DENIED, "its signature is not by the key \"%s\"", release.key);
}

void release_sha512_text(const struct release *release, char ret_text[RELEASE_SHA512_TEXT_MAX])
{
	format_hex(release->sha512, sizeof(release->sha512), ret_text);
	(void)snprintf(ret_text + 2 * RELEASE_HASH_BYTES,
		RELEASE_SHA512_TEXT_MAX - 2 * RELEASE_HASH_BYTES, "  " RELEASE_FILE "\n");
}

/* ---- SHA-512 -- */

/* What cannot fail in the middle: an error shows as a hash of zeros, which no file has. */
struct release_hash {
	EVP_MD_CTX *context;
	bool failed;
};

enum fl_code release_hash_new(struct release_hash **ret_hash, struct fl_error *err)
{
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = FL_NEW(struct release_hash);

	if (hash == NULL)
		return FL_FAIL_NO_MEMORY(err);
	hash->context = EVP_MD_CTX_new();
	if (hash->context == NULL || EVP_DigestInit_ex(hash->context, EVP_sha512(), NULL) != 1)
		return FL_FAIL_NO_MEMORY(err);
	*ret_hash = FL_TAKE(hash);
	return FL_OK;
}

void release_hash_free(struct release_hash *hash)
{
	if (hash == NULL)
		return;
	EVP_MD_CTX_free(hash->context);
	free(hash);
}

void release_hash_add(struct release_hash *hash, const void *data, size_t len)
{
	hash->failed = EVP_DigestUpdate(hash->context, data, len) != 1 || hash->failed;
}

void release_hash_end(struct release_hash *hash, uint8_t ret_sha512[RELEASE_HASH_BYTES])
{
	if (EVP_DigestFinal_ex(hash->context, ret_sha512, NULL) != 1 || hash->failed)
		memset(ret_sha512, 0, RELEASE_HASH_BYTES);
}
