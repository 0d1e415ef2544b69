/* flota-agent: runs on each machine of a fleet what the coordinator places there. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/fence.h"
#include "agent/footprint.h"
#include "agent/launch.h"
#include "base/log.h"
#include "base/man.h"
#include "base/memory.h"
#include "base/notify.h"
#include "release/release.h"

/* How often it is seen to that no more than this stays resident: an idle agent needs less. */
#define TRIM_MS      (60U * 1000U)
#define RESIDENT_MAX (6U << 20)

struct daemon {
	uv_loop_t loop;
	uv_signal_t term, interrupt;
	uv_timer_t watchdog, trim;
	struct agent *agent;
	bool again; /* as another release */
};

static void on_agent_closed(void *userdata)
{
	struct daemon *daemon = userdata;

	uv_close((uv_handle_t *)&daemon->term, NULL);
	uv_close((uv_handle_t *)&daemon->interrupt, NULL);
	uv_close((uv_handle_t *)&daemon->watchdog, NULL);
	uv_close((uv_handle_t *)&daemon->trim, NULL);
}

static void stop(struct daemon *daemon)
{
	if (daemon->agent != NULL)
		agent_close(FL_TAKE(daemon->agent), on_agent_closed, daemon);
}

static void on_signal(uv_signal_t *handle, int number)
{
	fl_log(FL_INFO, "agent.end", "signal=%s", sigabbrev_np(number));
	fl_notify("STOPPING=1");
	stop(handle->data);
}

static void on_restart(void *userdata)
{
	struct daemon *daemon = userdata;

	daemon->again = true;
	stop(daemon);
}

static const struct agent_handlers agent_handlers = {.restart = on_restart};

static void on_watchdog(uv_timer_t *timer)
{
	(void)timer;
	fl_notify("WATCHDOG=1");
}

static void start_watchdog(struct daemon *daemon)
{
	uint64_t ms = fl_watchdog_ms();

	if (ms > 0)
		(void)uv_timer_start(&daemon->watchdog, on_watchdog, ms, ms);
}

static void on_trim(uv_timer_t *timer)
{
	(void)timer;
	footprint_trim(RESIDENT_MAX);
}

static enum fl_code run(const struct config *config, char **argv, struct fl_error *err)
{
	struct daemon daemon = {.agent = NULL};
	enum fl_code code;

	fl_log_set_level(config->program.level);
	footprint_begin();
	(void)signal(SIGPIPE, SIG_IGN);
	if (uv_loop_init(&daemon.loop) != 0)
		return FL_FAIL(err, FL_E_INTERNAL, "no event loop");
	(void)uv_signal_init(&daemon.loop, &daemon.term);
	(void)uv_signal_init(&daemon.loop, &daemon.interrupt);
	(void)uv_timer_init(&daemon.loop, &daemon.watchdog);
	(void)uv_timer_init(&daemon.loop, &daemon.trim);
	daemon.term.data = daemon.interrupt.data = &daemon;
	(void)uv_signal_start(&daemon.term, on_signal, SIGTERM);
	(void)uv_signal_start(&daemon.interrupt, on_signal, SIGINT);
	start_watchdog(&daemon);
	(void)uv_timer_start(&daemon.trim, on_trim, TRIM_MS, TRIM_MS);
	code = agent_open(&daemon.agent, &daemon.loop, config, &agent_handlers, &daemon, err);
	if (code != FL_OK && daemon.agent == NULL)
		on_agent_closed(&daemon);
	else if (code != FL_OK)
		stop(&daemon);
	else
		fl_notify("READY=1");
	(void)uv_run(&daemon.loop, UV_RUN_DEFAULT);
	fl_assert(uv_loop_close(&daemon.loop) == 0);
	return code == FL_OK && daemon.again ? launch_again(argv, err) : code;
}

static enum fl_code run_fence(const struct config *config, char **argv, struct fl_error *err)
{
	fl_log_set_level(config->program.level);
	footprint_begin();
	(void)signal(SIGPIPE, SIG_IGN);
	return fence_run(config->runtime_directory, argv, err);
}

static const struct {
	const char *name, *doc;
} verbs[] = {
	{"run", "Be the agent; also without a verb."},
	{"fence", "Be the agent's fence: ends exclusive units when this machine's lease has ended "
		  "and the agent does not. flota-fence.service runs it."},
	{"adopt", "Let the agent follow a coordinator that does not know this machine's units: "
		  "those that it does not assign again are stopped and removed."},
	{"man", "Print a manual page: flota-agent or flota-agent.conf."},
};

