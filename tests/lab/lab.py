"""A lab: fleets of real systemd hosts, as namespaces on one machine.

	with Fleet() as fleet:
		n1 = fleet.host("n1")
		n2 = fleet.host("n2", cgroup="v2")      # both boot at once
		n1.run("ping", "-c1", "n2")             # waits for the boot

`nest` beside this file makes the namespaces; README.md has the picture.
"""

import functools
import hashlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NEST = str(HERE / "nest")
GATEWAY = "10.77.0.1"
TIMEOUT = 60  # seconds; a net under what should not hang, never a measure

_LAB = "run/flota-lab"  # nest's $lab
_FLEET_NAMESPACES = ("-m", "-p", "-n", "-u", "-i")
_HOST_NAMESPACES = (*_FLEET_NAMESPACES, "-C")
_ENVIRONMENT = {
	"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LANG": "C.UTF-8",
	"HOME": "/root",
}


class LabError(AssertionError):
	"""What a test sees when a host or a command did not do what it had to."""


@functools.cache
def cgroup_layouts():
	"""The cgroup layouts that hosts can have on this machine: of "v1" and "v2"."""
	return subprocess.check_output([NEST, "layouts"], text=True).split()


@functools.cache
def rootfs(variant):
	return subprocess.check_output([HERE / "rootfs", variant], text=True).strip()


def wait_until(condition, what, timeout=TIMEOUT):
	"""Asks `condition()` again and again until its answer is true, and returns the answer.

	An AssertionError in it counts as "not yet", so it can be made of asserts.
	"""
	deadline = time.monotonic() + timeout
	while True:
		try:
			last = condition()
			if last:
				return last
		except AssertionError as error:
			last = error
		if time.monotonic() > deadline:
			raise LabError(f"{what}: not within {timeout} s; last: {last!s}")
		time.sleep(0.02)


def fleet_groups(keeper_pid):
	"""The control groups that a fleet has, seen from outside."""
	return list(Path("/sys/fs/cgroup").glob(f"*/flota-lab-{keeper_pid}*"))


def _children(pid):
	return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Process(subprocess.Popen):
	"""A process in the namespaces of another one; signals reach it and not nsenter around it."""

	def __init__(self, target, namespaces, argv, **options):
		options.setdefault("stdin", subprocess.DEVNULL)
		options.setdefault("text", True)
		options["env"] = _ENVIRONMENT | options.pop("env", {})
		command = ["nsenter", "-t", str(target), *namespaces, "--", *map(str, argv)]
		super().__init__(command, **options)

	@property
	def inner_pid(self):
		"""The process's own ID, seen from outside."""
		return wait_until(lambda: self.poll() is not None or _children(self.pid),
			f"{self.args} to start")[0]

	def send_signal(self, sig):
		if self.poll() is None:
			for pid in _children(self.pid) or [self.pid]:
				os.kill(pid, sig)

	def complete(self, check, timeout, text):
		"""Waits for its end, as subprocess.run does; `text` is its input."""
		try:
			out, err = self.communicate(text, timeout=timeout)
		except subprocess.TimeoutExpired:
			self.kill()
			out, err = self.communicate()
			raise LabError(f"{self.args}: no end within {timeout} s\n{out}{err}") from None
		if check and self.returncode:
			raise LabError(f"{self.args}: exit code {self.returncode}\n{out}{err}")
		return subprocess.CompletedProcess(self.args, self.returncode, out, err)


