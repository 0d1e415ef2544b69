#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
#include "coordinator/ca.h"
#include "coordinator/commands.h"

struct init_options {
	char *data;
	char *fleet;
	struct fl_strv address;
};

#define AT(field) offsetof(struct init_options, field)

static const struct fl_option options[] = {
	{.name = "data",
		.type = FL_OPTION_STRING,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "DIR",
		.doc = "Make the fleet there instead of in DataDirectory=.",
		.offset = AT(data)},
	{.name = "fleet",
		.type = FL_OPTION_STRING,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "NAME",
		.doc = "What the fleet is called; needed, and for good.",
		.offset = AT(fleet)},
	{.name = "address",
		.type = FL_OPTION_LIST,
		.flags = FL_OPTION_ARG_ONLY,
		.value_name = "HOST",
		.doc = "A host name or IP address of the coordinator, for its certificate; may be "
		       "given several times. Its host name and localhost are always in it.",
		.offset = AT(address)},
};

static const struct fl_option_table table = {
	.program = "flota-coordinator init",
	.section = "Init",
	.options = options,
	.n_options = FL_COUNT(options),
};

void command_init_help(FILE *out)
{
	fl_options_help(&table, out);
}

enum fl_code command_become_owner(const char *directory, struct fl_error *err)
{
	struct stat st;

	if (geteuid() != 0)
		return FL_OK;
	if (stat(directory, &st) < 0)
		return errno == ENOENT ? FL_OK : FL_FAIL_ERRNO(err, errno, "%s", directory);
	if (st.st_uid != 0 && (setegid(st.st_gid) < 0 || seteuid(st.st_uid) < 0))
		return FL_FAIL_ERRNO(err, errno, "%s belongs to user %u, as whom it is written to",
			directory, (unsigned)st.st_uid);
	return FL_OK;
}

static enum fl_code write_one(const char *directory, const char *name, const char *suffix,
	const char *text, mode_t mode, bool force, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s%s", directory, name, suffix);

	if (path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (!force && access(path, F_OK) == 0)
		return FL_FAIL(
			err, FL_E_EXISTS, "%s is there already; --force overwrites it", path);
	return fl_file_write(path, text, strlen(text), mode, true, err);
}

enum fl_code command_write_pair(const char *directory, const char *name, const struct ca_pair *pair,
	bool force, struct fl_error *err)
{
	FL_TRY(write_one(directory, name, ".key", pair->key, 0600, force, err));
	return write_one(directory, name, ".crt", pair->certificate, 0644, force, err);
}

static enum fl_code collect_addresses(
	const struct fl_strv *given, struct fl_strv *ret_addresses, struct fl_error *err)
{
	static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
	char host[256] = "";

	FL_TRY(fl_strv_copy(ret_addresses, given, err));
	if (gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0' &&
		!fl_strv_has(ret_addresses, host))
		FL_TRY(fl_strv_add(ret_addresses, host, err));
	for (size_t i = 0; i < FL_COUNT(always); i++)
		if (!fl_strv_has(ret_addresses, always[i]))
			FL_TRY(fl_strv_add(ret_addresses, always[i], err));
	return FL_OK;
}

static enum fl_code issue(const struct ca *ca, enum identity_kind kind, const char *name,
	const struct fl_strv *addresses, struct ca_pair *ret_pair, struct fl_error *err)
{
	int64_t not_after = (int64_t)time(NULL) + COMMAND_CERTIFICATE_DAYS * INT64_C(86400);
	struct identity identity = {.kind = kind};

	(void)snprintf(identity.fleet, sizeof(identity.fleet), "%s", ca_fleet(ca));
	(void)snprintf(identity.name, sizeof(identity.name), "%s", name);
	return ca_issue(ca, &identity, addresses, not_after, ret_pair, err);
}

/* The CA's key is written last: it is what makes a fleet, so an init that was interrupted may
 * simply be done again. */
static enum fl_code make_fleet(
	const char *directory, const struct init_options *given, struct fl_error *err)
{
	FL_CLEANUP(ca_freep) struct ca *ca = NULL;
	FL_CLEANUP(ca_pair_fini) struct ca_pair ca_files = {0};
	FL_CLEANUP(ca_pair_fini) struct ca_pair coordinator = {0};
	FL_CLEANUP(ca_pair_fini) struct ca_pair operator= {0};
	FL_CLEANUP(fl_freep) char *operators = fl_printf("%s/operators", directory);
	FL_CLEANUP_STRV struct fl_strv addresses = {0};

	if (operators == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(collect_addresses(&given->address, &addresses, err));
	FL_TRY(ca_create(given->fleet, &ca, &ca_files, err));
	FL_TRY(issue(ca, IDENTITY_COORDINATOR, "", &addresses, &coordinator, err));
	FL_TRY(issue(ca, IDENTITY_OPERATOR, "root", NULL, &operator, err));

	FL_TRY(command_become_owner(directory, err));
	FL_TRY(fl_mkdir_all(directory, 0700, err));
	FL_TRY(fl_mkdir_all(operators, 0700, err));
	FL_TRY(command_write_pair(directory, "coordinator", &coordinator, true, err));
	FL_TRY(command_write_pair(operators, "root", &operator, true, err));
	FL_TRY(write_one(directory, "ca", ".crt", ca_files.certificate, 0644, true, err));
	return write_one(directory, "ca", ".key", ca_files.key, 0600, true, err);
}

static enum fl_code check_new(const char *directory, struct fl_error *err)
{
	static const char *const signs[] = {"ca.key", "store.sqlite"};

	for (size_t i = 0; i < FL_COUNT(signs); i++) {
		FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", directory, signs[i]);

		if (path == NULL)
			return FL_FAIL_NO_MEMORY(err);
		if (access(path, F_OK) == 0)
			return FL_FAIL(err, FL_E_EXISTS,
				"there is a fleet in %s already; a new one needs another --data",
				directory);
		if (errno != ENOENT && errno != ENOTDIR)
			return FL_FAIL_ERRNO(err, errno, "%s", path);
	}
	return FL_OK;
}

static void tell(const char *directory, const char *fleet)
{
	printf("The fleet \"%s\" is in %s:\n"
	       "  ca.crt, ca.key                    the fleet's CA: keep a copy of the key, away "
	       "from here\n"
	       "  coordinator.crt, coordinator.key  this coordinator's certificate\n"
	       "  operators/root.crt, root.key      an operator's certificate, for flotactl on "
	       "other machines\n"
	       "\n"
	       "Next:\n"
	       "  systemctl enable --now flota-coordinator\n"
	       "  flotactl token create    for each machine: it joins with that\n",
		fleet, directory);
}

static enum fl_code init(
	const struct config *config, const struct init_options *given, struct fl_error *err)
{
	const char *directory = given->data != NULL ? given->data : config->data_directory;

	if (given->fleet == NULL)
		return FL_FAIL(err, FL_E_USAGE, "--fleet=NAME is needed");
	FL_TRY(check_new(directory, err));
	FL_TRY(make_fleet(directory, given, err));
	tell(directory, given->fleet);
	return FL_OK;
}

enum fl_code command_init(const struct config *config, int argc, char **argv, struct fl_error *err)
{
	struct init_options given = {0};
	int first = 0;
	enum fl_code code;

	code = fl_options_parse_args(&table, argc, argv, false, &given, &first, err);
	if (code == FL_OK && first < argc)
		code = FL_FAIL(err, FL_E_USAGE, "init takes no \"%s\"", argv[first]);
	if (code == FL_OK)
		code = init(config, &given, err);
	fl_options_fini(&table, &given);
	return code;
}
