#include "coordinator/https.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libwebsockets.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/option.h"
#include "base/random.h"
#include "coordinator/https_path.h"

#define HEADER_BYTES  4096U
#define PIECE_BYTES   16384U /* of a file, in one TLS record */
#define ADDRESS_SLOTS 4096U
#define OWN_FDS       16U /* of libwebsockets: it listens, and is woken */

struct https {
	struct lws_context *context;
	struct lws_vhost *vhost;
	SSL_CTX *tls; /* the vhost's */
	pthread_t thread;
	atomic_bool stopping, reloading;
	char *certificate, *key;
	int directory_fd;
	uint16_t port;

	/* Of the thread alone. */
	unsigned n_peers;
	uint64_t seed; /* so that nobody chooses who shares a slot with him */
	uint16_t n_by_address[ADDRESS_SLOTS];
};

/* A request, zeroed by libwebsockets. */
struct answer {
	bool is_open; /* there is a file to send */
	int fd;
	uint64_t sent, size;
	uint64_t until_ms;
};

enum fl_code https_parse_listen(
	const char *text, char **ret_address, uint16_t *ret_port, struct fl_error *err)
{
	const char *colon = strrchr(text, ':');
	const char *end = colon, *address = text;
	char *copy = NULL;
	uint64_t port;

	if (fl_parse_uint(colon != NULL ? colon + 1 : text, &port, NULL) != FL_OK ||
		port > UINT16_MAX || colon == text)
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is not [ADDRESS:]PORT", text);
	if (colon != NULL) {
		if (*address == '[' && end[-1] == ']') {
			address++;
			end--;
		}
		copy = fl_printf("%.*s", (int)(end - address), address);
		if (copy == NULL)
			return FL_FAIL_NO_MEMORY(err);
	}
	*ret_address = copy;
	*ret_port = (uint16_t)port;
	return FL_OK;
}

/* ---- How many there are ------------------------------------------------------------------- */

/* The slot of a peer's address; SIZE_MAX: it is gone. */
static size_t slot_of(const struct https *https, int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);
	uint64_t hash = https->seed;
	uint8_t bytes[8] = {0};

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return SIZE_MAX;
	if (peer.ss_family == AF_INET6)
		memcpy(bytes, &((const struct sockaddr_in6 *)&peer)->sin6_addr, sizeof(bytes));
	else
		memcpy(bytes, &((const struct sockaddr_in *)&peer)->sin_addr,
			sizeof(struct in_addr));
	for (size_t i = 0; i < sizeof(bytes); i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return (size_t)((hash >> 32) % ADDRESS_SLOTS);
}

static bool has_room(const struct https *https, int fd)
{
	size_t slot = slot_of(https, fd);

	return slot != SIZE_MAX && https->n_peers < HTTPS_PEERS_MAX &&
	       https->n_by_address[slot] < HTTPS_PEERS_PER_ADDRESS;
}

/* The connection remembers its slot, plus one: 0 is "not counted". */
static bool peer_came(struct https *https, struct lws *wsi)
{
	size_t slot = slot_of(https, lws_get_socket_fd(wsi));

	if (slot == SIZE_MAX)
		return false;
	https->n_peers++;
	https->n_by_address[slot]++;
	lws_set_opaque_user_data(wsi, (void *)(uintptr_t)(slot + 1));
	return true;
}

static void peer_left(struct https *https, struct lws *wsi)
{
	uintptr_t slot = (uintptr_t)lws_get_opaque_user_data(wsi);

	if (slot == 0)
		return;
	https->n_peers--;
	https->n_by_address[slot - 1]--;
	lws_set_opaque_user_data(wsi, NULL);
}

/* ---- Answers ------------------------------------------------------------------------------ */

static void answer_end(struct answer *answer)
{
	if (answer->is_open)
		(void)close(answer->fd);
	*answer = (struct answer){0};
}

struct file {
	uint64_t size;
	char tag[64]; /* ETag: another one when it has changed */
};

/* Opens "VERSION/ARCH/FILE" name by name, none of which may be a link. Since https_path() has checked
 * the names, this leads nowhere else. (openat2(2) would do it at once, but RestrictSUIDSGID= takes it
 * away.) */
static int open_names(int folder_fd, char *path)
{
	int fd = folder_fd;

	for (char *name = path, *slash; fd >= 0; name = slash + 1) {
		int flags = O_PATH | O_DIRECTORY, next;

		slash = strchr(name, '/');
		if (slash != NULL)
			*slash = '\0';
		else
			flags = O_RDONLY | O_NONBLOCK;
		next = openat(fd, name, flags | O_CLOEXEC | O_NOFOLLOW);
		if (fd != folder_fd)
			(void)close(fd);
		if (slash == NULL)
			return next;
		fd = next;
	}
	return fd;
}

/* Nothing but regular files below the folder, whatever links lie there. */
static int open_below(const struct https *https, char *path, struct file *ret_file)
{
	int fd = open_names(https->directory_fd, path);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return -1;
	}
	ret_file->size = (uint64_t)st.st_size;
	(void)snprintf(ret_file->tag, sizeof(ret_file->tag), "\"%" PRIx64 "-%" PRIx64 "%09lx\"",
		ret_file->size, (uint64_t)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
	return fd;
}

