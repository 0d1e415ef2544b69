#include "cli/verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/apply.h"
#include "cli/bootstrap.h"
#include "cli/ca.h"
#include "cli/call.h"
#include "cli/change.h"
#include "cli/config.h"
#include "cli/dialect.h"
#include "cli/events.h"
#include "cli/help.h"
#include "cli/list.h"
#include "cli/look.h"
#include "cli/machine.h"
#include "cli/operate.h"
#include "cli/rebalance.h"
#include "cli/release.h"
#include "cli/ssh.h"
#include "cli/term.h"
#include "cli/token.h"
#include "cli/upgrade.h"
#include "cli/verify.h"
#include "cli/watch.h"

#define AT(field) .offset = offsetof(struct cli_options, field), .flags = FL_OPTION_ARG_ONLY

/* Options that several verbs share. */
#define OPTION_OUTPUT \
	{ \
		.name = "output", .short_name = 'o', .type = FL_OPTION_STRING, \
		.value_name = "FORMAT", .initial = "text", AT(output), \
		.doc = "\"text\", or \"json\" for programs." \
	}
#define OPTION_FULL \
	{ \
		.name = "full", .short_name = 'l', .type = FL_OPTION_BOOL, AT(full), \
		.doc = "Do not shorten machine IDs and hashes." \
	}
#define OPTION_NO_LEGEND \
	{ \
		.name = "no-legend", .type = FL_OPTION_BOOL, AT(no_legend), \
		.doc = "Leave out the line of column names." \
	}
#define OPTION_FIELDS(names) \
	{ \
		.name = "fields", .type = FL_OPTION_STRING, .value_name = "LIST", AT(fields), \
		.doc = "Columns, divided by commas: " names "." \
	}
#define OPTION_REPLACE \
	{ \
		.name = "replace", .type = FL_OPTION_BOOL, AT(replace), \
		.doc = "Let a local file take the place of a different one in the registry." \
	}
#define OPTION_LENIENT \
	{ \
		.name = "lenient", .type = FL_OPTION_BOOL, AT(lenient), \
		.doc = "For old files: what fleet ignored in [X-Fleet] is a warning, not an error." \
	}
#define OPTION_NO_BLOCK \
	{.name = "no-block", \
		.type = FL_OPTION_BOOL, \
		AT(no_block), \
		.doc = "Return when the fleet has taken the change; do not wait for machines."}, \
	{ \
		.name = "no-wait", .type = FL_OPTION_BOOL, AT(no_block), \
		.doc = "The same as --no-block." \
	}
#define OPTION_TIMEOUT \
	{.name = "timeout", \
		.type = FL_OPTION_DURATION, \
		.value_name = "TIME", \
		.initial = "0", \
		AT(timeout_ms), \
		.doc = "Wait no longer than this (0: as long as it takes). The change itself stays."}, \
	{ \
		.name = "block-attempts", .type = FL_OPTION_UINT, .value_name = "N", \
		.initial = "0", .max = 1000000, AT(block_attempts), \
		.doc = "As fleet's: wait no longer than N times 2 seconds." \
	}
#define OPTION_MACHINE \
	{ \
		.name = "machine", .short_name = 'm', .type = FL_OPTION_STRING, \
		.value_name = "ID", AT(machine), \
		.doc = "Of a unit on several machines: this one, by its ID or the beginning of it." \
	}

const struct fl_option global_options[] = {
	{.name = "endpoint",
		.type = FL_OPTION_STRING,
		.value_name = "URL",
		AT(endpoint),
		.doc = "The coordinator: tls+tcp://HOST:PORT, or ipc:///PATH on its own machine."},
	{.name = "context",
		.type = FL_OPTION_STRING,
		.value_name = "NAME",
		AT(context),
		.doc = "The context of the configuration file to use."},
	{.name = "ca-file",
		.type = FL_OPTION_STRING,
		.value_name = "PATH",
		AT(ca_file),
		.doc = "The fleet's CA certificate."},
	{.name = "cert-file",
		.type = FL_OPTION_STRING,
		.value_name = "PATH",
		AT(cert_file),
		.doc = "Your certificate."},
	{.name = "key-file",
		.type = FL_OPTION_STRING,
		.value_name = "PATH",
		AT(key_file),
		.doc = "Your private key."},
	{.name = "request-timeout",
		.type = FL_OPTION_DURATION,
		.value_name = "TIME",
		.initial = "10s",
		.min = 1,
		.max = UINT64_C(3600000),
		AT(request_timeout_ms),
		.doc = "How long the coordinator may take to answer."},
	{.name = "help",
		.short_name = 'h',
		.type = FL_OPTION_BOOL,
		AT(help),
		.doc = "Help on flotactl or on the verb."},
	{.name = "version",
		.type = FL_OPTION_BOOL,
		AT(version),
		.doc = "Print the version of this program."},
};
const size_t n_global_options = FL_COUNT(global_options);

