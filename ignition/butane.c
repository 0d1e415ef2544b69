#include <string.h>

#include "ignition/formats.h"
#include "ignition/text.h"

/* "KEY: |" and the text, or its data: URL where it is none that can stand so. */
static void write_resource(const void *data, size_t len, unsigned indent, struct fl_buf *out)
{
	FL_CLEANUP_BUF struct fl_buf url = FL_BUF_INIT;

	fl_buf_printf(out, "%*s", (int)indent, "");
	if (text_is_block(data, len)) {
		fl_buf_text(out, "inline: |\n");
		text_indented(data, len, indent + 2, out);
		return;
	}
	text_data_url(data, len, &url);
	out->failed |= url.failed;
	fl_buf_printf(out, "source: \"%s\"\n", fl_buf_str(&url));
}

static void write_file(
	const struct content *content, const struct content_file *file, struct fl_buf *out)
{
	fl_buf_text(out, "    - path: ");
	text_yaml_word(file->path, out);
	fl_buf_printf(
		out, "\n      overwrite: true\n      mode: 0%03o\n      contents:\n", file->mode);
	if (file->url != NULL)
		fl_buf_printf(out,
			"        source: \"%s\"\n        verification:\n          hash: %s\n",
			file->url, content->machine->hash);
	else
		write_resource(file->data, file->len, 8, out);
}

static void write_unit(const struct content_unit *unit, struct fl_buf *out)
{
	fl_buf_text(out, "    - name: ");
	text_yaml_word(unit->name, out);
	if (unit->is_enabled)
		fl_buf_text(out, "\n      enabled: true");
	fl_buf_byte(out, '\n');
	if (unit->text == NULL)
		return;
	if (text_is_block(unit->text, strlen(unit->text))) {
		fl_buf_text(out, "      contents: |\n");
		text_indented(unit->text, strlen(unit->text), 8, out);
	} else {
		fl_buf_text(out, "      contents: ");
		text_yaml_word(unit->text, out);
		fl_buf_byte(out, '\n');
	}
}

static void write_user(const struct machine *machine, struct fl_buf *out)
{
	const struct fl_strv *ssh_keys = &machine->values[MACHINE_SSH_KEY];
	const char *user = machine_value(machine, MACHINE_USER);

	if (ssh_keys->n == 0)
		return;
	fl_buf_printf(out,
		"passwd:\n  users:\n    - name: %s\n      groups: [sudo]\n"
		"      ssh_authorized_keys:\n",
		user != NULL ? user : MACHINE_USER_DEFAULT);
	for (size_t i = 0; i < ssh_keys->n; i++) {
		fl_buf_text(out, "        - ");
		text_yaml_word(ssh_keys->items[i], out);
		fl_buf_byte(out, '\n');
	}
}

enum fl_code butane_write(const struct content *content, struct fl_buf *out, struct fl_error *err)
{
	const struct machine *machine = content->machine;
	const char *ca = machine->ca_certificate;
	bool has_url = false;

	for (size_t i = 0; i < content->n_files; i++)
		has_url |= content->files[i].url != NULL;
	fl_buf_text(out, "variant: flatcar\nversion: 1.0.0\n");
	if (ca != NULL && has_url) {
		fl_buf_text(out, "ignition:\n  security:\n    tls:\n"
				 "      certificate_authorities:\n        -\n");
		write_resource(ca, strlen(ca), 10, out);
	}
	write_user(machine, out);
	fl_buf_text(out, "storage:\n  files:\n");
	for (size_t i = 0; i < content->n_files; i++)
		write_file(content, &content->files[i], out);
	fl_buf_text(out, "systemd:\n  units:\n");
	for (size_t i = 0; i < content->n_units; i++)
		write_unit(&content->units[i], out);
	return fl_buf_ok(out) ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
