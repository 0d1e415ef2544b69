/*
 * Columns as fleetctl printed them, by Go's text/tabwriter (minwidth 0, tabwidth 8, padding 1,
 * padded with tabs): each column but the last is filled up with tabs to a multiple of 8 that is at
 * least one wider than its widest cell. Programs cut such lines at tabs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/term.h"

struct table;

enum fl_code table_new(
	size_t n_columns, struct table **ret_table, struct fl_error *err) FL_MUST_CHECK;
void table_free(struct table *table);
FL_DEFINE_CLEANUP(struct table *, table_free)

/* Appends a cell, row by row from the left. NULL and "" are "-"; what would break a line (tabs,
 * newlines, other control characters) becomes a space. */
enum fl_code table_add(struct table *table, const char *text, enum term_colour colour,
	struct fl_error *err) FL_MUST_CHECK;

void table_print(const struct table *table, bool colours, FILE *out);
