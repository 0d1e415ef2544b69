"""What the lab's benchmarks share: the lab itself, fleets on real disks, tables."""

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lab"))
from flota import Flota  # noqa: E402 (its path is one line above)
from lab import Fleet  # noqa: E402

# A real disk: the lab's own files are in memory, and a benchmark of durable writes is not to be.
DISK = Path(os.environ.get("FLOTA_BENCH_DISK", "/var/tmp"))


def put_on_disk(host, directory):
	"""The agent's state and its program, whose pages would count as the agent's own while they are
	in memory only."""
	(directory / "state").mkdir(parents=True)
	shutil.copy(host.disk / "usr/bin/flota-agent", directory / "flota-agent")
	os.sync()
	(host.disk / "var/lib/flota").mkdir(parents=True, exist_ok=True)
	root = host.fleet.dir / host.name / "root"
	host.fleet.run("mount", "--bind", directory / "state", root / "var/lib/flota")
	host.fleet.run("mount", "--bind", directory / "flota-agent", root / "usr/bin/flota-agent")


@contextmanager
def fleet_on_disk(hosts, *options):
	"""A fleet whose coordinator and agents keep their state on a real disk: its Flota, ready."""
	directory = Path(tempfile.mkdtemp(prefix="flota-bench-", dir=DISK))
	try:
		with Fleet() as fleet:
			flota = Flota(fleet, data=directory / "coordinator", options=options)
			for name in hosts:
				host = flota.new_host(name, metadata=f"host={name}")
				put_on_disk(host, directory / name)
				host.boot()
			flota.ready()
			yield flota
	finally:
		shutil.rmtree(directory)


def percentile(values, percent):
	ordered = sorted(values)
	return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def row(name, values, unit="ms"):
	return (name, f"{median(values):.2f} {unit}", f"{percentile(values, 90):.2f} {unit}",
		f"{min(values):.2f} {unit}", f"{max(values):.2f} {unit}")


def table(*rows):
	widths = [max(len(cell) for cell in column) for column in zip(*rows)]
	for cells in rows:
		print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
