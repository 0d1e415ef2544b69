"""flota on a lab fleet: the coordinator at 10.77.0.1, an agent on each host, flotactl.

	with Fleet() as fleet:
		flota = Flota(fleet)
		n1 = flota.host("n1", metadata="region=norte")
		flota.start("hello.service", service(fleet="MachineMetadata=region=norte"))
		assert n1.show("hello.service", "ActiveState")["ActiveState"] == "active"
"""

import json
import os
import signal
import subprocess
from pathlib import Path

from lab import GATEWAY, HERE, cgroup_layouts, wait_until

ROOT = HERE.parent.parent
BIN = Path(os.environ.get("FLOTA_BIN", ROOT / "build/release/bin")).resolve()
PORT = 7440
ENDPOINT = f"tls+tcp://{GATEWAY}:{PORT}"
AGENT_UNIT = ROOT / "packaging/systemd/flota-agent.service"
FENCE_UNIT = ROOT / "packaging/systemd/flota-fence.service"
UNIT_DIRECTORY = "/run/systemd/system"

# Exit codes of flotactl that are not 1 (base/error.h).
UNAVAILABLE, DENIED, TIMEOUT, UNSCHEDULABLE = 5, 6, 7, 8


def service(*lines, start="exec sleep infinity", unit="", fleet=""):
	"""The text of a service that runs a line of shell.

	`lines` are of [Service]; `unit` and `fleet` are the lines of [Unit] and [X-Fleet].
	"""
	text = f"[Unit]\nDescription=A unit of the lab\n{unit}\n[Service]\n"
	text += "".join(line + "\n" for line in (f"ExecStart=/bin/sh -c '{start}'", *lines))
	return text + (f"\n[X-Fleet]\n{fleet}\n" if fleet else "")


def on(*hosts):
	"""The line of [X-Fleet] that keeps a unit to these hosts, where metadata tells them apart (HOSTS)."""
	return "MachineMetadata=" + " ".join(f'"host={name}"' for name in hosts)


def life(host, *units):
	"""What changes whenever systemd does anything to one of these units."""
	return [host.show(unit, "MainPID", "ActiveEnterTimestampMonotonic", "StateChangeTimestampMonotonic")
		for unit in units]


def settle(host, unit, state="active"):
	"""Waits until the host's systemd says that the unit is in this state."""
	wait_until(lambda: host.show(unit, "ActiveState")["ActiveState"] == state,
		f"{unit} on {host.name} to be {state}")


# --- what none of our own programs would say: messages made by hand -------------------------------
CHANGE = 12 # the body's field in an Envelope (proto/flota.proto)


def varint(number):
	out = b""
	while number > 127:
		out += bytes([number & 127 | 128])
		number >>= 7
	return out + bytes([number])


def field(number, value):
	"""A field of a protobuf message."""
	if isinstance(value, int):
		return varint(number << 3) + varint(value)
	return varint(number << 3 | 2) + varint(len(value)) + value


def envelope(number, body):
	return field(1, 1) + field(2, 7) + field(number, body)


