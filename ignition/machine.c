#include "ignition/machine.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/option.h"
#include "ignition/text.h"
#include "ignition/values.h"
#include "release/release.h"
#include "unitfiles/file.h"
#include "unitfiles/name.h"
#include "unitfiles/verify.h"

#define FILES_MAX       256U
#define SOURCE_MAX      ((size_t)1 << 20)
#define FILE_PATH_MAX   1024U
#define MODE_DEFAULT    0644U
#define HTTPS_PORT      "7442" /* of the coordinator's own server */
#define SECTION_FILE    "File "
#define SECTION_UNIT    "Unit "
#define WORD_SEPARATORS ", \t"

typedef enum fl_code (*value_check)(const char *value, struct fl_error *err);

static const struct {
	const char *section, *name;
	value_check check;
	enum machine_many many;
} keys[] = {
#define X(constant, section, name, flag, type, many, value, doc) \
	{section, name, value_##type, many},
	MACHINE_KEYS(X)
#undef X
};

/* ---- life -- */

enum fl_code machine_new(const char *path, struct machine **ret_machine, struct fl_error *err)
{
	FL_CLEANUP(machine_freep) struct machine *machine = FL_NEW(struct machine);

	if (machine != NULL)
		machine->path = fl_strdup(path);
	if (machine == NULL || machine->path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_machine = FL_TAKE(machine);
	return FL_OK;
}

void machine_free(struct machine *machine)
{
	if (machine == NULL)
		return;
	for (size_t i = 0; i < MACHINE_KEY_COUNT; i++)
		fl_strv_fini(&machine->values[i]);
	for (size_t i = 0; i < machine->n_files; i++) {
		free(machine->files[i].name);
		free(machine->files[i].source);
		free(machine->files[i].data);
	}
	free(machine->files);
	fl_strv_fini(&machine->release_keys);
	free(machine->ca_certificate);
	free(machine->hash);
	if (machine->ipa_password != NULL)
		fl_free_secret(machine->ipa_password, strlen(machine->ipa_password));
	free(machine->path);
	free(machine);
}

const char *machine_value(const struct machine *machine, enum machine_key key)
{
	const struct fl_strv *values = &machine->values[key];

	return values->n > 0 ? values->items[values->n - 1] : NULL;
}

/* ---- values -- */

/* @path as it is seen from the folder of the file that says it; allocated. */
static char *path_beside(const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');

	if (path[0] == '/' || slash == NULL)
		return fl_strdup(path);
	return fl_printf("%.*s%s", (int)(slash - file) + 1, file, path);
}

static enum fl_code add_value(struct machine *machine, enum machine_key key, const char *value,
	bool is_in_file, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv words = {0};
	struct fl_strv *values = &machine->values[key];

	if (*value == '\0' || keys[key].many == MACHINE_ONE)
		fl_strv_fini(values);
	if (keys[key].many == MACHINE_WORDS)
		FL_TRY(fl_strv_split(&words, value, WORD_SEPARATORS, err));
	else if (*value != '\0')
		FL_TRY(fl_strv_add(&words, value, err));
	for (size_t i = 0; i < words.n; i++) {
		FL_CLEANUP(fl_freep) char *path = NULL;

		FL_TRY(keys[key].check(words.items[i], err));
		if (keys[key].check == value_path && is_in_file) {
			path = path_beside(machine->path, words.items[i]);
			if (path == NULL)
				return FL_FAIL_NO_MEMORY(err);
		}
		if (path != NULL || !fl_strv_has(values, words.items[i]))
			FL_TRY(fl_strv_add(values, path != NULL ? path : words.items[i], err));
	}
	return FL_OK;
}

enum fl_code machine_override(struct machine *machine, enum machine_key key,
	const struct fl_strv *given, struct fl_error *err)
{
	fl_strv_fini(&machine->values[key]);
	for (size_t i = 0; i < given->n; i++)
		FL_TRY(add_value(machine, key, given->items[i], false, err));
	return FL_OK;
}

/* ---- the file -- */

struct reader {
	struct machine *machine;
	struct unit_reporter reporter;
};

static bool is_section(const char *name, const char *start)
{
	return strncmp(name, start, strlen(start)) == 0;
}

/* An absolute path of a file, in the only way to write it. */
static bool is_file_path(const char *path)
{
	size_t len = strlen(path);

	return *path == '/' && len > 1 && len <= FILE_PATH_MAX && path[len - 1] != '/' &&
	       strstr(path, "//") == NULL && strstr(path, "/./") == NULL &&
	       strstr(path, "/../") == NULL && strcmp(path + len - 2, "/.") != 0 &&
	       (len < 3 || strcmp(path + len - 3, "/..") != 0) && text_is_line(path);
}

static void add_file(struct reader *reader, const char *section, unsigned line)
{
	struct machine *machine = reader->machine;
	bool is_unit = is_section(section, SECTION_UNIT);
	const char *name = section + strlen(SECTION_FILE);
	struct machine_file *files;
	struct fl_error err = {0};

	if (!is_unit && !is_file_path(name)) {
		unit_reporter_error(&reader->reporter, FL_E_INVALID, line,
			"\"%s\" is not the absolute path of a file", name);
		return;
	}
	if (is_unit && unit_name_check(name, &err) != FL_OK) {
		unit_reporter_error(&reader->reporter, FL_E_INVALID, line, "%s", err.text);
		return;
	}
	if (machine->n_files >= FILES_MAX) {
		unit_reporter_error(&reader->reporter, FL_E_LIMIT, line,
			"more than %u files and units", FILES_MAX);
		return;
	}
	files = reallocarray(machine->files, machine->n_files + 1, sizeof(*files));
	if (files == NULL) {
		unit_reporter_error(&reader->reporter, FL_E_NO_MEMORY, line, "out of memory");
		return;
	}
	machine->files = files;
	files += machine->n_files;
	*files = (struct machine_file){.name = fl_strdup(name),
		.mode = MODE_DEFAULT,
		.is_unit = is_unit,
		.is_enabled = true,
		.line = line};
	if (files->name == NULL)
		unit_reporter_error(&reader->reporter, FL_E_NO_MEMORY, line, "out of memory");
	else
		machine->n_files++;
}

static void read_sections(struct reader *reader, const struct unit_file *file)
{
	static const char *const names[] = {
		"Machine", "Match", "Network", "User", "FreeIPA", "Agent"};

	for (size_t i = 0; i < unit_file_section_count(file); i++) {
		unsigned line;
		const char *name = unit_file_section(file, i, &line), *meant;
		bool is_known = false;

		for (size_t k = 0; k < FL_COUNT(names); k++)
			is_known |= strcmp(names[k], name) == 0;
		if (is_section(name, SECTION_FILE) || is_section(name, SECTION_UNIT)) {
			add_file(reader, name, line);
		} else if (!is_known) {
			meant = unit_suggest(name, names, FL_COUNT(names));
			unit_reporter_error(&reader->reporter, FL_E_INVALID, line,
				"there is no section [%s]%s%s%s", name,
				meant != NULL ? "; is it [" : "", meant != NULL ? meant : "",
				meant != NULL ? "]?" : "");
		}
	}
}

static struct machine_file *find_file(const struct machine *machine, const char *section)
{
	bool is_unit = is_section(section, SECTION_UNIT);

	if (!is_unit && !is_section(section, SECTION_FILE))
		return NULL;
	for (size_t i = 0; i < machine->n_files; i++)
		if (machine->files[i].is_unit == is_unit &&
			strcmp(machine->files[i].name, section + strlen(SECTION_FILE)) == 0)
			return &machine->files[i];
	return NULL;
}

static enum fl_code set_source(
	const struct machine *machine, struct machine_file *file, const char *value)
{
	free(file->source);
	file->source = *value != '\0' ? path_beside(machine->path, value) : NULL;
	return *value == '\0' || file->source != NULL ? FL_OK : FL_E_NO_MEMORY;
}

static enum fl_code set_mode(struct machine_file *file, const char *value, struct fl_error *err)
{
	char *end;
	unsigned long mode = strtoul(value, &end, 8);

	if (strspn(value, "01234567") != strlen(value) || *value == '\0' || mode > 0777)
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is not a mode of three octal digits, such as 0644", value);
	file->mode = (unsigned)mode;
	return FL_OK;
}

static enum fl_code read_file_key(const struct machine *machine, struct machine_file *file,
	const struct unit_entry *entry, struct fl_error *err)
{
	if (strcmp(entry->key, "Source") == 0)
		return set_source(machine, file, entry->value);
	if (strcmp(entry->key, "Mode") == 0 && !file->is_unit)
		return set_mode(file, entry->value, err);
	if (strcmp(entry->key, "Enable") == 0 && file->is_unit)
		return fl_parse_bool(entry->value, &file->is_enabled, err);
	return FL_FAIL(err, FL_E_INVALID,
		"[%s] has no key %s=; it has Source= and %s=", entry->section, entry->key,
		file->is_unit ? "Enable" : "Mode");
}

static enum fl_code read_key(
	struct machine *machine, const struct unit_entry *entry, struct fl_error *err)
{
	const char *names[MACHINE_KEY_COUNT], *meant;
	size_t n = 0;

	for (unsigned key = 0; key < MACHINE_KEY_COUNT; key++) {
		if (strcmp(keys[key].section, entry->section) != 0)
			continue;
		if (strcmp(keys[key].name, entry->key) == 0)
			return add_value(machine, key, entry->value, true, err);
		names[n++] = keys[key].name;
	}
	if (n == 0) /* the section was complained of */
		return FL_OK;
	meant = unit_suggest(entry->key, names, n);
	return FL_FAIL(err, FL_E_INVALID, "[%s] has no key %s=%s%s%s", entry->section, entry->key,
		meant != NULL ? "; is it " : "", meant != NULL ? meant : "",
		meant != NULL ? "=?" : "");
}

enum fl_code machine_parse(struct machine *machine, const void *text, size_t len,
	struct unit_report *report, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	struct reader reader = {.machine = machine,
		.reporter = {.report = report, .err = err, .path = machine->path}};

	FL_TRY(unit_file_parse(text, len, machine->path, report, &file, err));
	read_sections(&reader, file);
	for (size_t i = 0; i < unit_file_count(file); i++) {
		const struct unit_entry *entry = unit_file_entry(file, i);
		struct machine_file *its = find_file(machine, entry->section);
		struct fl_error why = {0};
		enum fl_code code;

		if (unit_reporter_done(&reader.reporter))
			break;
		code = its != NULL ? read_file_key(machine, its, entry, &why)
				   : read_key(machine, entry, &why);
		if (code != FL_OK)
			unit_reporter_error(
				&reader.reporter, code, entry->line, "%s", fl_error_text(&why));
	}
	for (size_t i = 0; i < machine->n_files; i++)
		if (machine->files[i].source == NULL)
			unit_reporter_error(&reader.reporter, FL_E_INVALID, machine->files[i].line,
				"Source= does not say which file becomes \"%s\"",
				machine->files[i].name);
	return reader.reporter.code;
}

/* ---- what keys mean together -- */

static enum fl_code check_network(const struct machine *machine, struct fl_error *err)
{
	const char *dhcp = machine_value(machine, MACHINE_DHCP);
	bool is_static = machine->values[MACHINE_ADDRESS].n > 0;
	const struct fl_strv *gateways = &machine->values[MACHINE_GATEWAY];
	size_t n_ipv6 = 0;

	if (is_static && machine->values[MACHINE_INTERFACE].n == 0 &&
		machine_value(machine, MACHINE_MAC) == NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: Address= is given, but not of which interface; say so in [Match], with "
			"Name= or MACAddress= (--interface=, --mac-address=)",
			machine->path);
	if (!is_static && dhcp != NULL && strcmp(dhcp, "no") == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: with DHCP=no and without Address= the machine has no network",
			machine->path);
	for (size_t i = 0; i < gateways->n; i++)
		n_ipv6 += strchr(gateways->items[i], ':') != NULL;
	if (n_ipv6 > 1 || gateways->n - n_ipv6 > 1)
		return FL_FAIL(err, FL_E_INVALID, "%s: Gateway= is given twice for one family",
			machine->path);
	return FL_OK;
}

static enum fl_code check_ipa(const struct machine *machine, struct fl_error *err)
{
	const char *hostname = machine_value(machine, MACHINE_HOSTNAME);

	if (machine_value(machine, MACHINE_IPA_DOMAIN) == NULL) {
		if (machine_value(machine, MACHINE_IPA_PASSWORD) != NULL ||
			machine->values[MACHINE_IPA_SERVER].n > 0)
			return FL_FAIL(err, FL_E_INVALID,
				"%s: [FreeIPA] has no Domain= (--ipa-domain=)", machine->path);
		return FL_OK;
	}
	if (machine_value(machine, MACHINE_IPA_PASSWORD) == NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: nobody is there to type a password: [FreeIPA] needs PasswordFile= "
			"(--ipa-password-file=), with what \"ipa host-add --random\" prints",
			machine->path);
	if (hostname == NULL || strchr(hostname, '.') == NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: FreeIPA knows machines by their full names: Hostname= has to be one, "
			"such as web1.example.org",
			machine->path);
	return FL_OK;
}

enum fl_code machine_check(const struct machine *machine, struct fl_error *err)
{
	bool has_hash = machine_value(machine, MACHINE_HASH) != NULL ||
			machine_value(machine, MACHINE_HASH_OF) != NULL;

	if (machine->values[MACHINE_COORDINATOR].n == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: [Agent] Coordinator= (--coordinator=) has to say where the fleet is, "
			"such as tls+tcp://10.17.3.10:7440",
			machine->path);
	if (machine_value(machine, MACHINE_BINARY) != NULL && !has_hash)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: without Hash= or HashOf= (--agent-hash=, --agent-hash-of=) whatever is "
			"served at Binary= would run as root",
			machine->path);
	FL_TRY(check_network(machine, err));
	return check_ipa(machine, err);
}

/* ---- the files that it names -- */

static enum fl_code hash_of(const char *path, char **ret_hash, struct fl_error *err)
{
	FL_CLEANUP(release_hash_freep) struct release_hash *hash = NULL;
	FL_CLEANUP(fl_freep) char *data = NULL;
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	uint8_t sha512[RELEASE_HASH_BYTES];
	size_t len;

	FL_TRY(fl_file_read(path, RELEASE_SIZE_MAX, &data, &len, err));
	FL_TRY(release_hash_new(&hash, err));
	release_hash_add(hash, data, len);
	release_hash_end(hash, sha512);
	fl_buf_text(&text, "sha512-");
	for (size_t i = 0; i < sizeof(sha512); i++)
		fl_buf_printf(&text, "%02x", sha512[i]);
	return fl_buf_take(&text, ret_hash, err);
}

/* What is said of the agent's hash and what its copy has are the same. */
static enum fl_code read_hash(struct machine *machine, struct fl_error *err)
{
	const char *said = machine_value(machine, MACHINE_HASH);
	const char *copy = machine_value(machine, MACHINE_HASH_OF);

	if (copy != NULL)
		FL_TRY(hash_of(copy, &machine->hash, err));
	else if (said != NULL && (machine->hash = fl_strdup(said)) == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (said != NULL && strcmp(said, machine->hash) != 0)
		return FL_FAIL(err, FL_E_INVALID, "%s: its SHA-512 is not the one of Hash=", copy);
	return FL_OK;
}

/* A file of text that goes somewhere as it is: not a binary one by mistake. */
static enum fl_code read_text(const char *path, char **ret_text, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;

	FL_TRY(fl_file_read(path, SOURCE_MAX, &text, &len, err));
	if (len == 0 || !text_is_readable(text, len))
		return FL_FAIL(err, FL_E_INVALID, "%s: %s", path,
			len == 0 ? "the file is empty" : "this is not a text file");
	*ret_text = FL_TAKE(text);
	return FL_OK;
}

static enum fl_code read_ca(struct machine *machine, const char *path, struct fl_error *err)
{
	FL_TRY(read_text(path, &machine->ca_certificate, err));
	if (strstr(machine->ca_certificate, "-----BEGIN CERTIFICATE-----") == NULL)
		return FL_FAIL(err, FL_E_INVALID, "%s: there is no certificate in PEM", path);
	if (strstr(machine->ca_certificate, "PRIVATE KEY-----") != NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: there is a private key; it does not belong here", path);
	return FL_OK;
}

static enum fl_code read_password(struct machine *machine, const char *path, struct fl_error *err)
{
	char *text;

	FL_TRY(read_text(path, &machine->ipa_password, err));
	text = machine->ipa_password;
	text[strcspn(text, "\n")] = '\0';
	if (*text == '\0')
		return FL_FAIL(err, FL_E_INVALID, "%s: its first line is empty", path);
	return FL_OK;
}

/* The line as release keys are written: a secret one does not pass. */
static enum fl_code read_release_key(const char *path, char **ret_line, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	char line[RELEASE_LINE_MAX];
	struct release_key key;
	enum fl_code code;

	FL_TRY(read_text(path, &text, err));
	code = release_key_parse(text, &key, err);
	if (code != FL_OK)
		return fl_error_prefix(err, code, "%s", path);
	release_key_format(&key, line);
	*ret_line = fl_strdup(line);
	return *ret_line != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* What is to run at each boot has to say when. */
static enum fl_code check_unit(
	const struct machine *machine, const struct machine_file *file, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *unit = NULL;
	const char *why = NULL;

	FL_TRY(unit_verify_read(
		file->data, file->len, file->source, file->name, 0, NULL, &unit, NULL, err));
	if (unit_name_is_template(file->name))
		why = "a template does not run itself";
	else if (!unit_file_has_section(unit, "Install"))
		why = "it has no [Install], such as WantedBy=multi-user.target";
	if (file->is_enabled && why != NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"%s:%u: %s cannot be enabled: %s; or write Enable=no", machine->path,
			file->line, file->name, why);
	return FL_OK;
}

static enum fl_code read_file(
	const struct machine *machine, struct machine_file *file, struct fl_error *err)
{
	fl_assert(file->source != NULL);
	FL_TRY(fl_file_read(file->source, SOURCE_MAX, &file->data, &file->len, err));
	return file->is_unit ? check_unit(machine, file, err) : FL_OK;
}

enum fl_code machine_read_sources(struct machine *machine, struct fl_error *err)
{
	const char *ca = machine_value(machine, MACHINE_CA);
	const char *password = machine_value(machine, MACHINE_IPA_PASSWORD);
	const struct fl_strv *release_keys = &machine->values[MACHINE_RELEASE_KEY];

	FL_TRY(read_hash(machine, err));
	if (ca != NULL)
		FL_TRY(read_ca(machine, ca, err));
	if (password != NULL)
		FL_TRY(read_password(machine, password, err));
	for (size_t i = 0; i < release_keys->n; i++) {
		FL_CLEANUP(fl_freep) char *text = NULL;

		FL_TRY(read_release_key(release_keys->items[i], &text, err));
		FL_TRY(fl_strv_add(&machine->release_keys, text, err));
	}
	for (size_t i = 0; i < machine->n_files; i++)
		FL_TRY(read_file(machine, &machine->files[i], err));
	return FL_OK;
}

/* ---- what follows from it -- */

enum fl_code machine_metadata(
	const struct machine *machine, struct fl_strv *ret_pairs, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv pairs = {0};
	FL_CLEANUP(fl_freep) char *role = NULL;

	if (machine_value(machine, MACHINE_ROLE) != NULL) {
		role = fl_printf("role=%s", machine_value(machine, MACHINE_ROLE));
		if (role == NULL)
			return FL_FAIL_NO_MEMORY(err);
		FL_TRY(fl_strv_add(&pairs, role, err));
	}
	for (size_t i = 0; i < machine->values[MACHINE_METADATA].n; i++) {
		const char *pair = machine->values[MACHINE_METADATA].items[i];
		size_t key = (size_t)(strchr(pair, '=') - pair) + 1;

		for (size_t k = 0; k < pairs.n; k++)
			if (strncmp(pairs.items[k], pair, key) == 0)
				return FL_FAIL(err, FL_E_INVALID,
					"%s: a machine has one value of each metadata; there are "
					"\"%s\" and \"%s\"",
					machine->path, pairs.items[k], pair);
		FL_TRY(fl_strv_add(&pairs, pair, err));
	}
	*ret_pairs = pairs;
	pairs = (struct fl_strv){0};
	return FL_OK;
}

enum fl_code machine_agent_url(const struct machine *machine, char **ret_url, struct fl_error *err)
{
	const char *given = machine_value(machine, MACHINE_BINARY);
	const char *version = machine_value(machine, MACHINE_VERSION);
	const char *architecture = machine_value(machine, MACHINE_ARCHITECTURE);
	const char *host, *port;

	if (given == NULL && machine->hash == NULL && version != NULL)
		return FL_FAIL(err, FL_E_STATE,
			"%s: Version= names a release, and its hash is not known; Hash= or HashOf= "
			"(--agent-hash=, --agent-hash-of=) says it",
			machine->path);
	if (given == NULL && machine->hash == NULL) {
		*ret_url = NULL;
		return FL_OK;
	}
	if (given != NULL) {
		*ret_url = fl_strdup(given);
	} else {
		host = machine->values[MACHINE_COORDINATOR].items[0] + strlen("tls+tcp://");
		port = strrchr(host, ':');
		*ret_url = fl_printf("https://%.*s:" HTTPS_PORT "/agents/%s/%s/flota-agent",
			(int)(port - host), host, version != NULL ? version : FLOTA_VERSION,
			architecture != NULL ? architecture : MACHINE_ARCHITECTURE_DEFAULT);
	}
	return *ret_url != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
