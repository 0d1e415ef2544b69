#include "agent/systemd/explain.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

struct word {
	const char *name;
	const char *text;
};

/* The Result of the kinds of units (systemd.service(5), "$SERVICE_RESULT", and their like). */
static const struct word results[] = {
	{"start-limit-hit",
		"it was started too often in a short time (StartLimitBurst=); starting it "
		"with flotactl begins a new count"},
	{"timeout", "it took longer than its time limit (TimeoutStartSec=, TimeoutStopSec=)"},
	{"watchdog", "it did not report in time (WatchdogSec=)"},
	{"oom-kill", "the kernel killed it because memory ran out"},
	{"protocol", "it did not do what its Type= says (PIDFile=, sd_notify)"},
	{"resources", "the host could not give it what it needs (a file, a directory, memory)"},
	{"exec-condition", "its ExecCondition= said no"},
	{"trigger-limit-hit", "it was triggered too often in a short time"},
	{"service-start-limit-hit", "the service behind it was started too often"},
	{"unit-start-limit-hit", "the unit behind it was started too often"},
	{"mount-start-limit-hit", "the mount behind it was started too often"},
};

/* job.c's results, systemd's org.freedesktop.systemd1(5), "JobRemoved". */
static const struct word jobs[] = {
	{"canceled", "another order for it came before it was done"},
	{"timeout", "its job took longer than its time limit (JobTimeoutSec=)"},
	{"dependency", "a unit that it requires could not be started"},
	{"skipped", "there was nothing to do in its state"},
	{"invalid", "a unit of this kind cannot do that"},
	{"assert", "an Assert...= of its file is not met on this machine"},
	{"unsupported", "this machine does not support units of this kind"},
	{"collected", "nothing needed it any more"},
	{"once", "it was started before and may be only once"},
};

/* What systemd ends a process with before the program runs: systemd.exec(5), "Process Exit Codes". */
static const struct {
	int status;
	const char *name, *text;
} exits[] = {
	{200, "CHDIR", "WorkingDirectory= cannot be entered"},
	{201, "NICE", "Nice= cannot be set"},
	{202, "FDS", "file descriptors cannot be set up"},
	{203, "EXEC", "the program of Exec...= does not exist or cannot be executed"},
	{204, "MEMORY", "there was no memory"},
	{205, "LIMITS", "a Limit...= is above what this host allows"},
	{206, "OOM_ADJUST", "OOMScoreAdjust= cannot be set"},
	{208, "STDIN", "StandardInput= cannot be opened"},
	{209, "STDOUT", "StandardOutput= cannot be opened"},
	{210, "CHROOT", "RootDirectory= cannot be entered"},
	{214, "SETSCHEDULER", "CPUSchedulingPolicy= cannot be set"},
	{215, "CPUAFFINITY", "CPUAffinity= cannot be set"},
	{216, "GROUP", "the Group= does not exist on this host"},
	{217, "USER", "the User= does not exist on this host"},
	{218, "CAPABILITIES", "capabilities cannot be set"},
	{219, "CGROUP", "its control group cannot be entered"},
	{226, "NAMESPACE", "a path of its sandbox (ReadWritePaths=, BindPaths=, ...) is missing"},
	{228, "SECCOMP", "SystemCallFilter= cannot be set"},
	{233, "RUNTIME_DIRECTORY", "RuntimeDirectory= cannot be made"},
	{238, "STATE_DIRECTORY", "StateDirectory= cannot be made"},
	{239, "CACHE_DIRECTORY", "CacheDirectory= cannot be made"},
	{240, "LOGS_DIRECTORY", "LogsDirectory= cannot be made"},
	{241, "CONFIGURATION_DIRECTORY", "ConfigurationDirectory= cannot be made"},
	{243, "CREDENTIALS", "LoadCredential= cannot be read"},
};

static const char *lookup(const struct word *words, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i].name, name) == 0)
			return words[i].text;
	return NULL;
}

static void explain_exit(int status, char *text, size_t size)
{
	for (size_t i = 0; i < FL_COUNT(exits); i++)
		if (exits[i].status == status) {
			(void)snprintf(text, size, "exit status %d/%s: %s", status, exits[i].name,
				exits[i].text);
			return;
		}
	(void)snprintf(text, size, "its process ended with exit status %d", status);
}

static void explain_signal(int number, char *text, size_t size)
{
	const char *name = sigabbrev_np(number);

	if (name != NULL)
		(void)snprintf(text, size, "its process was killed by SIG%s", name);
	else
		(void)snprintf(text, size, "its process was killed by signal %d", number);
}

static void explain_result(const struct properties *properties, char *text, size_t size)
{
	const char *result = properties->result;
	const char *known = lookup(results, FL_COUNT(results), result);

	if (strcmp(result, "exit-code") == 0 && properties->exec_status != 0 &&
		properties->exec_code == CLD_EXITED)
		explain_exit(properties->exec_status, text, size);
	else if ((strcmp(result, "signal") == 0 || strcmp(result, "core-dump") == 0) &&
		 (properties->exec_code == CLD_KILLED || properties->exec_code == CLD_DUMPED))
		explain_signal(properties->exec_status, text, size);
	else if (strcmp(result, "exit-code") == 0)
		(void)snprintf(text, size, "one of its commands ended with an error");
	else if (known != NULL)
		(void)snprintf(text, size, "%s: %s", result, known);
	else if (result[0] != '\0' && strcmp(result, "success") != 0)
		(void)snprintf(text, size, "result %s", result);
	else
		(void)snprintf(text, size, "it failed");
}

void explain_state(const struct properties *properties, char *text, size_t size)
{
	const char *load = properties->load;

	text[0] = '\0';
	if (strcmp(properties->active, "failed") == 0)
		explain_result(properties, text, size);
	else if (strcmp(load, "bad-setting") == 0 || strcmp(load, "error") == 0)
		(void)snprintf(text, size,
			"systemd cannot load it (%s)%s%s; its journal says which line", load,
			properties->load_error[0] != '\0' ? ": " : "", properties->load_error);
	else if (strcmp(load, "masked") == 0)
		(void)snprintf(text, size, "the unit is masked on this host");
}

void explain_job(const char *result, const struct properties *properties, char *text, size_t size)
{
	const char *known = lookup(jobs, FL_COUNT(jobs), result);

	text[0] = '\0';
	if (strcmp(result, "done") == 0)
		return;
	if (strcmp(result, "failed") == 0 || strcmp(properties->active, "failed") == 0)
		explain_result(properties, text, size);
	else if (known != NULL)
		(void)snprintf(text, size, "%s: %s", result, known);
	else
		(void)snprintf(text, size, "its job ended with \"%s\"", result);
}
