#include "unitfiles/man.h"

#include <string.h>

#include "base/error.h"
#include "base/man.h"
#include "base/memory.h"
#include "unitfiles/file.h"
#include "unitfiles/name.h"
#include "unitfiles/rules.h"
#include "unitfiles/specifier.h"

static const char example[] = "[Unit]\n"
			      "Description=Web server %i\n"
			      "\n"
			      "[Service]\n"
			      "ExecStart=/usr/bin/web --port 80%i\n"
			      "Restart=always\n"
			      "\n"
			      "[X-Fleet]\n"
			      "Conflicts=web@*.service\n"
			      "MachineMetadata=\"disk=ssd\" \"region=eu\"\n"
			      "\n"
			      "[X-Flota]\n"
			      "OnMachineLoss=wait\n";

struct kind {
	const char *suffix;
	bool template;
	const char *refusal;
};

static bool is_alike(const struct kind *a, const struct kind *b)
{
	if (a->refusal != NULL && b->refusal != NULL)
		return strcmp(a->refusal, b->refusal) == 0;
	return a->refusal == b->refusal && a->template == b->template;
}

/* Kinds of which the same is to be said, in one item. */
static void man_kinds(FILE *out)
{
	static const struct kind kinds[] = {
#define X(constant, suffix, template, refusal) {suffix, template, refusal},
		UNIT_KINDS(X)
#undef X
	};
	bool done[FL_COUNT(kinds)] = {false};

	for (size_t i = 0; i < FL_COUNT(kinds); i++) {
		const struct kind *kind = &kinds[i];
		char term[256], text[256];
		size_t len = 0;

		for (size_t j = i; j < FL_COUNT(kinds); j++) {
			if (done[j] || !is_alike(kind, &kinds[j]))
				continue;
			len += (size_t)snprintf(term + len, sizeof(term) - len, "%s.%s",
				len > 0 ? " " : "", kinds[j].suffix);
			fl_assert(len < sizeof(term));
			done[j] = true;
		}
		if (len > 0) {
			(void)snprintf(text, sizeof(text), "%s%s",
				kind->refusal != NULL ? "Refused: "
				: kind->template      ? "May be templates."
						      : "Are never templates.",
				kind->refusal != NULL ? kind->refusal : "");
			fl_man_item(term, text, out);
		}
	}
}

static void man_names(FILE *out)
{
	fl_man_section("NAMES", out);
	fl_man_text("As systemd.unit(5) has them: up to 255 letters, digits and :-_.\\@, then the "
		    "suffix of a kind. NAME@.service is a template, which never runs itself; "
		    "NAME@1.service is an instance of it and gets a copy of its text.",
		out);
	man_kinds(out);
}

static void man_syntax(FILE *out)
{
	fl_man_section("SYNTAX", out);
	fl_man_text(
		"systemd.syntax(7). The file is kept byte for byte: what \"flotactl cat\" "
		"prints and what is on the host is what was submitted. A line without \"=\", an "
		"assignment above the first section, a byte that is not UTF-8 and a control "
		"character, for which systemd warns, are errors, and so is what systemd would "
		"refuse to load. \"flotactl verify FILE\" checks without a fleet.",
		out);
	fl_man_text("The hash in listings is SHA-1 over the assignments alone, so comments, blank "
		    "lines and line ends do not change it.",
		out);
}

static void put_key(const char *name, const char *text, FILE *out)
{
	char term[64];

	(void)snprintf(term, sizeof(term), "%s=", name);
	fl_man_item(term, text, out);
}

static void man_fleet(FILE *out)
{
	static const char *const keys[][2] = {
#define X(constant, name, doc) {name, doc},
		UNIT_FLEET_KEYS(X)
#undef X
	};
	static const struct {
		enum unit_fleet_key key;
		const char *name;
	} legacy[] = {
#define X(constant, name) {constant, name},
		UNIT_FLEET_LEGACY_KEYS(X)
#undef X
	};
	static const struct {
		char term[3];
		const char *doc;
	} specifiers[] = {
#define X(letter, doc) {{'%', letter, '\0'}, doc},
		UNIT_SPECIFIERS(X)
#undef X
	};

	fl_man_section("[X-Fleet]: where it may run", out);
	fl_man_text("The keys that CoreOS fleet had. The unit runs on:", out);
	for (size_t i = 0; i < FL_COUNT(keys); i++)
		put_key(keys[i][0], keys[i][1], out);
	fl_man_text("Every key may be repeated, and all its values count together, but for "
		    "MachineID= (the first) and Global= (the last). One line holds one value, or "
		    "several that are each in quotes. Globs are those of Go's path.Match: *, ?, "
		    "[a-z], [^a-z], and \\ before a character that stands for itself.",
		out);
	fl_man_subsection("Names that the first versions of fleet had", out);
	for (size_t i = 0; i < FL_COUNT(legacy); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "%s=", keys[legacy[i].key][0]);
		put_key(legacy[i].name, text, out);
	}
	fl_man_subsection("Specifiers", out);
	fl_man_text("They are replaced in values of [X-Fleet]; all others, everywhere else, are "
		    "systemd's.",
		out);
	for (size_t i = 0; i < FL_COUNT(specifiers); i++)
		fl_man_item(specifiers[i].term, specifiers[i].doc, out);
}

static void man_flota(FILE *out)
{
	static const struct {
		const char *name, *type, *otherwise, *since, *doc;
	} keys[] = {
#define X(constant, name, type, otherwise, since, doc) {name, type, otherwise, since, doc},
		UNIT_FLOTA_KEYS(X)
#undef X
	};

	fl_man_section("[X-Flota]: what fleet did not have", out);
	fl_man_text("The last value of a key counts, of lists all; an empty one is the default "
		    "again. An unknown key is an error.",
		out);
	for (size_t i = 0; i < FL_COUNT(keys); i++) {
		char text[1024];

		(void)snprintf(text, sizeof(text), "%s. Value: %s; default: %s; since flota %s.",
			keys[i].doc, keys[i].type, keys[i].otherwise, keys[i].since);
		put_key(keys[i].name, text, out);
	}
}

void unit_man(FILE *out)
{
	fl_man_begin("flota.unit", 5, "unit files of a fleet", out);
	fl_man_section("DESCRIPTION", out);
	fl_man_text(
		"What a fleet runs is written as systemd units: the same files, with two "
		"sections more. [X-Fleet] says where the unit may run, [X-Flota] what else flota "
		"does with it. systemd ignores both, so the same file works on a single host.",
		out);
	man_names(out);
	man_syntax(out);
	man_fleet(out);
	man_flota(out);
	fl_man_section("EXAMPLE", out);
	fl_man_example(example, out);
	fl_man_see_also("flotactl(1) systemd.unit(5) systemd.syntax(7) systemd.service(5)", out);
}
