#include "engine.h"

#include <nng/supplemental/tls/engine.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

// What a connection read and nng did not ask for yet: as a real engine, which reads whole records.
#define RECORD_MAX 256

struct nng_tls_engine_config {
	bool server;
};

struct nng_tls_engine_conn {
	void *tcp;
	bool server;
	bool greeted;
	bool open;
	size_t have, taken;
	uint8_t record[RECORD_MAX];
};

static atomic_uint records;
static atomic_size_t record_limit;
static void (*_Atomic bytes_hook)(void *);
static void *_Atomic bytes_hook_arg;

unsigned engine_records(void)
{
	return atomic_load(&records);
}

void engine_limit_records(size_t max)
{
	atomic_store(&record_limit, max);
}

void engine_on_bytes(void (*fn)(void *), void *arg)
{
	atomic_store(&bytes_hook_arg, arg);
	atomic_store(&bytes_hook, fn);
}

static int conn_init(nng_tls_engine_conn *c, void *tcp, nng_tls_engine_config *config)
{
	c->tcp = tcp;
	c->server = config->server;
	return 0;
}

static void conn_fini(nng_tls_engine_conn *c)
{
	(void)c;
}

static void conn_close(nng_tls_engine_conn *c)
{
	(void)c;
}

static int greet(nng_tls_engine_conn *c)
{
	uint8_t hello = ENGINE_HELLO;
	size_t len = 1;
	int rv = c->greeted ? 0 : nng_tls_engine_send(c->tcp, &hello, &len);

	c->greeted = rv == 0;
	return rv;
}

static int conn_handshake(nng_tls_engine_conn *c)
{
	uint8_t hello;
	size_t len = 1;
	int rv;

	if (c->open)
		return 0;
	if (!c->server && (rv = greet(c)) != 0)
		return rv;
	if ((rv = nng_tls_engine_recv(c->tcp, &hello, &len)) != 0)
		return rv;
	if (hello != ENGINE_HELLO)
		return NNG_ECLOSED;
	if ((rv = greet(c)) != 0)
		return rv;
	c->open = true;
	return 0;
}

static int conn_recv(nng_tls_engine_conn *c, uint8_t *buf, size_t *len)
{
	int rv = conn_handshake(c);

	if (rv != 0)
		return rv;
	if (c->taken == c->have) {
		size_t n = sizeof(c->record);
		void (*hook)(void *);

		if ((rv = nng_tls_engine_recv(c->tcp, c->record, &n)) != 0)
			return rv;
		c->have = n;
		c->taken = 0;
		if (c->server && (hook = atomic_exchange(&bytes_hook, NULL)) != NULL)
			hook(atomic_load(&bytes_hook_arg));
	}
	if (*len > c->have - c->taken)
		*len = c->have - c->taken;
	memcpy(buf, c->record + c->taken, *len);
	c->taken += *len;
	return 0;
}

static int conn_send(nng_tls_engine_conn *c, const uint8_t *buf, size_t *len)
{
	size_t limit = atomic_load(&record_limit);
	int rv = conn_handshake(c);

	if (rv != 0)
		return rv;
	if (limit != 0 && *len > limit)
		*len = limit;
	// Counted first: once it is sent its receiver may look at the count.
	atomic_fetch_add(&records, 1);
	rv = nng_tls_engine_send(c->tcp, buf, len);
	if (rv != 0)
		atomic_fetch_sub(&records, 1);
	return rv;
}

static bool conn_verified(nng_tls_engine_conn *c)
{
	return c->open;
}

static int config_init(nng_tls_engine_config *config, nng_tls_mode mode)
{
	config->server = mode == NNG_TLS_MODE_SERVER;
	return 0;
}

static void config_fini(nng_tls_engine_config *config)
{
	(void)config;
}

static int config_server(nng_tls_engine_config *config, const char *name)
{
	(void)config, (void)name;
	return 0;
}

static int config_auth(nng_tls_engine_config *config, nng_tls_auth_mode mode)
{
	(void)config, (void)mode;
	return 0;
}

static int config_ca_chain(nng_tls_engine_config *config, const char *certs, const char *crl)
{
	(void)config, (void)certs, (void)crl;
	return 0;
}

static int config_own_cert(
	nng_tls_engine_config *config, const char *cert, const char *key, const char *password)
{
	(void)config, (void)cert, (void)key, (void)password;
	return 0;
}

static int config_version(nng_tls_engine_config *config, nng_tls_version min, nng_tls_version max)
{
	(void)config, (void)min, (void)max;
	return 0;
}

static nng_tls_engine_config_ops config_ops = {
	.size = sizeof(nng_tls_engine_config),
	.init = config_init,
	.fini = config_fini,
	.server = config_server,
	.auth = config_auth,
	.ca_chain = config_ca_chain,
	.own_cert = config_own_cert,
	.version = config_version,
};

static nng_tls_engine_conn_ops conn_ops = {
	.size = sizeof(nng_tls_engine_conn),
	.init = conn_init,
	.fini = conn_fini,
	.close = conn_close,
	.handshake = conn_handshake,
	.recv = conn_recv,
	.send = conn_send,
	.verified = conn_verified,
};

static const nng_tls_engine engine = {
	.version = NNG_TLS_ENGINE_VERSION,
	.config_ops = &config_ops,
	.conn_ops = &conn_ops,
	.name = ENGINE_NAME,
	.description = "no cryptography",
};

int engine_register(void)
{
	return nng_tls_engine_register(&engine);
}

bool engine_install(void)
{
	nng_tls_engine_name(); // initialises nng: stock nng would forget an engine registered before
	return engine_register() == 0 && strcmp(nng_tls_engine_name(), ENGINE_NAME) == 0;
}

int engine_setup(void **state)
{
	(void)state;
	return engine_install() ? 0 : -1;
}
