/*
 * Whatever bytes somebody gives as a machine's description: read, or refused with a message that
 * names the place. What is read makes documents or says why not, and what they carry is text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ignition/document.h"
#include "ignition/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

/* Instead of the files that it names, which are not the fuzzer's to read: bytes of its own. */
static void give_sources(struct machine *machine, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < machine->n_files; i++) {
		machine->files[i].data = fl_memdup0(data, size);
		CHECK(machine->files[i].data != NULL);
		/* Units are text, as unit_verify() sees to it. */
		if (machine->files[i].is_unit)
			memset(machine->files[i].data, 'u', size);
		machine->files[i].len = size;
	}
	if (machine_value(machine, MACHINE_IPA_DOMAIN) != NULL)
		machine->ipa_password = fl_strdup("it's $ecret");
	if (machine_value(machine, MACHINE_HASH) != NULL)
		machine->hash = fl_strdup(machine_value(machine, MACHINE_HASH));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FL_CLEANUP(machine_freep) struct machine *machine = NULL;
	UNIT_CLEANUP_REPORT struct unit_report report = {0};
	struct fl_error err = {0};
	enum fl_code code;

	CHECK(machine_new("f", &machine, NULL) == FL_OK);
	code = machine_parse(machine, data, size, &report, &err);
	CHECK((code == FL_OK) == (report.errors.n == 0));
	if (code != FL_OK) {
		CHECK(strcmp(err.text, report.errors.items[0]) == 0);
		CHECK(strncmp(err.text, "f:", 2) == 0);
		return 0;
	}
	if (machine_check(machine, &err) != FL_OK)
		return 0;
	give_sources(machine, data, size);
	for (unsigned kind = DOCUMENT_IGNITION; kind <= DOCUMENT_BUTANE; kind++) {
		FL_CLEANUP_BUF struct fl_buf document = FL_BUF_INIT;
		FL_CLEANUP_STRV struct fl_strv secrets = {0};

		if (document_write(kind, machine, NULL, &document, &secrets, &err) == FL_OK)
			CHECK(text_is_readable(document.data, document.len));
		else
			CHECK(err.text[0] != '\0');
	}
	return 0;
}
