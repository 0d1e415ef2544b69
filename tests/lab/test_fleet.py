"""CoreOS fleet's habits, on hosts: what is kept, and what is better on purpose.

Each test quotes the row of docs/FLEET-USERS.md that it shows, in its docstring, as `Kept: "…"` or
`Better: "…"`; the last test sees to it that no row goes without. Rows that a feature's own tests
show are quoted there: test_placement.py, test_failure.py, ….

The fleet: n1 norte ssd, n2 norte hdd, n3 sur ssd.
"""

import hashlib
import re
import subprocess
import time
from pathlib import Path

import pytest

from flota import (BIN, CHANGE, ENDPOINT, ROOT, UNAVAILABLE, UNSCHEDULABLE, envelope, field,
	service, settle, where_text)
from lab import HERE, wait_until

# Three that differ, for metadata.
HOSTS = {
	"n1": "name=n1 region=norte disk=ssd",
	"n2": "name=n2 region=norte disk=hdd",
	"n3": "name=n3 region=sur disk=ssd",
}
# Hosts have no sshd: what counts is how ssh(1) is called.
FAKE_SSH = """#!/bin/sh
echo "$@" >> "$0.called"
"""


@pytest.fixture(scope="module")
def flota(flota):
	programs = flota.fleet.outside(flota.fleet.dir / "bin")
	programs.mkdir()
	for name in "flotactl", "fleetctl":
		(programs / name).symlink_to(BIN / "flotactl")
	(programs / "ssh").write_text(FAKE_SSH)
	(programs / "ssh").chmod(0o755)
	return flota


def on(host):
	return f"MachineMetadata=name={host}"


def call(flota, program, *argv, **environment):
	"""Standard output, standard error, exit code."""
	directory = flota.fleet.dir / "bin"
	path = f"{directory}:{flota.environment()['PATH']}"
	return flota.said(directory / program, *argv, PATH=path, **environment)


def fleetctl(flota, *argv, **environment):
	return call(flota, "fleetctl", *argv, **environment)


def flotactl(flota, *argv, **environment):
	return call(flota, "flotactl", *argv, **environment)


def rows(said):
	"""The cells of a listing."""
	return [re.split(r"\t+", line) for line in said[0].splitlines()]


def active(host, unit):
	return host.show(unit, "ActiveState")["ActiveState"] == "active"


# --- the verbs, the flags, the listings -----------------------------------------------------------
@pytest.mark.parametrize("program", ["fleetctl", "flotactl"])
def test_verbs(clean, n1, program):
	"""Kept: "the verbs". Their words, streams and exit codes, by either name."""
	def say(*argv):
		return call(clean, program, *argv)
	where, text = where_text(n1), service(fleet=on("n1"))
	path = clean.write("a.service", text)
	assert say("submit", path) == ("Unit a.service inactive\n", "", 0)
	assert say("submit", path) == ("Unit a.service inactive\n", "", 0)
	assert say("cat", "a") == (text, "", 0)
	assert say("load", "a") == (f"Unit a.service loaded on {where}\n", "", 0)
	assert say("start", "a") == (f"Unit a.service launched on {where}\n", "", 0)
	assert active(n1, "a.service")
	out, err, code = say("status", "a.service")
	assert "Active: active (running)" in out and (err, code) == ("", 0)
	out, err, code = say("journal", "--lines=1", "a")
	assert len(out.splitlines()) == 1 and (err, code) == ("", 0)
	assert say("restart", "a") == (f"Unit a.service launched on {where}\n", "", 0)
	assert say("stop", "a") == (f"Unit a.service loaded on {where}\n",
		"Successfully stopped units [a.service].\n", 0)
	assert not active(n1, "a.service")
	assert say("status", "a")[2] == 3
	assert say("unload", "a") == ("Unit a.service inactive\n",
		"Successfully unloaded units [a.service].\n", 0)
	assert say("destroy", "a") == ("Destroyed a.service\n", "", 0)
	assert say("list-units") == ("UNIT\tMACHINE\tACTIVE\tSUB\n", "", 0)
	assert say("list-unit-files")[0] == "UNIT\tHASH\tDSTATE\tSTATE\tTARGET\n"
	assert say("help", "start")[0].startswith(f"{program} start ")
	assert say("version")[0].startswith(f"{program} version ")
	# The beginning of a verb is enough.
	assert say("list-m") == say("list-machines")
	out, err, code = say("list-un")
	assert "unknown command" in err and "list-units" in err and code == (program == "flotactl")


# Of each verb, as fleetctl's help had them; behind each, what it is used with.
FLAGS = {
	"submit": ["--replace", "--sign"],
	"load": ["--no-block", "--block-attempts=5", "--replace", "--sign"],
	"start": ["--no-block", "--block-attempts=5", "--replace", "--sign"],
	"stop": ["--no-block", "--block-attempts=5"],
	"restart": ["--block-attempts=5"],
	"unload": ["--no-block", "--block-attempts=5"],
	"status": ["--ssh-port=2222"],
	"journal": ["--lines=3", "--output=cat", "--sudo", "--ssh-port=2222"],
	"cat": [],
	"list-units": ["--full", "--l", "--no-legend", "--fields=unit,machine"],
	"list-unit-files": ["--full", "--l", "--no-legend", "--fields=unit,desc"],
	"list-machines": ["--full", "--l", "--no-legend", "--fields=machine,ip"],
	"destroy": ["--no-block", "--block-attempts=5"],
}
GLOBAL_FLAGS = ["--driver=API", "--etcd-key-prefix=/_coreos.com/fleet/", "--ssh-username=core",
	"--ssh-timeout=10", "--request-timeout=3", "--known-hosts-file=/nowhere",
	"--strict-host-key-checking=false", "--debug", "--experimental-api", "--etcd-cafile=x",
	"--etcd-certfile=x", "--etcd-keyfile=x"]


@pytest.mark.parametrize("program", ["fleetctl", "flotactl"])
def test_flags(clean, program):
	"""Kept: "flags". A script's flags are understood by either name, before or behind the verb."""
	path = clean.write("a.service", service(fleet=on("n1")))
	for verb, flags in FLAGS.items():
		unit = [] if verb.startswith("list-") else [path]
		for flag in flags:
			clean.flotactl("start", path)
			if verb in ("submit", "load"):
				clean.flotactl("unload", path)
			out, err, code = call(clean, program, *GLOBAL_FLAGS, verb, flag, *unit)
			assert code == 0 and "option" not in err, (verb, flag, out, err)
	for flag in GLOBAL_FLAGS:
		assert call(clean, program, "list-units", flag)[2] == 0


