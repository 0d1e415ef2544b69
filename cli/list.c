#include "cli/list.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/strv.h"
#include "cli/connection.h"
#include "cli/dialect.h"
#include "cli/json.h"
#include "cli/state.h"
#include "cli/table.h"

#define HASH_SHORT 7

/* What one line is about; what a listing does not need is NULL. */
struct row {
	const Pb__Unit *unit;
	const Pb__Placement *placement;
	const Pb__UnitState *state; /* of the placement; NULL until reported */
	const Pb__Machine *machine;
	const Pb__Refusal *refusal;
	bool full;
};

/* A column writes its cell; one that it leaves empty is "-". */
struct column {
	const char *name; /* in --fields; its heading is the same in capitals */
	void (*write)(const struct row *row, struct fl_buf *cell);
	enum term_colour (*colour)(const struct row *row); /* nullable */
};

struct listing {
	const struct column *columns;
	size_t n_columns;
	const char *usual; /* as --fields would say it */
};

static void write_hash(const char *hash, bool full, struct fl_buf *cell)
{
	fl_buf_printf(cell, "%.*s", full ? 40 : HASH_SHORT, hash);
}

static void write_machine(const char *id, const char *address, bool full, struct fl_buf *cell)
{
	char text[MACHINE_TEXT_MAX];

	machine_text(id, address, full, text);
	fl_buf_text(cell, text);
}

/* ---- list-units: a line for each placement ---- */

static void unit_name(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->unit->name);
}

static void unit_machine(const struct row *row, struct fl_buf *cell)
{
	write_machine(row->placement->machine_id, row->placement->address, row->full, cell);
}

static void unit_load(const struct row *row, struct fl_buf *cell)
{
	if (row->state != NULL)
		fl_buf_text(cell, row->state->load);
}

/* What a lost machine was heard of last says nothing of now. */
static void unit_active(const struct row *row, struct fl_buf *cell)
{
	if (row->state != NULL && !row->placement->lost)
		fl_buf_text(cell, row->state->active);
}

static enum term_colour active_colour(const struct row *row)
{
	const char *active = row->state != NULL ? row->state->active : "";

	if (row->placement->lost)
		return TERM_RED;
	if (strcmp(active, "active") == 0)
		return TERM_GREEN;
	if (strcmp(active, "failed") == 0)
		return TERM_RED;
	return strcmp(active, "activating") == 0 ? TERM_YELLOW : TERM_PLAIN;
}

static void unit_sub(const struct row *row, struct fl_buf *cell)
{
	if (row->placement->lost)
		fl_buf_text(cell, "lost");
	else if (row->state != NULL)
		fl_buf_text(cell, row->state->sub);
}

static void unit_host_hash(const struct row *row, struct fl_buf *cell)
{
	if (row->state != NULL)
		write_hash(row->state->hash, row->full, cell);
}

static void unit_desired(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, desired_name(row->unit->desired));
}

static void unit_error(const struct row *row, struct fl_buf *cell)
{
	if (row->state != NULL)
		fl_buf_text(cell, row->state->error);
}

static void unit_result(const struct row *row, struct fl_buf *cell)
{
	if (row->state != NULL)
		fl_buf_text(cell, row->state->result);
}

static void unit_since(const struct row *row, struct fl_buf *cell)
{
	time_t seconds;
	struct tm local;
	char text[64];

	if (row->state == NULL || row->state->since_us == 0)
		return;
	seconds = (time_t)(row->state->since_us / 1000000);
	if (localtime_r(&seconds, &local) != NULL &&
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &local) > 0)
		fl_buf_text(cell, text);
}

static const struct column unit_columns[] = {
	{"unit", unit_name, NULL},
	{"machine", unit_machine, NULL},
	{"load", unit_load, NULL},
	{"active", unit_active, active_colour},
	{"sub", unit_sub, active_colour},
	{"hash", unit_host_hash, NULL},
	{"desired", unit_desired, NULL},
	{"error", unit_error, NULL},
	{"result", unit_result, NULL},
	{"since", unit_since, NULL},
};
static const struct listing units_listing = {
	unit_columns, FL_COUNT(unit_columns), "unit,machine,active,sub"};

