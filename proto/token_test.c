#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proto/token.h"

static const struct token zeros = {.id = "0000000000000000"};

static struct token some(void)
{
	static const uint8_t id[TOKEN_ID_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	struct token token;

	token_id_format(id, token.id);
	for (unsigned i = 0; i < TOKEN_SECRET_BYTES; i++) {
		token.secret[i] = (uint8_t)(i * 37 + 251);
		token.pin[i] = (uint8_t)(255 - i);
	}
	return token;
}

static void assert_same(const struct token *a, const struct token *b)
{
	assert_string_equal(a->id, b->id);
	assert_memory_equal(a->secret, b->secret, TOKEN_SECRET_BYTES);
	assert_memory_equal(a->pin, b->pin, TOKEN_PIN_BYTES);
}

static void its_text(void **state)
{
	char text[TOKEN_TEXT_SIZE];

	(void)state;
	token_format(&zeros, text);
	assert_string_equal(text,
		"flota1.0000000000000000.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA."
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
}

static void comes_back(void **state)
{
	struct token token = some(), back;
	char text[TOKEN_TEXT_SIZE], padded[TOKEN_TEXT_SIZE + 8];
	struct fl_error err;

	(void)state;
	token_format(&token, text);
	assert_string_equal(token.id, "0123456789abcdef");
	assert_int_equal(token_parse(text, &back, &err), FL_OK);
	assert_same(&token, &back);
	snprintf(padded, sizeof(padded), " \t%s\r\n", text);
	assert_int_equal(token_parse(padded, &back, &err), FL_OK);
	assert_same(&token, &back);
}

/* One bit, one character more or less, and it is none; and the error never tells what it was. */
static void anything_else_is_refused(void **state)
{
	struct token token = some(), back = zeros;
	char text[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE + 8];
	struct fl_error err;
	size_t len;

	(void)state;
	token_format(&token, text);
	len = strlen(text);
	for (size_t i = 0; i < len; i++) {
		memcpy(other, text, len + 1);
		other[i] = '!';
		assert_int_equal(token_parse(other, &back, &err), FL_E_INVALID);
		assert_null(strstr(err.text, "0123456789abcdef"));
		memmove(other + i, text + i + 1, len - i);
		assert_int_equal(token_parse(other, &back, &err), FL_E_INVALID);
		memcpy(other, text, i);
		other[i] = 'A';
		memcpy(other + i + 1, text + i, len - i + 1);
		assert_int_equal(token_parse(other, &back, &err), FL_E_INVALID);
	}
	/* The last character holds 4 bits of the pin: another one with the same is no second text. */
	memcpy(other, text, len + 1);
	other[len - 1]++;
	assert_int_equal(token_parse(other, &back, &err), FL_E_INVALID);
	assert_int_equal(token_parse("", &back, &err), FL_E_INVALID);
	assert_non_null(strstr(err.text, "flotactl token create"));
	assert_same(&back, &zeros);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_text),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(anything_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
