#include "unitfiles/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "unitfiles/glob.h"
#include "unitfiles/name.h"
#include "unitfiles/rules_flota.h"
#include "unitfiles/specifier.h"

#define BLANKS " \t"

static const char *const fleet_names[] = {
#define X(constant, name, doc) [constant] = name,
	UNIT_FLEET_KEYS(X)
#undef X
};

/* All names of the keys. Those of MachineID= in this order, which fleet preferred. */
static const struct {
	const char *name;
	enum unit_fleet_key key;
} fleet_keys[] = {
#define X(constant, name, doc) {name, constant},
	UNIT_FLEET_KEYS(X)
#undef X
#define X(constant, name) {name, constant},
		UNIT_FLEET_LEGACY_KEYS(X)
#undef X
};

/* The combinations that fleet rejected, in its words; it called MachineOf= "Peers". */
static const struct {
	enum unit_fleet_key a, b;
	const char *text;
} rejected[] = {
	{UNIT_MACHINE_ID, UNIT_MACHINE_OF, "MachineID cannot be used with Peers (MachineOf=)"},
	{UNIT_MACHINE_ID, UNIT_CONFLICTS, "MachineID cannot be used with Conflicts"},
	{UNIT_MACHINE_ID, UNIT_GLOBAL, "MachineID cannot be used with Global"},
	{UNIT_MACHINE_ID, UNIT_REPLACES, "MachineID cannot be used with Replaces"},
	{UNIT_GLOBAL, UNIT_MACHINE_OF, "Global cannot be used with Peers (MachineOf=)"},
	{UNIT_GLOBAL, UNIT_REPLACES, "Global cannot be used with Replaces"},
	{UNIT_CONFLICTS, UNIT_REPLACES, "Conflicts cannot be used with Replaces"},
};

struct reader {
	const struct unit_file *file;
	const char *name;
	struct unit_reporter reporter;
	struct unit_rules rules;
	size_t machine_id_key; /* in fleet_keys, of the value in rules.machine_id */
	unsigned
		lines[FL_COUNT(fleet_names)]; /* of the last value of each key that has an effect */
	size_t counts[FL_COUNT(fleet_names)];
};

static enum fl_code add_once(struct fl_strv *list, const char *text)
{
	return fl_strv_has(list, text) ? FL_OK : fl_strv_add(list, text, NULL);
}

static enum fl_code read_machine_id(struct reader *r, size_t i, const char *value, unsigned line)
{
	char *copy;

	if (r->rules.machine_id != NULL && strcmp(r->rules.machine_id, value) != 0)
		unit_reporter_warning(&r->reporter, line,
			"MachineID is given more than once; the first one counts");
	if (r->rules.machine_id != NULL && r->machine_id_key <= i)
		return FL_OK;
	copy = fl_strdup(value);
	if (copy == NULL)
		return FL_E_NO_MEMORY;
	free(r->rules.machine_id);
	r->rules.machine_id = copy;
	r->machine_id_key = i;
	return FL_OK;
}

static enum fl_code read_machine_of(struct reader *r, const char *value, unsigned line)
{
	struct fl_error why;

	if (strpbrk(value, BLANKS) != NULL)
		unit_reporter_complain(&r->reporter, line,
			"MachineOf=%s is not one unit's name; write each on a line of its own",
			value);
	else if (unit_name_check(value, &why) != FL_OK)
		unit_reporter_complain(&r->reporter, line, "MachineOf=: %s", why.text);
	else if (strcmp(value, r->name) == 0)
		unit_reporter_complain(&r->reporter, line,
			"MachineOf=%s is the unit itself, which would wait for itself; remove it",
			value);
	else if (unit_name_is_template(value))
		unit_reporter_complain(&r->reporter, line,
			"MachineOf=%s names a template, which never runs; name an instance of it",
			value);
	return add_once(&r->rules.machine_of, value);
}

static enum fl_code read_metadata(struct reader *r, char *value, unsigned line)
{
	char *equals = strchr(value, '=');

