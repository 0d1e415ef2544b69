/*
 * Whatever values stand in [X-Fleet] and [X-Flota]: rules within their bounds, the same at each
 * reading, or refused with a message that names the line; and what is accepted needs no leniency.
 *
 * The first byte of the input chooses the unit's name. Each line of the rest is an assignment: its
 * first byte chooses the key, what follows is the value.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "unitfiles/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

/* The legacy names of fleet's keys included, and the keys of systemd that say what a unit claims. */
static const struct {
	const char *section, *key;
} keys[] = {
#define X(constant, name, ...) {"X-Fleet", name},
	UNIT_FLEET_KEYS(X) UNIT_FLEET_LEGACY_KEYS(X)
#undef X
#define X(constant, name, ...) {"X-Flota", name},
		UNIT_FLOTA_KEYS(X)
#undef X
			{"Service", "MemoryMax"},
	{"Service", "CPUQuota"},
};

static const char *const names[] = {"web.service", "web@.service", "web@1.service",
	"web@eu-1.timer", "a.mount", "a-very-long-name-that-specifiers-repeat@x.service"};

static void check_values(const struct fl_strv *values)
{
	CHECK(values->n <= UNIT_RULES_VALUES_MAX);
	for (size_t i = 0; i < values->n; i++)
		CHECK(strlen(values->items[i]) <= UNIT_RULES_VALUE_MAX);
}

static void check_metadata(const struct unit_metadata_rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CHECK(*rules[i].key != '\0' && rules[i].values.n > 0);
		CHECK(i == 0 || strcmp(rules[i - 1].key, rules[i].key) < 0);
		check_values(&rules[i].values);
	}
}

static void check_bounds(const struct unit_rules *rules)
{
	check_values(&rules->machine_of);
	check_values(&rules->conflicts);
	check_values(&rules->replaces);
	check_values(&rules->prefer_conflicts);
	check_metadata(rules->metadata, rules->n_metadata);
	check_metadata(rules->prefer_metadata, rules->n_prefer_metadata);
	CHECK(rules->spread == NULL || *rules->spread != '\0');
	CHECK(rules->priority >= -(int)UNIT_PRIORITY_MAX);
	CHECK(rules->priority <= (int)UNIT_PRIORITY_MAX);
	CHECK(rules->replicas <= UNIT_REPLICAS_MAX);
	CHECK(rules->max_unavailable == 0 || rules->max_unavailable_percent == 0);
	CHECK(rules->max_unavailable_percent <= 100);
	CHECK(rules->min_healthy_ms <= UNIT_MIN_HEALTHY_MS_MAX);
	CHECK(rules->has_min_healthy || rules->min_healthy_ms == 0);
	CHECK(rules->claims.memory_bytes == 0 || rules->claims.memory_permyriad == 0);
}

static const char *no_metadata(void *userdata, const char *key)
{
	(void)userdata;
	(void)key;
	return NULL;
}

/* A machine that has what is asked for first. */
static const char *fitting_metadata(void *userdata, const char *key)
{
	const struct unit_rules *rules = userdata;

	for (size_t i = 0; i < rules->n_metadata; i++)
		if (strcmp(rules->metadata[i].key, key) == 0)
			return rules->metadata[i].values.items[0];
	return NULL;
}

static void check_matches(struct unit_rules *rules)
{
	const struct unit_metadata_rule *unmet =
		unit_rules_unmet_metadata(rules, no_metadata, NULL);

	CHECK((unmet != NULL) == (rules->n_metadata > 0));
	CHECK(unit_rules_unmet_metadata(rules, fitting_metadata, rules) == NULL);
	CHECK(rules->machine_id == NULL || unit_rules_match_machine_id(rules, rules->machine_id));
	for (size_t i = 0; i < FL_COUNT(names); i++) {
		bool conflict = unit_rules_conflict_with(rules, names[i]);
		bool replace = unit_rules_replace(rules, names[i]);

		CHECK(!conflict || rules->conflicts.n > 0);
		CHECK(!replace || rules->replaces.n > 0);
	}
}

static void make_text(const uint8_t *data, size_t size, struct fl_buf *text)
{
	const char *at = (const char *)data, *end = at + size;

	fl_buf_text(text, "[Service]\nExecStart=/bin/true\n");
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		const char *stop = newline != NULL ? newline : end;

		if (stop > at) {
			size_t key = (unsigned char)*at++ % FL_COUNT(keys);

			fl_buf_printf(text, "[%s]\n%s=", keys[key].section, keys[key].key);
			fl_buf_append(text, at, (size_t)(stop - at));
			fl_buf_byte(text, '\n');
		}
		at = newline != NULL ? newline + 1 : end;
	}
}

static void read_twice(const struct unit_file *file, const char *name)
{
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	UNIT_CLEANUP_RULES struct unit_rules strict = {0}, lenient = {0};
	struct fl_error err = {0};
	enum fl_code code = unit_rules_read(file, name, 0, &report, &strict, &err);
	enum fl_code taken = unit_rules_read(file, name, UNIT_LENIENT, NULL, &lenient, NULL);

	CHECK((code == FL_OK) == (report.errors.n == 0));
	if (code != FL_OK)
		CHECK(code == err.code && strncmp(err.text, "f:", 2) == 0);
	CHECK(code != FL_OK || taken == FL_OK);
	if (taken != FL_OK)
		return;
	check_bounds(&lenient);
	check_matches(&lenient);
	if (code != FL_OK)
		return;
	check_bounds(&strict);
	CHECK(strict.global == lenient.global && strict.n_metadata == lenient.n_metadata);
	CHECK(strict.on_machine_loss == lenient.on_machine_loss);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;

	if (size == 0)
		return 0;
	make_text(data + 1, size - 1, &text);
	CHECK(fl_buf_ok(&text));
	if (unit_file_parse(fl_buf_str(&text), text.len, "f", NULL, &file, NULL) == FL_OK)
		read_twice(file, names[data[0] % FL_COUNT(names)]);
	return 0;
}
