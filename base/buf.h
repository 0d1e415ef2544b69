/*
 * A byte buffer that grows. After one failed allocation it stays failed, so that a run of appends
 * needs one check at its end: fl_buf_ok().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

struct fl_buf {
	char *data; /* NULL while empty; else followed by a 0 byte that is not counted */
	size_t len;
	size_t capacity;
	bool failed;
};

#define FL_BUF_INIT ((struct fl_buf){0})

void fl_buf_fini(struct fl_buf *buf);
#define FL_CLEANUP_BUF FL_CLEANUP(fl_buf_fini)

void fl_buf_append(struct fl_buf *buf, const void *data, size_t size);
void fl_buf_text(struct fl_buf *buf, const char *text);
void fl_buf_byte(struct fl_buf *buf, char c);
void fl_buf_printf(struct fl_buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Empties it and keeps its memory. */
void fl_buf_clear(struct fl_buf *buf);

static inline bool fl_buf_ok(const struct fl_buf *buf)
{
	return !buf->failed;
}

/* The text, "" where nothing was appended; borrowed until the next change. */
static inline const char *fl_buf_str(const struct fl_buf *buf)
{
	return buf->data != NULL ? buf->data : "";
}

/* Moves the text out (allocated, terminated) and leaves the buffer empty. FL_E_NO_MEMORY where an
 * append failed. */
enum fl_code fl_buf_take(struct fl_buf *buf, char **ret_text, struct fl_error *err) FL_MUST_CHECK;