static const struct fl_option submit_options[] = {OPTION_REPLACE, OPTION_LENIENT, OPTION_OUTPUT};
static const struct fl_option start_options[] = {
	OPTION_REPLACE, OPTION_LENIENT, OPTION_NO_BLOCK, OPTION_TIMEOUT, OPTION_OUTPUT};
static const struct fl_option stop_options[] = {OPTION_NO_BLOCK, OPTION_TIMEOUT, OPTION_OUTPUT};
static const struct fl_option units_options[] = {
	OPTION_FIELDS("active,desired,error,hash,load,machine,result,since,sub,unit"), OPTION_FULL,
	OPTION_NO_LEGEND, OPTION_OUTPUT};
static const struct fl_option unit_files_options[] = {
	OPTION_FIELDS("desc,dstate,global,hash,state,target,tmachine,unit,waiting"), OPTION_FULL,
	OPTION_NO_LEGEND, OPTION_OUTPUT};
static const struct fl_option machines_options[] = {
	OPTION_FIELDS(
		"agent,capabilities,claimed,cpus,heard,hostname,ip,load,machine,memavail,memory,"
		"metadata,scheduling,state,units"),
	OPTION_FULL, OPTION_NO_LEGEND, OPTION_OUTPUT};
static const struct fl_option why_options[] = {OPTION_FULL, OPTION_NO_LEGEND, OPTION_OUTPUT};
static const struct fl_option output_options[] = {OPTION_OUTPUT};
static const struct fl_option verify_options[] = {OPTION_LENIENT, OPTION_OUTPUT};
static const struct fl_option status_options[] = {
	OPTION_MACHINE, {.name = "lines",
				.short_name = 'n',
				.type = FL_OPTION_UINT,
				.value_name = "N",
				.initial = "10",
				.max = 100000,
				AT(lines),
				.doc = "How many lines of the journal to show."}};
static const struct fl_option journal_options[] = {
	{.name = "follow",
		.short_name = 'f',
		.type = FL_OPTION_BOOL,
		AT(follow),
		.doc = "Show new lines as they come, until Ctrl-C."},
	{.name = "lines",
		.short_name = 'n',
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "10",
		.max = 1000000,
		AT(lines),
		.doc = "How many lines to begin with."},
	OPTION_MACHINE,
	{.name = "output",
		.short_name = 'o',
		.type = FL_OPTION_STRING,
		.value_name = "FORMAT",
		.initial = "short",
		AT(output),
		.doc = "journalctl's own format: short, short-iso, cat, json, ..."}};

static const struct fl_option apply_options[] = {
	{.name = "dry-run",
		.type = FL_OPTION_BOOL,
		AT(dry_run),
		.doc = "Only show the plan. The exit code is 0 when there is nothing to do, 2 when "
		       "there is."},
	{.name = "yes", .short_name = 'y', .type = FL_OPTION_BOOL, AT(yes), .doc = "Do not ask."},
	{.name = "prune",
		.type = FL_OPTION_BOOL,
		AT(prune),
		.doc = "Destroy the units of the fleet that are not among the files, except "
		       "instances of templates that are."},
	{.name = "no-start", .type = FL_OPTION_BOOL, AT(no_start), .doc = "Only store new units."},
	OPTION_LENIENT, OPTION_NO_BLOCK, OPTION_TIMEOUT, OPTION_OUTPUT};
static const struct fl_option edit_options[] = {
	OPTION_LENIENT, OPTION_NO_BLOCK, OPTION_TIMEOUT, OPTION_OUTPUT};
static const struct fl_option wait_options[] = {
	{.name = "for",
		.type = FL_OPTION_STRING,
		.value_name = "STATE",
		.initial = "active",
		AT(wait_for),
		.doc = "\"active\" (a Type=oneshot service: has finished), \"stopped\" or "
		       "\"gone\"."},
	OPTION_TIMEOUT, OPTION_OUTPUT};
static const struct fl_option ssh_options[] = {
	{.name = "machine",
		.short_name = 'm',
		.type = FL_OPTION_STRING,
		.value_name = "ID",
		AT(machine),
		.doc = "This machine, by its ID or the beginning of it; with --unit: of its machines."},
	{.name = "unit",
		.short_name = 'u',
		.type = FL_OPTION_STRING,
		.value_name = "UNIT",
		AT(unit),
		.doc = "The machine that this unit is on."},
	{.name = "forward-agent",
		.short_name = 'A',
		.type = FL_OPTION_BOOL,
		AT(forward_agent),
		.doc = "Let programs there use your keys: ssh's -A."}};

