#include "cli/context.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/man.h"

#define FILE_MAX_BYTES (1U << 20)
#define SPACE          " \t\r"

#define SECTION_GENERAL "Flotactl"
#define SECTION_CONTEXT "Context "

static const struct {
	const char *name;
	size_t offset;
	bool is_path;
	const char *doc;
} context_keys[] = {
	{"Endpoint", offsetof(struct context, endpoint), false,
		"The coordinator: tls+tcp://HOST:PORT, or ipc:///PATH on its own machine."},
	{"CACertificate", offsetof(struct context, ca_certificate), true,
		"The fleet's CA certificate, a PEM file; not for ipc://."},
	{"Certificate", offsetof(struct context, certificate), true,
		"Your certificate, a PEM file; not for ipc://."},
	{"Key", offsetof(struct context, key), true,
		"Its private key, a PEM file that nobody else may read; not for ipc://."},
};

static void context_fini(struct context *context)
{
	free(context->name);
	free(context->endpoint);
	free(context->ca_certificate);
	free(context->certificate);
	free(context->key);
}

void contexts_fini(struct contexts *contexts)
{
	for (size_t i = 0; i < contexts->n; i++)
		context_fini(&contexts->items[i]);
	free(contexts->items);
	free(contexts->current);
	memset(contexts, 0, sizeof(*contexts));
}

void contexts_man(FILE *out)
{
	fl_man_begin("flota.config", 5, "the fleets that flotactl knows", out);
	fl_man_section("SYNOPSIS", out);
	fl_man_text("~/.config/flota/config, or $XDG_CONFIG_HOME/flota/config", out);
	fl_man_section("DESCRIPTION", out);
	fl_man_text(
		"Contexts are fleets by name. flotactl uses the one that --context or "
		"FLOTACTL_CONTEXT names, else the one that the file names; without any it is "
		"connected with the coordinator of its own machine. \"flotactl config\" shows "
		"and changes the file, and leaves comments and the order as they are. Its syntax is that of systemd.syntax(7), without continued lines.",
		out);
	fl_man_section("[" SECTION_GENERAL "]", out);
	fl_man_item(
		"Context=", "The name of the context that is used when no other is named.", out);
	fl_man_section("[CONTEXT NAME]", out);
	fl_man_text("One section for each, such as [" SECTION_CONTEXT
		    "prod]. A name is of letters, digits and . _ -. Paths are relative to the "
		    "file's folder.",
		out);
	for (size_t i = 0; i < FL_COUNT(context_keys); i++) {
		char term[64];

		(void)snprintf(term, sizeof(term), "%s=", context_keys[i].name);
		fl_man_item(term, context_keys[i].doc, out);
	}
	fl_man_section("EXAMPLE", out);
	fl_man_example("[Flotactl]\n"
		       "Context=prod\n"
		       "\n"
		       "[Context prod]\n"
		       "Endpoint=tls+tcp://10.0.0.1:7440\n"
		       "CACertificate=prod/ca.pem\n"
		       "Certificate=prod/ana.pem\n"
		       "Key=prod/ana.key\n",
		out);
	fl_man_see_also("flotactl(1) flota-coordinator(8)", out);
}

enum fl_code contexts_path(char **ret_path, struct fl_error *err)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *path;

	/* The XDG base directory specification: a relative path is to be ignored. */
	if (config != NULL && config[0] == '/')
		path = fl_printf("%s/flota/config", config);
	else if (home != NULL && home[0] != '\0')
		path = fl_printf("%s/.config/flota/config", home);
	else
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"neither HOME nor XDG_CONFIG_HOME says where the configuration is");
	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*ret_path = path;
	return FL_OK;
}

const struct context *contexts_find(const struct contexts *contexts, const char *name)
{
	for (size_t i = 0; i < contexts->n; i++)
		if (strcmp(contexts->items[i].name, name) == 0)
			return &contexts->items[i];
	return NULL;
}