	if (equals == NULL || strchr(equals + 1, '=') != NULL || equals == value ||
		equals[1] == '\0') {
		unit_reporter_complain(&r->reporter, line,
			"MachineMetadata=%s is not one key=value%s; write each on a line of its "
			"own, or quote each: \"disk=ssd\" \"region=eu\"",
			value, r->reporter.lenient ? " and has no effect" : "");
		return FL_OK;
	}
	*equals = '\0';
	return unit_metadata_rules_add(&r->rules.metadata, &r->rules.n_metadata, value, equals + 1);
}

static enum fl_code read_glob(
	struct reader *r, enum unit_fleet_key key, const char *value, unsigned line)
{
	struct fl_error why;

	if (unit_glob_check(value, &why) != FL_OK)
		unit_reporter_complain(&r->reporter, line, "%s=: %s", fleet_names[key], why.text);
	else if (strpbrk(value, BLANKS) != NULL)
		unit_reporter_complain(&r->reporter, line,
			"%s=%s has a blank in it and matches no name; write each pattern on a line "
			"of its own",
			fleet_names[key], value);
	return add_once(key == UNIT_CONFLICTS ? &r->rules.conflicts : &r->rules.replaces, value);
}

static void read_global(struct reader *r, const char *value, unsigned line)
{
	static const char *const yes[] = {"true", "yes", "1", "on", "t"};
	static const char *const no[] = {"false", "no", "0", "off", "f"};

	r->rules.global = false;
	if (*value == '\0')
		return;
	for (size_t i = 0; i < FL_COUNT(yes); i++) {
		if (strcasecmp(value, yes[i]) == 0)
			r->rules.global = true;
		if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0)
			return;
	}
	unit_reporter_complain(&r->reporter, line, "Global=%s is neither yes nor no%s", value,
		r->reporter.lenient ? "; it is taken for no" : "; write one of them");
}

/* One value of a key of [X-Fleet], behind quotes and before specifiers. */
static enum fl_code read_value(struct reader *r, size_t i, const char *text, unsigned line)
{
	FL_CLEANUP(fl_freep) char *value = NULL;
	enum unit_fleet_key key = fleet_keys[i].key;

	if (++r->counts[key] > UNIT_RULES_VALUES_MAX) {
		unit_reporter_error(&r->reporter, FL_E_LIMIT, line,
			"%s has more than %d values; use patterns, or metadata of the machines",
			fleet_names[key], UNIT_RULES_VALUES_MAX);
		return FL_E_LIMIT;
	}
	/* Twice: a specifier may make it longer, and must not make much of a long one. */
	if (strlen(text) <= UNIT_RULES_VALUE_MAX)
		FL_TRY(unit_specifier_expand(text, r->name, &value, NULL));
	if (value == NULL || strlen(value) > UNIT_RULES_VALUE_MAX) {
		unit_reporter_error(&r->reporter, FL_E_TOO_BIG, line,
			"a value of %s has more than %d bytes", fleet_names[key],
			UNIT_RULES_VALUE_MAX);
		return FL_OK;
	}
	if (*value == '\0')
		unit_reporter_complain(
			&r->reporter, line, "%s= is empty; remove the line", fleet_names[key]);
	r->lines[key] = line;
	switch (key) {
	case UNIT_MACHINE_ID:
		return read_machine_id(r, i, value, line);
	case UNIT_MACHINE_OF:
		return *value == '\0' ? add_once(&r->rules.machine_of, value)
				      : read_machine_of(r, value, line);
	case UNIT_MACHINE_METADATA:
		return *value == '\0' ? FL_OK : read_metadata(r, value, line);
	case UNIT_CONFLICTS:
	case UNIT_REPLACES:
		return *value == '\0' ? FL_OK : read_glob(r, key, value, line);
	case UNIT_GLOBAL:
		read_global(r, value, line);
		return FL_OK;
	}
	return FL_OK;
}

/* A line of Conflicts= may hold several patterns without quotes. */
static enum fl_code read_words(struct reader *r, size_t i, const char *text, unsigned line)
{
	FL_CLEANUP_STRV struct fl_strv words = {0};

	if (fleet_keys[i].key != UNIT_CONFLICTS || strpbrk(text, BLANKS) == NULL)
		return read_value(r, i, text, line);
	FL_TRY(fl_strv_split(&words, text, BLANKS, NULL));
	for (size_t j = 0; j < words.n; j++)
		FL_TRY(read_value(r, i, words.items[j], line));
	return FL_OK;
}

