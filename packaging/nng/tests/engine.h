// A TLS engine without cryptography, to test what nng does around one: the client says HELLO, the
// server answers HELLO, and from there on bytes go through as they are.
#pragma once

#include <nng/nng.h>
#include <stdbool.h>
#include <stddef.h>

#define ENGINE_NAME  "test"
#define ENGINE_HELLO 'H'
// A server that is greeted so fails the handshake with NNG_ECLOSED.
#define ENGINE_INSULT 'X'

// Initialises nng and makes it use this engine. Returns false if nng does not.
bool engine_install(void);

// The same as a setup for cmocka.
int engine_setup(void **state);

// Only registers the engine, with nothing of nng used before. Returns nng's error.
int engine_register(void);

// How many records all connections have sent since the process started.
unsigned engine_records(void);

// Every later record takes at most max bytes (0: no limit).
void engine_limit_records(size_t max);

// Calls fn(arg) once, on nng's thread, when a server's connection next gets bytes, before nng hands
// them on.
void engine_on_bytes(void (*fn)(void *arg), void *arg);
