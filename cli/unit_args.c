#include "cli/unit_args.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/dialect.h"
#include "cli/verify.h"
#include "unitfiles/file.h"
#include "unitfiles/name.h"
#include "unitfiles/rules.h"

void unit_arg_fini(struct unit_arg *arg)
{
	free(arg->name);
	free(arg->path);
	free(arg->template_name);
	free(arg->template_path);
}

void unit_args_fini(struct unit_args *args)
{
	for (size_t i = 0; i < args->n; i++)
		unit_arg_fini(&args->items[i]);
	free(args->items);
	memset(args, 0, sizeof(*args));
}

/* @name beside what was typed. */
static char *beside(const char *typed, const char *name)
{
	const char *slash = strrchr(typed, '/');

	return slash == NULL ? fl_strdup(name)
			     : fl_printf("%.*s%s", (int)(slash + 1 - typed), typed, name);
}

static enum fl_code parse_one(const char *typed, struct unit_arg *arg, struct fl_error *err)
{
	char name[UNIT_NAME_MAX + 1], template_name[UNIT_NAME_MAX + 1];

	FL_TRY(unit_name_from_argument(typed, name, err));
	arg->name = fl_strdup(name);
	arg->path = beside(typed, name);
	if (arg->name == NULL || arg->path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (!unit_name_is_instance(name))
		return FL_OK;
	FL_TRY(unit_name_template_of(name, template_name, err));
	arg->template_name = fl_strdup(template_name);
	arg->template_path = beside(typed, template_name);
	if (arg->template_name == NULL || arg->template_path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

static bool has(const struct unit_args *args, const char *name)
{
	for (size_t i = 0; i < args->n; i++)
		if (strcmp(args->items[i].name, name) == 0)
			return true;
	return false;
}

enum fl_code unit_args_parse(
	char **typed, size_t n, struct unit_args *ret_args, struct fl_error *err)
{
	UNIT_ARGS_CLEANUP struct unit_args args = {0};

	args.items = fl_new_array(n, sizeof(*args.items));
	if (args.items == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (size_t i = 0; i < n; i++) {
		struct unit_arg arg = {0};
		enum fl_code code = parse_one(typed[i], &arg, err);

		if (code != FL_OK) {
			unit_arg_fini(&arg);
			return fl_error_prefix(err, code, "%s", typed[i]);
		}
		if (has(&args, arg.name))
			unit_arg_fini(&arg);
		else
			args.items[args.n++] = arg;
	}
	*ret_args = args;
	args = (struct unit_args){0};
	return FL_OK;
}

void unit_source_fini(struct unit_source *source)
{
	free(source->text);
	memset(source, 0, sizeof(*source));
}

/* The local file of the unit, or of its template; NULL: there is none. */
static const char *local_file(const struct unit_arg *arg)
{
	if (access(arg->path, F_OK) == 0)
		return arg->path;
	if (arg->template_path != NULL && access(arg->template_path, F_OK) == 0)
		return arg->template_path;
	return NULL;
}

static enum fl_code read_local(const struct unit_arg *arg, const char *path, bool lenient,
	struct fl_strv *problems, struct unit_source *source, struct fl_error *err)
{
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	enum fl_code code;

	code = verify_file(path, arg->name, lenient, &report, &source->text, &source->len, err);
	if (code != FL_OK)
		FL_TRY(fl_strv_copy(problems, &report.errors, err));
	source->origin = UNIT_FROM_FILE;
	source->path = path;
	return code;
}

/* A local file that is not sent matters only if it is another one; that it cannot be read does
 * not. */
static bool is_different(const struct unit_arg *arg, const char *path, const Pb__Unit *stored)
{
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	FL_CLEANUP(fl_freep) char *text = NULL;
	char hash[UNIT_FILE_HASH_SIZE];
	size_t len;

	if (verify_file(path, arg->name, true, &report, &text, &len, NULL) != FL_OK)
		return true;
	if (unit_file_parse(text, len, path, NULL, &file, NULL) != FL_OK ||
		unit_file_hash(file, hash, NULL) != FL_OK)
		return true;
	return strcmp(hash, stored->hash) != 0;
}

enum fl_code unit_source_find(const struct unit_arg *arg, const Pb__Unit *stored,
	const Pb__Unit *stored_template, bool replace, bool lenient, struct fl_strv *problems,
	struct unit_source *ret_source, struct fl_error *err)
{
	UNIT_SOURCE_CLEANUP struct unit_source source = {0};
	const char *local = local_file(arg);

	if (stored != NULL && (local == NULL || !replace)) {
		*ret_source = (struct unit_source){.origin = UNIT_FROM_REGISTRY, .path = local};
		ret_source->differs = local != NULL && is_different(arg, local, stored);
		return FL_OK;
	}
	if (stored_template != NULL && local != arg->path && (local == NULL || !replace)) {
		*ret_source = (struct unit_source){.origin = UNIT_FROM_REGISTRY_TEMPLATE};
		return FL_OK;
	}
	if (local == NULL && arg->template_name != NULL)
		return DIALECT_FAIL(err, TEXT_TEMPLATE_NOWHERE, arg->name, arg->template_name);
	if (local == NULL)
		return DIALECT_FAIL(err, TEXT_UNIT_NOWHERE, arg->name, arg->path);
	FL_TRY(read_local(arg, local, lenient, problems, &source, err));
	source.differs = stored != NULL && is_different(arg, local, stored);
	*ret_source = source;
	source = (struct unit_source){0};
	return FL_OK;
}

enum fl_code unit_source_can_start(
	const char *name, const char *text, size_t len, bool *ret_can_start, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	struct unit_rules rules;

	*ret_can_start = true;
	if (!unit_name_is_template(name))
		return FL_OK;
	FL_TRY(unit_file_parse(text, len, name, NULL, &file, err));
	FL_TRY(unit_rules_read(file, name, UNIT_LENIENT, NULL, &rules, err));
	*ret_can_start = rules.replicas > 0;
	unit_rules_fini(&rules);
	return FL_OK;
}
