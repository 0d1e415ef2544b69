/*
 * One call:
 *
 *             output came          taken by the asker
 *   READING ───────────────▶ SENDING ────────────────▶ READING
 *      │                        │  ▲
 *      │ end of output,         │  │ the last piece
 *      │ process ended          │  │
 *      ├────────────────────────┼──┘
 *      ▼                        ▼ nobody listens, canceled, lost
 *   (ENDING: SENDING with ended) ─────────────▶ CLOSING ─▶ freed
 *
 * One piece is under way at a time, and the pipe is not read meanwhile: whoever asks slowly slows
 * journalctl itself, and nothing gathers here but one buffer.
 *
 * It fails when the command cannot be run (sent as the end), when the connection loses a piece, or
 * when it is canceled: then the process is killed, which only reads.
 *
 * Deadlines: READING has none, since a journal that is followed may be silent for days; the
 * coordinator cancels what nobody asks for any more (60 s), and a lost coordinator is found by the
 * deadline of the next piece. CLOSING waits for the kernel alone.
 */
#include "agent/calls.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fsm.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/wire.h"
#include "unitfiles/name.h"

#define LINES_DEFAULT 10U
#define REMEMBERED    64 /* orders; a reply of the coordinator can come twice */

#define CALL_STATES(X) \
	X(CALL, READING, FL_TO(CALL, SENDING) | FL_TO(CALL, CLOSING)) \
	X(CALL, SENDING, FL_TO(CALL, READING) | FL_TO(CALL, CLOSING)) \
	X(CALL, CLOSING, 0)
FL_FSM_DEFINE(call, CALL_STATES)

struct call {
	struct calls *calls;
	struct fl_list link;
	struct fl_fsm fsm;
	char id_text[20];
	uint64_t id;
	uv_process_t process;
	uv_pipe_t pipe;
	unsigned handles; /* not closed yet */
	bool exited, drained, ended_sent, sending;
	int32_t exit_code;
	uint8_t *buffer; /* LIMIT_CALL_DATA, while there is output */
	size_t len;
};

struct calls {
	uv_loop_t *loop;
	char *path; /* "PATH=..." */
	const struct calls_handlers *handlers;
	void *userdata;
	struct fl_list list;
	unsigned n;
	uint64_t remembered[REMEMBERED];
	unsigned n_remembered;
	uv_idle_t closer; /* @closed is called from the loop */
	bool closing;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

/* journalctl(1), --output: the formats that are text. */
static const char *const outputs[] = {
	"short",
	"short-full",
	"short-iso",
	"short-iso-precise",
	"short-precise",
	"short-monotonic",
	"short-unix",
	"verbose",
	"export",
	"json",
	"json-pretty",
	"json-sse",
	"json-seq",
	"cat",
	"with-unit",
};

static const char *find_output(const char *name)
{
	for (size_t i = 0; i < FL_COUNT(outputs); i++)
		if (strcmp(outputs[i], name) == 0)
			return outputs[i];
	return NULL;
}

enum fl_code calls_command(
	const Pb__CallOrder *order, struct calls_command *ret_command, struct fl_error *err)
{
	struct calls_command *c = ret_command;
	const char *output = order->output[0] != '\0' ? order->output : "short";
	size_t n = 0;

	FL_TRY(unit_name_check(order->unit, err));
	*c = (struct calls_command){.argv = {NULL}};
	if (order->kind == PB__CALL_REQUEST__KIND__STATUS) {
		(void)snprintf(c->unit, sizeof(c->unit), "%s", order->unit);
		(void)snprintf(c->lines, sizeof(c->lines), "--lines=%" PRIu32,
			order->lines != 0 ? order->lines : LINES_DEFAULT);
		c->argv[n++] = "systemctl";
		c->argv[n++] = "status";
		c->argv[n++] = "--no-pager";
		c->argv[n++] = "--full";
		c->argv[n++] = c->lines;
		c->argv[n++] = "--";
		c->argv[n++] = c->unit;
		return FL_OK;
	}
	if (order->kind != PB__CALL_REQUEST__KIND__JOURNAL)
		return FL_FAIL(err, FL_E_INVALID, "call of kind %d", (int)order->kind);
	output = find_output(output);
	if (output == NULL)
		return FL_FAIL(
			err, FL_E_INVALID, "journalctl has no output format \"%s\"", order->output);
	(void)snprintf(c->unit, sizeof(c->unit), "--unit=%s", order->unit);
	(void)snprintf(c->lines, sizeof(c->lines), "--lines=%" PRIu32,
		order->lines != 0 ? order->lines : LINES_DEFAULT);
	c->argv[n++] = "journalctl";
	c->argv[n++] = "--no-pager";
	c->argv[n++] = c->unit;
	c->argv[n++] = c->lines;
	c->argv[n++] = "--output";
	c->argv[n++] = output;
	if (order->follow)
		c->argv[n++] = "--follow";
	return FL_OK;
}

/* ---- One call ----------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);
static void on_closer_closed(uv_handle_t *handle);

static void calls_close_when_empty(struct calls *calls)
{
	if (calls->closing && calls->n == 0 && !uv_is_closing((uv_handle_t *)&calls->closer))
		uv_close((uv_handle_t *)&calls->closer, on_closer_closed);
}

static void call_free_when_done(struct call *call)
{
	struct calls *calls = call->calls;

	if (call->handles > 0 || call->sending)
		return;
	fl_list_remove(&call->link);
	calls->n--;
	free(call->buffer);
	free(call);
	calls_close_when_empty(calls);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct call *call = handle->data;

	call->handles--;
	call_free_when_done(call);
}

static void call_close(struct call *call, const char *why)
{
	if (call->fsm.state == CALL_CLOSING)
		return;
	fl_fsm_move(&call->fsm, CALL_CLOSING, why);
	uv_close((uv_handle_t *)&call->pipe, on_handle_closed);
	if (!call->exited) {
		/* Its end is waited for, or it would stay as a zombie. */
		(void)uv_process_kill(&call->process, SIGKILL);
		return;
	}
	uv_close((uv_handle_t *)&call->process, on_handle_closed);
}

