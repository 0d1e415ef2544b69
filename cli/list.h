/* list-units, list-unit-files, list-machines. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "cli/verbs.h"
#include "proto/flota.pb-c.h"

/* The tables, from what the coordinator answered. @fields is the list of --fields, NULL or ""
 * for the usual columns; FL_E_USAGE for a column that does not exist. */
struct list_style {
	const char *fields;
	bool full, legend, colours;
};

/* Units in name order; sorts the placements of each by machine ID. */
enum fl_code list_print_units(Pb__Unit *const *units, size_t n, const struct list_style *style,
	FILE *out, struct fl_error *err) FL_MUST_CHECK;
enum fl_code list_print_unit_files(Pb__Unit *const *units, size_t n, const struct list_style *style,
	FILE *out, struct fl_error *err) FL_MUST_CHECK;
enum fl_code list_print_machines(Pb__Machine *const *machines, size_t n,
	const struct list_style *style, FILE *out, struct fl_error *err) FL_MUST_CHECK;

/* The machines that refused a unit, and why; those that did not may have it (@unit, nullable). */
enum fl_code list_print_refusals(Pb__Refusal *const *refusals, size_t n, const Pb__Unit *unit,
	const struct list_style *style, FILE *out, struct fl_error *err) FL_MUST_CHECK;

enum fl_code verb_list_units(struct command *command, struct fl_error *err);
enum fl_code verb_list_unit_files(struct command *command, struct fl_error *err);
enum fl_code verb_list_machines(struct command *command, struct fl_error *err);
