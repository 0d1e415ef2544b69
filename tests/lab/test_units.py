"""What flotactl does to a unit is what the host's systemd says of it."""

import os
import pty
import re
import subprocess

import pytest

from flota import BIN, UNIT_DIRECTORY, Flota, service, settle, where_text
from lab import Fleet, wait_until

OWN = "/etc/systemd/system/own.service"


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		n1 = flota.new_host("n1", metadata="host=n1",
			files={OWN: "[Service]\nExecStart=sleep infinity\n"})
		n1.enable("own.service")
		n1.boot()
		flota.host("n2", metadata="host=n2")
		flota.ready()
		yield flota


ON_N1 = "MachineMetadata=host=n1"


def main_pid(host, unit):
	return int(host.show(unit, "MainPID")["MainPID"])


def known(host, unit):
	"""Whether the host's systemd knows the unit, or a file of it is there."""
	load = host.show(unit, "LoadState")["LoadState"]
	files = host.run("find", UNIT_DIRECTORY, "-name", unit + "*").stdout
	return load != "not-found" or files != ""


def forgotten(host, unit):
	wait_until(lambda: not known(host, unit), f"{host.name} to forget {unit}")


# --- the verbs ------------------------------------------------------------------------------------
def test_start(clean, n1, n2):
	done = clean.start("a.service", service(fleet=ON_N1))
	assert done.stdout == f"Unit a.service launched on {where_text(n1)}\n"
	assert n1.show("a.service", "ActiveState", "SubState", "FragmentPath", "Description") == {
		"ActiveState": "active", "SubState": "running",
		"FragmentPath": f"{UNIT_DIRECTORY}/a.service", "Description": "A unit of the lab"}
	assert not known(n2, "a.service")


def test_start_of_several_units(clean, n1):
	names = [f"many{i}.service" for i in range(10)]
	done = clean.flotactl("start", *[clean.write(name, service(fleet=ON_N1)) for name in names])
	assert len(done.stdout.splitlines()) == 10
	for name in names:
		assert n1.show(name, "ActiveState")["ActiveState"] == "active"


