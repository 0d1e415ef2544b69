#include <string.h>

#include "base/man.h"
#include "ignition/machine.h"

static const char example[] = "[Machine]\n"
			      "Hostname=web1.flota.example\n"
			      "Role=web\n"
			      "Metadata=region=norte\n"
			      "\n"
			      "[Match]\n"
			      "Name=eth0\n"
			      "\n"
			      "[Network]\n"
			      "Address=10.17.3.21/24\n"
			      "Gateway=10.17.3.1\n"
			      "DNS=10.17.3.11\n"
			      "NTP=10.17.3.11\n"
			      "\n"
			      "[User]\n"
			      "SSHAuthorizedKey=ssh-ed25519 AAAA... ana@flota.example\n"
			      "\n"
			      "[Agent]\n"
			      "Coordinator=tls+tcp://10.17.3.10:7440\n"
			      "Version=newest\n"
			      "\n"
			      "[File /etc/motd]\n"
			      "Source=motd.txt\n";

static void man_keys(FILE *out)
{
	static const struct {
		const char *section, *name, *value, *doc;
		enum machine_many many;
	} keys[] = {
#define X(constant, section, name, flag, type, many, value, doc) {section, name, value, doc, many},
		MACHINE_KEYS(X)
#undef X
	};
	const char *section = "";

	for (size_t i = 0; i < FL_COUNT(keys); i++) {
		char term[64];

		if (strcmp(keys[i].section, section) != 0) {
			section = keys[i].section;
			(void)snprintf(term, sizeof(term), "[%s]", section);
			fl_man_section(term, out);
		}
		(void)snprintf(term, sizeof(term), "%s=%s%s", keys[i].name, keys[i].value,
			keys[i].many == MACHINE_WORDS ? " ..." : "");
		fl_man_item(term, keys[i].doc, out);
	}
}

void machine_man(FILE *out)
{
	fl_man_begin("flota.machine", 5, "what a machine is to be at its first boot", out);
	fl_man_section("SYNOPSIS", out);
	fl_man_text("NAME.machine", out);
	fl_man_section("DESCRIPTION", out);
	fl_man_text(
		"\"flotactl bootstrap\" makes of it the document by which a bare machine joins the "
		"fleet: for Ignition, for cloud-init, or a shell script. The syntax is that of "
		"systemd.syntax(7), keys are named as systemd names them. Each has an option of "
		"flotactl, which takes the place of what the file says. Of a key given twice the "
		"last one wins; those with \"...\" take several values, in one line or several. An "
		"empty value forgets those before. Paths are relative to the file's folder.",
		out);
	man_keys(out);
	fl_man_section("[FILE PATH]", out);
	fl_man_text("A file that is to be there, such as [File /etc/motd].", out);
	fl_man_item("Source=PATH", "The file that it is a copy of; at most 1 MiB.", out);
	fl_man_item("Mode=MODE",
		"Its mode, in octal digits. What others may not read is named as a secret. "
		"Default: 0644.",
		out);
	fl_man_section("[UNIT NAME]", out);
	fl_man_text("A unit of the machine's own systemd, such as [Unit hello.service].", out);
	fl_man_item("Source=PATH", "Its file, which is checked as by \"flotactl verify\".", out);
	fl_man_item("Enable=yes|no", "Whether it is started at each boot. Default: yes.", out);
	fl_man_section("EXAMPLE", out);
	fl_man_example(example, out);
	fl_man_see_also("flotactl(1) flota-agent(8) systemd.network(5) systemd.syntax(7)", out);
}
