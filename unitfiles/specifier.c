#include "unitfiles/specifier.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "unitfiles/name.h"

/* One pass of fleet's: every %letter in @text becomes the @len bytes at @by. */
static enum fl_code replace(
	char **text, char letter, const char *by, size_t len, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf out = FL_BUF_INIT;
	const char *from = *text, *found;
	char *result;

	for (const char *at = from; (found = strchr(at, '%')) != NULL; at = found + 1) {
		if (found[1] != letter)
			continue;
		fl_buf_append(&out, from, (size_t)(found - from));
		fl_buf_append(&out, by, len);
		from = ++found + 1;
	}
	if (from == *text)
		return FL_OK;
	fl_buf_text(&out, from);
	FL_TRY(fl_buf_take(&out, &result, err));
	free(*text);
	*text = result;
	return FL_OK;
}

enum fl_code unit_specifier_expand(
	const char *text, const char *name, char **ret_text, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *result = fl_strdup(text);
	struct unit_name_parts parts;

	if (result == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (strchr(text, '%') != NULL) {
		unit_name_split(name, &parts);
		FL_TRY(replace(&result, 'n', name, strlen(name), err));
		FL_TRY(replace(&result, 'N', parts.stem, parts.stem_len, err));
		FL_TRY(replace(&result, 'p', parts.prefix, parts.prefix_len, err));
		FL_TRY(replace(&result, 'i', parts.instance != NULL ? parts.instance : "",
			parts.instance_len, err));
	}
	*ret_text = FL_TAKE(result);
	return FL_OK;
}