/* ---- list-unit-files: a line for each unit ---- */

static void file_hash(const struct row *row, struct fl_buf *cell)
{
	write_hash(row->unit->hash, row->full, cell);
}

static void file_state(const struct row *row, struct fl_buf *cell)
{
	if (!row->unit->global)
		fl_buf_text(cell, desired_name(unit_current(row->unit)));
}

static void file_target(const struct row *row, struct fl_buf *cell)
{
	if (row->unit->global)
		fl_buf_text(cell, "global");
	else if (row->placement != NULL)
		unit_machine(row, cell);
}

static void file_target_machine(const struct row *row, struct fl_buf *cell)
{
	if (!row->unit->global && row->placement != NULL)
		unit_machine(row, cell);
}

static void file_description(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->unit->description);
}

static void file_global(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->unit->global ? "true" : "false");
}

static void file_waiting(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->unit->waiting);
}

static const struct column unit_file_columns[] = {
	{"unit", unit_name, NULL},
	{"hash", file_hash, NULL},
	{"dstate", unit_desired, NULL},
	{"state", file_state, NULL},
	{"target", file_target, NULL},
	{"tmachine", file_target_machine, NULL},
	{"desc", file_description, NULL},
	{"global", file_global, NULL},
	{"waiting", file_waiting, NULL},
};
static const struct listing unit_files_listing = {
	unit_file_columns, FL_COUNT(unit_file_columns), "unit,hash,dstate,state,target"};

/* ---- list-machines ---- */

static void machine_id(const struct row *row, struct fl_buf *cell)
{
	write_machine(row->machine->id, "", row->full, cell);
}

static void machine_ip(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->machine->address);
}

static void machine_metadata(const struct row *row, struct fl_buf *cell)
{
	for (size_t i = 0; i < row->machine->n_metadata; i++)
		fl_buf_printf(cell, "%s%s=%s", i > 0 ? "," : "", row->machine->metadata[i]->key,
			row->machine->metadata[i]->value);
}

static void machine_hostname(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->machine->hostname);
}

static bool is_revoked(const Pb__Machine *machine)
{
	return machine->standing == PB__MACHINE__STANDING__REVOKED;
}

static void machine_state(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, machine_state_of(row->machine));
}

static enum term_colour machine_colour(const struct row *row)
{
	return row->machine->state == PB__MACHINE__STATE__LOST || is_revoked(row->machine)
		       ? TERM_RED
		       : TERM_PLAIN;
}

static void machine_scheduling(const struct row *row, struct fl_buf *cell)
{
	const Pb__Machine *machine = row->machine;

	if (is_revoked(machine)) {
		fl_buf_printf(cell, "revoked by %s%s%s", machine->revoked_by,
			*machine->revoked_reason != '\0' ? ": " : "", machine->revoked_reason);
		return;
	}
	fl_buf_text(cell, scheduling_name(machine->scheduling));
	if (machine->scheduling == PB__MACHINE__SCHEDULING__OPEN)
		return;
	if (machine->drain_units > 0)
		fl_buf_printf(cell, ", %" PRIu32 " left", machine->drain_units);
	fl_buf_printf(cell, " by %s", machine->closed_by);
	if (machine->closed_reason[0] != '\0')
		fl_buf_printf(cell, ": %s", machine->closed_reason);
}

static enum term_colour scheduling_colour(const struct row *row)
{
	return row->machine->scheduling != PB__MACHINE__SCHEDULING__OPEN || is_revoked(row->machine)
		       ? TERM_YELLOW
		       : TERM_PLAIN;
}

static void machine_units(const struct row *row, struct fl_buf *cell)
{
	fl_buf_printf(cell, "%" PRIu32, row->machine->units);
}

static void machine_cpus(const struct row *row, struct fl_buf *cell)
{
	if (row->machine->capacity != NULL)
		fl_buf_printf(cell, "%" PRIu32, row->machine->capacity->cpus);
}

