#include "cli/ssh.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/strv.h"
#include "cli/connection.h"
#include "cli/dialect.h"
#include "cli/ssh_args.h"
#include "cli/state.h"
#include "unitfiles/name.h"

/* ---- which host ---- */

static bool is_given(const char *option)
{
	return option != NULL && option[0] != '\0';
}

static bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The machine whose ID begins so; NULL: there is none. */
static enum fl_code find_machine(const Pb__MachinesReply *machines, const char *prefix,
	const char **ret_address, struct fl_error *err)
{
	const Pb__Machine *found = NULL;

	for (size_t i = 0; i < machines->n_machines; i++) {
		if (prefix[0] == '\0' || !begins(machines->machines[i]->id, prefix))
			continue;
		if (found != NULL)
			return FL_FAIL(err, FL_E_INVALID,
				"more than one machine's ID begins with \"%s\": %s, %s", prefix,
				found->id, machines->machines[i]->id);
		found = machines->machines[i];
	}
	*ret_address = found != NULL ? found->address : NULL;
	return FL_OK;
}

/* The machine that the unit is on, of several the one whose ID begins with @machine (nullable).
 * NULL: there is no such unit, or it is on no machine. */
static enum fl_code find_unit(const Pb__UnitsReply *units, const char *machine,
	const char **ret_address, struct fl_error *err)
{
	const char *address = NULL;
	size_t n = 0;

	for (size_t i = 0; units->n_units > 0 && i < units->units[0]->n_placements; i++) {
		const Pb__Placement *placement = units->units[0]->placements[i];

		if (machine != NULL && !begins(placement->machine_id, machine))
			continue;
		address = placement->address;
		n++;
	}
	if (n > 1)
		return FL_FAIL(err, FL_E_INVALID,
			"%s is on %zu machines; choose one with --machine=ID",
			units->units[0]->name, n);
	*ret_address = address;
	return FL_OK;
}

static enum fl_code ask_unit(struct connection *connection, const char *unit, const char *machine,
	char **ret_address, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	const char *address = NULL;
	char name[UNIT_NAME_MAX + 1];
	char *names = name;

	FL_TRY(unit_name_from_argument(unit, name, err));
	FL_TRY(connection_units(connection, &names, 1, false, &reply, err));
	FL_TRY(find_unit(reply->units_reply, machine, &address, err));
	*ret_address = address != NULL ? fl_strdup(address) : NULL;
	return address == NULL || *ret_address != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code ask_machine(
	struct connection *connection, const char *prefix, char **ret_address, struct fl_error *err)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *reply = NULL;
	const char *address = NULL;

	FL_TRY(connection_machines(connection, &reply, err));
	FL_TRY(find_machine(reply->machines_reply, prefix, &address, err));
	*ret_address = address != NULL ? fl_strdup(address) : NULL;
	return address == NULL || *ret_address != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* One word that is a machine's or a unit's, but not both. */
static enum fl_code ask_either(
	struct connection *connection, const char *word, char **ret_address, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *machine = NULL, *unit = NULL;
	struct fl_error ignored = {0};

	FL_TRY(ask_machine(connection, word, &machine, err));
	/* That the word can be no unit's name is no error here. */
	if (ask_unit(connection, word, NULL, &unit, &ignored) != FL_OK && machine == NULL)
		return FL_FAIL(err, ignored.code, "%s", ignored.text);
	if (machine != NULL && unit != NULL)
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is both a machine and a unit; say which with --machine=%s or "
			"--unit=%s",
			word, word, word);
	*ret_address = machine != NULL ? FL_TAKE(machine) : FL_TAKE(unit);
	return FL_OK;
}

