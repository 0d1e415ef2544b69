#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "release/release.h"

static const struct release good = {
	.version = "1.2.0", .arch = "x86_64", .size = 5034224, .sha512 = {1, 2, 0xff}};

static void test_versions(void **state)
{
	static const char *const rising[] = {"0.9", "1.0~rc1", "1.0~rc2", "1.0~rc10", "1.0", "1.0a",
		"1.0+b1", "1.0.1", "1.2", "1.10", "2", "010"};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(rising); i++) {
		for (size_t j = 0; j < FL_COUNT(rising); j++) {
			int order = release_version_compare(rising[i], rising[j]);

			if ((order < 0) != (i < j) || (order > 0) != (i > j))
				fail_msg("%s and %s: %d", rising[i], rising[j], order);
		}
	}
	assert_int_equal(release_version_compare("1.02", "1.2"), 0);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(release_name_is_good("1.0~rc1+b-2", 64));
	assert_false(release_name_is_good("", 64));
	assert_false(release_name_is_good("..", 64));
	assert_false(release_name_is_good("a/b", 64));
	assert_false(release_name_is_good("a b", 64));
	assert_false(release_name_is_good("abc", 2));
}

static void test_signed(void **state)
{
	struct release_secret secret, other_secret;
	struct release_key keys[2], stranger;
	char text[RELEASE_TEXT_MAX];
	struct release release;
	struct fl_error err = {0};

	(void)state;
	assert_int_equal(release_key_make("main", &secret, &keys[0], NULL), FL_OK);
	assert_int_equal(release_key_make("main", &other_secret, &stranger, NULL), FL_OK);
	keys[1] = stranger;
	assert_int_equal(release_write(&good, &secret, text, NULL), FL_OK);
	assert_int_equal(release_verify(text, strlen(text), keys, 1, &release, NULL), FL_OK);
	assert_string_equal(release.version, good.version);
	assert_string_equal(release.arch, good.arch);
	assert_string_equal(release.key, "main");
	assert_int_equal(release.size, good.size);
	assert_memory_equal(release.sha512, good.sha512, sizeof(good.sha512));
	/* Two keys of one name: while one takes the other's place. */
	assert_int_equal(release_verify(text, strlen(text), keys, 2, &release, NULL), FL_OK);
	assert_int_equal(
		release_verify(text, strlen(text), &stranger, 1, &release, &err), FL_E_DENIED);
	assert_non_null(strstr(err.text, "its signature is not by the key \"main\""));
	assert_int_equal(release_verify(text, strlen(text), keys, 0, &release, &err), FL_E_DENIED);
	assert_non_null(strstr(err.text, "which is not in /etc/flota/release-keys.d"));
	assert_int_equal(release_write(&good, NULL, text, NULL), FL_OK);
	assert_int_equal(release_read(text, strlen(text), &release, NULL), FL_OK);
	assert_int_equal(release_verify(text, strlen(text), keys, 1, &release, &err), FL_E_DENIED);
	assert_non_null(strstr(err.text, "it is not signed"));
}

/* No byte of a manifest can be another one, be missing or be there twice. */
static void test_tampered(void **state)
{
	struct release_secret secret;
	struct release_key key;
	char text[RELEASE_TEXT_MAX], bad[RELEASE_TEXT_MAX + 1];
	struct release release;
	size_t len;

	(void)state;
	assert_int_equal(release_key_make("main", &secret, &key, NULL), FL_OK);
	assert_int_equal(release_write(&good, &secret, text, NULL), FL_OK);
	len = strlen(text);
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(bad, text, len);
			bad[i] = (char)((unsigned char)bad[i] ^ (1U << bit));
			assert_int_not_equal(
				release_verify(bad, len, &key, 1, &release, NULL), FL_OK);
		}
		memcpy(bad, text, i);
		memcpy(bad + i, text + i + 1, len - i - 1);
		assert_int_not_equal(release_verify(bad, len - 1, &key, 1, &release, NULL), FL_OK);
		memcpy(bad, text, i + 1);
		memcpy(bad + i + 1, text + i, len - i);
		assert_int_not_equal(release_verify(bad, len + 1, &key, 1, &release, NULL), FL_OK);
		assert_int_not_equal(release_verify(text, i, &key, 1, &release, NULL), FL_OK);
	}
}