enum fl_code context_name_check(const char *name, struct fl_error *err)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	if (name[0] == '\0' || name[strspn(name, allowed)] != '\0')
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is not the name of a context: letters, digits, \".\", \"_\" and \"-\"",
			name);
	return FL_OK;
}

enum fl_code context_key_check(const char *key, struct fl_error *err)
{
	for (size_t i = 0; i < FL_COUNT(context_keys); i++)
		if (strcmp(context_keys[i].name, key) == 0)
			return FL_OK;
	return FL_FAIL(err, FL_E_INVALID,
		"unknown key %s=; a context has Endpoint=, CACertificate=, Certificate= and Key=",
		key);
}

/* Where reading is: in no section, the general one, or that of a context. */
struct reader {
	struct contexts *contexts;
	const char *folder;
	size_t folder_len;
	bool general;
	size_t context; /* index + 1; 0 = none */
};

static enum fl_code enter_context(struct reader *reader, const char *name, struct fl_error *err)
{
	struct contexts *contexts = reader->contexts;
	struct context *items;

	FL_TRY(context_name_check(name, err));
	reader->general = false;
	for (size_t i = 0; i < contexts->n; i++)
		if (strcmp(contexts->items[i].name, name) == 0) {
			reader->context = i + 1;
			return FL_OK;
		}
	items = reallocarray(contexts->items, contexts->n + 1, sizeof(*items));
	if (items == NULL)
		return FL_FAIL_NO_MEMORY(err);
	contexts->items = items;
	items[contexts->n] = (struct context){.name = fl_strdup(name)};
	if (items[contexts->n].name == NULL)
		return FL_FAIL_NO_MEMORY(err);
	reader->context = ++contexts->n;
	return FL_OK;
}

static enum fl_code read_section(struct reader *reader, char *line, struct fl_error *err)
{
	size_t n = strlen(line);

	if (line[n - 1] != ']')
		return FL_FAIL(err, FL_E_SYNTAX, "a section header ends with \"]\"");
	line[n - 1] = '\0';
	line++;
	if (strcmp(line, SECTION_GENERAL) == 0) {
		reader->general = true;
		reader->context = 0;
		return FL_OK;
	}
	if (strncmp(line, SECTION_CONTEXT, strlen(SECTION_CONTEXT)) == 0)
		return enter_context(reader, line + strlen(SECTION_CONTEXT), err);
	return FL_FAIL(err, FL_E_SYNTAX, "unknown section [%s]; there are [%s] and [%sNAME]", line,
		SECTION_GENERAL, SECTION_CONTEXT);
}

static enum fl_code set(char **field, char *value, struct fl_error *err)
{
	if (value == NULL)
		return FL_FAIL_NO_MEMORY(err);
	free(*field);
	*field = value;
	return FL_OK;
}

static enum fl_code read_assignment(
	struct reader *reader, const char *key, const char *value, struct fl_error *err)
{
	struct context *context;

	if (reader->general && strcmp(key, "Context") == 0) {
		FL_TRY(context_name_check(value, err));
		return set(&reader->contexts->current, fl_strdup(value), err);
	}
	if (reader->general)
		return FL_FAIL(err, FL_E_SYNTAX, "unknown key %s=; [%s] has Context=", key,
			SECTION_GENERAL);
	if (reader->context == 0)
		return FL_FAIL(err, FL_E_SYNTAX, "a key before the first section header");
	FL_TRY(context_key_check(key, err));
	context = &reader->contexts->items[reader->context - 1];
	for (size_t i = 0; i < FL_COUNT(context_keys); i++) {
		char **field = (char **)(void *)((char *)context + context_keys[i].offset);

		if (strcmp(context_keys[i].name, key) != 0)
			continue;
		if (context_keys[i].is_path && value[0] != '/')
			return set(field,
				fl_printf(
					"%.*s/%s", (int)reader->folder_len, reader->folder, value),
				err);
		return set(field, fl_strdup(value), err);
	}
	return FL_OK;
}

