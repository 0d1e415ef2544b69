#include <stdlib.h>
#include <string.h>

#include "ignition/formats.h"
#include "ignition/steps.h"
#include "ignition/text.h"

/* By this line it knows itself, when it removes itself. */
#define MARK "# flota: the first boot of a machine"

/* A word that is not in the text. */
static void find_end(const char *text, struct fl_buf *ret_word)
{
	unsigned n = 0;

	fl_buf_text(ret_word, "END");
	while (fl_buf_ok(ret_word) && strstr(text, fl_buf_str(ret_word)) != NULL) {
		fl_buf_clear(ret_word);
		fl_buf_printf(ret_word, "END%u", ++n);
	}
}

/* In a here-document with other than ASCII dash 0.5.12 loses a byte, where a line begins like its
 * end. */
static bool is_plain(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)data[i] >= 0x80)
			return false;
	return text_is_block(data, len);
}

static void write_file(
	const char *path, unsigned mode, const char *data, size_t len, struct fl_buf *out)
{
	FL_CLEANUP_BUF struct fl_buf end = FL_BUF_INIT;

	fl_buf_byte(out, '\n');
	if (!is_plain(data, len)) {
		fl_buf_text(out, "base64 -d <<'END' | put ");
		text_shell_word(path, out);
		fl_buf_printf(out, " 0%03o\n", mode);
		text_base64(data, len, out);
		fl_buf_text(out, "\nEND\n");
	} else {
		find_end(data, &end);
		fl_buf_text(out, "put ");
		text_shell_word(path, out);
		fl_buf_printf(out, " 0%03o <<'%s'\n", mode, fl_buf_str(&end));
		fl_buf_append(out, data, len);
		fl_buf_printf(out, "%s\n", fl_buf_str(&end));
	}
	out->failed |= end.failed;
}

enum fl_code script_write(const struct content *content, struct fl_buf *out, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *url = NULL;

	FL_TRY(machine_agent_url(content->machine, &url, err));
	fl_buf_text(out, "#!/bin/sh\n" MARK "\n"
			 "set -eu\n"
			 "if [ \"$(id -u)\" != 0 ]; then\n"
			 "\techo \"flota: run this as root\" >&2\n"
			 "\texit 1\n"
			 "fi\n"
			 "\n"
			 "# put PATH MODE: standard input becomes the file.\n"
			 "put() {\n"
			 "\tmkdir -p \"${1%/*}\"\n"
			 "\t(umask 077; cat > \"$1.part\")\n"
			 "\tchmod \"$2\" \"$1.part\"\n"
			 "\tmv -f \"$1.part\" \"$1\"\n"
			 "}\n");
	content_write_files(content, write_file, out);
	fl_buf_text(out, "\n# ---- The files are there. What is left to do:\n");
	FL_TRY(steps_write(content, url, true, out, err));
	fl_buf_text(out, "\n# This script, where it is a file, has no more to do.\n"
			 "if [ -f \"$0\" ] && head -n 2 \"$0\" | grep -qxF '" MARK
			 "'; then rm -f \"$0\"; fi\n");
	return fl_buf_ok(out) ? FL_OK : FL_FAIL_NO_MEMORY(err);
}
