#include "unitfiles/report.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void unit_report_fini(struct unit_report *report)
{
	fl_strv_fini(&report->errors);
	fl_strv_fini(&report->warnings);
}

static void add(struct unit_reporter *reporter, struct fl_strv *list, const char *text)
{
	/* The list says itself that it is cut. */
	if (list->n + 1 == UNIT_REPORT_MAX)
		text = "more problems are left out";
	else if (list->n >= UNIT_REPORT_MAX)
		return;
	if (fl_strv_add(list, text, NULL) != FL_OK)
		reporter->code = FL_FAIL_NO_MEMORY(reporter->err);
}

/* With FL_OK for @code it is a warning. */
static void say(struct unit_reporter *reporter, enum fl_code code, unsigned line,
	const char *format, va_list ap) __attribute__((format(printf, 4, 0)));

static void say(struct unit_reporter *reporter, enum fl_code code, unsigned line,
	const char *format, va_list ap)
{
	struct unit_report *report = reporter->report;
	struct fl_error message;

	fl_error_setv(&message, code, format, ap);
	if (line > 0)
		fl_error_prefix(&message, code, "%s:%u", reporter->path, line);
	else
		fl_error_prefix(&message, code, "%s", reporter->path);
	if (code != FL_OK && reporter->code == FL_OK)
		reporter->code = FL_FAIL(reporter->err, code, "%s", message.text);
	if (report != NULL)
		add(reporter, code != FL_OK ? &report->errors : &report->warnings, message.text);
}

void unit_reporter_error(
	struct unit_reporter *reporter, enum fl_code code, unsigned line, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(reporter, code, line, format, ap);
	va_end(ap);
}

void unit_reporter_warning(struct unit_reporter *reporter, unsigned line, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(reporter, FL_OK, line, format, ap);
	va_end(ap);
}

void unit_reporter_complain(struct unit_reporter *reporter, unsigned line, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(reporter, reporter->lenient ? FL_OK : FL_E_INVALID, line, format, ap);
	va_end(ap);
}

bool unit_reporter_done(const struct unit_reporter *reporter)
{
	if (reporter->code == FL_OK)
		return false;
	return reporter->code == FL_E_NO_MEMORY || reporter->report == NULL ||
	       reporter->report->errors.n >= UNIT_REPORT_MAX;
}

#define SUGGEST_MAX 48

/* How many single characters must be put in, left out or changed, letter case aside. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[SUGGEST_MAX + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (strncasecmp(&a[i - 1], &b[j - 1], 1) != 0);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *unit_suggest(const char *word, const char *const *names, size_t n)
{
	size_t length = strlen(word), best = length / 3 + 1;
	const char *suggestion = NULL;

	if (length > SUGGEST_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t distance;

		if (strlen(names[i]) > SUGGEST_MAX)
			continue;
		distance = edit_distance(word, names[i]);
		if (distance < best) {
			best = distance;
			suggestion = names[i];
		}
	}
	return suggestion;
}
