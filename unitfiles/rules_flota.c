#include "unitfiles/rules_flota.h"

#include <stdlib.h>
#include <string.h>

#include "base/option.h"
#include "unitfiles/glob.h"
#include "unitfiles/name.h"
#include "unitfiles/time.h"

#define BLANKS " \t"

static const char *const names[] = {
#define X(constant, name, type, otherwise, since, doc) [constant] = name,
	UNIT_FLOTA_KEYS(X)
#undef X
};

static const char *const losses[] = {[UNIT_LOSS_MOVE] = "move", [UNIT_LOSS_WAIT] = "wait"};

struct reader {
	const char *name;
	struct unit_reporter *reporter;
	struct unit_rules *rules;
	unsigned lines[FL_COUNT(names)]; /* of the last value of each key; 0: it has its default */
};

/* Which keys have no meaning beside Global= and MachineID=, where nothing is chosen or moved. */
static const struct {
	enum unit_flota_key key;
	bool beside_machine_id;
} placing[] = {
	{UNIT_ON_MACHINE_LOSS, true},
	{UNIT_REPLICAS, false},
	{UNIT_SPREAD, true},
	{UNIT_PREFER_METADATA, true},
	{UNIT_PREFER_CONFLICTS, true},
	{UNIT_PRIORITY, false},
	{UNIT_EXCLUSIVE, false},
};

static void refuse(struct reader *r, enum unit_flota_key key, const struct unit_entry *entry,
	const char *advice)
{
	unit_reporter_error(r->reporter, FL_E_INVALID, entry->line, "%s=%s %s", names[key],
		entry->value, advice);
}

/* ---- Numbers ----------------------------------------------------------------------------- */

/* "1.25" with 3 @digits is 1250. At most that many behind the point. */
static bool parse_decimal(const char *text, size_t len, unsigned digits, uint64_t *ret)
{
	uint64_t value = 0;
	unsigned behind = 0;
	bool point = false;

	if (len == 0 || len > 12 || *text == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.' && !point && i + 1 < len) {
			point = true;
			continue;
		}
		if (text[i] < '0' || text[i] > '9' || (point && ++behind > digits))
			return false;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	for (; behind < digits; behind++)
		value *= 10;
	*ret = value;
	return true;
}

/* "20%" with 1 digit is 200. */
static bool parse_percent(const char *text, unsigned digits, uint64_t *ret)
{
	size_t len = strlen(text);

	return len > 0 && text[len - 1] == '%' && parse_decimal(text, len - 1, digits, ret);
}

static void read_memory(struct reader *r, const struct unit_entry *entry)
{
	uint64_t bytes = 0;

	if (*entry->value != '\0' && fl_parse_size(entry->value, &bytes, NULL) != FL_OK)
		refuse(r, UNIT_MEMORY, entry, "is not a size; write one like 512M or 2G");
	r->rules->claims.memory_bytes = bytes;
}

static void read_cpus(struct reader *r, const struct unit_entry *entry)
{
	uint64_t milli = 0;

	if (*entry->value != '\0' &&
		(!parse_decimal(entry->value, strlen(entry->value), 3, &milli) ||
			milli > UNIT_CPUS_MAX * 1000))
		refuse(r, UNIT_CPUS, entry, "is not a number of CPUs; write one like 0.5 or 2");
	r->rules->claims.cpu_milli = (uint32_t)milli;
}

static void read_replicas(struct reader *r, const struct unit_entry *entry)
{
	uint64_t n = 0;

	if (*entry->value != '\0' &&
		(fl_parse_uint(entry->value, &n, NULL) != FL_OK || n == 0 || n > UNIT_REPLICAS_MAX))
		refuse(r, UNIT_REPLICAS, entry, "is not a number from 1 to 1000");
	else if (*entry->value != '\0' && !unit_name_is_instance(r->name))
		refuse(r, UNIT_REPLICAS, entry,
			"is for a template; call the file NAME@.service, or remove the line");
	r->rules->replicas = (uint32_t)n;
}

static void read_priority(struct reader *r, const struct unit_entry *entry)
{
	const char *digits = entry->value + (*entry->value == '-');
	uint64_t n = 0;

	if (*entry->value != '\0' &&
		(fl_parse_uint(digits, &n, NULL) != FL_OK || n > UNIT_PRIORITY_MAX))
		refuse(r, UNIT_PRIORITY, entry, "is not a number from -1000 to 1000");
	r->rules->priority = *entry->value == '-' ? -(int)n : (int)n;
}

