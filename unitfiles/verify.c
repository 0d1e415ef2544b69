#include "unitfiles/verify.h"

#include <string.h>
#include <strings.h>

#include "unitfiles/name.h"

/* Kinds that do nothing, and that systemd does not load, without one of these keys. */
static const struct {
	enum unit_kind kind;
	const char *section, *what;
	const char *keys[13];
} needed[] = {
	{UNIT_SOCKET, "Socket", "listens on nothing; add ListenStream= or another Listen...= key",
		{"ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO",
			"ListenSpecial", "ListenNetlink", "ListenMessageQueue",
			"ListenUSBFunction"}},
	{UNIT_TIMER, "Timer", "never elapses; add OnCalendar= or another On...= key",
		{"OnCalendar", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec",
			"OnUnitInactiveSec", "OnClockChange", "OnTimezoneChange"}},
	{UNIT_PATH, "Path", "watches nothing; add PathExists= or another Path...= key",
		{"PathExists", "PathExistsGlob", "PathChanged", "PathModified",
			"DirectoryNotEmpty"}},
	{UNIT_MOUNT, "Mount", "does not say what to mount; add What=", {"What"}},
};

static unsigned section_line(const struct unit_file *file, const char *section)
{
	unsigned line = 0;

	for (size_t i = 0; i < unit_file_section_count(file); i++)
		if (strcmp(unit_file_section(file, i, &line), section) == 0)
			return line;
	return 0;
}

/* How many values a list has: an empty one forgets those before it (systemd.syntax(7)). */
static size_t list_count(
	const struct unit_file *file, const char *section, const char *key, unsigned *ret_line)
{
	size_t n = 0;

	for (size_t i = 0; i < unit_file_count(file); i++) {
		const struct unit_entry *entry = unit_file_entry(file, i);

		if (strcmp(entry->section, section) != 0 || strcmp(entry->key, key) != 0)
			continue;
		n = *entry->value != '\0' ? n + 1 : 0;
		*ret_line = entry->line;
	}
	return n;
}

static bool is_yes(const char *value)
{
	static const char *const yes[] = {"1", "yes", "y", "true", "t", "on"};

	for (size_t i = 0; i < FL_COUNT(yes); i++)
		if (strcasecmp(value, yes[i]) == 0)
			return true;
	return false;
}

/* What systemd refuses to load a service for (systemd.service(5)). */
static void check_service(const struct unit_file *file, struct unit_reporter *reporter)
{
	const char *type = unit_file_value(file, "Service", "Type", "");
	unsigned line = section_line(file, "Service"), start_line = 0, stop_line = 0;
	size_t starts = list_count(file, "Service", "ExecStart", &start_line);
	size_t stops = list_count(file, "Service", "ExecStop", &stop_line);
	bool oneshot = strcmp(type, "oneshot") == 0;
	const char *success_action = unit_file_value(file, "Unit", "SuccessAction", "none");
	bool remains = is_yes(unit_file_value(file, "Service", "RemainAfterExit", "no"));

	if (line == 0)
		unit_reporter_error(reporter, FL_E_INVALID, 0,
			"there is no section [Service]; add it with ExecStart=");
	else if (starts == 0 && !oneshot)
		unit_reporter_error(reporter, FL_E_INVALID, start_line > 0 ? start_line : line,
			"the service starts nothing; add ExecStart=");
	else if (starts == 0 && !(remains && stops > 0) &&
		 (*success_action == '\0' || strcmp(success_action, "none") == 0))
		unit_reporter_error(reporter, FL_E_INVALID, line,
			"the service starts nothing; add ExecStart=, or RemainAfterExit=yes and "
			"ExecStop=");
	else if (starts > 1 && !oneshot)
		unit_reporter_error(reporter, FL_E_INVALID, start_line,
			"only a service with Type=oneshot may have more than one ExecStart=");
	if (strcmp(type, "dbus") == 0 && *unit_file_value(file, "Service", "BusName", "") == '\0')
		unit_reporter_error(
			reporter, FL_E_INVALID, line, "a service with Type=dbus needs BusName=");
}

static void check_kind(
	const struct unit_file *file, enum unit_kind kind, struct unit_reporter *reporter)
{
	if (kind == UNIT_SERVICE)
		check_service(file, reporter);
	for (size_t i = 0; i < FL_COUNT(needed); i++) {
		unsigned line = section_line(file, needed[i].section), ignored;
		size_t n = 0;

		if (needed[i].kind != kind)
			continue;
		for (size_t j = 0; needed[i].keys[j] != NULL; j++)
			n += list_count(file, needed[i].section, needed[i].keys[j], &ignored);
		if (line == 0)
			unit_reporter_error(reporter, FL_E_INVALID, 0,
				"there is no section [%s]; add it", needed[i].section);
		else if (n == 0)
			unit_reporter_error(
				reporter, FL_E_INVALID, line, "the unit %s", needed[i].what);
	}
}

enum fl_code unit_verify_read(const void *text, size_t len, const char *path, const char *name,
	enum unit_flags flags, struct unit_report *report, struct unit_file **ret_file,
	struct unit_rules *ret_rules, struct fl_error *err)
{
	FL_CLEANUP(unit_file_freep) struct unit_file *file = NULL;
	UNIT_CLEANUP_RULES struct unit_rules rules = {0};
	struct unit_reporter reporter = {.report = report, .err = err, .path = path};
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
		check_kind(file, unit_name_kind(name), &reporter);
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
