#include "agent/fake_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fake_takes(const struct driver *driver, const char *name)
{
	(void)driver;
	return strstr(name, ".service") != NULL;
}

static bool fake_ready(const struct driver *driver)
{
	return ((const struct fake *)driver)->ready;
}

static enum fl_code fake_owned(
	const struct driver *driver, struct fl_strv *names, struct fl_error *err)
{
	FL_MAP_FOREACH (entry, following, ((const struct fake *)driver)->files)
		FL_TRY(fl_strv_add(names, fl_map_key(entry), err));
	return FL_OK;
}

struct fake_file *fake_file_of(const struct fake_unit *unit)
{
	return fl_map_get(unit->fake->files, unit->name);
}

void fake_set_active(struct fake_unit *unit, const char *active)
{
	struct fake_file *file = fake_file_of(unit);

	(void)snprintf(unit->state.active, sizeof(unit->state.active), "%s", active);
	(void)snprintf(unit->state.load, sizeof(unit->state.load), "loaded");
	if (file != NULL)
		file->running = driver_state_is_running(&unit->state);
}

static enum fl_code fake_unit_open(struct driver *driver, const char *name, void *userdata,
	struct driver_unit **ret_unit, struct fl_error *err)
{
	struct fake *fake = (struct fake *)driver;
	struct fake_unit *unit = FL_NEW(struct fake_unit);

	assert_null(fl_map_get(fake->units, name));
	*unit = (struct fake_unit){
		.base.driver = driver, .fake = fake, .name = fl_strdup(name), .userdata = userdata};
	fake_set_active(unit,
		fake_file_of(unit) != NULL && fake_file_of(unit)->running ? "active" : "inactive");
	*ret_unit = &unit->base;
	return fl_map_put(fake->units, name, unit, err);
}

static void fake_unit_close(struct driver_unit *base)
{
	struct fake_unit *unit = (struct fake_unit *)base;

	assert_false(unit->stepping);
	(void)fl_map_remove(unit->fake->units, unit->name);
	free(unit->name);
	free(unit);
}

static bool fake_unit_owned(const struct driver_unit *base)
{
	return fake_file_of((const struct fake_unit *)base) != NULL;
}

static bool fake_unit_has(
	const struct driver_unit *base, const struct driver_definition *definition)
{
	const struct fake_file *file = fake_file_of((const struct fake_unit *)base);

	return file != NULL && strlen(file->content) == definition->len &&
	       memcmp(file->content, definition->content, definition->len) == 0;
}

static const struct driver_state *fake_unit_state(const struct driver_unit *base)
{
	return &((const struct fake_unit *)base)->state;
}

static void fake_unit_step(
	struct driver_unit *base, enum driver_verb verb, const struct driver_definition *definition)
{
	struct fake_unit *unit = (struct fake_unit *)base;

	assert_false(unit->stepping);
	unit->stepping = true;
	unit->verb = verb;
	if (definition != NULL)
		unit->definition = *definition;
	fl_buf_printf(&unit->fake->log, "%s %s; ", driver_verb_text(verb), unit->name);
}

static void fake_unit_cancel(struct driver_unit *base)
{
	struct fake_unit *unit = (struct fake_unit *)base;

	fl_buf_printf(&unit->fake->log, "cancel %s; ", unit->name);
}

static void fake_unit_kill(struct driver_unit *base)
{
	struct fake_unit *unit = (struct fake_unit *)base;

	fl_buf_printf(&unit->fake->log, "kill %s; ", unit->name);
}

const struct driver_ops fake_ops = {
	.name = "fake",
	.takes = fake_takes,
	.ready = fake_ready,
	.owned = fake_owned,
	.unit_open = fake_unit_open,
	.unit_close = fake_unit_close,
	.unit_owned = fake_unit_owned,
	.unit_has = fake_unit_has,
	.unit_state = fake_unit_state,
	.unit_step = fake_unit_step,
	.unit_cancel = fake_unit_cancel,
	.unit_kill = fake_unit_kill,
};

void fake_put_file(struct fake *fake, const char *name, const char *content, bool running)
{
	struct fake_file *file = fl_map_remove(fake->files, name);

	if (file != NULL)
		free(file->content);
	else
		file = FL_NEW(struct fake_file);
	*file = (struct fake_file){.content = fl_strdup(content), .running = running};
	assert_int_equal(fl_map_put(fake->files, name, file, NULL), FL_OK);
}

void fake_carry_out(struct fake_unit *unit)
{
	struct fake_file *file = fake_file_of(unit);
	char content[64];

	switch (unit->verb) {
	case DRIVER_INSTALL:
		(void)snprintf(content, sizeof(content), "%.*s", (int)unit->definition.len,
			(const char *)unit->definition.content);
		fake_put_file(unit->fake, unit->name, content, file != NULL && file->running);
		break;
	case DRIVER_START:
	case DRIVER_RESTART:
		fake_set_active(unit, "active");
		break;
	case DRIVER_STOP:
		fake_set_active(unit, "inactive");
		break;
	case DRIVER_REMOVE:
		free(file->content);
		free(fl_map_remove(unit->fake->files, unit->name));
		break;
	}
}
