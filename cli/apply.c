#include "cli/apply.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/map.h"
#include "cli/batch.h"
#include "cli/diff.h"
#include "cli/json.h"
#include "cli/term.h"
#include "cli/unit_args.h"
#include "cli/verify.h"
#include "unitfiles/name.h"

/* Of --dry-run, as diff(1): 0 nothing to do, or */
#define EXIT_CHANGES 2
#define EXIT_TROUBLE 1

struct file {
	char *path, *name, *text;
	size_t len;
};

/* What is to be done to one unit. */
struct action {
	const char *name;
	const char *what; /* "new", "changed", "gone" */
	const struct file *file; /* NULL: it is to go */
	const Pb__Unit *stored; /* NULL: it is to come */
	const struct change_kind *kind;
};

struct plan {
	struct file *files;
	size_t n_files, capacity;
	struct fl_map *by_name; /* the files */
	struct connection *connection;
	Pb__Envelope *stored;
	struct action *actions;
	size_t n;
};

static void plan_fini(struct plan *plan)
{
	for (size_t i = 0; i < plan->n_files; i++) {
		free(plan->files[i].path);
		free(plan->files[i].name);
		free(plan->files[i].text);
	}
	free(plan->files);
	free(plan->actions);
	fl_map_free(plan->by_name);
	wire_free(plan->stored);
	connection_close(plan->connection);
}

/* ---- the files ---- */

/* @path is taken over. */
static enum fl_code add_file(struct plan *plan, char *path, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *owned = path;
	char name[UNIT_NAME_MAX + 1];
	enum fl_code code;

	if (owned == NULL)
		return FL_FAIL_NO_MEMORY(err);
	code = unit_name_from_argument(path, name, err);
	if (code != FL_OK)
		return fl_error_prefix(err, code, "%s", path);
	if (plan->n_files == plan->capacity) {
		size_t capacity = 2 * plan->capacity + 16;
		struct file *files = reallocarray(plan->files, capacity, sizeof(*files));

		if (files == NULL)
			return FL_FAIL_NO_MEMORY(err);
		plan->files = files;
		plan->capacity = capacity;
	}
	plan->files[plan->n_files] = (struct file){.name = fl_strdup(name)};
	if (plan->files[plan->n_files].name == NULL)
		return FL_FAIL_NO_MEMORY(err);
	plan->files[plan->n_files++].path = FL_TAKE(owned);
	return FL_OK;
}

static int is_unit_file(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && entry->d_type != DT_DIR &&
	       unit_name_kind(entry->d_name) != UNIT_KIND_UNKNOWN;
}

static enum fl_code add_folder(struct plan *plan, const char *folder, struct fl_error *err)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_unit_file, alphasort);
	enum fl_code code = FL_OK;

	if (n < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", folder);
	for (int i = 0; i < n; i++) {
		if (code == FL_OK)
			code = add_file(plan, fl_printf("%s/%s", folder, entries[i]->d_name), err);
		free(entries[i]);
	}
	free(entries);
	return code;
}

static enum fl_code collect(struct plan *plan, const struct command *command, struct fl_error *err)
{
	for (size_t i = 0; i < command->n_args; i++) {
		const char *path = command->args[i];
		struct stat status;

		if (stat(path, &status) != 0)
			return FL_FAIL_ERRNO(err, errno, "%s", path);
		if (S_ISDIR(status.st_mode))
			FL_TRY(add_folder(plan, path, err));
		else
			FL_TRY(add_file(plan, fl_strdup(path), err));
	}
	/* They stay where they are from here on. */
	FL_TRY(fl_map_new(&plan->by_name, err));
	for (size_t i = 0; i < plan->n_files; i++) {
		struct file *file = &plan->files[i];
		const struct file *other = fl_map_get(plan->by_name, file->name);

		if (other != NULL)
			return FL_FAIL(err, FL_E_INVALID, "%s and %s are both %s", other->path,
				file->path, file->name);
		FL_TRY(fl_map_put(plan->by_name, file->name, file, err));
	}
	return FL_OK;
}

/* All that is wrong with any is told. */
static enum fl_code read_files(struct plan *plan, bool lenient, struct fl_error *err)
{
	size_t n_bad = 0;

