"""The daemons as a package runs them: by their own unit files, with all the hardening in them."""

import pytest

from flota import BIN, ROOT, Flota, service, settle
from lab import Fleet, wait_until

UNIT = "flota-coordinator.service"
DATA = "/var/lib/flota/coordinator"
AGENT_UNITS = ["flota-agent.service", "flota-fence.service"]


def install(host):
	host.install({f"/usr/bin/{program}": BIN / program for program in ("flota-coordinator", "flotactl")},
		mode=0o755)
	host.install({
		f"/etc/systemd/system/{UNIT}": ROOT / "packaging/systemd" / UNIT,
		"/usr/lib/sysusers.d/flota.conf": ROOT / "packaging/systemd/sysusers.conf",
	})
	host.run("systemd-sysusers", "flota.conf")
	host.systemctl("daemon-reload")


def owners(host, *paths):
	"""Owner and mode of each of these files."""
	return host.run("stat", "-c", "%U:%G %a", *paths).stdout.split("\n")[:-1]


def test_the_coordinator_is_a_user_of_its_own(layout):
	with Fleet() as fleet:
		host = fleet.host("n1", cgroup=layout)
		host.ready()
		install(host)
		host.run("flota-coordinator", "init", "--fleet", "lab", "--address", host.address)
		# Type=notify: it has begun when it serves.
		host.systemctl("start", UNIT)
		assert "of the fleet lab; you are root" in host.run("flotactl", "version").stdout
		host.write("/root/a.service", "[Service]\nExecStart=/bin/true\n")
		assert host.run("flotactl", "submit", "/root/a.service").returncode == 0
		pid = host.show(UNIT, "MainPID")["MainPID"]
		assert host.run("stat", "-c", "%U", f"/proc/{pid}").stdout == "flota\n"
		status = host.read(f"/proc/{pid}/status")
		assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
		assert owners(host, DATA, f"{DATA}/ca.key", f"{DATA}/store.sqlite", "/run/flota/coordinator",
			"/run/flota/coordinator/socket") == ["flota:flota 700", "flota:flota 600",
			"flota:flota 600", "flota:flota 700", "flota:flota 600"]
		for command in (["cat", f"{DATA}/ca.key"], ["flotactl", "--endpoint",
				"ipc:///run/flota/coordinator/socket", "list-units"]):
			assert host.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command,
				check=False).returncode != 0
		# What root's verbs write there is the coordinator's to read.
		host.run("flota-coordinator", "issue", "coordinator", "--force")
		assert owners(host, f"{DATA}/coordinator.key") == ["flota:flota 600"]
		host.systemctl("restart", UNIT)
		assert "a.service" in host.run("flotactl", "list-unit-files").stdout
		host.systemctl("stop", UNIT)
		assert host.show(UNIT, "Result", "NRestarts") == {"Result": "success", "NRestarts": "0"}


def test_a_fleet_that_root_has_kept(layout):
	"""From the time when the coordinator was root: all that is there changes hands at its start."""
	with Fleet() as fleet:
		host = fleet.host("n1", cgroup=layout)
		host.ready()
		install(host)
		host.write(f"/etc/systemd/system/{UNIT}.d/root.conf", "[Service]\nUser=root\nPrivateUsers=no\n")
		host.systemctl("daemon-reload")
		host.run("flota-coordinator", "init", "--fleet", "lab")
		host.systemctl("start", UNIT)
		host.write("/root/a.service", "[Service]\nExecStart=/bin/true\n")
		host.run("flotactl", "submit", "/root/a.service")
		assert owners(host, f"{DATA}/store.sqlite") == ["root:root 600"]
		host.systemctl("stop", UNIT)
		host.run("rm", f"/etc/systemd/system/{UNIT}.d/root.conf")
		host.systemctl("daemon-reload")
		host.systemctl("start", UNIT)
		assert "a.service" in host.run("flotactl", "list-unit-files").stdout
		found = host.run("find", DATA, "!", "-user", "flota").stdout
		assert found == ""


