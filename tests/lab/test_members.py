"""Members: machines that are revoked, removed and adopted; the fleet's CA that changes."""

import json
import signal

import pytest

from flota import BIN, ENDPOINT, PORT, TIMEOUT, Flota, service, settle
from lab import GATEWAY, Fleet, wait_until

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
	assert "machine.revoked" in {event["kind"] for event in events(flota)}
	# Over a restart of both, by its certificate and by its key.
	flota.stop()
	flota.boot()
	before = flota.log().count("was revoked")
	n1.systemctl("restart", "flota-agent.service")
	says(n1, "it is revoked")
	assert flota.log().count("was revoked") > before
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
	n2.run("rm", "-r", TLS)
	n2.install({"/etc/flota/token": flota.token()}, mode=0o600)
	n2.systemctl("restart", "flota-agent.service")
	wait_until(lambda: flota.machine(n2).get("state") == "up", "n2 to be back")
	flota.destroy_all()


def test_a_removed_machine_whose_certificate_has_run_out_needs_a_token_alone():
	with Fleet() as fleet:
		flota = Flota(fleet, options=("CertificateLife=2s",))
		host = flota.host("n1", token=flota.token())
		flota.ready(host)
		flota.flotactl("machine", "remove", "--force", host.machine_id)
		says(host, "was removed by root")
		host.install({"/etc/flota/token": flota.token()}, mode=0o600)
		host.systemctl("restart", "flota-agent.service")
		wait_until(lambda: flota.machine(host).get("state") == "up", "it to be back")


def coordinators_certificate(flota):
	return flota.fleet.run("sh", "-c", f"openssl x509 -noout -serial -issuer -in {flota.data}/coordinator.crt").stdout


def generation(host):
	said = host.run("head", "-n1", f"{TLS}/machine.crt", check=False).stdout
	return int(said.split("generation=")[1].split()[0]) if "generation=" in said else 0


class Load:
	"""A person who starts and destroys units without a pause, and may not see one command fail."""

	def __init__(self, flota):
		self.flota, self.n = flota, 0

	def turn(self):
		name = f"load{self.n % 3}.service"
		self.flota.start(name, service())
		self.flota.flotactl("destroy", name)
		self.n += 1


def test_200_renewals_and_another_ca_under_load():
	with Fleet() as fleet:
		flota = Flota(fleet, options=("CertificateLife=3s", "Lease=5s"))
		hosts = [flota.host(f"n{i}", token=flota.token()) for i in range(10)]
		flota.ready()
		flota.start("stays.service", service(fleet="Global=true"))
		pids = [host.show("stays.service", "MainPID") for host in hosts]
		began, load, rotation = sum(map(generation, hosts)), Load(flota), None
		first = coordinators_certificate(flota)
		while sum(map(generation, hosts)) - began < 200:
			load.turn()
			if rotation is None and load.n == 5:
				rotation = flota.flotactl_popen("ca", "rotate", "--yes")
		assert rotation.wait() == 0
		assert load.n > 20
		assert [host.show("stays.service", "MainPID") for host in hosts] == pids
		assert not {"machine.lost", "unit.failed", "machine.cloned"} & {event["kind"] for event in events(flota)}
		assert coordinators_certificate(flota) != first
		assert not flota.json("ca", "show")["changing"]


def test_the_old_ca_is_kept_for_who_needs_it():
	with Fleet() as fleet:
		flota = Flota(fleet)
		old = flota.issue("operator", "ana")
		token = flota.token()
		n1 = flota.host("n1", token=flota.token())
		flota.ready(n1)
		n1.systemctl("stop", "flota-agent.service")
		assert flota.flotactl("ca", "rotate", "--yes", "--timeout=1s", check=False).returncode == TIMEOUT
		# After a restart in the midst of it, too.
		flota.stop()
		flota.boot()
		said = flota.json("ca", "show")
		assert (said["changing"], said["machines_waiting"], said["tokens"]) == (True, 1, 1)
		# An operator with the old CA's certificate, who knows no other CA, is heard, and noted.
		files = [f"--{kind}-file={old}/{name}" for kind, name in
			(("ca", "ca.crt"), ("cert", "operator.crt"), ("key", "operator.key"))]
		assert flota.flotactl(f"--endpoint={ENDPOINT}", *files, "list-machines").returncode == 0
		assert flota.json("ca", "show")["operators"] == ["ana"]
		# So does a machine with a token that names the old CA, and one with a token that names the new one.
		n2, n3 = flota.host("n2", token=token), flota.host("n3", token=flota.token())
		flota.ready(n2, n3)
		# And the one that was away.
		n1.systemctl("start", "flota-agent.service")
		wait_until(lambda: flota.json("ca", "show")["machines_waiting"] == 0, "all to have renewed")
		assert "the old CA is needed" in flota.refused("ca", "rotate", "--timeout=1s", code=TIMEOUT) \
			or flota.json("ca", "show")["operators"] == ["ana"]
		flota.flotactl("ca", "rotate", "--force")
		said = flota.json("ca", "show")
		assert (said["changing"], said["operators"]) == (False, [])
		done = flota.flotactl(f"--endpoint={ENDPOINT}", *files, "list-machines", check=False)
		assert done.returncode != 0 and "another CA" in done.stderr
		assert "fleet.ca_dropped" in {event["kind"] for event in events(flota)}
		flota.stop()
		flota.boot()
		flota.ready(n1, n2, n3)


