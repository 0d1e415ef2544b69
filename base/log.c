#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"

#define LINE_MAX_BYTES   2048
#define REPEAT_LIMIT     50U
#define REPEAT_WINDOW_MS 5000U
#define JOURNAL_SOCKET   "/run/systemd/journal/socket"

/* Stands between the pairs while they are formatted, so that values may hold spaces. */
#define SEPARATOR '\x1f'

struct repeat {
	const char *event; /* events are literals: their address is their name */
	uint64_t window_start_ms;
	unsigned count;
};

static struct {
	const char *program;
	int journal_fd;
	enum fl_level level;
	pthread_mutex_t lock; /* guards repeats; the rest is set before threads start */
	struct repeat repeats[64];
} logger = {
	.program = "flota", .journal_fd = -1, .level = FL_INFO, .lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local uint64_t current_request;

/* systemd.exec(5): $JOURNAL_STREAM is "DEVICE:INODE" of the stream that stderr was connected to. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	if (stream == NULL || sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void fl_log_init(const char *program)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	int fd;

	logger.program = program;
	if (!stderr_is_journal())
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		(void)close(fd);
		fd = -1;
	}
	logger.journal_fd = fd;
}

void fl_log_set_level(enum fl_level level)
{
	logger.level = level;
}

bool fl_log_wants(enum fl_level level)
{
	return level <= logger.level;
}

static const struct {
	enum fl_level level;
	const char *name;
} levels[] = {
	{FL_ERROR, "error"},
	{FL_WARNING, "warning"},
	{FL_NOTICE, "notice"},
	{FL_INFO, "info"},
	{FL_DEBUG, "debug"},
};

bool fl_log_level_from_name(const char *name, enum fl_level *ret_level)
{
	for (size_t i = 0; i < FL_COUNT(levels); i++)
		if (strcmp(levels[i].name, name) == 0) {
			*ret_level = levels[i].level;
			return true;
		}
	return false;
}

static const char *level_name(enum fl_level level)
{
	for (size_t i = 0; i < FL_COUNT(levels); i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "?";
}

void fl_log_set_request(uint64_t request_id)
{
	current_request = request_id;
}

/* Whether this line may go out. *ret_held is how many of the event were held back before it. */
static bool repeat_allows(const char *event, unsigned *ret_held)
{
	struct repeat *slot = &logger.repeats[((uintptr_t)event >> 3) % FL_COUNT(logger.repeats)];
	uint64_t now = fl_clock_boot_ms();
	bool allowed;

	*ret_held = 0;
	pthread_mutex_lock(&logger.lock);
	if (slot->event != event || now - slot->window_start_ms >= REPEAT_WINDOW_MS) {
		if (slot->event == event && slot->count > REPEAT_LIMIT)
			*ret_held = slot->count - REPEAT_LIMIT;
		*slot = (struct repeat){.event = event, .window_start_ms = now};
	}
	allowed = ++slot->count <= REPEAT_LIMIT;
	pthread_mutex_unlock(&logger.lock);
	return allowed;
}

/* "key=%s key=%u" with its separating spaces made SEPARATORs; false when it does not fit. */
static bool mark_pairs(const char *format, char *marked, size_t size)
{
	size_t n = strlen(format);

	if (n >= size)
		return false;
	memcpy(marked, format, n + 1);
	for (char *p = marked; (p = strchr(p, ' ')) != NULL;)
		*p = SEPARATOR;
	return true;
}

struct line {
	char text[2 * LINE_MAX_BYTES];
	size_t len;
};

static void line_byte(struct line *line, char c)
{
	if (line->len + 1 < sizeof(line->text))
		line->text[line->len++] = c;
}

static void line_text(struct line *line, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		line_byte(line, text[i]);
}

/* A value as a person reads it; control characters never reach the terminal or the journal. */
static void line_value(struct line *line, const char *value, size_t n, bool quote)
{
	quote = quote && (n == 0 || memchr(value, ' ', n) != NULL || memchr(value, '"', n) != NULL);
	if (quote)
		line_byte(line, '"');
	for (size_t i = 0; i < n; i++) {
		if (iscntrl((unsigned char)value[i])) {
			line_byte(line, '?');
			continue;
		}
		if (quote && (value[i] == '"' || value[i] == '\\'))
			line_byte(line, '\\');
		line_byte(line, value[i]);
	}
	if (quote)
		line_byte(line, '"');
}

/* Calls @each for every key and value in @pairs. */
static void pairs_foreach(struct line *line, const char *pairs,
	void (*each)(struct line *line, const char *key, size_t key_len, const char *value,
		size_t value_len))
{
	while (*pairs != '\0') {
		size_t n = strcspn(pairs, (char[]){SEPARATOR, '\0'});
		const char *equals = memchr(pairs, '=', n);

		if (equals != NULL)
			each(line, pairs, (size_t)(equals - pairs), equals + 1,
				n - (size_t)(equals + 1 - pairs));
		else
			each(line, "text", 4, pairs, n);
		pairs += n + (pairs[n] != '\0');
	}
}

static void pair_to_text(
	struct line *line, const char *key, size_t key_len, const char *value, size_t value_len)
{
	line_byte(line, ' ');
	line_text(line, key, key_len);
	line_byte(line, '=');
	line_value(line, value, value_len, true);
}

/* systemd's native protocol: KEY=value lines; a key has capitals, digits and underscores only. */
static void pair_to_journal(
	struct line *line, const char *key, size_t key_len, const char *value, size_t value_len)
{
	line_text(line, "FLOTA_", 6);
	for (size_t i = 0; i < key_len; i++)
		line_byte(line, isalnum((unsigned char)key[i])
					? (char)toupper((unsigned char)key[i])
					: '_');
	line_byte(line, '=');
	line_value(line, value, value_len, false);
	line_byte(line, '\n');
}

static void write_text(struct line *line, enum fl_level level, const char *event, const char *pairs)
{
	char head[128];
	int n = snprintf(
		head, sizeof(head), "%s: %s: %s", logger.program, level_name(level), event);

	line->len = 0;
	line_text(line, head, n > 0 && (size_t)n < sizeof(head) ? (size_t)n : strlen(head));
	pairs_foreach(line, pairs, pair_to_text);
}

static void write_journal(
	struct line *line, enum fl_level level, const char *event, const char *pairs)
{
	struct line message;
	char head[192];
	int n;

	write_text(&message, level, event, pairs);
	n = snprintf(head, sizeof(head),
		"PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\nFLOTA_EVENT=%s\nMESSAGE=", (int)level,
		logger.program, event);
	line->len = 0;
	line_text(line, head, n > 0 && (size_t)n < sizeof(head) ? (size_t)n : strlen(head));
	line_text(line, message.text, message.len);
	line_byte(line, '\n');
	pairs_foreach(line, pairs, pair_to_journal);
}

/* @pairs has room for @size bytes; what is added to every line goes behind it. */
static void emit(enum fl_level level, const char *event, char *pairs, size_t size, unsigned held)
{
	struct line line;
	size_t n = strlen(pairs);

	if (current_request != 0)
		n += (size_t)snprintf(
			pairs + n, size - n, "%crequest=%016" PRIx64, SEPARATOR, current_request);
	if (held > 0 && n < size)
		(void)snprintf(pairs + n, size - n, "%cheld_back=%u", SEPARATOR, held);

	if (logger.journal_fd >= 0) {
		write_journal(&line, level, event, pairs);
		if (send(logger.journal_fd, line.text, line.len, MSG_NOSIGNAL) >= 0)
			return;
	}
	write_text(&line, level, event, pairs);
	line.text[line.len++] = '\n'; /* line_byte leaves room for one */
	(void)!write(STDERR_FILENO, line.text, line.len);
}

void fl_log_event(enum fl_level level, const char *event, const char *format, ...)
{
	char marked[512], pairs[LINE_MAX_BYTES];
	int saved_errno = errno;
	unsigned held;
	va_list ap;

	if (!repeat_allows(event, &held))
		return;
	if (!mark_pairs(format, marked, sizeof(marked)))
		fl_assert_failed("format fits", __FILE__, __LINE__, event);
	va_start(ap, format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)vsnprintf(pairs, sizeof(pairs), marked, ap);
#pragma GCC diagnostic pop
	va_end(ap);
	emit(level, event, pairs, sizeof(pairs), held);
	errno = saved_errno;
}

void fl_log_text(enum fl_level level, const char *event, const char *text)
{
	char pairs[LINE_MAX_BYTES];
	int saved_errno = errno;
	unsigned held;

	if (!fl_log_wants(level) || !repeat_allows(event, &held))
		return;
	(void)snprintf(pairs, sizeof(pairs), "%s", text);
	for (char *space = pairs; (space = strchr(space, ' ')) != NULL; space++) {
		size_t n = strspn(space + 1, "abcdefghijklmnopqrstuvwxyz_");

		if (n > 0 && space[1 + n] == '=')
			*space = SEPARATOR;
	}
	emit(level, event, pairs, sizeof(pairs), held);
	errno = saved_errno;
}
