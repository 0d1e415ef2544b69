/* What a unit's records say of it, in fleet's words. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/flota.pb-c.h"

/* "inactive", "loaded", "launched"; "-" for one that this program does not know. */
const char *desired_name(Pb__DesiredState desired);

/* "up", "lost", "unknown". */
const char *machine_state_name(Pb__Machine__State state);

/* The same of a machine that may be "revoked". */
const char *machine_state_of(const Pb__Machine *machine);

/* "open", "cordoned", "draining", "drained". */
const char *scheduling_name(Pb__Machine__Scheduling scheduling);

/* What its machine reported of this very placement; NULL until it has. */
const Pb__UnitState *placement_state(const Pb__Placement *placement);

/*
 * fleet's STATE: how far the machine has got with what is desired. Inactive until the machine has
 * reported the unit; loaded from then on; launched when the machine's agent has taken up that it
 * is to run. So "launched" does not mean that it runs: that is systemd's ACTIVE.
 */
Pb__DesiredState placement_current(const Pb__Placement *placement);

/* The same of a unit: of its placement, or the least of a global unit's. */
Pb__DesiredState unit_current(const Pb__Unit *unit);

/* SHA-256 of a key in hexadecimal; "" of none. */
#define PIN_TEXT_SIZE 65
void pin_text(const ProtobufCBinaryData *pin, char text[PIN_TEXT_SIZE]);

/* "3f2a81c0.../10.77.0.11", or the whole ID with @full. An address that is not known is left out
 * with its slash. */
#define MACHINE_TEXT_MAX 600
void machine_text(const char *id, const char *address, bool full, char text[MACHINE_TEXT_MAX]);
