#include "base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Memory that is out is told to the caller; uthash's default would end the program. */
#define HASH_NONFATAL_OOM          1
#define uthash_nonfatal_oom(entry) ((entry)->value = NULL)
#include <uthash.h>

struct fl_map_entry {
	UT_hash_handle hh;
	void *value;
	char key[];
};

struct fl_map {
	struct fl_map_entry *entries;
};

enum fl_code fl_map_new(struct fl_map **ret_map, struct fl_error *err)
{
	struct fl_map *map = FL_NEW(struct fl_map);

	if (map == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_map = map;
	return FL_OK;
}

void fl_map_free(struct fl_map *map)
{
	struct fl_map_entry *entry, *following;

	if (map == NULL)
		return;
	HASH_ITER (hh, map->entries, entry, following) {
		HASH_DEL(map->entries, entry); /* NOLINT(clang-analyzer-unix.Malloc): unlinked */
		free(entry);
	}
	free(map);
}

static struct fl_map_entry *find(const struct fl_map *map, const char *key)
{
	struct fl_map_entry *entry;

	HASH_FIND(hh, map->entries, key, strlen(key), entry);
	return entry;
}

enum fl_code fl_map_put(struct fl_map *map, const char *key, void *value, struct fl_error *err)
{
	struct fl_map_entry *entry = find(map, key);
	size_t len = strlen(key);

	fl_assert(value != NULL);
	if (entry != NULL) {
		entry->value = value;
		return FL_OK;
	}
	entry = fl_new_array(1, sizeof(*entry) + len + 1);
	if (entry == NULL)
		return FL_FAIL_NO_MEMORY(err);
	memcpy(entry->key, key, len + 1);
	entry->value = value;
	HASH_ADD_KEYPTR(hh, map->entries, entry->key, len, entry);
	if (entry->value == NULL) {
		free(entry);
		return FL_FAIL_NO_MEMORY(err);
	}
	return FL_OK;
}

void *fl_map_get(const struct fl_map *map, const char *key)
{
	struct fl_map_entry *entry = find(map, key);

	return entry != NULL ? entry->value : NULL;
}

void *fl_map_remove(struct fl_map *map, const char *key)
{
	struct fl_map_entry *entry = find(map, key);
	void *value;

	if (entry == NULL)
		return NULL;
	value = entry->value;
	HASH_DEL(map->entries, entry);
	free(entry);
	return value;
}

size_t fl_map_count(const struct fl_map *map)
{
	return HASH_COUNT(map->entries);
}

struct fl_map_entry *fl_map_first(const struct fl_map *map)
{
	return map->entries;
}

struct fl_map_entry *fl_map_next(const struct fl_map_entry *entry)
{
	return entry->hh.next;
}

const char *fl_map_key(const struct fl_map_entry *entry)
{
	return entry->key;
}

void *fl_map_value(const struct fl_map_entry *entry)
{
	return entry->value;
}
