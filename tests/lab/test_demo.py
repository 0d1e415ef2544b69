"""./demo, as somebody runs it who has just cloned the project."""

import os
import signal
import subprocess

import pytest

from flota import ROOT
from lab import fleet_groups, wait_until


@pytest.fixture
def demo(tmp_path):
	"""Runs ./demo, beside one that may be up already."""
	environment = os.environ | {"FLOTA_LAB_STATE": str(tmp_path / "state")}

	def run(*argv, **options):
		return subprocess.run([ROOT / "demo", *argv], env=environment, capture_output=True, text=True,
			timeout=600, **options)
	run.environment = environment
	yield run
	run("stop")


def test_demo(demo):
	done = demo()
	assert done.returncode == 0, done.stdout + done.stderr
	for line in ("MACHINE", "10.77.0.13", "blog-copia.service", "tienda@3.service", "./demo stop"):
		assert line in done.stdout
	active = demo("exec", "n2", "systemctl", "is-active", "vigia.service")
	assert active.stdout == "active\n"
	spread = [demo("exec", host, "systemctl", "list-units", "--no-legend", "tienda@*").stdout
		for host in ("n1", "n2", "n3")]
	assert all(text.count("running") == 1 for text in spread)
	assert "Blog de Ana" in demo("flotactl", "status", "blog").stdout
	again = demo()
	assert again.returncode == 0 and "up already" in again.stdout
	keeper = int((ROOT / demo.environment["FLOTA_LAB_STATE"] / "keeper.pid").read_text())
	assert demo("stop").returncode == 0
	assert not os.path.exists(f"/proc/{keeper}") and not fleet_groups(keeper)
	assert "no fleet is up" in demo("flotactl", "list-units").stderr


def test_demo_that_is_interrupted_leaves_nothing(demo):
	state = demo.environment["FLOTA_LAB_STATE"]
	running = subprocess.Popen([ROOT / "demo"], env=demo.environment, stdout=subprocess.DEVNULL,
		stderr=subprocess.DEVNULL, start_new_session=True)
	wait_until(lambda: os.path.exists(f"{state}/gateway.pid"), "the demo's fleet to begin")
	with open(f"{state}/keeper.pid", encoding="utf-8") as file:
		keeper = int(file.read())
	os.killpg(running.pid, signal.SIGINT)
	assert running.wait(60) != 0
	wait_until(lambda: not os.path.exists(f"/proc/{keeper}"), "the end of the demo's fleet")
	assert not fleet_groups(keeper) and not os.path.exists(f"{state}/lifeline")
