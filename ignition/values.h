/*
 * The values of a machine's description, one check for each type. What passes has no character
 * that a unit file, a shell word in quotes, JSON or YAML could take for something else than text.
 * FL_E_INVALID says what the value should be.
 */
#pragma once

#include "base/error.h"

/* X(type, what it should be) */
#define VALUE_TYPES(X) \
	X(hostname, "a host name: labels of letters, digits and \"-\", at most 64 in all") \
	X(metadata, "key=value without blanks, commas, quotes and backslashes") \
	X(role, "a word without blanks, commas, quotes and backslashes") \
	X(interface, "a name of network interfaces, such as eth0 or en*") \
	X(mac, "a hardware address, such as 52:54:00:12:34:56") \
	X(dhcp, "yes, no, ipv4 or ipv6") \
	X(cidr, "an address with the length of its network, such as 10.17.3.21/24") \
	X(address, "an IP address") \
	X(server, "an IP address or a host name") \
	X(user, "a user's name: a small letter or \"_\", then at most 31 of a-z 0-9 _ -") \
	X(ssh_key, "a line of authorized_keys(5), such as ssh-ed25519 AAAA... ana@example") \
	X(realm, "a Kerberos realm, such as EXAMPLE.ORG") \
	X(principal, "a Kerberos principal, such as admin") \
	X(coordinator, "a coordinator, tls+tcp://HOST:PORT") \
	X(url, "a URL, https://HOST/PATH or http://HOST/PATH") \
	X(hash, "a SHA-512, \"sha512-\" and 128 hexadecimal digits") \
	X(version, "a version, such as 0.1.0") \
	X(architecture, "an architecture as uname -m prints it, such as x86_64") \
	X(path, "the path of a file")

/* enum fl_code value_hostname(const char *value, struct fl_error *err), ... */
#define X(type, what) \
	enum fl_code value_##type(const char *value, struct fl_error *err) FL_MUST_CHECK;
VALUE_TYPES(X)
#undef X
