#include "agent/certificate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/memory.h"
#include "transport/tls_key.h"

#define FILE_MAX_BYTES (64U << 10)

#define HEADER(u32, u64) "# flota generation=%" u32 " renew_at_ms=%" u64

enum fl_code certificate_write(
	const struct config *config, const Pb__CertificateReply *reply, struct fl_error *err)
{
	FL_CLEANUP(fl_freep)
	char *text = fl_printf(HEADER(PRIu32, PRIu64) "\n%s", reply->generation,
		fl_clock_real_us() / 1000U + reply->renew_in_ms, reply->certificate);

	if (text == NULL)
		return FL_FAIL_NO_MEMORY(err);
	FL_TRY(fl_file_write(
		config->ca_certificate, reply->ca, strlen(reply->ca), 0644, true, err));
	fl_fault_point("certificate.ca_written");
	return fl_file_write(config->certificate, text, strlen(text), 0644, true, err);
}

enum fl_code certificate_read(
	const char *path, struct certificate_facts *ret_facts, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *text = NULL;
	struct certificate_facts facts = {0};
	int64_t begin, end;
	size_t len;

	FL_TRY(tls_certificate_times(path, &begin, &end, err));
	FL_TRY(fl_file_read(path, FILE_MAX_BYTES, &text, &len, err));
	facts.end_ms = (uint64_t)end * 1000U;
	if (sscanf(text, HEADER(SCNu32, SCNu64), &facts.generation, &facts.renew_at_ms) != 2) {
		facts.generation = 0;
		facts.renew_at_ms = (uint64_t)(begin + (end - begin) / 2) * 1000U;
	}
	*ret_facts = facts;
	return FL_OK;
}
