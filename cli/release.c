#include "cli/release.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/random.h"
#include "cli/connection.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/term.h"
#include "release/release.h"

#define MANIFEST_SUFFIX ".sig"

static enum fl_code ask(struct connection *connection, Pb__ReleasesRequest *body,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	Pb__Envelope request = PB__ENVELOPE__INIT;

	request.body_case = PB__ENVELOPE__BODY_RELEASES_REQUEST;
	request.releases_request = body;
	return connection_ask(
		connection, &request, PB__ENVELOPE__BODY_RELEASES_REPLY, 0, ret_reply, err);
}

/* The one argument behind the word. */
static enum fl_code take_arg(
	const struct command *command, const char *what, const char **ret_arg, struct fl_error *err)
{
	if (command->n_args != 2)
		return FL_FAIL(err, FL_E_USAGE, "it is used as: flotactl release %s %s",
			command->args[0], what);
	*ret_arg = command->args[1];
	return FL_OK;
}

/* ---- The file -- */

struct binary {
	char *data;
	size_t len;
	char manifest[RELEASE_TEXT_MAX]; /* of FILE.sig; "" = there is none */
};

static void binary_fini(struct binary *binary)
{
	free(binary->data);
}

static enum fl_code read_manifest(const char *file, struct binary *binary, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s" MANIFEST_SUFFIX, file);
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return FL_OK;
	FL_TRY(fl_file_read(path, sizeof(binary->manifest) - 1, &text, &len, err));
	if (strlen(text) != len)
		return FL_FAIL(err, FL_E_INVALID, "%s is no manifest of a flota release", path);
	memcpy(binary->manifest, text, len + 1);
	return FL_OK;
}

static enum fl_code describe(const struct command *command, const struct binary *binary,
	struct release *ret_release, struct fl_error *err)
{
	const struct cli_options *options = command->options;
	struct release release = {.size = binary->len};
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = NULL;
	struct utsname machine = {.machine = ""};
	const char *arch = options->arch != NULL ? options->arch : machine.machine;

	if (options->release == NULL)
		return FL_FAIL(err, FL_E_USAGE, "which version is it? --release=VERSION");
	(void)uname(&machine);
	if (!release_name_is_good(options->release, RELEASE_VERSION_MAX))
		return FL_FAIL(err, FL_E_INVALID,
			"--release: \"%s\" is no version: use letters, digits, \".\", \"~\", \"-\"",
			options->release);
	if (!release_name_is_good(arch, RELEASE_ARCH_MAX))
		return FL_FAIL(err, FL_E_INVALID,
			"--arch: \"%s\" is no architecture; \"uname -m\" says it on the machine",
			arch);
	(void)stpcpy(release.version, options->release);
	(void)stpcpy(release.arch, arch);
	FL_TRY(release_hash_new(&hash, err));
	release_hash_add(hash, binary->data, binary->len);
	release_hash_end(hash, release.sha512);
	*ret_release = release;
	return FL_OK;
}

static enum fl_code check_file(
	const struct binary *binary, const struct release *release, struct fl_error *err)
{
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = NULL;
	uint8_t sha512[RELEASE_HASH_BYTES];

	FL_TRY(release_hash_new(&hash, err));
	release_hash_add(hash, binary->data, binary->len);
	release_hash_end(hash, sha512);
	if (binary->len != release->size || memcmp(sha512, release->sha512, sizeof(sha512)) != 0)
		return FL_FAIL(err, FL_E_DENIED, "the file is not the one that was signed");
	return FL_OK;
}

/* ---- keygen -- */

static enum fl_code write_key(
	const char *folder, const char *name, const char *line, mode_t mode, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", folder, name);

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (access(path, F_OK) == 0)
		return FL_FAIL(err, FL_E_EXISTS, "%s is there already", path);
	return fl_file_write(path, line, strlen(line), mode, true, err);
}

static enum fl_code keygen(struct command *command, struct fl_error *err)
{
	const char *folder = command->options->out != NULL ? command->options->out : ".";
	char line[RELEASE_LINE_MAX], file[RELEASE_KEY_MAX + 8];
	struct release_secret secret;
	struct release_key key;
	const char *name;
	enum fl_code code;

	FL_TRY(take_arg(command, "NAME", &name, err));
	FL_TRY(release_key_make(name, &secret, &key, err));
	release_secret_format(&secret, line);
	explicit_bzero(&secret, sizeof(secret));
	(void)snprintf(file, sizeof(file), "%s.key", name);
	code = write_key(folder, file, line, 0600, err);
	explicit_bzero(line, sizeof(line));
	if (code != FL_OK)
		return code;
	release_key_format(&key, line);
	(void)snprintf(file, sizeof(file), "%s" RELEASE_KEYS_SUFFIX, name);
	FL_TRY(write_key(folder, file, line, 0644, err));
	printf("%s/%s.key signs: keep it away from the fleet.\n"
	       "%s/%s.pub is for " RELEASE_KEYS_ETC " of each machine, and of the coordinator.\n",
		folder, name, folder, name);
	return FL_OK;
}