static void call_send(struct call *call);

/* After a piece was taken: more, the end, or nothing more to do. */
static void call_continue(struct call *call)
{
	if (call->ended_sent) {
		call_close(call, "told to the end");
		return;
	}
	fl_fsm_move(&call->fsm, CALL_READING, "taken");
	if (!call->drained)
		(void)uv_read_start((uv_stream_t *)&call->pipe, on_alloc, on_read);
	else if (call->exited)
		call_send(call);
}

static void on_sent(enum fl_code code, bool stop, void *userdata)
{
	struct call *call = userdata;

	call->sending = false;
	if (call->fsm.state == CALL_CLOSING) {
		call_free_when_done(call);
		return;
	}
	if (code != FL_OK || stop)
		call_close(call, stop ? "nobody listens" : fl_code_text(code));
	else
		call_continue(call);
}

/* What is in the buffer; or the end, when there is nothing more. */
static void call_send(struct call *call)
{
	Pb__CallOutputRequest output = PB__CALL_OUTPUT_REQUEST__INIT;
	struct calls *calls = call->calls;
	struct fl_error err = {.code = FL_OK};

	output.call_id = call->id;
	output.data.data = call->buffer;
	output.data.len = call->len;
	output.ended = call->drained && call->exited;
	output.exit_code = call->exit_code;
	fl_fsm_move(&call->fsm, CALL_SENDING, output.ended ? "the end" : "output");
	call->ended_sent = output.ended;
	call->len = 0;
	call->sending = true;
	if (calls->handlers->send(&output, on_sent, call, calls->userdata, &err) == FL_OK)
		return;
	call->sending = false;
	call_close(call, fl_error_text(&err));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct call *call = handle->data;

	(void)suggested;
	if (call->buffer == NULL)
		call->buffer = malloc(LIMIT_CALL_DATA);
	*buf = call->buffer != NULL ? uv_buf_init((char *)call->buffer, LIMIT_CALL_DATA)
				    : uv_buf_init(NULL, 0); /* on_read gets UV_ENOBUFS */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct call *call = stream->data;

	(void)buf;
	if (n == 0)
		return;
	(void)uv_read_stop(stream);
	if (n > 0) {
		call->len = (size_t)n;
		call_send(call);
		return;
	}
	call->drained = true;
	if (call->exited)
		call_send(call);
}

static void on_exit_cb(uv_process_t *process, int64_t status, int term_signal)
{
	struct call *call = process->data;

	call->exited = true;
	call->exit_code = term_signal != 0 ? 128 + term_signal : (int32_t)status;
	if (call->fsm.state == CALL_CLOSING)
		uv_close((uv_handle_t *)process, on_handle_closed);
	else if (call->drained && call->fsm.state == CALL_READING)
		call_send(call);
}

/* Both ends of the output in one pipe: errors stand where they happened. */
static int call_spawn(struct call *call, const struct calls_command *command, const int fds[2])
{
	char *environment[] = {call->calls->path, (char *)"LANG=C.UTF-8",
		(char *)"SYSTEMD_COLORS=0", (char *)"SYSTEMD_PAGER=", NULL};
	uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}};
	uv_process_options_t options = {.exit_cb = on_exit_cb,
		.file = command->argv[0],
		.args = (char **)command->argv,
		.env = environment,
		.stdio = stdio,
		.stdio_count = 3};
	int r;

	stdio[1].flags = stdio[2].flags = UV_INHERIT_FD;
	stdio[1].data.fd = stdio[2].data.fd = fds[1];
	r = uv_spawn(call->calls->loop, &call->process, &options);
	(void)close(fds[1]);
	if (r == 0)
		r = uv_pipe_open(&call->pipe, fds[0]);
	else
		call->exited = true; /* there is nothing to kill or wait for */
	if (r < 0)
		(void)close(fds[0]);
	return r;
}

/* ---- Orders ------------------------------------------------------------------------------- */

