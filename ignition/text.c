#include "ignition/text.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The character at @at and its length in bytes, 0 where that is not UTF-8 (RFC 3629). */
static size_t utf8_read(const uint8_t *at, const uint8_t *end, uint32_t *ret_c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : *at >= 0x80 ? 2 : 1;
	uint32_t c = n == 1 ? *at : *at & (0xffU >> (n + 1));

	if ((size_t)(end - at) < n || (n == 2 && *at < 0xc2) || *at > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (at[i] & 0x3fU);
	}
	if (c < least[n] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	*ret_c = c;
	return n;
}

/* YAML 1.2, 5.1 (c-printable), less what 1.1 took for line ends and the byte order mark. */
static bool is_readable(uint32_t c)
{
	if (c < 0xa0)
		return (c >= ' ' && c <= '~') || c == '\t' || c == '\n';
	return c != 0x2028 && c != 0x2029 && c != 0xfeff && c != 0xfffe && c != 0xffff;
}

bool text_is_readable(const void *data, size_t len)
{
	const uint8_t *at = data, *end = at + len;

	while (at < end) {
		uint32_t c;
		size_t n = utf8_read(at, end, &c);

		if (n == 0 || !is_readable(c))
			return false;
		at += n;
	}
	return true;
}

bool text_is_line(const char *text)
{
	return strchr(text, '\n') == NULL && text_is_readable(text, strlen(text));
}

bool text_is_block(const void *data, size_t len)
{
	const char *text = data;

	return len > 0 && strchr(" \t\n", text[0]) == NULL && text[len - 1] == '\n' &&
	       text[len - 2] != '\n' && text_is_readable(text, len);
}

void text_base64(const void *data, size_t len, struct fl_buf *out)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)bytes[i] << 16;

		bits |= n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
		bits |= n > 2 ? bytes[i + 2] : 0;
		for (size_t k = 0; k < 4; k++)
			fl_buf_append(
				out, k > n ? "=" : &base64_digits[bits >> (18 - 6 * k) & 63], 1);
	}
}

/* Unreserved in RFC 3986. */
static bool is_url_plain(uint8_t c)
{
	return (c < 0x80 && isalnum(c)) || (c != '\0' && strchr("-._~", c) != NULL);
}

void text_data_url(const void *data, size_t len, struct fl_buf *out)
{
	const uint8_t *bytes = data;
	size_t escaped = 0;

	for (size_t i = 0; i < len; i++)
		escaped += is_url_plain(bytes[i]) ? 1 : 3;
	if (escaped > strlen(";base64") + (len + 2) / 3 * 4) {
		fl_buf_text(out, "data:;base64,");
		text_base64(data, len, out);
		return;
	}
	fl_buf_text(out, "data:,");
	for (size_t i = 0; i < len; i++)
		if (is_url_plain(bytes[i]))
			fl_buf_byte(out, (char)bytes[i]);
		else
			fl_buf_printf(out, "%%%02X", bytes[i]);
}

void text_shell_word(const char *text, struct fl_buf *out)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:@%+,";

	if (*text != '\0' && text[strspn(text, plain)] == '\0') {
		fl_buf_text(out, text);
		return;
	}
	fl_buf_byte(out, '\'');
	for (; *text != '\0'; text++)
		if (*text == '\'')
			fl_buf_text(out, "'\\''");
		else
			fl_buf_byte(out, *text);
	fl_buf_byte(out, '\'');
}

void text_yaml_word(const char *text, struct fl_buf *out)
{
	fl_buf_byte(out, '"');
	for (; *text != '\0'; text++)
		switch (*text) {
		case '\n':
			fl_buf_text(out, "\\n");
			break;
		case '\t':
			fl_buf_text(out, "\\t");
			break;
		case '"':
		case '\\':
			fl_buf_byte(out, '\\');
			fl_buf_byte(out, *text);
			break;
		default:
			fl_buf_byte(out, *text);
		}
	fl_buf_byte(out, '"');
}

void text_indented(const char *text, size_t len, unsigned indent, struct fl_buf *out)
{
	const char *end = text + len;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)(newline - text) + 1;

		fl_assert(newline != NULL);
		if (n > 1)
			fl_buf_printf(out, "%*s", (int)indent, "");
		fl_buf_append(out, text, n);
		text += n;
	}
}
