/*
 *   look(), at the lease's end and every second:
 *
 *	the lease lives ─────▶ the connection to systemd, if any, is closed
 *	it has ended ────────▶ "leased" is removed: nothing is started any more
 *	                       listed units? connect, ask systemd which of them run
 *	on_listed() ─────────▶ those that run are stopped; those that still do after their stop_ms
 *	                       are killed; and so again every STEP_MS until none runs
 *
 * The agent does the same; to stop a unit twice is as good as once. What this cannot do is end
 * processes that the kernel cannot (in uninterruptible sleep), or act while PID 1 does not answer.
 */
#include "agent/fence.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "agent/driver.h"
#include "agent/launch.h"
#include "agent/lease.h"
#include "agent/systemd/bus.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/notify.h"
#include "base/strv.h"

#define STEP_MS 200U
#define CALL_MS 5000U

struct fence {
	uv_loop_t loop;
	uv_signal_t term, interrupt;
	int timer_fd; /* CLOCK_BOOTTIME, which the loop's timers are not */
	uv_poll_t poll;
	struct lease *lease;
	struct bus *bus; /* NULL while the lease lives, or nothing is listed */
	bool bus_closing;
	bool asked; /* systemd, and the answer is missing */
	struct fl_strv names; /* listed */
	struct fl_map *stop_ms; /* of uint32_t, by name */
	uint64_t told_until_ms; /* the lease whose end is logged */
	bool ending;
	char **argv;
	char *version_path; /* what the agent writes when it has become another release */
	ino_t version_file; /* as it was when this fence began */
};

static void look(struct fence *fence);

static void wake_after(const struct fence *fence, uint64_t ms)
{
	struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(ms / 1000U),
					  .tv_nsec = (long)(ms % 1000U) * 1000000L + 1}};

	(void)timerfd_settime(fence->timer_fd, 0, &spec, NULL);
}

/* ---- The list ----------------------------------------------------------------------------- */

static void forget_list(struct fence *fence)
{
	fl_strv_fini(&fence->names);
	FL_MAP_FOREACH (entry, following, fence->stop_ms)
		free(fl_map_remove(fence->stop_ms, fl_map_key(entry)));
}

static void take_listed(const char *name, uint32_t stop_ms, void *userdata)
{
	struct fence *fence = userdata;
	uint32_t *value = FL_NEW(uint32_t);

	if (value == NULL)
		return;
	*value = stop_ms;
	if (fl_map_get(fence->stop_ms, name) != NULL ||
		fl_strv_add(&fence->names, name, NULL) != FL_OK ||
		fl_map_put(fence->stop_ms, name, value, NULL) != FL_OK)
		free(value);
}

static void read_list(struct fence *fence)
{
	struct fl_error err = {.code = FL_OK};

	forget_list(fence);
	if (lease_list_read(fence->lease, take_listed, fence, &err) != FL_OK)
		fl_log(FL_ERROR, "fence.list", "error=%s", fl_error_text(&err));
}

/* ---- systemd ------------------------------------------------------------------------------ */

static void on_ordered(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	(void)reply;
	(void)userdata;
	if (code != FL_OK && code != FL_E_NOT_FOUND)
		fl_log(FL_WARNING, "fence.order", "error=%s", fl_error_text(err));
}

/* Ends one that runs; the state in the next list tells what came of it. */
static void end_unit(
	struct fence *fence, const char *name, const char *active, uint64_t ended_ms_ago)
{
	const uint32_t *stop_ms = fl_map_get(fence->stop_ms, name);
	bool late = stop_ms == NULL || ended_ms_ago >= *stop_ms;
	enum fl_code code = FL_OK;

	if (strcmp(active, "deactivating") != 0) {
		fl_log(FL_WARNING, "fence.stop", "unit=%s active=%s", name, active);
		code = bus_call(fence->bus, BUS_MANAGER_PATH, BUS_MANAGER, "StopUnit", CALL_MS,
			on_ordered, NULL, NULL, NULL, "ss", name, "replace");
	}
	if (late && code == FL_OK) {
		fl_log(FL_WARNING, "fence.kill", "unit=%s active=%s", name, active);
		code = bus_call(fence->bus, BUS_MANAGER_PATH, BUS_MANAGER, "KillUnit", CALL_MS,
			on_ordered, NULL, NULL, NULL, "ssi", name, "all", (uint32_t)SIGKILL);
	}
	(void)code; /* the connection is lost: again with the next one */
}

