#include "unitfiles/kinds.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/option.h"
#include "unitfiles/command.h"
#include "unitfiles/name.h"
#include "unitfiles/time.h"

struct checker {
	const struct unit_file *file;
	const char *name;
	const char *section; /* of the kind: "Service" */
	unsigned line; /* of its header; 0: there is none */
	struct unit_reporter *reporter;
};

static unsigned section_line(const struct unit_file *file, const char *section)
{
	unsigned line = 0;

	for (size_t i = 0; i < unit_file_section_count(file); i++)
		if (strcmp(unit_file_section(file, i, &line), section) == 0)
			return line;
	return 0;
}

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* systemd.syntax(7) knows some words more than an option file. */
static bool is_yes(const char *value)
{
	bool yes = false;

	if (fl_parse_bool(value, &yes, NULL) == FL_OK)
		return yes;
	return strcasecmp(value, "y") == 0 || strcasecmp(value, "t") == 0;
}

static const char *value_of(const struct checker *c, const char *key, const char *otherwise)
{
	return unit_file_value(c->file, c->section, key, otherwise);
}

static unsigned line_of(const struct checker *c, const char *key)
{
	const struct unit_entry *entry = unit_file_last(c->file, c->section, key);

	return entry != NULL ? entry->line : c->line;
}

/* ---- Values ------------------------------------------------------------------------------ */

/* What a value with a specifier becomes only the host knows. */
static bool is_open(const char *value)
{
	return strchr(value, '%') != NULL;
}

static bool is_absolute(const char *value)
{
	return *value == '/' && strlen(value) < PATH_MAX;
}

static bool is_port(const char *text)
{
	uint64_t port = 0;

	return fl_parse_uint(text, &port, NULL) == FL_OK && port > 0 && port <= UINT16_MAX;
}

/* "[::1]:80", "127.0.0.1:80", "80". */
static bool is_internet_address(const char *value)
{
	const char *colon = strrchr(value, ':');
	char address[64];
	struct in6_addr parsed;
	int n;

	if (colon == NULL)
		return is_port(value);
	if (*value == '[')
		n = snprintf(address, sizeof(address), "%.*s", (int)(colon - value) - 2, value + 1);
	else
		n = snprintf(address, sizeof(address), "%.*s", (int)(colon - value), value);
	if (n < 0 || n >= (int)sizeof(address) || !is_port(colon + 1))
		return false;
	if (*value == '[')
		return colon[-1] == ']' && inet_pton(AF_INET6, address, &parsed) == 1;
	return inet_pton(AF_INET, address, &parsed) == 1;
}

/* systemd.socket(5), ListenStream=. */
static bool is_address(const char *value)
{
	const size_t path_max = sizeof(((struct sockaddr_un *)NULL)->sun_path);
	unsigned cid, port;
	int end = -1;

	if (*value == '/' || *value == '@')
		return strlen(value) > 1 && strlen(value) < path_max;
	if (strncmp(value, "vsock:", strlen("vsock:")) == 0)
		return (sscanf(value, "vsock:%u:%u%n", &cid, &port, &end) == 2 ||
			       sscanf(value, "vsock::%u%n", &port, &end) == 1) &&
		       value[end] == '\0';
	return is_internet_address(value);
}

static bool is_span(const char *value)
{
	uint64_t us;

	return unit_time_parse_span(value, &us);
}

static bool is_anything(const char *value)
{
	(void)value;
	return true;
}

/* systemd.exec(5), User=: the rules that it enforces. */
static bool is_user(const char *value)
{
	size_t digits = strspn(value, "0123456789");
	uint64_t number = 0;

	if (*value == '-' && value[1 + strspn(value + 1, "0123456789")] == '\0')
		return false;
	if (value[digits] == '\0')
		return fl_parse_uint(value, &number, NULL) == FL_OK && number < UINT32_MAX &&
		       number != UINT16_MAX;
	return strpbrk(value, ":/") == NULL && strcmp(value, ".") != 0 && strcmp(value, "..") != 0;
}

