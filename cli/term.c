#include "cli/term.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/dialect.h"

static bool progress_shown, progress_off;

static void begin(const char *before)
{
	term_progress(NULL);
	(void)fflush(stdout); /* so that both streams are in order where they are the same */
	fputs(before, stderr);
}

void term_error(const char *format, ...)
{
	va_list ap;

	begin(dialect->error_prefix);
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void term_warning(const char *format, ...)
{
	va_list ap;

	begin("WARNING: ");
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

bool term_has_colours(FILE *out)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return (no == NULL || no[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0) &&
	       isatty(fileno(out));
}

const char *term_begin(enum term_colour colour)
{
	switch (colour) {
	case TERM_PLAIN:
		return "";
	case TERM_RED:
		return "\033[31m";
	case TERM_GREEN:
		return "\033[32m";
	case TERM_YELLOW:
		return "\033[33m";
	case TERM_BOLD:
		return "\033[1m";
	}
	return "";
}

void term_progress_off(void)
{
	progress_off = true;
}

/* As much of the text as the line has room for, by characters; texts come from machines, so nothing
 * in it moves the cursor. */
static void put_progress(const char *text, unsigned width)
{
	unsigned column = 0;

	for (; *text != '\0'; text++) {
		bool begins = ((unsigned char)*text & 0xc0) != 0x80;

		if (begins && ++column >= width)
			break;
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text, stderr);
	}
}

void term_progress(const char *text)
{
	struct winsize size = {0};

	if (text == NULL) {
		if (progress_shown)
			fputs("\r\033[K", stderr);
		progress_shown = false;
		return;
	}
	if (progress_off || !isatty(STDERR_FILENO))
		return;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
		size.ws_col = 80;
	fputs("\r\033[K", stderr);
	put_progress(text, size.ws_col);
	progress_shown = true;
}

enum fl_code term_confirm(const char *question, const char *otherwise, struct fl_error *err)
{
	char answer[16];

	if (!isatty(STDIN_FILENO))
		return FL_FAIL(err, FL_E_USAGE,
			"standard input is no terminal to ask on: add --yes, or --dry-run");
	term_progress(NULL);
	(void)fflush(stdout);
	fprintf(stderr, "%s [y/N] ", question);
	if (fgets(answer, sizeof(answer), stdin) == NULL || (answer[0] | ' ') != 'y')
		return FL_FAIL(err, FL_E_CANCELED, "%s", otherwise);
	return FL_OK;
}
