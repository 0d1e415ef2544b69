"""Packages on machines: installed, upgraded under running units, removed; on three systems."""

import os
import subprocess

import pytest

from flota import ENDPOINT, ROOT, Flota, service, settle
from lab import Fleet

LEASE = 5 # seconds


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
	"""The path of a package of this build: packages("flota-agent_*.deb", revision)."""
	made = {}

	def build(revision):
		out = tmp_path_factory.mktemp("packages")
		subprocess.run([ROOT / "packaging/build-packages", f"--build={os.environ['FLOTA_BUILD']}", "--level=1",
			f"--out={out}", f"--revision={revision}"], check=True)
		return out

	def path(pattern, revision=1):
		if revision not in made:
			made[revision] = build(revision)
		[found] = made[revision].glob(pattern)
		return found
	return path


def put(host, package):
	"""The package's path on the host."""
	host.install({f"/root/{package.name}": package})
	return f"/root/{package.name}"


def pids(host, units):
	return [host.show(unit, "MainPID", "ActiveEnterTimestampMonotonic") for unit in units]


def is_active(host, unit):
	return host.show(unit, "ActiveState")["ActiveState"] == "active"


def test_the_agent_on_debian(packages):
	with Fleet() as fleet:
		flota = Flota(fleet, options=[f"Lease={LEASE}s"])
		n1 = fleet.host("n1")
		n1.ready()
		# Without a configuration nothing is started, and nothing has failed.
		n1.run("dpkg", "-i", put(n1, packages("flota-agent_*.deb")))
		assert not is_active(n1, "flota-agent.service")
		assert n1.systemctl("is-enabled", "flota-agent.service", "flota-fence.service").stdout == \
			"enabled\nenabled\n"
		assert n1.systemctl("is-system-running").stdout == "running\n"
		config = f"[Agent]\nCoordinator={ENDPOINT}\nMetadata=made=by-hand\n"
		n1.write("/etc/flota/agent.conf", config)
		n1.write("/etc/flota/token", flota.token(), mode=0o600)
		n1.systemctl("start", "flota-agent.service")
		flota.ready()

		units = [f"u{i}.service" for i in range(10)]
		for unit in units:
			flota.start(unit, service())
		flota.start("only.service", service() + "\n[X-Flota]\nExclusive=true\n")
		before = pids(n1, [*units, "only.service"])
		old = n1.show("flota-agent.service", "MainPID")
		n1.run("dpkg", "-i", put(n1, packages("flota-agent_*.deb", 2)))
		assert is_active(n1, "flota-agent.service")
		assert n1.show("flota-agent.service", "MainPID") != old
		flota.ready()
		flota.start("after.service", service())
		assert pids(n1, [*units, "only.service"]) == before
		assert n1.read("/etc/flota/agent.conf") == config

		said = n1.run("dpkg", "-r", "flota-agent").stdout
		assert "run on; exclusive ones end" in said
		assert not is_active(n1, "flota-agent.service")
		settle(n1, "only.service", "inactive") # by the fence, which is still there
		assert pids(n1, units) == before[:-1]

		# It comes back as who it was, with what it had.
		n1.run("dpkg", "-i", put(n1, packages("flota-agent_*.deb")))
		flota.ready()
		settle(n1, "only.service")
		assert pids(n1, units) == before[:-1]

		n1.run("dpkg", "-P", "flota-agent")
		assert n1.run("ls", "-A", "/etc/flota", "/var/lib/flota", check=False).stdout == ""
		assert pids(n1, units) == before[:-1]


def test_the_coordinator_on_debian(packages):
	with Fleet() as fleet:
		n1 = fleet.host("n1")
		n1.ready()
		unit = "flota-coordinator.service"
		n1.run("dpkg", "-i", put(n1, packages("flota-coordinator_*.deb")), put(n1, packages("flotactl_*.deb")))
		assert not is_active(n1, unit)
		n1.run("flota-coordinator", "init", "--fleet", "lab", "--address", n1.address)
		n1.systemctl("start", unit)
		n1.write("/root/a.service", service())
		n1.run("flotactl", "submit", "/root/a.service")
		old = n1.show(unit, "MainPID")
		n1.run("dpkg", "-i", put(n1, packages("flota-coordinator_*.deb", 2)), put(n1, packages("flotactl_*.deb", 2)))
		assert is_active(n1, unit) and n1.show(unit, "MainPID") != old
		assert "a.service" in n1.run("flotactl", "list-unit-files").stdout
		assert n1.show(unit, "User")["User"] == "flota"

		# Nobody loses a fleet by removing a package.
		said = n1.run("dpkg", "-P", "flota-coordinator").stdout
		assert "are left in /var/lib/flota/coordinator" in said
		n1.run("test", "-s", "/var/lib/flota/coordinator/ca.key")


