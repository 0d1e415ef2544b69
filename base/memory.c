#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fl_freep(void *pointer_to_pointer)
{
	void **pointer = pointer_to_pointer;

	free(*pointer);
	*pointer = NULL;
}

void fl_closep(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

void *fl_new_array(size_t n, size_t size)
{
	return calloc(n > 0 ? n : 1, size > 0 ? size : 1);
}

void *fl_memdup0(const void *data, size_t size)
{
	char *copy;

	if (size == SIZE_MAX)
		return NULL;
	copy = malloc(size + 1);
	if (copy == NULL)
		return NULL;
	if (size > 0)
		memcpy(copy, data, size);
	copy[size] = '\0';
	return copy;
}

char *fl_strdup(const char *text)
{
	return text != NULL ? strdup(text) : NULL;
}

char *fl_printf(const char *format, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	return n >= 0 ? text : NULL;
}

void fl_free_secret(void *data, size_t size)
{
	if (data == NULL)
		return;
	explicit_bzero(data, size);
	free(data);
}
