#include "agent/launch.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/wire.h"
#include "release/release.h"

/* "VERSION PATH" of the installed agent, to the release that it becomes. */
#define ENVIRONMENT       "FLOTA_INSTALLED_AGENT"
#define ENVIRONMENT_TRIAL "FLOTA_AGENT_ON_TRIAL"

static struct {
	char path[PATH_MAX]; /* of the installed agent; "": not known */
	char version[RELEASE_VERSION_MAX + 1]; /* of it */
	bool is_trial;
} self = {.version = FLOTA_VERSION};

bool launch_is_trial(void)
{
	return self.is_trial;
}

const char *launch_installed(void)
{
	return self.version;
}

void launch_trial_passed(void)
{
	self.is_trial = false;
	(void)alarm(0);
}

/* ---- The record -- */

static char *record_path(const struct config *config)
{
	return fl_printf("%s/release.pb", config->state_directory);
}

enum fl_code launch_read(
	const struct config *config, Pb__AgentReleaseRecord **ret_record, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = record_path(config);
	FL_CLEANUP(launch_record_freep) Pb__AgentReleaseRecord *record = NULL;
	ProtobufCMessage *message = NULL;
	bool damaged;

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(disk_read(path, &pb__agent_release_record__descriptor, &message, &damaged, err));
	record = (Pb__AgentReleaseRecord *)message;
	if (record != NULL && strcmp(record->installed, self.version) == 0)
		*ret_record = FL_TAKE(record);
	else
		*ret_record = NULL;
	return FL_OK;
}

void launch_record_free(Pb__AgentReleaseRecord *record)
{
	if (record != NULL)
		protobuf_c_message_free_unpacked(&record->base, NULL);
}

enum fl_code launch_write(
	const struct config *config, const Pb__AgentReleaseRecord *record, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = record_path(config);
	FL_CLEANUP(fl_freep) uint8_t *data = NULL;
	size_t len;

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(wire_pack_record(&record->base, &data, &len, err));
	return disk_write(path, data, len, true, err);
}

enum fl_code launch_set_text(char **field, const char *text, struct fl_error *err)
{
	char *copy = fl_strdup(text);

	if (copy == NULL)
		return FL_FAIL_NO_MEMORY(err);
	/* protobuf-c's own empty text is nobody's to free. */
	if (*field != NULL && *field != (char *)protobuf_c_empty_string)
		free(*field);
	*field = copy;
	return FL_OK;
}

char *launch_path(const struct config *config, const char *version)
{
	return fl_printf("%s/releases/%s/" RELEASE_FILE, config->state_directory, version);
}

static void remove_release(const struct config *config, const char *version)
{
	FL_CLEANUP(fl_freep) char *path = launch_path(config, version);
	char *slash = path != NULL ? strrchr(path, '/') : NULL;

	if (slash == NULL)
		return;
	(void)unlink(path);
	*slash = '\0';
	(void)rmdir(path);
}

static bool is_named(const Pb__AgentReleaseRecord *record, const char *version)
{
	return record != NULL &&
	       (strcmp(record->current, version) == 0 || strcmp(record->previous, version) == 0 ||
		       strcmp(record->trial, version) == 0);
}

void launch_sweep(const struct config *config, const Pb__AgentReleaseRecord *record)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/releases", config->state_directory);
	DIR *folder = path != NULL ? opendir(path) : NULL;
	const struct dirent *entry;

	if (folder == NULL)
		return;
	while ((entry = readdir(folder)) != NULL)
		if (release_name_is_good(entry->d_name, RELEASE_VERSION_MAX) &&
			!is_named(record, entry->d_name))
			remove_release(config, entry->d_name);
	(void)closedir(folder);
}

/* ---- Becoming it -- */