def test_units_are_in_their_tenants_slice(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	assert n1.show("a.service", "Slice")["Slice"] == "flota-default.slice"


def test_load_places_without_starting(clean, n1):
	clean.flotactl("load", clean.write("a.service", service(fleet=ON_N1)))
	assert n1.show("a.service", "LoadState", "ActiveState") == {
		"LoadState": "loaded", "ActiveState": "inactive"}


def test_submit_only_stores(clean, n1, n2):
	done = clean.flotactl("submit", clean.write("a.service", service(fleet=ON_N1)))
	assert done.stdout == "Unit a.service inactive\n"
	assert not known(n1, "a.service") and not known(n2, "a.service")


def test_stop_keeps_it_loaded(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	done = clean.flotactl("stop", "a.service")
	assert n1.show("a.service", "LoadState", "ActiveState") == {
		"LoadState": "loaded", "ActiveState": "inactive"}
	assert "Successfully stopped units [a.service]." in done.stderr
	clean.flotactl("start", "a")
	assert n1.show("a.service", "ActiveState")["ActiveState"] == "active"


def test_restart_is_a_new_process(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	before = main_pid(n1, "a.service")
	clean.flotactl("restart", "a.service")
	assert n1.show("a.service", "ActiveState")["ActiveState"] == "active"
	assert main_pid(n1, "a.service") not in (0, before)


def test_start_of_what_runs_changes_nothing(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	before = main_pid(n1, "a.service")
	clean.flotactl("start", "a.service")
	assert main_pid(n1, "a.service") == before


def test_unload_takes_it_from_the_host_and_keeps_the_file(clean, n1):
	text = service(fleet=ON_N1)
	clean.start("a.service", text)
	done = clean.flotactl("unload", "a.service")
	forgotten(n1, "a.service")
	assert "Successfully unloaded units [a.service]." in done.stderr
	assert clean.flotactl("cat", "a.service").stdout == text
	clean.flotactl("start", "a.service")
	assert n1.show("a.service", "ActiveState")["ActiveState"] == "active"


def test_destroy_leaves_nothing(clean, n1):
	clean.start("a.service", service(fleet=ON_N1, unit="[Install]\nWantedBy=b.target"))
	pid = main_pid(n1, "a.service")
	done = clean.flotactl("destroy", "a.service")
	assert done.stdout == "Destroyed a.service\n"
	forgotten(n1, "a.service")
	assert n1.run("test", "-e", f"/proc/{pid}", check=False).returncode == 1
	assert "Unit a.service does not exist" in clean.refused("cat", "a.service")
	# The name is free again, for another content.
	clean.start("a.service", service("Environment=new=1", fleet=ON_N1))
	assert n1.show("a.service", "Environment")["Environment"] == "new=1"


def test_verbs_on_unknown_units(clean):
	for verb in "stop", "restart", "unload", "destroy":
		assert "Unit nosuch.service does not exist" in clean.refused(verb, "nosuch.service")
	assert "unable to find Unit(nosuch.service)" in clean.refused("start", "nosuch.service")
	assert "does not exist" in clean.refused("status", "nosuch")


# --- replacing ------------------------------------------------------------------------------------
def test_replace_puts_the_new_bytes_on_the_host_and_touches_no_other(clean, n1):
	clean.start("other.service", service(fleet=ON_N1))
	clean.start("a.service", service("Environment=v=1", fleet=ON_N1))
	others = n1.show("other.service", "MainPID", "ActiveEnterTimestampMonotonic")
	before = main_pid(n1, "a.service")

	text = service("Environment=v=2", fleet=ON_N1) + "# the new one"
	warned = clean.start("a.service", text)
	assert "differs from local unit file" in warned.stderr and "--replace" in warned.stderr
	assert n1.show("a.service", "Environment")["Environment"] == "v=1"

	clean.start("a.service", text, "--replace")
	assert n1.read(f"{UNIT_DIRECTORY}/a.service") == text
	assert n1.show("a.service", "Environment", "ActiveState", "NeedDaemonReload") == {
		"Environment": "v=2", "ActiveState": "active", "NeedDaemonReload": "no"}
	assert b"v=2" in n1.run("cat", f"/proc/{main_pid(n1, 'a.service')}/environ", text=False).stdout
	assert main_pid(n1, "a.service") != before
	assert n1.show("other.service", "MainPID", "ActiveEnterTimestampMonotonic") == others


def test_file_comes_back_byte_for_byte(clean, n1):
	text = (b"# \xc3\xb1and\xc3\xba ; first\r\n[Unit]\n\n\nDescription = spaces  \n"
		b"[Service]\nExecStart=/bin/sh -c \\\n  'exec sleep \\\n# a comment inside\n infinity'\n"
		b"[X-Fleet]\nMachineMetadata=host=n1\n; the last line has no end")
	clean.start("bytes.service", text)
	assert n1.run("cat", f"{UNIT_DIRECTORY}/bytes.service", text=False).stdout == text
	assert clean.flotactl("cat", "bytes", text=False).stdout == text


# --- units that fail or end -----------------------------------------------------------------------
def test_start_that_fails_says_systemds_reason(clean, n1):
	text = service("Type=exec", fleet=ON_N1).replace("/bin/sh", "/no/such/program")
	error = clean.refused("start", clean.write("bad.service", text))
	assert where_text(n1) in error and "203/EXEC" in error
	assert n1.show("bad.service", "ActiveState")["ActiveState"] == "failed"


def test_file_that_systemd_refuses(clean, n1):
	# Newer versions take it, so it is for the host to refuse.
	text = service("Type=oneshot", "RestartForceExitStatus=5", fleet=ON_N1)
	error = clean.refused("start", "--lenient", clean.write("bad.service", text))
	assert "bad.service has a bad unit file setting" in error
	assert n1.show("bad.service", "LoadState")["LoadState"] == "bad-setting"


# It fails until /run/good exists.
FRAGILE = service("ExecStartPre=/usr/bin/test -e /run/good", fleet=ON_N1)


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_failed_unit_can_be_started_again(clean, n1, verb):
	error = clean.refused("start", clean.write("fragile.service", FRAGILE))
	assert "one of its commands ended with an error" in error
	assert "ended with an error" in clean.refused(verb, "fragile.service")
	n1.write("/run/good", "")
	clean.flotactl(verb, "fragile.service")
	assert n1.show("fragile.service", "ActiveState")["ActiveState"] == "active"
	n1.run("rm", "/run/good")


def test_failed_unit_can_be_destroyed(clean, n1):
	clean.refused("start", clean.write("fragile.service", FRAGILE))
	clean.flotactl("destroy", "fragile.service")
	forgotten(n1, "fragile.service")


def test_oneshot(clean, n1):
	text = service("Type=oneshot", start="echo ran >> /run/oneshot", fleet=ON_N1)
	clean.start("once.service", text)
	assert n1.read("/run/oneshot") == "ran\n"
	clean.flotactl("start", "once.service")
	assert n1.read("/run/oneshot") == "ran\nran\n"


def test_end_of_a_process_is_reported(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	n1.run("kill", "-SEGV", str(main_pid(n1, "a.service")))
	wait_until(lambda: "failed" in clean.flotactl("list-units").stdout, "the report")
	[unit] = clean.json("list-units")
	assert "SIGSEGV" in unit["placements"][0]["error"]


def test_restart_is_systemds_matter(clean, n1):
	clean.start("a.service", service("Restart=always", "RestartSec=0", fleet=ON_N1))
	before = main_pid(n1, "a.service")
	n1.run("kill", "-KILL", str(before))
	wait_until(lambda: main_pid(n1, "a.service") not in (0, before), "its new process")
	wait_until(lambda: clean.json("list-units")[0]["placements"][0]["systemd"]["main_pid"]
		== main_pid(n1, "a.service"), "the coordinator to know of it")


def test_name_that_the_host_has_itself_is_refused(clean, n1):
	own = n1.read(OWN)
	before = main_pid(n1, "own.service")
	error = clean.refused("start", clean.write("own.service", service(fleet=ON_N1)))
	assert "the host has a unit of this name" in error and OWN in error
	clean.flotactl("destroy", "own.service")
	assert n1.read(OWN) == own
	assert main_pid(n1, "own.service") == before


def test_other_kinds(clean, n1):
	clean.start("tick.service", service("Type=oneshot", start="echo tick >> /run/ticks", fleet=ON_N1))
	clean.start("tick.timer", f"[Timer]\nOnActiveSec=1ms\n[X-Fleet]\n{ON_N1}\n")
	assert n1.show("tick.timer", "ActiveState")["ActiveState"] == "active"
	wait_until(lambda: n1.read("/run/ticks").count("tick") >= 2, "the timer's own start")
	clean.start("all.target", f"[Unit]\nDescription=All\n[X-Fleet]\n{ON_N1}\n")
	settle(n1, "all.target")


# --- looking --------------------------------------------------------------------------------------
def test_status_is_systemctls(clean, n1):
	def same():
		theirs = n1.systemctl("status", "--full", "a.service").stdout
		mine = clean.flotactl("status", "a").stdout
		return [re.sub("; .* ago$", "", text, flags=re.MULTILINE) for text in (theirs, mine)]
	clean.start("a.service", service(fleet=ON_N1))
	done = clean.flotactl("status", "a")
	assert re.search(r"Active: active \(running\) since", done.stdout)
	assert f"Main PID: {main_pid(n1, 'a.service')} (" in done.stdout
	wait_until(lambda: len(set(same())) == 1, "both to say the same")
	clean.flotactl("stop", "a")
	done = clean.flotactl("status", "a", check=False)
	assert done.returncode == 3 and "Active: inactive (dead)" in done.stdout
	clean.flotactl("unload", "a")
	done = clean.flotactl("status", "a", check=False)
	assert done.returncode == 3 and "a.service is on no machine" in done.stdout


def test_journal_lines(clean, n1):
	clean.start("talk.service", service(fleet=ON_N1,
		start="for i in 1 2 3 4 5; do echo line $$i; done; exec sleep infinity"))
	wait_until(lambda: "line 5" in n1.journal("-u", "talk.service"), "its journal")
	last = n1.run("journalctl", "--unit=talk.service", "--lines=2", "--output=cat").stdout
	assert clean.flotactl("journal", "--lines=2", "--output=cat", "talk").stdout == last
	assert len(last.splitlines()) == 2
	assert clean.flotactl("journal", "-n", "100", "talk").stdout.count(" line ") == 5


def test_journal_follows(clean, n1):
	clean.start("echo.service", service("ExecStartPre=/usr/bin/mkfifo /run/echo", fleet=ON_N1,
		start="echo begin; exec cat <> /run/echo"))
	follower = clean.flotactl_popen("journal", "-f", "--output=cat", "echo", stdout=subprocess.PIPE)

	def follow(line):
		while follower.stdout.readline() != line + "\n":
			assert follower.poll() is None
	follow("begin")
	for word in "one", "two":
		n1.run("sh", "-c", f"echo {word} > /run/echo")
		follow(word)
	# When nobody follows any more, nothing of it stays on the host.
	follower.terminate()
	follower.communicate()
	wait_until(lambda: n1.run("pgrep", "-x", "journalctl", check=False).returncode == 1,
		"the end of journalctl on the host")
	n1.run("rm", "/run/echo")


def rows(text):
	return [re.split(r"\t+", line.strip()) for line in text.splitlines()]


def test_list_units(clean, n1):
	assert rows(clean.flotactl("list-units").stdout) == [["UNIT", "MACHINE", "ACTIVE", "SUB"]]
	clean.start("b.service", service(fleet=ON_N1))
	clean.refused("start", clean.write("a.service", FRAGILE))
	assert rows(clean.flotactl("list-units").stdout) == [
		["UNIT", "MACHINE", "ACTIVE", "SUB"],
		["a.service", where_text(n1), "failed", "failed"],
		["b.service", where_text(n1), "active", "running"]]
	chosen = clean.flotactl("list-units", "--no-legend", "--full", "--fields=unit,load,machine").stdout
	assert rows(chosen)[1] == ["b.service", "loaded", f"{n1.machine_id}/{n1.address}"]


def test_list_unit_files(clean, n1):
	clean.start("run.service", service(fleet=ON_N1))
	clean.flotactl("load", clean.write("loaded.service", service(fleet=ON_N1)))
	clean.flotactl("submit", clean.write("kept.service", service(fleet=ON_N1)))
	clean.start("everywhere.service", service(fleet="Global=true"))
	table = rows(clean.flotactl("list-unit-files").stdout)
	assert table[0] == ["UNIT", "HASH", "DSTATE", "STATE", "TARGET"]
	assert all(re.fullmatch("[0-9a-f]{7}", row[1]) for row in table[1:])
	assert [row[:1] + row[2:] for row in table[1:]] == [
		["everywhere.service", "launched", "-", "global"],
		["kept.service", "inactive", "inactive", "-"],
		["loaded.service", "loaded", "loaded", where_text(n1)],
		["run.service", "launched", "launched", where_text(n1)]]


def test_list_machines(clean, n1, n2):
	table = rows(clean.flotactl("list-machines").stdout)
	assert table[0] == ["MACHINE", "IP", "METADATA"]
	assert sorted(table[1:]) == sorted([f"{host.machine_id[:8]}...", host.address, f"host={host.name}"]
		for host in (n1, n2))


def test_json(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	[unit] = clean.json("list-units")
	[placement] = unit["placements"]
	assert (unit["unit"], unit["desired"], unit["global"]) == ("a.service", "launched", False)
	assert placement["machine"] == n1.machine_id
	assert placement["systemd"]["main_pid"] == main_pid(n1, "a.service")
	assert clean.json("list-unit-files")[0]["hash"] == unit["hash"] == placement["hash"]
	machine = clean.machine(n1)
	assert machine["state"] == "up" and machine["units"] == 1 and machine["hostname"] == "n1"
	assert machine["metadata"] == {"host": "n1"}
	[done] = clean.json("stop", "a.service")
	assert (done["unit"], done["verb"], done["outcome"]) == ("a.service", "stop", "done")


def on_a_terminal(flota, *argv, **environment):
	"""What a program writes to a terminal."""
	ours, theirs = pty.openpty()
	program = flota.fleet.popen(BIN / "flotactl", *argv, env=flota.environment(**{"TERM": "xterm", **environment}),
		stdout=theirs)
	os.close(theirs)
	said = b""
	with os.fdopen(ours, "rb", buffering=0) as terminal:
		try:
			while data := terminal.read(4096):
				said += data
		except OSError:
			pass  # Linux's end of a terminal whose other side is closed
	assert program.wait() == 0
	return said.decode()


def test_colours_are_for_terminals_that_want_them(clean, n1):
	clean.start("a.service", service(fleet=ON_N1))
	assert "\033[32mactive\033[0m" in on_a_terminal(clean, "list-units")
	for environment in {"NO_COLOR": "1"}, {"TERM": "dumb"}:
		assert "\033" not in on_a_terminal(clean, "list-units", **environment)
	assert "\033" not in clean.flotactl("list-units").stdout


def test_no_block_and_timeout(clean, n1):
	slow = service("Type=oneshot", start="exec sleep infinity", fleet=ON_N1)
	done = clean.start("slow.service", slow, "--no-block")
	assert done.stdout == "Triggered unit slow.service start\n"
	settle(n1, "slow.service", "activating")
	assert "activating" in clean.refused("start", "--timeout=100ms", "slow.service", code=7)