static void read_max_unavailable(struct reader *r, const struct unit_entry *entry)
{
	struct unit_rules *rules = r->rules;
	uint64_t n = 0, percent = 0;

	if (*entry->value == '\0')
		;
	else if (parse_percent(entry->value, 0, &percent)) {
		if (percent == 0 || percent > 100)
			refuse(r, UNIT_MAX_UNAVAILABLE, entry, "is not from 1% to 100%");
	} else if (fl_parse_uint(entry->value, &n, NULL) != FL_OK || n == 0 || n > UINT32_MAX) {
		refuse(r, UNIT_MAX_UNAVAILABLE, entry,
			"is not a number above 0, nor a percentage like 25%");
	}
	rules->max_unavailable = (uint32_t)n;
	rules->max_unavailable_percent = (uint32_t)percent;
}

static void read_min_healthy(struct reader *r, const struct unit_entry *entry)
{
	uint64_t us = 0;

	if (*entry->value != '\0' &&
		(!unit_time_parse_span(entry->value, &us) || us / 1000 > UNIT_MIN_HEALTHY_MS_MAX))
		refuse(r, UNIT_MIN_HEALTHY_SEC, entry,
			"is not a time of at most one day; write one like 10s or 2min");
	r->rules->min_healthy_ms = us / 1000;
	r->rules->has_min_healthy = *entry->value != '\0';
}

/* ---- Words ------------------------------------------------------------------------------- */

static void read_loss(struct reader *r, const struct unit_entry *entry)
{
	r->rules->on_machine_loss = UNIT_LOSS_MOVE;
	for (size_t i = 0; i < FL_COUNT(losses); i++) {
		if (strcmp(entry->value, losses[i]) != 0)
			continue;
		r->rules->on_machine_loss = (enum unit_on_machine_loss)i;
		return;
	}
	if (*entry->value != '\0')
		refuse(r, UNIT_ON_MACHINE_LOSS, entry, "is not known; write move or wait");
}

static void read_exclusive(struct reader *r, const struct unit_entry *entry)
{
	bool yes = false;

	if (*entry->value != '\0' && fl_parse_bool(entry->value, &yes, NULL) != FL_OK)
		refuse(r, UNIT_EXCLUSIVE, entry, "is neither yes nor no");
	r->rules->exclusive = yes;
}

static enum fl_code read_spread(struct reader *r, const struct unit_entry *entry)
{
	char *copy = NULL;

	if (strpbrk(entry->value, BLANKS "=") != NULL)
		refuse(r, UNIT_SPREAD, entry,
			"is not one key of the machines' metadata, nor \"machine\"");
	else if (*entry->value != '\0' && !unit_name_is_instance(r->name))
		refuse(r, UNIT_SPREAD, entry,
			"spreads the instances of a template; call the file NAME@.service, or "
			"remove the line");
	if (*entry->value != '\0') {
		copy = fl_strdup(entry->value);
		if (copy == NULL)
			return FL_E_NO_MEMORY;
	}
	free(r->rules->spread);
	r->rules->spread = copy;
	return FL_OK;
}

static enum fl_code prefer_pair(struct reader *r, char *word, const struct unit_entry *entry)
{
	struct unit_rules *rules = r->rules;
	char *equals = strchr(word, '=');

	if (equals == NULL || equals == word || equals[1] == '\0' ||
		strchr(equals + 1, '=') != NULL) {
		refuse(r, UNIT_PREFER_METADATA, entry, "is not a list of key=value");
		return FL_OK;
	}
	*equals = '\0';
	return unit_metadata_rules_add(
		&rules->prefer_metadata, &rules->n_prefer_metadata, word, equals + 1);
}

static enum fl_code prefer_glob(struct reader *r, const char *word, const struct unit_entry *entry)
{
	struct fl_error why;

	if (unit_glob_check(word, &why) != FL_OK)
		unit_reporter_error(r->reporter, FL_E_INVALID, entry->line, "%s=: %s",
			names[UNIT_PREFER_CONFLICTS], why.text);
	return fl_strv_add(&r->rules->prefer_conflicts, word, NULL);
}

/* A list: values of several lines count together, an empty one forgets those before it. */
static enum fl_code read_list(
	struct reader *r, enum unit_flota_key key, const struct unit_entry *entry)
{
	struct unit_rules *rules = r->rules;
	FL_CLEANUP_STRV struct fl_strv words = {0};

