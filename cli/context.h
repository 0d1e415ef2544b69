/*
 * Contexts: fleets by name, in ~/.config/flota/config (or below $XDG_CONFIG_HOME), in systemd's
 * syntax (systemd.syntax(7)):
 *
 *	[Flotactl]
 *	Context=prod                      the one that is used when no other is named
 *
 *	[Context prod]
 *	Endpoint=tls+tcp://10.0.0.1:7440
 *	CACertificate=prod/ca.pem         paths are relative to the configuration's folder
 *	Certificate=prod/ana.pem
 *	Key=prod/ana.key
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"

struct context {
	char *name;
	char *endpoint, *ca_certificate, *certificate, *key; /* NULL where not set */
};

struct contexts {
	char *current; /* NULL: none is named */
	struct context *items; /* n of them, in the order of the file */
	size_t n;
};

void contexts_fini(struct contexts *contexts);
#define CONTEXTS_CLEANUP FL_CLEANUP(contexts_fini)

/* Where the configuration is; allocated. FL_E_NOT_FOUND when the environment does not say. */
enum fl_code contexts_path(char **ret_path, struct fl_error *err) FL_MUST_CHECK;

/* Reads the file; one that is not there has no contexts. Errors say path:line. *ret_contexts is
 * always to be given to contexts_fini(). */
enum fl_code contexts_load(
	const char *path, struct contexts *ret_contexts, struct fl_error *err) FL_MUST_CHECK;

/* flota.config(5), the manual page of the file. */
void contexts_man(FILE *out);

/* NULL: there is none of that name. */
const struct context *contexts_find(const struct contexts *contexts, const char *name);

/* FL_E_INVALID: a name is of letters, digits and . _ - */
enum fl_code context_name_check(const char *name, struct fl_error *err) FL_MUST_CHECK;

/* FL_E_INVALID: not a key of a [Context] section. */
enum fl_code context_key_check(const char *key, struct fl_error *err) FL_MUST_CHECK;

/* @text with @key set to @value in [@section], all else of it as it was; allocated. The section
 * is appended when it is not there. */
enum fl_code context_edit(const char *text, const char *section, const char *key, const char *value,
	char **ret_text, struct fl_error *err) FL_MUST_CHECK;
