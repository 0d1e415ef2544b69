import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import lab  # noqa: E402 (its path is one line above)


def pytest_configure(config):
	"""Tests run copies of the programs, so that a build meanwhile does not disturb them."""
	if hasattr(config, "workerinput"):
		return  # of pytest-xdist: it has its controller's environment
	programs = Path(os.environ.get("FLOTA_BIN", lab.HERE / "../../build/release/bin")).resolve()
	if not (programs / "flotactl").exists():
		pytest.exit(f"there is no flotactl in {programs}: cmake --preset release && "
			"cmake --build --preset release, or set FLOTA_BIN", 2)
	copies = tempfile.mkdtemp(prefix="flota-lab-")
	config.add_cleanup(lambda: shutil.rmtree(copies))
	os.environ["FLOTA_BUILD"] = str(programs.parent) # of which packages are made
	os.environ["FLOTA_BIN"] = shutil.copytree(programs, f"{copies}/bin")


@pytest.fixture(scope="module", params=["v1", "v2"])
def layout(request):
	"""Each cgroup layout that a host may have."""
	if request.param not in lab.cgroup_layouts():
		pytest.skip(f"this machine's cgroups can't give a host the layout {request.param}")
	return request.param


@pytest.fixture(scope="module")
def flota(request):
	"""A coordinator and its hosts, for all tests of a module, which says by HOSTS (name: metadata) and
	OPTIONS (lines of the coordinator's configuration) what is special about it."""
	from flota import Flota # which wants FLOTA_BIN

	hosts = getattr(request.module, "HOSTS", {name: f"host={name}" for name in ("n1", "n2", "n3")})
	with lab.Fleet() as fleet:
		flota = Flota(fleet, options=getattr(request.module, "OPTIONS", ()))
		for name, metadata in hosts.items():
			flota.host(name, metadata=metadata)
		flota.ready()
		yield flota


@pytest.fixture
def healthy(clean):
	"""For a test that kills, or cuts off: all is whole again afterwards."""
	yield clean
	if clean.coordinator.poll() is not None:
		clean.boot()
	for host in clean.fleet.hosts.values():
		if host.pid is None:
			host.boot()
		host.join()
	clean.ready()


@pytest.fixture
def clean(flota):
	"""For a test that begins with no unit in its module's fleet, and leaves none."""
	yield flota
	flota.destroy_all()


@pytest.fixture
def n1(clean):
	return clean.fleet.hosts["n1"]


@pytest.fixture
def n2(clean):
	return clean.fleet.hosts["n2"]


@pytest.fixture
def n3(clean):
	return clean.fleet.hosts["n3"]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
	"""A failure comes with what the hosts' journals say."""
	report = (yield).get_result()
	if report.failed:
		for fleet in lab.Fleet.alive:
			log = fleet.outside(fleet.dir / "coordinator.log")
			if log.exists():
				report.sections.append((f"coordinator of fleet {fleet.keeper_pid}",
					"\n".join(log.read_text().splitlines()[-100:])))
			for host in fleet.hosts.values():
				if host.pid:
					title = f"journal of {host.name}, fleet {fleet.keeper_pid}"
					report.sections.append((title, host.journal("--lines=100")))


def pytest_terminal_summary(terminalreporter):
	"""What tests measured in passing (record_property)."""
	for report in terminalreporter.stats.get("passed", []):
		for name, value in getattr(report, "user_properties", []):
			terminalreporter.write_line(f"{name}: {value}")


def pytest_unconfigure(config):
	terminal = config.pluginmanager.get_plugin("terminalreporter")
	if terminal and not hasattr(config, "workerinput"):
		count = {kind: len(terminal.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")}
		terminal.write_line(f"{count['passed']} passed, {count['failed'] + count['error']} failed, "
			f"{count['skipped']} skipped")