/* The head of an answer; 0, or -1 to end the connection. */
static int write_head(
	struct lws *wsi, unsigned status, const char *type, uint64_t size, const char *tag)
{
	unsigned char buffer[LWS_PRE + 1024];
	unsigned char *at = buffer + LWS_PRE, *end = buffer + sizeof(buffer) - 1;

	if (lws_add_http_common_headers(wsi, status, type, size, &at, end) != 0)
		return -1;
	if (tag != NULL && lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_ETAG,
				   (const unsigned char *)tag, (int)strlen(tag), &at, end) != 0)
		return -1;
	return lws_finalize_write_http_header(wsi, buffer + LWS_PRE, &at, end) != 0 ? -1 : 0;
}

/* A short answer, and the next request may come. */
static int write_text(struct lws *wsi, unsigned status, const char *text, bool head_only)
{
	unsigned char buffer[LWS_PRE + 64];
	size_t len = strlen(text);

	if (write_head(wsi, status, "text/plain", len, NULL) != 0)
		return -1;
	memcpy(buffer + LWS_PRE, text, len);
	if (!head_only && lws_write(wsi, buffer + LWS_PRE, len, LWS_WRITE_HTTP_FINAL) < 0)
		return -1;
	return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int begin_file(
	const struct https *https, struct lws *wsi, struct answer *answer, char *path, bool head)
{
	struct file file;
	int fd = open_below(https, path, &file);

	if (fd < 0)
		return write_text(wsi, HTTP_STATUS_NOT_FOUND, "not found\n", head);
	if (head || file.size == 0) {
		(void)close(fd);
		if (write_head(wsi, HTTP_STATUS_OK, "application/octet-stream", file.size,
			    file.tag) != 0)
			return -1;
		return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
	}
	*answer = (struct answer){.is_open = true,
		.fd = fd,
		.size = file.size,
		.until_ms = fl_clock_boot_ms() + HTTPS_TRANSFER_S * 1000U};
	if (write_head(wsi, HTTP_STATUS_OK, "application/octet-stream", file.size, file.tag) != 0)
		return -1;
	lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, HTTPS_IDLE_S);
	return lws_callback_on_writable(wsi) < 0 ? -1 : 0;
}

/* The next piece, now that there is room for it. A file that shrank meanwhile ends the connection:
 * its peer sees that something is missing. */
static int send_piece(struct lws *wsi, struct answer *answer)
{
	unsigned char buffer[LWS_PRE + PIECE_BYTES];
	uint64_t left = answer->size - answer->sent;
	size_t wanted = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
	ssize_t n;

	if (!answer->is_open)
		return 0;
	if (fl_clock_boot_ms() > answer->until_ms)
		return -1;
	n = pread(answer->fd, buffer + LWS_PRE, wanted, (off_t)answer->sent);
	if (n <= 0)
		return -1;
	answer->sent += (uint64_t)n;
	if (lws_write(wsi, buffer + LWS_PRE, (size_t)n,
		    answer->sent < answer->size ? LWS_WRITE_HTTP : LWS_WRITE_HTTP_FINAL) < n)
		return -1;
	if (answer->sent == answer->size) {
		answer_end(answer);
		return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
	}
	lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, HTTPS_IDLE_S);
	return lws_callback_on_writable(wsi) < 0 ? -1 : 0;
}

static int answer_request(const struct https *https, struct lws *wsi, struct answer *answer,
	const char *uri, size_t len)
{
	char path[HTTPS_PATH_MAX], *unused_uri;
	int unused_len;
	int method = lws_http_get_uri_and_method(wsi, &unused_uri, &unused_len);
	bool head = method == LWSHUMETH_HEAD;

	answer_end(answer);
	if (method != LWSHUMETH_GET && !head) {
		/* What it may send behind its head is not waited for. */
		(void)write_text(wsi, HTTP_STATUS_METHOD_NOT_ALLOWED, "GET or HEAD\n", false);
		return -1;
	}
	switch (https_path(uri, len, path)) {
	case HTTPS_HEALTH:
		return write_text(wsi, HTTP_STATUS_OK, "ok\n", head);
	case HTTPS_AGENT:
		return begin_file(https, wsi, answer, path, head);
	case HTTPS_NOTHING:
		break;
	}
	return write_text(wsi, HTTP_STATUS_NOT_FOUND, "not found\n", head);
}

/* ---- libwebsockets ------------------------------------------------------------------------ */

static void reload(struct https *https)
{
	if (SSL_CTX_use_certificate_chain_file(https->tls, https->certificate) != 1 ||
		SSL_CTX_use_PrivateKey_file(https->tls, https->key, SSL_FILETYPE_PEM) != 1)
		fl_log(FL_ERROR, "https.reload", "certificate=%s key=%s", https->certificate,
			https->key);
	else
		fl_log(FL_INFO, "https.reloaded", "certificate=%s", https->certificate);
}

