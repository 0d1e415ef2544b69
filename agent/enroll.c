#include "agent/enroll.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/certificate.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/fsm.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "proto/token.h"
#include "proto/wire.h"
#include "transport/client.h"
#include "transport/door.h"
#include "transport/tls_key.h"

#define TOKEN_FILE_MAX  4096U
#define ANSWER_MS       20000U
#define REST_MIN_MS     500U
#define REST_MAX_MS     30000U
#define REFUSED_REST_MS 60000U
#define FAILURES_TO_LOG 10U

#define ENROLL_STATES(X) \
	X(ENROLL, READY, FL_TO(ENROLL, KNOCKING) | FL_TO(ENROLL, CLOSING)) \
	X(ENROLL, KNOCKING, FL_TO(ENROLL, RESTING) | FL_TO(ENROLL, IN) | FL_TO(ENROLL, CLOSING)) \
	X(ENROLL, RESTING, FL_TO(ENROLL, KNOCKING) | FL_TO(ENROLL, CLOSING)) \
	X(ENROLL, IN, FL_TO(ENROLL, CLOSING)) \
	X(ENROLL, CLOSING, 0)
FL_FSM_DEFINE(enroll, ENROLL_STATES)

struct enroll {
	uv_loop_t *loop;
	const struct config *config;
	const struct facts *facts;
	void (*joined)(void *userdata);
	void *userdata;

	struct fl_fsm fsm;
	struct fl_strv doors;
	size_t door;
	unsigned failures; /* since it began */
	uint32_t rest_ms;
	struct token token; /* of an empty ID: the key is known */
	struct tls_credentials *credentials;
	struct transport_client *client; /* of the knock under way; closed before the next one */
	uv_timer_t timer;

	bool timer_closed;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

/* ---- What there is ------------------------------------------------------------------------ */

static bool has_run_out(const char *path)
{
	struct certificate_facts facts;

	return certificate_read(path, &facts, NULL) == FL_OK &&
	       facts.end_ms <= fl_clock_real_us() / 1000U;
}

bool enroll_wanted(const struct config *config)
{
	if (access(config->certificate, F_OK) == 0)
		return has_run_out(config->certificate) &&
		       tls_key_fits(config->key, config->certificate);
	return errno == ENOENT && access(config->token_file, F_OK) == 0;
}

/* Where a member's coordinator is known by: the certificate of its CA, and so the key of that. */
static enum fl_code read_token(struct enroll *enroll, struct fl_error *err)
{
	char *text = NULL;
	size_t len = 0;
	enum fl_code code;

	FL_TRY(fl_file_read(enroll->config->token_file, TOKEN_FILE_MAX, &text, &len, err));
	code = token_parse(text, &enroll->token, err);
	fl_free_secret(text, len);
	if (code != FL_OK)
		return fl_error_prefix(err, code, "%s", enroll->config->token_file);
	return FL_OK;
}

static enum fl_code read_trust(struct enroll *enroll, struct fl_error *err)
{
	bool was_member = access(enroll->config->certificate, F_OK) == 0;
	enum fl_code code = read_token(enroll, err);

	/* Its key is known, perhaps; a token helps where it is not any more. */
	if (code != FL_OK && was_member)
		code = tls_file_pin(enroll->config->ca_certificate, enroll->token.pin, err);
	FL_TRY(code);
	return tls_credentials_pinned(enroll->token.pin, &enroll->credentials, err);
}

/* --door=, or beside each coordinator, one port higher. */
static enum fl_code find_doors(struct enroll *enroll, struct fl_error *err)
{
	const struct config *config = enroll->config;

