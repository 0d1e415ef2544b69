#include "cli/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/context.h"
#include "cli/dialect.h"

void endpoint_fini(struct endpoint *endpoint)
{
	free(endpoint->url);
	free(endpoint->ca);
	free(endpoint->certificate);
	free(endpoint->key);
	memset(endpoint, 0, sizeof(*endpoint));
}

/* NULL for one that is not set, or empty. */
static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static const char *first_of(const char *a, const char *b)
{
	return a != NULL && a[0] != '\0' ? a : b;
}

/* A copy of @value (nullable) into the empty @field. */
static enum fl_code put(char **field, const char *value, struct fl_error *err)
{
	if (value == NULL || *field != NULL)
		return FL_OK;
	*field = fl_strdup(value);
	return *field != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

/* fleet's way to write an endpoint was a list, of which it used the first, and unix:// for a local
 * socket. */
static enum fl_code put_url(char **field, const char *url, struct fl_error *err)
{
	static const char unix_scheme[] = "unix://";
	size_t n;

	if (url == NULL || *field != NULL)
		return FL_OK;
	n = strcspn(url, ",");
	if (strncmp(url, unix_scheme, strlen(unix_scheme)) == 0)
		*field = fl_printf(
			"ipc://%.*s", (int)(n - strlen(unix_scheme)), url + strlen(unix_scheme));
	else
		*field = fl_printf("%.*s", (int)n, url);
	return *field != NULL ? FL_OK : FL_FAIL_NO_MEMORY(err);
}

static enum fl_code from_context(
	const char *name, bool explicitly, struct endpoint *endpoint, struct fl_error *err)
{
	CONTEXTS_CLEANUP struct contexts contexts = {0};
	FL_CLEANUP(fl_freep) char *path = NULL;
	const struct context *context;

	if (contexts_path(&path, err) != FL_OK)
		return explicitly ? err->code : FL_OK;
	FL_TRY(contexts_load(path, &contexts, err));
	if (name == NULL)
		name = contexts.current;
	if (name == NULL)
		return FL_OK;
	context = contexts_find(&contexts, name);
	if (context == NULL)
		return FL_FAIL(err, FL_E_USAGE,
			"there is no context \"%s\" in %s; \"flotactl config list\" shows those there "
			"are",
			name, path);
	if (context->endpoint == NULL && endpoint->url == NULL)
		return FL_FAIL(err, FL_E_USAGE,
			"%s: the context \"%s\" has no endpoint; set it with: flotactl config set %s "
			"Endpoint=tls+tcp://HOST:PORT",
			path, name, name);
	FL_TRY(put_url(&endpoint->url, context->endpoint, err));
	FL_TRY(put(&endpoint->ca, context->ca_certificate, err));
	FL_TRY(put(&endpoint->certificate, context->certificate, err));
	return put(&endpoint->key, context->key, err);
}

static enum fl_code find_url(
	const struct cli_options *options, struct endpoint *endpoint, struct fl_error *err)
{
	const char *context = first_of(options->context, NULL);
	bool is_root = geteuid() == 0;

	FL_TRY(put_url(&endpoint->url, first_of(options->endpoint, NULL), err));
	if (context != NULL)
		return from_context(context, true, endpoint, err);
	FL_TRY(put_url(&endpoint->url, environment("FLOTACTL_ENDPOINT"), err));
	context = environment("FLOTACTL_CONTEXT");
	if (context != NULL)
		return from_context(context, true, endpoint, err);
	FL_TRY(put_url(&endpoint->url, environment("FLEETCTL_ENDPOINT"), err));
	if (endpoint->url != NULL)
		return FL_OK;
	FL_TRY(from_context(NULL, false, endpoint, err));
	if (endpoint->url == NULL && is_root && access(ENDPOINT_LOCAL_SOCKET, F_OK) == 0)
		return put(&endpoint->url, "ipc://" ENDPOINT_LOCAL_SOCKET, err);
	if (endpoint->url == NULL)
		return FL_FAIL(err, FL_E_USAGE,
			"no fleet is configured%s. Name its coordinator by --endpoint=URL or "
			"FLOTACTL_ENDPOINT, or once for all: flotactl config set NAME "
			"Endpoint=tls+tcp://HOST:PORT CACertificate=PATH Certificate=PATH Key=PATH",
			is_root ? ", and " ENDPOINT_LOCAL_SOCKET " is not there" : "");
	return FL_OK;
}

static enum fl_code check(const struct endpoint *endpoint, struct fl_error *err)
{
	const char *url = endpoint->url;

	if (strncmp(url, "ipc:///", 7) == 0)
		return FL_OK;
	if (strstr(url, "://") == NULL)
		return DIALECT_FAIL(err, TEXT_ENDPOINT_WITHOUT_SCHEME, url);
	if (strncmp(url, "tls+tcp://", 10) != 0)
		return DIALECT_FAIL(err, TEXT_ENDPOINT_SCHEME, url);
	if (endpoint->ca == NULL || endpoint->certificate == NULL || endpoint->key == NULL)
		return FL_FAIL(err, FL_E_USAGE,
			"%s needs certificates: give --ca-file, --cert-file and --key-file, or use a "
			"context that has them (flotactl config set NAME CACertificate=PATH ...)",
			url);
	return FL_OK;
}

enum fl_code endpoint_find(
	const struct cli_options *options, struct endpoint *ret_endpoint, struct fl_error *err)
{
	static const struct {
		const char *flotactl, *fleetctl;
	} names[] = {{"FLOTACTL_CA_FILE", "FLEETCTL_CA_FILE"},
		{"FLOTACTL_CERT_FILE", "FLEETCTL_CERT_FILE"},
		{"FLOTACTL_KEY_FILE", "FLEETCTL_KEY_FILE"}};
	const char *const given[] = {options->ca_file, options->cert_file, options->key_file};
	struct fl_error local = {0};
	char **fields[FL_COUNT(names)];

	if (err == NULL)
		err = &local;
	memset(ret_endpoint, 0, sizeof(*ret_endpoint));
	fields[0] = &ret_endpoint->ca;
	fields[1] = &ret_endpoint->certificate;
	fields[2] = &ret_endpoint->key;
	for (size_t i = 0; i < FL_COUNT(names); i++) {
		const char *env =
			first_of(environment(names[i].flotactl), environment(names[i].fleetctl));

		FL_TRY(put(fields[i], first_of(given[i], env), err));
	}
	FL_TRY(find_url(options, ret_endpoint, err));
	return check(ret_endpoint, err);
}
