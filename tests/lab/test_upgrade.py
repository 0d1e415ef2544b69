"""Agents become another release of themselves, under running units; the coordinator, too."""

import platform
import shutil
import subprocess

import pytest

from flota import BIN, ENDPOINT, GATEWAY, Flota, service, settle
from lab import Fleet, wait_until

ARCH = platform.machine()
HTTPS = 7442
UNITS = 50


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		flota.flotactl("release", "keygen", "main", "--out", flota.fleet.dir)
		flota.flotactl("release", "keygen", "stranger", "--out", flota.fleet.dir)
		key = (fleet.outside(fleet.dir) / "main.pub").read_text()
		hosts = [flota.new_host(name, files={"/etc/flota/release-keys.d/main.pub": key,
			"/etc/flota/agent.conf": f"[Agent]\nCoordinator={ENDPOINT}\nUpgradeDeadline=2s\n"})
			for name in ("n1", "n2", "n3")]
		for host in hosts:
			host.boot()
		flota.ready()
		yield flota


@pytest.fixture(scope="module")
def version():
	"""The version that is built here."""
	return subprocess.run((BIN / "flota-agent", "--version"), check=True, capture_output=True, text=True).stdout.split()[1]


def later(version, last):
	"""A version of the same length, so that it can be written into a program in its place."""
	head = version.rsplit(".", 1)[0]
	assert len(f"{head}.{last}") == len(version)
	return f"{head}.{last}"


def release(flota, name, version, data, key="main"):
	"""A signed file, as flotactl sees it."""
	path = flota.fleet.dir / name
	flota.fleet.outside(path).write_bytes(data)
	flota.fleet.outside(path).chmod(0o755)
	flota.flotactl("release", "sign", path, f"--release={version}", f"--key={flota.fleet.dir / key}.key")
	return path


def agent(version, new):
	"""The agent that was built, as another version."""
	return (BIN / "flota-agent").read_bytes().replace(version.encode(), new.encode())


def main_pids(host, names):
	return {name: host.show(name, "MainPID")["MainPID"] for name in names}


def agent_pid(host, unit="flota-agent.service"):
	return host.show(unit, "MainPID")["MainPID"]


def runs(host, unit="flota-agent.service"):
	"""Which file the unit's process runs."""
	return host.run("readlink", f"/proc/{agent_pid(host, unit)}/exe").stdout.strip()


def versions(flota):
	return sorted({m["agent_version"] for m in flota.json("list-machines")})


def events(flota, kind):
	return [e for e in flota.flotactl("events", "--lines=300").stdout.splitlines() if f" {kind} " in e]


def test_what_is_published_is_there_by_https(flota, version):
	new = later(version, 1)
	path = release(flota, "agent-1", new, agent(version, new))
	assert f"flota-agent {new} for {ARCH}, signed by main" in \
		flota.flotactl("release", "verify", path, f"--key={flota.fleet.dir}/main.pub").stdout
	assert flota.flotactl("release", "publish", path).stdout == f"Published {new} for {ARCH}\n"
	assert [(r["version"], r["arch"], r["key"]) for r in flota.json("release", "list")] == [(new, ARCH, "main")]
	flota.flotactl("release", "publish", path) # again is as good as once
	url = f"https://{GATEWAY}:{HTTPS}"
	fetch = ("curl", "-sS", "--cacert", flota.data / "ca.crt")
	assert flota.fleet.run(*fetch, f"{url}/healthz").stdout == "ok\n"
	there = f"{url}/agents/{new}/{ARCH}/flota-agent"
	flota.fleet.run(*fetch, "-o", flota.fleet.dir / "fetched", there)
	said = flota.fleet.run("sha512sum", flota.fleet.dir / "fetched").stdout.split()[0]
	assert flota.fleet.run(*fetch, f"{there}.sha512").stdout == f"{said}  flota-agent\n"
	assert flota.fleet.run(*fetch, f"{there}.sig").stdout.startswith(f"flota-release-1\nversion {new}\n")
	other = flota.fleet.run(*fetch, "-o/dev/null", "-w%{http_code}", f"{url}/agents/{new}/").stdout
	assert other == "404"