static const struct fl_option events_options[] = {
	{.name = "follow",
		.short_name = 'f',
		.type = FL_OPTION_BOOL,
		AT(follow),
		.doc = "Show events as they come, until Ctrl-C."},
	{.name = "since",
		.type = FL_OPTION_STRING,
		.value_name = "INDEX",
		AT(since),
		.doc = "All behind the event of that index (0: all that are known), instead of the "
		       "newest."},
	{.name = "lines",
		.short_name = 'n',
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "10",
		.max = 1000000,
		AT(lines),
		.doc = "How many of the newest to begin with."},
	{.name = "full",
		.short_name = 'l',
		.type = FL_OPTION_BOOL,
		AT(full),
		.doc = "Do not shorten machine IDs."},
	{.name = "output",
		.short_name = 'o',
		.type = FL_OPTION_STRING,
		.value_name = "FORMAT",
		.initial = "text",
		AT(output),
		.doc = "\"text\", or \"json\" for programs: an object in each line."}};

#define OPTION_REASON \
	{ \
		.name = "reason", .short_name = 'r', .type = FL_OPTION_STRING, \
		.value_name = "TEXT", AT(reason), \
		.doc = "Why, for everybody who asks why no unit comes there." \
	}
static const struct fl_option cordon_options[] = {OPTION_REASON, OPTION_OUTPUT};
static const struct fl_option drain_options[] = {
	{.name = "deadline",
		.type = FL_OPTION_DURATION,
		.value_name = "TIME",
		.initial = "0",
		.max = UINT64_C(365) * 24 * 3600 * 1000,
		AT(deadline_ms),
		.doc = "What cannot be elsewhere until then is stopped, and waits (0: it stays)."},
	{.name = "parallel",
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "4",
		.min = 1,
		.max = 100,
		AT(parallel),
		.doc = "How many units may be on their way at a time."},
	OPTION_REASON,
	{.name = "no-wait",
		.type = FL_OPTION_BOOL,
		AT(no_block),
		.doc = "Return when the drain has begun; the fleet carries it out."},
	{.name = "timeout",
		.type = FL_OPTION_DURATION,
		.value_name = "TIME",
		.initial = "0",
		AT(timeout_ms),
		.doc = "Look on no longer than this (0: to the end). The drain itself goes on."},
	OPTION_OUTPUT,
};
static const struct fl_option rebalance_options[] = {
	{.name = "dry-run",
		.type = FL_OPTION_BOOL,
		AT(dry_run),
		.doc = "Only show the plan. The exit code is 0 when there is nothing to move, 2 when "
		       "there is."},
	{.name = "yes", .short_name = 'y', .type = FL_OPTION_BOOL, AT(yes), .doc = "Do not ask."},
	{.name = "max-moves",
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "0",
		.max = 1000,
		AT(max_moves),
		.doc = "Move no more units than this (0: 1000)."},
	OPTION_OUTPUT,
};
static const struct fl_option machine_options[] = {
	OPTION_REASON,
	{.name = "force",
		.type = FL_OPTION_BOOL,
		AT(force),
		.doc = "Of remove: whatever runs there, and whatever data are there."},
	{.name = "key",
		.type = FL_OPTION_STRING,
		.value_name = "FINGERPRINT",
		AT(key),
		.doc = "Of adopt: the machine that has this key, and do not ask. SHA-256 in "
		       "hexadecimal, or at least 16 digits of it."},
	{.name = "yes",
		.short_name = 'y',
		.type = FL_OPTION_BOOL,
		AT(yes),
		.doc = "Of adopt: do not ask."},
	OPTION_OUTPUT,
};
static const struct fl_option release_options[] = {
	{.name = "release",
		.type = FL_OPTION_STRING,
		.value_name = "VERSION",
		AT(release),
		.doc = "Of sign, and of publish without a signature: which version it is."},
	{.name = "arch",
		.type = FL_OPTION_STRING,
		.value_name = "ARCH",
		AT(arch),
		.doc = "For which machines, as \"uname -m\" says it there. Default: this one's; of "
		       "remove all."},
	{.name = "key",
		.type = FL_OPTION_STRING,
		.value_name = "FILE",
		AT(key),
		.doc = "Of sign: NAME.key. Of verify: NAME.pub, instead of those in "
		       "/etc/flota/release-keys.d."},
	{.name = "out",
		.type = FL_OPTION_STRING,
		.value_name = "DIR",
		AT(out),
		.doc = "Of keygen: where the files go. Default: the current folder."},
	OPTION_FULL,
	OPTION_NO_LEGEND,
	OPTION_OUTPUT,
};
static const struct fl_option upgrade_options[] = {
	{.name = "release",
		.type = FL_OPTION_STRING,
		.value_name = "VERSION",
		AT(release),
		.doc = "The same as VERSION, for one that could be a machine's ID."},
	{.name = "max-unavailable",
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "1",
		.min = 1,
		.max = 100,
		AT(max_unavailable),
		.doc = "How many machines at a time."},
	{.name = "allow-downgrade",
		.type = FL_OPTION_BOOL,
		AT(allow_downgrade),
		.doc = "Let agents become an older version than they are."},
	{.name = "stop",
		.type = FL_OPTION_BOOL,
		AT(stop),
		.doc = "Begin with no further machine; those under way go on."},
	{.name = "no-block", .type = FL_OPTION_BOOL, AT(no_block), .doc = "Do not look on."},
	OPTION_OUTPUT,
};
static const struct fl_option ca_options[] = {
	{.name = "force",
		.type = FL_OPTION_BOOL,
		AT(force),
		.doc = "Of rotate: drop the old CA now, whoever still needs it."},
	{.name = "yes", .short_name = 'y', .type = FL_OPTION_BOOL, AT(yes), .doc = "Do not ask."},
	{.name = "no-wait",
		.type = FL_OPTION_BOOL,
		AT(no_block),
		.doc = "Return when the new CA signs. The fleet goes over by itself; the same command "
		       "later drops the old one."},
	{.name = "timeout",
		.type = FL_OPTION_DURATION,
		.value_name = "TIME",
		.initial = "0",
		AT(timeout_ms),
		.doc = "Wait no longer than this for those that need the old one (0: as long as it "
		       "takes)."},
	OPTION_OUTPUT,
};
static const struct fl_option token_options[] = {
	{.name = "ttl",
		.type = FL_OPTION_DURATION,
		.value_name = "TIME",
		.initial = "15min",
		.min = 1000,
		.max = UINT64_C(30) * 24 * 3600 * 1000,
		AT(ttl_ms),
		.doc = "How long the token is good for; at most 30 days."},
	{.name = "uses",
		.type = FL_OPTION_UINT,
		.value_name = "N",
		.initial = "1",
		.min = 1,
		.max = 100000,
		AT(uses),
		.doc = "How many machines it lets in."},
	{.name = "name",
		.type = FL_OPTION_STRING,
		.value_name = "HOSTNAME",
		AT(name),
		.doc = "Only a machine of this host name."},
	{.name = "machine",
		.short_name = 'm',
		.type = FL_OPTION_STRING,
		.value_name = "ID",
		AT(machine),
		.doc = "Only the machine with this ID, be it a member already: its old key is "
		       "forgotten."},
	{.name = "metadata",
		.type = FL_OPTION_STRING,
		.value_name = "KEY=VALUE,...",
		AT(metadata),
		.doc = "What the machine is, for MachineMetadata= of units, whatever it says of "
		       "itself."},
	OPTION_NO_LEGEND, OPTION_OUTPUT};

