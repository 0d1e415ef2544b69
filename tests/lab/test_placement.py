"""Where units run: fleet's rules, checked against which host's systemd has a unit active.

The fleet: n1 norte ssd, n2 norte hdd, n3 sur ssd; n4 and n5 join in the tests at the end.
"""

import time

from flota import UNSCHEDULABLE, service, settle, where_text
from lab import wait_until

HOSTS = {
	"n1": "name=n1 region=norte disk=ssd",
	"n2": "name=n2 region=norte disk=hdd",
	"n3": "name=n3 region=sur disk=ssd",
}
SPREAD = service(fleet="Conflicts=%p@*.service")


def on(host):
	return f"MachineMetadata=name={host}"


def test_least_loaded_host_is_next(clean):
	names = [f"u{i}.service" for i in range(6)]
	clean.flotactl("start", *[clean.write(name, service()) for name in names])
	hosts = sorted(clean.runs_on(name).name for name in names)
	assert hosts == ["n1", "n1", "n2", "n2", "n3", "n3"]


def test_machine_metadata(clean):
	clean.start("both.service", service(fleet='MachineMetadata="region=norte" "disk=ssd"'))
	assert clean.where("both.service") == ["n1"]
	for i in range(4):
		clean.start(f"either{i}.service",
			service(fleet="MachineMetadata=name=n1\nMachineMetadata=name=n2"))
	hosts = [clean.runs_on(f"either{i}.service").name for i in range(4)]
	assert set(hosts) == {"n1", "n2"}


def test_machine_id(clean):
	n2 = clean.fleet.hosts["n2"]
	clean.start("full.service", service(fleet=f"MachineID={n2.machine_id}"))
	clean.start("short.service", service(fleet=f"MachineID={n2.machine_id[:8]}"))
	assert clean.where("full.service") == clean.where("short.service") == ["n2"]


def test_instances_of_a_template_repel_each_other(clean):
	path = clean.write("web@.service", SPREAD)
	clean.flotactl("start", *[path.with_name(f"web@{i}.service") for i in (1, 2, 3)])
	hosts = {clean.runs_on(f"web@{i}.service").name for i in (1, 2, 3)}
	assert hosts == {"n1", "n2", "n3"}
	assert "web@1.service" in clean.runs_on("web@1.service").systemctl("list-units").stdout


def test_instances_of_a_template_in_the_registry(clean):
	clean.flotactl("submit", clean.write("stored@.service", service("Environment=WHO=%i")))
	clean.fleet.outside(clean.fleet.dir / "units/stored@.service").unlink()
	clean.flotactl("start", "stored@ana")
	host = clean.runs_on("stored@ana.service")
	assert host.show("stored@ana.service", "Environment")["Environment"] == "WHO=ana"
	assert "is a template" in clean.refused("start", "stored@.service")


def test_conflicts_work_both_ways(clean):
	clean.start("quiet.service", service(fleet=on("n1")))
	clean.start("loud.service", service(fleet="Conflicts=quiet.service\nMachineMetadata=region=norte"))
	assert clean.where("loud.service") == ["n2"]
	# Now the one that is there names the newcomer.
	error = clean.refused("start", clean.write("quiet2.service",
		service(fleet=on("n1") + "\nConflicts=qui*.service")), code=UNSCHEDULABLE)
	assert "quiet.service" in error
	clean.flotactl("destroy", "quiet.service")
	settle(clean.fleet.hosts["n1"], "quiet2.service")


def test_unschedulable_is_answered_at_once_with_each_machines_reason(clean):
	began = time.monotonic()
	error = clean.refused("start", clean.write("nowhere.service", service(
		fleet='MachineMetadata="region=sur" "disk=hdd"')), code=UNSCHEDULABLE)
	assert time.monotonic() - began < 5  # it did not wait for anything
	reasons = {"n1": "disk=hdd wanted, the machine has disk=ssd",
		"n2": "region=sur wanted, the machine has region=norte",
		"n3": "disk=hdd wanted, the machine has disk=ssd"}
	for name, reason in reasons.items():
		[line] = [l for l in error.splitlines() if clean.fleet.hosts[name].address in l]
		assert line.endswith("\tmetadata " + reason)
	assert clean.where("nowhere.service") == []
	why = clean.flotactl("why", "nowhere").stdout
	assert "disk=hdd wanted, the machine has disk=ssd" in why
	assert [unit["desired"] for unit in clean.json("list-unit-files")] == ["launched"]


def test_why_of_a_unit_that_runs(clean):
	clean.start("a.service", service(fleet=on("n3")))
	why = clean.flotactl("why", "a").stdout
	n3 = clean.fleet.hosts["n3"]
	assert f"it is on machine {n3.machine_id[:8]} ({n3.address})" in why
	assert "name=n3 wanted, the machine has name=n1" in why