static void on_listed(
	enum fl_code code, sd_bus_message *reply, const struct fl_error *err, void *userdata)
{
	struct fence *fence = userdata;
	uint64_t now_ms = fl_clock_boot_ms(), until_ms = lease_until_ms(fence->lease);
	const char *name, *description, *load, *sub, *following, *path, *type, *job_path;
	struct driver_state state = {.load = ""};
	const char *active;
	bool any = false;
	uint32_t job;

	fence->asked = false;
	if (code != FL_OK) {
		fl_log(FL_WARNING, "fence.ask", "error=%s", fl_error_text(err));
		return;
	}
	if (fence->ending || now_ms < until_ms ||
		libsystemd.bus_message_enter_container(reply, 'a', "(ssssssouso)") < 0)
		return;
	while (libsystemd.bus_message_read(reply, "(ssssssouso)", &name, &description, &load,
		       &active, &sub, &following, &path, &job, &type, &job_path) > 0) {
		(void)snprintf(state.active, sizeof(state.active), "%s", active);
		/* A start that waits for something comes, too. */
		if (!driver_state_is_running(&state) && job == 0)
			continue;
		any = true;
		end_unit(fence, name, active, now_ms - until_ms);
	}
	wake_after(fence, any ? STEP_MS : LEASE_FENCE_LOOK_MS);
}

static void on_bus_up(void *userdata)
{
	look(userdata);
}

static void on_bus_down(void *userdata)
{
	((struct fence *)userdata)->asked = false;
}

static void on_bus_signal(sd_bus_message *message, void *userdata)
{
	(void)message;
	(void)userdata;
}

static const struct bus_handlers bus_handlers = {
	.up = on_bus_up,
	.down = on_bus_down,
	.signal = on_bus_signal,
};

static void on_bus_closed(void *userdata)
{
	struct fence *fence = userdata;

	fence->bus_closing = false;
	if (!fence->ending)
		look(fence);
}

static void disconnect(struct fence *fence)
{
	if (fence->bus == NULL)
		return;
	fence->asked = false;
	fence->bus_closing = true;
	bus_close(FL_TAKE(fence->bus), on_bus_closed, fence);
}

static void connect_systemd(struct fence *fence)
{
	struct fl_error err = {.code = FL_OK};

	if (fence->bus == NULL && !fence->bus_closing &&
		bus_open(&fence->bus, &fence->loop, &bus_handlers, fence, &err) != FL_OK)
		fl_log(FL_ERROR, "fence.connect", "error=%s", fl_error_text(&err));
}

static void ask(struct fence *fence)
{
	struct fl_error err = {.code = FL_OK};

	if (fence->bus == NULL || !bus_is_up(fence->bus) || fence->asked)
		return;
	if (bus_call_strv(fence->bus, BUS_MANAGER_PATH, BUS_MANAGER, "ListUnitsByNames", CALL_MS,
		    on_listed, fence, fence->names.items, &err) == FL_OK)
		fence->asked = true;
	else
		fl_log(FL_WARNING, "fence.ask", "error=%s", fl_error_text(&err));
}

/* ---- Another release ---------------------------------------------------------------------- */

/* 0: there is none. Each is written beside and renamed. */
static ino_t version_file(const struct fence *fence)
{
	struct stat st;

	return stat(fence->version_path, &st) == 0 ? st.st_ino : 0;
}

/* Only while there is nothing to be ended. */
static void follow_agent(struct fence *fence)
{
	struct fl_error err = {.code = FL_OK};
	ino_t now = version_file(fence);

	if (now == fence->version_file)
		return;
	fence->version_file = now;
	fl_log(FL_NOTICE, "fence.again", "from=%s", FLOTA_VERSION);
	if (launch_again(fence->argv, &err) != FL_OK)
		fl_log(FL_ERROR, "fence.again", "error=%s", fl_error_text(&err));
}

