"""What is on disks outlives programs; what is damaged or another's does no harm."""

import signal

import pytest

from flota import Flota, service, settle
from lab import Fleet, wait_until


@pytest.fixture
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		flota.host("n1")
		flota.host("n2")
		flota.ready()
		yield flota


def life(host, unit):
	return host.show(unit, "MainPID", "ActiveEnterTimestampMonotonic", "ActiveState")


def test_coordinator_that_knows_nothing_does_not_wipe_a_host(flota):
	"""As after a lost disk: the same CA, and a store that is new."""
	flota.start("a.service", service())
	host = flota.runs_on("a.service")
	before = life(host, "a.service")
	flota.stop()
	for file in flota.fleet.outside(flota.data).glob("store.sqlite*"):
		file.unlink()
	flota.boot()
	wait_until(lambda: "agent.other_coordinator" in host.journal("-u", "flota-agent.service"),
		"the agent to see that it is another store")
	assert life(host, "a.service") == before
	host.systemctl("restart", "flota-agent.service")
	assert life(host, "a.service") == before
	# Only when somebody says so on the host is its word taken.
	host.run("flota-agent", "adopt")
	host.systemctl("restart", "flota-agent.service")  # else it asks again half a minute later
	wait_until(lambda: host.show("a.service", "LoadState")["LoadState"] == "not-found",
		"the old coordinator's unit to go")
	flota.start("new.service", service(fleet=f"MachineID={host.machine_id}"))
	assert host.show("new.service", "ActiveState")["ActiveState"] == "active"


def test_damaged_assignment_is_fetched_again(flota):
	flota.start("a.service", service())
	host = flota.runs_on("a.service")
	before = life(host, "a.service")
	host.systemctl("kill", "--signal=KILL", "flota-agent.service")
	host.systemctl("stop", "flota-agent.service")
	files = host.run("find", "/var/lib/flota", "-type", "f").stdout.split()
	assert files
	for file in files:
		host.run("truncate", "-s", "-1", file)
	host.systemctl("start", "flota-agent.service")
	flota.start("b.service", service(fleet=f"MachineID={host.machine_id}"))
	assert life(host, "a.service") == before
	flota.flotactl("destroy", "a.service")
	wait_until(lambda: host.show("a.service", "LoadState")["LoadState"] == "not-found",
		"the unit to be forgotten")


def test_fleet_that_loses_power_comes_back(flota):
	names = [f"u{i}.service" for i in range(6)]
	flota.flotactl("start", *[flota.write(name, service()) for name in names])
	places = {name: flota.runs_on(name) for name in names}
	for host in flota.fleet.hosts.values():
		host.kill()
	flota.stop(signal.SIGKILL)
	for host in flota.fleet.hosts.values():
		host.boot()
	flota.boot()
	for name, host in places.items():
		settle(host, name)
		assert flota.runs_on(name) is host
