"""Programs crash and are upgraded, hosts reboot, and no unit notices that need not.

The lease is long: nothing here is to move, however slow the machine is on which the tests run.
"""

import itertools
import signal
import threading

from flota import BIN, UNAVAILABLE, life, on, service, settle
from lab import wait_until

OPTIONS = ["Lease=10min"]


class Stream(threading.Thread):
	"""Starts one unit after another, until one fails; `acknowledged` are those that did not."""

	def __init__(self, flota, prefix):
		super().__init__()
		self.flota = flota
		self.prefix = prefix
		self.acknowledged = []
		self.last = None
		self.start()

	def run(self):
		for i in itertools.count():
			name = f"{self.prefix}{i}.service"
			path = self.flota.write(name, service())
			self.last = self.flota.flotactl("start", "--no-block", path, check=False)
			if self.last.returncode:
				return
			self.acknowledged.append(name)


# --- the coordinator ------------------------------------------------------------------------------
def test_kill_of_the_coordinator_loses_nothing_and_touches_no_unit(healthy):
	hosts = healthy.fleet.hosts
	for name in hosts:
		healthy.start(f"steady-{name}.service", service(fleet=on(name)))
	before = [life(host, f"steady-{name}.service") for name, host in hosts.items()]
	for round in range(3):
		stream = Stream(healthy, f"round{round}-")
		wait_until(lambda s=stream: len(s.acknowledged) >= 10, "a stream of starts")
		healthy.stop(signal.SIGKILL)
		stream.join()
		assert stream.last.returncode == UNAVAILABLE, stream.last.stderr
		healthy.boot()
		stored = {unit["unit"]: unit["desired"] for unit in healthy.json("list-unit-files")}
		assert [stored.get(name) for name in stream.acknowledged] == \
			["launched"] * len(stream.acknowledged)
		for name in stream.acknowledged:
			wait_until(lambda n=name: healthy.where(n), f"{name} to be active on a host")
			healthy.runs_on(name)
	healthy.ready()
	assert [life(host, f"steady-{name}.service") for name, host in hosts.items()] == before


def test_units_run_and_restart_without_the_coordinator(healthy):
	n1 = healthy.fleet.hosts["n1"]
	healthy.start("a.service", service("Restart=always", "RestartSec=0", fleet=on("n1")))
	healthy.stop()
	n1.run("systemctl", "kill", "-s", "KILL", "a.service")
	wait_until(lambda: n1.show("a.service", "NRestarts", "ActiveState") ==
		{"NRestarts": "1", "ActiveState": "active"}, "systemd to restart it")
	assert "flotactl: " in healthy.refused("list-units", code=UNAVAILABLE)
	healthy.boot()
	healthy.ready()
	pid = int(n1.show("a.service", "MainPID")["MainPID"])
	wait_until(lambda: healthy.json("list-units")[0]["placements"][0].get("systemd", {})
		and healthy.json("list-units")[0]["placements"][0]["systemd"]["main_pid"] == pid,
		"the coordinator to know the new process")


def test_host_that_boots_without_the_coordinator_starts_its_units(healthy):
	n2 = healthy.fleet.hosts["n2"]
	healthy.start("run.service", service(fleet=on("n2")))
	healthy.flotactl("load", healthy.write("loaded.service", service(fleet=on("n2"))))
	healthy.stop()
	n2.reboot()
	settle(n2, "run.service")
	assert n2.show("loaded.service", "LoadState", "ActiveState") == {
		"LoadState": "loaded", "ActiveState": "inactive"}
	healthy.boot()
	healthy.ready()
	before = life(n2, "run.service")
	healthy.start("after.service", service(fleet=on("n2")))
	assert life(n2, "run.service") == before


# --- the agent ------------------------------------------------------------------------------------
def agent_pid(host):
	return int(host.show("flota-agent.service", "MainPID")["MainPID"])


def test_kill_of_an_agent_loses_nothing_and_touches_no_unit(healthy):
	"""Better: "SIGTERM or a crash of the daemon stops, or doubles, its units". A crash."""
	n1 = healthy.fleet.hosts["n1"]
	steady = [f"steady{i}.service" for i in range(3)]
	for name in steady:
		healthy.start(name, service(fleet=on("n1")))
	before = life(n1, *steady)
	for round in range(3):
		names = [f"burst{round}-{i}.service" for i in range(20)]
		paths = [healthy.write(name, service(fleet=on("n1"))) for name in names]
		starting = healthy.flotactl_popen("start", *paths)
		wait_until(lambda n=names[0]: n1.show(n, "LoadState")["LoadState"] == "loaded",
			"the burst to begin")
		pid = agent_pid(n1)
		n1.run("kill", "-KILL", str(pid))
		wait_until(lambda p=pid: agent_pid(n1) not in (0, p), "systemd to start the agent again")
		assert starting.wait(60) == 0
		for name in names:
			assert n1.show(name, "ActiveState", "NRestarts") == {
				"ActiveState": "active", "NRestarts": "0"}
	assert life(n1, *steady) == before


def test_stop_and_upgrade_of_an_agent_touch_no_unit(healthy):
	"""Better: "SIGTERM or a crash of the daemon stops, or doubles, its units". SIGTERM."""
	n1 = healthy.fleet.hosts["n1"]
	healthy.start("a.service", service(fleet=on("n1")))
	before = life(n1, "a.service")
	n1.systemctl("stop", "flota-agent.service")
	assert life(n1, "a.service") == before
	# As a package manager does: a new file in the old one's place.
	n1.install({"/usr/bin/flota-agent.new": BIN / "flota-agent"}, mode=0o755)
	n1.run("mv", "/usr/bin/flota-agent.new", "/usr/bin/flota-agent")
	n1.systemctl("start", "flota-agent.service")
	n1.systemctl("restart", "flota-agent.service")
	healthy.start("b.service", service(fleet=on("n1")))
	assert n1.show("b.service", "ActiveState")["ActiveState"] == "active"
	assert life(n1, "a.service") == before


def test_what_was_asked_while_an_agent_was_away_is_done(healthy):
	n1 = healthy.fleet.hosts["n1"]
	healthy.start("gone.service", service(fleet=on("n1")))
	n1.systemctl("stop", "flota-agent.service")
	healthy.flotactl("destroy", "--no-block", "gone.service")
	healthy.start("new.service", service(fleet=on("n1")), "--no-block")
	n1.systemctl("start", "flota-agent.service")
	settle(n1, "new.service")
	wait_until(lambda: n1.show("gone.service", "LoadState")["LoadState"] == "not-found",
		"the destroyed unit to go")


# --- hosts ----------------------------------------------------------------------------------------
def test_reboot_of_a_host_moves_nothing(healthy):
	n3 = healthy.fleet.hosts["n3"]
	rules = 'MachineMetadata="host=n3" "host=n1"'
	healthy.start("filler.service", service(fleet=on("n1")))
	healthy.start("mobile.service", service(fleet=rules))
	assert healthy.where("mobile.service") == ["n3"]
	n3.reboot()
	settle(n3, "mobile.service")
	assert healthy.runs_on("mobile.service") is n3
