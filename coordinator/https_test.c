/* The HTTPS server: what its URLs mean, and the server itself, spoken to through OpenSSL. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "base/file.h"
#include "base/memory.h"
#include "coordinator/ca.h"
#include "coordinator/https.h"
#include "coordinator/https_path.h"

#define FILE_BYTES 100000U

/* ---- URLs -- */

static void test_paths(void **state)
{
	static const struct {
		const char *uri;
		enum https_target target;
		const char *path;
	} table[] = {
		{"/healthz", HTTPS_HEALTH, NULL},
		{"/healthz/", HTTPS_NOTHING, NULL},
		{"/agents/0.1.0/x86_64/flota-agent", HTTPS_AGENT, "0.1.0/x86_64/flota-agent"},
		{"/agents/1.0~rc1+b-2/aarch64/flota-agent.sig", HTTPS_AGENT,
			"1.0~rc1+b-2/aarch64/flota-agent.sig"},
		{"", HTTPS_NOTHING, NULL},
		{"/", HTTPS_NOTHING, NULL},
		{"/agents", HTTPS_NOTHING, NULL},
		{"/agents/", HTTPS_NOTHING, NULL},
		{"/agents/1.0", HTTPS_NOTHING, NULL},
		{"/agents/1.0/", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/flota-agent/", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/a/b", HTTPS_NOTHING, NULL},
		{"/agents//x86_64/flota-agent", HTTPS_NOTHING, NULL},
		{"/agents/../ca.key/x", HTTPS_NOTHING, NULL},
		{"/agents/1.0/../ca.key", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/..", HTTPS_NOTHING, NULL},
		{"/agents/./x86_64/flota-agent", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/.upload", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/%2e%2e", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/a\\b", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/a b", HTTPS_NOTHING, NULL},
		{"/agents/1.0/x86_64/a\n", HTTPS_NOTHING, NULL},
		{"//agents/1.0/x86_64/flota-agent", HTTPS_NOTHING, NULL},
		{"agents/1.0/x86_64/flota-agent", HTTPS_NOTHING, NULL},
	};
	char path[HTTPS_PATH_MAX], uri[2 * HTTPS_PATH_MAX];

	(void)state;
	for (size_t i = 0; i < FL_COUNT(table); i++) {
		enum https_target target = https_path(table[i].uri, strlen(table[i].uri), path);

		if (target != table[i].target ||
			(table[i].path != NULL && strcmp(path, table[i].path) != 0))
			fail_msg("%s is %d", table[i].uri, (int)target);
	}
	assert_int_equal(https_path("/agents/1\0/x86_64/a", 19, path), HTTPS_NOTHING);
	(void)snprintf(uri, sizeof(uri), "/agents/1/x86_64/%0*d", HTTPS_PATH_MAX - 9, 0);
	assert_int_equal(https_path(uri, strlen(uri) - 1, path), HTTPS_AGENT);
	assert_int_equal(strlen(path), HTTPS_PATH_MAX - 1);
	assert_int_equal(https_path(uri, strlen(uri), path), HTTPS_NOTHING);
}

static void test_listen(void **state)
{
	static const struct {
		const char *text, *address;
		int port; /* negative: it is refused */
	} table[] = {
		{"7442", NULL, 7442},
		{"10.0.0.1:7442", "10.0.0.1", 7442},
		{"[::1]:0", "::1", 0},
		{"", NULL, -1},
		{":7442", NULL, -1},
		{"65536", NULL, -1},
		{"10.0.0.1", NULL, -1},
		{"host:", NULL, -1},
		{"host:12a", NULL, -1},
	};

	(void)state;
	for (size_t i = 0; i < FL_COUNT(table); i++) {
		FL_CLEANUP(fl_freep) char *address = NULL;
		uint16_t port = 0;
		enum fl_code code = https_parse_listen(table[i].text, &address, &port, NULL);

		assert_int_equal(code, table[i].port < 0 ? FL_E_INVALID : FL_OK);
		if (table[i].port < 0)
			continue;
		assert_int_equal(port, table[i].port);
		if (table[i].address == NULL)
			assert_null(address);
		else
			assert_string_equal(address, table[i].address);
	}
}

/* ---- The server -- */

struct stage {
	char directory[64];
	char file[FILE_BYTES];
	struct https *https;
};

static void write_file(const struct stage *stage, const char *name, const void *data, size_t len)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/%s", stage->directory, name);

	assert_int_equal(fl_file_write(path, data, len, 0600, false, NULL), FL_OK);
}

