/*
 * Places where a test may end the program as a power cut would: between two steps that together are
 * one. Not used, they cost a getenv(3).
 *
 * FLOTA_FAULT= in the environment names a file. At the point whose name it holds, the file is removed
 * and the program kills itself: once for each time that somebody writes the file. A person who can
 * set a daemon's environment can kill it, too.
 */
#pragma once

/* @name is what it comes behind: "enroll.key_made". */
void fl_fault_point(const char *name);