def test_the_coordinators_own_certificate_is_renewed():
	with Fleet() as fleet:
		flota = Flota(fleet)
		flota.stop()
		flota.fleet.run(BIN / "flota-coordinator", "issue", "coordinator", "--data", flota.data, "--force",
			"--address", GATEWAY, "--valid-for=4s")
		flota.boot()
		host = flota.host("n1", token=flota.token())
		flota.ready(host)
		ups = host.run("journalctl", "-u", "flota-agent").stdout.count("link.up")
		first = coordinators_certificate(flota)
		wait_until(lambda: coordinators_certificate(flota) != first, "another certificate")
		second = coordinators_certificate(flota)
		wait_until(lambda: coordinators_certificate(flota) != second, "one more")
		assert flota.machine(host)["state"] == "up"
		assert host.run("journalctl", "-u", "flota-agent").stdout.count("link.up") == ups
		said = flota.fleet.run("sh", "-c", f"openssl s_client -connect {GATEWAY}:{PORT + 1} </dev/null 2>/dev/null"
			" | openssl x509 -noout -serial -ext subjectAltName").stdout
		assert coordinators_certificate(flota).split()[0] in said
		assert GATEWAY in said


class Faulty:
	"""A coordinator and a host whose programs can be killed at a named point (base/fault.h)."""

	def __init__(self, fleet, **options):
		self.flota = Flota(fleet, **options)
		self.file = fleet.dir / "fault"
		self.flota.stop()
		self.boot()
		self.host = self.flota.host("n1", token=self.flota.token(), files={
			"/etc/systemd/system/flota-agent.service.d/fault.conf":
				"[Service]\nEnvironment=FLOTA_FAULT=/etc/flota/fault\nRestartSec=100ms\n"})
		self.flota.ready(self.host)

	def boot(self):
		self.flota.boot(FLOTA_FAULT=str(self.file))

	def killed_coordinator(self):
		"""Waits until the coordinator has been killed, and starts it again."""
		assert self.flota.coordinator.wait(timeout=30) == -signal.SIGKILL
		assert not self.flota.fleet.outside(self.file).exists()
		self.boot()

	def whole(self):
		"""Waits until the host is there: one machine, with one certificate, for the key that it has."""
		wait_until(lambda: self.flota.machine(self.host).get("state") == "up", "n1 to be there")
		wait_until(lambda: self.flota.machine(self.host)["key"] == key_of(self.host), "its key to be the one that is known")
		assert [m["machine"] for m in self.flota.json("list-machines")] == [self.host.machine_id]
		assert self.host.run("sh", "-c", f"openssl x509 -in {TLS}/machine.crt -noout -pubkey | openssl pkey -pubin -outform DER"
			" | sha256sum").stdout.split()[0] == key_of(self.host)
		assert not [event for event in events(self.flota) if event["kind"] in ("machine.cloned", "machine.refused")]

	def join_anew(self):
		self.host.systemctl("stop", "flota-agent.service")
		self.flota.flotactl("machine", "remove", "--force", self.host.machine_id)
		self.host.run("rm", "-r", TLS)
		self.host.install({"/etc/flota/token": self.flota.token()}, mode=0o600)


def killed_agent(host):
	wait_until(lambda: host.run("test", "-e", "/etc/flota/fault", check=False).returncode == 1, "the agent to be killed")


def test_killed_at_each_step_of_joining():
	with Fleet() as fleet:
		faulty = Faulty(fleet)
		for point in ("enroll.key_made", "enroll.asked", "enroll.answered", "certificate.ca_written",
				"enroll.certificate_written", "enroll.token_removed"):
			faulty.join_anew()
			faulty.host.write("/etc/flota/fault", point)
			faulty.host.systemctl("start", "flota-agent.service", check=False)
			killed_agent(faulty.host)
			faulty.whole()
			assert generation(faulty.host) == 1
		for point in ("join.decided", "batch.durable"):
			faulty.join_anew()
			fleet.outside(faulty.file).write_text(point)
			faulty.host.systemctl("start", "flota-agent.service")
			faulty.killed_coordinator()
			faulty.whole()
			assert generation(faulty.host) == 1
		assert faulty.flota.json("token", "list") == []
		assert faulty.host.run("test", "-e", "/etc/flota/token", check=False).returncode == 1


def test_killed_at_each_step_of_renewing():
	with Fleet() as fleet:
		faulty = Faulty(fleet, options=("CertificateLife=3s",))
		for point in ("renew.key_made", "renew.asked", "renew.answered", "certificate.ca_written",
				"renew.certificate_written", "renew.key_taken"):
			before = generation(faulty.host)
			faulty.host.write("/etc/flota/fault", point)
			killed_agent(faulty.host)
			wait_until(lambda: generation(faulty.host) > before, "the renewal")
			faulty.whole()
		for point in ("renew.decided", "batch.durable"):
			before = generation(faulty.host)
			fleet.outside(faulty.file).write_text(point)
			faulty.killed_coordinator()
			wait_until(lambda: generation(faulty.host) > before, "the renewal")
			faulty.whole()


def test_killed_at_each_step_of_another_ca():
	with Fleet() as fleet:
		faulty = Faulty(fleet, options=("Lease=1s",))
		key = faulty.flota.json("ca", "show")["key"]
		for point in ("ca.cross_written", "ca.written", "ca.key_taken", "coordinator.key_made",
				"coordinator.certificate_written", "ca.dropped"):
			fleet.outside(faulty.file).write_text(point)
			rotation = faulty.flota.flotactl_popen("ca", "rotate", "--yes")
			faulty.killed_coordinator()
			assert rotation.wait() == 0
			said = faulty.flota.json("ca", "show")
			assert not said["changing"] and said["key"] != key
			key = said["key"]
			faulty.whole()
			assert not fleet.outside(faulty.flota.data / "ca.cross").exists()
