#include "agent/assignment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "unitfiles/name.h"

enum fl_code assignment_read(
	const Pb__Assignment *message, struct assignment *ret_assignment, struct fl_error *err)
{
	struct assignment a = {
		.len = message->content.len,
		.desired = message->desired,
		.epoch = message->epoch,
		.revision = message->revision,
		.start_generation = message->start_generation,
		.restart_generation = message->restart_generation,
		.exclusive = message->exclusive,
		.stop_ms = message->stop_ms,
	};
	struct fl_error name_err = {.code = FL_OK};

	if (unit_name_check(message->name, &name_err) != FL_OK)
		return FL_FAIL(err, FL_E_PROTOCOL, "assignment: %s", fl_error_text(&name_err));
	if (a.desired != PB__DESIRED_STATE__LOADED && a.desired != PB__DESIRED_STATE__LAUNCHED)
		return FL_FAIL(err, FL_E_PROTOCOL, "assignment of %s: desired state %d",
			message->name, (int)a.desired);
	a.name = fl_strdup(message->name);
	a.content = fl_memdup0(message->content.data, message->content.len);
	a.hash = fl_strdup(message->hash);
	a.tenant = fl_strdup(message->tenant[0] != '\0' ? message->tenant : "default");
	if (a.name == NULL || a.content == NULL || a.hash == NULL || a.tenant == NULL) {
		assignment_fini(&a);
		return FL_FAIL_NO_MEMORY(err);
	}
	*ret_assignment = a;
	return FL_OK;
}

void assignment_fini(struct assignment *assignment)
{
	free(assignment->name);
	free(assignment->content);
	free(assignment->hash);
	free(assignment->tenant);
	*assignment = (struct assignment){0};
}

void assignment_write(const struct assignment *assignment, Pb__Assignment *ret_message)
{
	pb__assignment__init(ret_message);
	ret_message->name = assignment->name;
	ret_message->content.data = assignment->content;
	ret_message->content.len = assignment->len;
	ret_message->hash = assignment->hash;
	ret_message->tenant = assignment->tenant;
	ret_message->desired = assignment->desired;
	ret_message->epoch = assignment->epoch;
	ret_message->revision = assignment->revision;
	ret_message->start_generation = assignment->start_generation;
	ret_message->restart_generation = assignment->restart_generation;
	ret_message->exclusive = assignment->exclusive;
	ret_message->stop_ms = assignment->stop_ms;
}

bool assignment_done_equal(const struct assignment_done *a, const struct assignment_done *b)
{
	return strcmp(a->hash, b->hash) == 0 && a->desired == b->desired && a->epoch == b->epoch &&
	       a->start_generation == b->start_generation &&
	       a->restart_generation == b->restart_generation;
}

void assignment_done_from(const struct assignment *assignment, struct assignment_done *ret_done)
{
	struct assignment_done done = {
		.desired = assignment->desired,
		.epoch = assignment->epoch,
		.start_generation = assignment->start_generation,
		.restart_generation = assignment->restart_generation,
	};

	(void)snprintf(done.hash, sizeof(done.hash), "%s", assignment->hash);
	*ret_done = done;
}

void assignment_done_read(const Pb__AgentDone *message, struct assignment_done *ret_done)
{
	struct assignment_done done = {
		.desired = message->desired,
		.epoch = message->epoch,
		.start_generation = message->start_generation,
		.restart_generation = message->restart_generation,
	};

	(void)snprintf(done.hash, sizeof(done.hash), "%s", message->hash);
	*ret_done = done;
}

void assignment_done_write(const struct assignment_done *done, Pb__AgentDone *ret_message)
{
	pb__agent_done__init(ret_message);
	ret_message->hash = (char *)done->hash;
	ret_message->desired = done->desired;
	ret_message->epoch = done->epoch;
	ret_message->start_generation = done->start_generation;
	ret_message->restart_generation = done->restart_generation;
}
