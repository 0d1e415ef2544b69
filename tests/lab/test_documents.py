"""First-boot documents of descriptions made at random, judged by the programs that read them.

Each description holds what quoting gets wrong: quotes, $, `, %, backslashes, text of several
scripts, bytes that are no text. FLOTA_SEED replays one run.
"""

import base64
import json
import os
import random
import subprocess
import urllib.parse

import pytest
import yaml

from flota import BIN
from lab import Fleet

DESCRIPTIONS = 150
TOKEN = f"flota1.0123456789abcdef.{'s' * 42}A.{'p' * 42}A"
HASH = "sha512-" + "0a" * 64
HOSTILE = list("'\"$`\\%{}[]()<>#&*!|:;,~?=@^-. aZ09") + ["$(id)", "${HOME}", "%n", "\\n", "''", "END", "é", "日本", "😀", "\u00a0"]
NOT_IN_SECTIONS = "/[]\"'\\"
BINARY = b"\x7fELF\x00\x01\xff\xfe\r\n"
CHECK_SCHEMAS = """
import glob
from cloudinit.config.schema import get_schema, validate_cloudconfig_file
schema = get_schema()
for path in sorted(glob.glob("/documents/*.cloud-config")):
	validate_cloudconfig_file(path, schema)
"""


def text(rng, length, forbidden=""):
	pieces = [piece for piece in HOSTILE if not set(piece) & set(forbidden)]
	return "".join(rng.choice(pieces) for _ in range(rng.randrange(1, length)))


def some(rng, make, most=3):
	return [make() for _ in range(rng.randrange(most + 1))]


def label(rng):
	return rng.choice("abcxyz0") + "".join(rng.choice("abc-019") for _ in range(rng.randrange(8))) + "x"


def domain(rng):
	return ".".join(label(rng) for _ in range(rng.randrange(1, 4)))


def address(rng):
	return rng.choice([f"10.17.3.{rng.randrange(1, 255)}", f"fd00::{rng.randrange(1, 65536):x}"])


def metadata(rng):
	return label(rng) + "=" + text(rng, 12, forbidden=" ,\"'\\")


def ssh_key(rng):
	blob = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + rng.randbytes(32)).decode()
	options = rng.choice(["", "no-pty ", 'command="echo \\"$USER\\"" '])
	return f"{options}ssh-ed25519 {blob} {text(rng, 20)}".rstrip(" \u00a0\\")  # it would go on in the next line


def content(rng):
	"""The bytes of a file: lines of text, or what is none."""
	lines = "\n".join(text(rng, 30) for _ in range(rng.randrange(6)))
	return rng.choice([lines, lines + "\n", lines + "\n", lines + "\n\n", "", " " + lines + "\n", "\t\n" + lines,
		lines + "\r\n", "END\nEND1\n" + lines + "\n"]).encode() + rng.choice([b"", b"", b"", BINARY])


def unit(rng):
	words = text(rng, 20, forbidden="\\%\u00a0")
	return (f"[Unit]\nDescription=x {words}\n# {text(rng, 20)}x\n[Service]\n"
		f"ExecStart=/bin/echo {'y' * rng.choice([1, 3000])}\n\n[Install]\nWantedBy=multi-user.target\n").encode()