#define OPTIONS(table) .options = (table), .n_options = FL_COUNT(table)
#define ANY            SIZE_MAX

/* In the order of the help. */
const struct verb verbs[] = {
	{"submit", "UNIT...", 1, ANY, OPTIONS(submit_options), verb_submit,
		"Store unit files in the fleet, without running them",
		"A UNIT that the registry has not is read from the file of that path, and for an "
		"instance from its template, in the registry or beside the path. The file is "
		"checked as by \"flotactl verify\", and kept byte for byte."},
	{"load", "UNIT...", 1, ANY, OPTIONS(start_options), verb_load,
		"Place units on machines, without starting them",
		"Units that are not in the registry are submitted first. A running unit is "
		"stopped."},
	{"start", "UNIT...", 1, ANY, OPTIONS(start_options), verb_start,
		"Place units on machines and start them",
		"Units that are not in the registry are submitted first. Returns when each unit is "
		"active on its machine (a Type=oneshot service: has finished), or has failed. A "
		"unit that no machine can take is told at once, with the reason of each machine; "
		"it starts later by itself when one can. A "
		"template with Replicas= stands for all of its replicas. With --replace the file of "
		"a template, of a global unit and of one with MinHealthySec= rolls: to one place "
		"after the other, told as each is healthy, and back to the last good file with exit "
		"code 1 when one fails."},
	{"stop", "UNIT...", 1, ANY, OPTIONS(stop_options), verb_stop,
		"Stop units; they stay placed on their machines",
		"Returns when they are stopped on their machines."},
	{"restart", "UNIT...", 1, ANY, OPTIONS(stop_options), verb_restart,
		"Stop units and start them again, where they are", "Returns as \"start\" does."},
	{"unload", "UNIT...", 1, ANY, OPTIONS(stop_options), verb_unload,
		"Stop units and take them from their machines; the fleet keeps their files",
		"Returns when that is decided and on disk; their machines stop them at once when "
		"they hear of it, a machine that is away when it is back."},
	{"destroy", "UNIT...", 1, ANY, OPTIONS(stop_options), verb_destroy,
		"Stop units, and forget them and their files",
		"Returns when that is decided and on disk; their machines stop them at once when "
		"they hear of it, a machine that is away when it is back."},
	{"apply", "FOLDER | FILE...", 1, ANY, OPTIONS(apply_options), verb_apply,
		"Bring the fleet to what unit files say, by a plan that is shown first",
		"The plan says which units are new, and how others differ from their files; with "
		"--prune also which are in no file. On a terminal it asks before it does "
		"anything. New units are started, but templates only stored; a unit that is "
		"there keeps its desired state, and is restarted when more than comments "
		"changed. Of a folder each file counts whose name is a unit's. What goes is gone "
		"before what is new comes."},
	{"edit", "UNIT", 1, 1, OPTIONS(edit_options), verb_edit,
		"Edit a unit's file, in $VISUAL or $EDITOR",
		"The new file is checked as by \"flotactl verify\" and takes the place of the old "
		"one; what runs is restarted. A text that cannot be stored is kept."},
	{"wait", "UNIT...", 1, ANY, OPTIONS(wait_options), verb_wait,
		"Wait until units are active, stopped or gone",
		"Whoever brings it about. Ends with an error as soon as a unit that is waited for "
		"to be active has failed, or is not to run."},
	{"status", "UNIT...", 1, ANY, OPTIONS(status_options), verb_status,
		"What systemd says of units, on the machines where they are",
		"The output and the exit code are those of systemctl status on that machine. A "
		"global unit is shown on each of its machines, one after the other."},
	{"journal", "UNIT", 1, 1, OPTIONS(journal_options), verb_journal,
		"The journal of a unit, on the machine where it is", ""},
	{"events", "[UNIT | GLOB | MACHINE...]", 0, ANY, OPTIONS(events_options), verb_events,
		"What has happened in the fleet, and what happens",
		"Units that were submitted, changed, placed and displaced, what systemd says of "
		"them, machines that come and go. A line has the time, the index, the kind, the "
		"unit and the machine. The coordinator keeps the newest 10,000 until it restarts; "
		"one that follows goes on by itself when it is back. --since with the last index "
		"seen misses nothing, or says that something is lost. MACHINE is an ID or the "
		"beginning of one."},
	{"cat", "UNIT", 1, 1, .run = verb_cat, .summary = "Print a unit file as it was submitted",
		.help = ""},
	{"list-units", "", 0, 0, OPTIONS(units_options), verb_list_units,
		"The units on machines, and the states that systemd reports", ""},
	{"list-unit-files", "", 0, 0, OPTIONS(unit_files_options), verb_list_unit_files,
		"The unit files that the fleet holds, and where it wants them",
		"DSTATE is what was asked for, STATE what its machine has done of it."},
	{"list-machines", "", 0, 0, OPTIONS(machines_options), verb_list_machines,
		"The machines of the fleet",
		"While machines are cordoned or drained a last column tells which, by whom and "
		"why."},
	{"cordon", "MACHINE...", 1, ANY, OPTIONS(cordon_options), verb_cordon,
		"Let no more units come to machines",
		"What runs there goes on. MACHINE is an ID or the beginning of one. list-machines "
		"and why show who did it and for what reason."},
	{"uncordon", "MACHINE...", 1, ANY, OPTIONS(output_options), verb_uncordon,
		"Let units come to machines again",
		"Ends a drain too. Units that were stopped because they can be nowhere else start "
		"again; others do not come back by themselves: see \"flotactl help rebalance\"."},
	{"drain", "MACHINE...", 1, ANY, OPTIONS(drain_options), verb_drain,
		"Move all units off machines, and let none come",
		"A unit is stopped, and started on another machine when this one has let go of it; "
		"then the next one. One that no other machine can take stays, with a reason, until "
		"the deadline. Global units, and those with MachineID= or OnMachineLoss=wait, stop "
		"last, and start again there after \"flotactl uncordon\". The fleet carries it out, "
		"with or without who looks on; the same command again looks on, and sets another "
		"deadline. It ends with 8 when the machine is empty and a unit found no other."},
	{"rebalance", "", 0, 0, OPTIONS(rebalance_options), verb_rebalance,
		"Move units so that machines are about equally full",
		"Shows the plan, and asks. Units move as few as possible, from the fullest machines "
		"to the emptiest; each where its rules and preferences allow. Exclusive units, those "
		"with MachineID=, OnMachineLoss=wait or MachineOf=, and global ones stay where they "
		"are."},
	{"ca", "show | rotate", 1, 1, OPTIONS(ca_options), verb_ca,
		"The fleet's CA, and another one in its place",
		"\"rotate\" makes a new CA, which signs from then on; the old one's key is deleted. "
		"Both are accepted while the agents renew their certificates, which takes seconds; "
		"then the old one is dropped. Machines that are away, and tokens and operators' "
		"certificates made before, need it: the command tells which, and waits. Interrupted, "
		"it is gone on with by the same command.\n"
		"Operators get a certificate of the new CA with \"flota-coordinator issue operator "
		"NAME\", before the drop. Keep a copy of the new ca.key where that of the old one "
		"was."},
	{"machine", "revoke | remove | adopt MACHINE...", 2, ANY, OPTIONS(machine_options),
		verb_machine, "Put machines out of the fleet, and take them back",
		"\"revoke\": its certificates no longer count. Its sessions end at once, it is given "
		"none again, and its units are treated as a lost machine's; the host itself is not "
		"reached, and what runs there runs on.\n"
		"\"remove\" forgets a machine for good. It can come back with a new token. While it "
		"is up and runs units, or has units' data, that is refused: drain it first, or "
		"--force.\n"
		"\"adopt\" takes back a machine that was revoked, or one that was refused because it "
		"came with another key: set up anew, or the copy of a disk. It shows who asked, and "
		"with which key; --key= names the one that you have read on the machine itself.\n"
		"MACHINE is an ID or the beginning of one."},
	{"release", "keygen NAME | sign FILE | verify FILE | publish FILE | list | remove VERSION",
		1, ANY, OPTIONS(release_options), verb_release,
		"Releases of the agent, and the keys that sign them",
		"\"keygen\" makes NAME.key, which signs, and NAME.pub, for "
		"/etc/flota/release-keys.d. \"sign\" writes FILE.sig: a manifest of version, "
		"architecture, size and SHA-512, and its Ed25519 signature. \"publish\" brings both "
		"to the coordinator, where new machines find them by HTTPS, and \"flotactl upgrade\" "
		"too. Agents become nothing that no key on their own machine has signed."},
	{"upgrade", "agents [VERSION] [MACHINE...]", 1, ANY, OPTIONS(upgrade_options), verb_upgrade,
		"Bring agents to another version, machine after machine",
		"To the newest release of the coordinator, or to VERSION. The fleet carries it out, "
		"with or without who looks on. No unit is touched. An agent that does not come back "
		"as the new version within a minute or two is the old one again by itself, and no "
		"further machine is begun; the same command again goes on with those that are left. "
		"Machines that are away are left out. MACHINE is an ID or the beginning of one; a "
		"first word of hexadecimal digits alone is one too."},
	{"token", "create | list | revoke TOKEN...", 1, ANY, OPTIONS(token_options), verb_token,
		"Tokens, with which machines join the fleet",
		"\"create\" prints a new one, once: the fleet keeps only a hash of it. A machine "
		"whose agent finds it in /etc/flota/token joins with it, and knows by it that it "
		"talks to this fleet's coordinator and nobody else's. \"revoke\" keeps out who "
		"has not joined yet."},
	{"bootstrap", "ignition | cloud-config | script | butane [FILE.machine]", 1, 2,
		.options = bootstrap_options, .n_options = BOOTSTRAP_OPTIONS, .run = verb_bootstrap,
		.summary = "The document with which a bare machine joins at its first boot",
		.help = "Describes the machine by a file (flota.machine(5)), by options, or by options "
			"over a file: its name, keys, network, the agent and how it joins. Ignition is for Flatcar, "
			"cloud-config for Rocky 9 and Debian, the script for what has neither; butane "
			"is Ignition's in a readable form. A token is made for it, unless one is given. "
			"What of the document is secret is told on standard error."},
	{"ssh", "[MACHINE | UNIT] [COMMAND...]", 0, ANY, OPTIONS(ssh_options), verb_ssh,
		"A shell, or a command, on a machine by ssh(1)",
		"MACHINE is an ID or the beginning of one, UNIT a unit on one machine. All else is "
		"ssh's: your keys, ssh_config(5), the exit code. --ssh-username, --ssh-port and "
		"others are among the options of every verb.",
		.options_first = true},
	{"verify", "FILE...", 1, ANY, OPTIONS(verify_options), verb_verify,
		"Check unit files and machines' descriptions, without a fleet",
		"Prints every problem as FILE:LINE: what is wrong and what to do. The exit code is "
		"1 when there is any."},
	{"why", "UNIT", 1, 1, OPTIONS(why_options), verb_why,
		"Why a unit is where it is, or nowhere",
		"Shows each machine, and for what reason it cannot take the unit."},
	{"config", "[list | use CONTEXT | set CONTEXT KEY=VALUE... | path]", 0, ANY,
		OPTIONS(output_options), verb_config,
		"Show and change the contexts: fleets by name",
		"A context has Endpoint=, and for tls+tcp:// CACertificate=, Certificate= and Key=, "
		"paths of PEM files. Contexts are kept in ~/.config/flota/config."},
	{"fd-forward", "SOCKET", 1, 1, .run = verb_fd_forward,
		.summary = "Connect standard input and output with a local socket",
		.help = "For a program that reaches this machine by ssh(1) and wants a socket "
			"here, such as the coordinator's."},
	{"version", "", 0, 0, OPTIONS(output_options), verb_version,
		"The versions of this program and, where it can be reached, of the coordinator",
		""},
	{"help", "[VERB | exit-codes | environment]", 0, 1, .run = verb_help,
		.summary = "Help on flotactl, on a verb or on what it ends with", .help = ""},
	{"man", "[PAGE]", 0, 1, .run = verb_man,
		.summary = "Write a manual page, in man(7)'s language",
		.help = "PAGE is flotactl, flota.unit, flota.config or flota.machine."},
};
const size_t n_verbs = FL_COUNT(verbs);

