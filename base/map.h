/*
 * A hash map from strings to pointers, over uthash. Keys are copied, values are borrowed: who
 * puts a value frees it. Order of iteration is the order of insertion.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/memory.h"

struct fl_map;
struct fl_map_entry;

enum fl_code fl_map_new(struct fl_map **ret_map, struct fl_error *err) FL_MUST_CHECK;
void fl_map_free(struct fl_map *map);
FL_DEFINE_CLEANUP(struct fl_map *, fl_map_free)

/* Puts @value under @key, in place of one that is there. @value is not NULL. */
enum fl_code fl_map_put(
	struct fl_map *map, const char *key, void *value, struct fl_error *err) FL_MUST_CHECK;

/* The value, or NULL. */
void *fl_map_get(const struct fl_map *map, const char *key);

/* Takes it out and returns it, or NULL. */
void *fl_map_remove(struct fl_map *map, const char *key);

size_t fl_map_count(const struct fl_map *map);

/* Iteration; the body may remove the entry it is at, and no other. */
struct fl_map_entry *fl_map_first(const struct fl_map *map);
struct fl_map_entry *fl_map_next(const struct fl_map_entry *entry);
const char *fl_map_key(const struct fl_map_entry *entry);
void *fl_map_value(const struct fl_map_entry *entry);

#define FL_MAP_FOREACH(entry, following, map) \
	for (struct fl_map_entry *entry = fl_map_first(map), \
				 *following = entry != NULL ? fl_map_next(entry) : NULL; \
		entry != NULL; \
		entry = following, following = entry != NULL ? fl_map_next(entry) : NULL)