def test_both_daemons_of_one_machine(layout):
	"""The coordinator under its hardening, with all that it does: its certificate is renewed, its HTTPS
	answers, a machine joins, its store is written, its CA changes, a release is published."""
	with Fleet() as fleet:
		host = fleet.host("n1", cgroup=layout)
		host.ready()
		install(host)
		host.run("flota-coordinator", "init", "--fleet", "lab", "--address", host.address)
		host.run("flota-coordinator", "issue", "coordinator", "--address", host.address, "--valid-for=10s",
			"--force")
		certificate = host.read(f"{DATA}/coordinator.crt")
		host.systemctl("start", UNIT)
		wait_until(lambda: host.read(f"{DATA}/coordinator.crt") != certificate, "a new certificate")
		assert owners(host, f"{DATA}/coordinator.key") == ["flota:flota 600"]
		wait_until(lambda: host.run("curl", "--silent", "--cacert", f"{DATA}/ca.crt",
			f"https://{host.address}:7442/healthz", check=False).stdout == "ok\n", "an answer by HTTPS")

		host.install({"/usr/bin/flota-agent": BIN / "flota-agent"}, mode=0o755)
		host.install({f"/etc/systemd/system/{unit}": ROOT / "packaging/systemd" / unit for unit in AGENT_UNITS})
		host.write("/etc/flota/agent.conf", f"[Agent]\nCoordinator=tls+tcp://{host.address}:7440\n")
		host.write("/etc/flota/token", host.run("flotactl", "token", "create").stdout, mode=0o600)
		host.systemctl("daemon-reload")
		host.systemctl("start", "flota-agent.service")
		wait_until(lambda: host.address in host.run("flotactl", "list-machines").stdout, "the machine to join")
		host.write("/root/a.service", service())
		host.run("flotactl", "start", "/root/a.service")
		settle(host, "a.service")
		host.run("flotactl", "ca", "rotate", "--yes")
		host.run("flotactl", "release", "keygen", "k", "--out", "/root")
		host.run("flotactl", "release", "sign", "/usr/bin/flota-agent", "--release=9.0.0", "--key=/root/k.key")
		host.run("flotactl", "release", "publish", "/usr/bin/flota-agent")
		assert host.run("find", DATA, "!", "-user", "flota").stdout == ""
		assert owners(host, f"{DATA}/ca.key") == ["flota:flota 600"]
		# Each has its folders, and the other's life is nothing to them.
		for unit in (UNIT, "flota-agent.service", UNIT):
			host.systemctl("restart", unit)
			assert owners(host, "/run/flota", "/run/flota/agent", "/run/flota/coordinator", "/var/lib/flota",
				"/var/lib/flota/agent", DATA) == ["root:root 755", "root:root 700", "flota:flota 700",
				"root:root 755", "root:root 700", "flota:flota 700"]
		assert host.run("find", "/run/flota/agent", "!", "-user", "root").stdout == ""
		host.run("flotactl", "stop", "a.service")
		settle(host, "a.service", "inactive")


def hang(host, unit):
	"""Stops the daemon's process for good; returns when systemd has started another."""
	hung = host.show(unit, "MainPID")["MainPID"]
	host.run("kill", "-STOP", hung)

	def restarted():
		shown = host.show(unit, "ActiveState", "MainPID", "NRestarts")
		return shown["ActiveState"] == "active" and shown["MainPID"] != hung and shown["NRestarts"] == "1"
	wait_until(restarted, f"{unit} to be started again")
	assert "Watchdog timeout" in host.journal("-u", unit)


def impatient(host, unit):
	"""Has its watchdog bark soon."""
	host.write(f"/run/systemd/system/{unit}.d/watchdog.conf",
		"[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n")
	host.systemctl("daemon-reload")
	host.systemctl("restart", unit)


def test_the_watchdog_of_the_coordinator():
	with Fleet() as fleet:
		host = fleet.host("n1")
		host.ready()
		install(host)
		host.run("flota-coordinator", "init", "--fleet", "lab")
		impatient(host, UNIT)
		host.write("/root/a.service", service())
		host.run("flotactl", "submit", "/root/a.service")
		hang(host, UNIT)
		assert "a.service" in host.run("flotactl", "list-unit-files").stdout
		for _ in range(5): # more than two of its periods
			seen = host.show(UNIT, "WatchdogTimestampMonotonic")
			wait_until(lambda s=seen: host.show(UNIT, "WatchdogTimestampMonotonic") != s, "its next word")
		assert host.show(UNIT, "NRestarts") == {"NRestarts": "1"}


@pytest.fixture(scope="module")
def fleet():
	with Fleet() as fleet:
		flota = Flota(fleet, options=["Lease=10min"])
		flota.host("n1")
		flota.ready()
		yield flota


@pytest.mark.parametrize("unit", AGENT_UNITS)
def test_the_watchdog_ends_what_hangs_and_no_unit_notices(fleet, unit):
	n1 = fleet.fleet.hosts["n1"]
	impatient(n1, unit)
	fleet.ready()
	name = f"steady-{unit}"
	fleet.start(name, service())
	before = n1.show(name, "MainPID", "ActiveEnterTimestampMonotonic")
	hang(n1, unit)
	fleet.ready()
	assert n1.show(name, "MainPID", "ActiveEnterTimestampMonotonic") == before
	fleet.start("after-" + name, service())
	settle(n1, "after-" + name)


def exposure(host, unit):
	"""What systemd says of how much of the machine the service can reach: 0 nothing, 10 all."""
	last = host.run("systemd-analyze", "security", "--no-pager", unit).stdout.splitlines()[-1]
	return float(last.split(": ")[1].split()[0])


def test_exposure(fleet):
	n1 = fleet.fleet.hosts["n1"]
	install(n1)
	assert exposure(n1, UNIT) <= 2.0
	assert exposure(n1, "flota-fence.service") <= 2.0
	assert exposure(n1, "flota-agent.service") <= 3.0