/* As fleet split a line: in words that are quoted when a quote is its first and its last byte;
 * else it is one value, blanks and all. */
static enum fl_code read_line(struct reader *r, size_t i, const struct unit_entry *entry)
{
	const char *value = entry->value, *end = value + strlen(value);
	FL_CLEANUP_STRV struct fl_strv words = {0};
	FL_CLEANUP_BUF struct fl_buf word = FL_BUF_INIT;
	bool list = *value == '"' && end[-1] == '"', quoted = false, any = false;
	size_t quotes = 0;

	for (const char *at = value; (at = strchr(at, '"')) != NULL; at++)
		quotes++;
	if (quotes % 2 == 1 || (quotes > 0 && !list))
		unit_reporter_complain(&r->reporter, entry->line,
			"%s: quotes do not match; write them around each value, or around none",
			entry->key);
	if (!list)
		return read_words(r, i, value, entry->line);
	for (const char *at = value; at <= end; at++) {
		if (*at == '"') {
			quoted = !quoted;
			any = true;
		} else if (*at != '\0' && (quoted || strchr(BLANKS, *at) == NULL)) {
			fl_buf_byte(&word, *at);
		} else if (any || word.len > 0) {
			FL_TRY(fl_strv_add(&words, fl_buf_str(&word), NULL));
			fl_buf_clear(&word);
			any = false;
		}
	}
	if (!fl_buf_ok(&word))
		return FL_E_NO_MEMORY;
	for (size_t j = 0; j < words.n; j++)
		FL_TRY(read_words(r, i, words.items[j], entry->line));
	return FL_OK;
}

static enum fl_code read_fleet_entry(struct reader *r, const struct unit_entry *entry)
{
	const char *near;

	for (size_t i = 0; i < FL_COUNT(fleet_keys); i++)
		if (strcmp(entry->key, fleet_keys[i].name) == 0)
			return read_line(r, i, entry);
	near = unit_suggest(entry->key, fleet_names, FL_COUNT(fleet_names));
	unit_reporter_complain(&r->reporter, entry->line, "[X-Fleet] has no key \"%s\"%s%s%s",
		entry->key, near != NULL ? "; did you mean " : "", near != NULL ? near : "",
		near != NULL ? "=?" : "; docs/UNIT-FILES.md lists them");
	return FL_OK;
}

/* A section that begins with X- is nobody's to complain about, so a slip in its name would leave
 * the unit without its rules. */
static void check_section_names(struct reader *r)
{
	static const char *const ours[] = {"X-Fleet", "X-Flota"};

	for (size_t i = 0; i < unit_file_section_count(r->file); i++) {
		unsigned line;
		const char *name = unit_file_section(r->file, i, &line), *near;

		if (strcmp(name, ours[0]) == 0 || strcmp(name, ours[1]) == 0)
			continue;
		near = unit_suggest(name, ours, FL_COUNT(ours));
		if (near != NULL)
			unit_reporter_complain(&r->reporter, line,
				"nothing reads the section [%s]; did you mean [%s]?", name, near);
	}
}

static bool has(const struct unit_rules *rules, enum unit_fleet_key key)
{
	switch (key) {
	case UNIT_MACHINE_ID:
		return rules->machine_id != NULL;
	case UNIT_MACHINE_OF:
		return rules->machine_of.n > 0;
	case UNIT_MACHINE_METADATA:
		return rules->n_metadata > 0;
	case UNIT_CONFLICTS:
		return rules->conflicts.n > 0;
	case UNIT_REPLACES:
		return rules->replaces.n > 0;
	case UNIT_GLOBAL:
		return rules->global;
	}
	return false;
}

static void check_peers(
	struct reader *r, const struct fl_strv *globs, enum unit_fleet_key key, const char *what)
{
	const struct fl_strv *peers = &r->rules.machine_of;

	for (size_t i = 0; i < peers->n; i++)
		for (size_t j = 0; j < globs->n; j++)
			if (unit_glob_match(globs->items[j], peers->items[i])) {
				unit_reporter_error(&r->reporter, FL_E_INVALID, r->lines[key],
					"unresolvable requirements: peer \"%s\" matches %s \"%s\"; "
					"change it, or MachineOf= in line %u",
					peers->items[i], what, globs->items[j],
					r->lines[UNIT_MACHINE_OF]);
				return;
			}
}

