// What the tests of our nng share: pipe events, nng's task threads held still, and a peer that is no
// nng at all. All waits end after WAIT_S, which is a safety net: a wait that lasts so long has failed.
#pragma once

#include <nng/nng.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAIT_S         20
#define SP_REQ         48
#define SP_REP         49
#define SP_HEADER_SIZE 8

// Counts the pipes of a socket that came and went.
struct pipes {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned added, removed;
	nng_pipe last;
};

// The socket must not outlive *p. Watch before listening or dialing.
void pipes_watch(struct pipes *p, nng_socket socket);
bool pipes_wait_added(struct pipes *p, unsigned at_least);
bool pipes_wait_removed(struct pipes *p, unsigned at_least);
unsigned pipes_added(struct pipes *p);

bool sem_wait_bounded(sem_t *sem);

// One of nng's task threads, kept busy. hold_queue asks for one and returns; whatever becomes due
// after it has to wait behind it. hold_wait returns when a thread has come to it.
struct hold {
	nng_aio *aio;
	sem_t held, release;
};
void hold_init(struct hold *h);
void hold_queue(struct hold *h);
bool hold_wait(struct hold *h);
void hold_release(struct hold *h);
void hold_fini(struct hold *h); // waits for its thread

// Task threads in this build of nng (see ../build).
#define TASK_THREADS 2

// Listens on a free port of 127.0.0.1 with TLS. Returns the port, or 0.
uint16_t listen_tls(nng_socket socket);

// A plain TCP connection to that port. Reads and writes of a peer return false if they cannot be done
// in full; peer_reads_eof waits until the other side has closed.
int peer_connect(uint16_t port);
bool peer_write(int fd, const void *data, size_t len);
bool peer_read(int fd, void *data, size_t len);
bool peer_reads_eof(int fd);
// The engine's handshake, then the header by which nng peers say which protocol they speak.
bool peer_handshake(int fd);
bool peer_sp_header(int fd, uint16_t protocol);
// All three: a peer with which the socket on that port has a pipe, or -1.
int peer_open(uint16_t port, uint16_t protocol);
// A REQ peer's request, with nothing in it.
bool peer_request(int fd);
void put_be(uint8_t *to, uint64_t value, size_t len);
uint64_t get_be(const uint8_t *from, size_t len);
