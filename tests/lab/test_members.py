"""Members: machines that are revoked, removed and adopted; the fleet's CA that changes."""

import json

import pytest

from flota import Flota, service, settle
from lab import Fleet, wait_until

TLS = "/etc/flota/tls"


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		yield Flota(fleet, options=("Lease=2s",))


def says(host, text):
	"""Waits until the host's agent has logged this."""
	wait_until(lambda: text in host.run("journalctl", "-u", "flota-agent").stdout,
		f"{host.name}'s agent to say {text!r}")


def events(flota):
	said = flota.flotactl("events", "--since=0", "--output=json").stdout
	return [json.loads(line) for line in said.splitlines()]


def key_of(host):
	return host.run("sh", "-c", f"openssl pkey -pubout -outform DER -in {TLS}/machine.key | sha256sum").stdout.split()[0]


def test_a_revoked_machine_is_out_at_once(flota):
	n1 = flota.host("n1", token=flota.token())
	flota.ready(n1)
	flota.start("moves.service", service())
	n2 = flota.host("n2", token=flota.token())
	flota.ready(n2)
	settle(n1, "moves.service")
	assert flota.flotactl("machine", "revoke", "--reason=stolen", n1.machine_id[:8]).stdout.startswith("Machine")
	# Not after a lease: its session ends, and its unit starts elsewhere.
	settle(n2, "moves.service")
	said = flota.machine(n1)
	assert (said["state"], said["revoked_by"], said["revoked_reason"]) == ("revoked", "root", "stolen")
	assert "revoked by root: stolen" in flota.flotactl("list-machines").stdout
	says(n1, "it is revoked")
	assert "machine.revoked" in {event["kind"] for event in events(flota)}
	# Over a restart of both, by its certificate and by its key.
	flota.stop()
	flota.boot()
	before = flota.log().count("was revoked")
	n1.systemctl("restart", "flota-agent.service")
	wait_until(lambda: flota.log().count("was revoked") > before, "its handshake to be refused")
	assert flota.machine(n1)["state"] == "revoked"


def test_it_is_adopted(flota):
	n1 = flota.fleet.hosts["n1"]
	assert flota.machine(n1)["key"] == key_of(n1)
	assert "has shown no key that begins with" in flota.refused("machine", "adopt", n1.machine_id, "--key=" + 16 * "0")
	flota.flotactl("machine", "adopt", n1.machine_id, f"--key={key_of(n1)}")
	wait_until(lambda: flota.machine(n1)["state"] == "up", "n1 to be back")
	assert "is a member, and nobody was refused" in flota.refused("machine", "adopt", n1.machine_id, "--yes")


def test_one_that_came_with_another_key_is_adopted(flota):
	n1 = flota.fleet.hosts["n1"]
	n1.systemctl("stop", "flota-agent.service")
	n1.run("rm", "-r", TLS)
	n1.install({"/etc/flota/token": flota.token()}, mode=0o600)
	n1.systemctl("start", "flota-agent.service")
	wait_until(lambda: flota.machine(n1)["refused"], "it to be refused")
	assert flota.machine(n1)["refused"]["key"] == key_of(n1)
	done = flota.flotactl("machine", "adopt", n1.machine_id, "--yes")
	assert "adopted" in done.stdout
	n1.systemctl("restart", "flota-agent.service")
	wait_until(lambda: flota.machine(n1)["state"] == "up", "n1 to be back")
	assert flota.machine(n1)["key"] == key_of(n1)


def test_a_machine_is_removed_and_joins_anew(flota):
	n1, n2 = flota.fleet.hosts["n1"], flota.fleet.hosts["n2"]
	assert "flotactl drain" in flota.refused("machine", "remove", n2.machine_id)
	flota.flotactl("drain", n2.machine_id)
	settle(n1, "moves.service")
	assert flota.json("machine", "remove", n2.machine_id) == [{"machine": n2.machine_id, "state": "removed"}]
	assert not flota.machine(n2)
	says(n2, "it is revoked")
	n2.run("rm", "-r", TLS)
	n2.install({"/etc/flota/token": flota.token()}, mode=0o600)
	n2.systemctl("restart", "flota-agent.service")
	wait_until(lambda: flota.machine(n2).get("state") == "up", "n2 to be back")
	flota.destroy_all()
