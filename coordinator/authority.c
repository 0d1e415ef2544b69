#include "coordinator/authority.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "transport/tls_key.h"

#define PEM_MAX_BYTES     (64U << 10)
#define BACKDATED_S       INT64_C(3600) /* ca.c's */
#define LOOK_MS           UINT64_C(3600000) /* the wall clock may jump meanwhile */
#define LOOK_MIN_MS       UINT64_C(500)
#define RETRY_MS          UINT64_C(60000)
#define OLD_OPERATORS_MAX 100U

struct authority {
	struct coordinator *coordinator;
	struct deadline renewal;
	struct tls_credentials *credentials;
	char fleet[IDENTITY_PART_MAX];
	char *ca, *ca_key, *next_ca_key, *cross; /* paths */
	char *certificate, *key, *next_key;
	struct fl_map *old_operators; /* names; the values say nothing */
};

/* ---- Loading -- */

static enum fl_code name_files(struct authority *a, struct fl_error *err)
{
	const char *directory = a->coordinator->config->data_directory;
	const struct {
		char **path;
		const char *name;
	} files[] = {{&a->ca, "ca.crt"}, {&a->ca_key, "ca.key"}, {&a->next_ca_key, "ca.key.next"},
		{&a->cross, "ca.cross"}, {&a->certificate, "coordinator.crt"},
		{&a->key, "coordinator.key"}, {&a->next_key, "coordinator.key.next"}};

	for (size_t i = 0; i < FL_COUNT(files); i++) {
		*files[i].path = fl_printf("%s/%s", directory, files[i].name);
		if (*files[i].path == NULL)
			return FL_FAIL_NO_MEMORY(err);
	}
	return FL_OK;
}

/* A crash came between the certificate and its key. */
static enum fl_code mend(const struct authority *a, struct fl_error *err)
{
	if (access(a->next_key, F_OK) < 0 || tls_key_fits(a->key, a->certificate) ||
		!tls_key_fits(a->next_key, a->certificate))
		return FL_OK;
	if (rename(a->next_key, a->key) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", a->key);
	return FL_OK;
}

static enum fl_code load_credentials(struct authority *a, struct fl_error *err)
{
	const struct tls_files files = {.ca = a->ca, .certificate = a->certificate, .key = a->key};
	FL_CLEANUP(tls_credentials_unrefp) struct tls_credentials *credentials = NULL;
	const struct identity *identity;

	FL_TRY(tls_credentials_load(&files, &credentials, err));
	identity = tls_credentials_identity(credentials);
	if (identity->kind != IDENTITY_COORDINATOR)
		return FL_FAIL(
			err, FL_E_INVALID, "%s is not a coordinator's certificate", a->certificate);
	memcpy(a->fleet, identity->fleet, sizeof(a->fleet));
	tls_credentials_unref(a->credentials);
	a->credentials = FL_TAKE(credentials);
	return FL_OK;
}

/* An operator may keep the key in a safe place instead of here. */
static enum fl_code load_ca(struct authority *a, struct fl_error *err)
{
	struct coordinator *coordinator = a->coordinator;
	struct ca *ca;

