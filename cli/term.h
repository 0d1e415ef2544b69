/* What a person sees: messages, colours, a line of progress. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"

enum term_colour {
	TERM_PLAIN,
	TERM_RED,
	TERM_GREEN,
	TERM_YELLOW,
	TERM_BOLD,
};

/* "flotactl: ..." and "WARNING: ..." on standard error. A line of progress is taken away first. */
void term_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void term_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether @out is a terminal that wants colours; https://no-color.org. */
bool term_has_colours(FILE *out);

/* The sequence that begins the colour; "" for TERM_PLAIN. TERM_END ends each. */
const char *term_begin(enum term_colour colour);
#define TERM_END "\033[0m"

/* Asks on the terminal; FL_E_CANCELED, with @otherwise, unless the answer begins with "y".
 * FL_E_USAGE where nobody can answer. */
enum fl_code term_confirm(
	const char *question, const char *otherwise, struct fl_error *err) FL_MUST_CHECK;

/* Shows @text as the one line of progress on standard error, cut to the terminal's width; NULL
 * takes it away. Nothing happens where that is no terminal, nor after term_progress_off(), for
 * programs that look on. */
void term_progress(const char *text);
void term_progress_off(void);