def test_sidekick_is_with_its_leader_and_moves_with_it(clean):
	clean.start("leader.service", service(fleet=on("n1")))
	clean.start("sidekick.service", service(fleet="MachineOf=leader.service"))
	assert clean.where("sidekick.service") == clean.where("leader.service") == ["n1"]
	clean.start("leader.service", service(fleet=on("n3")), "--replace")
	assert clean.where("leader.service") == ["n3"]
	wait_until(lambda: clean.where("sidekick.service") == ["n3"], "the sidekick to follow")


def test_sidekick_waits_for_its_leader(clean):
	error = clean.refused("start", clean.write("early.service",
		service(fleet="MachineOf=late.service")), code=UNSCHEDULABLE)
	assert "late.service" in error and "does not exist" in error
	clean.start("late.service", service(fleet=on("n2")))
	wait_until(lambda: clean.where("early.service") == ["n2"], "the sidekick to start")
	# Without its leader it has no place.
	clean.flotactl("unload", "late.service")
	wait_until(lambda: clean.where("early.service") == [], "the sidekick to go")


def test_newcomer_replaces(clean):
	clean.start("old.service", service(fleet="MachineMetadata=disk=ssd"))
	host = clean.runs_on("old.service")
	clean.start("new.service", service(fleet=f"Replaces=old.service\n{on(host.name)}"))
	assert clean.where("new.service") == [host.name]
	wait_until(lambda: clean.runs_on("old.service") != host, "the old unit to move")


def test_unit_moves_when_its_file_says_so(clean):
	clean.start("mover.service", service(fleet=on("n1")))
	clean.start("mover.service", service(fleet=on("n2")), "--replace")
	wait_until(lambda: clean.where("mover.service") == ["n2"], "the move")


def test_global_is_everywhere_and_global_with_metadata_where_it_matches(clean):
	clean.start("all.service", service(fleet="Global=true"))
	clean.start("north.service", service(fleet="Global=true\nMachineMetadata=region=norte"))
	assert clean.where("all.service") == ["n1", "n2", "n3"]
	assert clean.where("north.service") == ["n1", "n2"]
	status = clean.flotactl("status", "all").stdout
	assert status.count("Active: active (running)") == 3
	one = clean.flotactl("journal", "all", check=False)
	assert one.returncode == 1 and "--machine" in one.stderr
	n2 = clean.fleet.hosts["n2"]
	assert clean.flotactl("status", f"--machine={n2.machine_id[:8]}", "all").stdout.count("Active:") == 1
	clean.flotactl("stop", "all")
	assert clean.where("all.service") == []


def test_unit_starts_by_itself_when_its_rival_leaves(clean):
	path = clean.write("rival@.service", SPREAD)
	clean.flotactl("start", *[path.with_name(f"rival@{i}.service") for i in (1, 2, 3)])
	error = clean.refused("start", path.with_name("rival@4.service"), code=UNSCHEDULABLE)
	assert "conflicts with unit rival@1.service, which is there" in error
	host = clean.runs_on("rival@2.service")
	clean.flotactl("destroy", "rival@2.service")
	wait_until(lambda: clean.where("rival@4.service") == [host.name], "the waiting instance")


# --- resources, and where it is best ---------------------------------------------------------------
def test_memory_and_cpus_are_counted(clean):
	clean.start("small.service", service("MemoryMax=64M", "CPUQuota=10%", fleet=on("n1")))
	claimed = clean.machine(clean.fleet.hosts["n1"])["claimed"]
	assert claimed == {"memory_bytes": 64 << 20, "cpu_milli": 100}
	error = clean.refused("start", clean.write("big.service", service("MemoryMax=900T")),
		code=UNSCHEDULABLE)
	for host in clean.fleet.hosts.values():
		[line] = [l for l in error.splitlines() if host.address in l]
		assert "needs 900T memory, " in line
	clean.flotactl("destroy", "small.service", "big.service")
	wait_until(lambda: clean.machine(clean.fleet.hosts["n1"])["claimed"]["memory_bytes"] == 0,
		"the claim to end")


def test_spread_goes_where_the_fewest_are(clean):
	text = service() + "[X-Flota]\nSpread=region\n"
	clean.flotactl("submit", clean.write("web@.service", text))
	clean.flotactl("start", *(f"web@{i}" for i in range(1, 5)))
	on_n3 = sum(clean.where(f"web@{i}.service") == ["n3"] for i in range(1, 5))
	assert on_n3 == 2  # sur is one machine, norte two


# --- machines that join ---------------------------------------------------------------------------
def test_unschedulable_unit_starts_by_itself_when_a_fitting_machine_joins(clean):
	clean.refused("start", clean.write("wants.service", service(fleet=on("n4"))), code=UNSCHEDULABLE)
	n4 = clean.host("n4", metadata="name=n4 region=sur")
	settle(n4, "wants.service")
	assert where_text(n4) in clean.flotactl("list-units").stdout


def test_global_comes_to_a_machine_that_joins_later(clean):
	clean.start("all.service", service(fleet="Global=true"))
	settle(clean.host("n5"), "all.service")