static void write_bytes(uint64_t bytes, struct fl_buf *cell)
{
	fl_buf_printf(cell, "%.1fG", (double)bytes / (double)(UINT64_C(1) << 30));
}

static void machine_memory(const struct row *row, struct fl_buf *cell)
{
	if (row->machine->capacity != NULL)
		write_bytes(row->machine->capacity->memory_bytes, cell);
}

static void machine_memory_available(const struct row *row, struct fl_buf *cell)
{
	if (row->machine->capacity != NULL)
		write_bytes(row->machine->capacity->memory_available_bytes, cell);
}

/* "512M/8.0G 0.5/4": what units claim of what they may, of memory and of CPUs. */
static void machine_claimed(const struct row *row, struct fl_buf *cell)
{
	const Pb__Claims *claimed = row->machine->claimed, *offered = row->machine->offered;

	if (claimed == NULL || offered == NULL)
		return;
	write_bytes(claimed->memory_bytes, cell);
	fl_buf_text(cell, "/");
	write_bytes(offered->memory_bytes, cell);
	fl_buf_printf(cell, " %g/%g", (double)claimed->cpu_milli / 1000,
		(double)offered->cpu_milli / 1000);
}

static void machine_load(const struct row *row, struct fl_buf *cell)
{
	if (row->machine->capacity != NULL)
		fl_buf_printf(cell, "%.2f", row->machine->capacity->load_1min_x100 / 100.0);
}

static void machine_agent(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->machine->agent_version);
}

static void machine_heard(const struct row *row, struct fl_buf *cell)
{
	fl_buf_printf(cell, "%.1fs ago", (double)row->machine->last_heard_ms / 1000);
}

static void machine_capabilities(const struct row *row, struct fl_buf *cell)
{
	for (size_t i = 0; i < row->machine->n_capabilities; i++)
		fl_buf_printf(cell, "%s%s", i > 0 ? "," : "", row->machine->capabilities[i]);
}

static const struct column machine_columns[] = {
	{"machine", machine_id, NULL},
	{"ip", machine_ip, NULL},
	{"metadata", machine_metadata, NULL},
	{"hostname", machine_hostname, NULL},
	{"state", machine_state, machine_colour},
	{"scheduling", machine_scheduling, scheduling_colour},
	{"units", machine_units, NULL},
	{"cpus", machine_cpus, NULL},
	{"memory", machine_memory, NULL},
	{"memavail", machine_memory_available, NULL},
	{"claimed", machine_claimed, NULL},
	{"load", machine_load, NULL},
	{"agent", machine_agent, NULL},
	{"heard", machine_heard, NULL},
	{"capabilities", machine_capabilities, NULL},
};
static const struct listing machines_listing = {
	machine_columns, FL_COUNT(machine_columns), "machine,ip,metadata"};

/* ---- why ---- */

static void refusal_machine(const struct row *row, struct fl_buf *cell)
{
	write_machine(row->refusal->machine_id, "", row->full, cell);
}

static void refusal_ip(const struct row *row, struct fl_buf *cell)
{
	fl_buf_text(cell, row->refusal->address);
}

static const Pb__Placement *placement_on(const Pb__Unit *unit, const char *machine_id)
{
	for (size_t i = 0; unit != NULL && i < unit->n_placements; i++)
		if (strcmp(unit->placements[i]->machine_id, machine_id) == 0)
			return unit->placements[i];
	return NULL;
}

static void refusal_reason(const struct row *row, struct fl_buf *cell)
{
	const Pb__Placement *there = placement_on(row->unit, row->refusal->machine_id);

	if (row->refusal->reason[0] != '\0')
		fl_buf_text(cell, row->refusal->reason);
	else if (there != NULL)
		fl_buf_printf(
			cell, "it is there%s", there->lost ? ", and the machine is lost" : "");
	else
		fl_buf_text(cell, "can take it");
}

