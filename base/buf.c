#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fl_buf_fini(struct fl_buf *buf)
{
	free(buf->data);
	*buf = FL_BUF_INIT;
}

/* Room for @more bytes and the terminating 0. */
static bool reserve(struct fl_buf *buf, size_t more)
{
	size_t capacity = buf->capacity > 0 ? buf->capacity : 64;
	char *data;

	if (buf->failed || more > SIZE_MAX / 4 - buf->len) {
		buf->failed = true;
		return false;
	}
	while (capacity < buf->len + more + 1)
		capacity *= 2;
	if (capacity == buf->capacity)
		return true;
	data = realloc(buf->data, capacity);
	if (data == NULL) {
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->capacity = capacity;
	return true;
}

void fl_buf_append(struct fl_buf *buf, const void *data, size_t size)
{
	if (!reserve(buf, size))
		return;
	if (size > 0)
		memcpy(buf->data + buf->len, data, size);
	buf->len += size;
	buf->data[buf->len] = '\0';
}

void fl_buf_text(struct fl_buf *buf, const char *text)
{
	fl_buf_append(buf, text, strlen(text));
}

void fl_buf_byte(struct fl_buf *buf, char c)
{
	fl_buf_append(buf, &c, 1);
}

void fl_buf_printf(struct fl_buf *buf, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (n < 0 || !reserve(buf, (size_t)n)) {
		buf->failed = true;
		return;
	}
	va_start(ap, format);
	(void)vsnprintf(buf->data + buf->len, (size_t)n + 1, format, ap);
	va_end(ap);
	buf->len += (size_t)n;
}

void fl_buf_clear(struct fl_buf *buf)
{
	buf->len = 0;
	buf->failed = false;
	if (buf->data != NULL)
		buf->data[0] = '\0';
}

enum fl_code fl_buf_take(struct fl_buf *buf, char **ret_text, struct fl_error *err)
{
	if (!reserve(buf, 0)) {
		fl_buf_fini(buf);
		return FL_FAIL_NO_MEMORY(err);
	}
	buf->data[buf->len] = '\0';
	*ret_text = FL_TAKE(buf->data);
	*buf = FL_BUF_INIT;
	return FL_OK;
}
