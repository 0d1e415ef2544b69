"""fleet's habits, on hosts: the name fleetctl; ssh by machine or unit; apply, edit and wait."""

import os
import pty
import subprocess

import pytest

from flota import BIN, TIMEOUT, UNSCHEDULABLE, Flota, service, settle, where_text
from lab import Fleet, wait_until

# Hosts have no sshd: what counts is how ssh(1) is called.
FAKE_SSH = """#!/bin/sh
echo "$@" >> "$0.called"
"""
ON_N1 = "MachineMetadata=host=n1"


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		for name in "n1", "n2":
			flota.host(name, metadata=f"host={name}")
		bin_directory = fleet.outside(fleet.dir / "bin")
		bin_directory.mkdir()
		(bin_directory / "fleetctl").symlink_to(BIN / "flotactl")
		(bin_directory / "ssh").write_text(FAKE_SSH)
		(bin_directory / "ssh").chmod(0o755)
		flota.ready()
		yield flota


@pytest.fixture
def n1(clean):
	return clean.fleet.hosts["n1"]


@pytest.fixture
def n2(clean):
	return clean.fleet.hosts["n2"]


def environment(flota, **more):
	directory = flota.fleet.dir / "bin"
	return {"HOME": str(flota.fleet.dir), "FLOTACTL_ENDPOINT": flota.endpoint,
		"PATH": f"{directory}:{os.environ['PATH']}", **more}


def call(flota, *argv, **more):
	"""The program by this name; standard output, standard error, exit code."""
	done = flota.fleet.run(*argv, env=environment(flota, **more), check=False)
	return done.stdout, done.stderr, done.returncode


def fleetctl(flota, *argv, **more):
	return call(flota, flota.fleet.dir / "bin" / "fleetctl", *argv, **more)


def flotactl(flota, *argv, **more):
	return call(flota, BIN / "flotactl", *argv, **more)


# --- the name fleetctl ----------------------------------------------------------------------------
def test_fleetctls_way_of_a_unit(clean, n1):
	"""submit, load, start, stop, unload, destroy: lines, streams and exit codes."""
	where = where_text(n1)
	path = clean.write("a.service", service(fleet=ON_N1))
	assert fleetctl(clean, "submit", path) == ("Unit a.service inactive\n", "", 0)
	assert fleetctl(clean, "load", "a") == (f"Unit a.service loaded on {where}\n", "", 0)
	assert fleetctl(clean, "start", "a") == (f"Unit a.service launched on {where}\n", "", 0)
	assert n1.show("a.service", "ActiveState")["ActiveState"] == "active"
	assert [line.split() for line in fleetctl(clean, "list-units")[0].splitlines()] == [
		["UNIT", "MACHINE", "ACTIVE", "SUB"], ["a.service", where, "active", "running"]]
	assert fleetctl(clean, "stop", "a") == (f"Unit a.service loaded on {where}\n",
		"Successfully stopped units [a.service].\n", 0)
	assert n1.show("a.service", "ActiveState")["ActiveState"] == "inactive"
	assert fleetctl(clean, "unload", "a") == ("Unit a.service inactive\n",
		"Successfully unloaded units [a.service].\n", 0)
	assert fleetctl(clean, "destroy", "a", "nosuch") == ("Destroyed a.service\n", "", 0)
	assert fleetctl(clean, "destroy", "a") == ("", "Units not found in registry\n", 0)


def test_fleetctls_start_that_fails(clean):
	path = clean.write("bad.service", service("Type=oneshot", start="exit 3", fleet=ON_N1))
	out, err, code = fleetctl(clean, "start", path)
	assert (out, code) == ("", 1)
	assert err.startswith("Error waiting for units: Failed to find an active unit bad.service within "
		"2s, err: failed on ")


