/* The keys of a machine's description (ignition/machine.h), and the flags of flotactl for them. */
#pragma once

/* Of a key given several times: */
enum machine_many {
	MACHINE_ONE, /* the last one wins */
	MACHINE_WORDS, /* all count; several may stand in one value, divided by blanks or commas */
	MACHINE_LINES, /* all count, each a value of its own */
};

/*
 * Every key: X(constant, section, name, flag of flotactl, type of values.h, how many, what --help
 * calls the value, what it does). An empty value forgets those before. Paths in a file are
 * relative to its folder.
 */
#define MACHINE_KEYS(X) \
	X(MACHINE_HOSTNAME, "Machine", "Hostname", "hostname", hostname, MACHINE_ONE, "NAME", \
		"The machine's host name. A token that is made for it lets no other name in.") \
	X(MACHINE_ROLE, "Machine", "Role", "role", role, MACHINE_ONE, "ROLE", \
		"What the machine is for: metadata role=ROLE.") \
	X(MACHINE_METADATA, "Machine", "Metadata", "metadata", metadata, MACHINE_WORDS, \
		"KEY=VALUE", "What the machine is, for MachineMetadata= of units.") \
	X(MACHINE_INTERFACE, "Match", "Name", "interface", interface, MACHINE_WORDS, "NAME", \
		"The interfaces that the addresses are for; * and ? stand for any characters.") \
	X(MACHINE_MAC, "Match", "MACAddress", "mac-address", mac, MACHINE_ONE, "ADDRESS", \
		"The interface with this hardware address.") \
	X(MACHINE_DHCP, "Network", "DHCP", "dhcp", dhcp, MACHINE_ONE, "yes|no|ipv4|ipv6", \
		"Whether addresses come by DHCP. Default: where Address= is not given.") \
	X(MACHINE_ADDRESS, "Network", "Address", "address", cidr, MACHINE_WORDS, "ADDRESS/LENGTH", \
		"A static address.") \
	X(MACHINE_GATEWAY, "Network", "Gateway", "gateway", address, MACHINE_WORDS, "ADDRESS", \
		"The router, one for each family.") \
	X(MACHINE_DNS, "Network", "DNS", "dns", address, MACHINE_WORDS, "ADDRESS", \
		"A DNS server. What DHCP says of them does not count then.") \
	X(MACHINE_DOMAINS, "Network", "Domains", "domains", hostname, MACHINE_WORDS, "DOMAIN", \
		"A domain in which short names are looked up.") \
	X(MACHINE_NTP, "Network", "NTP", "ntp", server, MACHINE_WORDS, "SERVER", \
		"A time server, by address or name.") \
	X(MACHINE_USER, "User", "Name", "user", user, MACHINE_ONE, "NAME", \
		"Who may log in with the SSH keys, and become root by sudo. Default: core.") \
	X(MACHINE_SSH_KEY, "User", "SSHAuthorizedKey", "ssh-key", ssh_key, MACHINE_LINES, "KEY", \
		"A public key that lets this user in, as a line of authorized_keys(5).") \
	X(MACHINE_IPA_DOMAIN, "FreeIPA", "Domain", "ipa-domain", hostname, MACHINE_ONE, "DOMAIN", \
		"The FreeIPA domain that the machine is enrolled in, by ipa-client-install(1).") \
	X(MACHINE_IPA_REALM, "FreeIPA", "Realm", "ipa-realm", realm, MACHINE_ONE, "REALM", \
		"Its realm. Default: the domain in capitals.") \
	X(MACHINE_IPA_SERVER, "FreeIPA", "Server", "ipa-server", hostname, MACHINE_WORDS, "NAME", \
		"A FreeIPA server. Default: those that DNS names.") \
	X(MACHINE_IPA_PRINCIPAL, "FreeIPA", "Principal", "ipa-principal", principal, MACHINE_ONE, \
		"NAME", "Who enrols it. Default: nobody, the password is the host's own.") \
	X(MACHINE_IPA_PASSWORD, "FreeIPA", "PasswordFile", "ipa-password-file", path, MACHINE_ONE, \
		"PATH", \
		"A file with the password: one for this host, which \"ipa host-add --random\" makes " \
		"and which is good for once, or the principal's.") \
	X(MACHINE_COORDINATOR, "Agent", "Coordinator", "coordinator", coordinator, MACHINE_WORDS, \
		"URL", "Where the coordinator is: tls+tcp://HOST:7440.") \
	X(MACHINE_BINARY, "Agent", "Binary", "agent-url", url, MACHINE_ONE, "URL", \
		"Where the machine gets the agent. Default: with Version= or a hash the " \
		"coordinator, https://HOST:7442/agents/VERSION/ARCHITECTURE/flota-agent; without " \
		"any of these the agent is installed already.") \
	X(MACHINE_HASH, "Agent", "Hash", "agent-hash", hash, MACHINE_ONE, "sha512-HEX", \
		"The SHA-512 that the agent has to have.") \
	X(MACHINE_HASH_OF, "Agent", "HashOf", "agent-hash-of", path, MACHINE_ONE, "PATH", \
		"A copy of the agent that is served: its SHA-512 is taken.") \
	X(MACHINE_VERSION, "Agent", "Version", "agent-version", version, MACHINE_ONE, "VERSION", \
		"The release of the agent that the machine gets, as \"flotactl release list\" has " \
		"it, or \"newest\". Its hash, where it is not given, the coordinator tells.") \
	X(MACHINE_ARCHITECTURE, "Agent", "Architecture", "architecture", architecture, \
		MACHINE_ONE, "NAME", "The machine's, as uname -m prints it. Default: x86_64.") \
	X(MACHINE_CA, "Agent", "CACertificate", "ca-certificate", path, MACHINE_ONE, "PATH", \
		"The certificate of the CA by which the server of the agent's URL is known. Default: " \
		"for the coordinator the fleet's own, which it is asked for; else the CAs that the " \
		"machine's system trusts.") \
	X(MACHINE_RELEASE_KEY, "Agent", "ReleaseKey", "release-key", path, MACHINE_LINES, "PATH", \
		"A public key by which new versions of the agent may be signed.")

enum machine_key {
#define X(constant, section, name, flag, type, many, value, doc) constant,
	MACHINE_KEYS(X)
#undef X
		MACHINE_KEY_COUNT,
};

#define MACHINE_USER_DEFAULT         "core" /* of Flatcar, and of fleetctl's ssh */
#define MACHINE_ARCHITECTURE_DEFAULT "x86_64"
