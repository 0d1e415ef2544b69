#include "agent/systemd/properties.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const struct {
	const char *name;
	char type;
	uint16_t offset;
	uint16_t size;
} table[] = {
#define X(constant, name, type, field) \
	[constant] = {name, type, offsetof(struct properties, field), \
		sizeof(((struct properties *)NULL)->field)},
	PROPERTIES(X)
#undef X
};

static int value_read(sd_bus_message *message, size_t i, struct properties *properties)
{
	void *field = (char *)properties + table[i].offset;
	const char type[] = {table[i].type, '\0'};
	const char *text;
	uint64_t time_us;
	int boolean, r = libsystemd.bus_message_enter_container(message, 'v', type);

	if (r < 0)
		return r;
	switch (table[i].type) {
	case 's':
		r = libsystemd.bus_message_read(message, type, &text);
		if (r >= 0)
			(void)snprintf(field, table[i].size, "%s", text);
		break;
	case 'b':
		r = libsystemd.bus_message_read(message, type, &boolean);
		if (r >= 0)
			*(bool *)field = boolean != 0;
		break;
	case 't':
		r = libsystemd.bus_message_read(message, type, &time_us);
		if (r >= 0 && time_us > *(uint64_t *)field)
			*(uint64_t *)field = time_us;
		break;
	default: /* 'u' and 'i' */
		r = libsystemd.bus_message_read(message, type, field);
		break;
	}
	if (r < 0)
		return r;
	properties->present |= UINT32_C(1) << i;
	return libsystemd.bus_message_exit_container(message);
}

static int load_error_read(sd_bus_message *message, struct properties *properties)
{
	const char *name, *text;
	int r = libsystemd.bus_message_read(message, "v", "(ss)", &name, &text);

	if (r >= 0)
		(void)snprintf(properties->load_error, sizeof(properties->load_error), "%s", text);
	return r;
}

static int entry_read(sd_bus_message *message, struct properties *properties)
{
	const char *name;
	int r = libsystemd.bus_message_read(message, "s", &name);

	if (r < 0)
		return r;
	if (strcmp(name, "LoadError") == 0)
		return load_error_read(message, properties);
	for (size_t i = 0; i < FL_COUNT(table); i++)
		if (strcmp(name, table[i].name) == 0)
			return value_read(message, i, properties);
	return libsystemd.bus_message_skip(message, "v");
}

enum fl_code properties_read(
	sd_bus_message *message, struct properties *ret_properties, struct fl_error *err)
{
	struct properties properties = {0};
	int r = libsystemd.bus_message_enter_container(message, 'a', "{sv}");

	while (r >= 0) {
		r = libsystemd.bus_message_enter_container(message, 'e', "sv");
		if (r <= 0)
			break;
		r = entry_read(message, &properties);
		if (r >= 0)
			r = libsystemd.bus_message_exit_container(message);
	}
	if (r >= 0)
		r = libsystemd.bus_message_exit_container(message);
	if (r < 0)
		return fl_error_set_errno(err, FL_E_PROTOCOL, -r, "properties of a unit");
	*ret_properties = properties;
	return FL_OK;
}