def test_endpoint_flag(clean):
	"""Kept: "flags". --endpoint is a list of which the first counts; unix:// is a local socket."""
	environment = {"FLOTACTL_ENDPOINT": ""}
	for endpoint in f"unix://{clean.socket}", f"unix://{clean.socket},http://other:49153":
		assert fleetctl(clean, f"--endpoint={endpoint}", "list-units", **environment)[2] == 0
	assert fleetctl(clean, "--endpoint=nothing", "list-units") == (
		"", "Unable to initialize client: URL scheme undefined\n", 1)


def test_environment(clean):
	"""Kept: "`FLEETCTL_*` variables read beside `FLOTACTL_*`"."""
	unset = {"FLOTACTL_ENDPOINT": ""}
	for program in "fleetctl", "flotactl":
		good = {"FLEETCTL_ENDPOINT": f"unix://{clean.socket}", **unset}
		assert call(clean, program, "list-units", FLEETCTL_DRIVER="API", **good)[2] == 0
		# flota's own goes first.
		assert call(clean, program, "list-units", FLEETCTL_ENDPOINT="unix:///nowhere.sock")[2] == 0
		assert call(clean, program, "list-units", FLEETCTL_ENDPOINT="unix:///nowhere.sock",
			**unset)[2] in (1, UNAVAILABLE)
		assert "FLEETCTL" not in str(call(clean, program, "list-units", FLEETCTL_REQUEST_TIMEOUT="3"))
		assert "soon" in call(clean, program, "list-units", FLEETCTL_REQUEST_TIMEOUT="soon")[1]


def test_columns(clean, n1, n2, n3):
	"""Kept: "columns". Those without --fields, and each that --fields may name."""
	clean.start("a.service", service(fleet=on("n1")))
	clean.start("g.service", service(fleet="Global=true"))
	where = where_text(n1)
	assert rows(fleetctl(clean, "list-units"))[:2] == [
		["UNIT", "MACHINE", "ACTIVE", "SUB"], ["a.service", where, "active", "running"]]
	digest = fleetctl(clean, "list-unit-files", "--no-legend", "--fields=hash")[0].split()[0]
	assert rows(fleetctl(clean, "list-unit-files"))[:2] == [
		["UNIT", "HASH", "DSTATE", "STATE", "TARGET"], ["a.service", digest, "launched", "launched", where]]
	assert ["g.service", "launched", "-", "global"] in rows(
		fleetctl(clean, "list-unit-files", "--fields=unit,dstate,state,target"))
	machines = rows(fleetctl(clean, "list-machines"))
	assert machines[0] == ["MACHINE", "IP", "METADATA"]
	assert [f"{n1.machine_id[:8]}...", n1.address, "disk=ssd,name=n1,region=norte"] in machines
	for verb, names in {"list-units": "active,hash,load,machine,sub,unit",
			"list-unit-files": "desc,dstate,global,hash,state,target,tmachine,unit",
			"list-machines": "machine,ip,metadata"}.items():
		said = fleetctl(clean, verb, f"--fields={names}")
		assert rows(said)[0] == names.upper().split(",") and said[1:] == ("", 0)
		assert fleetctl(clean, verb, "--fields=unit,foo" if "unit" in names else "--fields=foo") == (
			"", 'Invalid key in output format: "foo"\n', 1)


def test_sort_orders(clean, n1, n2, n3):
	"""Kept: "sort orders". Units by name, then by machine; machines by ID."""
	for name in "c", "a", "b":
		clean.start(f"{name}.service", service(fleet=on("n1")))
	clean.start("aa.service", service(fleet="Global=true"))
	ids = sorted(host.machine_id for host in (n1, n2, n3))
	listed = rows(fleetctl(clean, "list-units", "--full", "--no-legend", "--fields=unit,machine"))
	assert [unit for unit, _ in listed] == ["a.service", *["aa.service"] * 3, "b.service", "c.service"]
	assert [machine.split("/")[0] for unit, machine in listed if unit == "aa.service"] == ids
	assert fleetctl(clean, "list-unit-files", "--no-legend", "--fields=unit")[0].split() == [
		"a.service", "aa.service", "b.service", "c.service"]
	assert fleetctl(clean, "list-machines", "--full", "--no-legend", "--fields=machine")[0].split() == ids


def test_short_ids(clean, n1):
	"""Kept: "short IDs". Eight characters and "...", seven of a hash; --full shows all of them."""
	clean.start("a.service", service(fleet=on("n1")))
	short, full = f"{n1.machine_id[:8]}.../{n1.address}", f"{n1.machine_id}/{n1.address}"
	for verb, column in ("list-units", "machine"), ("list-unit-files", "target"):
		fields = f"--fields={column},hash"
		[[machine, digest]] = rows(fleetctl(clean, verb, "--no-legend", fields))
		assert machine == short and re.fullmatch("[0-9a-f]{7}", digest)
		for option in "--full", "--l":
			[[machine, digest]] = rows(fleetctl(clean, verb, option, "--no-legend", fields))
			assert machine == full and re.fullmatch("[0-9a-f]{40}", digest)


def test_states(clean, n1):
	"""Kept: "DSTATE/STATE". What was asked for, and what the machine has done of it."""
	def states(unit="a.service"):
		listed = rows(fleetctl(clean, "list-unit-files", "--no-legend", "--fields=unit,dstate,state"))
		return {name: state for name, *state in listed}[unit]
	clean.flotactl("submit", clean.write("a.service", service(fleet=on("n1"))))
	assert states() == ["inactive", "inactive"]
	for verb, state in ("load", "loaded"), ("start", "launched"), ("stop", "loaded"), ("unload", "inactive"):
		clean.flotactl(verb, "a")
		assert states() == [state, state]
	# Launched is what was asked for, not what runs.
	clean.refused("start", clean.write("bad.service", service("Type=oneshot", start="exit 3", fleet=on("n1"))))
	assert states("bad.service") == ["launched", "launched"]
	assert ["bad.service", "failed"] in rows(fleetctl(clean, "list-units", "--fields=unit,active"))
	clean.refused("start", clean.write("none.service", service(fleet=on("n9"))), code=UNSCHEDULABLE)
	assert states("none.service") == ["launched", "inactive"]


