#include "unitfiles/verify.h"

#include "unitfiles/kinds.h"
#include "unitfiles/name.h"

enum fl_code unit_verify_read(const void *text, size_t len, const char *path, const char *name,
	enum unit_flags flags, struct unit_report *report, struct unit_file **ret_file,
	struct unit_rules *ret_rules, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	UNIT_CLEANUP_RULES struct unit_rules rules = {0};
	struct unit_reporter reporter = {
		.report = report,
		.err = err,
		.path = path,
		.lenient = (flags & UNIT_LENIENT) != 0,
	};
	struct fl_error why = {0};
	enum fl_code code;

	if (unit_name_check(name, &why) != FL_OK)
		unit_reporter_error(&reporter, why.code, 0, "%s", why.text);

	/* Each step needs the one before; what a step finds, it finds all of. */
	code = unit_file_parse(text, len, path, report, &file, reporter.code == FL_OK ? err : NULL);
	if (reporter.code == FL_OK)
		reporter.code = code;
	if (reporter.code != FL_OK)
		return reporter.code;
	reporter.code = unit_rules_read(file, name, flags, report, &rules, err);
	if (unit_file_count(file) == 0)
		unit_reporter_error(&reporter, FL_E_INVALID, 0, "there is nothing in it");
	else
		unit_kinds_check(file, name, &reporter);
	if (reporter.code != FL_OK)
		return reporter.code;
	if (ret_file != NULL)
		*ret_file = FL_TAKE(file);
	if (ret_rules != NULL) {
		*ret_rules = rules;
		rules = (struct unit_rules){0};
	}
	return FL_OK;
}

enum fl_code unit_verify(const void *text, size_t len, const char *path, const char *name,
	enum unit_flags flags, struct unit_report *report, struct fl_error *err)
{
	return unit_verify_read(text, len, path, name, flags, report, NULL, NULL, err);
}