	if (config->doors.n > 0)
		return fl_strv_copy(&enroll->doors, &config->doors, err);
	for (size_t i = 0; i < config->coordinators.n; i++) {
		FL_CLEANUP(fl_freep) char *door = NULL;

		FL_TRY(door_beside(config->coordinators.items[i], &door, err));
		if (door != NULL)
			FL_TRY(fl_strv_add(&enroll->doors, door, err));
	}
	if (enroll->doors.n == 0)
		return FL_FAIL(err, FL_E_INVALID,
			"where is the coordinator? Set Coordinator= in " CONFIG_FILE);
	return FL_OK;
}

/* Once: a machine that crashed while it knocked goes on with the same key. */
static enum fl_code make_key(const struct config *config, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *folder = NULL;
	char *slash;

	if (access(config->key, F_OK) == 0)
		return FL_OK;
	folder = fl_strdup(config->key);
	if (folder == NULL)
		return FL_FAIL_NO_MEMORY(err);
	slash = strrchr(folder, '/');
	if (slash != NULL && slash != folder) {
		*slash = '\0';
		FL_TRY(fl_mkdir_all(folder, 0755, err));
	}
	return tls_key_make(config->key, err);
}

/* ---- What comes back ---------------------------------------------------------------------- */

/* The token has done its work; whoever reads the disk later must not find it. */
static void forget_token(struct enroll *enroll)
{
	if (unlink(enroll->config->token_file) < 0 && errno != ENOENT)
		fl_log(FL_WARNING, "enroll.token_left", "path=%s error=%s",
			enroll->config->token_file, strerrordesc_np(errno));
	explicit_bzero(&enroll->token, sizeof(enroll->token));
}

static void rest(struct enroll *enroll, uint32_t ms, const char *why);

static void come_in(struct enroll *enroll, const Pb__CertificateReply *reply)
{
	struct fl_error err = {.code = FL_OK};

	fl_fault_point("enroll.answered");
	if (certificate_write(enroll->config, reply, &err) != FL_OK) {
		fl_log(FL_ERROR, "enroll.not_written", "error=%s", fl_error_text(&err));
		rest(enroll, REST_MAX_MS, "the certificate could not be written");
		return;
	}
	fl_fault_point("enroll.certificate_written");
	forget_token(enroll);
	fl_fault_point("enroll.token_removed");
	fl_log(FL_NOTICE, "enroll.joined", "fleet=%s machine=%s generation=%u", reply->fleet,
		enroll->facts->machine_id, reply->generation);
	fl_fsm_move(&enroll->fsm, ENROLL_IN, "let in");
	enroll->joined(enroll->userdata);
}

/* ---- Knocking ----------------------------------------------------------------------------- */

static void finish_close(struct enroll *enroll)
{
	if (enroll->fsm.state != ENROLL_CLOSING || enroll->client != NULL || !enroll->timer_closed)
		return;
	tls_credentials_unref(enroll->credentials);
	fl_strv_fini(&enroll->doors);
	explicit_bzero(&enroll->token, sizeof(enroll->token));
	enroll->closed(enroll->closed_userdata);
	free(enroll);
}

static void on_client_closed(void *userdata)
{
	struct enroll *enroll = userdata;

	enroll->client = NULL;
	finish_close(enroll);
}

static void knock(struct enroll *enroll);

static void on_timer(uv_timer_t *timer)
{
	struct enroll *enroll = timer->data;

	/* The last knock's connection is closed by now, or nearly. */
	if (enroll->client != NULL)
		(void)uv_timer_start(timer, on_timer, REST_MIN_MS, 0);
	else
		knock(enroll);
}

static void rest(struct enroll *enroll, uint32_t ms, const char *why)
{
	fl_fsm_move(&enroll->fsm, ENROLL_RESTING, why);
	(void)uv_timer_start(&enroll->timer, on_timer, ms / 2 + fl_random_below(ms), 0);
}

/* Nobody is there, or who is there is not the fleet's. */
static void failed(struct enroll *enroll, const struct fl_error *err)
{
	if (enroll->failures++ % FAILURES_TO_LOG == 0)
		fl_log(FL_WARNING, "enroll.failed", "url=%s attempts=%u error=%s",
			enroll->doors.items[enroll->door], enroll->failures, fl_error_text(err));
	enroll->door = (enroll->door + 1) % enroll->doors.n;
	enroll->rest_ms = enroll->rest_ms < REST_MAX_MS / 2 ? enroll->rest_ms * 2 : REST_MAX_MS;
	rest(enroll, enroll->rest_ms, "no answer");
}

static void on_answer(enum fl_code code, const uint8_t *data, size_t len,
	const struct fl_error *call_err, void *userdata)
{
	FL_CLEANUP(wire_freep) Pb__Envelope *envelope = NULL;
	struct enroll *enroll = userdata;
	struct fl_error err = {.code = FL_OK};

	if (enroll->fsm.state != ENROLL_KNOCKING)
		return; /* closing */
	transport_client_close(enroll->client, on_client_closed, enroll);
	if (code != FL_OK) {
		failed(enroll, call_err);
		return;
	}
	code = wire_unpack(data, len, &envelope, NULL, &err);
	if (code == FL_OK)
		code = wire_reply_error(envelope, &err);
	if (code == FL_OK && envelope->body_case != PB__ENVELOPE__BODY_CERTIFICATE_REPLY)
		code = FL_FAIL(&err, FL_E_PROTOCOL, "the reply has another body");
	if (code == FL_OK) {
		come_in(enroll, envelope->certificate_reply);
		return;
	}
	fl_log(FL_ERROR, "enroll.refused", "url=%s why=%s", enroll->doors.items[enroll->door],
		fl_error_text(&err));
	rest(enroll, REFUSED_REST_MS, "refused");
}

static enum fl_code send_request(struct enroll *enroll, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) uint8_t *key_request = NULL;
	Pb__Envelope envelope = PB__ENVELOPE__INIT;
	Pb__JoinRequest request = PB__JOIN_REQUEST__INIT;
	uint8_t *data;
	size_t len;
	enum fl_code code;

