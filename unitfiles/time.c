#include "unitfiles/time.h"

#include <string.h>
#include <strings.h>

#include "base/memory.h"

#define BLANKS  " \t\n\r"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

#define US_PER_S UINT64_C(1000000)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits; false where there are none or too many. */
static bool read_number(const char **at, uint64_t *ret)
{
	uint64_t value = 0;

	if (!is_digit(**at))
		return false;
	for (; is_digit(**at); ++*at)
		if (__builtin_mul_overflow(value, 10U, &value) ||
			__builtin_add_overflow(value, (uint64_t)(**at - '0'), &value))
			return false;
	*ret = value;
	return true;
}

/* ---- Spans ------------------------------------------------------------------------------- */

/* What begins another's name stands behind it: "m" behind "min", "months" and "msec". */
static const struct {
	const char *name;
	uint64_t us;
} span_units[] = {
	{"seconds", US_PER_S},
	{"second", US_PER_S},
	{"sec", US_PER_S},
	{"s", US_PER_S},
	{"minutes", 60 * US_PER_S},
	{"minute", 60 * US_PER_S},
	{"min", 60 * US_PER_S},
	{"months", 2629800 * US_PER_S},
	{"month", 2629800 * US_PER_S},
	{"M", 2629800 * US_PER_S},
	{"msec", 1000},
	{"ms", 1000},
	{"m", 60 * US_PER_S},
	{"hours", 3600 * US_PER_S},
	{"hour", 3600 * US_PER_S},
	{"hr", 3600 * US_PER_S},
	{"h", 3600 * US_PER_S},
	{"days", 86400 * US_PER_S},
	{"day", 86400 * US_PER_S},
	{"d", 86400 * US_PER_S},
	{"weeks", 7 * 86400 * US_PER_S},
	{"week", 7 * 86400 * US_PER_S},
	{"w", 7 * 86400 * US_PER_S},
	{"years", 31557600 * US_PER_S},
	{"year", 31557600 * US_PER_S},
	{"y", 31557600 * US_PER_S},
	{"usec", 1},
	{"us", 1},
	{"\u03bcs", 1},
	{"\u00b5s", 1},
};

static uint64_t read_unit(const char **at)
{
	for (size_t i = 0; i < FL_COUNT(span_units); i++) {
		size_t len = strlen(span_units[i].name);

		if (strncmp(*at, span_units[i].name, len) == 0) {
			*at += len;
			return span_units[i].us;
		}
	}
	return US_PER_S;
}

/* "1.5h": one number with its unit. */
static bool read_part(const char **at, uint64_t *ret_us)
{
	const char *fraction, *unit, *end;
	uint64_t number = 0, us, weight, part;
	size_t digits = 0;

	if (**at != '.' && !read_number(at, &number))
		return false;
	fraction = *at + 1;
	if (**at == '.') {
		digits = strspn(fraction, "0123456789");
		*at = fraction + digits;
		if (digits == 0)
			return false;
	}
	end = *at;
	*at += strspn(*at, BLANKS);
	unit = *at;
	us = read_unit(at);
	/* "12.34.56" is none, "12.34 .56" is two. */
	if (*at == unit && end == unit && *unit != '\0')
		return false;
	if (__builtin_mul_overflow(number, us, ret_us))
		return false;
	weight = us / 10;
	for (size_t i = 0; i < digits && weight > 0; i++, weight /= 10) {
		part = weight * (uint64_t)(fraction[i] - '0');
		if (__builtin_add_overflow(*ret_us, part, ret_us))
			return false;
	}
	return true;
}

bool unit_time_parse_span(const char *text, uint64_t *ret_us)
{
	const char *at = text + strspn(text, BLANKS);
	uint64_t total = 0, part;

	if (strncmp(at, "infinity", strlen("infinity")) == 0) {
		at += strlen("infinity");
		*ret_us = UINT64_MAX;
		return at[strspn(at, BLANKS)] == '\0';
	}
	if (*at == '\0')
		return false;
	for (; *at != '\0'; at += strspn(at, BLANKS))
		if (!read_part(&at, &part) || __builtin_add_overflow(total, part, &total))
			return false;
	*ret_us = total;
	return true;
}

/* ---- Calendar events --------------------------------------------------------------------- */

static const char *const names[] = {"minutely", "hourly", "daily", "weekly", "monthly", "quarterly",
	"semiannually", "semi-annually", "biannually", "bi-annually", "annually", "anually",
	"yearly"};

