"""Storms: kills without end under a stream of changes, and masses of units.

Several people change units all the while, each unit in one person's hands. A journal has what every
flotactl was told; afterwards the store, and systemd on the hosts, have to agree with it. Each unit
holds a lock on a file that all hosts share: a second one of it, anywhere, leaves a note there.

The numbers that decide are drawn from a seed, which is printed; FLOTA_STORM_SEED=N has them again.
"""

import os
import random
import statistics
import threading
import time

import pytest

from flota import TIMEOUT, UNAVAILABLE, UNSCHEDULABLE, Flota, service
from lab import Fleet, wait_until

WITNESS = "/var/lib/witness"
PEOPLE = 4
COORDINATOR_KILLS, AGENT_KILLS = 200, 100
MASS = 500
KINDS = "submit", "start", "start", "stop", "replace", "replace", "destroy"


def storm_service(name, version):
	return service("Type=exec", "TimeoutStopSec=20s", unit=f"# version {version}",
		start=f"exec 9> {WITNESS}/{name}; flock -n 9 || echo {name} on %H >> {WITNESS}/doubles; "
		"exec sleep infinity")


class Unit:
	"""`said`: what it is by the last acknowledged change, (desired state, version), None = destroyed;
	`asked`: what it will be when the change that is under way is done."""

	def __init__(self, name):
		self.name = name
		self.said = self.asked = None
		self.changes = 0
		self.version = 0
		self.busy = False

	def choose(self, dice):
		"""A verb with its arguments, and what it makes of the unit."""
		kind = dice.choice([kind for kind in KINDS if self._allows(kind)])
		desired, version = self.said or (None, 0)
		if kind == "stop":
			return ["stop"], ("loaded", version)
		if kind == "destroy":
			return ["destroy"], None
		if kind == "start" and version > 0:
			return ["start"], ("launched", version)
		self.version += 1
		if kind == "submit":
			return ["submit"], ("inactive", self.version)
		return (["start", "--replace"] if kind == "replace" else ["start"]), ("launched", self.version)

	def _allows(self, kind):
		if self.said is None:
			return kind in ("submit", "start")
		if kind == "stop":
			return self.said[0] != "inactive"
		return kind != "submit"


class Person(threading.Thread):
	"""Changes some units, one after another, until told to end. What is refused for the coordinator's
	sake is asked for again, as people do; a name that was destroyed is not used again."""

	def __init__(self, flota, number, seed):
		super().__init__()
		self.flota = flota
		self.number = number
		self.dice = random.Random(f"{seed} person {number}")
		self.units = []
		self.ending = threading.Event()
		self.acknowledged = self.repeated = 0
		self.error = None
		self.start()

	def run(self):
		try:
			while not self.ending.is_set():
				self._change(self._pick())
		except Exception as error:  # the test's own thread fails with it
			self.error = error

	def _pick(self):
		alive = [unit for unit in self.units if unit.said is not None]
		if len(alive) < 6 or self.dice.random() < 0.02:
			self.units.append(Unit(f"storm-{self.number}-{len(self.units)}.service"))
			return self.units[-1]
		return self.dice.choice(alive)

	def _change(self, unit):
		verb, becomes = unit.choose(self.dice)
		if becomes is not None and becomes != unit.said:
			argument = self.flota.write(unit.name, storm_service(unit.name, becomes[1]))
		else:
			argument = unit.name
		if verb != ["submit"] and self.dice.random() < 0.9:
			verb = [*verb, "--no-block"]
		unit.busy, unit.asked = True, becomes
		while True:
			done = self.flota.flotactl(*verb, argument, check=False, timeout=120)
			gone = becomes is None and "not found" in done.stderr.lower()
			# Right after a start the coordinator knows of no machine that is there: it is stored.
			if done.returncode in (0, UNSCHEDULABLE) or (gone and self.repeated > 0):
				break
			assert done.returncode in (UNAVAILABLE, TIMEOUT), (verb, unit.name, done)
			self.repeated += 1
			if self.ending.is_set():
				return  # it stays busy: either may be so
		unit.said = becomes
		unit.changes += 1
		unit.busy = False
		self.acknowledged += 1


class Storm:
	"""A fleet, people who change it, and what they were told."""

	def __init__(self, flota, record_property):
		self.flota = flota
		self.seed = os.environ.get("FLOTA_STORM_SEED") or str(random.randrange(1 << 32))
		print(f"FLOTA_STORM_SEED={self.seed}")
		self.record = record_property
		self.dice = random.Random(self.seed)
		self.people = [Person(flota, number, self.seed) for number in range(PEOPLE)]

	def units(self):
		return [unit for person in self.people for unit in list(person.units)]

	def quiet(self):
		"""Units that nobody is changing: [(unit, how often it was changed, what it is)]."""
		return [(u, u.changes, u.said) for u in self.units() if not u.busy]

	def check_store(self):
		"""What was acknowledged before is there now, but for what is being changed meanwhile."""
		before = self.quiet()
		stored = {unit["unit"]: unit for unit in self.flota.json("list-unit-files")}
		for unit, changes, said in before:
			is_now = stored.get(unit.name, {}).get("desired")
			if is_now != (said and said[0]):
				assert unit.busy or unit.changes != changes, (unit.name, said, is_now)

	def end(self):
		for person in self.people:
			person.ending.set()
		for person in self.people:
			person.join()
			if person.error:
				raise person.error
		acknowledged = sum(person.acknowledged for person in self.people)
		assert acknowledged > 100
		self.record("storm", f"seed {self.seed}: {acknowledged} changes acknowledged, "
			f"{sum(person.repeated for person in self.people)} times asked again")

	def check_all(self):
		"""After the end: the store's files, byte for byte, and every host."""
		wait_until(self._hosts_agree, "the hosts to be as was acknowledged", timeout=120)
		for unit in self.units():
			if unit.said is None or unit.busy:
				continue
			text = self.flota.flotactl("cat", unit.name).stdout
			assert text == storm_service(unit.name, unit.said[1]), unit.name
		doubles = self.flota.fleet.outside(self.flota.fleet.dir / "witness/doubles")
		assert not doubles.exists(), doubles.read_text()

	def _hosts_agree(self):
		states = {}
		for host in self.flota.fleet.hosts.values():
			out = host.systemctl("list-units", "--all", "--plain", "--no-legend", "storm-*").stdout
			for line in out.splitlines():
				name, _, active, *_ = line.split()
				states.setdefault(name, []).append(active)
		for unit in self.units():
			if unit.busy:
				continue
			desired = unit.said[0] if unit.said else None
			running = [state for state in states.get(unit.name, []) if state != "inactive"]
			assert running == (["active"] if desired == "launched" else []), (unit.name, desired, running)
		return True


