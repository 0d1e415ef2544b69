#include <string.h>

#include "release/release.h"

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+~-"

bool release_name_is_good(const char *name, size_t max)
{
	size_t len = strnlen(name, max + 1);

	return len > 0 && len <= max && name[0] != '.' && strspn(name, NAME_CHARACTERS) == len;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Where a character stands that is no digit: "~" before the end, letters before the others. */
static int order(char c)
{
	if (c == '~')
		return -1;
	if (c == '\0' || is_digit(c))
		return 0;
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ? c : c + 256;
}

int release_version_compare(const char *a, const char *b)
{
	while (*a != '\0' || *b != '\0') {
		size_t n_a, n_b;
		int difference;

		while ((*a != '\0' && !is_digit(*a)) || (*b != '\0' && !is_digit(*b))) {
			difference = order(*a) - order(*b);
			if (difference != 0)
				return difference;
			a++;
			b++;
		}
		a += strspn(a, "0");
		b += strspn(b, "0");
		n_a = strspn(a, "0123456789");
		n_b = strspn(b, "0123456789");
		if (n_a != n_b)
			return n_a < n_b ? -1 : 1;
		difference = strncmp(a, b, n_a);
		if (difference != 0)
			return difference;
		a += n_a;
		b += n_b;
	}
	return 0;
}