def test_hashes(clean, n1):
	"""Kept: "hashes in listings". SHA-1 of the options, written again without comments."""
	plain = "[Service]\nExecStart=/bin/sleep 1000\n\n[X-Fleet]\nMachineMetadata=name=n1\n"
	text = plain.replace("[X-Fleet]", "# a comment\n\n[X-Fleet]\n; another").replace("=/bin", " = /bin")
	clean.start("a.service", text)
	for verb in "list-units", "list-unit-files":
		digest = fleetctl(clean, verb, "--full", "--no-legend", "--fields=hash")[0].strip()
		assert digest == hashlib.sha1(plain.encode()).hexdigest()


# --- what a unit is, and where its file comes from ------------------------------------------------
def test_unit_arguments(clean):
	"""Kept: "unit lookup order (registry, file, template)"."""
	def text(version):
		return service(f"Environment=V={version}", fleet=on("n1"))
	def version(unit):
		return re.search("V=(.*)", fleetctl(clean, "cat", unit)[0]).group(1)
	directory = clean.write("web@.service", text("template")).parent
	# The last part of a path; .service where there is no suffix. The registry goes before the file.
	path = clean.write("a.service", text("file"))
	assert fleetctl(clean, "submit", path.with_suffix("")) == ("Unit a.service inactive\n", "", 0)
	clean.write("a.service", text("changed"))
	out, err, code = fleetctl(clean, "start", path)
	assert err == f"WARNING: Unit a.service in registry differs from local unit file {path}. " \
		"Add --replace to override.\n" and code == 0
	assert version("a") == "file"
	# An instance: its own file, before its template's in the registry, before that beside the path.
	assert fleetctl(clean, "submit", directory / "web@1")[2] == 0 and version("web@1") == "template"
	clean.write("web@.service", text("stored"))
	assert fleetctl(clean, "submit", directory / "web@")[2] == 0
	clean.write("web@.service", text("beside"))
	assert fleetctl(clean, "submit", directory / "web@2")[2] == 0 and version("web@2") == "stored"
	clean.write("web@3.service", text("own"))
	assert fleetctl(clean, "submit", directory / "web@3")[2] == 0 and version("web@3") == "own"
	assert fleetctl(clean, "start", "nosuch") == ("", "Error creating units: unable to find "
		"Unit(nosuch.service) in Registry or on filesystem\n", 1)
	assert fleetctl(clean, "start", "nosuch@1") == ("", "Error creating units: failed getting "
		"Unit(nosuch@1.service) from template: unable to find template Unit(nosuch@.service) in Registry "
		"or on filesystem\n", 1)


def test_templates(clean):
	"""Kept: "templates". Never run; an instance is a copy of the text, under its own name."""
	text = service("Environment=WHO=%i", fleet="Conflicts=%p@*.service")
	path = clean.write("web@.service", text)
	assert fleetctl(clean, "submit", path) == ("Unit web@.service inactive\n", "", 0)
	assert fleetctl(clean, "start", "web@.service") == ("", "Error starting units: googleapi: Error 400: "
		'cannot activate template "web@.service"\n', 1)
	out, err, code = fleetctl(clean, "start", "web@1", "web@2", "web@3")
	assert (err, code) == ("", 0)
	hosts = {name: clean.runs_on(f"web@{name}.service") for name in "123"}
	assert len(set(hosts.values())) == 3
	assert all(host.show(f"web@{name}.service", "Environment")["Environment"] == f"WHO={name}"
		for name, host in hosts.items())
	# What becomes of the template later does not reach it.
	clean.write("web@.service", text + "# changed\n")
	assert fleetctl(clean, "submit", "--replace", path)[2] == 0
	assert fleetctl(clean, "cat", "web@1")[0] == text


def test_replace(clean, n1):
	"""Kept: "`--replace`". submit replaces what is inactive, load what is loaded, start all."""
	def text(version):
		return service(f"Environment=V={version}", fleet=on("n1"))
	def verb(name, version):
		return fleetctl(clean, name, "--replace", clean.write("a.service", text(version)))
	assert fleetctl(clean, "start", clean.write("a.service", text(1)))[2] == 0
	for name in "submit", "load":
		out, err, code = verb(name, 2)
		assert err == "Warning: can not replace Unit(a.service) in state 'launched', use the appropriate " \
			"command\n" and code == 0
		clean.flotactl("start", "a")
	assert n1.show("a.service", "Environment")["Environment"] == "V=1"
	out, err, code = verb("start", 1)
	assert err == "Found same Unit(a.service) in Registry, nothing to do\n" and code == 0
	assert verb("start", 2)[1:] == ("", 0)
	assert n1.show("a.service", "Environment")["Environment"] == "V=2"
	clean.flotactl("stop", "a")
	assert "can not replace" in verb("submit", 3)[1]
	assert verb("load", 3)[1:] == ("", 0)
	clean.flotactl("unload", "a")
	assert verb("submit", 4)[1:] == ("", 0) and "V=4" in fleetctl(clean, "cat", "a")[0]


# --- [X-Fleet] ------------------------------------------------------------------------------------
def legacy(fleet):
	"""The same in the words of fleet's first versions."""
	for new, old in {"MachineID": "X-ConditionMachineID", "MachineOf": "X-ConditionMachineOf",
			"MachineMetadata": "X-ConditionMachineMetadata", "Conflicts": "X-Conflicts"}.items():
		fleet = fleet.replace(f"{new}=", f"{old}=")
	return fleet