/* Whether @a becomes @b by a letter or two changed, left out or put in (Levenshtein). */
static bool is_near(const char *a, const char *b)
{
	unsigned row[2][32];
	size_t n = strlen(b);

	if (n + 1 > FL_COUNT(row[0]))
		return false;
	for (size_t j = 0; j <= n; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		const unsigned *above = row[(i - 1) % 2];
		unsigned *here = row[i % 2];

		here[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (here[j - 1] + 1 < best)
				best = here[j - 1] + 1;
			here[j] = best;
		}
	}
	return row[strlen(a) % 2][n] <= (n < 5 ? 1U : 2U);
}

enum fl_code verb_find(const char *name, const struct verb **ret_verb, struct fl_error *err)
{
	const struct verb *by_prefix = NULL, *known_by_prefix = NULL;
	FL_CLEANUP_BUF struct fl_buf meant = FL_BUF_INIT;
	size_t len = strlen(name), n_prefix = 0, n_known = 0;

	for (size_t i = 0; i < n_verbs; i++) {
		bool prefix = strncmp(verbs[i].name, name, len) == 0;

		if (prefix && verbs[i].name[len] == '\0') {
			*ret_verb = &verbs[i];
			return FL_OK;
		}
		if (prefix) {
			by_prefix = &verbs[i];
			n_prefix++;
		}
		if (prefix && dialect_has_verb(verbs[i].name)) {
			known_by_prefix = &verbs[i];
			n_known++;
		}
		if (len > 0 && (prefix || is_near(name, verbs[i].name)))
			fl_buf_printf(&meant, "%s%s", meant.len > 0 ? dialect->between_verbs : "",
				verbs[i].name);
	}
	if ((n_known == 1 || n_prefix == 1) && len > 0) {
		*ret_verb = n_known == 1 ? known_by_prefix : by_prefix;
		return FL_OK;
	}
	if (meant.len > 0)
		return DIALECT_FAIL(err, TEXT_UNKNOWN_VERB_MEANT, name, fl_buf_str(&meant));
	return DIALECT_FAIL(err, TEXT_UNKNOWN_VERB, name);
}

