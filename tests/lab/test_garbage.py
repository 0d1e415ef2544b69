"""What no peer of ours would say, and what a host can do to a program: a clear error, nothing that was
acknowledged lost, and the service goes on or says what to do.
"""

import contextlib
import functools
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flota import BIN, PORT, Flota, envelope, field, service, settle
from lab import GATEWAY, HERE, Fleet, wait_until

HOSTS = {"n1": ""}

MESSAGE_MAX = 4 << 20
REQ_HELLO = b"\0SP\0" + struct.pack("!HH", 48, 0)
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@pytest.fixture(scope="module")
def operator(flota):
	return flota.issue("operator", "ana")


def serves(flota):
	"""The coordinator lives, takes a unit, has it run and forgotten."""
	assert flota.coordinator.poll() is None
	flota.start("serves.service", service())
	assert flota.runs_on("serves.service").name == "n1"
	flota.flotactl("destroy", "serves.service")


# --- garbage --------------------------------------------------------------------------------------
def rude(flota, *lines, certificate=None):
	"""Says this; whether the coordinator closed the connection, and what it said before."""
	files = [certificate / name for name in ("ca.crt", "operator.crt", "operator.key")] if certificate else []
	done = flota.fleet.run(HERE / "rudepeer", GATEWAY, PORT, *files,
		input="".join(line.hex() + "\n" for line in lines), check=False, timeout=120)
	assert done.returncode in (0, 3), done.stderr
	return done.returncode == 0, bytes.fromhex("".join(done.stdout.split("\n")[1:]))


def test_garbage_in_place_of_tls(flota):
	noise = random.Random(1).randbytes(100_000)
	said = [b"GET / HTTP/1.0\r\n\r\n", REQ_HELLO, bytes(100_000), noise, b"\x16\x03\x01\xff\xff" + bytes(70_000),
		b"\x16\x03\x03\0\x04\x01\xff\xff\xff", b"\x15\x03\x03\0\x02\x02\x28", b"\x17\x03\x03\x40\x00" + bytes(1 << 14)]
	# Side by side: what does not end at once does after ten seconds.
	with ThreadPoolExecutor(len(said)) as pool:
		for garbage, (closed, _) in zip(said, pool.map(functools.partial(rude, flota), said)):
			assert closed, garbage[:20]
	serves(flota)


def message(size, body):
	return struct.pack("!Q", size) + body


REQUEST_ID = struct.pack("!I", 0x80000001)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n", b"\0SP\0" + struct.pack("!HH", 16, 0),
	REQ_HELLO + message(1 << 63, b""), REQ_HELLO + message(MESSAGE_MAX + 1, b"x" * 100),
	REQ_HELLO + message((1 << 64) - 1, bytes(1000)), REQ_HELLO + message(0, b"") + message(3, b"abc"),
	REQ_HELLO + message(1000, REQUEST_ID + b"x" * 10), REQ_HELLO + message(4 + 64, REQUEST_ID + b"\xff" * 64)],
	ids=["http", "a publisher", "2^63 bytes", "a byte too much", "all bits", "no request id", "truncated",
		"not an envelope"])
def test_garbage_over_tls(flota, operator, said):
	"""Nothing of it is answered; what is not closed at once is, when the peer goes."""
	_, answer = rude(flota, said, certificate=operator)
	assert answer[8:] == b"" or b"not a" in answer
	serves(flota)


def test_largest_message_is_refused_and_answered(flota, operator):
	"""Within the limit of nng, and full of nothing."""
	body = envelope(12, field(1, b"\xff" * 1000))
	body = body + b"\0" * (MESSAGE_MAX - 4 - len(body))
	rude(flota, REQ_HELLO + message(4 + len(body), REQUEST_ID + body), certificate=operator)
	serves(flota)


