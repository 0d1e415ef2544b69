#include "agent/facts.h"

#include <ctype.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "proto/wire.h"

#define FILE_MAX (64U << 10)

static enum fl_code read_text(
	const char *root, const char *path, char **ret_text, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *whole = fl_printf("%s%s", root, path);
	size_t len;

	if (whole == NULL)
		return FL_FAIL_NO_MEMORY(err);
	return fl_file_read(whole, FILE_MAX, ret_text, &len, err);
}

/* The first line of @text, if it fits. */
static bool first_line(const char *text, char *line, size_t size)
{
	size_t len = strcspn(text, "\n");

	if (len == 0 || len >= size)
		return false;
	memcpy(line, text, len);
	line[len] = '\0';
	return true;
}

enum fl_code facts_read(const char *root, struct facts *ret_facts, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *machine = NULL;
	FL_CLEANUP(fl_freep) char *boot = NULL;
	struct facts facts = {.machine_id = ""};

	FL_TRY(read_text(root, "/etc/machine-id", &machine, err));
	if (!first_line(machine, facts.machine_id, sizeof(facts.machine_id)) ||
		strspn(facts.machine_id, "0123456789abcdef") != 32)
		return FL_FAIL(err, FL_E_INVALID,
			"/etc/machine-id holds no machine ID; systemd-machine-id-setup makes one");
	FL_TRY(read_text(root, "/proc/sys/kernel/random/boot_id", &boot, err));
	if (!first_line(boot, facts.boot_id, sizeof(facts.boot_id)))
		return FL_FAIL(err, FL_E_INVALID, "the kernel names no boot");
	if (gethostname(facts.hostname, sizeof(facts.hostname) - 1) < 0)
		facts.hostname[0] = '\0';
	*ret_facts = facts;
	return FL_OK;
}

/* "MemTotal:   123 kB" in meminfo. */
static uint64_t meminfo_bytes(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line != NULL ? strtoull(line + strlen(key), NULL, 10) * 1024U : 0;
}

enum fl_code facts_capacity(const char *root, Pb__Capacity *ret_capacity, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) char *meminfo = NULL;
	FL_CLEANUP(fl_freep) char *loadavg = NULL;
	Pb__Capacity capacity = PB__CAPACITY__INIT;
	cpu_set_t cpus;

	FL_TRY(read_text(root, "/proc/meminfo", &meminfo, err));
	FL_TRY(read_text(root, "/proc/loadavg", &loadavg, err));
	capacity.memory_bytes = meminfo_bytes(meminfo, "MemTotal:");
	capacity.memory_available_bytes = meminfo_bytes(meminfo, "MemAvailable:");
	/* "0.42 ...": the program runs in the "C" locale. */
	capacity.load_1min_x100 = (uint32_t)(strtod(loadavg, NULL) * 100.0 + 0.5);
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		capacity.cpus = (uint32_t)CPU_COUNT(&cpus);
	else
		capacity.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	*ret_capacity = capacity;
	return FL_OK;
}

const char *facts_cgroup(const char *root)
{
	FL_CLEANUP(fl_freep) char *path = fl_printf("%s/sys/fs/cgroup/cgroup.controllers", root);

	return path != NULL && access(path, F_OK) == 0 ? "cgroup v2" : "cgroup v1";
}

enum fl_code facts_metadata(
	struct fl_strv *words, Pb__Metadata **ret_list, size_t *ret_n, struct fl_error *err)
{
	FL_CLEANUP(fl_freep) Pb__Metadata *list = fl_new_array(words->n + 1, sizeof(*list));

	if (list == NULL)
		return FL_FAIL_NO_MEMORY(err);
	if (words->n > LIMIT_METADATA)
		return FL_FAIL(err, FL_E_LIMIT, "%zu pairs of metadata, the limit is %u", words->n,
			LIMIT_METADATA);
	fl_strv_sort(words);
	for (size_t i = 0; i < words->n; i++) {
		char *word = words->items[i], *equals = strchr(word, '=');

		if (equals == NULL || equals == word || equals[1] == '\0' ||
			strlen(word) > LIMIT_NAME)
			return FL_FAIL(err, FL_E_INVALID,
				"metadata \"%s\" is not of the form key=value", word);
		*equals = '\0';
		pb__metadata__init(&list[i]);
		list[i].key = word;
		list[i].value = equals + 1;
		if (i > 0 && strcmp(list[i - 1].key, word) == 0)
			return FL_FAIL(err, FL_E_INVALID,
				"metadata \"%s\" is given twice; a machine has one value of it",
				word);
	}
	*ret_list = FL_TAKE(list);
	*ret_n = words->n;
	return FL_OK;
}
