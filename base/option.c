#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/man.h"
#include "base/memory.h"

#define FILE_MAX_BYTES (1U << 20)
#define NAME_MAX_BYTES 64

union field {
	char *string;
	struct fl_strv list;
	uint64_t number;
};

static union field *field_of(const struct fl_option *option, void *config)
{
	return (union field *)(void *)((char *)config + option->offset);
}

static const union field *const_field_of(const struct fl_option *option, const void *config)
{
	return (const union field *)(const void *)((const char *)config + option->offset);
}

/* Words that are written in capitals, as systemd's own keys do. */
static bool is_acronym(const char *word, size_t len)
{
	static const char *const acronyms[] = {"ca", "cpu", "dns", "id", "ip", "tls", "url"};

	for (size_t i = 0; i < FL_COUNT(acronyms); i++)
		if (strlen(acronyms[i]) == len && strncmp(word, acronyms[i], len) == 0)
			return true;
	return false;
}

/* "listen-address" as the file writes it: "ListenAddress"; "ca-file": "CAFile". */
static void file_name(const struct fl_option *option, char text[NAME_MAX_BYTES])
{
	size_t n = 0;

	for (const char *word = option->name; *word != '\0';) {
		size_t len = strcspn(word, "-");
		size_t capitals = is_acronym(word, len) ? len : 1;

		for (size_t i = 0; i < len && n + 1 < NAME_MAX_BYTES; i++) {
			text[n] = word[i];
			if (i < capitals)
				text[n] = (char)toupper((unsigned char)word[i]);
			n++;
		}
		word += len + (word[len] == '-');
	}
	text[n] = '\0';
}

/* A bool is not aligned as the others are, so it is no member of the union. */
static bool *bool_of(const struct fl_option *option, void *config)
{
	return (bool *)(void *)((char *)config + option->offset);
}

enum fl_code fl_parse_bool(const char *text, bool *ret_value, struct fl_error *err)
{
	static const char *const yes[] = {"yes", "true", "on", "1"};
	static const char *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < FL_COUNT(yes); i++) {
		if (strcasecmp(text, yes[i]) == 0) {
			*ret_value = true;
			return FL_OK;
		}
		if (strcasecmp(text, no[i]) == 0) {
			*ret_value = false;
			return FL_OK;
		}
	}
	return FL_FAIL(err, FL_E_INVALID, "\"%s\" is neither yes nor no", text);
}

/* Digits, and what follows them. */
static enum fl_code parse_digits(
	const char *text, uint64_t *ret_value, const char **ret_end, struct fl_error *err)
{
	unsigned long long value;
	char *end;

	/* strtoull(3) takes signs and leading space, and wraps "-1" around. */
	if (!isdigit((unsigned char)text[0]))
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is not a number", text);
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0)
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is too large", text);
	*ret_value = value;
	*ret_end = end;
	return FL_OK;
}

enum fl_code fl_parse_uint(const char *text, uint64_t *ret_value, struct fl_error *err)
{
	const char *end = text;
	uint64_t value = 0;

	FL_TRY(parse_digits(text, &value, &end, err));
	if (*end != '\0')
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is not a number", text);
	*ret_value = value;
	return FL_OK;
}

/* What stands behind a ".", as so many thousandths: more digits than three are left out. */
static enum fl_code parse_fraction(
	const char **text, uint64_t *ret_thousandths, struct fl_error *err)
{
	const char *at = *text;
	uint64_t weight = 1000;

	*ret_thousandths = 0;
	if (*at != '.')
		return FL_OK;
	at++;
	if (!isdigit((unsigned char)*at))
		return FL_FAIL(err, FL_E_INVALID, "\"%s\" is not a number", *text);
	for (; isdigit((unsigned char)*at); at++) {
		weight /= 10;
		*ret_thousandths += weight * (uint64_t)(*at - '0');
	}
	*text = at;
	return FL_OK;
}

struct unit_of_measure {
	const char *name;
	uint64_t factor;
};