/* fleetctl's own spelling of short flags, "--l" and "--f", was two dashes. */
static void accept_long_letters(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0' && argv[i][3] == '\0')
			argv[i]++;
}

/* Where the fleet is, cli/endpoint.c finds out. */
static bool is_of_environment(const struct fl_option *option)
{
	static const char *const others[] = {
		"endpoint", "context", "ca-file", "cert-file", "key-file", "help", "version"};

	for (size_t i = 0; i < FL_COUNT(others); i++)
		if (strcmp(option->name, others[i]) == 0)
			return false;
	return true;
}

/* "request-timeout" is FLOTACTL_REQUEST_TIMEOUT and, as fleetctl knew it, FLEETCTL_... */
static const char *environment(const char *prefix, const char *option)
{
	char name[64];
	size_t n = (size_t)snprintf(name, sizeof(name), "%s_%s", prefix, option);

	fl_assert(n < sizeof(name));
	for (size_t i = 0; i < n; i++)
		name[i] = (char)(name[i] == '-' ? '_' : toupper((unsigned char)name[i]));
	return getenv(name);
}

static enum fl_code read_environment(
	const struct fl_option_table *table, struct cli_options *options, struct fl_error *err)
{
	for (size_t i = 0; i < table->n_options; i++) {
		const char *name = table->options[i].name;
		const char *value = environment("FLOTACTL", name);

		if (value == NULL)
			value = environment("FLEETCTL", name);
		if (!is_of_environment(&table->options[i]) || value == NULL || value[0] == '\0')
			continue;
		if (fl_options_set(table, name, value, options, err) != FL_OK)
			return FL_FAIL(err, FL_E_USAGE, "in the environment: %s", err->text);
	}
	return FL_OK;
}