@pytest.mark.parametrize("words", [str, legacy])
def test_keys(clean, n1, n2, n3, words):
	"""Kept: "`[X-Fleet]` with all its keys" and Kept: "legacy names"."""
	clean.start("id.service", service(fleet=words(f"MachineID={n2.machine_id}")))
	clean.start("short.service", service(fleet=words(f"MachineID={n2.machine_id[:8]}")))
	clean.start("of.service", service(fleet=words("MachineOf=id.service\nMachineOf=short.service")))
	clean.start("metadata.service", service(fleet=words("MachineMetadata=region=sur")))
	clean.start("not.service", service(fleet=words('MachineMetadata=region=norte\nConflicts=i?.service')))
	assert {unit: clean.where(f"{unit}.service") for unit in ("id", "short", "of", "metadata", "not")} == {
		"id": ["n2"], "short": ["n2"], "of": ["n2"], "metadata": ["n3"], "not": ["n1"]}
	if words is legacy:
		clean.start("boot.service", service(fleet=f"X-ConditionMachineBootID={n3.machine_id}"))
		assert clean.where("boot.service") == ["n3"]
		return
	clean.start("all.service", service(fleet="Global=true\nMachineMetadata=region=norte"))
	assert clean.where("all.service") == ["n1", "n2"]
	# A leader may be global; what is loaded repels as what runs does.
	clean.flotactl("load", clean.write("loaded.service", service(fleet=on("n1"))))
	clean.start("beside.service", service(fleet="MachineOf=all.service\nConflicts=loaded.service"))
	assert clean.where("beside.service") == ["n2"]
	# The newcomer lands where the other is, which goes to another machine.
	clean.start("new.service", service(fleet=f"Replaces=metadata*\n{on('n3')}"))
	assert clean.where("new.service") == ["n3"]


def test_replaces_each_other(clean):
	"""Kept: "`[X-Fleet]` with all its keys". Mutual Replaces= are ignored; Replaces= steers nothing."""
	clean.start("a.service", service(fleet=f"Replaces=b.service\n{on('n1')}"))
	clean.start("b.service", service(fleet=f"Replaces=a.service\n{on('n1')}"))
	assert clean.where("a.service") == clean.where("b.service") == ["n1"]
	clean.start("c.service", service(fleet=f"Replaces=a.service\n{on('n2')}"))
	assert clean.where("c.service") == ["n2"] and clean.where("a.service") == ["n1"]


def test_value_splitting(clean):
	"""Kept: "value splitting". Quoted words, or the whole line; Conflicts= also by blanks."""
	clean.start("both.service", service(fleet='MachineMetadata="region=norte" "disk=hdd"'))
	clean.start("lines.service", service(fleet="MachineMetadata=region=norte\nMachineMetadata=disk=hdd"))
	assert clean.where("both.service") == clean.where("lines.service") == ["n2"]
	for i, conflicts in enumerate(('"both.service" "lines.service"', "both.service lines.service", "*s.service")):
		unit = f"away{i}.service"
		clean.start(unit, service(fleet=f"MachineMetadata=region=norte\nConflicts={conflicts}"))
		assert clean.where(unit) == ["n1"]
	# One value, with a blank in it: fleet took it for no pair at all, and placed the unit anywhere.
	path = clean.write("blank.service", service(fleet="MachineMetadata=region=norte disk=hdd"))
	out, err, code = fleetctl(clean, "start", path)
	assert code == 0 and "is not one key=value and has no effect" in err


def test_specifiers(clean):
	"""Kept: "specifiers". %n, %N, %p and %i, in [X-Fleet] alone; all others are systemd's."""
	clean.start("n2@n2.service", service("Environment=SEEN=%i-%p-%m", fleet="MachineMetadata=name=%i"))
	assert clean.where("n2@n2.service") == ["n2"]
	host = clean.fleet.hosts["n2"]
	assert host.show("n2@n2.service", "Environment")["Environment"] == f"SEEN=n2-n2-{host.machine_id}"
	clean.start("n3.service", service(fleet="MachineMetadata=name=%p"))
	clean.start("n1.service", service(fleet="MachineMetadata=name=%N"))
	assert clean.where("n3.service") == ["n3"] and clean.where("n1.service") == ["n1"]
	clean.start("log@n1.service", service(fleet="MachineOf=%i.service"))
	assert clean.where("log@n1.service") == ["n1"]
	# A unit never conflicts with itself; %n is its whole name.
	clean.start("self.service", service(fleet="Conflicts=%n"))
	assert len(clean.where("self.service")) == 1


def test_or_and(clean):
	"""Kept: "OR/AND rules". Of one key any value, of several keys all; how lines are grouped is nothing."""
	any_name = 'MachineMetadata="name=n2" "disk=ssd"\nMachineMetadata=name=n3'
	clean.start("a.service", service(fleet=any_name))
	assert clean.where("a.service") == ["n3"]
	units = [f"o{i}.service" for i in range(4)]
	text = service(fleet="MachineMetadata=name=n1\nMachineMetadata=name=n2")
	clean.flotactl("start", *[clean.write(unit, text) for unit in units])
	assert {clean.runs_on(unit).name for unit in units} == {"n1", "n2"}


REJECTED = {
	"MachineID=x\nMachineOf=a.service": "MachineID cannot be used with Peers",
	"MachineID=x\nConflicts=a.service": "MachineID cannot be used with Conflicts",
	"MachineID=x\nGlobal=true": "MachineID cannot be used with Global",
	"MachineID=x\nReplaces=a.service": "MachineID cannot be used with Replaces",
	"Global=true\nMachineOf=a.service": "Global cannot be used with Peers",
	"Global=true\nReplaces=a.service": "Global cannot be used with Replaces",
	"Conflicts=a.service\nReplaces=b.service": "Conflicts cannot be used with Replaces",
	"MachineOf=a.service\nConflicts=a*": 'unresolvable requirements: peer "a.service" matches conflict "a*"',
	"MachineOf=a.service\nReplaces=a*": 'unresolvable requirements: peer "a.service" matches replace "a*"',
}


def test_rejected_combinations(clean):
	"""Kept: "rejected combinations"."""
	for fleet, text in REJECTED.items():
		out, err, code = fleetctl(clean, "submit", clean.write("x.service", service(fleet=fleet)))
		assert err.startswith("Error creating units: ") and text in err and code == 1
	assert clean.json("list-unit-files") == []