	for (size_t i = 0; i < plan->n_files; i++) {
		UNIT_CLEANUP_REPORT struct unit_report report = {0};
		struct file *file = &plan->files[i];

		if (verify_file(file->path, file->name, lenient, &report, &file->text, &file->len,
			    err) != FL_OK)
			n_bad++;
		verify_tell(&report);
	}
	if (n_bad > 0)
		return FL_FAIL(err, FL_E_INVALID,
			"%zu of %zu files cannot be used; nothing was changed", n_bad,
			plan->n_files);
	return FL_OK;
}

/* ---- the plan ---- */

static bool is_stored(const struct file *file, const Pb__Unit *stored)
{
	return stored->content.len == file->len &&
	       (file->len == 0 || memcmp(stored->content.data, file->text, file->len) == 0);
}

static enum fl_code plan_file(struct plan *plan, const struct file *file, const Pb__Unit *stored,
	bool no_start, struct fl_error *err)
{
	struct action action = {.name = file->name, .file = file, .stored = stored};
	bool can_start = false;

	if (stored != NULL && is_stored(file, stored))
		return FL_OK;
	if (stored != NULL) {
		action.what = "changed";
		FL_TRY(change_that_replaces(stored, file->text, file->len, &action.kind, err));
	} else {
		action.what = "new";
		if (!no_start)
			FL_TRY(unit_source_can_start(
				file->name, file->text, file->len, &can_start, err));
		action.kind = can_start ? &change_start : &change_submit;
	}
	plan->actions[plan->n++] = action;
	return FL_OK;
}

/* An instance is there because of its template. */
static bool is_wanted(const struct plan *plan, const char *name)
{
	char template_name[UNIT_NAME_MAX + 1];

	if (fl_map_get(plan->by_name, name) != NULL)
		return true;
	return unit_name_is_instance(name) &&
	       unit_name_template_of(name, template_name, NULL) == FL_OK &&
	       fl_map_get(plan->by_name, template_name) != NULL;
}

static enum fl_code make_plan(
	struct plan *plan, const struct cli_options *options, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char **names = fl_new_array(plan->n_files + 1, sizeof(*names));
	FL_CLEANUP(fl_map_freep) struct fl_map *stored = NULL;
	const Pb__UnitsReply *units;

	if (names == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < plan->n_files; i++)
		names[i] = plan->files[i].name;
	/* No names would be all of them. */
	if (plan->n_files == 0)
		return FL_OK;
	FL_TRY(connection_units(plan->connection, names, options->prune ? 0 : plan->n_files, true,
		&plan->stored, err));
	units = plan->stored->units_reply;
	plan->actions = fl_new_array(plan->n_files + units->n_units + 1, sizeof(*plan->actions));
	if (plan->actions == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_map_new(&stored, err));
	for (size_t i = 0; i < units->n_units; i++)
		FL_TRY(fl_map_put(stored, units->units[i]->name, units->units[i], err));
	for (size_t i = 0; i < plan->n_files; i++)
		FL_TRY(plan_file(plan, &plan->files[i], fl_map_get(stored, plan->files[i].name),
			options->no_start, err));
	for (size_t i = 0; options->prune && i < units->n_units; i++)
		if (units->units[i]->replica_of[0] == '\0' &&
			!is_wanted(plan, units->units[i]->name))
			plan->actions[plan->n++] = (struct action){.name = units->units[i]->name,
				.what = "gone",
				.stored = units->units[i],
				.kind = &change_destroy};
	return FL_OK;
}

