"""The coordinator as a package runs it: by its own unit file, with all the hardening in it."""

from flota import BIN, ROOT
from lab import Fleet


def test_the_coordinators_unit_file(layout):
	with Fleet() as fleet:
		host = fleet.host("n1", cgroup=layout)
		host.ready()
		host.install({f"/usr/bin/{program}": BIN / program for program in ("flota-coordinator", "flotactl")},
			mode=0o755)
		host.install({"/etc/systemd/system/flota-coordinator.service":
			ROOT / "packaging/systemd/flota-coordinator.service"})
		host.run("flota-coordinator", "init", "--fleet", "lab")
		host.systemctl("daemon-reload")
		# Type=notify: it has begun when it serves.
		host.systemctl("start", "flota-coordinator.service")
		assert "of the fleet lab; you are root" in host.run("flotactl", "version").stdout
		host.write("/root/a.service", "[Service]\nExecStart=/bin/true\n")
		assert host.run("flotactl", "submit", "/root/a.service").returncode == 0
		host.systemctl("restart", "flota-coordinator.service")
		assert "a.service" in host.run("flotactl", "list-unit-files").stdout
		host.systemctl("stop", "flota-coordinator.service")
		shown = host.show("flota-coordinator.service", "Result", "NRestarts")
		assert shown == {"Result": "success", "NRestarts": "0"}
