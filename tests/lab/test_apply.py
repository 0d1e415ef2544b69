"""apply, edit and wait, on hosts: what the plan says is what happens, and every exit code.

Plans that need no machine, and files that are refused, are in cli/apply_test.c.
"""

import os
import pty
import subprocess

import pytest

from flota import BIN, TIMEOUT, service, settle, where_text

HOSTS = {"n1": "host=n1", "n2": "host=n2"}
ON_N1 = "MachineMetadata=host=n1"


def flotactl(flota, *argv, **environment):
	return flota.said(BIN / "flotactl", *argv, **environment)


# --- apply ----------------------------------------------------------------------------------------
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


def test_what_goes_makes_room_for_what_comes(clean, n1):
	folder = folder_of(clean, old=service(fleet=ON_N1))
	assert flotactl(clean, "apply", "--yes", folder)[2] == 0
	folder = folder_of(clean, new=service(fleet=f"{ON_N1}\nConflicts=old.service"))
	assert flotactl(clean, "apply", "--dry-run", "--prune", folder) == (
		"new      new.service, to be started\ngone     old.service, to be destroyed\n"
		"1 new, 0 changed, 1 gone\n", "", 2)
	out, err, code = flotactl(clean, "apply", "--yes", "--prune", folder)
	assert (err, code) == ("", 0) and f"Unit new.service launched on {where_text(n1)}\n" in out
	assert n1.show("new.service", "ActiveState")["ActiveState"] == "active"
	assert n1.show("old.service", "ActiveState")["ActiveState"] == "inactive"


def test_apply_tells_what_fails(clean):
	good, bad = service(fleet=ON_N1), service("Type=oneshot", start="exit 3", fleet=ON_N1)
	out, err, code = flotactl(clean, "apply", "--yes", folder_of(clean, bad=bad, good=good))
	assert code == 1 and "bad.service failed on" in err and "Unit good.service launched" in out


@pytest.mark.parametrize("answer, code", [("y", 0), ("n", 1), ("", 1)])
def test_apply_asks_on_a_terminal(clean, n1, answer, code):
	folder = folder_of(clean, asked=service(fleet=ON_N1))
	ours, theirs = pty.openpty()
	with os.fdopen(ours, "wb", buffering=0) as terminal:
		asked = clean.fleet.popen(BIN / "flotactl", "apply", folder, env=clean.environment(),
			stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
		os.close(theirs)
		terminal.write(f"{answer}\n".encode())
		out, err = asked.communicate()
	assert asked.returncode == code, (out, err)
	assert "new      asked.service, to be started\n" in out and "Do this? [y/N]" in err
	assert ("nothing was changed" in err) == (code == 1)
	assert (n1.show("asked.service", "ActiveState")["ActiveState"] == "active") == (code == 0)


# --- edit and wait --------------------------------------------------------------------------------
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