def test_least_loaded_machine_is_next(clean, n1, n2, n3):
	"""Kept: "the choice of a machine". The one with the fewest units; of equals, the lowest ID."""
	by_id = sorted((n1, n2, n3), key=lambda host: host.machine_id)
	clean.start("first.service", service())
	assert clean.runs_on("first.service") is by_id[0]
	clean.flotactl("load", clean.write("loaded.service", service()))
	clean.start("third.service", service())
	assert clean.runs_on("third.service") is by_id[2]


# --- the name fleetctl ----------------------------------------------------------------------------
def test_exit_codes_and_messages(clean):
	"""Kept: "as `fleetctl`: its words and exit codes". The table of them, but for what is better."""
	expected = {
		("start",): ("", "No units given\n", 0),
		("stop",): ("", "No units given\n", 0),
		("load",): ("", "No units given\n", 0),
		("submit",): ("", "No units given\n", 0),
		("unload",): ("", "No units given\n", 0),
		("destroy",): ("", "No units given\n", 0),
		("stop", "nosuch"): ("", "Units not found in registry\n", 0),
		("unload", "nosuch"): ("", "Units not found in registry\n", 0),
		("destroy", "nosuch"): ("", "Units not found in registry\n", 0),
		("cat", "nosuch"): ("", "Unit nosuch.service not found\n", 1),
		("cat",): ("", "One unit file must be provided\n", 1),
		("status", "nosuch"): ("", "Unit nosuch.service does not exist.\n", 1),
		("status",): ("", "", 0),
		("journal", "nosuch"): ("", "Unit nosuch.service does not exist.\n", 1),
		("journal",): ("", "One unit file must be provided.\n", 1),
		("ssh",): ("", "Unable to proceed: one machine or unit must be provided\n", 1),
		("ssh", "nosuch"): ("", "Unable to proceed: could not find matching unit or machine\n", 1),
		("bogus",): ("", 'cannot execute cmdFleet: unknown command "bogus" for "fleetctl"\n', 0),
	}
	for argv, said in expected.items():
		assert fleetctl(clean, *argv) == said, argv
	clean.flotactl("submit", clean.write("a.service", service()))
	assert fleetctl(clean, "stop", "a") == ("", "Unable to stop unit a.service in state inactive\n", 1)
	assert fleetctl(clean, "destroy", "a", "nosuch") == ("Destroyed a.service\n", "", 0)
	out, err, code = fleetctl(clean, "submit", clean.write("b.service", "[Service\nExecStart=/bin/true\n"))
	assert err.startswith("Error creating units: failed getting Unit(b.service) from file: ") and code == 1
	out, err, code = fleetctl(clean, "start", clean.write("bad.service",
		service("Type=oneshot", start="exit 3", fleet=on("n1"))))
	assert err.startswith("Error waiting for units: Failed to find an active unit bad.service within 2s, "
		"err: failed on ") and (out, code) == ("", 1)
	for verb, words in {"list-units": "list of units from repository",
			"list-machines": "list of active machines"}.items():
		out, err, code = fleetctl(clean, "--endpoint=unix:///nowhere.sock", verb)
		assert err.startswith(f"Error retrieving {words}: ") and code == 1


# --- ssh ------------------------------------------------------------------------------------------
def ssh_calls(flota):
	"""How ssh(1) was called since the last time."""
	path = flota.fleet.outside(flota.fleet.dir / "bin" / "ssh.called")
	lines = path.read_text().splitlines() if path.exists() else []
	path.unlink(missing_ok=True)
	return lines


def test_ssh_by_machine_and_by_unit(clean, n1, n2):
	"""Kept: "ssh". By machine or unit; fleet's own flags and defaults as `fleetctl`."""
	clean.start("a.service", service(fleet=on("n1")))
	for argv in ([n1.machine_id], [n1.machine_id[:12]], ["a"], ["a.service"],
			["--unit=a"], ["-m", n1.machine_id]):
		assert flotactl(clean, "ssh", *argv) == ("", "", 0)
		assert ssh_calls(clean) == [f"-- {n1.address}"]
	assert flotactl(clean, "ssh", "-A", "--ssh-port=2222", "--ssh-username=ana", n2.machine_id,
		"ls", "-l", "/") == ("", "", 0)
	assert ssh_calls(clean) == [f"-l ana -p 2222 -A -- {n2.address} ls -l /"]
	assert flotactl(clean, "--ssh-username=ana", "--strict-host-key-checking=false", "ssh", "a",
		FLEETCTL_SSH_TIMEOUT="3") == ("", "", 0)
	assert ssh_calls(clean) == [f"-l ana -o ConnectTimeout=3 -o StrictHostKeyChecking=no -- {n1.address}"]
	assert fleetctl(clean, "--ssh-username=ana", "ssh", "--machine", n2.machine_id[:8], "id",
		FLEETCTL_STRICT_HOST_KEY_CHECKING="false") == ("", "", 0)
	assert ssh_calls(clean) == ["-l ana -o ConnectTimeout=10 -o UserKnownHostsFile="
		f"~/.fleetctl/known_hosts -o StrictHostKeyChecking=no -- {n2.address} id"]


def test_ssh_refuses_what_is_ambiguous(clean, n1, n2):
	"""Kept: "ssh". It refuses ambiguity, and says how to end it."""
	clean.start("everywhere.service", service(fleet="Global=true"))
	wait_until(lambda: len(clean.where("everywhere.service")) == 3, "the global unit")
	assert "is on 3 machines" in flotactl(clean, "ssh", "--unit=everywhere")[1]
	assert flotactl(clean, "ssh", "--unit=everywhere", f"--machine={n2.machine_id}")[2] == 0
	assert ssh_calls(clean) == [f"-- {n2.address}"]
	# A unit whose name is the beginning of a machine's ID.
	name = n1.machine_id[:8]
	clean.start(f"{name}.service", service(fleet=on("n2")))
	out, err, code = flotactl(clean, "ssh", name)
	assert code == 1 and "is both a machine and a unit" in err
	assert flotactl(clean, "ssh", f"--unit={name}")[2] == 0
	assert flotactl(clean, "ssh", f"--machine={name}")[2] == 0
	assert ssh_calls(clean) == [f"-- {n2.address}", f"-- {n1.address}"]
	assert "neither the beginning of a machine's ID nor a unit" in flotactl(clean, "ssh", "nosuch")[1]
	assert ssh_calls(clean) == []


