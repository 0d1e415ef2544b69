/* Manual pages, in man(7)'s language. What is given is plain text: it is escaped here. */
#pragma once

#include <stdio.h>

/* Begins the page: its title, and the NAME section, "@name - @what". */
void fl_man_begin(const char *name, unsigned section, const char *what, FILE *out);

void fl_man_section(const char *title, FILE *out);
void fl_man_subsection(const char *title, FILE *out);

/* A paragraph; a newline in it begins another. */
void fl_man_text(const char *text, FILE *out);

/* A term in bold, and what is said of it, indented. */
void fl_man_item(const char *term, const char *text, FILE *out);

/* Lines as they stand, such as a file. */
void fl_man_example(const char *text, FILE *out);

/* The pages to see, "systemd.unit(5), flotactl(1)". */
void fl_man_see_also(const char *pages, FILE *out);