static char *trim(char *text)
{
	size_t n;

	text += strspn(text, SPACE);
	n = strlen(text);
	while (n > 0 && strchr(SPACE, text[n - 1]) != NULL)
		text[--n] = '\0';
	return text;
}

static enum fl_code read_line(struct reader *reader, char *line, struct fl_error *err)
{
	char *equals;

	line = trim(line);
	if (line[0] == '\0' || line[0] == '#' || line[0] == ';')
		return FL_OK;
	if (line[0] == '[')
		return read_section(reader, line, err);
	equals = strchr(line, '=');
	if (equals == NULL)
		return FL_FAIL(err, FL_E_SYNTAX, "neither \"Key=value\" nor a comment");
	*equals = '\0';
	return read_assignment(reader, trim(line), trim(equals + 1), err);
}

enum fl_code contexts_load(const char *path, struct contexts *ret_contexts, struct fl_error *err)
{
	const char *slash = strrchr(path, '/');
	struct reader reader = {.contexts = ret_contexts, .folder = path};
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct fl_error local = {0};
	enum fl_code code;
	unsigned number = 0;
	size_t len;
	char *rest;

	if (err == NULL)
		err = &local;
	reader.folder_len = slash != NULL ? (size_t)(slash - path) : 0;
	memset(ret_contexts, 0, sizeof(*ret_contexts));
	code = fl_file_read(path, FILE_MAX_BYTES, &text, &len, err);
	if (code == FL_E_NOT_FOUND)
		return FL_OK;
	if (code != FL_OK)
		return code;
	if (strlen(text) != len)
		return FL_FAIL(err, FL_E_SYNTAX, "%s: holds a NUL byte", path);
	rest = text;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		code = read_line(&reader, line, err);
		number++;
		if (code != FL_OK)
			return fl_error_prefix(err, code, "%s:%u", path, number);
	}
	return FL_OK;
}

/* Whether the line of @len bytes is the header of @section. */
static bool is_header(const char *line, size_t len, const char *section)
{
	size_t n = strlen(section);

	while (len > 0 && strchr(SPACE, line[len - 1]) != NULL)
		len--;
	return len == n + 2 && line[0] == '[' && strncmp(line + 1, section, n) == 0 &&
	       line[len - 1] == ']';
}

static bool assigns(const char *line, size_t len, const char *key)
{
	size_t n = strlen(key);

	if (len <= n || strncmp(line, key, n) != 0)
		return false;
	n += strspn(line + n, SPACE);
	return n < len && line[n] == '=';
}

enum fl_code context_edit(const char *text, const char *section, const char *key, const char *value,
	char **ret_text, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf out = FL_BUF_INIT;
	bool inside = false, found = false, written = false;

	while (*text != '\0') {
		size_t n = strcspn(text, "\n"), blanks = strspn(text, SPACE);
		size_t whole = n + (text[n] == '\n'), len = n - blanks;
		const char *line = text + blanks;

		if (inside && line[0] == '[' && !written) {
			/* The section ends without the key; it goes above the empty lines there. */
			while (out.len >= 2 && strcmp(out.data + out.len - 2, "\n\n") == 0)
				out.data[--out.len] = '\0';
			fl_buf_printf(&out, "%s=%s\n\n", key, value);
			written = true;
		}
		if (line[0] == '[') {
			inside = is_header(line, len, section);
			found = found || inside;
		}
		if (inside && assigns(line, len, key)) {
			/* The last one would win: one is left, at the first one's place. */
			if (!written)
				fl_buf_printf(&out, "%s=%s\n", key, value);
			written = true;
		} else {
			fl_buf_append(&out, text, whole);
			if (text[n] != '\n')
				fl_buf_byte(&out, '\n');
		}
		text += whole;
	}
	if (!found)
		fl_buf_printf(&out, "%s[%s]\n", out.len > 0 ? "\n" : "", section);
	if (!written)
		fl_buf_printf(&out, "%s=%s\n", key, value);
	return fl_buf_take(&out, ret_text, err);
}
