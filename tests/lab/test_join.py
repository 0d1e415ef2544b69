"""Machines that join by themselves: tokens, certificates that are renewed."""

import signal

import pytest

from flota import CHANGE, PORT, Flota, envelope, field, service, settle
from lab import Fleet, wait_until

DOOR = PORT + 1
CERTIFICATE = "/etc/flota/tls/machine.crt"


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		yield Flota(fleet)


def generation(host):
	said = host.run("head", "-n1", CERTIFICATE, check=False).stdout
	return int(said.split("generation=")[1].split()[0]) if "generation=" in said else 0


def says(host, text):
	"""Waits until the host's agent has logged this."""
	wait_until(lambda: text in host.run("journalctl", "-u", "flota-agent").stdout,
		f"{host.name}'s agent to say {text!r}")


def test_a_machine_joins_with_a_token(flota):
	token = flota.token("--metadata=pool=edge", "--name=n1")
	n1 = flota.host("n1", token=token, metadata="pool=core,disk=ssd")
	flota.ready(n1)
	assert flota.machine(n1)["metadata"] == {"pool": "edge", "disk": "ssd"}
	assert n1.run("test", "-e", "/etc/flota/token", check=False).returncode == 1
	assert n1.run("stat", "-c%a %U", "/etc/flota/tls/machine.key").stdout == "600 root\n"
	assert flota.json("token", "list") == []
	flota.start("a.service", service(fleet="MachineMetadata=pool=edge"))
	settle(n1, "a.service")
	flota.destroy_all()


def test_a_token_lets_in_as_many_as_it_says(flota):
	token = flota.token("--uses=2")
	hosts = [flota.host(name, token=token) for name in ("n2", "n3", "n4")]
	for host in hosts:
		host.ready()
	wait_until(lambda: sum(flota.machine(h).get("state") == "up" for h in hosts) == 2, "two of them")
	left = [h for h in hosts if not flota.machine(h)]
	assert len(left) == 1
	says(left[0], "has been used")
	assert "machine.refused" in flota.flotactl("events", "--lines=100").stdout
	# Another one is brought, and the agent need not be told.
	left[0].install({"/etc/flota/token": flota.token()}, mode=0o600)
	left[0].systemctl("restart", "flota-agent.service")
	flota.ready(left[0])


def test_a_revoked_token_lets_nobody_in(flota):
	token = flota.token()
	flota.flotactl("token", "revoke", token.split(".")[1])
	n5 = flota.host("n5", token=token)
	n5.ready()
	says(n5, "or was revoked")
	assert not flota.machine(n5)


def test_nothing_is_said_to_another_fleet(flota):
	token = flota.token()
	start, pin = token.rsplit(".", 1)
	before = flota.log().count("join.refused")
	n6 = flota.host("n6", token=f"{start}.{'A' * len(pin)}")
	n6.ready()
	says(n6, "its CA is not the one that the token names")
	assert flota.log().count("join.refused") == before
	assert [t["uses_left"] for t in flota.json("token", "list")] == [1]
	flota.flotactl("token", "revoke", token.split(".")[1])


def test_the_door_is_for_nothing_else(flota):
	operator = flota.issue("operator", "ana")
	change = envelope(CHANGE, field(1, field(1, 4) + field(2, b"a.service")))
	said = bytes.fromhex(flota.raw(operator, "operator", change, port=DOOR).stdout)
	assert b"may not change units" in said
	assert flota.fleet.run("openssl", "s_client", "-connect", f"10.77.0.1:{DOOR}", "-CAfile",
		flota.data / "ca.crt", "-verify_return_error", input="", check=False).returncode == 0


def test_a_machine_made_anew_needs_a_token_of_its_own(flota):
	n1 = flota.fleet.hosts["n1"]
	n1.run("rm", "-r", "/etc/flota/tls")
	n1.install({"/etc/flota/token": flota.token()}, mode=0o600)
	n1.systemctl("restart", "flota-agent.service")
	says(n1, "is a member already")
	n1.install({"/etc/flota/token": flota.token(f"--machine={n1.machine_id}")}, mode=0o600)
	n1.systemctl("restart", "flota-agent.service")
	says(n1, "enroll.joined")
	flota.start("b.service", service(fleet=f"MachineID={n1.machine_id}"))
	settle(n1, "b.service")
	flota.destroy_all()


def test_bad_use_of_token(flota):
	assert "There are token create" in flota.refused("token", "frobnicate")
	assert "is not key=value" in flota.refused("token", "create", "--metadata=x")
	assert "no machine ID" in flota.refused("token", "create", "--machine=n1")
	assert "there is no token" in flota.refused("token", "revoke", "0123456789abcdef")


def test_coordinator_and_agent_are_killed_while_it_joins():
	with Fleet() as fleet:
		flota = Flota(fleet)
		host = flota.host("n1", token=flota.token())
		host.ready()
		for _ in range(10):
			flota.stop(signal.SIGKILL)
			host.systemctl("kill", "--signal=KILL", "flota-agent.service", check=False)
			flota.boot()
		flota.ready(host)
		assert [m["machine"] for m in flota.json("list-machines")] == [host.machine_id]
		assert generation(host) == 1
		assert flota.json("token", "list") == []


def test_certificates_are_renewed_under_running_units():
	with Fleet() as fleet:
		flota = Flota(fleet, options=("CertificateLife=10s",))
		host = flota.host("n1", token=flota.token())
		flota.ready(host)
		flota.start("stays.service", service())
		before = host.show("stays.service", "MainPID")
		follow = flota.flotactl_popen("journal", "-f", "stays.service")
		first, n = generation(host), 0
		while generation(host) < first + 3:
			flota.start(f"u{n}.service", service())
			flota.flotactl("destroy", f"u{n}.service")
			n += 1
		assert n > 3
		assert host.show("stays.service", "MainPID") == before
		assert follow.poll() is None
		follow.kill()
		follow.wait()
		# Away for so long that its certificate has run out: its key is known.
		host.systemctl("stop", "flota-agent.service")
		wait_until(lambda: host.run("openssl", "x509", "-checkend", "0", "-noout", "-in", CERTIFICATE,
			check=False).returncode == 1, "the certificate to run out")
		host.systemctl("start", "flota-agent.service")
		wait_until(lambda: flota.machine(host).get("state") == "up", "it to be back")
		assert host.show("stays.service", "MainPID") == before


def test_a_disks_copy_is_found_out():
	with Fleet() as fleet:
		flota = Flota(fleet, options=("CertificateLife=10s",))
		host = flota.host("n1", token=flota.token())
		flota.ready(host)
		host.run("cp", "-a", "/etc/flota/tls", "/etc/flota/copy")
		old = generation(host)
		wait_until(lambda: generation(host) > old, "a renewal")
		host.systemctl("stop", "flota-agent.service")
		host.run("rm", "-r", "/etc/flota/tls")
		host.run("cp", "-a", "/etc/flota/copy", "/etc/flota/tls")
		host.systemctl("start", "flota-agent.service")
		says(host, "this disk is a copy")
		assert "machine.cloned" in flota.flotactl("events", "--lines=100").stdout
