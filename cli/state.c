#include "cli/state.h"

#include <stdio.h>
#include <string.h>

const char *desired_name(Pb__DesiredState desired)
{
	switch (desired) {
	case PB__DESIRED_STATE__INACTIVE:
		return "inactive";
	case PB__DESIRED_STATE__LOADED:
		return "loaded";
	case PB__DESIRED_STATE__LAUNCHED:
		return "launched";
	case PB__DESIRED_STATE__DESIRED_STATE_UNSPECIFIED:
	case _PB__DESIRED_STATE_IS_INT_SIZE:
		break;
	}
	return "-";
}

const char *scheduling_name(Pb__Machine__Scheduling scheduling)
{
	switch (scheduling) {
	case PB__MACHINE__SCHEDULING__OPEN:
		return "open";
	case PB__MACHINE__SCHEDULING__CORDONED:
		return "cordoned";
	case PB__MACHINE__SCHEDULING__DRAINING:
		return "draining";
	case PB__MACHINE__SCHEDULING__DRAINED:
		return "drained";
	case _PB__MACHINE__SCHEDULING_IS_INT_SIZE:
		break;
	}
	return "-";
}

const char *machine_state_of(const Pb__Machine *machine)
{
	return machine->standing == PB__MACHINE__STANDING__REVOKED
		       ? "revoked"
		       : machine_state_name(machine->state);
}

const char *machine_state_name(Pb__Machine__State state)
{
	switch (state) {
	case PB__MACHINE__STATE__UP:
		return "up";
	case PB__MACHINE__STATE__LOST:
		return "lost";
	case PB__MACHINE__STATE__UNKNOWN:
		return "unknown";
	case PB__MACHINE__STATE__STATE_UNSPECIFIED:
	case _PB__MACHINE__STATE_IS_INT_SIZE:
		break;
	}
	return "-";
}

const Pb__UnitState *placement_state(const Pb__Placement *placement)
{
	/* A state of an older epoch tells of a placement that is no more. */
	if (placement->state == NULL || placement->state->epoch != placement->epoch)
		return NULL;
	return placement->state;
}

Pb__DesiredState placement_current(const Pb__Placement *placement)
{
	const Pb__UnitState *state = placement_state(placement);

	if (state == NULL)
		return PB__DESIRED_STATE__INACTIVE;
	return state->desired == PB__DESIRED_STATE__LAUNCHED ? PB__DESIRED_STATE__LAUNCHED
							     : PB__DESIRED_STATE__LOADED;
}

Pb__DesiredState unit_current(const Pb__Unit *unit)
{
	Pb__DesiredState least = PB__DESIRED_STATE__LAUNCHED;

	if (unit->n_placements == 0)
		return PB__DESIRED_STATE__INACTIVE;
	for (size_t i = 0; i < unit->n_placements; i++) {
		Pb__DesiredState current = placement_current(unit->placements[i]);

		if (current < least)
			least = current;
	}
	return least;
}

void machine_text(const char *id, const char *address, bool full, char text[MACHINE_TEXT_MAX])
{
	if (full || strlen(id) <= 8)
		(void)snprintf(text, MACHINE_TEXT_MAX, "%.255s%s%.255s", id,
			address[0] != '\0' ? "/" : "", address);
	else
		(void)snprintf(text, MACHINE_TEXT_MAX, "%.8s...%s%.255s", id,
			address[0] != '\0' ? "/" : "", address);
}

void pin_text(const ProtobufCBinaryData *pin, char text[PIN_TEXT_SIZE])
{
	text[0] = '\0';
	for (size_t i = 0; i < pin->len && 2 * i + 2 < PIN_TEXT_SIZE; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", pin->data[i]);
}