	if (*entry->value == '\0' && key == UNIT_PREFER_METADATA) {
		unit_metadata_rules_fini(rules->prefer_metadata, rules->n_prefer_metadata);
		rules->prefer_metadata = NULL;
		rules->n_prefer_metadata = 0;
	} else if (*entry->value == '\0') {
		fl_strv_fini(&rules->prefer_conflicts);
	}
	FL_TRY(fl_strv_split(&words, entry->value, BLANKS, NULL));
	for (size_t i = 0; i < words.n; i++) {
		size_t n = key == UNIT_PREFER_METADATA ? rules->n_prefer_metadata
						       : rules->prefer_conflicts.n;

		if (n >= UNIT_RULES_VALUES_MAX || strlen(words.items[i]) > UNIT_RULES_VALUE_MAX) {
			unit_reporter_error(r->reporter, FL_E_LIMIT, entry->line,
				"%s= has more than %d values, or one of more than %d bytes",
				names[key], UNIT_RULES_VALUES_MAX, UNIT_RULES_VALUE_MAX);
			return FL_OK;
		}
		/* Quotes are of [X-Fleet]: here they would be part of what is never met. */
		if (strchr(words.items[i], '"') != NULL) {
			refuse(r, key, entry, "is not a list of words without quotes");
			return FL_OK;
		}
		FL_TRY(key == UNIT_PREFER_METADATA ? prefer_pair(r, words.items[i], entry)
						   : prefer_glob(r, words.items[i], entry));
	}
	return FL_OK;
}

/* ---- The section ------------------------------------------------------------------------- */

static enum fl_code read_entry(struct reader *r, const struct unit_entry *entry)
{
	enum unit_flota_key key = 0;
	const char *near;

	while (key < FL_COUNT(names) && strcmp(entry->key, names[key]) != 0)
		key++;
	if (key < FL_COUNT(names))
		r->lines[key] = *entry->value != '\0' ? entry->line : 0;
	switch (key) {
	case UNIT_ON_MACHINE_LOSS:
		read_loss(r, entry);
		return FL_OK;
	case UNIT_EXCLUSIVE:
		read_exclusive(r, entry);
		return FL_OK;
	case UNIT_MEMORY:
		read_memory(r, entry);
		return FL_OK;
	case UNIT_CPUS:
		read_cpus(r, entry);
		return FL_OK;
	case UNIT_PRIORITY:
		read_priority(r, entry);
		return FL_OK;
	case UNIT_SPREAD:
		return read_spread(r, entry);
	case UNIT_PREFER_METADATA:
	case UNIT_PREFER_CONFLICTS:
		return read_list(r, key, entry);
	case UNIT_REPLICAS:
		read_replicas(r, entry);
		return FL_OK;
	case UNIT_MAX_UNAVAILABLE:
		read_max_unavailable(r, entry);
		return FL_OK;
	case UNIT_MIN_HEALTHY_SEC:
		read_min_healthy(r, entry);
		return FL_OK;
	}
	near = unit_suggest(entry->key, names, FL_COUNT(names));
	unit_reporter_error(r->reporter, FL_E_INVALID, entry->line,
		"[X-Flota] has no key \"%s\"%s%s%s", entry->key,
		near != NULL ? "; did you mean " : "", near != NULL ? near : "",
		near != NULL ? "=?" : "; docs/UNIT-FILES.md lists them");
	return FL_OK;
}

static void check_combinations(struct reader *r)
{
	const struct unit_rules *rules = r->rules;

	if (!rules->global && rules->machine_id == NULL)
		return;
	for (size_t i = 0; i < FL_COUNT(placing); i++) {
		unsigned line = r->lines[placing[i].key];

		if (line > 0 && (rules->global || placing[i].beside_machine_id))
			unit_reporter_error(r->reporter, FL_E_INVALID, line,
				"%s= has no meaning with %s=: where such a unit runs is not "
				"chosen; remove one of them",
				names[placing[i].key], rules->global ? "Global" : "MachineID");
	}
}

/* ---- Exclusive= -------------------------------------------------------------------------- */

/* systemd.service(5), .socket, .mount and .swap; no time, or none that ends, is the longest. */
static uint32_t stop_ms(const struct unit_file *file)
{
	static const char *const sections[] = {"Service", "Socket", "Mount", "Swap"};
	static const char *const keys[] = {"TimeoutStopSec", "TimeoutSec"};
	const struct unit_entry *last = NULL;
	uint64_t us;

	for (size_t i = 0; i < FL_COUNT(sections) * FL_COUNT(keys); i++) {
		const struct unit_entry *entry = unit_file_last(
			file, sections[i / FL_COUNT(keys)], keys[i % FL_COUNT(keys)]);

		if (entry != NULL && (last == NULL || entry->line > last->line))
			last = entry;
	}
	if (last == NULL || *last->value == '\0')
		return UNIT_STOP_MS_DEFAULT;
	if (!unit_time_parse_span(last->value, &us) || us == 0 || us / 1000 >= UNIT_STOP_MS_MAX)
		return UNIT_STOP_MS_MAX;
	return (uint32_t)((us + 999) / 1000);
}

