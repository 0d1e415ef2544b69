/* Unit names: systemd.unit(5)'s, with the kinds that flota knows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* systemd's limit, and that of a file's name. (fleet wrote 256 and could not store such a file.) */
#define UNIT_NAME_MAX 255

/*
 * X(constant, suffix, may be a template, why flota refuses it: NULL = it does not).
 * Which may be templates is systemd's rule: the others get their names from a path or a device.
 */
#define UNIT_KINDS(X) \
	X(UNIT_SERVICE, "service", true, NULL) \
	X(UNIT_SOCKET, "socket", true, NULL) \
	X(UNIT_TIMER, "timer", true, NULL) \
	X(UNIT_PATH, "path", true, NULL) \
	X(UNIT_TARGET, "target", true, NULL) \
	X(UNIT_MOUNT, "mount", false, NULL) \
	X(UNIT_AUTOMOUNT, "automount", false, NULL) \
	X(UNIT_SWAP, "swap", false, NULL) \
	X(UNIT_SLICE, "slice", false, NULL) \
	X(UNIT_DEVICE, "device", false, "the kernel makes devices, no file does") \
	X(UNIT_SCOPE, "scope", false, "programs make scopes while they run, no file does") \
	X(UNIT_BUSNAME, "busname", false, "systemd has had no .busname units since version 232") \
	X(UNIT_SNAPSHOT, "snapshot", false, \
		"systemd has had no .snapshot units since version 228") \
	X(UNIT_CONTAINER, "container", true, UNIT_KIND_LATER) \
	X(UNIT_POD, "pod", true, UNIT_KIND_LATER) \
	X(UNIT_VOLUME, "volume", true, UNIT_KIND_LATER) \
	X(UNIT_NETWORK, "network", true, UNIT_KIND_LATER) \
	X(UNIT_IMAGE, "image", true, UNIT_KIND_LATER) \
	X(UNIT_KUBE, "kube", true, UNIT_KIND_LATER) \
	X(UNIT_VM, "vm", true, UNIT_KIND_LATER) \
	X(UNIT_K3S, "k3s", true, UNIT_KIND_LATER) \
	X(UNIT_SERVER, "server", true, UNIT_KIND_LATER) \
	X(UNIT_TENANT, "tenant", false, UNIT_KIND_LATER) \
	X(UNIT_PLAN, "plan", false, UNIT_KIND_LATER)

#define UNIT_KIND_LATER "this version of flota does not run units of this kind yet"

enum unit_kind {
#define X(constant, suffix, template, refusal) constant,
	UNIT_KINDS(X)
#undef X
		UNIT_KIND_UNKNOWN, /* no suffix, or one that is not in the list */
};

/* By the suffix alone: the text behind the last dot. */
enum unit_kind unit_name_kind(const char *name);

/* "service" for UNIT_SERVICE; "" for UNIT_KIND_UNKNOWN. */
const char *unit_kind_suffix(enum unit_kind kind);

/*
 * Whether @name may be a unit of this fleet: at most UNIT_NAME_MAX of [A-Za-z0-9:_.\@-], something
 * before the suffix, a suffix of a kind that flota accepts, and an @ only in kinds that may be
 * templates, and not as the first character. FL_E_INVALID says what is wrong with it.
 */
enum fl_code unit_name_check(const char *name, struct fl_error *err) FL_MUST_CHECK;

/* p@.service; p@i.service. Names that are not valid are neither. */
bool unit_name_is_template(const char *name);
bool unit_name_is_instance(const char *name);

/* The parts of a name that has a dot; they point into it. */
struct unit_name_parts {
	const char *prefix; /* up to the first @, or to the suffix */
	size_t prefix_len;
	const char
		*instance; /* between the first @ and the suffix; empty in a template; NULL: no @ */
	size_t instance_len;
	const char *stem; /* all before the suffix */
	size_t stem_len;
	const char *suffix; /* behind the last dot */
};

void unit_name_split(const char *name, struct unit_name_parts *ret_parts);

/* p@i.service → p@.service. FL_E_INVALID where @instance is not the name of an instance. */
enum fl_code unit_name_template_of(const char *instance, char ret_template[UNIT_NAME_MAX + 1],
	struct fl_error *err) FL_MUST_CHECK;

/* web@.service, 3 → web@3.service. FL_E_TOO_BIG. */
enum fl_code unit_name_replica(const char *template_name, unsigned number,
	char ret_name[UNIT_NAME_MAX + 1], struct fl_error *err) FL_MUST_CHECK;

/*
 * What a person typed → a unit's name, as fleet did it: the last part of a path, with ".service"
 * behind it when it has no suffix of a known kind. The result has passed unit_name_check().
 */
enum fl_code unit_name_from_argument(
	const char *argument, char ret_name[UNIT_NAME_MAX + 1], struct fl_error *err) FL_MUST_CHECK;
