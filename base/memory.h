/*
 * Ownership, in words: FL_CLEANUP frees a local when its block ends, FL_TAKE moves it out.
 */
#pragma once

#include <stddef.h>

#define FL_CLEANUP(function) __attribute__((cleanup(function)))

/* The value of @variable, which becomes NULL: ownership moves to the receiver. */
#define FL_TAKE(variable) \
	({ \
		__typeof__(variable) fl_taken_ = (variable); \
		(variable) = NULL; \
		fl_taken_; \
	})

/* Defines `static inline void NAMEp(TYPE **)` for FL_CLEANUP(NAMEp), from `void NAME(TYPE *)`. */
#define FL_DEFINE_CLEANUP(type, name) \
	static inline void name##p(type *fl_pointer_) \
	{ \
		if (*fl_pointer_ != NULL) \
			name(*fl_pointer_); \
	}

#define FL_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The structure that holds @pointer as its @member. */
#define FL_CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* free(3) for FL_CLEANUP, on any pointer to allocated memory. */
void fl_freep(void *pointer_to_pointer);

/* close(2) for FL_CLEANUP; negative is "none". It is never retried: Linux has closed it anyway. */
void fl_closep(const int *fd);

/* @n zeroed members of @size bytes; NULL when memory is out or n * size overflows. */
void *fl_new_array(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
#define FL_NEW(type) ((type *)fl_new_array(1, sizeof(type)))

/* A copy of @size bytes, terminated by a 0 byte that is not counted; NULL when memory is out. */
void *fl_memdup0(const void *data, size_t size) __attribute__((malloc));

/* strdup(3) that keeps NULL. */
char *fl_strdup(const char *text) __attribute__((malloc));

/* asprintf(3) that returns the text; NULL when memory is out. */
char *fl_printf(const char *format, ...) __attribute__((malloc, format(printf, 1, 2)));

/* Overwrites a secret in a way that the compiler keeps, then frees it. */
void fl_free_secret(void *data, size_t size);
