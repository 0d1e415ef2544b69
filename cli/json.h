/* What --output=json prints. Names of members are part of the interface: only add. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/strv.h"
#include "proto/flota.pb-c.h"

void json_free(json_t *json);
FL_DEFINE_CLEANUP(json_t *, json_free)

/* A text from anywhere: where it is not UTF-8, all that is not ASCII becomes "?". NULL: memory is
 * out. */
json_t *json_of_text(const char *text);

/* NULL (memory is out, or a text is not UTF-8), which json_add() makes an error of. */
json_t *json_of_strv(const struct fl_strv *strv);
json_t *json_of_unit(const Pb__Unit *unit);
json_t *json_of_machine(const Pb__Machine *machine);
json_t *json_of_refusals(Pb__Refusal *const *refusals, size_t n);

enum fl_code json_new_array(json_t **ret_array, struct fl_error *err) FL_MUST_CHECK;

/* Appends @item, which is taken over; NULL is an error. */
enum fl_code json_add(json_t *array, json_t *item, struct fl_error *err) FL_MUST_CHECK;

/* To standard output in one line; takes @json over, NULL is an error. */
enum fl_code json_print_line(json_t *json, struct fl_error *err) FL_MUST_CHECK;

/* To standard output, with a newline. */
enum fl_code json_print(const json_t *json, struct fl_error *err) FL_MUST_CHECK;
