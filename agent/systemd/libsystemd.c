#include "agent/systemd/libsystemd.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "base/memory.h"

struct libsystemd libsystemd;

static const struct {
	const char *name;
	size_t offset;
} functions[] = {
#define X(name) {"sd_" #name, offsetof(struct libsystemd, name)},
	LIBSYSTEMD_FUNCTIONS(X)
#undef X
};

enum fl_code libsystemd_load(struct fl_error *err)
{
	void *library = dlopen("libsystemd.so.0", RTLD_LAZY | RTLD_LOCAL);

	if (library == NULL)
		return FL_FAIL(err, FL_E_UNAVAILABLE, "%s", dlerror());
	for (size_t i = 0; i < FL_COUNT(functions); i++) {
		void *function = dlsym(library, functions[i].name);

		if (function == NULL) {
			enum fl_code code = FL_FAIL(err, FL_E_UNAVAILABLE,
				"libsystemd.so.0 has no %s", functions[i].name);

			dlclose(library);
			return code;
		}
		memcpy((char *)&libsystemd + functions[i].offset, &function, sizeof(function));
	}
	return FL_OK;
}
