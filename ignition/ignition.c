#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "ignition/formats.h"
#include "ignition/text.h"

/* @value (taken over) as a member; a NULL, of either, is passed on as a failure. */
static bool put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0;
}

/* An object with "source", a data: URL. */
static json_t *resource_of_data(const void *data, size_t len)
{
	FL_CLEANUP_BUF struct fl_buf url = FL_BUF_INIT;

	text_data_url(data, len, &url);
	return fl_buf_ok(&url) ? json_pack("{s:s}", "source", fl_buf_str(&url)) : NULL;
}

static json_t *file_of(const struct content *content, const struct content_file *file)
{
	json_t *resource;

	if (file->url != NULL)
		resource = json_pack("{s:s, s:{s:s}}", "source", file->url, "verification", "hash",
			content->machine->hash);
	else
		resource = resource_of_data(file->data, file->len);
	return json_pack("{s:s, s:b, s:i, s:o}", "path", file->path, "overwrite", true, "mode",
		(int)file->mode, "contents", resource);
}

static json_t *files_of(const struct content *content)
{
	json_t *files = json_array();

	for (size_t i = 0; i < content->n_files; i++)
		if (json_array_append_new(files, file_of(content, &content->files[i])) < 0) {
			json_decref(files);
			return NULL;
		}
	return files;
}

static json_t *units_of(const struct content *content)
{
	json_t *units = json_array();

	for (size_t i = 0; i < content->n_units; i++) {
		const struct content_unit *unit = &content->units[i];

		if (json_array_append_new(units,
			    json_pack("{s:s, s:s*, s:o*}", "name", unit->name, "contents",
				    unit->text, "enabled", unit->is_enabled ? json_true() : NULL)) <
			0) {
			json_decref(units);
			return NULL;
		}
	}
	return units;
}

static json_t *user_of(const struct machine *machine)
{
	const struct fl_strv *ssh_keys = &machine->values[MACHINE_SSH_KEY];
	const char *user = machine_value(machine, MACHINE_USER);
	json_t *list = json_array();

	for (size_t i = 0; i < ssh_keys->n; i++)
		if (json_array_append_new(list, json_string(ssh_keys->items[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:[{s:s, s:[s], s:o}]}", "users", "name",
		user != NULL ? user : MACHINE_USER_DEFAULT, "groups", "sudo", "sshAuthorizedKeys",
		list);
}

static json_t *ignition_of(const struct machine *machine, bool has_url)
{
	json_t *ignition = json_pack("{s:s}", "version", "3.3.0");
	const char *ca = machine->ca_certificate;

	if (ca != NULL && has_url &&
		!put(ignition, "security",
			json_pack("{s:{s:[o]}}", "tls", "certificateAuthorities",
				resource_of_data(ca, strlen(ca))))) {
		json_decref(ignition);
		return NULL;
	}
	return ignition;
}

enum fl_code ignition_write(const struct content *content, struct fl_buf *out, struct fl_error *err)
{
	const struct machine *machine = content->machine;
	json_t *document = json_object();
	bool has_url = false, ok;
	char *text = NULL;

	for (size_t i = 0; i < content->n_files; i++)
		has_url |= content->files[i].url != NULL;
	ok = put(document, "ignition", ignition_of(machine, has_url)) &&
	     (machine->values[MACHINE_SSH_KEY].n == 0 ||
		     put(document, "passwd", user_of(machine))) &&
	     put(document, "storage", json_pack("{s:o}", "files", files_of(content))) &&
	     put(document, "systemd", json_pack("{s:o}", "units", units_of(content)));
	if (ok)
		text = json_dumps(document, JSON_INDENT(2));
	json_decref(document);
	if (text == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fl_buf_text(out, text);
	fl_buf_byte(out, '\n');
	fl_free_secret(text, strlen(text));
	return FL_OK;
}
