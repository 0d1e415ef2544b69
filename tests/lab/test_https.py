"""The coordinator's HTTPS port: what it serves, and peers that mean no good to it."""

import pytest

from flota import GATEWAY, Flota, service
from lab import Fleet, wait_until
from test_service import DATA, UNIT, install

PORT = 7442

# Connections from 64 addresses that say nothing, until its standard input ends.
IDLE = f"""
import socket, sys
peers = []
for i in range(2000):
	peer = socket.socket()
	peer.bind((f"127.0.1.{{i % 64 + 1}}", 0))
	peer.connect(("{GATEWAY}", {PORT}))
	peers.append(peer)
print(len(peers), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def flota():
	with Fleet() as fleet:
		flota = Flota(fleet)
		flota.ready(flota.host("n1"))
		yield flota


def get(flota, path, *options):
	return flota.fleet.run("curl", "-sS", "--path-as-is", "--cacert", flota.data / "ca.crt", *options,
		f"https://{GATEWAY}:{PORT}{path}", check=False).stdout


def test_nothing_but_what_is_meant(flota):
	assert get(flota, "/healthz") == "ok\n"
	for path in ("/", "/agents/", "/agents/../ca.key", "/agents/%2e%2e/ca.key", "/ca.key", "/store.sqlite"):
		assert get(flota, path) == "not found\n", path
	assert get(flota, "/healthz", "--data", "x") == "GET or HEAD\n"
	code = "-w%{http_code}"
	assert get(flota, "/healthz", "-H", f"X: {'a' * 100000}", code)[-3:] != "200"
	assert get(flota, "/healthz", "--tls-max", "1.1", code) == "000"
	assert get(flota, "/healthz", "--tlsv1.3", code) == "ok\n200"


def test_idle_peers_keep_nothing_but_that_port_busy(flota):
	idle = flota.fleet.popen("python3", "-c", IDLE, stdin=-1, stdout=-1, text=True)
	assert idle.stdout.readline() == "2000\n"
	# The fleet's own port does not notice; nobody is lost.
	flota.start("a.service", service())
	assert flota.flotactl("events", "--lines=50").stdout.count("machine.lost") == 0
	# Those of each address have their share, and it ends.
	wait_until(lambda: get(flota, "/healthz") == "ok\n", "room for one more")
	idle.stdin.close()
	assert idle.wait() == 0
	flota.destroy_all()


def test_as_its_package_runs_it():
	with Fleet() as fleet:
		host = fleet.host("n1")
		host.ready()
		install(host)
		host.run("flota-coordinator", "init", "--fleet", "lab", "--address", host.address)
		host.systemctl("start", UNIT)
		fleet.outside(fleet.dir / "ca.crt").write_text(host.read(f"{DATA}/ca.crt"))
		host.write("/root/agent", "the agent")
		host.run("flotactl", "release", "publish", "/root/agent", "--release=1.0", "--arch=x86_64")
		url = f"https://{host.address}:{PORT}"
		fetch = ("curl", "-sS", "--cacert", fleet.dir / "ca.crt")
		assert fleet.run(*fetch, f"{url}/healthz").stdout == "ok\n"
		assert fleet.run(*fetch, f"{url}/agents/1.0/x86_64/flota-agent").stdout == "the agent"