/* ---- sign, verify -- */

static enum fl_code read_secret(
	const struct command *command, struct release_secret *ret_secret, struct fl_error *err)
{
	const char *path = command->options->key;
	char *line = NULL;
	struct stat st;
	enum fl_code code;
	size_t len;

	if (path == NULL)
		return FL_FAIL(err, FL_E_USAGE,
			"with which key? --key=NAME.key; \"flotactl release keygen\" makes one");
	if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return FL_FAIL(err, FL_E_DENIED,
			"%s can be read by others, who could sign with it: chmod 600 it", path);
	FL_TRY(fl_file_read(path, RELEASE_LINE_MAX, &line, &len, err));
	code = release_secret_parse(line, ret_secret, err);
	fl_free_secret(line, len);
	return code == FL_OK ? code : fl_error_prefix(err, code, "%s", path);
}

static enum fl_code sign(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(binary_fini) struct binary binary = {.data = NULL};
	FL_CLEANUP(fl_freep) char *path = NULL;
	char text[RELEASE_TEXT_MAX];
	struct release_secret secret;
	struct release release;
	const char *file;
	enum fl_code code;

	FL_TRY(take_arg(command, "FILE", &file, err));
	FL_TRY(fl_file_read(file, RELEASE_SIZE_MAX, &binary.data, &binary.len, err));
	FL_TRY(describe(command, &binary, &release, err));
	FL_TRY(read_secret(command, &secret, err));
	code = release_write(&release, &secret, text, err);
	explicit_bzero(&secret, sizeof(secret));
	if (code != FL_OK)
		return code;
	path = fl_printf("%s" MANIFEST_SUFFIX, file);
	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_file_write(path, text, strlen(text), 0644, true, err));
	printf("Signed %s for %s: %s\n", release.version, release.arch, path);
	return FL_OK;
}

