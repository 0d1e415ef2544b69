#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	uint32_t wire;
	int exit;
	const char *text;
} codes[] = {
#define X(name, wire, exit, text) [name] = {wire, exit, text},
	FL_CODES(X)
#undef X
};

#define N_CODES (sizeof(codes) / sizeof(codes[0]))

const char *fl_code_text(enum fl_code code)
{
	fl_assert((size_t)code < N_CODES);
	return codes[code].text;
}

int fl_code_exit(enum fl_code code)
{
	fl_assert((size_t)code < N_CODES);
	return codes[code].exit;
}

uint32_t fl_code_to_wire(enum fl_code code)
{
	fl_assert((size_t)code < N_CODES);
	return codes[code].wire;
}

enum fl_code fl_code_from_wire(uint32_t wire)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (codes[i].wire == wire)
			return (enum fl_code)i;
	return FL_E_INTERNAL;
}

const char *fl_error_text(const struct fl_error *err)
{
	return err->text[0] != '\0' ? err->text : fl_code_text(err->code);
}

/* vsnprintf into a text of fixed size, its end marked when something had to be left out. */
static void format_into(char *text, size_t size, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

static void format_into(char *text, size_t size, const char *format, va_list ap)
{
	int n = vsnprintf(text, size, format, ap);

	if (n < 0)
		text[0] = '\0';
	else if ((size_t)n >= size)
		memcpy(text + size - 4, "...", 4);
}

enum fl_code fl_error_setv(struct fl_error *err, enum fl_code code, const char *format, va_list ap)
{
	if (err != NULL) {
		/* An argument may point into the text that is being replaced. */
		char text[sizeof(err->text)];

		format_into(text, sizeof(text), format, ap);
		memcpy(err->text, text, sizeof(text));
		err->code = code;
	}
	return code;
}

enum fl_code fl_error_set(struct fl_error *err, enum fl_code code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fl_error_setv(err, code, format, ap);
	va_end(ap);
	return code;
}

static enum fl_code code_from_errno(int errnum, enum fl_code otherwise)
{
	switch (errnum) {
	case ENOMEM:
		return FL_E_NO_MEMORY;
	case ENOENT:
		return FL_E_NOT_FOUND;
	case EACCES:
	case EPERM:
		return FL_E_DENIED;
	case EEXIST:
		return FL_E_EXISTS;
	default:
		return otherwise;
	}
}

enum fl_code fl_error_set_errno(
	struct fl_error *err, enum fl_code code, int errnum, const char *format, ...)
{
	char what[sizeof(err->text)];
	va_list ap;

	va_start(ap, format);
	format_into(what, sizeof(what), format, ap);
	va_end(ap);
	return fl_error_set(
		err, code_from_errno(errnum, code), "%s: %s", what, strerrordesc_np(errnum));
}

enum fl_code fl_error_prefix(struct fl_error *err, enum fl_code code, const char *format, ...)
{
	char what[sizeof(err->text)];
	va_list ap;

	if (err == NULL)
		return code;
	va_start(ap, format);
	format_into(what, sizeof(what), format, ap);
	va_end(ap);
	return fl_error_set(err, code, "%s: %s", what, fl_error_text(err));
}

void fl_assert_failed(const char *condition, const char *file, int line, const char *function)
{
	fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, condition);
	abort();
}