def test_message_that_never_ends(flota, operator):
	files = [operator / name for name in ("ca.crt", "operator.crt", "operator.key")]
	peers = [flota.fleet.popen(HERE / "rudepeer", GATEWAY, PORT, *files, stdin=subprocess.PIPE,
		stdout=subprocess.PIPE) for _ in range(20)]
	for peer in peers:
		assert peer.stdout.readline() == "open\n"
		print((REQ_HELLO + struct.pack("!Q", MESSAGE_MAX) + REQUEST_ID).hex(), file=peer.stdin, flush=True)
	for _ in range(20):
		for peer in peers:
			print("00" * 1000, file=peer.stdin, flush=True)
		assert flota.flotactl("list-machines").returncode == 0
	serves(flota)
	for peer in peers:
		peer.kill()
		peer.communicate()


# --- floods ---------------------------------------------------------------------------------------
# The beginning of a TLS 1.3 ClientHello: more is announced than ever comes.
HALF_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(range(32))


def flood(flota, count, hello=b""):
	process = flota.fleet.popen(HERE / "flood", GATEWAY, PORT, count, hello.hex(), stdin=subprocess.PIPE,
		stdout=subprocess.PIPE, stderr=subprocess.PIPE)
	assert process.stdout.readline() == "open\n", process.communicate()
	return process


def closed_of(process):
	out, err = process.communicate("", timeout=120)
	assert process.returncode == 0, err
	return int(out)


def descriptors(flota):
	return len(list(flota.fleet.outside(f"/proc/{coordinator_pid(flota)}/fd").iterdir()))


def coordinator_pid(flota):
	return flota.fleet.run("pgrep", "-x", "flota-coordinat").stdout.split()[0]


@pytest.mark.parametrize("hello", [b"", HALF_HELLO], ids=["idle", "half a handshake"])
def test_2000_connections_that_say_nothing(flota, hello):
	before = descriptors(flota)
	process = flood(flota, 2000, hello)
	serves(flota)
	host = flota.fleet.hosts["n1"]
	host.systemctl("restart", "flota-agent.service")  # its new connection gets through as well
	flota.ready()
	serves(flota)
	# They do not stay: who says nothing for ten seconds is closed.
	wait_until(lambda: descriptors(flota) < before + 20, "the connections to be closed")
	assert closed_of(process) == 2000
	serves(flota)


def test_descriptors_used_up(flota):
	"""With room for 200 of them, 1,000 connections come."""
	flota.stop()
	flota.boot("prlimit", "--nofile=200:200")
	flota.ready()
	host = flota.fleet.hosts["n1"]
	link = host.journal("-u", "flota-agent.service").count("link.down")
	process = flood(flota, 1000)
	wait_until(lambda: "coordinator.no_descriptors" in flota.log(), "the coordinator to say so")
	assert "raise LimitNOFILE=" in flota.log()
	# Those that say nothing go after ten seconds, so that others get their turn.
	wait_until(lambda: flota.flotactl("list-machines", check=False).returncode == 0, "an answer")
	assert process.poll() is None
	process.kill()
	process.communicate()
	wait_until(lambda: "coordinator.descriptors_recovered" in flota.log(), "the good news")
	serves(flota)
	# Who was connected before was served all the time.
	assert host.journal("-u", "flota-agent.service").count("link.down") == link
	assert flota.coordinator.poll() is None
	flota.stop()
	flota.boot()
	flota.ready()


# --- a full disk ----------------------------------------------------------------------------------
PADDING = "# " + "x" * 998 + "\n"


def submit_until_refused(flota):
	"""Units of 100 kB until the coordinator has no room; the names that it acknowledged, and its words."""
	names = []
	while True:
		name = f"big{len(names)}.service"
		path = flota.write(name, service() + 100 * PADDING)
		done = flota.flotactl("submit", path, check=False)
		if done.returncode:
			return names, done.stderr
		names.append(name)


