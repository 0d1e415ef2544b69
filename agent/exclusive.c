#include "agent/exclusive.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define KILL_EVERY_MS 250U

struct exclusive {
	struct lease *lease;
	struct reconcile *reconcile;
	enum lease_state state;
	int timer_fd; /* CLOCK_BOOTTIME, which the loop's timers are not */
	uv_poll_t poll;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

static void set_state(struct exclusive *exclusive, enum lease_state state)
{
	exclusive->state = state;
	reconcile_set_lease(exclusive->reconcile, state);
}

static void wake_at(const struct exclusive *exclusive, uint64_t at_ms)
{
	struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at_ms / 1000U),
					  .tv_nsec = (long)(at_ms % 1000U) * 1000000L}};

	(void)timerfd_settime(exclusive->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* What follows from the time. */
static void check(struct exclusive *exclusive)
{
	uint64_t now_ms = fl_clock_boot_ms(), until_ms = lease_until_ms(exclusive->lease);

	if (now_ms < until_ms) {
		wake_at(exclusive, until_ms);
		return;
	}
	if (exclusive->state != LEASE_NONE) {
		fl_log(FL_WARNING, "lease.ended", "ago_ms=%llu",
			(unsigned long long)(now_ms - until_ms));
		lease_show(exclusive->lease, false);
		set_state(exclusive, LEASE_NONE);
	}
	if (reconcile_kill_late(exclusive->reconcile, now_ms - until_ms))
		wake_at(exclusive, now_ms + KILL_EVERY_MS);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct exclusive *exclusive = FL_CONTAINER(poll, struct exclusive, poll);
	uint64_t times;

	(void)status;
	(void)events;
	if (read(exclusive->timer_fd, &times, sizeof(times)) > 0)
		check(exclusive);
}

void exclusive_granted(struct exclusive *exclusive, uint64_t until_ms)
{
	check(exclusive); /* one that has ended is not continued */
	if (until_ms <= fl_clock_boot_ms())
		return;
	if (exclusive->state == LEASE_NONE && reconcile_start_pending(exclusive->reconcile))
		return; /* the next heartbeat brings another */
	if (!exclusive_is_fenced(exclusive)) {
		/* What runs may run on until the coordinator takes it away. */
		if (exclusive->state == LEASE_NONE)
			return;
		if (exclusive->state == LEASE_OURS)
			set_state(exclusive, LEASE_KEPT);
	}
	lease_extend(exclusive->lease, until_ms);
	lease_show(exclusive->lease, true);
	if (exclusive->state != LEASE_OURS && exclusive_is_fenced(exclusive)) {
		fl_log(FL_INFO, "lease.begun", "for_ms=%llu",
			(unsigned long long)(until_ms - fl_clock_boot_ms()));
		set_state(exclusive, LEASE_OURS);
	}
	check(exclusive);
}

bool exclusive_is_fenced(const struct exclusive *exclusive)
{
	return lease_is_fenced(exclusive->lease);
}

bool exclusive_is_leased(const struct exclusive *exclusive)
{
	return lease_is_alive(exclusive->lease);
}

enum fl_code exclusive_write_list(struct exclusive *exclusive, struct fl_error *err)
{
	FL_CLEANUP_BUF struct fl_buf list = FL_BUF_INIT;

	reconcile_list_exclusive(exclusive->reconcile, &list);
	FL_TRY(lease_list_write(exclusive->lease, &list, err));
	reconcile_listed(exclusive->reconcile);
	return FL_OK;
}

/* ---- Beginning and end -------------------------------------------------------------------- */

static void restore_one(const char *name, uint32_t stop_ms, void *userdata)
{
	struct exclusive *exclusive = userdata;
	struct fl_error err = {.code = FL_OK};

	if (reconcile_restore_exclusive(exclusive->reconcile, name, stop_ms, &err) != FL_OK)
		fl_log(FL_ERROR, "lease.list", "unit=%s error=%s", name, fl_error_text(&err));
}

static enum fl_code begin(struct exclusive *exclusive, uv_loop_t *loop,
	const char *runtime_directory, struct fl_error *err)
{
	exclusive->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (exclusive->timer_fd < 0)
		return FL_FAIL_ERRNO(err, errno, "timerfd_create");
	FL_TRY(lease_open(&exclusive->lease, runtime_directory, err));
	FL_TRY(lease_list_read(exclusive->lease, restore_one, exclusive, err));
	if (uv_poll_init(loop, &exclusive->poll, exclusive->timer_fd) != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "no poll handle");
	return FL_OK;
}

static void exclusive_free(struct exclusive *exclusive)
{
	if (exclusive->timer_fd >= 0)
		(void)close(exclusive->timer_fd);
	lease_free(exclusive->lease);
	free(exclusive);
}

enum fl_code exclusive_open(struct exclusive **ret_exclusive, uv_loop_t *loop,
	const char *runtime_directory, struct reconcile *reconcile, struct fl_error *err)
{
	struct exclusive *exclusive = FL_NEW(struct exclusive);
	enum fl_code code;

	if (exclusive == NULL)
		return FL_FAIL_NO_MEMORY(err);
	exclusive->reconcile = reconcile;
	exclusive->timer_fd = -1;
	code = begin(exclusive, loop, runtime_directory, err);
	if (code != FL_OK) {
		exclusive_free(exclusive);
		return code;
	}
	(void)uv_poll_start(&exclusive->poll, UV_READABLE, on_poll);
	set_state(exclusive, lease_is_alive(exclusive->lease) ? LEASE_KEPT : LEASE_NONE);
	wake_at(exclusive, lease_until_ms(exclusive->lease) + 1); /* 0 would be never */
	*ret_exclusive = exclusive;
	return FL_OK;
}

static void on_closed(uv_handle_t *handle)
{
	struct exclusive *exclusive = FL_CONTAINER((uv_poll_t *)handle, struct exclusive, poll);
	void (*closed)(void *userdata) = exclusive->closed;
	void *userdata = exclusive->closed_userdata;

	exclusive_free(exclusive);
	closed(userdata);
}

void exclusive_close(struct exclusive *exclusive, void (*closed)(void *userdata), void *userdata)
{
	exclusive->closed = closed;
	exclusive->closed_userdata = userdata;
	uv_close((uv_handle_t *)&exclusive->poll, on_closed);
}