class Description:
	"""What a machine is to be, and the arguments that tell flotactl so."""

	def __init__(self, rng, folder, number):
		self.folder = folder / str(number)
		self.folder.mkdir()
		ipa = rng.random() < 0.2
		with_agent = rng.random() < 0.7
		pairs = {pair.split("=")[0]: pair for pair in some(rng, lambda: metadata(rng))}
		self.keys = some(rng, lambda: ssh_key(rng))
		addresses = some(rng, lambda: address(rng) + "/24")
		self.values = {  # section: key, flag, values
			"Machine": [
				("Hostname", "hostname", [label(rng) + ".flota.example"] if ipa or rng.random() < 0.8 else []),
				("Metadata", "metadata", list(pairs.values())),
				("Role", "role", ["web$`%"] if "role" not in pairs and rng.random() < 0.5 else [])],
			"Match": [
				("Name", "interface", rng.choice([["eth0"], ["en*", "eth?"]]) if addresses or rng.random() < 0.3 else []),
				("MACAddress", "mac-address", ["52:54:00:aB:cd:ef"] if rng.random() < 0.3 else [])],
			"Network": [
				("Address", "address", addresses),
				("DHCP", "dhcp", [rng.choice(["yes", "ipv4", "ipv6"])] if rng.random() < 0.4 else []),
				("Gateway", "gateway", ["10.17.3.1", "fd00::1"] if rng.random() < 0.4 else []),
				("DNS", "dns", some(rng, lambda: address(rng))),
				("Domains", "domains", some(rng, lambda: domain(rng))),
				("NTP", "ntp", some(rng, lambda: rng.choice([address, domain])(rng)))],
			"User": [
				("Name", "user", [rng.choice(["core", "_a-1", "ana"])] if rng.random() < 0.5 else []),
				("SSHAuthorizedKey", "ssh-key", self.keys)],
			"Agent": [
				("Coordinator", "coordinator", ["tls+tcp://10.17.3.10:7440"] + some(rng, lambda: "tls+tcp://[fd00::2]:7440", 1)),
				("Hash", "agent-hash", [HASH] if with_agent else []),
				("Binary", "agent-url", ["https://example.org:8443/a%20b/flota-agent?x=$(y)&z"] if with_agent and rng.random() < 0.5 else []),
				("CACertificate", "ca-certificate", [self.file("ca.crt", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")]
					if with_agent or rng.random() < 0.5 else []),
				("ReleaseKey", "release-key", [self.file("release.pub", b"flota-release-key-1:main:" + base64.b64encode(bytes(32)) + b"\n")] if rng.random() < 0.3 else [])]}
		if ipa:
			self.values["FreeIPA"] = [
				("Domain", "ipa-domain", ["flota.example"]),
				("Server", "ipa-server", some(rng, lambda: domain(rng))),
				("PasswordFile", "ipa-password-file", [self.file("password", text(rng, 20).encode() + b"x\n")])]
		self.has_ipa = ipa
		self.files = {f"/srv/{i} {text(rng, 8, forbidden=NOT_IN_SECTIONS)}x": content(rng) for i in range(rng.randrange(4))}
		self.units = {f"u{i}@a-b.service": unit(rng) for i in range(rng.randrange(2))}
		self.arguments = self.write(rng)

	def file(self, name, data):
		(self.folder / name).write_bytes(data)
		return str(self.folder / name)

	def write(self, rng):
		"""Some of the keys in a file, the others as flags."""
		lines, flags = [], []
		for section, keys in self.values.items():
			lines.append(f"[{section}]")
			for key, flag, values in keys:
				if rng.random() < 0.3:
					flags += [f"--{flag}={value}" for value in values]
				else:
					lines += [f"{key}={value}" for value in values]
		for kind, contents in (("File", self.files), ("Unit", self.units)):
			for number, (name, data) in enumerate(contents.items()):
				source = self.file(f"{kind}-{number}", data)
				lines += [f"[{kind} {name}]", f"Source={rng.choice([source, os.path.basename(source)])}"]
		path = self.file("it.machine", "\n".join(lines + [""]).encode())
		return [path, *flags]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
	"""[(description, {kind: document})]"""
	seed = int(os.environ.get("FLOTA_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
	print(f"FLOTA_SEED={seed}")
	rng = random.Random(seed)
	folder = tmp_path_factory.mktemp("descriptions")
	made = []
	for number in range(DESCRIPTIONS):
		description = Description(rng, folder, number)
		texts = {}
		for kind in ("ignition", "butane", "cloud-config", "script"):
			done = subprocess.run([BIN / "flotactl", "bootstrap", kind, f"--token={TOKEN}", *description.arguments],
				capture_output=True, check=False)
			if description.has_ipa and kind in ("ignition", "butane"):
				assert done.returncode == 1 and b"has no FreeIPA client" in done.stderr, done.stderr
				continue
			assert done.returncode == 0, (seed, description.arguments, done.stderr.decode())
			assert b"the join token" in done.stderr
			assert (b"the FreeIPA password" in done.stderr) == description.has_ipa
			texts[kind] = done.stdout.decode()
			(folder / str(number) / kind).write_text(texts[kind])
		made.append((description, texts))
	return made


def of_data_url(url):
	head, data = url.removeprefix("data:").split(",", 1)
	return base64.b64decode(data) if head == ";base64" else urllib.parse.unquote_to_bytes(data)


def test_ignition_takes_every_document(documents):
	for description, texts in documents:
		if "ignition" not in texts:
			continue
		done = subprocess.run(["ignition-validate", description.folder / "ignition"], capture_output=True, check=False)
		assert done.returncode == 0 and done.stdout + done.stderr == b"", (description.folder, done)
		document = json.loads(texts["ignition"])
		files = {file["path"]: of_data_url(file["contents"]["source"]) for file in document["storage"]["files"]
			if file["contents"]["source"].startswith("data:")}
		assert {path: files[path] for path in description.files} == description.files
		assert files["/etc/flota/token"] == TOKEN.encode() + b"\n"
		units = {unit["name"]: unit for unit in document["systemd"]["units"]}
		for name, data in description.units.items():
			assert units[name]["enabled"]
			# One with a line of more than 2048 bytes Ignition takes as a file alone.
			assert data == (units[name]["contents"].encode() if len(max(data.split(b"\n"), key=len)) <= 2048
				else files[f"/etc/systemd/system/{name}"])
		[user] = document["passwd"]["users"] if description.keys else [{"sshAuthorizedKeys": []}]
		assert user["sshAuthorizedKeys"] == list(dict.fromkeys(description.keys))


def camel(name):
	first, *others = name.split("_")
	return first + "".join(word.capitalize() for word in others)


def translated(value):
	"""What Butane makes of flatcar 1.0.0 (coreos.github.io/butane/config-flatcar-v1_0)."""
	if isinstance(value, list):
		return [translated(item) for item in value]
	if not isinstance(value, dict):
		return value
	made = {camel(key): translated(item) for key, item in value.items()}
	if "inline" in made:
		made["source"] = made.pop("inline").encode()
	elif str(made.get("source")).startswith("data:"):
		made["source"] = of_data_url(made["source"])
	return made


def test_butane_says_the_same_as_ignition(documents):
	for _, texts in documents:
		if "butane" not in texts:
			continue
		butane = yaml.safe_load(texts["butane"])
		assert (butane.pop("variant"), butane.pop("version")) == ("flatcar", "1.0.0")
		ignition = json.loads(texts["ignition"])
		assert ignition["ignition"].pop("version") == "3.3.0"
		if not ignition["ignition"]:
			del ignition["ignition"]
		assert translated(butane) == translated(ignition)


def test_cloud_init_takes_every_document(documents):
	with Fleet() as fleet:
		host = fleet.new_host("cloud", variant="cloud")
		host.install({f"/documents/{n}.cloud-config": description.folder / "cloud-config"
			for n, (description, _) in enumerate(documents)})
		root = fleet.dir / host.name / "root"
		fleet.run("chroot", root, "python3", "-c", CHECK_SCHEMAS)
		assert "Valid cloud-config" in fleet.run(
			"chroot", root, "cloud-init", "schema", "--config-file", "/documents/0.cloud-config").stdout
	for description, texts in documents:
		document = yaml.safe_load(texts["cloud-config"])
		files = {file["path"]: base64.b64decode(file["content"]) if file.get("encoding") == "b64"
			else file["content"].encode() for file in document["write_files"]}
		assert {path: files[path] for path in description.files} == description.files
		assert files["/etc/flota/token"] == TOKEN.encode() + b"\n"
		for name, data in description.units.items():
			assert files[f"/etc/systemd/system/{name}"] == data
		[user] = document.get("users", [{"ssh_authorized_keys": []}])
		assert user["ssh_authorized_keys"] == list(dict.fromkeys(description.keys))
		subprocess.run(["sh", "-n"], input=files["/var/lib/flota/first-boot/steps"], check=True)


def test_the_shell_takes_every_document(documents):
	for description, _ in documents:
		subprocess.run(["sh", "-n", description.folder / "script"], check=True)
	subprocess.run(["shellcheck", "--severity=warning", *(description.folder / "script" for description, _ in documents[:20])], check=True)


def test_the_script_writes_what_is_described(documents):
	with Fleet() as fleet:
		host = fleet.new_host("blank")
		for description, texts in documents[:50]:
			# What comes behind the files needs a host that runs.
			host.install({"/root/script": texts["script"].split("\n# ---- ")[0] + "\n"})
			fleet.run("chroot", fleet.dir / host.name / "root", "sh", "/root/script")
			for path, data in description.files.items():
				assert (host.disk / path.lstrip("/")).read_bytes() == data
			for name, data in description.units.items():
				assert (host.disk / "etc/systemd/system" / name).read_bytes() == data
			assert (host.disk / "etc/flota/token").read_text() == TOKEN + "\n"


@pytest.mark.parametrize("flag", ["--hostname=-a", "--hostname=a b", "--hostname=a\nb", "--hostname=" + "a" * 65, "--role=a b",
	"--metadata=x", "--metadata=a=\"b", "--metadata=a=b\x01", "--interface=$(id)", "--mac-address=52:54", "--dhcp=maybe",
	"--address=10.0.0.1", "--address=10.0.0.1/33", "--address=10.0.0.1/08", "--gateway=router", "--dns=dns.example",
	"--domains=a_b", "--ntp=10.0.0", "--user=Root", "--user=a;b", "--ssh-key=ssh-rsa", "--ssh-key=ssh-rsa AAAAB3NzaC1yc2E\nx",
	"--ssh-key=-----BEGIN OPENSSH PRIVATE KEY-----", "--ipa-domain=x;y", "--ipa-realm=a", "--coordinator=10.0.0.1",
	"--coordinator=tls+tcp://a", "--coordinator=tls+tcp://a:0", "--coordinator=tls+tcp://a'b:1", "--agent-url=ftp://a/b",
	"--agent-url=https://a/'b", "--agent-url=https://a/b%zz", "--agent-url=https://u:p@a/b", "--agent-hash=sha512-00",
	"--agent-version=../x", "--architecture=x86/64"])
def test_what_could_mean_something_else_is_refused(flag):
	done = subprocess.run([BIN / "flotactl", "bootstrap", "script", "--no-token", flag,
		*([] if "coordinator" in flag else ["--coordinator=tls+tcp://10.0.0.1:7440"])],
		capture_output=True, text=True, check=False)
	assert done.returncode == 1 and done.stdout == ""
	assert flag.split("=")[0] in done.stderr and " is not " in done.stderr, done.stderr
