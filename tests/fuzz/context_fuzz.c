/*
 * Whatever stands in ~/.config/flota/config: read or refused with file:line; and what
 * `flotactl config set` and `use` make of a file that can be read says what was asked for, and all
 * else as before.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/context.h"
#include "tests/fuzz/foreign_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void load(const char *text, struct contexts *ret_contexts)
{
	char path[FOREIGN_PATH_SIZE];

	foreign_file(text, strlen(text), path);
	CHECK(contexts_load(path, ret_contexts, NULL) == FL_OK);
}

/* @before and @after are the same but for the endpoint of @name. */
static void check_same(
	const struct contexts *before, const struct contexts *after, const char *name)
{
	CHECK(same_text(before->current, after->current));
	for (size_t i = 0; i < before->n; i++) {
		const struct context *a = &before->items[i];
		const struct context *b = contexts_find(after, a->name);

		CHECK(b != NULL);
		CHECK(strcmp(a->name, name) == 0 || same_text(a->endpoint, b->endpoint));
		CHECK(same_text(a->ca_certificate, b->ca_certificate));
		CHECK(same_text(a->certificate, b->certificate) && same_text(a->key, b->key));
	}
}

static void check_set(const char *text, const struct contexts *before, const char *name)
{
	CONTEXTS_CLEANUP struct contexts after = {0};
	FL_CLEANUP(fl_freep) char *section = fl_printf("Context %s", name), *edited = NULL;
	FL_CLEANUP(fl_freep) char *again = NULL;

	CHECK(section != NULL);
	CHECK(context_edit(text, section, "Endpoint", "ipc:///new", &edited, NULL) == FL_OK);
	load(edited, &after);
	check_same(before, &after, name);
	CHECK(same_text(contexts_find(&after, name)->endpoint, "ipc:///new"));
	CHECK(context_edit(edited, section, "Endpoint", "ipc:///new", &again, NULL) == FL_OK);
	CHECK(strcmp(edited, again) == 0);
}

static void check_use(const char *text, const struct contexts *before, const char *name)
{
	CONTEXTS_CLEANUP struct contexts after = {0};
	FL_CLEANUP(fl_freep) char *edited = NULL;

	CHECK(context_edit(text, "Flotactl", "Context", name, &edited, NULL) == FL_OK);
	load(edited, &after);
	CHECK(same_text(after.current, name));
	CHECK(before->n == after.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CONTEXTS_CLEANUP struct contexts contexts = {0};
	FL_CLEANUP(fl_freep) char *text = fl_memdup0(data, size);
	char path[FOREIGN_PATH_SIZE];
	struct fl_error err = {0};
	enum fl_code code;

	CHECK(text != NULL);
	foreign_file(data, size, path);
	code = contexts_load(path, &contexts, &err);
	if (code != FL_OK) {
		CHECK(code == err.code && strncmp(err.text, path, strlen(path)) == 0);
		return 0;
	}
	for (size_t i = 0; i < contexts.n; i++) {
		CHECK(context_name_check(contexts.items[i].name, NULL) == FL_OK);
		check_set(text, &contexts, contexts.items[i].name);
		check_use(text, &contexts, contexts.items[i].name);
	}
	check_set(text, &contexts, "one-more");
	return 0;
}