/* Where= and What= of a unit whose name is made of it, as systemd-escape --path does. */
static bool is_path_of_name(const char *path, const char *name)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.";
	FL_CLEANUP_BUF struct fl_buf escaped = FL_BUF_INIT;
	struct unit_name_parts parts;

	for (;;) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len == 1 && *path == '.') {
			path++;
			continue;
		}
		if (escaped.len > 0)
			fl_buf_byte(&escaped, '-');
		for (size_t i = 0; i < len; i++) {
			if (strchr(plain, path[i]) != NULL && (path[i] != '.' || escaped.len > 0))
				fl_buf_byte(&escaped, path[i]);
			else
				fl_buf_printf(&escaped, "\\x%02x", (unsigned char)path[i]);
		}
		path += len;
	}
	if (escaped.len == 0)
		fl_buf_byte(&escaped, '-');
	unit_name_split(name, &parts);
	/* Without memory nobody is accused. */
	return !fl_buf_ok(&escaped) ||
	       (escaped.len == parts.stem_len &&
		       strncmp(fl_buf_str(&escaped), parts.stem, parts.stem_len) == 0);
}

/* ---- All kinds --------------------------------------------------------------------------- */

/* The values of a list that systemd would take; it leaves others out with a warning. An empty one
 * forgets those before it (systemd.syntax(7)). */
static size_t count_values(
	const struct checker *c, const char *key, bool (*is_valid)(const char *), const char *what)
{
	size_t n = 0;

	for (size_t i = 0; i < unit_file_count(c->file); i++) {
		const struct unit_entry *entry = unit_file_entry(c->file, i);

		if (strcmp(entry->section, c->section) != 0 || strcmp(entry->key, key) != 0)
			continue;
		if (*entry->value == '\0')
			n = 0;
		else if (is_open(entry->value) || is_valid(entry->value))
			n++;
		else
			unit_reporter_complain(c->reporter, entry->line,
				"%s=%s is not %s, and systemd would leave it out", key,
				entry->value, what);
	}
	return n;
}

/* Keys of all sections that systemd reads whose name ends in "Sec" are spans. */
static void check_times(const struct unit_file *file, struct unit_reporter *reporter)
{
	for (size_t i = 0; i < unit_file_count(file); i++) {
		const struct unit_entry *entry = unit_file_entry(file, i);
		size_t len = strlen(entry->key);

		if (len < 4 || strcmp(entry->key + len - 3, "Sec") != 0 ||
			strncmp(entry->section, "X-", 2) == 0 ||
			strcmp(entry->section, "Timer") == 0) /* see check_timer() */
			continue;
		/* TimerSlackNSec= is in nanoseconds. */
		if (entry->key[len - 4] == 'N' || *entry->value == '\0' || is_span(entry->value))
			continue;
		unit_reporter_complain(reporter, entry->line,
			"%s=%s is not a time, and systemd would leave it out; write one like 10s "
			"or 2min",
			entry->key, entry->value);
	}
}

static bool is_command_key(const char *key)
{
	static const char *const keys[] = {"ExecCondition", "ExecStartPre", "ExecStart",
		"ExecStartPost", "ExecReload", "ExecStop", "ExecStopPre", "ExecStopPost"};

	return is_one_of(key, keys, FL_COUNT(keys));
}

static void check_user(const struct checker *c, const struct unit_entry *entry)
{
	if (*entry->value != '\0' && !is_open(entry->value) && !is_user(entry->value))
		unit_reporter_error(c->reporter, FL_E_INVALID, entry->line,
			"%s=%s cannot be a %s's name or number", entry->key, entry->value,
			*entry->key == 'U' ? "user" : "group");
}

static void check_working_directory(const struct checker *c, const struct unit_entry *entry)
{
	const char *path = entry->value + (*entry->value == '-');

	if (*path != '\0' && strcmp(path, "~") != 0 && !is_open(path) && !is_absolute(path))
		unit_reporter_error(c->reporter, FL_E_INVALID, entry->line,
			"WorkingDirectory=%s is not an absolute path, nor ~", entry->value);
}

