"""Machines that are taken out and put back: cordon, drain, uncordon, rebalance.

Witness: systemd on the hosts. When a unit was active there it says by CLOCK_MONOTONIC, which is one
for all hosts, so that two of a unit would overlap.
"""

import pytest

from flota import UNSCHEDULABLE, on, service, settle, where_text
from lab import wait_until

OPTIONS = ["Lease=5s"]
UNITS = [f"u{i}.service" for i in range(10)]


@pytest.fixture
def open_fleet(clean):
	"""Machines are open before and after."""
	yield clean
	clean.flotactl("uncordon", *ids(clean.fleet.hosts.values()))


def ids(hosts):
	return [host.machine_id for host in hosts]


# Takes its time to stop.
SLOW = 'trap "sleep 0.3; exit 0" TERM; while :; do sleep 0.05; done'


def spans(host, unit):
	"""When the unit was active on the host: pairs of times of systemd's journal."""
	times, began = [], None
	lines = host.journal("--output=short-monotonic", "_PID=1", f"UNIT={unit}").splitlines()
	for line in lines:
		if not line.startswith("["):
			continue
		time = float(line[1:line.index("]")])
		if f"Started {unit}" in line:
			began = time
		elif (f"Stopped {unit}" in line or f"{unit}: Deactivated" in line) and began is not None:
			times.append((began, time))
			began = None
	return times + ([(began, float("inf"))] if began is not None else [])


def start_on(flota, host, names, **options):
	"""Starts units on the host, which later may be anywhere."""
	others = [other for other in flota.fleet.hosts.values() if other is not host]
	flota.flotactl("cordon", *ids(others))
	files = [flota.write(name, service(**options)) for name in names]
	flota.flotactl("start", *files)
	flota.flotactl("uncordon", *ids(others))
	for name in names:
		settle(host, name)


def no_doubles(flota, names):
	"""Each was active on one host at a time."""
	for name in names:
		all_spans = sorted(span for host in flota.fleet.hosts.values() for span in spans(host, name))
		assert len(all_spans) >= 2, (name, all_spans)
		for before, after in zip(all_spans, all_spans[1:]):
			assert before[1] <= after[0], f"{name} was active twice: {all_spans}"


def test_nothing_comes_to_a_cordoned_machine(open_fleet, n1, n2, n3):
	flota = open_fleet
	said = flota.flotactl("cordon", n1.machine_id[:8], "--reason=disk change").stdout
	assert said == f"Machine {where_text(n1)} cordoned\n"
	listed = flota.flotactl("list-machines").stdout
	assert "SCHEDULING" in listed and "cordoned by root: disk change" in listed
	assert flota.machine(n1)["scheduling"] == "cordoned"
	names = [f"new{i}.service" for i in range(6)]
	flota.flotactl("start", *[flota.write(name, service()) for name in names])
	assert all(flota.where(name) in (["n2"], ["n3"]) for name in names)
	done = flota.flotactl("start", flota.write("bound.service", service(fleet=on("n1"))), check=False)
	assert done.returncode == UNSCHEDULABLE
	assert "cordoned by root: disk change" in done.stderr
	assert "cordoned by root: disk change" in flota.flotactl("why", "bound").stdout
	assert flota.flotactl("uncordon", n1.machine_id).stdout == f"Machine {where_text(n1)} open again\n"
	settle(n1, "bound.service")
	assert "SCHEDULING" not in flota.flotactl("list-machines").stdout


def test_a_drained_host_is_empty_and_no_unit_ran_twice(open_fleet, n1, n2, n3):
	flota = open_fleet
	start_on(flota, n1, UNITS, start=SLOW)
	flota.start("everywhere.service", service(fleet="Global=true"))
	done = flota.flotactl("drain", n1.machine_id, "--parallel=3", "--reason=kernel")
	for name in UNITS:
		assert f"Unit {name} moved to " in done.stdout
	assert done.stdout.endswith(f"Machine {where_text(n1)} drained\n")
	# systemd on the host has none of them, nor their files.
	for name in [*UNITS, "everywhere.service"]:
		assert n1.show(name, "LoadState")["LoadState"] == "not-found", name
	for name in UNITS:
		assert flota.where(name) in (["n2"], ["n3"]), name
	assert flota.where("everywhere.service") == ["n2", "n3"]
	no_doubles(flota, UNITS)
	machine = flota.machine(n1)
	assert machine["scheduling"] == "drained" and machine["drain_units"] == 0
	assert machine["closed_reason"] == "kernel"
	# Put back: the global one starts, nothing else comes by itself.
	flota.flotactl("uncordon", n1.machine_id)
	settle(n1, "everywhere.service")
	assert all(flota.where(name) != ["n1"] for name in UNITS)


