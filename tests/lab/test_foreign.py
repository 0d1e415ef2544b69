"""Unit files that others wrote: kept byte for byte, and broken where systemd says that they are."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from flota import BIN, ROOT, Flota
from lab import Fleet, rootfs

TESTDATA = ROOT / "unitfiles/testdata"
SUFFIXES = {".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".slice", ".target"}
STUB = "[Service]\nExecStart=/bin/true\n"


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		host = fleet.host("n1")
		host.ready()
		host.install({"/usr/bin/flotactl": BIN / "flotactl"}, mode=0o755)
		yield flota


def files_below(*folders):
	"""{path: bytes} of the unit files there. Links are others' names, empty files are masked units."""
	paths = [Path(top, name) for folder in folders for top, _, names in os.walk(folder) for name in names]
	return {path: path.read_bytes() for path in sorted(paths)
		if path.suffix in SUFFIXES and not path.is_symlink() and path.stat().st_size > 0}


def foreign_files():
	"""Those of every package in the hosts' root file system, of packages that `debian-units` fetched
	if somebody did, and those in the patterns of fleet's time."""
	root = Path(rootfs("bookworm"))
	return files_below(root / "usr/lib/systemd/system", root / "usr/lib/systemd/user",
		root / "etc/systemd/system", root.parent / "debian-units", TESTDATA / "fleet")


# --- byte for byte --------------------------------------------------------------------------------
def fleet_hash(content):
	"""fleet's hash, from the description in unitfiles/file.h and not from its code."""
	sections = {}
	lines = content.decode().removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
	section, at = None, 0
	while at < len(lines):
		line = lines[at].strip(" \t")
		at += 1
		if not line or line[0] in "#;":
			continue
		if line[0] == "[":
			section = sections.setdefault(line[1:-1], [])
			continue
		key, value = lines[at - 1].split("=", 1)
		while re.search(r"(?<!\\)(\\\\)*\\$", value):
			while at < len(lines) and lines[at].strip(" \t")[:1] in ("#", ";"):
				at += 1
			if at == len(lines):
				value = value[:-1]
				break
			value += "\n" + lines[at]
			at += 1
		section.append(key.strip(" \t") + "=" + value.strip(" \t") + "\n")
	parts = [f"[{name}]\n" + "".join(options) for name, options in sections.items() if options]
	return hashlib.sha1("\n".join(parts).encode()).hexdigest()


def submit(flota, files):
	"""As one command; the units' names."""
	paths = [flota.write(path.name, content) for path, content in files.items()]
	flota.flotactl("submit", *paths)
	return [path.name for path in files]


def test_foreign_files_come_back_as_they_were(flota, record_property):
	files = foreign_files()
	record_property("foreign unit files", len(files))
	assert len(files) > 150
	while files:
		# Several folders have files of the same name: one of each at a time.
		batch = {path.name: path for path in files}
		batch = {path: files.pop(path) for path in batch.values()}
		names = submit(flota, batch)
		listed = {unit["unit"]: unit["hash"] for unit in flota.json("list-unit-files")}
		for path, content in batch.items():
			printed = flota.flotactl("cat", path.name, text=False).stdout
			assert printed == content, path
			assert listed[path.name] == fleet_hash(content), path
		flota.flotactl("destroy", *names)


# --- broken or not --------------------------------------------------------------------------------
def table():
	"""The rows of verify.txt: verdict, name, why, text."""
	text = (TESTDATA / "verify.txt").read_text()
	rows = re.findall(r"^=== (\w+) ([^\s:]+):?(.*)\n((?:(?!=== ).*\n)*)", text, re.MULTILINE)
	assert len(rows) == text.count("\n=== ") > 80
	return rows


def verdicts(host, files):
	"""Of (name, text): whether systemd, and whether flota, calls the unit broken; and what both said."""
	script = 'cd "$1" && systemd-analyze verify --man=no "./$2" 2>&1; echo "systemd $?"; ' \
		'flotactl verify "./$2" 2>&1; echo "flota $?"'
	for number, (name, text) in enumerate(files):
		folder = f"/root/verify/{number}"
		# A socket's service must be there, whatever else is asked of it.
		host.install({f"{folder}/{stub}": STUB for stub in ("a.service", "a@.service")})
		host.install({f"{folder}/{name}": text})
		said = host.run("sh", "-c", script, "sh", folder, name).stdout
		yield re.search(r"^systemd [^0]", said, re.M) is not None, \
			re.search(r"^flota [^0]", said, re.M) is not None, said


def test_systemd_and_flota_agree_on_what_is_broken(flota):
	host = flota.fleet.hosts["n1"]
	expected = {"good": (False, False), "broken": (True, True), "strict": (False, True), "lax": (True, False)}
	rows = table()
	for row, got in zip(rows, verdicts(host, [(name, text) for _, name, _, text in rows])):
		assert got[:2] == expected[row[0]], f"{row}\nsystemd, flota: {got}"


def test_calendar_events_are_read_as_systemd_reads_them(flota):
	host = flota.fleet.hosts["n1"]
	rows = re.findall(r'^(OK|NO)\("(.*)"\)$', (TESTDATA / "calendar.inc").read_text(), re.M)
	assert len(rows) > 60
	for verdict, text in rows:
		if "Europe/" in text:
			continue  # the hosts have no time zones; flota leaves them to those that do
		done = host.run("systemd-analyze", "calendar", "--", text, check=False)
		assert (done.returncode == 0) == (verdict == "OK"), text


def test_files_of_debian_and_of_fleets_time_are_not_broken(flota):
	"""What systemd has loaded on the host, flota takes; and systemd's own word on the others."""
	host = flota.fleet.hosts["n1"]
	files = foreign_files()
	paths = [flota.write(f"{number}-{path.name}", content)
		for number, (path, content) in enumerate(files.items()) if path.suffix in (".service", ".timer")]
	told = json.loads(flota.flotactl("verify", "--output=json", *paths).stdout)
	assert [file for file in told if not file["valid"] or file["warnings"]] == []
	own = [path for path in files if str(path).startswith(str(rootfs("bookworm")))
		and path.parent.name == "system"]
	assert len(own) > 100
	for path in own:
		state = host.show(re.sub(r"@\.", "@x.", path.name), "LoadState")["LoadState"]
		assert state in ("loaded", "masked"), path