static void write_own_version(const char *runtime_directory)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/" LAUNCH_FENCE_VERSION, runtime_directory);
	struct fl_error err = {.code = FL_OK};

	if (path != NULL && fl_file_write(path, FLOTA_VERSION, strlen(FLOTA_VERSION), 0600, false,
				    &err) != FL_OK)
		fl_log(FL_WARNING, "fence.version", "error=%s", fl_error_text(&err));
}

/* ---- Looking ------------------------------------------------------------------------------ */

static void look(struct fence *fence)
{
	uint64_t now_ms = fl_clock_boot_ms(), until_ms = lease_until_ms(fence->lease);
	uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;

	lease_fence_seen(fence->lease);
	wake_after(fence,
		left_ms > 0 && left_ms < LEASE_FENCE_LOOK_MS ? left_ms : LEASE_FENCE_LOOK_MS);
	if (left_ms > 0) {
		disconnect(fence);
		follow_agent(fence);
		return;
	}
	lease_show(fence->lease, false);
	read_list(fence);
	if (fence->told_until_ms != until_ms && fence->names.n > 0)
		fl_log(FL_NOTICE, "fence.lease_ended", "units=%zu", fence->names.n);
	fence->told_until_ms = until_ms;
	if (fence->names.n == 0) {
		disconnect(fence);
		follow_agent(fence);
		return;
	}
	connect_systemd(fence);
	ask(fence);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct fence *fence = FL_CONTAINER(poll, struct fence, poll);
	uint64_t times;

	(void)status;
	(void)events;
	if (read(fence->timer_fd, &times, sizeof(times)) > 0) {
		look(fence);
		fl_notify("WATCHDOG=1");
	}
}

/* ---- Life --------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number)
{
	struct fence *fence = handle->data;

	(void)number;
	fl_notify("STOPPING=1");
	fence->ending = true;
	disconnect(fence);
	uv_close((uv_handle_t *)&fence->term, NULL);
	uv_close((uv_handle_t *)&fence->interrupt, NULL);
	uv_close((uv_handle_t *)&fence->poll, NULL);
}

static enum fl_code open_handles(struct fence *fence, struct fl_error *err)
{
	fence->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fence->timer_fd < 0)
		return FL_FAIL_ERRNO(err, errno, "timerfd_create");
	if (uv_loop_init(&fence->loop) != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "no event loop");
	(void)uv_signal_init(&fence->loop, &fence->term);
	(void)uv_signal_init(&fence->loop, &fence->interrupt);
	fence->term.data = fence->interrupt.data = fence;
	(void)uv_signal_start(&fence->term, on_signal, SIGTERM);
	(void)uv_signal_start(&fence->interrupt, on_signal, SIGINT);
	(void)uv_poll_init(&fence->loop, &fence->poll, fence->timer_fd);
	(void)uv_poll_start(&fence->poll, UV_READABLE, on_poll);
	return FL_OK;
}

static enum fl_code run(struct fence *fence, const char *runtime_directory, struct fl_error *err)
{
	fence->version_path = fl_printf("%s/" LAUNCH_AGENT_VERSION, runtime_directory);
	if (fence->version_path == NULL)
		return FL_FAIL_NO_MEMORY(err);
	fence->version_file = version_file(fence);
	FL_TRY(libsystemd_load(err));
	FL_TRY(fl_map_new(&fence->stop_ms, err));
	FL_TRY(lease_open(&fence->lease, runtime_directory, err));
	FL_TRY(open_handles(fence, err));
	/* Pages that it has used stay: it must not wait for a disk when it has to act. */
	(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	write_own_version(runtime_directory);
	look(fence);
	fl_notify("READY=1");
	(void)uv_run(&fence->loop, UV_RUN_DEFAULT);
	fl_assert(uv_loop_close(&fence->loop) == 0);
	return FL_OK;
}

enum fl_code fence_run(const char *runtime_directory, char **argv, struct fl_error *err)
{
	struct fence fence = {.timer_fd = -1, .argv = argv};
	enum fl_code code = run(&fence, runtime_directory, err);

	if (fence.stop_ms != NULL)
		forget_list(&fence);
	fl_map_free(fence.stop_ms);
	lease_free(fence.lease);
	free(fence.version_path);
	if (fence.timer_fd >= 0)
		(void)close(fence.timer_fd);
	return code;
}
