/* The properties of systemd's units that the driver reads, out of GetAll and PropertiesChanged. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/systemd/libsystemd.h"
#include "base/error.h"

/* X(constant, property, type, field). A "t" here is one of the clocks that make `since_us`. */
#define PROPERTIES(X) \
	X(PROPERTY_LOAD, "LoadState", 's', load) \
	X(PROPERTY_ACTIVE, "ActiveState", 's', active) \
	X(PROPERTY_SUB, "SubState", 's', sub) \
	X(PROPERTY_FRAGMENT, "FragmentPath", 's', fragment) \
	X(PROPERTY_NEED_RELOAD, "NeedDaemonReload", 'b', need_reload) \
	X(PROPERTY_CONDITION, "ConditionResult", 'b', condition) \
	X(PROPERTY_RESULT, "Result", 's', result) \
	X(PROPERTY_MAIN_PID, "MainPID", 'u', main_pid) \
	X(PROPERTY_EXEC_CODE, "ExecMainCode", 'i', exec_code) \
	X(PROPERTY_EXEC_STATUS, "ExecMainStatus", 'i', exec_status) \
	X(PROPERTY_ACTIVE_ENTER, "ActiveEnterTimestamp", 't', since_us) \
	X(PROPERTY_ACTIVE_EXIT, "ActiveExitTimestamp", 't', since_us) \
	X(PROPERTY_INACTIVE_ENTER, "InactiveEnterTimestamp", 't', since_us) \
	X(PROPERTY_INACTIVE_EXIT, "InactiveExitTimestamp", 't', since_us)

enum property {
#define X(constant, name, type, field) constant,
	PROPERTIES(X)
#undef X
};

struct properties {
	uint32_t present; /* a bit for each that was in the message */
	char load[24], active[24], sub[40], result[40];
	char fragment[320];
	char load_error[256]; /* the text of LoadError */
	bool need_reload, condition;
	uint32_t main_pid;
	int32_t exec_code, exec_status; /* of waitid(2): si_code, si_status */
	uint64_t since_us; /* the latest of the clocks */
};

static inline bool properties_have(const struct properties *properties, enum property property)
{
	return (properties->present & UINT32_C(1) << property) != 0;
}

/* Reads an a{sv} at which @message stands. Values longer than their field are cut. FL_E_PROTOCOL. */
enum fl_code properties_read(sd_bus_message *message, struct properties *ret_properties,
	struct fl_error *err) FL_MUST_CHECK;
