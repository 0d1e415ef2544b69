/* What a machine is and has. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strv.h"
#include "proto/flota.pb-c.h"

struct facts {
	char machine_id[33]; /* machine-id(5): 32 hex digits */
	char boot_id[37];
	char hostname[256];
};

/* @root is "" but in tests. FL_E_INVALID where /etc/machine-id is missing or not one (a machine that
 * is still being set up has an empty one, or "uninitialized"). */
enum fl_code facts_read(
	const char *root, struct facts *ret_facts, struct fl_error *err) FL_MUST_CHECK;

/* CPUs that may be used, memory and its available part (proc(5), meminfo), load. */
enum fl_code facts_capacity(
	const char *root, Pb__Capacity *ret_capacity, struct fl_error *err) FL_MUST_CHECK;

/* "cgroup v2" or "cgroup v1": how the host's hierarchy is mounted. */
const char *facts_cgroup(const char *root);

/* "key=value", each as systemd's and fleet's metadata are; *ret_list (free(3) it) points into
 * @words, which are cut up and sorted by key. FL_E_INVALID names the one that is wrong. */
enum fl_code facts_metadata(struct fl_strv *words, Pb__Metadata **ret_list, size_t *ret_n,
	struct fl_error *err) FL_MUST_CHECK;
