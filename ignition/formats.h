/* The languages that a document can be written in. Each appends to @out all of @content. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "ignition/content.h"

/*
 * Ignition's configuration specification 3.3.0 (coreos.github.io/ignition/configuration-v3_3): what
 * Flatcar's and Debian's Ignition 2.14 read.
 */
enum fl_code ignition_write(
	const struct content *content, struct fl_buf *out, struct fl_error *err) FL_MUST_CHECK;

/*
 * The same for people, to be made into Ignition's by butane(1). Of the variants that become spec
 * 3.3.0, flatcar 1.0.0 and fcos 1.4.0, it is Flatcar's: butane refuses in it what Flatcar has not.
 */
enum fl_code butane_write(
	const struct content *content, struct fl_buf *out, struct fl_error *err) FL_MUST_CHECK;

/* User data of cloud-init 22 and later. */
enum fl_code cloud_config_write(
	const struct content *content, struct fl_buf *out, struct fl_error *err) FL_MUST_CHECK;

/* For a POSIX sh(1), run as root; once more does no harm. */
enum fl_code script_write(
	const struct content *content, struct fl_buf *out, struct fl_error *err) FL_MUST_CHECK;