static void test_bad_releases(void **state)
{
	char text[RELEASE_TEXT_MAX];
	struct release bad = good;

	(void)state;
	(void)snprintf(bad.version, sizeof(bad.version), "../1");
	assert_int_equal(release_write(&bad, NULL, text, NULL), FL_E_INVALID);
	bad = good;
	bad.arch[0] = '\0';
	assert_int_equal(release_write(&bad, NULL, text, NULL), FL_E_INVALID);
	bad = good;
	bad.size = RELEASE_SIZE_MAX + 1ULL;
	assert_int_equal(release_write(&bad, NULL, text, NULL), FL_E_TOO_BIG);
}

static void test_lines(void **state)
{
	struct release_secret secret, secret_again;
	struct release_key key, again;
	char line[RELEASE_LINE_MAX];

	(void)state;
	assert_int_equal(release_key_make("a/b", &secret, &key, NULL), FL_E_INVALID);
	assert_int_equal(release_key_make("2026", &secret, &key, NULL), FL_OK);
	release_key_format(&key, line);
	assert_int_equal(release_secret_parse(line, &secret_again, NULL), FL_E_INVALID);
	assert_int_equal(release_key_parse(line, &again, NULL), FL_OK);
	assert_string_equal(again.name, "2026");
	assert_memory_equal(again.bytes, key.bytes, sizeof(key.bytes));
	line[strlen(line) - 2] = '\0';
	assert_int_equal(release_key_parse(line, &again, NULL), FL_E_INVALID);
	assert_int_equal(release_key_parse("", &again, NULL), FL_E_INVALID);
	/* The same bytes in another text. */
	assert_int_equal(release_key_parse("flota-release-key-1:main:"
					   "PjsLP8g462JVfi63wBqcH/FaFEXVR6MPSZS9pe7c213=",
				 &again, NULL),
		FL_E_INVALID);
	assert_int_equal(release_key_parse("flota-release-key-1:main:"
					   "PjsLP8g462JVfi63wBqcH/FaFEXVR6MPSZS9pe7c210=",
				 &again, NULL),
		FL_OK);
	assert_int_equal(release_key_parse("flota-release-key-1:a", &again, NULL), FL_E_INVALID);
	release_secret_format(&secret, line);
	assert_int_equal(release_secret_parse(line, &secret_again, NULL), FL_OK);
	assert_memory_equal(secret_again.bytes, secret.bytes, sizeof(secret.bytes));
}

static void test_folders(void **state)
{
	char directory[] = "/tmp/release_test.XXXXXX", line[RELEASE_LINE_MAX];
	struct release_secret secret;
	struct release_key key;
	struct fl_error err = {0};
	const char *const folders[] = {directory, "/nonexistent/keys"};
	FL_CLEANUP(fl_freep) struct release_key *keys = NULL;
	char *path;
	size_t n;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(release_key_make("main", &secret, &key, NULL), FL_OK);
	release_key_format(&key, line);
	path = fl_printf("%s/main.pub", directory);
	assert_int_equal(fl_file_write(path, line, strlen(line), 0644, false, NULL), FL_OK);
	assert_int_equal(release_keys_load(folders, 2, &keys, &n, NULL), FL_OK);
	assert_int_equal(n, 1);
	assert_memory_equal(keys[0].bytes, key.bytes, sizeof(key.bytes));
	assert_int_equal(fl_file_write(path, "x", 1, 0644, false, NULL), FL_OK);
	free(FL_TAKE(keys));
	assert_int_equal(release_keys_load(folders, 2, &keys, &n, &err), FL_E_INVALID);
	assert_non_null(strstr(err.text, "main.pub: this is no release key"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
	free(path);
}

static void test_hash(void **state)
{
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = NULL;
	char text[RELEASE_SHA512_TEXT_MAX];
	struct release release = good;

	(void)state;
	assert_int_equal(release_hash_new(&hash, NULL), FL_OK);
	release_hash_add(hash, "a", 1);
	release_hash_add(hash, "bc", 2);
	release_hash_end(hash, release.sha512);
	release_sha512_text(&release, text);
	/* FIPS 180-4's own example. */
	assert_string_equal(text,
		"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
		"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f  flota-agent\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_signed),
		cmocka_unit_test(test_tampered),
		cmocka_unit_test(test_bad_releases),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_folders),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
