"""Replicas of a template, and changed files that roll: from place to place, and back when one fails.

Witness: systemd on the hosts. When a unit was stopped and started again it says by CLOCK_MONOTONIC,
which is one for all hosts.
"""

import signal
import time

from flota import service, settle, where_text
from lab import wait_until

N = 5
REPLICAS = [f"web@{i}.service" for i in range(1, N + 1)]
BAD = "[Service]\nExecStart=/bin/false\n"


def web(version, n=N, more=""):
	"""Its file; a replica of this version sleeps for so many days."""
	return service(start=f"exec sleep {version}d") + rules(f"Replicas={n}\nSpread=machine\n{more}")


def rules(more=""):
	return f"\n[X-Flota]\nMinHealthySec=1s\n{more}\n"


def versions(flota, units):
	"""What runs, as systemd on the hosts says."""
	return {unit: flota.runs_on(unit).show(unit, "ExecStart")["ExecStart"].split("sleep ")[1].split("d")[0]
		for unit in units}


def downs(host, unit, since):
	"""When the unit was down on the host between two times that it ran: pairs of times, which begin
	after this one."""
	times, ended = [], None
	for line in host.journal("--output=short-monotonic", "_PID=1", f"UNIT={unit}").splitlines():
		if not line.startswith("["):
			continue
		time = float(line[1:line.index("]")])
		if f"Stopping {unit}" in line or f"{unit}: Failed" in line:
			ended = ended or time
		elif f"Started {unit}" in line and ended is not None:
			times.append((ended, time))
			ended = None
	return [(begin, end) for begin, end in times if begin >= since]


def assert_one_at_a_time(places, since):
	"""Of these (host, unit) no two were down at the same time."""
	spans = sorted(span for host, unit in places for span in downs(host, unit, since))
	assert spans
	for (_, end), (begin, _) in zip(spans, spans[1:]):
		assert end <= begin, spans
	return spans


def places(flota):
	return [(flota.runs_on(unit), unit) for unit in REPLICAS]


def settle_everywhere(flota):
	for unit in REPLICAS:
		wait_until(lambda u=unit: flota.where(u), f"{unit} to be active")


def test_a_template_stands_for_its_replicas(clean):
	said = clean.start("web@.service", web(1)).stdout
	hosts = [clean.runs_on(unit) for unit in REPLICAS]
	assert {hosts.count(host) for host in clean.fleet.hosts.values()} == {1, 2}
	assert set(said.splitlines()) == {"Unit web@.service launched"} | {
		f"Unit {unit} launched on {where_text(host)}" for unit, host in zip(REPLICAS, hosts)}
	listed = {unit["unit"]: unit for unit in clean.json("list-unit-files")}
	assert listed["web@.service"]["desired"] == "launched"
	assert listed["web@2.service"]["replica_of"] == "web@.service"
	status = clean.flotactl("status", "web@.service").stdout
	assert status.count("Active: active (running)") == N
	# Another number concerns those alone that come or go.
	before = hosts[0].show(REPLICAS[0], "MainPID")
	clean.start("web@.service", web(1, n=2), "--replace")
	wait_until(lambda: not any(map(clean.where, REPLICAS[2:])), "three replicas to go")
	assert clean.runs_on(REPLICAS[0]).show(REPLICAS[0], "MainPID") == before
	clean.flotactl("stop", "web@.service")
	assert not any(map(clean.where, REPLICAS))
	clean.flotactl("destroy", "web@.service")
	assert clean.json("list-unit-files") == []


def test_a_good_file_goes_from_one_to_the_next(clean):
	clean.start("web@.service", web(1))
	since = time.monotonic()
	said = clean.start("web@.service", web(2), "--replace").stdout
	assert set(versions(clean, REPLICAS).values()) == {"2"}
	assert said.splitlines() == [f"{unit}: healthy ({i} of {N})" for i, unit in
		enumerate(REPLICAS, 1)] + ["Unit web@.service launched"]
	spans = assert_one_at_a_time(places(clean), since)
	assert len(spans) == N
	# Each was healthy for MinHealthySec= before the next, but for what it takes to write that down.
	assert all(begin - end > 0.9 for (_, end), (begin, _) in zip(spans, spans[1:]))


def test_a_bad_file_comes_back(clean):
	clean.start("web@.service", web(1))
	path = clean.write("web@.service", BAD + rules(f"Replicas={N}"))
	since = time.monotonic()
	words = clean.refused("start", "--replace", path)
	assert "web@.service" in words and "returned to the last good file" in words
	assert "web@1.service on machine" in words and "exit status 1" in words
	settle_everywhere(clean)
	assert set(versions(clean, REPLICAS).values()) == {"1"}
	assert clean.flotactl("cat", "web@.service").stdout == web(1)
	assert clean.flotactl("cat", "web@1.service").stdout == web(1)
	assert "returned to its last good file" in clean.flotactl("why", "web@.service").stdout
	assert clean.json("list-unit-files")[0]["rollout"]["state"] == "returned"
	# One was down, and no other.
	assert [unit for host, unit in places(clean) if downs(host, unit, since)] == REPLICAS[:1]
	# Another start is another matter.
	clean.flotactl("start", "web@.service")


def test_a_single_unit_comes_back(clean):
	clean.start("a.service", service(start="exec sleep 1d") + rules())
	path = clean.write("a.service", BAD + rules())
	assert "returned to the last good file" in clean.refused("start", "--replace", path)
	settle(clean.runs_on("a.service"), "a.service")
	assert versions(clean, ["a.service"]) == {"a.service": "1"}


def test_a_global_unit_rolls_by_machine(clean):
	hosts = list(clean.fleet.hosts.values())
	clean.start("g.service", service(start="exec sleep 1d", fleet="Global=true") + rules())
	for host in hosts:
		settle(host, "g.service")
	since = time.monotonic()
	said = clean.start("g.service", service(start="exec sleep 2d", fleet="Global=true") + rules(),
		"--replace").stdout
	assert "healthy" in said and f"Unit g.service launched on {len(hosts)} machines" in said
	assert_one_at_a_time([(host, "g.service") for host in hosts], since)
	path = clean.write("g.service", BAD + "[X-Fleet]\nGlobal=true\n" + rules())
	assert "returned to the last good file" in clean.refused("start", "--replace", path)
	for host in hosts:
		settle(host, "g.service")
		assert "sleep 2d" in host.show("g.service", "ExecStart")["ExecStart"]


def test_a_killed_coordinator_goes_on(clean):
	clean.start("web@.service", web(1))
	since = time.monotonic()
	clean.start("web@.service", web(2, more="MinHealthySec=2s"), "--replace", "--no-block")
	for i in range(2):
		wait_until(lambda n=i: any(downs(host, unit, since) for host, unit in places_now(clean, n)),
			"the next one to be restarted")
		clean.stop(signal.SIGKILL)
		clean.boot()
	clean.flotactl("wait", "web@.service")
	assert set(versions(clean, REPLICAS).values()) == {"2"}
	assert len(assert_one_at_a_time(places(clean), since)) == N


def places_now(flota, n):
	"""The replica n, wherever it runs at the moment."""
	unit = REPLICAS[n]
	return [(flota.fleet.hosts[name], unit) for name in flota.where(unit)]
