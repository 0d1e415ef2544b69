/* For tests: flotactl as a shell would call it, in a folder of its own. Everything asserts. */
#pragma once

#include <sys/types.h>

/* What program_run() runs: "flotactl", or it by another name. */
extern const char *program_name;
void program_call_it(const char *name);

extern char program_folder[64];

/* Makes the folder, where the configuration is too; takes what would lead to a fleet out of the
 * environment. And removes it. */
int program_set_up(void **state);
int program_tear_down(void **state);

/* Writes a file in the folder. */
void program_write(const char *name, const char *text);

/* Runs "flotactl @args" there; returns its exit code. *ret_said (allocated) is what both streams
 * said, in order. */
int program_run(const char *args, char **ret_said);

/* The same: it must end with @exit_code, having said @output, or having said @part among others. */
void program_expect(const char *args, int exit_code, const char *output);
void program_expect_part(const char *args, int exit_code, const char *part);

/* A coordinator of a new fleet "test", with its data in the folder, on a local socket that
 * FLOTACTL_ENDPOINT names from then on. Returns when it serves. */
pid_t program_start_coordinator(void);
void program_stop_coordinator(pid_t pid);
/* Ends it with @number and starts it again, with the data that it had. */
pid_t program_restart_coordinator(pid_t pid, int number);

/* The end of what is said of a unit that does not exist. */
#define SEE_UNITS "; \"flotactl list-unit-files\" lists those that do\n"
