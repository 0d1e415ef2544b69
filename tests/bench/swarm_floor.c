#include "tests/bench/swarm_floor.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <uv.h>

#include "base/file.h"
#include "base/memory.h"
#include "proto/wire.h"
#include "transport/server.h"

#define FLOOR_REPLY 700U /* bytes; as a small unit's assignment */

static void must(enum fl_code code, const struct fl_error *err)
{
	if (code == FL_OK)
		return;
	fprintf(stderr, "the floor: %s\n", fl_error_text(err));
	exit(1);
}

static void *must_have(void *memory)
{
	if (memory == NULL) {
		fprintf(stderr, "the floor: out of memory\n");
		exit(1);
	}
	return memory;
}

struct floor {
	struct transport_server *server;
	struct transport_request **held;
	unsigned n_held, max;
	uv_pipe_t control;
	char byte;
};

static void floor_request(struct transport_request *request, void *userdata)
{
	struct floor *floor = userdata;
	size_t len;
	const uint8_t *data = transport_request_data(request, &len);

	if (data[0] == FLOOR_HOLD && floor->n_held < floor->max)
		floor->held[floor->n_held++] = request;
	else
		transport_request_reply(request, data, len);
}

static void floor_gone(struct transport_request *request, void *userdata)
{
	(void)request;
	(void)userdata;
}

static void floor_buffer(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
	struct floor *floor = handle->data;

	(void)size;
	*ret = uv_buf_init(&floor->byte, 1);
}

static void floor_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	static const uint8_t reply[FLOOR_REPLY] = {0};
	struct floor *floor = stream->data;
	unsigned last;

	if (n == 0)
		return;
	if (n < 0)
		_exit(0);
	last = buf->base[0] == 'a' ? 0 : floor->n_held - 1;
	while (floor->n_held > last)
		transport_request_reply(floor->held[--floor->n_held], reply, sizeof(reply));
}

_Noreturn void floor_run(const char *folder, const char *url, unsigned n_agents, int control)
{
	FL_CLEANUP(fl_freep) char *ca = must_have(fl_printf("%s/ca.crt", folder));
	FL_CLEANUP(fl_freep)
	char *certificate = must_have(fl_printf("%s/coordinator.crt", folder));
	FL_CLEANUP(fl_freep) char *key = must_have(fl_printf("%s/coordinator.key", folder));
	const char *const urls[] = {url, NULL};
	struct transport_server_config config = {.urls = urls,
		.message_max = LIMIT_MESSAGE,
		.peer_requests_max = 64,
		.peer_bytes_max = LIMIT_MESSAGE};
	struct floor floor = {.max = n_agents};
	struct fl_error err = {0};
	uv_loop_t loop;

	(void)mallopt(M_ARENA_MAX, 2);
	(void)uv_loop_init(&loop);
	must(tls_credentials_load(
		     &(struct tls_files){.ca = ca, .certificate = certificate, .key = key},
		     &config.credentials, &err),
		&err);
	floor.held = must_have(fl_new_array(floor.max + 1, sizeof(struct transport_request *)));
	must(transport_server_open(&floor.server, &loop, &config,
		     &(struct transport_server_handlers){
			     .request = floor_request, .request_gone = floor_gone},
		     &floor, &err),
		&err);
	(void)uv_pipe_init(&loop, &floor.control, 0);
	floor.control.data = &floor;
	(void)uv_pipe_open(&floor.control, control);
	(void)uv_read_start((uv_stream_t *)&floor.control, floor_buffer, floor_read);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	_exit(1);
}
