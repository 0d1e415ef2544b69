/* A list of owned strings. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/memory.h"

struct fl_strv {
	char **items; /* n of them, then a NULL */
	size_t n;
	size_t capacity;
};

void fl_strv_fini(struct fl_strv *strv);
#define FL_CLEANUP_STRV FL_CLEANUP(fl_strv_fini)

/* Appends a copy of @text, or of its first @len bytes. */
enum fl_code fl_strv_add(
	struct fl_strv *strv, const char *text, struct fl_error *err) FL_MUST_CHECK;
enum fl_code fl_strv_add_n(
	struct fl_strv *strv, const char *text, size_t len, struct fl_error *err) FL_MUST_CHECK;

/* Appends the words of @text that any of the bytes of @separators divides; empty ones are left
 * out. */
enum fl_code fl_strv_split(struct fl_strv *strv, const char *text, const char *separators,
	struct fl_error *err) FL_MUST_CHECK;

enum fl_code fl_strv_copy(
	struct fl_strv *to, const struct fl_strv *from, struct fl_error *err) FL_MUST_CHECK;

bool fl_strv_has(const struct fl_strv *strv, const char *text);

/* By strcmp(3). */
void fl_strv_sort(struct fl_strv *strv);