static struct call *find(struct calls *calls, uint64_t id)
{
	struct call *call;

	FL_LIST_FOREACH (call, &calls->list, link)
		if (call->id == id)
			return call;
	return NULL;
}

static bool remember(struct calls *calls, uint64_t id)
{
	for (unsigned i = 0; i < REMEMBERED; i++)
		if (calls->remembered[i] == id)
			return false;
	calls->remembered[calls->n_remembered++ % REMEMBERED] = id;
	return true;
}

static void on_refusal_sent(enum fl_code code, bool stop, void *userdata)
{
	(void)code;
	(void)stop;
	(void)userdata;
}

static void refuse(struct calls *calls, uint64_t id, const struct fl_error *why)
{
	Pb__CallOutputRequest output = PB__CALL_OUTPUT_REQUEST__INIT;

	output.call_id = id;
	output.ended = 1;
	output.exit_code = fl_code_exit(why->code);
	output.error = (char *)fl_error_text(why);
	if (calls->handlers->send(&output, on_refusal_sent, calls, calls->userdata, NULL) != FL_OK)
		fl_log(FL_DEBUG, "call.refuse", "call=%016" PRIx64 " error=lost", id);
}

static enum fl_code call_begin(
	struct calls *calls, const Pb__CallOrder *order, struct fl_error *err)
{
	struct calls_command command;
	struct call *call;
	int fds[2], r;

	if (!calls->handlers->owns(order->unit, calls->userdata))
		return FL_FAIL(err, FL_E_NOT_FOUND, "%s is not a unit of the fleet on this machine",
			order->unit);
	FL_TRY(calls_command(order, &command, err));
	if (calls->n >= LIMIT_CALLS)
		return FL_FAIL(err, FL_E_LIMIT,
			"%u calls are under way on this machine, which is the limit", calls->n);
	r = uv_pipe(fds, UV_NONBLOCK_PIPE, 0);
	if (r < 0)
		return FL_FAIL(err, FL_E_FAILED, "a pipe: %s", uv_strerror(r));
	call = FL_NEW(struct call);
	if (call == NULL) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		return FL_FAIL_NO_MEMORY(err);
	}
	call->calls = calls;
	call->id = order->call_id;
	(void)snprintf(call->id_text, sizeof(call->id_text), "%016" PRIx64, call->id);
	fl_fsm_init(&call->fsm, &call_fsm_def, call->id_text);
	call->process.data = call->pipe.data = call;
	(void)uv_pipe_init(calls->loop, &call->pipe, 0);
	call->handles = 2;
	calls->n++;
	fl_list_append(&calls->list, &call->link);
	r = call_spawn(call, &command, fds);
	if (r == 0)
		r = uv_read_start((uv_stream_t *)&call->pipe, on_alloc, on_read);
	if (r < 0) {
		call_close(call, uv_strerror(r));
		return FL_FAIL(err, FL_E_FAILED, "%s cannot be run on this machine: %s",
			command.argv[0], uv_strerror(r));
	}
	fl_log(FL_INFO, "call.begin", "call=%s unit=%s command=%s", call->id_text, order->unit,
		command.argv[0]);
	return FL_OK;
}

void calls_order(struct calls *calls, const Pb__CallOrder *order)
{
	struct fl_error err = {.code = FL_OK};
	struct call *call;

	if (order->cancel) {
		call = find(calls, order->call_id);
		if (call != NULL)
			call_close(call, "canceled");
		return;
	}
	if (calls->closing || !remember(calls, order->call_id))
		return;
	if (call_begin(calls, order, &err) != FL_OK)
		refuse(calls, order->call_id, &err);
}

enum fl_code calls_new(struct calls **ret_calls, uv_loop_t *loop, const char *path,
	const struct calls_handlers *handlers, void *userdata, struct fl_error *err)
{
	struct calls *calls = FL_NEW(struct calls);

	if (calls == NULL)
		return FL_FAIL_NO_MEMORY(err);
	calls->path = fl_printf("PATH=%s", path);
	if (calls->path == NULL) {
		free(calls);
		return FL_FAIL_NO_MEMORY(err);
	}
	calls->loop = loop;
	calls->handlers = handlers;
	calls->userdata = userdata;
	fl_list_init(&calls->list);
	(void)uv_idle_init(loop, &calls->closer);
	*ret_calls = calls;
	return FL_OK;
}

static void on_closer_closed(uv_handle_t *handle)
{
	struct calls *calls = FL_CONTAINER((uv_idle_t *)handle, struct calls, closer);
	void (*closed)(void *userdata) = calls->closed;
	void *userdata = calls->closed_userdata;

	free(calls->path);
	free(calls);
	closed(userdata);
}

void calls_close(struct calls *calls, void (*closed)(void *userdata), void *userdata)
{
	struct call *call, *following;

	calls->closing = true;
	calls->closed = closed;
	calls->closed_userdata = userdata;
	FL_LIST_FOREACH_SAFE (call, &calls->list, link, following)
		call_close(call, "the agent ends");
	calls_close_when_empty(calls);
}
