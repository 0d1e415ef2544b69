"""Bare root file systems that become machines of the fleet by a first-boot document and nothing else."""

import time

import pytest

from flota import BIN, ENDPOINT, Flota, service
from lab import GATEWAY, Fleet, LabError, wait_until

IGNITION = "/usr/lib/dracut/modules.d/30ignition/ignition"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPXcEBzMSj4zjOd3BGNEHZ7nUXxJ6QYtC5VZrUHfY8Wd ana@flota.example"
HELLO = service("Type=oneshot", "RemainAfterExit=yes", start="echo hello",
	unit="[Install]\nWantedBy=multi-user.target\n")


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		flota.flotactl("release", "publish", BIN / "flota-agent", "--release=1.2.3")
		yield flota


def address_of(host):
	"""The one that its document gives it, beside the lab's own."""
	return host.address.replace("10.77.0.", "10.77.0.1")


def document(flota, kind, host, *options):
	"""The document of a machine that is like the lab host; its path, and its token."""
	folder = flota.fleet.dir / "machines" / host.name
	outside = flota.fleet.outside(folder)
	outside.mkdir(parents=True, exist_ok=True)
	(outside / "motd").write_text("Property of $HOME: 'all' of \"it\" \\ é\n")
	(outside / "hello.service").write_text(HELLO)
	(outside / "it.machine").write_text(f"""[Machine]
Hostname={host.name}.flota.example
Role=web
Metadata=region=norte disk=ssd

[Match]
Name=eth0

[Network]
Address={address_of(host)}/24
Gateway={GATEWAY}
DNS={GATEWAY}
NTP={GATEWAY}

[User]
SSHAuthorizedKey={SSH_KEY}

[Agent]
Coordinator={ENDPOINT}
Version=newest

[File /etc/motd]
Source=motd
Mode=0640

[Unit hello.service]
Source=hello.service
""")
	done = flota.flotactl("bootstrap", kind, "--out", folder / kind, folder / "it.machine", *options)
	assert done.stdout == ""
	assert "the join token" in done.stderr
	text = (outside / kind).read_text()
	[token] = {word.strip('",\\n').removesuffix("%0A") for word in text.replace("data:,", " ").split()
		if word.strip('"').startswith("flota1.")}
	return folder / kind, token


def joined(flota, host):
	"""Waits until the machine is in the fleet, and looks at all that the document was to bring."""
	name = f"{host.name}.flota.example"
	[machine] = wait_until(lambda: [m for m in flota.json("list-machines")
		if m["hostname"] == name and m["state"] == "up"], f"{name} to join")
	host.machine_id = machine["machine"]
	assert machine["metadata"] == {"role": "web", "region": "norte", "disk": "ssd"}
	assert host.run("hostname").stdout.strip() == name
	assert host.run("grep", "-rhxF", SSH_KEY, "/home/core/.ssh").stdout == SSH_KEY + "\n"
	assert host.read("/etc/motd") == "Property of $HOME: 'all' of \"it\" \\ é\n"
	assert host.run("stat", "-c%a", "/etc/motd").stdout == "640\n"
	assert host.run("stat", "-c%a %U", "/opt/flota/bin/flota-agent").stdout == "755 root\n"
	assert host.show("hello.service", "ActiveState", "UnitFileState") == {
		"ActiveState": "active", "UnitFileState": "enabled"}
	wait_until(lambda: f"{address_of(host)}/24" in host.run("ip", "address", "show", "dev", "eth0").stdout,
		"its own address")


def forgotten(host, token):
	"""Waits until the token's secret is nowhere on the machine."""
	secret = token.split(".")[2]
	wait_until(lambda: host.show("flota-forget.service", "ActiveState")["ActiveState"] == "active",
		"the document to be forgotten")
	assert host.run("test", "-e", "/etc/flota/token", check=False).returncode == 1
	left = host.run("grep", "-rlsF", secret, "/etc", "/home", "/opt", "/root", "/run", "/tmp", "/var", check=False)
	assert left.stdout == ""


def ignite(flota, host, config):
	"""What Ignition does in the initrd: fetches the document, then writes what it says.

	At the end it labels what it wrote for SELinux, built for distributions that have it: Debian
	has neither the configuration nor the program.
	"""
	host.install({"/etc/selinux/config": "SELINUX=disabled\nSELINUXTYPE=none\n"})
	programs = flota.fleet.dir / "programs"
	flota.fleet.run("sh", "-ec", 'mkdir -p "$1"; ln -sf /bin/true "$1/setfiles"', "sh", programs)
	for stage in ("fetch", "files"):
		flota.fleet.run(IGNITION, "--platform=file", f"--stage={stage}", "--log-to-stdout",
			"--root", flota.fleet.dir / host.name / "root",
			"--config-cache", flota.fleet.dir / "ignition.json",
			"--state-file", flota.fleet.dir / "ignition.state",
			"--neednet", flota.fleet.dir / "neednet",
			env={"IGNITION_CONFIG_FILE": str(config), "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"})


