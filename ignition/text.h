/* Text as it has to be written in the languages of first-boot documents. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* UTF-8 (RFC 3629) of characters that a YAML text may hold as they are, and can be seen: neither
 * controls but tab and newline, nor the line ends that only YAML knows. Empty is text too. */
bool text_is_readable(const void *data, size_t len);

/* The same, and one line. */
bool text_is_line(const char *text);

/* Whether it may stand in a document line by line: readable, of whole lines, with something in
 * the first that is no blank. Else it has to be encoded. */
bool text_is_block(const void *data, size_t len);

/* RFC 4648, in one line. */
void text_base64(const void *data, size_t len, struct fl_buf *out);

/* "data:,..." (RFC 2397), encoded in whichever way is shorter. */
void text_data_url(const void *data, size_t len, struct fl_buf *out);

/* A word of sh(1), in single quotes where it needs them. */
void text_shell_word(const char *text, struct fl_buf *out);

/* Readable text as a YAML scalar, in double quotes. */
void text_yaml_word(const char *text, struct fl_buf *out);

/* @len bytes for which text_is_block() holds: each line behind @indent spaces, an empty one
 * without. */
void text_indented(const char *text, size_t len, unsigned indent, struct fl_buf *out);
