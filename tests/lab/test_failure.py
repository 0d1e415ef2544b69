"""Programs crash, hosts die and cables break, and no unit notices that need not.

Leases are 5 s. Three hosts: one that is lost is a lost host, two are the coordinator's own fault.
"""

import itertools
import signal
import threading
import time

import pytest

from flota import BIN, UNAVAILABLE, Flota, service, settle
from lab import Fleet, wait_until

LEASE = 5


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet, options=[f"Lease={LEASE}s"])
		for name in "n1", "n2", "n3":
			flota.host(name, metadata=f"host={name}")
		flota.ready()
		yield flota


@pytest.fixture
def healthy(clean):
	"""The fleet, whole again afterwards."""
	yield clean
	for host in clean.fleet.hosts.values():
		if host.pid is None:
			host.boot()
		host.join()
	if clean.coordinator.poll() is not None:
		clean.boot()
	clean.ready()


def on(host):
	return f"MachineMetadata=host={host}"


def life(host, *units):
	"""What changes whenever systemd does anything to one of these units."""
	return [host.show(unit, "MainPID", "ActiveEnterTimestampMonotonic", "StateChangeTimestampMonotonic")
		for unit in units]


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
def test_units_of_a_dead_host_are_active_elsewhere(healthy, record_property):
	n1 = healthy.fleet.hosts["n1"]
	rules = 'MachineMetadata="host=n1" "host=n2" "host=n3"'
	names = [f"mobile{i}.service" for i in range(9)]
	healthy.flotactl("start", *[healthy.write(name, service(fleet=rules)) for name in names])
	healthy.start("bound.service", service(fleet=on("n1") + "\n[X-Flota]\nOnMachineLoss=wait"))
	healthy.start("patient.service", service(fleet=f"MachineID={n1.machine_id}"))
	mine = [name for name in names if healthy.runs_on(name) is n1]
	others = {name: healthy.runs_on(name) for name in names if name not in mine}
	assert mine
	before = {name: life(host, name) for name, host in others.items()}
	killed = time.monotonic()  # the same clock as systemd's on the hosts
	n1.kill()
	since = []
	for name in mine:
		wait_until(lambda n=name: healthy.where(n), f"{name} to be active elsewhere")
		started = healthy.runs_on(name).show(name, "ActiveEnterTimestampMonotonic")
		since.append(int(started["ActiveEnterTimestampMonotonic"]) / 1e6 - killed)
	took = f"{len(mine)} units active elsewhere from {min(since):.2f} s to {max(since):.2f} s " \
		f"after their host was killed; the lease is {LEASE} s"
	record_property("machine_death", took)
	assert max(since) < 15
	assert {name: life(host, name) for name, host in others.items()} == before
	# What waits for its host, waits.
	assert healthy.where("bound.service") == healthy.where("patient.service") == []
	why = healthy.flotactl("why", "bound").stdout
	assert "is lost" in why and "OnMachineLoss=wait" in why
	assert "MachineID=" in healthy.flotactl("why", "patient").stdout
	n1.boot()
	settle(n1, "bound.service")
	settle(n1, "patient.service")
	healthy.ready()
	# It began with what was its own when it died, and then heard what no longer is.
	for name in mine:
		wait_until(lambda n=name: healthy.runs_on(n) is not n1, f"{name} to be only elsewhere")


def test_cut_host_keeps_its_units_and_drops_stale_copies_when_it_is_back(healthy):
	n1 = healthy.fleet.hosts["n1"]
	rules = 'MachineMetadata="host=n1" "host=n2"'
	healthy.start("filler.service", service(fleet=on("n2")))
	healthy.start("mobile.service", service(fleet=rules))
	healthy.start("bound.service", service(fleet=on("n1") + "\n[X-Flota]\nOnMachineLoss=wait"))
	assert healthy.where("mobile.service") == ["n1"]
	bound = life(n1, "bound.service")
	n1.cut()
	wait_until(lambda: healthy.where("mobile.service") == ["n1", "n2"],
		"it to be active elsewhere, while the cut host runs on")
	moved = life(healthy.fleet.hosts["n2"], "mobile.service")
	assert life(n1, "bound.service") == bound
	n1.join()
	wait_until(lambda: healthy.where("mobile.service") == ["n2"], "the stale copy to stop")
	assert life(healthy.fleet.hosts["n2"], "mobile.service") == moved
	wait_until(lambda: n1.show("mobile.service", "LoadState")["LoadState"] == "not-found",
		"the stale copy to be forgotten")
	assert life(n1, "bound.service") == bound


def test_nothing_moves_when_most_hosts_look_lost(healthy):
	hosts = healthy.fleet.hosts
	rules = 'MachineMetadata="host=n1" "host=n2" "host=n3"'
	names = [f"mobile{i}.service" for i in range(6)]
	healthy.flotactl("start", *[healthy.write(name, service(fleet=rules)) for name in names])
	places = {name: healthy.runs_on(name) for name in names}
	before = {name: life(host, name) for name, host in places.items()}
	hosts["n1"].cut()
	hosts["n2"].cut()

	def silent_for_two_leases():
		heard = [healthy.machine(hosts[name])["last_heard_ms"] for name in ("n1", "n2")]
		return min(heard) > 2 * LEASE * 1000
	wait_until(silent_for_two_leases, "the leases to end")
	assert {name: healthy.runs_on(name) for name in names} == places
	on_n1 = [name for name in names if places[name] is hosts["n1"]][0]
	assert "nothing moves" in healthy.flotactl("why", on_n1).stdout
	hosts["n1"].join()
	hosts["n2"].join()
	healthy.ready()
	assert {name: life(host, name) for name, host in places.items()} == before


def test_reboot_of_a_host_within_its_lease_moves_nothing(healthy):
	n3 = healthy.fleet.hosts["n3"]
	rules = 'MachineMetadata="host=n3" "host=n1"'
	healthy.start("filler.service", service(fleet=on("n1")))
	healthy.start("mobile.service", service(fleet=rules))
	assert healthy.where("mobile.service") == ["n3"]
	n3.reboot()
	settle(n3, "mobile.service")
	assert healthy.runs_on("mobile.service") is n3