def test_ignition(flota, record_property):
	host = flota.fleet.new_host("blank")
	config, token = document(flota, "ignition", host)
	(host.disk / "etc/machine-id").unlink()  # machine-id(5): so it is its first boot
	ignite(flota, host, config)
	begin = time.monotonic()
	host.boot()
	host.ready()
	joined(flota, host)
	took = time.monotonic() - begin
	record_property("from Ignition's first boot to the fleet, s", f"{took:.1f}")
	assert took < 10
	forgotten(host, token)
	assert flota.json("token", "list") == []


def with_networkd(host):
	"""A system whose network systemd-networkd sets up, and leaves as the lab has made it."""
	host.install({"/etc/systemd/network/80-image.network":
		"[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"})
	wants = host.disk / "etc/systemd/system/multi-user.target.wants"
	(wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")


def test_cloud_init(flota, record_property):
	host = flota.fleet.new_host("cloud", variant="cloud")
	with_networkd(host)
	config, token = document(flota, "cloud-config", host)
	host.install({
		"/var/lib/cloud/seed/nocloud/user-data": flota.fleet.outside(config),
		"/var/lib/cloud/seed/nocloud/meta-data": "instance-id: cloud-1\n",
		"/etc/cloud/cloud.cfg.d/99-lab.cfg": "network: {config: disabled}\nlocale: C.UTF-8\n",
	})
	begin = time.monotonic()
	host.boot()
	host.ready()
	joined(flota, host)
	record_property("from cloud-init's first boot to the fleet, s", f"{time.monotonic() - begin:.1f}")
	assert host.run("cloud-init", "status").stdout.strip() == "status: done"
	assert f"server {GATEWAY} iburst" in host.read("/etc/chrony/chrony.conf")
	forgotten(host, token)
	# At the next boot cloud-init finds the same instance, and nothing of it again.
	before = host.run("stat", "-c%y", "/etc/flota/agent.conf").stdout
	host.reboot()
	flota.ready(host)
	forgotten(host, token)
	assert host.run("stat", "-c%y", "/etc/flota/agent.conf").stdout == before


@pytest.mark.parametrize("variant", ["bookworm", "nm"])
def test_script(flota, variant):
	host = flota.fleet.new_host(f"s-{variant}", variant=variant)
	if variant == "bookworm":
		with_networkd(host)
	config, token = document(flota, "script", host)
	host.install({"/root/first-boot": flota.fleet.outside(config)})
	host.boot()
	host.run("sh", "/root/first-boot")
	joined(flota, host)
	if variant == "nm":
		assert "flota:eth0:activated" in host.run("nmcli", "--terse", "--fields=NAME,DEVICE,STATE", "connection").stdout
	forgotten(host, token)
	assert host.run("test", "-e", "/root/first-boot", check=False).returncode == 1
	# Once more does no harm, be its token used.
	pid = host.show("flota-agent.service", "MainPID")
	host.install({"/root/first-boot": flota.fleet.outside(config)})
	host.run("sh", "/root/first-boot")
	wait_until(lambda: host.show("flota-agent.service", "MainPID") != pid, "the agent's restart")
	joined(flota, host)


def test_freeipa_is_asked_for_the_machine(flota):
	"""A stand-in plays ipa-client-install: no FreeIPA server fits in here."""
	host = flota.fleet.new_host("ipa")
	password = "it's $HOME \"and\" `id` \\ é"
	outside = flota.fleet.outside(flota.fleet.dir)
	(outside / "password").write_text(password + "\n")
	config, token = document(flota, "script", host, "--ipa-domain=flota.example", "--ipa-server=ipa1.flota.example",
		"--ipa-password-file", flota.fleet.dir / "password", "--ntp=10.77.0.1")
	host.install({"/usr/sbin/ipa-client-install": '#!/bin/sh\nprintf "%s\\n" "$@" > /root/asked\n'}, mode=0o755)
	host.install({"/root/first-boot": flota.fleet.outside(config)})
	host.boot()
	host.run("sh", "/root/first-boot")
	assert host.read("/root/asked").splitlines() == ["--unattended", "--mkhomedir", "--hostname=ipa.flota.example",
		"--domain=flota.example", "--server=ipa1.flota.example", "--no-ntp", f"--password={password}"]
	forgotten(host, token)


def test_an_agent_that_was_not_meant_is_not_run(flota):
	host = flota.fleet.new_host("wrong")
	options = ("--agent-version=1.2.3", "--agent-hash=sha512-" + "0" * 128)
	config, _ = document(flota, "ignition", host, *options)
	with pytest.raises(LabError, match="hash verification failed"):
		ignite(flota, host, config)
	assert not (host.disk / "opt/flota/bin/flota-agent").exists()
	config, _ = document(flota, "script", host, *options)
	host.install({"/root/first-boot": flota.fleet.outside(config)})
	host.boot()
	done = host.run("sh", "/root/first-boot", check=False)
	assert done.returncode == 1 and "is not the agent that was meant" in done.stderr
	assert host.run("ls", "/opt/flota/bin").stdout == ""
	for token in flota.json("token", "list"):
		flota.flotactl("token", "revoke", token["id"])