class Rpm:
	"""What rpm does with a package on a machine. The lab has no Rocky: files are unpacked by Debian's
	rpm from outside, scripts run on the host in rpm's order, with rpm's numbers."""

	QUIETLY = ("--nodeps", "--noscripts", "--force-debian")

	def __init__(self, host, name):
		self.host = host
		self.name = name

	def _rpm(self, *argv):
		return self.host.fleet.run("rpm", "--root", self.host.fleet.dir / self.host.name / "root",
			"--dbpath", "/var/lib/rpm", *argv).stdout

	def _script(self, tag, text, count):
		assert text != "(none)", tag
		return self.host.run("sh", "-s", count, input=text).stdout

	def _installed(self, tag):
		return self._rpm("-q", "--qf", f"%{{{tag}}}", self.name)

	def upgrade(self, package):
		"""Installs it, in place of an older one if there is one."""
		is_first = not (self.host.disk / "usr/bin" / self.name).exists()
		old = {} if is_first else {tag: self._installed(tag) for tag in ("PREUN", "POSTUN")}
		self._rpm("-U", *self.QUIETLY, package)
		self._script("POSTIN", self._installed("POSTIN"), 1 if is_first else 2)
		for tag, text in old.items():
			self._script(tag, text, 1)

	def erase(self):
		after = self._installed("POSTUN")
		said = self._script("PREUN", self._installed("PREUN"), 0)
		self._rpm("-e", *self.QUIETLY, self.name)
		self._script("POSTUN", after, 0)
		return said


def test_the_agent_as_rpm(packages):
	with Fleet() as fleet:
		flota = Flota(fleet)
		n1 = fleet.host("n1")
		n1.ready()
		n1.write("/etc/flota/agent.conf", f"[Agent]\nCoordinator={ENDPOINT}\n")
		n1.write("/etc/flota/token", flota.token(), mode=0o600)
		rpm = Rpm(n1, "flota-agent")
		rpm.upgrade(packages("flota-agent-*.rpm"))
		flota.ready()
		assert n1.systemctl("is-enabled", "flota-agent.service", "flota-fence.service").stdout == \
			"enabled\nenabled\n"
		flota.start("a.service", service())
		before = pids(n1, ["a.service"])
		old = n1.show("flota-agent.service", "MainPID")
		rpm.upgrade(packages("flota-agent-*.rpm", 2))
		assert is_active(n1, "flota-agent.service")
		assert n1.show("flota-agent.service", "MainPID") != old
		flota.ready()
		assert "run on; exclusive" in rpm.erase()
		assert not is_active(n1, "flota-agent.service")
		assert pids(n1, ["a.service"]) == before
		rpm.upgrade(packages("flota-agent-*.rpm"))
		flota.ready()
		assert pids(n1, ["a.service"]) == before


def test_the_coordinator_as_rpm(packages):
	with Fleet() as fleet:
		n1 = fleet.host("n1")
		n1.ready()
		unit = "flota-coordinator.service"
		rpm = Rpm(n1, "flota-coordinator")
		rpm.upgrade(packages("flota-coordinator-*.rpm"))
		n1.run("flota-coordinator", "init", "--fleet", "lab")
		n1.systemctl("start", unit)
		assert n1.show(unit, "User")["User"] == "flota"
		old = n1.show(unit, "MainPID")
		rpm.upgrade(packages("flota-coordinator-*.rpm", 2))
		assert is_active(n1, unit) and n1.show(unit, "MainPID") != old
		rpm.erase()
		assert not is_active(n1, unit)
		n1.run("test", "-s", "/var/lib/flota/coordinator/ca.key")


def test_the_extension_of_flatcar(packages):
	"""Its image's files, laid over /usr. Hosts of the lab have no loop devices and are no Flatcar."""
	with Fleet() as fleet:
		flota = Flota(fleet)
		n1 = fleet.new_host("n1")
		n1.install({"/etc/flota/agent.conf": f"[Agent]\nCoordinator={ENDPOINT}\n"})
		n1.install({"/etc/flota/token": flota.token()}, mode=0o600)
		extensions = n1.disk / "etc/extensions"
		extensions.mkdir()
		subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-d", extensions / "flota",
			packages("flota-*.raw")], check=True, stdout=subprocess.DEVNULL)
		n1.boot()
		n1.ready()
		n1.run("systemd-sysext", "merge", check=False) # this is no Flatcar
		assert n1.run("test", "-e", "/usr/bin/flota-agent", check=False).returncode != 0
		n1.run("systemd-sysext", "merge", "--force")
		# What Flatcar's ensure-sysext.service does.
		n1.systemctl("daemon-reload")
		n1.systemctl("restart", "multi-user.target")
		flota.ready()
		flota.start("a.service", service())
		settle(n1, "a.service")
		assert n1.run("touch", "/usr/bin/flota-agent", check=False).returncode != 0


def test_one_agent_on_two_systems(layout):
	"""The same file on Debian 12 (glibc 2.36, systemd 252) and on trixie (2.41, 257)."""
	with Fleet() as fleet:
		flota = Flota(fleet)
		hosts = [flota.new_host(variant, variant=variant, cgroup=layout, token=flota.token())
			for variant in ("bookworm", "trixie")]
		for host in hosts:
			host.boot()
		flota.ready()
		assert [host.systemctl("--version").stdout.split()[1] for host in hosts] == ["252", "257"]
		for host in hosts:
			# Its systemd understands all of the unit files.
			assert "flota-" not in host.journal("--identifier=systemd", "--priority=warning")
			unit = f"on-{host.name}.service"
			flota.start(unit, service("MemoryMax=100M", fleet=f"MachineID={host.machine_id}"))
			settle(host, unit)
			before = host.show(unit, "MainPID")
			flota.flotactl("restart", unit)
			settle(host, unit)
			assert host.show(unit, "MainPID") != before
			assert "Active: active (running)" in flota.flotactl("status", unit).stdout
			assert "Started" in flota.flotactl("journal", unit).stdout
			flota.flotactl("destroy", unit)
			settle(host, unit, "inactive")
