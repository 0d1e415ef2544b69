#include "ignition/steps.h"

#include <string.h>

#include "ignition/network.h"
#include "ignition/text.h"

static void write_word(const char *before, const char *word, struct fl_buf *out)
{
	fl_buf_text(out, before);
	text_shell_word(word, out);
}

static void write_hostname(const struct machine *machine, struct fl_buf *out)
{
	const char *name = machine_value(machine, MACHINE_HOSTNAME);

	if (name == NULL)
		return;
	fl_buf_printf(out,
		"\n# The host name.\n"
		"echo %s > /etc/hostname\n"
		"hostname %s 2> /dev/null || hostnamectl set-hostname %s\n",
		name, name, name);
}

/* It may be there already, as on Flatcar and in many images. */
static void write_user(const struct machine *machine, struct fl_buf *out)
{
	const struct fl_strv *ssh_keys = &machine->values[MACHINE_SSH_KEY];
	const char *user = machine_value(machine, MACHINE_USER);

	if (ssh_keys->n == 0)
		return;
	fl_buf_printf(out,
		"\n# The user.\n"
		"user=%s\n"
		"id \"$user\" > /dev/null 2>&1 || useradd --create-home --shell /bin/bash \"$user\"\n"
		"home=$(getent passwd \"$user\" | cut -d: -f6)\n"
		"mkdir -p \"$home/.ssh\"\n"
		"touch \"$home/.ssh/authorized_keys\"\n"
		"while IFS= read -r key; do\n"
		"\tgrep -qxF -e \"$key\" \"$home/.ssh/authorized_keys\" ||\n"
		"\t\tprintf '%%s\\n' \"$key\" >> \"$home/.ssh/authorized_keys\"\n"
		"done <<'END'\n",
		user != NULL ? user : MACHINE_USER_DEFAULT);
	for (size_t i = 0; i < ssh_keys->n; i++)
		fl_buf_printf(out, "%s\n", ssh_keys->items[i]);
	fl_buf_text(out, "END\n"
			 "chmod 0700 \"$home/.ssh\"\n"
			 "chmod 0600 \"$home/.ssh/authorized_keys\"\n"
			 "chown -R \"$user:\" \"$home/.ssh\"\n"
			 "mkdir -p /etc/sudoers.d\n"
			 "echo \"$user ALL=(ALL) NOPASSWD:ALL\" > /etc/sudoers.d/90-flota\n"
			 "chmod 0440 /etc/sudoers.d/90-flota\n");
}

static void write_network(const struct machine *machine, struct fl_buf *out)
{
	if (!network_is_described(machine))
		return;
	fl_buf_text(out,
		"\n# The network, by whichever program sets it up here.\n"
		"if command -v nmcli > /dev/null && nmcli general status > /dev/null 2>&1; then\n"
		"\tnmcli connection reload\n"
		"\tnmcli connection up flota\n"
		"elif systemctl --quiet is-active systemd-networkd.service; then\n"
		"\tsystemctl restart systemd-networkd.service\n"
		"else\n"
		"\techo \"flota: neither NetworkManager nor systemd-networkd runs here;\" \\\n"
		"\t\t\"the network stays as it is\" >&2\n"
		"fi\n");
}

static void write_time(const struct machine *machine, struct fl_buf *out)
{
	const struct fl_strv *servers = &machine->values[MACHINE_NTP];

	if (servers->n == 0)
		return;
	fl_buf_text(out, "\n# The time.\nservers='");
	for (size_t i = 0; i < servers->n; i++)
		fl_buf_printf(out, "%s%s", i > 0 ? " " : "", servers->items[i]);
	fl_buf_text(out,
		"'\n"
		"if [ -d /etc/chrony/sources.d ]; then\n"
		"\tfor server in $servers; do echo \"server $server iburst\"; done \\\n"
		"\t\t> /etc/chrony/sources.d/flota.sources\n"
		"\tsystemctl try-restart chrony.service\n"
		"elif [ -e /etc/chrony.conf ]; then\n"
		"\tsed -i -e '/^\\(pool\\|server\\) /d' /etc/chrony.conf\n"
		"\tfor server in $servers; do echo \"server $server iburst\"; done >> /etc/chrony.conf\n"
		"\tsystemctl try-restart chronyd.service\n"
		"else\n"
		"\tmkdir -p /etc/systemd/timesyncd.conf.d\n"
		"\tprintf '[Time]\\nNTP=%s\\n' \"$servers\" > /etc/systemd/timesyncd.conf.d/50-flota.conf\n"
		"\tsystemctl try-restart systemd-timesyncd.service\n"
		"fi\n");
}