/* What makes a unit that runs programs unloadable (systemd.exec(5), systemd.kill(5)). */
static void check_programs(const struct checker *c)
{
	const char *kill_mode = value_of(c, "KillMode", "control-group");

	for (size_t i = 0; i < unit_file_count(c->file); i++) {
		const struct unit_entry *entry = unit_file_entry(c->file, i);
		struct fl_error why = {0};

		if (strcmp(entry->section, c->section) != 0)
			continue;
		if (is_command_key(entry->key) && unit_command_check(entry->value, &why) != FL_OK)
			unit_reporter_error(c->reporter, FL_E_INVALID, entry->line, "%s=: %s",
				entry->key, why.text);
		else if (strcmp(entry->key, "User") == 0 || strcmp(entry->key, "Group") == 0)
			check_user(c, entry);
		else if (strcmp(entry->key, "WorkingDirectory") == 0)
			check_working_directory(c, entry);
	}
	if (*value_of(c, "PAMName", "") != '\0' &&
		(strcmp(kill_mode, "process") == 0 || strcmp(kill_mode, "none") == 0))
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "KillMode"),
			"with PAMName= the KillMode= must be control-group or mixed");
}

static void check_word(const struct checker *c, const char *key, const char *const *words, size_t n)
{
	const struct unit_entry *entry = unit_file_last(c->file, c->section, key);
	const char *near;

	if (entry == NULL || *entry->value == '\0' || is_one_of(entry->value, words, n))
		return;
	near = unit_suggest(entry->value, words, n);
	unit_reporter_complain(c->reporter, entry->line,
		"%s=%s is not known, and systemd would leave it out%s%s%s", key, entry->value,
		near != NULL ? "; did you mean " : "", near != NULL ? near : "",
		near != NULL ? "?" : "");
}

/* ---- Each kind --------------------------------------------------------------------------- */

/* As systemd finds it when the file does not say (systemd.service(5), Type=). */
static const char *service_type(const struct checker *c, size_t starts)
{
	const char *type = value_of(c, "Type", "");

	if (*type != '\0')
		return type;
	if (*value_of(c, "BusName", "") != '\0')
		return "dbus";
	return starts > 0 ? "simple" : "oneshot";
}

static void check_oneshot(const struct checker *c)
{
	const char *restart = value_of(c, "Restart", "no");

	if (strcmp(restart, "always") == 0 || strcmp(restart, "on-success") == 0)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "Restart"),
			"a service with Type=oneshot cannot have Restart=%s; on-failure it can",
			restart);
	if (strcmp(value_of(c, "ExitType", ""), "cgroup") == 0)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "ExitType"),
			"a service with Type=oneshot cannot have ExitType=cgroup");
	if (*value_of(c, "RestartForceExitStatus", "") != '\0')
		unit_reporter_complain(c->reporter, line_of(c, "RestartForceExitStatus"),
			"a service with Type=oneshot cannot have RestartForceExitStatus= before "
			"systemd 254");
}

static void check_service_starts(const struct checker *c, const char *type, size_t starts)
{
	const char *action = unit_file_value(c->file, "Unit", "SuccessAction", "none");
	size_t stops = count_values(c, "ExecStop", is_anything, "");
	bool oneshot = strcmp(type, "oneshot") == 0;
	bool acts = *action != '\0' && strcmp(action, "none") != 0;
	bool remains = is_yes(value_of(c, "RemainAfterExit", "no"));

	if (c->line == 0 && !acts)
		unit_reporter_error(c->reporter, FL_E_INVALID, 0,
			"there is no section [Service]; add it with ExecStart=");
	else if (starts == 0 && !oneshot)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "ExecStart"),
			"the service starts nothing; add ExecStart=");
	else if (starts == 0 && !acts && !(remains && stops > 0))
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "ExecStart"),
			"the service starts nothing; add ExecStart=, or RemainAfterExit=yes and "
			"ExecStop=");
	else if (starts > 1 && !oneshot)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "ExecStart"),
			"only a service with Type=oneshot may have more than one ExecStart=");
}

