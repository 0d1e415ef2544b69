/*
 * What a person typed as units → names, and where the file of each comes from. In fleet's order:
 * the registry, the file of that path; for an instance its template in the registry, then beside
 * the path.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/strv.h"
#include "proto/flota.pb-c.h"

struct unit_arg {
	char *name;
	char *path; /* of the local file: the folder that was typed, and the name */
	char *template_name; /* of an instance, else NULL */
	char *template_path;
};

struct unit_args {
	struct unit_arg *items; /* n of them, as typed, each name once */
	size_t n;
};

enum fl_code unit_args_parse(
	char **args, size_t n, struct unit_args *ret_args, struct fl_error *err) FL_MUST_CHECK;
void unit_arg_fini(struct unit_arg *arg);
void unit_args_fini(struct unit_args *args);
#define UNIT_ARGS_CLEANUP FL_CLEANUP(unit_args_fini)

enum unit_origin {
	UNIT_FROM_REGISTRY, /* it is there: nothing to send */
	UNIT_FROM_FILE, /* text is the file's */
	UNIT_FROM_REGISTRY_TEMPLATE, /* the coordinator makes it from template_name's */
};

struct unit_source {
	enum unit_origin origin;
	const char *path; /* the file it came from; borrowed from the argument */
	char *text;
	size_t len;
	bool differs; /* the local file @path is another one than the stored one */
};

void unit_source_fini(struct unit_source *source);
#define UNIT_SOURCE_CLEANUP FL_CLEANUP(unit_source_fini)

/* Whether there is something to start: no template, or one with Replicas=. */
enum fl_code unit_source_can_start(const char *name, const char *text, size_t len,
	bool *ret_can_start, struct fl_error *err) FL_MUST_CHECK;

/*
 * @stored and @stored_template are what the registry has under those names, or NULL. With @replace
 * a local file goes before the registry. FL_E_NOT_FOUND: it is nowhere. What is wrong with a file
 * goes to @problems (file:line: ...), all of it, and makes FL_E_INVALID, FL_E_SYNTAX, ...
 */
enum fl_code unit_source_find(const struct unit_arg *arg, const Pb__Unit *stored,
	const Pb__Unit *stored_template, bool replace, bool lenient, struct fl_strv *problems,
	struct unit_source *ret_source, struct fl_error *err) FL_MUST_CHECK;
