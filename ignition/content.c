#include "ignition/content.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "ignition/agent_units.h"
#include "ignition/network.h"
#include "ignition/steps.h"
#include "release/release.h"

/* What first-boot documents leave behind of themselves is removed when the machine has a
 * certificate: then the token is used. cloud-init may write its copies again at each boot. */
static const char forget_path[] = "[Unit]\n"
				  "Description=flota: waits until this machine has joined\n"
				  "Documentation=man:flota.machine(5)\n"
				  "\n"
				  "[Path]\n"
				  "PathExists=/etc/flota/tls/machine.crt\n"
				  "\n"
				  "[Install]\n"
				  "WantedBy=multi-user.target\n";

static const char forget_service[] =
	"[Unit]\n"
	"Description=flota: removes what is left of the first-boot document and its secrets\n"
	"Documentation=man:flota.machine(5)\n"
	"After=cloud-final.service\n"
	"ConditionPathExists=/etc/flota/tls/machine.crt\n"
	"\n"
	"[Service]\n"
	"Type=oneshot\n"
	"RemainAfterExit=yes\n"
	"ExecStart=/bin/sh -c 'rm -rf " CONTENT_FOLDER "'\n"
	"# Of cloud-init; without a seed, which some systems have on their disk, it would take this\n"
	"# for another machine.\n"
	"ExecStart=/bin/sh -c 'cd /var/lib/cloud/instances 2>/dev/null || exit 0; "
	"rm -f */user-data.txt* */cloud-config.txt */obj.pkl */scripts/part-*'\n"
	"ExecStart=/bin/sh -c 'rm -f /run/cloud-init/*-sensitive.json "
	"/run/cloud-init/combined-cloud-config.json'\n"
	"ExecStart=/bin/sh -c 'find /var/lib/cloud/seed -name user-data -exec truncate -s 0 {} + "
	"2>/dev/null || true'\n"
	"# Of Ignition; the others are where flatcar-install puts it.\n"
	"ExecStart=/bin/rm -f /run/ignition.json /oem/config.ign /usr/share/oem/config.ign\n";

static struct content_file *add_file(struct content *content, const char *path, unsigned mode)
{
	struct content_file *files =
		reallocarray(content->files, content->n_files + 1, sizeof(*files));

	if (files == NULL)
		return NULL;
	content->files = files;
	files += content->n_files;
	*files = (struct content_file){.path = fl_strdup(path), .mode = mode};
	if (files->path == NULL)
		return NULL;
	content->n_files++;
	return files;
}

static enum fl_code add_data(struct content *content, const char *path, unsigned mode,
	const char *secret, const void *data, size_t len, struct fl_error *err)
{
	struct content_file *file = add_file(content, path, mode);

	if (file == NULL || (file->data = fl_memdup0(data, len)) == NULL)
		return FL_FAIL_NO_MEMORY(err);
	file->len = len;
	file->secret = secret;
	return FL_OK;
}

static enum fl_code add_text(struct content *content, const char *path, unsigned mode,
	const char *secret, const struct fl_buf *text, struct fl_error *err)
{
	if (!fl_buf_ok(text))
		return FL_FAIL_NO_MEMORY(err);
	return add_data(content, path, mode, secret, fl_buf_str(text), text->len, err);
}

