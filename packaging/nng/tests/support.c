#include "support.h"

#include "engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct timespec deadline(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += WAIT_S;
	return t;
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	struct pipes *p = arg;

	pthread_mutex_lock(&p->lock);
	if (event == NNG_PIPE_EV_ADD_POST) {
		p->added++;
		p->last = pipe;
	} else {
		p->removed++;
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

void pipes_watch(struct pipes *p, nng_socket socket)
{
	*p = (struct pipes){0};
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	nng_pipe_notify(socket, NNG_PIPE_EV_ADD_POST, on_pipe, p);
	nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, on_pipe, p);
}

static bool wait_count(struct pipes *p, const unsigned *count, unsigned at_least)
{
	struct timespec until = deadline();
	bool ok;

	pthread_mutex_lock(&p->lock);
	while (*count < at_least && pthread_cond_timedwait(&p->changed, &p->lock, &until) == 0)
		;
	ok = *count >= at_least;
	pthread_mutex_unlock(&p->lock);
	return ok;
}

bool pipes_wait_added(struct pipes *p, unsigned at_least)
{
	return wait_count(p, &p->added, at_least);
}

bool pipes_wait_removed(struct pipes *p, unsigned at_least)
{
	return wait_count(p, &p->removed, at_least);
}

unsigned pipes_added(struct pipes *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->added;
	pthread_mutex_unlock(&p->lock);
	return n;
}

bool sem_wait_bounded(sem_t *sem)
{
	struct timespec until = deadline();
	int rc;

	do {
		rc = sem_timedwait(sem, &until);
	} while (rc != 0 && errno == EINTR);
	return rc == 0;
}

static void on_hold(void *arg)
{
	struct hold *h = arg;

	sem_post(&h->held);
	while (sem_wait(&h->release) != 0)
		;
}

void hold_init(struct hold *h)
{
	sem_init(&h->held, 0, 0);
	sem_init(&h->release, 0, 0);
	nng_aio_alloc(&h->aio, on_hold, h);
}

void hold_queue(struct hold *h)
{
	if (nng_aio_begin(h->aio))
		nng_aio_finish(h->aio, 0);
}

bool hold_wait(struct hold *h)
{
	return sem_wait_bounded(&h->held);
}

void hold_release(struct hold *h)
{
	sem_post(&h->release);
}

void hold_fini(struct hold *h)
{
	nng_aio_stop(h->aio);
	nng_aio_free(h->aio);
	sem_destroy(&h->held);
	sem_destroy(&h->release);
}

uint16_t listen_tls(nng_socket socket)
{
	nng_listener listener;
	int port = 0;

	if (nng_listen(socket, "tls+tcp://127.0.0.1:0", &listener, 0) != 0 ||
		nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) != 0)
		return 0;
	return (uint16_t)port;
}

int peer_connect(uint16_t port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval limit = {.tv_sec = WAIT_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
			       connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

bool peer_write(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool peer_read(int fd, void *data, size_t len)
{
	return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

bool peer_reads_eof(int fd)
{
	char scratch[4096];
	ssize_t n;

	while ((n = recv(fd, scratch, sizeof(scratch), 0)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}

bool peer_handshake(int fd)
{
	char hello = ENGINE_HELLO;

	return peer_write(fd, &hello, 1) && peer_read(fd, &hello, 1) && hello == ENGINE_HELLO;
}

bool peer_sp_header(int fd, uint16_t protocol)
{
	uint8_t header[SP_HEADER_SIZE] = {0, 'S', 'P'};

	put_be(header + 4, protocol, 2);
	return peer_write(fd, header, sizeof(header)) && peer_read(fd, header, sizeof(header));
}

int peer_open(uint16_t port, uint16_t protocol)
{
	int fd = peer_connect(port);

	if (fd >= 0 && !(peer_handshake(fd) && peer_sp_header(fd, protocol))) {
		close(fd);
		return -1;
	}
	return fd;
}

bool peer_request(int fd)
{
	uint8_t request[8 + 4] = {0}; // the length, then the request's ID

	put_be(request, 4, 8);
	put_be(request + 8, 0x80000001, 4);
	return peer_write(fd, request, sizeof(request));
}

void put_be(uint8_t *to, uint64_t value, size_t len)
{
	while (len-- > 0) {
		to[len] = (uint8_t)value;
		value >>= 8;
	}
}

uint64_t get_be(const uint8_t *from, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		value = value << 8 | from[i];
	return value;
}