static enum fl_code check_args(const struct command *command, struct fl_error *err)
{
	const struct verb *verb = command->verb;

	if (command->n_args < verb->min_args)
		return FL_FAIL(err, FL_E_USAGE, "nothing is given to %s; it is used as: %s %s %s",
			verb->name, dialect->program, verb->name, verb->args);
	if (command->n_args > verb->max_args)
		return FL_FAIL(err, FL_E_USAGE, "\"%s\" is too much; it is used as: %s %s%s%s",
			command->args[verb->max_args], dialect->program, verb->name,
			verb->args[0] != '\0' ? " " : "", verb->args);
	return FL_OK;
}

#define OPTIONS_MAX 80

/* All options that are in force: the general ones, the dialect's, and the verb's (nullable). */
static struct fl_option_table options_of(
	const struct verb *verb, struct fl_option options[OPTIONS_MAX])
{
	const struct {
		const struct fl_option *options;
		size_t n;
	} parts[] = {{global_options, n_global_options}, {dialect->options, dialect->n_options},
		{dialect_ignored_options, dialect_n_ignored_options},
		{verb != NULL ? verb->options : NULL, verb != NULL ? verb->n_options : 0}};
	size_t n = 0;

	for (size_t i = 0; i < FL_COUNT(parts); i++) {
		fl_assert(n + parts[i].n <= OPTIONS_MAX);
		if (parts[i].n > 0)
			memcpy(options + n, parts[i].options, parts[i].n * sizeof(options[0]));
		n += parts[i].n;
	}
	return (struct fl_option_table){
		.program = dialect->program, .options = options, .n_options = n};
}

