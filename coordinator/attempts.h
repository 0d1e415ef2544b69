/*
 * How often an address may fail to join: after ATTEMPTS_BURST failures, one each
 * ATTEMPTS_INTERVAL_MS. Successes cost nothing, so a thousand machines behind one address come in
 * at once.
 *
 * A table of fixed size: who tries from many addresses cannot make it grow. Addresses that share a
 * slot share its failures.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define ATTEMPTS_BURST       10U
#define ATTEMPTS_INTERVAL_MS 1000U

struct attempts;

enum fl_code attempts_new(struct attempts **ret_attempts, struct fl_error *err) FL_MUST_CHECK;
void attempts_free(struct attempts *attempts);

/* Whether who comes from @address may try. @now_ms never goes back. */
bool attempts_allowed(const struct attempts *attempts, const char *address, uint64_t now_ms);
void attempts_failed(struct attempts *attempts, const char *address, uint64_t now_ms);