static enum fl_code add_unit(struct content *content, const char *name, const char *text,
	bool is_enabled, struct fl_error *err)
{
	struct content_unit *units =
		reallocarray(content->units, content->n_units + 1, sizeof(*units));

	if (units == NULL)
		return FL_FAIL_NO_MEMORY(err);
	content->units = units;
	units += content->n_units;
	*units = (struct content_unit){
		.name = fl_strdup(name), .text = fl_strdup(text), .is_enabled = is_enabled};
	content->n_units++;
	if (units->name == NULL || (text != NULL && units->text == NULL))
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

/* ---- what every machine of a fleet has -- */

static enum fl_code add_configuration(struct content *content, struct fl_error *err)
{
	const struct machine *machine = content->machine;
	const struct fl_strv *coordinators = &machine->values[MACHINE_COORDINATOR];
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	FL_CLEANUP_STRV struct fl_strv metadata = {0};

	fl_buf_text(&text, "[Agent]\n");
	for (size_t i = 0; i < coordinators->n; i++)
		fl_buf_printf(&text, "Coordinator=%s\n", coordinators->items[i]);
	FL_TRY(machine_metadata(machine, &metadata, err));
	for (size_t i = 0; i < metadata.n; i++)
		fl_buf_printf(&text, "Metadata=%s\n", metadata.items[i]);
	return add_text(content, "/etc/flota/agent.conf", 0644, NULL, &text, err);
}

static enum fl_code add_release_keys(struct content *content, struct fl_error *err)
{
	const struct machine *machine = content->machine;

	for (size_t i = 0; i < machine->release_keys.n; i++) {
		const char *line = machine->release_keys.items[i];
		FL_CLEANUP(fl_freep) char *path = NULL;
		struct release_key key;

		FL_TRY(release_key_parse(line, &key, err));
		path = fl_printf(RELEASE_KEYS_ETC "/%s" RELEASE_KEYS_SUFFIX, key.name);
		if (path == NULL)
			return FL_FAIL_NO_MEMORY(err);
		FL_TRY(add_data(content, path, 0644, NULL, line, strlen(line), err));
	}
	return FL_OK;
}

static enum fl_code add_agent_units(struct content *content, const char *url, struct fl_error *err)
{
	static const struct {
		const char *name, *text;
	} units[] = {
#define X(name, text) {name, text},
		AGENT_UNITS(X)
#undef X
	};

	for (size_t i = 0; i < FL_COUNT(units); i++)
		FL_TRY(add_unit(
			content, units[i].name, url != NULL ? units[i].text : NULL, true, err));
	FL_TRY(add_unit(content, "flota-forget.path", forget_path, true, err));
	return add_unit(content, "flota-forget.service", forget_service, false, err);
}

/* Ignition refuses units with a line, continued ones together, of more than 2048 bytes. */
static bool has_long_line(const char *text)
{
	size_t len = 0;

	for (; *text != '\0'; text++) {
		len = *text == '\n' && text[-1] != '\\' ? 0 : len + 1;
		if (len > 2048)
			return true;
	}
	return false;
}

static enum fl_code add_described_unit(struct content *content, enum content_target target,
	const struct machine_file *unit, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = NULL;

	if (target != CONTENT_IGNITION || !has_long_line(unit->data))
		return add_unit(content, unit->name, unit->data, unit->is_enabled, err);
	path = fl_printf(UNIT_FOLDER "%s", unit->name);
	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(add_data(content, path, 0644, NULL, unit->data, unit->len, err));
	return add_unit(content, unit->name, NULL, unit->is_enabled, err);
}

static enum fl_code add_described(
	struct content *content, enum content_target target, struct fl_error *err)
{
	const struct machine *machine = content->machine;

	for (size_t i = 0; i < machine->n_files; i++) {
		const struct machine_file *file = &machine->files[i];
		/* By what nobody else may read it is known. */
		const char *secret = (file->mode & 07) == 0 ? file->name : NULL;

		if (file->is_unit)
			FL_TRY(add_described_unit(content, target, file, err));
		else
			FL_TRY(add_data(content, file->name, file->mode, secret, file->data,
				file->len, err));
	}
	return FL_OK;
}

/* ---- what one target has -- */

static enum fl_code add_networkd(struct content *content, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;

	if (!network_is_described(content->machine))
		return FL_OK;
	network_write_networkd(content->machine, &text);
	return add_text(content, "/etc/systemd/network/05-flota.network", 0644, NULL, &text, err);
}

static enum fl_code add_of_ignition(struct content *content, const char *url, struct fl_error *err)
{
	const struct machine *machine = content->machine;
	const char *hostname = machine_value(machine, MACHINE_HOSTNAME);
	const struct fl_strv *ntp = &machine->values[MACHINE_NTP];
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	struct content_file *agent;

	if (machine_value(machine, MACHINE_IPA_DOMAIN) != NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"%s: Flatcar has no FreeIPA client, so Ignition cannot enrol it; leave out "
			"[FreeIPA], DNS= and NTP= may be FreeIPA's servers all the same",
			machine->path);
	if (hostname != NULL) {
		fl_buf_printf(&text, "%s\n", hostname);
		FL_TRY(add_text(content, "/etc/hostname", 0644, NULL, &text, err));
		fl_buf_clear(&text);
	}
	FL_TRY(add_networkd(content, err));
	if (ntp->n > 0) {
		fl_buf_text(&text, "[Time]\nNTP=");
		for (size_t i = 0; i < ntp->n; i++)
			fl_buf_printf(&text, "%s%s", i > 0 ? " " : "", ntp->items[i]);
		fl_buf_byte(&text, '\n');
		FL_TRY(add_text(content, "/etc/systemd/timesyncd.conf.d/50-flota.conf", 0644, NULL,
			&text, err));
	}
	if (url == NULL)
		return FL_OK;
	agent = add_file(content, CONTENT_AGENT, 0755);
	if (agent == NULL || (agent->url = fl_strdup(url)) == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return FL_OK;
}

static enum fl_code add_of_steps(struct content *content, const char *url, struct fl_error *err)
{
	const struct machine *machine = content->machine;
	const char *ca = machine->ca_certificate;
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;

	FL_TRY(add_networkd(content, err));
	if (network_is_described(machine)) {
		network_write_keyfile(machine, &text);
		FL_TRY(add_text(content,
			"/etc/NetworkManager/system-connections/flota.nmconnection", 0600, NULL,
			&text, err));
	}
	if (ca != NULL && url != NULL)
		FL_TRY(add_data(content, CONTENT_CA, 0644, NULL, ca, strlen(ca), err));
	return FL_OK;
}

/* cloud-init keeps what a machine got at its first boot; only the network is ours from now on. */
static enum fl_code add_of_cloud_init(
	struct content *content, const char *url, struct fl_error *err)
{
	static const char no_network[] = "network:\n  config: disabled\n";
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;
	const char *secret = content->machine->ipa_password != NULL ? "the FreeIPA password" : NULL;

	if (network_is_described(content->machine))
		FL_TRY(add_data(content, "/etc/cloud/cloud.cfg.d/99-flota-network.cfg", 0644, NULL,
			no_network, strlen(no_network), err));
	fl_buf_text(&text, "#!/bin/sh\nset -eu\n");
	FL_TRY(steps_write(content, url, false, &text, err));
	return add_text(content, CONTENT_STEPS, 0700, secret, &text, err);
}

/* ---- all of it -- */

/* Whether @below is in the folder @path, or is it. */
static bool is_in(const char *path, const char *below)
{
	size_t len = strlen(path);

	return strncmp(path, below, len) == 0 && (below[len] == '\0' || below[len] == '/');
}

static enum fl_code check_files(const struct content *content, struct fl_error *err)
{
	for (size_t i = 0; i < content->n_files; i++)
		for (size_t k = 0; k < content->n_files; k++)
			if (i != k && is_in(content->files[i].path, content->files[k].path))
				return FL_FAIL(err, FL_E_EXISTS,
					"%s: %s and %s cannot both be there; one may come from "
					"other keys, or from flota itself",
					content->machine->path, content->files[i].path,
					content->files[k].path);
	return FL_OK;
}

static enum fl_code check_units(const struct content *content, struct fl_error *err)
{
	static const char folder[] = UNIT_FOLDER;
	const char *path = content->machine->path;

	for (size_t i = 0; i < content->n_units; i++) {
		const char *name = content->units[i].name;

		for (size_t k = 0; k < i; k++)
			if (strcmp(name, content->units[k].name) == 0)
				return FL_FAIL(err, FL_E_EXISTS, "%s: the unit %s is flota's own",
					path, name);
		for (size_t k = 0; k < content->n_files && content->units[i].text != NULL; k++)
			if (strncmp(content->files[k].path, folder, strlen(folder)) == 0 &&
				strcmp(content->files[k].path + strlen(folder), name) == 0)
				return FL_FAIL(err, FL_E_EXISTS,
					"%s: [File %s] is a unit that is there already", path,
					content->files[k].path);
	}
	return FL_OK;
}

static enum fl_code fill(struct content *content, enum content_target target, const char *token,
	struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *url = NULL;
	FL_CLEANUP_BUF struct fl_buf text = FL_BUF_INIT;

	FL_TRY(machine_agent_url(content->machine, &url, err));
	FL_TRY(add_configuration(content, err));
	if (token != NULL) {
		fl_buf_printf(&text, "%s\n", token);
		FL_TRY(add_text(content, "/etc/flota/token", 0600, "the join token", &text, err));
		explicit_bzero(text.data, text.len);
	}
	FL_TRY(add_release_keys(content, err));
	FL_TRY(add_agent_units(content, url, err));
	FL_TRY(add_described(content, target, err));
	if (target == CONTENT_IGNITION)
		FL_TRY(add_of_ignition(content, url, err));
	else
		FL_TRY(add_of_steps(content, url, err));
	if (target == CONTENT_CLOUD_INIT)
		FL_TRY(add_of_cloud_init(content, url, err));
	FL_TRY(check_files(content, err));
	return check_units(content, err);
}

enum fl_code content_new(const struct machine *machine, enum content_target target,
	const char *token, struct content **ret_content, struct fl_error *err)
{
	FL_CLEANUP(content_freep) struct content *content = FL_NEW(struct content);

	if (content == NULL)
		return FL_FAIL_NO_MEMORY(err);
	content->machine = machine;
	FL_TRY(fill(content, target, token, err));
	*ret_content = FL_TAKE(content);
	return FL_OK;
}

void content_free(struct content *content)
{
	if (content == NULL)
		return;
	for (size_t i = 0; i < content->n_files; i++) {
		struct content_file *file = &content->files[i];

		free(file->path);
		free(file->url);
		if (file->secret != NULL && file->data != NULL)
			explicit_bzero(file->data, file->len);
		free(file->data);
	}
	for (size_t i = 0; i < content->n_units; i++) {
		free(content->units[i].name);
		free(content->units[i].text);
	}
	free(content->files);
	free(content->units);
	free(content);
}

void content_write_files(
	const struct content *content, content_write_file *write, struct fl_buf *out)
{
	for (size_t i = 0; i < content->n_files; i++) {
		const struct content_file *file = &content->files[i];

		write(file->path, file->mode, file->data, file->len, out);
	}
	for (size_t i = 0; i < content->n_units; i++) {
		const struct content_unit *unit = &content->units[i];
		FL_CLEANUP_BUF struct fl_buf path = FL_BUF_INIT;

		if (unit->text == NULL)
			continue;
		fl_buf_printf(&path, UNIT_FOLDER "%s", unit->name);
		write(fl_buf_str(&path), 0644, unit->text, strlen(unit->text), out);
		out->failed |= path.failed;
	}
}
