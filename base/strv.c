#include "base/strv.h"

#include <stdlib.h>
#include <string.h>

void fl_strv_fini(struct fl_strv *strv)
{
	for (size_t i = 0; i < strv->n; i++)
		free(strv->items[i]);
	free(strv->items);
	*strv = (struct fl_strv){0};
}

enum fl_code fl_strv_add_n(struct fl_strv *strv, const char *text, size_t len, struct fl_error *err)
{
	char *copy = fl_memdup0(text, len);

	if (copy == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (strv->n + 1 >= strv->capacity) {
		size_t capacity = strv->capacity > 0 ? 2 * strv->capacity : 4;
		char **items = reallocarray(strv->items, capacity, sizeof(*items));

		if (items == NULL) {
			free(copy);
			return FL_FAIL_NO_MEMORY(err);
		}
		strv->items = items;
		strv->capacity = capacity;
	}
	strv->items[strv->n++] = copy;
	strv->items[strv->n] = NULL;
	return FL_OK;
}

enum fl_code fl_strv_add(struct fl_strv *strv, const char *text, struct fl_error *err)
{
	return fl_strv_add_n(strv, text, strlen(text), err);
}

enum fl_code fl_strv_split(
	struct fl_strv *strv, const char *text, const char *separators, struct fl_error *err)
{
	for (;;) {
		size_t n;

		text += strspn(text, separators);
		if (*text == '\0')
			return FL_OK;
		n = strcspn(text, separators);
		FL_TRY(fl_strv_add_n(strv, text, n, err));
		text += n;
	}
}

enum fl_code fl_strv_copy(struct fl_strv *to, const struct fl_strv *from, struct fl_error *err)
{
	FL_CLEANUP_STRV struct fl_strv copy = {0};

	for (size_t i = 0; i < from->n; i++)
		FL_TRY(fl_strv_add(&copy, from->items[i], err));
	fl_strv_fini(to);
	*to = copy;
	copy = (struct fl_strv){0};
	return FL_OK;
}

bool fl_strv_has(const struct fl_strv *strv, const char *text)
{
	for (size_t i = 0; i < strv->n; i++)
		if (strcmp(strv->items[i], text) == 0)
			return true;
	return false;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void fl_strv_sort(struct fl_strv *strv)
{
	if (strv->n > 1)
		qsort(strv->items, strv->n, sizeof(*strv->items), compare);
}