	if (access(a->ca_key, F_OK) < 0 && access(a->next_ca_key, F_OK) < 0) {
		fl_log(FL_NOTICE, "coordinator.no_ca_key",
			"path=%s meaning=machines cannot join, nor renew their certificates",
			a->ca_key);
		return FL_OK;
	}
	FL_TRY(ca_load(coordinator->config->data_directory, &ca, err));
	ca_free(coordinator->ca);
	coordinator->ca = ca;
	return FL_OK;
}

static enum fl_code load(struct authority *a, struct fl_error *err)
{
	FL_TRY(name_files(a, err));
	FL_TRY(fl_map_new(&a->old_operators, err));
	if (access(a->ca, F_OK) < 0 && errno == ENOENT)
		return FL_FAIL(err, FL_E_NOT_FOUND,
			"there is no fleet in %s: make one with \"flota-coordinator init "
			"--fleet=NAME\"",
			a->coordinator->config->data_directory);
	FL_TRY(mend(a, err));
	FL_TRY(load_credentials(a, err));
	return load_ca(a, err);
}

void authority_free(struct authority *a)
{
	if (a == NULL)
		return;
	deadlines_clear(a->coordinator->deadlines, &a->renewal);
	ca_free(FL_TAKE(a->coordinator->ca));
	tls_credentials_unref(a->credentials);
	fl_map_free(a->old_operators);
	free(a->ca);
	free(a->ca_key);
	free(a->next_ca_key);
	free(a->cross);
	free(a->certificate);
	free(a->key);
	free(a->next_key);
	free(a);
}

struct tls_credentials *authority_credentials(const struct authority *a)
{
	return a->credentials;
}

const char *authority_fleet(const struct authority *a)
{
	return a->fleet;
}

/* ---- The coordinator's certificate -- */

/* It and what leads to it from the CA before. */
static enum fl_code with_chain(
	const struct authority *a, const char *pem, char **ret_text, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *cross = NULL;
	size_t len;

	if (ca_is_changing(a->coordinator->ca))
		FL_TRY(fl_file_read(a->cross, PEM_MAX_BYTES, &cross, &len, err));
	*ret_text = fl_printf("%s%s", pem, cross != NULL ? cross : "");
	return *ret_text != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* Half of the way from when it was made. */
static enum fl_code read_times(
	const struct authority *a, int64_t *ret_life_s, int64_t *ret_renew_at, struct fl_error *err)
{
	int64_t begin, end;

	FL_TRY(tls_certificate_times(a->certificate, &begin, &end, err));
	if (end - begin > BACKDATED_S)
		begin += BACKDATED_S;
	*ret_life_s = end - begin;
	*ret_renew_at = begin + *ret_life_s / 2;
	return FL_OK;
}

/* Another one like it. The new key waits beside the old one until its certificate is there. */
static enum fl_code write_next(struct authority *a, struct fl_error *err)
{
	const struct ca *ca = a->coordinator->ca;
	struct identity identity = {.kind = IDENTITY_COORDINATOR};
	FL_CLEANUP(ca_pair_fini) struct ca_pair pair = {0};
	FL_CLEANUP_STRV struct fl_strv addresses = {0};
	FL_CLEANUP(fl_freep) char *text = NULL;
	int64_t life_s, renew_at;

	FL_TRY(ca_read_addresses(a->certificate, &addresses, err));
	FL_TRY(read_times(a, &life_s, &renew_at, err));
	memcpy(identity.fleet, a->fleet, sizeof(identity.fleet));
	FL_TRY(ca_issue(ca, &identity, &addresses, (int64_t)(fl_clock_real_us() / 1000000) + life_s,
		&pair, err));
	FL_TRY(with_chain(a, pair.certificate, &text, err));
	FL_TRY(fl_file_write(a->next_key, pair.key, strlen(pair.key), 0600, true, err));
	fl_fault_point("coordinator.key_made");
	FL_TRY(fl_file_write(a->certificate, text, strlen(text), 0644, true, err));
	fl_fault_point("coordinator.certificate_written");
	if (rename(a->next_key, a->key) < 0)
		return FL_FAIL_ERRNO(err, errno, "%s", a->key);
	return FL_OK;
}

static enum fl_code renew(struct authority *a, struct fl_error *err)
{
	FL_TRY(write_next(a, err));
	FL_TRY(load_credentials(a, err));
	fl_log(FL_NOTICE, "coordinator.renewed", "certificate=%s ca=%s", a->certificate,
		ca_id(a->coordinator->ca));
	coordinator_certified(a->coordinator);
	return FL_OK;
}

static void look_after(struct authority *a, uint64_t ms)
{
	/* Its place is there since authority_begin(). */
	(void)!deadlines_set(a->coordinator->deadlines, &a->renewal, fl_clock_boot_ms() + ms, NULL);
}

/* How long until it is due; 0: it is. */
static enum fl_code due_in(const struct authority *a, uint64_t *ret_ms, struct fl_error *err)
{
	int64_t life_s, renew_at, now = (int64_t)(fl_clock_real_us() / 1000000);

	FL_TRY(read_times(a, &life_s, &renew_at, err));
	if (now >= renew_at || !ca_has_signed(a->coordinator->ca, a->certificate))
		*ret_ms = 0;
	else
		*ret_ms = (uint64_t)(renew_at - now) * 1000;
	return FL_OK;
}

static void look(struct authority *a)
{
	struct fl_error err = {0};
	uint64_t ms = 0;
	enum fl_code code = due_in(a, &ms, &err);

	if (code == FL_OK && ms == 0) {
		code = renew(a, &err);
		if (code == FL_OK)
			code = due_in(a, &ms, &err);
	}
	if (code != FL_OK) {
		fl_log(FL_ERROR, "coordinator.not_renewed", "error=%s", fl_error_text(&err));
		ms = RETRY_MS;
	}
	if (ms < LOOK_MIN_MS)
		ms = LOOK_MIN_MS;
	look_after(a, ms < LOOK_MS ? ms : LOOK_MS);
}

static void on_look(struct deadline *deadline, uint64_t now_ms)
{
	(void)now_ms;
	look(FL_CONTAINER(deadline, struct authority, renewal));
}

/* A crash came before the end of a drop, or before a new CA was one: what was left behind goes. */
static void clear_away(struct authority *a)
{
	struct coordinator *coordinator = a->coordinator;
	const struct core_event event = {
		.kind = CORE_CA, .ca = {.ca_id = ca_id(coordinator->ca), .dropped = true}};
	struct core_answer answer;
	struct fl_error err = {0};
	enum fl_code code;

	if (ca_is_changing(coordinator->ca) || access(a->cross, F_OK) < 0)
		return;
	code = renew(a, &err);
	if (code == FL_OK)
		code = coordinator_step(coordinator, &event, &answer, &err);
	if (code == FL_OK && unlink(a->cross) < 0)
		code = FL_FAIL_ERRNO(&err, errno, "%s", a->cross);
	(void)unlink(a->next_ca_key);
	if (code != FL_OK)
		fl_log(FL_ERROR, "ca.left_behind", "error=%s", fl_error_text(&err));
}

void authority_begin(struct authority *a)
{
	if (a->coordinator->ca == NULL)
		return;
	clear_away(a);
	look(a);
}

enum fl_code authority_open(
	struct authority **ret_authority, struct coordinator *coordinator, struct fl_error *err)
{
	FL_CLEANUP(authority_freep) struct authority *a = FL_NEW(struct authority);

	if (a == NULL)
		return FL_FAIL_NO_MEMORY(err);
	a->coordinator = coordinator;
	a->renewal.expired = on_look;
	FL_TRY(load(a, err));
	FL_TRY(deadlines_set(coordinator->deadlines, &a->renewal, UINT64_MAX, err));
	*ret_authority = FL_TAKE(a);
	return FL_OK;
}

/* ---- The CA -- */

static enum fl_code make_next_ca(
	const struct authority *a, struct ca_pair *ret_pair, char **ret_cross, struct fl_error *err)
{
	const struct ca *previous = a->coordinator->ca;
	FL_CLEANUP(ca_freep) struct ca *next = NULL;
	FL_CLEANUP(fl_freep) char *cross = NULL;

	FL_TRY(ca_create(a->fleet, &next, ret_pair, err));
	FL_TRY(ca_cross_sign(next, previous, &cross, err));
	*ret_cross = fl_printf("%s%s", cross, ca_certificate(previous));
	return *ret_cross != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* With ca.crt the step is made; whatever is missing then a start makes up for. */
static enum fl_code write_next_ca(const struct authority *a, struct fl_error *err)
{
	FL_CLEANUP(ca_pair_fini) struct ca_pair pair = {0};
	FL_CLEANUP(fl_freep) char *cross = NULL;
	FL_CLEANUP(fl_freep) char *both = NULL;

	FL_TRY(make_next_ca(a, &pair, &cross, err));
	both = fl_printf("%s%s", pair.certificate, ca_certificate(a->coordinator->ca));
	if (both == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_file_write(a->next_ca_key, pair.key, strlen(pair.key), 0600, true, err));
	FL_TRY(fl_file_write(a->cross, cross, strlen(cross), 0644, true, err));
	fl_fault_point("ca.cross_written");
	FL_TRY(fl_file_write(a->ca, both, strlen(both), 0644, true, err));
	fl_fault_point("ca.written");
	return FL_OK;
}

enum fl_code authority_succeed(struct authority *a, struct fl_error *err)
{
	const struct ca *ca = a->coordinator->ca;

	if (ca == NULL)
		return FL_FAIL(err, FL_E_STATE,
			"the CA's key is not on this coordinator; bring it back as %s for as long as "
			"the CA changes",
			a->ca_key);
	if (ca_is_changing(ca))
		return FL_OK;
	FL_TRY(write_next_ca(a, err));
	FL_TRY(load_ca(a, err)); /* it finds the key that fits */
	fl_fault_point("ca.key_taken");
	return renew(a, err);
}

enum fl_code authority_drop(struct authority *a, struct fl_error *err)
{
	const struct ca *ca = a->coordinator->ca;
	const char *pem;

	if (ca == NULL || !ca_is_changing(ca))
		return FL_OK;
	pem = ca_certificate(ca);
	FL_TRY(fl_file_write(a->ca, pem, strlen(pem), 0644, true, err));
	fl_fault_point("ca.dropped");
	FL_TRY(load_ca(a, err));
	FL_TRY(renew(a, err));
	(void)unlink(a->cross); /* nothing reads it any more */
	fl_map_free(a->old_operators);
	a->old_operators = NULL;
	return fl_map_new(&a->old_operators, err);
}

void authority_note(struct authority *a, const struct identity *identity)
{
	if (identity->kind != IDENTITY_OPERATOR || a->coordinator->ca == NULL ||
		!ca_is_changing(a->coordinator->ca) || a->old_operators == NULL)
		return;
	if (!identity->is_of_other_ca)
		(void)fl_map_remove(a->old_operators, identity->name);
	else if (fl_map_count(a->old_operators) < OLD_OPERATORS_MAX &&
		 fl_map_put(a->old_operators, identity->name, a, NULL) != FL_OK)
		fl_log(FL_WARNING, "ca.operator_not_noted", "operator=%s", identity->name);
}

enum fl_code authority_old_operators(
	const struct authority *a, struct fl_strv *ret_names, struct fl_error *err)
{
	FL_MAP_FOREACH (entry, following, a->old_operators)
		FL_TRY(fl_strv_add(ret_names, fl_map_key(entry), err));
	return FL_OK;
}
