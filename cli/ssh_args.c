#include "cli/ssh_args.h"

#include <inttypes.h>

#include "cli/dialect.h"

static enum fl_code add(struct fl_strv *args, const char *option, char *value, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *owned = value;

	if (owned == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_strv_add(args, option, err));
	return fl_strv_add(args, owned, err);
}

enum fl_code ssh_args(const struct cli_options *options, struct fl_strv *args, struct fl_error *err)
{
	FL_TRY(fl_strv_add(args, "ssh", err));
	if (options->ssh_username != NULL && options->ssh_username[0] != '\0')
		FL_TRY(add(args, "-l", fl_strdup(options->ssh_username), err));
	if (options->ssh_port > 0)
		FL_TRY(add(args, "-p", fl_printf("%" PRIu64, options->ssh_port), err));
	if (options->forward_agent)
		FL_TRY(fl_strv_add(args, "-A", err));
	if (options->ssh_timeout_ms > 0)
		FL_TRY(add(args, "-o",
			fl_printf(
				"ConnectTimeout=%" PRIu64, (options->ssh_timeout_ms + 999) / 1000),
			err));
	if (options->known_hosts_file != NULL && options->known_hosts_file[0] != '\0')
		FL_TRY(add(args, "-o",
			fl_printf("UserKnownHostsFile=%s", options->known_hosts_file), err));
	if (dialect->asks_host_keys || !options->strict_host_keys)
		FL_TRY(add(args, "-o",
			fl_printf("StrictHostKeyChecking=%s",
				options->strict_host_keys ? "ask" : "no"),
			err));
	return FL_OK;
}