/* Returns only when it cannot be run. */
static void become(const struct config *config, const char *version, bool is_trial, char **argv)
{
	FL_CLEANUP(fl_freep) char *path = launch_path(config, version);
	FL_CLEANUP(fl_freep) char *installed = fl_printf("%s %s", self.version, self.path);

	if (path == NULL || installed == NULL || setenv(ENVIRONMENT, installed, 1) < 0)
		return;
	if (is_trial) {
		(void)setenv(ENVIRONMENT_TRIAL, "1", 1);
		(void)signal(SIGALRM, SIG_DFL);
		(void)alarm((unsigned)((config->upgrade_deadline_ms + 999) / 1000));
	}
	(void)execv(path, argv);
	fl_log(FL_ERROR, "launch.exec", "path=%s error=%s", path, strerrordesc_np(errno));
	(void)alarm(0);
	(void)unsetenv(ENVIRONMENT);
	(void)unsetenv(ENVIRONMENT_TRIAL);
}

/* The trial has failed, of which its agent could not tell. */
static enum fl_code roll_back(
	const struct config *config, Pb__AgentReleaseRecord *record, struct fl_error *err)
{
	char text[256];

	(void)snprintf(text, sizeof(text),
		"%s was started %u times and was not in session within %u s", record->trial,
		LAUNCH_TRIAL_STARTS, (unsigned)(config->upgrade_deadline_ms / 1000));
	fl_log(FL_ERROR, "launch.rolled_back", "version=%s why=%s", record->trial, text);
	if (record->result != NULL) {
		FL_TRY(launch_set_text(&record->result->text, text, err));
		record->result->state = PB__UPGRADE_RESULT__STATE__ROLLED_BACK;
	}
	FL_TRY(launch_set_text(&record->trial, "", err));
	record->starts = 0;
	FL_TRY(launch_write(config, record, err));
	launch_sweep(config, record);
	return FL_OK;
}

static enum fl_code try_release(const struct config *config, Pb__AgentReleaseRecord *record,
	char **argv, struct fl_error *err)
{
	while (record->starts < LAUNCH_TRIAL_STARTS) {
		record->starts++;
		/* What cannot be counted is not tried. */
		FL_TRY(launch_write(config, record, err));
		fl_log(FL_NOTICE, "launch.trial", "version=%s start=%u", record->trial,
			record->starts);
		become(config, record->trial, true, argv);
	}
	return roll_back(config, record, err);
}

static enum fl_code launch_recorded(
	const struct config *config, bool is_fence, char **argv, struct fl_error *err)
{
	FL_CLEANUP(launch_record_freep) Pb__AgentReleaseRecord *record = NULL;

	FL_TRY(launch_read(config, &record, err));
	if (record == NULL) {
		if (!is_fence)
			launch_sweep(config, NULL);
		return FL_OK;
	}
	if (!is_fence && *record->trial != '\0')
		FL_TRY(try_release(config, record, argv, err));
	if (*record->current != '\0')
		become(config, record->current, false, argv);
	return FL_OK;
}

/* Whether the installed agent has become this one. */
static bool was_launched(void)
{
	const char *installed = getenv(ENVIRONMENT);
	const char *blank = installed != NULL ? strchr(installed, ' ') : NULL;

	if (blank == NULL)
		return false;
	(void)snprintf(
		self.version, sizeof(self.version), "%.*s", (int)(blank - installed), installed);
	(void)snprintf(self.path, sizeof(self.path), "%s", blank + 1);
	self.is_trial = getenv(ENVIRONMENT_TRIAL) != NULL;
	(void)unsetenv(ENVIRONMENT);
	(void)unsetenv(ENVIRONMENT_TRIAL);
	return true;
}

void launch(const struct config *config, bool is_fence, char **argv)
{
	struct fl_error err = {.code = FL_OK};
	ssize_t len;

	if (was_launched())
		return;
	len = readlink("/proc/self/exe", self.path, sizeof(self.path) - 1);
	self.path[len > 0 ? len : 0] = '\0';
	/* Whatever is wrong with the record, an agent has to run. */
	if (launch_recorded(config, is_fence, argv, &err) != FL_OK)
		fl_log(FL_ERROR, "launch.record", "error=%s", fl_error_text(&err));
}

enum fl_code launch_again(char **argv, struct fl_error *err)
{
	(void)execv(self.path, argv);
	return FL_FAIL_ERRNO(err, errno, "%s", self.path);
}