static void check_combinations(struct reader *r)
{
	const struct unit_rules *rules = &r->rules;

	check_peers(r, &rules->conflicts, UNIT_CONFLICTS, "conflict");
	check_peers(r, &rules->replaces, UNIT_REPLACES, "replace");
	for (size_t i = 0; i < FL_COUNT(rejected); i++) {
		unsigned a = r->lines[rejected[i].a], b = r->lines[rejected[i].b];

		if (has(rules, rejected[i].a) && has(rules, rejected[i].b))
			unit_reporter_error(&r->reporter, FL_E_INVALID, a > b ? a : b,
				"%s; remove one of them (the other is in line %u)",
				rejected[i].text, a > b ? b : a);
	}
}

enum fl_code unit_rules_read(const struct unit_file *file, const char *name, enum unit_flags flags,
	struct unit_report *report, struct unit_rules *ret_rules, struct fl_error *err)
{
	char example[UNIT_NAME_MAX + sizeof("1")];
	struct reader r = {
		.file = file,
		.name = name,
		.reporter = {.report = report,
			.err = err,
			.path = unit_file_path(file),
			.lenient = (flags & UNIT_LENIENT) != 0},
	};
	enum fl_code code = FL_OK;

	if (unit_name_is_template(name)) {
		struct unit_name_parts parts;

		unit_name_split(name, &parts);
		snprintf(example, sizeof(example), "%.*s1.%s", (int)parts.stem_len, parts.stem,
			parts.suffix);
		r.name = example;
	}
	for (size_t i = 0; i < unit_file_count(file) && code == FL_OK; i++) {
		const struct unit_entry *entry = unit_file_entry(file, i);

		if (unit_reporter_done(&r.reporter))
			break;
		if (strcmp(entry->section, "X-Fleet") == 0)
			code = read_fleet_entry(&r, entry);
	}
	if (code == FL_OK)
		code = unit_rules_read_flota(file, r.name, &r.reporter, &r.rules);
	check_section_names(&r);
	check_combinations(&r);
	if (code == FL_E_NO_MEMORY)
		FL_FAIL_NO_MEMORY(err);
	else
		code = r.reporter.code;
	if (code == FL_OK)
		*ret_rules = r.rules;
	else
		unit_rules_fini(&r.rules);
	return code;
}

void unit_rules_fini(struct unit_rules *rules)
{
	free(rules->machine_id);
	fl_strv_fini(&rules->machine_of);
	unit_metadata_rules_fini(rules->metadata, rules->n_metadata);
	fl_strv_fini(&rules->conflicts);
	fl_strv_fini(&rules->replaces);
	free(rules->spread);
	unit_metadata_rules_fini(rules->prefer_metadata, rules->n_prefer_metadata);
	fl_strv_fini(&rules->prefer_conflicts);
	*rules = (struct unit_rules){0};
}

bool unit_rules_match_machine_id(const struct unit_rules *rules, const char *machine_id)
{
	const char *wanted = rules->machine_id;

	if (wanted == NULL)
		return true;
	return strcmp(wanted, machine_id) == 0 ||
	       (strlen(wanted) == 8 && strncmp(wanted, machine_id, 8) == 0);
}

const struct unit_metadata_rule *unit_rules_unmet_metadata(const struct unit_rules *rules,
	const char *(*get)(void *userdata, const char *key), void *userdata)
{
	for (size_t i = 0; i < rules->n_metadata; i++) {
		const char *value = get(userdata, rules->metadata[i].key);

		if (value == NULL || !fl_strv_has(&rules->metadata[i].values, value))
			return &rules->metadata[i];
	}
	return NULL;
}

static bool match_any(const struct fl_strv *globs, const char *name)
{
	for (size_t i = 0; i < globs->n; i++)
		if (unit_glob_match(globs->items[i], name))
			return true;
	return false;
}

bool unit_rules_conflict_with(const struct unit_rules *rules, const char *name)
{
	return match_any(&rules->conflicts, name);
}

bool unit_rules_replace(const struct unit_rules *rules, const char *name)
{
	return match_any(&rules->replaces, name);
}