static const struct column refusal_columns[] = {
	{"machine", refusal_machine, NULL},
	{"ip", refusal_ip, NULL},
	{"reason", refusal_reason, NULL},
};
static const struct listing refusals_listing = {
	refusal_columns, FL_COUNT(refusal_columns), "machine,ip,reason"};

/* ---- what they share ---- */

#define CHOSEN_MAX 64

struct printer {
	const struct list_style *style;
	const struct column *chosen[CHOSEN_MAX];
	size_t n_chosen;
	struct table *table;
	struct fl_buf cell;
};

static void printer_fini(struct printer *printer)
{
	table_free(printer->table);
	fl_buf_fini(&printer->cell);
}

static const struct column *find_column(const struct listing *listing, const char *name)
{
	for (size_t i = 0; i < listing->n_columns; i++)
		if (strcmp(listing->columns[i].name, name) == 0)
			return &listing->columns[i];
	return NULL;
}

static enum fl_code add_heading(struct printer *printer, const char *name, struct fl_error *err)
{
	char heading[32];
	size_t n = 0;

	for (; name[n] != '\0' && n + 1 < sizeof(heading); n++)
		heading[n] =
			(char)(name[n] >= 'a' && name[n] <= 'z' ? name[n] - 'a' + 'A' : name[n]);
	heading[n] = '\0';
	return table_add(printer->table, heading, TERM_PLAIN, err);
}

static enum fl_code printer_init(struct printer *printer, const struct listing *listing,
	const struct list_style *style, struct fl_error *err)
{
	bool chosen = style->fields != NULL && style->fields[0] != '\0';
	FL_CLEANUP_STRV struct fl_strv names = {0};

	printer->style = style;
	FL_TRY(fl_strv_split(&names, chosen ? style->fields : listing->usual, ", ", err));
	if (names.n == 0 || names.n > CHOSEN_MAX)
		return FL_FAIL(err, FL_E_USAGE, "--fields: from 1 to %d columns", CHOSEN_MAX);
	FL_TRY(table_new(names.n, &printer->table, err));
	for (size_t i = 0; i < names.n; i++) {
		const struct column *column = find_column(listing, names.items[i]);

		if (column == NULL)
			return DIALECT_FAIL(err, TEXT_FIELD, names.items[i]);
		printer->chosen[printer->n_chosen++] = column;
		if (style->legend)
			FL_TRY(add_heading(printer, names.items[i], err));
	}
	return FL_OK;
}

static enum fl_code add_row(struct printer *printer, struct row *row, struct fl_error *err)
{
	row->full = printer->style->full;
	for (size_t i = 0; i < printer->n_chosen; i++) {
		const struct column *column = printer->chosen[i];

		fl_buf_clear(&printer->cell);
		column->write(row, &printer->cell);
		if (!fl_buf_ok(&printer->cell))
			return FL_FAIL_NO_MEMORY(err);
		FL_TRY(table_add(printer->table, fl_buf_str(&printer->cell),
			column->colour != NULL ? column->colour(row) : TERM_PLAIN, err));
	}
	return FL_OK;
}

static int by_machine(const void *a, const void *b)
{
	const Pb__Placement *const *x = a, *const *y = b;

	return strcmp((*x)->machine_id, (*y)->machine_id);
}

enum fl_code list_print_units(Pb__Unit *const *units, size_t n, const struct list_style *style,
	FILE *out, struct fl_error *err)
{
	FL_CLEANUP(printer_fini) struct printer printer = {0};

	FL_TRY(printer_init(&printer, &units_listing, style, err));
	for (size_t i = 0; i < n; i++) {
		struct row row = {.unit = units[i]};

		if (units[i]->n_placements > 1)
			qsort(units[i]->placements, units[i]->n_placements, sizeof(Pb__Placement *),
				by_machine);
		for (size_t j = 0; j < units[i]->n_placements; j++) {
			row.placement = units[i]->placements[j];
			row.state = placement_state(row.placement);
			FL_TRY(add_row(&printer, &row, err));
		}
	}
	table_print(printer.table, style->colours, out);
	return FL_OK;
}