static enum fl_code parse_measure(const char *text, const struct unit_of_measure *units,
	size_t n_units, const char *example, uint64_t *ret_value, struct fl_error *err)
{
	const char *end = text;
	uint64_t value = 0, thousandths = 0, fraction;

	FL_TRY(parse_digits(text, &value, &end, err));
	FL_TRY(parse_fraction(&end, &thousandths, err));
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < n_units; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		fraction = thousandths * units[i].factor / 1000;
		if (__builtin_mul_overflow(value, units[i].factor, &value) ||
			__builtin_add_overflow(value, fraction, ret_value))
			return FL_FAIL(err, FL_E_INVALID, "\"%s\" is too large", text);
		return FL_OK;
	}
	return FL_FAIL(
		err, FL_E_INVALID, "\"%s\" has an unknown unit; write it like %s", text, example);
}

enum fl_code fl_parse_duration_ms(const char *text, uint64_t *ret_ms, struct fl_error *err)
{
	static const struct unit_of_measure units[] = {{"ms", 1}, {"", 1000}, {"s", 1000},
		{"min", 60000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

	return parse_measure(
		text, units, FL_COUNT(units), "500ms, 10s, 2min, 1h or 7d", ret_ms, err);
}

enum fl_code fl_parse_size(const char *text, uint64_t *ret_bytes, struct fl_error *err)
{
	static const struct unit_of_measure units[] = {{"", 1}, {"B", 1}, {"K", UINT64_C(1) << 10},
		{"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30}, {"T", UINT64_C(1) << 40}};

	return parse_measure(text, units, FL_COUNT(units), "512K, 64M or 2G", ret_bytes, err);
}

enum fl_code fl_parse_factor(const char *text, uint64_t *ret_thousandths, struct fl_error *err)
{
	static const struct unit_of_measure units[] = {{"", 1000}};

	return parse_measure(text, units, FL_COUNT(units), "1 or 1.5", ret_thousandths, err);
}

static enum fl_code check_range(
	const struct fl_option *option, const char *text, uint64_t number, struct fl_error *err)
{
	if (number < option->min || (option->max != 0 && number > option->max)) {
		const char *unit = option->type == FL_OPTION_DURATION ? " ms"
				   : option->type == FL_OPTION_SIZE   ? " bytes"
				   : option->type == FL_OPTION_FACTOR ? " thousandths"
								      : "";

		if (option->max == 0)
			return FL_FAIL(err, FL_E_INVALID, "\"%s\" is below %" PRIu64 "%s", text,
				option->min, unit);
		return FL_FAIL(err, FL_E_INVALID,
			"\"%s\" is not between %" PRIu64 " and %" PRIu64 "%s", text, option->min,
			option->max, unit);
	}
	return FL_OK;
}

static enum fl_code set_field(
	const struct fl_option *option, const char *value, void *config, struct fl_error *err)
{
	union field *field = field_of(option, config);
	uint64_t number = 0;
	char *copy;

	switch (option->type) {
	case FL_OPTION_STRING:
		copy = fl_strdup(value);
		if (copy == NULL)
			return FL_FAIL_NO_MEMORY(err);
		free(field->string);
		field->string = copy;
		return FL_OK;
	case FL_OPTION_LIST:
		if (value[0] == '\0') {
			fl_strv_fini(&field->list);
			return FL_OK;
		}
		if (option->flags & FL_OPTION_WHOLE)
			return fl_strv_add(&field->list, value, err);
		return fl_strv_split(&field->list, value, " \t", err);
	case FL_OPTION_BOOL:
		return fl_parse_bool(value, bool_of(option, config), err);
	case FL_OPTION_UINT:
		FL_TRY(fl_parse_uint(value, &number, err));
		break;
	case FL_OPTION_DURATION:
		FL_TRY(fl_parse_duration_ms(value, &number, err));
		break;
	case FL_OPTION_SIZE:
		FL_TRY(fl_parse_size(value, &number, err));
		break;
	case FL_OPTION_FACTOR:
		FL_TRY(fl_parse_factor(value, &number, err));
		break;
	}
	FL_TRY(check_range(option, value, number, err));
	field->number = number;
	return FL_OK;
}

enum fl_code fl_options_init(
	const struct fl_option_table *table, void *config, struct fl_error *err)
{
	for (size_t i = 0; i < table->n_options; i++) {
		const struct fl_option *option = &table->options[i];

		/* What a file says would be added to it, so that a dump would not read the same. */
		fl_assert(option->initial == NULL || option->type != FL_OPTION_LIST);
		if (option->initial != NULL)
			FL_TRY(set_field(option, option->initial, config, err));
	}
	return FL_OK;
}

void fl_options_fini(const struct fl_option_table *table, void *config)
{
	for (size_t i = 0; i < table->n_options; i++) {
		const struct fl_option *option = &table->options[i];
		union field *field = field_of(option, config);

		if (option->type == FL_OPTION_LIST) {
			fl_strv_fini(&field->list);
		} else if (option->type == FL_OPTION_STRING) {
			free(field->string);
			field->string = NULL;
		}
	}
}

static const struct fl_option *find_arg(
	const struct fl_option_table *table, const char *name, size_t len)
{
	for (size_t i = 0; i < table->n_options; i++) {
		const struct fl_option *option = &table->options[i];

		if ((option->flags & FL_OPTION_FILE_ONLY) == 0 && strlen(option->name) == len &&
			strncmp(option->name, name, len) == 0)
			return option;
	}
	return NULL;
}

static const struct fl_option *find_key(const struct fl_option_table *table, const char *key)
{
	char name[NAME_MAX_BYTES];

	for (size_t i = 0; i < table->n_options; i++) {
		file_name(&table->options[i], name);
		if ((table->options[i].flags & FL_OPTION_ARG_ONLY) == 0 && strcmp(name, key) == 0)
			return &table->options[i];
	}
	return NULL;
}

enum fl_code fl_options_set(const struct fl_option_table *table, const char *name,
	const char *value, void *config, struct fl_error *err)
{
	const struct fl_option *option = find_arg(table, name, strlen(name));
	enum fl_code code;

	if (option == NULL)
		return FL_FAIL(err, FL_E_USAGE, "there is no option --%s; see --help", name);
	code = set_field(option, value, config, err);
	return code == FL_OK ? FL_OK : fl_error_prefix(err, code, "--%s", name);
}

/* Cuts white space at both ends, in place. */
static char *trim(char *text)
{
	size_t n;

	text += strspn(text, " \t\r");
	n = strlen(text);
	while (n > 0 && strchr(" \t\r", text[n - 1]) != NULL)
		text[--n] = '\0';
	return text;
}

struct file_state {
	const struct fl_option_table *table;
	void *config;
	bool in_section;
};

static enum fl_code read_line(struct file_state *state, char *line, struct fl_error *err)
{
	const struct fl_option *option;
	enum fl_code code;
	char *equals;
	size_t n;

	line = trim(line);
	n = strlen(line);
	if (n == 0 || line[0] == '#' || line[0] == ';')
		return FL_OK;
	if (line[0] == '[') {
		if (line[n - 1] != ']')
			return FL_FAIL(err, FL_E_SYNTAX, "a section header ends with \"]\"");
		line[n - 1] = '\0';
		if (strcmp(line + 1, state->table->section) != 0)
			return FL_FAIL(err, FL_E_SYNTAX, "unknown section [%s]; there is [%s]",
				line + 1, state->table->section);
		state->in_section = true;
		return FL_OK;
	}
	if (!state->in_section)
		return FL_FAIL(err, FL_E_SYNTAX, "a key before the section header [%s]",
			state->table->section);
	equals = strchr(line, '=');
	if (equals == NULL)
		return FL_FAIL(err, FL_E_SYNTAX, "neither \"Key=value\" nor a comment");
	*equals = '\0';
	line = trim(line);
	option = find_key(state->table, line);
	if (option == NULL)
		return FL_FAIL(err, FL_E_SYNTAX, "unknown key %s=; %s --dump-config lists them",
			line, state->table->program);
	code = set_field(option, trim(equals + 1), state->config, err);
	return code == FL_OK ? FL_OK : fl_error_prefix(err, code, "%s=", line);
}

enum fl_code fl_options_read_file(
	const struct fl_option_table *table, const char *path, void *config, struct fl_error *err)
{
	struct file_state state = {.table = table, .config = config};
	FL_CLEANUP(fl_freep) char *text = NULL;
	size_t len;
	unsigned number = 0;
	char *rest;

	FL_TRY(fl_file_read(path, FILE_MAX_BYTES, &text, &len, err));
	if (strlen(text) != len)
		return FL_FAIL(err, FL_E_SYNTAX, "%s: holds a NUL byte", path);
	rest = text;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		enum fl_code code = read_line(&state, line, err);

		number++;
		if (code != FL_OK)
			return fl_error_prefix(err, code, "%s:%u", path, number);
	}
	return FL_OK;
}

static const struct fl_option *find_short(const struct fl_option_table *table, char name)
{
	for (size_t i = 0; i < table->n_options; i++)
		if (name != '\0' && table->options[i].short_name == name)
			return &table->options[i];
	return NULL;
}

/* One "--name", "--name=value", "--no-name" or "-x"; *ret_value is what stands behind "=". */
static const struct fl_option *match_arg(
	const struct fl_option_table *table, const char *arg, const char **ret_value)
{
	const struct fl_option *option;
	size_t n;

	*ret_value = NULL;
	if (arg[1] != '-') {
		option = find_short(table, arg[1]);
		if (option != NULL && arg[2] != '\0')
			*ret_value = arg + 2;
		return option;
	}
	arg += 2;
	n = strcspn(arg, "=");
	option = find_arg(table, arg, n);
	if (option != NULL) {
		if (arg[n] == '=')
			*ret_value = arg + n + 1;
		return option;
	}
	if (strncmp(arg, "no-", 3) == 0 && arg[n] == '\0') {
		option = find_arg(table, arg + 3, n - 3);
		if (option != NULL && option->type == FL_OPTION_BOOL) {
			*ret_value = "no";
			return option;
		}
	}
	return NULL;
}

/* Moves the argument at @from down to @to; what lies between keeps its order. */
static void move_down(char **argv, int from, int to)
{
	char *arg = argv[from];

	for (int i = from; i > to; i--)
		argv[i] = argv[i - 1];
	argv[to] = arg;
}

enum fl_code fl_options_parse_args(const struct fl_option_table *table, int argc, char **argv,
	bool stop_at_word, void *config, int *ret_first, struct fl_error *err)
{
	int taken = 1; /* argv[1 .. taken-1] are options and their values */

	for (int i = 1; i < argc; i++) {
		const struct fl_option *option;
		const char *value;

		if (strcmp(argv[i], "--") == 0) {
			move_down(argv, i, taken++);
			break;
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			if (stop_at_word)
				break;
			continue;
		}
		option = match_arg(table, argv[i], &value);
		if (option == NULL)
			return FL_FAIL(err, FL_E_USAGE, "there is no option %.*s; see --help",
				(int)strcspn(argv[i], "="), argv[i]);
		move_down(argv, i, taken++);
		if (value == NULL && option->type == FL_OPTION_BOOL)
			value = "yes";
		if (value == NULL) {
			if (i + 1 >= argc)
				return FL_FAIL(err, FL_E_USAGE, "--%s needs a value", option->name);
			value = argv[++i];
			move_down(argv, i, taken++);
		}
		if (set_field(option, value, config, err) != FL_OK)
			return fl_error_set(err, FL_E_USAGE, "--%s: %s", option->name,
				err != NULL ? err->text : "");
	}
	*ret_first = taken;
	return FL_OK;
}

/* The largest unit that the number is a whole multiple of. */
static void print_duration(uint64_t ms, FILE *out)
{
	if (ms % 1000 != 0)
		fprintf(out, "%" PRIu64 "ms", ms);
	else if (ms == 0 || ms % 60000 != 0)
		fprintf(out, "%" PRIu64 "s", ms / 1000);
	else if (ms % 3600000 != 0)
		fprintf(out, "%" PRIu64 "min", ms / 60000);
	else
		fprintf(out, "%" PRIu64 "h", ms / 3600000);
}

static void print_size(uint64_t bytes, FILE *out)
{
	static const char suffixes[] = "\0KMGT";
	size_t i = 0;

	while (bytes != 0 && bytes % 1024 == 0 && i + 2 < sizeof(suffixes)) {
		bytes /= 1024;
		i++;
	}
	fprintf(out, "%" PRIu64, bytes);
	if (suffixes[i] != '\0')
		fputc(suffixes[i], out);
}

static void print_factor(uint64_t thousandths, FILE *out)
{
	unsigned rest = (unsigned)(thousandths % 1000);

	fprintf(out, "%" PRIu64, thousandths / 1000);
	for (unsigned weight = 100; rest > 0; rest %= weight, weight /= 10)
		fprintf(out, "%s%u", weight == 100 ? "." : "", rest / weight);
}

static void print_value(const struct fl_option *option, const void *config, FILE *out)
{
	const union field *field = const_field_of(option, config);

	switch (option->type) {
	case FL_OPTION_STRING:
		fputs(field->string != NULL ? field->string : "", out);
		break;
	case FL_OPTION_LIST:
		for (size_t i = 0; i < field->list.n; i++)
			fprintf(out, "%s%s", i > 0 ? " " : "", field->list.items[i]);
		break;
	case FL_OPTION_BOOL:
		fputs(*(const bool *)(const void *)field ? "yes" : "no", out);
		break;
	case FL_OPTION_UINT:
		fprintf(out, "%" PRIu64, field->number);
		break;
	case FL_OPTION_DURATION:
		print_duration(field->number, out);
		break;
	case FL_OPTION_SIZE:
		print_size(field->number, out);
		break;
	case FL_OPTION_FACTOR:
		print_factor(field->number, out);
		break;
	}
}

void fl_options_dump(const struct fl_option_table *table, const void *config, FILE *out)
{
	char name[NAME_MAX_BYTES];

	fprintf(out, "[%s]\n", table->section);
	for (size_t i = 0; i < table->n_options; i++) {
		const struct fl_option *option = &table->options[i];

		if ((option->flags & FL_OPTION_ARG_ONLY) != 0)
			continue;
		file_name(option, name);
		fprintf(out, "# %s\n%s=", option->doc, name);
		print_value(option, config, out);
		fputc('\n', out);
	}
}

/* "-f, --follow" or "--lines=N" into @text. */
static void arg_name(const struct fl_option *option, char *text, size_t size)
{
	char letter[8] = "    ";

	if (option->short_name != '\0')
		(void)snprintf(letter, sizeof(letter), "-%c, ", option->short_name);
	if (option->type == FL_OPTION_BOOL)
		(void)snprintf(text, size, "%s--%s", letter, option->name);
	else
		(void)snprintf(text, size, "%s--%s=%s", letter, option->name,
			option->value_name != NULL ? option->value_name : "VALUE");
}

void fl_print_wrapped(const char *text, unsigned column, unsigned indent, FILE *out)
{
	while (*text != '\0') {
		size_t n = strcspn(text, " ");

		if (column > indent && column + n + 1 > 78) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, n, out);
		column += (unsigned)n;
		text += n + strspn(text + n, " ");
	}
	fputc('\n', out);
}

void fl_options_help(const struct fl_option_table *table, FILE *out)
{
	char name[128];

	for (size_t i = 0; i < table->n_options; i++) {
		const struct fl_option *option = &table->options[i];

		if ((option->flags & FL_OPTION_FILE_ONLY) != 0)
			continue;
		arg_name(option, name, sizeof(name));
		fprintf(out, "  %-26s", name);
		if (strlen(name) > 25)
			fprintf(out, "\n%28s", "");
		fl_print_wrapped(option->doc, 28, 28, out);
	}
}

void fl_options_man(const struct fl_option_table *table, bool as_file, FILE *out)
{
	char name[128], term[136], text[1024];

	for (size_t i = 0; i < table->n_options; i++) {
		const struct fl_option *option = &table->options[i];
		bool has_default = option->initial != NULL && option->type != FL_OPTION_BOOL;

		if ((option->flags & (as_file ? FL_OPTION_ARG_ONLY : FL_OPTION_FILE_ONLY)) != 0)
			continue;
		if (as_file)
			file_name(option, name);
		else
			arg_name(option, name, sizeof(name));
		(void)snprintf(
			term, sizeof(term), "%s%s", name + strspn(name, " "), as_file ? "=" : "");
		(void)snprintf(text, sizeof(text), "%s%s%s%s", option->doc,
			has_default ? " Default: " : "", has_default ? option->initial : "",
			has_default ? "." : "");
		fl_man_item(term, text, out);
	}
}
