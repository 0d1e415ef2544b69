#include <string.h>

#include "ignition/formats.h"
#include "ignition/text.h"

static void write_list(const struct fl_strv *values, const char *indent, struct fl_buf *out)
{
	for (size_t i = 0; i < values->n; i++) {
		fl_buf_printf(out, "%s- ", indent);
		text_yaml_word(values->items[i], out);
		fl_buf_byte(out, '\n');
	}
}

static void write_file(
	const char *path, unsigned mode, const char *data, size_t len, struct fl_buf *out)
{
	fl_buf_text(out, "  - path: ");
	text_yaml_word(path, out);
	fl_buf_printf(out, "\n    permissions: \"0%03o\"\n", mode);
	if (text_is_block(data, len)) {
		fl_buf_text(out, "    content: |\n");
		text_indented(data, len, 6, out);
	} else {
		fl_buf_text(out, "    encoding: b64\n    content: \"");
		text_base64(data, len, out);
		fl_buf_text(out, "\"\n");
	}
}

static void write_hostname(const struct machine *machine, struct fl_buf *out)
{
	const char *name = machine_value(machine, MACHINE_HOSTNAME);

	if (name == NULL)
		return;
	/* Else a distribution may take the first label alone. */
	fl_buf_text(out, "hostname: ");
	text_yaml_word(name, out);
	fl_buf_text(out, "\nfqdn: ");
	text_yaml_word(name, out);
	fl_buf_text(out, "\nprefer_fqdn_over_hostname: true\n");
}

static void write_user(const struct machine *machine, struct fl_buf *out)
{
	const struct fl_strv *ssh_keys = &machine->values[MACHINE_SSH_KEY];
	const char *user = machine_value(machine, MACHINE_USER);

	if (ssh_keys->n == 0)
		return;
	fl_buf_text(out, "users:\n  - name: ");
	text_yaml_word(user != NULL ? user : MACHINE_USER_DEFAULT, out);
	fl_buf_text(out, "\n    shell: /bin/bash\n    lock_passwd: true\n"
			 "    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n    ssh_authorized_keys:\n");
	write_list(ssh_keys, "      ", out);
}

enum fl_code cloud_config_write(
	const struct content *content, struct fl_buf *out, struct fl_error *err)
{
	const struct machine *machine = content->machine;

	fl_buf_text(out, "#cloud-config\n");
	write_hostname(machine, out);
	write_user(machine, out);
	if (machine->values[MACHINE_NTP].n > 0) {
		fl_buf_text(out, "ntp:\n  enabled: true\n  servers:\n");
		write_list(&machine->values[MACHINE_NTP], "    ", out);
	}
	fl_buf_text(out, "write_files:\n");
	content_write_files(content, write_file, out);
	fl_buf_text(out, "runcmd:\n  - [sh, " CONTENT_STEPS "]\n");
	return fl_buf_ok(out) ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
