/*
 * What a machine's description comes to, before it is written in the language of a document: files,
 * units, and what else is to be done.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "ignition/machine.h"

#define CONTENT_AGENT "/opt/flota/bin/flota-agent" /* Flatcar's /usr is read-only */
/* Of documents that a program on the machine carries out; gone when the machine has joined. */
#define CONTENT_FOLDER "/var/lib/flota/first-boot"
#define CONTENT_CA     CONTENT_FOLDER "/ca.crt"
#define CONTENT_STEPS  CONTENT_FOLDER "/steps"

#define UNIT_FOLDER "/etc/systemd/system/"

/* What carries the document out. */
enum content_target {
	CONTENT_IGNITION, /* Ignition, on Flatcar: systemd-networkd, timesyncd, no packages */
	CONTENT_CLOUD_INIT, /* cloud-init, on Rocky 9 or Debian */
	CONTENT_SHELL, /* sh(1), on either */
};

struct content_file {
	char *path;
	unsigned mode;
	char *data; /* len bytes; NULL: it comes from url */
	size_t len;
	char *url;
	const char *secret; /* what nobody else should see of it, or NULL */
};

struct content_unit {
	char *name;
	char *text; /* NULL: it is there already */
	bool is_enabled;
};

struct content {
	const struct machine *machine; /* borrowed; its hash and ca_certificate are for the url */
	struct content_file *files;
	size_t n_files;
	struct content_unit *units;
	size_t n_units;
};

/*
 * @machine has passed machine_check() and machine_read_sources(), and outlives *ret_content. NULL
 * for @token: the machine has one, or gets it later. FL_E_INVALID: the target cannot do what is
 * described, or two things would be the same file.
 */
enum fl_code content_new(const struct machine *machine, enum content_target target,
	const char *token, struct content **ret_content, struct fl_error *err) FL_MUST_CHECK;
void content_free(struct content *content);

/* A file of a document in whose language a unit is a file as any other. */
typedef void content_write_file(
	const char *path, unsigned mode, const char *data, size_t len, struct fl_buf *out);
/* All files, then all units that have a text. */
void content_write_files(
	const struct content *content, content_write_file *write, struct fl_buf *out);
FL_DEFINE_CLEANUP(struct content *, content_free)
