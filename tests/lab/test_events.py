"""Who follows what happens hears of all of it, through the coordinator's end and a host's.

Leases are 5 s. Three hosts: one that is lost is a lost host.
"""

import json
import os
import signal
import subprocess
import threading

from flota import service, settle
from lab import wait_until

OPTIONS = ["Lease=5s"]


class Follower(threading.Thread):
	"""`flotactl events -f`, and the lines that it has printed so far."""

	def __init__(self, flota, *argv):
		super().__init__()
		self.process = flota.flotactl_popen("events", "--follow", "--output=json", *argv,
			stdout=subprocess.PIPE, stderr=subprocess.PIPE)
		self.events = []
		self.start()

	def run(self):
		for line in self.process.stdout:
			self.events.append(json.loads(line))

	def wait_for(self, kind, unit="", machine=""):
		"""The first event of this kind, about this unit and machine, that has come or comes."""
		def find():
			return [event for event in self.events if event.get("kind") == kind
				and event["unit"] == unit and event["machine"].startswith(machine)]
		return wait_until(find, f"{kind} {unit}")[0]

	def end(self, sig=signal.SIGINT):
		"""All that it printed."""
		self.process.send_signal(sig)
		self.join()
		self.process.wait()
		self.process.stdout.close()
		self.process.stderr.close()
		return self.events


def kinds(events, unit):
	return [event["kind"] for event in events if event.get("unit") == unit]


LIFE = ["unit.submitted", "unit.desired", "unit.placed", "unit.active"]


def newest(flota):
	"""The index of the last event."""
	return json.loads(flota.flotactl("events", "--lines=1", "--output=json").stdout)["index"]


def test_follow_through_a_kill_of_the_coordinator(healthy):
	follower = Follower(healthy, f"--since={newest(healthy)}")
	healthy.start("a.service", service())
	placed = follower.wait_for("unit.placed", "a.service")
	assert placed["machine"] == healthy.runs_on("a.service").machine_id
	follower.wait_for("unit.active", "a.service")
	healthy.stop(signal.SIGKILL)
	healthy.boot()
	healthy.ready()
	healthy.start("b.service", service())
	follower.wait_for("unit.active", "b.service")
	healthy.flotactl("destroy", "a.service")
	follower.wait_for("unit.destroyed", "a.service")
	events = follower.end()
	assert kinds(events, "a.service") == [*LIFE, "unit.destroyed"]
	assert kinds(events, "b.service") == LIFE
	# What it may have missed is told where it is missing; what did not change is no news.
	assert [event.get("kind", "lost") for event in events] == \
		[*LIFE, "lost", "coordinator.started", *LIFE, "unit.destroyed"]
	indexes = [event["index"] for event in events if "index" in event]
	assert indexes == sorted(set(indexes))


def test_a_hosts_death_is_told(healthy):
	n1 = healthy.fleet.hosts["n1"]
	rules = 'MachineMetadata="host=n1" "host=n2"'
	healthy.start("filler.service", service(fleet="MachineMetadata=host=n2"))
	healthy.start("mobile.service", service(fleet=rules))
	assert healthy.runs_on("mobile.service") is n1
	follower = Follower(healthy, f"--since={newest(healthy)}")
	n1.kill()
	n2 = healthy.fleet.hosts["n2"].machine_id
	follower.wait_for("unit.active", "mobile.service", n2)
	n1.boot()
	settle(n1, "flota-agent.service")
	follower.wait_for("machine.up", machine=n1.machine_id)
	events = follower.end()
	told = [(event["kind"], event["machine"]) for event in events]
	wanted = [("machine.lost", n1.machine_id), ("unit.displaced", n1.machine_id), ("unit.placed", n2),
		("unit.active", n2)]
	assert told[:4] == wanted
	assert ("machine.rebooted", n1.machine_id) in told


def test_a_failure_is_told_with_its_machine(healthy):
	index = newest(healthy)
	healthy.refused("start", healthy.write("bad.service", service("Type=oneshot", start="exit 3")))
	out = healthy.flotactl("events", f"--since={index}", "bad").stdout.splitlines()
	assert [line.split()[4] for line in out][:3] == LIFE[:3]
	assert "unit.failed bad.service on " in out[-1]
	assert out[-1].endswith(": failed: its process ended with exit status 3")


def test_resumed_by_its_index_it_misses_nothing(healthy):
	"""A follower that is killed again and again sees what one sees that is not."""
	before = newest(healthy)
	whole = Follower(healthy, f"--since={before}")
	pieces = []
	for round in range(5):
		since = pieces[-1]["index"] if pieces else before
		piece = Follower(healthy, f"--since={since}")
		names = [f"r{round}-{i}.service" for i in range(5)]
		healthy.flotactl("start", *[healthy.write(name, service()) for name in names])
		piece.wait_for("unit.active", names[2])
		pieces += piece.end(signal.SIGKILL)
	pieces += [json.loads(line) for line in healthy.flotactl("events", "--output=json",
		f"--since={pieces[-1]['index']}").stdout.splitlines()]
	for round in range(5):
		for i in range(5):
			whole.wait_for("unit.active", f"r{round}-{i}.service")
	whole = whole.end()
	assert pieces == whole
	assert len(whole) == 5 * 5 * len(LIFE)


def test_one_that_does_not_read_is_in_nobodys_way(healthy):
	"""And misses nothing of what the coordinator still knows."""
	sleeper = healthy.flotactl_popen("events", "-f", "--output=json", f"--since={newest(healthy)}",
		stdout=subprocess.PIPE)
	sleeper.send_signal(signal.SIGSTOP)
	paths = [healthy.write(f"s{i:03}.service", service(start="exit 0")) for i in range(100)]
	for _ in range(3):
		healthy.flotactl("submit", *paths)
		healthy.flotactl("destroy", *[path.name for path in paths])
	sleeper.send_signal(signal.SIGCONT)
	os.kill(sleeper.pid, signal.SIGCONT)  # nsenter stopped with it
	lines = [json.loads(sleeper.stdout.readline()) for _ in range(600)]
	sleeper.send_signal(signal.SIGINT)
	assert sleeper.wait() == 130
	assert sleeper.stdout.read() == ""
	sleeper.stdout.close()
	assert [line["kind"] for line in lines] == \
		3 * (["unit.submitted"] * 100 + ["unit.destroyed"] * 100)
