#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

#define TAB 8

struct cell {
	char *text;
	size_t width; /* in characters */
	enum term_colour colour;
};

struct table {
	size_t n_columns;
	struct cell *cells;
	size_t n, capacity;
};

enum fl_code table_new(size_t n_columns, struct table **ret_table, struct fl_error *err)
{
	struct table *table = FL_NEW(struct table);

	fl_assert(n_columns > 0);
	if (table == NULL)
		return FL_FAIL_NO_MEMORY(err);
	table->n_columns = n_columns;
	*ret_table = table;
	return FL_OK;
}

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	for (size_t i = 0; i < table->n; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
}

/* Bytes that begin a UTF-8 character. */
static size_t count_characters(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

enum fl_code table_add(
	struct table *table, const char *text, enum term_colour colour, struct fl_error *err)
{
	struct cell cell = {.colour = colour};

	if (table->n == table->capacity) {
		size_t capacity = table->capacity > 0 ? table->capacity * 2 : 64;
		struct cell *cells = reallocarray(table->cells, capacity, sizeof(*cells));

		if (cells == NULL)
			return FL_FAIL_NO_MEMORY(err);
		table->cells = cells;
		table->capacity = capacity;
	}
	cell.text = fl_strdup(text != NULL && text[0] != '\0' ? text : "-");
	if (cell.text == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (char *p = cell.text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	cell.width = count_characters(cell.text);
	table->cells[table->n++] = cell;
	return FL_OK;
}

/* Where the column after this one begins, counted from where this one does. */
static size_t column_width(const struct table *table, size_t column)
{
	size_t widest = 0;

	for (size_t i = column; i < table->n; i += table->n_columns)
		if (table->cells[i].width > widest)
			widest = table->cells[i].width;
	return (widest + 1 + TAB - 1) / TAB * TAB;
}

static void print_cell(const struct cell *cell, bool colours, FILE *out)
{
	if (colours && cell->colour != TERM_PLAIN)
		fprintf(out, "%s%s" TERM_END, term_begin(cell->colour), cell->text);
	else
		fputs(cell->text, out);
}

static void print_row(
	const struct table *table, size_t first, const size_t *widths, bool colours, FILE *out)
{
	for (size_t column = 0; column < table->n_columns; column++) {
		const struct cell *cell = &table->cells[first + column];

		print_cell(cell, colours, out);
		if (column + 1 == table->n_columns) {
			fputc('\n', out);
			break;
		}
		for (size_t at = cell->width; at < widths[column]; at = (at / TAB + 1) * TAB)
			fputc('\t', out);
	}
}

void table_print(const struct table *table, bool colours, FILE *out)
{
	size_t widths[64];

	fl_assert(table->n_columns <= FL_COUNT(widths));
	fl_assert(table->n % table->n_columns == 0);
	for (size_t column = 0; column < table->n_columns; column++)
		widths[column] = column_width(table, column);
	for (size_t first = 0; first < table->n; first += table->n_columns)
		print_row(table, first, widths, colours, out);
}