static enum fl_code load_keys(const struct command *command, struct release_key **ret_keys,
	size_t *ret_n, struct fl_error *err)
{
	static const char *const folders[] = {RELEASE_KEYS_ETC, RELEASE_KEYS_LIB};
	const char *path = command->options->key;
	FL_CLEANUP(fl_freep) char *line = NULL;
	size_t len;

	if (path == NULL)
		return release_keys_load(folders, FL_COUNT(folders), ret_keys, ret_n, err);
	FL_TRY(fl_file_read(path, RELEASE_LINE_MAX, &line, &len, err));
	*ret_keys = FL_NEW(struct release_key);
	*ret_n = 1;
	if (*ret_keys == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (release_key_parse(line, *ret_keys, err) != FL_OK)
		return fl_error_prefix(err, FL_E_INVALID, "%s", path);
	return FL_OK;
}

static enum fl_code verify(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(binary_fini) struct binary binary = {.data = NULL};
	FL_CLEANUP(fl_freep) struct release_key *keys = NULL;
	struct release release;
	const char *file;
	size_t n;

	FL_TRY(take_arg(command, "FILE", &file, err));
	FL_TRY(fl_file_read(file, RELEASE_SIZE_MAX, &binary.data, &binary.len, err));
	FL_TRY(read_manifest(file, &binary, err));
	if (binary.manifest[0] == '\0')
		return FL_FAIL(
			err, FL_E_NOT_FOUND, "there is no %s" MANIFEST_SUFFIX " beside it", file);
	FL_TRY(load_keys(command, &keys, &n, err));
	FL_TRY(release_verify(binary.manifest, strlen(binary.manifest), keys, n, &release, err));
	FL_TRY(check_file(&binary, &release, err));
	printf("%s is flota-agent %s for %s, signed by %s\n", file, release.version, release.arch,
		release.key);
	return FL_OK;
}

/* ---- publish -- */

/* The manifest that lies beside the file, or one that nobody signed. */
static enum fl_code complete_manifest(const struct command *command, const char *file,
	struct binary *binary, struct release *ret_release, struct fl_error *err)
{
	const struct cli_options *options = command->options;

	FL_TRY(read_manifest(file, binary, err));
	if (binary->manifest[0] == '\0') {
		FL_TRY(describe(command, binary, ret_release, err));
		term_warning(
			"%s is not signed: machines can be set up with it, but agents will not "
			"become it",
			file);
		return release_write(ret_release, NULL, binary->manifest, err);
	}
	FL_TRY(release_read(binary->manifest, strlen(binary->manifest), ret_release, err));
	if ((options->release != NULL && strcmp(options->release, ret_release->version) != 0) ||
		(options->arch != NULL && strcmp(options->arch, ret_release->arch) != 0))
		return FL_FAIL(err, FL_E_INVALID, "%s" MANIFEST_SUFFIX " is of %s for %s", file,
			ret_release->version, ret_release->arch);
	return check_file(binary, ret_release, err);
}

static enum fl_code send_pieces(
	struct connection *connection, struct binary *binary, struct fl_error *err)
{
	Pb__ReleasesRequest body = PB__RELEASES_REQUEST__INIT;
	bool done = false;

	body.verb = PB__RELEASES_REQUEST__VERB__PUT;
	body.upload = fl_random_id();
	body.manifest.data = (uint8_t *)binary->manifest;
	body.manifest.len = strlen(binary->manifest);
	while (!done) {
		FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
		size_t left = binary->len - body.offset;
		char progress[64];

		body.data.data = (uint8_t *)binary->data + body.offset;
		body.data.len = left < LIMIT_PIECE ? left : LIMIT_PIECE;
		FL_TRY(ask(connection, &body, &reply, err));
		done = reply->releases_reply->done;
		body.offset += body.data.len;
		if (!done && body.offset >= binary->len)
			return FL_FAIL(err, FL_E_PROTOCOL, "the coordinator waits for more");
		(void)snprintf(progress, sizeof(progress), "%" PRIu64 " of %zu kB",
			body.offset / 1000, binary->len / 1000);
		term_progress(progress);
	}
	term_progress(NULL);
	return FL_OK;
}

static enum fl_code publish(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(binary_fini) struct binary binary = {.data = NULL};
	struct release release;
	const char *file;

	FL_TRY(take_arg(command, "FILE", &file, err));
	FL_TRY(fl_file_read(file, RELEASE_SIZE_MAX, &binary.data, &binary.len, err));
	FL_TRY(complete_manifest(command, file, &binary, &release, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(send_pieces(connection, &binary, err));
	printf("Published %s for %s\n", release.version, release.arch);
	return FL_OK;
}

/* ---- list, remove -- */

static enum fl_code list_json(const Pb__ReleasesReply *reply, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < reply->n_releases; i++) {
		const Pb__Release *release = reply->releases[i];

		FL_TRY(json_add(array,
			json_pack("{s:s, s:s, s:I, s:s, s:s}", "version", release->version, "arch",
				release->arch, "size", (json_int_t)release->size, "sha512",
				release->sha512, "key", release->key),
			err));
	}
	return json_print(array, err);
}

static enum fl_code add_row(
	struct table *table, const Pb__Release *release, bool full, struct fl_error *err)
{
	char size[24], hash[2 * RELEASE_HASH_BYTES + 4];

	(void)snprintf(size, sizeof(size), "%" PRIu64, release->size);
	(void)snprintf(hash, sizeof(hash), full ? "%s" : "%.12s...", release->sha512);
	FL_TRY(table_add(table, release->version, TERM_PLAIN, err));
	FL_TRY(table_add(table, release->arch, TERM_PLAIN, err));
	FL_TRY(table_add(table, size, TERM_PLAIN, err));
	FL_TRY(table_add(table, release->key, TERM_PLAIN, err));
	return table_add(table, hash, TERM_PLAIN, err);
}

static enum fl_code list(struct command *command, struct fl_error *err)
{
	static const char *const columns[] = {"VERSION", "ARCH", "SIZE", "SIGNED", "SHA512"};
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP(table_freep) struct table *table = NULL;
	Pb__ReleasesRequest body = PB__RELEASES_REQUEST__INIT;
	bool json;

	if (command->n_args > 1)
		return FL_FAIL(err, FL_E_USAGE, "release list takes no \"%s\"", command->args[1]);
	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(ask(connection, &body, &reply, err));
	if (json)
		return list_json(reply->releases_reply, err);
	FL_TRY(table_new(FL_COUNT(columns), &table, err));
	for (size_t i = 0; i < FL_COUNT(columns) && !command->options->no_legend; i++)
		FL_TRY(table_add(table, columns[i], TERM_PLAIN, err));
	for (size_t i = 0; i < reply->releases_reply->n_releases; i++)
		FL_TRY(add_row(
			table, reply->releases_reply->releases[i], command->options->full, err));
	table_print(table, false, stdout);
	return FL_OK;
}

static enum fl_code remove_release(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	Pb__ReleasesRequest body = PB__RELEASES_REQUEST__INIT;
	const char *version;

	FL_TRY(take_arg(command, "VERSION", &version, err));
	body.verb = PB__RELEASES_REQUEST__VERB__REMOVE;
	body.version = command->args[1];
	if (command->options->arch != NULL)
		body.arch = command->options->arch;
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(ask(connection, &body, &reply, err));
	printf("Removed %s\n", version);
	return FL_OK;
}

enum fl_code verb_release(struct command *command, struct fl_error *err)
{
	static const struct {
		const char *name;
		verb_handler run;
	} words[] = {{"keygen", keygen}, {"sign", sign}, {"verify", verify}, {"publish", publish},
		{"list", list}, {"remove", remove_release}};

	for (size_t i = 0; i < FL_COUNT(words); i++)
		if (strcmp(command->args[0], words[i].name) == 0)
			return words[i].run(command, err);
	return FL_FAIL(err, FL_E_USAGE,
		"release %s? There are release keygen, sign, verify, publish, list and remove",
		command->args[0]);
}
