#include "unitfiles/command.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define BLANKS   " \t\n\r"
#define PREFIXES "-@:+!|"

/* Those of systemd.unit(5), and the three that systemd has given up and still reads. systemd leaves
 * any other character behind a % alone. */
#define SPECIFIERS "aAbBCdDEfgGhHiIjJlLmMnNopPqsStTuUvVwWyYcrR%"
#define ALNUM      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static enum fl_code check_specifiers(const char *value, struct fl_error *err)
{
	for (const char *at = value; (at = strchr(at, '%')) != NULL && at[1] != '\0'; at += 2)
		if (strchr(ALNUM, at[1]) != NULL && strchr(SPECIFIERS, at[1]) == NULL)
			return FL_FAIL(err, FL_E_INVALID,
				"%%%c is no specifier; write %%%%%c where %%%c is meant", at[1],
				at[1], at[1]);
	return FL_OK;
}

/* One word, without its quotes, into @word, as much of it as fits. */
static enum fl_code read_word(const char **at, char *word, size_t size, struct fl_error *err)
{
	char quote = '\0';
	size_t n = 0;

	for (; **at != '\0' && (quote != '\0' || strchr(BLANKS, **at) == NULL); ++*at) {
		char c = **at;

		if (quote == '\0' && (c == '"' || c == '\'')) {
			quote = c;
			continue;
		}
		if (c == quote && quote != '\0') {
			quote = '\0';
			continue;
		}
		if (c == '\\' && (*at)[1] != '\0')
			c = *++*at;
		if (n + 1 < size)
			word[n++] = c;
	}
	word[n] = '\0';
	*at += strspn(*at, BLANKS);
	if (quote != '\0')
		return FL_FAIL(err, FL_E_INVALID, "a quote (%c) is not closed", quote);
	return FL_OK;
}

static bool is_file_name(const char *name)
{
	return *name != '\0' && strlen(name) <= NAME_MAX && strchr(name, '/') == NULL &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static enum fl_code check_program(const char *word, struct fl_error *err)
{
	const char *program = word + strspn(word, PREFIXES);

	if (*program == '\0')
		return FL_FAIL(err, FL_E_INVALID, "names no program; write its path");
	/* What a specifier becomes only the host knows. */
	if (strchr(program, '%') != NULL)
		return FL_OK;
	if (strpbrk(program, "\"'\\") != NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"\"%.200s\" has a quote or a backslash in it, which no program's path may",
			program);
	if (*program != '/' && !is_file_name(program))
		return FL_FAIL(err, FL_E_INVALID,
			"\"%.200s\" is neither an absolute path nor the name of a program",
			program);
	if (program[strlen(program) - 1] == '/')
		return FL_FAIL(err, FL_E_INVALID, "\"%.200s\" is a folder, not a program", program);
	if (strlen(program) >= PATH_MAX)
		return FL_FAIL(err, FL_E_INVALID, "the program's path is too long");
	return FL_OK;
}

/* A ";" between blanks ends one command and begins the next. */
static bool ends_command(const char *at)
{
	return *at == ';' && (at[1] == '\0' || strchr(BLANKS, at[1]) != NULL);
}

enum fl_code unit_command_check(const char *value, struct fl_error *err)
{
	char word[PATH_MAX + sizeof(PREFIXES)];
	const char *at = value + strspn(value, BLANKS);

	FL_TRY(check_specifiers(value, err));
	while (*at != '\0') {
		bool own_name;

		FL_TRY(read_word(&at, word, sizeof(word), err));
		FL_TRY(check_program(word, err));
		own_name = memchr(word, '@', strspn(word, PREFIXES)) != NULL;
		if (own_name && (*at == '\0' || ends_command(at)))
			return FL_FAIL(err, FL_E_INVALID,
				"behind @ and the program its own name for itself is missing");
		while (*at != '\0' && !ends_command(at))
			FL_TRY(read_word(&at, word, sizeof(word), err));
		if (*at == ';')
			at += 1 + strspn(at + 1, BLANKS);
	}
	return FL_OK;
}