static enum fl_code print_diff(
	const struct action *action, bool colours, FILE *out, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *old = NULL;
	const ProtobufCBinaryData *content;

	if (action->file == NULL || action->stored == NULL)
		return FL_OK;
	content = &action->stored->content;
	old = fl_memdup0(content->len > 0 ? (const char *)content->data : "", content->len);
	if (old == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return diff_print(old, action->file->text, action->stored->name, action->file->path,
		colours, out, err);
}

/* What comes of it, said behind the unit's name. */
static const char *consequence(const struct action *action)
{
	if (action->file == NULL)
		return ", to be destroyed";
	if (action->kind != &change_start)
		return "";
	return action->stored == NULL ? ", to be started" : ", to be restarted";
}

static enum fl_code print_plan(const struct plan *plan, struct fl_error *err)
{
	size_t n_new = 0, n_gone = 0;

	for (size_t i = 0; i < plan->n; i++) {
		const struct action *action = &plan->actions[i];

		n_new += action->stored == NULL;
		n_gone += action->file == NULL;
		printf("%-8s %s%s\n", action->what, action->name, consequence(action));
		FL_TRY(print_diff(action, term_has_colours(stdout), stdout, err));
	}
	printf("%zu new, %zu changed, %zu gone\n", n_new, plan->n - n_new - n_gone, n_gone);
	return FL_OK;
}

static enum fl_code diff_text(const struct action *action, char **ret_text, struct fl_error *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	enum fl_code code;

	if (out == NULL)
		return FL_FAIL_NO_MEMORY(err);
	code = print_diff(action, false, out, err);
	if (fclose(out) != 0 && code == FL_OK)
		code = FL_FAIL_NO_MEMORY(err);
	if (code == FL_OK)
		*ret_text = text;
	else
		free(text);
	return code;
}

static enum fl_code print_plan_json(const struct plan *plan, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;

	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < plan->n; i++) {
		const struct action *action = &plan->actions[i];
		FL_CLEANUP(fl_freep) char *text = NULL;

		FL_TRY(diff_text(action, &text, err));
		FL_TRY(json_add(array,
			json_pack("{s:s, s:s, s:s, s:s?, s:s}", "unit", action->name, "plan",
				action->what, "verb", action->kind->name, "file",
				action->file != NULL ? action->file->path : NULL, "diff", text),
			err));
	}
	return json_print(array, err);
}

static void set_item(struct batch *batch, size_t i, const struct action *action)
{
	Pb__Change *proto = &batch->items[i].proto;

	batch_set(batch, i, action->kind, action->name, action->stored);
	proto->replace = action->stored != NULL;
	if (action->file != NULL) {
		proto->content.data = (uint8_t *)action->file->text;
		proto->content.len = action->file->len;
	}
}

/* What goes, goes first: it may be in the way of what comes. */
static enum fl_code carry_out(
	struct plan *plan, struct command *command, bool json, struct fl_error *err)
{
	BATCH_CLEANUP struct batch batch = {0};
	size_t n = 0;

	FL_TRY(batch_init(&batch, command, plan->connection, plan->n, json, err));
	for (size_t i = 0; i < plan->n; i++)
		if (plan->actions[i].file == NULL)
			set_item(&batch, n++, &plan->actions[i]);
	for (size_t i = 0; i < plan->n; i++)
		if (plan->actions[i].file != NULL)
			set_item(&batch, n++, &plan->actions[i]);
	return batch_run(&batch, err);
}

static enum fl_code apply(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(plan_fini) struct plan plan = {0};
	const struct cli_options *options = command->options;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	if (json && !options->yes && !options->dry_run)
		return FL_FAIL(err, FL_E_USAGE,
			"--output=json is for programs, which nobody asks: add --yes, or --dry-run");
	FL_TRY(collect(&plan, command, err));
	/* A path that is wrong, or not mounted now, must not be the end of a fleet. */
	if (options->prune && plan.n_files == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"there is no unit file in %s, and --prune would destroy every unit of the "
			"fleet; \"flotactl destroy\" does, by their names",
			command->args[0]);
	FL_TRY(read_files(&plan, options->lenient, err));
	FL_TRY(connection_open(options, &plan.connection, err));
	FL_TRY(make_plan(&plan, options, err));
	if (!json)
		FL_TRY(print_plan(&plan, err));
	if (json && (options->dry_run || plan.n == 0))
		FL_TRY(print_plan_json(&plan, err));
	if (options->dry_run && plan.n > 0)
		command->exit_code = EXIT_CHANGES;
	if (options->dry_run || plan.n == 0)
		return FL_OK;
	if (!options->yes)
		FL_TRY(term_confirm("Do this?", "nothing was changed", err));
	return carry_out(&plan, command, json, err);
}

enum fl_code verb_apply(struct command *command, struct fl_error *err)
{
	struct fl_error why = {0};
	enum fl_code code = apply(command, &why);

	if (code == FL_OK)
		return FL_OK;
	if (!command->options->dry_run)
		return FL_FAIL(err, code, "%s", fl_error_text(&why));
	term_error("%s", fl_error_text(&why));
	command->exit_code = EXIT_TROUBLE;
	return FL_OK;
}