def test_agents_are_upgraded_under_running_units(flota, version):
	new = later(version, 1)
	names = [f"u{i}.service" for i in range(UNITS)]
	for name in names:
		flota.write(name, service())
	flota.flotactl("start", *(flota.fleet.dir / "units" / name for name in names))
	hosts = list(flota.fleet.hosts.values())
	where = {host: [n for n in names if host.show(n, "ActiveState")["ActiveState"] == "active"] for host in hosts}
	assert sum(len(w) for w in where.values()) == UNITS
	before = {host: main_pids(host, where[host]) for host in hosts}
	pids = {host: (agent_pid(host), agent_pid(host, "flota-fence.service")) for host in hosts}
	assert versions(flota) == [version]

	out = flota.flotactl("upgrade", "agents").stdout
	assert out.count(f"upgraded to {new}") == 3, out
	assert versions(flota) == [new]
	for host in hosts:
		assert runs(host) == f"/var/lib/flota/agent/releases/{new}/flota-agent"
		assert main_pids(host, where[host]) == before[host]
		assert runs(host, "flota-fence.service") == runs(host)
		# The same processes, to systemd: neither was ever gone.
		assert (agent_pid(host), agent_pid(host, "flota-fence.service")) == pids[host]
	assert len(events(flota, "agent.upgraded")) == 3
	assert "it was already" in flota.flotactl("upgrade", "agents").stdout

	# It is the one that runs after a reboot, too.
	hosts[2].reboot()
	flota.ready(hosts[2])
	assert runs(hosts[2]) == f"/var/lib/flota/agent/releases/{new}/flota-agent"
	flota.destroy_all()


def test_an_agent_that_does_not_work_is_replaced_by_the_one_before(flota, version):
	now, bad = later(version, 1), later(version, 2)
	host = flota.fleet.hosts["n1"]
	script = f'#!/bin/sh\n[ "$1" = --version ] && exec echo flota-agent {bad}\nexit 3\n'
	flota.flotactl("release", "publish", release(flota, "bad", bad, script.encode()))
	flota.start("stays.service", service(fleet=f"MachineID={host.machine_id}"))
	settle(host, "stays.service")
	before = host.show("stays.service", "MainPID")
	said = flota.refused("upgrade", "agents", bad, host.machine_id)
	assert f"{bad} was started 2 times and was not in session" in said
	assert versions(flota) == [now]
	assert runs(host) == f"/var/lib/flota/agent/releases/{now}/flota-agent"
	assert host.show("stays.service", "MainPID") == before
	assert len(events(flota, "agent.rolled_back")) == 1
	# Not even tried: it cannot say what it is.
	flota.flotactl("release", "remove", bad)
	flota.flotactl("release", "publish", release(flota, "worse", bad, b"#!/bin/sh\nexit 3\n"))
	assert "it does not run here (exit code 3)" in flota.refused("upgrade", "agents", bad)
	assert "not begun" in flota.refused("upgrade", "agents", bad)
	flota.flotactl("release", "remove", bad)
	flota.destroy_all()


def test_an_agent_that_hangs_is_replaced_also_over_a_reboot(flota, version):
	now, bad = later(version, 1), later(version, 2)
	host = flota.fleet.hosts["n2"]
	script = f'#!/bin/sh\n[ "$1" = --version ] && exec echo flota-agent {bad}\nexec sleep infinity\n'
	flota.flotactl("release", "publish", release(flota, "hangs", bad, script.encode()))
	looks_on = flota.flotactl_popen("upgrade", "agents", bad, host.machine_id, stderr=subprocess.PIPE, text=True)
	wait_until(lambda: runs(host).endswith("/sleep"), "the trial")
	host.reboot()
	assert f"{bad} was started 2 times and was not in session" in looks_on.communicate()[1]
	assert looks_on.returncode == 1
	flota.ready(host)
	assert runs(host) == f"/var/lib/flota/agent/releases/{now}/flota-agent"
	flota.flotactl("release", "remove", bad)
	flota.destroy_all()


def test_an_agent_that_is_killed_while_it_is_upgraded(flota, version):
	old, now = later(version, 1), later(version, 7)
	host = flota.fleet.hosts["n1"]
	flota.start("kept.service", service(fleet=f"MachineID={host.machine_id}"))
	settle(host, "kept.service")
	before = host.show("kept.service", "MainPID")
	flota.flotactl("release", "publish", release(flota, "agent-7", now, agent(version, now)))
	for _ in range(5):
		flota.flotactl("upgrade", "agents", now, "--no-block")
		host.systemctl("kill", "--signal=KILL", "flota-agent.service", check=False)
		flota.flotactl("upgrade", "agents", now, check=False)
		wait_until(lambda: flota.machine(host).get("state") == "up", "it to be back")
		if versions(flota) == [now]:
			break
	flota.flotactl("upgrade", "agents", now)
	assert versions(flota) == [now]
	assert host.show("kept.service", "MainPID") == before
	flota.flotactl("upgrade", "agents", old, "--allow-downgrade", "--max-unavailable=3")
	assert versions(flota) == [old]
	flota.flotactl("release", "remove", now)
	flota.destroy_all()


