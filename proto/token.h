/*
 * A join token as text: what an operator gives to a machine, by hand or in its first-boot document.
 *
 *	flota1.ID.SECRET.PIN
 *
 * ID names it in listings and logs and is no secret. SECRET is shown to the fleet's coordinator and
 * nobody else; PIN is SHA-256 of the fleet's CA key, by which a machine knows that coordinator
 * before it says anything. ID is hexadecimal, the others base64url without padding (RFC 4648,
 * section 5), so the text needs no quotes in a shell, a URL, YAML or JSON.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define TOKEN_ID_BYTES     8U
#define TOKEN_SECRET_BYTES 32U
#define TOKEN_PIN_BYTES    32U

#define TOKEN_ID_SIZE   (2U * TOKEN_ID_BYTES + 1) /* of its text, terminated */
#define TOKEN_TEXT_SIZE 128U

struct token {
	char id[TOKEN_ID_SIZE];
	uint8_t secret[TOKEN_SECRET_BYTES];
	uint8_t pin[TOKEN_PIN_BYTES];
};

/* Its ID as text, from random bytes. */
void token_id_format(const uint8_t bytes[TOKEN_ID_BYTES], char ret_id[TOKEN_ID_SIZE]);

/* The caller wipes @ret_text and the token itself when it has done with them (explicit_bzero(3)). */
void token_format(const struct token *token, char ret_text[TOKEN_TEXT_SIZE]);

/* Blanks around it are allowed, as files have them. FL_E_INVALID never quotes the text. */
enum fl_code token_parse(
	const char *text, struct token *ret_token, struct fl_error *err) FL_MUST_CHECK;
