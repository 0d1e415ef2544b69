#include "agent/trust.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/certificate.h"
#include "agent/enroll.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "transport/tls_key.h"

#define LOOK_MS     60000U
#define LOOK_MIN_MS 500U
#define RETRY_MS    30000U
#define RUN_OUT_MS  1000U
#define SPREAD_MS   2000U /* so that a fleet does not renew at one moment */

struct trust {
	uv_loop_t *loop;
	const struct config *config;
	const struct facts *facts;
	struct trust_handlers handlers;
	void *userdata;
	char *next_key; /* path */

	struct tls_credentials *credentials;
	struct certificate_facts certificate;
	bool told; /* handlers.credentials() of these */
	struct enroll *enroll; /* under way */
	bool renewing;
	uv_timer_t timer;

	bool timer_closed;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static uint64_t wall_ms(void)
{
	return fl_clock_real_us() / 1000U;
}

static void on_timer(uv_timer_t *timer);

static bool has_run_out(const struct trust *trust)
{
	return trust->credentials != NULL && trust->certificate.end_ms <= wall_ms();
}

/* When something is due, or may be. A renewal that failed is tried several times before the
 * certificate's end. */
static void look_later(struct trust *trust)
{
	const struct certificate_facts *certificate = &trust->certificate;
	uint64_t now_ms = wall_ms(), ms = LOOK_MS;

	if (trust->credentials == NULL)
		ms = RETRY_MS;
	else if (certificate->renew_at_ms > now_ms && certificate->renew_at_ms - now_ms < ms)
		ms = certificate->renew_at_ms - now_ms;
	else if (certificate->renew_at_ms <= now_ms && certificate->end_ms > now_ms &&
		 (certificate->end_ms - now_ms) / 8 < ms)
		ms = (certificate->end_ms - now_ms) / 8;
	else if (has_run_out(trust))
		ms = RUN_OUT_MS;
	(void)uv_timer_start(&trust->timer, on_timer, ms > LOOK_MIN_MS ? ms : LOOK_MIN_MS, 0);
}

static void tell(struct trust *trust)
{
	trust->told = true;
	look_later(trust);
	trust->handlers.credentials(trust->credentials, trust->userdata);
}

/* ---- Loading ----------------------------------------------------------------------------- */

/* A crash came between the certificate and its key. */
static enum fl_code finish_renewal(const struct trust *trust, struct fl_error *err)
{
	const struct config *config = trust->config;

	if (access(trust->next_key, F_OK) < 0 || tls_key_fits(config->key, config->certificate) ||
		!tls_key_fits(trust->next_key, config->certificate))
		return FL_OK;
	if (rename(trust->next_key, config->key) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", config->key);
	return FL_OK;
}

static enum fl_code load(struct trust *trust, struct fl_error *err)
{
	const struct config *config = trust->config;
	const struct tls_files files = {.ca = config->ca_certificate,
		.certificate = config->certificate,
		.key = config->key};
	FL_CLEANUP(tls_credentials_unrefp) struct tls_credentials *credentials = NULL;
	const struct identity *identity;

	FL_TRY(finish_renewal(trust, err));
	FL_TRY(tls_credentials_load(&files, &credentials, err));
	FL_TRY(certificate_read(config->certificate, &trust->certificate, err));
	identity = tls_credentials_identity(credentials);
	if (identity->kind != IDENTITY_MACHINE ||
		strcmp(identity->name, trust->facts->machine_id) != 0) {
		char who[2 * IDENTITY_PART_MAX];

		identity_describe(identity, who, sizeof(who));
		return FL_FAIL(err, FL_E_DENIED,
			"%s is the certificate of %s, and this is machine %s (/etc/machine-id); "
			"let it join with a token, or have one made for it: flota-coordinator "
			"issue machine %s",
			config->certificate, who, trust->facts->machine_id,
			trust->facts->machine_id);
	}
	tls_credentials_unref(trust->credentials);
	trust->credentials = FL_TAKE(credentials);
	return FL_OK;
}

/* ---- Renewing ----------------------------------------------------------------------------- */

static enum fl_code take_renewed(
	struct trust *trust, const Pb__CertificateReply *reply, struct fl_error *err)
{
	fl_fault_point("renew.answered");
	FL_TRY(certificate_write(trust->config, reply, err));
	fl_fault_point("renew.certificate_written");
	FL_TRY(load(trust, err));
	fl_fault_point("renew.key_taken");
	return FL_OK;
}

static void on_renewed(
	const Pb__CertificateReply *reply, const struct fl_error *err, void *userdata)
{
	struct trust *trust = userdata;
	struct fl_error own = {.code = FL_OK};

	trust->renewing = false;
	/* Too late where its key has to do. */
	if (trust->closed != NULL || trust->enroll != NULL)
		return;
	if (reply == NULL || take_renewed(trust, reply, &own) != FL_OK) {
		fl_log(reply == NULL && err->code == FL_E_UNAVAILABLE ? FL_INFO : FL_ERROR,
			"trust.not_renewed", "error=%s", fl_error_text(reply == NULL ? err : &own));
		return;
	}
	fl_log(FL_INFO, "trust.renewed", "generation=%u next_in_ms=%" PRIu64, reply->generation,
		reply->renew_in_ms);
	tell(trust);
}

static enum fl_code renew(struct trust *trust, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) uint8_t *key_request = NULL;
	Pb__RenewRequest request = PB__RENEW_REQUEST__INIT;