class _Place:
	"""Where processes run: a fleet's own namespaces, or a host's."""

	def popen(self, *argv, **options):
		return Process(*self._target(), argv, **options)

	def run(self, *argv, check=True, timeout=TIMEOUT, input=None, **options):
		"""Runs a command to its end; its output is text. With `check` a failure is a LabError."""
		process = self.popen(*argv, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
			stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
		return process.complete(check, timeout, input)


class Fleet(_Place):
	"""Hosts on a network of their own, 10.77.0.0/24, and a place beside them at 10.77.0.1.

	Fleets do not see each other: each has its own network, processes and mounts. All of one is
	gone when it is closed, when this process dies in whatever way, and when `gateway_pid` does.
	`run()` and `popen()` are for processes at 10.77.0.1; they see the machine's own files.
	`lifeline`: a file descriptor at whose end (or first line) the fleet ends, in place of our own.
	"""

	alive = set()

	def __init__(self, name="lab", lifeline=subprocess.PIPE):
		self.name = name
		self.hosts = {}
		self._keeper = subprocess.Popen([NEST, "keep"], stdin=lifeline, stdout=subprocess.PIPE,
			text=True, start_new_session=True)
		if self._keeper.stdout.readline() != "ready\n":
			raise LabError(f"the fleet did not start: exit code {self._keeper.wait()}")
		[unshare] = _children(self._keeper.pid)
		[self.gateway_pid] = _children(unshare)
		Fleet.alive.add(self)

	@property
	def keeper_pid(self):
		return self._keeper.pid

	@property
	def dir(self):
		"""A directory for this fleet's files that goes when it goes, as its own processes see it."""
		return Path("/", _LAB)

	def outside(self, path):
		"""The path, from outside, of what is `path` for the fleet's own processes."""
		return Path(f"/proc/{self.gateway_pid}/root", str(path).lstrip("/"))

	def _target(self):
		return self.gateway_pid, _FLEET_NAMESPACES

	def host(self, name, **options):
		"""Makes a host and begins its boot; what is asked of it first will wait for the boot."""
		host = self.new_host(name, **options)
		host.boot()
		return host

	def new_host(self, name, **options):
		"""Makes a host that is down: `install()` what it is to have, then `boot()` it."""
		host = Host(self, name, len(self.hosts) + 1, **options)
		self.hosts[name] = host
		names = [f"{GATEWAY} gateway"] + [f"{h.address} {h.name}" for h in self.hosts.values()]
		self.outside(self.dir / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
		return host

	def cut(self, *hosts):
		"""Cuts them off, all at one moment."""
		for host in hosts:
			host.ready()
		self.set_ports("0", *hosts)

	def set_ports(self, state, *hosts):
		self.run("bridge", "-batch", "-",
			input="".join(f"link set dev v-{host.name} state {state}\n" for host in hosts))

	def close(self):
		Fleet.alive.discard(self)
		if self._keeper.stdin:
			self._keeper.stdin.close()
		else:
			os.kill(self.gateway_pid, signal.SIGKILL)
		self._keeper.wait(TIMEOUT)
		self._keeper.stdout.close()
		for host in self.hosts.values():
			host.reap()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()


class Host(_Place):
	"""A host of a fleet: its own systemd, disk, network, processes, cgroups, machine and boot ID.

	`cgroup`: "v1" or "v2", the layout that its systemd has. `variant`: the root file system.
	"""

	def __init__(self, fleet, name, number, cgroup=None, variant="bookworm"):
		self.fleet = fleet
		self.name = name
		self.cgroup = cgroup or cgroup_layouts()[0]
		self.address = f"10.77.0.{10 + number}"
		self.machine_id = hashlib.sha256(f"{fleet.name}/{name}".encode()).hexdigest()[:32]
		self.pid = None  # its systemd's, seen from outside
		self._mac = f"02:00:0a:4d:00:{10 + number:02x}"
		self._dir = fleet.dir / name
		self._process = None
		self._notify = None
		fleet.run(NEST, "disk", name, rootfs(variant))
		self.install({"/etc/machine-id": self.machine_id + "\n", "/etc/hostname": name + "\n"})

	def _target(self):
		self.ready()
		return self.pid, _HOST_NAMESPACES

	@property
	def disk(self):
		"""Its root directory seen from outside, whether it is up or down; /run is not on it."""
		return self.fleet.outside(self._dir / "root")

	def install(self, files, mode=0o644):
		"""Puts files on its disk, up or down: {path: text, or the Path of a file to copy}."""
		for path, content in files.items():
			target = self.disk / path.lstrip("/")
			target.parent.mkdir(parents=True, exist_ok=True)
			if isinstance(content, Path):
				shutil.copyfile(content, target)
			else:
				target.write_text(content)
			target.chmod(mode)

	def enable(self, *units):
		"""Has these units of its disk started at each boot."""
		wants = self.disk / "etc/systemd/system/multi-user.target.wants"
		wants.mkdir(exist_ok=True)
		for unit in units:
			(wants / unit).symlink_to(f"/etc/systemd/system/{unit}")

	def write(self, path, text, mode=0o644):
		"""Writes a file on the running host, its directories too."""
		self.run("sh", "-ec", 'mkdir -p "${1%/*}"; cat > "$1"; chmod "$2" "$1"', "sh", path, f"{mode:o}",
			input=text)

	def read(self, path):
		return self.run("cat", path).stdout

	def systemctl(self, *argv, **options):
		return self.run("systemctl", *argv, **options)

	def show(self, unit, *properties):
		"""What its systemd says of a unit, {property: value}."""
		out = self.systemctl("show", unit, "--property=" + ",".join(properties)).stdout
		return dict(line.split("=", 1) for line in out.splitlines())

	def boot(self):
		"""Begins a boot; `ready()` waits for its end."""
		notify = self.fleet.outside(self._dir / "notify")
		notify.unlink(missing_ok=True)
		self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		self._notify.bind(str(notify))
		with open(self.fleet.outside(self._dir / "console"), "w", encoding="utf-8") as console:
			self._process = self.fleet.popen(NEST, "boot", self.name, self.address, self._mac,
				self.cgroup, stdout=console, stderr=console)

	def ready(self, timeout=TIMEOUT):
		"""Waits until its systemd says that it has started, and that all of it has."""
		if self._notify is None:
			if self._process is None or self._process.poll() is not None:
				raise LabError(f"{self.name} is down")
			return
		deadline = time.monotonic() + timeout
		with open(os.pidfd_open(self._process.pid), "rb", buffering=0) as end:
			said = b""
			while b"READY=1" not in said.split(b"\n"):
				left = max(0, deadline - time.monotonic())
				able, _, _ = select.select([self._notify, end], [], [], left)
				if self._notify in able:
					said = self._notify.recv(4096)
				else:
					console = self.fleet.outside(self._dir / "console").read_text()
					why = "ended" if able else f"not ready in {timeout} s"
					raise LabError(f"boot of {self.name}: {why}\n{console}")
		self._notify.close()
		self._notify = None
		[self.pid] = _children(self._process.inner_pid)
		state = self.systemctl("is-system-running", check=False).stdout.strip()
		if state != "running":
			failed = self.systemctl("--failed", "--no-legend", check=False).stdout
			raise LabError(f"boot of {self.name}: {state}\n{failed}\n{self.journal()}")

	def boot_id(self):
		return self.read("/proc/sys/kernel/random/boot_id").strip()

	def journal(self, *argv):
		return self.run("journalctl", "--no-pager", "--boot", "-o", "short-monotonic", *argv,
			check=False).stdout

	def kill(self):
		"""Power off, cable out: no process of it says another word, and its peers hear nothing."""
		self.cut()
		os.kill(self.pid, signal.SIGKILL)
		self.reap()

	def reboot(self):
		"""Shuts down in order and begins a new boot, with the same disk and a fresh /run."""
		self.systemctl("reboot", check=False)
		self.reap()
		self.boot()

	def reap(self):
		"""Waits until none of its processes is left."""
		if self._process:
			self._process.wait(TIMEOUT * 2)
		self.pid = None
		if self._notify:
			self._notify.close()
			self._notify = None

	def cut(self):
		"""The network drops all that comes from or goes to it, and neither side is told."""
		self.fleet.cut(self)

	def join(self):
		self.fleet.set_ports("3", self)
