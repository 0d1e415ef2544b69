#!/bin/sh
# flota: the first boot of a machine
set -eu
if [ "$(id -u)" != 0 ]; then
	echo "flota: run this as root" >&2
	exit 1
fi

# put PATH MODE: standard input becomes the file.
put() {
	mkdir -p "${1%/*}"
	(umask 077; cat > "$1.part")
	chmod "$2" "$1.part"
	mv -f "$1.part" "$1"
}

put /etc/flota/agent.conf 0644 <<'END'
[Agent]
Coordinator=tls+tcp://10.17.3.10:7440
Coordinator=tls+tcp://[fd17::10]:7440
Metadata=role=web
Metadata=region=norte
Metadata=disk=ssd
END

put /etc/flota/token 0600 <<'END'
flota1.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
END

put /etc/motd 0644 <<'END1'
Property of $HOME & `sons`: 100% "ours"

	END
END1

base64 -d <<'END' | put /etc/hoster/secret 0600
bm8gbmV3bGluZSD/AA==
END

put /etc/systemd/network/05-flota.network 0644 <<'END'
[Match]
Name=en* eth0

[Network]
DHCP=no
IPv6AcceptRA=no
Address=10.17.3.21/24
Address=fd17::21/64
Gateway=10.17.3.1
Gateway=fd17::1
DNS=10.17.3.11
Domains=flota.example
NTP=10.17.3.11
END

put /etc/NetworkManager/system-connections/flota.nmconnection 0600 <<'END'
[connection]
id=flota
type=ethernet
autoconnect-priority=999

[match]
interface-name=en*;eth0;

[ethernet]

[ipv4]
method=manual
address1=10.17.3.21/24
gateway=10.17.3.1
dns=10.17.3.11;
dns-search=flota.example;
ignore-auto-dns=true

[ipv6]
method=manual
address1=fd17::21/64
gateway=fd17::1
dns-search=flota.example;
ignore-auto-dns=true
END

put /etc/systemd/system/flota-forget.path 0644 <<'END'
[Unit]
Description=flota: waits until this machine has joined
Documentation=man:flota.machine(5)

[Path]
PathExists=/etc/flota/tls/machine.crt

[Install]
WantedBy=multi-user.target
END

put /etc/systemd/system/flota-forget.service 0644 <<'END'
[Unit]
Description=flota: removes what is left of the first-boot document and its secrets
Documentation=man:flota.machine(5)
After=cloud-final.service
ConditionPathExists=/etc/flota/tls/machine.crt

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'rm -rf /var/lib/flota/first-boot'
# Of cloud-init; without a seed, which some systems have on their disk, it would take this
# for another machine.
ExecStart=/bin/sh -c 'cd /var/lib/cloud/instances 2>/dev/null || exit 0; rm -f */user-data.txt* */cloud-config.txt */obj.pkl */scripts/part-*'
ExecStart=/bin/sh -c 'rm -f /run/cloud-init/*-sensitive.json /run/cloud-init/combined-cloud-config.json'
ExecStart=/bin/sh -c 'find /var/lib/cloud/seed -name user-data -exec truncate -s 0 {} + 2>/dev/null || true'
# Of Ignition; the others are where flatcar-install puts it.
ExecStart=/bin/rm -f /run/ignition.json /oem/config.ign /usr/share/oem/config.ign
END

put /etc/systemd/system/hello.service 0644 <<'END'
[Unit]
Description=Says hello

[Service]
Type=oneshot
ExecStart=/bin/echo "hello"

[Install]
WantedBy=multi-user.target
END

put /etc/systemd/system/worker@.service 0644 <<'END'
[Unit]
Description=Says hello

[Service]
Type=oneshot
ExecStart=/bin/echo "hello"

[Install]
WantedBy=multi-user.target
END

# ---- The files are there. What is left to do:

# The host name.
echo web1.flota.example > /etc/hostname
hostname web1.flota.example 2> /dev/null || hostnamectl set-hostname web1.flota.example

# The user.
user=core
id "$user" > /dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
home=$(getent passwd "$user" | cut -d: -f6)
mkdir -p "$home/.ssh"
touch "$home/.ssh/authorized_keys"
while IFS= read -r key; do
	grep -qxF -e "$key" "$home/.ssh/authorized_keys" ||
		printf '%s\n' "$key" >> "$home/.ssh/authorized_keys"
done <<'END'
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPXcEBzMSj4zjOd3BGNEHZ7nUXxJ6QYtC5VZrUHfY8Wd ana@flota.example
no-pty,command="echo \"$USER\"" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBHyqsQX1wRHSs0z6pCjC1xT4tqCkcPaE6vRgU3kYh1L backup's
END
chmod 0700 "$home/.ssh"
chmod 0600 "$home/.ssh/authorized_keys"
chown -R "$user:" "$home/.ssh"
mkdir -p /etc/sudoers.d
echo "$user ALL=(ALL) NOPASSWD:ALL" > /etc/sudoers.d/90-flota
chmod 0440 /etc/sudoers.d/90-flota

# The network, by whichever program sets it up here.
if command -v nmcli > /dev/null && nmcli general status > /dev/null 2>&1; then
	nmcli connection reload
	nmcli connection up flota
elif systemctl --quiet is-active systemd-networkd.service; then
	systemctl restart systemd-networkd.service
else
	echo "flota: neither NetworkManager nor systemd-networkd runs here;" \
		"the network stays as it is" >&2
fi

# The time.
servers='10.17.3.11'
if [ -d /etc/chrony/sources.d ]; then
	for server in $servers; do echo "server $server iburst"; done \
		> /etc/chrony/sources.d/flota.sources
	systemctl try-restart chrony.service
elif [ -e /etc/chrony.conf ]; then
	sed -i -e '/^\(pool\|server\) /d' /etc/chrony.conf
	for server in $servers; do echo "server $server iburst"; done >> /etc/chrony.conf
	systemctl try-restart chronyd.service
else
	mkdir -p /etc/systemd/timesyncd.conf.d
	printf '[Time]\nNTP=%s\n' "$servers" > /etc/systemd/timesyncd.conf.d/50-flota.conf
	systemctl try-restart systemd-timesyncd.service
fi

# The units.
systemctl daemon-reload
for unit in flota-agent.service flota-fence.service flota-forget.path hello.service; do
	systemctl enable "$unit"
	systemctl restart --no-block "$unit"
done

# This script, where it is a file, has no more to do.
if [ -f "$0" ] && head -n 2 "$0" | grep -qxF '# flota: the first boot of a machine'; then rm -f "$0"; fi
