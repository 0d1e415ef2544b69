#include "cli/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strv.h"
#include "cli/endpoint.h"
#include "cli/ssh_args.h"

struct tunnel {
	char folder[32];
	char *url, *socket; /* the same path */
	pid_t ssh; /* 0: not running */
};

const char *tunnel_url(const struct tunnel *tunnel)
{
	return tunnel->url;
}

void tunnel_close(struct tunnel *tunnel)
{
	if (tunnel == NULL)
		return;
	if (tunnel->ssh > 0) {
		(void)kill(tunnel->ssh, SIGTERM);
		while (waitpid(tunnel->ssh, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (tunnel->socket != NULL)
		(void)unlink(tunnel->socket);
	if (tunnel->folder[0] != '\0')
		(void)rmdir(tunnel->folder);
	free(tunnel->socket);
	free(tunnel->url);
	free(tunnel);
}

/* Where the socket is on the other machine. */
static const char *remote_socket(const struct cli_options *options)
{
	static const char *const schemes[] = {"unix://", "ipc://"};
	const char *endpoint = options->endpoint != NULL ? options->endpoint : "";

	for (size_t i = 0; i < FL_COUNT(schemes); i++)
		if (strncmp(endpoint, schemes[i], strlen(schemes[i])) == 0)
			return endpoint + strlen(schemes[i]);
	return ENDPOINT_LOCAL_SOCKET;
}

/* HOST, HOST:PORT, [HOST]:PORT. */
static enum fl_code split_host(
	const char *text, char **ret_host, const char **ret_port, struct fl_error *err)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon != NULL ? (size_t)(colon - text) : strlen(text);

	/* Two colons and no bracket: an IPv6 address alone. */
	if (colon != NULL && text[0] != '[' && strchr(text, ':') != colon) {
		colon = NULL;
		n = strlen(text);
	}
	if (text[0] == '[' && n > 2 && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	*ret_port = colon != NULL ? colon + 1 : NULL;
	*ret_host = fl_printf("%.*s", (int)n, text);
	return *ret_host != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* ssh's local command tells that the socket is there: it runs after that. */
static enum fl_code make_args(const struct tunnel *tunnel, const struct cli_options *options,
	struct fl_strv *args, struct fl_error *err)
{
	static const char *const fixed[] = {"-n", "-N", "-T", "-o", "ExitOnForwardFailure=yes",
		"-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready", "-L"};
	FL_CLEANUP(fl_freep) char *host = NULL, *sockets = NULL;
	const char *port;

	FL_TRY(split_host(options->tunnel, &host, &port, err));
	sockets = fl_printf("%s:%s", tunnel->socket, remote_socket(options));
	if (sockets == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(ssh_args(options, args, err));
	for (size_t i = 0; i < FL_COUNT(fixed); i++)
		FL_TRY(fl_strv_add(args, fixed[i], err));
	FL_TRY(fl_strv_add(args, sockets, err));
	if (port != NULL) {
		FL_TRY(fl_strv_add(args, "-p", err));
		FL_TRY(fl_strv_add(args, port, err));
	}
	FL_TRY(fl_strv_add(args, "--", err));
	return fl_strv_add(args, host, err);
}

static enum fl_code run_ssh(struct tunnel *tunnel, char **args, int *ret_fd, struct fl_error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return FL_FAIL_ERRNO(err, errno, "pipe");
	tunnel->ssh = fork();
	if (tunnel->ssh == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(fds[1], STDOUT_FILENO);
		(void)execvp(args[0], args);
		_exit(127);
	}
	(void)close(fds[1]);
	*ret_fd = fds[0];
	if (tunnel->ssh > 0)
		return FL_OK;
	tunnel->ssh = 0;
	(void)close(fds[0]);
	return FL_FAIL_ERRNO(err, errno, "fork");
}

enum fl_code tunnel_open(
	const struct cli_options *options, struct tunnel **ret_tunnel, struct fl_error *err)
{
	FL_CLEANUP(tunnel_closep) struct tunnel *tunnel = NULL;
	FL_CLEANUP_STRV struct fl_strv args = {0};
	int fd = -1;
	ssize_t n;
	char byte;

	*ret_tunnel = NULL;
	if (options->tunnel == NULL || options->tunnel[0] == '\0')
		return FL_OK;
	tunnel = FL_NEW(struct tunnel);
	if (tunnel == NULL)
		return FL_FAIL_NO_MEMORY(err);
	strcpy(tunnel->folder, "/tmp/flota-tunnel-XXXXXX");
	if (mkdtemp(tunnel->folder) == NULL) {
		tunnel->folder[0] = '\0';
		return FL_FAIL_ERRNO(err, errno, "/tmp");
	}
	tunnel->socket = fl_printf("%s/socket", tunnel->folder);
	tunnel->url = fl_printf("ipc://%s/socket", tunnel->folder);
	if (tunnel->socket == NULL || tunnel->url == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(make_args(tunnel, options, &args, err));
	FL_TRY(run_ssh(tunnel, args.items, &fd, err));
	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	(void)close(fd);
	if (n <= 0)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "no tunnel to %s by ssh", options->tunnel);
	*ret_tunnel = FL_TAKE(tunnel);
	return FL_OK;
}
