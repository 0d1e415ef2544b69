#include "ignition/network.h"

#include <string.h>

static bool is_given(const struct machine *machine, enum machine_key key)
{
	return machine->values[key].n > 0;
}

bool network_is_described(const struct machine *machine)
{
	return is_given(machine, MACHINE_ADDRESS) || is_given(machine, MACHINE_DHCP) ||
	       is_given(machine, MACHINE_GATEWAY) || is_given(machine, MACHINE_DNS) ||
	       is_given(machine, MACHINE_DOMAINS);
}

/* "yes", "no", "ipv4" or "ipv6". */
static const char *dhcp_of(const struct machine *machine)
{
	const char *given = machine_value(machine, MACHINE_DHCP);

	if (given != NULL)
		return given;
	return is_given(machine, MACHINE_ADDRESS) ? "no" : "yes";
}

static void write_each(
	const struct machine *machine, enum machine_key key, const char *name, struct fl_buf *out)
{
	for (size_t i = 0; i < machine->values[key].n; i++)
		fl_buf_printf(out, "%s=%s\n", name, machine->values[key].items[i]);
}

/* In one line, each behind @separator but the first. */
static void write_joined(
	const struct fl_strv *values, const char *name, const char *separator, struct fl_buf *out)
{
	for (size_t i = 0; i < values->n; i++)
		fl_buf_printf(out, "%s%s", i > 0 ? separator : name, values->items[i]);
	if (values->n > 0)
		fl_buf_byte(out, '\n');
}

void network_write_networkd(const struct machine *machine, struct fl_buf *out)
{
	static const char *const sources[] = {"DHCPv4", "DHCPv6", "IPv6AcceptRA"};
	bool has_dns = is_given(machine, MACHINE_DNS), has_ntp = is_given(machine, MACHINE_NTP);
	bool is_static = strcmp(dhcp_of(machine), "no") == 0;

	fl_buf_text(out, "[Match]\n");
	write_joined(&machine->values[MACHINE_INTERFACE], "Name=", " ", out);
	write_each(machine, MACHINE_MAC, "MACAddress", out);
	if (!is_given(machine, MACHINE_INTERFACE) && !is_given(machine, MACHINE_MAC))
		fl_buf_text(out, "Type=ether\nKind=!*\n");
	fl_buf_printf(out, "\n[Network]\nDHCP=%s\n", dhcp_of(machine));
	/* Else a boot without IPv6 routers waits for them for twelve seconds. */
	if (is_static)
		fl_buf_text(out, "IPv6AcceptRA=no\n");
	write_each(machine, MACHINE_ADDRESS, "Address", out);
	write_each(machine, MACHINE_GATEWAY, "Gateway", out);
	write_each(machine, MACHINE_DNS, "DNS", out);
	write_joined(&machine->values[MACHINE_DOMAINS], "Domains=", " ", out);
	write_each(machine, MACHINE_NTP, "NTP", out);
	for (size_t i = 0; i < FL_COUNT(sources) && !is_static; i++) {
		bool is_ra = i == 2;

		if (has_dns || (has_ntp && !is_ra))
			fl_buf_printf(out, "\n[%s]\n%s%s", sources[i], has_dns ? "UseDNS=no\n" : "",
				has_ntp && !is_ra ? "UseNTP=no\n" : "");
	}
}

/* ---- NetworkManager -- */

static bool is_of_family(const char *address, bool ipv6)
{
	return (strchr(address, ':') != NULL) == ipv6;
}

/* "dns=" and a list of what is of the family, each with a ";" behind it. */
static void write_list(
	const struct fl_strv *values, const char *name, bool any, bool ipv6, struct fl_buf *out)
{
	size_t n = 0;

	for (size_t i = 0; i < values->n; i++)
		if (any || is_of_family(values->items[i], ipv6))
			fl_buf_printf(out, "%s%s;", n++ > 0 ? "" : name, values->items[i]);
	if (n > 0)
		fl_buf_byte(out, '\n');
}

static const char *method_of(const struct machine *machine, bool ipv6)
{
	const struct fl_strv *addresses = &machine->values[MACHINE_ADDRESS];
	const char *dhcp = dhcp_of(machine);

	if (strcmp(dhcp, "yes") == 0 || strcmp(dhcp, ipv6 ? "ipv6" : "ipv4") == 0)
		return "auto";
	for (size_t i = 0; i < addresses->n; i++)
		if (is_of_family(addresses->items[i], ipv6))
			return "manual";
	return ipv6 ? "link-local" : "disabled";
}

static void write_family(const struct machine *machine, bool ipv6, struct fl_buf *out)
{
	const struct fl_strv *addresses = &machine->values[MACHINE_ADDRESS];
	const struct fl_strv *gateways = &machine->values[MACHINE_GATEWAY];
	const char *method = method_of(machine, ipv6);
	unsigned n = 0;

	fl_buf_printf(out, "\n[%s]\nmethod=%s\n", ipv6 ? "ipv6" : "ipv4", method);
	if (strcmp(method, "auto") != 0 && strcmp(method, "manual") != 0)
		return;
	for (size_t i = 0; i < addresses->n; i++)
		if (is_of_family(addresses->items[i], ipv6))
			fl_buf_printf(out, "address%u=%s\n", ++n, addresses->items[i]);
	/* A router without an address of its family would be refused. */
	for (size_t i = 0; i < gateways->n && n > 0; i++)
		if (is_of_family(gateways->items[i], ipv6))
			fl_buf_printf(out, "gateway=%s\n", gateways->items[i]);
	write_list(&machine->values[MACHINE_DNS], "dns=", false, ipv6, out);
	write_list(&machine->values[MACHINE_DOMAINS], "dns-search=", true, ipv6, out);
	if (is_given(machine, MACHINE_DNS))
		fl_buf_text(out, "ignore-auto-dns=true\n");
}

void network_write_keyfile(const struct machine *machine, struct fl_buf *out)
{
	/* Before cloud-init's own, whose priority is 120 in later versions. */
	fl_buf_text(out, "[connection]\nid=flota\ntype=ethernet\nautoconnect-priority=999\n");
	if (is_given(machine, MACHINE_INTERFACE)) {
		fl_buf_text(out, "\n[match]\n");
		write_list(
			&machine->values[MACHINE_INTERFACE], "interface-name=", true, false, out);
	}
	fl_buf_text(out, "\n[ethernet]\n");
	write_each(machine, MACHINE_MAC, "mac-address", out);
	write_family(machine, false, out);
	write_family(machine, true, out);
}
