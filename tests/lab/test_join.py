"""Machines that join by themselves: tokens, certificates that are renewed."""

import base64
import json
import signal
import subprocess

import pytest

from flota import CHANGE, PORT, Flota, envelope, field, service, settle
from lab import GATEWAY, HERE, Fleet, wait_until

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
		flota = Flota(fleet, options=("CertificateLife=4s",))
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
		flota = Flota(fleet, options=("CertificateLife=8s",))
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


# --- what none of our own programs would say at the door ------------------------------------------
JOIN = 60


def secret_of(token):
	_, _, secret, _ = token.split(".")
	return base64.urlsafe_b64decode(secret + "==")


class Stranger:
	"""Somebody with a key of its own who asks to join, and may lie about everything."""

	def __init__(self, flota, number, subject="/CN=stranger", alternative="DNS:stranger"):
		self.flota, self.machine_id = flota, f"{number:032x}"
		made = flota.fleet.run("sh", "-c", "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
			f" -keyout /dev/null -subj {subject} -addext subjectAltName={alternative} -outform DER 2>/dev/null | base64 -w0")
		self.request = base64.b64decode(made.stdout)

	def message(self, token, hostname="stranger", machine_id=None, secret=None, request=None):
		return envelope(JOIN, field(1, token.split(".")[1].encode()) + field(2, secret or secret_of(token))
			+ field(3, (machine_id or self.machine_id).encode()) + field(4, request or self.request)
			+ field(5, hostname.encode()))

	def asks(self, token, **lies):
		"""The reply."""
		done = self.flota.raw(self.flota.issue("operator", "eve"), "operator", self.message(token, **lies), port=PORT + 1)
		return bytes.fromhex(done.stdout)

	def begins_to_ask(self, token):
		files = (self.flota.issue("operator", "eve") / f"{name}" for name in ("ca.crt", "operator.crt", "operator.key"))
		process = self.flota.fleet.popen(HERE / "rawpeer", *files, GATEWAY, PORT + 1, stdin=subprocess.PIPE,
			stdout=subprocess.PIPE, text=True)
		process.stdin.write(self.message(token).hex())
		return process


def refusals(flota):
	said = flota.flotactl("events", "--since=0", "--output=json").stdout
	return [event["text"] for event in map(json.loads, said.splitlines()) if event["kind"] == "machine.refused"]


def certificate_in(reply):
	begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
	return reply[reply.index(begin):reply.index(end) + len(end)].decode() + "\n"


def test_every_refusal_is_an_event():
	with Fleet() as fleet:
		flota = Flota(fleet)
		stranger, member = Stranger(flota, 1), Stranger(flota, 2)
		good, used, named = flota.token("--uses=9"), flota.token(), flota.token("--name=web1")
		assert b"BEGIN CERTIFICATE" in member.asks(used)
		revoked, expired = flota.token(), flota.token("--ttl=1s")
		flota.flotactl("token", "revoke", revoked.split(".")[1])
		wait_until(lambda: expired.split(".")[1] not in flota.flotactl("token", "list").stdout, "it to expire")
		cases = [
			(stranger.asks(good, secret=bytes(32)), "not one of this fleet"),
			(stranger.asks(used), "has been used"),
			(stranger.asks(revoked), "or was revoked"),
			(stranger.asks(expired), "has expired"),
			(stranger.asks(named, hostname="web2"), "is for the machine called web1"),
			(stranger.asks(good, machine_id=member.machine_id), "is a member already, with another key"),
			(stranger.asks(good, machine_id="../coordinator"), "is no machine ID"),
			(stranger.asks(good, request=stranger.request[:-1] + b"x"), "not signed by its own key"),
		]
		told = refusals(flota)
		assert len(told) == len(cases)
		for (reply, why), event in zip(cases, told):
			assert why.encode() in reply and b"BEGIN CERTIFICATE" not in reply, reply
			assert why in event and GATEWAY in event
		assert [t["uses_left"] for t in flota.json("token", "list") if t["id"] == good.split(".")[1]] == [9]


@pytest.mark.parametrize("kind", ["coordinator", "operator/root"])
def test_nobody_becomes_who_he_asks_to_be(flota, kind):
	stranger = Stranger(flota, 1000 + len(kind), f"/O=lab/CN={kind.replace('/', ' ')}".replace(" ", "-"),
		f"URI:flota://{flota.fleet.name}/{kind}")
	reply = stranger.asks(flota.token())
	names = flota.fleet.run("openssl", "x509", "-noout", "-ext", "subjectAltName,extendedKeyUsage",
		input=certificate_in(reply)).stdout
	assert f"URI:flota://{flota.fleet.name}/machine/{stranger.machine_id}\n" in names
	assert kind not in names and "TLS Web Server" not in names


def test_two_with_one_token_at_once():
	with Fleet() as fleet:
		flota = Flota(fleet)
		for turn in range(5):
			token = flota.token()
			pair = [Stranger(flota, 10 * turn + i + 1) for i in range(2)]
			asking = [stranger.begins_to_ask(token) for stranger in pair]
			for process in asking: # now, both at once
				process.stdin.close()
			replies = [bytes.fromhex(process.stdout.read()) for process in asking]
			assert [process.wait() for process in asking] == [0, 0]
			won = [b"BEGIN CERTIFICATE" in reply for reply in replies]
			assert sorted(won) == [False, True]
			assert b"has been used" in replies[won.index(False)]
			# It is so for good.
			flota.stop(signal.SIGKILL)
			flota.boot()
			winner, loser = pair[won.index(True)], pair[won.index(False)]
			assert certificate_in(winner.asks(token)) == certificate_in(replies[won.index(True)])
			assert b"has been used" in loser.asks(token)
		assert len(refusals(flota)) == 1


def test_a_recording_server_hears_nothing(flota):
	"""Of a machine whose token has the pin of another CA; and everything, when it has the right one."""
	other = flota.fleet.dir / "other"
	flota.init(other)
	token = flota.token()
	heard = []
	for number, folder in ((8, other), (9, flota.data)):
		flota.fleet.run("sh", "-c", f"cat {folder}/coordinator.crt {folder}/ca.crt > {folder}/shown.crt")
		recorder = flota.fleet.popen(HERE / "recorder", folder / "shown.crt", folder / "coordinator.key",
			GATEWAY, PORT + 100, stdout=subprocess.PIPE, text=True)
		assert recorder.stdout.readline() == "listening\n"
		host = flota.host(f"n{number}", token=token, files={"/etc/flota/agent.conf":
			f"[Agent]\nCoordinator=tls+tcp://{GATEWAY}:{PORT}\nDoor=tls+tcp://{GATEWAY}:{PORT + 100}\n"})
		heard.append([recorder.stdout.readline().split() for _ in range(2 if folder == other else 1)])
		host.kill()
		recorder.kill()
		recorder.wait()
	assert all(line[0] == "refused" for line in heard[0]), heard
	assert heard[1][0][0] == "heard" and secret_of(token).hex() in heard[1][0][1]
	flota.flotactl("token", "revoke", token.split(".")[1])
