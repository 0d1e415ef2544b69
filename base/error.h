/*
 * Errors: one list of codes, and a caller-owned text.
 *
 * A function that can fail returns `enum fl_code` and takes, last, a nullable pointer to a
 * `struct fl_error` that lives in its caller. There is nothing to free. The text is written for
 * the person who reads it: what was wrong, where, and what to do.
 */
#pragma once

#include <stdarg.h>
#include <stdint.h>

/*
 * X(name, wire value, exit code of flotactl, text). Wire values are part of the protocol: never
 * renumber one, only add. A code that this program does not know becomes FL_E_INTERNAL.
 */
#define FL_CODES(X) \
	X(FL_OK, 0, 0, "ok") \
	X(FL_E_INTERNAL, 1, 1, "internal error") \
	X(FL_E_INVALID, 2, 1, "invalid argument") \
	X(FL_E_SYNTAX, 3, 1, "syntax error") \
	X(FL_E_NOT_FOUND, 4, 1, "not found") \
	X(FL_E_EXISTS, 5, 1, "exists already") \
	X(FL_E_STATE, 6, 1, "not possible in this state") \
	X(FL_E_FAILED, 7, 1, "failed") \
	X(FL_E_NO_MEMORY, 8, 1, "out of memory") \
	X(FL_E_IO, 9, 1, "input/output error") \
	X(FL_E_TOO_BIG, 10, 1, "too big") \
	X(FL_E_LIMIT, 11, 1, "a limit is reached") \
	X(FL_E_CANCELED, 12, 1, "canceled") \
	X(FL_E_UNAVAILABLE, 13, 5, "cannot be reached") \
	X(FL_E_DENIED, 14, 6, "permission denied") \
	X(FL_E_TIMEOUT, 15, 7, "timed out") \
	X(FL_E_UNSCHEDULABLE, 16, 8, "no machine can take it") \
	X(FL_E_PROTOCOL, 17, 1, "malformed message") \
	X(FL_E_VERSION, 18, 1, "protocol version not supported") \
	X(FL_E_STORE, 19, 1, "the store cannot be written") \
	X(FL_E_USAGE, 20, 1, "wrong usage")

enum fl_code {
#define X(name, wire, exit, text) name,
	FL_CODES(X)
#undef X
};

struct fl_error {
	enum fl_code code;
	char text[512]; /* always terminated; cut with "..." when it does not fit */
};

/* The code's own short text, never NULL. */
const char *fl_code_text(enum fl_code code);

/* The exit code that a command ends with on @code. */
int fl_code_exit(enum fl_code code);

/* The code's number on the wire, and back; unknown numbers give FL_E_INTERNAL. */
uint32_t fl_code_to_wire(enum fl_code code);
enum fl_code fl_code_from_wire(uint32_t wire);

/* What @err says, or its code's own text where it says nothing. Never NULL. */
const char *fl_error_text(const struct fl_error *err);

/* Writes @code and the formatted text into @err (nullable) and returns @code. */
enum fl_code fl_error_set(struct fl_error *err, enum fl_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
enum fl_code fl_error_setv(struct fl_error *err, enum fl_code code, const char *format, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Like fl_error_set, with ": " and strerror(@errnum) behind it. ENOMEM gives FL_E_NO_MEMORY,
 * ENOENT FL_E_NOT_FOUND, EACCES and EPERM FL_E_DENIED, EEXIST FL_E_EXISTS, else @code. */
enum fl_code fl_error_set_errno(struct fl_error *err, enum fl_code code, int errnum,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the text that is in @err (nullable), and returns @code, which becomes its
 * code. */
enum fl_code fl_error_prefix(struct fl_error *err, enum fl_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The code is the macro's own value, so that the compiler sees that it is not FL_OK. */
#define FL_FAIL(err, code, ...) \
	({ \
		enum fl_code fl_fail_code_ = (code); \
		(void)fl_error_set((err), fl_fail_code_, __VA_ARGS__); \
		fl_fail_code_; \
	})
#define FL_FAIL_ERRNO(err, errnum, ...) fl_error_set_errno((err), FL_E_IO, (errnum), __VA_ARGS__)
#define FL_FAIL_NO_MEMORY(err)          FL_FAIL((err), FL_E_NO_MEMORY, "out of memory")

/* The only macro that may hide a return. */
#define FL_TRY(expression) \
	do { \
		enum fl_code fl_try_code_ = (expression); \
		if (fl_try_code_ != FL_OK) \
			return fl_try_code_; \
	} while (0)

#define FL_MUST_CHECK __attribute__((warn_unused_result))

/*
 * Our own bug: says where and aborts, in every build. Never for what a peer, a file or a person
 * gave us. The condition must have no effect of its own.
 */
#define fl_assert(condition) \
	do { \
		if (__builtin_expect(!(condition), 0)) \
			fl_assert_failed(#condition, __FILE__, __LINE__, __func__); \
	} while (0)

_Noreturn void fl_assert_failed(
	const char *condition, const char *file, int line, const char *function);