/* Other than 0 ends the connection, or refuses it. */
static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct https *https = lws_context_user(lws_get_context(wsi));

	/* There are a hundred more, of which libwebsockets says what to do. */
	switch ((int)reason) {
	case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
		https->tls = user;
		return 0;
	case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
		if (atomic_exchange(&https->reloading, false))
			reload(https);
		return 0;
	case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
		return has_room(https, (int)(intptr_t)in) ? 0 : 1;
	case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
		return peer_came(https, wsi) ? 0 : 1;
	case LWS_CALLBACK_WSI_DESTROY:
		peer_left(https, wsi);
		return 0;
	case LWS_CALLBACK_HTTP:
		return answer_request(https, wsi, user, in, len);
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return send_piece(wsi, user);
	case LWS_CALLBACK_HTTP_BODY:
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
	case LWS_CALLBACK_HTTP_FILE_COMPLETION:
		return -1;
	case LWS_CALLBACK_CLOSED_HTTP:
	case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
		if (user != NULL)
			answer_end(user);
		return 0;
	default:
		return lws_callback_http_dummy(wsi, reason, user, in, len);
	}
}

static void *run(void *userdata)
{
	struct https *https = userdata;

	while (!atomic_load(&https->stopping))
		if (lws_service(https->context, 0) < 0) {
			fl_log(FL_ERROR, "https.ended", "port=%u", (unsigned)https->port);
			break;
		}
	return NULL;
}

/* ---- Life --------------------------------------------------------------------------------- */

static void https_free(struct https *https)
{
	if (https->context != NULL)
		lws_context_destroy(https->context);
	if (https->directory_fd >= 0)
		(void)close(https->directory_fd);
	free(https->certificate);
	free(https->key);
	free(https);
}
FL_DEFINE_CLEANUP(struct https *, https_free)

static enum fl_code listen_on(
	struct https *https, const struct https_config *config, struct fl_error *err)
{
	static const struct lws_protocols protocols[] = {
		{.name = "http",
			.callback = on_event,
			.per_session_data_size = sizeof(struct answer)},
		{.name = NULL},
	};
	bool is_ipv6 = config->address != NULL && strchr(config->address, ':') != NULL;
	struct lws_context_creation_info info = {
		.port = config->port,
		.iface = config->address,
		.protocols = protocols,
		.vhost_name = "flota",
		.server_string = "flota",
		.ssl_cert_filepath = https->certificate,
		.ssl_private_key_filepath = https->key,
		.ssl_options_set = SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 |
				   SSL_OP_NO_RENEGOTIATION,
		.alpn = "http/1.1",
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
			   LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME |
			   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
			   (is_ipv6 ? 0U : LWS_SERVER_OPTION_DISABLE_IPV6),
		.max_http_header_data = HEADER_BYTES,
		.max_http_header_pool = HTTPS_PEERS_MAX,
		.fd_limit_per_thread = HTTPS_PEERS_MAX + OWN_FDS,
		.pt_serv_buf_size = HEADER_BYTES,
		.timeout_secs = HTTPS_IDLE_S,
		.timeout_secs_ah_idle = HTTPS_IDLE_S,
		.keepalive_timeout = HTTPS_IDLE_S,
		.user = https,
	};

	/* A peer can make it say much; what matters is said here. */
	lws_set_log_level(0, NULL);
	https->context = lws_create_context(&info);
	if (https->context == NULL)
		return FL_FAIL_NO_MEMORY(err);
	https->vhost = lws_create_vhost(https->context, &info);
	if (https->vhost == NULL || https->tls == NULL)
		return FL_FAIL(err, FL_E_UNAVAILABLE,
			"https: cannot listen on %s:%u with %s: is the port taken?",
			config->address != NULL ? config->address : "*", (unsigned)config->port,
			config->certificate);
	https->port = (uint16_t)lws_get_vhost_listen_port(https->vhost);
	return FL_OK;
}

enum fl_code https_open(
	struct https **ret_https, const struct https_config *config, struct fl_error *err)
{
	FL_CLEANUP(https_freep) struct https *https = FL_NEW(struct https);
	sigset_t all, before;
	int failed;

	if (https == NULL)
		return FL_FAIL_NO_MEMORY(err);
	https->directory_fd = open(config->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (https->directory_fd < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", config->directory);
	https->certificate = fl_strdup(config->certificate);
	https->key = fl_strdup(config->key);
	if (https->certificate == NULL || https->key == NULL)
		return FL_FAIL_NO_MEMORY(err);
	https->seed = fl_random_id();
	FL_TRY(listen_on(https, config, err));
	/* Signals are the daemon's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&https->thread, NULL, run, https);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0)
		return FL_FAIL_ERRNO(err, failed, "https: its thread");
	*ret_https = FL_TAKE(https);
	return FL_OK;
}

void https_close(struct https *https)
{
	if (https == NULL)
		return;
	atomic_store(&https->stopping, true);
	lws_cancel_service(https->context);
	(void)pthread_join(https->thread, NULL);
	https_free(https);
}

uint16_t https_port(const struct https *https)
{
	return https->port;
}

void https_reload(struct https *https)
{
	atomic_store(&https->reloading, true);
	lws_cancel_service(https->context);
}