def test_full_disk():
	with Fleet() as fleet:
		data = fleet.dir / "small"
		fleet.outside(data).mkdir()
		fleet.run("mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "none", data)
		flota = Flota(fleet, data=data)
		host = flota.host("n1")
		flota.ready()
		flota.start("runs.service", service())
		pid = host.show("runs.service", "MainPID")
		filler = data / "filler"

		for end in (None, signal.SIGKILL):
			fleet.run("dd", "if=/dev/zero", f"of={filler}", "bs=64k", check=False)
			names, said = submit_until_refused(flota)
			assert "the disk is full: make room there" in said and str(data) in said
			# The next ones hear at once, and nothing of what runs is touched.
			assert "cannot write its store" in flota.refused("stop", "runs.service")
			assert "the disk is full" in flota.refused("list-units")
			host.systemctl("restart", "flota-agent.service")
			assert host.show("runs.service", "MainPID") == pid
			if end:
				flota.stop(end)
				begun = len(flota.log())
				flota.begin()
				# It cannot serve before it has written, and says why.
				wait_until(lambda n=begun: "the disk is full" in flota.log()[n:]
					or "coordinator.ready" in flota.log()[n:], "it to begin")
			fleet.run("rm", filler)
			wait_until(lambda: flota.flotactl("list-units", check=False).returncode == 0, "it to recover")
			known = {unit["unit"] for unit in flota.json("list-unit-files")}
			assert known >= {"runs.service", *names}
			wait_until(lambda: flota.machine(host).get("state") == "up", "the agent")
			flota.start("more.service", service())
			flota.flotactl("destroy", *(known - {"runs.service"}), "more.service")
		assert "store.write_recovered" in flota.log()
		assert "machine.lost" not in flota.log()
		assert host.show("runs.service", "MainPID") == pid


def test_full_disk_of_a_host():
	with Fleet() as fleet:
		flota = Flota(fleet)
		host = flota.new_host("n1")
		host.boot()
		flota.ready()
		host.systemctl("stop", "flota-agent.service")
		host.run("mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", "/var/lib/flota/agent")
		host.systemctl("start", "flota-agent.service")
		flota.start("a.service", service())
		pid = host.show("a.service", "MainPID")
		host.run("dd", "if=/dev/zero", "of=/var/lib/flota/agent/filler", "bs=4k", check=False)
		# What it cannot keep it does not confirm, and says so; what runs there is not touched.
		flota.flotactl("start", "--no-block", flota.write("b.service", service() + 20 * PADDING))
		wait_until(lambda: "disk.write" in host.journal("-u", "flota-agent.service"), "the agent to complain")
		assert "No space left on device" in host.journal("-u", "flota-agent.service")
		assert flota.machine(host)["state"] == "up"
		host.systemctl("kill", "--signal=KILL", "flota-agent.service")
		assert host.show("a.service", "MainPID") == pid
		host.run("rm", "/var/lib/flota/agent/filler")
		settle(host, "b.service")
		flota.start("c.service", service())
		wait_until(lambda: host.run("grep", "-c", "c.service", "/var/lib/flota/agent/assignment.pb",
			check=False).returncode == 0, "the list to be on disk")
		assert host.show("a.service", "MainPID") == pid


# --- a damaged store ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def store():
	"""A coordinator that is down, whose store has units in it: its directory from outside."""
	with Fleet() as fleet:
		flota = Flota(fleet)
		for number in range(30):
			flota.flotactl("submit", flota.write(f"u{number}.service", service() + 20 * PADDING))
		flota.stop()
		directory = fleet.outside(flota.data)
		shutil.copytree(directory, directory.parent / "intact")
		yield flota, directory


def overwrite(path, offset, data):
	with open(path, "r+b") as file:
		file.seek(offset)
		file.write(data)


def turn_a_bit(path):
	"""Of a unit's text; SQLite itself would not see it."""
	overwrite(path, path.read_bytes().index(b"sleep infinity"), b"slee0")


def half(path):
	with open(path, "r+b") as file:
		file.truncate(path.stat().st_size // 8192 * 4096)


def in_sqlite(path, statement):
	with tempfile.TemporaryDirectory() as folder:  # SQLite refuses paths through /proc
		copy = shutil.copy(path, folder)
		with contextlib.closing(sqlite3.connect(copy)) as database:
			database.execute(statement)
			database.commit()
		shutil.copy(copy, path)


@pytest.mark.parametrize("damage, says", [
	(lambda path: overwrite(path, 0, bytes(100)), "is damaged"),
	(lambda path: overwrite(path, 0, b"not a database, but a text\n" * 10), "is damaged"),
	(lambda path: overwrite(path, 8192, random.Random(1).randbytes(16384)), "is damaged"),
	(half, "is damaged"),
	(turn_a_bit, "is not as it was written"),
	(lambda path: in_sqlite(path, "UPDATE record SET value = x'ff', sum = NULL WHERE key = 'unit/u7.service'"), "unit/u7.service"),
	(lambda path: in_sqlite(path, "UPDATE record SET key = 'unit/x.service', sum = NULL WHERE key = 'unit/u7.service'"),
		"unit/x.service"),
	(lambda path: in_sqlite(path, "DELETE FROM record WHERE key = 'meta'"), "of which fleet"),
	(lambda path: in_sqlite(path, "DROP TABLE record"), "is damaged"),
	(lambda path: in_sqlite(path, "PRAGMA user_version = 99"), "use a newer one"),
	(lambda path: in_sqlite(path, "PRAGMA application_id = 1"), "belongs to another program"),
], ids=["header", "a text", "pages", "half of it", "a bit", "a record", "a key", "no meta", "no table", "newer", "another's"])
def test_damaged_store(store, damage, says):
	flota, directory = store
	path = directory / "store.sqlite"
	intact = directory.parent / "intact" / path.name
	shutil.copy(intact, path)
	damage(path)
	before = path.read_bytes()
	done = flota.fleet.run(BIN / "flota-coordinator", "--config", flota.config, check=False)
	assert done.returncode == 1, done
	assert says in done.stderr and "store.sqlite" in done.stderr and "coordinator.ready" not in done.stderr
	assert path.read_bytes() == before
	# What it says helps: with a good file in its place all is there again.
	for file in directory.glob("store.sqlite*"):
		file.unlink()
	shutil.copy(intact, path)
	flota.boot()
	assert len(flota.json("list-unit-files")) == 30
	flota.stop()


# --- clocks that jump -----------------------------------------------------------------------------
def test_wall_clock_decides_nothing_but_certificates():
	with Fleet() as fleet:
		flota = Flota(fleet)
		flota.stop()
		host = flota.new_host("n1", files={"/etc/systemd/system/flota-agent.service.d/clock.conf":
			"[Service]\nEnvironment=LD_PRELOAD=/usr/lib/faketime.so FAKETIME_DONT_FAKE_MONOTONIC=1 "
			"FAKETIME_NO_CACHE=1 FAKETIME_TIMESTAMP_FILE=/etc/faketimerc\n", "/etc/faketimerc": "+0\n"})
		host.install({"/usr/lib/faketime.so": Path(FAKETIME)})
		clock = fleet.dir / "faketimerc"

		def set_clocks(offset):
			fleet.outside(clock).write_text(offset + "\n")
			host.install({"/etc/faketimerc": offset + "\n"})

		set_clocks("+0")
		flota.boot(LD_PRELOAD=FAKETIME, FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_NO_CACHE="1",
			FAKETIME_TIMESTAMP_FILE=str(clock))
		host.boot()
		flota.ready()
		flota.start("runs.service", service())
		pid = host.show("runs.service", "MainPID")
		# Within the day that certificates are valid, and far outside while connections stand.
		for offset in ("+2h", "-30m", "+12h", "+400d", "-4000d", "+0"):
			set_clocks(offset)
			flota.start("a.service", service())
			assert flota.runs_on("a.service") is host
			flota.flotactl("destroy", "a.service")
			assert flota.machine(host)["state"] == "up"
		assert "link.down" not in host.journal("-u", "flota-agent.service")
		assert "machine.lost" not in flota.log()
		# Certificates are what time is for: the word is clear, and nothing that runs is stopped.
		set_clocks("+400d")
		host.systemctl("restart", "flota-agent.service")
		wait_until(lambda: "expired" in host.journal("-u", "flota-agent.service"), "the agent to say why")
		assert host.show("runs.service", "MainPID") == pid
		set_clocks("+0")
		host.systemctl("restart", "flota-agent.service")
		flota.ready()
		assert host.show("runs.service", "MainPID") == pid
