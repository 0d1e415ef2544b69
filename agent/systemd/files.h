/*
 * What the agent puts under /run/systemd/system, and how it knows that it did: a log of names in
 * its own folder of /run, written before the file is. A file that is not in the log is the host's
 * own and is never written or removed.
 *
 *	NAME                 the unit file, byte for byte
 *	NAME.d/50-flota.conf Slice=flota-TENANT.slice, for kinds that have processes. A unit of the
 *	                     tenant "default" (the operator) that sets Slice= itself has none. And
 *	                     for exclusive units ConditionPathExists=, see lease.h.
 *	TARGET.wants/NAME    for WantedBy=TARGET in [Install], and so RequiredBy=, UpheldBy=; ALIAS
 *	                     for Alias=. Never for a TARGET that the host itself has: its own targets
 *	                     have been reached long before the agent runs, so the link would start
 *	                     nothing, and would keep systemd from forgetting the unit's old file.
 *	                     What is launched the agent starts itself, after a reboot too.
 *
 * /run is a tmpfs: nothing here waits for a disk.
 */
#pragma once

#include <stdbool.h>

#include "agent/driver.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/strv.h"

#define FILES_UNIT_DIRECTORY "/run/systemd/system"

struct files;

/* @unit_directory is FILES_UNIT_DIRECTORY but in tests; both are made where they are missing. */
enum fl_code files_new(struct files **ret_files, const char *unit_directory,
	const char *runtime_directory, struct fl_error *err) FL_MUST_CHECK;
void files_free(struct files *files);
FL_DEFINE_CLEANUP(struct files *, files_free)

/* Where systemd looks for units (Manager's UnitPath), to tell what the host itself has. */
enum fl_code files_set_search_path(
	struct files *files, const struct fl_strv *path, struct fl_error *err) FL_MUST_CHECK;

bool files_owns(const struct files *files, const char *name);
enum fl_code files_owned(
	const struct files *files, struct fl_strv *names, struct fl_error *err) FL_MUST_CHECK;

/* FL_E_EXISTS, with the path, where the host has a unit file of this name, or the template of
 * this instance. */
enum fl_code files_check_host(
	const struct files *files, const char *name, struct fl_error *err) FL_MUST_CHECK;

/* Whether the unit file is ours and has this content. */
bool files_has(
	const struct files *files, const char *name, const struct driver_definition *definition);

/* Its file is ours, or there is none: see files_check_host(). */
enum fl_code files_write(struct files *files, const char *name,
	const struct driver_definition *definition, struct fl_error *err) FL_MUST_CHECK;

/* Removes what files_write() made; nothing where it is not ours. */
enum fl_code files_remove(
	struct files *files, const char *name, struct fl_error *err) FL_MUST_CHECK;

/* Makes systemd look into the folder again. files_write() and files_remove() do it. */
void files_touch(const struct files *files);

/* flota-TENANT.slice, with what "-" and others mean to systemd.slice(5) escaped. */
char *files_slice_name(const char *tenant);
