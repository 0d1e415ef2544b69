/*
 * The description of a machine at its first boot: a `.machine` file in systemd's syntax, or flags
 * of flotactl, or flags over a file. docs/FIRST-BOOT.md is for people, flota.machine(5) is made of
 * the list of keys.
 *
 *	[Machine]
 *	Hostname=web1.flota.example
 *
 *	[File /etc/motd]
 *	Source=motd.txt
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/strv.h"
#include "ignition/machine_keys.h"
#include "unitfiles/report.h"

/* [File PATH] and [Unit NAME]: what else is to be there. */
struct machine_file {
	char *name; /* the absolute path, or the unit's name */
	char *source; /* where its content is read from; NULL: not given (yet) */
	unsigned mode; /* of a file */
	bool is_unit, is_enabled;
	unsigned line; /* of the section, for messages */
	char *data; /* len bytes and a 0; NULL before machine_read_sources() */
	size_t len;
};

struct machine {
	char *path; /* what messages call it */
	struct fl_strv values[MACHINE_KEY_COUNT];
	struct machine_file *files; /* n_files of them */
	size_t n_files;

	/* What machine_read_sources() has read; NULL where the key is not given. */
	char *ca_certificate, *ipa_password;
	char *hash; /* of the agent, "sha512-..." */
	struct fl_strv release_keys; /* a line each */
};

/* Nothing is said of it yet; @path is for messages. */
enum fl_code machine_new(
	const char *path, struct machine **ret_machine, struct fl_error *err) FL_MUST_CHECK;
void machine_free(struct machine *machine);
FL_DEFINE_CLEANUP(struct machine *, machine_free)

/* Reads @len bytes of a `.machine` file into @machine, whose path says where it is. All problems
 * go to @report (nullable), the first one to @err. */
enum fl_code machine_parse(struct machine *machine, const void *text, size_t len,
	struct unit_report *report, struct fl_error *err) FL_MUST_CHECK;

/* Has @given (FL_E_INVALID: its value is not one) take the place of what is there. */
enum fl_code machine_override(struct machine *machine, enum machine_key key,
	const struct fl_strv *given, struct fl_error *err) FL_MUST_CHECK;

/* What keys mean together. It asks nothing of a document's kind. */
enum fl_code machine_check(const struct machine *machine, struct fl_error *err) FL_MUST_CHECK;

/* Reads the files that it names: once, when nothing is changed any more. */
enum fl_code machine_read_sources(struct machine *machine, struct fl_error *err) FL_MUST_CHECK;

/* The value of a MACHINE_ONE; NULL where it is not given. */
const char *machine_value(const struct machine *machine, enum machine_key key);

/* "role=web", and all other metadata; each key once. */
enum fl_code machine_metadata(const struct machine *machine, struct fl_strv *ret_pairs,
	struct fl_error *err) FL_MUST_CHECK;

/* The URL of the agent (allocated): what is given, or the coordinator's; NULL where it is there
 * already. FL_E_STATE: a release is named whose hash nobody knows. */
enum fl_code machine_agent_url(
	const struct machine *machine, char **ret_url, struct fl_error *err) FL_MUST_CHECK;

/* flota.machine(5). */
void machine_man(FILE *out);
