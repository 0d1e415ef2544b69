"""The lab itself: its hosts are hosts, its fleets are apart, and nothing stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import GATEWAY, HERE, NEST, Fleet, LabError, fleet_groups, wait_until


@pytest.fixture(scope="module")
def host(layout):
	with Fleet() as fleet:
		fleet.host("n1", cgroup=layout)
		fleet.host("n2", cgroup=layout)
		yield fleet.hosts["n1"]


def test_host_is_a_host(host):
	assert host.systemctl("is-system-running").stdout == "running\n"
	assert host.run("hostname").stdout == "n1\n"
	assert host.run("cat", "/proc/1/comm").stdout == "systemd\n"
	assert host.read("/etc/machine-id").strip() == host.machine_id
	assert host.machine_id != host.fleet.hosts["n2"].machine_id
	host.write("/run/systemd/system/hello.service",
		"[Service]\nType=exec\nExecStart=sleep infinity\n")
	host.systemctl("start", "hello.service")
	shown = host.show("hello.service", "ActiveState", "ControlGroup")
	assert shown == {"ActiveState": "active", "ControlGroup": "/system.slice/hello.service"}


def test_host_has_its_layout(host):
	kind = host.run("stat", "-fc", "%T", "/sys/fs/cgroup").stdout.strip()
	assert kind == {"v1": "tmpfs", "v2": "cgroup2fs"}[host.cgroup]


def test_memory_limit_holds(host):
	if host.cgroup == "v2" and "memory" not in host.read("/sys/fs/cgroup/cgroup.controllers"):
		pytest.skip("this machine's cgroup v2 has no memory controller")
	hog = ["systemd-run", "--wait", "--quiet", "--property=MemoryMax=16M", "--property=MemorySwapMax=0",
		"sh", "-c", "head -c 100M /dev/zero | tail -n1 > /dev/null"]
	assert host.run(*hog, check=False).returncode != 0
	hog[3] = "--property=MemoryMax=1G"
	host.run(*hog)


def test_hosts_cannot_touch_the_machine(host):
	for path in ("/proc/sys/kernel/pid_max", "/sys/kernel/uevent_helper"):
		with pytest.raises(LabError):
			host.run("sh", "-c", f"cat {path} > /run/x && cat /run/x > {path}")
	assert not host.run("ls", "/run/host/outside").stdout


def ping(source, target):
	return source.run("ping", "-c1", "-W5", target, check=False).returncode == 0


def test_network(host):
	n2 = host.fleet.hosts["n2"]
	assert ping(host, GATEWAY) and ping(host, "n2") and ping(n2, "n1")
	host.cut()
	assert not ping(n2, "n1")
	assert host.read("/sys/class/net/eth0/operstate") == "up\n"
	host.join()
	assert ping(n2, "n1")


def test_reboot_keeps_the_disk_and_changes_the_boot_id(host):
	host.write("/var/lib/kept", "kept")
	host.write("/run/lost", "lost")
	before = host.boot_id()
	host.reboot()
	assert host.read("/var/lib/kept") == "kept"
	assert host.run("test", "-e", "/run/lost", check=False).returncode == 1
	assert host.boot_id() != before
	assert host.read("/etc/machine-id").strip() == host.machine_id


def test_installed_before_boot(layout):
	with Fleet() as fleet:
		host = fleet.new_host("n1", cgroup=layout)
		with pytest.raises(LabError, match="n1 is down"):
			host.run("true")
		host.install({"/etc/systemd/system/tool.service":
			"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/bin/tool\n"})
		host.install({"/usr/local/bin/tool": "#!/bin/sh\necho $0 >> /var/lib/boots\n"}, mode=0o755)
		host.enable("tool.service")
		host.boot()
		assert host.show("tool.service", "ActiveState") == {"ActiveState": "active"}
		host.reboot()
		assert host.read("/var/lib/boots") == "/usr/local/bin/tool\n" * 2


def test_kill_is_silent_and_boot_revives(host):
	n2 = host.fleet.hosts["n2"]
	host.popen("nc", "-l", "7000")
	wait_until(lambda: host.run("ss", "-Hlt", "sport = 7000").stdout, "the listener")
	n2.run("systemd-run", "--unit=peer", "nc", "-d", "n1", "7000")
	wait_until(lambda: host.run("ss", "-Ht", "state", "established", "sport = 7000").stdout,
		"the connection")
	host.kill()
	with pytest.raises(LabError, match="n1 is down"):
		host.run("true")
	# No FIN, no RST: for its peer's TCP all is well.
	assert n2.run("ss", "-Ht", "state", "established", "dport = 7000").stdout
	n2.systemctl("stop", "peer.service")
	host.boot()
	assert ping(host, "n2")


def test_commands_end_with_their_time(host):
	with pytest.raises(LabError, match="no end within"):
		host.run("sleep", "12345", timeout=0.2)
	assert host.run("pgrep", "-f", "sleep 12345", check=False).returncode == 1


def test_fleets_do_not_see_each_other():
	def listens(fleet):
		return fleet.hosts["n2"].run("nc", "-z", "n1", "7000", check=False).returncode == 0

	with Fleet() as one, Fleet() as two:
		for fleet in one, two:
			fleet.host("n1")
			fleet.host("n2")
		assert one.hosts["n1"].address == two.hosts["n1"].address
		one.hosts["n1"].popen("nc", "-lk", "7000")
		wait_until(lambda: listens(one), "the server")
		assert not listens(two)


def namespaces(pid):
	return {os.readlink(link) for link in Path(f"/proc/{pid}/ns").iterdir()}


def processes_in(wanted):
	found = []
	for process in Path("/proc").glob("[0-9]*"):
		try:
			if namespaces(process.name) & wanted:
				found.append(process.name)
		except OSError: # it just ended
			pass
	return found


@pytest.mark.parametrize("victim", ["owner", "gateway", "keeper"])
def test_kill_leaves_nothing(victim, layout):
	links = subprocess.check_output(["ip", "-o", "link"])
	script = f"""
from lab import *
fleet = Fleet()
host = fleet.host("n1", cgroup="{layout}")
host.ready()
print(fleet.keeper_pid, fleet.gateway_pid, host.pid, flush=True)
host.run("sleep", "infinity", timeout=600)
"""
	owner = subprocess.Popen([sys.executable, "-c", script], cwd=HERE, stdout=subprocess.PIPE,
		stderr=subprocess.DEVNULL, text=True)
	keeper, gateway, systemd = map(int, owner.stdout.readline().split())
	made = (namespaces(gateway) | namespaces(systemd)) - namespaces("self")
	assert len(made) >= 11  # five of the fleet and six of the host
	assert processes_in(made) and fleet_groups(keeper)

	os.kill({"owner": owner.pid, "gateway": gateway, "keeper": keeper}[victim], signal.SIGKILL)
	wait_until(lambda: not processes_in(made), "the end of all its processes")

	def swept():
		if victim == "keeper": # a group resists for as long as the kernel has not buried its last process
			subprocess.check_call([NEST, "sweep"])
		return not fleet_groups(keeper)
	wait_until(swept, "the end of its cgroups")
	assert " /run/flota-lab" not in Path("/proc/self/mountinfo").read_text()
	assert subprocess.check_output(["ip", "-o", "link"]) == links
	owner.kill()
	owner.wait()
	owner.stdout.close()
