/*
 * The longest common subsequence of lines, by the table of its lengths; what both begin and end
 * with is left out of it first. Where the table would be too large (files with thousands of changed
 * lines) the whole middle is one change: as true, only longer.
 */
#include "cli/diff.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/term.h"

#define CONTEXT    3
#define CELLS_MAX  (4U << 20)
#define NO_NEWLINE "\\ No newline at end of file\n"

struct line {
	const char *text; /* with its newline, if it has one */
	size_t len;
};

struct lines {
	struct line *items;
	size_t n;
};

/* One step from old to new. */
struct step {
	char sign; /* ' ', '-' or '+' */
	const struct line *line;
	size_t old_at, new_at; /* lines before it */
};

struct diff {
	struct lines old, new;
	struct step *steps;
	size_t n;
};

static void diff_fini(struct diff *diff)
{
	free(diff->old.items);
	free(diff->new.items);
	free(diff->steps);
}

static enum fl_code split(const char *text, struct lines *lines, struct fl_error *err)
{
	size_t n = 1;

	for (const char *c = text; *c != '\0'; c++)
		n += *c == '\n';
	lines->items = fl_new_array(n, sizeof(*lines->items));
	if (lines->items == NULL)
		return FL_FAIL_NO_MEMORY(err);
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		len += text[len] == '\n';
		lines->items[lines->n++] = (struct line){text, len};
		text += len;
	}
	return FL_OK;
}

static bool is_same(const struct line *a, const struct line *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static void step(struct diff *diff, char sign, size_t old_at, size_t new_at)
{
	diff->steps[diff->n++] = (struct step){.sign = sign,
		.line = sign == '+' ? &diff->new.items[new_at] : &diff->old.items[old_at],
		.old_at = old_at,
		.new_at = new_at};
}

/* From (@i, @j) to (@old_end, @new_end), without a line in common that counts. */
static void replace_all(struct diff *diff, size_t i, size_t old_end, size_t j, size_t new_end)
{
	for (; i < old_end; i++)
		step(diff, '-', i, j);
	for (; j < new_end; j++)
		step(diff, '+', old_end, j);
}

/* length[i][j]: of the longest common subsequence behind old line i and new line j. */
static enum fl_code replace_some(
	struct diff *diff, size_t first, size_t old_end, size_t new_end, struct fl_error *err)
{
	size_t n_old = old_end - first, n_new = new_end - first, width = n_new + 1;
	FL_CLEANUP(fl_freep)
	uint32_t *length = fl_new_array((n_old + 1) * width, sizeof(*length));
	const struct line *old = diff->old.items + first, *new = diff->new.items + first;
	size_t i = 0, j = 0;

	if (length == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (i = n_old; i-- > 0;)
		for (j = n_new; j-- > 0;) {
			uint32_t down = length[(i + 1) * width + j];
			uint32_t right = length[i * width + j + 1];

			length[i * width + j] = is_same(&old[i], &new[j])
							? length[(i + 1) * width + j + 1] + 1
							: (down > right ? down : right);
		}
	for (i = 0, j = 0; i < n_old && j < n_new;) {
		if (is_same(&old[i], &new[j])) {
			step(diff, ' ', first + i, first + j);
			i++;
			j++;
		} else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) {
			step(diff, '-', first + i, first + j);
			i++;
		} else {
			step(diff, '+', first + i, first + j);
			j++;
		}
	}
	replace_all(diff, first + i, old_end, first + j, new_end);
	return FL_OK;
}

static enum fl_code compare(struct diff *diff, struct fl_error *err)
{
	size_t old_end = diff->old.n, new_end = diff->new.n, first = 0;

	diff->steps = fl_new_array(old_end + new_end + 1, sizeof(*diff->steps));
	if (diff->steps == NULL)
		return FL_FAIL_NO_MEMORY(err);
	for (; first < old_end && first < new_end &&
		is_same(&diff->old.items[first], &diff->new.items[first]);
		first++)
		step(diff, ' ', first, first);
	while (old_end > first && new_end > first &&
		is_same(&diff->old.items[old_end - 1], &diff->new.items[new_end - 1])) {
		old_end--;
		new_end--;
	}
	if ((old_end - first + 1) * (new_end - first + 1) > CELLS_MAX)
		replace_all(diff, first, old_end, first, new_end);
	else
		FL_TRY(replace_some(diff, first, old_end, new_end, err));
	for (; old_end < diff->old.n; old_end++, new_end++)
		step(diff, ' ', old_end, new_end);
	return FL_OK;
}

static void print_line(const struct step *shown, bool colours, FILE *out)
{
	enum term_colour colour = shown->sign == '-'   ? TERM_RED
				  : shown->sign == '+' ? TERM_GREEN
						       : TERM_PLAIN;
	const struct line *line = shown->line;
	bool has_newline = line->len > 0 && line->text[line->len - 1] == '\n';

	if (colours)
		fputs(term_begin(colour), out);
	fputc(shown->sign, out);
	for (size_t i = 0; i < line->len - has_newline; i++) {
		unsigned char c = (unsigned char)line->text[i];

		fputc((c < ' ' && c != '\t') || c == 0x7f ? '?' : c, out);
	}
	if (colours && colour != TERM_PLAIN)
		fputs(TERM_END, out);
	fputc('\n', out);
	if (!has_newline)
		fputs(NO_NEWLINE, out);
}

/* "3,7"; a range without lines is named by the line before it, one of a single line by that. */
static void print_range(char sign, size_t at, size_t n, FILE *out)
{
	fprintf(out, " %c%zu", sign, n > 0 ? at + 1 : at);
	if (n != 1)
		fprintf(out, ",%zu", n);
}

static void print_hunk(const struct diff *diff, size_t from, size_t to, bool colours, FILE *out)
{
	size_t n_old = 0, n_new = 0;

	for (size_t i = from; i < to; i++) {
		n_old += diff->steps[i].sign != '+';
		n_new += diff->steps[i].sign != '-';
	}
	fputs("@@", out);
	print_range('-', diff->steps[from].old_at, n_old, out);
	print_range('+', diff->steps[from].new_at, n_new, out);
	fputs(" @@\n", out);
	for (size_t i = from; i < to; i++)
		print_line(&diff->steps[i], colours, out);
}

enum fl_code diff_print(const char *old, const char *new, const char *old_name,
	const char *new_name, bool colours, FILE *out, struct fl_error *err)
{
	FL_CLEANUP(diff_fini) struct diff diff = {0};

	if (strcmp(old, new) == 0)
		return FL_OK;
	FL_TRY(split(old, &diff.old, err));
	FL_TRY(split(new, &diff.new, err));
	FL_TRY(compare(&diff, err));
	fprintf(out, "--- %s\n+++ %s\n", old_name, new_name);
	for (size_t i = 0; i < diff.n;) {
		size_t from, to, same = 0;

		if (diff.steps[i].sign == ' ') {
			i++;
			continue;
		}
		/* On until more lines are the same than both sides' context. */
		from = i > CONTEXT ? i - CONTEXT : 0;
		for (; i < diff.n && same <= 2 * CONTEXT; i++)
			same = diff.steps[i].sign == ' ' ? same + 1 : 0;
		to = same > CONTEXT ? i - (same - CONTEXT) : i;
		print_hunk(&diff, from, to, colours, out);
	}
	return FL_OK;
}