static void make_certificate(const struct stage *stage)
{
	struct identity identity = {.kind = IDENTITY_COORDINATOR, .fleet = "test"};
	FL_CLEANUP(ca_pair_fini) struct ca_pair own = {0}, leaf = {0};
	FL_CLEANUP(ca_freep) struct ca *ca = NULL;
	FL_CLEANUP_STRV struct fl_strv addresses = {0};

	assert_int_equal(ca_create("test", &ca, &own, NULL), FL_OK);
	assert_int_equal(fl_strv_add(&addresses, "127.0.0.1", NULL), FL_OK);
	assert_int_equal(
		ca_issue(ca, &identity, &addresses, (int64_t)time(NULL) + 3600, &leaf, NULL),
		FL_OK);
	write_file(stage, "ca.crt", own.certificate, strlen(own.certificate));
	write_file(stage, "own.crt", leaf.certificate, strlen(leaf.certificate));
	write_file(stage, "own.key", leaf.key, strlen(leaf.key));
}

static int setup(void **state)
{
	struct stage *stage = FL_NEW(struct stage);
	FL_CLEANUP(fl_freep) char *certificate = NULL, *key = NULL, *agents = NULL, *folder = NULL;
	struct https_config config = {.address = "127.0.0.1"};
	struct fl_error err = {0};

	assert_non_null(stage);
	(void)snprintf(stage->directory, sizeof(stage->directory), "/tmp/https_test.XXXXXX");
	assert_non_null(mkdtemp(stage->directory));
	config.certificate = certificate = fl_printf("%s/own.crt", stage->directory);
	config.key = key = fl_printf("%s/own.key", stage->directory);
	config.directory = agents = fl_printf("%s/agents", stage->directory);
	folder = fl_printf("%s/1.0/x86_64/folder", agents);
	assert_int_equal(fl_mkdir_all(folder, 0700, NULL), FL_OK);
	for (size_t i = 0; i < FILE_BYTES; i++)
		stage->file[i] = (char)(i * 7 + i / 251);
	write_file(stage, "agents/1.0/x86_64/flota-agent", stage->file, FILE_BYTES);
	write_file(stage, "agents/1.0/x86_64/empty", "", 0);
	make_certificate(stage);
	if (https_open(&stage->https, &config, &err) != FL_OK)
		fail_msg("%s", err.text);
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;
	FL_CLEANUP(fl_freep) char *remove = fl_printf("rm -r %s", stage->directory);

	https_close(stage->https);
	assert_int_equal(system(remove), 0); /* NOLINT(cert-env33-c): a path of our own */
	free(stage);
	return 0;
}

static int connect_to(const struct stage *stage)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(https_port(stage->https)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Says this over TLS of at most @version (0: any) and takes what comes until the end, as a text;
 * NULL: there was no handshake. */
static char *say(const struct stage *stage, int version, const char *text, size_t *ret_len)
{
	FL_CLEANUP(fl_freep) char *ca = fl_printf("%s/ca.crt", stage->directory);
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	size_t size = 2 * FILE_BYTES, len = 0;
	char *said = malloc(size + 1);
	int fd = connect_to(stage), n;
	SSL *ssl;

	assert_non_null(said);
	assert_int_equal(SSL_CTX_load_verify_locations(context, ca, NULL), 1);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	assert_int_equal(SSL_CTX_set_max_proto_version(context, version), 1);
	ssl = SSL_new(context);
	assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), "127.0.0.1"), 1);
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	if (SSL_connect(ssl) == 1) {
		assert_int_equal(SSL_write(ssl, text, (int)strlen(text)), strlen(text));
		while (len < size && (n = SSL_read(ssl, said + len, (int)(size - len))) > 0)
			len += (size_t)n;
		said[len] = '\0';
	} else {
		free(FL_TAKE(said));
	}
	SSL_free(ssl);
	SSL_CTX_free(context);
	(void)close(fd);
	if (ret_len != NULL)
		*ret_len = len;
	return said;
}

#define REQUEST(line) line " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static void check(const struct stage *stage, const char *request, const char *first_line)
{
	FL_CLEANUP(fl_freep) char *said = say(stage, 0, request, NULL);

	assert_non_null(said);
	if (strncmp(said, first_line, strlen(first_line)) != 0)
		fail_msg("%s: %s", request, said);
	assert_null(strstr(said, "PRIVATE KEY"));
}