def test_what_is_not_signed_is_refused(flota, version):
	now, new = later(version, 1), later(version, 3)
	data = agent(version, new)
	place = flota.data / "agents" / new / ARCH

	def publish(*argv):
		flota.flotactl("release", "publish", *argv)

	def refused(why):
		said = flota.refused("upgrade", "agents", new, flota.fleet.hosts["n2"].machine_id)
		assert why in said
		flota.flotactl("release", "remove", new)

	publish(release(flota, "foreign", new, data, key="stranger"))
	refused('signed with the key "stranger", which is not in /etc/flota/release-keys.d')
	plain = flota.fleet.dir / "plain"
	flota.fleet.outside(plain).write_bytes(data)
	publish(plain, f"--release={new}")
	refused("it is not signed")
	# A coordinator that gives out something else than what it was given.
	publish(release(flota, "good", new, data))
	flota.fleet.outside(place / "flota-agent").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
	refused("its SHA-512 differs")
	# An older one is signed, too; as a newer one it is not.
	publish(release(flota, "older", later(version, 0), agent(version, later(version, 0))))
	said = flota.refused("upgrade", "agents", later(version, 0))
	assert "which is newer; --allow-downgrade" in said
	text = flota.fleet.outside(flota.fleet.dir / "good.sig").read_text()
	flota.fleet.outside(flota.fleet.dir / "good.sig").write_text(text.replace(new, later(version, 4)))
	publish(flota.fleet.dir / "good")
	assert "its signature is not by" in flota.refused("upgrade", "agents", later(version, 4))
	flota.flotactl("release", "remove", later(version, 4))
	assert versions(flota) == [now]
	assert len(events(flota, "agent.upgrade_refused")) >= 5


def test_an_older_version_only_when_it_is_meant(flota, version):
	old = later(version, 0)
	host = flota.fleet.hosts["n3"]
	flota.flotactl("upgrade", "agents", old, "--allow-downgrade", host.machine_id)
	assert flota.machine(host)["agent_version"] == old
	flota.flotactl("upgrade", "agents", later(version, 1), host.machine_id)
	assert versions(flota) == [later(version, 1)]


def test_coordinator_with_keys_takes_only_what_they_signed(flota, version):
	path = flota.fleet.outside(flota.fleet.dir / "keys")
	path.mkdir()
	shutil.copy(flota.fleet.outside(flota.fleet.dir / "main.pub"), path)
	config = flota.fleet.outside(flota.config)
	config.write_text(config.read_text() + f"ReleaseKeys={flota.fleet.dir}/keys\n")
	flota.stop()
	flota.boot()
	assert len(flota.json("release", "list")) == 2 # they are there after a restart
	new = later(version, 5)
	foreign = release(flota, "foreign", new, b"x", key="stranger")
	assert 'key "stranger"' in flota.refused("release", "publish", foreign, code=6)
	flota.flotactl("release", "publish", release(flota, "ours", new, b"x"))
	flota.flotactl("release", "remove", new)


def test_the_coordinator_is_upgraded_in_place(flota, version):
	names = [f"c{i}.service" for i in range(10)]
	for name in names:
		flota.write(name, service())
	flota.flotactl("start", *(flota.fleet.dir / "units" / name for name in names))
	hosts = list(flota.fleet.hosts.values())
	where = {host: [n for n in names if host.show(n, "ActiveState")["ActiveState"] == "active"] for host in hosts}
	before = {host: main_pids(host, where[host]) for host in hosts}
	new = later(version, 6)
	path = flota.fleet.outside(flota.fleet.dir / "flota-coordinator")
	path.write_bytes((BIN / "flota-coordinator").read_bytes().replace(version.encode(), new.encode()))
	path.chmod(0o755)
	flota.stop()
	with open(flota.fleet.outside(flota.fleet.dir / "coordinator.log"), "a", encoding="utf-8") as log:
		flota.coordinator = flota.fleet.popen(flota.fleet.dir / "flota-coordinator", "--config", flota.config,
			stdout=log, stderr=log)
	flota.ready()
	assert f"version={new}" in flota.log()
	assert {host: main_pids(host, where[host]) for host in hosts} == before
	flota.start("after.service", service())
