/* [X-Flota] and what a unit claims of its machine: the half of rules.c that fleet never had. */
#pragma once

#include "unitfiles/rules.h"

/* Reads into @rules, whose [X-Fleet] part is complete. @name is the unit's, or that of a template's
 * example instance. FL_E_NO_MEMORY; what is wrong with the file goes to @reporter. */
enum fl_code unit_rules_read_flota(const struct unit_file *file, const char *name,
	struct unit_reporter *reporter, struct unit_rules *rules) FL_MUST_CHECK;

/* Adds a pair to @rules: sorted by key, each key once, each of its values once. */
enum fl_code unit_metadata_rules_add(struct unit_metadata_rule **rules, size_t *n, const char *key,
	const char *value) FL_MUST_CHECK;
void unit_metadata_rules_fini(struct unit_metadata_rule *rules, size_t n);