def test_fleetctl_waits_for_a_machine_that_can_take_it(clean, n1):
	text = service(fleet="MachineMetadata=host=n9")
	path = clean.write("late.service", text)
	out, err, code = fleetctl(clean, "start", "--block-attempts=1", path)
	assert code == 1 and "no machine can take late.service now" in err and "host=n9" in err
	assert "not yet after 2.0 s" in err
	# By its own name the program says so and ends.
	out, err, code = flotactl(clean, "start", "late")
	assert code == UNSCHEDULABLE

	waiter = clean.fleet.popen(clean.fleet.dir / "bin" / "fleetctl", "start", "late",
		env=environment(clean), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
	assert "no machine can take" in waiter.stderr.readline()
	clean.start("late.service", text.replace("n9", "n1"), "--replace")
	out, _ = waiter.communicate()
	assert waiter.returncode == 0 and out == f"Unit late.service launched on {where_text(n1)}\n"


# --- ssh ------------------------------------------------------------------------------------------
def ssh_calls(flota):
	"""How ssh(1) was called since the last time."""
	path = flota.fleet.outside(flota.fleet.dir / "bin" / "ssh.called")
	lines = path.read_text().splitlines() if path.exists() else []
	path.unlink(missing_ok=True)
	return lines


def test_ssh_by_machine_and_by_unit(clean, n1, n2):
	clean.start("a.service", service(fleet=ON_N1))
	for argv in ([n1.machine_id], [n1.machine_id[:12]], ["a"], ["a.service"],
			["--unit=a"], ["-m", n1.machine_id]):
		assert flotactl(clean, "ssh", *argv) == ("", "", 0)
		assert ssh_calls(clean) == [f"-- {n1.address}"]
	assert flotactl(clean, "ssh", "-A", "--ssh-port=2222", "--ssh-username=ana", n2.machine_id,
		"ls", "-l", "/") == ("", "", 0)
	assert ssh_calls(clean) == [f"-l ana -p 2222 -A -- {n2.address} ls -l /"]
	assert fleetctl(clean, "--ssh-username=ana", "ssh", "--machine", n2.machine_id[:8], "id",
		FLEETCTL_STRICT_HOST_KEY_CHECKING="false") == ("", "", 0)
	assert ssh_calls(clean) == ["-l ana -o ConnectTimeout=10 -o UserKnownHostsFile="
		f"~/.fleetctl/known_hosts -o StrictHostKeyChecking=no -- {n2.address} id"]


def test_ssh_refuses_what_is_ambiguous(clean, n1, n2):
	clean.start("everywhere.service", service(fleet="Global=true"))
	wait_until(lambda: len(clean.where("everywhere.service")) == 2, "the global unit")
	assert "is on 2 machines" in flotactl(clean, "ssh", "--unit=everywhere")[1]
	assert flotactl(clean, "ssh", "--unit=everywhere", f"--machine={n2.machine_id}")[2] == 0
	assert ssh_calls(clean) == [f"-- {n2.address}"]
	# A unit whose name is the beginning of a machine's ID.
	name = n1.machine_id[:8]
	clean.start(f"{name}.service", service(fleet="MachineMetadata=host=n2"))
	out, err, code = flotactl(clean, "ssh", name)
	assert code == 1 and "is both a machine and a unit" in err
	assert flotactl(clean, "ssh", f"--unit={name}")[2] == 0
	assert flotactl(clean, "ssh", f"--machine={name}")[2] == 0
	assert ssh_calls(clean) == [f"-- {n2.address}", f"-- {n1.address}"]
	assert "neither the beginning of a machine's ID nor a unit" in flotactl(clean, "ssh", "nosuch")[1]
	assert fleetctl(clean, "ssh", "nosuch") == ("",
		"Unable to proceed: could not find matching unit or machine\n", 1)
	assert ssh_calls(clean) == []


# --- listings -------------------------------------------------------------------------------------
def test_full_fields_no_legend(clean, n1, n2):
	clean.start("a.service", service(fleet=ON_N1))
	short, full = f"{n1.machine_id[:8]}.../{n1.address}", f"{n1.machine_id}/{n1.address}"
	for verb in "list-units", "list-unit-files":
		field = {"list-units": "machine", "list-unit-files": "target"}[verb]
		assert fleetctl(clean, verb, "--no-legend", f"--fields=unit,{field}")[0] == f"a.service\t{short}\n"
		for option in "--full", "--l", "-l":
			out = fleetctl(clean, verb, option, "--no-legend", f"--fields={field},hash")[0]
			machine, digest = out.split()
			assert machine == full and len(digest) == 40
	ids = sorted([n1.machine_id, n2.machine_id])
	assert fleetctl(clean, "list-m", "--full", "--no-legend", "--fields=machine")[0].split() == ids
	assert fleetctl(clean, "list-units", "--fields=foo") == (
		"", "Invalid key in output format: \"foo\"\n", 1)


# --- apply, edit, wait ----------------------------------------------------------------------------
def folder_of(clean, **texts):
	folder = clean.fleet.dir / "plan"
	outside = clean.fleet.outside(folder)
	outside.mkdir(exist_ok=True)
	for path in outside.iterdir():
		path.unlink()
	for name, text in texts.items():
		(outside / f"{name}.service").write_text(text)
	return folder


def test_apply_brings_hosts_to_what_files_say(clean, n1):
	one, two = service("Environment=v=1", fleet=ON_N1), service("Environment=v=2", fleet=ON_N1)
	folder = folder_of(clean, a=one, b=one)
	assert flotactl(clean, "apply", "--dry-run", folder)[2] == 2
	out, err, code = flotactl(clean, "apply", "--yes", folder)
	assert code == 0 and f"Unit a.service launched on {where_text(n1)}\n" in out
	before = {unit: n1.show(unit, "MainPID") for unit in ("a.service", "b.service")}
	assert flotactl(clean, "apply", "--dry-run", folder) == ("0 new, 0 changed, 0 gone\n", "", 0)

	# One changed, one only in its comments: the one is restarted, the other is not.
	folder = folder_of(clean, a=two, b=one + "# a comment\n")
	out, err, code = flotactl(clean, "apply", "--yes", folder)
	assert code == 0 and "-Environment=v=1\n+Environment=v=2\n" in out
	assert n1.show("a.service", "Environment")["Environment"] == "v=2"
	assert n1.show("a.service", "MainPID") != before["a.service"]
	assert n1.show("b.service", "MainPID") == before["b.service"]
	assert flotactl(clean, "cat", "b")[0] == one + "# a comment\n"

	# One is in no file any more.
	folder = folder_of(clean, a=two)
	assert flotactl(clean, "apply", "--dry-run", folder)[2] == 0
	out, err, code = flotactl(clean, "apply", "--yes", "--prune", folder)
	assert code == 0 and out.endswith("Destroyed b.service\n")
	assert n1.show("b.service", "LoadState")["LoadState"] == "not-found"
	assert n1.show("a.service", "ActiveState")["ActiveState"] == "active"


def test_apply_tells_what_fails(clean):
	good, bad = service(fleet=ON_N1), service("Type=oneshot", start="exit 3", fleet=ON_N1)
	out, err, code = flotactl(clean, "apply", "--yes", folder_of(clean, bad=bad, good=good))
	assert code == 1 and "bad.service failed on" in err and "Unit good.service launched" in out


@pytest.mark.parametrize("answer, code", [("y", 0), ("n", 1), ("", 1)])
def test_apply_asks_on_a_terminal(clean, n1, answer, code):
	folder = folder_of(clean, asked=service(fleet=ON_N1))
	ours, theirs = pty.openpty()
	with os.fdopen(ours, "wb", buffering=0) as terminal:
		asked = clean.fleet.popen(BIN / "flotactl", "apply", folder, env=environment(clean),
			stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
		os.close(theirs)
		terminal.write(f"{answer}\n".encode())
		out, err = asked.communicate()
	assert asked.returncode == code, (out, err)
	assert "new      asked.service, to be started\n" in out and "Do this? [y/N]" in err
	assert ("nothing was changed" in err) == (code == 1)
	assert (n1.show("asked.service", "ActiveState")["ActiveState"] == "active") == (code == 0)


def test_edit_restarts_with_the_new_file(clean, n1):
	clean.start("a.service", service("Environment=v=1", fleet=ON_N1))
	before = n1.show("a.service", "MainPID")
	out, err, code = flotactl(clean, "edit", "a", EDITOR="sed -i s/v=1/v=2/")
	assert (out, err, code) == (f"Unit a.service launched on {where_text(n1)}\n", "", 0)
	assert n1.show("a.service", "Environment")["Environment"] == "v=2"
	assert n1.show("a.service", "MainPID") != before
	# What is stopped stays so.
	clean.flotactl("stop", "a")
	assert flotactl(clean, "edit", "a", EDITOR="sed -i s/v=2/v=3/")[2] == 0
	assert n1.show("a.service", "Environment", "ActiveState") == {
		"Environment": "v=3", "ActiveState": "inactive"}


def test_wait(clean, n1):
	text = service("Type=oneshot", "RemainAfterExit=yes", "ExecStartPre=/usr/bin/mkfifo /run/gate",
		start="read line < /run/gate", fleet=ON_N1)
	clean.start("gate.service", text, "--no-block")
	settle(n1, "gate.service", "activating")
	assert "activating" in clean.refused("wait", "--timeout=100ms", "gate", code=TIMEOUT)
	waiter = clean.flotactl_popen("wait", "gate", stdout=subprocess.PIPE)
	n1.run("sh", "-c", "echo open > /run/gate")
	assert waiter.communicate()[0] == f"Unit gate.service launched on {where_text(n1)}\n"
	assert waiter.returncode == 0
	assert n1.show("gate.service", "ActiveState")["ActiveState"] == "active"

	for goal, verb in ("stopped", "stop"), ("gone", "destroy"):
		waiter = clean.flotactl_popen("wait", f"--for={goal}", "gate", stdout=subprocess.PIPE)
		clean.flotactl(verb, "gate")
		waiter.communicate()
		assert waiter.returncode == 0
	n1.run("rm", "/run/gate")


def test_wait_ends_when_a_unit_fails(clean, n1):
	clean.refused("start", clean.write("bad.service", service("Type=exec", fleet=ON_N1).replace(
		"/bin/sh", "/no/such/program")))
	assert "bad.service failed on" in clean.refused("wait", "bad")
	assert clean.flotactl("wait", "--for=stopped", "bad").returncode == 0