def test_what_fits_nowhere_stays_with_a_reason_until_the_deadline(open_fleet, n1):
	flota = open_fleet
	flota.start("ssd.service", service(fleet=on("n1")))
	flota.start("mine.service", service(fleet=f"MachineID={n1.machine_id}"))
	flota.start("free.service", service(fleet=on("n1", "n2")))
	process = n1.show("ssd.service", "MainPID")
	flota.flotactl("drain", n1.machine_id, "--no-wait")
	wait_until(lambda: flota.where("free.service") == ["n2"], "free.service to have left")
	unit = [u for u in flota.json("list-units") if u["unit"] == "ssd.service"][0]
	wait_until(lambda: "none of 3 machines can take it" in flota.flotactl("why", "ssd").stdout,
		"the reason")
	assert n1.show("ssd.service", "MainPID") == process and unit["placements"]
	assert flota.machine(n1)["scheduling"] == "draining"
	done = flota.flotactl("drain", n1.machine_id, "--deadline=3s", check=False)
	assert done.returncode == UNSCHEDULABLE, (done.stdout, done.stderr)
	assert "Unit ssd.service waits: none of 3 machines can take it" in done.stderr
	assert f"Machine {where_text(n1)} drained\n" in done.stdout
	assert flota.where("ssd.service") == flota.where("mine.service") == []
	assert "MachineID=" in flota.flotactl("why", "mine").stdout
	flota.flotactl("uncordon", n1.machine_id)
	settle(n1, "ssd.service")
	settle(n1, "mine.service")


def test_a_drain_goes_on_through_restarts_of_the_coordinator(open_fleet, n1):
	flota = open_fleet
	start_on(flota, n1, UNITS, start=SLOW)
	watcher = flota.flotactl_popen("drain", n1.machine_id, "--parallel=1")
	for count in 2, 5:
		wait_until(lambda n=count: sum(flota.where(name) == ["n1"] for name in UNITS) <= 10 - n,
			f"{count} units to have left")
		flota.stop(9)
		flota.boot()
	assert watcher.wait() == 0
	assert flota.machine(n1)["scheduling"] == "drained"
	for name in UNITS:
		assert flota.where(name) in (["n2"], ["n3"]), name
	no_doubles(flota, UNITS)


def test_rebalance_after_a_host_came_back(open_fleet, n1, n2, n3):
	flota = open_fleet
	files = [flota.write(name, service()) for name in UNITS[:9]]
	flota.flotactl("start", *files)
	flota.flotactl("drain", n3.machine_id)
	flota.flotactl("uncordon", n3.machine_id)
	assert not any(flota.where(name) == ["n3"] for name in UNITS[:9])
	plan = flota.flotactl("rebalance", "--dry-run", check=False)
	assert plan.returncode == 2 and plan.stdout.startswith("UNIT")
	assert len(plan.stdout.splitlines()) == 1 + 3
	assert flota.refused("rebalance", code=1)  # nobody there to ask
	said = flota.flotactl("rebalance", "--yes").stdout
	assert said.count(f"moved to {where_text(n3)}") == 3
	places = [flota.runs_on(name) for name in UNITS[:9]]
	assert [places.count(host) for host in (n1, n2, n3)] == [3, 3, 3]
	assert flota.flotactl("rebalance").stdout.startswith("Nothing to move")


def test_a_host_that_dies_in_the_middle_of_its_drain(open_fleet, n1):
	flota = open_fleet
	start_on(flota, n1, UNITS[:4], start=SLOW.replace("0.3", "2"))
	flota.start("mine.service", service(fleet=f"MachineID={n1.machine_id}"))
	flota.flotactl("drain", n1.machine_id, "--parallel=1", "--no-wait")
	n1.kill()
	for name in UNITS[:4]:
		wait_until(lambda n=name: flota.where(n) in (["n2"], ["n3"]), f"{name} to be elsewhere")
	assert "is lost" in flota.refused("drain", n1.machine_id, code=5)
	n1.boot()
	flota.ready()
	assert flota.flotactl("drain", n1.machine_id).stdout.endswith("drained\n")
	assert flota.where("mine.service") == []
	flota.flotactl("uncordon", n1.machine_id)
	settle(n1, "mine.service")
