#include "coordinator/gate.h"

#include "base/log.h"

enum fl_code gate_load(struct coordinator *coordinator, struct fl_error *err)
{
	const char *id = "";

	FL_TRY(revoked_new(&coordinator->revoked, err));
	while ((id = core_revoked_next(coordinator->core, id)) != NULL)
		FL_TRY(revoked_set(coordinator->revoked, id, true, err));
	return FL_OK;
}

void gate_update(struct coordinator *coordinator, const char *machine_id)
{
	bool is_out = core_member_check(coordinator->core, machine_id, NULL, NULL) != FL_OK;

	/* Without memory for it the handshake succeeds, and each request is refused. */
	if (revoked_set(coordinator->revoked, machine_id, is_out, NULL) != FL_OK)
		fl_log(FL_ERROR, "machine.not_barred", "machine=%s error=out of memory",
			machine_id);
	if (is_out)
		transport_server_drop_machine(coordinator->server, machine_id, "it was revoked");
}

enum fl_code gate_check(const struct exchange *exchange, bool any_key, struct fl_error *err)
{
	const struct identity *identity = exchange_identity(exchange);

	return core_member_check(exchange->coordinator->core, identity->name,
		any_key ? NULL : identity->key_pin, err);
}