	FL_TRY(make_key(enroll->config, err));
	fl_fault_point("enroll.key_made");
	FL_TRY(tls_key_request(enroll->config->key, &key_request, &request.key_request.len, err));
	request.key_request.data = key_request;
	request.machine_id = (char *)enroll->facts->machine_id;
	request.hostname = (char *)enroll->facts->hostname;
	request.token_id = enroll->token.id;
	if (enroll->token.id[0] != '\0') {
		request.secret.data = enroll->token.secret;
		request.secret.len = sizeof(enroll->token.secret);
	}
	envelope.request_id = fl_random_id();
	envelope.deadline_ms = ANSWER_MS;
	envelope.body_case = PB__ENVELOPE__BODY_JOIN_REQUEST;
	envelope.join_request = &request;
	FL_TRY(wire_pack(&envelope, &data, &len, err));
	code = transport_client_call(
		enroll->client, data, len, ANSWER_MS, on_answer, enroll, NULL, err);
	fl_free_secret(data, len);
	fl_fault_point("enroll.asked");
	return code;
}

/* Somebody may have brought another token since. */
static void reread_token(struct enroll *enroll)
{
	struct tls_credentials *credentials = NULL;
	uint8_t pin[TLS_PIN_BYTES];

	memcpy(pin, enroll->token.pin, sizeof(pin));
	if (read_token(enroll, NULL) != FL_OK || memcmp(pin, enroll->token.pin, sizeof(pin)) == 0 ||
		tls_credentials_pinned(enroll->token.pin, &credentials, NULL) != FL_OK)
		return;
	tls_credentials_unref(enroll->credentials);
	enroll->credentials = credentials;
}

static void knock(struct enroll *enroll)
{
	static const struct transport_client_handlers handlers = {.connection = NULL};
	struct transport_client_config config = {
		.url = enroll->doors.items[enroll->door],
		.message_max = LIMIT_MESSAGE,
	};
	struct fl_error err = {.code = FL_OK};

	reread_token(enroll);
	config.credentials = enroll->credentials;
	fl_fsm_move(&enroll->fsm, ENROLL_KNOCKING, config.url);
	if (transport_client_open(
		    &enroll->client, enroll->loop, &config, &handlers, enroll, &err) != FL_OK) {
		enroll->client = NULL;
		failed(enroll, &err);
		return;
	}
	if (send_request(enroll, &err) == FL_OK)
		return;
	transport_client_close(enroll->client, on_client_closed, enroll);
	failed(enroll, &err);
}

/* ---- Opening and closing ------------------------------------------------------------------ */

enum fl_code enroll_open(struct enroll **ret_enroll, uv_loop_t *loop, const struct config *config,
	const struct facts *facts, void (*joined)(void *userdata), void *userdata,
	struct fl_error *err)
{
	struct enroll *enroll = FL_NEW(struct enroll);
	enum fl_code code;

	if (enroll == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*enroll = (struct enroll){.loop = loop,
		.config = config,
		.facts = facts,
		.joined = joined,
		.userdata = userdata,
		.rest_ms = REST_MIN_MS};
	code = find_doors(enroll, err);
	if (code == FL_OK)
		code = read_trust(enroll, err);
	if (code != FL_OK) {
		fl_strv_fini(&enroll->doors);
		explicit_bzero(&enroll->token, sizeof(enroll->token));
		free(enroll);
		return code;
	}
	fl_fsm_init(&enroll->fsm, &enroll_fsm_def, facts->machine_id);
	(void)uv_timer_init(loop, &enroll->timer);
	enroll->timer.data = enroll;
	fl_log(FL_INFO, "enroll.begin", "machine=%s by=%s", facts->machine_id,
		enroll->token.id[0] != '\0' ? enroll->token.id : "its key");
	*ret_enroll = enroll;
	knock(enroll);
	return FL_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct enroll *enroll = handle->data;

	enroll->timer_closed = true;
	finish_close(enroll);
}

void enroll_close(struct enroll *enroll, void (*closed)(void *userdata), void *userdata)
{
	bool knocking = enroll->fsm.state == ENROLL_KNOCKING;

	fl_fsm_move(&enroll->fsm, ENROLL_CLOSING, "close");
	enroll->closed = closed;
	enroll->closed_userdata = userdata;
	uv_close((uv_handle_t *)&enroll->timer, on_timer_closed);
	if (knocking)
		transport_client_close(enroll->client, on_client_closed, enroll);
}
