#include "coordinator/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define LOOK_EVERY_MS 2000U

struct descriptors {
	struct deadlines *deadlines;
	struct deadline look;
	bool none_left;
};

static bool is_one_left(void)
{
	FL_CLEANUP(fl_closep) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return fd >= 0 || (errno != EMFILE && errno != ENFILE);
}

static void look(struct descriptors *descriptors)
{
	bool none_left = !is_one_left();
	struct rlimit limit = {0};

	if (none_left == descriptors->none_left)
		return;
	descriptors->none_left = none_left;
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (none_left)
		fl_log(FL_ERROR, "coordinator.no_descriptors", "limit=%llu error=%s",
			(unsigned long long)limit.rlim_cur,
			"no connection can be accepted: raise LimitNOFILE= of the service, or see "
			"with ss -tnp who connects");
	else
		fl_log(FL_NOTICE, "coordinator.descriptors_recovered", "limit=%llu",
			(unsigned long long)limit.rlim_cur);
}

static void on_look(struct deadline *deadline, uint64_t now_ms)
{
	struct descriptors *descriptors = FL_CONTAINER(deadline, struct descriptors, look);
	enum fl_code code;

	look(descriptors);
	/* There is room in the heap: this one has just left it. */
	code = deadlines_set(descriptors->deadlines, deadline, now_ms + LOOK_EVERY_MS, NULL);
	fl_assert(code == FL_OK);
}

enum fl_code descriptors_new(
	struct descriptors **ret_descriptors, struct deadlines *deadlines, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) struct descriptors *descriptors = FL_NEW(struct descriptors);

	if (descriptors == NULL)
		return FL_FAIL_NO_MEMORY(err);
	descriptors->deadlines = deadlines;
	descriptors->look.expired = on_look;
	FL_TRY(deadlines_set(deadlines, &descriptors->look, fl_clock_boot_ms(), err));
	*ret_descriptors = FL_TAKE(descriptors);
	return FL_OK;
}

void descriptors_free(struct descriptors *descriptors)
{
	if (descriptors == NULL)
		return;
	deadlines_clear(descriptors->deadlines, &descriptors->look);
	free(descriptors);
}