static enum fl_code find_host(
	const struct command *command, size_t *ret_n_used, char **ret_address, struct fl_error *err)
{
	FL_CLEANUP(connection_closep) struct connection *connection = NULL;
	FL_CLEANUP(fl_freep) char *address = NULL;
	const struct cli_options *options = command->options;
	const char *given = NULL;

	*ret_n_used = 0;
	if (!is_given(options->machine) && !is_given(options->unit)) {
		if (command->n_args == 0)
			return DIALECT_FAIL(err, TEXT_NO_HOST);
		*ret_n_used = 1;
	}
	FL_TRY(connection_open(options, &connection, err));
	if (is_given(options->unit)) {
		given = options->unit;
		FL_TRY(ask_unit(connection, given, options->machine, &address, err));
	} else if (is_given(options->machine)) {
		given = options->machine;
		FL_TRY(ask_machine(connection, given, &address, err));
	} else {
		given = command->args[0];
		FL_TRY(ask_either(connection, given, &address, err));
	}
	if (address == NULL)
		return DIALECT_FAIL(err, TEXT_NO_SUCH_HOST, given);
	if (address[0] == '\0')
		return FL_FAIL(err, FL_E_STATE, "the address of \"%s\" is not known", given);
	*ret_address = FL_TAKE(address);
	return FL_OK;
}

/* ---- ssh ---- */

enum fl_code verb_ssh(struct command *command, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *address = NULL;
	FL_CLEANUP_STRV struct fl_strv args = {0};
	size_t n_used = 0;

	FL_TRY(find_host(command, &n_used, &address, err));
	FL_TRY(ssh_args(command->options, &args, err));
	FL_TRY(fl_strv_add(&args, "--", err));
	FL_TRY(fl_strv_add(&args, address, err));
	for (size_t i = n_used; i < command->n_args; i++)
		FL_TRY(fl_strv_add(&args, command->args[i], err));
	(void)fflush(stdout);
	(void)execvp(args.items[0], args.items);
	return FL_FAIL_ERRNO(err, errno, "cannot run ssh(1)");
}

/* ---- fd-forward ---- */

static enum fl_code connect_to(const char *path, int *ret_fd, struct fl_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	enum fl_code code;
	int fd;

	if (len >= sizeof(address.sun_path))
		return FL_FAIL(err, FL_E_INVALID, "%s: longer than a socket's path may be", path);
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return FL_FAIL_ERRNO(err, errno, "socket");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
		*ret_fd = fd;
		return FL_OK;
	}
	code = FL_FAIL_ERRNO(err, errno, "%s", path);
	(void)close(fd);
	return code;
}

static enum fl_code write_all(int fd, const char *data, size_t n, struct fl_error *err)
{
	while (n > 0) {
		ssize_t written = write(fd, data, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return FL_FAIL_ERRNO(err, errno, "write");
		data += written;
		n -= (size_t)written;
	}
	return FL_OK;
}

/* What is there to read goes from one to the other; *ret_ended at its end. */
static enum fl_code pass(int from, int to, bool *ret_ended, struct fl_error *err)
{
	char data[65536];
	ssize_t n = read(from, data, sizeof(data));

	if (n < 0 && errno != EINTR)
		return FL_FAIL_ERRNO(err, errno, "read");
	if (n == 0)
		*ret_ended = true;
	return n > 0 ? write_all(to, data, (size_t)n, err) : FL_OK;
}

/* Both ways, each until its end: the socket's ends the whole. */
static enum fl_code forward(int sock, struct fl_error *err)
{
	bool input_ended = false, socket_ended = false;

	while (!socket_ended) {
		struct pollfd fds[] = {{.fd = input_ended ? -1 : STDIN_FILENO, .events = POLLIN},
			{.fd = sock, .events = POLLIN}};

		if (poll(fds, FL_COUNT(fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			return FL_FAIL_ERRNO(err, errno, "poll");
		}
		if (fds[1].revents != 0)
			FL_TRY(pass(sock, STDOUT_FILENO, &socket_ended, err));
		if (fds[0].revents != 0 && !socket_ended) {
			FL_TRY(pass(STDIN_FILENO, sock, &input_ended, err));
			if (input_ended)
				(void)shutdown(sock, SHUT_WR);
		}
	}
	return FL_OK;
}

enum fl_code verb_fd_forward(struct command *command, struct fl_error *err)
{
	enum fl_code code;
	int sock = -1;

	FL_TRY(connect_to(command->args[0], &sock, err));
	code = forward(sock, err);
	(void)close(sock);
	return code;
}