static void check_service(const struct checker *c)
{
	static const char *const types[] = {
		"simple", "exec", "forking", "oneshot", "dbus", "notify", "notify-reload", "idle"};
	static const char *const restarts[] = {"no", "always", "on-success", "on-failure",
		"on-abnormal", "on-abort", "on-watchdog"};
	size_t starts = count_values(c, "ExecStart", is_anything, "");
	const char *type = service_type(c, starts);

	check_word(c, "Type", types, FL_COUNT(types));
	check_word(c, "Restart", restarts, FL_COUNT(restarts));
	check_service_starts(c, type, starts);
	if (strcmp(type, "oneshot") == 0)
		check_oneshot(c);
	if (strcmp(type, "dbus") == 0 && strchr(value_of(c, "BusName", ""), '.') == NULL)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "BusName"),
			"a service with Type=dbus needs BusName=, a name with a dot in it");
	check_programs(c);
}

/* Sockets that give a connection to a process of its own must have connections. */
static void check_accept(const struct checker *c, bool connections_only)
{
	uint64_t max = 1;

	if (!connections_only)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "Accept"),
			"Accept=yes is for ListenStream= and ListenSequentialPacket= alone");
	if (fl_parse_uint(value_of(c, "MaxConnections", "1"), &max, NULL) == FL_OK && max == 0)
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "MaxConnections"),
			"with Accept=yes MaxConnections= must be above 0");
	if (*value_of(c, "Service", "") != '\0')
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, "Service"),
			"with Accept=yes the service is the template of the socket's own name; "
			"remove Service=");
}

static void check_socket(const struct checker *c)
{
	static const struct {
		const char *key;
		bool (*is_valid)(const char *);
		const char *what;
		bool connects; /* has connections to accept */
	} keys[] = {
		{"ListenStream", is_address, "a path, a port or an address with a port", true},
		{"ListenSequentialPacket", is_address, "a path", true},
		{"ListenDatagram", is_address, "a path, a port or an address with a port", false},
		{"ListenFIFO", is_absolute, "an absolute path", false},
		{"ListenSpecial", is_absolute, "an absolute path", false},
		{"ListenNetlink", is_anything, "", false},
		{"ListenMessageQueue", is_absolute, "a name that begins with /", false},
		{"ListenUSBFunction", is_absolute, "an absolute path", false},
	};
	size_t connecting = 0, others = 0;

	for (size_t i = 0; i < FL_COUNT(keys); i++) {
		size_t n = count_values(c, keys[i].key, keys[i].is_valid, keys[i].what);

		if (keys[i].connects)
			connecting += n;
		else
			others += n;
	}
	if (connecting + others == 0)
		unit_reporter_error(c->reporter, FL_E_INVALID, c->line,
			"the unit listens on nothing; add ListenStream= or another Listen...= key");
	else if (is_yes(value_of(c, "Accept", "no")))
		check_accept(c, others == 0);
	check_programs(c);
}

static void check_timer(const struct checker *c)
{
	static const char *const spans[] = {
		"OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec"};
	static const char *const others[] = {"AccuracySec", "RandomizedDelaySec"};
	const char *what = "a time; write one like 10s or 2min";
	size_t n = count_values(c, "OnCalendar", unit_time_is_calendar,
		"a calendar event; write one like daily or Mon 10:00");

	for (size_t i = 0; i < FL_COUNT(spans); i++)
		n += count_values(c, spans[i], is_span, what);
	for (size_t i = 0; i < FL_COUNT(others); i++)
		(void)count_values(c, others[i], is_span, what);
	if (n == 0 && !is_yes(value_of(c, "OnClockChange", "no")) &&
		!is_yes(value_of(c, "OnTimezoneChange", "no")))
		unit_reporter_error(c->reporter, FL_E_INVALID, c->line,
			"the unit never elapses; add OnCalendar= or another On...= key");
}

