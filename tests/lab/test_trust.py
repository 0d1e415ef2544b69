"""Who may speak to the coordinator, and what they may say."""

import pytest

from flota import BIN, CHANGE, DENIED, ENDPOINT, PORT, UNAVAILABLE, envelope, field, service
from lab import GATEWAY, wait_until

HOSTS = {"n1": "", "n2": ""}
EXPIRED = "--not-after=2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def strangers(flota):
	"""The directory of a fleet of the same name, with another CA."""
	directory = flota.fleet.dir / "strangers"
	flota.init(directory)
	return directory


@pytest.fixture(scope="module")
def operator(flota):
	return flota.issue("operator", "ana")


def files(directory, kind="operator", ca=None):
	return (ca or directory) / "ca.crt", directory / f"{kind}.crt", directory / f"{kind}.key"


# --- the handshake, seen by OpenSSL's own client --------------------------------------------------
def s_client(flota, *argv):
	"""Shakes hands and then says what is not nng's: the coordinator hangs up in any case."""
	done = flota.fleet.run("openssl", "s_client", "-connect", f"{GATEWAY}:{PORT}", "-CAfile",
		flota.data / "ca.crt", "-verify_return_error", "-ign_eof", *argv, input="not nng's\n" * 10,
		check=False)
	return done.stdout + done.stderr


def certificate(directory, kind="operator"):
	_, crt, key = files(directory, kind)
	return "-cert", crt, "-key", key


def test_s_client_with_a_certificate_of_the_fleet(flota, operator):
	said = s_client(flota, *certificate(operator))
	assert "Verify return code: 0 (ok)" in said and "TLSv1.3" in said
	assert "alert" not in said


def test_s_client_without_a_certificate(flota):
	assert "alert certificate required" in s_client(flota)


def test_s_client_with_another_cas_certificate(flota, strangers):
	said = s_client(flota, "-cert", strangers / "operators/root.crt", "-key",
		strangers / "operators/root.key")
	assert "alert unknown ca" in said


def test_s_client_with_an_expired_certificate(flota):
	expired = flota.issue("operator", "expired", EXPIRED)
	assert "alert certificate expired" in s_client(flota, *certificate(expired))


def test_s_client_with_the_coordinators_own_certificate(flota):
	said = s_client(flota, "-cert", flota.data / "coordinator.crt", "-key",
		flota.data / "coordinator.key")
	assert "alert" in said


def test_s_client_with_older_tls(flota, operator):
	assert "alert protocol version" in s_client(flota, "-tls1_2", *certificate(operator))


# --- flotactl -------------------------------------------------------------------------------------
def remote(flota, directory, *argv, kind="operator", ca=None):
	ca, crt, key = files(directory, kind, ca)
	return flota.fleet.run(BIN / "flotactl", f"--endpoint={ENDPOINT}", f"--ca-file={ca}",
		f"--cert-file={crt}", f"--key-file={key}", *argv, check=False)


def test_operator(flota, operator):
	done = remote(flota, operator, "version")
	assert done.returncode == 0 and "you are operator ana" in done.stdout
	path = flota.write("far.service", service())
	assert remote(flota, operator, "start", path).returncode == 0
	assert remote(flota, operator, "status", "far").stdout.count("Active: active") == 1
	assert remote(flota, operator, "destroy", "far").returncode == 0


def test_flotactl_without_a_certificate(flota, operator):
	done = flota.fleet.run(BIN / "flotactl", f"--endpoint={ENDPOINT}",
		f"--ca-file={operator / 'ca.crt'}", "list-units", check=False)
	assert done.returncode == 1 and "needs certificates" in done.stderr


def test_flotactl_with_an_expired_certificate(flota):
	done = remote(flota, flota.issue("operator", "late", EXPIRED), "list-units")
	assert done.returncode in (UNAVAILABLE, DENIED)
	assert "expired" in done.stderr


def test_flotactl_with_another_cas_certificate(flota, strangers, operator):
	theirs = flota.fleet.dir / "issued/theirs"
	flota.fleet.run(BIN / "flota-coordinator", "issue", "operator", "eva", "--data", strangers,
		"--out", theirs)
	# It tells before it connects; with their CA too, it refuses our coordinator.
	assert "signed by another CA" in remote(flota, theirs, "list-units", ca=operator).stderr
	done = remote(flota, theirs, "list-units")
	assert done.returncode in (UNAVAILABLE, DENIED) and "signed by another CA" in done.stderr


def test_key_that_others_can_read_is_refused(flota):
	loose = flota.issue("operator", "loose")
	flota.fleet.outside(loose / "operator.key").chmod(0o644)
	done = remote(flota, loose, "list-units")
	assert done.returncode != 0 and "can be read by others" in done.stderr


