#include "ignition/document.h"

#include <string.h>

#include "ignition/content.h"
#include "ignition/formats.h"

static const struct {
	const char *name;
	enum content_target target;
	enum fl_code (*write)(
		const struct content *content, struct fl_buf *out, struct fl_error *err);
} kinds[] = {
	[DOCUMENT_IGNITION] = {"ignition", CONTENT_IGNITION, ignition_write},
	[DOCUMENT_CLOUD_CONFIG] = {"cloud-config", CONTENT_CLOUD_INIT, cloud_config_write},
	[DOCUMENT_SCRIPT] = {"script", CONTENT_SHELL, script_write},
	[DOCUMENT_BUTANE] = {"butane", CONTENT_IGNITION, butane_write},
};

enum fl_code document_kind_find(
	const char *name, enum document_kind *ret_kind, struct fl_error *err)
{
	for (unsigned i = 0; i < FL_COUNT(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0) {
			*ret_kind = i;
			return FL_OK;
		}
	return FL_FAIL(err, FL_E_USAGE,
		"there is no first-boot document \"%s\"; there are ignition, cloud-config, script "
		"and butane",
		name);
}

enum fl_code document_write(enum document_kind kind, const struct machine *machine,
	const char *token, struct fl_buf *out, struct fl_strv *ret_secrets, struct fl_error *err)
{
	FL_CLEANUP(content_freep) struct content *content = NULL;
	FL_CLEANUP_STRV struct fl_strv secrets = {0};

	FL_TRY(content_new(machine, kinds[kind].target, token, &content, err));
	for (size_t i = 0; i < content->n_files; i++)
		if (content->files[i].secret != NULL)
			FL_TRY(fl_strv_add(&secrets, content->files[i].secret, err));
	if (kinds[kind].target == CONTENT_SHELL && machine->ipa_password != NULL)
		FL_TRY(fl_strv_add(&secrets, "the FreeIPA password", err));
	FL_TRY(kinds[kind].write(content, out, err));
	if (!fl_buf_ok(out))
		return FL_FAIL_NO_MEMORY(err);
	*ret_secrets = secrets;
	secrets = (struct fl_strv){0};
	return FL_OK;
}