static void print_help(void)
{
	puts("flota-agent [OPTION...] [VERB]\n\n"
	     "Runs on each machine of a fleet what the coordinator places there.\n\nVerbs:");
	for (size_t i = 0; i < FL_COUNT(verbs); i++) {
		printf("  %-7s ", verbs[i].name);
		fl_print_wrapped(verbs[i].doc, 10, 10, stdout);
	}
	puts("\nOptions:");
	fl_options_help(&config_program.table, stdout);
}

static void print_man(void)
{
	fl_man_begin(
		"flota-agent", 8, "runs what a fleet's coordinator places on this machine", stdout);
	fl_man_section("SYNOPSIS", stdout);
	fl_man_text("flota-agent [OPTION...] [VERB]", stdout);
	fl_man_section("DESCRIPTION", stdout);
	fl_man_text("Connects with the coordinator, makes systemd do what is assigned to this "
		    "machine, and reports what is. Units run on when it ends, and when the "
		    "coordinator cannot be reached.",
		stdout);
	fl_man_section("VERBS", stdout);
	for (size_t i = 0; i < FL_COUNT(verbs); i++)
		fl_man_item(verbs[i].name, verbs[i].doc, stdout);
	fl_man_section("OPTIONS", stdout);
	fl_options_man(&config_program.table, false, stdout);
	fl_man_section("SIGNALS", stdout);
	fl_man_text("SIGTERM and SIGINT end it. Running units are not touched.", stdout);
	fl_man_section("FILES", stdout);
	fl_man_item(CONFIG_FILE, "flota-agent.conf(5).", stdout);
	fl_man_item("/etc/flota/release-keys.d/NAME.pub",
		"Keys: another release of the agent has to be signed by one of them.", stdout);
	fl_man_item("/var/lib/flota/agent/releases/VERSION/flota-agent",
		"Releases that it fetched. The installed agent, which systemd starts, becomes the "
		"one that \"flotactl upgrade\" has brought, unless another version was installed "
		"since.",
		stdout);
	fl_man_see_also("flota-agent.conf(5) flota-coordinator(8) flotactl(1)", stdout);
}

static enum fl_code man(const char *page, struct fl_error *err)
{
	bool is_file;

	FL_TRY(fl_program_man_page(&config_program, page, &is_file, err));
	if (is_file)
		fl_program_man_file(&config_program, stdout);
	else
		print_man();
	return FL_OK;
}

static enum fl_code run_verb(
	const struct config *config, const char *verb, char **argv, struct fl_error *err)
{
	bool is_fence = strcmp(verb, "fence") == 0;

	if (is_fence || strcmp(verb, "run") == 0)
		launch(config, is_fence, argv);
	if (is_fence)
		return run_fence(config, argv, err);
	if (strcmp(verb, "run") == 0)
		return run(config, argv, err);
	if (strcmp(verb, "adopt") == 0)
		return agent_adopt(config, err);
	return FL_FAIL(err, FL_E_USAGE, "unknown verb \"%s\"; see flota-agent --help", verb);
}

static enum fl_code run_command(
	int argc, char **argv, char **whole, struct config *config, struct fl_error *err)
{
	int first = argc;

	FL_TRY(fl_program_read(&config_program, argc, argv, false, config, &first, err));
	FL_TRY(release_key_folders(&config->release_keys, err));
	if (fl_program_answer(&config_program, config, print_help))
		return FL_OK;
	if (first < argc && argc <= first + 2 && strcmp(argv[first], "man") == 0)
		return man(argv[first + 1], err);
	if (argc > first + 1)
		return FL_FAIL(err, FL_E_USAGE, "one verb at a time: \"%s\"", argv[first + 1]);
	return run_verb(config, first < argc ? argv[first] : "run", whole, err);
}

int main(int argc, char **argv)
{
	FL_CLEANUP(config_fini) struct config config = {.address = NULL};
	FL_CLEANUP(fl_freep) char **whole = NULL;
	struct fl_error err = {.code = FL_OK};
	enum fl_code code;

	fl_log_init("flota-agent");
	whole = fl_new_array((size_t)argc + 1, sizeof(*whole)); /* options are taken out of argv */
	if (whole == NULL)
		return fl_code_exit(FL_E_NO_MEMORY);
	memcpy(whole, argv, (size_t)argc * sizeof(*whole));
	code = run_command(argc, argv, whole, &config, &err);
	if (code != FL_OK)
		fprintf(stderr, "flota-agent: %s\n", fl_error_text(&err));
	return fl_code_exit(code);
}