	/* Asked for before, perhaps, and the answer was lost: the same key hears it again. */
	if (access(trust->next_key, F_OK) < 0)
		FL_TRY(tls_key_make(trust->next_key, err));
	fl_fault_point("renew.key_made");
	FL_TRY(tls_key_request(trust->next_key, &key_request, &request.key_request.len, err));
	request.key_request.data = key_request;
	request.generation = trust->certificate.generation;
	FL_TRY(trust->handlers.renew(&request, on_renewed, trust, trust->userdata, err));
	fl_fault_point("renew.asked");
	return FL_OK;
}

/* ---- Looking after it --------------------------------------------------------------------- */

static void finish_close(struct trust *trust)
{
	if (trust->closed == NULL || trust->enroll != NULL || !trust->timer_closed)
		return;
	trust->closed(trust->closed_userdata);
	tls_credentials_unref(trust->credentials);
	free(trust->next_key);
	free(trust);
}

static void on_enroll_closed(void *userdata)
{
	struct trust *trust = userdata;

	trust->enroll = NULL;
	finish_close(trust);
}

static void on_joined(void *userdata)
{
	struct trust *trust = userdata;
	struct fl_error err = {.code = FL_OK};

	enroll_close(trust->enroll, on_enroll_closed, trust);
	if (load(trust, &err) == FL_OK)
		tell(trust);
	else
		fl_log(FL_ERROR, "trust.load", "error=%s", fl_error_text(&err));
}

/* The next step, if one is due. */
static enum fl_code look(struct trust *trust, struct fl_error *err)
{
	if (trust->enroll != NULL || (trust->renewing && !has_run_out(trust)))
		return FL_OK;
	if (enroll_wanted(trust->config))
		return enroll_open(&trust->enroll, trust->loop, trust->config, trust->facts,
			on_joined, trust, err);
	if (trust->credentials == NULL)
		FL_TRY(load(trust, err));
	if (!trust->told)
		tell(trust);
	if (wall_ms() < trust->certificate.renew_at_ms || trust->renewing)
		return FL_OK;
	trust->renewing = true;
	if (renew(trust, err) == FL_OK)
		return FL_OK;
	trust->renewing = false;
	return err->code;
}

static void on_timer(uv_timer_t *timer)
{
	struct trust *trust = timer->data;
	struct fl_error err = {.code = FL_OK};
	enum fl_code code = look(trust, &err);

	if (code != FL_OK && code != FL_E_UNAVAILABLE)
		fl_log(FL_ERROR, "trust.failed", "error=%s", fl_error_text(&err));
	look_later(trust);
}

void trust_renew_now(struct trust *trust)
{
	if (trust->credentials == NULL || trust->renewing || trust->enroll != NULL ||
		trust->certificate.renew_at_ms <= wall_ms())
		return; /* it is under way, or about to be */
	trust->certificate.renew_at_ms = 0;
	(void)uv_timer_start(&trust->timer, on_timer, fl_random_below(SPREAD_MS), 0);
}

enum fl_code trust_open(struct trust **ret_trust, uv_loop_t *loop, const struct config *config,
	const struct facts *facts, bool patient, const struct trust_handlers *handlers,
	void *userdata, struct fl_error *err)
{
	struct trust *trust = FL_NEW(struct trust);
	enum fl_code code = FL_OK;

	if (trust == NULL)
		return FL_FAIL_NO_MEMORY(err);
	*trust = (struct trust){.loop = loop,
		.config = config,
		.facts = facts,
		.handlers = *handlers,
		.userdata = userdata,
		.next_key = fl_printf("%s.next", config->key)};
	if (trust->next_key == NULL)
		code = FL_FAIL_NO_MEMORY(err);
	else if (!patient && !enroll_wanted(config))
		code = load(trust, err);
	if (code != FL_OK) {
		free(trust->next_key);
		free(trust);
		return code;
	}
	(void)uv_timer_init(loop, &trust->timer);
	trust->timer.data = trust;
	(void)uv_timer_start(&trust->timer, on_timer, 0, 0);
	*ret_trust = trust;
	return FL_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct trust *trust = handle->data;

	trust->timer_closed = true;
	finish_close(trust);
}

void trust_close(struct trust *trust, void (*closed)(void *userdata), void *userdata)
{
	trust->closed = closed;
	trust->closed_userdata = userdata;
	uv_close((uv_handle_t *)&trust->timer, on_timer_closed);
	if (trust->enroll != NULL)
		enroll_close(trust->enroll, on_enroll_closed, trust);
}

struct tls_credentials *trust_credentials(const struct trust *trust)
{
	return trust->credentials;
}
