/*
 * Which agent runs: the installed one, or a release that it fetched (upgrade.h).
 *
 *	/usr/bin/flota-agent                     is what systemd starts; packages own it
 *	STATE/releases/VERSION/flota-agent       what was fetched
 *	STATE/release.pb                         which of them is to run: AgentReleaseRecord
 *
 * The installed agent looks at the record before it does anything else and, if that names a release,
 * becomes it (execve(2)): the process stays systemd's, and no package or read-only /usr is in the way.
 *
 * A release is on trial until it has been in session. The installed agent counts the starts of a
 * trial, on disk, and the kernel ends one by SIGALRM that takes longer than UpgradeDeadline=; after
 * LAUNCH_TRIAL_STARTS the one before runs again. So whatever a release does wrong, also before a
 * reboot, ends with an agent that works, and nothing of it has to work for that.
 *
 * Another version that is installed by hand or by a package is the newer word: the record is void.
 */
#pragma once

#include <stdbool.h>

#include "agent/config.h"
#include "base/error.h"
#include "proto/flota.pb-c.h"

#define LAUNCH_TRIAL_STARTS 2U

/* In the runtime directory: which release the agent has become, for the fence to follow, and which
 * one that is. */
#define LAUNCH_AGENT_VERSION "agent-version"
#define LAUNCH_FENCE_VERSION "fence-version"

/* At the very beginning. Returns in the agent that is to run. The fence is never one on trial. */
void launch(const struct config *config, bool is_fence, char **argv);

/* Whether this one is on trial. */
bool launch_is_trial(void);

/* The trial is over, and well. */
void launch_trial_passed(void);

/* The version of the installed agent: this one's own, or that of the one which became it. */
const char *launch_installed(void);

/* Begins anew from the installed agent. Returns only when that cannot be run. */
enum fl_code launch_again(char **argv, struct fl_error *err) FL_MUST_CHECK;

/* ---- The record -- */

/* NULL: there is none, or a void one. The caller's: launch_record_free(). */
enum fl_code launch_read(const struct config *config, Pb__AgentReleaseRecord **ret_record,
	struct fl_error *err) FL_MUST_CHECK;
void launch_record_free(Pb__AgentReleaseRecord *record);
FL_DEFINE_CLEANUP(Pb__AgentReleaseRecord *, launch_record_free)

/* On disk when it returns. */
enum fl_code launch_write(const struct config *config, const Pb__AgentReleaseRecord *record,
	struct fl_error *err) FL_MUST_CHECK;

/* Sets a text of a record; FL_E_NO_MEMORY leaves the old one. */
enum fl_code launch_set_text(char **field, const char *text, struct fl_error *err) FL_MUST_CHECK;

/* STATE/releases/VERSION/flota-agent; the caller's, or NULL. */
char *launch_path(const struct config *config, const char *version);

/* Removes what was fetched, but for what @record (nullable) names. */
void launch_sweep(const struct config *config, const Pb__AgentReleaseRecord *record);