static const char *const weekdays[] = {"monday", "tuesday", "wednesday", "thursday", "friday",
	"saturday", "sunday", "mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* "1", "1..5", "1/2", "1..5/2", several of them with commas between. Seconds have fractions, so
 * numbers are counted in @one. */
struct chain {
	uint64_t first, last; /* that it may have */
	uint64_t one;
	bool years; /* two digits stand for 1970 to 2069 */
	bool from_end; /* of the month, backwards */
};

static bool read_value(const char **at, const struct chain *chain, uint64_t *ret)
{
	uint64_t value, weight = chain->one;

	if (!read_number(at, &value) || value > UINT32_MAX)
		return false;
	value *= chain->one;
	if (chain->one > 1 && (*at)[0] == '.' && is_digit((*at)[1]))
		for (++*at; is_digit(**at); ++*at) {
			weight /= 10;
			value += weight * (uint64_t)(**at - '0');
		}
	*ret = value;
	return true;
}

static bool read_range(const char **at, const struct chain *chain)
{
	uint64_t start, stop = 0, step = 0;
	bool range = false;

	if (!read_value(at, chain, &start))
		return false;
	if ((*at)[0] == '.' && (*at)[1] == '.') {
		*at += 2;
		range = true;
		step = chain->one;
		if (!read_value(at, chain, &stop))
			return false;
	}
	if (**at == '/') {
		++*at;
		if (!read_value(at, chain, &step) || step == 0)
			return false;
	}
	if (chain->years) {
		start += start < 70 ? 2000 : start < 100 ? 1900 : 0;
		stop += stop < 70 ? 2000 : stop < 100 ? 1900 : 0;
	}
	if (start < chain->first || start > chain->last || step > chain->last - chain->first)
		return false;
	if (range)
		return start <= stop && stop <= chain->last;
	/* Where nothing ends it, one repetition must be possible. */
	return chain->from_end ? start >= chain->first + step : start + step <= chain->last;
}

static bool read_chain(const char **at, const struct chain *chain)
{
	if (**at == '*') {
		++*at;
		return true;
	}
	while (read_range(at, chain)) {
		if (**at != ',')
			return true;
		++*at;
	}
	return false;
}

static bool read_weekday(const char **at, size_t *ret_day)
{
	for (size_t i = 0; i < FL_COUNT(weekdays); i++) {
		size_t len = strlen(weekdays[i]);

		if (strncasecmp(*at, weekdays[i], len) != 0)
			continue;
		*at += len;
		*ret_day = i % 7;
		return strchr("-., ", **at) != NULL; /* the end of the text too */
	}
	return false;
}

/* "Mon..Fri,Sun "; a comma may stand at the end, and "-" for "..". */
static bool skip_weekdays(const char **at)
{
	size_t day, from = 0;
	bool open = false;

	while (strchr(LETTERS, **at) != NULL && **at != '\0') {
		if (!read_weekday(at, &day) || (open && from > day))
			return false;
		open = (*at)[0] == '-' || ((*at)[0] == '.' && (*at)[1] == '.');
		from = day;
		if (open)
			*at += (*at)[0] == '-' ? 1 : 2;
		else if (**at == ',')
			++*at;
		else if (**at != '\0' && **at != ' ')
			return false;
		else
			break;
	}
	*at += strspn(*at, " ");
	return !open;
}

static bool skip_day(const char **at, bool from_end)
{
	static const struct chain day = {1, 31, 1, false, false}, last = {1, 31, 1, false, true};

	++*at;
	return read_chain(at, from_end ? &last : &day) && (**at == '\0' || **at == ' ');
}

/* "2026-12-*", "12-24", "*-02~01"; what turns out to be a time stays. */
static bool skip_date(const char **at)
{
	static const struct chain year = {1970, 2199, 1, true, false},
				  month = {1, 12, 1, false, false};
	const char *start = *at, *end = start + strcspn(start, " "), *parts = start;
	size_t n = 1;

	for (; parts < end; parts++)
		n += *parts == '-' || *parts == '~';
	if (n == 1)
		return *end == '\0'; /* a time is the last word */
	if (n > 3 || (n == 3 && (!read_chain(at, &year) || *(*at)++ != '-')))
		return false;
	if (!read_chain(at, &month) || (**at != '-' && **at != '~') || !skip_day(at, **at == '~'))
		return false;
	*at += strspn(*at, " ");
	return true;
}

static bool skip_time(const char **at)
{
	static const struct chain hour = {0, 23, 1, false, false},
				  minute = {0, 59, 1, false, false};
	static const struct chain second = {0, 60 * US_PER_S - 1, US_PER_S, false, false};

	if (**at == '\0')
		return true;
	if (!read_chain(at, &hour) || *(*at)++ != ':' || !read_chain(at, &minute))
		return false;
	if (**at != ':')
		return true;
	++*at;
	return read_chain(at, &second);
}

/* The length of @text without a time zone behind it. */
static size_t without_zone(const char *text)
{
	const char *zone = strrchr(text, ' '), *end;
	size_t day;

	if (zone == NULL || strchr(LETTERS, zone[1]) == NULL || zone[1] == '\0')
		return strlen(text);
	end = zone + 1;
	if (read_weekday(&end, &day) && *end == '\0')
		return strlen(text);
	if (zone[1 + strspn(zone + 1, LETTERS "0123456789+-_/")] != '\0')
		return strlen(text);
	while (zone > text && zone[-1] == ' ')
		zone--;
	return (size_t)(zone - text);
}

bool unit_time_is_calendar(const char *text)
{
	char copy[256];
	const char *at = copy;
	size_t len = without_zone(text);
	uint64_t number;

	if (len == 0 || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	for (size_t i = 0; i < FL_COUNT(names); i++)
		if (strcasecmp(copy, names[i]) == 0)
			return true;
	if (!skip_weekdays(&at))
		return false;
	if (*at == '@') {
		at++;
		return read_number(&at, &number) && *at == '\0';
	}
	return skip_date(&at) && skip_time(&at) && *at == '\0';
}
