#include "proto/token.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "flota1."
#define BLANKS " \t\r\n"

#define BASE64_LEN(bytes) (((bytes)*4 + 2) / 3)

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static char *base64_put(char *to, const uint8_t *bytes, size_t n)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | bytes[i];
		for (n_bits += 8; n_bits >= 6; n_bits -= 6)
			*to++ = alphabet[bits >> (n_bits - 6) & 63];
	}
	if (n_bits > 0)
		*to++ = alphabet[bits << (6 - n_bits) & 63];
	return to;
}

/* Exactly @n bytes of the BASE64_LEN(@n) characters at @from; unused bits are 0, so that a token has
 * one text only. */
static bool base64_get(const char *from, uint8_t *bytes, size_t n)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t got = 0;

	for (size_t i = 0; i < BASE64_LEN(n); i++) {
		const char *at = from[i] != '\0' ? strchr(alphabet, from[i]) : NULL;

		if (at == NULL)
			return false;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			bytes[got++] = (uint8_t)(bits >> n_bits);
		}
	}
	return got == n && (bits & ((1U << n_bits) - 1)) == 0;
}

void token_id_format(const uint8_t bytes[TOKEN_ID_BYTES], char ret_id[TOKEN_ID_SIZE])
{
	for (size_t i = 0; i < TOKEN_ID_BYTES; i++)
		snprintf(ret_id + 2 * i, 3, "%02x", bytes[i]);
}

void token_format(const struct token *token, char ret_text[TOKEN_TEXT_SIZE])
{
	char *to = ret_text + snprintf(ret_text, TOKEN_TEXT_SIZE, PREFIX "%s.", token->id);

	to = base64_put(to, token->secret, TOKEN_SECRET_BYTES);
	*to++ = '.';
	to = base64_put(to, token->pin, TOKEN_PIN_BYTES);
	*to = '\0';
}

static bool parse(const char *text, size_t len, struct token *token)
{
	const size_t id_len = TOKEN_ID_SIZE - 1, secret_at = strlen(PREFIX) + id_len + 1;
	const size_t pin_at = secret_at + BASE64_LEN(TOKEN_SECRET_BYTES) + 1;

	if (len != pin_at + BASE64_LEN(TOKEN_PIN_BYTES) ||
		strncmp(text, PREFIX, strlen(PREFIX)) != 0 || text[secret_at - 1] != '.' ||
		text[pin_at - 1] != '.')
		return false;
	memcpy(token->id, text + strlen(PREFIX), id_len);
	token->id[id_len] = '\0';
	return strspn(token->id, "0123456789abcdef") == id_len &&
	       base64_get(text + secret_at, token->secret, TOKEN_SECRET_BYTES) &&
	       base64_get(text + pin_at, token->pin, TOKEN_PIN_BYTES);
}

enum fl_code token_parse(const char *text, struct token *ret_token, struct fl_error *err)
{
	struct token token;
	size_t len;

	text += strspn(text, BLANKS);
	len = strlen(text);
	while (len > 0 && strchr(BLANKS, text[len - 1]) != NULL)
		len--;
	if (parse(text, len, &token)) {
		*ret_token = token;
		explicit_bzero(&token, sizeof(token));
		return FL_OK;
	}
	explicit_bzero(&token, sizeof(token));
	return FL_FAIL(err, FL_E_INVALID,
		"that is no join token: one begins with " PREFIX " and has %zu characters; "
		"\"flotactl token create\" makes one",
		strlen(PREFIX) + TOKEN_ID_SIZE + 1 + BASE64_LEN(TOKEN_SECRET_BYTES) +
			BASE64_LEN(TOKEN_PIN_BYTES));
}
