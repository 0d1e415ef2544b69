#include "base/man.h"

#include <ctype.h>
#include <string.h>

/* One line of text. A dash is a dash (groff's own would be a hyphen, which nobody can paste), a
 * backslash is one, and no line is a request. */
static void put_line(const char *text, size_t len, FILE *out)
{
	if (len > 0 && (*text == '.' || *text == '\''))
		fputs("\\&", out);
	for (size_t i = 0; i < len; i++) {
		switch (text[i]) {
		case '-':
			fputs("\\-", out);
			break;
		case '\\':
			fputs("\\e", out);
			break;
		case '~':
			fputs("\\(ti", out);
			break;
		case '^':
			fputs("\\(ha", out);
			break;
		case '`':
			fputs("\\(ga", out);
			break;
		default:
			fputc(text[i], out);
		}
	}
	fputc('\n', out);
}

/* The argument of a macro: a quote within it would end it. */
static void put_argument(const char *text, FILE *out)
{
	for (; *text != '\0'; text++) {
		if (*text == '"')
			fputs("\\(dq", out);
		else if (*text == '-')
			fputs("\\-", out);
		else if (*text == '\\')
			fputs("\\e", out);
		else
			fputc(*text, out);
	}
}

static void put_macro(const char *macro, const char *argument, FILE *out)
{
	fprintf(out, ".%s \"", macro);
	put_argument(argument, out);
	fputs("\"\n", out);
}

void fl_man_begin(const char *name, unsigned section, const char *what, FILE *out)
{
	fputs(".TH ", out);
	for (const char *at = name; *at != '\0'; at++)
		fprintf(out, "%s%c", *at == '-' ? "\\" : "", toupper((unsigned char)*at));
	/* Ragged, like text of ours elsewhere: long words of options leave no line to adjust. */
	fprintf(out, " %u \"\" \"flota " FLOTA_VERSION "\" \"flota\"\n.ad l\n", section);
	fl_man_section("NAME", out);
	put_argument(name, out);
	fputs(" \\- ", out);
	put_line(what, strlen(what), out);
}

void fl_man_section(const char *title, FILE *out)
{
	put_macro("SH", title, out);
}

void fl_man_subsection(const char *title, FILE *out)
{
	put_macro("SS", title, out);
}

void fl_man_text(const char *text, FILE *out)
{
	for (;;) {
		size_t len = strcspn(text, "\n");

		fputs(".PP\n", out);
		put_line(text, len, out);
		if (text[len] == '\0')
			return;
		text += len + 1;
	}
}

void fl_man_item(const char *term, const char *text, FILE *out)
{
	fputs(".TP\n", out);
	put_macro("B", term, out);
	put_line(text, strlen(text), out);
}

void fl_man_example(const char *text, FILE *out)
{
	fputs(".PP\n.RS 4\n.EX\n", out);
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		put_line(text, len, out);
		text += len + (text[len] == '\n');
	}
	fputs(".EE\n.RE\n", out);
}

void fl_man_see_also(const char *pages, FILE *out)
{
	fl_man_section("SEE ALSO", out);
	while (*pages != '\0') {
		size_t name = strcspn(pages, "("), len = strcspn(pages, " ");

		fputs(".BR ", out);
		for (size_t i = 0; i < name; i++)
			fprintf(out, "%s%c", pages[i] == '-' ? "\\" : "", pages[i]);
		fprintf(out, " %.*s\n", (int)(len - name), pages + name);
		pages += len + strspn(pages + len, " ");
	}
}
