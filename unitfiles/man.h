/* The manual page of unit files, made of the tables by which they are read. */
#pragma once

#include <stdio.h>

/* flota.unit(5). */
void unit_man(FILE *out);