static void check_path(const struct checker *c)
{
	static const char *const keys[] = {
		"PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty"};
	size_t n = 0;

	for (size_t i = 0; i < FL_COUNT(keys); i++)
		n += count_values(c, keys[i], is_absolute, "an absolute path");
	if (n == 0)
		unit_reporter_error(c->reporter, FL_E_INVALID, c->line,
			"the unit watches nothing; add PathExists= or another Path...= key");
}

/* Where= or What=, of which the unit's name is made. Without it the name says it. */
static void check_path_of_name(const struct checker *c, const char *key)
{
	const char *path = value_of(c, key, "");

	if (*path == '\0' || is_open(path))
		return;
	if (!is_absolute(path))
		unit_reporter_complain(c->reporter, line_of(c, key),
			"%s=%s is not an absolute path, and systemd would leave it out", key, path);
	else if (!is_path_of_name(path, c->name))
		unit_reporter_error(c->reporter, FL_E_INVALID, line_of(c, key),
			"%s=%s is not what the unit is called after; call the file what "
			"systemd-escape --path says",
			key, path);
}

static void check_mount(const struct checker *c)
{
	static const char *const systemds[] = {"proc.mount", "sys.mount", "dev.mount", "run.mount",
		"dev-shm.mount", "dev-pts.mount"};

	if (*value_of(c, "What", "") == '\0')
		unit_reporter_error(c->reporter, FL_E_INVALID, c->line,
			"the unit does not say what to mount; add What=");
	check_path_of_name(c, "Where");
	if (is_one_of(c->name, systemds, FL_COUNT(systemds)))
		unit_reporter_error(
			c->reporter, FL_E_INVALID, 0, "%s is mounted by systemd itself", c->name);
	check_programs(c);
}

static void check_automount(const struct checker *c)
{
	check_path_of_name(c, "Where");
}

static void check_swap(const struct checker *c)
{
	check_path_of_name(c, "What");
	check_programs(c);
}

static void check_slice(const struct checker *c)
{
	struct unit_name_parts parts;

	unit_name_split(c->name, &parts);
	if (parts.stem_len > 1 && (parts.stem[0] == '-' || parts.stem[parts.stem_len - 1] == '-' ||
					  memmem(parts.stem, parts.stem_len, "--", 2) != NULL))
		unit_reporter_error(c->reporter, FL_E_INVALID, 0,
			"%s is not a slice's name: each \"-\" stands between a slice and one in it",
			c->name);
}

void unit_kinds_check(
	const struct unit_file *file, const char *name, struct unit_reporter *reporter)
{
	static const struct {
		const char *section;
		void (*check)(const struct checker *c);
		enum unit_kind kind;
		bool needed; /* the section */
	} kinds[] = {
		{"Service", check_service, UNIT_SERVICE, false},
		{"Socket", check_socket, UNIT_SOCKET, true},
		{"Timer", check_timer, UNIT_TIMER, true},
		{"Path", check_path, UNIT_PATH, true},
		{"Mount", check_mount, UNIT_MOUNT, true},
		{"Automount", check_automount, UNIT_AUTOMOUNT, false},
		{"Swap", check_swap, UNIT_SWAP, false},
		{"Slice", check_slice, UNIT_SLICE, false},
	};

	check_times(file, reporter);
	for (size_t i = 0; i < FL_COUNT(kinds); i++) {
		struct checker c = {.file = file, .name = name, .reporter = reporter};

		if (kinds[i].kind != unit_name_kind(name))
			continue;
		c.section = kinds[i].section;
		c.line = section_line(file, c.section);
		if (c.line == 0 && kinds[i].needed)
			unit_reporter_error(reporter, FL_E_INVALID, 0,
				"there is no section [%s]; add it", c.section);
		else
			kinds[i].check(&c);
	}
}