enum fl_code list_print_unit_files(Pb__Unit *const *units, size_t n, const struct list_style *style,
	FILE *out, struct fl_error *err)
{
	FL_CLEANUP(printer_fini) struct printer printer = {0};

	FL_TRY(printer_init(&printer, &unit_files_listing, style, err));
	for (size_t i = 0; i < n; i++) {
		struct row row = {.unit = units[i]};

		row.placement = units[i]->n_placements > 0 ? units[i]->placements[0] : NULL;
		FL_TRY(add_row(&printer, &row, err));
	}
	table_print(printer.table, style->colours, out);
	return FL_OK;
}

enum fl_code list_print_machines(Pb__Machine *const *machines, size_t n,
	const struct list_style *style, FILE *out, struct fl_error *err)
{
	FL_CLEANUP(printer_fini) struct printer printer = {0};

	FL_TRY(printer_init(&printer, &machines_listing, style, err));
	for (size_t i = 0; i < n; i++) {
		struct row row = {.machine = machines[i]};

		FL_TRY(add_row(&printer, &row, err));
	}
	table_print(printer.table, style->colours, out);
	return FL_OK;
}

enum fl_code list_print_refusals(Pb__Refusal *const *refusals, size_t n, const Pb__Unit *unit,
	const struct list_style *style, FILE *out, struct fl_error *err)
{
	FL_CLEANUP(printer_fini) struct printer printer = {0};

	FL_TRY(printer_init(&printer, &refusals_listing, style, err));
	for (size_t i = 0; i < n; i++) {
		struct row row = {.refusal = refusals[i], .unit = unit};

		FL_TRY(add_row(&printer, &row, err));
	}
	table_print(printer.table, style->colours, out);
	return FL_OK;
}

static struct list_style style_of(const struct command *command)
{
	return (struct list_style){
		.fields = command->options->fields,
		.full = command->options->full,
		.legend = !command->options->no_legend,
		.colours = term_has_colours(stdout),
	};
}

/* Both listings of units ask for the same and differ in the table. */
static enum fl_code list_units(struct command *command,
	enum fl_code (*print)(Pb__Unit *const *units, size_t n, const struct list_style *style,
		FILE *out, struct fl_error *err),
	struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	FL_CLEANUP(json_freep) json_t *array = NULL;
	const struct list_style style = style_of(command);
	const Pb__UnitsReply *units;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_units(connection, NULL, 0, false, &reply, err));
	units = reply->units_reply;
	if (!json)
		return print(units->units, units->n_units, &style, stdout, err);
	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < units->n_units; i++)
		FL_TRY(json_add(array, json_of_unit(units->units[i]), err));
	return json_print(array, err);
}

enum fl_code verb_list_units(struct command *command, struct fl_error *err)
{
	return list_units(command, list_print_units, err);
}

enum fl_code verb_list_unit_files(struct command *command, struct fl_error *err)
{
	return list_units(command, list_print_unit_files, err);
}

static enum fl_code print_machines(struct command *command, bool json, Pb__Machine *const *machines,
	size_t n, struct fl_error *err)
{
	FL_CLEANUP(json_freep) json_t *array = NULL;
	struct list_style style = style_of(command);
	bool any_closed = false;

	for (size_t i = 0; i < n; i++)
		any_closed |= machines[i]->scheduling != PB__MACHINE__SCHEDULING__OPEN ||
			      is_revoked(machines[i]);
	if (any_closed && dialect->tells_closed && (style.fields == NULL || *style.fields == '\0'))
		style.fields = "machine,ip,metadata,scheduling";
	if (!json)
		return list_print_machines(machines, n, &style, stdout, err);
	FL_TRY(json_new_array(&array, err));
	for (size_t i = 0; i < n; i++)
		FL_TRY(json_add(array, json_of_machine(machines[i]), err));
	return json_print(array, err);
}

enum fl_code verb_list_machines(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	bool json;

	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_machines(connection, &reply, err));
	return print_machines(command, json, reply->machines_reply->machines,
		reply->machines_reply->n_machines, err);
}
