#include "ignition/values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ignition/text.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define HEX    DIGITS "abcdef"

#define HOSTNAME_MAX  64 /* of Linux: HOST_NAME_MAX */
#define LABEL_MAX     63 /* RFC 1035 */
#define DNS_NAME_MAX  253
#define INTERFACE_MAX 15 /* IFNAMSIZ - 1 */
#define USER_MAX      32 /* useradd(8) */

static bool is_of(const char *text, const char *allowed, size_t max)
{
	size_t len = strlen(text);

	return len > 0 && len <= max && strspn(text, allowed) == len;
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* RFC 1123, 2.1. */
static bool is_dns_name(const char *text, size_t max)
{
	size_t label = 0;

	if (!is_of(text, LOWER UPPER DIGITS "-.", max))
		return false;
	for (const char *at = text;; at++) {
		if (*at != '.' && *at != '\0') {
			if (*at == '-' && label == 0)
				return false;
			label++;
			continue;
		}
		if (label == 0 || label > LABEL_MAX || at[-1] == '-')
			return false;
		if (*at == '\0')
			return true;
		label = 0;
	}
}

static bool is_hostname(const char *text)
{
	return is_dns_name(text, HOSTNAME_MAX);
}

static int family_of(const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, text, bytes) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, text, bytes) == 1 ? AF_INET6 : AF_UNSPEC;
}

static bool is_address(const char *text)
{
	return family_of(text) != AF_UNSPEC;
}

static bool is_cidr(const char *text)
{
	const char *slash = strchr(text, '/');
	char address[INET6_ADDRSTRLEN];
	size_t len = slash != NULL ? (size_t)(slash - text) : SIZE_MAX;
	int family;

	if (len >= sizeof(address) || !is_of(slash + 1, DIGITS, 3) || slash[1] == '0')
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	family = family_of(address);
	return family != AF_UNSPEC &&
	       strtoul(slash + 1, NULL, 10) <= (family == AF_INET ? 32U : 128U);
}

/* A dotted number is an address or nothing. */
static bool is_server(const char *text)
{
	return is_address(text) ||
	       (is_dns_name(text, DNS_NAME_MAX) && strspn(text, DIGITS ".") != strlen(text));
}

static bool is_plain_word(const char *text)
{
	return text_is_line(text) && *text != '\0' && strpbrk(text, " \t,\"'\\") == NULL;
}

static bool is_metadata(const char *text)
{
	const char *equals = strchr(text, '=');

	return is_plain_word(text) && equals != NULL && equals != text && equals[1] != '\0' &&
	       strlen(text) <= 255;
}

static bool is_mac(const char *text)
{
	if (strlen(text) != 17)
		return false;
	for (size_t i = 0; i < 17; i++)
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			return false;
	return true;
}

static bool is_user(const char *text)
{
	return is_of(text, LOWER DIGITS "_-", USER_MAX) &&
	       (*text == '_' || islower((unsigned char)*text));
}

/* The kind of key and the key in base64, behind the options if there are any (sshd(8)). Every blob
 * begins with the length of its kind's name, three bytes of which are 0: "AAAA". */
static bool is_ssh_key(const char *text)
{
	const char *key = strstr(text, " AAAA");
	size_t n = 0;

	if (!text_is_line(text) || key == NULL || strchr(text, '\t') != NULL)
		return false;
	while (key - n > text && key[-(ptrdiff_t)n - 1] != ' ')
		n++;
	if (!starts_with(key - n, "ssh-") && !starts_with(key - n, "ecdsa-") &&
		!starts_with(key - n, "sk-"))
		return false;
	n = strspn(key + 1, LOWER UPPER DIGITS "+/");
	n += strspn(key + 1 + n, "=");
	return n >= 16 && (key[1 + n] == ' ' || key[1 + n] == '\0');
}

/* HOST:PORT, HOST or [IPV6]:PORT; @len bytes. */
static bool is_authority(const char *text, size_t len, bool wants_port)
{
	char copy[DNS_NAME_MAX + 8];
	char *host = copy, *port;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (*host == '[') {
		port = strchr(host, ']');
		if (port == NULL)
			return false;
		*port++ = '\0';
		if (family_of(++host) != AF_INET6)
			return false;
	} else {
		port = host + strcspn(host, ":");
	}
	if (*port == '\0')
		return !wants_port && (host != copy || is_server(host));
	if (*port != ':' || !is_of(port + 1, DIGITS, 5) || strtoul(port + 1, NULL, 10) - 1 >= 65535)
		return false;
	*port = '\0';
	return host != copy || is_server(host);
}

static bool is_coordinator(const char *text)
{
	const char *authority = text + strlen("tls+tcp://");

	return starts_with(text, "tls+tcp://") && is_authority(authority, strlen(authority), true);
}

/* RFC 3986, without user information; "'" has no place in it here. */
static bool is_url(const char *text)
{
	static const char allowed[] = LOWER UPPER DIGITS "-._~:/?#[]@!$&()*+,;=%";
	const char *at = strstr(text, "://"), *path;

	if (!is_of(text, allowed, 2048) || at == NULL ||
		(!starts_with(text, "https://") && !starts_with(text, "http://")))
		return false;
	at += 3;
	path = at + strcspn(at, "/?#");
	if (*path != '/' || strpbrk(path, "[]") != NULL)
		return false;
	for (const char *percent = at; (percent = strchr(percent, '%')) != NULL; percent++)
		if (!isxdigit((unsigned char)percent[1]) || !isxdigit((unsigned char)percent[2]))
			return false;
	return is_authority(at, (size_t)(path - at), false);
}

static bool is_hash(const char *text)
{
	return starts_with(text, "sha512-") && strlen(text) == 7 + 128 && is_of(text + 7, HEX, 128);
}

static bool is_dhcp(const char *text)
{
	static const char *const words[] = {"yes", "no", "ipv4", "ipv6"};

	for (size_t i = 0; i < FL_COUNT(words); i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return false;
}

static bool is_role(const char *text)
{
	return is_plain_word(text) && strlen(text) <= 128;
}

/* As networkd's [Match] Name= and NetworkManager's match.interface-name both read it. */
static bool is_interface(const char *text)
{
	return is_of(text, LOWER UPPER DIGITS "._-*?", INTERFACE_MAX) && *text != '-';
}

static bool is_realm(const char *text)
{
	return is_of(text, UPPER DIGITS ".-", DNS_NAME_MAX) && *text != '-';
}

static bool is_principal(const char *text)
{
	return is_of(text, LOWER UPPER DIGITS "._/@-", DNS_NAME_MAX) && *text != '-';
}

static bool is_architecture(const char *text)
{
	return is_of(text, LOWER DIGITS "_", 32);
}

static bool is_version(const char *text)
{
	return is_of(text, LOWER UPPER DIGITS ".+~-", 64) && *text != '.';
}

static bool is_path(const char *text)
{
	return *text != '\0';
}

#define X(type, what) \
	enum fl_code value_##type(const char *value, struct fl_error *err) \
	{ \
		if (!is_##type(value)) \
			return FL_FAIL(err, FL_E_INVALID, "\"%s\" is not %s", value, what); \
		return FL_OK; \
	}
VALUE_TYPES(X)
#undef X
