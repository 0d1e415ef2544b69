#include "cli/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/context.h"
#include "cli/json.h"
#include "cli/table.h"

#define FILE_MAX_BYTES (1U << 20)

static enum fl_code list_json(const struct contexts *contexts, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < contexts->n; i++) {
		const struct context *c = &contexts->items[i];
		bool current = contexts->current != NULL && strcmp(contexts->current, c->name) == 0;

		FL_TRY(json_add(array,
			json_pack("{s:s, s:b, s:s?, s:s?, s:s?, s:s?}", "context", c->name,
				"current", (int)current, "endpoint", c->endpoint, "ca_certificate",
				c->ca_certificate, "certificate", c->certificate, "key", c->key),
			err));
	}
	return json_print(array, err);
}

static enum fl_code list(const struct command *command, const char *path, struct fl_error *err)
{
	CONTEXTS_CLEANUP struct contexts contexts = {0};
	FL_CLEANUP(table_freep) struct table *table = NULL;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(contexts_load(path, &contexts, err));
	if (json)
		return list_json(&contexts, err);
	FL_TRY(table_new(3, &table, err));
	FL_TRY(table_add(table, "CURRENT", TERM_PLAIN, err));
	FL_TRY(table_add(table, "CONTEXT", TERM_PLAIN, err));
	FL_TRY(table_add(table, "ENDPOINT", TERM_PLAIN, err));
	for (size_t i = 0; i < contexts.n; i++) {
		const struct context *c = &contexts.items[i];
		bool current = contexts.current != NULL && strcmp(contexts.current, c->name) == 0;

		FL_TRY(table_add(table, current ? "*" : " ", TERM_PLAIN, err));
		FL_TRY(table_add(table, c->name, current ? TERM_BOLD : TERM_PLAIN, err));
		FL_TRY(table_add(table, c->endpoint, TERM_PLAIN, err));
	}
	table_print(table, term_has_colours(stdout), stdout);
	return FL_OK;
}

static enum fl_code read_text(const char *path, char **ret_text, struct fl_error *err)
{
	enum fl_code code;
	size_t len;

	code = fl_file_read(path, FILE_MAX_BYTES, ret_text, &len, err);
	if (code != FL_E_NOT_FOUND)
		return code;
	*ret_text = fl_strdup("");
	return *ret_text != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code write_text(const char *path, const char *text, struct fl_error *err)
{
	const char *slash = strrchr(path, '/');
	FL_CLEANUP(fl_freep) char *folder = fl_printf("%.*s", (int)(slash - path), path);

	if (folder == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_mkdir_all(folder, 0700, err));
	return fl_file_write(path, text, strlen(text), 0600, true, err);
}

static enum fl_code use(const struct command *command, const char *path, struct fl_error *err)
{
	CONTEXTS_CLEANUP struct contexts contexts = {0};
	FL_CLEANUP(fl_freep) char *text = NULL, *edited = NULL;
	const char *name;

	if (command->n_args != 2)
		return FL_FAIL(err, FL_E_USAGE, "it is used as: flotactl config use CONTEXT");
	name = command->args[1];
	FL_TRY(contexts_load(path, &contexts, err));
	if (contexts_find(&contexts, name) == NULL)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"there is no context \"%s\" in %s; make it with: flotactl config set %s "
			"Endpoint=URL",
			name, path, name);
	FL_TRY(read_text(path, &text, err));
	FL_TRY(context_edit(text, "Flotactl", "Context", name, &edited, err));
	return write_text(path, edited, err);
}

/* What is given on a command line is relative to where that was typed. */
static enum fl_code absolute(
	const char *key, const char *value, char **ret_value, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *here = NULL;
	char *text;

	if (strcmp(key, "Endpoint") == 0 || value[0] == '/') {
		text = fl_strdup(value);
	} else {
		here = getcwd(NULL, 0);
		text = here != NULL ? fl_printf("%s/%s", here, value) : NULL;
	}
	if (text == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_value = text;
	return FL_OK;
}

static enum fl_code set_one(
	char **text, const char *section, const char *assignment, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *key = NULL, *value = NULL, *edited = NULL;
	const char *equals = strchr(assignment, '=');

	if (equals == NULL || equals[1] == '\0' || strpbrk(assignment, "\n\r") != NULL)
		return FL_FAIL(err, FL_E_USAGE, "\"%s\" is not of the form KEY=VALUE", assignment);
	key = fl_printf("%.*s", (int)(equals - assignment), assignment);
	if (key == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(context_key_check(key, err));
	FL_TRY(absolute(key, equals + 1, &value, err));
	FL_TRY(context_edit(*text, section, key, value, &edited, err));
	free(*text);
	*text = FL_TAKE(edited);
	return FL_OK;
}

/* The first context that is made becomes the current one. */
static enum fl_code set(const struct command *command, const char *path, struct fl_error *err)
{
	CONTEXTS_CLEANUP struct contexts contexts = {0};
	FL_CLEANUP(fl_freep) char *text = NULL, *edited = NULL, *section = NULL;
	const char *name;

	if (command->n_args < 3)
		return FL_FAIL(
			err, FL_E_USAGE, "it is used as: flotactl config set CONTEXT KEY=VALUE...");
	name = command->args[1];
	FL_TRY(context_name_check(name, err));
	FL_TRY(contexts_load(path, &contexts, err));
	FL_TRY(read_text(path, &text, err));
	if (contexts.current == NULL) {
		FL_TRY(context_edit(text, "Flotactl", "Context", name, &edited, err));
		free(text);
		text = FL_TAKE(edited);
	}
	section = fl_printf("Context %s", name);
	if (section == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 2; i < command->n_args; i++)
		FL_TRY(set_one(&text, section, command->args[i], err));
	return write_text(path, text, err);
}

enum fl_code verb_config(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = NULL;
	const char *what = command->n_args > 0 ? command->args[0] : "list";

	FL_TRY(contexts_path(&path, err));
	if (strcmp(what, "list") == 0 && command->n_args <= 1)
		return list(command, path, err);
	if (strcmp(what, "use") == 0)
		return use(command, path, err);
	if (strcmp(what, "set") == 0)
		return set(command, path, err);
	if (strcmp(what, "path") == 0 && command->n_args == 1) {
		printf("%s\n", path);
		return FL_OK;
	}
	return FL_FAIL(err, FL_E_USAGE, "it is used as: flotactl config %s", command->verb->args);
}
