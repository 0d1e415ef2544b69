"""flota on a lab fleet: the coordinator at 10.77.0.1, an agent on each host, flotactl.

	with Fleet() as fleet:
		flota = Flota(fleet)
		n1 = flota.host("n1", metadata="region=norte")
		flota.flotactl("start", path)
"""

import os
import signal
import subprocess
from pathlib import Path

from lab import GATEWAY, HERE, wait_until

ROOT = HERE.parent.parent
BIN = Path(os.environ.get("FLOTA_BIN", ROOT / "build/release/bin")).resolve()
PORT = 7440
AGENT_UNIT = ROOT / "packaging/systemd/flota-agent.service"


class Flota:
	"""A coordinator with its CA, and what it takes to join hosts to it.

	`data`: the coordinator's directory; by default in memory, with the fleet's other files.
	`options`: the coordinator's, on its command line.
	"""

	def __init__(self, fleet, data=None, options=()):
		self.fleet = fleet
		self.data = Path(data or fleet.dir / "coordinator")
		self.options = options
		self.endpoint = f"ipc://{fleet.dir}/coordinator.sock"
		self.coordinator = None
		fleet.run(BIN / "flota-coordinator", "init", "--data", self.data, "--fleet", fleet.name,
			"--address", GATEWAY)
		self.start()

	def start(self):
		"""Starts the coordinator and waits until it answers."""
		with open(self.fleet.outside(self.fleet.dir / "coordinator.log"), "a", encoding="utf-8") as log:
			self.coordinator = self.fleet.popen(BIN / "flota-coordinator", "--data", self.data,
				"--listen", f"tls+tcp://{GATEWAY}:{PORT}", "--socket", self.endpoint, *self.options,
				stdout=log, stderr=subprocess.STDOUT)
		wait_until(self._answers, "the coordinator to answer")

	def _answers(self):
		assert self.coordinator.poll() is None, self.log()
		return self.flotactl("list-machines", check=False).returncode == 0

	def log(self):
		return self.fleet.outside(self.fleet.dir / "coordinator.log").read_text()

	def stop(self, sig=signal.SIGTERM):
		self.coordinator.send_signal(sig)
		return self.coordinator.wait()

	def flotactl(self, *argv, **options):
		"""flotactl as root beside the coordinator."""
		environment = {"HOME": str(self.fleet.dir), "FLOTACTL_ENDPOINT": self.endpoint}
		return self.fleet.run(BIN / "flotactl", *argv, env=environment, **options)

	def issue(self, *argv):
		"""A certificate: its directory, with ca.crt, NAME.crt and NAME.key, seen from outside."""
		out = self.fleet.dir / "issued" / "-".join(argv)
		self.fleet.run(BIN / "flota-coordinator", "issue", *argv, "--data", self.data, "--out", out)
		return self.fleet.outside(out)

	def host(self, name, metadata="", **options):
		"""A host whose agent starts at each boot; begins the boot."""
		host = self.fleet.new_host(name, **options)
		host.install({f"/usr/bin/{program}": BIN / program for program in ("flota-agent", "flotactl")},
			mode=0o755)
		host.install({
			"/etc/flota/agent.conf":
				f"[Agent]\nCoordinator=tls+tcp://{GATEWAY}:{PORT}\nMetadata={metadata}\n",
			"/etc/systemd/system/flota-agent.service": AGENT_UNIT,
		})
		self.install_certificate(host, self.issue("machine", host.machine_id))
		host.enable("flota-agent.service")
		host.boot()
		return host

	@staticmethod
	def install_certificate(host, directory):
		host.install({"/etc/flota/tls/ca.crt": directory / "ca.crt",
			"/etc/flota/tls/agent.crt": directory / "machine.crt"})
		host.install({"/etc/flota/tls/agent.key": directory / "machine.key"}, mode=0o600)