# --- what is better on purpose --------------------------------------------------------------------
def test_unschedulable_unit(clean, n1, n2, n3):
	"""Better: "`start` of an unschedulable unit hangs without a reason"."""
	path = clean.write("none.service", service(fleet=on("n9")))
	reasons = {host: f"metadata name=n9 wanted, the machine has name={host.name}" for host in (n1, n2, n3)}
	def tells(text):
		return all(re.search(re.escape(host.address) + r"\t+" + re.escape(why), text)
			for host, why in reasons.items())
	out, err, code = flotactl(clean, "start", path)
	assert (out, code) == ("", UNSCHEDULABLE) and tells(err)
	out, err, code = flotactl(clean, "start", "--no-wait", "none")
	assert (out, code) == ("Triggered unit none.service start\n", 0) and tells(err)
	assert tells(flotactl(clean, "why", "none")[0])
	# fleetctl waits, as it did, but not without a word; --timeout ends it.
	out, err, code = fleetctl(clean, "start", "--timeout=100ms", "none")
	assert code == 1 and tells(err) and "not yet after 0.1 s" in err
	assert "not yet after 2.0 s" in fleetctl(clean, "start", "--block-attempts=1", "none")[1]
	waiter = clean.fleet.popen(clean.fleet.dir / "bin" / "fleetctl", "start", "none",
		env=clean.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
	assert "no machine can take" in waiter.stderr.readline()
	clean.start("none.service", service(fleet=on("n1")), "--replace")
	assert waiter.communicate()[0] == f"Unit none.service launched on {where_text(n1)}\n"
	assert waiter.returncode == 0


def sent(flota, process):
	"""Bytes that a process has sent over TCP, as the kernel counts them."""
	said = subprocess.run(["nsenter", "-t", str(flota.fleet.gateway_pid), "-n", "ss", "-tinpH"],
		check=True, stdout=subprocess.PIPE, text=True).stdout
	return int(re.search(rf"pid={process.inner_pid},.*\n.*bytes_sent:(\d+)", said).group(1))


def test_waiting_is_no_polling(clean, n1, record_property):
	"""Better: "waits by polling; 3.0 s from start to active; 500 units end with an error"."""
	names = [f"u{i}.service" for i in range(100)]
	began = time.monotonic()
	out, err, code = flotactl(clean, "start", *[clean.write(name, service()) for name in names])
	record_property("start_of_100_units", f"{time.monotonic() - began:.2f} s, on three hosts")
	assert (err, code) == ("", 0) and len(out.splitlines()) == 100
	for host in clean.fleet.hosts.values():
		listed = host.systemctl("list-units", "--state=active", "--plain", "--no-legend", "u*.service")
		assert len(listed.stdout.splitlines()) in (33, 34)
	clean.destroy_all()
	# Nothing is sent from the question to its answer; in these two seconds fleetctl asked eight times.
	ana = clean.issue("operator", "ana")
	files = {"FLOTACTL_CA_FILE": "ca.crt", "FLOTACTL_CERT_FILE": "operator.crt",
		"FLOTACTL_KEY_FILE": "operator.key"}
	path = clean.write("slow.service", service("Type=oneshot", "ExecStartPre=/usr/bin/mkfifo /run/gate",
		start="read line < /run/gate", fleet=on("n1")))
	waiter = clean.fleet.popen(BIN / "flotactl", "start", path, stdout=subprocess.PIPE,
		env=clean.environment(FLOTACTL_ENDPOINT=ENDPOINT, **{k: str(ana / v) for k, v in files.items()}))
	settle(n1, "slow.service", "activating")
	wait_until(lambda: clean.json("list-units")[0]["placements"][0].get("systemd", {}).get("active")
		== "activating", "the coordinator to know it")
	two_seconds = service("Type=oneshot", start="sleep 2", fleet=on("n2"))
	before = sent(clean, waiter)
	clean.start("clock.service", two_seconds)
	assert 0 < before == sent(clean, waiter)
	n1.run("sh", "-c", "echo go > /run/gate")
	assert waiter.communicate()[0] == f"Unit slow.service launched on {where_text(n1)}\n"
	n1.run("rm", "/run/gate")


@pytest.mark.parametrize("program", ["fleetctl", "flotactl"])
def test_restart_and_start_of_what_failed(clean, n1, program):
	"""Better: "`restart` restarts nothing; start of a failed unit does nothing"."""
	def pid():
		return int(n1.show("a.service", "MainPID")["MainPID"])
	clean.start("a.service", service(fleet=on("n1")))
	before = pid()
	assert call(clean, program, "restart", "a")[2] == 0
	assert pid() not in (0, before)
	n1.run("kill", "-KILL", str(pid()))
	settle(n1, "a.service", "failed")
	assert call(clean, program, "start", "a") == (f"Unit a.service launched on {where_text(n1)}\n", "", 0)
	assert active(n1, "a.service")


def test_errors_do_not_exit_0(clean):
	"""Better: "errors that exit 0 (unknown command, unknown unit on stop)"."""
	for argv in (("bogus",), ("list-units", "--bogus"), ("start",), ("stop",), ("stop", "nosuch"),
			("unload", "nosuch"), ("destroy", "nosuch")):
		out, err, code = flotactl(clean, *argv)
		assert out == "" and err.startswith("flotactl: ") and code == 1, argv
		assert fleetctl(clean, *argv)[2] == 0


@pytest.mark.parametrize("line, what", [("MachineMetadata=a=b c=d", "is not one key=value"),
	("MachineMetadata=disk", "is not one key=value"), ("MachineMetadata=disk=", "is not one key=value"),
	("Foo=1", 'no key "Foo"')])
def test_malformed_values(clean, line, what):
	"""Better: "malformed `MachineMetadata` pairs and unknown keys silently ignored"."""
	path = clean.write("bad.service", f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{line}\n")
	out, err, code = flotactl(clean, "submit", path)
	assert code == 1 and f"{path}:4: " in err and what in err
	for argv in ("flotactl", "submit", "--lenient"), ("fleetctl", "submit"):
		out, err, code = call(clean, *argv, path)
		assert code == 0 and err.startswith("WARNING: bad.service:4: ") and what in err
		clean.flotactl("destroy", "bad")


def test_file_byte_for_byte(clean, n1):
	"""Better: "`cat` shows a re-serialised file without comments; the hash ignores them"."""
	def digest():
		return flotactl(clean, "list-unit-files", "--no-legend", "--full", "--fields=hash")[0]
	plain = service(fleet=on("n1"))
	commented = "# first\n\n" + plain.replace("[Service]", "; second\n[Service]") + "# no end of line"
	clean.start("a.service", plain)
	before, pid = digest(), n1.show("a.service", "MainPID")
	clean.flotactl("start", "--replace", clean.write("a.service", commented))
	assert flotactl(clean, "cat", "a")[0] == commented and digest() == before
	assert n1.show("a.service", "MainPID") == pid


def test_each_unit_on_its_own(clean, n1):
	"""Better: "first error on a host stops its other units until the next pass; one unload per pass on
	new systemd"."""
	names = [f"a{i}.service" for i in range(20)]
	bad = clean.write("a.service", service("Type=oneshot", start="exit 3", fleet=on("n1")))
	paths = [clean.write(name, service(fleet=on("n1"))) for name in names]
	out, err, code = flotactl(clean, "start", bad, *paths)
	assert code == 1 and "a.service failed on" in err and len(out.splitlines()) == 20
	assert all(active(n1, name) for name in names)
	clean.flotactl("destroy", "a", *names)
	began = time.monotonic()
	wait_until(lambda: not n1.systemctl("list-units", "--all", "--plain", "--no-legend",
		"a*.service").stdout, "all of them to go")
	assert time.monotonic() - began < 20 * 5  # what one unload in a pass would have taken


def test_globals_are_like_any_other_unit(clean, n1, n2, n3):
	"""Better: "globals have no state, status, journal or rolling change". All but the change."""
	hosts = (n1, n2, n3)
	path = clean.write("g.service", service(fleet="Global=true", start="echo hello from $$HOSTNAME; exec sleep infinity"))
	assert flotactl(clean, "start", path) == ("Unit g.service launched on 3 machines\n", "", 0)
	assert all(active(host, "g.service") for host in hosts)
	listed = {row[1]: row[2:] for row in rows(flotactl(clean, "list-units", "--no-legend"))}
	assert listed == {where_text(host): ["active", "running"] for host in hosts}
	out, err, code = flotactl(clean, "status", "g")
	assert out.count("Active: active (running)") == 3 and code == 0
	assert all(f"{where_text(host)}:\n" in out for host in hosts)
	for host in hosts:
		def journal(m=host.machine_id[:8]):
			return flotactl(clean, "journal", f"--machine={m}", "--output=cat", "g")
		wait_until(lambda j=journal: "hello from" in j()[0], f"the journal on {host.name}")
	before = [host.show("g.service", "MainPID") for host in hosts]
	assert flotactl(clean, "restart", "g")[2] == 0
	assert all(host.show("g.service", "MainPID") != pid for host, pid in zip(hosts, before))
	assert flotactl(clean, "stop", "g") == ("Unit g.service loaded on 3 machines\n",
		"Successfully stopped units [g.service].\n", 0)
	assert not any(active(host, "g.service") for host in hosts)


def test_changed_file_of_a_global_unit_rolls(clean, n1, n2, n3):
	"""Better: "globals have no state, status, journal or rolling change". The change."""
	def text(version):
		return service(f"Environment=V={version}",
			fleet="Global=true\n[X-Flota]\nMaxUnavailable=1\nMinHealthySec=1")
	def since(host):
		said = host.show("g.service", "Environment", "ActiveState", "ActiveEnterTimestampMonotonic")
		assert (said["Environment"], said["ActiveState"]) == ("V=2", "active")
		return int(said["ActiveEnterTimestampMonotonic"]) / 1e6
	clean.start("g.service", text(1))
	clean.start("g.service", text(2), "--replace")
	# One machine is next when the one before it has been healthy for its second.
	first, second, third = sorted(since(host) for host in (n1, n2, n3))
	assert second - first > 0.9 and third - second > 0.9


def test_resources_and_soft_rules(clean):
	"""Better: "no resources, no rebalance, no drain, no soft rules". Resources and soft rules."""
	most = max(machine["capacity"]["memory_bytes"] for machine in clean.json("list-machines")) * 6 // 10
	def wants(rules, fleet=""):
		return service(fleet=fleet + "\n[X-Flota]\n" + rules)
	paths = [clean.write(f"big{i}.service", wants(f"Memory={most}")) for i in range(4)]
	out, err, code = flotactl(clean, "start", *paths)
	assert code == UNSCHEDULABLE and "no machine can take big3.service now" in err and "memory" in err.lower()
	assert len({clean.runs_on(f"big{i}.service") for i in range(3)}) == 3
	clean.destroy_all()
	for i in range(3):
		clean.start(f"ssd{i}.service", wants("PreferMetadata=disk=ssd"))
		clean.start(f"spread{i}.service", wants("PreferConflicts=spread*.service"))
	assert "n2" not in {clean.runs_on(f"ssd{i}.service").name for i in range(3)}
	assert len({clean.runs_on(f"spread{i}.service") for i in range(3)}) == 3


def test_drain_and_rebalance(clean, n1, n2, n3):
	"""Better: "no resources, no rebalance, no drain, no soft rules". Drain and rebalance."""
	def units():
		return {host.name: len(host.systemctl("list-units", "--state=active", "--plain", "--no-legend",
			"u*.service").stdout.splitlines()) for host in (n1, n2, n3)}
	clean.flotactl("start", *[clean.write(f"u{i}.service", service()) for i in range(6)])
	assert units() == {"n1": 2, "n2": 2, "n3": 2}
	clean.flotactl("drain", n1.machine_id)
	assert units() == {"n1": 0, "n2": 3, "n3": 3}
	clean.flotactl("uncordon", n1.machine_id)
	clean.flotactl("rebalance", "--yes")
	wait_until(lambda: units() == {"n1": 2, "n2": 2, "n3": 2}, "units to be spread again")


def test_status_and_journal_without_ssh(clean, n1):
	"""Better: "status, journal, ssh need SSH to the host"."""
	clean.start("a.service", service(fleet=on("n1"), start="echo hello; exec sleep infinity"))
	assert n1.run("pgrep", "sshd", check=False).returncode == 1
	assert "Active: active (running)" in flotactl(clean, "status", "a")[0]
	wait_until(lambda: "hello" in flotactl(clean, "journal", "a")[0], "the journal")
	assert ssh_calls(clean) == []
	assert flotactl(clean, "ssh", "a")[2] == 0 and ssh_calls(clean) == [f"-- {n1.address}"]


def test_bad_desired_state_is_not_stored(clean):
	"""Better: "a bad desired state stored through the API makes a unit undeletable"."""
	ana = clean.issue("operator", "ana")
	text = service(fleet=on("n1"))
	clean.flotactl("submit", clean.write("a.service", text))
	for name in b"a.service", b"new.service":
		change = field(1, 2) + field(2, name) + field(3, text.encode())
		done = clean.raw(ana, "operator", envelope(CHANGE, field(1, change)))
		assert b"0 is not a desired state of a unit" in bytes.fromhex(done.stdout)
		# What is no value at all is no message of ours either: the connection ends.
		done = clean.raw(ana, "operator", envelope(CHANGE, field(1, change + field(4, 99))))
		assert "closed the connection" in done.stderr
	assert "Change.desired has the unknown value 99" in clean.log()
	[unit] = clean.json("list-unit-files")
	assert (unit["unit"], unit["desired"]) == ("a.service", "inactive")
	assert flotactl(clean, "destroy", "a") == ("Destroyed a.service\n", "", 0)


def test_stop_waits_for_the_host(clean, n1):
	"""Better: "`stop` returns before the host has stopped the unit"."""
	clean.start("slow.service", service("ExecStop=/bin/sleep 1", fleet=on("n1")))
	assert flotactl(clean, "stop", "slow")[2] == 0
	assert not active(n1, "slow.service")
	assert flotactl(clean, "list-units", "--no-legend", "--fields=active")[0] == "inactive\n"


def test_oneshot_that_has_finished(clean, n1):
	"""Better: "start of a `Type=oneshot` that has finished is an error"."""
	path = clean.write("once.service", service("Type=oneshot", start="echo ran >> /run/once", fleet=on("n1")))
	assert fleetctl(clean, "start", path) == (f"Unit once.service launched on {where_text(n1)}\n", "", 0)
	assert n1.read("/run/once") == "ran\n"


def test_targets(clean, n1):
	"""Better: "`x.target` becomes `x.target.service`; a target that gets in is restarted every 5 s"."""
	path = clean.write("x.target", f"[Unit]\nDescription=All\n[X-Fleet]\n{on('n1')}\n")
	assert flotactl(clean, "start", path) == (f"Unit x.target launched on {where_text(n1)}\n", "", 0)
	assert active(n1, "x.target")
	assert flotactl(clean, "destroy", "x.target")[2] == 0
	wait_until(lambda: not active(n1, "x.target"), "it to go")


def test_replaced_unit_keeps_its_rules(clean):
	"""Better: "a unit that `Replaces=` drives away goes to another machine whatever its own rules say"."""
	clean.start("old.service", service(fleet=on("n1")))
	clean.start("free.service", service(fleet="MachineMetadata=region=norte\nMachineMetadata=name=n1"))
	clean.start("new.service", service(fleet=f"Replaces=old.service\n{on('n1')}"))
	wait_until(lambda: clean.where("old.service") == [], "it to leave")
	assert clean.where("new.service") == ["n1"]
	assert "unit new.service, which is there, replaces it" in flotactl(clean, "why", "old")[0]
	clean.flotactl("destroy", "new")
	wait_until(lambda: clean.where("old.service") == ["n1"], "it to come back")


def test_short_flags(clean, n1):
	"""Better: "`-l`, `-f`, `-A` are documented and refused"."""
	clean.start("a.service", service(fleet=on("n1"), start="echo hello; exec sleep infinity"))
	for program in "fleetctl", "flotactl":
		for flag in "-l", "--l":
			assert n1.machine_id in call(clean, program, "list-units", flag)[0]
		for flag in "-f", "--f":
			follower = clean.fleet.popen(clean.fleet.dir / "bin" / program, "journal", flag, "--output=cat", "a",
				env=clean.environment(), stdout=subprocess.PIPE)
			while follower.stdout.readline() != "hello\n":
				assert follower.poll() is None
			follower.terminate()
			follower.communicate()
		for flag in "-A", "--A":
			assert call(clean, program, "ssh", flag, "a")[2] == 0
			assert " -A " in f" {ssh_calls(clean)[0]} "


def test_long_lines(clean, n1):
	"""Better: "lines of more than 2048 bytes are refused"."""
	long = "x" * 100_000
	clean.start("long.service", service(f"Environment=LONG={long}", fleet=on("n1")))
	assert n1.show("long.service", "Environment")["Environment"] == f"LONG={long}"
	assert "the limit is 131072" in clean.refused("submit", clean.write("longer.service", service(f"Environment=A={long * 2}")))


def test_verify(clean):
	"""Better: "`verify` is deprecated and does nothing"."""
	good = clean.write("good.service", service())
	bad = clean.write("bad.service", service(fleet="Globl=true"))
	for program in "fleetctl", "flotactl":
		assert call(clean, program, "verify", good, FLOTACTL_ENDPOINT="ipc:///nowhere.sock") == ("", "", 0)
	out, err, code = flotactl(clean, "verify", good, bad)
	assert code == 1 and err.startswith(f"{bad}:") and 'no key "Globl"' in err


# --- no row without a test ------------------------------------------------------------------------
def documented():
	"""(`Kept` or `Better`, first cell) of each row of the page's tables."""
	section = None
	for line in (ROOT / "docs/FLEET-USERS.md").read_text().splitlines():
		if line.startswith("## "):
			section = line[3:]
		elif line.startswith("| ") and section in ("Kept", "Better"):
			row = line.split(" | ")[0][2:]
			if row not in ("fleet", "fleet's"):
				yield section, row


def test_each_row_has_a_test():
	quoted = " ".join(" ".join(path.read_text() for path in Path(HERE).glob("test_*.py")).split())
	found = list(documented())
	assert len(found) > 30
	missing = [f'{section}: "{row}"' for section, row in found if f'{section}: "{row}' not in quoted]
	assert missing == []
