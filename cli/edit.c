#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/apply.h"
#include "cli/batch.h"
#include "cli/dialect.h"
#include "cli/term.h"
#include "cli/verify.h"
#include "unitfiles/name.h"

/* A unit's file while a person edits it. */
struct draft {
	char name[UNIT_NAME_MAX + 1];
	char folder[32];
	char *path;
	Pb__Envelope *stored; /* as it was when editing began */
	char *text;
	size_t len;
	bool is_kept; /* the person's work, which was not stored */
};

static void draft_fini(struct draft *draft)
{
	if (draft->path != NULL && !draft->is_kept) {
		(void)unlink(draft->path);
		(void)rmdir(draft->folder);
	}
	free(draft->path);
	free(draft->text);
	wire_free(draft->stored);
}

/* With a connection of its own: nobody knows how long the editor takes. */
static enum fl_code fetch(const struct draft *draft, struct command *command,
	Pb__Envelope **ret_reply, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	char *names = (char *)draft->name;

	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(connection_units(connection, &names, 1, true, &reply, err));
	if (reply->units_reply->n_units == 0)
		return DIALECT_FAIL(err, TEXT_UNIT_NOT_FOUND, draft->name);
	*ret_reply = FL_TAKE(reply);
	return FL_OK;
}

static const ProtobufCBinaryData *content_of(const Pb__Envelope *reply)
{
	return &reply->units_reply->units[0]->content;
}

static bool is_same(const ProtobufCBinaryData *content, const char *data, size_t len)
{
	return content->len == len && (len == 0 || memcmp(content->data, data, len) == 0);
}

static enum fl_code write_draft(struct draft *draft, struct fl_error *err)
{
	const ProtobufCBinaryData *content = content_of(draft->stored);

	strcpy(draft->folder, "/tmp/flota-edit-XXXXXX");
	if (mkdtemp(draft->folder) == NULL)
		return FL_FAIL_ERRNO(err, errno, "/tmp");
	/* Under its own name: editors and their syntax colours go by it. */
	draft->path = fl_printf("%s/%s", draft->folder, draft->name);
	if (draft->path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return fl_file_write(draft->path, content->len > 0 ? (const char *)content->data : "",
		content->len, 0600, false, err);
}

/* $VISUAL and $EDITOR are lines of shell, as for other programs. */
static enum fl_code run_editor(const char *path, struct fl_error *err)
{
	pid_t pid;
	int status;

	(void)fflush(stdout);
	pid = fork();
	if (pid < 0)
		return FL_FAIL_ERRNO(err, errno, "fork");
	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", "eval \"${VISUAL:-${EDITOR:-vi}} \\\"\\$1\\\"\"",
			"flotactl", path, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return FL_FAIL_ERRNO(err, errno, "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return FL_FAIL(err, FL_E_FAILED, "the editor failed; nothing was changed");
	return FL_OK;
}

/* Until the text is one that the fleet can take, or the person gives up. */
static enum fl_code edit(struct draft *draft, bool lenient, struct fl_error *err)
{
	for (;;) {
		UNIT_CLEANUP_REPORT struct unit_report report = {0};
		enum fl_code code;

		FL_TRY(run_editor(draft->path, err));
		code = verify_file(
			draft->path, draft->name, lenient, &report, &draft->text, &draft->len, err);
		if (code == FL_OK) {
			verify_tell(&report);
			return FL_OK;
		}
		verify_tell(&report);
		draft->is_kept = true;
		if (term_confirm("Edit it again?", "", NULL) != FL_OK)
			return FL_FAIL(err, FL_E_INVALID, "nothing was changed; your text is in %s",
				draft->path);
		draft->is_kept = false;
	}
}

static enum fl_code store(
	struct draft *draft, struct command *command, bool json, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(wire_freep) Pb__Envelope *now = NULL;
	BATCH_CLEANUP struct batch batch = {0};
	const ProtobufCBinaryData *before = content_of(draft->stored);
	const struct change_kind *kind;
	const Pb__Unit *unit;

	FL_TRY(fetch(draft, command, &now, err));
	unit = now->units_reply->units[0];
	if (!is_same(&unit->content, (const char *)before->data, before->len))
		return FL_FAIL(
			err, FL_E_STATE, "somebody else has changed %s meanwhile", draft->name);
	FL_TRY(change_that_replaces(unit, draft->text, draft->len, &kind, err));
	FL_TRY(connection_open(command->options, &connection, err));
	FL_TRY(batch_init(&batch, command, connection, 1, json, err));
	batch_set(&batch, 0, kind, draft->name, unit);
	batch.items[0].proto.replace = true;
	batch.items[0].proto.content.data = (uint8_t *)draft->text;
	batch.items[0].proto.content.len = draft->len;
	return batch_run(&batch, err);
}

enum fl_code verb_edit(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(draft_fini) struct draft draft = {0};
	struct fl_error local = {0};
	enum fl_code code;
	bool json;

	if (err == NULL)
		err = &local;
	FL_TRY(command_wants_json(command, &json, err));
	FL_TRY(unit_name_from_argument(command->args[0], draft.name, err));
	FL_TRY(fetch(&draft, command, &draft.stored, err));
	FL_TRY(write_draft(&draft, err));
	FL_TRY(edit(&draft, command->options->lenient, err));
	if (is_same(content_of(draft.stored), draft.text, draft.len)) {
		printf("Unit %s unchanged\n", draft.name);
		return FL_OK;
	}
	code = store(&draft, command, json, err);
	if (code != FL_OK) {
		struct fl_error why = *err;

		draft.is_kept = true;
		return FL_FAIL(err, code, "%s; your text is in %s", why.text, draft.path);
	}
	return FL_OK;
}