enum fl_code command_parse(int argc, char **argv, struct cli_options *ret_options,
	struct command *ret_command, struct fl_error *err)
{
	struct fl_option options[OPTIONS_MAX];
	struct fl_option_table table = options_of(NULL, options), own;
	struct command command = {.options = ret_options};
	int first;

	memset(ret_options, 0, sizeof(*ret_options));
	*ret_command = command;
	accept_long_letters(argc, argv);
	FL_TRY(fl_options_init(&table, ret_options, err));
	ret_options->lenient = dialect->is_lenient;
	FL_TRY(read_environment(&table, ret_options, err));
	FL_TRY(fl_options_parse_args(&table, argc, argv, true, ret_options, &first, err));
	if (first >= argc)
		return FL_OK;
	FL_TRY(verb_find(argv[first], &command.verb, err));
	ret_command->verb = command.verb;
	own = (struct fl_option_table){.program = dialect->program,
		.options = command.verb->options,
		.n_options = command.verb->n_options};
	FL_TRY(fl_options_init(&own, ret_options, err));

	/* Behind the verb both its own options and the general ones may stand. */
	table = options_of(command.verb, options);
	argv += first;
	argc -= first;
	FL_TRY(fl_options_parse_args(
		&table, argc, argv, command.verb->options_first, ret_options, &first, err));
	command.args = argv + first;
	command.n_args = (size_t)(argc - first);
	*ret_command = command;
	if (ret_options->help || ret_options->version || dialect_tells_wrong_args(ret_command))
		return FL_OK;
	return check_args(&command, err);
}

void command_fini(struct command *command, struct cli_options *options)
{
	struct fl_option all[OPTIONS_MAX];
	struct fl_option_table table = options_of(command->verb, all);

	fl_options_fini(&table, options);
}

enum fl_code command_wants_json(const struct command *command, bool *ret_json, struct fl_error *err)
{
	const char *output = command->options->output;

	*ret_json = strcmp(output, "json") == 0;
	if (*ret_json)
		term_progress_off();
	if (!*ret_json && strcmp(output, "text") != 0)
		return FL_FAIL(
			err, FL_E_USAGE, "--output: \"%s\" is neither text nor json", output);
	return FL_OK;
}