@pytest.fixture(scope="module")
def flota():
	"""Leases are long: nothing is to move, however slow this machine is."""
	with Fleet() as fleet:
		flota = Flota(fleet, options=["Lease=10min"])
		witness = fleet.dir / "witness"
		fleet.outside(witness).mkdir()
		for name in "n1", "n2", "n3":
			host = flota.new_host(name, metadata=f"host={name}")
			(host.disk / WITNESS.lstrip("/")).mkdir(parents=True)
			fleet.run("mount", "--bind", witness, fleet.dir / name / "root" / WITNESS.lstrip("/"))
			# An agent that was killed is back at once, to be killed again.
			host.install({"/etc/systemd/system/flota-agent.service.d/storm.conf":
				"[Service]\nRestartSec=20ms\n"})
			host.boot()
		flota.ready()
		yield flota


@pytest.fixture
def storm(clean, record_property):
	storm = Storm(clean, record_property)
	yield storm
	for person in storm.people:
		person.ending.set()
	if clean.coordinator.poll() is not None:
		clean.boot()
	for person in storm.people:
		person.join()


def life(host, units):
	"""What changes whenever systemd does anything to one of these units."""
	return host.systemctl("show",
		"--property=Id,MainPID,ActiveEnterTimestampMonotonic,StateChangeTimestampMonotonic,NRestarts",
		*units).stdout


def start_steady(flota):
	"""Units that nobody touches, on each host: their lives so far."""
	steady = {}
	for name, host in flota.fleet.hosts.items():
		units = [f"steady-{name}-{i}.service" for i in range(4)]
		flota.flotactl("start", *[flota.write(unit, service(fleet=f"MachineMetadata=host={name}"))
			for unit in units])
		steady[host] = units, life(host, units)
	return steady


def test_kills_of_the_coordinator_lose_nothing_that_was_acknowledged(flota, storm, record_property):
	steady = start_steady(flota)
	back = []
	for _ in range(COORDINATOR_KILLS):
		time.sleep(storm.dice.uniform(0, 0.15))  # the moment of the kill
		flota.stop(9)
		begun = time.monotonic()
		flota.boot()
		back.append(time.monotonic() - begun)
		storm.check_store()
	storm.end()
	storm.check_all()
	for host, (units, before) in steady.items():
		assert life(host, units) == before
	record_property("coordinator_kills", f"{len(back)} kills; it answered again after "
		f"{statistics.median(back):.3f} s (median), {max(back):.3f} s at worst")


def test_kills_of_agents_touch_no_unit_and_lose_nothing(flota, storm, record_property):
	steady = start_steady(flota)
	hosts = list(flota.fleet.hosts.values())
	kills = 0
	while kills < AGENT_KILLS:
		host = storm.dice.choice(hosts)
		time.sleep(storm.dice.uniform(0, 0.2))
		kills += host.systemctl("kill", "--signal=KILL", "--kill-who=main", "flota-agent.service",
			check=False).returncode == 0
	storm.end()
	storm.check_all()
	for host, (units, before) in steady.items():
		assert life(host, units) == before
	restarts = [int(host.show("flota-agent.service", "NRestarts")["NRestarts"]) for host in hosts]
	assert sum(restarts) > AGENT_KILLS / 2
	record_property("agent_kills", f"{kills} kills, {sum(restarts)} restarts by systemd")


def test_mass_of_units_starts_and_is_destroyed(clean):
	"""Better: "waits by polling; 3.0 s from start to active; 500 units end with an error". The 500."""
	names = [f"mass{i}.service" for i in range(MASS)]
	paths = [clean.write(name, service()) for name in names]
	hosts = clean.fleet.hosts.values()
	agents = [host.show("flota-agent.service", "MainPID") for host in hosts]

	def active():
		return sum(len(host.systemctl("list-units", "--state=active", "--plain", "--no-legend",
			"mass*").stdout.splitlines()) for host in hosts)
	# The second time the names come again while their ends are being told.
	for _ in range(2):
		clean.flotactl("start", *paths, timeout=300)
		assert active() == MASS
		clean.flotactl("destroy", *names)
		wait_until(lambda: active() == 0, "the last unit to stop")
	assert [host.show("flota-agent.service", "MainPID") for host in hosts] == agents