def test_machines_certificate_cannot_do_an_operators_work(flota):
	n1 = flota.fleet.hosts["n1"]
	mine = flota.issue("machine", n1.machine_id)
	flota.flotactl("submit", flota.write("kept.service", service()))
	for argv in (["list-units"], ["list-machines"], ["cat", "kept"], ["why", "kept"],
		["start", "kept"], ["destroy", "kept"], ["journal", "kept"]):
		done = remote(flota, mine, *argv, kind="machine")
		assert done.returncode == DENIED, (argv, done)
		assert "that takes an operator's certificate" in done.stderr
	assert flota.json("list-unit-files")[0]["desired"] == "inactive"
	flota.destroy_all()


# --- agents ---------------------------------------------------------------------------------------
def agent_says(flota, host, words):
	wait_until(lambda: words in host.journal("-u", "flota-agent.service"), f'the agent to say "{words}"')
	assert flota.machine(host) == {}
	# It waits and tries again; it does not fall over and over.
	assert host.show("flota-agent.service", "ActiveState")["ActiveState"] in ("active", "activating")


def test_agent_with_an_expired_certificate(flota):
	host = flota.new_host("expired")
	flota.install_certificate(host, flota.issue("machine", host.machine_id, EXPIRED))
	host.boot()
	agent_says(flota, host, "expired")
	# A good one, and it joins.
	flota.install_certificate(host, flota.issue("machine", host.machine_id, "--valid-for=1h"))
	host.systemctl("restart", "flota-agent.service")
	flota.ready(host)


def test_agent_with_another_cas_certificate(flota, strangers):
	host = flota.new_host("stranger")
	theirs = flota.fleet.dir / "issued/machine-of-theirs"
	flota.fleet.run(BIN / "flota-coordinator", "issue", "machine", host.machine_id, "--data",
		strangers, "--out", theirs)
	flota.install_certificate(host, theirs)
	host.boot()
	agent_says(flota, host, "another CA")


def test_agent_with_another_machines_certificate(flota):
	host = flota.new_host("impostor")
	flota.install_certificate(host, flota.issue("machine", flota.fleet.hosts["n1"].machine_id))
	host.boot()
	agent_says(flota, host, host.machine_id)


# --- what none of our own programs would say ------------------------------------------------------
REPORT, SYNC, OUTPUT = 42, 40, 44


def denied(flota, directory, kind, message):
	done = flota.raw(directory, kind, message)
	assert done.returncode == 0, done.stderr
	return b"that takes" in bytes.fromhex(done.stdout)


def test_machine_cannot_report_for_another(flota):
	n1, n2 = (flota.fleet.hosts[name] for name in ("n1", "n2"))
	mine = flota.issue("machine", n1.machine_id)
	of_n2 = field(1, n2.machine_id.encode()) + field(2, 99)
	flota.start("kept.service", service(fleet=f"MachineID={n2.machine_id}"))
	state = field(1, b"kept.service") + field(3, b"loaded") + field(4, b"failed") + field(5, b"failed")
	for number, body in (REPORT, of_n2), (REPORT, of_n2 + field(4, 1) + field(5, state)), \
		(SYNC, of_n2), (OUTPUT, field(1, n2.machine_id.encode()) + field(2, 1)):
		assert denied(flota, mine, "machine", envelope(number, body))
	assert flota.json("list-units")[0]["placements"][0]["systemd"]["active"] == "active"
	assert n2.show("kept.service", "ActiveState")["ActiveState"] == "active"
	# For itself it may.
	assert not denied(flota, mine, "machine", envelope(REPORT, field(1, n1.machine_id.encode())))
	flota.destroy_all()


def test_operator_cannot_report_for_a_machine(flota, operator):
	body = field(1, flota.fleet.hosts["n1"].machine_id.encode()) + field(2, 99)
	for number in REPORT, SYNC:
		assert denied(flota, operator, "operator", envelope(number, body))


def test_nonsense_is_survived(flota, operator):
	for message in b"", b"\xff" * 64, envelope(CHANGE, b"\xff"), envelope(99, b"x"), b"\0" * 100000:
		flota.raw(operator, "operator", message)
	assert flota.coordinator.poll() is None
	assert flota.flotactl("list-machines").returncode == 0


# --- the local socket -----------------------------------------------------------------------------
def test_local_socket_is_roots(flota):
	def as_nobody():
		return flota.fleet.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
			BIN / "flotactl", f"--endpoint={flota.endpoint}", "--request-timeout=1s", "list-units",
			check=False)
	assert "you are root" in flota.flotactl("version").stdout
	done = as_nobody()
	assert done.returncode in (UNAVAILABLE, DENIED), done
	# Not its mode alone keeps others out.
	flota.fleet.run("chmod", "0777", flota.socket)
	done = as_nobody()
	assert done.returncode in (UNAVAILABLE, DENIED), done
	assert "flotactl: " in done.stderr and done.stdout == ""
