#include "cli/verify.h"

#include <stdio.h>

#include "base/file.h"
#include "cli/bootstrap.h"
#include "cli/json.h"
#include "unitfiles/name.h"
#include "unitfiles/verify.h"

enum fl_code verify_file(const char *path, const char *name, bool lenient,
	struct unit_report *report, char **ret_text, size_t *ret_len, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct fl_error local = {0};
	enum fl_code code;
	size_t len = 0;

	if (err == NULL)
		err = &local;
	code = fl_file_read(path, UNIT_FILE_MAX, &text, &len, err);
	if (code == FL_OK)
		code = unit_verify(text, len, path, name, lenient ? UNIT_LENIENT : 0, report, err);
	if (code != FL_OK) {
		if (report->errors.n == 0)
			FL_TRY(fl_strv_add(&report->errors, fl_error_text(err), err));
		return code;
	}
	if (ret_text != NULL) {
		*ret_text = FL_TAKE(text);
		*ret_len = len;
	}
	return FL_OK;
}

static enum fl_code verify_one(
	const char *path, bool lenient, struct unit_report *report, struct fl_error *err)
{
	char name[UNIT_NAME_MAX + 1];
	enum fl_code code;

	if (bootstrap_is_machine(path))
		return bootstrap_verify(path, report, err);
	code = unit_name_from_argument(path, name, err);
	if (code != FL_OK) {
		(void)fl_error_prefix(err, code, "%s", path);
		FL_TRY(fl_strv_add(&report->errors, fl_error_text(err), err));
		return code;
	}
	return verify_file(path, name, lenient, report, NULL, NULL, err);
}

/* What is not the files' fault and leaves nothing to say of the others. */
static bool is_ours(enum fl_code code)
{
	return code == FL_E_NO_MEMORY || code == FL_E_INTERNAL;
}

void verify_tell(const struct unit_report *report)
{
	(void)fflush(stdout);
	for (size_t i = 0; i < report->errors.n; i++)
		fprintf(stderr, "%s\n", report->errors.items[i]);
	for (size_t i = 0; i < report->warnings.n; i++)
		fprintf(stderr, "%s (warning)\n", report->warnings.items[i]);
}

enum fl_code verb_verify(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *files = NULL;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	if (json)
		FL_TRY(json_new_array(&files, err));
	for (size_t i = 0; i < command->n_args; i++) {
		UNIT_CLEANUP_REPORT struct unit_report report = {0};
		const char *path = command->args[i];
		enum fl_code code = verify_one(path, command->options->lenient, &report, err);

		if (is_ours(code))
			return code;
		if (code != FL_OK)
			command->exit_code = fl_code_exit(FL_E_INVALID);
		if (json) {
			FL_TRY(json_add(files,
				json_pack("{s:s, s:b, s:o, s:o}", "file", path, "valid",
					code == FL_OK, "errors", json_of_strv(&report.errors),
					"warnings", json_of_strv(&report.warnings)),
				err));
			continue;
		}
		verify_tell(&report);
	}
	return json ? json_print(files, err) : FL_OK;
}