static void test_files(void **state)
{
	const struct stage *stage = *state;
	FL_CLEANUP(fl_freep) char *health = say(stage, 0, REQUEST("GET /healthz"), NULL);
	FL_CLEANUP(fl_freep) char *head = NULL, *file = NULL;
	const char *body;
	size_t len;

	assert_non_null(health);
	assert_non_null(strstr(health, "200 OK\r\n"));
	assert_non_null(strstr(health, "\r\n\r\nok\n"));
	file = say(stage, 0, REQUEST("GET /agents/1.0/x86_64/flota-agent"), &len);
	assert_non_null(file);
	assert_non_null(strstr(file, "content-length: 100000\r\n"));
	body = strstr(file, "\r\n\r\n") + 4;
	assert_int_equal(len - (size_t)(body - file), FILE_BYTES);
	assert_memory_equal(body, stage->file, FILE_BYTES);
	head = say(stage, 0, REQUEST("HEAD /agents/1.0/x86_64/flota-agent"), &len);
	assert_non_null(head);
	assert_non_null(strstr(head, "content-length: 100000\r\n"));
	assert_non_null(strstr(head, "etag: \"186a0-"));
	assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
	check(stage, REQUEST("GET /agents/1.0/x86_64/empty"), "HTTP/1.1 200");
}

static void test_nothing_else(void **state)
{
	const struct stage *stage = *state;
	FL_CLEANUP(fl_freep)
	char *file = fl_printf("%s/agents/1.0/x86_64/link", stage->directory);
	FL_CLEANUP(fl_freep) char *folder = fl_printf("%s/agents/2.0", stage->directory);
	FL_CLEANUP(fl_freep) char *fifo = fl_printf("%s/agents/1.0/x86_64/fifo", stage->directory);

	assert_int_equal(symlink("../../../own.key", file), 0);
	assert_int_equal(symlink("1.0", folder), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	check(stage, REQUEST("GET /"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/1.0/x86_64/"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/1.0/x86_64/folder"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/1.0/x86_64/fifo"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/1.0/x86_64/link"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/2.0/x86_64/flota-agent"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/../own.key"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/1.0/x86_64/../../../own.key"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/1.0/%2e%2e/own.key"), "HTTP/1.1 404");
	check(stage, REQUEST("GET /agents/%2e%2e%2fown.key"), "HTTP/1.1 404");
	check(stage, REQUEST("POST /healthz"), "HTTP/1.1 405");
	check(stage, REQUEST("DELETE /agents/1.0/x86_64/flota-agent"), "HTTP/1.1 405");
}

static void test_old_tls_is_refused(void **state)
{
	assert_null(say(*state, TLS1_1_VERSION, REQUEST("GET /healthz"), NULL));
}

static void test_new_certificate(void **state)
{
	const struct stage *stage = *state;

	make_certificate(stage); /* of another CA: only it is good for the client now */
	assert_null(say(stage, 0, REQUEST("GET /healthz"), NULL));
	https_reload(stage->https);
	for (;;) {
		FL_CLEANUP(fl_freep) char *said = say(stage, 0, REQUEST("GET /healthz"), NULL);

		if (said != NULL)
			break;
	}
}

/* Those that say nothing take no more than their share, and go when they have waited. */
static void test_idle_peers(void **state)
{
	const struct stage *stage = *state;
	int fds[HTTPS_PEERS_PER_ADDRESS + 10];
	unsigned refused = 0;
	char byte;

	for (size_t i = 0; i < FL_COUNT(fds); i++)
		fds[i] = connect_to(stage);
	for (size_t i = HTTPS_PEERS_PER_ADDRESS; i < FL_COUNT(fds); i++)
		refused += recv(fds[i], &byte, 1, 0) <= 0;
	assert_int_equal(refused, FL_COUNT(fds) - HTTPS_PEERS_PER_ADDRESS);
	assert_true(recv(fds[0], &byte, 1, MSG_DONTWAIT) < 0);
	for (size_t i = 0; i < FL_COUNT(fds); i++)
		(void)close(fds[i]);
	for (;;) {
		FL_CLEANUP(fl_freep) char *said = say(stage, 0, REQUEST("GET /healthz"), NULL);

		if (said != NULL)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_listen),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_else, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_tls_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_certificate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle_peers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