/* ---- Claims ------------------------------------------------------------------------------ */

/* The limit that the host will set is what a unit may use (systemd.resource-control(5)). */
static const struct unit_entry *limit_entry(const struct unit_file *file, const char *key)
{
	static const char *const sections[] = {"Service", "Socket", "Mount", "Swap", "Slice"};

	for (size_t i = 0; i < FL_COUNT(sections); i++) {
		const struct unit_entry *entry = unit_file_last(file, sections[i], key);

		if (entry != NULL && *entry->value != '\0')
			return entry;
	}
	return NULL;
}

static void claim_memory_max(struct reader *r, const struct unit_file *file)
{
	const struct unit_entry *entry = limit_entry(file, "MemoryMax");
	struct unit_claims *claims = &r->rules->claims;
	uint64_t permyriad;

	if (entry == NULL) /* as it was called before systemd 231 */
		entry = limit_entry(file, "MemoryLimit");
	if (entry == NULL || strcmp(entry->value, "infinity") == 0)
		return;
	if (parse_percent(entry->value, 2, &permyriad) && permyriad <= 10000)
		claims->memory_permyriad = (uint32_t)permyriad;
	else if (fl_parse_size(entry->value, &claims->memory_bytes, NULL) != FL_OK)
		unit_reporter_warning(r->reporter, entry->line,
			"%s=%s is not a size; no memory is counted for the unit", entry->key,
			entry->value);
}

static void claim_cpu_quota(struct reader *r, const struct unit_file *file)
{
	const struct unit_entry *entry = limit_entry(file, "CPUQuota");
	uint64_t milli;

	if (entry == NULL)
		return;
	if (parse_percent(entry->value, 1, &milli) && milli <= UNIT_CPUS_MAX * 1000)
		r->rules->claims.cpu_milli = (uint32_t)milli;
	else
		unit_reporter_warning(r->reporter, entry->line,
			"CPUQuota=%s is not a percentage; no CPU time is counted for the unit",
			entry->value);
}

enum fl_code unit_rules_read_flota(const struct unit_file *file, const char *name,
	struct unit_reporter *reporter, struct unit_rules *rules)
{
	struct reader r = {.name = name, .reporter = reporter, .rules = rules};

	for (size_t i = 0; i < unit_file_count(file) && !unit_reporter_done(reporter); i++) {
		const struct unit_entry *entry = unit_file_entry(file, i);

		if (strcmp(entry->section, "X-Flota") == 0)
			FL_TRY(read_entry(&r, entry));
	}
	if (r.lines[UNIT_MEMORY] == 0)
		claim_memory_max(&r, file);
	if (r.lines[UNIT_CPUS] == 0)
		claim_cpu_quota(&r, file);
	if (rules->exclusive)
		rules->stop_ms = stop_ms(file);
	check_combinations(&r);
	return FL_OK;
}

/* ---- Metadata ---------------------------------------------------------------------------- */

enum fl_code unit_metadata_rules_add(
	struct unit_metadata_rule **rules, size_t *n, const char *key, const char *value)
{
	struct unit_metadata_rule *rule = *rules;
	size_t i = 0;

	while (i < *n && strcmp(rule[i].key, key) < 0)
		i++;
	if (i == *n || strcmp(rule[i].key, key) != 0) {
		char *copy;

		rule = reallocarray(rule, *n + 1, sizeof(*rule));
		if (rule == NULL)
			return FL_E_NO_MEMORY;
		*rules = rule;
		copy = fl_strdup(key);
		if (copy == NULL)
			return FL_E_NO_MEMORY;
		memmove(&rule[i + 1], &rule[i], (*n - i) * sizeof(*rule));
		rule[i] = (struct unit_metadata_rule){.key = copy};
		++*n;
	}
	return fl_strv_has(&rule[i].values, value) ? FL_OK
						   : fl_strv_add(&rule[i].values, value, NULL);
}

void unit_metadata_rules_fini(struct unit_metadata_rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(rules[i].key);
		fl_strv_fini(&rules[i].values);
	}
	free(rules);
}