static void write_ipa(const struct machine *machine, struct fl_buf *out)
{
	const struct fl_strv *servers = &machine->values[MACHINE_IPA_SERVER];
	const char *domain = machine_value(machine, MACHINE_IPA_DOMAIN);
	const char *realm = machine_value(machine, MACHINE_IPA_REALM);
	const char *principal = machine_value(machine, MACHINE_IPA_PRINCIPAL);

	if (domain == NULL)
		return;
	fl_buf_text(out, "\n# The FreeIPA domain.\n"
			 "if ! command -v ipa-client-install > /dev/null; then\n"
			 "\tif command -v dnf > /dev/null; then\n"
			 "\t\tdnf --assumeyes install ipa-client\n"
			 "\telse\n"
			 "\t\texport DEBIAN_FRONTEND=noninteractive\n"
			 "\t\tapt-get update\n"
			 "\t\tapt-get --yes install freeipa-client\n"
			 "\tfi\n"
			 "fi\n"
			 "if [ ! -e /etc/ipa/default.conf ]; then\n"
			 "\tipa-client-install --unattended --mkhomedir");
	fl_buf_printf(out, " --hostname=%s --domain=%s", machine_value(machine, MACHINE_HOSTNAME),
		domain);
	if (realm != NULL)
		fl_buf_printf(out, " --realm=%s", realm);
	for (size_t i = 0; i < servers->n; i++)
		fl_buf_printf(out, " --server=%s", servers->items[i]);
	if (principal != NULL)
		fl_buf_printf(out, " --principal=%s", principal);
	/* The clock is set up already: ipa-client-install would do it anew. */
	if (machine->values[MACHINE_NTP].n > 0)
		fl_buf_text(out, " --no-ntp");
	write_word(" \\\n\t\t--password=", machine->ipa_password, out);
	fl_buf_text(out, "\nfi\n");
}

static void write_agent(const struct machine *machine, const char *url, struct fl_buf *out)
{
	if (url == NULL)
		return;
	write_word("\n# The agent.\nagent=" CONTENT_AGENT "\nurl=", url, out);
	fl_buf_printf(out, "\nhash=%s\n", machine->hash + strlen("sha512-"));
	if (machine->ca_certificate != NULL)
		fl_buf_text(out, "ca=" CONTENT_CA "\n");
	fl_buf_text(out,
		"is_right() {\n"
		"\techo \"$hash  $1\" | sha512sum --check --status 2> /dev/null\n"
		"}\n"
		"fetch() {\n"
		"\tif command -v curl > /dev/null; then\n"
		"\t\tcurl --fail --silent --show-error --location --connect-timeout 10 \\\n");
	fl_buf_printf(out,
		"\t\t\t%s--output \"$agent.part\" \"$url\"\n"
		"\telse\n"
		"\t\twget --quiet --timeout=10 %s--output-document=\"$agent.part\" \"$url\"\n",
		machine->ca_certificate != NULL ? "--cacert \"$ca\" " : "",
		machine->ca_certificate != NULL ? "--ca-certificate=\"$ca\" " : "");
	fl_buf_text(out,
		"\tfi\n"
		"}\n"
		"if ! is_right \"$agent\"; then\n"
		"\tmkdir -p \"${agent%/*}\"\n"
		"\tattempt=1\n"
		"\tuntil fetch; do\n"
		"\t\tif [ $attempt = 60 ]; then exit 1; fi\n"
		"\t\tattempt=$((attempt + 1))\n"
		"\t\tsleep 2\n"
		"\tdone\n"
		"\tif ! is_right \"$agent.part\"; then\n"
		"\t\techo \"flota: what is served at $url is not the agent that was meant\" >&2\n"
		"\t\trm -f \"$agent.part\"\n"
		"\t\texit 1\n"
		"\tfi\n"
		"\tchmod 0755 \"$agent.part\"\n"
		"\tmv -f \"$agent.part\" \"$agent\"\n"
		"fi\n"
		"if command -v restorecon > /dev/null; then restorecon -R /opt/flota /etc/flota; fi\n");
}

/* Nothing is waited for: where cloud-init does it, the boot is still under way. */
static void write_units(const struct content *content, struct fl_buf *out)
{
	fl_buf_text(out, "\n# The units.\nsystemctl daemon-reload\nfor unit in");
	for (size_t i = 0; i < content->n_units; i++)
		if (content->units[i].is_enabled)
			write_word(" ", content->units[i].name, out);
	fl_buf_text(out, "; do\n"
			 "\tsystemctl enable \"$unit\"\n"
			 "\tsystemctl restart --no-block \"$unit\"\n"
			 "done\n");
}

enum fl_code steps_write(const struct content *content, const char *agent_url, bool alone,
	struct fl_buf *out, struct fl_error *err)
{
	const struct machine *machine = content->machine;

	if (alone) {
		write_hostname(machine, out);
		write_user(machine, out);
	}
	write_network(machine, out);
	if (alone)
		write_time(machine, out);
	write_ipa(machine, out);
	write_agent(machine, agent_url, out);
	write_units(content, out);
	return fl_buf_ok(out) ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