class Flota:
	"""A coordinator with its CA, and what it takes to join hosts to it.

	`data`: the coordinator's directory; by default in memory, with the fleet's other files.
	`options`: lines of its configuration.
	"""

	def __init__(self, fleet, data=None, options=()):
		self.fleet = fleet
		self.data = Path(data or fleet.dir / "coordinator")
		self.socket = fleet.dir / "coordinator.sock"
		self.endpoint = f"ipc://{self.socket}"
		self.coordinator = None
		fleet.outside(fleet.dir / "units").mkdir()
		self.init(self.data)
		self.config = fleet.dir / "coordinator.conf"
		fleet.outside(self.config).write_text("\n".join(["[Coordinator]", f"Listen={ENDPOINT}",
			f"Listen={self.endpoint}", f"DataDirectory={self.data}", *options, ""]))
		self.boot()

	def init(self, data):
		"""Makes a fleet of the lab's name in this directory, with a CA of its own."""
		self.fleet.run(BIN / "flota-coordinator", "init", "--data", data, "--fleet", self.fleet.name,
			"--address", GATEWAY)

	# --- the coordinator --------------------------------------------------------------------------
	def boot(self, *wrapper, **environment):
		"""Starts the coordinator, by another program if need be, and waits until it answers."""
		self.begin(*wrapper, **environment)
		wait_until(self._answers, "the coordinator to answer")

	def begin(self, *wrapper, **environment):
		with open(self.fleet.outside(self.fleet.dir / "coordinator.log"), "a", encoding="utf-8") as log:
			self.coordinator = self.fleet.popen(*wrapper, BIN / "flota-coordinator", "--config", self.config,
				env=environment, stdout=log, stderr=subprocess.STDOUT)

	def _answers(self):
		if self.coordinator.poll() is not None:
			raise RuntimeError(f"the coordinator ended\n{self.log()}")
		return self.flotactl("list-machines", check=False).returncode == 0

	def log(self):
		return self.fleet.outside(self.fleet.dir / "coordinator.log").read_text()

	def stop(self, sig=signal.SIGTERM):
		self.coordinator.send_signal(sig)
		return self.coordinator.wait()

	# --- flotactl ---------------------------------------------------------------------------------
	def environment(self, **more):
		return {"HOME": str(self.fleet.dir), "FLOTACTL_ENDPOINT": self.endpoint,
			"PATH": os.environ["PATH"], **more}

	def said(self, program, *argv, **environment):
		"""A call's standard output, standard error and exit code."""
		done = self.fleet.run(program, *argv, env=self.environment(**environment), check=False)
		return done.stdout, done.stderr, done.returncode

	def flotactl(self, *argv, **options):
		"""flotactl as root beside the coordinator."""
		return self.fleet.run(BIN / "flotactl", *argv, env=self.environment(), **options)

	def flotactl_popen(self, *argv, **options):
		return self.fleet.popen(BIN / "flotactl", *argv, env=self.environment(), **options)

	def refused(self, *argv, code=1):
		"""A flotactl that has to end with this exit code: what it said on standard error."""
		done = self.flotactl(*argv, check=False)
		assert done.returncode == code, (argv, done.returncode, done.stdout, done.stderr)
		return done.stderr

	def json(self, *argv):
		return json.loads(self.flotactl(*argv, "--output=json").stdout)

	def write(self, name, text):
		"""Puts a unit file where flotactl finds it; its path."""
		path = self.fleet.dir / "units" / name
		self.fleet.outside(path).write_bytes(text if isinstance(text, bytes) else text.encode())
		return path

	def start(self, name, text, *options):
		return self.flotactl("start", *options, self.write(name, text))

	def destroy_all(self):
		names = [unit["unit"] for unit in self.json("list-unit-files")]
		if names:
			self.flotactl("destroy", *names)

	def raw(self, directory, kind, message, port=PORT):
		"""Says this with the certificate in the directory; stdout is the reply in hexadecimal."""
		files = (directory / name for name in ("ca.crt", f"{kind}.crt", f"{kind}.key"))
		return self.fleet.run(HERE / "rawpeer", *files, GATEWAY, port, input=message.hex(), check=False)

	def token(self, *options):
		"""The text of a new join token."""
		return self.flotactl("token", "create", *options).stdout.strip()

	# --- hosts ------------------------------------------------------------------------------------
	def issue(self, *argv):
		"""A certificate: its directory, with ca.crt, KIND.crt and KIND.key, as flotactl sees it."""
		out = self.fleet.dir / "issued" / "-".join(argv).replace("/", "_")
		self.fleet.run(BIN / "flota-coordinator", "issue", *argv, "--data", self.data, "--out", out,
			"--force")
		return out

	def new_host(self, name, metadata="", files=None, token=None, **options):
		"""A host that is down, whose agent starts at each boot. `cgroup`: each layout in turn.
		With a token it joins by itself, else it is given a certificate."""
		layouts = cgroup_layouts()
		options.setdefault("cgroup", layouts[len(self.fleet.hosts) % len(layouts)])
		host = self.fleet.new_host(name, **options)
		host.install({f"/usr/bin/{program}": BIN / program for program in ("flota-agent", "flotactl")},
			mode=0o755)
		host.install({
			"/etc/flota/agent.conf": f"[Agent]\nCoordinator={ENDPOINT}\nMetadata={metadata}\n",
			"/etc/systemd/system/flota-agent.service": AGENT_UNIT,
			"/etc/systemd/system/flota-fence.service": FENCE_UNIT,
		})
		host.install(files or {})
		if token is None:
			self.install_certificate(host, self.issue("machine", host.machine_id))
		else:
			host.install({"/etc/flota/token": token}, mode=0o600)
		host.enable("flota-fence.service")
		host.enable("flota-agent.service")
		return host

	def host(self, name, **options):
		"""The same, and begins its boot."""
		host = self.new_host(name, **options)
		host.boot()
		return host

	def install_certificate(self, host, directory):
		directory = self.fleet.outside(directory)
		host.install({f"/etc/flota/tls/{name}": directory / name for name in ("ca.crt", "machine.crt")})
		host.install({"/etc/flota/tls/machine.key": directory / "machine.key"}, mode=0o600)

	def machine(self, host):
		"""What the coordinator says of the host, {} when it does not know it."""
		found = [m for m in self.json("list-machines") if m["machine"] == host.machine_id]
		return found[0] if found else {}

	def ready(self, *hosts):
		"""Waits until the agents of these hosts (default: all) are there."""
		for host in hosts or self.fleet.hosts.values():
			host.ready()
			wait_until(lambda h=host: self.machine(h).get("state") == "up", f"{host.name}'s agent")

	def where(self, unit):
		"""The names of the hosts that are up and whose systemd has the unit active."""
		return [name for name, host in self.fleet.hosts.items() if host.pid
			and host.show(unit, "ActiveState")["ActiveState"] == "active"]

	def runs_on(self, unit):
		"""The one host whose systemd has the unit active."""
		names = self.where(unit)
		assert len(names) == 1, f"{unit} is active on {names}"
		return self.fleet.hosts[names[0]]


def where_text(host):
	"""A machine as flotactl names it in its sentences and tables."""
	return f"{host.machine_id[:8]}.../{host.address}"
